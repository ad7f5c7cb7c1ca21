/**
 * Writing elements to positions that are themselves tensors.
 *
 * @module
 */
import { type DType, storedValue } from "../src/dtype.ts";
import { DTypeError, formatShape, ShapeError } from "../src/errors.ts";
import { definePrimitive, type Primitive, type Sample } from "../src/primitive.ts";
import { contiguousStrides } from "../src/compiler/affine.ts";
import { forEachPosition } from "../src/compiler/interpret.ts";
import { describe, makeNode, type Tensor } from "../src/tensor.ts";
import { alignBatch, elementAt, normalizeAxis, requireChoice, requireDType, sizeOf } from "./common.ts";
import { full, iota, zeros } from "./create.ts";
import { equal, logicalAnd, where } from "./elementwise.ts";
import { checkSameOffAxis, gather, isInside, wrapIndices } from "./indexing.ts";

/** Parameters of `scatter`. */
interface ScatterParams {
  readonly axis: number;
  readonly mode: "set" | "add";
}

const scattering: Primitive<ScatterParams> = definePrimitive<ScatterParams>({
  name: "scatter",
  infer: ([x, indices, updates], { axis }) => {
    requireDType("scatter by indices", indices!, ["i32"]);
    checkSameOffAxis("scatter into", x!, indices!, axis);
    if (formatShape(indices!.shape) !== formatShape(updates!.shape)) {
      throw new ShapeError(
        `Cannot scatter updates ${formatShape(updates!.shape)} to indices ${
          formatShape(indices!.shape)
        }: the shapes must be equal`,
      );
    }
    return { shape: x!.shape, dtype: x!.dtype };
  },
  // An element that was overwritten no longer depends on x, and an update that was overwritten has no effect.
  vjp: (cotangent, { inputs: [x, indices, updates], params }) => [
    params.mode === "add" ? cotangent : put(cotangent, indices!, zeros(updates!.shape), params),
    undefined,
    where(isEffective(x!, indices!, params), gather(cotangent, indices!, params.axis), 0),
  ],
  jvp: ([dx, , du], { inputs: [x, indices, updates], params }) =>
    put(dx ?? zeros(x!.shape), indices!, du ?? zeros(updates!.shape), params),
  batch: (inputs, batched, { axis, mode }, size) => {
    const [x, indices, updates] = alignBatch(inputs, batched, size);
    return put(x!, indices!, updates!, { axis: axis + 1, mode });
  },
  lowering: {
    kind: "kernel",
    build: ([x, indices], { axis, mode }) => ({
      kind: "scatter",
      label: `scatter[${x!.shape}]`,
      inputs: [x!.dtype, "i32", x!.dtype],
      outputs: [x!.dtype],
      outer: sizeOf(x!.shape.slice(0, axis)),
      size: x!.shape[axis]!,
      count: indices!.shape[axis]!,
      innerSize: sizeOf(x!.shape.slice(axis + 1)),
      mode,
    }),
  },
  reference: ([x, indices, updates], { axis, mode }, { dtype }) => {
    const data = x!.data.slice();
    const strides = contiguousStrides(x!.shape);
    forEachPosition(indices!.shape, (position) => {
      const index = elementAt(indices!, position);
      if (index < 0 || index >= x!.shape[axis]!) return;
      const at = position.reduce((sum, p, k) => sum + (k === axis ? index : p) * strides[k]!, 0);
      const update = elementAt(updates!, position);
      if (mode === "set") data[at] = update;
      else data[at] = dtype === "f32" ? data[at]! + update : storedValue(data[at]! + update, dtype);
    });
    return { shape: x!.shape, data };
  },
  samples: (["set", "add"] as const).flatMap((mode) => [
    sample([5], [3], 0, mode),
    sample([3, 4], [3, 9], 1, mode),
    sample([3, 4], [2, 4], 0, mode),
    sample([2, 3, 2], [2, 5, 2], 1, mode),
    sample([4], [0], 0, mode),
    sample([1], [1], 0, mode),
    sample([4, 2], [3, 2], 0, mode, "i32"),
  ]),
});

function sample(
  shape: number[],
  indices: number[],
  axis: number,
  mode: "set" | "add",
  dtype: DType = "f32",
): Sample<ScatterParams> {
  const values = dtype === "f32" ? {} : { low: -9, high: 9 };
  return {
    inputs: [
      { shape, dtype, ...values },
      { shape: indices, dtype: "i32", low: 0, high: shape[axis]! - 1 },
      { shape: indices, dtype, ...values },
    ],
    params: { axis, mode },
  };
}

function put(x: Tensor, indices: Tensor, updates: Tensor, params: ScatterParams): Tensor {
  return makeNode(scattering, [x, indices, updates], params);
}

/** Which updates can be seen in the result: those in range, and of several to one place (`set`) the last. */
function isEffective(x: Tensor, indices: Tensor, { axis, mode }: ScatterParams): Tensor {
  const inside = isInside(indices, x.shape[axis]!);
  if (mode === "add") return inside;
  const own = iota(indices.shape, { axis });
  const winner = put(full(x.shape, -1, { dtype: "i32" }), indices, own, { axis, mode: "set" });
  return logicalAnd(inside, equal(gather(winner, indices, axis), own));
}

/**
 * A copy of `x` in which the elements at `indices` along an axis are set to `updates`, or increased by them:
 * for axis 1, result[i, indices[i, j]] = updates[i, j]. `indices` (i32 or u32) and `updates` have equal shapes, with
 * the rank of `x` and its sizes except along the axis.
 *
 * **Duplicate indices:** with `mode: "set"` the last update along the axis wins; with `"add"` all are added, in
 * order and in the dtype of `x`, so results are the same bit for bit every time. Negative indices count from the
 * end, −1 being the last; updates whose index is out of range, also from the end, are dropped. Differentiable in `x` and `updates`: what was overwritten gets no gradient.
 *
 * @param x Values; for `"add"` not bool.
 * @param indices Positions along the axis.
 * @param updates New values, of the dtype of `x`.
 * @param options `axis` (default 0) and `mode` (default "set").
 * @throws {ShapeError} If the shapes do not fit.
 * @throws {DTypeError} If the dtypes of `x` and `updates` differ or the indices are not integers.
 * @throws {AxisError} If `x` has no such axis.
 * @throws {RangeError} If the mode is another word.
 * @example
 * ```ts
 * import { scatter, tensor, zeros } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const indices = tensor([1, 1, 3], { dtype: "i32" });
 * const updates = tensor([5, 6, 7]);
 * assertEquals(await scatter(zeros([4]), indices, updates).toArray(), [0, 6, 0, 7]);
 * assertEquals(await scatter(zeros([4]), indices, updates, { mode: "add" }).toArray(), [0, 11, 0, 7]);
 * ```
 */
export function scatter(
  x: Tensor,
  indices: Tensor,
  updates: Tensor,
  options: { axis?: number; mode?: "set" | "add" } = {},
): Tensor {
  const { mode = "set" } = options;
  requireChoice("scatter", "mode", mode, ["set", "add"]);
  const axis = normalizeAxis("scatter", options.axis ?? 0, x.shape);
  if (x.dtype !== updates.dtype) {
    throw new DTypeError(
      `Cannot scatter updates ${describe(updates)} into ${describe(x)}: the dtypes must be equal`,
    );
  }
  if (mode === "add") requireDType("scatter and add into", x, ["f32", "i32", "u32"]);
  return put(x, wrapIndices("scatter by indices", indices, x.shape[axis]!), updates, { axis, mode });
}
