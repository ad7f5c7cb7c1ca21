/**
 * Losses of segmentation.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import type { Tensor } from "../src/tensor.ts";
import { normalizeAxis, requireChoice, requireDType } from "./common.ts";
import {
  cast,
  div,
  greater,
  logicalAnd,
  logicalNot,
  logicalOr,
  maximum,
  mul,
  neg,
  notEqual,
  where,
} from "./elementwise.ts";
import { gather } from "./indexing.ts";
import { expandDims, reshape, slice, squeeze } from "./movement.ts";
import { logSoftmax, softmax } from "./nn.ts";
import { sum } from "./reduce.ts";
import { sort } from "./sort.ts";

/** Options of the losses. */
export interface CrossEntropyOptions {
  /** The axis of the classes in `logits`, default 1. */
  readonly axis?: number;
  /** Targets of this class do not count, default 255. */
  readonly ignoreIndex?: number;
}

/**
 * Cross-entropy −log softmax(logits)[target], averaged over all pixels whose target is not `ignoreIndex`.
 *
 * Shapes: `logits` `[N, K, H, W]` (or any, with the classes on `axis`), `targets` i32 or u32 `[N, H, W]`, the
 * same without that axis. A target that is neither a class nor ignored makes the loss NaN, a negative one too
 * (nothing is counted from the end). With `weights`,
 * which broadcast to the targets, each pixel's loss is multiplied by its weight; the mean still divides by the number of
 * pixels that count. **If all are ignored the mean is 0 with zero gradients** (NaN in PyTorch and so in the official code of
 * AllSpark). Differentiable in `logits` and `weights`.
 *
 * @param logits f32 scores.
 * @param targets Class of every pixel.
 * @param options `axis`, `ignoreIndex`, `weights`, and `reduction`: "mean" (default), "sum" or "none" (one loss for every pixel, 0 where
 * ignored).
 * @throws {ShapeError} If the shapes do not fit.
 * @throws {DTypeError} If the targets are not integers.
 * @throws {RangeError} If the reduction is another word.
 * @example
 * ```ts
 * import { crossEntropy, tensor } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * const logits = tensor([[0, 0], [9, 1]]);
 * const targets = tensor([0, 255], { dtype: "i32" });
 * assertAlmostEquals(await crossEntropy(logits, targets).item(), Math.log(2), 1e-6);
 * ```
 */
export function crossEntropy(
  logits: Tensor,
  targets: Tensor,
  options: CrossEntropyOptions & { weights?: Tensor; reduction?: "mean" | "sum" | "none" } = {},
): Tensor {
  const { weights, reduction = "mean" } = options;
  requireChoice("apply crossEntropy", "reduction", reduction, ["mean", "sum", "none"]);
  const { axis, valid } = checkTargets("crossEntropy", logits, targets, options);
  if (weights !== undefined) checkWeights(targets, weights);
  const chosen = valuesAt(logSoftmax(logits, { axis }), targets, valid, axis);
  const losses = where(valid, neg(weights === undefined ? chosen : mul(chosen, weights)), 0);
  if (reduction === "none") return losses;
  if (reduction === "sum") return sum(losses);
  return div(sum(losses), count(valid));
}

/**
 * Cross-entropy over the hard pixels only (online hard example mining, as `ProbOhemCrossEntropy2d` of AllSpark's
 * code): those whose target class has a probability of at most `threshold`, or, where fewer than `minKept` are
 * that hard, the `minKept` hardest. If fewer than `minKept` pixels count at all, all of them are kept. Ties with the last kept pixel are kept
 * too. The choice carries no gradient. Ignored pixels, shapes and the mean of nothing are as in `crossEntropy`, and
 * as there a target that is neither a class nor ignored makes the loss NaN.
 *
 * @param logits f32 scores.
 * @param targets Class of every pixel.
 * @param options `axis`, `ignoreIndex`; `threshold`, default 0.7; `minKept`, default 200,000 as in the official code.
 * @throws {ShapeError} If the shapes do not fit.
 * @throws {RangeError} If `minKept` is not a whole number, 0 or more.
 * @example
 * ```ts
 * import { ohemCrossEntropy, tensor } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * const logits = tensor([[0, 0], [9, 0]]); // the second is easy
 * const loss = ohemCrossEntropy(logits, tensor([0, 0], { dtype: "i32" }), { minKept: 1 });
 * assertAlmostEquals(await loss.item(), Math.log(2), 1e-6);
 * ```
 */
