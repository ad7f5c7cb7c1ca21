/**
 * Training on labeled images alone: the paper's SupBaseline.
 *
 * @module
 */
import { zeros } from "../ops/mod.ts";
import type { Tensor } from "../src/tensor.ts";
import { segment } from "./segment.ts";
import {
  type Batch,
  descend,
  labeledLoss,
  segmentOptions,
  type Step,
  type StepConfig,
  type StepResult,
  type TrainState,
} from "./steps.ts";

/**
 * A step on the labeled images: cross-entropy, or that of the hard pixels, and gradient descent. Unlabeled images
 * in the batch are not looked at. A model with AllSpark may be trained by it too, for example before the semi-supervised steps
 * (burn-in): its labeled branch then attends to the labeled images themselves, and the memory stays as it is.
 *
 * @param config Model, losses and optimiser. For a plain model the state is made with `allspark: false`.
 * @returns A pure function for `jit`.
 * @example
 * ```ts
 * import { ones, random, zeros } from "@allspark/tensor";
 * import { newTrainState, supervisedStep } from "@allspark/tensor/models";
 * const variant = { dims: [8, 16, 24, 32], depths: [1, 1, 1, 1], heads: [1, 2, 2, 2], srRatios: [8, 4, 2, 1] } as const;
 * const config = { variant, classes: 3, embedding: 16, allspark: false, crop: 33 };
 * const labeled = { image: ones([2, 3, 33, 33]), mask: zeros([2, 33, 33], { dtype: "i32" }) };
 * const state = newTrainState(random.key(0), config);
 * const { metrics } = supervisedStep(config)(state, { labeled }, random.key(1));
 * console.log(await metrics.loss.item());
 * ```
 */
export function supervisedStep(config: StepConfig): Step {
  const options = segmentOptions(config);
  return function supervised(state: TrainState, batch: Batch, key: Tensor): StepResult {
    const { image, mask } = batch.labeled;
    const { gradients, channelClass: _, ...result } = descend(state, config, (params) => {
      const segmentation = segment({ ...state, params }, image, { ...options, train: true, key });
      const loss = labeledLoss(segmentation.logits, mask, config);
      return { loss, lossLabeled: loss, lossUnlabeled: zeros([]), segmentation };
    });
    return config.debug === true ? { ...result, gradients } : result;
  };
}
