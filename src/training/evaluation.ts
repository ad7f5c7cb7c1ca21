/**
 * Evaluation: which class every pixel of an image has, in the three modes of the official code, and the scores of
 * many images.
 *
 * The model is compiled once for each size of image, or of window, that it tells apart: it looks at squares of four pixels,
 * so sizes that have as many of them share one program, and only what brings its scores to the pixels is made for each.
 *
 * @module
 */
import { add, argmax, pad, zeros } from "../../ops/mod.ts";
import type { WholeImage } from "../data/batch.ts";
import { firstFew } from "../data/errors.ts";
import { ignoreIndex, type MaskArray } from "../data/pixels.ts";
import { DeviceError } from "../errors.ts";
import { dispose, readAll } from "../evaluate.ts";
import type { Tensor } from "../tensor.ts";
import { jit } from "../transforms/jit.ts";
import type { EvalMode } from "./config.ts";
import { cut, logitsOf, sized, sizeProblem, visibleBoxes, windowVotes } from "./image_parts.ts";
import { OptionError } from "./options.ts";
import {
  addHistograms,
  type Box,
  emptyHistogram,
  histogram,
  scores,
  type SegmentationScores,
} from "./metrics.ts";

export { sizeProblem } from "./image_parts.ts";

/** A model in evaluation: weights (any tree) and images `[1, 3, H, W]` to logits `[1, K, H, W]`. */
export interface Forward<Weights> {
  /** The logits at the images' size. */
  (weights: Weights, image: Tensor): Tensor;
  /**
   * The logits before they get the images' size, `[1, K, ⌈H/4⌉, ⌈W/4⌉]`, if they are the same when the image is padded
   * with zeros to a multiple of four pixels. With it, images whose sizes differ by less share one program.
   */
  readonly coarse?: (weights: Weights, image: Tensor) => Tensor;
}

/** An image as a segmenter takes it; its name is for messages. */
export type SegmenterInput = Pick<WholeImage, "image" | "width" | "height"> & { readonly name?: string };

/** Gives every pixel of an image its class, i32 `[1, H, W]`; 255 where the mode does not look. */
export type Segmenter<Weights> = (weights: Weights, image: SegmenterInput) => Tensor;

/** How an image is evaluated. */
export interface SegmenterOptions {
  /** All at once (default), the middle only, or window by window. */
  readonly mode?: EvalMode;
  /** Side of the middle or of a window in pixels. */
  readonly crop: number;
}

/**
 * A function that finds the class of every pixel.
 *
 * `original` takes the logits' argmax; `center-crop` does so for the middle; `sliding-window` adds up the softmax of
 * overlapping windows first.
 *
 * The function that it returns throws an {@linkcode OptionError} if a part of the image would be seen alone that is
 * smaller than the encoder can take; {@linkcode sizeProblem} tells it before.
 *
 * @param forward The model.
 * @param options Mode and size.
 */
