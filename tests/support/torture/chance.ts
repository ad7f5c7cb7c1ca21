/** Random choices that a seed repeats. @module */
import { randomStream } from "../../../src/data/random.ts";

/** Random choices of one case. */
export class Chance {
  readonly #stream: ReturnType<typeof randomStream>;

  /** The choices of case `number` of a campaign. */
  constructor(seed: number, number: number) {
    this.#stream = randomStream(seed, number);
  }

  /** A whole number from 0 to below `end`. */
  below(end: number): number {
    return this.#stream.integer(0, end - 1);
  }

  /** A number from `low` to `high`. */
  between(low: number, high: number): number {
    return low + (high - low) * this.below(2 ** 20) / 2 ** 20;
  }

  /** One of a list. */
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** True in one of `count` cases. */
  oneIn(count: number): boolean {
    return this.below(count) === 0;
  }
}
