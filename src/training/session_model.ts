/**
 * From a configuration to models and steps, and from weight files to models.
 *
 * @module
 */
import {
  allsparkStep,
  fromStateDict,
  type MitSizes,
  type MitVariant,
  type Model,
  pseudoLabelStep,
  segment,
  type StepConfig,
  supervisedStep,
} from "../../models/mod.ts";
import type { ClassInfo, ClassList } from "../data/classes.ts";
import { DTypeError } from "../errors.ts";
import { readBytes } from "../io/files.ts";
import type { Misfits } from "../io/fit.ts";
import { type ArrayEntry, FileFormatError, findStateDict, readWeights } from "../io/mod.ts";
import type { Tensor } from "../tensor.ts";
import { treeTensors } from "../tree.ts";
import { type CheckpointMeta, decodeCheckpoint, isCheckpoint } from "./checkpoint.ts";
import { type TrainConfig, trainConfig } from "./config.ts";
import type { InferenceConfig } from "./config_inference.ts";
import type { Forward } from "./evaluation.ts";
import { compileStep } from "./loop.ts";
import { modelArrays } from "./session_state.ts";

/** The sizes that a configuration's `variant` names. */
export function encoderOf(variant: string): MitVariant {
  if (!variant.includes(":")) return variant as MitVariant;
  const [dims, depths] = variant.split(":").map((list) => list.split(",").map(Number));
  return { dims, depths, heads: [1, 2, 5, 8], srRatios: [8, 4, 2, 1] } as unknown as MitSizes;
}

/** Model and steps of a run with so many classes and steps. */
export function stepConfigOf(
  config: TrainConfig,
  { classes, steps }: { classes: number; steps: number },
): StepConfig {
  return {
    variant: encoderOf(config.variant),
    classes,
    ...(config.embedding !== null && { embedding: config.embedding }),
    allspark: config.method === "allspark",
    heads: config.heads,
    crop: config.crop,
    rates: {
      dropPath: config.dropPath,
      attention: config.attentionDropout,
      projection: config.projectionDropout,
      head: config.headDropout,
    },
    grouping: config.grouping,
    evalKeys: config.evalKeys,
    learningRate: config.lr,
    learningRateMultiplier: config.lrMultiplier,
    totalSteps: steps,
    optimizer: config.optimizer,
    momentum: config.momentum,
    weightDecay: config.weightDecay,
    criterion: config.criterion,
    ohemThreshold: config.ohemThreshold,
    ohemMinKept: config.ohemMinKept,
    recompute: config.checkpointing,
  };
}

/** A stretch of the run that one program does. */
export interface Phase {
  /** For people. */
  readonly name: string;
  /** First step. */
  readonly from: number;
  /** Step before which it ends. */
  readonly to: number;
  /** Whether its batches have unlabeled images. */
  readonly unlabeled: boolean;
  /** Whether labeled features are reborn from the memory. */
  readonly readsMemory: boolean;
  /** The compiled step. */
  readonly step: ReturnType<typeof compileStep>;
}

/**
 * The phases of a run: labels alone first if there is a burn-in, then the method's own step, which for AllSpark is
 * another program once the memory is read.
 */
export function phasesOf(
  config: TrainConfig,
  step: StepConfig,
  { steps, warmup }: { steps: number; warmup: number },
): Phase[] {
  const burnIn = config.method === "supervised" ? steps : Math.min(config.burnInSteps, steps);
  const reading = config.method === "allspark" ? Math.max(burnIn, Math.min(warmup, steps)) : steps;
  const semi = config.method === "allspark" ? allsparkStep : pseudoLabelStep;
  const writing = config.method === "allspark" ? "AllSpark, memory written" : "pseudo labels";
  const phases: Omit<Phase, "step">[] = [
    { name: "labels alone", from: 0, to: burnIn, unlabeled: false, readsMemory: false },
    { name: writing, from: burnIn, to: reading, unlabeled: true, readsMemory: false },
    { name: "AllSpark, memory read", from: reading, to: steps, unlabeled: true, readsMemory: true },
  ];
  const programs = [
    () => supervisedStep(step),
    () => semi({ ...step, useMemory: false }),
    () => semi({ ...step, useMemory: true }),
  ];
  return phases.map((phase, k) => ({ ...phase, step: compileStep(programs[k]!()) }))
    .filter(({ from, to }) => from < to);
}

/** The model in evaluation. */
export function forwardOf(
  { variant, heads, evalKeys }: Pick<StepConfig, "variant" | "heads" | "evalKeys">,
): Forward<Model> {
  const options = { variant, ...(heads !== undefined && { heads }), ...(evalKeys && { evalKeys }) };
  const forward = (model: Model, image: Tensor): Tensor => segment(model, image, options).logits;
  const coarse = (model: Model, image: Tensor): Tensor =>
    segment(model, image, { ...options, upsample: false }).logits;
  return Object.assign(forward, { coarse });
}

