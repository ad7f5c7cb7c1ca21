/**
 * What is looked at before a run begins, so that a file that is wrong does not end it hours later.
 *
 * {@linkcode checkFiles} looks at the header of every file, which takes as long as the disk needs to find them: is it
 * there, is it a picture, has the mask the size of its image, is a validation image large enough. A file that does not
 * begin or end as its format does is decoded as a whole: it is cut, or has something behind its end. Nothing that can be
 * decoded is refused. Damage in the middle of a file is not found here, nor values of masks: {@linkcode checkSamples} decodes a few, {@linkcode checkLabels} looks for
 * two classes, and the loader names every file that it cannot read.
 *
 * @module
 */
import { BrokenFiles } from "./broken.ts";
import {
  type Dataset,
  type FileItem,
  itemName,
  type ReadOptions,
  readSample,
  requireEqualSizes,
} from "./datasets.ts";
import { DataError, firstFew } from "./errors.ts";
import { type Header, readImageHeader, readMaskHeader } from "./headers.ts";
import { readImage, readMask } from "./image.ts";
import { ignoreIndex } from "./pixels.ts";
import type { Size } from "./resize.ts";

/** How the files of a data set are checked. */
export interface CheckOptions {
  /** Called with the number of files that are done, and of all. */
  readonly onProgress?: (done: number, total: number) => void;
  /** What is wrong with a validation image of a size: one sentence that names the image; undefined if nothing is. */
  readonly sizeProblem?: (size: Size, name: string) => string | undefined;
  /** Takes the files that cannot be used; without it they are an error. */
  readonly broken?: BrokenFiles;
}

/** Files that are looked at together: a disk in a network takes its time for each. */
const together = 32;

/**
 * Looks at the headers of all files of a data set.
 *
 * @param dataset The data set.
 * @param options Progress, sizes, and what happens with broken files.
 * @returns Nothing; problems are thrown, or added to `broken`.
 * @throws {DataError} If files cannot be used: the first one's sentence, and how many more there are.
 */
export async function checkFiles(dataset: Dataset, options: CheckOptions = {}): Promise<void> {
  const { onProgress, broken } = options;
  const checks = allChecks(dataset, options);
  const problems: (DataError | undefined)[] = new Array(checks.length).fill(undefined);
  let next = 0;
  let done = 0;
  const worker = async (): Promise<void> => {
    for (let k: number; (k = next++) < checks.length;) {
      problems[k] = await problemOf(checks[k]!);
      onProgress?.(++done, checks.length);
    }
  };
  await Promise.all(Array.from({ length: together }, worker));
  // In the order of the lists, whichever was found first.
  const found = new BrokenFiles();
  for (const problem of problems) if (problem !== undefined) (broken ?? found).add(problem);
  const [first, ...others] = found.reasons;
  if (first === undefined) return;
  const [file, why] = first;
  const more = others.length === 0
    ? ""
    : `; ${others.length} more cannot be used, ${firstFew(others.map(([name]) => name))}`;
  throw new DataError(why + more, { file });
}

/** One check for every item that has files; an item that is in two lists is checked in each. */
function allChecks(
  { labeled, unlabeled, val, reading }: Dataset,
  { sizeProblem }: CheckOptions,
): (() => Promise<void>)[] {
  const files = (items: Dataset["val"]): FileItem[] => items.filter((item) => "image" in item);
  return [
    ...[...files(labeled), ...files(unlabeled)].map((item) => () => checkItem(item, reading, undefined)),
    ...files(val).map((item) => () => checkItem(item, reading, sizeProblem)),
  ];
}

async function problemOf(check: () => Promise<void>): Promise<DataError | undefined> {
  try {
    await check();
    return undefined;
  } catch (error) {
    if (error instanceof DataError && error.file !== undefined) return error;
    throw error;
  }
}

async function checkItem(
  item: FileItem,
  { imageSize, masks }: ReadOptions,
  sizeProblem: CheckOptions["sizeProblem"],
): Promise<void> {
  const header = await imageHeader(item.image);
  if (item.mask !== undefined) {
    const mask = await readMaskHeader(item.mask);
    if (!mask.endsWell) await readMask(item.mask, masks);
    requireEqualSizes(item, header, mask);
  }
  const problem = sizeProblem?.(imageSize ?? [header.width, header.height], itemName(item));
  if (problem !== undefined) throw new DataError(problem, { file: item.image });
}

/** The size of an image; where its header or its end is in doubt, of the decoded image. */
async function imageHeader(path: string): Promise<{ width: number; height: number }> {
  let header: Header | undefined;
  try {
    header = await readImageHeader(path);
  } catch {
    // Decoding it says better what is wrong, or that nothing is.
  }
  return header?.endsWell === true ? header : await readImage(path);
}

/**
 * Reads some labeled, validation and unlabeled items, evenly spread, so that a wrong mask is found before training.
 *
 * @param dataset The data set.
 * @param options `limit`: how many items of each list to read (default 16); `broken`: takes files that cannot be read.
 * @returns Nothing; the first problem is thrown.
 * @throws {DataError} As {@linkcode readSample}.
 */
export async function checkSamples(
  dataset: Dataset,
  options: { limit?: number; broken?: BrokenFiles } = {},
): Promise<void> {
  const { limit = 16, broken } = options;
  for (const items of [dataset.labeled, dataset.val, dataset.unlabeled]) {
    for (const item of spread(items, limit)) {
      if (broken?.has(item) === true) continue;
      try {
        await readSample(item, dataset.reading);
      } catch (error) {
        if (broken === undefined) throw error;
        broken.add(error);
      }
    }
  }
}

/** At most `limit` elements of a list, evenly spread. */
function spread<T>(list: readonly T[], limit: number): T[] {
  const count = Math.min(limit, list.length);
  return Array.from({ length: count }, (_, i) => list[Math.floor((i * list.length) / count)]!);
}

/**
 * Looks into labeled masks until two classes are found: with one alone there is nothing to learn, and most often the
 * masks mean something else than class ids.
 *
 * @param dataset The data set.
 * @param options `broken`: files that are left out.
 * @returns Nothing.
 * @throws {DataError} If all labeled masks together hold fewer than two classes.
 */
export async function checkLabels(dataset: Dataset, options: { broken?: BrokenFiles } = {}): Promise<void> {
  const { broken } = options;
  const seen = new Set<number>();
  for (const item of dataset.labeled) {
    if ("scene" in item) return;
    if (item.mask === undefined || broken?.has(item) === true) continue;
    try {
      for (const id of (await readMask(item.mask, dataset.reading.masks)).data) seen.add(id);
    } catch (error) {
      if (broken === undefined) throw error;
      broken.add(error);
    }
    if (seen.size - Number(seen.has(ignoreIndex)) > 1) return;
  }
  throw new DataError(`Cannot train on ${dataset.name}: ${fewClasses(seen)}`);
}

/** What is wrong with masks that hold so little. */
export function fewClasses(seen: ReadonlySet<number>): string {
  const ids = [...seen].filter((id) => id !== ignoreIndex);
  const held = ids.length === 0 ? "only 255, no label" : `only class ${ids[0]}`;
  return seen.has(ignoreIndex) && ids.length === 1
    ? `its masks hold ${held} and 255, which means no label; if 255 is the object, give foreground as the labels, as in ` +
      `--labels foreground, and otherwise masks with two classes are required`
    : `its masks hold ${held}; masks with two classes are required`;
}
