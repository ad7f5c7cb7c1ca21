/**
 * The arithmetic of the kernel IR in WGSL, for one value or four at a time.
 *
 * Drivers treat `(1 + x) - 1` as x, may assume that no NaN exists, and are inexact near zero; so NaN is tested
 * by its bits, and near zero functions are polynomials. NVIDIA's sine has an error of 1e-7 also where its value is
 * 1e-5, and Vulkan leaves the remainder of negative integers undefined (NVIDIA's is wrong); so neither is used.
 *
 * @module
 */
import type { DType } from "../dtype.ts";
import type { BinaryOp, Combine, UnaryOp } from "../compiler/kernel.ts";
import { emptyReduction } from "../compiler/interpret.ts";

/** 1: a scalar; 4: a vector of four. */
export type Width = 1 | 4;

/** The WGSL type of a value in a register; bool is stored in memory as u32. */
export function typeName(dtype: DType, width: Width): string {
  return width === 1 ? dtype : `vec4<${dtype}>`;
}

/** The WGSL type of an element in memory. */
export function storedType(dtype: DType, width: Width): string {
  return typeName(dtype === "bool" ? "u32" : dtype, width);
}

/** A literal of any value, NaN and infinities too. */
export function literal(value: number, dtype: DType): string {
  switch (dtype) {
    case "bool":
      return value !== 0 ? "true" : "false";
    case "i32":
      return `i32(${value | 0})`;
    case "u32":
      return `${value >>> 0}u`;
    case "f32": {
      const rounded = Math.fround(value);
      if (Number.isFinite(rounded) && !Object.is(rounded, -0)) {
        const text = String(rounded);
        return `${text}${/[.e]/.test(text) ? "" : ".0"}f`;
      }
      const bits = new Uint32Array(Float32Array.of(rounded).buffer)[0]!;
      return `bitcast<f32>(0x${bits.toString(16)}u)`;
    }
  }
}

