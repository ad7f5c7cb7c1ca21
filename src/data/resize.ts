/**
 * Geometry of images and masks, pixel for pixel as Pillow does it: resize, flip, pad and crop.
 *
 * Masks are never interpolated.
 *
 * @module
 */
import { type ImageArray, type MaskArray, newImage, newMask } from "./pixels.ts";

/** Width and height in pixels. */
export type Size = readonly [width: number, height: number];

/** Weights are integers with this many fractional bits, so the result does not depend on floating-point order. */
const precisionBits = 22;

/**
 * Bilinear resize with a triangle filter that widens when shrinking (antialiased), as Pillow's `BILINEAR`.
 *
 * Rows first, then columns, with 8-bit values between; a direction whose size does not change is left alone.
 *
 * @param image The image.
 * @param size The new width and height.
 * @returns A new image, or the same one when the size is the same.
 *
 * @example Half size
 * ```ts
 * import { resizeBilinear } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * const image = { width: 2, height: 1, data: new Uint8Array([0, 0, 0, 100, 200, 50]) };
 * assertEquals([...resizeBilinear(image, [1, 1]).data], [50, 100, 25]);
 * ```
 */
export function resizeBilinear(image: ImageArray, size: Size): ImageArray {
  const [width, height] = size;
  let result = image;
  if (width !== result.width) {
    const resized = newImage(width, result.height);
    filterLines(result.data, resized.data, {
      taps: triangleTaps(result.width, width),
      lines: result.height,
      lineStep: { from: result.width * 3, to: width * 3 },
      tapStep: 3,
      run: 3,
    });
    result = resized;
  }
  if (height !== result.height) {
    const resized = newImage(width, height);
    filterLines(result.data, resized.data, {
      taps: triangleTaps(result.height, height),
      lines: 1,
      lineStep: { from: 0, to: 0 },
      tapStep: width * 3,
      run: width * 3,
    });
    result = resized;
  }
  return result;
}

/** For each output position: the first input position, and the integer weights from there on. */
interface Taps {
  readonly first: Int32Array;
  readonly count: Int32Array;
  readonly weights: Int32Array;
  readonly stride: number;
}

function triangleTaps(from: number, to: number): Taps {
  const scale = from / to;
  const support = Math.max(scale, 1);
  const stride = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(to);
  const count = new Int32Array(to);
  const weights = new Int32Array(to * stride);
  for (let x = 0; x < to; x++) {
    const centre = (x + 0.5) * scale;
    const low = Math.max(Math.trunc(centre - support + 0.5), 0);
    const high = Math.min(Math.trunc(centre + support + 0.5), from);
    const exact: number[] = [];
    for (let tap = low; tap < high; tap++) {
      exact.push(Math.max(0, 1 - Math.abs((tap - centre + 0.5) * (1 / support))));
    }
    const total = exact.reduce((sum, weight) => sum + weight, 0);
    exact.forEach((weight, i) => {
      weights[x * stride + i] = Math.trunc((weight / total) * 2 ** precisionBits + 0.5);
    });
    first[x] = low;
    count[x] = high - low;
  }
  return { first, count, weights, stride };
}

/** How a filter walks over an array: `lines` lines, in each of which every tap is a run of neighbouring values. */
interface Walk {
  readonly taps: Taps;
  readonly lines: number;
  readonly lineStep: { readonly from: number; readonly to: number };
  readonly tapStep: number;
  readonly run: number;
}

function filterLines(from: Uint8Array, to: Uint8Array, walk: Walk): void {
  const { taps, lines, lineStep, tapStep, run } = walk;
  const { first, count, weights, stride } = taps;
  for (let line = 0; line < lines; line++) {
    let target = line * lineStep.to;
    for (let x = 0; x < first.length; x++) {
      const source = line * lineStep.from + first[x]! * tapStep;
      const weightsStart = x * stride;
      const taken = count[x]!;
      for (let i = 0; i < run; i++) {
        let sum = 1 << (precisionBits - 1);
        for (let tap = 0, at = source + i; tap < taken; tap++, at += tapStep) {
          sum += from[at]! * weights[weightsStart + tap]!;
        }
        const value = sum >> precisionBits;
        to[target++] = value > 255 ? 255 : value;
      }
    }
  }
}

/**
 * Nearest-neighbour resize of a mask, as Pillow's `NEAREST`.
 *
 * @param mask The mask.
 * @param size The new width and height.
 * @returns A new mask, or the same one when the size is the same.
 */
export function resizeNearest(mask: MaskArray, size: Size): MaskArray {
  const [width, height] = size;
  if (width === mask.width && height === mask.height) return mask;
  const result = newMask(width, height);
  const columns = Int32Array.from({ length: width }, (_, x) => Math.floor(((x + 0.5) * mask.width) / width));
  for (let y = 0; y < height; y++) {
    const row = Math.floor(((y + 0.5) * mask.height) / height) * mask.width;
    for (let x = 0; x < width; x++) result.data[y * width + x] = mask.data[row + columns[x]!]!;
  }
  return result;
}

/** Where to cut, and what stands beyond the right and bottom border. */
export interface CropOptions {
  /** Left column of the crop. */
  readonly x: number;
  /** Top row of the crop. */
  readonly y: number;
  /** Width and height of the crop. */
  readonly size: Size;
  /** The value outside (default 0). */
  readonly fill?: number;
}

/**
 * A crop of an image; what lies beyond the right or bottom border is filled.
 *
 * @param image The image.
 * @param options Offset, size and fill.
 * @returns A new image.
 */
export function cropImage(image: ImageArray, options: CropOptions): ImageArray {
  const result = newImage(...options.size);
  cropRows(image, result, 3, options);
  return result;
}

/**
 * A crop of a mask; what lies beyond the right or bottom border is filled.
 *
 * @param mask The mask.
 * @param options Offset, size and fill.
 * @returns A new mask.
 */
export function cropMask(mask: MaskArray, options: CropOptions): MaskArray {
  const result = newMask(...options.size);
  cropRows(mask, result, 1, options);
  return result;
}

function cropRows(
  from: ImageArray | MaskArray,
  to: ImageArray | MaskArray,
  channels: number,
  options: CropOptions,
): void {
  const { x, y, fill = 0 } = options;
  if (fill !== 0) to.data.fill(fill);
  const columns = Math.min(to.width, from.width - x);
  const rows = Math.min(to.height, from.height - y);
  for (let row = 0; row < rows; row++) {
    const start = ((y + row) * from.width + x) * channels;
    to.data.set(from.data.subarray(start, start + columns * channels), row * to.width * channels);
  }
}

/**
 * An image mirrored left to right.
 *
 * @param image The image.
 * @returns A new image.
 */
export function flipImage(image: ImageArray): ImageArray {
  const { width, height, data } = image;
  const result = newImage(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * width + x) * 3;
      const to = (y * width + width - 1 - x) * 3;
      for (let channel = 0; channel < 3; channel++) result.data[to + channel] = data[from + channel]!;
    }
  }
  return result;
}

/**
 * A mask mirrored left to right.
 *
 * @param mask The mask.
 * @returns A new mask.
 */
export function flipMask(mask: MaskArray): MaskArray {
  const result = newMask(mask.width, mask.height);
  for (let start = 0; start < mask.data.length; start += mask.width) {
    result.data.set(mask.data.slice(start, start + mask.width).reverse(), start);
  }
  return result;
}
