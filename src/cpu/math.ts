/**
 * Elementary functions on four f32 lanes. Each takes a local and leaves its result on the stack.
 *
 * Errors are in units of the last place (ulp) of f32, measured against float64 over the whole range where
 * the result is normal (tests/cpu_codegen_test.ts holds them to it). Polynomials are minimax fits of our
 * own (Lawson's iteration) on the reduced range. Results below 2⁻¹²⁶ may be flushed to zero.
 *
 * @module
 */
import type { Local } from "./assembler.ts";
import type { Vector } from "./vector.ts";

/** One function of one operand. */
export type Elementary = (v: Vector, x: Local) => void;

const log2e = 1.4426950408889634;
// ln 2 in two parts; the first has 9 bits, so that its product with an exponent is exact without FMA.
const ln2High = 0.693359375;
const ln2Low = -2.1219444005469057e-4;
// Adding 1.5 · 2²³ rounds to an integer, which then sits in the low bits.
const roundingMagic = 12582912;
// (eʳ − 1 − r) / r² for |r| ≤ ln 2 / 2.
const exponentialTail = [
  0.5000000065712619,
  0.16666538015258434,
  0.041666266539784606,
  0.00836724678684339,
  0.0013947598077552706,
];
// (log(1 + f) − f + f²/2) / f³ for 1 + f in [√½, √2].
const logarithmTail = [
  0.3333331672581692,
  -0.25000810405146756,
  0.20002286274945458,
  -0.16624554043616183,
  0.14181191937989762,
  -0.13128754801046524,
  0.12881647494267126,
  -0.07859611509307021,
];
// erf(x) / x − ¼ = N(x²) / D(x²) for |x| ≤ 4. Without the quarter, both would have to be exact to the last place
// where erf is 1.
const erfNumerator = [
  0.8783791393079161,
  0.06733122838148656,
  0.02426426567075903,
  0.00008154556048240195,
  -0.000011827931910607283,
  -0.000007368264744979931,
];
const erfDenominator = [
  1,
  0.5048579887361381,
  0.11535027526397491,
  0.015207308393149307,
  0.0011855782473794664,
  0.00003742017313493361,
];
const overflow = 88.72283; // the largest x with a finite eˣ
const underflow = -87.336544; // eˣ is below 2⁻¹²⁶ beyond

/** x = n ln 2 + r: gives r, and n + bias in the low bits of an integer. */
function reduceExponent(v: Vector, x: Local, bias = 0): { shifted: Local; r: Local } {
  const { f } = v;
  const magic = roundingMagic + bias;
  f.get(x);
  v.multiplyAdd(() => f.f32x4(log2e), () => f.f32x4(magic));
  const shifted = f.keep();
  const n = f.get(shifted).f32x4(magic).op("f32x4.sub").keep();
  f.get(n);
  v.subtractProduct(() => f.f32x4(ln2High), () => f.get(x));
  const high = f.keep();
  f.get(n);
  v.subtractProduct(() => f.f32x4(ln2Low), () => f.get(high));
  return { shifted, r: f.keep() };
}

/** [y] -> y where x is small enough for a finite eˣ, else ∞ or NaN. */
function overflowToInfinity(v: Vector, x: Local): void {
  v.f.get(x).f32x4(Infinity).op("f32x4.add").get(x).f32x4(overflow).op("f32x4.le");
  v.select();
}

/** eˣ; error below 1.5 ulp. */
export function exp(v: Vector, x: Local): void {
  const { f } = v;
  const bounded = f.get(x).f32x4(overflow).op("f32x4.pmin").keep(); // keeps NaN
  const { shifted, r } = reduceExponent(v, bounded);
  v.polynomial(r, [1, 1, ...exponentialTail]);
  // The power of two goes into the exponent bits: 2¹²⁸ has no factor of its own, but eʳ 2¹²⁸ may be finite.
  f.get(shifted).i32(23).op("i32x4.shl").op("i32x4.add");
  overflowToInfinity(v, x);
  f.get(x).f32x4(underflow).op("f32x4.lt").op("v128.andnot");
}

/** eˣ of x ≤ 0 or NaN, which needs fewer instructions; error below 1.5 ulp. */
export function expOfNegative(v: Vector, x: Local): void {
  const { f } = v;
  const bounded = f.get(x).f32x4(-88).op("f32x4.pmax").keep(); // keeps NaN
  const { shifted, r } = reduceExponent(v, bounded, 127);
  v.polynomial(r, [1, 1, ...exponentialTail]);
  // n + 127 as exponent bits is 2ⁿ, and 0 for n = −127.
  f.get(shifted).i32(23).op("i32x4.shl").op("f32x4.mul");
}

/** eˣ − 1 where −18 ≤ x: 2ⁿ (eʳ − 1) + (2ⁿ − 1), halved so that n = 128 is in range. */
function expm1Above(v: Vector, x: Local): void {
  const { f } = v;
  const { shifted, r } = reduceExponent(v, x);
  const square = f.get(r).get(r).op("f32x4.mul").keep();
  v.polynomial(r, exponentialTail).multiplyAdd(() => f.get(square), () => f.get(r));
  const tail = f.keep();
  f.get(shifted).i32(23).op("i32x4.shl").i32x4(126 << 23).op("i32x4.add");
  const half = f.keep();
  f.get(half);
  v.multiplyAdd(() => f.get(tail), () => f.get(half).f32x4(-0.5).op("f32x4.add"));
  const result = f.keep();
  f.get(result).get(result).op("f32x4.add");
}

