/**
 * Rearrangements composed of the movement primitives.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import type { Tensor } from "../src/tensor.ts";
import { broadcastTo } from "./broadcast.ts";
import { normalizeAxes, normalizeAxis } from "./common.ts";
import { iota, zerosLike } from "./create.ts";
import { add } from "./elementwise_arithmetic.ts";
import { greaterEqual, lessEqual } from "./elementwise_logic.ts";
import { where } from "./elementwise_select.ts";
import { reshape, slice, transpose } from "./movement_basic.ts";
import { concat } from "./movement_assembly.ts";

/**
 * `x` with new axes of size 1 at the given places of the result.
 *
 * @throws {AxisError} If a place lies outside the result.
 * @example
 * ```ts
 * import { expandDims, zeros } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(expandDims(zeros([2, 3]), { axis: [0, -1] }).shape, [1, 2, 3, 1]);
 * ```
 */
export function expandDims(x: Tensor, options: { axis: number | readonly number[] }): Tensor {
  const count = typeof options.axis === "number" ? 1 : options.axis.length;
  const axes = normalizeAxes("expandDims", options.axis, new Array(x.ndim + count).fill(1));
  const sizes = [...x.shape];
  for (const axis of axes) sizes.splice(axis, 0, 1);
  return reshape(x, sizes);
}

/**
 * `x` without axes of size 1: the given ones, or all.
 *
 * @throws {ShapeError} If a given axis is not of size 1.
 * @example
 * ```ts
 * import { squeeze, zeros } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(squeeze(zeros([1, 2, 1])).shape, [2]);
 * assertEquals(squeeze(zeros([1, 2, 1]), { axis: 0 }).shape, [2, 1]);
 * ```
 */
export function squeeze(x: Tensor, options: { axis?: number | readonly number[] } = {}): Tensor {
  const axes = options.axis === undefined
    ? x.shape.map((_, k) => k).filter((k) => x.shape[k] === 1)
    : normalizeAxes("squeeze", options.axis, x.shape);
  const wide = axes.find((axis) => x.shape[axis] !== 1);
  if (wide !== undefined) {
    throw new ShapeError(
      `Cannot squeeze axis ${wide} of ${formatShape(x.shape)}: it is ${x.shape[wide]}; 1 is required`,
    );
  }
  return reshape(x, x.shape.filter((_, k) => !axes.includes(k)));
}

/**
 * `x` cut along an axis: into `parts` equal parts if it is a number, into parts of the given sizes if it is a
 * list.
 *
 * @throws {ShapeError} If the axis cannot be cut like this.
 * @throws {RangeError} If the number of parts is not a whole one, 1 or more.
 * @example
 * ```ts
 * import { split, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const [a, b] = split(tensor([1, 2, 3]), [1, 2]);
 * assertEquals(await b!.toArray(), [2, 3]);
 * assertEquals(a!.shape, [1]);
 * ```
 */
export function split(
  x: Tensor,
  parts: number | readonly number[],
  options: { axis?: number } = {},
): Tensor[] {
  const axis = normalizeAxis("split", options.axis ?? 0, x.shape);
  const length = x.shape[axis]!;
  const sizes = typeof parts === "number" ? equalParts(x.shape, axis, parts) : parts;
  const whole = sizes.every((size) => Number.isInteger(size) && size >= 0);
  if (!whole || sizes.reduce((sum, size) => sum + size, 0) !== length) {
    throw new ShapeError(
      `Cannot split axis ${axis} of ${formatShape(x.shape)} into parts of ${
        formatShape(sizes)
      }: they must be whole numbers, 0 or more, that add up to ${length}`,
    );
  }
  let start = 0;
  return sizes.map((size) => {
    const part = slice(x, {
      starts: x.shape.map((_, k) => k === axis ? start : 0),
      sizes: x.shape.map((full, k) => k === axis ? size : full),
    });
    start += size;
    return part;
  });
}

/** The sizes of parts that are all equal. */
function equalParts(shape: readonly number[], axis: number, count: number): number[] {
  if (!Number.isInteger(count) || count < 1) {
    throw new RangeError(
      `Cannot split ${formatShape(shape)} into ${count} parts: a whole number, 1 or more, is required`,
    );
  }
  if (shape[axis]! % count !== 0) {
    throw new ShapeError(
      `Cannot split axis ${axis} of ${
        formatShape(shape)
      } into ${count} equal parts: ${count} does not divide ${shape[axis]}; give a list of sizes`,
    );
  }
  return Array.from({ length: count }, () => shape[axis]! / count);
}

/**
 * `x` moved along axes by `shift` places; what leaves at the end comes in at the front. One shift for every
 * given axis; without `axis`, the elements are moved in row-major order.
 *
 * @throws {ShapeError} If there are not as many shifts as axes.
 * @example
 * ```ts
 * import { roll, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await roll(tensor([1, 2, 3]), { shift: 1, axis: 0 }).toArray(), [3, 1, 2]);
 * ```
 */
export function roll(
  x: Tensor,
  options: { shift: number | readonly number[]; axis?: number | readonly number[] },
): Tensor {
  const shifts = typeof options.shift === "number" ? [options.shift] : options.shift;
  if (options.axis === undefined) {
    return reshape(roll(reshape(x, [-1]), { shift: shifts, axis: 0 }), x.shape);
  }
  const axes = typeof options.axis === "number" ? [options.axis] : options.axis;
  if (shifts.length !== axes.length) {
    throw new ShapeError(
      `Cannot roll by ${shifts.length} shifts over ${axes.length} axes: one shift for every axis is required`,
    );
  }
  return axes.reduce((rolled: Tensor, given, k) => {
    const axis = normalizeAxis("roll", given, x.shape);
    const length = x.shape[axis]!;
    const cut = length === 0 ? 0 : ((-shifts[k]! % length) + length) % length;
    const [head, tail] = split(rolled, [cut, length - cut], { axis });
    return concat([tail!, head!], { axis });
  }, x);
}

