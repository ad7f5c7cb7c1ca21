/**
 * Reading elements at positions that are themselves tensors.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import type { DType } from "../src/dtype.ts";
import { type Aval, definePrimitive, type Primitive, type Sample } from "../src/primitive.ts";
import { describe, makeNode, type Tensor } from "../src/tensor.ts";
import { broadcastTo } from "./broadcast.ts";
import { alignBatch, elementAt, fillArray, normalizeAxis, requireDType } from "./common.ts";
import { iota, zeros } from "./create.ts";
import { add, cast, equal, greaterEqual, less, logicalAnd, where } from "./elementwise.ts";
import { reshape } from "./movement.ts";
import { sum } from "./reduce.ts";
import { scatter } from "./scatter.ts";

/** Along an axis of at most this size a sum over one-hot rows is cheaper than a scatter. */
const smallAxis = 128;

const gathering: Primitive<{ readonly axis: number }> = definePrimitive<{ readonly axis: number }>({
  name: "gather",
  infer: ([x, indices], { axis }) => {
    requireDType("gather by indices", indices!, ["i32"]);
    checkSameOffAxis("take from", x!, indices!, axis);
    return { shape: indices!.shape, dtype: x!.dtype };
  },
  // Cotangents go back to where their values came from; those of the same place are added.
  vjp: (cotangent, { inputs: [x, indices], params: { axis } }) => [spread(cotangent, indices!, axis, x!)],
  jvp: ([tangent], { inputs: [x, indices], params: { axis } }) =>
    tangent && where(isInside(indices!, x!.shape[axis]!), gather(tangent, indices!, axis), 0),
  batch: (inputs, batched, { axis }, size) => {
    const [x, indices] = alignBatch(inputs, batched, size);
    return gather(x!, indices!, axis + 1);
  },
  lowering: { kind: "gather", axis: ({ axis }) => axis },
  reference: ([x, indices], { axis }, { shape, dtype }) =>
    fillArray(shape, (position) => {
      const index = elementAt(indices!, position);
      if (index < 0 || index >= x!.shape[axis]!) return dtype === "f32" ? NaN : 0;
      return elementAt(x!, position.map((p, k) => k === axis ? index : p));
    }),
  samples: [
    sample([5], [3], 0),
    sample([3, 4], [3, 7], 1),
    sample([3, 4], [2, 4], 0),
    sample([2, 3, 2], [2, 1, 2], 1),
    sample([200, 2], [3, 2], 0),
    sample([4], [0], 0),
    sample([1], [1], 0),
    sample([3, 4], [3, 2], 1, "i32"),
    sample([3, 4], [3, 2], 1, "bool"),
  ],
});

function sample(
  shape: number[],
  indices: number[],
  axis: number,
  dtype: DType = "f32",
): Sample<{ readonly axis: number }> {
  const values = dtype === "f32" ? {} : { low: 0, high: dtype === "bool" ? 1 : 9 };
  return {
    inputs: [{ shape, dtype, ...values }, { shape: indices, dtype: "i32", low: 0, high: shape[axis]! - 1 }],
    params: { axis },
  };
}

/** x at `indices` (i32, not negative) along an axis; the other axes are equal. */
export function gather(x: Tensor, indices: Tensor, axis: number): Tensor {
  return makeNode(gathering, [x, indices], { axis });
}

/** True where an index is in 0 … size − 1. */
export function isInside(indices: Tensor, size: number): Tensor {
  return logicalAnd(greaterEqual(indices, 0), less(indices, size));
}

/** The transpose of gather: adds values to zeros of the shape of `like`, at the indices. */
function spread(values: Tensor, indices: Tensor, axis: number, like: Aval): Tensor {
  const size = like.shape[axis]!;
  if (size > smallAxis) return scatter(zeros(like.shape), indices, values, { axis, mode: "add" });
  const before = like.shape.slice(0, axis);
  const after = like.shape.slice(axis + 1);
  const count = indices.shape[axis]!;
  const shape = [...before, count, size, ...after];
  const widen = (x: Tensor): Tensor => broadcastTo(reshape(x, [...before, count, 1, ...after]), shape);
  const isPlace = equal(widen(indices), iota(shape, { axis: axis + 1 }));
  const placed = where(isPlace, widen(values), 0);
  return count === 1 ? reshape(placed, like.shape) : sum(placed, { axis });
}

/** Throws unless both have the same rank and equal sizes except along the axis. */
export function checkSameOffAxis(action: string, x: Aval, indices: Aval, axis: number): void {
  const fits = x.shape.length === indices.shape.length &&
    x.shape.every((size, k) => k === axis || size === indices.shape[k]);
  if (fits) return;
  throw new ShapeError(
    `Cannot ${action} x ${formatShape(x.shape)} along axis ${axis} by indices ${
      formatShape(indices.shape)
    }: they must have the same number of axes and, except along axis ${axis}, the same sizes`,
  );
}

