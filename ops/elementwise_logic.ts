/**
 * Comparisons, logic, bits and tests for special values. Nothing flows back through any of them.
 *
 * @module
 */
import type { DType } from "../src/dtype.ts";
import type { Primitive } from "../src/primitive.ts";
import type { Tensor } from "../src/tensor.ts";
import { asTensor, requireDType, type TensorLike } from "./common.ts";
import { callBinary, callUnary, defineBinary, defineUnary } from "./support_elementwise.ts";

const numbers: readonly DType[] = ["f32", "i32", "u32"];
const anything: readonly DType[] = ["f32", "i32", "u32", "bool"];
const integers: readonly DType[] = ["i32", "u32"];
const bits: readonly DType[] = ["bool", "i32", "u32"];
const truth: readonly DType[] = ["bool"];

const equality = defineBinary("equal", { op: "eq", dtypes: anything, result: "bool" });

/**
 * a = b, as bool; NaN equals nothing. Any dtype.
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { equal, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await equal(tensor([1, 2]), 2).toArray(), [false, true]);
 * ```
 */
export function equal(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(equality, a, b);
}

const inequality = defineBinary("notEqual", { op: "ne", dtypes: anything, result: "bool" });

/**
 * a ≠ b, as bool; NaN differs from everything. Any dtype.
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { notEqual, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await notEqual(tensor([1, 2]), 2).toArray(), [true, false]);
 * ```
 */
export function notEqual(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(inequality, a, b);
}

const lessThan = defineBinary("less", { op: "lt", dtypes: numbers, result: "bool" });

/**
 * a < b, as bool. f32, i32, u32.
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { less, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await less(tensor([1, 2]), 2).toArray(), [true, false]);
 * ```
 */
export function less(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(lessThan, a, b);
}

const lessOrEqual = defineBinary("lessEqual", { op: "le", dtypes: numbers, result: "bool" });

/**
 * a ≤ b, as bool. f32, i32, u32.
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { lessEqual, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await lessEqual(tensor([1, 2, 3]), 2).toArray(), [true, true, false]);
 * ```
 */
export function lessEqual(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(lessOrEqual, a, b);
}

const greaterThan = defineBinary("greater", { op: "gt", dtypes: numbers, result: "bool" });

/**
 * a > b, as bool. f32, i32, u32.
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { greater, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await greater(tensor([2, 3]), 2).toArray(), [false, true]);
 * ```
 */
export function greater(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(greaterThan, a, b);
}

const greaterOrEqual = defineBinary("greaterEqual", { op: "ge", dtypes: numbers, result: "bool" });

/**
 * a ≥ b, as bool. f32, i32, u32.
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { greaterEqual, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await greaterEqual(tensor([1, 2, 3]), 2).toArray(), [false, true, true]);
 * ```
 */
export function greaterEqual(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(greaterOrEqual, a, b);
}

const conjunction = defineBinary("and", { op: "and", dtypes: bits });
const disjunction = defineBinary("or", { op: "or", dtypes: bits });
const exclusion = defineBinary("xor", { op: "xor", dtypes: bits });
const complement = defineUnary("not", { op: "not", dtypes: bits });
const leftShift = defineBinary("shiftLeft", { op: "shl", dtypes: integers });
const rightShift = defineBinary("shiftRight", { op: "shr", dtypes: integers });

/** Logic and bit operations are one primitive for bool and for integers, but not one function. */
function callOn(
  dtypes: readonly DType[],
  action: string,
  op: Primitive,
  ...operands: readonly TensorLike[]
): Tensor {
  for (const x of operands) {
    if (typeof x !== "number") requireDType(action, asTensor(action, x), dtypes);
  }
  return operands.length === 1 ? callUnary(op, operands[0]!) : callBinary(op, operands[0]!, operands[1]!);
}

/**
 * a and b. bool.
 *
 * @throws {DTypeError} For any other dtype.
 * @example
 * ```ts
 * import { logicalAnd, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await logicalAnd(tensor([true, false]), true).toArray(), [true, false]);
 * ```
 */
export function logicalAnd(a: TensorLike, b: TensorLike): Tensor {
  return callOn(truth, "apply logicalAnd to", conjunction, a, b);
}

/**
 * a or b. bool.
 *
 * @throws {DTypeError} For any other dtype.
 * @example
 * ```ts
 * import { logicalOr, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await logicalOr(tensor([true, false]), false).toArray(), [true, false]);
 * ```
 */
