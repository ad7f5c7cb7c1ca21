/**
 * Colour changes, pixel for pixel as Pillow's `ImageEnhance` and torchvision's `adjust_hue` do them.
 *
 * @module
 */
import { type ImageArray, newImage } from "./pixels.ts";

const { fround } = Math;

/** Pillow's luma: (0.299 R + 0.587 G + 0.114 B) in 16-bit fixed point, rounded. */
function luma(red: number, green: number, blue: number): number {
  return (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16;
}

/** trunc(from + factor * (to - from)) in f32, kept within 0..255. */
function blend(from: number, to: number, factor: number): number {
  const value = fround(from + fround(factor * (to - from)));
  return value <= 0 ? 0 : value >= 255 ? 255 : Math.trunc(value);
}

/**
 * Brightness: 0 is black, 1 the image itself.
 *
 * @param image The image.
 * @param factor At least 0.
 * @returns A new image.
 */
export function adjustBrightness(image: ImageArray, factor: number): ImageArray {
  return mapBytes(image, 0, factor);
}

/**
 * Contrast: 0 is the mean grey of the image, 1 the image itself.
 *
 * @param image The image.
 * @param factor At least 0.
 * @returns A new image.
 */
export function adjustContrast(image: ImageArray, factor: number): ImageArray {
  const { data } = image;
  let sum = 0;
  for (let i = 0; i < data.length; i += 3) sum += luma(data[i]!, data[i + 1]!, data[i + 2]!);
  return mapBytes(image, Math.trunc(sum / (data.length / 3) + 0.5), factor);
}

/** Blends every byte with one and the same value, by a table. */
function mapBytes(image: ImageArray, base: number, factor: number): ImageArray {
  const amount = fround(factor);
  const table = Uint8Array.from({ length: 256 }, (_, value) => blend(base, value, amount));
  const result = newImage(image.width, image.height);
  for (let i = 0; i < result.data.length; i++) result.data[i] = table[image.data[i]!]!;
  return result;
}

/**
 * Saturation: 0 is the grey image, 1 the image itself.
 *
 * @param image The image.
 * @param factor At least 0.
 * @returns A new image.
 */
export function adjustSaturation(image: ImageArray, factor: number): ImageArray {
  const { data } = image;
  const amount = fround(factor);
  const result = newImage(image.width, image.height);
  for (let i = 0; i < data.length; i += 3) {
    const gray = luma(data[i]!, data[i + 1]!, data[i + 2]!);
    for (let channel = i; channel < i + 3; channel++) {
      result.data[channel] = blend(gray, data[channel]!, amount);
    }
  }
  return result;
}

/**
 * The grey image, with three equal channels.
 *
 * @param image The image.
 * @returns A new image.
 */
export function grayscale(image: ImageArray): ImageArray {
  const { data } = image;
  const result = newImage(image.width, image.height);
  for (let i = 0; i < data.length; i += 3) {
    result.data.fill(luma(data[i]!, data[i + 1]!, data[i + 2]!), i, i + 3);
  }
  return result;
}

/**
 * Hue: turns the colour circle.
 *
 * @param image The image.
 * @param factor The share of a full turn, from -0.5 to 0.5.
 * @returns A new image.
 */
export function adjustHue(image: ImageArray, factor: number): ImageArray {
  const { data } = image;
  const turn = Math.trunc(factor * 255) & 255;
  const result = newImage(image.width, image.height);
  for (let i = 0; i < data.length; i += 3) {
    const red = data[i]!, green = data[i + 1]!, blue = data[i + 2]!;
    const value = Math.max(red, green, blue);
    const range = value - Math.min(red, green, blue);
    if (range === 0) {
      result.data.fill(value, i, i + 3);
      continue;
    }
    const saturation = Math.trunc(fround((255 * range) / value));
    const hue = (hueOf(red, green, blue, value, range) + turn) & 255;
    writeHsv(result.data, i, hue, saturation, value);
  }
  return result;
}

/** The hue as a byte. The f32 roundings are Pillow's: without them some pixels differ by one. */
function hueOf(red: number, green: number, blue: number, value: number, range: number): number {
  const redShare = fround((value - red) / range);
  const greenShare = fround((value - green) / range);
  const blueShare = fround((value - blue) / range);
  let hue: number;
  if (red === value) hue = fround(blueShare - greenShare);
  else if (green === value) hue = fround(2 + redShare - blueShare);
  else hue = fround(4 + greenShare - redShare);
  return Math.trunc(fround((hue / 6 + 1) % 1) * 255);
}

function writeHsv(data: Uint8Array, at: number, hue: number, saturation: number, value: number): void {
  const sixth = fround((hue * 6) / 255);
  const sector = Math.floor(sixth);
  const fraction = fround(sixth - sector);
  const strength = fround(saturation / 255);
  const low = Math.round(value * (1 - strength));
  const falling = Math.round(value * (1 - strength * fraction));
  const rising = Math.round(value * (1 - strength * (1 - fraction)));
  const [red, green, blue] = sectorColor(sector % 6, value, low, falling, rising);
  data[at] = red;
  data[at + 1] = green;
  data[at + 2] = blue;
}

function sectorColor(
  sector: number,
  value: number,
  low: number,
  falling: number,
  rising: number,
): [number, number, number] {
  switch (sector) {
    case 0:
      return [value, rising, low];
    case 1:
      return [falling, value, low];
    case 2:
      return [low, value, rising];
    case 3:
      return [low, falling, value];
    case 4:
      return [rising, low, value];
    default:
      return [value, low, falling];
  }
}
