/**
 * Random numbers for data: a counter-based generator that is addressed, not advanced.
 *
 * Every sample of every step has its own stream, named by (seed, stream, step, index). So its crop and its colours
 * depend on nothing else: not on how many workers there are, not on the order in which they finish, not on the
 * training method, and a run that is resumed at step k sees what an uninterrupted run saw.
 *
 * @module
 */

/** A stream of random numbers. */
export interface RandomStream {
  /** A number in `[0, 1)`, or in `[low, high)`. */
  uniform(low?: number, high?: number): number;
  /** An integer from `low` to `high`, both included. */
  integer(low: number, high: number): number;
  /** True with probability `p`. */
  chance(p: number): boolean;
  /** The numbers 0 to n - 1 in random order. */
  permutation(n: number): Uint32Array;
}

/**
 * The random stream with a given address.
 *
 * The numbers come from Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011), keyed by the address.
 *
 * @param seed The run's seed, an unsigned 32-bit integer; larger ones are folded.
 * @param address Up to three unsigned 32-bit integers; absent ones are 0.
 * @returns A new stream at its beginning.
 *
 * @example The same address gives the same numbers
 * ```ts
 * import { randomStream } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * assertEquals(randomStream(7, 1, 20).uniform(), randomStream(7, 1, 20).uniform());
 * assertEquals([...randomStream(7).permutation(5)].sort(), [0, 1, 2, 3, 4]);
 * ```
 */
export function randomStream(seed: number, ...address: [number?, number?, number?]): RandomStream {
  const [stream = 0, step = 0, index = 0] = address;
  const folded = (seed ^ Math.floor(seed / 2 ** 32)) >>> 0;
  const [key0, key1] = threefry(folded, stream >>> 0, step >>> 0, index >>> 0);
  let counter = 0;
  const uniform = (low = 0, high = 1): number => {
    const [word] = threefry(key0, key1, counter++, 0);
    return low + (high - low) * (word / 2 ** 32);
  };
  const integer = (low: number, high: number): number => low + Math.floor(uniform() * (high - low + 1));
  return {
    uniform,
    integer,
    chance: (p) => uniform() < p,
    permutation(n) {
      const order = Uint32Array.from({ length: n }, (_, i) => i);
      for (let i = n - 1; i > 0; i--) {
        const j = integer(0, i);
        [order[i], order[j]] = [order[j]!, order[i]!];
      }
      return order;
    },
  };
}

const rotations = [13, 15, 26, 6, 17, 29, 16, 24] as const;

/** One block of Threefry-2x32-20: two words from a key and a counter of two words each. */
export function threefry(key0: number, key1: number, counter0: number, counter1: number): [number, number] {
  const keys = [key0, key1, key0 ^ key1 ^ 0x1bd11bda];
  let x = (counter0 + key0) | 0;
  let y = (counter1 + key1) | 0;
  for (let round = 0; round < 20; round++) {
    const rotation = rotations[round % 8]!;
    x = (x + y) | 0;
    y = ((y << rotation) | (y >>> (32 - rotation))) ^ x;
    if (round % 4 === 3) {
      const injection = (round + 1) / 4;
      x = (x + keys[injection % 3]!) | 0;
      y = (y + keys[(injection + 1) % 3]! + injection) | 0;
    }
  }
  return [x >>> 0, y >>> 0];
}
