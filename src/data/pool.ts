/** A pool of data workers: tasks go in, results come out, errors keep their sentence. @module */
import type { Task, TaskResult, TaskSettings } from "./batch.ts";
import { DataError } from "./errors.ts";
import type { Answer } from "./worker.ts";

/** A pool of workers that carry out tasks. */
export interface WorkerPool extends AsyncDisposable {
  /** Hands a task to the next free worker. */
  run(task: Task): Promise<TaskResult>;
  /** Lets running tasks end, refuses waiting ones, and ends the workers. */
  close(): Promise<void>;
}

interface Job {
  readonly task: Task;
  readonly resolve: (result: TaskResult) => void;
  readonly reject: (error: Error) => void;
}

/**
 * Starts workers.
 *
 * @param count Number of workers.
 * @param settings What all tasks have in common.
 * @returns The pool.
 */
export function openPool(count: number, settings: TaskSettings): WorkerPool {
  const waiting: Job[] = [];
  const members = Array.from({ length: count }, () => startMember(settings, waiting));
  let closed = false;
  return {
    run(task) {
      if (closed) return Promise.reject(new Error("Cannot load data: the loader is closed"));
      return new Promise((resolve, reject) => {
        waiting.push({ task, resolve, reject });
        members.find((member) => member.isFree())?.takeNext();
      });
    },
    async close() {
      closed = true;
      for (const job of waiting.splice(0)) job.reject(new Error("Cannot load data: the loader was closed"));
      await Promise.all(members.map((member) => member.end()));
    },
    [Symbol.asyncDispose]() {
      return this.close();
    },
  };
}

interface Member {
  isFree(): boolean;
  takeNext(): void;
  end(): Promise<void>;
}

/** One worker, which takes jobs from the shared queue one at a time; a broken one takes them too, to fail them. */
function startMember(settings: TaskSettings, waiting: Job[]): Member {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  const idle = Promise.withResolvers<void>();
  let state: "starting" | "free" | "busy" = "starting";
  let broken: Error | undefined;
  let job: Job | undefined;
  let ending = false;

  const takeNext = (): void => {
    job = waiting.shift();
    if (job !== undefined && broken !== undefined) return failJob(broken);
    if (ending) return idle.resolve();
    state = job === undefined ? "free" : "busy";
    if (job !== undefined) worker.postMessage(job.task);
  };
  const failJob = (error: Error): void => {
    job?.reject(error);
    takeNext();
  };

  worker.onmessage = ({ data }: MessageEvent<Answer | "ready">) => {
    if (data === "ready") worker.postMessage(settings);
    else if (data.ok) job?.resolve(data.result);
    else job?.reject(data.isDataError ? new DataError(data.message, data) : new Error(data.message));
    takeNext();
  };
  worker.onerror = (event) => {
    event.preventDefault();
    broken = new Error(`Cannot load data: a data worker failed: ${event.message}`);
    failJob(broken);
  };
  return {
    isFree: () => state === "free",
    takeNext,
    async end() {
      ending = true;
      if (state === "busy") await idle.promise;
      worker.terminate();
    },
  };
}
