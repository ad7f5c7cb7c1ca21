/**
 * Semi-supervised training with AllSpark.
 *
 * @module
 */
import type { Tensor } from "../src/tensor.ts";
import { semiSupervisedStep } from "./pseudo_label_step.ts";
import type { Batch, Step, StepConfig, StepResult, TrainState } from "./steps.ts";

/**
 * A step of AllSpark (CVPR 2024, algorithm 1, in the official code's order):
 *
 * 1. The network itself, in evaluation, scores the unlabeled images; the best classes are their pseudo labels.
 * 2. One training forward of labeled and unlabeled images. In it the unlabeled channels are grouped by these
 *    scores and written into the memory, and the labeled features are reborn from unlabeled ones: from
 *    the memory, or with `useMemory: false` (before the warm-up ends) from the batch's own.
 * 3. loss = (labeled + unlabeled) / 2, gradient descent with momentum and weight decay.
 *
 * The memory is written in every step, whether it is read or not.
 *
 * @param config Model, losses and optimiser.
 * @returns A pure function for `jit`: `jit(allsparkStep(config), { donate: [0] })`.
 * @example
 * ```ts
 * import { ones, random, zeros } from "@allspark/tensor";
 * import { allsparkStep, newTrainState } from "@allspark/tensor/models";
 * import { assertEquals } from "@std/assert";
 * const variant = { dims: [8, 16, 24, 32], depths: [1, 1, 1, 1], heads: [1, 2, 2, 2], srRatios: [8, 4, 2, 1] } as const;
 * const config = { variant, classes: 3, embedding: 16, crop: 33, useMemory: false };
 * const image = ones([1, 3, 33, 33]);
 * const batch = { labeled: { image, mask: zeros([1, 33, 33], { dtype: "i32" }) }, unlabeled: { image } };
 * const { state } = allsparkStep(config)(newTrainState(random.key(0), config), batch, random.key(1));
 * assertEquals(await state.step.item(), 1);
 * ```
 */
export function allsparkStep(config: StepConfig): Step {
  const step = semiSupervisedStep(config, "allspark", (logits) => ({ logits }));
  return function allspark(state: TrainState, batch: Batch, key: Tensor): StepResult {
    if (state.params.allspark === undefined) {
      throw new TypeError(
        "Cannot take an AllSpark step: the parameters have no allspark part; make the model with allspark: true",
      );
    }
    return step(state, batch, key);
  };
}
