/**
 * Running sums.
 *
 * @module
 */
import { storedValue } from "../src/dtype.ts";
import { definePrimitive, type Primitive } from "../src/primitive.ts";
import { contiguousStrides } from "../src/compiler/affine.ts";
import { makeNode, type Tensor } from "../src/tensor.ts";
import { normalizeAxis, requireDType, sizeOf } from "./common.ts";
import { cast } from "./elementwise.ts";
import { flip } from "./movement.ts";

const cumulating: Primitive<{ readonly axis: number }> = definePrimitive<{ readonly axis: number }>({
  name: "cumsum",
  infer: ([x]) => {
    requireDType("cumsum", x!, ["f32", "i32", "u32"]);
    return { shape: x!.shape, dtype: x!.dtype };
  },
  // Element k is in all sums from k on, so its gradient is the running sum from the other end.
  vjp: (cotangent, { params: { axis } }) => [
    flip(cumsum(flip(cotangent, { axis }), { axis }), { axis }),
  ],
  jvp: ([tangent], { params }) => tangent && cumsum(tangent, params),
  batch: ([x], _batched, { axis }) => cumsum(x!, { axis: axis + 1 }),
  lowering: {
    kind: "kernel",
    build: ([x], { axis }) => ({
      kind: "cumulative",
      label: `cumsum[${x!.shape}]`,
      inputs: [x!.dtype],
      outputs: [x!.dtype],
      outer: sizeOf(x!.shape.slice(0, axis)),
      size: x!.shape[axis]!,
      innerSize: sizeOf(x!.shape.slice(axis + 1)),
    }),
  },
  reference: ([x], { axis }, { shape, dtype }) => {
    const stride = contiguousStrides(shape)[axis]!;
    const data = x!.data.slice();
    data.forEach((value, k) => {
      if (Math.floor(k / stride) % shape[axis]! === 0) return;
      const sum = data[k - stride]! + value;
      data[k] = dtype === "f32" ? sum : storedValue(sum, dtype);
    });
    return { shape, data };
  },
  samples: [
    { inputs: [{ shape: [7] }], params: { axis: 0 } },
    { inputs: [{ shape: [3, 5, 2] }], params: { axis: 1 } },
    { inputs: [{ shape: [4, 3] }], params: { axis: 0 } },
    { inputs: [{ shape: [2, 1] }], params: { axis: 1 } },
    { inputs: [{ shape: [2, 0] }], params: { axis: 1 } },
    { inputs: [{ shape: [2, 5], dtype: "i32", low: -5, high: 5 }], params: { axis: 1 } },
    { inputs: [{ shape: [5], dtype: "u32", low: 0, high: 5 }], params: { axis: 0 } },
  ],
});

/**
 * Running sum along an axis: result[k] = x[0] + … + x[k]. f32, i32, u32; bool counts as i32. Differentiable.
 *
 * @param x Values.
 * @param options `axis`, default 0.
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { cumsum, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await cumsum(tensor([1, 2, 3])).toArray(), [1, 3, 6]);
 * ```
 */
export function cumsum(x: Tensor, options: { axis?: number } = {}): Tensor {
  const axis = normalizeAxis("cumsum", options.axis ?? 0, x.shape);
  return makeNode(cumulating, [x.dtype === "bool" ? cast(x, "i32") : x], { axis });
}
