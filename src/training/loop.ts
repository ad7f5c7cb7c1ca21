/**
 * The inner loop of training: batches become tensors while the device works, compiled steps follow one another, and
 * their metrics are read late and together.
 *
 * @module
 */
import type { Batch as TensorBatch, Step, StepResult, TrainState } from "../../models/mod.ts";
import { add, random, tensor } from "../../ops/mod.ts";
import type { Batch } from "../data/batch.ts";
import { firstFew } from "../data/errors.ts";
import { ignoreIndex } from "../data/pixels.ts";
import { dispose, onCompile, readAll, realize } from "../evaluate.ts";
import type { Tensor } from "../tensor.ts";
import { jit } from "../transforms/jit.ts";
import { treeMap } from "../tree.ts";
import { DataWait } from "./data_wait.ts";

/** The metrics of one step as numbers; `loss` and `dataWait` are always among them. */
export interface StepMetrics {
  /** What is minimised. */
  readonly loss: number;
  /**
   * The share of the time, from 0 to 1, in which the device had nothing to do because a batch was not there: of this step,
   * or, where the metrics of several are read together, of all of them.
   */
  readonly dataWait: number;
  /** Whatever else the step reports. */
  readonly [name: string]: number;
}

/** A loss, or weights, that are no numbers any more: the run cannot go on. */
export class LossError extends Error {
  /** The name of this class. */
  override readonly name = "LossError";

  /**
   * Makes the error.
   *
   * @param step The step, counted from 1, after which it was found.
   * @param found The loss of that step, NaN or an infinity; or, where the loss is a number, the names of the weights that
   * are not.
   */
  constructor(readonly step: number, found: number | readonly string[]) {
    const what = typeof found === "number"
      ? `the loss is ${found}`
      : `the loss is a number, but ${found.length} of the saved arrays hold NaN or infinities, ${
        firstFew(found)
      }`;
    super(
      `Cannot go on after step ${step}: ${what}; a lower --lr, more --burn-in-steps or another --seed may help`,
    );
  }
}

/**
 * Compiles a step so that it reuses the memory of the state and the batch that it is given. The random key of step t
 * is `foldIn(key, t)`, whatever happened before: a resumed run draws the same numbers.
 *
 * @param step The step.
 */
export function compileStep(step: Step): Step {
  const keyed = (state: TrainState, batch: TensorBatch, key: Tensor): StepResult =>
    step(state, batch, random.foldIn(key, state.step));
  Object.defineProperty(keyed, "name", { value: step.name || "step" });
  return jit(keyed, { donate: [0, 1] });
}

/**
 * The arrays of a batch as tensors on the device.
 *
 * @param batch What the loader made.
 * @param crop Side of its images in pixels.
 */
export async function uploadBatch({ labeled, unlabeled }: Batch, crop: number): Promise<TensorBatch> {
  const image = (data: Float32Array): Tensor =>
    tensor(data, { shape: [data.length / (3 * crop * crop), 3, crop, crop] });
  const mask = tensor(labeled.mask, { shape: [labeled.mask.length / (crop * crop), crop, crop] });
  return await realize({
    labeled: { image: image(labeled.image), mask },
    ...(unlabeled && { unlabeled: { image: image(unlabeled.image) } }),
  });
}

/** How a stretch of steps is run. */
export interface RunOptions {
  /** First step, counted from 0. */
  readonly from: number;
  /** Step before which to stop. */
  readonly to: number;
  /** The compiled step that is taken as step t. */
  readonly stepAt: (t: number) => Step;
  /** The batches of the steps, in order. */
  readonly batches: AsyncIterator<Batch>;
  /** Side of their images in pixels. */
  readonly crop: number;
  /** Key of the run's random numbers. */
  readonly key: Tensor;
  /** Read the metrics of so many steps in one wait. */
  readonly readEvery: number;
  /** Called for every step, in order, with the number of steps done. */
  readonly onMetrics: (done: number, metrics: StepMetrics) => void;
  /** Called after every step, before its metrics are known: what is to be saved if a later one fails. */
  readonly onState?: (state: TrainState, done: number) => void;
  /** Called for a step whose labeled images have no pixel with a class: their loss is 0 and teaches nothing. */
  readonly onUnlabeled?: (step: number) => void;
  /** Asked after every step; true stops the stretch there. A batch that was already asked for is dropped. */
  readonly stopped?: () => boolean;
}

/**
 * Runs steps. While a step runs, the next batch is waited for and sent to the device; a step waits for nothing but its
 * batch, and the loop for the metrics.
 *
 * @param state The state before; its memory is given up.
 * @returns The state after, and the number of steps done.
 * @throws {LossError} If a loss is NaN or infinite.
 * @throws {RangeError} If the batches end too early. This, and what the loader throws, comes when the steps before are done
 * and their metrics told.
 */
