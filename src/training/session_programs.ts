/**
 * The three programs: what `train.ts`, `evaluate.ts` and `predict.ts` do with their options.
 *
 * @module
 */
import type { Model } from "../../models/mod.ts";
import type { WholeImage } from "../data/batch.ts";
import { type ClassInfo, readClasses } from "../data/classes.ts";
import { DataError } from "../data/errors.ts";
import { wholeImages } from "../data/loader.ts";
import { onCompile, realize } from "../evaluate.ts";
import type { Tensor } from "../tensor.ts";
import { runFiles } from "./checkpoint_files.ts";
import type { TrainConfig } from "./config.ts";
import {
  type EvaluateConfig,
  evaluateConfig,
  type InferenceConfig,
  type PredictConfig,
  predictConfig,
} from "./config_inference.ts";
import { evaluateImages, segmenter } from "./evaluation.ts";
import { predictFiles } from "./prediction.ts";
import { Progress } from "./progress.ts";
import { chooseDevice } from "./session.ts";
import { openEvaluationData, openInput, sizeOption } from "./session_data.ts";
import { type LoadedModel, loadModel, parameterCount } from "./session_model.ts";
import { train, type TrainResult } from "./session_train.ts";
import { listenForStops, statusOf } from "./signals.ts";
import { iouTable, percent } from "./table.ts";
import { stderr, stdout } from "./terminal.ts";

/** Threads that read images for evaluation and prediction. */
const workers = 2;

/**
 * Trains. A signal, such as Ctrl-C, stops after the step that is under way and saves it; see {@linkcode listenForStops}.
 *
 * @param given What the command line says.
 * @returns The exit status.
 */
export async function runTrain(given: Partial<TrainConfig>): Promise<number> {
  using stops = listenForStops((signal) => {
    stderr.print("\nStopped at once; what came after the last checkpoint is lost");
    Deno.exit(statusOf(signal));
  });
  const { signal } = stops;
  let result: TrainResult;
  try {
    result = await train(given, { signal });
  } catch (error) {
    if (!signal.aborted || error !== signal.reason) throw error;
    return statusOf(signal.reason);
  }
  const { folder, steps, finished, scores, bestMeanIoU, classNames } = result;
  if (scores !== undefined) stdout.print(`\n${iouTable([...classNames], scores)}\n`);
  if (!finished) {
    const when = steps === 0 ? "before the first step" : `after step ${steps}`;
    stdout.print(`Stopped ${when}; go on with: train.ts --resume ${folder}`);
  }
  if (bestMeanIoU !== null) {
    stdout.print(`Best checkpoint: ${folder}/${runFiles.best} (${percent(bestMeanIoU)} %)`);
    stdout.print(`Last checkpoint: ${folder}/${runFiles.latest}`);
    stdout.print(`Curves and overlays: ${folder}/${runFiles.curves}, ${folder}/${runFiles.overlays}`);
  }
  if (scores !== undefined) stdout.print(`mIoU ${percent(scores.meanIoU)}`);
  return finished ? 0 : statusOf(signal.reason);
}

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
  const dataset = await openEvaluationData({ ...config, imageSize }, trained);
  if (dataset.classes.length !== classCount) {
    throw new DataError(
      `Cannot evaluate ${config.weights} on ${dataset.name}: the model has ${classCount} classes and the data ` +
        `${dataset.classes.length}; equal numbers are required`,
    );
  }
  stdout.print(modelLine(config.weights, loaded));
  stdout.print(`Data: ${dataset.name}: ${dataset.val.length} images`);
  using progress = new Progress();
  const segment = await segmentWith(loaded, config, progress);
  const scores = await evaluateImages(
    wholeImages(dataset.val, dataset.reading, { workers }),
    segment,
    {
      classes: classCount,
      onImage: (_, done) => progress.stage("evaluating image", done, dataset.val.length),
    },
  );
  progress[Symbol.dispose]();
  onCompile(undefined);
  stdout.print(`\n${iouTable(dataset.classes.map(({ name }) => name), scores)}\n`);
  stdout.print(`Pixels right: ${percent(scores.pixelAccuracy)} %`);
  stdout.print(`mIoU ${percent(scores.meanIoU)}`);
  return 0;
}

/**
 * Segments images: a mask and an overlay for each.
 *
 * @param given What the command line says.
 * @returns The exit status.
 */
export async function runPredict(given: Partial<PredictConfig>): Promise<number> {
  const config = predictConfig(given);
  const { items, names } = await openInput(config.input);
  stdout.print(await chooseDevice(config.device));
  const loaded = await loadModel(config);
  const classes = await classesOf(loaded, config);
  stdout.print(modelLine(config.weights, loaded));
  using progress = new Progress();
  const written = await predictFiles(await segmentWith(loaded, config, progress), {
    items,
    names,
    out: config.out,
    classes,
    workers,
    ...sizeOption(config.imageSize ?? loaded.trained.imageSize),
    onImage: (done) => progress.stage("segmenting image", done, items.length),
  });
  progress[Symbol.dispose]();
  onCompile(undefined);
  for (const path of written) stdout.print(path);
  return 0;
}

/** The loaded model as a function of images alone; compiling shows in the progress. */
async function segmentWith(
  { model, forward, trained }: LoadedModel,
  { mode, crop }: InferenceConfig,
  progress: Progress,
): Promise<(image: WholeImage) => Tensor> {
  const segment = segmenter(forward, { mode, crop: crop ?? trained.crop });
  const weights: Model = await realize(model);
  progress.stage("compiling the model");
  onCompile((done, total) => progress.stage("compiling the model, kernel", done, total));
  return (image) => segment(weights, image);
}

async function classesOf(
  { classes, classCount }: LoadedModel,
  { classes: given, weights }: InferenceConfig,
): Promise<readonly ClassInfo[]> {
  const list = given === null
    ? classes ?? (await readClasses(classCount)).classes
    : (await readClasses(given)).classes;
  if (list.length === classCount) return list;
  throw new DataError(
    `Cannot use the classes of ${given} with ${weights}: they are ${list.length} and the model has ${classCount}; ` +
      `equal numbers are required`,
  );
}

function modelLine(path: string, { model, classCount }: LoadedModel): string {
  const kind = model.params.allspark === undefined ? "without AllSpark" : "with AllSpark";
  const millions = (parameterCount(model) / 1e6).toPrecision(3);
  return `Model: ${path}: ${millions} million parameters, ${kind}, ${classCount} classes`;
}
