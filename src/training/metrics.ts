/**
 * Measures of a segmentation, counted as the official evaluation counts them: histograms of pixels per class are
 * added over all images, and IoU comes from the sums.
 *
 * @module
 */

import type { EvalMode } from "./config.ts";

/** Pixel counts per class, added over images. */
export interface Histogram {
  /** Pixels whose prediction and truth are both the class. */
  intersection: number[];
  /** Pixels predicted as the class. */
  prediction: number[];
  /** Pixels that are truly the class. */
  target: number[];
}

/** What a histogram says about a model; all values from 0 to 1. */
export interface SegmentationScores {
  /** Intersection over union per class; 0 for a class that occurs nowhere. */
  iou: number[];
  /** Mean of `iou` over all classes. */
  meanIoU: number;
  /** Share of the counted pixels that are predicted rightly. */
  pixelAccuracy: number;
}

/** A part of an image in pixels; `bottom` and `right` are just outside. */
export interface Box {
  /** First row. */
  top: number;
  /** First column. */
  left: number;
  /** Row after the last. */
  bottom: number;
  /** Column after the last. */
  right: number;
}

/** A histogram of no pixels. */
export function emptyHistogram(classes: number): Histogram {
  const zeros = (): number[] => new Array<number>(classes).fill(0);
  return { intersection: zeros(), prediction: zeros(), target: zeros() };
}

/**
 * Counts one image's pixels. Pixels whose truth is `ignoreIndex` count nowhere, not even as predictions.
 *
 * @param prediction Class of every pixel.
 * @param target True class of every pixel, or `ignoreIndex`.
 * @throws {RangeError} If the lengths differ or a value is no class.
 *
 * @example
 * ```ts
 * import { histogram, scores } from "@allspark/tensor/training";
 * import { assertAlmostEquals } from "@std/assert";
 *
 * const counts = histogram([0, 1, 1, 1], [0, 0, 1, 255], { classes: 2 });
 * assertAlmostEquals(scores(counts).meanIoU, 0.5);
 * ```
 */
export function histogram(
  prediction: ArrayLike<number>,
  target: ArrayLike<number>,
  { classes, ignoreIndex = 255 }: { classes: number; ignoreIndex?: number },
): Histogram {
  if (prediction.length !== target.length) {
    throw new RangeError(
      `Cannot compare ${prediction.length} predicted pixels with ${target.length} true ones: ` +
        "both must belong to the same image",
    );
  }
  const counts = emptyHistogram(classes);
  for (let i = 0; i < target.length; i++) {
    const truth = target[i]!;
    const guess = prediction[i]!;
    if (truth === ignoreIndex) continue;
    if (counts.target[truth] === undefined || counts.prediction[guess] === undefined) {
      throw new RangeError(
        `Cannot count pixel ${i}: it is predicted as class ${guess} and truly ${truth}; ` +
          `classes are 0..${classes - 1}, or ${ignoreIndex} for ignored truth`,
      );
    }
    counts.target[truth]!++;
    counts.prediction[guess]!++;
    if (truth === guess) counts.intersection[truth]!++;
  }
  return counts;
}

/** The histogram of two sets of images together. */
export function addHistograms(a: Histogram, b: Histogram): Histogram {
  const add = (x: number[], y: number[]): number[] => x.map((value, k) => value + y[k]!);
  return {
    intersection: add(a.intersection, b.intersection),
    prediction: add(a.prediction, b.prediction),
    target: add(a.target, b.target),
  };
}

/** IoU = I / (U + 1e-10) per class, its mean over all classes, and the pixel accuracy. */
export function scores({ intersection, prediction, target }: Histogram): SegmentationScores {
  const iou = intersection.map((both, k) => both / (prediction[k]! + target[k]! - both + 1e-10));
  const sum = (values: number[]): number => values.reduce((a, b) => a + b, 0);
  return {
    iou,
    meanIoU: sum(iou) / iou.length,
    pixelAccuracy: sum(intersection) / Math.max(1, sum(target)),
  };
}

/**
 * The windows of the official sliding evaluation: every two thirds of `crop` (rounded down) from the upper left
 * corner; a window over the edge is cut there, not shifted. The softmax of all windows is added up.
 */
export function slidingWindows(
  { height, width, crop }: { height: number; width: number; crop: number },
): Box[] {
  const stride = Math.floor(crop * 2 / 3);
  const boxes: Box[] = [];
  for (let top = 0; top < height; top += stride) {
    for (let left = 0; left < width; left += stride) {
      boxes.push({ top, left, bottom: Math.min(height, top + crop), right: Math.min(width, left + crop) });
    }
  }
  return boxes;
}

/** The middle of an image, at most `crop` pixels high and wide. */
export function centerBox({ height, width, crop }: { height: number; width: number; crop: number }): Box {
  const top = Math.max(0, Math.floor((height - crop) / 2));
  const left = Math.max(0, Math.floor((width - crop) / 2));
  return { top, left, bottom: Math.min(height, top + crop), right: Math.min(width, left + crop) };
}

/** The parts of an image that the model sees in a mode of evaluation. */
export function evaluationBoxes(
  mode: EvalMode,
  image: { height: number; width: number; crop: number },
): Box[] {
  if (mode === "sliding-window") return slidingWindows(image);
  if (mode === "center-crop") return [centerBox(image)];
  return [{ top: 0, left: 0, bottom: image.height, right: image.width }];
}
