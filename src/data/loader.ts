/**
 * The data loader: batches for training and whole images for evaluation, decoded and augmented by workers ahead of
 * their use.
 *
 * Batch k is a function of (data set, options, seed, k): the number of workers, the prefetch depth and the step at
 * which a run begins change nothing.
 *
 * @module
 */
import type { AugmentOptions } from "./augment.ts";
import type { Batch, Task, WholeImage } from "./batch.ts";
import type { Dataset, Item, ReadOptions } from "./datasets.ts";
import { DataError } from "./errors.ts";
import { batchOrder, type OrderOptions } from "./order.ts";
import { openPool, type WorkerPool } from "./pool.ts";

/** How many workers, and how far ahead they work. */
export interface WorkerOptions {
  /** Number of workers (default: one less than the machine has cores, 1 to 8). */
  readonly workers?: number;
  /** Results that are made ahead of their use (default: two per worker). */
  readonly prefetch?: number;
  /** Bytes of decoded images that all workers together keep (default 256 MiB). */
  readonly cacheBytes?: number;
}

/** What a loader needs to know to make batches. */
export interface LoaderOptions extends AugmentOptions, WorkerOptions {
  /** Images of each stream in one step. */
  readonly batch: number;
  /** Seed of order and augmentation (default 0). */
  readonly seed?: number;
  /**
   * First step whose batch has unlabeled images (default 0). `Infinity` means never: supervised training, on the
   * very labeled images that a semi-supervised run with this seed sees.
   */
  readonly unlabeledFrom?: number;
  /** Whose length makes an epoch: the longer list's (default), or the labeled one's. */
  readonly epoch?: OrderOptions["epoch"];
}

/** Which steps to make batches for. */
export interface StepRange {
  /** First step (default 0); a resumed run begins where the other one stopped. */
  readonly from?: number;
  /** Step before which to stop (default: never). */
  readonly to?: number;
}

/** A source of batches and of whole images, with workers behind it. */
export interface DataLoader extends AsyncDisposable {
  /** Steps in one epoch. */
  readonly stepsPerEpoch: number;
  /** The batches of a range of steps, in order; the workers begin with them at once. */
  batches(range?: StepRange): AsyncGenerator<Batch, void, undefined>;
  /** Items as whole normalised images, in order, by the same workers. */
  images(items: readonly Item[]): AsyncGenerator<WholeImage, void, undefined>;
  /** Ends the workers. */
  close(): Promise<void>;
}

/**
 * Opens a loader on a data set and starts its workers.
 *
 * @param dataset The data set.
 * @param options Crop, batch, seed, augmentation and workers.
 * @returns The loader; close it, or declare it with `await using`.
 * @throws {DataError} If the data set has no labeled images, or no unlabeled ones although they are asked for.
 * @throws {RangeError} If crop, batch, workers or prefetch is not a whole number that makes sense.
 *
 * @example Three batches of generated scenes
 * ```ts
 * import { openLoader, scenes } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * const dataset = scenes({ labeled: 2, unlabeled: 4, val: 1, size: [32, 32] });
 * await using loader = openLoader(dataset, { crop: 33, batch: 2, workers: 1 });
 * for await (const { labeled, unlabeled } of loader.batches({ to: 3 })) {
 *   assertEquals(labeled.image.length, 2 * 3 * 33 * 33);
 *   assertEquals(labeled.mask.length, 2 * 33 * 33);
 *   assertEquals(unlabeled?.image.length, 2 * 3 * 33 * 33);
 * }
 * ```
 */
