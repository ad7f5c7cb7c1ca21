/**
 * Random numbers from explicit keys. A key is a u32 tensor of two words; the same key always gives the same
 * numbers, on every device. Use a key once: `split` it where several are needed.
 *
 * @module
 */
import { floatBelow, floatFrom } from "../src/dtype.ts";
import { DTypeError, ShapeError } from "../src/errors.ts";
import { erf } from "../src/special_functions.ts";
import { checkShape, describe, Tensor, tensor } from "../src/tensor.ts";
import { asTensor, sizeOf, type TensorLike } from "./common.ts";
import { iota } from "./create.ts";
import { add, clip, minimum, mod, mul, sub } from "./elementwise_arithmetic.ts";
import { bitwiseXor, greaterEqual, less, shiftRight } from "./elementwise_logic.ts";
import { log1p, neg, sqrt, square } from "./elementwise_math.ts";
import { bitcast, cast, where } from "./elementwise_select.ts";
import { reshape, slice } from "./movement_basic.ts";
import { stack } from "./movement_assembly.ts";
import { isBelow, randomBits } from "./random_bits.ts";
import { argsort } from "./sort.ts";
import { take } from "./indexing.ts";

/** Set bits of the first key word that keep the streams of `split`, `foldIn` and drawing apart. */
const purpose = { draw: 0, split: 0x9e3779b9, foldFirst: 0x85ebca6b, foldSecond: 0xc2b2ae35 } as const;

/** The two words of a key. */
function wordsOf(key: Tensor, action: string): [Tensor, Tensor] {
  if (!(key instanceof Tensor) || key.dtype !== "u32" || key.shape.length !== 1 || key.shape[0] !== 2) {
    throw new DTypeError(
      `Cannot ${action} with ${
        key instanceof Tensor ? describe(key) : typeof key
      }: the key must be u32[2]; make one with random.key(seed)`,
    );
  }
  const word = (k: number): Tensor => reshape(slice(key, { starts: [k], sizes: [1] }), []);
  return [word(0), word(1)];
}

/** Random words under a key, one for every counter. */
function draw(key: Tensor, counter: Tensor, stream: keyof typeof purpose, action: string): Tensor {
  const [first, second] = wordsOf(key, action);
  return randomBits(bitwiseXor(first, purpose[stream]), second, counter);
}

/**
 * A key from a seed: any whole number from −2⁵³ to 2⁵³.
 *
 * @throws {RangeError} If the seed is not such a number.
 * @example
 * ```ts
 * import { random } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await random.key(7).toArray(), [0, 7]);
 * ```
 */
export function key(seed: number): Tensor {
  if (!Number.isSafeInteger(seed)) {
    throw new RangeError(`Cannot make a key from seed ${seed}: a whole number within ±2⁵³ is required`);
  }
  return tensor(Uint32Array.of(Math.floor(seed / 2 ** 32), seed));
}

/**
 * New independent keys: a tensor u32 `[count, 2]` as an array of `count` keys.
 *
 * @throws {RangeError} If the count is not a whole number, 1 or more.
 * @example
 * ```ts
 * import { random } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const [first, second] = random.split(random.key(0));
 * assertEquals([first!.shape, second!.shape], [[2], [2]]);
 * ```
 */
export function split(key: Tensor, count = 2): Tensor[] {
  if (!Number.isInteger(count) || count < 1) {
    throw new RangeError(`Cannot split a key in ${count}: a whole number, 1 or more, is required`);
  }
  const words = draw(key, counters([count, 2]), "split", "split");
  return Array.from(
    { length: count },
    (_, k) => reshape(slice(words, { starts: [k, 0], sizes: [1, 2] }), [2]),
  );
}

/**
 * A key that depends on a number too: a step, a layer, an index. Equal numbers give equal keys.
 *
 * @param data A whole number 0 … 2³² − 1, or an integer tensor of rank 0.
 * @throws {DTypeError} If `data` is not whole.
 * @example
 * ```ts
 * import { random } from "@allspark/tensor";
 * import { assertNotEquals } from "@std/assert";
 * const key = random.key(0);
 * assertNotEquals(await random.foldIn(key, 1).toArray(), await random.foldIn(key, 2).toArray());
 * ```
 */
export function foldIn(key: Tensor, data: TensorLike): Tensor {
  const number = asTensor("fold in", data, "u32");
  if ((number.dtype !== "u32" && number.dtype !== "i32") || number.ndim !== 0) {
    throw new DTypeError(`Cannot fold ${describe(number)} into a key: an integer of rank 0 is required`);
  }
  const counter = bitcast(number, "u32");
  return stack([draw(key, counter, "foldFirst", "fold in"), draw(key, counter, "foldSecond", "fold in")]);
}

