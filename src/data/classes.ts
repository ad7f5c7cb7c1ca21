/** Names and colours of classes: the well-known sets, numbers, and labels files of a user's own. @module */
import { DataError } from "./errors.ts";
import type { Color } from "./image.ts";
import { parseClasses, vocColor } from "./labels.ts";
import { ignoreIndex } from "./pixels.ts";
import { readText } from "./text.ts";

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
 * `coco`, and `foreground` for masks of 0 and 255.
 */
export type ClassSource = number | string | readonly string[];

/** Bytes of the largest labels file: four thousand for each class that a mask can have. */
const largestLabels = 2 ** 20;

/**
 * The classes that a source stands for.
 *
 * A labels file is either `classes.json` (`{ "classes": [{ "id": 0, "name": "sky", "color": [128, 128, 128] }, ...],
 * "void": { "color": [0, 0, 0] } }`, or an array of names), or a text with one class per line in the order of the
 * ids: `name`, `name 128 0 0`, `name #800000` or `128 0 0 name`, with an id before it if every line has one. Between the
 * pieces stand spaces, commas, semicolons, colons or tabs, and a piece may be in double quotes; what follows a `#` is a
 * comment, and a head line such as `name,r,g,b` is passed over. A class named `void`, `ignore` or `unlabeled` has no id:
 * its colour means "no label". Texts are UTF-8 or, with a byte order mark, UTF-16.
 *
 * `foreground` is the set for masks of 0 and 255: black is class 0, the background, and white is class 1.
 *
 * @param source A number (as a text too), names, a known set, or the path of a labels file.
 * @returns Names and colours.
 * @throws {DataError} If the file is absent, or a line cannot be understood or can be in two ways.
 *
 * @example
 * ```ts
 * import { readClasses } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * assertEquals((await readClasses("cityscapes")).classes.length, 19);
 * assertEquals((await readClasses(["cat", "dog"])).classes[1]?.name, "dog");
 * assertEquals((await readClasses("foreground")).maskColors, [[[0, 0, 0], 0], [[255, 255, 255], 1]]);
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
  if (typeof source !== "string") {
    if (
      source.length < 1 || source.length > ignoreIndex || !source.every((name) => typeof name === "string")
    ) {
      throw new DataError(
        `Cannot use ${source.length} names as classes: 1 to ${ignoreIndex} texts are required`,
      );
    }
    return named(source);
  }
  if (Object.hasOwn(knownSets, source)) return knownSets[source]!;
  if (/^\d+$/.test(source)) return await readClasses(Number(source));
  return parseClasses(await readText(source, "read classes from", largestLabels), source);
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

const black: Color = [0, 0, 0];
const white: Color = [255, 255, 255];

const knownSets: { readonly [name: string]: ClassList | undefined } = {
  foreground: {
    classes: [{ name: "background", color: black }, { name: "foreground", color: white }],
    maskColors: [[black, 0], [white, 1]],
  },
  pascal: named(words(pascal)),
  coco: named(words(coco)),
  cityscapes: named(cityscapes.map(([name]) => name), (id) => cityscapes[id]![1]),
};
