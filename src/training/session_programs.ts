/**
 * What `train.ts` does with its options; `session_inference.ts` has the other two programs.
 *
 * @module
 */
import { runFiles } from "./checkpoint_files.ts";
import type { TrainConfig } from "./config.ts";
import { train, type TrainResult } from "./session_train.ts";
import { listenForStops, statusOf } from "./signals.ts";
import { iouTable, percent } from "./table.ts";
import { stderr, stdout } from "./terminal.ts";

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
