/**
 * Folds with one invocation per row, or per four neighbouring rows. Maps, which have no stages, are rows of
 * one element.
 *
 * @module
 */
import { formsOf } from "../compiler/expression.ts";
import { type Affine, type Fold, points } from "../compiler/kernel.ts";
import { shareEqual } from "../compiler/share.ts";
import { sharedWalks } from "../compiler/walks.ts";
import { type FoldPlan, isContiguous, planFold } from "./fold_plan.ts";
import { checkTurns, type Dispatch, type Family, parametersOf } from "./schedule.ts";
import { type AxisValue, decodeAxes, variable } from "./wgsl_axes.ts";
import { type Block, Shader } from "./wgsl.ts";
import { Emitter } from "./wgsl_expression.ts";
import type { Width } from "./wgsl_math.ts";
import { Reductions, type Row, walkOptions } from "./wgsl_reductions.ts";
import { writeWalk } from "./wgsl_walk.ts";

/** Where the buffers of a kernel past its own inputs are scratch: see `Shader`. */
export interface FoldOptions {
  readonly family: Family;
  /** Inputs from this number on are scratch buffers. */
  readonly scratchFrom?: number;
  /** Output 0 is this scratch buffer. */
  readonly toScratch?: number;
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
  const rows: readonly Row[] = decodeRows(block, shader.begin(lanes), kernel.axes, plan, abreast)
    .map((axes) => ({ axes, results: [] }));
  const width: Width = plan.parallel === undefined ? 1 : 4;
  let turns = 0;
  const isSame = (first: number, next: number): boolean => plan.inner[first] === plan.inner[next];
  for (const walk of sharedWalks(kernel.stages, isSame, family === "software")) {
    turns += new Reductions(block, rows, kernel.stages, walk, plan.inner[walk[0]!], width).write();
  }
  const wide = vectorOutputs(kernel, plan);
  for (const walk of storeWalks(kernel, plan)) {
    turns += writeStores(block, kernel, plan, wide, walk, rows);
  }
  return shader.finish(checkTurns(kernel.label, turns, family));
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

/** The numbers of the stores, neighbours together that walk alike. */
export function storeWalks({ stages, stores }: Fold, { inner }: FoldPlan): number[][] {
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
  rows: readonly Row[],
): number {
  const stores = walk.map((number) => kernel.stores[number]!);
  const vector = inner[kernel.stages.length + walk[0]!];
  const options = walkOptions(stores[0]!.axes, vector, stores.map(({ value }) => value), rows.length);
  return writeWalk(block, options, (inside, places) => {
    for (const place of places) {
      for (const { axes, results } of rows) {
        const emitter = new Emitter(inside, [...axes, ...place], results);
        for (const { output, at, value } of stores) {
          emitter.store(output, at, emitter.value(value), kernel.outputs[output]!, wide[output]!);
        }
      }
    }
  });
}
