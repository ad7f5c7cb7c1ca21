/**
 * Rows that one invocation walks together because they read much in common: windows that overlap, as in depthwise
 * convolutions, and rows with one gain and bias, as in a layer norm. On the software adapter loads are what a kernel
 * waits for.
 *
 * @module
 */
import { formsOf, loadsOf } from "../compiler/expression.ts";
import { type Affine, type Fold, points, type Stage } from "../compiler/kernel.ts";
import { type FoldPlan, four, one } from "./fold_plan.ts";
import type { Family } from "./schedule.ts";

/** Which rows are walked together, and how. */
export interface Abreast {
  /** How many neighbours along each axis of the fold. */
  readonly counts: readonly number[];
  /** Places of the stage's walk that stand side by side in the code: all of them, or so many in a turn of the loop. */
  readonly taps?: { readonly flat: number; readonly unroll: number };
}

/** A walk of up to this many places is written out. */
const mostTaps = 9;
/** Turns of a longer one, side by side. */
const turnsAbreast = 4;
/** Rows of up to so many places, and of more. */
const mostRows = { writtenOut: 4, looped: 9 } as const;
/** Loads in the code of a walk: it compiles in more time than they are many. */
const mostLoads = 40;
/** Invocations below which some threads idle. */
const fewestLanes = 32;
/** Rows below which four with a common gain would leave too few invocations. */
const fewestForFour = 4096;
/** What is gained must be worth the longer code: loads per row, beside those of a row alone. */
const worthwhile = 0.7;

/** The rows that an invocation of a simplified fold walks. */
export function rowsAbreast(kernel: Fold, plan: FoldPlan, family: Family): Abreast {
  const alone = { counts: kernel.axes.map(() => 1) };
  if (family !== "software" || kernel.stages.length === 0) return alone;
  return windowsAbreast(kernel, plan) ?? commonAbreast(kernel, plan) ?? alone;
}

/** Four rows along the last axis, if they read something that is the same for all rows. */
function commonAbreast({ axes, stages, stores }: Fold, plan: FoldPlan): Abreast | undefined {
  if (plan.parallel !== undefined || (axes.at(-1) ?? 1) % 4 !== 0 || points(axes) < fewestForFour) {
    return undefined;
  }
  const isCommon = (form: Affine): boolean =>
    form.coefficients.some((c, k) => c !== 0 && k >= axes.length) &&
    form.coefficients.every((c, k) => c === 0 || k >= axes.length);
  const loads = [...stages, ...stores].flatMap(({ value }) => formsOf(value));
  return loads.some(isCommon) ? { counts: axes.map((_, k) => k === axes.length - 1 ? 4 : 1) } : undefined;
}

/** The rows whose windows overlap most, if they do. */
function windowsAbreast(kernel: Fold, plan: FoldPlan): Abreast | undefined {
  const [stage, ...others] = kernel.stages as [Stage, ...Stage[]];
  const isPlain = others.length === 0 && kernel.stores.every((store) => points(store.axes) === 1);
  if (!isPlain || plan.inner[0] !== undefined || points(stage.axes) === 0) return undefined;
  const flat = points(stage.axes) <= mostTaps;
  const taps = flat
    ? placesOf(stage.axes)
    : placesOf(stage.axes.map((size, k) => k === stage.axes.length - 1 ? Math.min(turnsAbreast, size) : 1));
  const most = flat ? mostRows.writtenOut : mostRows.looped;
  const options = candidates(kernel.axes, plan.parallel, most).filter((counts) => {
    const lanes = points(kernel.axes.map((size, k) => Math.ceil(size / counts[k]!)));
    return lanes / (plan.parallel === undefined ? 1 : 4) >= fewestLanes;
  });
  const alone = loadsTogether(stage, plan, kernel.axes.map(() => 1), taps);
  let [best, least] = [undefined as readonly number[] | undefined, worthwhile * alone.cost];
  for (const counts of options) {
    const { cost, count } = loadsTogether(stage, plan, counts, taps);
    // Rows past the last one are walked in vain.
    const rows = points(kernel.axes.map((size, k) => Math.ceil(size / counts[k]!)));
    const perRow = cost * rows / points(kernel.axes);
    if (count <= mostLoads && perRow < least) [best, least] = [counts, perRow];
  }
  if (best === undefined) return undefined;
  return {
    counts: best,
    taps: flat ? { flat: taps.length, unroll: 1 } : { flat: 1, unroll: taps.length },
  };
}

/** One axis or two: all of a short one, or two or four neighbours. */
function candidates(axes: readonly number[], parallel: number | undefined, most: number): number[][] {
  const choices = axes.map((size, k) =>
    k === parallel ? [1] : [...new Set([1, 2, 4, size <= 4 ? size : 1])].filter((count) => count <= size)
  );
  let all: number[][] = [[]];
  for (const own of choices) {
    all = all.flatMap((counts) => own.map((count) => [...counts, count])).filter((counts) =>
      points(counts) <= most && counts.filter((count) => count > 1).length <= 2
    );
  }
  return all.filter((counts) => points(counts) > 1);
}

/** Every place of a walk. */
function placesOf(sizes: readonly number[]): number[][] {
  return sizes.reduce<number[][]>(
    (places, size) => places.flatMap((place) => Array.from({ length: size }, (_, k) => [...place, k])),
    [[]],
  );
}

/** The different loads of rows that are walked together, at some places of the walk: how many, and nanoseconds. */
function loadsTogether(
  stage: Stage,
  { parallel }: FoldPlan,
  counts: readonly number[],
  taps: readonly (readonly number[])[],
): { cost: number; count: number } {
  const rows = placesOf(counts);
  let [cost, count] = [0, 0];
  for (const { at: { offset, coefficients } } of loadsOf(stage.value)) {
    const step = parallel === undefined ? 0 : coefficients[parallel] ?? 0;
    const isWhole = step === 1 &&
      coefficients.every((c, k) => k === parallel || k >= counts.length || c % 4 === 0);
    const found = new Set<number>();
    for (const row of rows) {
      for (const tap of taps) {
        const place = [...row, ...tap].reduce(
          (at, position, k) => at + position * (coefficients[k] ?? 0),
          offset,
        );
        if (isWhole) found.add(Math.floor(place / 4)).add(Math.ceil(place / 4));
        else found.add(place);
      }
    }
    cost += found.size * (isWhole ? four : step === 0 ? one : 4 * one);
    count += found.size * (isWhole || step === 0 ? 1 : 4);
  }
  return { cost, count };
}
