/**
 * The configuration of a training run: every option with its type, default and check.
 *
 * Two sets of defaults: the paper's for photographs, and {@linkcode sceneDefaults} for the built-in scenes, so that
 * a run without arguments ends in minutes on a laptop.
 *
 * @module
 */

import {
  defaultOptions,
  flagName,
  group,
  helpText,
  layerOptions,
  OptionError,
  type OptionTable,
  row,
} from "./options.ts";
import {
  anyPath,
  choice,
  classSource,
  encoderSize,
  filePath,
  flag,
  folderName,
  folderPath,
  integer,
  labelsSource,
  nameText,
  number,
  onOff,
  optional,
  size,
} from "./options_kinds.ts";

/** Most steps of a run: what a counter of 32 bits holds. */
export const mostSteps: number = 2 ** 31 - 1;

/** The largest values of options that decide about the size of a run. */
export const largest = {
  /** Side of the training crops in pixels. */
  crop: 4096,
  /** Labeled images per step. */
  batch: 256,
  /** Channels of the decoder. */
  embedding: 8192,
  /** Heads of AllSpark's attention. */
  heads: 64,
  /** Channels of a stage of the encoder. */
  channels: 4096,
  /** Blocks of a stage of the encoder. */
  blocks: 256,
} as const;

/** The ways to train: labeled images only, plain pseudo labels (the paper's SemiBaseline), or AllSpark. */
export type Method = "supervised" | "pseudo-label" | "allspark";
/** The size of the MiT encoder: `b0` to `b5`, or `channels:blocks` of the four stages, `32,64,160,256:2,2,2,2`. */
export type Variant = string;
/** How an image of any size is evaluated: at once, its middle only, or window by window. */
export type EvalMode = "original" | "center-crop" | "sliding-window";
/** Where a program computes; `auto` takes a real GPU if there is one. */
export type DeviceChoice = "auto" | "cpu" | "webgpu";

/** Everything that decides a training run; plain JSON, so that it can be saved with the results. */
export interface TrainConfig {
  /** Folder in PASCAL VOC layout, or null. */
  data: string | null;
  /** Name of the split below `data/splits`, or a folder with the lists. */
  split: string | null;
  /** Folder of the user's own images, or null. */
  images: string | null;
  /** Folder of the masks for `images`. */
  masks: string | null;
  /** File with the names and colours of the classes in `masks`. */
  labels: string | null;
  /** Share of the labeled `images` that is held out for validation. */
  val: number;
  /** File with the names and colours of the classes of `data`, or the name of a known set. */
  classes: string | null;
  /** `WxH` of every image: photographs are resized to it first, scenes drawn in it; or null. */
  imageSize: string | null;
  /** Whether broken files are left out rather than being an error. */
  skipBroken: boolean;
  /** Generated training scenes with masks. */
  labeledScenes: number;
  /** Generated training scenes without masks. */
  unlabeledScenes: number;
  /** Generated validation scenes. */
  valScenes: number;
  /** How hard the scenes are, from 0 (tidy, daylight) to 1 (any light, much clutter). */
  difficulty: number;

  /** The training method. */
  method: Method;
  /** The encoder's size. */
  variant: Variant;
  /** Channels of the decoder, or null for the variant's. */
  embedding: number | null;
  /** Heads of AllSpark's attention. */
  heads: number;
  /** What the semantic grouping compares the channels with. */
  grouping: "logits" | "probabilities";
  /** Whose keys AllSpark reads in evaluation and for the pseudo labels. */
  evalKeys: "self" | "memory";
  /** Highest rate of dropped residual branches in the encoder. */
  dropPath: number;
  /** Dropout rate on AllSpark's attention weights. */
  attentionDropout: number;
  /** Dropout rate on AllSpark's projections. */
  projectionDropout: number;
  /** Dropout rate of whole channels before the last layer. */
  headDropout: number;
  /** File with weights to start from. */
  pretrained: string | null;
  /** Which of several models in that file, such as `teacher`, or null. */
  pretrainedKey: string | null;
  /** Whether weights that do not fit are left out, and listed, instead of refused. */
  pretrainedPartial: boolean;

