/**
 * What the values of a mask file mean: class ids, or colours that stand for them.
 *
 * Whether a file holds ids or colours is not written in it, and a file that is read in the wrong way gives wrong classes
 * without an error. A palette picture is the hard case: masks of ids often have a palette so that people can see them, and
 * programs that make files small turn colour pictures into palette pictures. Where classes have colours, the palette
 * itself tells the two apart; where it does not, the file is refused.
 *
 * @module
 */
import type { DecodedPng } from "fast-png";
import { DataError } from "./errors.ts";
import type { Color } from "./image.ts";
import { ignoreIndex, type MaskArray, newMask } from "./pixels.ts";

/** How the values of a mask file become class ids. */
export interface MaskOptions {
  /** Number of classes: every id must be below it, or 255. Not checked when absent. */
  readonly classes?: number;
  /**
   * Class id of each colour, for masks that are pictures in colours; see {@linkcode colorTable}. If all of them are greys,
   * a grey mask is such a picture too (`readClasses("foreground")` is made for masks of 0 and 255); otherwise a grey mask
   * holds ids.
   */
  readonly colors?: ReadonlyMap<number, number>;
}

/** One number per colour, as keys of a map. */
function colorKey([red, green, blue]: Color): number {
  return (red << 16) | (green << 8) | blue;
}

function colorOfKey(key: number): Color {
  return [key >> 16, (key >> 8) & 255, key & 255];
}

/**
 * A table from colour to class id, for masks that are RGB pictures.
 *
 * @param colors Pairs of a colour and its class id; several colours may have one id.
 * @returns The table that {@linkcode MaskOptions} takes.
 */
export function colorTable(colors: Iterable<readonly [color: Color, id: number]>): Map<number, number> {
  return new Map(Array.from(colors, ([color, id]) => [colorKey(color), id]));
}

/** A table of colours as the pairs that {@linkcode colorTable} takes. */
export function colorPairs(table: ReadonlyMap<number, number>): [color: Color, id: number][] {
  return Array.from(table, ([key, id]) => [colorOfKey(key), id]);
}

/**
 * The class ids of a picture in colours.
 *
 * @param png An RGB or RGBA picture of 8 bits per channel.
 * @param colors The table.
 * @param name What to call the file in messages.
 * @returns The mask.
 * @throws {DataError} If there is no table, or a colour is not in it.
 */
export function classesOfColors(png: DecodedPng, colors: MaskOptions["colors"], name: string): MaskArray {
  const { width, height, channels, data } = png;
  if (colors === undefined) {
    throw new DataError(
      `Cannot read mask ${name}: it is an RGB picture and no class has a colour; give the colours in a labels file`,
    );
  }
  const mask = newMask(width, height);
  for (let i = 0; i < mask.data.length; i++) {
    const color: Color = [data[i * channels]!, data[i * channels + 1]!, data[i * channels + 2]!];
    const id = colors.get(colorKey(color));
    if (id === undefined) {
      throw new DataError(
        `Cannot read mask ${name}: pixel ${placeOf(i, width)} has colour ${
          color.join(" ")
        }, which no class has`,
      );
    }
    mask.data[i] = id;
  }
  return mask;
}

/**
 * The class ids of a palette or grey picture.
 *
 * @param samples Its values as they are stored.
 * @param png Its palette, if it has one, and its bits per value.
 * @param options The colours of classes, if they have some.
 * @param name What to call the file in messages.
 * @returns The mask; its array may be the one of `samples`.
 * @throws {DataError} If the values contradict the colours, or can be meant in two ways.
 */
export function classesOfSamples(
  samples: MaskArray,
  png: Pick<DecodedPng, "palette" | "depth">,
  options: MaskOptions,
  name: string,
): MaskArray {
  const { depth, palette } = png;
  const { colors } = options;
  if (colors === undefined && (palette !== undefined || depth === 8)) return samples;
  const used = new Uint8Array(256);
  for (const value of samples.data) used[value] = 1;
  const values = Array.from(used.keys()).filter((value) => used[value] === 1);
  const refuse = (why: string): never => {
    throw new DataError(`Cannot read mask ${name}: ${why}`);
  };
  const white = 2 ** depth - 1;
  if (colors !== undefined) {
    const ids = palette === undefined
      ? idsOfGreys(values, white, colors, refuse)
      : idsOfPalette(values, palette as unknown as readonly Color[], options, refuse);
    if (ids !== undefined) return { ...samples, data: samples.data.map((value) => ids[value]!) };
  }
  if (palette === undefined && depth < 8 && used[white] === 1) {
    refuse(
      `it is grey with ${depth} bit${
        depth === 1 ? "" : "s"
      } and has white pixels, which may be class ${white} or ` +
        `255 for no label; save it with 8 bits, or give foreground as the labels if white is the only object`,
    );
  }
  return samples;
}

