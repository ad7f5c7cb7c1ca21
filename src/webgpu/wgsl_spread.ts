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
import { Partial, type Taken } from "./wgsl_partial.ts";
import { splat, type Width } from "./wgsl_math.ts";
import type { Value } from "./wgsl_expression.ts";

/** From this (o − x̄)² / σ² on a row is walked once more. */
const mostShift = 9;

/** The median of three values, hidden from the compiler: it is taken off each of them. */
export function median(block: Block, [a, b, c]: readonly [string, string, string], width: Width): string {
  const middle = `max(min(${a}, ${b}), min(max(${a}, ${b}), ${c}))`;
  return block.let(block.shader.hidden(middle, width));
}

/** The squared deviations of a row of `length` values, which are taken in `width` at a time. */
export class Spread {
  readonly #sum: Partial;
  readonly #squares: Partial;
  /** What was found: a variable, the mean less the origin, and whether too many digits were lost. */
  #found: { readonly value: Value; readonly shift: string; readonly isBad: string } | undefined;

  /** `origin` = what is taken off every value. */
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

  /** See `Partial`. */
  carry(inside: Block): void {
    this.#sum.carry(inside);
    this.#squares.carry(inside);
  }

  /** The result; `across`: the four components are joined too. */
  finish(block: Block, across: boolean): Value {
    const [sum, squares] = [this.#sum.finish(block, across), this.#squares.finish(block, across)];
    const shift = block.let(`${sum.text} / ${this.length}`);
    const lost = block.let(`${sum.text} * ${shift}`);
    const value = { ...squares, text: block.variable("f32", squares.width, `${squares.text} - ${lost}`) };
    const isMore = `${lost} > ${value.text} * ${splat(`${mostShift}.0f`, "f32", value.width)}`;
    this.#found = { value, shift, isBad: value.width === 4 ? `any(${isMore})` : isMore };
    return value;
  }

  /** Finished rows are walked again if one of them is bad; returns the loop turns, as `walk` does. */
  static again(
    block: Block,
    rows: readonly Spread[],
    across: boolean,
    walk: (
      inside: Block,
      take: (inside: Block, taken: Taken) => void,
      carry: (inside: Block) => void,
    ) => number,
  ): number {
    const found = rows.map((row) => row.#found!);
    const again = new Block(block.shader, block);
    const squares = rows.map(({ width }) => new Partial(again, "sum", "f32", width));
    const turns = walk(again, (inside, { row, k, text }) => {
      const apart = inside.let(`${text} - ${rows[row]!.origin} - ${found[row]!.shift}`);
      squares[row]!.add(inside, k, inside.let(`${apart} * ${apart}`));
    }, (inside) => squares.forEach((each) => each.carry(inside)));
    found.forEach(({ value }, row) => {
      again.lines.push(`${value.text} = ${squares[row]!.finish(again, across).text};`);
    });
    block.nest(`if (${found.map(({ isBad }) => isBad).join(" || ")})`, again);
    return turns;
  }
}