export function ohemCrossEntropy(
  logits: Tensor,
  targets: Tensor,
  options: CrossEntropyOptions & { threshold?: number; minKept?: number } = {},
): Tensor {
  const { threshold = 0.7, minKept = 200_000 } = options;
  if (!Number.isInteger(minKept) || minKept < 0) {
    throw new RangeError(
      `Cannot apply ohemCrossEntropy with minKept ${minKept}: a whole number, 0 or more, is required`,
    );
  }
  const { axis, valid } = checkTargets("ohemCrossEntropy", logits, targets, options);
  const losses = neg(valuesAt(logSoftmax(logits, { axis }), targets, valid, axis));
  if (minKept > targets.size) return div(sum(where(valid, losses, 0)), count(valid));
  const probability = where(valid, valuesAt(softmax(logits, { axis }), targets, valid, axis), 1);
  const limit = minKept === 0 ? threshold : maximum(nthSmallest(probability, minKept), threshold);
  const tooFew = greater(minKept, sum(cast(valid, "f32")));
  // NaN is not above the limit, so it is kept, and is not silently left out of the loss.
  const isHard = logicalOr(tooFew, logicalNot(greater(probability, limit)));
  const kept = logicalAnd(valid, isHard);
  return div(sum(where(kept, losses, 0)), count(kept));
}

/** The n-th smallest of all elements, counted from 1. */
function nthSmallest(x: Tensor, n: number): Tensor {
  return reshape(slice(sort(reshape(x, [x.size])), { starts: [n - 1], sizes: [1] }), []);
}

/** How many are true, at least 1, so that the mean of nothing is 0. */
function count(mask: Tensor): Tensor {
  return maximum(sum(cast(mask, "f32")), 1);
}

/** The element of the target's class, NaN if there is no such class; of class 0 where the target does not count. */
function valuesAt(x: Tensor, targets: Tensor, valid: Tensor, axis: number): Tensor {
  const indices = expandDims(cast(where(valid, targets, 0), "i32"), { axis });
  return squeeze(gather(x, indices, axis), { axis });
}

function checkWeights(targets: Tensor, weights: Tensor): void {
  const extra = targets.ndim - weights.ndim;
  if (extra >= 0 && weights.shape.every((size, k) => size === 1 || size === targets.shape[k + extra])) return;
  throw new ShapeError(
    `Cannot apply crossEntropy to targets ${formatShape(targets.shape)} with weights ${
      formatShape(weights.shape)
    }: the weights must broadcast to the targets`,
  );
}

function checkTargets(
  action: string,
  logits: Tensor,
  targets: Tensor,
  { axis: wanted = 1, ignoreIndex = 255 }: CrossEntropyOptions,
): { axis: number; valid: Tensor } {
  requireDType(`apply ${action} to logits`, logits, ["f32"]);
  requireDType(`apply ${action} to targets`, targets, ["i32", "u32"]);
  const axis = normalizeAxis(action, wanted, logits.shape);
  const expected = logits.shape.filter((_, k) => k !== axis);
  if (formatShape(expected) !== formatShape(targets.shape)) {
    throw new ShapeError(
      `Cannot apply ${action} to logits ${formatShape(logits.shape)} and targets ${
        formatShape(targets.shape)
      }: with the classes on axis ${axis} the targets must have shape ${formatShape(expected)}`,
    );
  }
  return { axis, valid: notEqual(targets, ignoreIndex) };
}
