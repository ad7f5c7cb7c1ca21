/**
 * What every elementwise function promises: the greatest error of a result in units of the last place of f32, by
 * device and by range of the operands. docs/accuracy.md is printed from this table, and the tests hold both devices
 * to it.
 */
import * as ops from "../../ops/mod.ts";
import { flooredRemainder, power } from "../../src/compiler/interpret.ts";
import { erf, erfc } from "../../src/special_functions.ts";
import type { Tensor } from "../../src/tensor.ts";
import { around, between, everywhere, leastNormal } from "./accuracy.ts";
import { randomSource } from "./check.ts";

/** A part of a function's domain with what is promised there. */
export interface Range {
  /** In words, for the table. */
  readonly where: string;
  readonly holds: (...x: number[]) => boolean;
  /** Greatest errors in ulp. Half an ulp is a correctly rounded result, 0 an exact one. */
  readonly cpu: number;
  readonly webgpu: number;
  /** Errors are counted in ulp of these numbers where the exact result is smaller. */
  readonly floors: { readonly cpu: number; readonly webgpu: number };
}

/** A function with its exact values in float64. */
export interface Promised {
  readonly name: string;
  readonly call: (...x: Tensor[]) => Tensor;
  readonly exact: (...x: number[]) => number;
  /** Values of every operand, the more the higher the density; all have one length. */
  readonly samples: (density: number) => readonly (readonly number[])[];
  /** The first that holds counts. */
  readonly ranges: readonly Range[];
}

/** Numbers of both devices: one if they are equal. */
type Bounds = number | readonly [cpu: number, webgpu: number];

function range(where: string, holds: Range["holds"], bounds: Bounds, floors: Bounds = 0): Range {
  const both = (given: Bounds): readonly [number, number] =>
    typeof given === "number" ? [given, given] : given;
  const [[cpu, webgpu], [cpuFloor, webgpuFloor]] = [both(bounds), both(floors)];
  return { where, holds, cpu, webgpu, floors: { cpu: cpuFloor, webgpu: webgpuFloor } };
}

const all = (bounds: Bounds): readonly Range[] => [range("all", () => true, bounds)];

/** A function of one operand: everywhere, and denser around what is hard for it. */
function unary(
  name: string,
  call: (x: Tensor) => Tensor,
  exact: (x: number) => number,
  ranges: readonly Range[],
  hard: readonly number[] = [],
): Promised {
  const samples = (density: number): number[][] => [[
    ...everywhere(density),
    ...around([0, ...hard, ...hard.map((x) => -x)], 8 * density),
    ...between(-8, 8, 64 * density),
    ...between(-110, 110, 64 * density),
    ...[Infinity, -Infinity, NaN],
  ]];
  return { name, call, exact, samples, ranges };
}

/** Pairs of all magnitudes, pairs of similar ones, and what is hard. */
function pairs(density: number): [number[], number[]] {
  const random = randomSource("pairs");
  const some = everywhere(1).concat(0, -0, Infinity, -Infinity, NaN);
  const a: number[] = [];
  const b: number[] = [];
  for (const x of some) {
    for (let k = 0; k < 8 * density; k++) {
      a.push(Math.fround(x * (1 + random())));
      const other = k % 2 === 0 ? some[Math.floor(random() * some.length)]! : x * 2 ** (8 * random() - 4);
      b.push(Math.fround(other * (1 + random())));
    }
  }
  return [a, b];
}

function binary(
  name: string,
  call: (a: Tensor, b: Tensor) => Tensor,
  exact: (a: number, b: number) => number,
  ranges: readonly Range[],
  samples: (density: number) => readonly (readonly number[])[] = pairs,
): Promised {
  return { name, call, exact, samples, ranges };
}

/** Whole powers of which f32 holds the exact value. */
function wholePowers(): [number[], number[]] {
  const a: number[] = [];
  const b: number[] = [];
  for (let base = 2; base <= 4096; base++) {
    for (let exponent = 1; base ** exponent <= 2 ** 24; exponent++) {
      for (const sign of [1, -1]) a.push(sign * base), b.push(exponent);
    }
  }
  // Powers of two, and of numbers with a few digits after the point.
  for (let exponent = -149; exponent <= 127; exponent++) a.push(2), b.push(exponent);
  for (const base of [0.25, 0.5, 0.75, 1.25, 1.5, 2.5]) {
    for (let exponent = -3; exponent <= 9; exponent++) {
      if (Math.fround(base ** exponent) === base ** exponent) a.push(base), b.push(exponent);
    }
  }
  return [a, b];
}

/** Bases of all magnitudes with exponents that give results of all magnitudes, and the same close to 1. */
function powers(density: number): [number[], number[]] {
  const random = randomSource("powers");
  const [a, b] = wholePowers();
  const bases = [
    ...everywhere(2 * density, { positive: true }),
    ...between(0.25, 4, 128 * density),
    ...Array.from(
      { length: 128 * density },
      () => Math.fround(1 + (random() - 0.5) * 2 ** -Math.floor(24 * random())),
    ),
  ];
  for (const base of bases) {
    const exponent = Math.fround((-150 + 279 * random()) / Math.log2(base));
    a.push(base, base, -base), b.push(exponent, [0.5, 1, 2, 3, -1, 1 / 3, 10, 100][a.length % 8]!);
    b.push(Math.round(exponent));
  }
  return [a, b.map(Math.fround)];
}

