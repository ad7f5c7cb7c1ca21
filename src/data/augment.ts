/**
 * The two training pipelines, as pure functions of (image, mask, options, random).
 *
 * - {@linkcode weakAugment}, for unlabeled images: random resize, crop, flip.
 * - {@linkcode strongAugment}, for labeled images: the same, then colour jitter, grayscale and blur.
 *
 * Sizes, probabilities and the order of the steps are those of AllSpark's official code.
 *
 * @module
 */
import { gaussianBlur } from "./blur.ts";
import { adjustBrightness, adjustContrast, adjustHue, adjustSaturation, grayscale } from "./color.ts";
import { ignoreIndex, type ImageArray, type MaskArray } from "./pixels.ts";
import type { RandomStream } from "./random.ts";
import {
  cropImage,
  cropMask,
  flipImage,
  flipMask,
  resizeBilinear,
  resizeNearest,
  type Size,
} from "./resize.ts";

/** What the pipelines can be told; the defaults are the official code's. */
export interface AugmentOptions {
  /** Side of the square crop in pixels. */
  readonly crop: number;
  /** The long side becomes a random number of pixels between these multiples of itself (default 0.5 to 2). */
  readonly scale?: readonly [low: number, high: number];
  /** Probability of mirroring left to right (default 0.5). */
  readonly flip?: number;
  /** Colour changes of the strong pipeline. */
  readonly color?: ColorOptions;
}

/** How often and how much the strong pipeline changes colours; the defaults are the official code's. */
export interface ColorOptions {
  /** Probability of the jitter (default 0.8). */
  readonly jitter?: number;
  /** Brightness factor is within 1 - this and 1 + this (default 0.5). */
  readonly brightness?: number;
  /** Contrast factor is within 1 - this and 1 + this (default 0.5). */
  readonly contrast?: number;
  /** Saturation factor is within 1 - this and 1 + this (default 0.5). */
  readonly saturation?: number;
  /** The hue turns by at most this share of the circle (default 0.25). */
  readonly hue?: number;
  /** Probability of losing all colour (default 0.2). */
  readonly grayscale?: number;
  /** Probability of a blur (default 0.5). */
  readonly blur?: number;
  /** Standard deviation of the blur in pixels, lowest and highest (default 0.1 to 2). */
  readonly sigma?: readonly [low: number, high: number];
}

/** An image with its mask; a mask is absent when nothing is known about the pixels. */
export interface Sample {
  /** The image. */
  readonly image: ImageArray;
  /** Its mask, of the same size. */
  readonly mask?: MaskArray;
}

/**
 * The size after the random resize: `long` is the new long side; the other side keeps the ratio, rounded half up, and
 * is at least 1.
 *
 * @param size The size before.
 * @param long The new long side in pixels.
 * @returns The new width and height.
 */
export function sizeWithLongSide([width, height]: Size, long: number): Size {
  const other = (short: number, side: number): number => Math.max(1, Math.floor((short * long) / side + 0.5));
  return height > width ? [other(width, height), long] : [long, other(height, width)];
}

/**
 * Random resize, crop and flip: the geometry that both pipelines share.
 *
 * Crops beyond the right or bottom border are black in the image and 255 in the mask.
 *
 * @param sample Image and mask.
 * @param options Crop size and ranges.
 * @param random Where the random numbers come from.
 * @returns A new sample of `crop` x `crop` pixels.
 *
 * @example
 * ```ts
 * import { randomStream, weakAugment } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * const image = { width: 30, height: 20, data: new Uint8Array(1800) };
 * const crop = weakAugment({ image }, { crop: 16 }, randomStream(1)).image;
 * assertEquals([crop.width, crop.height], [16, 16]);
 * ```
 */
export function weakAugment(sample: Sample, options: AugmentOptions, random: RandomStream): Sample {
  const { crop, scale = [0.5, 2], flip = 0.5 } = options;
  const { width, height } = sample.image;
  const long = Math.max(width, height);
  const newLong = random.integer(Math.floor(scale[0] * long), Math.floor(scale[1] * long));
  const size = sizeWithLongSide([width, height], Math.max(1, newLong));
  const x = random.integer(0, Math.max(size[0] - crop, 0));
  const y = random.integer(0, Math.max(size[1] - crop, 0));
  const mirrored = random.chance(flip);

  const window = { x, y, size: [crop, crop] as const };
  let image = cropImage(resizeBilinear(sample.image, size), window);
  if (mirrored) image = flipImage(image);
  if (sample.mask === undefined) return { image };
  let mask = cropMask(resizeNearest(sample.mask, size), { ...window, fill: ignoreIndex });
  if (mirrored) mask = flipMask(mask);
  return { image, mask };
}

/**
 * {@linkcode weakAugment}, then colour jitter, grayscale and blur, each with its probability.
 *
 * @param sample Image and mask.
 * @param options Crop size, ranges and probabilities.
 * @param random Where the random numbers come from.
 * @returns A new sample of `crop` x `crop` pixels.
 */
export function strongAugment(sample: Sample, options: AugmentOptions, random: RandomStream): Sample {
  const weak = weakAugment(sample, options, random);
  return { ...weak, image: changeColors(weak.image, options.color ?? {}, random) };
}

function changeColors(image: ImageArray, options: ColorOptions, random: RandomStream): ImageArray {
  const { jitter = 0.8, grayscale: gray = 0.2, blur = 0.5, sigma = [0.1, 2] } = options;
  let result = image;
  if (random.chance(jitter)) result = jitterColors(result, options, random);
  if (random.chance(gray)) result = grayscale(result);
  if (random.chance(blur)) result = gaussianBlur(result, random.uniform(...sigma));
  return result;
}

/** The four changes in random order; all factors are drawn first. */
function jitterColors(image: ImageArray, options: ColorOptions, random: RandomStream): ImageArray {
  const { brightness = 0.5, contrast = 0.5, saturation = 0.5, hue = 0.25 } = options;
  const order = random.permutation(4);
  const around = (centre: number, reach: number): number => random.uniform(centre - reach, centre + reach);
  const factors = [around(1, brightness), around(1, contrast), around(1, saturation), around(0, hue)];
  const changes = [adjustBrightness, adjustContrast, adjustSaturation, adjustHue];
  return order.reduce((current, change) => changes[change]!(current, factors[change]!), image);
}

const mean = [0.485, 0.456, 0.406] as const;
const deviation = [0.229, 0.224, 0.225] as const;

/** Normalised value of each byte for each channel: ((v / 255) - mean) / deviation, rounded to f32 after each step. */
const normalizedByte: readonly Float32Array[] = mean.map((centre, channel) =>
  Float32Array.from({ length: 256 }, (_, value) => {
    const centred = Math.fround(Math.fround(value / 255) - Math.fround(centre));
    return centred / Math.fround(deviation[channel]!);
  })
);

/**
 * An image as the network takes it: `[3, height, width]` f32, with ImageNet's mean and deviation.
 *
 * @param image The image.
 * @param target Where to write; made new when not given.
 * @returns The target.
 */
export function normalize(
  image: ImageArray,
  target: Float32Array<ArrayBuffer> = new Float32Array(image.data.length),
): Float32Array<ArrayBuffer> {
  const pixels = image.width * image.height;
  for (let channel = 0; channel < 3; channel++) {
    const table = normalizedByte[channel]!;
    for (let i = 0; i < pixels; i++) target[channel * pixels + i] = table[image.data[i * 3 + channel]!]!;
  }
  return target;
}
