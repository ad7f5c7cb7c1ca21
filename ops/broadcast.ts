/**
 * Broadcasting: repetition along axes of size 1 and along new leading axes.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import { definePrimitive, type Primitive } from "../src/primitive.ts";
import { checkShape, makeNode, type Tensor } from "../src/tensor.ts";
import { elementAt, fillArray } from "./common.ts";
import { reshape } from "./movement_basic.ts";
import { sum } from "./reduce_basic.ts";

/** Parameters of `broadcastTo`. */
interface BroadcastParams {
  readonly shape: readonly number[];
}

const broadcasting: Primitive<BroadcastParams> = definePrimitive<BroadcastParams>({
  name: "broadcastTo",
  infer: ([x], { shape }) => {
    const extra = shape.length - x!.shape.length;
    x!.shape.forEach((size, k) => {
      if (extra >= 0 && (size === 1 || size === shape[k + extra])) return;
      throw new ShapeError(
        `Cannot broadcast shape ${formatShape(x!.shape)} to ${formatShape(shape)}: ${
          extra < 0
            ? "it has more axes"
            : `axis ${k + extra} is ${size} and ${shape[k + extra]}; equal sizes or 1 are required`
        }`,
      );
    });
    return { shape, dtype: x!.dtype };
  },
  // The transpose of repeating is adding up the copies.
  vjp: (cotangent, { inputs: [x], params: { shape } }) => {
    const extra = shape.length - x!.shape.length;
    const axis = shape.map((_, k) => k).filter((k) =>
      k < extra || (x!.shape[k - extra] === 1 && shape[k] !== 1)
    );
    return [reshape(sum(cotangent, { axis }), x!.shape)];
  },
  jvp: ([tangent], { params: { shape } }) => broadcastTo(tangent!, shape),
  batch: ([x], _batched, { shape }, size) => {
    const inner = x!.shape.slice(1);
    const ones = new Array<number>(shape.length - inner.length).fill(1);
    return broadcastTo(reshape(x!, [size, ...ones, ...inner]), [size, ...shape]);
  },
  lowering: {
    kind: "movement",
    place: (forms, { shape }, input, algebra) => ({
      forms: input.shape.map((size, k) =>
        size === 1 ? algebra.constant(0) : forms[shape.length - input.shape.length + k]!
      ),
    }),
    repeats: () => true,
  },
  reference: ([x], { shape }) => {
    const extra = shape.length - x!.shape.length;
    return fillArray(
      shape,
      (position) => elementAt(x!, x!.shape.map((size, k) => size === 1 ? 0 : position[k + extra]!)),
    );
  },
  samples: [
    { inputs: [{ shape: [] }], params: { shape: [2, 3] } },
    { inputs: [{ shape: [3, 1] }], params: { shape: [2, 3, 5] } },
    { inputs: [{ shape: [1, 4] }], params: { shape: [0, 4] } },
    { inputs: [{ shape: [7] }], params: { shape: [1, 7] } },
    { inputs: [{ shape: [1, 3], dtype: "i32", low: -9, high: 9 }], params: { shape: [2, 3] } },
    { inputs: [{ shape: [2, 1], dtype: "bool", low: 0, high: 1 }], params: { shape: [2, 2] } },
  ],
});

/**
 * Repeats `x` along axes of size 1, and along new axes in front, until it has the shape. Any dtype;
 * differentiable (cotangents of the copies are added).
 *
 * @throws {ShapeError} If an axis of `x` is neither 1 nor the size in `shape`.
 * @example
 * ```ts
 * import { broadcastTo, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const x = broadcastTo(tensor([1, 2]), [2, 2]);
 * assertEquals(await x.toArray(), [[1, 2], [1, 2]]);
 * ```
 */
export function broadcastTo(x: Tensor, shape: readonly number[]): Tensor {
  if (x.shape.length === shape.length && x.shape.every((size, k) => size === shape[k])) return x;
  checkShape(shape, "a tensor");
  return makeNode(broadcasting, [x], { shape: [...shape] });
}
