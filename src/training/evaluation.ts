/**
 * Evaluation: which class every pixel of an image has, in the three modes of the official code, and the scores of
 * many images.
 *
 * Everything is compiled once for each size of image, or of window.
 *
 * @module
 */
import { add, argmax, pad, softmax, tensor, zeros } from "../../ops/mod.ts";
import type { WholeImage } from "../data/batch.ts";
import { ignoreIndex, type MaskArray } from "../data/pixels.ts";
import { dispose, readAll } from "../evaluate.ts";
import type { Tensor } from "../tensor.ts";
import { jit } from "../transforms/jit.ts";
import type { EvalMode } from "./config.ts";
import { OptionError } from "./options.ts";
import {
  addHistograms,
  type Box,
  emptyHistogram,
  evaluationBoxes,
  histogram,
  scores,
  type SegmentationScores,
} from "./metrics.ts";

/** A model in evaluation: weights (any tree) and images `[1, 3, H, W]` to logits `[1, K, H, W]`. */
export type Forward<Weights> = (weights: Weights, image: Tensor) => Tensor;

/** Gives every pixel of an image its class, i32 `[1, H, W]`; 255 where the mode does not look. */
export type Segmenter<Weights> = (
  weights: Weights,
  image: Pick<WholeImage, "image" | "width" | "height">,
) => Tensor;

/** How an image is evaluated. */
export interface SegmenterOptions {
  /** All at once (default), the middle only, or window by window. */
  readonly mode?: EvalMode;
  /** Side of the middle or of a window in pixels. */
  readonly crop: number;
}

/** The encoder halves an image five times; its attention needs so many pixels on each side. */
const leastSide = 29;

/**
 * A function that finds the class of every pixel.
 *
 * `original` takes the logits' argmax; `center-crop` does so for the middle; `sliding-window` adds up the softmax of
 * overlapping windows first.
 *
 * The function that it returns throws an {@linkcode OptionError} if a part of the image would be seen alone that is
 * smaller than the encoder can take.
 *
 * @param forward The model.
 * @param options Mode and size.
 */
export function segmenter<Weights>(
  forward: Forward<Weights>,
  { mode = "original", crop }: SegmenterOptions,
): Segmenter<Weights> {
  const classes = jit(function classes(weights: Weights, image: Tensor): Tensor {
    return argmax(forward(weights, image), { axis: 1 });
  }, { donate: [1] });
  const probabilities = jit(function probabilities(weights: Weights, image: Tensor): Tensor {
    return softmax(forward(weights, image), { axis: 1 });
  }, { donate: [1] });
  const place = jit(function place(total: Tensor, part: Tensor, box: Box): Tensor {
    return add(total, pad(part, { padding: around(box, total.shape), value: 0 }));
  }, { donate: [0, 1], staticArgs: [2] });

  return (weights, image) => {
    const { width, height } = image;
    const boxes = visibleBoxes(mode, { height, width, crop });
    const parts = boxes.map((box) => cut(image, box));
    if (mode !== "sliding-window") {
      const found = classes(weights, parts[0]!);
      if (mode === "original") return found;
      return pad(found, { padding: around(boxes[0]!, [1, height, width]), value: ignoreIndex });
    }
    const votes = parts.map((part) => probabilities(weights, part));
    const none = zeros([1, votes[0]!.shape[1]!, height, width]);
    return argmax(boxes.reduce((total, box, k) => place(total, votes[k]!, box), none), { axis: 1 });
  };
}

/**
 * The parts that a mode looks at, without windows that are too narrow for the encoder, of which the windows before them
 * see every pixel.
 */
function visibleBoxes(mode: EvalMode, image: { height: number; width: number; crop: number }): Box[] {
  const overlap = image.crop - Math.floor(image.crop * 2 / 3);
  return evaluationBoxes(mode, image).filter(({ top, left, bottom, right }) => {
    const narrow = [[top, bottom - top], [left, right - left]].filter(([, side]) => side! < leastSide);
    if (narrow.length === 0) return true;
    if (narrow.some(([start, side]) => start! > 0 && side! <= overlap)) return false;
    throw new OptionError([
      `Cannot evaluate an image of ${image.width}x${image.height} pixels in mode ${mode} with crop ${image.crop}: a ` +
      `part of ${right - left}x${
        bottom - top
      } would be seen alone; at least ${leastSide}x${leastSide} are required`,
    ]);
  });
}

