/**
 * Choice between two tensors, and conversion between dtypes.
 *
 * @module
 */
import { convert, rebits } from "../src/compiler/interpret.ts";
import type { DType } from "../src/dtype.ts";
import { DTypeError } from "../src/errors.ts";
import { definePrimitive, type Primitive, type Sample } from "../src/primitive.ts";
import { describe, makeNode, Tensor } from "../src/tensor.ts";
import { broadcastTo } from "./broadcast.ts";
import {
  alignBatch,
  alignOperands,
  asTensor,
  broadcastShapes,
  requireDType,
  type TensorLike,
} from "./common.ts";

function selectionSample(shape: readonly number[], dtype: DType, low: number, high: number): Sample<unknown> {
  const choice = { shape, dtype, low, high };
  return { inputs: [{ shape, dtype: "bool", low: 0, high: 1 }, choice, choice], params: undefined };
}

const selection: Primitive = definePrimitive<unknown>({
  name: "where",
  infer: ([condition, a]) => {
    requireDType("choose by", condition!, ["bool"]);
    return a!;
  },
  vjp: (cotangent, { inputs: [condition] }) => [
    undefined,
    where(condition!, cotangent, 0),
    where(condition!, 0, cotangent),
  ],
  jvp: ([, a, b], { inputs: [condition] }) => a || b ? where(condition!, a ?? 0, b ?? 0) : undefined,
  batch: (inputs, batched, _params, size) =>
    makeNode(selection, alignBatch(inputs, batched, size), undefined),
  lowering: {
    kind: "elementwise",
    expr: ([condition, a, b], _params, { dtype }) => ({
      kind: "select",
      dtype,
      condition: condition!,
      a: a!,
      b: b!,
    }),
    cost: 1,
  },
  reference: ([condition, a, b]) => ({
    shape: a!.shape,
    data: condition!.data.map((value, k) => value !== 0 ? a!.data[k]! : b!.data[k]!),
  }),
  samples: [
    ...[[], [0], [1], [3, 5]].map((shape) => selectionSample(shape, "f32", -2, 2)),
    selectionSample([7], "i32", -9, 9),
    selectionSample([7], "u32", 0, 9),
    selectionSample([7], "bool", 0, 1),
  ],
});

/**
 * `a` where the condition is true, `b` elsewhere. The condition is bool; `a` and `b` have one dtype; all
 * three broadcast. The operand that is not chosen gets a cotangent of exactly 0, even where it is NaN.
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the condition is not bool, or `a` and `b` differ in dtype.
 * @example
 * ```ts
 * import { greater, tensor, where } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const x = tensor([-1, 2]);
 * assertEquals(await where(greater(x, 0), x, 0).toArray(), [0, 2]);
 * ```
 */
export function where(condition: TensorLike, a: TensorLike, b: TensorLike): Tensor {
  const mask = asTensor("choose by", condition);
  const [left, right] = alignOperands("choose between", [a, b]);
  const shape = broadcastShapes("choose between", [mask.shape, left!.shape]);
  return makeNode(selection, [mask, left!, right!].map((x) => broadcastTo(x, shape)), undefined);
}

/** Parameters of the conversions. */
interface ConversionParams {
  readonly to: DType;
  readonly from: DType;
}

const casting: Primitive<ConversionParams> = definePrimitive<ConversionParams>({
  name: "cast",
  infer: ([x], { to }) => ({ shape: x!.shape, dtype: to }),
  batch: ([x], _batched, params) => makeNode(casting, [x!], params),
  lowering: {
    kind: "elementwise",
    expr: ([x], _params, { dtype }) => ({ kind: "cast", dtype, x: x! }),
    cost: 1,
  },
  reference: ([x], { from, to }) => ({
    shape: x!.shape,
    data: to === "f32" ? x!.data : x!.data.map((value) => convert(value, from, to)),
  }),
  samples: [
    ...(["i32", "u32", "bool"] as const).flatMap((to) => [
      {
        inputs: [{ shape: [2, 5], low: to === "u32" ? 0 : -9, high: 9 }],
        params: { from: "f32" as const, to },
      },
      { inputs: [{ shape: [0] }], params: { from: "f32" as const, to } },
    ]),
    ...(["i32", "u32", "bool"] as const).flatMap((from) =>
      (["f32", "i32", "u32", "bool"] as const).filter((to) => to !== from).map((to) => ({
        inputs: [{ shape: [7], dtype: from, low: 0, high: from === "bool" ? 1 : 9 }],
        params: { from, to },
      }))
    ),
  ],
});

/**
 * `x` with another dtype. f32 to integers truncates towards zero and saturates at the dtype's limits (NaN
 * gives 0); to bool is `x ≠ 0`, so NaN is true; bool gives 0 and 1; between i32 and u32 the bits stay. It never
 * throws, as the values are known only on the device; where `tensor` takes a value for a dtype, `cast` gives the same. Nothing flows back: both dtypes would have to be
 * f32.
 *
 * @example
 * ```ts
 * import { cast, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await cast(tensor([-1.7, 2.9]), "i32").toArray(), [-1, 2]);
 * ```
 */
export function cast(x: TensorLike, dtype: DType): Tensor {
  const source = asTensor("cast", x);
  return source.dtype === dtype ? source : makeNode(casting, [source], { from: source.dtype, to: dtype });
}

const bitcasting: Primitive<ConversionParams> = definePrimitive<ConversionParams>({
  name: "bitcast",
  infer: ([x], { to }) => ({ shape: x!.shape, dtype: to }),
  batch: ([x], _batched, params) => makeNode(bitcasting, [x!], params),
  lowering: {
    kind: "elementwise",
    expr: ([x], _params, { dtype }) => ({ kind: "bitcast", dtype, x: x! }),
    cost: 0,
  },
  reference: ([x], { from, to }) => ({
    shape: x!.shape,
    data: x!.data.map((value) => rebits(value, from, to)),
  }),
  samples: [
    { inputs: [{ shape: [3, 3] }], params: { from: "f32", to: "u32" } },
    { inputs: [{ shape: [0] }], params: { from: "f32", to: "i32" } },
    {
      inputs: [{ shape: [5], dtype: "u32", low: 0x3f000000, high: 0x40800000 }],
      params: { from: "u32", to: "f32" },
    },
    { inputs: [{ shape: [], dtype: "i32", low: -9, high: 9 }], params: { from: "i32", to: "u32" } },
  ],
});

/**
 * The same 32 bits read as another dtype: f32, i32 or u32. Nothing flows back.
 *
 * @throws {DTypeError} To or from bool, which has no bits to speak of.
 * @example
 * ```ts
 * import { bitcast, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await bitcast(tensor(1), "u32").item(), 0x3f800000);
 * ```
 */
export function bitcast(x: Tensor, dtype: "f32" | "i32" | "u32"): Tensor {
  if (!(x instanceof Tensor) || x.dtype === "bool" || dtype === "bool" as string) {
    throw new DTypeError(
      `Cannot bitcast ${
        x instanceof Tensor ? describe(x) : typeof x
      } to ${dtype}: f32, i32 and u32 are taken`,
    );
  }
  return x.dtype === dtype ? x : makeNode(bitcasting, [x], { from: x.dtype, to: dtype });
}
