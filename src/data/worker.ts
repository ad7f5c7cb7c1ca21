/**
 * The data worker: the first message holds its settings, every later one a task, and every answer a result or an
 * error.
 *
 * @module
 */
import sharp from "sharp";
import { type Task, type TaskResult, taskRunner, type TaskSettings } from "./batch.ts";
import { DataError, reason } from "./errors.ts";

/** What a worker answers to a task. */
export type Answer =
  | { readonly ok: true; readonly result: TaskResult }
  | { readonly ok: false; readonly isDataError: boolean; readonly message: string; readonly file?: string };

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
      const isDataError = error instanceof DataError;
      const file = isDataError && error.file !== undefined ? { file: error.file } : {};
      scope.postMessage({ ok: false, isDataError, message: reason(error), ...file }, []);
    }
  };
};
scope.postMessage("ready", []);

function buffersOf(result: TaskResult): Transferable[] {
  const arrays = "pixels" in result
    ? [result.pixels.data, ...("image" in result ? [result.image, result.mask] : [])]
    : [result.labeled.image, result.labeled.mask, result.unlabeled?.image];
  return arrays.flatMap((array) => array === undefined ? [] : [array.buffer]);
}
