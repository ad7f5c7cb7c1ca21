/**
 * How far a device's results are from the exact ones, in units of the last place (ulp) of f32, over the whole range
 * of the floats. What each function promises is in `promises.ts`; a test holds both devices to it, and
 * `tests/accuracy_table.ts` prints what was measured.
 */
import { device, type DeviceName } from "../../src/device.ts";
import { tensor } from "../../src/tensor.ts";
import type { Promised, Range } from "./promises.ts";
import { randomSource } from "./check.ts";

/** The smallest normal f32; what lies below has fewer digits, and some drivers make it 0. */
export const leastNormal = 2 ** -126;

const word = new DataView(new ArrayBuffer(8));

/** The f32 with the given bits. */
export function fromBits(bits: number): number {
  word.setUint32(0, bits);
  return word.getFloat32(0);
}

/** The bits of a number as f32. */
export function bitsOf(x: number): number {
  word.setFloat32(0, x);
  return word.getUint32(0);
}

/** The distance between neighbouring f32 at a number that need not be one. */
export function ulp(exact: number): number {
  word.setFloat64(0, exact);
  const exponent = ((word.getUint32(0) >>> 20) & 0x7ff) - 1023;
  return 2 ** (Math.min(127, Math.max(-126, exponent)) - 23);
}

/** The error of a result in ulp of the exact one; 0 for the right NaN, infinity or zero. */
export function errorOf(actual: number, exact: number): number {
  if (Number.isNaN(exact)) return Number.isNaN(actual) ? 0 : Infinity;
  if (actual === Math.fround(exact) && !Number.isFinite(actual)) return 0;
  if (!Number.isFinite(exact) || Number.isNaN(actual)) return Infinity;
  // Infinity in the place of a number that is just in range is as far off as the next float would be.
  const value = Number.isFinite(actual) ? actual : Math.sign(actual) * 2 ** 128;
  return Math.abs(value - exact) / ulp(exact);
}

/** f32 of every exponent and both signs, `count` of each, the ends of each binade among them. */
export function everywhere(count: number, { positive = false } = {}): number[] {
  const random = randomSource("mantissas");
  const values: number[] = [];
  for (let exponent = 0; exponent < 255; exponent++) {
    for (let k = 0; k < count; k++) {
      const mantissa = k === 0 ? 0 : k === 1 ? 0x7fffff : Math.floor(random() * 2 ** 23);
      values.push(fromBits(exponent * 2 ** 23 + mantissa));
      if (!positive) values.push(-values.at(-1)!);
    }
  }
  return values;
}

/** The `count` f32 on either side of each point. */
export function around(points: readonly number[], count: number): number[] {
  return points.flatMap((point) => {
    const bits = bitsOf(Math.abs(point));
    return Array.from({ length: 2 * count + 1 }, (_, k) => {
      const near = Math.min(0x7f7fffff, Math.max(0, bits - count + k));
      return (point < 0 ? -1 : 1) * fromBits(near);
    });
  });
}

/** f32 spread evenly over an interval. */
export function between(low: number, high: number, count: number): number[] {
  const random = randomSource(`${low} ${high}`);
  return Array.from(
    { length: count },
    (_, k) => Math.fround(low + (high - low) * (k + random()) / count),
  );
}

/** What was found in one range of a function. */
export interface Finding {
  readonly range: Range;
  readonly points: number;
  /** The greatest error in ulp among results that are not tiny, and the operands where it is. */
  readonly error: number;
  readonly at: readonly number[];
  /** Results below the normal numbers: as exact as they can be, made 0, or neither; absent where there are none. */
  readonly tiny?: "kept" | "0" | "wrong";
  readonly tinyAt?: readonly number[];
}

/** Evaluates a function on a device, which is the current one, and compares with the exact results, range by range. */
export async function measure(promised: Promised, device: DeviceName, density: number): Promise<Finding[]> {
  const { call, exact, samples, ranges } = promised;
  const operands = samples(density).map((values) => Float32Array.from(values));
  const tensors = operands.map((values) => tensor(values));
  const output = call(...tensors);
  const actual = await output.data();
  for (const used of [...tensors, output]) used.dispose();
  const found = ranges.map((range) => ({ range, points: 0, error: 0, at: [] as number[] } as Mutable));
  for (let k = 0; k < actual.length; k++) {
    const x = operands.map((values) => values[k]!);
    const place = ranges.findIndex(({ holds }) => holds(...x));
    if (place >= 0) compare(found[place]!, device, x, actual[k]!, exact(...x));
  }
  return found;
}

type Mutable = { -readonly [K in keyof Finding]: Finding[K] };

function compare(
  finding: Mutable,
  device: DeviceName,
  at: readonly number[],
  actual: number,
  exact: number,
): void {
  finding.points++;
  const { [device]: bound, floors: { [device]: floor } } = finding.range;
  const isTiny = exact !== 0 && Math.abs(exact) < leastNormal;
  const error = errorOf(actual, exact) *
    (floor === 0 ? 1 : ulp(exact) / ulp(Math.max(floor, Math.abs(exact))));
  if (!isTiny || floor > 0) {
    if (!(error <= finding.error)) [finding.error, finding.at] = [error, at];
    return;
  }
  const tiny = error <= bound ? "kept" : actual === 0 ? "0" : "wrong";
  const order = ["kept", "0", "wrong"];
  if (finding.tiny === undefined || order.indexOf(tiny) > order.indexOf(finding.tiny)) {
    [finding.tiny, finding.tinyAt] = [tiny, at];
  }
}

/** Holds a function to its promise on the current device. */
export async function checkPromise(promised: Promised): Promise<void> {
  const here = device()!;
  for (const finding of await measure(promised, here, 4)) {
    const { range, error, at, tiny, tinyAt } = finding;
    if (keepsPromise(finding, here)) continue;
    throw new Error(
      tiny === "wrong"
        ? `${promised.name}(${tinyAt!.join(", ")}) is neither 0 nor within ${range[here]} ulp`
        : `${promised.name}(${at.join(", ")}) is ${error} ulp off; ${range.where}: at most ${range[here]}`,
    );
  }
}

/** Whether what was found is within what is promised. */
export function keepsPromise({ range, error, tiny }: Finding, device: DeviceName): boolean {
  return error <= range[device] && tiny !== "wrong";
}