/** Multiples of π/2, where sines and cosines are small, and the numbers whose rest is least. */
const quarterTurns = [
  ...Array.from({ length: 32 }, (_, k) => (k + 1) * Math.PI / 2),
  ...Array.from({ length: 120 }, (_, k) => Math.round(2 ** k * 1.37) * Math.PI / 2),
  // The f32 closest to a multiple of π/2 (Muller, Elementary Functions, section 11.2).
  16367173 * 2 ** 72,
  12390397 * 2 ** 104,
].filter((x) => x < 3.4e38);

/** Results below the normal numbers are made 0 where the exponential is built from its exponent. */
const overflow = [88.72284, 89, -87.33655, -103.97208, -103.5, 127, 128, -150];

/** Everything that is promised. */
export const promises: readonly Promised[] = [
  unary("neg", ops.neg, (x) => -x, all(0)),
  unary("abs", ops.abs, Math.abs, all(0)),
  unary("sign", ops.sign, Math.sign, all(0)),
  unary("floor", ops.floor, Math.floor, all(0), [1, 2 ** 23, 2 ** 31]),
  unary("ceil", ops.ceil, Math.ceil, all(0), [1, 2 ** 23, 2 ** 31]),
  unary("round", ops.round, roundHalfToEven, all(0), [0.5, 1.5, 2.5, 2 ** 22 + 0.5, 2 ** 23, 2 ** 31]),
  unary("relu", ops.relu, (x) => Math.max(x, 0), all(0)),
  unary("square", ops.square, (x) => x * x, all(0.5)),
  binary("add", ops.add, (a, b) => a + b, all(0.5)),
  binary("sub", ops.sub, (a, b) => a - b, all(0.5)),
  binary("mul", ops.mul, (a, b) => a * b, all(0.5)),
  binary("div", ops.div, (a, b) => a / b, all(0.5)),
  binary("maximum", ops.maximum, Math.max, all(0)),
  binary("minimum", ops.minimum, Math.min, all(0)),
  binary("mod", ops.mod, flooredRemainder, all(0.5)),
  binary("pow", ops.pow, power, [
    range("whole powers that f32 holds", (a, b) => isExactPower(a, b), 0),
    range("elsewhere", () => true, 2),
  ], powers),
  unary("sqrt", ops.sqrt, Math.sqrt, all(0.5)),
  unary("rsqrt", ops.rsqrt, (x) => 1 / Math.sqrt(x), all(1.5)),
  unary("exp", ops.exp, Math.exp, all(1.5), [1, ...overflow]),
  unary("expm1", ops.expm1, Math.expm1, all(2.5), [1, 0.3465736, ...overflow]),
  unary("log", ops.log, Math.log, all(1.5), [1, Math.SQRT2, Math.SQRT1_2, leastNormal]),
  unary("log1p", ops.log1p, Math.log1p, all(2.5), [1, 0.4142135, 0.2928932, leastNormal]),
  unary("sin", ops.sin, Math.sin, all([1.6, 2]), quarterTurns),
  unary("cos", ops.cos, Math.cos, all([1.6, 2]), quarterTurns),
  unary("tan", ops.tan, Math.tan, all(4), quarterTurns),
  unary("tanh", ops.tanh, Math.tanh, all(3), [0.5, 1, 9]),
  unary("erf", ops.erf, erf, all(4), [0.5, 1, 2, 4]),
  unary("sigmoid", ops.sigmoid, (x) => 1 / (1 + Math.exp(-x)), all(4), overflow),
  unary("softplus", ops.softplus, softplus, all(4), overflow),
  unary("silu", ops.silu, (x) => x * (1 / (1 + Math.exp(-x))), [
    range("≥ −87", (x) => !(x < -87), 5),
    range("< −87, errors in ulp of 2⁻¹⁰⁰", () => true, 5, 2 ** -100),
  ], overflow),
  unary("gelu", ops.gelu, (x) => x * erfc(-x * Math.SQRT1_2) / 2, [
    range("≥ −½", (x) => !(x < -0.5), [4, 5]),
    range("−12.7 to −½; cpu: errors in ulp of 1", (x) => !(x < -12.7), [4, 7], [1, 0]),
    range("< −12.7, errors in ulp of 2⁻¹⁰⁰; cpu: of 1", () => true, 4, [1, 2 ** -100]),
  ], [1, 3, 5, 13]),
];

function roundHalfToEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  const up = rest > 0.5 || (rest === 0.5 && floor % 2 !== 0);
  return up ? (floor === -1 ? -0 : floor + 1) : floor;
}

function softplus(x: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

function isExactPower(a: number, b: number): boolean {
  const exact = power(a, b);
  return Number.isInteger(b) && Number.isFinite(exact) && Math.fround(exact) === exact;
}
