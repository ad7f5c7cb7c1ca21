/**
 * A whole training run: from a configuration to a folder with curves, overlays and checkpoints.
 *
 * @module
 */
import { initModel, initTrainState, type Model, type StepConfig, type TrainState } from "../../models/mod.ts";
import { random } from "../../ops/mod.ts";
import { BrokenFiles } from "../data/broken.ts";
import type { Dataset } from "../data/datasets.ts";
import { openLoader } from "../data/loader.ts";
import { firstFew } from "../data/errors.ts";
import { memory } from "../device.ts";
import { realize } from "../evaluate.ts";
import { describeMisfits } from "../io/fit.ts";
import { type Checkpoint, checkpointPath, checkResume, loadCheckpoint } from "./checkpoint.ts";
import {
  checkRunFolder,
  makeRunFolder,
  removeHalfWritten,
  runFiles,
  writeRunConfig,
} from "./checkpoint_files.ts";
import { mostSteps, type TrainConfig, trainConfig } from "./config.ts";
import { segmenter } from "./evaluation.ts";
import type { SegmentationScores } from "./metrics.ts";
import { openMetrics } from "./metrics_log.ts";
import { OptionError } from "./options.ts";
import { Progress } from "./progress.ts";
import { lockRun } from "./run_lock.ts";
import { chooseDevice } from "./session.ts";
import { checkData, openTrainingData } from "./session_data.ts";
import { isEvaluationDue, runToEnd } from "./session_loop.ts";
import {
  encoderOf,
  forwardOf,
  naming,
  parameterCount,
  phasesOf,
  stepConfigOf,
  withPretrained,
} from "./session_model.ts";
import type { Run, Standing } from "./session_report.ts";
import { stateFromArrays } from "./session_state.ts";
import { checkMemory, checkSizes } from "./sizes.ts";
import { stdout } from "./terminal.ts";

/** How a run is accompanied. */
export interface TrainOptions {
  /** Stops the run after the step that is under way; its state is saved. */
  readonly signal?: AbortSignal;
  /** Takes the lines about device, data, model and cost (default: standard output). */
  readonly say?: (line: string) => void;
  /** Takes the progress (default: standard error). */
  readonly progress?: Progress;
  /** Seconds after which the run is saved also between two evaluations (default: a quarter of an hour). */
  readonly saveSeconds?: number;
}

/** What a run has reached. */
export interface TrainResult {
  /** Its folder. */
  readonly folder: string;
  /** Steps done. */
  readonly steps: number;
  /** Whether they are all, or the run was stopped. */
  readonly finished: boolean;
  /** The last scores, if there was an evaluation in this call. */
  readonly scores?: SegmentationScores;
  /** The best mIoU of the run, from 0 to 1. */
  readonly bestMeanIoU: number | null;
  /** Names of the classes. */
  readonly classNames: readonly string[];
}

/**
 * Trains a model, or goes on with a run that was stopped. Everything about the run, its random numbers too, follows from
 * the configuration: a resumed run has the metrics of an uninterrupted one.
 *
 * The state is saved before the first step, before every evaluation, every quarter of an hour, and on the way out of
 * every error. A run whose steps
 * are all done, but not its last evaluation or its pictures, is finished.
 *
 * @param given Options that differ from the defaults; with `resume`, from those of the run.
 * @param options Ways to stop and to watch it.
 * @throws {OptionError} If options contradict each other or the checkpoint.
 * @throws {DataError} If the data cannot be used.
 * @throws {LossError} If the loss or a weight is no longer a number; the last checkpoint stays.
 * @throws {FolderInUseError} If another process is at work in the run's folder.
 * @throws {WriteError} If a file of the run cannot be written.
 * @throws The reason of `options.signal`, if it is aborted before the run has its folder.
 */
