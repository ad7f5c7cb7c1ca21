/**
 * Arithmetic on two tensors. Operands broadcast as in NumPy; their dtypes must be equal, and a JavaScript
 * number takes the dtype of the other operand.
 *
 * @module
 */
import type { DType } from "../src/dtype.ts";
import type { Primitive } from "../src/primitive.ts";
import type { Tensor } from "../src/tensor.ts";
import type { TensorLike } from "./common.ts";
import { equal, greaterEqual, less, logicalAnd } from "./elementwise_logic.ts";
import { abs, log, neg, round } from "./elementwise_math.ts";
import { where } from "./elementwise_select.ts";
import { callBinary, defineBinary } from "./support_elementwise.ts";

const numbers: readonly DType[] = ["f32", "i32", "u32"];

const addition = defineBinary("add", { op: "add", dtypes: numbers, slopes: [(t) => t, (t) => t] });

/**
 * a + b. f32, i32, u32 (integers wrap).
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ, or a number is not a whole one beside integers.
 * @example
 * ```ts
 * import { add, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await add(tensor([[1], [2]]), tensor([10, 20])).toArray(), [[11, 21], [12, 22]]);
 * ```
 */
export function add(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(addition, a, b);
}

const subtraction = defineBinary("sub", { op: "sub", dtypes: numbers, slopes: [(t) => t, (t) => neg(t)] });

/**
 * a − b. f32, i32, u32 (integers wrap).
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { sub, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await sub(tensor([1, 2, 3]), 1).toArray(), [0, 1, 2]);
 * ```
 */
export function sub(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(subtraction, a, b);
}

const multiplication = defineBinary("mul", {
  op: "mul",
  dtypes: numbers,
  slopes: [(t, _a, b) => mul(t, b), (t, a) => mul(t, a)],
});

/**
 * a · b, element by element. f32, i32, u32 (integers wrap).
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { mul, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await mul(tensor([1, 2, 3]), tensor([4, 5, 6])).toArray(), [4, 10, 18]);
 * ```
 */
export function mul(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(multiplication, a, b);
}

const division = defineBinary("div", {
  op: "div",
  dtypes: numbers,
  cost: 4,
  slopes: [(t, _a, b) => div(t, b), (t, _a, b, y) => neg(mul(t, div(y, b)))],
  domains: [[-2, 2], [0.5, 2]],
});

/**
 * a / b. f32; i32 and u32 truncate towards zero, and dividing an integer by zero gives 0.
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { div, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await div(tensor([-7, 7], { dtype: "i32" }), 2).toArray(), [-3, 3]);
 * ```
 */
export function div(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(division, a, b);
}

const modulo = defineBinary("mod", {
  op: "mod",
  dtypes: numbers,
  cost: 6,
  // −⌊a / b⌋ in b, from the remainder: the quotient of two f32 may round up to the next whole number.
  slopes: [(t) => t, (t, a, b, y) => {
    const quotient = where(equal(b, 0), div(a, b), round(div(sub(a, y), b)));
    return neg(mul(t, where(equal(y, a), 0, where(equal(abs(b), Infinity), -1, quotient))));
  }],
  domains: [[-2, 2], [0.5, 2]],
});

/**
 * The remainder a − ⌊a / b⌋ · b, which has the sign of the divisor b (as in NumPy and Python, not as `%` in
 * JavaScript). f32, i32, u32; an integer modulo 0 gives 0. Derivatives: 1 in a, −⌊a / b⌋ in b.
 *
 * f32: exact for quotients of any size, but for one rounding where the signs of a and b differ (so a tiny
 * negative a gives b itself). A finite a modulo ±Infinity is a, or ±Infinity where the signs differ; modulo 0, and of an infinite
 * a, it is NaN. A remainder of 0 has the sign of b.
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { mod, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await mod(tensor([-7, 7]), 3).toArray(), [2, 1]);
 * assertEquals(await mod(tensor([-7, 7]), -3).toArray(), [-1, -2]);
 * ```
 */
export function mod(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(modulo, a, b);
}

