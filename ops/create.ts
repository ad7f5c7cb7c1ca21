/**
 * Tensors that are made rather than computed.
 *
 * @module
 */
import type { DType } from "../src/dtype.ts";
import { elementOf, isHeld } from "../src/elements.ts";
import { definePrimitive, type Primitive } from "../src/primitive.ts";
import { checkShape, makeLeaf, makeNode, type Tensor } from "../src/tensor.ts";
import { full as fullRecord } from "../src/structure.ts";
import { fillArray, normalizeAxis } from "./common.ts";
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
 * A tensor whose elements are all `value`; bool by default for a boolean, f32 for a number. The value becomes an
 * element as in `tensor`.
 *
 * @throws {ShapeError} If a size is negative or not whole.
 * @throws {DTypeError} If the value is a fraction or NaN and the dtype is of integers.
 * @throws {RangeError} If the dtype does not hold the value.
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
    value: elementOf("fill with", value, dtype),
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
 * There are ⌈(stop − start) / step⌉ numbers, start + k · step, in float64 before they are rounded to f32. As in NumPy and PyTorch, a step
 * that is no sum of powers of two may let the last one come out as `stop`: `arange(1, 1.3, { step: 0.1 })` has four. `linspace` has
 * exact ends.
 *
 * @throws {RangeError} If `step` is 0, a number is not finite, or the dtype does not hold the first or last number.
 * @throws {DTypeError} If `start` or `step` is not whole and the dtype is of integers.
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
  const count = Math.max(0, Math.ceil((to - from) / step));
  const last = from + Math.max(0, count - 1) * step;
  const holds = (type: DType): boolean => [from, step, last].every((value) => isHeld(value, type));
  if (dtype === "f32" && !holds("i32")) return inSteps(count, (k) => from + k * step);
  for (const value of [from, Math.abs(step), last]) elementOf("count with", value, dtype);
  const type = holds("i32") ? "i32" : dtype;
  const index = iota([count], { dtype: type });
  const scaled = step === 1 ? index : mul(index, step);
  return cast(from === 0 ? scaled : add(scaled, from), dtype);
}

/** An f32 tensor of `count` numbers, each rounded once. */
function inSteps(count: number, value: (k: number) => number): Tensor {
  checkShape([count], "a tensor");
  const values = new Float32Array(count);
  for (let k = 0; k < count; k++) values[k] = value(k);
  return makeLeaf({ shape: [count], dtype: "f32" }, values);
}

/**
 * `count` numbers from `start` to `stop`, both included, at equal distances: each is the exact one rounded to f32, so
 * the first and last are `start` and `stop` themselves. One number is `start`. f32.
 *
 * @throws {RangeError} If `count` is not a whole number, 0 or more, or an end is not finite.
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
  if (!Number.isFinite(start) || !Number.isFinite(stop)) {
    throw new RangeError(`Cannot make equal steps from ${start} to ${stop}: finite numbers are required`);
  }
  const step = count > 1 ? (stop - start) / (count - 1) : 0;
  // From the nearer end, so that a number close to 0 has all its digits.
  return inSteps(count, (k) => 2 * k < count ? start + k * step : stop - (count - 1 - k) * step);
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
