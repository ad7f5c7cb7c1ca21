/**
 * Folds with one invocation per row, or per four neighbouring rows. Maps, which have no stages, are rows of
 * one element.
 *
 * @module
 */
import { formsOf } from "../compiler/expression.ts";
import { type Affine, type Expr, type Fold, points, type Stage } from "../compiler/kernel.ts";
import { shareEqual } from "../compiler/share.ts";
import { meanOf, sharedWalks } from "../compiler/walks.ts";
import { countLoads, type FoldPlan, isContiguous, planFold } from "./fold_plan.ts";
import { checkTurns, type Dispatch, type Family, parametersOf } from "./schedule.ts";
import { type AxisValue, decodeAxes, fixed, variable } from "./wgsl_axes.ts";
import { type Block, Shader } from "./wgsl.ts";
import { component, Emitter, type Value, widened } from "./wgsl_expression.ts";
import type { Width } from "./wgsl_math.ts";
import { Partial, rowMajor } from "./wgsl_partial.ts";
import { median, Spread, walkAgain } from "./wgsl_spread.ts";
import { type WalkOptions, writeWalk } from "./wgsl_walk.ts";

/** At most this many loads are written for one loop turn: compile time grows faster than their number. */
const mostLoads = 4;
/** And at most this many where there is no loop at all. */
const mostFlatLoads = 8;

/** Where the buffers of a kernel past its own inputs are scratch: see `Shader`. */
export interface FoldOptions {
  readonly family: Family;
  /** Inputs from this number on are scratch buffers. */
  readonly scratchFrom?: number;
  /** Output 0 is this scratch buffer. */
  readonly toScratch?: number;
}

/** How a walk is written in which these values are computed, for so many rows abreast. */
function walkOptions(
  axes: readonly number[],
  vector: number | undefined,
  values: readonly Expr[],
  abreast: number,
): WalkOptions {
  const loads = Math.max(1, countLoads(...values)) * abreast;
  return {
    axes,
    vector,
    unroll: loads * 4 <= mostLoads ? 4 : loads * 2 <= mostLoads ? 2 : 1,
    flat: Math.max(1, Math.floor(mostFlatLoads / loads)),
  };
}

/** Which outputs are written four elements at a time. */
export function vectorOutputs(kernel: Fold, plan: FoldPlan): boolean[] {
  return kernel.outputs.map((_, output) =>
    kernel.stores.every((store, k) => {
      if (store.output !== output) return true;
      const inner = plan.inner[kernel.stages.length + k];
      const vector = plan.parallel ?? (inner === undefined ? undefined : kernel.axes.length + inner);
      return vector !== undefined && isContiguous(store.at, vector);
    })
  );
}

/**
 * How many rows an invocation walks at once: four where they read something in common, such as the gain and bias of a
 * layer norm, because on the software adapter loads are what a kernel waits for.
 */
function rowsAbreast(kernel: Fold, plan: FoldPlan, family: Family): 1 | 4 {
  const { axes, stages, stores } = kernel;
  const isRowWise = family === "software" && plan.parallel === undefined && stages.length > 0;
  if (!isRowWise || (axes.at(-1) ?? 1) % 4 !== 0 || points(axes) < fewestForFour) return 1;
  const isCommon = (form: Affine): boolean =>
    form.coefficients.some((c, k) => c !== 0 && k >= axes.length) &&
    form.coefficients.every((c, k) => c === 0 || k >= axes.length);
  const loads = [...stages, ...stores].flatMap(({ value }) => formsOf(value));
  return loads.some(isCommon) ? 4 : 1;
}

/** Rows below which four at a time would leave too few invocations. */
const fewestForFour = 4096;

/** The dispatch of a simplified fold. */
export function foldByLanes(given: Fold, { family, scratchFrom, toScratch }: FoldOptions): Dispatch {
  const kernel = shareEqual(given);
  const plan = planFold(kernel, family === "software" ? 64 : 16384);
  const abreast = rowsAbreast(kernel, plan, family);
  const lanes = points(kernel.axes) / (plan.parallel === undefined ? abreast : 4);
  const workgroup = family === "software" && lanes < 2048 ? 8 : 64;
  const shader = new Shader({
    ...kernel,
    workgroup,
    scratchFrom,
    toScratch,
    parameters: parametersOf(family),
  });
  const block = shader.body;
  const rows = decodeRows(block, shader.begin(lanes), kernel.axes, plan, abreast);
  const results: Value[][] = rows.map(() => []);
  const width: Width = plan.parallel === undefined ? 1 : 4;
  let turns = 0;
  const isSame = (first: number, next: number): boolean => plan.inner[first] === plan.inner[next];
  for (const walk of sharedWalks(kernel.stages, isSame, family === "software")) {
    turns += writeReductions(block, kernel.stages, walk, plan.inner[walk[0]!], width, rows, results);
  }
  const wide = vectorOutputs(kernel, plan);
  for (const walk of storeWalks(kernel, plan)) {
    turns += writeStores(block, kernel, plan, wide, walk, rows, results);
  }
  checkTurns(kernel.label, turns, family);
  return shader.finish();
}

/** The axes of each row of an invocation; rows of one invocation are neighbours along the last axis. */
function decodeRows(
  block: Block,
  lane: string,
  axes: readonly number[],
  { parallel }: FoldPlan,
  abreast: number,
): AxisValue[][] {
  if (abreast === 1) return [decodeAxes(block, lane, axes, parallel, "axis")];
  const pairs = axes.map((size, k) => k === axes.length - 1 ? size / abreast : size);
  const decoded = decodeAxes(block, lane, pairs, undefined, "axis by rows");
  const { text } = decoded.at(-1)!;
  return Array.from({ length: abreast }, (_, row) => {
    const name = block.let(`${text} * ${abreast} + ${row}`);
    return [...decoded.slice(0, -1), variable(name, block.depth, 1)];
  });
}

