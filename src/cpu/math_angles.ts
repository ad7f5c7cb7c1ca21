/**
 * Sine, cosine and tangent on four f32 lanes, of angles of any size: x = n π/2 + r is found in float64, and
 * polynomials of our own (minimax fits) do the rest. Each takes a local and leaves its result on the stack.
 *
 * @module
 */
import type { Local } from "./assembler.ts";
import { withSignOf } from "./math.ts";
import type { Vector } from "./vector.ts";

// (sin r − r) / r³ and (cos r − 1 + r²/2) / r⁴ as polynomials of r², for |r| ≤ π/4.
const sineTail = [-0.16666654225554733, 0.00833213149716584, -0.00019510839140764337];
const cosineTail = [
  0.04166664661920766,
  -0.0013888883438686762,
  0.000024799436469844036,
  -2.7203308321588995e-7,
];
/** Angles above this are reduced by `reduceLarge`. */
const large = 4e8;
/** The first 203 bits of 2/π, in pieces of 29: the product of one with an f32 is exact in float64. */
const twoOverPi = [0x145f306d, 0x19391054, 0x14fe13ab, 0x1d1f534d, 0x1b81b6c5, 0x05664f10, 0x1c820ff2];
/** Adding it rounds a float64 to an integer, which then sits in the low bits. */
const magic = 1.5 * 2 ** 52;

/** An angle less a whole number n of quarter turns; only the low bits of n count. */
interface Reduced {
  readonly n: Local;
  readonly r: Local;
}

/** Two float64 of the angle each, for the low and the high lanes: the quarter turns + `magic`, and the rest. */
type ReduceHalf = (v: Vector, wide: Local) => { shifted: Local; rest: Local };

/** x = n π/2 + r. */
function reduceAngle(v: Vector, x: Local): Reduced {
  const { f } = v;
  const reduced = reduceBy(v, x, reduceSmall);
  f.get(x).op("f32x4.abs").f32x4(large).op("f32x4.gt");
  const isLarge = f.keep();
  f.get(isLarge).op("v128.any_true").if(() => {
    const exact = reduceBy(v, x, reduceLarge);
    for (const part of ["n", "r"] as const) {
      f.get(exact[part]).get(reduced[part]).get(isLarge);
      v.select();
      f.set(reduced[part]);
    }
  });
  return reduced;
}

function reduceBy(v: Vector, x: Local, reduce: ReduceHalf): Reduced {
  const { f } = v;
  const halves = ([0, 1] as const).map((half) => {
    v.promote(x, half);
    return reduce(v, f.keep());
  });
  const n = f.get(halves[0]!.shifted).get(halves[1]!.shifted).shuffle(0, 2, 4, 6).keep();
  for (const { rest } of halves) f.get(rest).op("f32x4.demote_f64x2_zero");
  return { n, r: f.shuffle(0, 1, 4, 5).keep() };
}

/** After Cody and Waite: exact to an ulp of r up to `large`. */
function reduceSmall({ f }: Vector, wide: Local): { shifted: Local; rest: Local } {
  const shifted = f.get(wide).f64x2(2 / Math.PI).op("f64x2.mul").f64x2(magic).op("f64x2.add").keep();
  const n = f.get(shifted).f64x2(magic).op("f64x2.sub").keep();
  // π/2 in two parts; the first has 25 bits, so that its product with n < 2²⁸ is exact.
  f.get(wide).get(n).f64x2(1.5707963109016418).op("f64x2.mul").op("f64x2.sub");
  f.get(n).f64x2(1.5893254773528196e-8).op("f64x2.mul").op("f64x2.sub");
  return { shifted, rest: f.keep() };
}

/**
 * After Payne and Hanek: x · 2/π modulo 4, of which each piece of 2/π gives an exact term. Whole quarter turns
 * are taken out after each, so that no sum has more bits than a float64 holds, or it is not close to one.
 */
function reduceLarge({ f }: Vector, wide: Local): { shifted: Local; rest: Local } {
  const [part, turns] = [f.local("v128"), f.local("v128")];
  f.f64x2(0).set(part).f64x2(magic).set(turns);
  twoOverPi.forEach((piece, k) => {
    const term = f.get(wide).f64x2(piece * 2 ** (-29 * (k + 1))).op("f64x2.mul").keep();
    // Multiples of four quarter turns change nothing.
    f.get(term).get(term).f64x2(0.25).op("f64x2.mul").op("f64x2.nearest").f64x2(4).op("f64x2.mul");
    const sum = f.op("f64x2.sub").get(part).op("f64x2.add").keep();
    const whole = f.get(sum).op("f64x2.nearest").keep();
    f.get(sum).get(whole).op("f64x2.sub").set(part).get(turns).get(whole).op("f64x2.add").set(turns);
  });
  return { shifted: turns, rest: f.get(part).f64x2(Math.PI / 2).op("f64x2.mul").keep() };
}

/** sin r and cos r for |r| ≤ π/4. */
function sineAndCosine(v: Vector, { r }: Reduced): { sine: Local; cosine: Local } {
  const { f } = v;
  const square = f.get(r).get(r).op("f32x4.mul").keep();
  v.polynomial(square, sineTail);
  f.get(square).op("f32x4.mul");
  v.multiplyAdd(() => f.get(r), () => f.get(r));
  withSignOf(v, r); // the sum of 0 and −0 is 0
  const sine = f.keep();
  v.polynomial(square, [-0.5, ...cosineTail]).multiplyAdd(() => f.get(square), () => f.f32x4(1));
  return { sine, cosine: f.keep() };
}

/** sin(x + quarter · π/2): which function and which sign depend on the quadrant. */
function sineOfQuadrant(v: Vector, x: Local, quarter: number): void {
  const { f } = v;
  const reduced = reduceAngle(v, x);
  const { sine, cosine } = sineAndCosine(v, reduced);
  const quadrant = f.get(reduced.n).i32x4(quarter).op("i32x4.add").keep();
  f.get(sine).get(cosine).get(quadrant).i32x4(1).op("v128.and").i32x4(0).op("i32x4.eq");
  v.select();
  f.get(quadrant).i32(30).op("i32x4.shl").i32x4(-0x80000000).op("v128.and").op("v128.xor");
}

/** sin x; error below 1.6 ulp. */
export function sin(v: Vector, x: Local): void {
  sineOfQuadrant(v, x, 0);
}

/** cos x; error below 1.6 ulp. */
export function cos(v: Vector, x: Local): void {
  sineOfQuadrant(v, x, 1);
}

/** tan x = s/c, or −c/s in odd quadrants; error below 3.5 ulp. */
export function tan(v: Vector, x: Local): void {
  const { f } = v;
  const reduced = reduceAngle(v, x);
  const { sine, cosine } = sineAndCosine(v, reduced);
  const even = f.get(reduced.n).i32x4(1).op("v128.and").i32x4(0).op("i32x4.eq").keep();
  f.get(sine).get(cosine).op("f32x4.neg").get(even);
  v.select();
  f.get(cosine).get(sine).get(even);
  v.select();
  f.op("f32x4.div");
}
