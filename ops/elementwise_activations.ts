/**
 * Activation functions. Those whose composed form would be inexact or have a wrong slope somewhere are
 * primitives with an expression of their own.
 *
 * @module
 */
import type { Expr } from "../src/compiler/kernel.ts";
import { erfc } from "../src/special_functions.ts";
import type { Tensor } from "../src/tensor.ts";
import type { TensorLike } from "./common.ts";
import { mul, sub } from "./elementwise_arithmetic.ts";
import { lessEqual } from "./elementwise_logic.ts";
import { exp, square } from "./elementwise_math.ts";
import { where } from "./elementwise_select.ts";
import { callUnary, defineUnary } from "./support_elementwise.ts";

const number = (value: number): Expr => ({ kind: "constant", dtype: "f32", value });

const rectifier = defineUnary("relu", {
  op: {
    expr: (x) => ({ kind: "binary", dtype: "f32", op: "max", a: x, b: number(0) }),
    reference: (x) => Math.max(x, 0),
  },
  dtypes: ["f32"],
  slope: (t, x) => where(lessEqual(x, 0), 0, t),
});

/**
 * max(x, 0), NaN for NaN. f32. The derivative at 0 is taken as 0.
 *
 * @example
 * ```ts
 * import { relu, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await relu(tensor([-1, 2])).toArray(), [0, 2]);
 * ```
 */
export function relu(x: TensorLike): Tensor {
  return callUnary(rectifier, x);
}

const logistic = defineUnary("sigmoid", {
  op: {
    // 1 / (1 + e^−x) keeps its relative precision for very negative x, and its slope y(1 − y) has no overflow.
    expr: (x) => ({
      kind: "binary",
      dtype: "f32",
      op: "div",
      a: number(1),
      b: {
        kind: "binary",
        dtype: "f32",
        op: "add",
        a: number(1),
        b: { kind: "unary", dtype: "f32", op: "exp", x: { kind: "unary", dtype: "f32", op: "neg", x } },
      },
    }),
    reference: (x) => 1 / (1 + Math.exp(-x)),
  },
  dtypes: ["f32"],
  cost: 15,
  slope: (t, _x, y) => mul(t, mul(y, sub(1, y))),
});

/**
 * The logistic function 1 / (1 + e⁻ˣ). f32.
 *
 * @example
 * ```ts
 * import { sigmoid, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await sigmoid(tensor([-Infinity, 0, Infinity])).toArray(), [0, 0.5, 1]);
 * ```
 */
export function sigmoid(x: TensorLike): Tensor {
  return callUnary(logistic, x);
}

const smoothRectifier = defineUnary("softplus", {
  op: {
    // max(x, 0) + log1p(e^−|x|): nothing overflows and nothing cancels.
    expr: (x) => ({
      kind: "binary",
      dtype: "f32",
      op: "add",
      a: { kind: "binary", dtype: "f32", op: "max", a: x, b: number(0) },
      b: {
        kind: "unary",
        dtype: "f32",
        op: "log1p",
        x: {
          kind: "unary",
          dtype: "f32",
          op: "exp",
          x: { kind: "unary", dtype: "f32", op: "neg", x: { kind: "unary", dtype: "f32", op: "abs", x } },
        },
      },
    }),
    reference: (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  },
  dtypes: ["f32"],
  cost: 24,
  slope: (t, x) => mul(t, sigmoid(x)),
});

/**
 * log(1 + eˣ), without overflow. f32.
 *
 * @example
 * ```ts
 * import { softplus, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await softplus(tensor([-1000, 1000])).toArray(), [0, 1000]);
 * ```
 */
export function softplus(x: TensorLike): Tensor {
  return callUnary(smoothRectifier, x);
}

/**
 * x · sigmoid(x), also known as swish. f32.
 *
 * @see Elfwing, Uchibe and Doya 2017, arXiv:1702.03118
 * @example
 * ```ts
 * import { silu } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * assertAlmostEquals(await silu(1).item(), 0.7310586, 1e-6);
 * ```
 */
export function silu(x: TensorLike): Tensor {
  return mul(x, sigmoid(x));
}

const multiply = (a: Expr, b: Expr): Expr => ({ kind: "binary", dtype: "f32", op: "mul", a, b });
const plus = (a: Expr, b: Expr): Expr => ({ kind: "binary", dtype: "f32", op: "add", a, b });

/** Φ(x), the distribution function of the normal distribution. */
const normalDistribution = (x: Expr): Expr => ({ kind: "unary", dtype: "f32", op: "normalCdf", x });

/** φ(x) = Φ'(x). */
function normalDensity(x: Expr): Expr {
  const power = multiply(multiply(x, x), number(-0.5));
  return multiply({ kind: "unary", dtype: "f32", op: "exp", x: power }, number(1 / Math.sqrt(2 * Math.PI)));
}

const distributionOf = (x: number): number => 0.5 * erfc(-x * Math.SQRT1_2);
const densityOf = (x: number): number => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);

// One node each for gelu and its slope, so that the backward pass reads x alone and keeps nothing in between.
const gaussianSlope = defineUnary("geluSlope", {
  op: {
    expr: (x) => plus(normalDistribution(x), multiply(x, normalDensity(x))),
    reference: (x) => distributionOf(x) + x * densityOf(x),
  },
  dtypes: ["f32"],
  cost: 35,
  slope: (t, x) => {
    const density = mul(exp(mul(square(x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
    return mul(t, mul(density, sub(2, square(x))));
  },
});

const gaussian = defineUnary("gelu", {
  op: {
    expr: (x) => multiply(x, normalDistribution(x)),
    reference: (x) => x * distributionOf(x),
  },
  dtypes: ["f32"],
  cost: 20,
  slope: (t, x) => mul(t, callUnary(gaussianSlope, x)),
});

/**
 * The Gaussian error linear unit x · ½(1 + erf(x / √2)), in its exact form (not the tanh approximation). f32.
 *
 * @see Hendrycks and Gimpel 2016, arXiv:1606.08415
 * @example
 * ```ts
 * import { gelu } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * assertAlmostEquals(await gelu(1).item(), 0.8413447, 1e-6);
 * ```
 */
export function gelu(x: TensorLike): Tensor {
  return callUnary(gaussian, x);
}