/**
 * `x` side by side with itself: `counts[k]` times along axis k. Missing leading axes (of `x` or of `counts`)
 * count as 1.
 *
 * @throws {RangeError} If a count is not a whole number, 0 or more.
 * @example
 * ```ts
 * import { tensor, tile } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await tile(tensor([1, 2]), [2]).toArray(), [1, 2, 1, 2]);
 * ```
 */
export function tile(x: Tensor, counts: readonly number[]): Tensor {
  checkCounts("tile", counts);
  const rank = Math.max(x.ndim, counts.length);
  const size = (k: number): number => x.shape[k - (rank - x.ndim)] ?? 1;
  const count = (k: number): number => counts[k - (rank - counts.length)] ?? 1;
  const axes = Array.from({ length: rank }, (_, k) => k);
  const apart = reshape(x, axes.flatMap((k) => [1, size(k)]));
  return reshape(
    broadcastTo(apart, axes.flatMap((k) => [count(k), size(k)])),
    axes.map((k) => count(k) * size(k)),
  );
}

/**
 * Every slice along an axis `count` times in a row; without `axis`, every element of the flattened tensor.
 *
 * @throws {RangeError} If the count is not a whole number, 0 or more.
 * @example
 * ```ts
 * import { repeat, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await repeat(tensor([1, 2]), 2).toArray(), [1, 1, 2, 2]);
 * ```
 */
export function repeat(x: Tensor, count: number, options: { axis?: number } = {}): Tensor {
  checkCounts("repeat", [count]);
  if (options.axis === undefined) return repeat(reshape(x, [x.size]), count, { axis: 0 });
  const axis = normalizeAxis("repeat", options.axis, x.shape);
  const [before, after] = [x.shape.slice(0, axis + 1), x.shape.slice(axis + 1)];
  const wide = broadcastTo(reshape(x, [...before, 1, ...after]), [...before, count, ...after]);
  return reshape(wide, x.shape.map((size, k) => k === axis ? size * count : size));
}

function checkCounts(action: string, counts: readonly number[]): void {
  const bad = counts.find((count) => !Number.isInteger(count) || count < 0);
  if (bad !== undefined) {
    throw new RangeError(`Cannot ${action} ${bad} times: a whole number, 0 or more, is required`);
  }
}

/** Row and column numbers of the last two axes. */
function matrixPositions(action: string, x: Tensor): [Tensor, Tensor] {
  if (x.ndim < 2) {
    throw new ShapeError(`Cannot ${action} of shape ${formatShape(x.shape)}: two axes or more are required`);
  }
  const shape = x.shape.slice(-2);
  return [iota(shape), iota(shape, { axis: 1 })];
}

/**
 * The lower triangles of the matrices in the last two axes: zero above diagonal `diagonal` (0 is the main
 * one, positive ones lie above it). Any dtype; differentiable.
 *
 * @throws {ShapeError} If `x` has fewer than two axes.
 * @example
 * ```ts
 * import { ones, tril } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await tril(ones([2, 2])).toArray(), [[1, 0], [1, 1]]);
 * ```
 */
export function tril(x: Tensor, options: { diagonal?: number } = {}): Tensor {
  const [row, column] = matrixPositions("take the lower triangle", x);
  return where(greaterEqual(add(row, options.diagonal ?? 0), column), x, zerosLike(x));
}

/**
 * The upper triangles of the matrices in the last two axes: zero below diagonal `diagonal` (0 is the main
 * one, positive ones lie above it). Any dtype; differentiable.
 *
 * @throws {ShapeError} If `x` has fewer than two axes.
 * @example
 * ```ts
 * import { ones, triu } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await triu(ones([2, 2])).toArray(), [[1, 1], [0, 1]]);
 * ```
 */
export function triu(x: Tensor, options: { diagonal?: number } = {}): Tensor {
  const [row, column] = matrixPositions("take the upper triangle", x);
  return where(lessEqual(add(row, options.diagonal ?? 0), column), x, zerosLike(x));
}

/**
 * `x` with two axes exchanged.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { swapAxes, zeros } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(swapAxes(zeros([2, 3, 4]), 0, -1).shape, [4, 3, 2]);
 * ```
 */
export function swapAxes(x: Tensor, first: number, second: number): Tensor {
  const a = normalizeAxis("swap", first, x.shape);
  const b = normalizeAxis("swap", second, x.shape);
  return transpose(x, { axes: x.shape.map((_, k) => k === a ? b : k === b ? a : k) });
}

/**
 * `x` with axis `from` moved to place `to`; the others keep their order.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { moveAxis, zeros } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(moveAxis(zeros([2, 3, 4]), 0, -1).shape, [3, 4, 2]);
 * ```
 */
export function moveAxis(x: Tensor, from: number, to: number): Tensor {
  const source = normalizeAxis("move", from, x.shape);
  const axes = x.shape.map((_, k) => k).filter((k) => k !== source);
  axes.splice(normalizeAxis("move", to, x.shape), 0, source);
  return transpose(x, { axes });
}