  /** Side of the square training crops in pixels. */
  crop: number;
  /** Labeled images per step; semi-supervised methods add as many unlabeled ones. */
  batch: number;
  /** Passes over the unlabeled images (or the labeled ones, if supervised), or null if `steps` decides. */
  epochs: number | null;
  /** Training steps, or null if `epochs` decides. */
  steps: number | null;
  /** Learning rate of the encoder at the start. */
  lr: number;
  /** Factor of the learning rate for everything but the encoder. */
  lrMultiplier: number;
  /** Gradient descent as in the official code, or AdamW. */
  optimizer: "sgd" | "adamw";
  /** Momentum of sgd. */
  momentum: number;
  /** Weight decay, on all parameters. */
  weightDecay: number;
  /** Epochs before the memory is read, or null if `warmupSteps` decides. */
  warmupEpochs: number | null;
  /** Steps before the memory is read, or null if `warmupEpochs` decides. */
  warmupSteps: number | null;
  /** Steps with labeled images only, before the semi-supervised ones. */
  burnInSteps: number;
  /** Loss of the labeled images: cross-entropy, or cross-entropy of the hardest pixels. */
  criterion: "ce" | "ohem";
  /** `ohem`: pixels whose true class has at most this probability count. */
  ohemThreshold: number;
  /** `ohem`: at least so many pixels of a batch count. */
  ohemMinKept: number;
  /** Seed of weights, crops and dropout. */
  seed: number;
  /** Whether the backward pass recomputes each block, to save memory. */
  checkpointing: boolean;

  /** Steps between two evaluations, or null for one per epoch. */
  evalEvery: number | null;
  /** How validation images are evaluated. */
  evalMode: EvalMode;

  /** Where to compute. */
  device: DeviceChoice;
  /** Threads that decode and augment images. */
  workers: number;
  /** Folder in which the run's folder is made. */
  out: string;
  /** Name of the run's folder, or null for one made of method, encoder and data. */
  name: string | null;
  /** Checkpoint, or folder of a run, to continue. */
  resume: string | null;
}

/** Defaults that hold instead of the table's when the built-in scenes are trained on: minutes on two cores. */
export const sceneDefaults: Partial<TrainConfig> = {
  imageSize: "96x72",
  labeledScenes: 64,
  unlabeledScenes: 256,
  difficulty: 0.05,
  crop: 65,
  batch: 4,
  epochs: null,
  steps: 1500,
  optimizer: "adamw",
  lr: 0.002,
  lrMultiplier: 1,
  weightDecay: 0.01,
  warmupEpochs: null,
  warmupSteps: 1250,
  burnInSteps: 1150,
  evalEvery: 500,
  evalKeys: "memory",
};

const folder = optional(folderPath());
const file = optional(filePath());
const rate = number({ min: 0, below: 1 });
const count = integer({ min: 1 });
const stepCount = integer({ min: 1, max: mostSteps });
const stepNumber = integer({ min: 0, max: mostSteps });
const sceneCount = integer({ min: 1, max: 1_000_000 });
const movable = { mayChange: true };

