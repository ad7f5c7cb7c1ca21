/**
 * The configurations of `evaluate.ts` and `predict.ts`: which weights, how the model was built, on which pictures.
 *
 * @module
 */

import type { DeviceChoice, EvalMode, Variant } from "./config.ts";
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
  folderPath,
  integer,
  nameText,
  optional,
  parseSize,
  size,
} from "./options_kinds.ts";

/** What both programs must know to run a model; null means what the checkpoint says. */
export interface InferenceConfig {
  /** Checkpoint, or file of raw weights under the official names. */
  weights: string;
  /** Which of several models in that file, such as `teacher`, or null. */
  weightsKey: string | null;
  /** The encoder's size, or null for the checkpoint's. */
  variant: Variant | null;
  /** Channels of the decoder, or null for the checkpoint's or the variant's. */
  embedding: number | null;
  /** Heads of AllSpark's attention, or null for the checkpoint's. */
  heads: number | null;
  /** Whose keys AllSpark reads, or null for the checkpoint's. */
  evalKeys: "self" | "memory" | null;
  /** File with the names and colours of the classes, or null for the checkpoint's or the data's. */
  classes: string | null;
  /** `WxH` to which every image is resized first, or null for the checkpoint's. */
  imageSize: string | null;
  /** How an image is predicted, or null for windows if the image is large and else as a whole. */
  mode: EvalMode | null;
  /** Side of the middle or of a window, or null for the checkpoint's. */
  crop: number | null;
  /** Where to compute. */
  device: DeviceChoice;
}

/** The configuration of `evaluate.ts`. */
export interface EvaluateConfig extends InferenceConfig {
  /** Folder in PASCAL VOC layout, or null. */
  data: string | null;
  /** Name of the split below `data/splits`, or a folder with the lists, or null. */
  split: string | null;
  /** List of the images and masks to evaluate, or null for the split's validation list. */
  list: string | null;
  /** Folder of the user's own images, or null. */
  images: string | null;
  /** Folder of the masks for `images`. */
  masks: string | null;
  /** Whether broken files are left out rather than being an error. */
  skipBroken: boolean;
  /** How an image is evaluated. */
  mode: EvalMode;
}

/** The configuration of `predict.ts`. */
export interface PredictConfig extends InferenceConfig {
  /** An image or a folder of images. */
  input: string;
  /** Folder for the masks and overlays. */
  out: string;
}

/** An image with more pixels is segmented in windows by `predict.ts`, unless another mode is asked for: 2048x1024. */
export const largestWhole: number = 2 ** 21;

const modes = choice(["original", "center-crop", "sliding-window"]);
const modeHelp = "whole images, their middle, or windows of the crop's size";

const modelRows: OptionTable<Omit<InferenceConfig, "weights" | "mode" | "imageSize" | "crop" | "device">> = {
  ...group("Model", {
    weightsKey: row(optional(nameText()), "which of several models in --weights, such as teacher", null),
    variant: row(optional(encoderSize()), "size of the encoder", null, {
      unset: "the checkpoint's; raw weights: b0",
    }),
    embedding: row(optional(integer({ min: 1 })), "channels of the decoder", null, {
      unset: "the checkpoint's; raw weights: 256 for b0 and b1, else 768",
    }),
    heads: row(optional(integer({ min: 1 })), "heads of AllSpark's attention", null, {
      unset: "the checkpoint's; raw weights: 2",
    }),
    evalKeys: row(optional(choice(["self", "memory"])), "keys: the image's own or the memory", null, {
      unset: "the checkpoint's; raw weights: self",
    }),
    classes: row(optional(classSource()), "names and colours of the classes", null, {
      unset: "the checkpoint's; raw weights: DIR/classes.json, or numbers",
    }),
  }),
};

const imageSizeRow = row(optional(size()), "resize every image to this size first", null, {
  unset: "the checkpoint's; raw weights: as it is",
});
const cropRow = row(optional(integer({ min: 29 })), "side of the middle or of a window", null, {
  unset: "the checkpoint's; raw weights: 513",
});

const deviceRows: OptionTable<Pick<InferenceConfig, "device">> = {
  ...group("Run", {
    device: row(
      choice(["auto", "cpu", "webgpu"]),
      "where to compute; auto takes a real GPU if there is one",
      "auto",
    ),
  }),
};

