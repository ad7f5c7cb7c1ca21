/**
 * Statistics and other reductions composed of the primitive ones.
 *
 * @module
 */
import { stopGradientOp } from "../src/structure.ts";
import { makeNode, type Tensor } from "../src/tensor.ts";
import { normalizeAxes, requireDType } from "./common.ts";
import { add, div, sub } from "./elementwise_arithmetic.ts";
import { equal, isFinite } from "./elementwise_logic.ts";
import { exp, log, sqrt, square } from "./elementwise_math.ts";
import { where } from "./elementwise_select.ts";
import { reshape } from "./movement_basic.ts";
import { max, min, type ReduceOptions, sum } from "./reduce_basic.ts";

/** Number of elements that a reduction puts together. */
function countOf(action: string, x: Tensor, axis: ReduceOptions["axis"]): number {
  return normalizeAxes(action, axis, x.shape).reduce((count, k) => count * x.shape[k]!, 1);
}

/**
 * The mean over axes; NaN over nothing. f32. Differentiable.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @throws {DTypeError} If `x` is not f32.
 * @example
 * ```ts
 * import { mean, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await mean(tensor([[1, 2], [3, 6]]), { axis: 0 }).toArray(), [2, 4]);
 * ```
 */
export function mean(x: Tensor, options: ReduceOptions = {}): Tensor {
  requireDType("average", x, ["f32"]);
  return div(sum(x, options), countOf("average", x, options.axis));
}

/** Options of `variance` and `std`. */
export interface VarianceOptions extends ReduceOptions {
  /** The sum of squares is divided by the number of elements less this. Default 0 (biased). */
  readonly correction?: number | undefined;
}

/**
 * The variance over axes: the mean squared distance from the mean. Biased by default (divided by the number
 * of elements n); with `correction: 1` divided by n − 1. With a correction of n or more it is Infinity, or NaN
 * where all elements are equal (as in NumPy and PyTorch), and has no finite derivative. Distances beyond 1.8e19
 * have squares that f32 does not hold, so they give Infinity. f32. Differentiable.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @throws {DTypeError} If `x` is not f32.
 * @throws {RangeError} If the correction is not a finite number.
 * @example
 * ```ts
 * import { tensor, variance } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await variance(tensor([1, 3])).item(), 1);
 * assertEquals(await variance(tensor([1, 3]), { correction: 1 }).item(), 2);
 * ```
 */
export function variance(x: Tensor, options: VarianceOptions = {}): Tensor {
  const { axis, correction = 0 } = options;
  if (!Number.isFinite(correction)) {
    throw new RangeError(
      `Cannot take the variance with correction ${correction}: a finite number is required`,
    );
  }
  const centered = sub(x, mean(x, { axis, keepDims: true }));
  return div(sum(square(centered), options), Math.max(countOf("take the variance", x, axis) - correction, 0));
}

/**
 * The standard deviation √variance over axes, biased by default. f32. Differentiable; where all elements are
 * equal the derivative is taken as 0, as in PyTorch.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @throws {DTypeError} If `x` is not f32.
 * @example
 * ```ts
 * import { std, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await std(tensor([1, 3])).item(), 1);
 * ```
 */
export function std(x: Tensor, options: VarianceOptions = {}): Tensor {
  const squared = variance(x, options);
  const vanishes = equal(squared, 0);
  return where(vanishes, 0, sqrt(where(vanishes, 1, squared)));
}

/**
 * Whether any element over the axes is true; false over nothing. bool.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @throws {DTypeError} If `x` is not bool.
 * @example
 * ```ts
 * import { any, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await any(tensor([[true, false], [false, false]]), { axis: 1 }).toArray(), [true, false]);
 * ```
 */
export function any(x: Tensor, options: ReduceOptions = {}): Tensor {
  requireDType("apply any to", x, ["bool"]);
  return max(x, options);
}

/**
 * Whether all elements over the axes are true; true over nothing. bool.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @throws {DTypeError} If `x` is not bool.
 * @example
 * ```ts
 * import { all, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await all(tensor([[true, true], [true, false]]), { axis: 1 }).toArray(), [true, false]);
 * ```
 */
export function all(x: Tensor, options: ReduceOptions = {}): Tensor {
  requireDType("apply all to", x, ["bool"]);
  return min(x, options);
}

/**
 * log Σ eˣ over axes, without overflow; −Infinity over nothing. f32. Differentiable: the slope is the softmax.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @throws {DTypeError} If `x` is not f32.
 * @example
 * ```ts
 * import { logSumExp, tensor } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * assertAlmostEquals(await logSumExp(tensor([1000, 1000])).item(), 1000 + Math.log(2), 1e-3);
 * ```
 */
export function logSumExp(x: Tensor, options: ReduceOptions = {}): Tensor {
  const { axis } = options;
  // The shift cancels, so that nothing need flow through it; an infinite one would give ∞ − ∞.
  const largest = makeNode(stopGradientOp, [max(x, { axis, keepDims: true })], undefined);
  const shift = where(isFinite(largest), largest, 0);
  const total = log(sum(exp(sub(x, shift)), options));
  return add(total, reshape(shift, total.shape));
}
