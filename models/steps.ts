/**
 * What the training steps share: their configuration, their state, and the descent along a gradient.
 *
 * A step is a pure function `step(state, batch, key) → { state, metrics }` without data-dependent JavaScript,
 * so that `jit` makes one program of it.
 *
 * @module
 */
import { requireChoice } from "../ops/common.ts";
import { add, cast, crossEntropy, maximum, ohemCrossEntropy, type TensorLike, zeros } from "../ops/mod.ts";
import { ShapeError } from "../src/errors.ts";
import { formatShape } from "../src/errors.ts";
import { type AdamState, adamw, type Optimizer, sgd, type SgdState } from "../src/optim/optimizers.ts";
import { polySchedule, type Schedule } from "../src/optim/schedules.ts";
import type { Tensor } from "../src/tensor.ts";
import { valueAndGrad } from "../src/transforms/mod.ts";
import type { ModelConfig } from "./config.ts";
import { initModel } from "./init.ts";
import type { Model, ModelParams } from "./parameters.ts";
import type { Segmentation, SegmentOptions } from "./segment.ts";
import { keySources } from "./allspark.ts";
import { type Grouping, groupings } from "./semantic_memory.ts";

/** Configuration of a training step. */
export interface StepConfig extends ModelConfig {
  /**
   * Learning rate of the encoder. A number starts a polynomial decay if `totalSteps` is given; a schedule is asked at
   * every step. Default 0.001.
   */
  readonly learningRate?: number | Schedule;
  /** Factor of the learning rate for everything but the encoder. Default 10. */
  readonly learningRateMultiplier?: number;
  /**
   * Length T of the run, over which the learning rate falls: step t > 0 uses lr · (1 − (t − 1)/T)^0.9. It lags one step
   * behind, as in the official code, which sets it after the step. Without it the rate is constant.
   */
  readonly totalSteps?: number;
  /**
   * "sgd", as in the official code (default), or "adamw" (SegFormer's own), which learns much faster from random
   * weights.
   */
  readonly optimizer?: "sgd" | "adamw";
  /** Momentum of "sgd". Default 0.9. */
  readonly momentum?: number;
  /** Weight decay, on all parameters. Default 1e-4. */
  readonly weightDecay?: number;
  /** Loss of the labeled images. Default "ce", cross-entropy. */
  readonly criterion?: "ce" | "ohem";
  /** Of "ohem": pixels up to this probability of their true class count. Default 0.7. */
  readonly ohemThreshold?: number;
  /** Of "ohem": at least so many pixels of a batch count. Default 200,000. */
  readonly ohemMinKept?: number;
  /** AllSpark: what the grouping compares channels with. Default "logits". */
  readonly grouping?: Grouping;
  /** AllSpark: keys for the pseudo labels, of the images themselves (default) or of the memory. */
  readonly evalKeys?: "self" | "memory";
  /** AllSpark: whether the memory is read; it is always written. Default true. Before the warm-up ends use a step with false. */
  readonly useMemory?: boolean;
  /** Whether the backward pass computes the encoder's blocks again. Default false. */
  readonly recompute?: boolean;
  /** Whether gradients, pseudo labels and the classes of the channels come back too. Default false. */
  readonly debug?: boolean;
}

/** Everything that a step takes and gives: a tree of tensors. */
export interface TrainState extends Model {
  /** Of the optimiser. */
  readonly optState: SgdState | AdamState;
  /** Steps done, an i32 scalar. */
  readonly step: Tensor;
}

/** The images of one step. */
export interface Batch {
  /** `image` `[B, 3, S, S]` f32 and `mask` `[B, S, S]` i32, in which 255 does not count. */
  readonly labeled: { readonly image: Tensor; readonly mask: Tensor };
  /** `image` `[B, 3, S, S]` f32; not needed by the supervised step. */
  readonly unlabeled?: { readonly image: Tensor };
}

/** Scalars of one step. */
export interface Metrics {
  /** What is minimised. */
  readonly loss: Tensor;
  /** Loss of the labeled images. */
  readonly lossLabeled: Tensor;
  /** Loss of the unlabeled images against their pseudo labels; 0 in the supervised step. */
  readonly lossUnlabeled: Tensor;
  /** Learning rate of the encoder in this step. */
  readonly lr: Tensor;
}

/** What a step returns; what is optional comes with `debug`. */
export interface StepResult {
  /** The new state. */
  readonly state: TrainState;
  /** Scalars. */
  readonly metrics: Metrics;
  /** A tree like `state.params`. */
  readonly gradients?: ModelParams;
  /** `[B, S, S]` i32. */
  readonly pseudoLabel?: Tensor;
  /** AllSpark: the class of each unlabeled channel, `[B, C]` i32. */
  readonly channelClass?: Tensor;
}

/** A training step. */
export type Step = (state: TrainState, batch: Batch, key: Tensor) => StepResult;

/** The losses of a forward pass, and what it leaves behind. */
export interface Evaluated {
  /** What is minimised. */
  readonly loss: Tensor;
  /** Of the labeled images. */
  readonly lossLabeled: Tensor;
  /** Of the unlabeled images. */
  readonly lossUnlabeled: Tensor;
  /** Where the new running statistics and memory are. */
  readonly segmentation: Segmentation;
}

