/**
 * Data sets: lists of labeled, unlabeled and validation items, and how to read one item.
 *
 * A data set is plain data. Opening one reads lists and folder listings only and makes every check that these allow;
 * `checkFiles` looks at all headers, and pictures are decoded later, by the loader's workers.
 *
 * @module
 */
import type { Sample } from "./augment.ts";
import type { ClassInfo } from "./classes.ts";
import { DataError } from "./errors.ts";
import { type MaskOptions, readImage, readMask } from "./image.ts";
import { resizeBilinear, resizeNearest, type Size } from "./resize.ts";
import { drawScene, type SceneItem } from "./scenes.ts";

/** An image file and, where there is one, its mask file. */
export interface FileItem {
  /** Path of the image. */
  readonly image: string;
  /** Path of the mask. */
  readonly mask?: string;
}

/** One element of a data set: files, or a scene to draw. */
export type Item = FileItem | SceneItem;

/** How the items of a data set are read. */
export interface ReadOptions {
  /** What the values of the masks mean. */
  readonly masks: MaskOptions;
  /** Size that every image and mask gets before everything else (bilinear and nearest). */
  readonly imageSize?: Size;
}

/** A data set for semi-supervised segmentation. */
export interface Dataset {
  /** What to call it, in reports. */
  readonly name: string;
  /** Names and colours in the order of the class ids. */
  readonly classes: readonly ClassInfo[];
  /** Items with a mask, to train on. */
  readonly labeled: readonly Item[];
  /** Items whose masks, if there are any, are never read. */
  readonly unlabeled: readonly Item[];
  /** Items with a mask, to evaluate on. */
  readonly val: readonly Item[];
  /** How to read an item. */
  readonly reading: ReadOptions;
  /** What a user should know about the data though nothing is wrong with it: one sentence each. */
  readonly remarks?: readonly string[];
}

/**
 * What to call an item in messages.
 *
 * @param item Any item.
 * @returns The image's path, or the number of the scene.
 */
export function itemName(item: Item): string {
  return "scene" in item ? `scene ${item.scene}` : item.image;
}

/**
 * Reads one item: image and, where there is one, mask.
 *
 * @param item Files, or a scene.
 * @param options What mask values mean, and the size that everything gets first.
 * @returns The sample.
 * @throws {DataError} If a file is absent or unreadable, a mask holds an unknown class, or the sizes differ.
 */
export async function readSample(item: Item, options: ReadOptions): Promise<Sample> {
  const sample = "scene" in item ? await drawScene(item) : await readFiles(item, options.masks);
  const { imageSize } = options;
  if (imageSize === undefined) return sample;
  const image = resizeBilinear(sample.image, imageSize);
  return sample.mask === undefined ? { image } : { image, mask: resizeNearest(sample.mask, imageSize) };
}

async function readFiles(item: FileItem, masks: MaskOptions): Promise<Sample> {
  const image = await readImage(item.image);
  if (item.mask === undefined) return { image };
  const mask = await readMask(item.mask, masks);
  requireEqualSizes(item, image, mask);
  return { image, mask };
}

/**
 * Refuses an image and a mask of different sizes.
 *
 * @param item Their files, for the message.
 * @param image The image's size.
 * @param mask The mask's size.
 * @throws {DataError} If they differ.
 */
export function requireEqualSizes(
  item: FileItem,
  image: { readonly width: number; readonly height: number },
  mask: { readonly width: number; readonly height: number },
): void {
  if (mask.width === image.width && mask.height === image.height) return;
  throw new DataError(
    `Cannot pair image ${item.image} with mask ${item.mask}: they are ${image.width}x${image.height} and ` +
      `${mask.width}x${mask.height} pixels; equal sizes are required`,
    { file: item.image },
  );
}
