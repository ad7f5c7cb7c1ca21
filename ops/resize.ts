/**
 * Resizing of images.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import { type Tensor, tensor } from "../src/tensor.ts";
import { requireChoice, requireDType } from "./common.ts";
import { contract } from "./einsum.ts";
import { take } from "./indexing.ts";

/** Options of `resize`. */
export interface ResizeOptions {
  /** `[height, width]` of the result. */
  readonly size: readonly [number, number];
  /** Default "bilinear". */
  readonly method?: "bilinear" | "nearest";
  /** Whether the centres of the corner pixels stay where they are (bilinear only), default false: the corners of the image do. */
  readonly alignCorners?: boolean;
}

/**
 * Images in another size: the last two axes of `x` become `size`. As in PyTorch's `interpolate`, without
 * antialiasing.
 *
 * `"bilinear"` (f32): pixel y of the result is read at (y + 0.5) · H / H' − 0.5, held at 0 from below, or with
 * `alignCorners` at y · (H − 1) / (H' − 1), and interpolated between its neighbours. It is a product with one small constant matrix for
 * each axis (docs/decisions), so every derivative exists and an infinite pixel makes NaN of its row and column.
 * `"nearest"` (any dtype): pixel ⌊y · H / H'⌋.
 *
 * @param x Images, `[..., H, W]`.
 * @param options Size, method, convention.
 * @throws {ShapeError} If `x` has fewer than two axes or no pixels.
 * @throws {RangeError} If the size is not of whole numbers of at least 1, the method is another word, or
 * `alignCorners` goes with "nearest".
 * @throws {DTypeError} If "bilinear" is asked for integers.
 * @example
 * ```ts
 * import { resize, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const x = tensor([[0, 4]]);
 * assertEquals(await resize(x, { size: [1, 4] }).toArray(), [[0, 1, 3, 4]]);
 * assertEquals(await resize(x, { size: [1, 5], alignCorners: true }).toArray(), [[0, 1, 2, 3, 4]]);
 * assertEquals(await resize(x, { size: [2, 2], method: "nearest" }).toArray(), [[0, 4], [0, 4]]);
 * ```
 */
export function resize(x: Tensor, options: ResizeOptions): Tensor {
  const { size, method = "bilinear", alignCorners = false } = options;
  const [h, w] = x.shape.slice(-2);
  if (x.ndim < 2 || h === 0 || w === 0) {
    throw new ShapeError(`Cannot resize x ${formatShape(x.shape)}: [..., H, W] with pixels is required`);
  }
  if (!size.every((n) => Number.isInteger(n) && n > 0)) {
    throw new RangeError(`Cannot resize to ${formatShape(size)}: whole numbers of at least 1 are required`);
  }
  requireChoice("resize", "method", method, ["bilinear", "nearest"]);
  if (method === "nearest") {
    if (alignCorners) {
      throw new RangeError('Cannot resize with alignCorners by "nearest": it belongs to "bilinear"');
    }
    return resizeAxis(resizeAxis(x, -1, size[1], nearest), -2, size[0], nearest);
  }
  requireDType("resize bilinearly", x, ["f32"]);
  const bilinear = (image: Tensor, axis: number, n: number): Tensor =>
    interpolate(image, axis, n, alignCorners);
  // The cheaper order first: it decides the size of what lies between.
  const widthFirst = size[1] * h! * (w! + size[0]) <= size[0] * w! * (h! + size[1]);
  const axes = widthFirst ? [-1, -2] : [-2, -1];
  return axes.reduce((image, axis) => resizeAxis(image, axis, size.at(axis)!, bilinear), x);
}

type AxisResize = (x: Tensor, axis: number, size: number) => Tensor;

function resizeAxis(x: Tensor, axis: number, size: number, method: AxisResize): Tensor {
  return x.shape.at(axis) === size ? x : method(x, axis, size);
}

function nearest(x: Tensor, axis: number, size: number): Tensor {
  const from = x.shape.at(axis)!;
  const source = Int32Array.from({ length: size }, (_, k) => Math.floor((k * from) / size));
  return take(x, tensor(source), { axis });
}

function interpolate(x: Tensor, axis: number, size: number, alignCorners: boolean): Tensor {
  const weights = tensor(interpolationWeights(x.shape.at(axis)!, size, alignCorners), {
    shape: [size, x.shape.at(axis)!],
  });
  const letters = String.fromCharCode(...x.shape.map((_, k) => 98 + k));
  const own = letters.at(axis)!;
  return contract(x, weights, letters, `a${own}`, letters.replace(own, "a"));
}

/** Row-major `[to, from]`: what every pixel of the result takes from every pixel of the image. */
function interpolationWeights(from: number, to: number, alignCorners: boolean): Float32Array {
  const weights = new Float32Array(to * from);
  const scale = alignCorners ? (to > 1 ? (from - 1) / (to - 1) : 0) : from / to;
  for (let k = 0; k < to; k++) {
    const source = alignCorners ? k * scale : Math.max((k + 0.5) * scale - 0.5, 0);
    const low = Math.min(Math.floor(source), from - 1);
    const high = Math.min(low + 1, from - 1);
    const part = Math.min(source - low, 1);
    weights[k * from + low]! += 1 - part;
    weights[k * from + high]! += part;
  }
  return weights;
}