export async function runSteps(
  state: TrainState,
  options: RunOptions,
): Promise<{ state: TrainState; done: number }> {
  const { from, to, stepAt, batches, crop, key, readEvery, onMetrics, onState, onUnlabeled, stopped } =
    options;
  const unread: { done: number; metrics: StepResult["metrics"] }[] = [];
  const wait = new DataWait();
  const flush = async (): Promise<void> => {
    const named = unread.flatMap(({ done, metrics }) =>
      Object.entries(metrics).map(([name, value]) => [`${done} ${name}`, value] as const)
    );
    const values = await readAll(Object.fromEntries(named));
    const dataWait = wait.share();
    for (const { done, metrics } of unread) {
      const numbers = Object.fromEntries(
        Object.keys(metrics).map((name) => [name, values[`${done} ${name}`]![0]!]),
      ) as { loss: number };
      dispose(metrics);
      if (!Number.isFinite(numbers.loss)) throw new LossError(done, numbers.loss);
      onMetrics(done, { ...numbers, dataWait });
    }
    unread.length = 0;
  };

  let done = from;
  let next = done < to ? fetchBatch(batches, crop) : undefined;
  try {
    while (next !== undefined) {
      const { batch, isLabeled } = await wait.until(next).catch(async (error) => {
        await flush();
        throw error;
      });
      wait.stepStarts();
      const result = stepAt(done)(state, batch, key);
      state = result.state;
      unread.push({ done: ++done, metrics: result.metrics });
      onState?.(state, done);
      if (!isLabeled) onUnlabeled?.(done);
      next = done < to ? fetchBatch(batches, crop) : undefined;
      if (next === undefined || unread.length >= readEvery || stopped?.() === true) {
        // Reading may block this thread, so a batch that is there goes to the device first.
        await Promise.race([next, new Promise((resolve) => setTimeout(resolve))]).catch(() => {});
        await flush();
      }
      if (stopped?.() === true) break;
    }
  } finally {
    next?.then(({ batch }) => dispose(batch), () => {});
  }
  return { state, done };
}

/** A batch on the device. */
interface Fetched {
  readonly batch: TensorBatch;
  /** Whether a labeled pixel has a class. */
  readonly isLabeled: boolean;
}

/** The next batch, on its way to the device. A failure is thrown where the batch is awaited, not before. */
function fetchBatch(batches: AsyncIterator<Batch>, crop: number): Promise<Fetched> {
  const batch = nextBatch(batches, crop);
  batch.catch(() => {});
  return batch;
}

async function nextBatch(batches: AsyncIterator<Batch>, crop: number): Promise<Fetched> {
  const { value, done } = await batches.next();
  if (done) throw new RangeError("Cannot take the next step: the loader has no batch for it");
  const batch = value as Batch;
  const isLabeled = batch.labeled.mask.some((id) => id !== ignoreIndex);
  return { batch: await uploadBatch(batch, crop), isLabeled };
}

/** What a step costs. */
export interface StepCost {
  /** Seconds of one step, without compilation. */
  readonly seconds: number;
  /** Seconds of compilation. */
  readonly compileSeconds: number;
}

/**
 * Compiles a step and tries it on a copy of the state and an empty batch, so that its cost is known before the
 * training begins. The state is not changed.
 *
 * @param step A compiled step.
 * @param state The state.
 * @param options Images of each stream, their side, whether there are unlabeled ones, and a listener to the compiler.
 */
export async function tryStep(
  step: Step,
  state: TrainState,
  { batch, crop, unlabeled, onProgress }: {
    batch: number;
    crop: number;
    unlabeled: boolean;
    onProgress: (done: number, total: number) => void;
  },
): Promise<StepCost> {
  const image = new Float32Array(batch * 3 * crop * crop);
  const empty: Batch = {
    step: 0,
    labeled: { image, mask: new Int32Array(batch * crop * crop) },
    ...(unlabeled && { unlabeled: { image } }),
  };
  const key = random.key(0);
  let current = await realize(treeMap<TrainState>(state, (leaf: Tensor) => add(leaf, 0)));
  const firstBatch = await uploadBatch(empty, crop);
  const begin = performance.now();
  onCompile(onProgress);
  let started: number;
  try {
    const first = step(current, firstBatch, key);
    started = performance.now();
    await readAll({ loss: first.metrics.loss });
    current = first.state;
    dispose(first.metrics);
  } finally {
    onCompile(undefined);
  }
  let seconds = (performance.now() - started) / 1000;
  // The first run includes what backends put off; the second is what every later one takes.
  if (seconds < 5) {
    const again = performance.now();
    const second = step(current, await uploadBatch(empty, crop), key);
    await readAll({ loss: second.metrics.loss });
    seconds = (performance.now() - again) / 1000;
    current = second.state;
    dispose(second.metrics);
  }
  dispose([current, key]);
  return { seconds, compileSeconds: (started - begin) / 1000 };
}
