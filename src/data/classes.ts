/** Names and colours of classes: the well-known sets, `classes.json`, and labels files of a user's own. @module */
import { DataError, reason } from "./errors.ts";
import type { Color } from "./image.ts";
import { ignoreIndex } from "./pixels.ts";

/** One class; its id is its place in the list. */
export interface ClassInfo {
  /** The name, for tables and pictures. */
  readonly name: string;
  /** The colour, for pictures and for masks that are RGB pictures. */
  readonly color: Color;
}

/** The classes of a data set. */
export interface ClassList {
  /** The classes in the order of their ids. */
  readonly classes: readonly ClassInfo[];
  /** Pairs of colour and id (255 for void colours), when colours were given rather than chosen. */
  readonly maskColors: readonly (readonly [color: Color, id: number])[];
}

/**
 * What can stand for a list of classes: a number, names, a file, or one of the known sets `pascal`, `cityscapes`,
 * `coco`.
 */
export type ClassSource = number | string | readonly string[];

/**
 * The colour of a class id in PASCAL VOC's map: its bits, lowest first, go round the channels from the highest bit.
 *
 * @param id Class id, 0 to 255.
 * @returns The colour.
 *
 * @example
 * ```ts
 * import { vocColor } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * assertEquals([0, 1, 2, 15].map(vocColor), [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128]]);
 * ```
 */
export function vocColor(id: number): Color {
  const color = [0, 0, 0];
  for (let bit = 0; bit < 8; bit++) {
    color[bit % 3]! |= ((id >> bit) & 1) << (7 - Math.floor(bit / 3));
  }
  return [color[0]!, color[1]!, color[2]!];
}

/**
 * The classes that a source stands for.
 *
 * A labels file is either `classes.json` (`{ "classes": [{ "id": 0, "name": "sky", "color": [128, 128, 128] }, ...],
 * "void": { "color": [0, 0, 0] } }`, or an array of names), or a text with one class per line in the order of the
 * ids: `name`, `name 128 0 0`, `name #800000` or `128 0 0 name`. A class named `void`, `ignore` or `unlabeled` has
 * no id: its colour means "no label".
 *
 * @param source A number, names, a known set, or the path of a labels file.
 * @returns Names and colours.
 * @throws {DataError} If the file is absent or a line cannot be understood.
 *
 * @example
 * ```ts
 * import { readClasses } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * assertEquals((await readClasses("cityscapes")).classes.length, 19);
 * assertEquals((await readClasses(["cat", "dog"])).classes[1]?.name, "dog");
 * ```
 */
export async function readClasses(source: ClassSource): Promise<ClassList> {
  if (typeof source === "number") {
    if (!Number.isInteger(source) || source < 1 || source > ignoreIndex) {
      throw new DataError(
        `Cannot use ${source} classes: a whole number from 1 to ${ignoreIndex} is required`,
      );
    }
    return named(Array.from({ length: source }, (_, id) => `class ${id}`));
  }
  if (typeof source !== "string") return named(source);
  if (Object.hasOwn(knownSets, source)) return knownSets[source]!;
  let text: string;
  try {
    text = await Deno.readTextFile(source);
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound ? "no such file" : reason(error);
    throw new DataError(`Cannot read classes from ${source}: ${why}`, { cause: error });
  }
  return parseClasses(text, source);
}

