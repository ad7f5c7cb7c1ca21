/**
 * The types that an option's value can have: each reads a text or a JSON value and says what would be right.
 *
 * @module
 */

import * as v from "valibot";
import { inBytes } from "./words.ts";

/** The type of an option's value: how to read it (from text or JSON) and the words that describe it. */
export interface Kind<T> {
  /** What stands for the value in the help, for example `N` or `DIR`. */
  readonly placeholder: string;
  /** What a right value is, as the end of a sentence: `a whole number of at least 1`. */
  readonly expected: string;
  /** The typed value of a JSON value or a text, or undefined if it is not right. */
  readonly read: (value: unknown) => { value: T } | undefined;
  /** What exactly is wrong with a value that has the right form, as the end of a sentence. */
  readonly fault?: (value: unknown) => string | undefined;
}

/** A kind that a valibot schema checks. */
function kind<T>(placeholder: string, expected: string, schema: v.GenericSchema<unknown, T>): Kind<T> {
  const read = (value: unknown): { value: T } | undefined => {
    const result = v.safeParse(schema, value);
    return result.success ? { value: result.output } : undefined;
  };
  return { placeholder, expected, read };
}

const finite = v.pipe(
  v.union([v.number(), v.pipe(v.string(), v.trim(), v.nonEmpty(), v.transform(Number))]),
  v.number(),
  v.finite(),
);

/** Text in which something can be seen; no path has a zero. */
const someText = v.pipe(v.string(), v.regex(/\S/), v.excludes("\0"));

/** A whole number of at least `min`, and at most `max` if that is given. */
export function integer({ min, max = Number.MAX_SAFE_INTEGER }: { min: number; max?: number }): Kind<number> {
  const whole = v.pipe(finite, v.integer(), v.minValue(min));
  const fault = (value: unknown): string | undefined => {
    const k = v.safeParse(whole, value);
    return k.success && k.output > max ? `at most ${max} is possible` : undefined;
  };
  return { ...kind("N", `a whole number of at least ${min}`, v.pipe(whole, v.maxValue(max))), fault };
}

/** The largest number that f32 holds. */
const largestFloat = 3.4028234663852886e38;

/**
 * A number from `min` (or just above it) to `max` (or just below it). The device computes in f32: what that rounds to a
 * bound which is out, or to infinity, is out.
 */
export function number(range: { min?: number; above?: number; max?: number; below?: number }): Kind<number> {
  const { min, above, max, below } = range;
  const low = above !== undefined ? `above ${above}` : min !== undefined ? `of at least ${min}` : "";
  const high = below !== undefined ? `below ${below}` : max !== undefined ? `at most ${max}` : "";
  const expected = `a number ${[low, high].filter((part) => part !== "").join(" and ")}`;
  const isWithin = (x: number): boolean =>
    x >= (min ?? -Infinity) && x <= (max ?? Infinity) && x > (above ?? -Infinity) && x < (below ?? Infinity);
  const isStored = (x: number): boolean => Math.abs(x) <= largestFloat && isWithin(Math.fround(x));
  const fault = (value: unknown): string | undefined => {
    const x = v.safeParse(finite, value);
    if (!x.success || !isWithin(x.output) || isStored(x.output)) return undefined;
    return `in f32, with which the device computes, it is ${Math.fround(x.output)}; ${expected} is required`;
  };
  // A bound itself may be inexact in f32, such as 0.1.
  const schema = v.pipe(finite, v.check((x) => isWithin(x) && (isStored(x) || x === max || x === min)));
  return { ...kind("X", expected, schema), fault };
}

/** One of a few words. */
export function choice<const C extends string>(words: readonly C[]): Kind<C> {
  return kind(words.join("|"), `one of ${words.join(", ")}`, v.picklist(words));
}

/** The path of a folder. */
export function folderPath(): Kind<string> {
  return kind("DIR", "the path of a folder", someText);
}

/** The path of a file. */
export function filePath(): Kind<string> {
  return kind("FILE", "the path of a file", someText);
}

/** The path of a file or folder. */
export function anyPath(): Kind<string> {
  return kind("PATH", "the path of a file or folder", someText);
}

