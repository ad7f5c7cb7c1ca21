/**
 * The models: SegFormer's encoder and head, AllSpark between them, their weights, and the training steps, all as
 * pure functions of trees of tensors.
 *
 * @example One training step, compiled
 * ```ts
 * import { jit, ones, random, setDevice, zeros } from "@allspark/tensor";
 * import { newTrainState, pseudoLabelStep } from "@allspark/tensor/models";
 *
 * await setDevice("cpu");
 * const variant = { dims: [8, 16, 24, 32], depths: [1, 1, 1, 1], heads: [1, 2, 2, 2], srRatios: [8, 4, 2, 1] } as const;
 * const config = { variant, classes: 3, embedding: 16, crop: 33, allspark: false };
 * const step = jit(pseudoLabelStep(config), { donate: [0] });
 * const image = ones([1, 3, 33, 33]);
 * const batch = { labeled: { image, mask: zeros([1, 33, 33], { dtype: "i32" }) }, unlabeled: { image } };
 * const { metrics } = step(newTrainState(random.key(0), config), batch, random.key(1));
 * console.log(await metrics.loss.item());
 * ```
 *
 * @module
 */
export { allspark, type AllSparkOptions } from "./allspark.ts";
export { allsparkStep } from "./allspark_step.ts";
export {
  type DropRates,
  type MitSizes,
  mitSizes,
  type MitVariant,
  type ModelConfig,
  modelShape,
} from "./config.ts";
export { channelAttention, type ChannelAttentionOptions } from "./cross_attention.ts";
export { initMitEncoder, initModel } from "./init.ts";
export { mitEncoder, type MitEncoderOptions } from "./mit_encoder.ts";
export { mlpDecoder, type MlpDecoderOptions } from "./mlp_decoder.ts";
export type {
  Affine,
  AllSparkParams,
  HeadParams,
  HeadState,
  MemoryState,
  MitBlock,
  MitParams,
  MitStage,
  Model,
  ModelParams,
  ModelShape,
  NoMemory,
  Norm,
  Projections,
} from "./parameters.ts";
export { pseudoLabelStep } from "./pseudo_label_step.ts";
export { segment, type Segmentation, type SegmentOptions } from "./segment.ts";
export { groupChannels, type Grouping, readMemory, writeMemory } from "./semantic_memory.ts";
export {
  type Batch,
  initTrainState,
  type Metrics,
  newTrainState,
  type Step,
  type StepConfig,
  type StepResult,
  type TrainState,
} from "./steps.ts";
export { supervisedStep } from "./supervised_step.ts";
export { fromStateDict, type StateDictOptions, toStateDict } from "./weights.ts";
export type { ArrayData, ArrayDType, ArrayEntry } from "../src/io/array.ts";
export type { Misfits } from "../src/io/fit.ts";