export function openLoader(dataset: Dataset, options: LoaderOptions): DataLoader {
  const { batch, crop, seed = 0, unlabeledFrom = 0 } = options;
  requireWhole("crop", crop, 1);
  requireWhole("batch", batch, 1);
  const { labeled, unlabeled } = dataset;
  if (labeled.length === 0) throw new DataError(`Cannot train on ${dataset.name}: it has no labeled images`);
  if (unlabeled.length === 0 && unlabeledFrom !== Infinity) {
    throw new DataError(
      `Cannot train on ${dataset.name} with unlabeled images: it has none; train supervised`,
    );
  }
  const order = batchOrder({
    labeled: labeled.length,
    unlabeled: unlabeled.length,
    batch,
    seed,
    ...(options.epoch && { epoch: options.epoch }),
  });
  const { pool, prefetch } = startWorkers(dataset.reading, options, { augment: augmentOf(options), seed });

  const task = (step: number): Task => {
    const chosen = order.at(step);
    return {
      kind: "batch",
      step,
      labeled: chosen.labeled.map((i) => labeled[i]!),
      unlabeled: step < unlabeledFrom ? [] : chosen.unlabeled.map((i) => unlabeled[i]!),
    };
  };
  return {
    stepsPerEpoch: order.stepsPerEpoch,
    batches: ({ from = 0, to = Infinity } = {}) => inOrder<Batch>(pool, prefetch, stepTasks(from, to, task)),
    images: (items) => inOrder<WholeImage>(pool, prefetch, items.map(imageTask)),
    close: () => pool.close(),
    [Symbol.asyncDispose]: () => pool.close(),
  };
}

/**
 * Items as whole normalised images, in order, with workers of their own that end with the iteration.
 *
 * @param items The items.
 * @param reading How they are read.
 * @param options Workers and prefetch.
 * @returns The images one by one.
 * @throws {DataError} If an item cannot be read.
 *
 * @example
 * ```ts
 * import { scenes, wholeImages } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * const { val, reading } = scenes({ val: 2, size: [32, 24] });
 * for await (const { image, mask } of wholeImages(val, reading, { workers: 1 })) {
 *   assertEquals([image.length, mask?.length], [3 * 24 * 32, 24 * 32]);
 * }
 * ```
 */
export async function* wholeImages(
  items: readonly Item[],
  reading: ReadOptions,
  options: WorkerOptions = {},
): AsyncGenerator<WholeImage, void, undefined> {
  const { pool, prefetch } = startWorkers(reading, options, { augment: { crop: 1 }, seed: 0 });
  try {
    yield* inOrder<WholeImage>(pool, prefetch, items.map(imageTask));
  } finally {
    await pool.close();
  }
}

function startWorkers(
  reading: ReadOptions,
  options: WorkerOptions,
  rest: { augment: AugmentOptions; seed: number },
): { pool: WorkerPool; prefetch: number } {
  const { workers = Math.min(8, Math.max(1, navigator.hardwareConcurrency - 1)), cacheBytes = 2 ** 28 } =
    options;
  const { prefetch = 2 * workers } = options;
  requireWhole("workers", workers, 1);
  requireWhole("prefetch", prefetch, 0);
  return { pool: openPool(workers, { reading, cacheBytes: cacheBytes / workers, ...rest }), prefetch };
}

/** Only the augmentation's own options: a worker is sent nothing else. */
function augmentOf({ crop, scale, flip, color }: LoaderOptions): AugmentOptions {
  return { crop, ...(scale && { scale }), ...(flip !== undefined && { flip }), ...(color && { color }) };
}

function* stepTasks(from: number, to: number, task: (step: number) => Task): Generator<Task> {
  for (let step = from; step < to; step++) yield task(step);
}

function imageTask(item: Item): Task {
  return { kind: "image", item };
}

/** Runs tasks `prefetch` ahead of their use, from now on, and gives the results in the order of the tasks. */
function inOrder<Result extends Batch | WholeImage>(
  pool: WorkerPool,
  prefetch: number,
  tasks: Iterable<Task>,
): AsyncGenerator<Result, void, undefined> {
  const waiting = Iterator.from(tasks);
  const pending: Promise<Batch | WholeImage>[] = [];
  const startUpTo = (count: number): void => {
    while (pending.length < count) {
      const { value, done } = waiting.next();
      if (done) return;
      const result = pool.run(value);
      // A failure is thrown when its turn comes; until then it must not count as unhandled.
      result.catch(() => {});
      pending.push(result);
    }
  };
  startUpTo(prefetch);
  return (async function* () {
    while (true) {
      startUpTo(prefetch + 1);
      const result = pending.shift();
      if (result === undefined) return;
      yield await result as Result;
    }
  })();
}

function requireWhole(name: string, value: number, least: number): void {
  if (Number.isInteger(value) && value >= least) return;
  throw new RangeError(`Cannot load data with ${name} ${value}: a whole number from ${least} is required`);
}
