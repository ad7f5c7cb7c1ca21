/**
 * What `evaluate.ts` and `predict.ts` do with their options.
 *
 * @module
 */
import type { Model } from "../../models/mod.ts";
import type { WholeImage } from "../data/batch.ts";
import { BrokenFiles } from "../data/broken.ts";
import { type ClassInfo, readClasses } from "../data/classes.ts";
import type { Dataset } from "../data/datasets.ts";
import { DataError, firstFew } from "../data/errors.ts";
import { imageFormats, isImageName } from "../data/files.ts";
import { wholeImages } from "../data/loader.ts";
import type { ImageArray } from "../data/pixels.ts";
import { onCompile, realize } from "../evaluate.ts";
import { WriteError } from "./checkpoint_files.ts";
import {
  type EvaluateConfig,
  evaluateConfig,
  type InferenceConfig,
  largestWhole,
  type PredictConfig,
  predictConfig,
} from "./config_inference.ts";
import { evaluateImages, type ImageSegmenter, segmenter, sizeProblem } from "./evaluation.ts";
import { largeSegmenter } from "./large_images.ts";
import { makeFolder, predictFiles } from "./prediction.ts";
import { Progress } from "./progress.ts";
import { chooseDevice } from "./session.ts";
import {
  checkData,
  openEvaluationData,
  openInput,
  requireCount,
  sizeOption,
  withAdvice,
} from "./session_data.ts";
import { type LoadedModel, loadModel, parameterCount } from "./session_model.ts";
import { iouTable, percent } from "./table.ts";
import { stderr, stdout } from "./terminal.ts";

/** Threads that read images. */
const workers = 2;

/**
 * Evaluates weights: IoU per class, and `mIoU 20.70` as the last line.
 *
 * @param given What the command line says.
 * @returns The exit status.
 */
export async function runEvaluate(given: Partial<EvaluateConfig>): Promise<number> {
  const config = evaluateConfig(given);
  stdout.print(await chooseDevice(config.device));
  const loaded = await loadModel(config);
  const { trained, classCount } = loaded;
  const imageSize = config.imageSize ?? trained.imageSize;
  const crop = config.crop ?? trained.crop;
  const dataset = await openEvaluationData({ ...config, imageSize }, loaded);
  using progress = new Progress();
  const broken = config.skipBroken
    ? new BrokenFiles((_, why) => progress.note(`Left out: ${why}`))
    : undefined;
  await checkData(dataset, { mode: config.mode, crop, broken, progress });
  stdout.print(modelLine(config.weights, loaded));
  stdout.print(`Data: ${dataset.name}: ${dataset.val.length} images`);
  for (const line of dataset.remarks ?? []) stdout.print(line);
  const segment = await segmentWith(loaded, { mode: config.mode, crop, progress });
  const occurring = new Set<number>();
  const scores = await evaluated(dataset, broken, (images) =>
    evaluateImages(images, segment, {
      classes: classCount,
      onImage: ({ image: { mask } }, done) => {
        for (const id of mask ?? []) occurring.add(id);
        progress.stage("evaluating image", done, dataset.val.length);
      },
    }));
  progress[Symbol.dispose]();
  onCompile(undefined);
  stdout.print(`\n${iouTable(dataset.classes.map(({ name }) => name), scores)}\n`);
  if (broken !== undefined && broken.reasons.size > 0) {
    stdout.print(`Left out: ${broken.reasons.size} broken files, listed above`);
  }
  const absent = dataset.classes.filter((_, id) => !occurring.has(id)).map(({ name }) => name);
  if (absent.length > 0) stdout.print(`In no mask, and counted as 0 in the mean: ${firstFew(absent)}`);
  stdout.print(`Pixels right: ${percent(scores.pixelAccuracy)} %`);
  stdout.print(`mIoU ${percent(scores.meanIoU)}`);
  if (stdout.failure !== undefined) {
    throw new WriteError("write the scores to standard output", stdout.failure);
  }
  return 0;
}

/** The scores of the images of a data set; all of them broken is an error. */
async function evaluated<Scores>(
  { name, val, reading }: Dataset,
  broken: BrokenFiles | undefined,
  evaluate: (images: ReturnType<typeof wholeImages>) => Promise<Scores>,
): Promise<Scores> {
  try {
    const result = await evaluate(wholeImages(val, reading, { workers, ...(broken && { broken }) }));
    if (val.some((item) => broken?.has(item) !== true)) return result;
  } catch (error) {
    throw withAdvice(error);
  }
  throw new DataError(`Cannot evaluate on ${name}: none of its ${val.length} images with masks can be read`);
}