/** A part of an image as a tensor `[1, 3, H, W]`. */
function cut(
  { image, width, height }: Pick<WholeImage, "image" | "width" | "height">,
  { top, left, bottom, right }: Box,
): Tensor {
  const [rows, columns] = [bottom - top, right - left];
  const shape = [1, 3, rows, columns];
  if (rows === height && columns === width) return tensor(image, { shape });
  const part = new Float32Array(3 * rows * columns);
  for (let row = 0; row < 3 * rows; row++) {
    const start = (Math.floor(row / rows) * height + top + row % rows) * width + left;
    part.set(image.subarray(start, start + columns), row * columns);
  }
  return tensor(part, { shape });
}

/** What `pad` needs to put a box into an image whose last axes are height and width. */
function around(box: Box, shape: readonly number[]): [number, number][] {
  const [height, width] = shape.slice(-2) as [number, number];
  return [
    ...shape.slice(0, -2).map((): [number, number] => [0, 0]),
    [box.top, height - box.bottom],
    [box.left, width - box.right],
  ];
}

/** An image with the classes of its pixels. */
export interface Segmented {
  /** The image. */
  readonly image: WholeImage;
  /** Its classes, 255 where the mode did not look. */
  readonly prediction: MaskArray;
}

/** Images in flight: the device works on them while the next ones are loaded. */
const readTogether = 4;

/**
 * Segments images one after another; several are read in one wait.
 *
 * @param images The images.
 * @param segment One image on the device.
 * @returns The images with their classes, in order.
 */
export async function* segmentAll(
  images: AsyncIterable<WholeImage>,
  segment: (image: WholeImage) => Tensor,
): AsyncGenerator<Segmented, void, undefined> {
  let waiting: { image: WholeImage; classes: Tensor }[] = [];
  const flush = async function* (): AsyncGenerator<Segmented, void, undefined> {
    const tensors = Object.fromEntries(waiting.map(({ classes }, k) => [String(k), classes]));
    const values = await readAll(tensors);
    dispose(tensors);
    for (const [k, { image }] of waiting.entries()) {
      const { width, height } = image;
      yield { image, prediction: { width, height, data: Uint8Array.from(values[String(k)]!) } };
    }
    waiting = [];
  };
  for await (const image of images) {
    waiting.push({ image, classes: segment(image) });
    if (waiting.length === readTogether) yield* flush();
  }
  if (waiting.length > 0) yield* flush();
}

/** What can be told during an evaluation. */
export interface EvaluateOptions {
  /** Number of classes. */
  readonly classes: number;
  /** Called with each image as soon as it is counted. */
  readonly onImage?: (segmented: Segmented, done: number) => void;
}

/**
 * The scores of a model on images with masks, counted as the official evaluation counts them: histograms of all
 * images are added, and the mean goes over all classes.
 *
 * @param images The images.
 * @param segment One image on the device.
 * @param options Number of classes, and a listener.
 * @throws {TypeError} If an image has no mask.
 */
export async function evaluateImages(
  images: AsyncIterable<WholeImage>,
  segment: (image: WholeImage) => Tensor,
  { classes, onImage }: EvaluateOptions,
): Promise<SegmentationScores> {
  let counts = emptyHistogram(classes);
  let done = 0;
  for await (const segmented of segmentAll(images, segment)) {
    const { image: { mask, name }, prediction: { data } } = segmented;
    if (mask === undefined) {
      throw new TypeError(`Cannot evaluate ${name}: it has no mask; only images with masks can be scored`);
    }
    const target = mask.map((truth, i) => data[i] === ignoreIndex ? ignoreIndex : truth);
    // Where the mode did not look, the truth is ignored, and what stands there as prediction with it.
    const guess = data.map((found) => found === ignoreIndex ? 0 : found);
    counts = addHistograms(counts, histogram(guess, target, { classes, ignoreIndex }));
    onImage?.(segmented, ++done);
  }
  return scores(counts);
}