const power: Primitive = defineBinary("pow", {
  op: "pow",
  dtypes: numbers,
  // Squares and cubes are products.
  readsConstant: Number.isInteger,
  cost: 20,
  slopes: [
    // ∂/∂a = b · a^(b−1), which is 0 for b = 0 even where a^(−1) is infinite.
    (t, a, b) => mul(t, where(equal(b, 0), 0, mul(b, pow(a, where(equal(b, 0), 1, sub(b, 1)))))),
    // ∂/∂b = a^b · log a, which for a = 0 is 0 from b = 0 on, and −∞ below.
    (t, a, b, y) => {
      const vanishes = logicalAnd(equal(a, 0), greaterEqual(b, 0));
      return mul(t, where(vanishes, 0, mul(y, log(where(vanishes, 1, a)))));
    },
  ],
  domains: [[0.2, 2], [-2, 2]],
  integerDomains: [[-5, 5], [-2, 5]],
});

/**
 * a to the power b. f32, i32, u32 (integers wrap).
 *
 * f32: special values are those of C99 and PyTorch: a⁰ and 1ᵇ are 1 even of NaN, (−1)^±∞ is 1, a negative base
 * with an exponent that is not whole gives NaN. At base 0 the derivatives are the one-sided ones: ∂/∂a of a⁰ is
 * 0, of √a Infinity; ∂/∂b of 0ᵇ is 0 for b ≥ 0 and −Infinity below.
 *
 * Integers: a negative exponent gives 1 / a^|b| truncated, as an integer division does: ±1 for a = ±1, and 0 for every
 * other a, 0 too. Cast the base to f32 for fractions.
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { pow, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await pow(tensor([1, 2, 3], { dtype: "i32" }), 3).toArray(), [1, 8, 27]);
 * assertEquals(await pow(tensor([0, 4, 9]), 0.5).toArray(), [0, 2, 3]);
 * ```
 */
export function pow(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(power, a, b);
}

/** The cotangent of an operand of a maximum or minimum: nothing if it lost, half at a tie. Beside NaN both get all of it. */
function share(t: Tensor, lost: Tensor, own: Tensor, other: Tensor): Tensor {
  return where(lost, 0, where(equal(own, other), mul(t, 0.5), t));
}

const maximumOfTwo = defineBinary("maximum", {
  op: "max",
  dtypes: numbers,
  slopes: [(t, a, b) => share(t, less(a, b), a, b), (t, a, b) => share(t, less(b, a), b, a)],
});

/**
 * The larger of a and b, NaN if either is; 0 is larger than −0 (as in IEEE 754). f32, i32, u32. The cotangent
 * goes to the one that is taken; where they are equal, each gets half of it.
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { maximum, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await maximum(tensor([1, 5]), 3).toArray(), [3, 5]);
 * ```
 */
export function maximum(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(maximumOfTwo, a, b);
}

const minimumOfTwo = defineBinary("minimum", {
  op: "min",
  dtypes: numbers,
  slopes: [(t, a, b) => share(t, less(b, a), a, b), (t, a, b) => share(t, less(a, b), b, a)],
});

/**
 * The smaller of a and b, NaN if either is; −0 is smaller than 0 (as in IEEE 754). f32, i32, u32. The cotangent
 * goes to the one that is taken; where they are equal, each gets half of it.
 *
 * @throws {ShapeError} If the shapes do not broadcast.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { minimum, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await minimum(tensor([1, 5]), 3).toArray(), [1, 3]);
 * ```
 */
export function minimum(a: TensorLike, b: TensorLike): Tensor {
  return callBinary(minimumOfTwo, a, b);
}

/**
 * `x` limited to `min` … `max`; either may be left out. Outside the limits nothing flows back; exactly at one,
 * half of the cotangent does, as for `maximum`.
 *
 * @throws {ShapeError} If the limits do not broadcast with `x`.
 * @example
 * ```ts
 * import { clip, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await clip(tensor([-1, 0.5, 3]), { min: 0, max: 1 }).toArray(), [0, 0.5, 1]);
 * ```
 */
export function clip(x: TensorLike, options: { min?: TensorLike; max?: TensorLike }): Tensor {
  if (options.min === undefined && options.max === undefined) {
    throw new TypeError("Cannot clip: neither min nor max is given; give at least one of them");
  }
  const raised = options.min === undefined ? x : maximum(x, options.min);
  return options.max === undefined ? raised as Tensor : minimum(raised, options.max);
}
