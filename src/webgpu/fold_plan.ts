/**
 * How the points of a fold are spread: which axis four neighbours are taken along. On every adapter one load
 * of four elements is cheaper than four loads; on llvmpipe a load costs more than all arithmetic around it.
 *
 * @module
 */
import { forEachExpr } from "../compiler/expression.ts";
import { type Affine, type Expr, type Fold, points } from "../compiler/kernel.ts";
import { isIndexStage } from "../compiler/walks.ts";

/** Cost of a load of one element (measured on llvmpipe: 12 ns for eight lanes) and of four (25 ns). */
export const one = 12;
export const four = 25;

/** A walk along axes of its own: a stage, or a store with axes. */
export interface Walk {
  readonly axes: readonly number[];
  readonly value: Expr;
  /** Where a store writes. */
  readonly at?: Affine;
}

/** The axis along which four neighbours are taken: one of the fold's, one of each walk's, or none. */
export interface FoldPlan {
  readonly parallel: number | undefined;
  /** For every stage, then for every store: the axis of the walk. */
  readonly inner: readonly (number | undefined)[];
}

/** All walks of a fold: stages, then stores. */
export function walksOf(kernel: Fold): Walk[] {
  return [...kernel.stages, ...kernel.stores];
}

/** Number of loads in expressions that are computed together: what is loaded twice is one load. */
export function countLoads(...exprs: readonly Expr[]): number {
  const loads = new Set<unknown>();
  const seen = new Set<Expr>();
  for (const expr of exprs) {
    forEachExpr(expr, (node) => {
      if (node.kind === "load") loads.add(JSON.stringify([node.input, node.at]));
      if (node.kind === "gather") loads.add(node);
    }, seen);
  }
  return loads.size;
}

/** Loads of an expression per point, in nanoseconds, for four points along axis `vector` (undefined: one point). */
export function loadCost(expr: Expr, vector: number | undefined, multiple = 4): number {
  let cost = 0;
  forEachExpr(expr, (node) => {
    if (node.kind !== "load" && node.kind !== "gather") return;
    if (vector === undefined) cost += one;
    else if (node.kind === "gather") cost += 4 * one;
    else cost += accessCost(node.at, vector, multiple);
  });
  return cost;
}

/** A load or store of four neighbours along an axis. */
function accessCost({ offset, coefficients }: Affine, vector: number, multiple: number): number {
  const step = coefficients[vector] ?? 0;
  if (step === 0) return one;
  const others = coefficients.every((c, k) => k === vector ? (c * multiple) % 4 === 0 : c % 4 === 0);
  if (step !== 1 || !others) return 4 * one;
  return offset % 4 === 0 ? four : 2 * four - 10;
}

/** Whether four neighbours along an axis are one aligned place in memory. */
export function isContiguous({ offset, coefficients }: Affine, vector: number): boolean {
  return coefficients[vector] === 1 && offset % 4 === 0 &&
    coefficients.every((c, k) => k === vector || c % 4 === 0);
}

/** Chooses the cheapest. `wanted` = lanes below which the device idles. */
export function planFold(kernel: Fold, wanted: number): FoldPlan {
  const walks = walksOf(kernel);
  const rows = points(kernel.axes);
  const n = kernel.axes.length;
  const total = (inner: readonly (number | undefined)[], parallel: number | undefined): number =>
    walks.reduce((sum, walk, w) => {
      const vector = parallel ?? (inner[w] === undefined ? undefined : n + inner[w]);
      const store = walk.at === undefined ? 0 : vector === undefined ? one : accessCost(walk.at, vector, 4);
      const perPoint = (loadCost(walk.value, vector) + store) / (vector === undefined ? 1 : 4);
      return sum + perPoint * points(walk.axes);
    }, 0);
  const idle = (lanes: number): number => Math.max(1, wanted / lanes);

  const inner = walks.map((walk, w) => bestInner(kernel, walk, w, n));
  let best = { cost: total(inner, undefined) * idle(rows), plan: { parallel: undefined, inner } as FoldPlan };
  kernel.axes.forEach((size, axis) => {
    if (size % 4 !== 0) return;
    const cost = total([], axis) * idle(rows / 4);
    if (cost < best.cost) best = { cost, plan: { parallel: axis, inner: walks.map(() => undefined) } };
  });
  return best.plan;
}

/** The axis of a walk along which its loads are cheapest. */
function bestInner(kernel: Fold, walk: Walk, w: number, n: number): number | undefined {
  const stage = kernel.stages[w];
  if (stage !== undefined && isIndexStage(stage)) return undefined;
  let best: number | undefined;
  let least = loadCost(walk.value, undefined) + (walk.at === undefined ? 0 : one);
  walk.axes.forEach((size, axis) => {
    if (size % 4 !== 0) return;
    const store = walk.at === undefined ? 0 : accessCost(walk.at, n + axis, 4);
    const cost = (loadCost(walk.value, n + axis) + store) / 4;
    if (cost < least) [best, least] = [axis, cost];
  });
  return best;
}
