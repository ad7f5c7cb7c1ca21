/**
 * How much memory a run needs, from its sizes alone, before anything is allocated or traced; and the largest sizes.
 *
 * The formulas are sums of what the largest layers hold. Their factors are fitted to the memory plans of 106 training
 * steps (encoders b0 to b5 and others, crops 65 to 801, 2 to 150 classes); from 200 MB on they are within a quarter of these.
 *
 * @module
 */
import { mitSizes } from "../../models/config.ts";
import { largest, type TrainConfig } from "./config.ts";
import { flagName, OptionError } from "./options.ts";
import { parseSize } from "./options_kinds.ts";
import { encoderOf } from "./session_model.ts";
import { inBytes } from "./words.ts";

/** The parts of a configuration that decide about memory. */
export type SizeConfig = Pick<
  TrainConfig,
  | "method"
  | "variant"
  | "embedding"
  | "heads"
  | "crop"
  | "batch"
  | "optimizer"
  | "checkpointing"
  | "imageSize"
>;

interface Layers {
  readonly dims: readonly number[];
  readonly depths: readonly number[];
  /** Positions of the four stages' maps. */
  readonly positions: readonly number[];
  readonly embedding: number;
}

function layersOf({ variant, embedding }: SizeConfig, width: number, height: number): Layers {
  const { dims, depths } = mitSizes(encoderOf(variant));
  const sides = [width, height].map((side) => [4, 8, 16, 32].map((step) => Math.ceil(side / step)));
  return {
    dims,
    depths,
    positions: sides[0]!.map((columns, k) => columns * sides[1]![k]!),
    embedding: embedding ?? (variant === "b0" || variant === "b1" ? 256 : 768),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((a, b) => a + b, 0);
}

/** Learned values of the encoder and the head, and of AllSpark. */
function parameters(config: SizeConfig, classes: number): number {
  const { dims, depths, embedding } = layersOf(config, 32, 32);
  const ratios = [8, 4, 2, 1];
  const encoder = dims.map((channels, k) => {
    const patches = (k === 0 ? 3 * 49 : 9 * dims[k - 1]!) * channels;
    // Query, key, value and output; the two layers of the Mix-FFN; the convolution that makes keys fewer.
    const block = 12 * channels ** 2 + (k < 3 ? (ratios[k]! * channels) ** 2 : 0) + 60 * channels;
    return patches + depths[k]! * block;
  });
  const head = embedding * (sum(dims) + 4 * embedding + classes);
  const allspark = config.method === "allspark" ? (2 + 8 * config.heads) * dims[3]! ** 2 : 0;
  return sum(encoder) + head + allspark;
}

/**
 * Bytes on the device that a training step needs at its fullest: state, batch and everything between.
 *
 * @param config The sizes.
 * @param classes Number of classes.
 */
export function stepBytes(config: SizeConfig, classes: number): number {
  const { crop, batch, checkpointing, method, optimizer, heads } = config;
  const { dims, depths, positions, embedding } = layersOf(config, crop, crop);
  const maps = dims.map((channels, k) => channels * positions[k]!);
  const learned = parameters(config, classes);
  const memory = method === "allspark" ? classes * dims[3]! * positions[3]! : 0;
  const state = learned * (optimizer === "adamw" ? 3 : 2) + memory;
  const image = checkpointing
    // Between the blocks one map each; within one block, the one under way, everything.
    ? sum(maps.map((map, k) => map * (depths[k]! + 20))) + embedding * positions[0]! + 2 * classes * crop ** 2
    : sum(maps.map((map, k) => 18 * map * depths[k]!)) + 3.3 * embedding * positions[0]! +
      (2.8 * classes + 43) * crop ** 2;
  const images = batch * (method === "supervised" ? 1 : 2);
  const between = method === "allspark" ? 16 * heads * batch * dims[3]! ** 2 + 18 * memory : 0;
  return 4 * (state + 0.4 * learned + images * image + between);
}

/** Bytes on the device beside the weights that the evaluation of one image needs, seen whole. */
export function evaluationBytes(
  config: SizeConfig,
  classes: number,
  { width, height }: { width: number; height: number },
): number {
  const { embedding, positions } = layersOf(config, width, height);
  return 4 * (6 * width * height + Math.max(1.4 * classes * width * height, 2.9 * embedding * positions[0]!));
}

/** Classes that are reckoned with as long as the data are not known. */
const someClasses = 21;

/**
 * Refuses sizes that no device can take, before anything is made of them.
 *
 * @throws {OptionError} If one is above its bound; the sentences say the bounds, and the memory that would be needed.
 */
export function checkSizes(config: SizeConfig): void {
  const needs = `a training step would need about ${inBytes(stepBytes(config, someClasses))} of memory`;
  const problems: string[] = [];
  for (const name of ["crop", "batch", "embedding", "heads"] as const) {
    const value = config[name];
    if (value === null || value <= largest[name]) continue;
    problems.push(`Cannot use ${flagName(name)} ${value}: at most ${largest[name]} is possible; ${needs}`);
  }
  const { dims, depths } = mitSizes(encoderOf(config.variant));
  if (Math.max(...dims) > largest.channels || Math.max(...depths) > largest.blocks) {
    problems.push(
      `Cannot use --variant ${config.variant}: at most ${largest.channels} channels and ${largest.blocks} blocks ` +
        `in a stage are possible; ${needs}`,
    );
  }
  if (problems.length > 0) throw new OptionError(problems);
}

/**
 * Refuses a run that the device cannot hold, before its programs are traced.
 *
 * @param config The sizes.
 * @param options Number of classes, and the bytes that the device has.
 * @throws {OptionError} If the step or an evaluation needs more than there is, by more than the estimate may be wrong.
 */
export function checkMemory(
  config: SizeConfig,
  { classes, available }: { classes: number; available: number },
): void {
  const size = config.imageSize === null ? undefined : parseSize(config.imageSize);
  const step = stepBytes(config, classes);
  const evaluation = size === undefined ? 0 : evaluationBytes(config, classes, size);
  const margin = 1.3;
  const problems: string[] = [];
  const has = `the device has ${inBytes(available)}`;
  if (step > margin * available) {
    problems.push(
      `Cannot train with --batch ${config.batch}, --crop ${config.crop} and --variant ${config.variant}: a step needs ` +
        `about ${inBytes(step)} of memory and ${has}; use a smaller batch or crop` +
        (config.checkpointing ? "" : ", or --checkpointing on"),
    );
  }
  if (evaluation > margin * available) {
    problems.push(
      `Cannot evaluate images of ${config.imageSize} pixels: one needs about ${
        inBytes(evaluation)
      } of memory and ` +
        `${has}; use a smaller --image-size`,
    );
  }
  if (problems.length > 0) throw new OptionError(problems);
}
