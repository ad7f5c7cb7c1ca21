/**
 * Kernels that walk the same rows become one: soft-max, layer norm and their gradients are several reductions
 * and maps over the rows of one array, and what one of them finds about a row is only read within that row.
 *
 * A kernel joins an earlier one (its group) if it reads the group's results at its own row and everything else
 * that it reads was there before the group. The group's values are then put in the place of the loads, and
 * results that nobody else reads are not written at all.
 *
 * So does a map of a product's results that others read too (an optimizer's new parameter, which is a map of its new
 * momentum, which is one of a gradient): it becomes one more store of the product.
 *
 * @module
 */
import { forEachExpr, mapAffine, mapExpr, mapForms } from "./expression.ts";
import type { Fused } from "./fuse.ts";
import {
  type Affine,
  type Contraction,
  type Expr,
  type Fold,
  points,
  type Stage,
  type Store,
} from "./kernel.ts";
import type { ReductionLimits } from "./split.ts";

/** A fold and its buffers, while it may still grow. */
interface Group {
  readonly kernel: Fold;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/** Fewer rows than this keep some threads idle. */
const fewestRows = 32;
/** WebGPU guarantees eight bindings. */
export const mostBuffers = 8;
/** An expression is put in the place of at most this many operations' result. */
const largestInlined = 24;

/** Joins kernels over the same rows; `kept` are the buffers that the program returns. */
export function mergeRows(
  launches: readonly Fused[],
  kept: ReadonlySet<number>,
  limits: ReductionLimits,
): Fused[] {
  const result: Fused[] = [];
  const producer = new Map<number, number>();
  for (const launch of launches) {
    const place = joinEarlier(result, producer, launch, limits);
    for (const output of launch.outputs) producer.set(output, place);
  }
  return withoutUnreadStores(result, kept);
}

/** Puts a launch into an earlier group or behind all others; returns where it went. */
function joinEarlier(
  result: Fused[],
  producer: ReadonlyMap<number, number>,
  launch: Fused,
  limits: ReductionLimits,
): number {
  const { kernel } = launch;
  if (kernel.kind === "fold") {
    const latest = Math.max(-1, ...launch.inputs.map((input) => producer.get(input) ?? -1));
    for (let place = result.length - 1; place >= Math.max(latest, 0); place--) {
      const earlier = result[place]!;
      if (earlier.kernel.kind === "contraction" && place === latest) {
        const joined = joinStores(earlier, earlier.kernel, launch as Group);
        if (joined !== undefined) {
          result[place] = joined;
          return place;
        }
      }
      if (
        earlier.kernel.kind !== "fold" || earlier.kernel.stages.length === 0 ||
        points(earlier.kernel.axes) < fewestRows
      ) continue;
      const isReader = place === latest;
      const isSibling = kernel.stages.length > 0 &&
        launch.inputs.some((input) => earlier.inputs.includes(input));
      if (!isReader && !isSibling) continue;
      const joined = join(earlier as Group, launch as Group, limits);
      if (joined !== undefined) {
        result[place] = joined;
        return place;
      }
    }
  }
  return result.push(launch) - 1;
}

/** Whether walks of these rows (`walk` = the axes of another) should be kernels of their own. */
function areApart(
  { axes, stages, stores }: Fold,
  walk: readonly number[],
  { apart }: Partial<ReductionLimits>,
): boolean {
  const walks = [...stages, ...stores].map((own) => own.axes);
  const length = Math.max(...[...walks, walk].map(points));
  return apart !== undefined && points(axes) < apart.rows && length > apart.length;
}

/** Which axis of the joining kernel each axis of the group is. */
type Rows = readonly number[];

function join(group: Group, launch: Group, limits: Partial<ReductionLimits> = {}): Group | undefined {
  const { kernel } = launch;
  // Results that several stores write have no one expression to put in their place.
  if (kernel.stores.length > kernel.outputs.length) return undefined;
  const rows = findRows(group, launch);
  if (rows === undefined) return undefined;
  const rest = kernel.axes.map((_, k) => k).filter((k) => !rows.includes(k) && kernel.axes[k]! > 1);
  if (kernel.stages.length > 0 && rest.length > 0) return undefined;
  const walk = rest.map((k) => kernel.axes[k]!);
  if ((kernel.stages.length > 0 || rest.length > 0) && areApart(group.kernel, walk, limits)) return undefined;
  const last = rest[rest.length - 1];
  // Walking a row whose elements lie apart costs more than a kernel of its own.
  if (last !== undefined && kernel.stores.some((store) => store.at.coefficients[last] !== 1)) {
    return undefined;
  }

  const inputs = [...group.inputs];
  const inputOf = launch.inputs.map((buffer) => {
    if (group.outputs.includes(buffer)) return -1;
    const known = inputs.indexOf(buffer);
    return known >= 0 ? known : inputs.push(buffer) - 1;
  });
  const outputs = [...group.outputs, ...launch.outputs];
  if (inputs.length + outputs.length > mostBuffers) return undefined;

  const count = kernel.axes.length;
  const order = [...rows, ...rest];
  const move = (form: Affine): Affine => ({
    offset: form.offset,
    coefficients: [
      ...order.map((k) => k < 0 ? 0 : form.coefficients[k] ?? 0),
      ...form.coefficients.slice(count),
    ],
  });
  const firstStage = group.kernel.stages.length;
  let isPossible = true;
  const rewrite = (root: Expr): Expr => {
    const memo = new Map<Expr, Expr>();
    const replaced = mapExpr(root, (expr) => {
      if (expr.kind === "reduced") return { ...expr, stage: expr.stage + firstStage };
      const moved = mapForms(expr, move);
      if (moved.kind !== "load" && moved.kind !== "gather") return moved;
      const input = inputOf[moved.input]!;
      if (input >= 0) return { ...moved, input };
      const value = moved.kind === "load"
        ? valueInGroup(group, launch.inputs[moved.input]!, moved)
        : undefined;
      if (value === undefined) isPossible = false;
      return value ?? moved;
    }, memo);
    return replaced;
  };
  const stages: Stage[] = kernel.stages.map((stage) => ({ ...stage, value: rewrite(stage.value) }));
  const stores: Store[] = kernel.stores.map((store) => ({
    output: store.output + group.outputs.length,
    at: move(store.at),
    axes: [...walk, ...store.axes],
    value: rewrite(store.value),
  }));
  if (!isPossible) return undefined;
  const merged: Fold = {
    kind: "fold",
    label: `${group.kernel.label}+${kernel.label}`,
    inputs: inputs.map((buffer) => dtypeOf(group, buffer) ?? dtypeOf(launch, buffer)!),
    outputs: [...group.kernel.outputs, ...kernel.outputs],
    axes: group.kernel.axes,
    stages: [...group.kernel.stages, ...stages],
    stores: [...group.kernel.stores, ...stores],
  };
  return { kernel: merged, inputs, outputs };
}

/** A contraction with the stores of a map of its results; undefined if the map goes through them in another way. */
function joinStores(group: Fused, kernel: Contraction, launch: Group): Fused | undefined {
  if (launch.kernel.stages.length > 0) return undefined;
  const axes = [...kernel.batch, ...kernel.rows, ...kernel.columns];
  const resized = (stores: readonly Store[], count: number): Store[] => {
    const resize = ({ offset, coefficients }: Affine): Affine => ({
      offset,
      coefficients: Array.from({ length: count }, (_, k) => k < axes.length ? coefficients[k] ?? 0 : 0),
    });
    return stores.map((store) => ({ ...store, at: resize(store.at), value: mapAffine(store.value, resize) }));
  };
  const { label, inputs, outputs } = kernel;
  const stores = resized(kernel.stores, axes.length);
  const results: Fold = { kind: "fold", label, inputs, outputs, axes, stages: [], stores };
  const joined = join({ ...group, kernel: results }, launch);
  const isSamePlace = ({ at, axes }: Store): boolean =>
    axes.length === 0 && JSON.stringify(at) === JSON.stringify(stores[0]!.at);
  if (joined === undefined || !joined.kernel.stores.every(isSamePlace)) return undefined;
  return {
    ...joined,
    kernel: {
      ...kernel,
      label: joined.kernel.label,
      inputs: joined.kernel.inputs,
      outputs: joined.kernel.outputs,
      stores: resized(joined.kernel.stores, axes.length + kernel.inner.length),
    },
  };
}

function dtypeOf(group: Group, buffer: number): Fold["inputs"][number] | undefined {
  const k = group.inputs.indexOf(buffer);
  return k < 0 ? undefined : group.kernel.inputs[k];
}

/** The rows of the joining kernel: where it reads the group's results, or, for a sibling, where it writes its own. */
function findRows(group: Group, launch: Group): Rows | undefined {
  let rows: Rows | undefined;
  let isPossible = true;
  const look = (root: Expr): void =>
    forEachExpr(root, (expr) => {
      if (expr.kind !== "load" && expr.kind !== "gather") return;
      const output = group.outputs.indexOf(launch.inputs[expr.input]!);
      if (output < 0) return;
      const found = matchRows(group.kernel, storeOf(group.kernel, output).at, launch.kernel, expr.at);
      if (found === undefined || (rows !== undefined && rows.join() !== found.join())) isPossible = false;
      rows ??= found;
    });
  launch.kernel.stages.forEach((stage) => look(stage.value));
  launch.kernel.stores.forEach((store) => look(store.value));
  if (!isPossible) return undefined;
  if (rows === undefined && launch.kernel.axes.join() === group.kernel.axes.join()) {
    const [mine, other] = [group.kernel.stores[0]!, launch.kernel.stores[0]!];
    if (mine.axes.length === 0 && mine.at.coefficients.join() === other.at.coefficients.join()) {
      rows = group.kernel.axes.map((_, k) => k);
    }
  }
  return rows;
}

function storeOf(kernel: Fold, output: number): Store {
  return kernel.stores.find((store) => store.output === output)!;
}

/** Matches the group's axes with those of a reader by size and stride; −1 for axes of size one. */
function matchRows(group: Fold, written: Affine, reader: Fold, read: Affine): Rows | undefined {
  const rows: number[] = [];
  for (const [k, size] of group.axes.entries()) {
    if (size === 1) {
      rows.push(-1);
      continue;
    }
    const matches = reader.axes.flatMap((other, j) =>
      other === size && read.coefficients[j] === written.coefficients[k] && !rows.includes(j) ? [j] : []
    );
    if (matches.length !== 1) return undefined;
    rows.push(matches[0]!);
  }
  return rows;
}

/** What the group writes where a (moved) load reads it; undefined if the load reaches beyond its own element. */
function valueInGroup(group: Group, buffer: number, load: Expr & { kind: "load" }): Expr | undefined {
  const store = storeOf(group.kernel, group.outputs.indexOf(buffer));
  if (load.guards.length > 0 || load.at.offset !== store.at.offset) return undefined;
  const rows = group.kernel.axes.length;
  // The walk of the store, matched with the walk of the load by stride.
  const walk = store.axes.map((size, k) => {
    if (size === 1) return -1;
    const stride = store.at.coefficients[rows + k];
    return load.at.coefficients.findIndex((c, j) => j >= rows && c === stride);
  });
  if (walk.some((j, k) => j < 0 && store.axes[k]! > 1)) return undefined;
  for (let j = 0; j < load.at.coefficients.length; j++) {
    const expected = j < rows
      ? store.at.coefficients[j]!
      : walk.includes(j)
      ? store.at.coefficients[rows + walk.indexOf(j)]!
      : 0;
    if (load.at.coefficients[j] !== expected && !(j < rows && group.kernel.axes[j] === 1)) return undefined;
  }
  let size = 0;
  forEachExpr(store.value, () => size++);
  if (store.axes.length > 0 && size > largestInlined) return undefined;
  const width = load.at.coefficients.length;
  const spread = (form: Affine): Affine => ({
    offset: form.offset,
    coefficients: Array.from(
      { length: width },
      (_, j) =>
        j < rows
          ? form.coefficients[j] ?? 0
          : walk.includes(j)
          ? form.coefficients[rows + walk.indexOf(j)] ?? 0
          : 0,
    ),
  });
  return mapExpr(store.value, (expr) => mapForms(expr, spread));
}

/** Drops results that are neither returned nor read by another launch. */
function withoutUnreadStores(launches: readonly Fused[], kept: ReadonlySet<number>): Fused[] {
  const read = new Set<number>(kept);
  for (const launch of launches) for (const input of launch.inputs) read.add(input);
  return launches.map((launch) => {
    const { kernel, outputs } = launch;
    if (!("stores" in kernel) || outputs.every((output) => read.has(output))) return launch;
    const places = outputs.flatMap((output, k) => read.has(output) ? [k] : []);
    return {
      ...launch,
      outputs: places.map((k) => outputs[k]!),
      kernel: {
        ...kernel,
        outputs: places.map((k) => kernel.outputs[k]!),
        stores: kernel.stores.filter((store) => places.includes(store.output)).map((store) => ({
          ...store,
          output: places.indexOf(store.output),
        })),
      },
    };
  }).filter(({ outputs }) => outputs.length > 0);
}
