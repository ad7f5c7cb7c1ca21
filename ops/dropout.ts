/**
 * Dropout of values, channels and samples, and of the weights that are computed twice.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import type { Tensor } from "../src/tensor.ts";
import { broadcastTo } from "./broadcast.ts";
import { requireDType, sizeOf } from "./common.ts";
import { mul, where } from "./elementwise.ts";
import { reshape } from "./movement.ts";
import { bernoulli } from "./random.ts";
import { isBelow, manyRandomBits } from "./random_bits.ts";

/** Options of the dropouts. */
export interface DropoutOptions {
  /** Probability that a value is dropped, 0 ≤ rate < 1. */
  readonly rate: number;
  /** Random key; needed when training with a rate above 0. */
  readonly key?: Tensor | undefined;
  /** Whether to drop at all; otherwise `x` comes back as it is. */
  readonly train: boolean;
}

/**
 * Sets each value to zero with probability `rate` and divides the others by 1 − rate, when training. f32;
 * differentiable in `x`. The same key drops the same values.
 *
 * @param x Values.
 * @param options `rate`, `key`, `train`.
 * @throws {RangeError} If the rate is not in [0, 1).
 * @throws {TypeError} If a key is needed and not given.
 * @example
 * ```ts
 * import { dropout, ones, random } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const x = ones([1000]);
 * const values = await dropout(x, { rate: 0.5, key: random.key(0), train: true }).data();
 * assertEquals(new Set(values), new Set([0, 2]));
 * assertEquals(dropout(x, { rate: 0.5, train: false }), x);
 * ```
 */
export function dropout(x: Tensor, options: DropoutOptions): Tensor {
  return drop("dropout", x, x.shape, options);
}

/**
 * Dropout of whole channels: every `[H, W]` plane of `x` `[N, C, H, W]` is kept or dropped as one. Otherwise as `dropout`.
 *
 * @param x Images.
 * @param options `rate`, `key`, `train`.
 * @throws {RangeError} If the rate is not in [0, 1).
 * @throws {ShapeError} If `x` has fewer than two axes.
 * @example
 * ```ts
 * import { dropout2d, ones, random } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const y = dropout2d(ones([2, 3, 4, 4]), { rate: 0.1, key: random.key(0), train: true });
 * assertEquals(y.shape, [2, 3, 4, 4]);
 * ```
 */
export function dropout2d(x: Tensor, options: DropoutOptions): Tensor {
  if (x.ndim < 2) {
    throw new ShapeError(`Cannot apply dropout2d to x ${formatShape(x.shape)}: [N, C, ...] is required`);
  }
  return drop("dropout2d", x, x.shape.map((size, k) => k < 2 ? size : 1), options);
}

/**
 * Stochastic depth (Huang et al. 2016, arXiv:1603.09382): every sample (position on axis 0) of a residual
 * branch is kept or dropped as one. Otherwise as `dropout`.
 *
 * @param x The branch, `[N, ...]`.
 * @param options `rate`, `key`, `train`.
 * @throws {RangeError} If the rate is not in [0, 1).
 * @throws {ShapeError} If `x` is a scalar.
 * @example
 * ```ts
 * import { dropPath, ones, random } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const y = dropPath(ones([2, 3]), { rate: 0.1, key: random.key(0), train: true });
 * assertEquals(y.shape, [2, 3]);
 * ```
 */
export function dropPath(x: Tensor, options: DropoutOptions): Tensor {
  if (x.ndim < 1) throw new ShapeError("Cannot apply dropPath to a scalar: [N, ...] is required");
  return drop("dropPath", x, x.shape.map((size, k) => k < 1 ? size : 1), options);
}

/** Dropout with one decision for every element of `shape`, which broadcasts to that of `x`. */
function drop(action: string, x: Tensor, shape: readonly number[], options: DropoutOptions): Tensor {
  requireDType(`apply ${action} to`, x, ["f32"]);
  const key = dropoutKey(action, options);
  if (key === undefined) return x;
  return keep(x, broadcastTo(bernoulli(key, shape, { p: 1 - options.rate }), x.shape), options.rate);
}

/** The key to drop values with, if any are to be dropped; checks the options. */
export function dropoutKey(action: string, { rate, key, train }: DropoutOptions): Tensor | undefined {
  if (!(rate >= 0 && rate < 1)) {
    throw new RangeError(`Cannot apply ${action} with rate ${rate}: 0 ≤ rate < 1 is required`);
  }
  if (!train || rate === 0) return undefined;
  if (key === undefined) {
    throw new TypeError(`Cannot apply ${action} with rate ${rate} in training: a random key is required`);
  }
  return key;
}

/** The values that are kept, so much larger that the mean stays what it was. */
function keep(x: Tensor, isKept: Tensor, rate: number): Tensor {
  return where(isKept, mul(x, 1 / (1 - rate)), 0);
}

/** Dropout of each `[...shape]` of `x` `[...examples, ...shape]` under its own key of `keys` `[...examples, 2]`; `dropout` draws other numbers. */
export function dropoutEach(x: Tensor, keys: Tensor, rate: number): Tensor {
  const shape = x.shape.slice(keys.ndim - 1);
  const bits = reshape(manyRandomBits(keys, sizeOf(shape)), x.shape);
  return keep(x, isBelow(bits, 1 - rate), rate);
}
