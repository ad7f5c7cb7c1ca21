/**
 * The folder layout of PASCAL VOC with list files, as AllSpark, UniMatch and others publish their splits.
 *
 * A list has one line per image: the path of the image and, after a space or a tab, that of its mask, both relative to
 * the data folder; a path with spaces stands in double quotes, or the two have a tab between. Empty lines and those that
 * begin with `# ` are passed over. `SPLIT/labeled.txt` and `SPLIT/unlabeled.txt` make up the training set; `val.txt` lies
 * beside them or one folder up.
 *
 * @module
 */
import { type ClassSource, readClasses } from "./classes.ts";
import type { Dataset, FileItem } from "./datasets.ts";
import { DataError, firstFew, quoted } from "./errors.ts";
import { locateFiles, requireFolder } from "./files.ts";
import { colorTable } from "./image.ts";
import type { Size } from "./resize.ts";
import { readText, readTextIfPresent, splitFields } from "./text.ts";

/** Which lists of the folder to use. */
export interface ListChoice {
  /**
   * Name of a folder below `splits` (`1_8`), or a path to a folder that holds the lists. Without it only `val` is
   * filled, for evaluation.
   */
  readonly split?: string;
  /** List of the validation images instead of the split's `val.txt`. */
  readonly list?: string;
  /** Whether files of the lists may be absent, for {@linkcode BrokenFiles} to leave them out (default false). */
  readonly allowAbsent?: boolean;
}

/** Which lists of the folder to use, and how to read it. */
export interface FolderOptions extends ListChoice {
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
  return {
    ...await openLists(root, options),
    classes,
    reading: {
      masks: { classes: classes.length, ...(maskColors.length > 0 && { colors: colorTable(maskColors) }) },
      ...(options.imageSize && { imageSize: options.imageSize }),
    },
  };
}

/**
 * Reads the lists of a data folder, whatever its classes are.
 *
 * @param root The data folder.
 * @param options Which lists.
 * @returns The items of a data set, and its name.
 * @throws {DataError} As {@linkcode openFolder}.
 */
export async function openLists(
  root: string,
  { split, list, allowAbsent = false }: ListChoice,
): Promise<Pick<Dataset, "name" | "labeled" | "unlabeled" | "val">> {
  await requireFolder(root, "use data folder");
  const lists = split === undefined ? undefined : await splitFolder(root, split);
  const required: ListOptions = { masks: "required", allowAbsent };
  return {
    name: split === undefined ? root : `${root}, split ${split}`,
    labeled: lists === undefined ? [] : await readList(root, `${lists}/labeled.txt`, required),
    unlabeled: lists === undefined
      ? []
      : await readUnlabeled(root, `${lists}/unlabeled.txt`, { masks: "unused", allowAbsent }),
    val: await readList(root, list ?? await valList(root, lists), required),
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

/** A list of unlabeled images may be empty or absent: supervised training needs none. */
async function readUnlabeled(root: string, path: string, options: ListOptions): Promise<FileItem[]> {
  const text = await readTextIfPresent(path, "read list");
  return text === undefined ? [] : await itemsOf(root, path, text, options);
}

async function valList(root: string, lists: string | undefined): Promise<string> {
  const own = `${root}/splits/val.txt`;
  const places = lists === undefined ? [own] : [`${lists}/val.txt`, `${lists}/../val.txt`, own];
  for (const path of places) if (await readTextIfPresent(path, "read list") !== undefined) return path;
  throw new DataError(`Cannot find the validation images of ${root}: no list at ${places.join(", ")}`);
}

/** How a list is read. */
interface ListOptions {
  /** Whether masks are required, or not even looked at. */
  readonly masks: "required" | "unused";
  /** Whether its files may be absent. */
  readonly allowAbsent: boolean;
}

/**
 * Reads one list file and checks that all its files exist.
 *
 * @param root The data folder.
 * @param path The list.
 * @param options What it must hold.
 * @returns The items in the order of the list.
 * @throws {DataError} If the list is absent or empty, a line is malformed, or files are absent.
 */
async function readList(root: string, path: string, options: ListOptions): Promise<FileItem[]> {
  const items = await itemsOf(root, path, await readText(path, "read list"), options);
  if (items.length === 0) throw new DataError(`Cannot use list ${path}: it has no lines`);
  return items;
}

async function itemsOf(
  root: string,
  path: string,
  text: string,
  { masks, allowAbsent }: ListOptions,
): Promise<FileItem[]> {
  const named = text.split(/\r\n|\r|\n/).flatMap((line, i) =>
    /^\s*(#\s.*|#)?$/.test(line) ? [] : [parseLine(root, line.trim(), `line ${i + 1} of ${path}`, masks)]
  );
  const files = await locate(root, named.flat());
  const absent = files.filter(({ exists }) => !exists);
  if (absent.length > 0 && !allowAbsent) {
    const names = firstFew(absent.map((file) => file.path));
    throw new DataError(
      `Cannot use list ${path}: ${absent.length} of its ${files.length} files are absent, ${names}`,
    );
  }
  let next = 0;
  return named.map(([, mask]) => {
    const image = files[next++]!.path;
    return mask === undefined ? { image } : { image, mask: files[next++]!.path };
  });
}

/** The paths of files, and whether they exist. Lists from Windows have backslashes between folders. */
async function locate(
  root: string,
  names: readonly string[],
): Promise<{ path: string; exists: boolean }[]> {
  const found = await locateFiles(root, names);
  const again = await locateFiles(
    root,
    names.map((name, i) => found[i] === undefined && name.includes("\\") ? name.replaceAll("\\", "/") : ""),
  );
  return names.map((name, i) => {
    const path = found[i] ?? again[i];
    return { path: path ?? `${root}/${name}`, exists: path !== undefined };
  });
}

function parseLine(
  root: string,
  line: string,
  where: string,
  masks: ListOptions["masks"],
): [image: string] | [image: string, mask: string] {
  const parts = splitFields(line, line.includes("\t") ? /\t+/ : /\s+/)?.map(({ text }) => text);
  if (
    parts === undefined || parts.length > 2 || (parts.length < 2 && masks === "required") ||
    parts.includes("")
  ) {
    throw new DataError(
      `Cannot read ${where}: it is ${
        quoted(line)
      }; an image path, a space and a mask path are required, and quotes around a path with spaces`,
    );
  }
  for (const part of parts) {
    if (/^([/\\]|[a-z]:)/i.test(part) || part.split(/[/\\]/).includes("..")) {
      throw new DataError(
        `Cannot read ${where}: ${part} leaves the data folder; paths are relative to ${root}`,
      );
    }
  }
  const [image, mask] = parts as [string, string];
  return masks === "unused" ? [image] : [image, mask];
}
