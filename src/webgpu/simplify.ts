/**
 * Fewer axes (those of size 1 go, and neighbours that every address steps through as one become one), and axes in
 * another order.
 *
 * @module
 */
import { type Affine, type Contraction, type Fold, points } from "../compiler/kernel.ts";
import { formsOf, loadsOf, mapAffine } from "../compiler/expression.ts";

/** New axis lists and the same forms over them. */
interface Collapsed {
  readonly groups: readonly (readonly number[])[];
  readonly move: (form: Affine) => Affine;
}

/**
 * Collapses lists of axes that stand one behind the other in the coefficients, from position `first` on; axes
 * of different lists are never joined.
 */
function collapse(groups: readonly (readonly number[])[], forms: readonly Affine[], first = 0): Collapsed {
  const kept: number[] = [];
  let position = first;
  const result = groups.map((axes) => {
    const sizes: number[] = [];
    axes.forEach((size, k) => {
      const here = position + k;
      if (size === 1) return;
      const last = kept.at(-1);
      const joins = sizes.length > 0 &&
        forms.every(({ coefficients: c }) => (c[last!] ?? 0) === (c[here] ?? 0) * size);
      if (joins) {
        sizes[sizes.length - 1]! *= size;
        kept[kept.length - 1] = here;
      } else {
        sizes.push(size);
        kept.push(here);
      }
    });
    position += axes.length;
    return sizes;
  });
  const end = position;
  return {
    groups: result,
    move: ({ offset, coefficients }) => ({
      offset,
      coefficients: [
        ...Array.from({ length: first }, (_, k) => coefficients[k] ?? 0),
        ...kept.map((k) => coefficients[k] ?? 0),
        ...coefficients.slice(end),
      ],
    }),
  };
}

/** A fold with as few axes as possible. */
export function simplifyFold(kernel: Fold): Fold {
  const all = [
    ...kernel.stages.flatMap((stage) => formsOf(stage.value)),
    ...kernel.stores.flatMap((store) => [store.at, ...formsOf(store.value)]),
  ];
  const outer = collapse([kernel.axes], all);
  const axes = outer.groups[0]!;
  return {
    ...kernel,
    axes,
    stages: kernel.stages.map((stage) => {
      const value = mapAffine(stage.value, outer.move);
      const inner = collapse([stage.axes], formsOf(value), axes.length);
      return { ...stage, axes: inner.groups[0]!, value: mapAffine(value, inner.move) };
    }),
    stores: kernel.stores.map((store) => {
      const value = mapAffine(store.value, outer.move);
      const at = outer.move(store.at);
      const inner = collapse([store.axes], [at, ...formsOf(value)], axes.length);
      return {
        ...store,
        axes: inner.groups[0]!,
        at: inner.move(at),
        value: mapAffine(value, inner.move),
      };
    }),
  };
}

/**
 * The same fold with that axis last along which most loads and stores are neighbours in memory: invocations side by
 * side then share what the memory brings.
 */
export function neighboursLast(kernel: Fold): Fold {
  const { axes, stages, stores } = kernel;
  const weights = axes.map(() => 0);
  const weigh = (at: Affine, times: number): void =>
    axes.forEach((_, k) => weights[k]! += Math.abs(at.coefficients[k] ?? 0) === 1 ? times : 0);
  for (const walk of [...stages, ...stores]) {
    for (const load of loadsOf(walk.value)) weigh(load.at, points(walk.axes));
  }
  for (const store of stores) weigh(store.at, points(store.axes));
  const best = weights.indexOf(Math.max(...weights));
  if (best < 0 || weights[best] === weights.at(-1)) return kernel;
  const order = [...axes.keys()].filter((k) => k !== best).concat(best);
  const move = ({ offset, coefficients }: Affine): Affine => ({
    offset,
    coefficients: [...order.map((k) => coefficients[k] ?? 0), ...coefficients.slice(axes.length)],
  });
  return {
    ...kernel,
    axes: order.map((k) => axes[k]!),
    stages: stages.map((stage) => ({ ...stage, value: mapAffine(stage.value, move) })),
    stores: stores.map((store) => ({ ...store, at: move(store.at), value: mapAffine(store.value, move) })),
  };
}

/** A contraction with as few axes as possible. */
export function simplifyContraction(kernel: Contraction): Contraction {
  const { batch, rows, columns, inner } = kernel;
  const { groups, move } = collapse([batch, rows, columns, inner], [
    ...formsOf(kernel.left),
    ...formsOf(kernel.right),
    ...kernel.stores.flatMap((store) => [store.at, ...formsOf(store.value)]),
  ]);
  const [b, r, c, k] = groups as [number[], number[], number[], number[]];
  return { ...withForms(kernel, move), batch: b, rows: r, columns: c, inner: k };
}

/** Every form of a contraction, replaced. */
export function withForms(kernel: Contraction, move: (form: Affine) => Affine): Contraction {
  return {
    ...kernel,
    left: mapAffine(kernel.left, move),
    right: mapAffine(kernel.right, move),
    stores: kernel.stores.map((store) => ({
      ...store,
      at: move(store.at),
      value: mapAffine(store.value, move),
    })),
  };
}

/** Axes of a contraction by list, each as its position in the coefficients. */
export type AxisLists = Readonly<Record<"batch" | "rows" | "columns" | "inner", readonly number[]>>;

/** The axis lists as they are. */
export function axisLists({ batch, rows, columns, inner }: Contraction): AxisLists {
  let position = 0;
  const take = (axes: readonly number[]): number[] => axes.map(() => position++);
  return { batch: take(batch), rows: take(rows), columns: take(columns), inner: take(inner) };
}

/** The same contraction with its axes in other lists or in another order. */
export function rearranged(kernel: Contraction, lists: AxisLists): Contraction {
  const sizes = [...kernel.batch, ...kernel.rows, ...kernel.columns, ...kernel.inner];
  const order = [...lists.batch, ...lists.rows, ...lists.columns, ...lists.inner];
  const of = (axes: readonly number[]): number[] => axes.map((k) => sizes[k]!);
  return {
    ...withForms(kernel, ({ offset, coefficients }) => ({
      offset,
      coefficients: order.map((k) => coefficients[k] ?? 0),
    })),
    batch: of(lists.batch),
    rows: of(lists.rows),
    columns: of(lists.columns),
    inner: of(lists.inner),
  };
}

/** The same contraction with left and right, rows and columns exchanged. */
export function transposed(kernel: Contraction): Contraction {
  const lists = axisLists(kernel);
  const swapped = rearranged(kernel, { ...lists, rows: lists.columns, columns: lists.rows });
  return { ...swapped, left: swapped.right, right: swapped.left };
}