/** Functions that generated code calls. F, I, U, B stand for the types of the width. */
const helperSources = {
  isNan: `(x: F) -> B { return (bitcast<U>(x) & U(0x7fffffffu)) > U(0x7f800000u); }`,
  isFinite: `(x: F) -> B { return (bitcast<U>(x) & U(0x7f800000u)) != U(0x7f800000u); }`,
  max: `(a: F, b: F) -> F { return select(max(a, b), a + b, isNan_(a) | isNan_(b)); }`,
  min: `(a: F, b: F) -> F { return select(min(a, b), a + b, isNan_(a) | isNan_(b)); }`,
  sign: `(x: F) -> F { return select(sign(x), x, isNan_(x)); }`,
  // Taylor series, to 2e-8 of x for |x| < 0.35.
  expm1: `(x: F) -> F {
  let p = x + x * x * (F(0.5f) + x * (F(0.16666667f) + x * (F(0.041666668f) + x * (F(0.008333334f) +
    x * (F(0.0013888889f) + x * F(0.0001984127f))))));
  return select(exp(x) - F(1.0f), p, abs(x) < F(0.35f));
}`,
  // log(1 + x) = 2 artanh(s), s = x / (2 + x), to 1e-8 for |x| < 0.3.
  logSeries: `(x: F) -> F {
  let s = x / (F(2.0f) + x);
  let q = s * s;
  return F(2.0f) * s * (F(1.0f) + q * (F(0.33333334f) + q * (F(0.2f) + q * (F(0.14285715f) +
    q * F(0.11111111f)))));
}`,
  log1p: `(x: F) -> F { return select(log(F(1.0f) + x), logSeries_(x), abs(x) < F(0.3f)); }`,
  log: `(x: F) -> F {
  let d = x - F(1.0f);
  return select(log(x), logSeries_(d), abs(d) < F(0.3f));
}`,
  tanh: `(x: F) -> F {
  let t = expm1_(F(-2.0f) * abs(x));
  let y = -t / (t + F(2.0f));
  return select(y, -y, x < F(0.0f));
}`,
  // Maclaurin series near zero, Abramowitz & Stegun 7.1.26 beyond: absolute error below 3e-7.
  erf: `(x: F) -> F {
  let z = abs(x);
  let q = x * x;
  let near = x * (F(1.1283792f) + q * (F(-0.37612638f) + q * (F(0.11283791f) + q * (F(-0.026866171f) +
    q * (F(0.0052239776f) + q * F(-0.00085483274f))))));
  let t = F(1.0f) / (F(1.0f) + F(0.3275911f) * z);
  let tail = t * (F(0.2548296f) + t * (F(-0.28449672f) + t * (F(1.4214138f) + t * (F(-1.4531521f) +
    t * F(1.0614054f)))));
  let far = F(1.0f) - tail * exp(-q);
  return select(select(far, -far, x < F(0.0f)), near, z < F(0.5f));
}`,
  quarterTurns: `(x: F) -> F { return round(x * F(0.63661975f)); }`,
  // x − q·π/2. The first two parts of π/2 (Cephes, S. Moshier) and the halves of q have so few bits that their
  // products are exact even where fma rounds twice; beyond |x| = 10⁶ they are not.
  withinQuarter: `(x: F, q: F) -> F {
  let h = bitcast<F>(bitcast<U>(q) & U(0xfffff000u));
  let l = q - h;
  let r = fma(-l, F(1.5703125f), fma(-h, F(1.5703125f), x));
  let s = fma(-l, F(0.000483751297f), fma(-h, F(0.000483751297f), r));
  let t = clamp(fma(-q, F(7.5497900e-8f), s), F(-1.0f), F(1.0f));
  return select(bitcast<F>(U(0x7fc00000u)), t, isFinite_(x));
}`,
  // Cephes' polynomials for |r| ≤ π/4: to 2e-7 of the result.
  sineWithin: `(r: F) -> F {
  let z = r * r;
  return r + r * z * (F(-0.16666655f) + z * (F(0.008332161f) + z * F(-0.00019515296f)));
}`,
  cosineWithin: `(r: F) -> F {
  let z = r * r;
  return F(1.0f) - F(0.5f) * z +
    z * z * (F(0.041666646f) + z * (F(-0.0013887316f) + z * F(0.000024433157f)));
}`,
  // The quarter of the turn, 0 to 3.
  quarter: `(q: F) -> F { return q - F(4.0f) * floor(q * F(0.25f)); }`,
  sin: `(x: F) -> F {
  let q = quarterTurns_(x);
  let r = withinQuarter_(x, q);
  let k = quarter_(q);
  let y = select(sineWithin_(r), cosineWithin_(r), (k == F(1.0f)) | (k == F(3.0f)));
  return select(y, -y, k >= F(2.0f));
}`,
  cos: `(x: F) -> F {
  let q = quarterTurns_(x);
  let r = withinQuarter_(x, q);
  let k = quarter_(q);
  let y = select(cosineWithin_(r), sineWithin_(r), (k == F(1.0f)) | (k == F(3.0f)));
  return select(y, -y, (k == F(1.0f)) | (k == F(2.0f)));
}`,
  tan: `(x: F) -> F {
  let q = quarterTurns_(x);
  let r = withinQuarter_(x, q);
  let k = quarter_(q);
  let s = sineWithin_(r);
  let c = cosineWithin_(r);
  return select(s / c, -c / s, (k == F(1.0f)) | (k == F(3.0f)));
}`,
  pow: `(a: F, b: F) -> F {
  let size = pow(abs(a), b);
  let whole = floor(b) == b;
  let odd = whole & (abs(b) < F(16777216.0f)) & (floor(b * F(0.5f)) != b * F(0.5f));
  let signed = select(size, -size, odd);
  let nan = bitcast<F>(U(0x7fc00000u));
  let negative = select(nan, signed, whole | (a < F(-3.4e38f)));
  let result = select(size, negative, a < F(0.0f));
  let checked = select(result, a + b, isNan_(a) | isNan_(b));
  return select(checked, F(1.0f), (a == F(1.0f)) | (b == F(0.0f)));
}`,
  // a − n·b with both factors in two parts of 12 bits, whose products are exact.
  modFloat: `(a: F, b: F) -> F {
  let n = floor(a / b);
  let highB = bitcast<F>(bitcast<U>(b) & U(0xfffff000u));
  let highN = bitcast<F>(bitcast<U>(n) & U(0xfffff000u));
  let lowB = b - highB;
  let lowN = n - highN;
  let r = (((a - highN * highB) - highN * lowB) - lowN * highB) - lowN * lowB;
  let s = select(r, r - b, abs(r) >= abs(b));
  return select(s, s + b, (s != F(0.0f)) & ((s < F(0.0f)) != (b < F(0.0f))));
}`,
  divInt: `(a: I, b: I) -> I { return select(a / select(b, I(1), b == I(0)), I(0), b == I(0)); }`,
  divUint: `(a: U, b: U) -> U { return select(a / select(b, U(1u), b == U(0u)), U(0u), b == U(0u)); }`,
  modInt: `(a: I, b: I) -> I {
  let d = select(b, I(1), b == I(0));
  let r = a - (a / d) * d;
  let floored = select(r, r + b, (r != I(0)) & ((r < I(0)) != (b < I(0))));
  return select(floored, I(0), b == I(0));
}`,
  modUint: `(a: U, b: U) -> U { return select(a % select(b, U(1u), b == U(0u)), U(0u), b == U(0u)); }`,
  powInt: `(a: I, b: I) -> I { return bitcast<I>(powUint_(bitcast<U>(a), bitcast<U>(max(b, I(0))))); }`,
  // By squaring; written out because loop turns are counted on the software adapter.
  powUint: `(a: U, b: U) -> U {
  var r = U(1u);
  var s = a;
${
    Array.from({ length: 32 }, (_, k) => `  r *= select(U(1u), s, (b & U(${2 ** k}u)) != U(0u)); s *= s;`)
      .join("\n")
  }
  return r;
}`,
  toInt: `(x: F) -> I {
  let r = select(I(clamp(x, F(-2147483648.0f), F(2147483520.0f))), I(2147483647), x >= F(2147483648.0f));
  return select(r, I(0), isNan_(x));
}`,
  toUint: `(x: F) -> U {
  let r = select(U(clamp(x, F(0.0f), F(4294967040.0f))), U(4294967295u), x >= F(4294967296.0f));
  return select(r, U(0u), isNan_(x));
}`,
} as const;

