/**
 * Folds with one invocation per row, or per four neighbouring rows. Maps, which have no stages, are rows of
 * one element.
 *
 * @module
 */
import { type Combine, type Expr, type Fold, points, type Stage } from "../compiler/kernel.ts";
import { contiguousStrides } from "../compiler/affine.ts";
import type { DType } from "../dtype.ts";
import { countLoads, type FoldPlan, isContiguous, planFold } from "./fold_plan.ts";
import { checkTurns, type Dispatch, type Family } from "./schedule.ts";
import { type AxisValue, decodeAxes } from "./wgsl_axes.ts";
import { type Block, Shader } from "./wgsl.ts";
import { Emitter, type Value, widened } from "./wgsl_expression.ts";
import { combineText, literal, splat, startText, typeName, type Width } from "./wgsl_math.ts";
import { writeWalk } from "./wgsl_walk.ts";

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

/** How many points one loop turn takes. */
export function unrolling(value: Expr, each = 1): number {
  const loads = Math.max(1, countLoads(value)) * each;
  return loads * 4 <= mostLoads ? 4 : loads * 2 <= mostLoads ? 2 : 1;
}

/** Walks of up to this many points are written out. */
export function flatLength(value: Expr, each = 1): number {
  return Math.max(1, Math.floor(mostFlatLoads / (Math.max(1, countLoads(value)) * each)));
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
export function foldByLanes(kernel: Fold, { family, scratchFrom, toScratch }: FoldOptions): Dispatch {
  const plan = planFold(kernel, family === "software" ? 64 : 16384);
  const lanes = points(kernel.axes) / (plan.parallel === undefined ? 1 : 4);
  const workgroup = family === "software" && lanes < 2048 ? 8 : 64;
  const isGeneric = family === "software";
  const shader = new Shader({ ...kernel, workgroup, scratchFrom, toScratch, isGeneric });
  const block = shader.body;
  const axes = decodeAxes(block, shader.begin(lanes), kernel.axes, plan.parallel, "axis");
  const results: Value[] = [];
  const width: Width = plan.parallel === undefined ? 1 : 4;
  let turns = 0;
  kernel.stages.forEach((stage, k) => {
    const written = writeStage(block, stage, axes, plan.inner[k], width, results);
    results.push(written.value);
    turns += written.turns;
  });
  const wide = vectorOutputs(kernel, plan);
  kernel.stores.forEach((store, k) => {
    turns += writeWalk(block, {
      axes: store.axes,
      vector: plan.inner[kernel.stages.length + k],
      unroll: unrolling(store.value),
      flat: flatLength(store.value),
    }, (inside, places) => {
      for (const place of places) {
        const emitter = new Emitter(inside, [...axes, ...place], results);
        const dtype = kernel.outputs[store.output]!;
        emitter.store(store.output, store.at, emitter.value(store.value), dtype, wide[store.output]!);
      }
    });
  });
  checkTurns(kernel.label, turns, family);
  return shader.finish();
}

/** One stage; its result lies in `block`. */
function writeStage(
  block: Block,
  stage: Stage,
  axes: readonly AxisValue[],
  vector: number | undefined,
  rows: Width,
  results: readonly Value[],
): { value: Value; turns: number } {
  const width: Width = vector === undefined ? rows : 4;
  const walk = { axes: stage.axes, vector, unroll: unrolling(stage.value), flat: flatLength(stage.value) };
  const partial = new Partial(block, stage.combine, stage.value.dtype, width);
  const turns = writeWalk(block, walk, (inside, places) => {
    places.forEach((place, k) => {
      const value = new Emitter(inside, [...axes, ...place], results).value(stage.value);
      partial.add(inside, k, widened(value, stage.value.dtype, width), rowMajor(inside, stage.axes, place));
    });
  });
  return { value: partial.finish(block, vector !== undefined), turns };
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
    return this.combine === "argMax" || this.combine === "argMin";
  }

  /** Takes in the value of a point; `k` = its number among those of one loop turn. */
  add(inside: Block, k: number, value: string, place: string): void {
    if (this.isPlace) return this.#addPlace(inside, value, place);
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
