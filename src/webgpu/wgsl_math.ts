/**
 * The arithmetic of the kernel IR in WGSL, for one value or four at a time.
 *
 * A driver may assume that there is no NaN, so NaN is tested by its bits; and take subnormal numbers for 0, so what must
 * tell them from it looks at the bits too. Vulkan leaves the remainder of negative integers undefined (NVIDIA's is
 * wrong), so it is not used. Elementary functions are our own: `wgsl_elementary.ts`.
 *
 * @module
 */
import type { DType } from "../dtype.ts";
import type { BinaryOp, Combine, UnaryOp } from "../compiler/kernel.ts";
import { emptyReduction } from "../compiler/interpret.ts";
import { elementary } from "./wgsl_elementary.ts";

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

/** Functions that generated code calls beside the elementary ones, and written as those are. */
const basic = {
  isNan: `(x: F) -> B { return (bitcast<U>(x) & U(0x7fffffffu)) > U(0x7f800000u); }`,
  isFinite: `(x: F) -> B { return (bitcast<U>(x) & U(0x7f800000u)) != U(0x7f800000u); }`,
  // Equal operands differ at most in the sign of zero, and a NaN stays one with more bits set.
  max: `(a: F, b: F) -> F {
  let y = select(max(a, b), bitcast<F>(bitcast<U>(a) & bitcast<U>(b)), a == b);
  return select(select(y, a, isNan_(a)), b, isNan_(b));
}`,
  min: `(a: F, b: F) -> F {
  let both = bitcast<F>(bitcast<U>(a) | bitcast<U>(b));
  return select(min(a, b), both, (a == b) | isNan_(a) | isNan_(b));
}`,
  // The larger and the smaller of x and a constant that is neither NaN nor −0.
  maxWith: `(x: F, c: F) -> F { return select(select(x, c, x <= c), x, isNan_(x)); }`,
  minWith: `(x: F, c: F) -> F { return select(select(x, c, x > c), x, isNan_(x)); }`,
  // By the bits, from the least positive number to infinity, since a compiler may take subnormal numbers for 0.
  sign: `(x: F) -> F {
  return select(x, withSignOf_(F(1.0f), x), bitcast<U>(size_(x)) - U(1u) < U(0x7f800000u));
}`,
  toBool: `(x: F) -> B { return (bitcast<U>(x) << U(1u)) != U(0u); }`,

  // The exact remainder, whose quotient may have 277 bits, and the divisor where the signs differ. |a| = ma · 2^ea,
  // |b| = mb · 2^eb with a highest bit of mb; r · 2^d mod mb is found 20 bits at a time.
  modFloat: `(a: F, b: F) -> F {
  let x = bitcast<U>(size_(a));
  let y = bitcast<U>(size_(b));
  let ma = (x & U(0x007fffffu)) | select(U(0x00800000u), U(0u), x < U(0x00800000u));
  let m = (y & U(0x007fffffu)) | select(U(0x00800000u), U(0u), y < U(0x00800000u));
  let zeros = countLeadingZeros(m | U(1u)) - U(8u);
  let mb = m << zeros;
  let eb = bitcast<I>(max(y >> U(23u), U(1u)) - zeros);
  let d = bitcast<I>(max(x >> U(23u), U(1u))) - eb;
  let inverse = F(1.0f) / F(mb);
  var left = bitcast<U>(max(d, I(0)));
  var r = modStep_(select(ma - mb, ma, ma < mb), min(left, U(20u)), mb, inverse);
  if (any(left > U(20u))) {
${
    Array.from({ length: 13 }, () =>
      `    left -= min(left, U(20u)); r = modStep_(r, min(left, U(20u)), mb, inverse);`).join("\n")
  }
  }
  let bits = bitcast<U>(F(r));
  let exponent = eb - I(150);
  let tiny = select(r << bitcast<U>((eb - I(1)) & I(31)), r >> bitcast<U>((I(1) - eb) & I(31)), eb < I(1));
  let normal = bits + (bitcast<U>(exponent) << U(23u));
  let isTiny = bitcast<I>(bits >> U(23u)) + exponent < I(1);
  let size = bitcast<F>(select(select(normal, tiny, isTiny), U(0u), r == U(0u)));
  let rest = withSignOf_(select(size, size_(a), d < I(0)), a);
  let floored = select(rest, rest + b, (bitcast<U>(a) ^ bitcast<U>(b)) >= U(0x80000000u));
  let result = select(floored, withSignOf_(F(0.0f), b), (bitcast<U>(rest) << U(1u)) == U(0u));
  return select(result, bitcast<F>(U(0x7fc00000u)), !isFinite_(a) | isNan_(b) | (y == U(0u)));
}`,
  // r · 2ˢ mod m for r < m < 2²⁴ and s ≤ 20. The quotient is at most one off, and so the lower 32 bits of what remains
  // are all of it.
  modStep: `(r: U, s: U, m: U, inverse: F) -> U {
  let q = U(F(r) * inverse * bitcast<F>((s + U(127u)) << U(23u)));
  let t = (r << s) - q * m;
  let u = select(t, t + m, t >= U(0x80000000u));
  return select(u, u - m, u >= m);
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
  // A negative power is 1 / a^|b| truncated: of ±1 as for |b|, else 0.
  powInt: `(a: I, b: I) -> I {
  let y = bitcast<I>(powUint_(bitcast<U>(a), bitcast<U>(max(b, b & I(1)))));
  return select(y, I(0), (b < I(0)) & (abs(a) != I(1)));
}`,
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

const sources = { ...basic, ...elementary } as const;

/** Name of a helper function. */
export type Helper = keyof typeof sources;

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
    const body = sources[name]
      .replace(/\b(\w+)_(?!\w)/g, (_, other: Helper) => this.use(other, width))
      .replace(/\b[FIUB]\b/g, (letter) => types[letter]!);
    this.#sources.set(full, `${body.startsWith("{") ? "struct " : "fn "}${full}${body}`);
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
      if (isFloat) return call("opposite");
      return dtype === "u32" ? `(${one(0)} - ${x})` : `(-${x})`;
    case "abs":
      return isFloat ? call("size") : dtype === "u32" ? x : `abs(${x})`;
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
    case "exp":
    case "expm1":
    case "log":
    case "log1p":
    case "sin":
    case "cos":
    case "tan":
    case "tanh":
    case "erf":
    case "normalCdf":
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
  if (to === "bool") return from === "f32" ? `${helpers.use("toBool", width)}(${x})` : `(${x} != ${zero})`;
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
