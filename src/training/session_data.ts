/**
 * The data set that a configuration means, and what is checked about it before a run.
 *
 * @module
 */
import { type BrokenFiles, itemAt } from "../data/broken.ts";
import { checkFiles, checkLabels, checkSamples } from "../data/check.ts";
import type { ClassInfo, ClassList } from "../data/classes.ts";
import type { FileItem } from "../data/datasets.ts";
import { DataError } from "../data/errors.ts";
import { filesBelow, imageFormats, isPictureName, realPath } from "../data/files.ts";
import { openLists } from "../data/folder.ts";
import { colorTable } from "../data/image.ts";
import { colorPairs } from "../data/mask_values.ts";
import { type Dataset, openFolder, openOwnFolder, readClasses, scenes } from "../data/mod.ts";
import { pairByName } from "../data/own_folder.ts";
import type { Size } from "../data/resize.ts";
import { readTextIfPresent } from "../data/text.ts";
import type { TrainConfig } from "./config.ts";
import type { EvaluateConfig } from "./config_inference.ts";
import { sizeProblem } from "./evaluation.ts";
import { parseSize } from "./options_kinds.ts";
import type { Progress } from "./progress.ts";

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
      allowAbsent: config.skipBroken,
      ...size,
    });
  }
  if (config.images !== null) {
    const labels = config.labels ?? config.classes;
    return await openOwnFolder({
      images: config.images,
      masks: config.masks!,
      // Pictures of earlier runs are no images to train on.
      except: [config.out],
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

/** What an evaluation knows about its classes without the command line. */
export interface TrainedClasses {
  /** The configuration of the run that made the weights, or defaults. */
  readonly trained: TrainConfig;
  /** The run's classes, if the weights tell. */
  readonly classes?: readonly ClassInfo[];
  /** The colours of its masks, if it had some and the weights tell. */
  readonly maskColors?: ClassList["maskColors"];
  /** Number of classes that the model tells apart. */
  readonly classCount: number;
}

/**
 * Opens the data of an evaluation; its `val` are the images to evaluate. Their masks hold the classes of the model: those
 * of `config.classes` or of the run that made the weights, for raw weights those of the data folder, or else numbers.
 *
 * @param config What is evaluated.
 * @param model What is known about the model's classes.
 * @throws {DataError} If files, lists or classes are absent or wrong, or are not those of the model.
 */
export async function openEvaluationData(config: EvaluateConfig, model: TrainedClasses): Promise<Dataset> {
  if (config.data === null && config.images === null) {
    return openScenes({ ...model.trained, imageSize: config.imageSize });
  }
  const { classes, maskColors } = await evaluationClasses(config, model);
  const files = config.data !== null ? await openListed(config, config.data) : await openPairs(config);
  return {
    ...files,
    classes,
    labeled: [],
    unlabeled: [],
    reading: {
      masks: { classes: classes.length, ...(maskColors.length > 0 && { colors: colorTable(maskColors) }) },
      ...sizeOption(config.imageSize),
    },
  };
}

async function openListed(
  { split, list, skipBroken }: EvaluateConfig,
  data: string,
): Promise<Pick<Dataset, "name" | "val">> {
  return await openLists(data, {
    ...(split !== null && { split }),
    ...(list !== null && { list }),
    allowAbsent: skipBroken,
  });
}

/** Nothing is trained here, so all images with a mask are evaluated, one alone too. */
async function openPairs(
  { images, masks }: EvaluateConfig,
): Promise<Pick<Dataset, "name" | "val" | "remarks">> {
  const { pairs, unlabeled, remarks } = await pairByName({ images: images!, masks: masks! });
  if (pairs.length === 0) {
    throw new DataError(`Cannot evaluate on ${images}: none of its images has a mask in ${masks}`);
  }
  const more = unlabeled.length === 0 ? [] : [`Not evaluated: ${unlabeled.length} images without a mask`];
  return { name: images!, val: pairs, remarks: [...remarks, ...more] };
}

async function evaluationClasses(config: EvaluateConfig, model: TrainedClasses): Promise<ClassList> {
  const { classes, maskColors, classCount, trained } = model;
  const own = config.data === null ? undefined : await dataClasses(config.data);
  if (config.classes !== null) {
    return requireCount(
      await readClasses(config.classes),
      classCount,
      `the classes of ${config.classes}`,
      config.weights,
    );
  }
  if (classes !== undefined) {
    if (own !== undefined) requireSameNames(own.list.classes, classes, own.file, config.weights);
    if (maskColors !== undefined) return { classes, maskColors };
    // A checkpoint of an early version tells names only; the colours may still be where they were.
    const source = trained.labels ?? trained.classes;
    const isThere = source !== null && await readTextIfPresent(source, "read classes from") !== undefined;
    const list = isThere ? await readClasses(source) : own?.list;
    return { classes, maskColors: list?.classes.length === classes.length ? list.maskColors : [] };
  }
  if (own !== undefined) {
    return requireCount(own.list, classCount, `the classes of ${own.file}`, config.weights);
  }
  return await readClasses(classCount);
}

async function dataClasses(data: string): Promise<{ file: string; list: ClassList } | undefined> {
  const file = `${data}/classes.json`;
  if (await readTextIfPresent(file, "read classes from") === undefined) return undefined;
  return { file, list: await readClasses(file) };
}

/** Refuses classes of which a model has more or fewer. */
export function requireCount(list: ClassList, count: number, what: string, weights: string): ClassList {
  if (list.classes.length === count) return list;
  throw new DataError(
    `Cannot use ${what} with ${weights}: they are ${list.classes.length} and the model has ${count}; write ` +
      `--classes ${count}, or the file of the classes that it was trained on`,
  );
}

/** The data may have fewer classes than the model, but none by another name. */
function requireSameNames(
  data: readonly ClassInfo[],
  model: readonly ClassInfo[],
  file: string,
  weights: string,
): void {
  const plain = (name: string | undefined): string | undefined =>
    name?.toLowerCase().replaceAll(/[\s_-]+/g, " ");
  const wrong = data.findIndex(({ name }, id) => plain(name) !== plain(model[id]?.name));
  if (wrong < 0) return;
  const other = model[wrong] === undefined
    ? `${weights} has ${model.length}`
    : `${model[wrong].name} in ${weights}`;
  throw new DataError(
    `Cannot tell what the masks mean: class ${wrong} is ${
      data[wrong]!.name
    } in ${file}, and ${other}; give --classes ` +
      `${file} if that names the model's classes, or another file`,
  );
}

/**
 * Checks the files of a data set before a run: all headers, sizes that the evaluation cannot take, and a few samples as
 * a whole. See {@linkcode checkFiles}.
 *
 * @param dataset The data set.
 * @param options How validation images are segmented, files that are left out, and the progress.
 * @throws {DataError} If a file cannot be used and none may be left out.
 */
export async function checkData(
  dataset: Dataset,
  { mode, crop, broken, progress }: {
    mode: TrainConfig["evalMode"];
    crop: number;
    broken?: BrokenFiles | undefined;
    progress: Progress;
  },
): Promise<void> {
  const isDrawn = [...dataset.labeled, ...dataset.unlabeled, ...dataset.val].every((item) => "scene" in item);
  if (isDrawn) return;
  const skipped = broken === undefined ? {} : { broken };
  try {
    await checkFiles(dataset, {
      ...skipped,
      sizeProblem: ([width, height], name) => sizeProblem({ width, height, name }, { mode, crop }),
      onProgress: (done, total) => progress.stage("checking file", done, total),
    });
    progress.stage("reading samples");
    await checkSamples(dataset, skipped);
    if (dataset.labeled.length > 0) await checkLabels(dataset, skipped);
  } catch (error) {
    throw withAdvice(error);
  }
  for (
    const [items, what] of [[dataset.labeled, "labeled images"], [dataset.val, "images to evaluate"]] as const
  ) {
    if (items.length > 0) itemAt(items, 0, broken, `${what} of ${dataset.name}`);
  }
}

/** An error with how to go on without the file that it is about, if it is about one. */
export function withAdvice(error: unknown): unknown {
  if (!(error instanceof DataError) || error.file === undefined) return error;
  const { message, file } = error;
  return new DataError(`${message}; --skip-broken leaves broken files out`, { cause: error, file });
}

/** The colours of a data set's masks, as a checkpoint keeps them; none if they hold ids. */
export function maskColorsOf({ reading }: Dataset): ClassList["maskColors"] {
  return colorPairs(reading.masks.colors ?? new Map());
}

/**
 * The images that a path means: itself, or all images in a folder and below. Pictures in formats that are not read are
 * among them, so that they are told.
 *
 * @param path An image or a folder.
 * @param options `except`: a folder for results, which is left out.
 * @returns The items, and each one's name relative to the path, without its ending where that is clear enough.
 * @throws {DataError} If there is no such path, no image in it, or it is the folder for results itself.
 */
export async function openInput(
  path: string,
  options: { except?: string } = {},
): Promise<{ items: FileItem[]; names: string[] }> {
  const real = await realPath(path);
  if (real === undefined) throw new DataError(`Cannot segment ${path}: there is no such file or folder`);
  const stem = (name: string): string => name.replace(/\.[^./\\]+$/, "");
  const info = await Deno.stat(real);
  if (!info.isDirectory) {
    return { items: [{ image: path }], names: [stem(path.split(/[\\/]/).at(-1)!)] };
  }
  const { except } = options;
  if (except !== undefined && await realPath(except) === real) {
    throw new DataError(
      `Cannot segment ${path} into itself: a second run would segment the results of the first; another folder is ` +
        `required for these`,
    );
  }
  const files = (await filesBelow(path, except === undefined ? {} : { except: [except] })).filter(
    isPictureName,
  );
  if (files.length === 0) {
    throw new DataError(`Cannot segment ${path}: the folder holds no images; ${imageFormats} are read`);
  }
  const stems = files.map(stem);
  const isUnique = new Set(stems).size === stems.length;
  return { items: files.map((name) => ({ image: `${path}/${name}` })), names: isUnique ? stems : files };
}
