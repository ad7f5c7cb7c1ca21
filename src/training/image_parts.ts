/**
 * The parts of an image that a model sees at once: where they are, whether they are large enough, and what the model says
 * about them.
 *
 * @module
 */
import { patchSide, upsample } from "../../models/segment.ts";
import { softmax, tensor } from "../../ops/mod.ts";
import type { Tensor } from "../tensor.ts";
import { jit } from "../transforms/jit.ts";
import type { EvalMode } from "./config.ts";
import type { Forward, SegmenterOptions } from "./evaluation.ts";
import { type Box, evaluationBoxes } from "./metrics.ts";

/** An image, or a part of it, normalised, `[3, height, width]`. */
export interface Part {
  readonly image: Float32Array<ArrayBuffer>;
  readonly width: number;
  readonly height: number;
}

/** The logits of a part in the form in which the model makes them. */
export type Logits<Weights> = (weights: Weights, part: Part) => Tensor;

/** The logits of a model on parts of images, compiled once for each number of squares that it looks at. */
export function logitsOf<Weights>(forward: Forward<Weights>): Logits<Weights> {
  const { coarse } = forward;
  const step = coarse === undefined ? 1 : patchSide;
  const run = jit(function segment(weights: Weights, image: Tensor): Tensor {
    return (coarse ?? forward)(weights, image);
  }, { donate: [1] });
  return (weights, part) => run(weights, padded(part, step));
}

/** A part as a tensor `[1, 3, H, W]`, with zeros at the bottom and right up to multiples of so many pixels. */
function padded({ image, width, height }: Part, step: number): Tensor {
  const rows = Math.ceil(height / step) * step;
  const columns = Math.ceil(width / step) * step;
  const shape = [1, 3, rows, columns];
  if (rows === height && columns === width) return tensor(image, { shape });
  const larger = new Float32Array(3 * rows * columns);
  for (let row = 0; row < 3 * height; row++) {
    const start = (Math.floor(row / height) * rows + row % height) * columns;
    larger.set(image.subarray(row * width, (row + 1) * width), start);
  }
  return tensor(larger, { shape });
}

/** Logits at a size; those that have it already stay as they are. */
export function sized(logits: Tensor, rows: number, columns: number): Tensor {
  const isSized = logits.shape[2] === rows && logits.shape[3] === columns;
  return isSized ? logits : upsample(logits, [rows, columns]);
}

/** Gives the probabilities of all classes in a part, f32 `[1, K, H, W]`. */
export type WindowVotes<Weights> = (weights: Weights, part: Part, box: Box) => Tensor;

/**
 * The votes of windows, which are added up where windows overlap.
 *
 * @param forward The model.
 * @param logits Its logits, if they are compiled already.
 */
export function windowVotes<Weights>(
  forward: Forward<Weights>,
  logits: Logits<Weights> = logitsOf(forward),
): WindowVotes<Weights> {
  const probabilities = jit(function probabilities(found: Tensor, rows: number, columns: number): Tensor {
    return softmax(sized(found, rows, columns), { axis: 1 });
  }, { donate: [0], staticArgs: [1, 2] });
  return (weights, part, { top, left, bottom, right }) =>
    probabilities(logits(weights, part), bottom - top, right - left);
}

/** The encoder halves an image five times; its attention needs so many pixels on each side. */
const leastSide = 29;

/**
 * What is wrong with the size of an image: a part of it would be seen alone that is smaller than the encoder can take.
 *
 * @param image Its size, and its name for the sentence.
 * @param options How it is to be segmented.
 * @returns One sentence, or undefined if nothing is wrong.
 */
export function sizeProblem(
  { width, height, name }: { width: number; height: number; name?: string },
  { mode = "original", crop }: SegmenterOptions,
): string | undefined {
  const alone = aloneBox(mode, { height, width, crop });
  if (alone === undefined) return undefined;
  const of = name === undefined
    ? `an image of ${width}x${height} pixels`
    : `${name} of ${width}x${height} pixels`;
  const how = mode === "original" ? "" : ` in mode ${mode} with crop ${crop}`;
  const part = `${alone.right - alone.left}x${alone.bottom - alone.top}`;
  const why = mode === "original" ? "" : `a part of ${part} would be seen alone; `;
  return `Cannot segment ${of}${how}: ${why}at least ${leastSide}x${leastSide} are required`;
}

/** A box that is too narrow for the encoder and has pixels that no other box shows. */
function aloneBox(mode: EvalMode, image: { height: number; width: number; crop: number }): Box | undefined {
  return evaluationBoxes(mode, image).find((box) => isNarrow(box) && !isSeenBefore(box, image.crop));
}

/**
 * The parts that a mode looks at, without windows that are too narrow for the encoder, of which the windows before them
 * see every pixel.
 */
export function visibleBoxes(mode: EvalMode, image: { height: number; width: number; crop: number }): Box[] {
  return evaluationBoxes(mode, image).filter((box) => !isNarrow(box));
}

function isNarrow({ top, left, bottom, right }: Box): boolean {
  return bottom - top < leastSide || right - left < leastSide;
}

/** Whether a narrow window shows nothing but what the window before it, two thirds of `crop` away, shows too. */
function isSeenBefore({ top, left, bottom, right }: Box, crop: number): boolean {
  const overlap = crop - Math.floor(crop * 2 / 3);
  const narrow = [[top, bottom - top], [left, right - left]].filter(([, side]) => side! < leastSide);
  return narrow.some(([start, side]) => start! > 0 && side! <= overlap);
}

/** A part of an image. */
export function cut({ image, width, height }: Part, { top, left, bottom, right }: Box): Part {
  const [rows, columns] = [bottom - top, right - left];
  if (rows === height && columns === width) return { image, width, height };
  const part = new Float32Array(3 * rows * columns);
  for (let row = 0; row < 3 * rows; row++) {
    const start = (Math.floor(row / rows) * height + top + row % rows) * width + left;
    part.set(image.subarray(start, start + columns), row * columns);
  }
  return { image: part, width: columns, height: rows };
}
