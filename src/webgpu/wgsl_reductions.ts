/**
 * The reductions of the rows of an invocation: stages of a fold that need nothing of each other, in one walk.
 *
 * @module
 */
import { type Expr, points, type Stage } from "../compiler/kernel.ts";
import { meanOf } from "../compiler/walks.ts";
import { countLoads } from "./fold_plan.ts";
import type { Block } from "./wgsl.ts";
import { type AxisValue, fixed, variable } from "./wgsl_axes.ts";
import { component, Emitter, type Value, widened } from "./wgsl_expression.ts";
import type { Width } from "./wgsl_math.ts";
import { Partial, rowMajor, type Taken } from "./wgsl_partial.ts";
import { median, Spread } from "./wgsl_spread.ts";
import { type WalkOptions, writeWalk } from "./wgsl_walk.ts";

/** At most this many loads are written for one loop turn: compile time grows faster than their number. */
const mostLoads = 4;
/** And at most this many where there is no loop at all. */
const mostFlatLoads = 8;

/** How a walk is written in which these values are computed, for so many rows abreast. */
export function walkOptions(
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

/** A row of an invocation: where it lies, and what its stages have found so far. */
export interface Row {
  readonly axes: readonly AxisValue[];
  readonly results: Value[];
  /** Whether there is such a row; undefined: always. What is found in the others is not stored. */
  readonly exists: string | undefined;
}

/** How the rows are walked. */
interface Reading {
  /** The axis along which four values are taken at once. */
  readonly vector: number | undefined;
  /** Width of a result. */
  readonly width: Width;
  /** How the walk is written; by the number of loads if it is not given. */
  readonly taps?: Pick<WalkOptions, "flat" | "unroll"> | undefined;
}

/** A stage and the value that it takes in: that of its mean's stage, if it is about deviations from a mean of the walk. */
interface Part {
  readonly stage: Stage;
  readonly isSpread: boolean;
  readonly value: Expr;
}

/** The walk of some stages. */
export class Reductions {
  readonly #axes: readonly number[];
  readonly #parts: readonly Part[];
  /** Width of the values that are taken in. */
  readonly #width: Width;

  /**
   * @param walk The numbers of the stages.
   */
  constructor(
    readonly block: Block,
    readonly rows: readonly Row[],
    stages: readonly Stage[],
    walk: readonly number[],
    readonly reading: Reading,
  ) {
    this.#axes = stages[walk[0]!]!.axes;
    this.#width = reading.vector === undefined ? reading.width : 4;
    this.#parts = walk.map((number) => {
      const stage = stages[number]!;
      const mean = meanOf(stages, number);
      const isSpread = mean !== undefined && walk.includes(mean);
      return { stage, isSpread, value: isSpread ? stages[mean]!.value : stage.value };
    });
  }

  /** Writes the walk, and gives every row what it finds; returns the loop turns. */
  write(): number {
    const { block, rows, reading: { vector } } = this;
    const across = vector !== undefined;
    const reductions = this.#parts.map((part) => rows.map((row) => this.#start(part, row)));
    let turns = this.#walk(
      block,
      this.#parts.map(({ value }) => value),
      (inside, { row, part, k, ...taken }) => {
        reductions[part]![row]!.add(inside, k, taken.text, taken.position);
      },
      (inside) => reductions.forEach((ofRows) => ofRows.forEach((each) => each.carry(inside))),
    );
    const found = reductions.map((ofRows) => ofRows.map((reduction) => reduction.finish(block, across)));
    this.#parts.forEach(({ isSpread, value }, part) => {
      if (!isSpread) return;
      const spreads = reductions[part] as Spread[];
      turns += Spread.again(
        block,
        spreads,
        across,
        (inside, take, carry) => this.#walk(inside, [value], take, carry),
      );
    });
    for (const values of found) values.forEach((value, row) => rows[row]!.results.push(value));
    return turns;
  }

  #start({ stage, isSpread, value }: Part, row: Row): Partial | Spread {
    const { block } = this;
    if (!isSpread) return new Partial(block, stage.combine, value.dtype, this.#width);
    const length = block.shader.number(`length ${block.shader.id(stage)}`, points(this.#axes), "f32");
    return new Spread(block, this.#width, this.#origin(value, row), length);
  }

  /** Takes values of all rows at every place. */
  #walk(
    block: Block,
    values: readonly Expr[],
    take: (inside: Block, taken: Taken) => void,
    carry: (inside: Block) => void,
  ): number {
    const { rows, reading: { vector, taps } } = this;
    const [axes, width] = [this.#axes, this.#width];
    return writeWalk(
      block,
      { ...walkOptions(axes, vector, values, rows.length), ...taps, carry },
      (inside, places) => {
        places.forEach((place, k) =>
          rows.forEach((own, row) => {
            const emitter = new Emitter(inside, [...own.axes, ...place], own.results);
            values.forEach((value, part) => {
              const text = widened(emitter.value(value), value.dtype, width);
              take(inside, { row, part, k, text, position: () => rowMajor(inside, axes, place) });
            });
          })
        );
      },
    );
  }

  /** The median of a row's first three values, if four are read at once, else of the first, a middle and the last. */
  #origin(value: Expr, { axes, results }: Row): string {
    const { block, reading: { vector } } = this;
    const at = (place: readonly AxisValue[]): Value =>
      new Emitter(block, [...axes, ...place], results).value(value);
    const start = this.#axes.map(() => fixed(0));
    if (vector !== undefined) {
      const four = at(start.map((axis, k) => ({ ...axis, isVector: k === vector })));
      return median(block, [component(four, 0), component(four, 1), component(four, 2)], 1);
    }
    const { shader } = block;
    const part = (share: number): string =>
      at(this.#axes.map((size, axis) => {
        const place = Math.max(0, Math.floor((size - 1) * share));
        return variable(shader.number(`${share} of ${shader.id(value)} along ${axis}`, place), 0);
      })).text;
    const first = at(start);
    return median(block, [first.text, part(0.5), part(1)], first.width);
  }
}
