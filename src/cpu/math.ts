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
// (sin r − r) / r³ and (cos r − 1 + r²/2) / r⁴ as polynomials of r², for |r| ≤ π/4.
const sineTail = [-0.16666654225554733, 0.00833213149716584, -0.00019510839140764337];
const cosineTail = [
  0.04166664661920766,
  -0.0013888883438686762,
  0.000024799436469844036,
  -2.7203308321588995e-7,
];
// 2 artanh(√z) / (√z ln 2) for z ≤ ((√2 − 1)/(√2 + 1))², and 2ˣ for |x| ≤ ½, both for float64.
const log2Series = [
  2.8853900817778495,
  0.9617966941143222,
  0.5770779420917015,
  0.41220927881216196,
  0.3199046574727601,
  0.28291441077844315,
];
const exp2Series = [
  0.9999999999595499,
  0.6931471805350257,
  0.24022651213584523,
  0.05550410976111344,
  0.009618025604099453,
  0.001333342264353716,
  0.00015469731672664768,
  0.000015316462128193847,
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
  // The mask shifted left is −∞, or 0.
  f.get(x).f32x4(overflow).op("f32x4.gt").i32(23).op("i32x4.shl").op("f32x4.sub");
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

/** eˣ − 1; error below 2.5 ulp. */
export function expm1(v: Vector, x: Local): void {
  const { f } = v;
  f.get(x).f32x4(-18).op("f32x4.pmax"); // keeps NaN
  expm1Above(v, f.keep());
  overflowToInfinity(v, x);
  withSignOf(v, x);
}

/** [y] -> y with the sign bit of x also set. */
function withSignOf(v: Vector, x: Local): void {
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

/** erf x = x/4 + x N(x²) / D(x²), where erf 4 rounds to 1; error below 2e-7, below 4 ulp near zero. */
export function erf(v: Vector, x: Local): void {
  const { f } = v;
  const z = f.get(x).f32x4(4).op("f32x4.pmin").f32x4(-4).op("f32x4.pmax").keep(); // keeps NaN
  const square = f.get(z).get(z).op("f32x4.mul").keep();
  v.polynomial(square, erfNumerator).polynomial(square, erfDenominator);
  f.op("f32x4.div");
  v.multiplyAdd(() => f.get(z), () => f.get(z).f32x4(0.25).op("f32x4.mul"));
}

/** x = 2^exponent · mantissa with mantissa in [√½, √2), for positive finite x; exponent is an integer. */
function splitExponent(v: Vector, x: Local): { exponent: Local; mantissa: Local } {
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

/** log(1 + x) = log u + (x − (u − 1)) / u of u = 1 + x as rounded; error below 2.5 ulp. */
export function log1p(v: Vector, x: Local): void {
  const { f } = v;
  const u = f.f32x4(1).get(x).op("f32x4.add").keep();
  log(v, u);
  f.get(x).get(u).f32x4(1).op("f32x4.sub").op("f32x4.sub").get(u).op("f32x4.div");
  f.get(u).f32x4(0).op("f32x4.gt").get(u).f32x4(Infinity).op("f32x4.lt").op("v128.and").op("v128.and");
  f.op("f32x4.add");
}

/** x = n π/2 + r in float64 (Cody and Waite): exact to an ulp of r for |x| < 4e8, less exact beyond. */
function reduceAngle(v: Vector, x: Local): { n: Local; r: Local } {
  const { f } = v;
  const magic = 1.5 * 2 ** 52;
  const rests: Local[] = [];
  const turns: Local[] = [];
  for (const half of [0, 1] as const) {
    f.get(x);
    promote(v, half);
    const wide = f.keep();
    f.get(wide).f64x2(2 / Math.PI).op("f64x2.mul").f64x2(magic).op("f64x2.add");
    const shifted = f.keep();
    const n = f.get(shifted).f64x2(magic).op("f64x2.sub").keep();
    // π/2 in two parts; the first has 25 bits, so that its product with n < 2²⁸ is exact.
    f.get(wide).get(n).f64x2(1.5707963109016418).op("f64x2.mul").op("f64x2.sub");
    f.get(n).f64x2(1.5893254773528196e-8).op("f64x2.mul").op("f64x2.sub").op("f32x4.demote_f64x2_zero");
    rests.push(f.keep());
    turns.push(shifted);
  }
  const n = f.get(turns[0]!).get(turns[1]!).shuffle(0, 2, 4, 6).keep();
  f.get(rests[0]!).get(rests[1]!).shuffle(0, 1, 4, 5);
  f.f32x4(0.8).op("f32x4.pmin").f32x4(-0.8).op("f32x4.pmax"); // keeps NaN; bounds what is not exact
  return { n, r: f.keep() };
}

/** sin r and cos r for |r| ≤ π/4. */
function sineAndCosine(v: Vector, r: Local): { sine: Local; cosine: Local } {
  const { f } = v;
  const square = f.get(r).get(r).op("f32x4.mul").keep();
  v.polynomial(square, sineTail);
  f.get(square).op("f32x4.mul");
  v.multiplyAdd(() => f.get(r), () => f.get(r));
  const sine = f.keep();
  v.polynomial(square, [-0.5, ...cosineTail]).multiplyAdd(() => f.get(square), () => f.f32x4(1));
  return { sine, cosine: f.keep() };
}

/** sin(x + quarter · π/2): which function and which sign depend on the quadrant. */
function sineOfQuadrant(v: Vector, x: Local, quarter: number): void {
  const { f } = v;
  const { n, r } = reduceAngle(v, x);
  const { sine, cosine } = sineAndCosine(v, r);
  const quadrant = f.get(n).i32x4(quarter).op("i32x4.add").keep();
  f.get(sine).get(cosine).get(quadrant).i32x4(1).op("v128.and").i32x4(0).op("i32x4.eq");
  v.select();
  f.get(quadrant).i32(30).op("i32x4.shl").i32x4(-0x80000000).op("v128.and").op("v128.xor");
}

/** sin x; error below 1.5 ulp for |x| < 4e8, bounded by 1 beyond. */
export function sin(v: Vector, x: Local): void {
  sineOfQuadrant(v, x, 0);
}

/** cos x; error below 1.5 ulp for |x| < 4e8, bounded by 1 beyond. */
export function cos(v: Vector, x: Local): void {
  sineOfQuadrant(v, x, 1);
}

/** tan x = s/c, or −c/s in odd quadrants; error below 4 ulp for |x| < 4e8. */
export function tan(v: Vector, x: Local): void {
  const { f } = v;
  const { n, r } = reduceAngle(v, x);
  const { sine, cosine } = sineAndCosine(v, r);
  const even = f.get(n).i32x4(1).op("v128.and").i32x4(0).op("i32x4.eq").keep();
  f.get(sine).get(cosine).op("f32x4.neg").get(even);
  v.select();
  f.get(cosine).get(sine).get(even);
  v.select();
  f.op("f32x4.div");
}

/** [f32x4] -> its two low lanes as f64x2, or its two high lanes. */
function promote(v: Vector, half: 0 | 1): void {
  const { f } = v;
  const x = f.keep();
  f.get(x);
  if (half === 1) f.get(x).shuffle(2, 3, 2, 3);
  f.op("f64x2.promote_low_f32x4");
}

/** Σ coefficients[k] · x^k in float64. */
function polynomial64(v: Vector, x: Local, coefficients: readonly number[]): void {
  v.f.f64x2(coefficients.at(-1)!);
  for (const c of coefficients.slice(0, -1).reverse()) {
    v.f.get(x).op("f64x2.mul").f64x2(c).op("f64x2.add");
  }
}

/** |a|^b for positive finite a in float64: 2^(b log₂ a); leaves f32 in the two low lanes. */
function powerOfHalf(v: Vector, a: { exponent: Local; mantissa: Local }, b: Local, half: 0 | 1): void {
  const { f } = v;
  f.get(a.mantissa);
  promote(v, half);
  const m = f.keep();
  f.get(m).f64x2(1).op("f64x2.sub").get(m).f64x2(1).op("f64x2.add").op("f64x2.div");
  const s = f.keep();
  const square = f.get(s).get(s).op("f64x2.mul").keep();
  polynomial64(v, square, log2Series);
  f.get(s).op("f64x2.mul");
  f.get(a.exponent).op("f32x4.convert_i32x4_s");
  promote(v, half);
  f.op("f64x2.add").get(b);
  promote(v, half);
  f.op("f64x2.mul");
  // Beyond ±300 the f32 result is ∞ or 0 in any case; NaN goes through.
  f.f64x2(300).op("f64x2.pmin").f64x2(-300).op("f64x2.pmax");
  const y = f.keep();
  const magic = 1.5 * 2 ** 52;
  const shifted = f.get(y).f64x2(magic).op("f64x2.add").keep();
  f.get(y).get(shifted).f64x2(magic).op("f64x2.sub").op("f64x2.sub");
  polynomial64(v, f.keep(), exp2Series);
  f.get(shifted).i32(52).op("i64x2.shl").op("i64x2.add").op("f32x4.demote_f64x2_zero");
}

/** aᵇ; error below 1 ulp. Special values as in C, except that (−1)^±∞ is NaN as in JavaScript. */
export function pow(v: Vector, a: Local, b: Local): void {
  const { f } = v;
  const magnitude = f.get(a).op("f32x4.abs").keep();
  const parts = splitExponent(v, magnitude);
  powerOfHalf(v, parts, b, 0);
  const low = f.keep();
  powerOfHalf(v, parts, b, 1);
  const high = f.keep();
  f.get(low).get(high).shuffle(0, 1, 4, 5);
  let result = f.keep();
  const override = (value: () => void, mask: () => void): void => {
    value();
    f.get(result);
    mask();
    v.select();
    result = f.keep();
  };
  const zero = (): void => void f.f32x4(0);
  const negativeExponent = f.get(b).f32x4(0).op("f32x4.lt").keep();
  const infinite = f.get(magnitude).f32x4(Infinity).op("f32x4.eq").keep();
  const vanishing = f.get(a).f32x4(0).op("f32x4.eq").keep();
  // 0^b and ∞^b: 0 or ∞, according to the sign of b.
  override(zero, () => f.get(infinite).get(vanishing).op("v128.or"));
  override(
    () => f.f32x4(Infinity),
    () =>
      f.get(infinite).get(negativeExponent).op("v128.andnot").get(vanishing).get(negativeExponent)
        .op("v128.and").op("v128.or"),
  );
  // A negative base: odd integers keep its sign, fractions give NaN.
  f.get(b).f32x4(0.5).op("f32x4.mul");
  const halved = f.keep();
  f.get(b).get(b).op("f32x4.trunc").op("f32x4.eq");
  const integer = f.keep();
  f.get(result);
  f.get(halved).get(halved).op("f32x4.trunc").op("f32x4.ne").get(integer).op("v128.and");
  f.get(a).op("v128.and").i32x4(-0x80000000).op("v128.and").op("v128.or");
  f.get(a).f32x4(0).op("f32x4.lt").get(infinite).op("v128.andnot").get(integer).op("v128.andnot");
  f.op("v128.or");
  f.get(a).get(a).op("f32x4.ne").get(b).get(b).op("f32x4.ne").op("v128.or").op("v128.or");
  result = f.keep();
  override(
    () => f.f32x4(NaN),
    () =>
      f.get(magnitude).f32x4(1).op("f32x4.eq").get(b).op("f32x4.abs").f32x4(Infinity).op("f32x4.eq").op(
        "v128.and",
      ),
  );
  override(
    () => f.f32x4(1),
    () => f.get(b).f32x4(0).op("f32x4.eq").get(a).f32x4(1).op("f32x4.eq").op("v128.or"),
  );
  f.get(result);
}

/** a − ⌊a / b⌋ b, in float64 so that the quotient is not rounded to the next integer. */
export function floatModulo(v: Vector, a: Local, b: Local): void {
  const { f } = v;
  const halves = ([0, 1] as const).map((half) => {
    f.get(a);
    promote(v, half);
    const x = f.keep();
    f.get(b);
    promote(v, half);
    const y = f.keep();
    f.get(x).get(x).get(y).op("f64x2.div").op("f64x2.floor").get(y).op("f64x2.mul").op("f64x2.sub");
    f.op("f32x4.demote_f64x2_zero");
    return f.keep();
  });
  f.get(halves[0]!).get(halves[1]!).shuffle(0, 1, 4, 5);
}