/** The position of every element in row-major order, u32. */
function counters(shape: readonly number[]): Tensor {
  return reshape(iota([sizeOf(shape)], { dtype: "u32" }), shape);
}

/**
 * 32 random bits in every element. u32.
 *
 * @throws {DTypeError} If the key is not u32[2].
 * @example
 * ```ts
 * import { random } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(random.bits(random.key(0), [2, 3]).dtype, "u32");
 * ```
 */
export function bits(key: Tensor, shape: readonly number[]): Tensor {
  checkShape(shape, "random numbers");
  return draw(key, counters(shape), "draw", "draw random numbers");
}

/** Least (included) and greatest (excluded) value. */
export interface UniformOptions {
  /** Default 0. */
  readonly low?: TensorLike;
  /** Default 1. */
  readonly high?: TensorLike;
}

/**
 * Numbers uniformly distributed in `low` ≤ x < `high`, of 24 random bits. Where rounding would reach `high`, it is
 * the float below instead (`low`, if the bounds are tensors). If both are equal, all numbers are. f32.
 *
 * @throws {DTypeError} If the key is not u32[2].
 * @throws {RangeError} If the bounds are numbers without an f32 between them.
 * @example
 * ```ts
 * import { random } from "@allspark/tensor";
 * import { assert } from "@std/assert";
 * const values = await random.uniform(random.key(0), [100]).data();
 * assert(values.every((value) => value >= 0 && value < 1));
 * ```
 */
export function uniform(key: Tensor, shape: readonly number[], options: UniformOptions = {}): Tensor {
  const { low = 0, high = 1 } = options;
  const unit = mul(cast(shiftRight(bits(key, shape), 8), "f32"), 2 ** -24);
  if (low === 0 && high === 1) return unit;
  if (typeof low === "number" && typeof high === "number") return between(unit, low, high);
  const x = add(mul(unit, sub(high, low)), low);
  return where(greaterEqual(x, high), low, x);
}

/** Numbers 0 ≤ unit < 1 moved to low ≤ x < high. */
function between(unit: Tensor, low: number, high: number): Tensor {
  const first = floatFrom(low);
  const last = low === high ? first : floatBelow(high);
  if (!Number.isFinite(high - low) || first > last) {
    throw new RangeError(
      `Cannot draw numbers from ${low} up to ${high}: finite bounds with an f32 number between them are required`,
    );
  }
  const span = high - low;
  // A span that f32 does not hold is taken by halves.
  const x = Number.isFinite(Math.fround(span))
    ? add(mul(unit, span), first)
    : mul(add(mul(unit, span / 2), first / 2), 2);
  return minimum(x, last);
}

/**
 * The inverse of the error function for |x| < 1, to single precision (Giles 2010, "Approximating the erfinv
 * function", table 5): a polynomial in w = −log(1 − x²), and in √w in the tails.
 */
function erfInverse(x: Tensor): Tensor {
  const horner = (at: Tensor, coefficients: readonly number[]): TensorLike =>
    coefficients.reduce<TensorLike>((value, coefficient) => add(mul(value, at), coefficient), 0);
  const w = neg(log1p(neg(square(x))));
  const centre = horner(sub(w, 2.5), [
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
  ]);
  const tails = horner(sub(sqrt(w), 3), [
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
  ]);
  return mul(where(less(w, 5), centre, tails), x);
}

/** Mean and standard deviation. */
export interface NormalOptions {
  /** Default 0. */
  readonly mean?: TensorLike;
  /** Default 1. */
  readonly std?: TensorLike;
}

function scaled(z: Tensor, { mean = 0, std = 1 }: NormalOptions): Tensor {
  return add(mul(z, std), mean);
}

/**
 * Normally distributed numbers, by inversion of the distribution function (up to 5.4 standard deviations). f32.
 *
 * @throws {DTypeError} If the key is not u32[2].
 * @example
 * ```ts
 * import { mean, random } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * const x = random.normal(random.key(0), [10000], { mean: 5, std: 0.1 });
 * assertAlmostEquals(await mean(x).item(), 5, 0.01);
 * ```
 */
export function normal(key: Tensor, shape: readonly number[], options: NormalOptions = {}): Tensor {
  // The odd multiples of 2⁻²⁴ in −1 … 1: symmetric, exact, and never ±1, where the inverse is infinite.
  const symmetric = sub(mul(uniform(key, shape), 2), 1 - 2 ** -24);
  return scaled(mul(erfInverse(symmetric), Math.SQRT2), options);
}

/** Mean and standard deviation before truncation, and where it truncates, in standard deviations from the mean. */
export interface TruncatedNormalOptions extends NormalOptions {
  /** Default −2. */
  readonly low?: number;
  /** Default 2. */
  readonly high?: number;
}

