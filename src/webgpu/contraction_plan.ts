/**
 * How a contraction is made ready for tiles: the order of its axes, and how operands are read and results
 * stored four elements at a time.
 *
 * @module
 */
import { contiguousStrides } from "../compiler/affine.ts";
import { formsOf, mapAffine } from "../compiler/expression.ts";
import { type Affine, type Contraction, type Expr, points } from "../compiler/kernel.ts";
import { isContiguous, loadCost } from "./fold_plan.ts";
import { type AxisLists, axisLists, rearranged, simplifyContraction, transposed } from "./simplify.ts";

/** How an operand is read: four along its own axis, four along the inner axis, or one by one. */
export type Reading = "own" | "inner" | "single";

/** A side of a contraction. */
export type Side = "left" | "right";

/** Positions of the axis lists in the coefficients. */
export interface Layout {
  readonly rows: number;
  readonly columns: number;
  readonly inner: number;
  readonly end: number;
}

/** Where each axis list starts. */
export function layoutOf({ batch, rows, columns, inner }: Contraction): Layout {
  const [r, c] = [batch.length, batch.length + rows.length];
  return { rows: r, columns: c, inner: c + columns.length, end: c + columns.length + inner.length };
}

/**
 * Brings the axes into the order that suits tiles: batch axes that one operand does not use become axes of the
 * other one's side, neighbours in memory come last in their list, and columns are neighbours in the output.
 */
export function orient(given: Contraction): Contraction {
  const spread = rearranged(given, spreadBatch(given));
  const sorted = simplifyContraction(rearranged(spread, sortAxes(spread)));
  const step = (axis: number | undefined): number =>
    axis === undefined ? Infinity : Math.abs(sorted.stores[0]?.at.coefficients[axis] ?? 0) || Infinity;
  const { rows, columns } = axisLists(sorted);
  if (step(rows.at(-1)) === 1 && step(columns.at(-1)) !== 1) return transposed(sorted);
  // A single column is better a single row: columns are what is taken four at a time.
  if (points(sorted.columns) < 4 && points(sorted.rows) >= 4) return transposed(sorted);
  return sorted;
}

function spreadBatch(kernel: Contraction): AxisLists {
  const lists = axisLists(kernel);
  const uses = (side: Expr, axis: number): boolean =>
    formsOf(side).some((form) => (form.coefficients[axis] ?? 0) !== 0);
  const toColumns = lists.batch.filter((axis) => !uses(kernel.left, axis));
  const toRows = lists.batch.filter((axis) => uses(kernel.left, axis) && !uses(kernel.right, axis));
  return {
    ...lists,
    batch: lists.batch.filter((axis) => !toColumns.includes(axis) && !toRows.includes(axis)),
    rows: [...toRows, ...lists.rows],
    columns: [...toColumns, ...lists.columns],
  };
}

/** Rows and columns in the order of the output's memory, inner axes in that of an operand's. */
function sortAxes(kernel: Contraction): AxisLists {
  const lists = axisLists(kernel);
  const by = (forms: readonly Affine[]) => (axes: readonly number[]): number[] => {
    const step = (axis: number): number =>
      Math.max(0, ...forms.map((form) => Math.abs(form.coefficients[axis] ?? 0))) || Infinity;
    return [...axes].sort((a, b) => step(a) === step(b) ? 0 : step(b) - step(a));
  };
  const stores = by(kernel.stores.slice(0, 1).map((store) => store.at));
  // The operand that can be read four inner neighbours at a time, if there is one.
  const operands = [kernel.left, kernel.right].map((side) => formsOf(side).slice(0, 1));
  const byFour = operands.find((forms) =>
    forms.some(({ coefficients }) =>
      kernel.inner.some((size, k) => size % 4 === 0 && coefficients[lists.inner[k]!] === 1)
    )
  );
  const inner = by(byFour ?? operands[0]!);
  return { ...lists, rows: stores(lists.rows), columns: stores(lists.columns), inner: inner(lists.inner) };
}

