/**
 * Data for semi-supervised segmentation: data sets, the official augmentation, and a loader with workers.
 *
 * - Data sets: {@linkcode openFolder} (the layout of PASCAL VOC with list files), {@linkcode openOwnFolder} (a folder of
 *   images and one of masks), {@linkcode scenes} (generated, nothing to download).
 * - Checks before a run: {@linkcode checkFiles} looks at all headers, {@linkcode checkSamples} and {@linkcode checkLabels}
 *   decode some files; {@linkcode BrokenFiles} takes what is to be left out.
 * - Loading: {@linkcode openLoader} makes batches in workers ahead of the training step; {@linkcode wholeImages} and the
 *   loader's `images` give whole images for evaluation.
 * - Augmentation: {@linkcode weakAugment}, {@linkcode strongAugment} and the pixel functions they are made of, which equal
 *   Pillow's and torchvision's to the bit.
 *
 * Everything here is plain arrays; nothing depends on tensors. Every random number has an address
 * ({@linkcode randomStream}), so results do not depend on the number of workers, and a resumed run sees what an
 * uninterrupted one saw.
 *
 * @example From scenes to batches
 * ```ts
 * import { openLoader, scenes } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * const dataset = scenes({ labeled: 4, unlabeled: 12, val: 2, size: [64, 64] });
 * await using loader = openLoader(dataset, { crop: 65, batch: 2, seed: 1, workers: 1 });
 * assertEquals(loader.stepsPerEpoch, 6);
 * for await (const batch of loader.batches({ from: 4, to: 6 })) console.log(batch.step, batch.labeled.image.length);
 * ```
 *
 * @module
 */
export * from "./augment.ts";
export type { Batch, Picture, WholeImage } from "./batch.ts";
export { gaussianBlur } from "./blur.ts";
export { BrokenFiles } from "./broken.ts";
export { checkFiles, checkLabels, type CheckOptions, checkSamples } from "./check.ts";
export { type ClassInfo, type ClassList, type ClassSource, readClasses } from "./classes.ts";
export * from "./color.ts";
export * from "./datasets.ts";
export { DataError } from "./errors.ts";
export { type FolderOptions, type ListChoice, openFolder } from "./folder.ts";
export * from "./image.ts";
export {
  type DataLoader,
  type LoaderOptions,
  openLoader,
  pictures,
  type StepRange,
  wholeImages,
  type WorkerOptions,
} from "./loader.ts";
export { vocColor } from "./labels.ts";
export { batchOrder, type Order, type OrderOptions } from "./order.ts";
export { openOwnFolder, type OwnFolderOptions, type OwnFolders } from "./own_folder.ts";
export { ignoreIndex, type ImageArray, type MaskArray } from "./pixels.ts";
export { type RandomStream, randomStream } from "./random.ts";
export * from "./resize.ts";
export { drawScene, sceneClasses, type SceneItem, type SceneOptions, scenes } from "./scenes.ts";
