/**
 * Sliding windows over the last axes, on which pooling and depthwise convolution are built.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import { definePrimitive, type Primitive } from "../src/primitive.ts";
import { forEachPosition } from "../src/compiler/interpret.ts";
import { makeNode, type Tensor } from "../src/tensor.ts";
import { elementAt, fillArray } from "./common.ts";
import { zeros } from "./create.ts";
import { add } from "./elementwise_arithmetic.ts";
import { reshape, slice, unslice } from "./movement_basic.ts";

/** Sizes, strides and dilations of the windows, one for each of the last axes. */
export interface WindowOptions {
  /** Elements of a window along each of the last axes. */
  readonly size: readonly number[];
  /** Distance between neighbouring windows. Default 1. */
  readonly stride?: readonly number[];
  /** Distance between neighbouring elements of a window. Default 1. */
  readonly dilation?: readonly number[];
}

const windowing: Primitive<Required<WindowOptions>> = definePrimitive<Required<WindowOptions>>({
  name: "windows",
  infer: ([x], params) => ({ shape: windowShape(x!.shape, params), dtype: x!.dtype }),
  // The cotangent of every element of a window goes back to where it came from: one strided slice per element.
  vjp: (cotangent, { inputs: [x], params: { size, stride, dilation } }) => {
    const lead = x!.ndim - size.length;
    const inner = cotangent.shape.slice(0, x!.ndim);
    let total: Tensor | undefined;
    forEachPosition(size, (tap) => {
      const one = slice(cotangent, {
        starts: [...inner.map(() => 0), ...tap],
        sizes: [...inner, ...size.map(() => 1)],
      });
      const start = (k: number): number => k < lead ? 0 : tap[k - lead]! * dilation[k - lead]!;
      const spread = unslice(
        reshape(one, inner),
        x!.shape.map((_, k) => start(k)),
        x!.shape.map((_, k) => k < lead ? 1 : stride[k - lead]!),
        x!.shape,
      );
      total = total === undefined ? spread : add(total, spread);
    });
    return [total ?? zeros(x!.shape)];
  },
  jvp: ([tangent], { params }) => windows(tangent!, params),
  batch: ([x], _batched, params) => windows(x!, params),
  lowering: {
    kind: "movement",
    place: (forms, { size, stride, dilation }, input, algebra) => ({
      forms: input.shape.map((_, k) => {
        const axis = k - (input.shape.length - size.length);
        return axis < 0 ? forms[k]! : algebra.add(
          algebra.scale(forms[k]!, stride[axis]!),
          algebra.scale(forms[input.shape.length + axis]!, dilation[axis]!),
        );
      }),
    }),
    repeats: ({ size, stride, dilation }) =>
      size.some((count, k) => count > 1 && (count - 1) * dilation[k]! >= stride[k]!),
  },
  reference: ([x], { size, stride, dilation }, { shape }) => {
    const lead = x!.shape.length - size.length;
    return fillArray(shape, (position) =>
      elementAt(
        x!,
        x!.shape.map((_, k) =>
          k < lead
            ? position[k]!
            : position[k]! * stride[k - lead]! + position[x!.shape.length + k - lead]! * dilation[k - lead]!
        ),
      ));
  },
  samples: [
    { inputs: [{ shape: [2, 5, 6] }], params: { size: [2, 3], stride: [1, 1], dilation: [1, 1] } },
    { inputs: [{ shape: [7, 8] }], params: { size: [3, 2], stride: [2, 3], dilation: [1, 2] } },
    { inputs: [{ shape: [2, 6] }], params: { size: [2], stride: [2], dilation: [1] } },
    { inputs: [{ shape: [0, 4] }], params: { size: [3], stride: [1], dilation: [1] } },
    {
      inputs: [{ shape: [5], dtype: "i32", low: -9, high: 9 }],
      params: { size: [2], stride: [1], dilation: [3] },
    },
  ],
});

function windowShape(shape: readonly number[], params: Required<WindowOptions>): number[] {
  const { size, stride, dilation } = params;
  const lead = shape.length - size.length;
  const counts = size.map((count, k) => {
    const room = (shape[lead + k] ?? 0) - (count - 1) * dilation[k]! - 1;
    if (lead < 0 || room < 0 || count < 1) {
      throw new ShapeError(
        `Cannot take windows of size ${formatShape(size)} and dilation ${formatShape(dilation)} from ` +
          `${formatShape(shape)}: a window must have elements and fit into the last ${size.length} axes`,
      );
    }
    return Math.floor(room / stride[k]!) + 1;
  });
  return [...shape.slice(0, lead), ...counts, ...size];
}

/**
 * All windows of a size over the last axes of `x`, without padding: shape `[..., H, W]` becomes
 * `[..., OH, OW, KH, KW]` with OH = ⌊(H − dilation · (KH − 1) − 1) / stride⌋ + 1, for as many axes as `size`
 * has. Any dtype; differentiable.
 *
 * @throws {ShapeError} If a window does not fit.
 * @throws {RangeError} If a stride or dilation is less than 1.
 * @example
 * ```ts
 * import { tensor, windows } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await windows(tensor([1, 2, 3]), { size: [2] }).toArray(), [[1, 2], [2, 3]]);
 * ```
 */
export function windows(x: Tensor, options: WindowOptions): Tensor {
  const { size, stride = size.map(() => 1), dilation = size.map(() => 1) } = options;
  for (const list of [stride, dilation]) {
    if (list.length !== size.length || list.some((step) => !Number.isInteger(step) || step < 1)) {
      throw new RangeError(
        `Cannot take windows with steps ${
          formatShape(list)
        }: ${size.length} whole numbers, 1 or more, are required`,
      );
    }
  }
  return makeNode(windowing, [x], { size: [...size], stride: [...stride], dilation: [...dilation] });
}