/** Whether an address steps through all axes of a side as through one. */
function isFlat({ coefficients: c }: Affine, own: readonly number[], first: number): boolean {
  const step = c[first + own.length - 1] ?? 0;
  return contiguousStrides(own).every((stride, k) => (c[first + k] ?? 0) === step * stride);
}

/**
 * How four neighbours of a side are found: `axis` along its last axis, or `flat` across the ends of that,
 * which suits only addresses that step through all its axes as through one.
 */
export function grouping(own: readonly number[]): "axis" | "flat" | undefined {
  return points(own) < 4 ? undefined : own.at(-1)! % 4 === 0 ? "axis" : "flat";
}

/** The axes of a side, and where they start in the coefficients. */
export function ownAxes(kernel: Contraction, side: Side): [own: readonly number[], first: number] {
  const layout = layoutOf(kernel);
  return side === "left" ? [kernel.rows, layout.rows] : [kernel.columns, layout.columns];
}

/** The expression for four neighbours as `grouping` finds them; undefined if it does not suit it. */
function byFour(expr: Expr, own: readonly number[], first: number): Expr | undefined {
  const how = grouping(own);
  if (how !== "flat") return how && expr;
  const last = first + own.length - 1;
  if (!formsOf(expr).every((form) => isFlat(form, own, first))) return undefined;
  return mapAffine(expr, ({ offset, coefficients }) => ({
    offset,
    coefficients: coefficients.map((c, k) => k >= first && k < last ? 0 : c),
  }));
}

/** Innermost axes of up to this many points can be written out. */
export const mostWrittenOut = 3;

/**
 * The ways to read an operand, each with its cost per element in nanoseconds. `writesOut`: a short innermost
 * axis is written out, so that neighbouring windows share what they read.
 */
export function readingsOf(
  kernel: Contraction,
  side: Side,
  writesOut = false,
): { reading: Reading; cost: number }[] {
  const layout = layoutOf(kernel);
  const expr = kernel[side];
  const [own, first] = ownAxes(kernel, side);
  const ways: { reading: Reading; cost: number }[] = [
    { reading: "single", cost: loadCost(expr, undefined) },
  ];
  // Past the last row or column a load of four reads what no result uses, so their number may be odd.
  const grouped = byFour(expr, own, first);
  if (grouped !== undefined) {
    const isShort = writesOut && kernel.inner.length > 1 && kernel.inner.at(-1)! <= mostWrittenOut;
    const shared = isShort ? mapAffine(grouped, (form) => startOf(form, layout.end - 1)) : grouped;
    ways.push({ reading: "own", cost: loadCost(shared, first + own.length - 1) / 4 });
  }
  if (kernel.inner.length > 0 && kernel.inner.at(-1)! % 4 === 0) {
    ways.push({ reading: "inner", cost: loadCost(expr, layout.end - 1) / 4 + 0.01 });
  }
  return ways;
}

/** The aligned place at which the windows along a short axis start, if it is one step per window. */
function startOf({ offset, coefficients }: Affine, axis: number): Affine {
  if (coefficients[axis] !== 1) return { offset, coefficients };
  return { offset: offset - (offset % 4), coefficients: coefficients.map((c, k) => k === axis ? 0 : c) };
}

/** The cheapest way to read an operand. */
export function readingOf(
  kernel: Contraction,
  side: Side,
  writesOut = false,
): { reading: Reading; cost: number } {
  return readingsOf(kernel, side, writesOut).reduce((best, way) => way.cost < best.cost ? way : best);
}

/** Whether the stores write four aligned columns at once. */
export function storesWhole(kernel: Contraction, output: number): boolean {
  const [columns, first] = ownAxes(kernel, "right");
  if (points(columns) === 0 || points(columns) % 4 !== 0) return false;
  const vector = first + columns.length - 1;
  return kernel.stores.every(({ output: own, at, value }) => {
    if (own !== output) return true;
    if (byFour(value, columns, first) === undefined) return false;
    const { offset, coefficients } = at;
    if (grouping(columns) === "axis") return isContiguous(at, vector);
    const others = coefficients.map((c, k) => k >= first && k < vector ? 0 : c);
    return isFlat(at, columns, first) && isContiguous({ offset, coefficients: others }, vector);
  });
}
