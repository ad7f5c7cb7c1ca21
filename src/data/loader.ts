/**
 * The data loader: batches for training and whole images for evaluation, decoded and augmented by workers ahead of
 * their use.
 *
 * Batch k is a function of (data set, options, seed, k): the number of workers, the prefetch depth and the step at
 * which a run begins change nothing. With `broken`, the next item of a list that can be read stands where a broken one
 * would: that follows from the files too, whenever they are found to be broken.
 *
 * @module
 */
import type { AugmentOptions } from "./augment.ts";
import type { Batch, Picture, Task, TaskResult, WholeImage } from "./batch.ts";
import { type BrokenFiles, itemAt } from "./broken.ts";
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
  /**
   * Files that are left out; those that turn out to be broken are added. In batches the next item of the list stands in,
   * among images they are missing. Without it a broken file is an error.
   */
  readonly broken?: BrokenFiles;
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
  const { broken } = options;

  const task = (step: number): Task & { kind: "batch" } => {
    const chosen = order.at(step);
    const unused = step < unlabeledFrom;
    return {
      kind: "batch",
      step,
      labeled: chosen.labeled.map((i) => itemAt(labeled, i, broken, "labeled images")),
      unlabeled: unused ? [] : chosen.unlabeled.map((i) => itemAt(unlabeled, i, broken, "unlabeled images")),
    };
  };
  const makeBatch = async (step: number): Promise<Batch> => {
    while (true) {
      const batch = task(step);
      const result = await orBroken(pool.run(batch), [...batch.labeled, ...batch.unlabeled], broken);
      if (result !== undefined) return result as Batch;
    }
  };
  return {
    stepsPerEpoch: order.stepsPerEpoch,
    batches: ({ from = 0, to = Infinity } = {}) => inOrder(prefetch, jobs(from, to, makeBatch)),
    images: (items) => inOrder(prefetch, itemJobs<WholeImage>(pool, "image", items, broken)),
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
  yield* withWorkers<WholeImage>("image", items, reading, options);
}

/**
 * Items as pictures, without masks and not normalised, in order; otherwise as {@linkcode wholeImages}.
 *
 * @param items The items.
 * @param options Workers and prefetch.
 * @returns The pictures one by one.
 * @throws {DataError} If an item cannot be read.
 *
 * @example
 * ```ts
 * import { pictures, scenes } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * const { val } = scenes({ val: 2, size: [32, 24] });
 * for await (const { pixels } of pictures(val, { workers: 1 })) assertEquals([pixels.width, pixels.height], [32, 24]);
 * ```
 */
export async function* pictures(
  items: readonly Item[],
  options: WorkerOptions = {},
): AsyncGenerator<Picture, void, undefined> {
  const images = items.map((item) => "scene" in item ? item : { image: item.image });
  yield* withWorkers<Picture>("picture", images, { masks: {} }, options);
}

/** Results of items by workers that end with the iteration. */
async function* withWorkers<Result extends TaskResult>(
  kind: "image" | "picture",
  items: readonly Item[],
  reading: ReadOptions,
  options: WorkerOptions,
): AsyncGenerator<Result, void, undefined> {
  const { pool, prefetch } = startWorkers(reading, options, { augment: { crop: 1 }, seed: 0 });
  try {
    yield* inOrder(prefetch, itemJobs<Result>(pool, kind, items, options.broken));
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

/** Something to be made when its turn comes; undefined if it is left out. */
type Job<Result> = () => Promise<Result | undefined>;

function* jobs<Result>(
  from: number,
  to: number,
  make: (k: number) => Promise<Result>,
): Generator<Job<Result>> {
  for (let k = from; k < to; k++) yield () => make(k);
}

function itemJobs<Result extends TaskResult>(
  pool: WorkerPool,
  kind: "image" | "picture",
  items: readonly Item[],
  broken: BrokenFiles | undefined,
): Iterable<Job<Result>> {
  return Iterator.from(items).map((item) => async () =>
    broken?.has(item) === true
      ? undefined
      : await orBroken(pool.run({ kind, item }), [item], broken) as Result | undefined
  );
}

/** A result, or undefined if one of its items has just been found to be broken and that is no error. */
async function orBroken(
  result: Promise<TaskResult>,
  items: readonly Item[],
  broken: BrokenFiles | undefined,
): Promise<TaskResult | undefined> {
  try {
    return await result;
  } catch (error) {
    if (broken === undefined) throw error;
    broken.add(error);
    if (!items.some((item) => broken.has(item))) throw error;
    return undefined;
  }
}

/** Begins jobs `prefetch` ahead of their use, from now on, and gives the results in the order of the jobs. */
function inOrder<Result>(
  prefetch: number,
  jobs: Iterable<Job<Result>>,
): AsyncGenerator<Result, void, undefined> {
  const waiting = Iterator.from(jobs);
  const pending: Promise<Result | undefined>[] = [];
  const startUpTo = (count: number): void => {
    while (pending.length < count) {
      const { value: job, done } = waiting.next();
      if (done) return;
      const result = job();
      // A failure is thrown when its turn comes; until then it must not count as unhandled.
      result.catch(() => {});
      pending.push(result);
    }
  };
  startUpTo(prefetch);
  return (async function* () {
    while (true) {
      startUpTo(prefetch + 1);
      const next = pending.shift();
      if (next === undefined) return;
      const result = await next;
      if (result !== undefined) yield result;
    }
  })();
}

function requireWhole(name: string, value: number, least: number): void {
  if (Number.isInteger(value) && value >= least) return;
  throw new RangeError(`Cannot load data with ${name} ${value}: a whole number from ${least} is required`);
}
