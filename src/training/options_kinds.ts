/**
 * The types that an option's value can have: each reads a text or a JSON value and says what would be right.
 *
 * @module
 */

import * as v from "valibot";

/** The type of an option's value: how to read it (from text or JSON) and the words that describe it. */
export interface Kind<T> {
  /** What stands for the value in the help, for example `N` or `DIR`. */
  readonly placeholder: string;
  /** What a right value is, as the end of a sentence: `a whole number of at least 1`. */
  readonly expected: string;
  /** The typed value of a JSON value or a text, or undefined if it is not right. */
  readonly read: (value: unknown) => { value: T } | undefined;
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

const someText = v.pipe(v.string(), v.nonEmpty());

/** A whole number of at least `min`. */
export function integer({ min }: { min: number }): Kind<number> {
  return kind("N", `a whole number of at least ${min}`, v.pipe(finite, v.safeInteger(), v.minValue(min)));
}

/** A number from `min` (or just above it) to `max` (or just below it). */
export function number(range: { min?: number; above?: number; max?: number; below?: number }): Kind<number> {
  const { min, above, max, below } = range;
  const low = above !== undefined ? `above ${above}` : min !== undefined ? `of at least ${min}` : "";
  const high = below !== undefined ? `below ${below}` : max !== undefined ? `at most ${max}` : "";
  const schema = v.pipe(
    finite,
    v.check((x) => x >= (min ?? -Infinity) && x <= (max ?? Infinity)),
    v.check((x) => x > (above ?? -Infinity) && x < (below ?? Infinity)),
  );
  return kind("X", `a number ${[low, high].filter((part) => part !== "").join(" and ")}`, schema);
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

const variantPattern = /^(b[0-5]|\d+(,\d+){3}:\d+(,\d+){3})$/;

/** The size of an encoder: a published one, or channels and blocks of the four stages. */
export function encoderSize(): Kind<string> {
  const expected = "b0 to b5, or channels:blocks of the four stages as in 32,64,160,256:2,2,2,2,";
  return kind("b0..b5", expected, v.pipe(v.string(), v.regex(variantPattern)));
}

const sizePattern = /^[1-9]\d{0,4}x[1-9]\d{0,4}$/;

/** Width and height in pixels, as in `240x180`; {@linkcode parseSize} splits it. */
export function size(): Kind<string> {
  const expected = "width x height in pixels, as in 240x180,";
  return kind("WxH", expected, v.pipe(v.string(), v.regex(sizePattern)));
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