function optimizerOf(config: StepConfig): Optimizer<TrainState["optState"]> {
  const { optimizer = "sgd", momentum = 0.9, weightDecay = 1e-4, learningRateMultiplier = 10 } = config;
  const shared = { learningRate: 0.001, weightDecay, groups: { backbone: 1, rest: learningRateMultiplier } };
  const chosen: unknown = optimizer === "sgd" ? sgd({ ...shared, momentum }) : adamw(shared);
  return chosen as Optimizer<TrainState["optState"]>;
}

/** The learning rate of a step, counted from 0. */
function rateAt(step: Tensor, { learningRate = 0.001, totalSteps }: StepConfig): Tensor {
  if (typeof learningRate !== "number") return learningRate(step);
  if (totalSteps === undefined) return add(zeros([]), learningRate);
  return polySchedule({ learningRate, steps: totalSteps })(maximum(add(cast(step, "f32"), -1), 0));
}

/**
 * The state before the first step.
 *
 * @param model A new model (`initModel`) or one from a file (`fromStateDict`).
 * @param config The configuration of the steps.
 * @throws {RangeError} If an option is a word that it may not be.
 */
export function initTrainState(model: Model, config: StepConfig): TrainState {
  checkWords(config);
  const { params, bnState, memState } = model;
  const optState = optimizerOf(config).init(params);
  return { params, bnState, memState, optState, step: zeros([], { dtype: "i32" }) };
}

/**
 * The state before the first step of a new model.
 *
 * @param key Random key of the first parameters.
 * @param config The configuration of model and steps.
 */
export function newTrainState(key: Tensor, config: StepConfig): TrainState {
  return initTrainState(initModel(key, config), config);
}

/** Throws unless every word of a configuration is one that it may be. */
function checkWords({ optimizer, criterion, grouping, evalKeys }: StepConfig): void {
  const words = {
    optimizer: [optimizer, ["sgd", "adamw"]],
    criterion: [criterion, ["ce", "ohem"]],
    grouping: [grouping, groupings],
    evalKeys: [evalKeys, keySources],
  } as const;
  for (const [option, [value, allowed]] of Object.entries(words)) {
    if (value !== undefined) requireChoice("make a training step", option, value, allowed);
  }
}

/** What {@linkcode StepConfig} says about a forward pass. */
export function segmentOptions(config: StepConfig): SegmentOptions {
  checkWords(config);
  const { variant, rates, heads, grouping, useMemory, recompute } = config;
  // A memory that is not read yet has no keys for the pseudo labels either.
  const evalKeys = useMemory === false ? "self" : config.evalKeys;
  const given = { rates, heads, grouping, evalKeys, useMemory, recompute };
  const known = Object.entries(given).filter(([, value]) => value !== undefined);
  return { variant, ...Object.fromEntries(known) };
}

/** Loss of the labeled images. */
export function labeledLoss(logits: Tensor, mask: Tensor, config: StepConfig): Tensor {
  if (config.criterion !== "ohem") return crossEntropy(logits, mask, { axis: 1, ignoreIndex: 255 });
  return ohemCrossEntropy(logits, mask, {
    axis: 1,
    ignoreIndex: 255,
    threshold: config.ohemThreshold ?? 0.7,
    minKept: config.ohemMinKept ?? 200_000,
  });
}

/** The images of the unlabeled half, of which there must be as many as labeled ones. */
export function unlabeledImages(batch: Batch): Tensor {
  const unlabeled = batch.unlabeled?.image;
  const { image } = batch.labeled;
  if (unlabeled === undefined || unlabeled.shape.join() !== image.shape.join()) {
    throw new ShapeError(
      `Cannot take a semi-supervised step: the labeled images are ${
        formatShape(image.shape)
      } and the unlabeled ones ${
        unlabeled === undefined ? "missing" : formatShape(unlabeled.shape)
      }; equal shapes are required`,
    );
  }
  return unlabeled;
}

/** One step of gradient descent on `evaluate`'s loss. */
export function descend(
  state: TrainState,
  config: StepConfig,
  evaluate: (params: ModelParams) => Evaluated,
): { state: TrainState; metrics: Metrics; gradients: ModelParams; channelClass?: Tensor } {
  const objective = (params: ModelParams): readonly [Tensor, Evaluated] => {
    const evaluated = evaluate(params);
    return [evaluated.loss, evaluated];
  };
  const [[, evaluated], gradients] = valueAndGrad(objective, { hasAux: true })(state.params);
  const lr = rateAt(state.step, config);
  const updated = optimizerOf(config).update(gradients, state.optState, state.params, {
    learningRate: lr as TensorLike,
  });
  const { loss, lossLabeled, lossUnlabeled, segmentation } = evaluated;
  const { bnState, memState, channelClass } = segmentation;
  return {
    state: { params: updated.params, bnState, memState, optState: updated.state, step: add(state.step, 1) },
    metrics: { loss, lossLabeled, lossUnlabeled, lr },
    gradients,
    ...(channelClass === undefined ? {} : { channelClass }),
  };
}
