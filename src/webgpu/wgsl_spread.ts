/**
 * The sum of squared deviations from a mean, found in the walk that finds the mean: a loop less over the row, where
 * loads take the time. Mean and squares so far are corrected by each value (B. P. Welford, Technometrics 4(3), 1962,
 * p. 419). That loses digits where the mean is far from zero compared with the deviations, so the row's first value is
 * taken off before: then their ratio is at most √n, since no value of a row is further from its mean than √n standard
 * deviations.
 *
 * @module
 */
import type { Block } from "./wgsl.ts";
import { splat, type Width } from "./wgsl_math.ts";
import type { Value } from "./wgsl_expression.ts";

/** How many values a walk has seen. */
export class Count {
  readonly name: string;

  constructor(block: Block) {
    this.name = block.variable("f32", 1, "0.0f");
  }

  /** Counts one more; returns its share of the mean. */
  next(inside: Block): string {
    inside.lines.push(`${this.name} = ${this.name} + 1.0f;`);
    return inside.define(`1.0f / ${this.name}`);
  }
}

/** The squared deviations of a row; with four values at a time, those of each of the four by itself. */
export class Spread {
  readonly #mean: string;
  readonly #squares: string;

  /** `origin` = what is taken off every value. */
  constructor(block: Block, readonly count: Count, readonly width: Width, readonly origin: string) {
    const start = splat("0.0f", "f32", width);
    this.#mean = block.variable("f32", width, start);
    this.#squares = block.variable("f32", width, start);
  }

  /** Takes in a value with its share of the mean. */
  add(inside: Block, value: string, share: string): void {
    const shifted = inside.let(`${value} - ${this.origin}`);
    const before = inside.define(`${shifted} - ${this.#mean}`);
    inside.lines.push(
      `${this.#mean} = ${this.#mean} + ${before} * ${splat(share, "f32", this.width)};`,
      `${this.#squares} = ${this.#squares} + ${before} * (${shifted} - ${this.#mean});`,
    );
  }

  /** The result; `across`: the four components are joined too, which have seen as many values each. */
  finish(block: Block, across: boolean): Value {
    const sum = (text: string): string => `(${text}.x + ${text}.y) + (${text}.z + ${text}.w)`;
    const { depth } = block;
    if (!across) return { text: block.define(this.#squares), width: this.width, depth };
    const mean = block.define(`(${sum(this.#mean)}) * 0.25f`);
    const apart = block.define(`${this.#mean} - vec4<f32>(${mean})`);
    const squares = block.define(`${this.#squares} + ${apart} * ${apart} * ${this.count.name}`);
    return { text: block.define(sum(squares)), width: 1, depth };
  }
}