export function logicalOr(a: TensorLike, b: TensorLike): Tensor {
  return callOn(truth, "apply logicalOr to", disjunction, a, b);
}

/**
 * Either a or b. bool.
 *
 * @throws {DTypeError} For any other dtype.
 * @example
 * ```ts
 * import { logicalXor, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await logicalXor(tensor([true, false]), true).toArray(), [false, true]);
 * ```
 */
export function logicalXor(a: TensorLike, b: TensorLike): Tensor {
  return callOn(truth, "apply logicalXor to", exclusion, a, b);
}

/**
 * Not x. bool.
 *
 * @throws {DTypeError} For any other dtype.
 * @example
 * ```ts
 * import { logicalNot, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await logicalNot(tensor([true, false])).toArray(), [false, true]);
 * ```
 */
export function logicalNot(x: TensorLike): Tensor {
  return callOn(truth, "apply logicalNot to", complement, x);
}

/**
 * The bits that are set in a and b. i32, u32.
 *
 * @throws {DTypeError} For any other dtype.
 * @example
 * ```ts
 * import { bitwiseAnd, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await bitwiseAnd(tensor([6], { dtype: "i32" }), 3).toArray(), [2]);
 * ```
 */
export function bitwiseAnd(a: TensorLike, b: TensorLike): Tensor {
  return callOn(integers, "apply bitwiseAnd to", conjunction, a, b);
}

/**
 * The bits that are set in a or b. i32, u32.
 *
 * @throws {DTypeError} For any other dtype.
 * @example
 * ```ts
 * import { bitwiseOr, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await bitwiseOr(tensor([6], { dtype: "i32" }), 3).toArray(), [7]);
 * ```
 */
export function bitwiseOr(a: TensorLike, b: TensorLike): Tensor {
  return callOn(integers, "apply bitwiseOr to", disjunction, a, b);
}

/**
 * The bits that are set in either a or b. i32, u32.
 *
 * @throws {DTypeError} For any other dtype.
 * @example
 * ```ts
 * import { bitwiseXor, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await bitwiseXor(tensor([6], { dtype: "i32" }), 3).toArray(), [5]);
 * ```
 */
export function bitwiseXor(a: TensorLike, b: TensorLike): Tensor {
  return callOn(integers, "apply bitwiseXor to", exclusion, a, b);
}

/**
 * Every bit the other way round. i32, u32.
 *
 * @throws {DTypeError} For any other dtype.
 * @example
 * ```ts
 * import { bitwiseNot, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await bitwiseNot(tensor([6], { dtype: "i32" })).toArray(), [-7]);
 * ```
 */
export function bitwiseNot(x: TensorLike): Tensor {
  return callOn(integers, "apply bitwiseNot to", complement, x);
}

/**
 * The bits of x moved up by `count` places, taken modulo 32. i32, u32.
 *
 * @throws {DTypeError} For any other dtype.
 * @example
 * ```ts
 * import { shiftLeft, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await shiftLeft(tensor([3], { dtype: "u32" }), 2).toArray(), [12]);
 * ```
 */
export function shiftLeft(x: TensorLike, count: TensorLike): Tensor {
  return callOn(integers, "shift", leftShift, x, count);
}

/**
 * The bits of x moved down by `count` places, taken modulo 32: copies of the sign come in from above for
 * i32, zeros for u32.
 *
 * @throws {DTypeError} For any other dtype.
 * @example
 * ```ts
 * import { shiftRight, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await shiftRight(tensor([-8], { dtype: "i32" }), 1).toArray(), [-4]);
 * ```
 */
export function shiftRight(x: TensorLike, count: TensorLike): Tensor {
  return callOn(integers, "shift", rightShift, x, count);
}

const nanTest = defineUnary("isNan", { op: "isNan", dtypes: ["f32"], result: "bool" });

/**
 * Whether x is NaN, as bool. f32.
 * @example
 * ```ts
 * import { isNan, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await isNan(tensor([NaN, 1])).toArray(), [true, false]);
 * ```
 */
export function isNan(x: TensorLike): Tensor {
  return callUnary(nanTest, x);
}

const finiteTest = defineUnary("isFinite", { op: "isFinite", dtypes: ["f32"], result: "bool" });

/**
 * Whether x is neither NaN nor infinite, as bool. f32.
 * @example
 * ```ts
 * import { isFinite, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await isFinite(tensor([NaN, Infinity, 1])).toArray(), [false, false, true]);
 * ```
 */
export function isFinite(x: TensorLike): Tensor {
  return callUnary(finiteTest, x);
}