/** Number of learned values. */
export function parameterCount({ params }: Pick<Model, "params">): number {
  return treeTensors(params).reduce((total, { size }) => total + size, 0);
}

/** A weight file that was recognised. */
interface Weights {
  /** Arrays of a model by their names in the file. */
  readonly entries: ReadonlyMap<string, ArrayEntry>;
  /** Of a checkpoint of ours: how it was trained, and on which classes. */
  readonly trained?: Pick<CheckpointMeta, "config" | "classes" | "maskColors">;
}

/**
 * Reads a file of weights.
 *
 * @param path The file.
 * @param key Which of several models in it, or null.
 * @param keyFlag The option that gives the key.
 */
async function readModelFile(path: string, key: string | null, keyFlag: string): Promise<Weights> {
  const bytes = await readBytes(path, "load weights");
  if (isCheckpoint(bytes)) {
    const { arrays, meta } = decodeCheckpoint(bytes, path);
    return { entries: modelArrays(arrays), trained: meta };
  }
  const { tree } = await readWeights(bytes, { name: path });
  return naming(`${path}; ${keyFlag} chooses`, () => ({
    entries: findStateDict(tree, key === null ? {} : { key }),
  }));
}

/** Runs what reads a file, and adds to its errors what they are about. */
export function naming<T>(about: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const isOfFile = error instanceof FileFormatError || error instanceof DTypeError ||
      error instanceof RangeError;
    if (!isOfFile) throw error;
    throw new FileFormatError(`${error.message} (${about})`, { cause: error });
  }
}

/** Options of {@linkcode withPretrained}. */
export interface PretrainedOptions {
  /** Which of several models in the file, such as `teacher`. */
  readonly key?: string | null;
  /** Takes what fits of the file, and is called with what does not; without it that is an error. */
  readonly onMisfits?: (misfits: Misfits) => void;
}

/**
 * A model whose parts come from a file where it has them: an encoder alone, a whole model, or a checkpoint of ours.
 *
 * @param base A new model.
 * @param path The file.
 * @param variant The encoder.
 * @param options Which of several models, and whether less than all is enough.
 * @throws {FileFormatError} If names or shapes do not fit.
 */
export async function withPretrained(
  base: Model,
  path: string,
  variant: string,
  options: PretrainedOptions = {},
): Promise<Model> {
  const { key = null, onMisfits } = options;
  const { entries } = await readModelFile(path, key, "--pretrained-key");
  // A model without AllSpark can start from one with it.
  const wanted = base.params.allspark !== undefined
    ? entries
    : new Map([...entries].filter(([name]) => !name.includes("decoder.allspark.")));
  const about = onMisfits ? path : `${path}; --pretrained-partial on takes what fits`;
  return naming(
    about,
    () => fromStateDict(wanted, { variant: encoderOf(variant), base, ...(onMisfits && { onMisfits }) }),
  );
}

/** A model ready to be used, and what is known about its training. */
export interface LoadedModel {
  /** Parameters, running statistics, memory. */
  readonly model: Model;
  /** The model in evaluation. */
  readonly forward: Forward<Model>;
  /** The configuration of its training; of raw weights the defaults. */
  readonly trained: TrainConfig;
  /** Its classes, if the file tells. */
  readonly classes?: readonly ClassInfo[];
  /** What the colours of masks mean, if the file tells. */
  readonly maskColors?: ClassList["maskColors"];
  /** Number of its classes. */
  readonly classCount: number;
}

/**
 * Loads a checkpoint of ours or raw weights under the official names.
 *
 * @param given The file, and what is to differ from what it says.
 * @throws {FileFormatError} If the file is damaged, or not of such a model.
 */
export async function loadModel(given: InferenceConfig): Promise<LoadedModel> {
  const { entries, trained } = await readModelFile(given.weights, given.weightsKey, "--weights-key");
  const config = trained?.config ?? trainConfig({ imageSize: null, crop: 513, evalKeys: "self" });
  const variant = encoderOf(given.variant ?? config.variant);
  const model = naming(given.weights, () =>
    fromStateDict(entries, {
      variant,
      ...(given.embedding !== null && { embedding: given.embedding }),
      ...(given.heads !== null && { heads: given.heads }),
    }));
  const query = model.params.allspark?.labeled.query.shape;
  return {
    model,
    forward: forwardOf({
      variant,
      heads: query === undefined ? 1 : query[0]! / query[1]!,
      evalKeys: given.evalKeys ?? config.evalKeys,
    }),
    trained: config,
    ...(trained && { classes: trained.classes }),
    ...(trained?.maskColors && { maskColors: trained.maskColors }),
    classCount: model.params.decoder.classify.bias.size,
  };
}