export async function train(given: Partial<TrainConfig>, options: TrainOptions = {}): Promise<TrainResult> {
  const { signal, say = (line: string): void => stdout.print(line), saveSeconds = 900 } = options;
  using progress = options.progress ?? new Progress();
  const stopping = { says: "Stopping before the run has begun; there is nothing to save" };
  const onStop = (): void => progress.note(stopping.says);
  signal?.addEventListener("abort", onStop);
  await using cleanUp = new AsyncDisposableStack();
  cleanUp.defer(() => signal?.removeEventListener("abort", onStop));

  const resumed = given.resume == null ? undefined : await openRun(given.resume, cleanUp, progress);
  const checkpoint = resumed?.checkpoint;
  const config = trainConfig(...(checkpoint === undefined ? [] : [checkpoint.meta.config]), given);
  checkSizes(config);
  if (resumed === undefined) await checkRunFolder(config);
  say(await chooseDevice(config.device));

  const dataset = await openTrainingData(config);
  if (checkpoint !== undefined) checkResume(checkpoint.meta, { config, classes: dataset.classes });
  const available = memory.stats().limitBytes ?? Infinity;
  checkMemory(config, { classes: dataset.classes.length, available });
  signal?.throwIfAborted();
  const broken = config.skipBroken
    ? new BrokenFiles((_, why) => progress.note(`Left out: ${why}`))
    : undefined;
  const used = config.method === "supervised" ? { ...dataset, unlabeled: [] } : dataset;
  await checkData(used, { mode: config.evalMode, crop: config.crop, broken, progress });
  signal?.throwIfAborted();
  for (const line of dataLines(dataset, config, broken)) say(line);

  const loader = cleanUp.use(openLoader(dataset, {
    crop: config.crop,
    batch: config.batch,
    seed: config.seed,
    workers: config.workers,
    unlabeledFrom: config.method === "supervised" ? Infinity : config.burnInSteps,
    ...(broken && { broken }),
    // The paper's supervised epochs are passes over the labeled images.
    ...(config.method === "supervised" && config.epochs !== null && { epoch: "labeled" }),
  }));
  const total = config.steps ?? config.epochs! * loader.stepsPerEpoch;
  const warmup = config.warmupSteps ?? config.warmupEpochs! * loader.stepsPerEpoch;
  const evalEvery = config.evalEvery ?? loader.stepsPerEpoch;
  if (total > mostSteps) {
    throw new OptionError([
      `Cannot train for ${config.epochs} epochs of ${loader.stepsPerEpoch} steps: at most ${mostSteps} steps are possible`,
    ]);
  }
  const from = checkpoint?.meta.step ?? 0;
  const standing: Standing = {
    done: from,
    evaluated: checkpoint?.meta.evaluated ?? from,
    bestMeanIoU: checkpoint?.meta.bestMeanIoU ?? null,
  };
  const length = { total, evalEvery };
  if (from >= total && !isEvaluationDue(length, standing)) {
    throw new OptionError([
      `Cannot resume ${config.resume}: all its ${total} steps are done; start a new run`,
    ]);
  }
  const stepConfig = stepConfigOf(config, { classes: dataset.classes.length, steps: total });
  const phases = phasesOf(config, stepConfig, { steps: total, warmup });

  progress.stage("making the model");
  const state = await firstState(config, stepConfig, checkpoint, say);
  say(modelLine(state, config, checkpoint));
  signal?.throwIfAborted();

  const folder = resumed?.folder ?? await makeRunFolder(config);
  if (resumed === undefined) cleanUp.use(await lockRun(folder));
  else await writeRunConfig(folder, config);
  say(`Results: ${folder}`);
  const log = cleanUp.use(
    await openMetrics(
      `${folder}/${runFiles.metrics}`,
      resumed === undefined ? {} : { keepUntil: from, evaluatedUntil: standing.evaluated },
    ),
  );
  if (log.note !== undefined) progress.note(log.note);
  const run: Run = {
    ...{ config, dataset, loader, folder, log, progress, phases, stopping, saveSeconds, ...length },
    segmentAfter: segmentersOf(config, stepConfig, phases),
    ...(signal && { signal }),
  };
  const end = await runToEnd(run, state, standing, { isNew: resumed === undefined });
  return {
    folder,
    steps: end.done,
    finished: end.done === total && !isEvaluationDue(length, end),
    ...(end.scores && { scores: end.scores }),
    bestMeanIoU: end.bestMeanIoU,
    classNames: dataset.classes.map(({ name }) => name),
  };
}

