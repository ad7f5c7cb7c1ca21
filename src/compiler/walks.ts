/**
 * Which reductions of a row are computed together. Kernels that the compiler has joined reduce the same row several
 * times; what does not need the result of another is found in one walk, which reads the row once.
 *
 * @module
 */
import { forEachExpr } from "./expression.ts";
import { points, type Stage } from "./kernel.ts";

/** Whether the result of a stage is a position: then the order of its steps counts. */
export function isIndexStage({ combine }: Pick<Stage, "combine">): boolean {
  return combine === "argMax" || combine === "argMin";
}

/**
 * The numbers of the stages, those together that one walk computes. They have the same axes, none needs the result of
 * another, and `canJoin` (given the number of the walk's first stage and that of the next) agrees.
 *
 * @param withSpread Whether squared deviations are computed in the walk that finds their mean: see `meanOf`.
 */
export function sharedWalks(
  stages: readonly Stage[],
  canJoin: (first: number, next: number) => boolean,
  withSpread = false,
): number[][] {
  const walks: number[][] = [];
  stages.forEach((stage, k) => {
    const walk = walks.at(-1);
    const first = walk && stages[walk[0]!]!;
    const joins = first && !isIndexStage(stage) && !isIndexStage(first) &&
      String(first.axes) === String(stage.axes) && canJoin(walk[0]!, k) &&
      (!needs(stage, walk) || (withSpread && isSpreadIn(walk, stages, k)));
    if (joins) walk.push(k);
    else walks.push([k]);
  });
  return walks;
}

/** Whether a stage uses the result of one of these. */
function needs({ value }: Stage, walk: readonly number[]): boolean {
  let found = false;
  forEachExpr(value, (e) => found ||= e.kind === "reduced" && walk.includes(e.stage));
  return found;
}

/** Whether a stage is about the mean of a stage of the walk, and needs nothing else of the walk. */
function isSpreadIn(walk: readonly number[], stages: readonly Stage[], number: number): boolean {
  const mean = meanOf(stages, number);
  return mean !== undefined && walk.includes(mean) && !needs(stages[mean]!, walk);
}

/**
 * The stage whose mean a stage of squared deviations is about, Σ (x − Σx / n)², as in a layer norm; undefined if it
 * is no such stage, in f32. Equal expressions must be the same object: see `shareEqual`.
 */
export function meanOf(stages: readonly Stage[], number: number): number | undefined {
  const { combine, value, axes } = stages[number]!;
  if (combine !== "sum" || value.kind !== "binary" || value.op !== "mul") return undefined;
  if (value.a !== value.b || value.dtype !== "f32") return undefined;
  const deviation = value.a;
  if (deviation.kind !== "binary" || deviation.op !== "sub") return undefined;
  const { a: x, b: mean } = deviation;
  if (mean.kind !== "binary" || mean.op !== "div" || mean.a.kind !== "reduced") return undefined;
  const sum = stages[mean.a.stage]!;
  const isMean = sum.combine === "sum" && sum.value === x && String(sum.axes) === String(axes) &&
    mean.b.kind === "constant" && mean.b.value === points(axes);
  return isMean ? mean.a.stage : undefined;
}
