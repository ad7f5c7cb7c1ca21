/**
 * Tensors that are made rather than computed.
 *
 * @module
 */
import type { DType } from "../src/dtype.ts";
import { definePrimitive, type Primitive } from "../src/primitive.ts";
import { checkShape, makeNode, type Tensor } from "../src/tensor.ts";
import { full as fullRecord } from "../src/structure.ts";
import { constantValue, fillArray, normalizeAxis } from "./common.ts";
import { add, mul } from "./elementwise_arithmetic.ts";
import { equal } from "./elementwise_logic.ts";
import { cast } from "./elementwise_select.ts";

export { tensor } from "../src/tensor.ts";

/** The dtype of a new tensor. */
export interface CreateOptions {
  /** Default f32. */
  readonly dtype?: DType;
}

/**
 * A tensor whose elements are all `value`; bool by default for a boolean, f32 for a number.
 *
 * @throws {ShapeError} If a size is negative or not whole.
 * @throws {DTypeError} If the dtype cannot hold the value.
 * @example
 * ```ts
 * import { full } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await full([2], 7, { dtype: "i32" }).toArray(), [7, 7]);
 * ```
 */
export function full(shape: readonly number[], value: number | boolean, options: CreateOptions = {}): Tensor {
  checkShape(shape, "a tensor");
  const dtype = options.dtype ?? (typeof value === "boolean" ? "bool" : "f32");
  return makeNode(fullRecord, [], {
    shape: [...shape],
    dtype,
    value: constantValue("fill with", value, dtype),
  });
}

/**
 * Zeros (false for bool).
 *
 * @throws {ShapeError} If a size is negative or not whole.
 * @example
 * ```ts
 * import { zeros } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await zeros([2]).toArray(), [0, 0]);
 * ```
 */
export function zeros(shape: readonly number[], options: CreateOptions = {}): Tensor {
  return full(shape, options.dtype === "bool" ? false : 0, options);
}

/**
 * Ones (true for bool).
 *
 * @throws {ShapeError} If a size is negative or not whole.
 * @example
 * ```ts
 * import { ones } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await ones([2]).toArray(), [1, 1]);
 * ```
 */
export function ones(shape: readonly number[], options: CreateOptions = {}): Tensor {
  return full(shape, options.dtype === "bool" ? true : 1, options);
}

/**
 * Zeros in the shape and dtype of `x`.
 *
 * @example
 * ```ts
 * import { tensor, zerosLike } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await zerosLike(tensor([1, 2])).toArray(), [0, 0]);
 * ```
 */
export function zerosLike(x: Tensor): Tensor {
  return zeros(x.shape, { dtype: x.dtype });
}

/**
 * Ones in the shape and dtype of `x`.
 *
 * @example
 * ```ts
 * import { onesLike, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await onesLike(tensor([1, 2])).toArray(), [1, 1]);
 * ```
 */
export function onesLike(x: Tensor): Tensor {
  return ones(x.shape, { dtype: x.dtype });
}

/** Parameters of `iota`. */
interface IotaParams {
  readonly shape: readonly number[];
  readonly axis: number;
  readonly dtype: DType;
}

const positions: Primitive<IotaParams> = definePrimitive<IotaParams>({
  name: "iota",
  infer: (_, { shape, dtype }) => ({ shape, dtype }),
  batch: (_inputs, _batched, params) => makeNode(positions, [], params),
  lowering: {
    kind: "generator",
    expr: (forms, { axis, dtype }) => {
      const index = { kind: "index", dtype: "i32", form: forms[axis]! } as const;
      return dtype === "i32" ? index : { kind: "cast", dtype, x: index };
    },
  },
  reference: (_, { shape, axis }) => fillArray(shape, (position) => position[axis]!),
  samples: [
    { inputs: [], params: { shape: [5], axis: 0, dtype: "i32" } },
    { inputs: [], params: { shape: [2, 3], axis: 1, dtype: "f32" } },
    { inputs: [], params: { shape: [3, 0], axis: 0, dtype: "u32" } },
    { inputs: [], params: { shape: [3, 1], axis: 0, dtype: "bool" } },
  ],
});

/**
 * The position along an axis, at every position of a shape. i32 by default.
 *
 * @throws {AxisError} If the shape has no such axis.
 * @example
 * ```ts
 * import { iota } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await iota([2, 3], { axis: 1 }).toArray(), [[0, 1, 2], [0, 1, 2]]);
 * ```
 */
export function iota(shape: readonly number[], options: { axis?: number; dtype?: DType } = {}): Tensor {
  checkShape(shape, "a tensor");
  const axis = normalizeAxis("count", options.axis ?? 0, shape);
  return makeNode(positions, [], { shape: [...shape], axis, dtype: options.dtype ?? "i32" });
}

/**
 * Numbers from `start` up to but without `stop` in steps of `step` (default 1); `arange(n)` starts at 0. The
 * dtype is i32 if all three are whole, f32 otherwise.
 *
 * @throws {RangeError} If `step` is 0 or a number is not finite.
 * @example
 * ```ts
 * import { arange } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await arange(3).toArray(), [0, 1, 2]);
 * assertEquals(await arange(1, 0, { step: -0.25 }).toArray(), [1, 0.75, 0.5, 0.25]);
 * ```
 */
export function arange(
  start: number,
  stop?: number,
  options: { step?: number; dtype?: "f32" | "i32" | "u32" } = {},
): Tensor {
  const { step = 1 } = options;
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (![from, to, step].every(Number.isFinite) || step === 0) {
    throw new RangeError(
      `Cannot count from ${from} to ${to} in steps of ${step}: finite numbers and a step other than 0 are required`,
    );
  }
  const dtype = options.dtype ?? ([from, to, step].every(Number.isInteger) ? "i32" : "f32");
  const index = iota([Math.max(0, Math.ceil((to - from) / step))], { dtype });
  const scaled = step === 1 ? index : mul(index, step);
  return from === 0 ? scaled : add(scaled, from);
}

/**
 * `count` numbers from `start` to `stop`, both included, at equal distances. f32.
 *
 * @throws {RangeError} If `count` is not a whole number, 0 or more.
 * @example
 * ```ts
 * import { linspace } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await linspace(0, 1, 3).toArray(), [0, 0.5, 1]);
 * ```
 */
export function linspace(start: number, stop: number, count: number): Tensor {
  if (!Number.isInteger(count) || count < 0) {
    throw new RangeError(`Cannot make ${count} equal steps: a whole number, 0 or more, is required`);
  }
  const step = count > 1 ? (stop - start) / (count - 1) : 0;
  return add(mul(iota([count], { dtype: "f32" }), step), start);
}

/**
 * The identity matrix `[n, columns]`: ones where row and column are equal. f32 by default.
 *
 * @example
 * ```ts
 * import { eye } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await eye(2).toArray(), [[1, 0], [0, 1]]);
 * ```
 */
export function eye(n: number, options: { columns?: number; dtype?: DType } = {}): Tensor {
  const shape = [n, options.columns ?? n];
  return cast(equal(iota(shape), iota(shape, { axis: 1 })), options.dtype ?? "f32");
}
