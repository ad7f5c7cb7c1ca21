/**
 * Folds with one invocation per row, or per four neighbouring rows. Maps, which have no stages, are rows of
 * one element.
 *
 * @module
 */
import { type Fold, points } from "../compiler/kernel.ts";
import { shareEqual } from "../compiler/share.ts";
import { sharedWalks } from "../compiler/walks.ts";
import { type Abreast, rowsAbreast } from "./abreast.ts";
import { type FoldPlan, isContiguous, planFold } from "./fold_plan.ts";
import { checkTurns, type Dispatch, type Family, parametersOf } from "./schedule.ts";
import { decodeAxes, fixed, shifted, variable } from "./wgsl_axes.ts";
import { Block, Shader } from "./wgsl.ts";
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

/** The dispatch of a simplified fold. */
export function foldByLanes(given: Fold, { family, scratchFrom, toScratch }: FoldOptions): Dispatch {
  const kernel = shareEqual(given);
  const plan = planFold(kernel, family === "software" ? 64 : 16384);
  const abreast = rowsAbreast(kernel, plan, family);
  const sizes = kernel.axes.map((size, k) => Math.ceil(size / abreast.counts[k]!));
  const lanes = points(sizes) / (plan.parallel === undefined ? 1 : 4);
  const workgroup = family === "software" && lanes < 2048 ? 8 : 64;
  const shader = new Shader({
    ...kernel,
    workgroup,
    scratchFrom,
    toScratch,
    parameters: parametersOf(family),
  });
  const block = shader.body;
  const rows = decodeRows(block, shader.begin(lanes), kernel.axes, sizes, plan, abreast);
  const width: Width = plan.parallel === undefined ? 1 : 4;
  let turns = 0;
  const isSame = (first: number, next: number): boolean => plan.inner[first] === plan.inner[next];
  for (const walk of sharedWalks(kernel.stages, isSame, family === "software")) {
    turns += new Reductions(block, rows, kernel.stages, walk, {
      vector: plan.inner[walk[0]!],
      width,
      taps: abreast.taps,
    }).write();
  }
  const wide = vectorOutputs(kernel, plan);
  for (const walk of storeWalks(kernel, plan)) {
    turns += writeStores(block, kernel, plan, wide, walk, rows);
  }
  return shader.finish(checkTurns(kernel.label, turns, family));
}

/** The rows of an invocation. */
function decodeRows(
  block: Block,
  lane: string,
  axes: readonly number[],
  sizes: readonly number[],
  { parallel }: FoldPlan,
  { counts }: Abreast,
): Row[] {
  const key = counts.some((count) => count > 1) ? "axis by rows" : "axis";
  const decoded = decodeAxes(block, lane, sizes, parallel, key);
  let rows: Row[] = [{ axes: [], results: [], exists: undefined }];
  decoded.forEach((axis, k) => {
    const [count, size] = [counts[k]!, axes[k]!];
    const base = count === 1
      ? axis
      : count === size
      ? fixed(0)
      : variable(block.let(`${axis.text} * ${count}`), block.depth, count);
    rows = rows.flatMap((row) =>
      Array.from({ length: count }, (_, r): Row => {
        const own = shifted(base, r);
        const isPartial = size % count !== 0 && r > 0;
        const inside = isPartial &&
          block.let(`${base.text} + ${r} < ${block.shader.number(`rows along ${k}`, size)}`);
        const exists = [row.exists, inside || undefined].filter((each) => each !== undefined).join(" && ");
        return { axes: [...row.axes, own], results: [], exists: exists || undefined };
      })
    );
  });
  return rows;
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
      for (const { axes, results, exists } of rows) {
        const target = exists === undefined ? inside : new Block(inside.shader, inside);
        const emitter = new Emitter(target, [...axes, ...place], results);
        for (const { output, at, value } of stores) {
          emitter.store(output, at, emitter.value(value), kernel.outputs[output]!, wide[output]!);
        }
        if (exists !== undefined) inside.nest(`if (${exists})`, target);
      }
    }
  });
}
