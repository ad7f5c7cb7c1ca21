/**
 * Images that are too large to be seen as a whole or to have the scores of all pixels in memory: window by window, a band
 * of rows at a time.
 *
 * The encoder's attention grows with the square of the pixels, and the scores of 21 classes of an image of 48 million
 * pixels are 4 GB. Here the device sees one window after another, and this side adds up the probabilities, in the order
 * and the precision in which {@linkcode segmenter} adds them, so that the classes are the same.
 *
 * @module
 */
import { normalize } from "../data/augment.ts";
import { DataError } from "../data/errors.ts";
import type { ImageArray } from "../data/pixels.ts";
import { cropImage } from "../data/resize.ts";
import { dispose, readAll } from "../evaluate.ts";
import type { Forward } from "./evaluation.ts";
import { visibleBoxes, windowVotes } from "./image_parts.ts";
import type { Box } from "./metrics.ts";

/** An image whose parts are made when they are needed. */
export interface LargeImage {
  /** For messages. */
  readonly name: string;
  /** The picture as the model is to see it. */
  readonly pixels: ImageArray;
}

/** How a large image is segmented. */
export interface LargeImageOptions {
  /** Side of a window in pixels. */
  readonly crop: number;
  /**
   * `cut` windows at the right and bottom, as the official evaluation does, or `inside` the image all with one size, so
   * that one program serves all images; the last ones overlap more then.
   */
  readonly windows: "cut" | "inside";
  /** Called after some windows with the number of those done, and of all. */
  readonly onWindow?: (done: number, total: number) => void;
}

/** Windows whose results are read together. */
const readTogether = 4;

/** Bytes of a band's scores from which on it is refused. */
const largestBand = 2 ** 31;

/**
 * A function that finds the class of every pixel of a large image.
 *
 * @param forward The model.
 * @param options Size and place of the windows.
 * @returns The function: weights and image to the classes, a row after another.
 * @throws {DataError} If the scores of one band of windows would not fit into memory.
 */
export function largeSegmenter<Weights>(
  forward: Forward<Weights>,
  { crop, windows, onWindow }: LargeImageOptions,
): (weights: Weights, image: LargeImage) => Promise<Uint8Array<ArrayBuffer>> {
  const votes = windowVotes(forward);
  return async (weights, { name, pixels }) => {
    const { width, height } = pixels;
    const boxes = windows === "cut"
      ? visibleBoxes("sliding-window", { width, height, crop })
      : insideWindows({ width, height, crop });
    let found = new Uint8Array(0);
    let band: Band | undefined;
    for (let k = 0; k < boxes.length; k += readTogether) {
      const group = boxes.slice(k, k + readTogether);
      const tensors = group.map((box) => votes(weights, partOf(pixels, box), box));
      const classes = tensors[0]!.shape[1]!;
      if (band === undefined) {
        band = openBand({ name, classes, width, rows: Math.min(crop, height) });
        found = new Uint8Array(width * height);
      }
      const values = await readAll(Object.fromEntries(tensors.map((tensor, j) => [String(j), tensor])));
      dispose(tensors);
      group.forEach((box, j) => {
        finishRows(band!, found, box.top);
        addVotes(band!, values[String(j)] as Float32Array, box);
      });
      onWindow?.(k + group.length, boxes.length);
    }
    finishRows(band!, found, height);
    return found;
  };
}

/**
 * Windows of one size inside an image, two thirds of `crop` apart, the last ones of a row and column moved inwards; an
 * image that is less wide or high is seen over its whole width or height.
 */
export function insideWindows(
  { width, height, crop }: { width: number; height: number; crop: number },
): Box[] {
  const stride = Math.max(1, Math.floor(crop * 2 / 3));
  const starts = (side: number): number[] => {
    const last = Math.max(0, side - crop);
    return Array.from({ length: Math.ceil(last / stride) + 1 }, (_, k) => Math.min(last, k * stride));
  };
  return starts(height).flatMap((top) =>
    starts(width).map((left) => ({
      top,
      left,
      bottom: Math.min(height, top + crop),
      right: Math.min(width, left + crop),
    }))
  );
}

/** A part of a picture, normalised. */
function partOf(
  pixels: ImageArray,
  { top, left, bottom, right }: Box,
): { image: Float32Array<ArrayBuffer>; width: number; height: number } {
  const [width, height] = [right - left, bottom - top];
  return { image: normalize(cropImage(pixels, { x: left, y: top, size: [width, height] })), width, height };
}

/** The scores `[K, rows, width]` of some rows of an image, of which the first is row `top`. */
interface Band {
  readonly scores: Float32Array;
  readonly classes: number;
  readonly width: number;
  readonly rows: number;
  top: number;
}

function openBand(
  { name, classes, width, rows }: { name: string; classes: number; width: number; rows: number },
): Band {
  const bytes = 4 * classes * rows * width;
  if (bytes > largestBand) {
    throw new DataError(
      `Cannot segment ${name}: the scores of ${classes} classes in ${rows} rows of ${width} pixels need ` +
        `${(bytes / 1e9).toFixed(1)} GB; a smaller --crop or --image-size is required`,
      { file: name },
    );
  }
  return { scores: new Float32Array(bytes / 4), classes, width, rows, top: 0 };
}

/** Adds the probabilities `[1, K, h, w]` of a window. */
function addVotes({ scores, classes, width, rows, top }: Band, votes: Float32Array, box: Box): void {
  const [h, w] = [box.bottom - box.top, box.right - box.left];
  for (let k = 0; k < classes; k++) {
    for (let y = 0; y < h; y++) {
      const from = (k * h + y) * w;
      const to = (k * rows + box.top - top + y) * width + box.left;
      for (let x = 0; x < w; x++) scores[to + x]! += votes[from + x]!;
    }
  }
}

/** Writes the classes of the rows above `end`, which no further window shows, and makes room for as many below. */
function finishRows(band: Band, found: Uint8Array, end: number): void {
  const { scores, classes, width, rows, top } = band;
  const done = Math.min(end - top, rows);
  if (done <= 0) return;
  const plane = rows * width;
  for (let i = 0; i < done * width; i++) {
    let best = 0;
    for (let k = 1; k < classes; k++) if (scores[k * plane + i]! > scores[best * plane + i]!) best = k;
    found[top * width + i] = best;
  }
  for (let k = 0; k < classes; k++) {
    scores.copyWithin(k * plane, k * plane + done * width, (k + 1) * plane);
    scores.fill(0, (k + 1) * plane - done * width, (k + 1) * plane);
  }
  band.top = end;
}
