/**
 * Pooling: one value for every window of an image.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import type { Tensor } from "../src/tensor.ts";
import { requireDType } from "./common.ts";
import { type Pair, pairOf, requireImages } from "./conv_geometry.ts";
import { ones } from "./create.ts";
import { div } from "./elementwise.ts";
import { pad, windows } from "./movement.ts";
import { max, sum } from "./reduce.ts";

/** Windows of a pooling; pairs are `[height, width]`. */
export interface PoolOptions {
  /** Size of a window. */
  readonly size: Pair;
  /** Distance between windows, default their size. */
  readonly stride?: Pair;
  /** Border on both sides, at most half the window, default 0. */
  readonly padding?: Pair;
}

/**
 * The largest value of every window: `[N, C, H, W]` → `[N, C, H', W']`, H' = ⌊(H + 2·padding − size) / stride⌋ + 1.
 * Padding counts as −∞. f32; differentiable: as in `max`, several largest values share the gradient equally
 * (PyTorch gives all of it to the first).
 *
 * @param x Images.
 * @param options Size, stride (default: the size), padding of the windows.
 * @throws {ShapeError} If `x` has not four axes, or no window fits.
 * @throws {RangeError} For sizes, strides and paddings that are not possible.
 * @example
 * ```ts
 * import { maxPool2d, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const x = tensor([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]]);
 * assertEquals(await maxPool2d(x, { size: 2, stride: 1 }).toArray(), [[[[5, 6], [8, 9]]]]);
 * ```
 */
export function maxPool2d(x: Tensor, options: PoolOptions): Tensor {
  return max(poolWindows("maxPool2d", x, options, -Infinity), { axis: [4, 5] });
}

/**
 * The mean of every window; shapes as in `maxPool2d`. **Padding counts as zeros and as elements**, so windows at
 * the border are divided by their full size; with `countIncludePad: false` they are divided by the number of
 * pixels that they cover. f32; differentiable.
 *
 * @param x Images.
 * @param options Size, stride (default: the size), padding of the windows; `countIncludePad`, default true.
 * @throws {ShapeError} If `x` has not four axes, or no window fits.
 * @throws {RangeError} For sizes, strides and paddings that are not possible.
 * @example
 * ```ts
 * import { avgPool2d, ones } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const options = { size: 2, stride: 2, padding: 1 };
 * const x = ones([1, 1, 2, 2]);
 * assertEquals(await avgPool2d(x, options).toArray(), [[[[0.25, 0.25], [0.25, 0.25]]]]);
 * assertEquals(await avgPool2d(x, { ...options, countIncludePad: false }).toArray(), [[[[1, 1], [1, 1]]]]);
 * ```
 */
export function avgPool2d(
  x: Tensor,
  options: PoolOptions & { readonly countIncludePad?: boolean },
): Tensor {
  const sums = sumPool("avgPool2d", x, options);
  const [h, w] = pairOf("avgPool2d", "size", options.size, 1, 1);
  if (options.countIncludePad ?? true) return div(sums, h * w);
  return div(sums, sumPool("avgPool2d", ones([1, 1, x.shape[2]!, x.shape[3]!]), options));
}

function sumPool(action: string, x: Tensor, options: PoolOptions): Tensor {
  return sum(poolWindows(action, x, options, 0), { axis: [4, 5] });
}

/** `[N, C, H', W', size, size]`. */
function poolWindows(action: string, x: Tensor, options: PoolOptions, border: number): Tensor {
  requireImages(`apply ${action}`, x, "x", "[N, C, H, W]");
  requireDType(`apply ${action} to`, x, ["f32"]);
  const size = pairOf(action, "size", options.size, 1, 1);
  const stride = options.stride === undefined ? size : pairOf(action, "stride", options.stride, 1, 1);
  const padding = pairOf(action, "padding", options.padding, 0, 0);
  padding.forEach((border, axis) => {
    if (2 * border > size[axis]!) {
      throw new RangeError(
        `Cannot ${action} with padding ${border}: at most half the window size ${size[axis]} is possible`,
      );
    }
    if (x.shape[2 + axis]! + 2 * border < size[axis]!) {
      throw new ShapeError(
        `Cannot ${action} x ${formatShape(x.shape)}: a window of ${
          formatShape(size)
        } does not fit into the padded image`,
      );
    }
  });
  const padded = pad(x, {
    padding: [[0, 0], [0, 0], ...padding.map((p): [number, number] => [p, p])],
    value: border,
  });
  return windows(padded, { size, stride });
}