/** The text of a labels file as classes; `name` is for messages. */
export function parseClasses(text: string, name: string): ClassList {
  const entries = /^\s*[[{]/.test(text) ? jsonEntries(text, name) : textEntries(text, name);
  const classes = entries.filter((entry) => !isVoid(entry.name));
  if (classes.length === 0) throw new DataError(`Cannot read classes from ${name}: it names no class`);
  if (classes.length > ignoreIndex) {
    throw new DataError(
      `Cannot read classes from ${name}: it names ${classes.length} classes; at most ${ignoreIndex} fit in a mask`,
    );
  }
  const maskColors: [Color, number][] = [];
  classes.forEach(({ color }, id) => color && maskColors.push([color, id]));
  const taken = new Set(maskColors.map(([color]) => color.join()));
  for (const { name, color } of entries) {
    if (color && isVoid(name) && !taken.has(color.join())) maskColors.push([color, ignoreIndex]);
  }
  return {
    classes: classes.map(({ name, color }, id) => ({ name, color: color ?? vocColor(id) })),
    maskColors,
  };
}

interface Entry {
  readonly name: string;
  readonly color?: Color;
}

function isVoid(name: string): boolean {
  return /^(void|ignored?|unlabel+ed)$/i.test(name);
}

function jsonEntries(text: string, name: string): Entry[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new DataError(`Cannot read classes from ${name}: ${reason(error)}`, { cause: error });
  }
  if (Array.isArray(json)) return json.map((entry) => jsonEntry({ name: entry }, name));
  const { classes, void: nothing } = json as Record<string, unknown>;
  if (!Array.isArray(classes)) {
    throw new DataError(`Cannot read classes from ${name}: it has no list "classes"`);
  }
  const ids = classes.map((entry, place) => entry?.id ?? place);
  const wrong = ids.findIndex((id, place) => id !== place);
  if (wrong >= 0) {
    throw new DataError(
      `Cannot read classes from ${name}: class ${wrong} has id ${ids[wrong]}; ids go 0, 1, 2, ...`,
    );
  }
  const entries = classes.map((entry) => jsonEntry(entry, name));
  return isColor((nothing as Entry)?.color)
    ? [...entries, { name: "void", color: (nothing as Entry).color! }]
    : entries;
}

function jsonEntry(entry: { name?: unknown; color?: unknown }, file: string): Entry {
  if (typeof entry?.name !== "string") {
    throw new DataError(`Cannot read classes from ${file}: ${JSON.stringify(entry)} has no name`);
  }
  if (entry.color === undefined) return { name: entry.name };
  if (!isColor(entry.color)) {
    const color = JSON.stringify(entry.color);
    throw new DataError(
      `Cannot read classes from ${file}: ${entry.name} has colour ${color}; three bytes are required`,
    );
  }
  return { name: entry.name, color: entry.color };
}

function isColor(value: unknown): value is Color {
  return Array.isArray(value) && value.length === 3 && value.every((byte) => byte >= 0 && byte <= 255);
}

function textEntries(text: string, name: string): Entry[] {
  const entries: Entry[] = [];
  text.split(/\r?\n/).forEach((line, i) => {
    if (line.trim() === "") return;
    const entry = lineEntry(line.trim());
    if (entry === undefined) {
      throw new DataError(
        `Cannot read classes from ${name}: line ${
          i + 1
        } is "${line}"; a name and a colour like 128 0 0 or #800000 are required`,
      );
    }
    entries.push(entry);
  });
  return entries;
}

/** `name`, `name 128 0 0`, `name #800000` or `128 0 0 name`, with spaces or commas between. */
function lineEntry(line: string): Entry | undefined {
  const words = line.split(/[\s,:]+/).filter((word) => word !== "");
  const hex = /^#([0-9a-f]{6})$/i.exec(words.at(-1) ?? "")?.[1];
  let name = words;
  let color: number[] | undefined;
  const areBytes = (part: string[]): boolean => part.length === 3 && part.every((word) => /^\d+$/.test(word));
  if (hex !== undefined) {
    color = [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16));
    name = words.slice(0, -1);
  } else if (areBytes(words.slice(-3))) {
    color = words.slice(-3).map(Number);
    name = words.slice(0, -3);
  } else if (areBytes(words.slice(0, 3))) {
    color = words.slice(0, 3).map(Number);
    name = words.slice(3);
  }
  if (name.length === 0 || (color !== undefined && !isColor(color))) return undefined;
  return color === undefined
    ? { name: name.join(" ") }
    : { name: name.join(" "), color: color as unknown as Color };
}

function named(names: readonly string[], color: (id: number) => Color = vocColor): ClassList {
  return { classes: names.map((name, id) => ({ name, color: color(id) })), maskColors: [] };
}

const pascal =
  `background aeroplane bicycle bird boat bottle bus car cat chair cow dining_table dog horse motorbike
  person potted_plant sheep sofa train tv_monitor`;

const coco =
  `background person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant
  stop_sign parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie
  suitcase frisbee skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket
  bottle wine_glass cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake
  chair couch potted_plant bed dining_table toilet tv laptop mouse remote keyboard cell_phone microwave oven toaster
  sink refrigerator book clock vase scissors teddy_bear hair_drier toothbrush`;

const cityscapes: readonly (readonly [string, Color])[] = [
  ["road", [128, 64, 128]],
  ["sidewalk", [244, 35, 232]],
  ["building", [70, 70, 70]],
  ["wall", [102, 102, 156]],
  ["fence", [190, 153, 153]],
  ["pole", [153, 153, 153]],
  ["traffic light", [250, 170, 30]],
  ["traffic sign", [220, 220, 0]],
  ["vegetation", [107, 142, 35]],
  ["terrain", [152, 251, 152]],
  ["sky", [70, 130, 180]],
  ["person", [220, 20, 60]],
  ["rider", [255, 0, 0]],
  ["car", [0, 0, 142]],
  ["truck", [0, 0, 70]],
  ["bus", [0, 60, 100]],
  ["train", [0, 80, 100]],
  ["motorcycle", [0, 0, 230]],
  ["bicycle", [119, 11, 32]],
];

function words(text: string): string[] {
  return text.trim().split(/\s+/).map((word) => word.replaceAll("_", " "));
}

const knownSets: { readonly [name: string]: ClassList | undefined } = {
  pascal: named(words(pascal)),
  coco: named(words(coco)),
  cityscapes: named(cityscapes.map(([name]) => name), (id) => cityscapes[id]![1]),
};
