/**
 * What a run leaves behind while it goes on: scores, checkpoints, curves and overlays.
 *
 * @module
 */
import type { Model, TrainState } from "../../models/mod.ts";
import type { Dataset } from "../data/datasets.ts";
import type { DataLoader } from "../data/loader.ts";
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
}

/** How a run stands. */
export interface Standing {
  /** Steps done. */
  readonly done: number;
  /** The last scores, if there was an evaluation. */
  readonly scores?: SegmentationScores;
  /** The best mIoU so far, from 0 to 1. */
  readonly bestMeanIoU: number | null;
}

/** How many validation images the overlays show. */
const shownImages = 6;

/**
 * Evaluates a state, writes its scores, pictures and checkpoints, and says the mIoU.
 *
 * @returns How the run stands now.
 */
export async function evaluateRun(run: Run, state: TrainState, before: Standing): Promise<Standing> {
  const { dataset, log, progress } = run;
  const shown: Segmented[] = [];
  const every = Math.max(1, dataset.val.length / shownImages);
  const { params, bnState, memState } = state;
  const segment = run.segmentAfter(before.done);
  progress.stage("evaluating");
  const scores = await evaluateImages(
    run.loader.images(dataset.val),
    (image) => segment({ params, bnState, memState }, image),
    {
      classes: dataset.classes.length,
      onImage: (segmented, done) => {
        progress.stage("evaluating image", done, dataset.val.length);
        if (done - 1 >= Math.round(shown.length * every)) shown.push(segmented);
      },
    },
  );
  const { done, bestMeanIoU } = before;
  log.append({ step: done, meanIoU: scores.meanIoU, pixelAccuracy: scores.pixelAccuracy, iou: scores.iou });
  const best = bestMeanIoU === null || scores.meanIoU > bestMeanIoU;
  const standing = { done, scores, bestMeanIoU: best ? scores.meanIoU : bestMeanIoU };
  await saveRun(run, state, standing, { best });
  await draw(run, shown, done);
  progress.note(
    `step ${done}: mIoU ${percent(scores.meanIoU)} %, ${percent(scores.pixelAccuracy)} % of pixels right` +
      (best && bestMeanIoU !== null ? ", the best so far" : ""),
  );
  return standing;
}

/**
 * Saves the run's latest checkpoint, and its best one if it is that.
 *
 * @throws {LossError} If a value is NaN or infinite: the checkpoint before stays.
 */
export async function saveRun(
  { config, dataset, folder, progress }: Run,
  state: TrainState,
  { done, bestMeanIoU }: Standing,
  { best }: { best: boolean },
): Promise<void> {
  progress.stage("saving the checkpoint");
  const arrays = await stateToArrays(state);
  for (const { data } of arrays.values()) {
    if (data instanceof Float32Array && !data.every(Number.isFinite)) throw new LossError(done, NaN);
  }
  const { classes } = dataset;
  const meta = { config, classes, maskColors: maskColorsOf(dataset), step: done, bestMeanIoU };
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
