/**
 * What `train.ts` does with its options; `session_inference.ts` has the other two programs.
 *
 * @module
 */
import { runFiles } from "./checkpoint_files.ts";
import type { TrainConfig } from "./config.ts";
import { train } from "./session_train.ts";
import { iouTable, percent } from "./table.ts";

/** The exit status of a program that was interrupted, as shells give it. */
const interrupted = 130;

/**
 * Trains. Ctrl-C stops after the step that is under way and saves it; a second one stops at once.
 *
 * @param given What the command line says.
 * @returns The exit status.
 */
export async function runTrain(given: Partial<TrainConfig>): Promise<number> {
  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) Deno.exit(interrupted);
    controller.abort();
    console.error("\nStopping after this step; the checkpoint will be saved");
  };
  const signals: Deno.Signal[] = Deno.build.os === "windows" ? ["SIGINT"] : ["SIGINT", "SIGTERM"];
  for (const signal of signals) Deno.addSignalListener(signal, stop);
  const result = await train(given, { signal: controller.signal });
  for (const signal of signals) Deno.removeSignalListener(signal, stop);

  const { folder, steps, finished, scores, bestMeanIoU, classNames } = result;
  if (scores !== undefined) console.log(`\n${iouTable([...classNames], scores)}\n`);
  if (!finished) {
    console.log(
      steps === 0
        ? "Stopped before the first step"
        : `Stopped after step ${steps}; go on with: train.ts --resume ${folder}`,
    );
  }
  if (bestMeanIoU !== null) {
    console.log(`Best checkpoint: ${folder}/${runFiles.best} (${percent(bestMeanIoU)} %)`);
    console.log(`Last checkpoint: ${folder}/${runFiles.latest}`);
    console.log(`Curves and overlays: ${folder}/${runFiles.curves}, ${folder}/${runFiles.overlays}`);
  }
  if (scores !== undefined) console.log(`mIoU ${percent(scores.meanIoU)}`);
  return finished ? 0 : interrupted;
}