/** The table of `evaluate.ts`. */
export const evaluateOptions: OptionTable<EvaluateConfig> = {
  ...group("Input", {
    weights: row(filePath(), "checkpoint, or raw weights (.safetensors or .pth)", "", {
      unset: "required",
    }),
    data: row(optional(folderPath()), "photographs in PASCAL VOC layout", null, {
      unset: "generated scenes",
    }),
    split: row(optional(nameText()), "split whose validation list is evaluated", null, {
      unset: "DIR/splits/val.txt",
    }),
    list: row(optional(filePath()), "evaluate the images of this list", null),
    images: row(optional(folderPath()), "your own images", null),
    masks: row(optional(folderPath()), "masks of --images", null),
    skipBroken: row(flag(), "leave out files that are absent, cut or otherwise broken, and list them", false),
  }),
  ...modelRows,
  ...group("Images", {
    imageSize: imageSizeRow,
    mode: row(modes, modeHelp, "original"),
    crop: cropRow,
  }),
  ...deviceRows,
};

/** The table of `predict.ts`. */
export const predictOptions: OptionTable<PredictConfig> = {
  ...group("Input and output", {
    weights: row(filePath(), "checkpoint, or raw weights (.safetensors or .pth)", "", { unset: "required" }),
    input: row(anyPath(), "an image or a folder of images", "", { unset: "required" }),
    out: row(folderPath(), "folder for the masks and overlays", "predictions"),
  }),
  ...modelRows,
  ...group("Images", {
    imageSize: imageSizeRow,
    mode: row(optional(modes), modeHelp, null, {
      unset: `original; windows for images of more than ${largestWhole} pixels (2048x1024)`,
    }),
    crop: cropRow,
  }),
  ...deviceRows,
};

/**
 * Completes a configuration of `evaluate.ts`.
 *
 * @throws {OptionError} If `weights` is missing or options contradict each other.
 */
export function evaluateConfig(given: Partial<EvaluateConfig>): EvaluateConfig {
  const config = layerOptions(evaluateOptions, defaultOptions(evaluateOptions), given) as EvaluateConfig;
  const problems = missing(config, ["weights"]);
  if (config.data !== null && config.images !== null) {
    problems.push("Cannot use --data together with --images: give one folder of photographs");
  }
  for (const name of ["split", "list"] as const) {
    if (config[name] === null || config.data !== null) continue;
    problems.push(`Cannot use ${flagName(name)} without --data: its lines are paths inside that folder`);
  }
  if ((config.images === null) !== (config.masks === null)) {
    problems.push("Cannot use one of --images and --masks alone: both folders are required");
  }
  problems.push(...tooLarge(config));
  if (problems.length > 0) throw new OptionError(problems);
  return config;
}

/**
 * Completes a configuration of `predict.ts`.
 *
 * @throws {OptionError} If `weights` or `input` is missing.
 */
export function predictConfig(given: Partial<PredictConfig>): PredictConfig {
  const config = layerOptions(predictOptions, defaultOptions(predictOptions), given) as PredictConfig;
  const problems = [...missing(config, ["weights", "input"]), ...tooLarge(config)];
  if (problems.length > 0) throw new OptionError(problems);
  return config;
}

/** The `--help` text of `evaluate.ts`. */
export function evaluateHelp(): string {
  return helpText(evaluateOptions, {
    about: `Evaluates weights on images with masks: IoU per class, and mIoU in percent on the last line.

Usage: deno run -A evaluate.ts --weights FILE [options]

  deno run -A evaluate.ts --weights runs/allspark-b0-scenes/best.safetensors
  deno run -A evaluate.ts --data VOC2012 --weights allspark.pth --variant b5`,
  });
}

/** The `--help` text of `predict.ts`. */
export function predictHelp(): string {
  return helpText(predictOptions, {
    about: `Segments images: writes a colour mask and an overlay for each.

Usage: deno run -A predict.ts --weights FILE --input PATH [options]

  deno run -A predict.ts --weights runs/allspark-b0-scenes/best.safetensors --input photo.jpg`,
  });
}

function missing<T>(config: T, names: (keyof T & string)[]): string[] {
  return names.filter((name) => config[name] === "")
    .map((name) => `Cannot start without ${flagName(name)}: its value is required`);
}

/** Pixels of the largest image that is made, 8192x8192: as the model takes it, it has 805 MB. */
const mostPixels = 2 ** 26;

/** Sizes that no memory would hold. */
function tooLarge({ imageSize, crop }: Pick<InferenceConfig, "imageSize" | "crop">): string[] {
  const problems: string[] = [];
  const check = (flag: string, width: number, height: number): void => {
    if (width * height <= mostPixels) return;
    const gigabytes = (width * height * 12 / 1e9).toPrecision(3);
    problems.push(
      `Cannot use ${flag}: an image of ${width}x${height} pixels alone has ${gigabytes} GB as the model takes it; at ` +
        `most ${mostPixels} pixels (8192x8192) are possible`,
    );
  };
  if (imageSize !== null) {
    const { width, height } = parseSize(imageSize);
    check(`--image-size ${imageSize}`, width, height);
  }
  if (crop !== null) check(`--crop ${crop}`, crop, crop);
  return problems;
}