/** Class id of each value, by the value. */
type Ids = { readonly [value: number]: number };

/** The ids that the colours of a palette mean, or undefined if the indices are ids. */
function idsOfPalette(
  values: readonly number[],
  palette: readonly Color[],
  { colors = new Map(), classes = ignoreIndex }: MaskOptions,
  refuse: (why: string) => never,
): Ids | undefined {
  const withColor = new Set(colors.values());
  const outside = values.find((value) => palette[value] === undefined && value !== ignoreIndex);
  if (outside !== undefined) refuse(`it has index ${outside}, and its palette ${palette.length} colours`);
  const keys = palette.map(colorKey);
  const idOf = (value: number): number | undefined => colors.get(colorKey(palette[value] ?? [-1, -1, -1]));
  // A class without a colour of its own may have any in the palette but that of another class.
  const isOwn = (value: number): boolean =>
    value === ignoreIndex || (idOf(value) ?? (withColor.has(value) ? -1 : value)) === value;
  if (values.every(isOwn)) return undefined;
  // A program that makes a palette of a picture puts each colour there once; what a palette is filled up with is none of
  // the picture's colours.
  const repeated = values.find((value) => !isOwn(value) && keys.indexOf(keys[value]!) !== value);
  if (repeated !== undefined && repeated >= classes) return undefined;
  const unknown = values.find((value) => idOf(value) === undefined);
  if (unknown === undefined && repeated === undefined) {
    return Object.fromEntries(values.map((value) => [value, idOf(value)!]));
  }
  const shown = (value: number): string =>
    `colour ${palette[value]!.slice(0, 3).join(" ")} at index ${value}`;
  const foreign = values.find((value) => !isOwn(value) && idOf(value) === undefined);
  const other = values.find((value) => !isOwn(value))!;
  const why = foreign !== undefined
    ? `${shown(foreign)}, which no class has`
    : repeated !== undefined
    ? `${shown(repeated)} and again at index ${keys.indexOf(keys[repeated]!)}`
    : `${shown(other)}, which is that of class ${
      idOf(other)
    }, but index ${unknown} has a colour that no class has`;
  return refuse(
    `its palette has ${why}; give the labels the palette's colours, or leave colours out of the labels if the ` +
      `indices are the ids`,
  );
}

/** The ids that greys mean, or undefined if the values are ids. */
function idsOfGreys(
  values: readonly number[],
  white: number,
  colors: ReadonlyMap<number, number>,
  refuse: (why: string) => never,
): Ids | undefined {
  const levelOf = (value: number): number => value * 255 / white;
  const idOf = (value: number): number | undefined => {
    const level = levelOf(value);
    return colors.get(colorKey([level, level, level]));
  };
  const areGreys = Array.from(colors.keys(), colorOfKey).every(([red, green, blue]) =>
    red === green && red === blue
  );
  if (areGreys) {
    const unknown = values.find((value) => idOf(value) === undefined && levelOf(value) !== ignoreIndex);
    if (unknown === undefined) {
      return Object.fromEntries(values.map((value) => [value, idOf(value) ?? ignoreIndex]));
    }
    return refuse(
      `it has grey ${
        levelOf(unknown)
      }, which no class has, and the colours of all classes are greys; leave colours ` +
        `out of the labels if the values are the ids`,
    );
  }
  if (values.every((value) => idOf(value) === undefined || idOf(value) === value)) return undefined;
  if (values.some((value) => idOf(value) === undefined)) return undefined;
  return refuse(
    `it is grey, and its values ${values.slice(0, 3).join(", ")} may be class ids or the colours of classes ${
      values.slice(0, 3).map(idOf).join(", ")
    }; save it in colours, or leave colours out of the labels if the values are the ids`,
  );
}

/**
 * Refuses a mask with an id that no class has.
 *
 * @param mask The mask.
 * @param classes Number of classes; nothing is checked without it.
 * @param name What to call the file in messages.
 * @throws {DataError} If an id is neither below `classes` nor 255.
 */
export function checkIds(mask: MaskArray, classes: number | undefined, name: string): void {
  if (classes === undefined) return;
  const bad = mask.data.findIndex((id) => id >= classes && id !== ignoreIndex);
  if (bad < 0) return;
  throw new DataError(
    `Cannot use mask ${name}: pixel ${placeOf(bad, mask.width)} has class id ${
      mask.data[bad]
    }; with ${classes} classes ids are 0 to ${classes - 1}, or 255 for no label`,
  );
}

function placeOf(pixel: number, width: number): string {
  return `(${pixel % width}, ${Math.floor(pixel / width)})`;
}
