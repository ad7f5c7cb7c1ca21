/** A user's own images: a folder of images, a folder of masks, and no lists. @module */
import { type ClassList, readClasses } from "./classes.ts";
import type { Dataset, FileItem } from "./datasets.ts";
import { DataError, firstFew } from "./errors.ts";
import { filesBelow, requireFolder } from "./files.ts";
import { colorTable, readMask } from "./image.ts";
import { ignoreIndex } from "./pixels.ts";
import { randomStream } from "./random.ts";
import type { Size } from "./resize.ts";

/** Where the images and masks are, and what they mean. */
export interface OwnFolderOptions {
  /** Folder of the images; folders inside it are searched too. */
  readonly images: string;
  /** Folder of the masks: PNG files with the images' names. */
  readonly masks: string;
  /** Labels file with the names, and for RGB masks the colours, of the classes; see {@linkcode readClasses}. */
  readonly labels?: string;
  /** Share of the labeled images that is kept for validation (default 0.1, at least one image). */
  readonly val?: number;
  /** Seed of the choice of validation images (default 0). */
  readonly seed?: number;
  /** Width and height that every image and mask gets before everything else. */
  readonly imageSize?: Size;
}

const imageName = /\.(jpe?g|png|webp|tiff?|gif|avif)$/i;

/**
 * Opens a user's own folders. An image belongs to the mask of the same name (`a/b.jpg` and `a/b.png`); images
 * without a mask are the unlabeled set.
 *
 * Without a labels file the masks are read once to find the largest class id, and the classes have numbers for names.
 *
 * @param options The two folders, labels, and the share for validation.
 * @returns The data set.
 * @throws {DataError} If a folder is absent or empty, a mask has no image, or too few images have a mask.
 *
 * @example
 * ```ts ignore
 * import { openOwnFolder } from "@allspark/tensor/data";
 * const dataset = await openOwnFolder({ images: "photos", masks: "masks", labels: "labels.txt", val: 0.2 });
 * ```
 */
export async function openOwnFolder(options: OwnFolderOptions): Promise<Dataset> {
  const { images, masks, val: share = 0.1, seed = 0 } = options;
  if (!(share > 0 && share < 1)) {
    throw new RangeError(
      `Cannot keep a share of ${share} for validation: a number between 0 and 1 is required`,
    );
  }
  await requireFolder(images, "use image folder");
  await requireFolder(masks, "use mask folder");
  const { pairs, unlabeled } = await pairByName(images, masks);

  const kept = Math.max(1, Math.round(pairs.length * share));
  if (pairs.length - kept < 1) {
    throw new DataError(
      `Cannot train on ${images}: ${pairs.length} of its images have a mask; at least 2 are required, one to ` +
        `train on and one to evaluate on`,
    );
  }
  const forVal = new Set(randomStream(seed).permutation(pairs.length).subarray(0, kept));
  const { classes, maskColors } = options.labels === undefined
    ? await classesFromMasks(pairs)
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
  };
}

async function pairByName(
  images: string,
  masks: string,
): Promise<{ pairs: Required<FileItem>[]; unlabeled: FileItem[] }> {
  const maskRoot = await Deno.realPath(masks);
  if (await Deno.realPath(images) === maskRoot) {
    throw new DataError(`Cannot use ${images} for images and masks: two different folders are required`);
  }
  const imageFiles = (await filesBelow(images, { except: maskRoot })).filter((path) => imageName.test(path));
  if (imageFiles.length === 0) throw new DataError(`Cannot use image folder ${images}: it holds no images`);
  const maskFiles = new Map((await filesBelow(masks)).filter((path) => /\.png$/i.test(path)).map(withStem));
  if (maskFiles.size === 0) throw new DataError(`Cannot use mask folder ${masks}: it holds no PNG files`);

  const pairs: Required<FileItem>[] = [];
  const unlabeled: FileItem[] = [];
  for (const [stem, path] of imageFiles.map(withStem)) {
    const mask = maskFiles.get(stem);
    maskFiles.delete(stem);
    if (mask === undefined) unlabeled.push({ image: `${images}/${path}` });
    else pairs.push({ image: `${images}/${path}`, mask: `${masks}/${mask}` });
  }
  if (maskFiles.size > 0) {
    throw new DataError(
      `Cannot pair masks with images: ${maskFiles.size} masks in ${masks} have no image of the same name in ` +
        `${images}, ${firstFew([...maskFiles.values()])}`,
    );
  }
  return { pairs, unlabeled };
}

function withStem(path: string): [stem: string, path: string] {
  return [path.replace(/\.[^./]+$/, ""), path];
}

async function classesFromMasks(pairs: readonly Required<FileItem>[]): Promise<ClassList> {
  let largest = 0;
  for (const { mask } of pairs) {
    const { data } = await readMask(mask);
    for (const id of data) if (id !== ignoreIndex && id > largest) largest = id;
  }
  return await readClasses(largest + 1);
}