/**
 * Normally distributed numbers between mean + `low` · std and mean + `high` · std. f32. (The bounds count
 * standard deviations, as in JAX; PyTorch's `trunc_normal_` takes absolute ones.) Beyond 5.4 standard deviations
 * f32 has no different probabilities: of a range that is all beyond, the end that is nearer to the mean is drawn.
 *
 * @throws {DTypeError} If the key is not u32[2].
 * @throws {RangeError} If `low` is not below `high`.
 * @example
 * ```ts
 * import { abs, max, random } from "@allspark/tensor";
 * import { assert } from "@std/assert";
 * const x = random.truncatedNormal(random.key(0), [1000], { std: 0.02 });
 * assert(await max(abs(x)).item() <= 0.0401);
 * ```
 */
export function truncatedNormal(
  key: Tensor,
  shape: readonly number[],
  options: TruncatedNormalOptions = {},
): Tensor {
  const { low = -2, high = 2 } = options;
  if (!(low < high)) {
    throw new RangeError(`Cannot truncate a normal distribution to ${low} … ${high}: low < high is required`);
  }
  const limit = 1 - 2 ** -24;
  const [from, to] = [low, high].map((bound) => Math.min(Math.max(erf(bound / Math.SQRT2), -limit), limit));
  const ends = { low: from!, high: floatFrom(from!) < to! ? to! : from! };
  const z = mul(erfInverse(uniform(key, shape, ends)), Math.SQRT2);
  const { mean = 0, std = 1 } = options;
  if (typeof mean !== "number" || typeof std !== "number") {
    return scaled(clip(z, { min: low, max: high }), options);
  }
  // The last rounding must not leave the range either.
  const [min, max] = [low, high].map((bound) => std === 0 ? mean : mean + bound * std).sort((a, b) => a - b);
  return clip(scaled(z, options), { min: floatFrom(min!), max: -floatFrom(-max!) });
}

/**
 * True with probability `p` (default 0.5), to 24 bits: always for 1, never for 0. bool.
 *
 * @throws {DTypeError} If the key is not u32[2].
 * @throws {RangeError} If `p` is a number and not from 0 to 1.
 * @example
 * ```ts
 * import { all, random } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await all(random.bernoulli(random.key(0), [10], { p: 1 })).item(), 1);
 * ```
 */
export function bernoulli(key: Tensor, shape: readonly number[], options: { p?: TensorLike } = {}): Tensor {
  const { p = 0.5 } = options;
  if (typeof p === "number" && !(p >= 0 && p <= 1)) {
    throw new RangeError(`Cannot draw with probability ${p}: a number from 0 to 1 is required`);
  }
  return typeof p === "number" ? isBelow(bits(key, shape), p) : less(uniform(key, shape), p);
}

/**
 * Whole numbers `low` ≤ x < `high` (default from 0), equally likely to within 2⁻³² · (high − low). i32.
 *
 * @throws {DTypeError} If the key is not u32[2].
 * @throws {RangeError} If there is no whole number of i32 in the range.
 * @example
 * ```ts
 * import { random } from "@allspark/tensor";
 * import { assert } from "@std/assert";
 * const dice = await random.randint(random.key(0), [100], { low: 1, high: 7 }).data();
 * assert(dice.every((value) => value >= 1 && value <= 6));
 * ```
 */
export function randint(
  key: Tensor,
  shape: readonly number[],
  options: { low?: number; high: number },
): Tensor {
  const { low = 0, high } = options;
  if (![low, high].every(Number.isInteger) || low >= high || low < -(2 ** 31) || high > 2 ** 31) {
    throw new RangeError(
      `Cannot draw whole numbers from ${low} up to ${high}: whole i32 numbers with low < high are required`,
    );
  }
  const span = high - low;
  const offset = span === 2 ** 32 ? bits(key, shape) : mod(bits(key, shape), span);
  return add(bitcast(offset, "i32"), low);
}

/**
 * The numbers 0 … n − 1 in random order (i32 `[n]`) if given a number; a tensor with the slices along its
 * axis 0 in random order if given a tensor.
 *
 * @throws {DTypeError} If the key is not u32[2].
 * @throws {ShapeError} If the tensor has no axes.
 * @example
 * ```ts
 * import { random } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const order = await random.permutation(random.key(0), 5).data();
 * assertEquals([...order].sort(), [0, 1, 2, 3, 4]);
 * ```
 */
export function permutation(key: Tensor, x: number | Tensor): Tensor {
  if (x instanceof Tensor && x.ndim === 0) {
    throw new ShapeError("Cannot permute a tensor of shape []: at least one axis is required");
  }
  const order = argsort(bits(key, [x instanceof Tensor ? x.shape[0]! : x]));
  return x instanceof Tensor ? take(x, order, { axis: 0 }) : order;
}
