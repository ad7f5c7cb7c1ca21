/**
 * Folds with one invocation per row, or per four neighbouring rows. Maps, which have no stages, are rows of
 * one element.
 *
 * @module
 */
import { formsOf } from "../compiler/expression.ts";
import { type Affine, type Combine, type Expr, type Fold, points, type Stage } from "../compiler/kernel.ts";
import { contiguousStrides } from "../compiler/affine.ts";
import { shareEqual } from "../compiler/share.ts";
import { isIndexStage, meanOf, sharedWalks } from "../compiler/walks.ts";
import type { DType } from "../dtype.ts";
import { countLoads, type FoldPlan, isContiguous, planFold } from "./fold_plan.ts";
import { checkTurns, type Dispatch, type Family, parametersOf } from "./schedule.ts";
import { type AxisValue, decodeAxes, fixed, variable } from "./wgsl_axes.ts";
import { type Block, Shader } from "./wgsl.ts";
import { Emitter, type Value, widened } from "./wgsl_expression.ts";
import { combineText, literal, splat, startText, typeName, type Width } from "./wgsl_math.ts";
import { Count, Spread } from "./wgsl_spread.ts";
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
export function walkOptions(
  axes: readonly number[],
  vector: number | undefined,
  values: readonly Expr[],
  abreast = 1,
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
  for (const walk of storeWalks(kernel, plan)) {
    turns += writeStores(block, kernel, plan, walk, rows, results);
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
  const count = parts.some(({ isSpread }) => isSpread) ? new Count(block) : undefined;
  const textOf = (emitter: Emitter, value: Expr): string => widened(emitter.value(value), value.dtype, width);
  const reductions = rows.map((row, r) => {
    const first = new Emitter(block, [...row, ...axes.map(() => fixed(0))], results[r]!);
    return parts.map(({ stage, isSpread, value }) =>
      isSpread
        ? new Spread(block, count!, width, block.let(textOf(first, value)))
        : new Partial(block, stage.combine, value.dtype, width)
    );
  });
  const options = walkOptions(axes, vector, parts.map(({ value }) => value), rows.length);
  const turns = writeWalk(block, options, (inside, places) => {
    places.forEach((place, k) => {
      const share = count?.next(inside);
      rows.forEach((row, r) => {
        const emitter = new Emitter(inside, [...row, ...place], results[r]!);
        parts.forEach(({ value }, j) => {
          const text = textOf(emitter, value);
          const reduction = reductions[r]![j]!;
          if (reduction instanceof Spread) reduction.add(inside, text, share!);
          else reduction.add(inside, k, text, () => rowMajor(inside, axes, place));
        });
      });
    });
  });
  reductions.forEach((own, r) => {
    for (const reduction of own) results[r]!.push(reduction.finish(block, vector !== undefined));
  });
  return turns;
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
  plan: FoldPlan,
  walk: readonly number[],
  rows: readonly (readonly AxisValue[])[],
  results: readonly (readonly Value[])[],
): number {
  const stores = walk.map((number) => kernel.stores[number]!);
  const wide = vectorOutputs(kernel, plan);
  const vector = plan.inner[kernel.stages.length + walk[0]!];
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

/** The row-major position of a point, as an i32 text. */
export function rowMajor(block: Block, axes: readonly number[], place: readonly AxisValue[]): string {
  const at = { offset: 0, coefficients: contiguousStrides(axes) };
  return `i32(${new Emitter(block, place).address(at).text})`;
}

/** Partial results of a reduction. Neighbouring points go to different ones, which is faster and more exact. */
export class Partial {
  readonly #names: string[] = [];
  readonly #places: string[] = [];

  constructor(
    readonly block: Block,
    readonly combine: Combine,
    readonly dtype: DType,
    readonly width: Width,
  ) {
    this.#slot(0);
  }

  /** Whether the result is the place of an extremum. */
  get isPlace(): boolean {
    return isIndexStage(this);
  }

  /** Takes in the value of a point; `k` = its number among those of one loop turn, `place` names its position. */
  add(inside: Block, k: number, value: string, place: () => string): void {
    if (this.isPlace) return this.#addPlace(inside, value, place());
    const name = this.#slot(k % 4);
    const joined = combineText(this.combine, name, value, this.dtype, this.width, inside.shader.helpers);
    inside.lines.push(`${name} = ${joined};`);
  }

  /** Value and place of the extremum so far. */
  extremum(): [value: string, place: string] {
    return [this.#names[0]!, this.#places[0]!];
  }

  /** The result; `across`: the four components are joined too. */
  finish(block: Block, across: boolean): Value {
    if (this.isPlace) return { text: this.#places[0]!, width: this.width, depth: block.depth };
    const { helpers } = block.shader;
    const join = (a: string, b: string, width: Width): string =>
      block.let(combineText(this.combine, a, b, this.dtype, width, helpers));
    // Pairs first: ((0, 1), (2, 3)).
    let names = this.#names;
    while (names.length > 1) {
      names = names.flatMap((name, k) =>
        k % 2 === 1 ? [] : k + 1 < names.length ? [join(name, names[k + 1]!, this.width)] : [name]
      );
    }
    const [text] = names as [string];
    if (!across) {
      return {
        text: block.let(`${typeName(this.dtype, this.width)}(${text})`),
        width: this.width,
        depth: block.depth,
      };
    }
    const pairs = [join(`${text}.x`, `${text}.y`, 1), join(`${text}.z`, `${text}.w`, 1)] as const;
    return { text: join(pairs[0], pairs[1], 1), width: 1, depth: block.depth };
  }

  #slot(k: number): string {
    while (this.#names.length <= k) {
      const start = startText(this.combine, this.dtype, this.width);
      const name = this.block.variable(this.dtype, this.width, start);
      this.#names.push(name);
      if (this.isPlace) {
        this.#places.push(
          this.block.variable("i32", this.width, splat(literal(0, "i32"), "i32", this.width)),
        );
      }
    }
    return this.#names[k]!;
  }

  #addPlace(inside: Block, value: string, place: string): void {
    const [best, at] = this.extremum();
    const { helpers } = inside.shader;
    let better = `${value} ${this.combine === "argMax" ? ">" : "<"} ${best}`;
    if (this.dtype === "f32") {
      const nan = helpers.use("isNan", this.width);
      better = `(${better}) | (${nan}(${value}) & !${nan}(${best}))`;
    } else if (this.dtype === "bool") {
      better = this.combine === "argMax" ? `${value} & !${best}` : `!${value} & ${best}`;
    }
    const found = inside.define(better);
    inside.lines.push(
      `${at} = select(${at}, ${splat(place, "i32", this.width)}, ${found});`,
      `${best} = select(${best}, ${value}, ${found});`,
    );
  }
}