export function segmenter<Weights>(
  forward: Forward<Weights>,
  { mode = "original", crop }: SegmenterOptions,
): Segmenter<Weights> {
  const logits = logitsOf(forward);
  const classes = jit(function classes(found: Tensor, rows: number, columns: number): Tensor {
    return argmax(sized(found, rows, columns), { axis: 1 });
  }, { donate: [0], staticArgs: [1, 2] });
  const probabilities = windowVotes(forward, logits);
  const place = jit(function place(total: Tensor, part: Tensor, box: Box): Tensor {
    return add(total, pad(part, { padding: around(box, total.shape), value: 0 }));
  }, { donate: [0, 1], staticArgs: [2] });

  return (weights, image) => {
    const { width, height } = image;
    const problem = sizeProblem(image, { mode, crop });
    if (problem !== undefined) throw new OptionError([problem]);
    const boxes = visibleBoxes(mode, { height, width, crop });
    const parts = boxes.map((box) => cut(image, box));
    if (mode !== "sliding-window") {
      const [box] = boxes as [Box];
      const found = classes(logits(weights, parts[0]!), box.bottom - box.top, box.right - box.left);
      if (mode === "original") return found;
      return pad(found, { padding: around(box, [1, height, width]), value: ignoreIndex });
    }
    const votes = parts.map((part, k) => probabilities(weights, part, boxes[k]!));
    const none = zeros([1, votes[0]!.shape[1]!, height, width]);
    return argmax(boxes.reduce((total, box, k) => place(total, votes[k]!, box), none), { axis: 1 });
  };
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
export interface Segmented<Image extends SizedImage = WholeImage> {
  /** The image. */
  readonly image: Image;
  /** Its classes, 255 where the mode did not look. */
  readonly prediction: MaskArray;
}

/** What is known of an image that is to be segmented. */
export type SizedImage = Pick<WholeImage, "name" | "width" | "height">;

/** Gives the classes of an image: as a tensor `[1, H, W]` that is still to be read, or read already. */
export type ImageSegmenter<Image> = (image: Image) => Tensor | Promise<Uint8Array<ArrayBuffer>>;

/** Images in flight: the device works on them while the next ones are loaded. */
const readTogether = 4;

/**
 * Segments images one after another; several are read in one wait.
 *
 * @param images The images.
 * @param segment One image on the device.
 * @param options `onFailure` takes an image that could not be segmented and what was thrown; the others go on. Without it
 * that ends the iteration.
 * @returns The images with their classes, in order.
 * @throws {DeviceError} If the device cannot do it; the message names the images.
 */
export async function* segmentAll<Image extends SizedImage>(
  images: AsyncIterable<Image>,
  segment: ImageSegmenter<Image>,
  { onFailure }: { onFailure?: (image: Image, error: unknown) => void } = {},
): AsyncGenerator<Segmented<Image>, void, undefined> {
  type Result = Segmented<Image>[];
  const fail = (image: Image, error: unknown): Result => {
    if (onFailure === undefined) throw namingImages(error, [image]);
    onFailure(image, error);
    return [];
  };
  const finish = async (image: Image, classes: () => ReturnType<typeof segment>): Promise<Result> => {
    try {
      const found = classes();
      return [segmentedBy(image, found instanceof Promise ? await found : (await readClasses([found]))[0]!)];
    } catch (error) {
      return fail(image, error);
    }
  };
  let waiting: { image: Image; classes: Tensor }[] = [];
  const flush = async (): Promise<Result> => {
    const group = waiting;
    waiting = [];
    const images = group.map(({ image }) => image);
    try {
      const values = await readClasses(group.map(({ classes }) => classes));
      return images.map((image, k) => segmentedBy(image, values[k]!));
    } catch (error) {
      if (onFailure === undefined) throw namingImages(error, images);
    }
    // Which of them it was is not known: each has another try by itself.
    const again: Result = [];
    for (const image of images) again.push(...await finish(image, () => segment(image)));
    return again;
  };
  for await (const image of images) {
    let classes: ReturnType<typeof segment>;
    try {
      classes = segment(image);
    } catch (error) {
      fail(image, error);
      continue;
    }
    if (classes instanceof Promise) {
      // What goes wrong while the images before are read is told when its turn comes.
      classes.catch(() => {});
      yield* await flush();
      yield* await finish(image, () => classes);
    } else if (waiting.push({ image, classes }) === readTogether) yield* await flush();
  }
  yield* await flush();
}

/** The values of class tensors, read in one wait; the tensors are given up. */
async function readClasses(classes: readonly Tensor[]): Promise<Uint8Array<ArrayBuffer>[]> {
  const tensors = Object.fromEntries(classes.map((tensor, k) => [String(k), tensor]));
  try {
    const values = await readAll(tensors);
    return classes.map((_, k) => Uint8Array.from(values[String(k)]!));
  } finally {
    dispose(tensors);
  }
}

function segmentedBy<Image extends SizedImage>(
  image: Image,
  data: Uint8Array<ArrayBuffer>,
): Segmented<Image> {
  return { image, prediction: { width: image.width, height: image.height, data } };
}

/** A device's error with the images that it was about; any other error as it is. */
function namingImages(error: unknown, images: readonly SizedImage[]): unknown {
  if (!(error instanceof DeviceError)) return error;
  const names = firstFew(images.map(({ name, width, height }) => `${name} (${width}x${height})`));
  return new DeviceError(`Cannot segment ${names}: ${error.message}`, error.kernel, error.source);
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
  segment: ImageSegmenter<WholeImage>,
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
