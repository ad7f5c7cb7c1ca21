/**
 * The sum of squared deviations from a mean, found in the walk that finds the mean: a loop less over the row, where
 * loads take the time.
 *
 * With an origin o that is taken off every value, Σ (x − x̄)² = Σ (x − o)² − (Σ (x − o))² / n. The difference loses
 * digits in proportion to (o − x̄)² / σ², which is small unless o is far from nearly all other values. So o is the
 * median of three of them; where it is bad all the same, the row is walked once more, about the mean.
 *
 * @module
 */
import { Block } from "./wgsl.ts";
import { Partial } from "./wgsl_partial.ts";
import { splat, type Width } from "./wgsl_math.ts";
import type { Value } from "./wgsl_expression.ts";

/** From this (o − x̄)² / σ² on a row is walked once more. */
const mostShift = 9;

/** The median of three values. */
export function median(block: Block, [a, b, c]: readonly [string, string, string]): string {
  return block.let(`max(min(${a}, ${b}), min(max(${a}, ${b}), ${c}))`);
}

/** The squared deviations of a row of `length` values, which are taken in `width` at a time. */
export class Spread {
  readonly #sum: Partial;
  readonly #squares: Partial;

  constructor(
    readonly block: Block,
    readonly width: Width,
    readonly origin: string,
    readonly length: string,
  ) {
    this.#sum = new Partial(block, "sum", "f32", width);
    this.#squares = new Partial(block, "sum", "f32", width);
  }

  /** Takes in a value; `k` = its number among those of one loop turn. */
  add(inside: Block, k: number, value: string): void {
    const apart = inside.let(`${value} - ${this.origin}`);
    this.#sum.add(inside, k, apart);
    this.#squares.add(inside, k, inside.let(`${apart} * ${apart}`));
  }

  /** The result; `across`: the four components are joined too. */
  finish(across: boolean): Finished {
    const { block, length, origin } = this;
    const [sum, squares] = [this.#sum.finish(block, across), this.#squares.finish(block, across)];
    const shift = block.let(`${sum.text} / ${length}`);
    const lost = block.let(`${sum.text} * ${shift}`);
    const text = block.variable("f32", squares.width, `${squares.text} - ${lost}`);
    const isBad = `${lost} > ${text} * ${splat(`${mostShift}.0f`, "f32", squares.width)}`;
    return {
      value: { ...squares, text },
      origin,
      shift,
      isBad: squares.width === 4 ? `any(${isBad})` : isBad,
    };
  }
}

/** What a spread has found. */
export interface Finished {
  /** A variable. */
  readonly value: Value;
  readonly origin: string;
  /** The mean less the origin. */
  readonly shift: string;
  /** Whether too many digits were lost. */
  readonly isBad: string;
}

/**
 * Walks some rows again if one of them is bad. `walk` calls its visitor with each value of each row and returns the
 * loop turns; they are returned.
 */
export function walkAgain(
  block: Block,
  rows: readonly Finished[],
  width: Width,
  across: boolean,
  walk: (block: Block, visit: (inside: Block, k: number, row: number, value: string) => void) => number,
): number {
  const again = new Block(block.shader, block);
  const squares = rows.map(() => new Partial(again, "sum", "f32", width));
  const turns = walk(again, (inside, k, row, value) => {
    const { origin, shift } = rows[row]!;
    const apart = inside.let(`${value} - ${origin} - ${shift}`);
    squares[row]!.add(inside, k, inside.let(`${apart} * ${apart}`));
  });
  rows.forEach(({ value }, row) => {
    again.lines.push(`${value.text} = ${squares[row]!.finish(again, across).text};`);
  });
  block.nest(`if (${rows.map(({ isBad }) => isBad).join(" || ")})`, again);
  return turns;
}
