/**
 * Semi-supervised training with pseudo labels alone: the paper's SemiBaseline.
 *
 * @module
 */
import { add, argmax, concat, crossEntropy, mul, slice } from "../ops/mod.ts";
import type { Tensor } from "../src/tensor.ts";
import { stopGradient } from "../src/transforms/mod.ts";
import { segment, type Segmentation, type SegmentOptions } from "./segment.ts";
import {
  type Batch,
  descend,
  labeledLoss,
  segmentOptions,
  type Step,
  type StepConfig,
  type StepResult,
  type TrainState,
  unlabeledImages,
} from "./steps.ts";

/**
 * A step with pseudo labels: the network itself, in evaluation, labels the unlabeled images (all pixels, without
 * a threshold); then one forward pass of both halves, loss = (labeled + unlabeled) / 2, and gradient descent.
 *
 * @param config Model, losses and optimiser. The state is made with `allspark: false`.
 * @returns A pure function for `jit`.
 */
export function pseudoLabelStep(config: StepConfig): Step {
  return semiSupervisedStep(config, "pseudoLabel", () => ({}));
}

/**
 * What {@linkcode pseudoLabelStep} and `allsparkStep` have in common; `extra` are options of the training forward, given
 * the evaluation's scores of the unlabeled images. The order is that of the official training loop.
 */
export function semiSupervisedStep(
  config: StepConfig,
  name: string,
  extra: (teacherLogits: Tensor) => Partial<SegmentOptions>,
): Step {
  const options = segmentOptions(config);
  const step = (state: TrainState, batch: Batch, key: Tensor): StepResult => {
    const { image, mask } = batch.labeled;
    const unlabeled = unlabeledImages(batch);
    const teacherLogits = stopGradient(segment(state, unlabeled, options).logits);
    const pseudoLabel = argmax(teacherLogits, { axis: 1 });
    const { gradients, channelClass, ...result } = descend(state, config, (params) => {
      const segmentation = segment({ ...state, params }, concat([image, unlabeled]), {
        ...options,
        ...extra(teacherLogits),
        train: true,
        key,
      });
      return { ...losses(segmentation, mask, pseudoLabel, config), segmentation };
    });
    if (config.debug !== true) return result;
    return { ...result, gradients, pseudoLabel, ...(channelClass === undefined ? {} : { channelClass }) };
  };
  Object.defineProperty(step, "name", { value: name });
  return step;
}

function losses(
  { logits }: Segmentation,
  mask: Tensor,
  pseudoLabel: Tensor,
  config: StepConfig,
): { loss: Tensor; lossLabeled: Tensor; lossUnlabeled: Tensor } {
  const half = mask.shape[0]!;
  const lossLabeled = labeledLoss(slice(logits, { stops: [half] }), mask, config);
  const lossUnlabeled = crossEntropy(slice(logits, { starts: [half] }), pseudoLabel, {
    axis: 1,
    ignoreIndex: 255,
  });
  return { loss: mul(add(lossLabeled, lossUnlabeled), 0.5), lossLabeled, lossUnlabeled };
}
