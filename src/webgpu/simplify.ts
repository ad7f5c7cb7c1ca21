/**
 * Fewer axes: those of size 1 go, and neighbours that every address steps through as one become one.
 *
 * @module
 */
import type { Affine, Contraction, Expr, Fold } from "../compiler/kernel.ts";
import { forEachExpr, mapAffine } from "../compiler/expression.ts";

/** Every affine form in an expression. */
export function formsOf(expr: Expr): Affine[] {
  const forms: Affine[] = [];
  forEachExpr(expr, (node) => {
    if (node.kind === "index") forms.push(node.form);
    if (node.kind === "load" || node.kind === "gather") forms.push(node.at);
    if ("guards" in node) forms.push(...node.guards.map((guard) => guard.form));
  });
  return forms;
}

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
 * A contraction with as few axes as possible. Batch axes that one operand does not use become axes of the
 * other one's side, so that one tile can span them.
 */
export function simplifyContraction(kernel: Contraction): Contraction {
  const moved = spreadBatch(kernel);
  const forms = [
    ...formsOf(moved.left),
    ...formsOf(moved.right),
    ...moved.stores.flatMap((store) => [store.at, ...formsOf(store.value)]),
  ];
  const { groups, move } = collapse([moved.batch, moved.rows, moved.columns, moved.inner], forms);
  const [batch, rows, columns, inner] = groups;
  return { ...withForms(moved, move), batch: batch!, rows: rows!, columns: columns!, inner: inner! };
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

function spreadBatch(kernel: Contraction): Contraction {
  const uses = (side: Expr, axis: number): boolean =>
    formsOf(side).some((form) => (form.coefficients[axis] ?? 0) !== 0);
  const place = kernel.batch.map((_, axis) =>
    !uses(kernel.left, axis) ? "columns" : !uses(kernel.right, axis) ? "rows" : "batch"
  );
  if (place.every((list) => list === "batch")) return kernel;
  const start = {
    rows: kernel.batch.length,
    columns: kernel.batch.length + kernel.rows.length,
    inner: kernel.batch.length + kernel.rows.length + kernel.columns.length,
  };
  const from = (list: string): number[] => kernel.batch.flatMap((_, k) => place[k] === list ? [k] : []);
  const own = (first: number, axes: readonly number[]): number[] => axes.map((_, k) => first + k);
  const lists = {
    batch: from("batch"),
    rows: [...from("rows"), ...own(start.rows, kernel.rows)],
    columns: [...from("columns"), ...own(start.columns, kernel.columns)],
    inner: own(start.inner, kernel.inner),
  };
  const sizes = [...kernel.batch, ...kernel.rows, ...kernel.columns, ...kernel.inner];
  const order = [...lists.batch, ...lists.rows, ...lists.columns, ...lists.inner];
  const reordered = withForms(kernel, (form) => ({
    offset: form.offset,
    coefficients: order.map((k) => form.coefficients[k] ?? 0),
  }));
  const of = (axes: readonly number[]): number[] => axes.map((k) => sizes[k]!);
  return {
    ...reordered,
    batch: of(lists.batch),
    rows: of(lists.rows),
    columns: of(lists.columns),
    inner: of(lists.inner),
  };
}

/** The same contraction with left and right, rows and columns exchanged. */
export function transposed(kernel: Contraction): Contraction {
  const { batch, rows, columns } = kernel;
  const [b, r] = [batch.length, rows.length];
  const c = columns.length;
  const swapped = withForms(kernel, ({ offset, coefficients: k }) => ({
    offset,
    coefficients: [
      ...k.slice(0, b),
      ...k.slice(b + r, b + r + c),
      ...k.slice(b, b + r),
      ...k.slice(b + r + c),
    ],
  }));
  return { ...swapped, rows: columns, columns: rows, left: swapped.right, right: swapped.left };
}