/** Name of a helper function. */
export type Helper = keyof typeof helperSources;

/** Helper functions in use, each with what it calls. */
export class Helpers {
  readonly #sources = new Map<string, string>();

  /** The name under which the helper can be called. */
  use(name: Helper, width: Width): string {
    const full = `${name}${width}`;
    if (this.#sources.has(full)) return full;
    this.#sources.set(full, "");
    const types: Record<string, string> = {
      F: typeName("f32", width),
      I: typeName("i32", width),
      U: typeName("u32", width),
      B: typeName("bool", width),
    };
    const body = helperSources[name]
      .replace(/\b(\w+)_\(/g, (_, callee: Helper) => `${this.use(callee, width)}(`)
      .replace(/\b[FIUB]\b/g, (letter) => types[letter]!);
    this.#sources.set(full, `fn ${full}${body}`);
    return full;
  }

  /** The sources of all of them. */
  sources(): string[] {
    return [...this.#sources.values()];
  }
}

/** A one-operand operation on operands of the given dtype. */
export function unaryText(op: UnaryOp, x: string, dtype: DType, width: Width, helpers: Helpers): string {
  const one = (value: number): string => splat(literal(value, dtype), dtype, width);
  const call = (name: Helper): string => `${helpers.use(name, width)}(${x})`;
  const truth = (value: boolean): string => splat(String(value), "bool", width);
  const isFloat = dtype === "f32";
  switch (op) {
    case "neg":
      return dtype === "u32" ? `(${one(0)} - ${x})` : `(-${x})`;
    case "abs":
      return dtype === "u32" ? x : `abs(${x})`;
    case "sign":
      return isFloat ? call("sign") : dtype === "i32" ? `sign(${x})` : `min(${x}, ${one(1)})`;
    case "not":
      return dtype === "bool" ? `(!${x})` : `(~${x})`;
    case "isNan":
      return isFloat ? call("isNan") : truth(false);
    case "isFinite":
      return isFloat ? call("isFinite") : truth(true);
    case "floor":
    case "ceil":
    case "round":
      return isFloat ? `${op}(${x})` : x;
  }
  if (!isFloat) throw new TypeError(`Cannot generate ${op} of ${dtype}: it takes f32`);
  switch (op) {
    case "expm1":
    case "log":
    case "log1p":
    case "sin":
    case "cos":
    case "tan":
    case "tanh":
    case "erf":
      return call(op);
    case "rsqrt":
      return `inverseSqrt(${x})`;
    default:
      return `${op}(${x})`;
  }
}

const operators: Partial<Record<BinaryOp, string>> = {
  add: "+",
  sub: "-",
  mul: "*",
  div: "/",
  lt: "<",
  le: "<=",
  gt: ">",
  ge: ">=",
  eq: "==",
  ne: "!=",
  and: "&",
  or: "|",
  xor: "^",
};

/** Arithmetic on bool as on numbers 0 and 1 that are stored as bool again. */
const logical: Partial<Record<BinaryOp, string>> = {
  add: "|",
  mul: "&",
  max: "|",
  min: "&",
  sub: "!=",
  xor: "!=",
  and: "&",
  or: "|",
  eq: "==",
  ne: "!=",
};

/** A two-operand operation on operands of the given dtype, both of the given width. */
export function binaryText(
  op: BinaryOp,
  a: string,
  b: string,
  dtype: DType,
  width: Width,
  helpers: Helpers,
): string {
  const call = (name: Helper): string => `${helpers.use(name, width)}(${a}, ${b})`;
  if (dtype === "bool") {
    if (logical[op] !== undefined) return `(${a} ${logical[op]} ${b})`;
    const number = typeName("u32", width);
    if (op === "lt" || op === "le" || op === "gt" || op === "ge") {
      return `(${number}(${a}) ${operators[op]} ${number}(${b}))`;
    }
    throw new TypeError(`Cannot generate ${op} of bool: it takes numbers`);
  }
  const isFloat = dtype === "f32";
  switch (op) {
    case "ne":
      // Not `!=`: it is false for NaN in SPIR-V's ordered comparison.
      return `(!(${a} == ${b}))`;
    case "div":
      return isFloat ? `(${a} / ${b})` : call(dtype === "i32" ? "divInt" : "divUint");
    case "mod":
      return call(isFloat ? "modFloat" : dtype === "i32" ? "modInt" : "modUint");
    case "pow":
      return call(isFloat ? "pow" : dtype === "i32" ? "powInt" : "powUint");
    case "max":
    case "min":
      return isFloat ? call(op) : `${op}(${a}, ${b})`;
    case "shl":
    case "shr": {
      const count = typeName("u32", width);
      return `(${a} ${op === "shl" ? "<<" : ">>"} (${count}(${b}) & ${count}(31u)))`;
    }
    default:
      return `(${a} ${operators[op]} ${b})`;
  }
}

/** A conversion between dtypes. */
export function castText(x: string, from: DType, to: DType, width: Width, helpers: Helpers): string {
  if (from === to) return x;
  const type = typeName(to, width);
  const zero = splat(literal(0, from), from, width);
  if (to === "bool") return `(!(${x} == ${zero}))`;
  if (from === "f32") return `${helpers.use(to === "i32" ? "toInt" : "toUint", width)}(${x})`;
  return `${type}(${x})`;
}

/** A scalar text as a value of the width. */
export function splat(text: string, dtype: DType, width: Width): string {
  return width === 1 ? text : `${typeName(dtype, 4)}(${text})`;
}

/** The value that a reduction starts from. */
export function startText(combine: Combine, dtype: DType, width: Width): string {
  const direction = combine === "argMax" ? "max" : combine === "argMin" ? "min" : combine;
  return splat(literal(emptyReduction(direction, dtype), dtype), dtype, width);
}

/** Two partial results joined (not for argMax and argMin). */
export function combineText(
  combine: Combine,
  a: string,
  b: string,
  dtype: DType,
  width: Width,
  helpers: Helpers,
): string {
  const op = combine === "sum" ? "add" : combine === "product" ? "mul" : combine as "max" | "min";
  return binaryText(op, a, b, dtype, width, helpers);
}
