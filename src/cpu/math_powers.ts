/**
 * Powers and remainders on four f32 lanes, computed in float64. Each takes two locals and leaves its result on
 * the stack.
 *
 * @module
 */
import type { FunctionBuilder, Local } from "./assembler.ts";
import { splitExponent } from "./math.ts";
import type { Vector } from "./vector.ts";

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
  v.promote(a.mantissa, half);
  const m = f.keep();
  f.get(m).f64x2(1).op("f64x2.sub").get(m).f64x2(1).op("f64x2.add").op("f64x2.div");
  const s = f.keep();
  const square = f.get(s).get(s).op("f64x2.mul").keep();
  polynomial64(v, square, log2Series);
  f.get(s).op("f64x2.mul");
  const sum = f.keep();
  f.get(a.exponent).op("f32x4.convert_i32x4_s");
  const exponent = f.keep();
  f.get(sum);
  v.promote(exponent, half);
  f.op("f64x2.add");
  v.promote(b, half);
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

/** aᵇ; error below 1 ulp. Special values as in C99: 1ᵇ, a⁰ and (−1)^±∞ are 1, even of NaN. */
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
    () => f.f32x4(1),
    () => {
      f.get(magnitude).f32x4(1).op("f32x4.eq").get(b).op("f32x4.abs").f32x4(Infinity).op("f32x4.eq");
      f.op("v128.and").get(b).f32x4(0).op("f32x4.eq").op("v128.or").get(a).f32x4(1).op("f32x4.eq");
      f.op("v128.or");
    },
  );
  f.get(result);
}

/** Quotients up to this are exact enough in float64 to be truncated. */
const largestQuotient = 2 ** 28;

/**
 * The remainder of a by b with the sign of b, as in NumPy: that of the truncated division, exact for every
 * quotient, plus b where the signs differ. NaN for b = 0 and for infinite a; 0 has the sign of b.
 */
export function floatModulo(v: Vector, a: Local, b: Local): void {
  const { f } = v;
  const halves = ([0, 1] as const).map((half) => {
    v.promote(a, half);
    const x = f.keep();
    v.promote(b, half);
    const y = f.keep();
    const quotient = f.get(x).get(y).op("f64x2.div").op("f64x2.trunc").keep();
    f.get(x).get(quotient).get(y).op("f64x2.mul").op("f64x2.sub").op("f32x4.demote_f64x2_zero");
    return f.keep();
  });
  const near = f.get(halves[0]!).get(halves[1]!).shuffle(0, 1, 4, 5).keep();
  // A smaller a is its own remainder, also by an infinite b.
  const [x, y] = [a, b].map((value) => f.get(value).op("f32x4.abs").keep());
  f.get(a).get(near).get(x!).get(y!).op("f32x4.lt");
  v.select();
  const rest = f.keep();
  // The comparison is false for what is infinite, and for b = 0.
  f.get(x!).f32x4(Infinity).op("f32x4.lt").get(x!).get(y!).f32x4(largestQuotient).op("f32x4.mul");
  f.op("f32x4.gt").op("v128.and").get(y!).f32x4(0).op("f32x4.gt").op("v128.and");
  const isFar = f.keep();
  f.get(isFar).op("v128.any_true").if(() => {
    f.get(x!).get(y!).call(v.library.vectorFunction("farRemainder", 2, farRemainder));
    f.get(a).i32x4(-0x80000000).op("v128.and").op("v128.or").get(rest).get(isFar);
    v.select();
    f.set(rest);
  });
  const isZero = f.get(rest).f32x4(0).op("f32x4.eq").keep();
  const isOpposite = f.get(rest).get(b).op("v128.xor").i32(31).op("i32x4.shr_s").keep();
  f.get(rest).get(b).get(isOpposite).op("v128.and").op("f32x4.add");
  f.get(isZero).op("v128.andnot").get(b).i32x4(-0x80000000).op("v128.and").get(isZero).op("v128.and");
  f.op("v128.or");
}

/** The remainders of positive finite numbers whose quotient is large, lane by lane in integers. */
function farRemainder({ f }: Vector, a: Local, b: Local): void {
  f.get(a);
  for (let lane = 0; lane < 4; lane++) {
    const [x, y] = [a, b].map((value) => splitBits(f, value, lane));
    const divisor = f.get(y!.mantissa).op("i64.extend_i32_u").keep("i64");
    const rest = f.get(x!.mantissa).op("i64.extend_i32_u").keep("i64");
    // A b of 0 is for others to judge; here it must not trap.
    f.get(divisor).op("i64.eqz").if(() => f.i64(1n).set(divisor));
    const left = f.get(x!.exponent).get(y!.exponent).op("i32.sub").keep("i32");
    f.get(rest).get(divisor).op("i64.rem_u").set(rest);
    // A mantissa has 24 bits, so 40 more fit in.
    f.while(() => f.get(left).i32(0).op("i32.gt_s"), () => {
      const shift = f.get(left).i32(40).get(left).i32(40).op("i32.lt_s").op("select").keep("i32");
      f.get(rest).get(shift).op("i64.extend_i32_u").op("i64.shl").get(divisor).op("i64.rem_u").set(rest);
      f.get(left).get(shift).op("i32.sub").set(left);
    });
    // rest · 2^(exponent − 150), in two steps that are both exact.
    f.get(rest).op("i32.wrap_i64").op("f32.convert_i32_u").f32(2 ** -23).op("f32.mul");
    f.get(y!.exponent).i32(23).op("i32.shl").op("f32.reinterpret_i32").op("f32.mul").op(
      "i32.reinterpret_f32",
    );
    f.lane("i32x4.replace_lane", lane);
  }
}

/** A lane as mantissa · 2^(exponent − 150). */
function splitBits(f: FunctionBuilder, value: Local, lane: number): { mantissa: Local; exponent: Local } {
  const bits = f.get(value).lane("i32x4.extract_lane", lane).keep("i32");
  const biased = f.get(bits).i32(23).op("i32.shr_u").i32(255).op("i32.and").keep("i32");
  const isNormal = f.get(biased).i32(0).op("i32.ne").keep("i32");
  const mantissa = f.get(bits).i32(0x7fffff).op("i32.and").get(isNormal).i32(23).op("i32.shl").op("i32.or")
    .keep("i32");
  return { mantissa, exponent: f.get(biased).get(isNormal).op("i32.eqz").op("i32.add").keep("i32") };
}
