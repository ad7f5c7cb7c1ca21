/**
 * Functions of one tensor, element by element.
 *
 * @module
 */
import type { DType } from "../src/dtype.ts";
import type { Tensor } from "../src/tensor.ts";
import type { TensorLike } from "./common.ts";
import { add, div, mul, sub } from "./elementwise_arithmetic.ts";
import { callUnary, defineUnary } from "./support_elementwise.ts";

const signed: readonly DType[] = ["f32", "i32"];
const real: readonly DType[] = ["f32"];

const negation = defineUnary("neg", { op: "neg", dtypes: signed, slope: (t) => neg(t) });

/**
 * −x. f32, i32.
 *
 * @throws {DTypeError} For u32 and bool.
 * @example
 * ```ts
 * import { neg, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await neg(tensor([1, -2])).toArray(), [-1, 2]);
 * ```
 */
export function neg(x: TensorLike): Tensor {
  return callUnary(negation, x);
}

const magnitude = defineUnary("abs", { op: "abs", dtypes: signed, slope: (t, x) => mul(t, sign(x)) });

/**
 * |x|. f32, i32. The derivative at 0 is taken as 0.
 *
 * @throws {DTypeError} For u32 and bool.
 * @example
 * ```ts
 * import { abs, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await abs(tensor([-3, 2])).toArray(), [3, 2]);
 * ```
 */
export function abs(x: TensorLike): Tensor {
  return callUnary(magnitude, x);
}

const signum = defineUnary("sign", { op: "sign", dtypes: signed });

/**
 * −1, 0 or 1 (NaN for NaN). f32, i32. Nothing flows back: the slope is 0, and taken as 0 at 0.
 *
 * @throws {DTypeError} For u32 and bool.
 * @example
 * ```ts
 * import { sign, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await sign(tensor([-3, 0, 2])).toArray(), [-1, 0, 1]);
 * ```
 */
export function sign(x: TensorLike): Tensor {
  return callUnary(signum, x);
}

const exponential = defineUnary("exp", { op: "exp", dtypes: real, cost: 10, slope: (t, _x, y) => mul(t, y) });

/**
 * e to the power x. f32.
 * @example
 * ```ts
 * import { exp, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await exp(tensor([0, -Infinity])).toArray(), [1, 0]);
 * ```
 */
export function exp(x: TensorLike): Tensor {
  return callUnary(exponential, x);
}

const exponentialMinusOne = defineUnary("expm1", {
  op: "expm1",
  dtypes: real,
  cost: 12,
  slope: (t, _x, y) => mul(t, add(y, 1)),
});

/**
 * eˣ − 1, exact near 0 too. f32.
 * @example
 * ```ts
 * import { expm1 } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * assertAlmostEquals(await expm1(1e-6).item(), 1e-6, 1e-11);
 * ```
 */
export function expm1(x: TensorLike): Tensor {
  return callUnary(exponentialMinusOne, x);
}

const logarithm = defineUnary("log", {
  op: "log",
  dtypes: real,
  cost: 10,
  slope: (t, x) => div(t, x),
  domain: [0.1, 3],
});

/**
 * The natural logarithm; −Infinity at 0, NaN below. f32.
 * @example
 * ```ts
 * import { log, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await log(tensor([1, 0])).toArray(), [0, -Infinity]);
 * ```
 */
export function log(x: TensorLike): Tensor {
  return callUnary(logarithm, x);
}

const logarithmOfOnePlus = defineUnary("log1p", {
  op: "log1p",
  dtypes: real,
  cost: 12,
  slope: (t, x) => div(t, add(x, 1)),
  domain: [-0.9, 3],
});

/**
 * log(1 + x), exact near 0 too. f32.
 * @example
 * ```ts
 * import { log1p } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * assertAlmostEquals(await log1p(1e-6).item(), 1e-6, 1e-11);
 * ```
 */
export function log1p(x: TensorLike): Tensor {
  return callUnary(logarithmOfOnePlus, x);
}

const squareRoot = defineUnary("sqrt", {
  op: "sqrt",
  dtypes: real,
  cost: 4,
  slope: (t, _x, y) => div(mul(t, 0.5), y),
  domain: [0.1, 3],
});

/**
 * √x; NaN below 0. f32. The derivative at 0 is infinite.
 * @example
 * ```ts
 * import { sqrt, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await sqrt(tensor([4, 9])).toArray(), [2, 3]);
 * ```
 */
export function sqrt(x: TensorLike): Tensor {
  return callUnary(squareRoot, x);
}

