/**
 * The data set that a configuration means.
 *
 * @module
 */
import { type Dataset, openFolder, openOwnFolder, scenes } from "../data/mod.ts";
import { filesBelow } from "../data/files.ts";
import { DataError } from "../data/errors.ts";
import type { FileItem } from "../data/datasets.ts";
import type { Size } from "../data/resize.ts";
import type { TrainConfig } from "./config.ts";
import type { EvaluateConfig } from "./config_inference.ts";
import { parseSize } from "./options_kinds.ts";

/** Width and height of an `imageSize` such as `240x180`, as options that may be absent. */
export function sizeOption(imageSize: string | null): { imageSize?: Size } {
  if (imageSize === null) return {};
  const { width, height } = parseSize(imageSize);
  return { imageSize: [width, height] };
}

/** The size of scenes when none is given. */
const sceneSize: Size = [128, 96];

/**
 * Opens the data of a training run: a VOC folder, the user's own folders, or generated scenes.
 *
 * @throws {DataError} If files, lists or classes are absent or wrong.
 */
export async function openTrainingData(config: TrainConfig): Promise<Dataset> {
  const size = sizeOption(config.imageSize);
  if (config.data !== null) {
    return await openFolder(config.data, {
      ...(config.split !== null && { split: config.split }),
      ...(config.classes !== null && { classes: config.classes }),
      ...size,
    });
  }
  if (config.images !== null) {
    const labels = config.labels ?? config.classes;
    return await openOwnFolder({
      images: config.images,
      masks: config.masks!,
      ...(labels !== null && { labels }),
      val: config.val,
      seed: config.seed,
      ...size,
    });
  }
  return openScenes(config);
}

function openScenes(config: TrainConfig): Dataset {
  return scenes({
    labeled: config.labeledScenes,
    unlabeled: config.unlabeledScenes,
    val: config.valScenes,
    size: sizeOption(config.imageSize).imageSize ?? sceneSize,
    difficulty: config.difficulty,
  });
}

/**
 * Opens the data of an evaluation; its `val` are the images to evaluate.
 *
 * @param config What is evaluated.
 * @param trained The configuration of the run that made the weights, or defaults.
 * @throws {DataError} If files, lists or classes are absent or wrong.
 */
export async function openEvaluationData(config: EvaluateConfig, trained: TrainConfig): Promise<Dataset> {
  const size = sizeOption(config.imageSize);
  if (config.data !== null) {
    const classes = config.classes ?? trained.classes;
    return await openFolder(config.data, {
      ...(config.split !== null && { split: config.split }),
      ...(config.list !== null && { list: config.list }),
      ...(classes !== null && { classes }),
      ...size,
    });
  }
  if (config.images !== null) {
    const labels = config.classes ?? trained.labels;
    const dataset = await openOwnFolder({
      images: config.images,
      masks: config.masks!,
      ...(labels !== null && { labels }),
      ...size,
    });
    // Nothing is trained here, so nothing is held back.
    return { ...dataset, val: [...dataset.val, ...dataset.labeled], labeled: [] };
  }
  return openScenes({ ...trained, imageSize: config.imageSize });
}

const imageName = /\.(jpe?g|png|webp|tiff?|gif|avif)$/i;

/**
 * The images that a path means: itself, or all images in a folder and below.
 *
 * @returns The items, and each one's name relative to the path, without its ending where that is clear enough.
 * @throws {DataError} If there is no such path, or no image in it.
 */
export async function openInput(path: string): Promise<{ items: FileItem[]; names: string[] }> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new DataError(`Cannot segment ${path}: there is no such file or folder`);
  }
  const stem = (name: string): string => name.replace(/\.[^./\\]+$/, "");
  if (!info.isDirectory) {
    return { items: [{ image: path }], names: [stem(path.split(/[\\/]/).at(-1)!)] };
  }
  const files = (await filesBelow(path)).filter((name) => imageName.test(name));
  if (files.length === 0) {
    throw new DataError(
      `Cannot segment ${path}: the folder holds no images; JPEG, PNG, WebP, TIFF, GIF and AVIF are read`,
    );
  }
  const stems = files.map(stem);
  const isUnique = new Set(stems).size === stems.length;
  return { items: files.map((name) => ({ image: `${path}/${name}` })), names: isUnique ? stems : files };
}
