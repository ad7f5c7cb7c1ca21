/**
 * The compute threads as the main thread sees them: it appends records to the list that they follow and
 * awaits the count of finished runs. It never blocks, so its timers keep running.
 *
 * @module
 */
import { Worker } from "node:worker_threads";
import { DeviceError } from "../errors.ts";
import type { SharedHeap } from "./memory.ts";
import { control, failure, record, type ThreadData } from "./protocol.ts";

/** A failure in a thread: number of the run, index of the launch, and the engine's message. */
export interface ThreadFailure {
  readonly run: number;
  readonly launch: number;
  readonly message: string;
}

/** Workers that compute; they do not keep the process alive. */
export class Pool {
  readonly threads: number;
  readonly #heap: SharedHeap;
  readonly #workers: Worker[];
  #lastRecord: number = control.firstRecord * 4;
  #enqueued = 0;
  /** The runs that somebody awaits, by number. */
  readonly #awaited: number[] = [];
  #lost: Error | undefined;
  #closed = false;

  constructor(heap: SharedHeap, threads: number) {
    this.#heap = heap;
    this.threads = threads;
    this.#workers = Array.from({ length: threads }, (_, thread) => this.#start(thread));
  }

  /** Why the threads can do nothing any longer. */
  get lost(): Error | undefined {
    return this.#lost ??
      (this.#closed ? new Error("Cannot go on with the cpu device: it was closed") : undefined);
  }

  /** Number of runs handed over. */
  get enqueued(): number {
    return this.#enqueued;
  }

  /** Appends a record; returns the number of its run. */
  enqueue(address: number): number {
    if (this.lost !== undefined) throw this.lost;
    const words = this.#heap.words;
    words[(address >>> 2) + record.next] = 0;
    words[(address >>> 2) + record.number] = ++this.#enqueued;
    const next = (this.#lastRecord >>> 2) + record.next;
    Atomics.store(words, next, address | 0);
    Atomics.notify(words, next);
    this.#lastRecord = address;
    return this.#enqueued;
  }

  /** Resolves when run `number` and all before it are finished. Keeps the process alive meanwhile. */
  async finished(number: number): Promise<void> {
    if (this.#awaited.push(number) === 1) this.#workers[0]!.ref();
    this.#want();
    try {
      for (let completed = this.#heap.completed; completed < number; completed = this.#heap.completed) {
        if (this.lost !== undefined) throw this.lost;
        await Atomics.waitAsync(this.#heap.words, control.completed, completed).value;
      }
    } finally {
      this.#awaited.splice(this.#awaited.indexOf(number), 1);
      this.#want();
      if (this.#awaited.length === 0) this.#workers[0]!.unref();
    }
  }

  /** Asks the threads to wake this one when the first awaited run is finished. */
  #want(): void {
    Atomics.store(this.#heap.words, control.wanted, Math.min(this.#enqueued, ...this.#awaited));
  }

  /** Blocks the main thread until everything is finished: the last resort when memory is short. */
  finishNow(): void {
    this.#want();
    while (this.#heap.completed < this.#enqueued && !this.#lost) {
      Atomics.wait(this.#heap.words, control.completed, this.#heap.completed, 100);
    }
  }

  /** Takes the first failure that nobody has taken yet. */
  takeFailure(): ThreadFailure | undefined {
    const { words, bytes } = this.#heap;
    if (Atomics.load(words, control.failure) !== 2) return undefined;
    const message = (control.failure + failure.message) * 4;
    const length = words[control.failure + failure.length]!;
    const result = {
      run: words[control.failure + failure.run]!,
      launch: words[control.failure + failure.launch]!,
      message: new TextDecoder().decode(bytes.slice(message, message + length)),
    };
    Atomics.store(words, control.failure, 0);
    return result;
  }

  /** Ends all threads, at once if they are idle. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const words = this.#heap.words;
    // Wakes readers, who find the device closed.
    Atomics.notify(words, control.completed);
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #start(thread: number): Worker {
    const url = new URL("./worker.ts", import.meta.url);
    // Workers of node:worker_threads can be unreferenced, but take only files and data, so elsewhere (HTTP) a
    // line of data imports the module.
    const source = url.protocol === "file:" ? url : new URL(`data:text/javascript,import "${url.href}";`);
    const data: ThreadData = { memory: this.#heap.memory, thread, threads: this.threads };
    const worker = new Worker(source, { workerData: data });
    worker.on("error", (error) => {
      this.#lost ??= new DeviceError(
        `Cannot go on with the cpu device: thread ${thread} ended (${error}); setDevice("cpu") starts a new one`,
      );
      Atomics.notify(this.#heap.words, control.completed);
    });
    worker.unref();
    return worker;
  }
}
