/**
 * A user's own images: a folder of images, a folder of masks, and no lists.
 *
 * An image belongs to the mask of the same name (`a/b.jpg` and `a/b.png`), whichever way the two names store their
 * accents. Wherever that leaves a doubt it is told: a mask without an image, two images or two masks of one name, a mask
 * in a format that masks cannot have, photographs in formats that are not read.
 *
 * @module
 */
import { fewClasses } from "./check.ts";
import { type ClassList, type ClassSource, readClasses } from "./classes.ts";
import type { Dataset, FileItem } from "./datasets.ts";
import { DataError, firstFew } from "./errors.ts";
import {
  filesBelow,
  imageFormats,
  isImageName,
  isPictureName,
  realPath,
  requireFolder,
  stemOf,
} from "./files.ts";
import { colorTable, readMask } from "./image.ts";
import { ignoreIndex } from "./pixels.ts";
import { randomStream } from "./random.ts";
import type { Size } from "./resize.ts";

/** Where the images and masks are. */
export interface OwnFolders {
  /** Folder of the images; folders inside it are searched too. */
  readonly images: string;
  /** Folder of the masks: PNG files with the images' names. */
  readonly masks: string;
  /** Folders inside `images` that are left out, such as one for results. */
  readonly except?: readonly string[];
}

/** Where the images and masks are, and what they mean. */
export interface OwnFolderOptions extends OwnFolders {
  /**
   * The classes: a labels file with the names, and for masks in colours the colours; a number; or a known set, of which
   * `foreground` is for masks of 0 and 255. See {@linkcode readClasses}.
   */
  readonly labels?: ClassSource;
  /** Share of the labeled images that is kept for validation (default 0.1, at least one image). */
  readonly val?: number;
  /** Seed of the choice of validation images (default 0). */
  readonly seed?: number;
  /** Width and height that every image and mask gets before everything else. */
  readonly imageSize?: Size;
}

/** Images with and without masks, by their files. */
export interface OwnPairs {
  /** Images with their masks. */
  readonly pairs: readonly Required<FileItem>[];
  /** Images without a mask. */
  readonly unlabeled: readonly FileItem[];
  /** What a user should know: one sentence each. */
  readonly remarks: readonly string[];
}

/**
 * Opens a user's own folders. An image belongs to the mask of the same name (`a/b.jpg` and `a/b.png`); images
 * without a mask are the unlabeled set.
 *
 * Without labels the masks are read once to find the largest class id, and the classes have numbers for names.
 *
 * @param options The two folders, labels, and the share for validation.
 * @returns The data set.
 * @throws {DataError} If a folder is absent or empty, a mask has no image, too few images have a mask, or `val` leaves
 * none of them to train on.
 * @throws {RangeError} If `val` is no share.
 *
 * @example
 * ```ts ignore
 * import { openOwnFolder } from "@allspark/tensor/data";
 * const dataset = await openOwnFolder({ images: "photos", masks: "masks", labels: "labels.txt", val: 0.2 });
 * ```
 */
export async function openOwnFolder(options: OwnFolderOptions): Promise<Dataset> {
  const { images, val: share = 0.1, seed = 0 } = options;
  if (!(share > 0 && share < 1)) {
    throw new RangeError(
      `Cannot keep a share of ${share} for validation: a number between 0 and 1 is required`,
    );
  }
  const { pairs, unlabeled, remarks } = await pairByName(options);
  if (pairs.length < 2) {
    throw new DataError(
      `Cannot train on ${images}: ${pairs.length} of its images have a mask; at least 2 are required, one to ` +
        `train on and one to evaluate on`,
    );
  }
  const kept = Math.max(1, Math.round(pairs.length * share));
  if (kept === pairs.length) {
    throw new DataError(
      `Cannot keep a share of ${share} of ${pairs.length} labeled images for validation: none is left to train on; ` +
        `a smaller share is required`,
    );
  }
  const forVal = new Set(randomStream(seed).permutation(pairs.length).subarray(0, kept));
  const { classes, maskColors } = options.labels === undefined
    ? await classesFromMasks(pairs, options.masks)
    : await readClasses(options.labels);
  return {
    name: images,
    classes,
    labeled: pairs.filter((_, i) => !forVal.has(i)),
    unlabeled,
    val: pairs.filter((_, i) => forVal.has(i)),
    reading: {
      masks: { classes: classes.length, ...(maskColors.length > 0 && { colors: colorTable(maskColors) }) },
      ...(options.imageSize && { imageSize: options.imageSize }),
    },
    remarks,
  };
}

