/**
 * The reference results in `tests/golden` and the rule that made their inputs and weights.
 *
 * The files come from the official PyTorch code; `tests/golden/README.md` says how, and what they hold.
 *
 * @module
 */
import { type ArrayEntry, toFloat32 } from "../../src/io/array.ts";
import { readSafetensors } from "../../src/io/safetensors.ts";
import { AssertionError } from "@std/assert";

/** How near a result must come to its reference. */
export interface Tolerance {
  /** Largest L2 norm of the difference, relative to that of the reference. */
  readonly relative: number;
  /** Or largest single difference; for references that are zero up to rounding. */
  readonly absolute?: number;
}

/** Number of values that stand for a tensor too large to be kept, and the tag of their positions. */
export const SAMPLES = 512;
const SAMPLE_TAG = 900000;

/** Reads `tests/golden/<name>.safetensors`. */
export async function loadGolden(name: string): Promise<Map<string, ArrayEntry>> {
  const path = new URL(`../golden/${name}.safetensors`, import.meta.url);
  return readSafetensors(await Deno.readFile(path)).entries;
}

/** The hash behind all inputs and weights: 32 well-mixed bits of a tag and a position. */
export function hash32(tag: number, index: number): number {
  let x = (Math.imul(index, 0x9e3779b1) + Math.imul(tag, 0x85ebca6b) + 0x165667b1) >>> 0;
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** An input tensor: the hash as a number in [-1, 1), times `scale`, in row-major order. */
export function goldenInput(tag: number, shape: readonly number[], scale: number): Float32Array {
  return fill(tag, elementsOf(shape), (unit) => unit * scale);
}

/**
 * The weights of a module, by the names and shapes of **all** its state: a tensor's tag is its name's place in the
 * sorted list.
 */
export function goldenWeights(shapes: Readonly<Record<string, readonly number[]>>): Map<string, ArrayEntry> {
  const weights = new Map<string, ArrayEntry>();
  for (const [tag, name] of Object.keys(shapes).sort().entries()) {
    weights.set(name, weight(tag, name, shapes[name]!));
  }
  return weights;
}

/** The values of `values` that stand for a tensor too large to be kept. */
export function sampleOf(values: ArrayLike<number>): Float32Array {
  return Float32Array.from({ length: SAMPLES }, (_, j) => values[hash32(SAMPLE_TAG, j) % values.length]!);
}

/** L2 norm. */
export function norm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i]! ** 2;
  return Math.sqrt(sum);
}

/**
 * Asserts that a result is near its reference, which is kept whole under `name` or as `samples/name` and `norm/name`.
 *
 * @param golden What `loadGolden` gave.
 * @param name Name of the reference.
 * @param actual Values in row-major order.
 * @param tolerance How near.
 * @returns The relative error, for tables.
 */
export function assertGolden(
  golden: ReadonlyMap<string, ArrayEntry>,
  name: string,
  actual: ArrayLike<number>,
  tolerance: Tolerance,
): number {
  const whole = golden.get(name);
  if (whole) return assertNear(name, actual, toFloat32(whole), tolerance);
  const samples = golden.get(`samples/${name}`);
  const length = golden.get(`norm/${name}`);
  if (!samples || !length) throw new AssertionError(`There is no reference named ${name}`);
  const error = assertNear(`samples of ${name}`, sampleOf(actual), toFloat32(samples), tolerance);
  const expected = Number(length.data[0]);
  const found = norm(actual);
  if (!(Math.abs(found - expected) <= tolerance.relative * expected)) {
    throw new AssertionError(`Norm of ${name} is ${found} but should be ${expected}`);
  }
  return error;
}

function assertNear(
  name: string,
  actual: ArrayLike<number>,
  expected: Float32Array,
  { relative, absolute = 0 }: Tolerance,
): number {
  if (actual.length !== expected.length) {
    throw new AssertionError(`${name} has ${actual.length} values but should have ${expected.length}`);
  }
  const difference = Float64Array.from(expected, (value, i) => actual[i]! - value);
  const worst = difference.reduce(
    (best, value, i) => Math.abs(value) > Math.abs(difference[best]!) ? i : best,
    0,
  );
  const largest = Math.abs(difference[worst] ?? 0);
  const distance = norm(difference);
  const error = distance === 0 ? 0 : distance / norm(expected);
  // Written so that NaN fails.
  if (error <= relative || largest <= absolute) return error;
  throw new AssertionError(
    `${name} has a relative L2 error of ${error.toExponential(2)} (allowed ${relative}); ` +
      `worst at ${worst}: ${actual[worst]} instead of ${expected[worst]}`,
  );
}

function weight(tag: number, name: string, shape: readonly number[]): ArrayEntry {
  const last = name.slice(name.lastIndexOf(".") + 1);
  const count = elementsOf(shape);
  if (last === "num_batches_tracked" || last === "queue_ptr") {
    return { shape, dtype: "i32", data: new Int32Array(count) };
  }
  return { shape, dtype: "f32", data: fill(tag, count, weightRule(last, shape)) };
}

/** From the hash as a number in [-1, 1) to a weight. */
function weightRule(last: string, shape: readonly number[]): (unit: number) => number {
  if (last === "kv_queue") return (unit) => unit * Math.sqrt(3);
  if (last === "running_mean" || last === "bias") return (unit) => unit * 0.1;
  if (last === "running_var") return (unit) => 1 + unit * 0.25;
  if (shape.length === 1) return (unit) => 1 + unit * 0.2;
  const bound = Math.sqrt(3 / elementsOf(shape.slice(1)));
  return (unit) => unit * bound;
}

/** Computed in float64 and rounded once, as the reference did. */
function fill(tag: number, count: number, rule: (unit: number) => number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => rule(2 * (hash32(tag, i) / 2 ** 32) - 1));
}

function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}