/** A checkpoint that counts on the best one only if that is there and whole; otherwise the next evaluation is the best. */
async function withBest(folder: string, checkpoint: Checkpoint, progress: Progress): Promise<Checkpoint> {
  if (checkpoint.meta.bestMeanIoU === null) return checkpoint;
  try {
    await loadCheckpoint(`${folder}/${runFiles.best}`);
    return checkpoint;
  } catch (error) {
    progress.note(`${(error as Error).message}; the next evaluation saves the best checkpoint anew`);
    return { ...checkpoint, meta: { ...checkpoint.meta, bestMeanIoU: null } };
  }
}

/** A run to go on with. */
interface Opened {
  readonly folder: string;
  readonly checkpoint: Checkpoint;
}

/** Opens the run that a `--resume` path names, alone, and takes away what a killed process has left half written. */
async function openRun(path: string, cleanUp: AsyncDisposableStack, progress: Progress): Promise<Opened> {
  const file = await checkpointPath(path);
  const cut = file.replaceAll("\\", "/").lastIndexOf("/");
  const folder = cut < 0 ? "." : file.slice(0, Math.max(cut, 1));
  const lock = cleanUp.use(await lockRun(folder));
  const checkpoint = await withBest(folder, await loadCheckpoint(file), progress);
  if (lock.note !== undefined) progress.note(lock.note);
  const removed = await removeHalfWritten(folder);
  if (removed.length > 0) {
    progress.note(
      `Removed from ${folder} what a process that was ended had half written: ${firstFew(removed)}`,
    );
  }
  return { folder, checkpoint };
}

/** The state before the first step of this call. */
async function firstState(
  config: TrainConfig,
  stepConfig: StepConfig,
  checkpoint: Checkpoint | undefined,
  say: (line: string) => void,
): Promise<TrainState> {
  const fresh = initModel(random.key(config.seed), stepConfig);
  if (checkpoint !== undefined) {
    const state = initTrainState(fresh, stepConfig);
    const read = (): TrainState => stateFromArrays(checkpoint.arrays, state, encoderOf(config.variant));
    return await realize(naming(config.resume!, read));
  }
  const model: Model = config.pretrained === null
    ? fresh
    : await withPretrained(fresh, config.pretrained, config.variant, {
      key: config.pretrainedKey,
      ...(config.pretrainedPartial && {
        onMisfits: (misfits) => say(`Not taken from ${config.pretrained}: ${describeMisfits(misfits)}`),
      }),
    });
  return await realize(initTrainState(model, stepConfig));
}

/** The evaluation after so many steps: a memory that training has not read yet has no keys for it either. */
function segmentersOf(
  config: TrainConfig,
  stepConfig: ReturnType<typeof stepConfigOf>,
  phases: Run["phases"],
): Run["segmentAfter"] {
  const options = { mode: config.evalMode, crop: config.crop };
  const own = segmenter(forwardOf({ ...stepConfig, evalKeys: "self" }), options);
  if (stepConfig.evalKeys !== "memory") return () => own;
  const remembering = segmenter(forwardOf(stepConfig), options);
  return (steps) => phases.some(({ from, readsMemory }) => readsMemory && steps > from) ? remembering : own;
}

function dataLines(
  { name, labeled, unlabeled, val, classes, remarks = [] }: Dataset,
  config: TrainConfig,
  broken: BrokenFiles | undefined,
): string[] {
  const unused = config.method === "supervised" ? " (not used)" : "";
  const leftOut = broken === undefined || broken.reasons.size === 0
    ? []
    : [`Left out: ${broken.reasons.size} broken files, listed above`];
  return [
    `Data: ${name}: ${labeled.length} labeled and ${unlabeled.length} unlabeled images${unused}, ` +
    `${val.length} to validate, ${classes.length} classes`,
    ...leftOut,
    ...remarks,
  ];
}

function modelLine(state: TrainState, config: TrainConfig, checkpoint: Checkpoint | undefined): string {
  const origin = checkpoint !== undefined
    ? `as it was after step ${checkpoint.meta.step}`
    : config.pretrained === null
    ? "from random weights"
    : `from ${config.pretrained}`;
  const millions = (parameterCount(state) / 1e6).toPrecision(3);
  return `Model: ${config.method}, encoder ${config.variant}, ${millions} million parameters, ${origin}`;
}