/** The table of all training options. */
export const trainOptions: OptionTable<TrainConfig> = {
  ...group(
    "Data",
    {
      data: row(folder, "photographs in PASCAL VOC layout with split lists", null, {
        unset: "generated scenes",
        ...movable,
      }),
      split: row(
        optional(nameText()),
        "split below DIR/splits, or a folder with labeled.txt and unlabeled.txt",
        null,
      ),
      images: row(folder, "your own images; those without a mask are the unlabeled set", null, movable),
      masks: row(folder, "masks of --images: index or colour PNGs with the images' names", null, movable),
      labels: row(
        optional(labelsSource()),
        "names and colours of the classes in --masks; foreground: masks of 0 and 255",
        null,
        { unset: "numbers as names", ...movable },
      ),
      val: row(number({ above: 0, below: 1 }), "share of the labeled --images held out for validation", 0.1),
      classes: row(optional(classSource()), "names and colours of the classes of --data", null, {
        unset: "DIR/classes.json",
        ...movable,
      }),
      imageSize: row(
        optional(size()),
        "resize every image to this size first, at most 8192 each way; draw scenes in it",
        null,
        { unset: "as it is" },
      ),
      skipBroken: row(
        flag(),
        "leave out files that are absent, cut or otherwise broken, and list them; the next one stands in",
        false,
        movable,
      ),
    },
  ),
  ...group("Generated scenes", {
    labeledScenes: row(sceneCount, "training scenes with masks", 24),
    unlabeledScenes: row(sceneCount, "training scenes without masks", 216),
    valScenes: row(sceneCount, "validation scenes", 48),
    difficulty: row(
      number({ min: 0, max: 1 }),
      "0 is tidy and in daylight, 1 is any light and much clutter",
      0.5,
    ),
  }),
  ...group("Model", {
    method: row(choice(["supervised", "pseudo-label", "allspark"]), "how to train", "allspark"),
    variant: row(
      encoderSize(),
      `size of the encoder; your own: channels:blocks of the stages, at most ${largest.channels}:${largest.blocks} each, ` +
        "channels being multiples of 1, 2, 5 and 8",
      "b0",
    ),
    embedding: row(optional(count), `channels of the decoder, at most ${largest.embedding}`, null, {
      unset: "256 for b0 and b1, else 768",
    }),
    heads: row(count, `heads of AllSpark's attention, at most ${largest.heads}`, 2),
    grouping: row(
      choice(["logits", "probabilities"]),
      "what channels are compared with: the official code's choice or the paper's",
      "logits",
    ),
    evalKeys: row(
      choice(["self", "memory"]),
      "keys in evaluation and for pseudo labels: the image's own (official) or the memory",
      "self",
    ),
    pretrained: row(file, "start from these weights (.safetensors or .pth)", null, {
      unset: "random weights",
    }),
    pretrainedKey: row(
      optional(nameText()),
      "which of several models in --pretrained, such as teacher",
      null,
    ),
    pretrainedPartial: row(onOff(), "take what fits of --pretrained and list the rest", false),
  }),
  ...group(
    "Dropout",
    {
      dropPath: row(rate, "residual branches of the encoder", 0.1),
      attentionDropout: row(rate, "AllSpark's attention weights", 0.1),
      projectionDropout: row(rate, "AllSpark's projections", 0.1),
      headDropout: row(rate, "channels before the last layer", 0.1),
    },
  ),
  ...group("Training", {
    crop: row(integer({ min: 29 }), `side of the square training crops, 29 to ${largest.crop}`, 513),
    batch: row(
      count,
      `labeled images per step, at most ${largest.batch}; semi-supervised methods add as many unlabeled`,
      2,
    ),
    epochs: row(optional(stepCount), "passes over the images", 80, { unset: "--steps decides" }),
    steps: row(optional(stepCount), "training steps", null, {
      unset: "--epochs decides",
      insteadOf: "epochs",
    }),
    lr: row(number({ above: 0 }), "learning rate of the encoder; falls to 0 as (1 - t/T)^0.9", 0.001),
    lrMultiplier: row(number({ above: 0 }), "factor of --lr for everything but the encoder", 10),
    optimizer: row(
      choice(["sgd", "adamw"]),
      "gradient descent as in the official code, or AdamW, which learns faster from random weights",
      "sgd",
    ),
    momentum: row(rate, "momentum of sgd", 0.9),
    weightDecay: row(number({ min: 0 }), "weight decay", 0.0001),
    warmupEpochs: row(optional(stepNumber), "epochs before the memory is read", 5, {
      unset: "--warmup-steps decides",
    }),
    warmupSteps: row(optional(stepNumber), "steps before the memory is read", null, {
      unset: "--warmup-epochs decides",
      insteadOf: "warmupEpochs",
    }),
    burnInSteps: row(
      stepNumber,
      "labeled-only steps at the start, for training from random weights",
      0,
    ),
    criterion: row(
      choice(["ce", "ohem"]),
      "labeled loss: cross-entropy, of all or of the hardest pixels",
      "ce",
    ),
    ohemThreshold: row(number({ min: 0, max: 1 }), "ohem: pixels up to this probability count", 0.7),
    ohemMinKept: row(stepNumber, "ohem: at least so many pixels count", 200000),
    seed: row(integer({ min: 0 }), "seed of weights, crops and dropout", 1),
    checkpointing: row(onOff(), "recompute activations in the backward pass to save memory", false, movable),
  }),
  ...group("Evaluation", {
    evalEvery: row(optional(stepCount), "steps between two evaluations", null, {
      unset: "one per epoch",
      ...movable,
    }),
    evalMode: row(
      choice(["original", "center-crop", "sliding-window"]),
      "whole images, their middle, or windows of the crop's size",
      "original",
    ),
  }),
  ...group("Run", {
    device: row(
      choice(["auto", "cpu", "webgpu"]),
      "where to compute; auto takes a real GPU if there is one",
      "auto",
      {
        ...movable,
      },
    ),
    workers: row(integer({ min: 1, max: 64 }), "threads that load images, 1 to 64", 2, movable),
    out: row(folderPath(), "folder for the results", "runs", movable),
    name: row(optional(folderName()), "name of the run's folder", null, {
      unset: "method-encoder-data",
      ...movable,
    }),
    resume: row(optional(anyPath()), "continue a run from its folder or checkpoint", null, movable),
  }),
};

