/**
 * The folder layout of PASCAL VOC with list files, as AllSpark, UniMatch and others publish their splits.
 *
 * A list has one line per image: the path of the image and, after a space, that of its mask, both relative to the
 * data folder. `SPLIT/labeled.txt` and `SPLIT/unlabeled.txt` make up the training set; `val.txt` lies beside them
 * or one folder up.
 *
 * @module
 */
import { type ClassSource, readClasses } from "./classes.ts";
import type { Dataset, FileItem } from "./datasets.ts";
import { DataError, firstFew } from "./errors.ts";
import { absentFiles, readTextIfPresent, requireFolder } from "./files.ts";
import { colorTable } from "./image.ts";
import type { Size } from "./resize.ts";

/** Which lists of the folder to use, and how to read it. */
export interface FolderOptions {
  /**
   * Name of a folder below `splits` (`1_8`), or a path to a folder that holds the lists. Without it only `val` is
   * filled, for evaluation.
   */
  readonly split?: string;
  /** List of the validation images instead of the split's `val.txt`. */
  readonly list?: string;
  /** The classes (default: `classes.json` in the data folder). */
  readonly classes?: ClassSource;
  /** Width and height that every image and mask gets before everything else. */
  readonly imageSize?: Size;
}

/**
 * Opens a data folder with list files.
 *
 * Every file that a list needs must be there: all images, and the masks of labeled and validation images. Masks
 * of unlabeled images are neither needed nor read.
 *
 * @param root The data folder.
 * @param options Split, classes and size.
 * @returns The data set.
 * @throws {DataError} If a folder, list or file is absent, a line is malformed, or a path leaves the data folder.
 *
 * @example
 * ```ts ignore
 * import { openFolder } from "@allspark/tensor/data";
 * const dataset = await openFolder("VOC2012", { split: "1_8", classes: "pascal" });
 * console.log(dataset.labeled.length, dataset.unlabeled.length, dataset.val.length);
 * ```
 */
export async function openFolder(root: string, options: FolderOptions = {}): Promise<Dataset> {
  await requireFolder(root, "use data folder");
  const { classes, maskColors } = await folderClasses(root, options.classes);
  const lists = options.split === undefined ? undefined : await splitFolder(root, options.split);
  const labeled = lists === undefined
    ? []
    : await readList(root, `${lists}/labeled.txt`, { masks: "required" });
  const unlabeled = lists === undefined ? [] : await readUnlabeled(root, `${lists}/unlabeled.txt`);
  const val = options.list === undefined
    ? await readVal(root, lists)
    : await readList(root, options.list, { masks: "required" });
  return {
    name: options.split === undefined ? root : `${root}, split ${options.split}`,
    classes,
    labeled,
    unlabeled,
    val,
    reading: {
      masks: { classes: classes.length, ...(maskColors.length > 0 && { colors: colorTable(maskColors) }) },
      ...(options.imageSize && { imageSize: options.imageSize }),
    },
  };
}

async function folderClasses(root: string, source: ClassSource | undefined): ReturnType<typeof readClasses> {
  if (source !== undefined) return await readClasses(source);
  const file = `${root}/classes.json`;
  if (await readTextIfPresent(file) !== undefined) return await readClasses(file);
  throw new DataError(
    `Cannot tell the classes of ${root}: it has no classes.json; give the classes: a number, a labels file, or ` +
      `one of pascal, cityscapes, coco`,
  );
}

async function splitFolder(root: string, split: string): Promise<string> {
  const named = `${root}/splits/${split}`;
  for (const folder of [named, split]) {
    if (await readTextIfPresent(`${folder}/labeled.txt`) !== undefined) return folder;
  }
  throw new DataError(
    `Cannot use split ${split}: neither ${named} nor ${split} is a folder with a labeled.txt`,
  );
}

async function readUnlabeled(root: string, path: string): Promise<FileItem[]> {
  const present = await readTextIfPresent(path) !== undefined;
  return present ? await readList(root, path, { masks: "unused" }) : [];
}

async function readVal(root: string, lists: string | undefined): Promise<FileItem[]> {
  const own = `${root}/splits/val.txt`;
  const places = lists === undefined ? [own] : [`${lists}/val.txt`, `${lists}/../val.txt`, own];
  for (const path of places) {
    if (await readTextIfPresent(path) !== undefined) return await readList(root, path, { masks: "required" });
  }
  throw new DataError(`Cannot find the validation images of ${root}: no list at ${places.join(", ")}`);
}

/**
 * Reads one list file and checks that all its files exist.
 *
 * @param root The data folder.
 * @param path The list.
 * @param options Whether masks are required, or not even looked at.
 * @returns The items in the order of the list.
 * @throws {DataError} If the list is absent or empty, a line is malformed, or files are absent.
 */
export async function readList(
  root: string,
  path: string,
  options: { masks: "required" | "unused" },
): Promise<FileItem[]> {
  const text = await readTextIfPresent(path);
  if (text === undefined) throw new DataError(`Cannot read list ${path}: no such file`);
  const items = text.split(/\r?\n/).flatMap((line, i) => {
    return line.trim() === ""
      ? []
      : [parseLine(root, line.trim(), `line ${i + 1} of ${path}`, options.masks)];
  });
  if (items.length === 0) throw new DataError(`Cannot use list ${path}: it has no lines`);
  const files = items.flatMap(({ image, mask }) => mask === undefined ? [image] : [image, mask]);
  const absent = await absentFiles(files);
  if (absent.length > 0) {
    throw new DataError(
      `Cannot use list ${path}: ${absent.length} of its ${files.length} files are absent, ${
        firstFew(absent)
      }`,
    );
  }
  return items;
}

function parseLine(root: string, line: string, where: string, masks: "required" | "unused"): FileItem {
  const parts = line.split(/\s+/);
  if (parts.length > 2 || (parts.length < 2 && masks === "required")) {
    throw new DataError(
      `Cannot read ${where}: it is "${line}"; an image path, a space and a mask path are required`,
    );
  }
  for (const part of parts) {
    if (/^([/\\]|[a-z]:)/i.test(part) || part.split(/[/\\]/).includes("..")) {
      throw new DataError(
        `Cannot read ${where}: ${part} leaves the data folder; paths are relative to ${root}`,
      );
    }
  }
  const image = `${root}/${parts[0]}`;
  return masks === "unused" ? { image } : { image, mask: `${root}/${parts[1]}` };
}
