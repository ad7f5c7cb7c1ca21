/**
 * The data worker: the first message holds its settings, every later one a task, and every answer a result or an
 * error.
 *
 * @module
 */
import sharp from "sharp";
import { type Batch, type Task, taskRunner, type TaskSettings, type WholeImage } from "./batch.ts";
import { DataError, reason } from "./errors.ts";

/** What a worker answers to a task. */
export type Answer =
  | { readonly ok: true; readonly result: Batch | WholeImage }
  | { readonly ok: false; readonly isDataError: boolean; readonly message: string };

/** The part of a worker's global scope that is used here. */
interface WorkerScope {
  onmessage: ((event: MessageEvent<TaskSettings | Task>) => void) | null;
  postMessage(message: Answer | "ready", transfer: Transferable[]): void;
}

const scope = globalThis as unknown as WorkerScope;

// The workers themselves are the parallelism, and they keep their own cache of decoded samples.
sharp.concurrency(1);
sharp.cache(false);

scope.onmessage = ({ data: settings }) => {
  const run = taskRunner(settings as TaskSettings);
  scope.onmessage = async ({ data: task }) => {
    try {
      const result = await run(task as Task);
      scope.postMessage({ ok: true, result }, buffersOf(result));
    } catch (error) {
      scope.postMessage({ ok: false, isDataError: error instanceof DataError, message: reason(error) }, []);
    }
  };
};
scope.postMessage("ready", []);

function buffersOf(result: Batch | WholeImage): Transferable[] {
  const arrays = "pixels" in result
    ? [result.image, result.pixels.data, result.mask]
    : [result.labeled.image, result.labeled.mask, result.unlabeled?.image];
  return arrays.flatMap((array) => array === undefined ? [] : [array.buffer]);
}