/**
 * Completes a configuration: layers over the defaults, then checks what options say together.
 *
 * @param layers For example a checkpoint's configuration and what the command line gave; later ones win.
 * @throws {OptionError} If options contradict each other or one needs another.
 *
 * @example
 * ```ts
 * import { trainConfig } from "@allspark/tensor/training";
 * import { assertEquals } from "@std/assert";
 *
 * const config = trainConfig({ data: "voc", split: "92", steps: 1000 });
 * assertEquals(config.steps, 1000);
 * assertEquals(config.epochs, null);
 * ```
 */
export function trainConfig(...layers: Partial<TrainConfig>[]): TrainConfig {
  const given = layerOptions(trainOptions, ...layers);
  const scenes = given.data == null && given.images == null;
  const defaults = defaultOptions(trainOptions);
  const config = layerOptions(trainOptions, defaults, scenes ? sceneDefaults : {}, ...layers) as TrainConfig;
  const problems = contradictions(config);
  if (problems.length > 0) throw new OptionError(problems);
  return config;
}

/** The name of a run that was given none, such as `allspark-b0-scenes`. */
export function runName(config: TrainConfig): string {
  if (config.name !== null) return config.name;
  const source = config.data ?? config.images ?? "scenes";
  const last = source.split(/[\\/]/).filter((part) => part !== "" && part !== "." && part !== "..").at(-1);
  const encoder = config.variant.includes(":") ? "custom" : config.variant;
  return [config.method, encoder, last ?? "data"].join("-");
}

/** The `--help` text of `train.ts`. */
export function trainHelp(): string {
  return helpText(trainOptions, {
    about: `Trains a semantic segmentation model, by default AllSpark on scenes that it generates.

Usage: deno run -A train.ts [options]

  deno run -A train.ts
  deno run -A train.ts --data VOC2012 --split 183 --config configs/pascal.json --pretrained mit_b5.pth
  deno run -A train.ts --images photos --masks masks --crop 257
  deno run -A train.ts --resume runs/allspark-b0-scenes

A run is saved before its first step, before every evaluation, every quarter of an hour, when it is stopped
(Ctrl-C, kill, a closed terminal) and when something goes wrong; --resume goes on. One whose output goes to
files, as under nohup, goes on when its terminal is closed.`,
    others: { label: "scenes", values: sceneDefaults },
  });
}

/** One sentence for every pair of options that do not fit together. */
function contradictions(config: TrainConfig): string[] {
  const problems: string[] = [];
  const needs = (option: keyof TrainConfig, other: keyof TrainConfig, why: string): void => {
    if (config[option] === null || config[other] !== null) return;
    problems.push(`Cannot use ${flagName(option)} without ${flagName(other)}: ${why}`);
  };
  if (config.data !== null && config.images !== null) {
    problems.push("Cannot use --data together with --images: give one folder of photographs");
  }
  needs("data", "split", "the name of a split below DIR/splits is required, for example 1_8");
  needs("split", "data", "a split belongs to a folder in PASCAL VOC layout");
  needs("images", "masks", "the masks of some of the images are required");
  needs("masks", "images", "the images that they belong to are required");
  needs("labels", "images", "the names belong to the masks of those images");
  needs("pretrainedKey", "pretrained", "the file that has several models is required");
  if (config.pretrainedPartial) {
    needs("pretrainedPartial", "pretrained", "the file of which a part is taken is required");
  }
  if (config.steps === null && config.epochs === null) {
    problems.push("Cannot train: neither --steps nor --epochs is set; one of the two is required");
  }
  if (config.warmupSteps === null && config.warmupEpochs === null) {
    problems.push(
      "Cannot train: neither --warmup-steps nor --warmup-epochs is set; one of the two is required",
    );
  }
  if (!Number.isFinite(Math.fround(config.lr * config.lrMultiplier))) {
    problems.push(
      `Cannot use --lr ${config.lr} with --lr-multiplier ${config.lrMultiplier}: their product is infinite in f32, with ` +
        `which the device computes; at most 3.4e38 is possible`,
    );
  }
  if (config.steps !== null && config.burnInSteps >= config.steps && config.method !== "supervised") {
    problems.push(
      `Cannot use --burn-in-steps ${config.burnInSteps}: the run has ${config.steps} steps; a smaller number is required`,
    );
  }
  return problems;
}
