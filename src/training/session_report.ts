/**
 * What a run leaves behind while it goes on: scores, checkpoints, curves and overlays.
 *
 * @module
 */
import type { Model, TrainState } from "../../models/mod.ts";
import type { WholeImage } from "../data/batch.ts";
import type { Dataset } from "../data/datasets.ts";
import type { DataLoader } from "../data/loader.ts";
import { ignoreIndex } from "../data/pixels.ts";
import { saveRunCheckpoint } from "./checkpoint.ts";
import { runFiles, writeFileAtomic } from "./checkpoint_files.ts";
import type { TrainConfig } from "./config.ts";
import { evaluateImages, type Segmented, type Segmenter } from "./evaluation.ts";
import { LossError } from "./loop.ts";
import type { SegmentationScores } from "./metrics.ts";
import { type MetricsLog, readMetrics } from "./metrics_log.ts";
import type { Progress } from "./progress.ts";
import { type Comparison, drawComparisons, drawCurves } from "./report.ts";
import { maskColorsOf } from "./session_data.ts";
import type { Phase } from "./session_model.ts";
import { stateToArrays } from "./session_state.ts";
import { percent } from "./table.ts";

/** A run that is under way. */
export interface Run {
  /** Its configuration. */
  readonly config: TrainConfig;
  /** Its data. */
  readonly dataset: Dataset;
  /** Reads them. */
  readonly loader: DataLoader;
  /** Its folder. */
  readonly folder: string;
  /** Its metrics file. */
  readonly log: MetricsLog;
  /** What the user sees. */
  readonly progress: Progress;
  /** Its phases. */
  readonly phases: readonly Phase[];
  /** Its model in evaluation. */
  readonly segmentAfter: (steps: number) => Segmenter<Model>;
  /** Steps in all. */
  readonly total: number;
  /** Steps between two evaluations. */
  readonly evalEvery: number;
  /** Seconds after which it is saved also between two evaluations. */
  readonly saveSeconds: number;
  /** Stops it. */
  readonly signal?: AbortSignal;
  /** What is said when it is stopped now. */
  readonly stopping: { says: string };
}

/** How a run stands. */
export interface Standing {
  /** Steps done. */
  readonly done: number;
  /** Steps done at the last evaluation whose scores and pictures are there. */
  readonly evaluated: number;
  /** The last scores, if there was an evaluation. */
  readonly scores?: SegmentationScores;
  /** The best mIoU so far, from 0 to 1. */
  readonly bestMeanIoU: number | null;
}

/** How many validation images the overlays show. */
const shownImages = 6;

/**
 * Evaluates a state, writes its scores, pictures and checkpoints, and says the mIoU. The state itself has been saved
 * before, so that nothing is lost by what goes wrong here: a resumed run evaluates again.
 *
 * @returns How the run stands now; as before, if it was stopped.
 */
export async function evaluateRun(run: Run, state: TrainState, before: Standing): Promise<Standing> {
  const { dataset, log, progress } = run;
  const shown: Segmented[] = [];
  const every = Math.max(1, dataset.val.length / shownImages);
  const { params, bnState, memState } = state;
  const segment = run.segmentAfter(before.done);
  let isLabeled = false;
  progress.stage("evaluating");
  const scores = await evaluateImages(
    untilStopped(run.loader.images(dataset.val), run.signal),
    (image) => segment({ params, bnState, memState }, image),
    {
      classes: dataset.classes.length,
      onImage: (segmented, done) => {
        progress.stage("evaluating image", done, dataset.val.length);
        isLabeled ||= segmented.image.mask!.some((id) => id !== ignoreIndex);
        if (done - 1 >= Math.round(shown.length * every)) shown.push(segmented);
      },
    },
  );
  if (run.signal?.aborted) return before;
  const { done, bestMeanIoU } = before;
  const best = bestMeanIoU === null || scores.meanIoU > bestMeanIoU;
  const standing = { done, evaluated: done, scores, bestMeanIoU: best ? scores.meanIoU : bestMeanIoU };
  log.append({ step: done, meanIoU: scores.meanIoU, pixelAccuracy: scores.pixelAccuracy, iou: scores.iou });
  // The pictures come first: a checkpoint says that they are there.
  await draw(run, shown, done);
  await saveRun(run, state, standing, { best });
  progress.note(
    `step ${done}: mIoU ${percent(scores.meanIoU)} %, ${percent(scores.pixelAccuracy)} % of pixels right` +
      (best && bestMeanIoU !== null ? ", the best so far" : ""),
  );
  if (!isLabeled) progress.note(nothingToScore);
  return standing;
}

/** Why an mIoU says nothing. */
const nothingToScore =
  "No pixel of the images to evaluate has a class (all are 255, ignored): the mIoU says nothing";

/** Images as long as nobody stops the run. */
async function* untilStopped(
  images: AsyncIterable<WholeImage>,
  signal: AbortSignal | undefined,
): AsyncGenerator<WholeImage, void, undefined> {
  for await (const image of images) {
    if (signal?.aborted) return;
    yield image;
  }
}

/**
 * Saves the run's latest checkpoint, and its best one if it is that.
 *
 * @throws {LossError} If a value is NaN or infinite: the checkpoint before stays.
 * @throws {WriteError} If a file cannot be written: likewise.
 */
export async function saveRun(
  { config, dataset, folder, log, progress }: Run,
  state: TrainState,
  { done, evaluated, bestMeanIoU }: Standing,
  { best }: { best: boolean },
): Promise<void> {
  progress.stage("saving the checkpoint");
  const arrays = await stateToArrays(state);
  const bad = [...arrays].flatMap(([name, { data }]) =>
    data instanceof Float32Array && !data.every(Number.isFinite) ? [name] : []
  );
  if (bad.length > 0) throw new LossError(done, bad);
  // A checkpoint after a step means that its metrics are there.
  await log.flush();
  const { classes } = dataset;
  const meta = { config, classes, maskColors: maskColorsOf(dataset), step: done, bestMeanIoU, evaluated };
  await saveRunCheckpoint(folder, { arrays, meta }, { best });
}

async function draw(
  { config, dataset, folder, phases }: Run,
  shown: readonly Segmented[],
  done: number,
): Promise<void> {
  const subtitle = `${dataset.name}, ${config.method}, ${config.variant}, seed ${config.seed}`;
  const marks = phases.slice(1).map(({ from, name }) => ({ x: from, label: name }));
  const curves = await drawCurves(await readMetrics(`${folder}/${runFiles.metrics}`), {
    title: "Training",
    subtitle,
    marks,
  });
  await writeFileAtomic(`${folder}/${runFiles.curves}`, curves);
  const comparisons = shown.map((
    { image: { pixels, mask, width, height, name }, prediction },
  ): Comparison => ({
    image: pixels,
    prediction,
    caption: name,
    ...(mask && { truth: { width, height, data: Uint8Array.from(mask) } }),
  }));
  const overlays = await drawComparisons(comparisons, {
    classes: dataset.classes,
    title: `Validation images after ${done} steps`,
    subtitle,
  });
  await writeFileAtomic(`${folder}/${runFiles.overlays}`, overlays);
}