/** Where the names of classes come from. */
export function classSource(): Kind<string> {
  const expected = "the path of a file, a number, or pascal, cityscapes, coco or foreground,";
  return kind("FILE|N|pascal|cityscapes|coco", expected, someText);
}

/** Where the names of classes of masks of one's own come from. */
export function labelsSource(): Kind<string> {
  return { ...classSource(), placeholder: "FILE|N|foreground" };
}

/** A name. */
export function nameText(): Kind<string> {
  return kind("NAME", "a name", someText);
}

/** The name of a folder. */
export function folderName(): Kind<string> {
  const plain = v.pipe(
    someText,
    v.regex(/^[^/\\\p{Cc}]+$/u),
    v.check((name) => name !== "." && name !== ".."),
    v.maxBytes(200),
  );
  return kind("NAME", "a name without slashes, of at most 200 bytes,", plain);
}

/** `on` or `off`; `true` and `false` in files. */
export function onOff(): Kind<boolean> {
  const words = v.pipe(v.picklist(["on", "off"]), v.transform((word) => word === "on"));
  return kind("on|off", "on or off", v.union([v.boolean(), words]));
}

/** An option that needs no value: alone it is `on`. */
export function flag(): Kind<boolean> {
  const { expected, read } = onOff();
  return { placeholder: "[on|off]", expected, read: (value) => value === "" ? { value: true } : read(value) };
}

const variantPattern = /^(b[0-5]|\d{1,9}(,\d{1,9}){3}:\d{1,9}(,\d{1,9}){3})$/;

/** The attention heads of the four stages of every encoder. */
const stageHeads = [1, 2, 5, 8];

/** The size of an encoder: a published one, or channels and blocks of the four stages. */
export function encoderSize(): Kind<string> {
  const expected = "b0 to b5, or channels:blocks of the four stages as in 32,64,160,256:2,2,2,2,";
  const fault = (value: unknown): string | undefined => {
    if (typeof value !== "string" || !variantPattern.test(value) || !value.includes(":")) return undefined;
    const [channels, blocks] = value.split(":").map((list) => list.split(",").map(Number)) as [
      number[],
      number[],
    ];
    const stage = stageHeads.findIndex((heads, k) => channels[k]! === 0 || channels[k]! % heads !== 0);
    if (stage >= 0) {
      return `stage ${stage + 1} has ${channels[stage]} channels and ${
        stageHeads[stage]
      } attention heads; a multiple ` +
        `of ${stageHeads[stage]} is required`;
    }
    const empty = blocks.indexOf(0);
    return empty < 0 ? undefined : `stage ${empty + 1} has no blocks; at least 1 is required`;
  };
  const schema = v.pipe(v.string(), v.regex(variantPattern), v.check((text) => fault(text) === undefined));
  return { ...kind("b0..b5", expected, schema), fault };
}

const sizePattern = /^[1-9]\d*x[1-9]\d*$/;

/** The largest width and height of an image in pixels. */
const largestSide = 8192;

/** Width and height in pixels, as in `240x180`; {@linkcode parseSize} splits it. */
export function size(): Kind<string> {
  const expected = "width x height in pixels, as in 240x180,";
  const isSmall = (text: string): boolean => text.split("x").every((side) => Number(side) <= largestSide);
  const fault = (value: unknown): string | undefined => {
    if (typeof value !== "string" || !sizePattern.test(value) || isSmall(value)) return undefined;
    const bytes = value.split("x").reduce((product, side) => product * Number(side), 12);
    return `an image of that size alone takes ${
      inBytes(bytes)
    } of memory; at most ${largestSide} pixels on each ` +
      `side are possible`;
  };
  return { ...kind("WxH", expected, v.pipe(v.string(), v.regex(sizePattern), v.check(isSmall))), fault };
}

/** The same kind of value, or `null` when the option is not given. */
export function optional<T>(kind: Kind<T>): Kind<T | null> {
  return { ...kind, read: (value) => value === null ? { value } : kind.read(value) };
}

/** Splits `240x180` into width and height. */
export function parseSize(size: string): { width: number; height: number } {
  if (!sizePattern.test(size)) throw new RangeError(`Cannot read size ${size}: width x height is required`);
  const [width, height] = size.split("x").map(Number);
  return { width: width!, height: height! };
}
