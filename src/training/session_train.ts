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
import { memory } from "../device.ts";
import { dispose, onCompile, readAll, realize } from "../evaluate.ts";
import { type Checkpoint, checkResume, loadCheckpoint } from "./checkpoint.ts";
import { makeRunFolder, runFiles } from "./checkpoint_files.ts";
import { type TrainConfig, trainConfig } from "./config.ts";
import { segmenter } from "./evaluation.ts";
import { LossError, runSteps, tryStep } from "./loop.ts";
import type { SegmentationScores } from "./metrics.ts";
import { openMetrics } from "./metrics_log.ts";
import { OptionError } from "./options.ts";
import { duration, Progress } from "./progress.ts";
import { chooseDevice, megabytes } from "./session.ts";
import { checkData, openTrainingData, withAdvice } from "./session_data.ts";
import {
  encoderOf,
  forwardOf,
  parameterCount,
  phasesOf,
  stepConfigOf,
  withPretrained,
} from "./session_model.ts";
import { evaluateRun, type Run, saveRun, type Standing } from "./session_report.ts";
import { stateFromArrays } from "./session_state.ts";

/** How a run is accompanied. */
export interface TrainOptions {
  /** Stops the run after the step that is under way; its state is saved. */
  readonly signal?: AbortSignal;
  /** Takes the lines about device, data, model and cost (default: standard output). */
  readonly say?: (line: string) => void;
  /** Takes the progress (default: standard error). */
  readonly progress?: Progress;
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
 * @param given Options that differ from the defaults; with `resume`, from those of the run.
 * @param options Ways to stop and to watch it.
 * @throws {OptionError} If options contradict each other or the checkpoint.
 * @throws {DataError} If the data cannot be used.
 * @throws {LossError} If the loss is no longer a number; the last checkpoint stays.
 */
export async function train(given: Partial<TrainConfig>, options: TrainOptions = {}): Promise<TrainResult> {
  const say = options.say ?? console.log;
  const checkpoint = given.resume == null ? undefined : await loadCheckpoint(given.resume);
  const config = trainConfig(...(checkpoint === undefined ? [] : [checkpoint.meta.config]), given);
  say(await chooseDevice(config.device));

  const dataset = await openTrainingData(config);
  if (checkpoint !== undefined) checkResume(checkpoint.meta, { config, classes: dataset.classes });
  using progress = options.progress ?? new Progress();
  const broken = config.skipBroken
    ? new BrokenFiles((_, why) => progress.note(`Left out: ${why}`))
    : undefined;
  const used = config.method === "supervised" ? { ...dataset, unlabeled: [] } : dataset;
  await checkData(used, { mode: config.evalMode, crop: config.crop, broken, progress });
  for (const line of dataLines(dataset, config, broken)) say(line);

  await using loader = openLoader(dataset, {
    crop: config.crop,
    batch: config.batch,
    seed: config.seed,
    workers: config.workers,
    unlabeledFrom: config.method === "supervised" ? Infinity : config.burnInSteps,
    ...(broken && { broken }),
    // The paper's supervised epochs are passes over the labeled images.
    ...(config.method === "supervised" && config.epochs !== null && { epoch: "labeled" }),
  });
  const total = config.steps ?? config.epochs! * loader.stepsPerEpoch;
  const warmup = config.warmupSteps ?? config.warmupEpochs! * loader.stepsPerEpoch;
  const evalEvery = config.evalEvery ?? loader.stepsPerEpoch;
  const from = checkpoint?.meta.step ?? 0;
  if (from >= total) {
    throw new OptionError([
      `Cannot resume ${config.resume}: all its ${total} steps are done; start a new run`,
    ]);
  }
  const stepConfig = stepConfigOf(config, { classes: dataset.classes.length, steps: total });
  const phases = phasesOf(config, stepConfig, { steps: total, warmup });

  progress.stage("making the model");
  let state = await firstState(config, stepConfig, checkpoint);
  say(modelLine(state, config, checkpoint));

  const folder = checkpoint === undefined ? await makeRunFolder(config) : await folderOf(config.resume!);
  say(`Results: ${folder}`);
  using log = await openMetrics(
    `${folder}/${runFiles.metrics}`,
    checkpoint === undefined ? {} : { keepUntil: from },
  );
  const segmentAfter = segmentersOf(config, stepConfig, phases);
  const run: Run = { config, dataset, loader, folder, log, progress, phases, segmentAfter };

  // The first batches are made while the programs are compiled.
  const batches = loader.batches({ from, to: total });
  const { line, stepSeconds } = await tryRun(run, state, { from, total, evalEvery });
  progress.note(line);

  const key = await realize(random.foldIn(random.key(config.seed), trainingStream));
  let standing: Standing = { done: from, bestMeanIoU: checkpoint?.meta.bestMeanIoU ?? null };
  progress.start({ total, imagesPerStep: config.batch * (config.method === "supervised" ? 1 : 2), from });
  try {
    while (standing.done < total && options.signal?.aborted !== true) {
      const next = Math.min(total, (Math.floor(standing.done / evalEvery) + 1) * evalEvery);
      const result = await runSteps(state, {
        from: standing.done,
        to: next,
        stepAt: (t) => phases.find(({ to }) => t < to)!.step,
        batches,
        crop: config.crop,
        key,
        // Often enough for the eye, seldom enough for a fast device.
        readEvery: Math.min(16, Math.max(1, Math.round(0.2 / stepSeconds))),
        onMetrics: (done, metrics) => {
          log.append({ step: done, ...metrics });
          progress.update({
            step: done,
            loss: metrics.loss,
            lr: metrics.lr ?? 0,
            dataWait: metrics.dataWait,
          });
        },
        stopped: () => options.signal?.aborted === true,
      });
      state = result.state;
      standing = { ...standing, done: result.done };
      if (result.done === next) standing = await evaluateRun(run, state, standing);
      else await saveRun(run, state, standing, { best: false });
    }
  } catch (error) {
    if (error instanceof LossError) progress.note(await lastGood(folder));
    throw withAdvice(error);
  }
  return {
    folder,
    steps: standing.done,
    finished: standing.done === total,
    ...(standing.scores && { scores: standing.scores }),
    bestMeanIoU: standing.bestMeanIoU,
    classNames: dataset.classes.map(({ name }) => name),
  };
}

/** What keeps the random numbers of steps and of first weights apart. */
const trainingStream = 1;

/** The state before the first step of this call. */
async function firstState(
  config: TrainConfig,
  stepConfig: StepConfig,
  checkpoint: Checkpoint | undefined,
): Promise<TrainState> {
  const fresh = initModel(random.key(config.seed), stepConfig);
  if (checkpoint !== undefined) {
    const state = initTrainState(fresh, stepConfig);
    return await realize(stateFromArrays(checkpoint.arrays, state, encoderOf(config.variant)));
  }
  const model: Model = config.pretrained === null
    ? fresh
    : await withPretrained(fresh, config.pretrained, config.variant);
  return await realize(initTrainState(model, stepConfig));
}

/** Compiles all programs of a run, tries each, and says what the run will cost. */
async function tryRun(
  run: Run,
  state: TrainState,
  { from, total, evalEvery }: { from: number; total: number; evalEvery: number },
): Promise<{ line: string; stepSeconds: number }> {
  const { config, dataset, progress } = run;
  const coming = run.phases.filter(({ to }) => to > from);
  const programs = coming.length + 1;
  const compiling = (k: number, name: string) => (done: number, kernels: number): void =>
    progress.stage(`compiling program ${k} of ${programs} (${name}), kernel`, done, kernels);
  let seconds = 0;
  for (const [k, { name, step, from: begin, to, unlabeled }] of coming.entries()) {
    progress.stage(`tracing program ${k + 1} of ${programs} (${name})`);
    const cost = await tryStep(step, state, {
      batch: config.batch,
      crop: config.crop,
      unlabeled,
      onProgress: compiling(k + 1, name),
    });
    seconds += cost.seconds * (to - Math.max(from, begin));
  }
  progress.stage(`tracing program ${programs} of ${programs} (evaluation)`);
  const perImage = await tryEvaluation(run, state, total, compiling(programs, "evaluation"));
  const evaluations = Math.ceil(total / evalEvery) - Math.floor(from / evalEvery);
  const whole = seconds + perImage * evaluations * dataset.val.length;
  const { liveBytes, pooledBytes } = memory.stats();
  const times = `${total - from} steps and ${evaluations} evaluation${evaluations === 1 ? "" : "s"}`;
  return {
    line: `Expected: about ${duration(whole)} for ${times}, ${
      megabytes(liveBytes + pooledBytes)
    } on the device`,
    stepSeconds: seconds / Math.max(1, total - from),
  };
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

/** Seconds that one validation image takes. */
async function tryEvaluation(
  { dataset, loader, segmentAfter }: Run,
  { params, bnState, memState }: TrainState,
  steps: number,
  onProgress: (done: number, total: number) => void,
): Promise<number> {
  const segment = segmentAfter(steps);
  let seconds = 0;
  for await (const image of loader.images(dataset.val.slice(0, 1))) {
    onCompile(onProgress);
    try {
      for (let k = 0; k < 2; k++) {
        const begin = performance.now();
        const found = segment({ params, bnState, memState }, image);
        await readAll({ found });
        dispose(found);
        seconds = (performance.now() - begin) / 1000;
      }
    } finally {
      onCompile(undefined);
    }
  }
  return seconds;
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

async function lastGood(folder: string): Promise<string> {
  const path = `${folder}/${runFiles.latest}`;
  const exists = await Deno.stat(path).then(() => true, () => false);
  return exists
    ? `The last good checkpoint is ${path}`
    : "There is no good checkpoint: the run was not evaluated yet";
}

/** The folder of a run that a `--resume` path names, itself or by its checkpoint. */
async function folderOf(path: string): Promise<string> {
  if ((await Deno.stat(path)).isDirectory) return path;
  const cut = path.replaceAll("\\", "/").lastIndexOf("/");
  return cut < 0 ? "." : path.slice(0, cut);
}
