/** Gaussian blur, pixel for pixel as Pillow's `GaussianBlur`: three box blurs in each direction. @module */
import { type ImageArray, newImage } from "./pixels.ts";

const { fround } = Math;

/** A box of radius r with a fractional edge, in 24-bit fixed point. */
interface Box {
  readonly radius: number;
  readonly weight: number;
  readonly edgeWeight: number;
}

/**
 * Gaussian blur.
 *
 * A Gaussian of deviation `sigma` is close to three boxes of the same total variance (Gwosdek et al., "Theoretical
 * foundations of Gaussian convolution by extended box filtering", SSVM 2011). Border pixels are repeated outwards.
 *
 * @param image The image.
 * @param sigma Standard deviation in pixels, above 0.
 * @returns A new image.
 *
 * @example A flat image stays flat
 * ```ts
 * import { gaussianBlur } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * const image = { width: 4, height: 4, data: new Uint8Array(48).fill(90) };
 * assertEquals(gaussianBlur(image, 1.5).data, image.data);
 * ```
 */
export function gaussianBlur(image: ImageArray, sigma: number): ImageArray {
  const { width, height } = image;
  const box = boxFor(sigma);
  const passes = 3;
  let current = image;
  let spare = newImage(width, height);
  const blurAll = (lines: number, lineStep: number, length: number, step: number): void => {
    for (let pass = 0; pass < passes; pass++) {
      for (let line = 0; line < lines; line++) {
        for (let channel = 0; channel < 3; channel++) {
          blurLine(current.data, spare.data, line * lineStep + channel, length, step, box);
        }
      }
      const next = current === image ? newImage(width, height) : current;
      current = spare;
      spare = next;
    }
  };
  blurAll(height, width * 3, width, 3);
  blurAll(width, 3, height, width * 3);
  return current;
}

function boxFor(sigma: number): Box {
  const variance = fround(fround(fround(sigma) * fround(sigma)) / 3);
  const length = fround(Math.sqrt(12 * variance + 1));
  const whole = Math.floor((length - 1) / 2);
  const numerator = fround(fround(2 * whole + 1) * fround(whole * (whole + 1) - fround(3 * variance)));
  const denominator = fround(6 * fround(variance - (whole + 1) ** 2));
  const exactRadius = fround(whole + fround(numerator / denominator));
  const radius = Math.trunc(exactRadius);
  const weight = Math.trunc(fround(2 ** 24 / fround(fround(exactRadius * 2) + 1)));
  const edgeWeight = Math.trunc((2 ** 24 - (2 * radius + 1) * weight) / 2);
  return { radius, weight, edgeWeight };
}

/** One box blur along one line, by a running sum. */
function blurLine(
  from: Uint8Array,
  to: Uint8Array,
  start: number,
  length: number,
  step: number,
  box: Box,
): void {
  const { radius, weight, edgeWeight } = box;
  const last = length - 1;
  const at = (i: number): number => from[start + (i < 0 ? 0 : i > last ? last : i) * step]!;
  let sum = 0;
  for (let i = -radius; i <= radius; i++) sum += at(i);
  for (let i = 0; i < length; i++) {
    const edges = at(i - radius - 1) + at(i + radius + 1);
    to[start + i * step] = (sum * weight + edges * edgeWeight + 2 ** 23) / 2 ** 24;
    sum += at(i + radius + 1) - at(i - radius);
  }
}