/** Indices as i32, with those below zero counted from the end. */
export function wrapIndices(action: string, indices: Tensor, size: number): Tensor {
  requireDType(action, indices, ["i32", "u32"]);
  if (indices.dtype === "u32") return cast(indices, "i32");
  return where(less(indices, 0), add(indices, size), indices);
}

/**
 * The elements of `x` at `indices` along an axis, which gets the shape of the indices: `[A, K, B]` with
 * indices `[M, N]` along axis 1 gives `[A, M, N, B]`. Any dtype; indices are i32 or u32. Negative indices count from
 * the end: −1 is the last element, −K the first. **An index out of range, from −K − 1 down or from K up, is not an
 * error** (the values are known only on the device): it gives NaN for f32, 0 for integers and false for bool, and
 * no gradient flows through it. Differentiable in `x`:
 * cotangents of the same element are added in the order of the indices.
 *
 * @param x Values.
 * @param indices Positions along the axis, of any shape.
 * @param options `axis`, default 0.
 * @throws {AxisError} If `x` has no such axis.
 * @throws {DTypeError} If the indices are not integers.
 * @example
 * ```ts
 * import { take, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const rows = take(tensor([[1, 2], [3, 4], [5, 6]]), tensor([2, 0, -2], { dtype: "i32" }));
 * assertEquals(await rows.toArray(), [[5, 6], [1, 2], [3, 4]]);
 * const lost = take(tensor([1, 2]), tensor([7], { dtype: "i32" }));
 * assertEquals(await lost.toArray(), [NaN]);
 * ```
 */
export function take(x: Tensor, indices: Tensor, options: { axis?: number } = {}): Tensor {
  const axis = normalizeAxis("take", options.axis ?? 0, x.shape);
  const [before, after] = [x.shape.slice(0, axis), x.shape.slice(axis + 1)];
  const flat = reshape(wrapIndices("take by indices", indices, x.shape[axis]!), [
    ...before.map(() => 1),
    indices.size,
    ...after.map(() => 1),
  ]);
  const taken = gather(x, broadcastTo(flat, [...before, indices.size, ...after]), axis);
  return reshape(taken, [...before, ...indices.shape, ...after]);
}

/**
 * For every position of `indices` the element of `x` at the same position except along the axis, where the
 * index says which: result[i, j] = x[i, indices[i, j]] for axis 1. `indices` (i32 or u32) have the rank of `x` and
 * its sizes, except along the axis. Negative and out-of-range indices and gradients are as in `take`.
 *
 * @param x Values, any dtype.
 * @param indices Positions along the axis.
 * @param options `axis`, default the last.
 * @throws {ShapeError} If the shapes differ elsewhere than along the axis.
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { takeAlongAxis, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const x = tensor([[10, 20, 30], [40, 50, 60]]);
 * const picked = takeAlongAxis(x, tensor([[2], [0]], { dtype: "i32" }), { axis: 1 });
 * assertEquals(await picked.toArray(), [[30], [40]]);
 * ```
 */
export function takeAlongAxis(x: Tensor, indices: Tensor, options: { axis?: number } = {}): Tensor {
  const axis = normalizeAxis("takeAlongAxis", options.axis ?? -1, x.shape);
  checkSameOffAxis("take from", x, indices, axis);
  return gather(x, wrapIndices("take by indices", indices, x.shape[axis]!), axis);
}

/**
 * One-hot vectors: a new axis of size `classes` that is 1 at the index and 0 elsewhere. An index outside
 * 0 … classes − 1, negative ones too, gives a row of zeros. Not differentiable (integers have no gradients).
 *
 * @param indices i32 or u32, any shape.
 * @param options `classes`; `axis`, where the new axis goes (default the last); `dtype` of the result, default f32.
 * @throws {DTypeError} If the indices are not integers.
 * @throws {RangeError} If `classes` is not a whole number, 0 or more.
 * @example
 * ```ts
 * import { oneHot, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const x = oneHot(tensor([1, 0, 255], { dtype: "i32" }), { classes: 2 });
 * assertEquals(await x.toArray(), [[0, 1], [1, 0], [0, 0]]);
 * ```
 */
export function oneHot(
  indices: Tensor,
  options: { classes: number; axis?: number; dtype?: DType },
): Tensor {
  const { classes, dtype = "f32" } = options;
  requireDType("oneHot", indices, ["i32", "u32"]);
  if (!Number.isInteger(classes) || classes < 0) {
    throw new RangeError(
      `Cannot oneHot ${describe(indices)} with ${classes} classes: a whole number, 0 or more, is required`,
    );
  }
  const axis = normalizeAxis("oneHot", options.axis ?? -1, [...indices.shape, classes]);
  const [before, after] = [indices.shape.slice(0, axis), indices.shape.slice(axis)];
  const shape = [...before, classes, ...after];
  const wide = broadcastTo(reshape(cast(indices, "i32"), [...before, 1, ...after]), shape);
  return cast(equal(wide, iota(shape, { axis })), dtype);
}