/**
 * Segments images: a mask and an overlay for each. Images that cannot be read or segmented are named at the end.
 *
 * @param given What the command line says.
 * @returns The exit status: 2 if there were such images.
 */
export async function runPredict(given: Partial<PredictConfig>): Promise<number> {
  const config = predictConfig(given);
  const { items, names } = await openInput(config.input, { except: config.out });
  await makeFolder(config.out);
  stdout.print(await chooseDevice(config.device));
  const loaded = await loadModel(config);
  const classes = await classesOf(loaded, config);
  stdout.print(modelLine(config.weights, loaded));
  using progress = new Progress();
  const failures = new Map<string, string>();
  const fail = (image: string, why: string): void => {
    failures.set(image, isImageName(image) ? why : `Cannot read image ${image}: ${imageFormats} are read`);
    progress.note(failures.get(image)!);
  };
  let done = 0;
  const crop = config.crop ?? loaded.trained.crop;
  const segment = await segmentWith(loaded, { mode: config.mode, crop, progress });
  const written = await predictFiles(segment, {
    items,
    names,
    out: config.out,
    classes,
    workers,
    ...sizeOption(config.imageSize ?? loaded.trained.imageSize),
    onImage: (count) => {
      done = count;
      progress.stage("segmenting image", done + failures.size, items.length);
    },
    onFailure: fail,
  });
  progress[Symbol.dispose]();
  onCompile(undefined);
  for (const path of written) stdout.print(path);
  if (failures.size === 0) return 0;
  stderr.print(`Segmented ${done} of ${items.length} images; these could not be:`);
  for (const why of failures.values()) stderr.print(why);
  return 2;
}

/** An image and, where that is another one, the picture that the model is to see of it. */
type SeenImage = WholeImage & { readonly seen?: ImageArray };

/**
 * The loaded model as a function of images alone; compiling, and the windows of large images, show in the progress. With
 * mode null, large images are seen in windows and others as a whole.
 */
async function segmentWith(
  { model, forward }: LoadedModel,
  { mode, crop, progress }: { mode: InferenceConfig["mode"]; crop: number; progress: Progress },
): Promise<ImageSegmenter<SeenImage>> {
  const whole = segmenter(forward, { mode: mode ?? "original", crop });
  const large = largeSegmenter(forward, {
    // A window that nobody asked for is not larger than an image that is seen as a whole.
    crop: mode === null ? Math.min(crop, Math.floor(Math.sqrt(largestWhole))) : crop,
    windows: mode === null ? "inside" : "cut",
    onWindow: (done, total) => progress.stage("segmenting a large image, window", done, total),
  });
  const weights: Model = await realize(model);
  progress.stage("compiling the model");
  onCompile((done, total) => progress.stage("compiling the model, kernel", done, total));
  let hasAdvised = false;
  return (image) => {
    const { name, width, height, seen = image.pixels } = image;
    const isLarge = width * height > largestWhole;
    if (isLarge && (mode === null || mode === "sliding-window")) {
      const problem = sizeProblem(image, { mode: mode ?? "original", crop });
      if (problem !== undefined) throw new DataError(problem, { file: name });
      return large(weights, { name, pixels: seen });
    }
    if (isLarge && mode === "original" && !hasAdvised) {
      hasAdvised = true;
      progress.note(
        `${name} is seen as a whole with its ${width}x${height} pixels, for which time and memory grow with the ` +
          `square of the pixels; --mode sliding-window needs less`,
      );
    }
    return whole(weights, image);
  };
}

async function classesOf(
  { classes, classCount }: LoadedModel,
  { classes: given, weights }: InferenceConfig,
): Promise<readonly ClassInfo[]> {
  if (given === null) return classes ?? (await readClasses(classCount)).classes;
  return requireCount(await readClasses(given), classCount, `the classes of ${given}`, weights).classes;
}

function modelLine(path: string, { model, classCount }: LoadedModel): string {
  const kind = model.params.allspark === undefined ? "without AllSpark" : "with AllSpark";
  const millions = (parameterCount(model) / 1e6).toPrecision(3);
  return `Model: ${path}: ${millions} million parameters, ${kind}, ${classCount} classes`;
}