/**
 * Some stages in one walk, for all rows of an invocation; adds what each row finds to its results, and returns the
 * turns. `own` = the width of a result.
 */
function writeReductions(
  block: Block,
  stages: readonly Stage[],
  walk: readonly number[],
  vector: number | undefined,
  own: Width,
  rows: readonly (readonly AxisValue[])[],
  results: readonly Value[][],
): number {
  const width: Width = vector === undefined ? own : 4;
  const { axes } = stages[walk[0]!]!;
  const parts = walk.map((number) => {
    const stage = stages[number]!;
    const mean = meanOf(stages, number);
    const isSpread = mean !== undefined && walk.includes(mean);
    return { stage, isSpread, value: isSpread ? stages[mean]!.value : stage.value };
  });
  const across = vector !== undefined;
  const reductions = rows.map((row, r) =>
    parts.map(({ stage, isSpread, value }) => {
      if (!isSpread) return new Partial(block, stage.combine, value.dtype, width);
      const origin = originOf(block, value, axes, vector, row, results[r]!);
      const length = block.shader.number(`length ${block.shader.id(stage)}`, points(axes), "f32");
      return new Spread(block, width, origin, length);
    })
  );
  const walkOf = (block: Block, used: readonly Expr[], visit: PartVisit): number =>
    writeWalk(block, walkOptions(axes, vector, used, rows.length), (inside, places) => {
      places.forEach((place, k) =>
        rows.forEach((row, r) => {
          const emitter = new Emitter(inside, [...row, ...place], results[r]!);
          used.forEach((value, part) => {
            const text = widened(emitter.value(value), value.dtype, width);
            visit(inside, { k, row: r, part }, text, () => rowMajor(inside, axes, place));
          });
        })
      );
    });
  let turns = walkOf(block, parts.map(({ value }) => value), (inside, { k, row, part }, text, place) => {
    reductions[row]![part]!.add(inside, k, text, place);
  });
  const found = parts.map(({ value }, part) => {
    const ofRows = reductions.map((own) => own[part]!);
    if (!ofRows.every((own) => own instanceof Spread)) {
      return ofRows.map((own) => (own as Partial).finish(block, across));
    }
    const finished = ofRows.map((own) => own.finish(across));
    turns += walkAgain(
      block,
      finished,
      width,
      across,
      (again, visit) => walkOf(again, [value], (inside, { k, row }, text) => visit(inside, k, row, text)),
    );
    return finished.map((own) => own.value);
  });
  for (const values of found) values.forEach((value, row) => results[row]!.push(value));
  return turns;
}

/** What is done with the value of one part for one row at one place; `at.k` = the number of the place in its turn. */
type PartVisit = (
  inside: Block,
  at: { readonly k: number; readonly row: number; readonly part: number },
  value: string,
  place: () => string,
) => void;

/** The median of a row's first three values, if they are read four at a time, or of the first, a middle and the last. */
function originOf(
  block: Block,
  value: Expr,
  axes: readonly number[],
  vector: number | undefined,
  row: readonly AxisValue[],
  results: readonly Value[],
): string {
  const at = (place: readonly AxisValue[]): Value =>
    new Emitter(block, [...row, ...place], results).value(value);
  if (vector !== undefined) {
    const four = at(axes.map((_, axis) => ({ ...fixed(0), isVector: axis === vector })));
    return median(block, [component(four, 0), component(four, 1), component(four, 2)]);
  }
  const { shader } = block;
  const part = (share: number): string =>
    at(axes.map((size, axis) => {
      const place = Math.max(0, Math.floor((size - 1) * share));
      return variable(shader.number(`${share} of ${shader.id(value)} along ${axis}`, place), 0);
    })).text;
  return median(block, [at(axes.map(() => fixed(0))).text, part(0.5), part(1)]);
}

/** The numbers of the stores, neighbours together that walk alike. */
function storeWalks({ stages, stores }: Fold, { inner }: FoldPlan): number[][] {
  const walks: number[][] = [];
  stores.forEach((store, k) => {
    const first = walks.at(-1)?.[0];
    const joins = first !== undefined && String(stores[first]!.axes) === String(store.axes) &&
      inner[stages.length + first] === inner[stages.length + k];
    if (joins) walks.at(-1)!.push(k);
    else walks.push([k]);
  });
  return walks;
}

/** Some stores in one walk, for all rows of an invocation; returns the turns. */
function writeStores(
  block: Block,
  kernel: Fold,
  { inner }: FoldPlan,
  wide: readonly boolean[],
  walk: readonly number[],
  rows: readonly (readonly AxisValue[])[],
  results: readonly (readonly Value[])[],
): number {
  const stores = walk.map((number) => kernel.stores[number]!);
  const vector = inner[kernel.stages.length + walk[0]!];
  const options = walkOptions(stores[0]!.axes, vector, stores.map(({ value }) => value), rows.length);
  return writeWalk(block, options, (inside, places) => {
    for (const place of places) {
      rows.forEach((row, r) => {
        const emitter = new Emitter(inside, [...row, ...place], results[r]!);
        for (const { output, at, value } of stores) {
          emitter.store(output, at, emitter.value(value), kernel.outputs[output]!, wide[output]!);
        }
      });
    }
  });
}