/**
 * Finds the images of a folder and their masks in another.
 *
 * @param folders The two folders, and what to leave out.
 * @returns The images with masks and those without.
 * @throws {DataError} If a folder is absent or empty, or it is in doubt which mask belongs to an image.
 */
export async function pairByName({ images, masks, except = [] }: OwnFolders): Promise<OwnPairs> {
  await requireFolder(images, "use image folder");
  await requireFolder(masks, "use mask folder");
  if (await realPath(images) === await realPath(masks)) {
    throw new DataError(`Cannot use ${images} for images and masks: two different folders are required`);
  }
  const pictures = (await filesBelow(images, { except: [masks, ...except] })).filter(isPictureName);
  const imageFiles = pictures.filter(isImageName);
  if (imageFiles.length === 0) {
    throw new DataError(
      `Cannot use image folder ${images}: it holds no images${
        pictures.length > 0 ? ` but ${firstFew(pictures)}` : ""
      }; ${imageFormats} are read`,
    );
  }
  const maskOf = await masksByStem(images, masks);
  const pairs: Required<FileItem>[] = [];
  const unlabeled: FileItem[] = [];
  for (const [stem, [path, other]] of Map.groupBy(imageFiles, stemOf)) {
    const mask = maskOf.get(stem);
    maskOf.delete(stem);
    if (mask !== undefined && other !== undefined) {
      throw new DataError(
        `Cannot pair mask ${masks}/${mask} with an image: ${path} and ${other} in ${images} both have its name; ` +
          `one image of that name is required`,
      );
    }
    if (mask !== undefined) pairs.push({ image: `${images}/${path}`, mask: `${masks}/${mask}` });
  }
  const paired = new Set(pairs.map(({ image }) => image));
  for (const path of imageFiles) {
    if (!paired.has(`${images}/${path}`)) unlabeled.push({ image: `${images}/${path}` });
  }
  if (maskOf.size > 0) {
    throw new DataError(
      `Cannot pair masks with images: ${maskOf.size} masks in ${masks} have no image of the same name in ` +
        `${images}, ${firstFew([...maskOf.values()])}`,
    );
  }
  const unread = pictures.filter((path) => !isImageName(path));
  return { pairs, unlabeled, remarks: unread.length === 0 ? [] : [unreadRemark(images, unread)] };
}

function unreadRemark(images: string, unread: readonly string[]): string {
  return `Not used: ${unread.length} pictures in ${images} whose formats are not read, ${
    firstFew(unread)
  }; ${imageFormats} are read`;
}

/** The masks of a folder by their stems. */
async function masksByStem(images: string, masks: string): Promise<Map<string, string>> {
  const files = (await filesBelow(masks, { except: [images] })).filter(isPictureName);
  const [pngs, others] = [
    files.filter((path) => /\.png$/i.test(path)),
    files.filter((path) => !/\.png$/i.test(path)),
  ];
  const result = new Map<string, string>();
  for (const path of pngs) {
    const other = result.get(stemOf(path));
    if (other !== undefined) {
      throw new DataError(
        `Cannot tell which mask belongs to image ${
          stemOf(path)
        }: ${other} and ${path} in ${masks} both have its ` +
          `name; one mask of that name is required`,
      );
    }
    result.set(stemOf(path), path);
  }
  const wrong = others.filter((path) => !result.has(stemOf(path)));
  if (wrong.length > 0) {
    throw new DataError(
      `Cannot use mask folder ${masks}: ${wrong.length} of its files are pictures but no PNG files, ${
        firstFew(wrong)
      }; other formats change class ids at edges`,
    );
  }
  if (result.size === 0) throw new DataError(`Cannot use mask folder ${masks}: it holds no PNG files`);
  return result;
}

/** As many classes as the masks hold ids. */
async function classesFromMasks(
  pairs: readonly Required<FileItem>[],
  folder: string,
): Promise<ClassList> {
  const seen = new Set<number>();
  for (const { mask } of pairs) for (const id of (await readMask(mask)).data) seen.add(id);
  const largest = Math.max(0, ...[...seen].filter((id) => id !== ignoreIndex));
  if (largest === 0) throw new DataError(`Cannot tell the classes of ${folder}: ${fewClasses(seen)}`);
  return await readClasses(largest + 1);
}