/** eˣ − 1; error below 2 ulp. */
export function expm1(v: Vector, x: Local): void {
  const { f } = v;
  f.get(x).f32x4(-18).op("f32x4.pmax"); // keeps NaN
  expm1Above(v, f.keep());
  overflowToInfinity(v, x);
  withSignOf(v, x);
}

/** [y] -> y with the sign bit of x also set. */
export function withSignOf(v: Vector, x: Local): void {
  v.f.get(x).i32x4(-0x80000000).op("v128.and").op("v128.or");
}

/** tanh x = −e / (2 + e) of e = e^(−2|x|) − 1, with the sign of x; error below 3 ulp. */
export function tanh(v: Vector, x: Local): void {
  const { f } = v;
  f.get(x).op("f32x4.abs").f32x4(-2).op("f32x4.mul").f32x4(-18).op("f32x4.pmax");
  expm1Above(v, f.keep());
  const e = f.keep();
  f.get(e).op("f32x4.abs").f32x4(2).get(e).op("f32x4.add").op("f32x4.div");
  withSignOf(v, x);
}

/** erf x = x/4 + x N(x²) / D(x²), where erf 4 rounds to 1; error below 3 ulp. */
export function erf(v: Vector, x: Local): void {
  const { f } = v;
  const z = f.get(x).f32x4(4).op("f32x4.pmin").f32x4(-4).op("f32x4.pmax").keep(); // keeps NaN
  const square = f.get(z).get(z).op("f32x4.mul").keep();
  v.polynomial(square, erfNumerator).polynomial(square, erfDenominator);
  f.op("f32x4.div");
  v.multiplyAdd(() => f.get(z), () => f.get(z).f32x4(0.25).op("f32x4.mul"));
}

/** Φ(x) = ½ + ½ erf(x / √2); error below 1e-7. */
export function normalCdf(v: Vector, x: Local): void {
  const { f } = v;
  f.get(x).f32x4(Math.SQRT1_2).op("f32x4.mul");
  erf(v, f.keep());
  v.multiplyAdd(() => f.f32x4(0.5), () => f.f32x4(0.5));
}

/** x = 2^exponent · mantissa with mantissa in [√½, √2), for positive finite x; exponent is an integer. */
export function splitExponent(v: Vector, x: Local): { exponent: Local; mantissa: Local } {
  const { f } = v;
  const half = 0x3f3504f3; // the bits of √½
  f.get(x).f32x4(2 ** -126).op("f32x4.lt");
  const subnormal = f.keep();
  f.get(x).f32x4(2 ** 23).op("f32x4.mul").get(x).get(subnormal);
  v.select();
  f.i32x4(half).op("i32x4.sub");
  const bits = f.keep();
  f.get(bits).i32(23).op("i32x4.shr_s").get(subnormal).i32x4(-23).op("v128.and").op("i32x4.add");
  const exponent = f.keep();
  f.get(bits).i32x4(0x7fffff).op("v128.and").i32x4(half).op("i32x4.add");
  return { exponent, mantissa: f.keep() };
}

/** log x; error below 1.5 ulp. */
export function log(v: Vector, x: Local): void {
  const { f } = v;
  const { exponent, mantissa } = splitExponent(v, x);
  const e = f.get(exponent).op("f32x4.convert_i32x4_s").keep();
  const m = f.get(mantissa).f32x4(1).op("f32x4.sub").keep();
  const square = f.get(m).get(m).op("f32x4.mul").keep();
  v.polynomial(m, [-0.5, ...logarithmTail]);
  f.get(square).op("f32x4.mul");
  const tail = f.keep();
  f.get(e);
  v.multiplyAdd(() => f.f32x4(ln2Low), () => f.get(tail));
  f.get(m).op("f32x4.add");
  const sum = f.keep();
  f.get(e);
  v.multiplyAdd(() => f.f32x4(ln2High), () => f.get(sum));
  f.get(x).get(x).f32x4(Infinity).op("f32x4.lt"); // ∞ and NaN stay what they are
  v.select();
  f.get(x).f32x4(0).op("f32x4.lt").op("v128.or"); // all ones are a NaN
  const result = f.keep();
  f.f32x4(-Infinity).get(result).get(x).f32x4(0).op("f32x4.eq");
  v.select();
}

/** log(1 + x) = log u + (x − (u − 1)) / u of u = 1 + x as rounded; error below 2 ulp. */
export function log1p(v: Vector, x: Local): void {
  const { f } = v;
  const u = f.f32x4(1).get(x).op("f32x4.add").keep();
  log(v, u);
  f.get(x).get(u).f32x4(1).op("f32x4.sub").op("f32x4.sub").get(u).op("f32x4.div");
  f.get(u).f32x4(0).op("f32x4.gt").get(u).f32x4(Infinity).op("f32x4.lt").op("v128.and").op("v128.and");
  f.op("f32x4.add");
  withSignOf(v, x);
}
