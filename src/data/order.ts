/**
 * Which items make up the batch of a step.
 *
 * The labeled and the unlabeled list are repeated to one length n, the longer of the two. An epoch is a random
 * permutation of the positions 0 to n - 1, and both streams follow the same one: position i always pairs labeled item
 * i mod (number of labeled) with unlabeled item i mod (number of unlabeled), as in AllSpark's official code.
 *
 * @module
 */
import { randomStream } from "./random.ts";

/** Sizes of the two lists, and how they are dealt out. */
export interface OrderOptions {
  /** Number of labeled items, at least 1. */
  readonly labeled: number;
  /** Number of unlabeled items. */
  readonly unlabeled: number;
  /** Items of each stream in one step. */
  readonly batch: number;
  /** Seed of the permutations. */
  readonly seed: number;
  /** Whose length makes an epoch: the longer list's (default), or the labeled one's. */
  readonly epoch?: "longer" | "labeled";
}

/** The order of a run. */
export interface Order {
  /** Steps in one epoch; what is left over at its end is dropped. */
  readonly stepsPerEpoch: number;
  /** Indices into the two lists for one step; the unlabeled ones are empty when there are no unlabeled items. */
  at(step: number): { labeled: number[]; unlabeled: number[] };
}

const orderStream = 0;

/**
 * The order in which the items of a data set are dealt out.
 *
 * @param options Sizes, batch and seed, and what an epoch is.
 * @returns The order; any step can be asked for at any time.
 *
 * @example Three labeled items beside six unlabeled ones
 * ```ts
 * import { batchOrder } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * const order = batchOrder({ labeled: 3, unlabeled: 6, batch: 2, seed: 0 });
 * assertEquals(order.stepsPerEpoch, 3);
 * const { labeled, unlabeled } = order.at(7);
 * assertEquals(labeled, unlabeled.map((item) => item % 3));
 * ```
 */
export function batchOrder(options: OrderOptions): Order {
  const { labeled, unlabeled, batch, seed, epoch: counted = "longer" } = options;
  if (counted !== "longer" && counted !== "labeled") {
    throw new RangeError(`Cannot order a run with epoch ${counted}: "longer" or "labeled" is required`);
  }
  const items = counted === "labeled" ? labeled : Math.max(labeled, unlabeled);
  const positions = Math.max(items, batch);
  const stepsPerEpoch = Math.floor(positions / batch);
  let known: { epoch: number; permutation: Uint32Array } | undefined;
  return {
    stepsPerEpoch,
    at(step) {
      const epoch = Math.floor(step / stepsPerEpoch);
      if (known?.epoch !== epoch) {
        known = { epoch, permutation: randomStream(seed, orderStream, epoch).permutation(positions) };
      }
      const start = (step % stepsPerEpoch) * batch;
      const chosen = [...known.permutation.subarray(start, start + batch)];
      return {
        labeled: chosen.map((position) => position % labeled),
        unlabeled: unlabeled === 0 ? [] : chosen.map((position) => position % unlabeled),
      };
    },
  };
}