const reciprocalSquareRoot = defineUnary("rsqrt", {
  op: "rsqrt",
  dtypes: real,
  cost: 4,
  slope: (t, x, y) => mul(t, mul(-0.5, div(y, x))),
  domain: [0.1, 3],
});

/**
 * 1 / √x; Infinity at 0, NaN below. f32.
 * @example
 * ```ts
 * import { rsqrt, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await rsqrt(tensor([4, 16])).toArray(), [0.5, 0.25]);
 * ```
 */
export function rsqrt(x: TensorLike): Tensor {
  return callUnary(reciprocalSquareRoot, x);
}

/**
 * x². f32, i32, u32.
 * @example
 * ```ts
 * import { square, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await square(tensor([-3, 2])).toArray(), [9, 4]);
 * ```
 */
export function square(x: TensorLike): Tensor {
  return mul(x, x);
}

const sine = defineUnary("sin", { op: "sin", dtypes: real, cost: 12, slope: (t, x) => mul(t, cos(x)) });

/**
 * The sine of x in radians. f32.
 * @example
 * ```ts
 * import { sin } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * assertAlmostEquals(await sin(Math.PI / 2).item(), 1, 1e-6);
 * ```
 */
export function sin(x: TensorLike): Tensor {
  return callUnary(sine, x);
}

const cosine = defineUnary("cos", {
  op: "cos",
  dtypes: real,
  cost: 12,
  slope: (t, x) => neg(mul(t, sin(x))),
});

/**
 * The cosine of x in radians. f32.
 * @example
 * ```ts
 * import { cos } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * assertAlmostEquals(await cos(Math.PI).item(), -1, 1e-6);
 * ```
 */
export function cos(x: TensorLike): Tensor {
  return callUnary(cosine, x);
}

const tangent = defineUnary("tan", {
  op: "tan",
  dtypes: real,
  cost: 16,
  slope: (t, _x, y) => mul(t, add(mul(y, y), 1)),
  domain: [-1.3, 1.3],
});

/**
 * The tangent of x in radians. f32.
 * @example
 * ```ts
 * import { tan } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * assertAlmostEquals(await tan(Math.PI / 4).item(), 1, 1e-6);
 * ```
 */
export function tan(x: TensorLike): Tensor {
  return callUnary(tangent, x);
}

const hyperbolicTangent = defineUnary("tanh", {
  op: "tanh",
  dtypes: real,
  cost: 12,
  slope: (t, _x, y) => mul(t, sub(1, mul(y, y))),
});

/**
 * The hyperbolic tangent. f32.
 * @example
 * ```ts
 * import { tanh, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await tanh(tensor([0, Infinity])).toArray(), [0, 1]);
 * ```
 */
export function tanh(x: TensorLike): Tensor {
  return callUnary(hyperbolicTangent, x);
}

const errorFunction = defineUnary("erf", {
  op: "erf",
  dtypes: real,
  cost: 16,
  slope: (t, x) => mul(t, mul(2 / Math.sqrt(Math.PI), exp(neg(mul(x, x))))),
});

/**
 * The error function 2/√π ∫₀ˣ exp(−t²) dt. f32.
 * @example
 * ```ts
 * import { erf } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * assertAlmostEquals(await erf(1).item(), 0.8427008, 1e-6);
 * ```
 */
export function erf(x: TensorLike): Tensor {
  return callUnary(errorFunction, x);
}

const floorOf = defineUnary("floor", { op: "floor", dtypes: real });

/**
 * The next whole number at or below x. f32. Nothing flows back (the slope is 0).
 * @example
 * ```ts
 * import { floor, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await floor(tensor([-1.5, 1.5])).toArray(), [-2, 1]);
 * ```
 */
export function floor(x: TensorLike): Tensor {
  return callUnary(floorOf, x);
}

const ceilingOf = defineUnary("ceil", { op: "ceil", dtypes: real });

/**
 * The next whole number at or above x. f32. Nothing flows back (the slope is 0).
 * @example
 * ```ts
 * import { ceil, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await ceil(tensor([-1.5, 1.5])).toArray(), [-1, 2]);
 * ```
 */
export function ceil(x: TensorLike): Tensor {
  return callUnary(ceilingOf, x);
}

const roundingOf = defineUnary("round", { op: "round", dtypes: real });

/**
 * The nearest whole number; halves go to the even neighbour, as in NumPy. f32. Nothing flows back (the
 * slope is 0).
 * @example
 * ```ts
 * import { round, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await round(tensor([0.5, 1.5, 2.4])).toArray(), [0, 2, 2]);
 * ```
 */
export function round(x: TensorLike): Tensor {
  return callUnary(roundingOf, x);
}
