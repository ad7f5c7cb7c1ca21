/** Training in one process: the loss falls, memory stays, bad losses stop the loop, evaluation looks where it says. */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  allsparkStep,
  conv2d,
  dispose,
  memory,
  newTrainState,
  random,
  realize,
  setDevice,
  type Step,
  type Tensor,
  tensor,
  type TrainState,
  zeros,
} from "@allspark/tensor";
import { type Batch, DataError, ignoreIndex, openLoader, scenes } from "@allspark/tensor/data";
import {
  compileStep,
  evaluateImages,
  LossError,
  runSteps,
  segmenter,
  type StepMetrics,
  tryStep,
} from "@allspark/tensor/training";
import { DataWait } from "../src/training/data_wait.ts";

const crop = 33;
const variant = {
  dims: [8, 16, 40, 64],
  depths: [1, 1, 1, 1],
  heads: [1, 2, 5, 8],
  srRatios: [8, 4, 2, 1],
} as const;
const rates = { dropPath: 0, attention: 0, projection: 0, head: 0 };
const config = {
  variant,
  classes: 8,
  embedding: 32,
  crop,
  rates,
  learningRate: 0.02,
  learningRateMultiplier: 1,
};

/** The same eight scenes again and again, without augmentation. */
async function* eightScenes(): AsyncGenerator<Batch, void, undefined> {
  const dataset = scenes({ labeled: 8, unlabeled: 8, val: 1, size: [crop, crop], difficulty: 0 });
  const still = { scale: [1, 1] as const, flip: 0, color: { jitter: 0, grayscale: 0, blur: 0 } };
  await using loader = openLoader(dataset, { crop, batch: 2, workers: 1, ...still });
  const made: Batch[] = [];
  for await (const batch of loader.batches({ to: 4 })) made.push(batch);
  while (true) yield* made;
}

async function train(
  steps: number,
  onMetrics: (done: number, metrics: StepMetrics) => void,
): Promise<void> {
  await setDevice("cpu");
  const state = await realize(newTrainState(random.key(1), config));
  const step = compileStep(allsparkStep(config));
  const key = await realize(random.key(2));
  const batches = eightScenes();
  const options = { crop, key, readEvery: 5, batches, stepAt: () => step, onMetrics };
  const { state: last } = await runSteps(state, { ...options, from: 0, to: steps });
  await batches.return();
  dispose([last, key]);
}

Deno.test("200 AllSpark steps learn eight scenes and hold the live bytes flat", async () => {
  const losses: number[] = [];
  const bytes: number[] = [];
  await train(200, (done, metrics) => {
    losses.push(metrics.lossLabeled!);
    if (done % 50 === 45) bytes.push(memory.stats().liveBytes);
  });
  console.log(`live bytes after 45, 95, 145 and 195 steps: ${bytes.join(", ")}`);
  assertEquals(new Set(bytes).size, 1);
  const last = losses.slice(-10).reduce((total, loss) => total + loss) / 10;
  console.log(`labeled loss: ${losses[0]!.toFixed(3)} in the first step, ${last.toFixed(3)} in the last ten`);
  assert(losses[0]! > 1.9, "a new model knows nothing of eight classes");
  assert(last < 0.9, `after 200 steps the loss must be below 0.9; it is ${last}`);
});

Deno.test("tryStep() leaves the state as it is and nothing behind", async () => {
  await setDevice("cpu");
  const state = await realize(newTrainState(random.key(1), config));
  const before = await state.params.decoder.classify.weight.data();
  const programs: number[] = [];
  const step = compileStep(allsparkStep(config));
  const onProgress = (done: number, total: number): unknown => programs.push(done / total);
  // No other test takes a step of this size: what is compiled already has no progress.
  const sizes = { batch: 3, crop, unlabeled: true, onProgress };
  const cost = await tryStep(step, state, sizes);
  // What the program itself keeps is there after the first time.
  const { liveBytes } = memory.stats();
  await tryStep(step, state, sizes);
  assertEquals(programs.at(-1), 1);
  assert(cost.seconds > 0 && cost.compileSeconds > 0);
  assertEquals(await state.params.decoder.classify.weight.data(), before);
  assertEquals(await state.step.item(), 0);
  assertEquals(memory.stats().liveBytes, liveBytes);
  dispose(state);
});

Deno.test("runSteps() stops at the step whose loss is no number, though it reads several at once", async () => {
  await setDevice("cpu");
  let calls = 0;
  const step: Step = (state) => {
    const loss = tensor(++calls === 3 ? NaN : calls);
    return { state, metrics: { loss, lossLabeled: zeros([]), lossUnlabeled: zeros([]), lr: zeros([]) } };
  };
  const batches = eightScenes();
  const seen: number[] = [];
  const state = {} as TrainState;
  const error = await assertRejects(
    () =>
      runSteps(state, {
        ...{ from: 0, to: 9, crop, readEvery: 4, batches, key: random.key(0), stepAt: () => step },
        onMetrics: (done, { loss }) => seen.push(done * 100 + loss),
      }),
    LossError,
    "Cannot go on after step 3: the loss is NaN",
  );
  assertEquals((error as LossError).step, 3);
  assertEquals(seen, [101, 202]);
  await batches.return();
});

/** Batches of a source that takes so many milliseconds for each. */
async function* delayed(milliseconds: number): AsyncGenerator<Batch, void, undefined> {
  const source = eightScenes();
  const { value } = await source.next();
  await source.return();
  while (true) {
    if (milliseconds > 0) await new Promise((resolve) => setTimeout(resolve, milliseconds));
    yield value!;
  }
}

Deno.test("runSteps() tells the share of time spent waiting for data", async () => {
  await setDevice("cpu");
  const step = compileStep(allsparkStep(config));
  const key = await realize(random.key(2));
  for (const readEvery of [1, 4]) {
    for (const milliseconds of [0, 200]) {
      const shares: number[] = [];
      const batches = delayed(milliseconds);
      const options = { crop, key, readEvery, batches, stepAt: () => step };
      const state = await realize(newTrainState(random.key(1), config));
      // The first stretch compiles.
      const warm = await runSteps(state, { ...options, from: 0, to: 1, onMetrics: () => {} });
      const last = await runSteps(warm.state, {
        ...{ ...options, from: 1, to: 9 },
        onMetrics: (_, { dataWait }) => shares.push(dataWait),
      });
      await batches.return();
      dispose(last.state);
      const mean = shares.reduce((sum, share) => sum + share) / shares.length;
      assertEquals(shares.length, 8);
      assert(shares.every((share) => share >= 0 && share <= 1), `shares ${shares}`);
      if (milliseconds > 0) assert(mean > 0.6, `a slow source is waited for: ${shares}`);
      else assert(mean < 0.2, `a fast source is not waited for: ${shares}`);
    }
  }
});

Deno.test("DataWait counts only waits in which the device had nothing to do", async () => {
  let now = 0;
  const batchAfter = async (milliseconds: number): Promise<void> => {
    await Promise.resolve();
    now += milliseconds;
  };
  const wait = new DataWait(() => now);
  // Three steps of 100 ms; each wait of 80 ms is hidden behind the step before, but for the first one.
  for (let k = 0; k < 3; k++) {
    await wait.until(batchAfter(80));
    wait.stepStarts();
  }
  now = 80 + 3 * 100;
  assertAlmostEquals(wait.share(), 80 / 380, 1e-9);
  // A step of 100 ms after a log of 10 ms, and another after 250 ms: idle for 10 and 150 ms.
  now += 10;
  wait.stepStarts();
  await wait.until(batchAfter(250));
  wait.stepStarts();
  now += 100;
  assertAlmostEquals(wait.share(), 160 / 360, 1e-9);
  now += 50;
  assertEquals(wait.share(), 0);
});

/** A step that computes nothing; its losses count from 1. */
function countingStep(): Step {
  let calls = 0;
  return (state, batch) => {
    dispose(batch);
    const metrics = {
      loss: tensor(++calls),
      lossLabeled: zeros([]),
      lossUnlabeled: zeros([]),
      lr: zeros([]),
    };
    return { state, metrics };
  };
}

/** Batches of a source whose fourth cannot be read. */
async function* failing(): AsyncGenerator<Batch, void, undefined> {
  const source = delayed(0);
  for (let k = 0; k < 3; k++) yield (await source.next()).value!;
  await source.return();
  throw new DataError("Cannot read the fourth image");
}

Deno.test("runSteps() throws the loader's error at the step that needs the batch", async () => {
  await setDevice("cpu");
  for (const readEvery of [1, 8]) {
    const seen: number[] = [];
    const step = countingStep();
    const run = runSteps({} as TrainState, {
      ...{ from: 0, to: 9, crop, readEvery, batches: failing(), key: random.key(0), stepAt: () => step },
      onMetrics: (_, { loss }) => seen.push(loss),
    });
    await assertRejects(() => run, DataError, "Cannot read the fourth image");
    assertEquals(seen, [1, 2, 3]);
  }
});

Deno.test("runSteps() that is stopped drops the batch that it has already fetched", async () => {
  await setDevice("cpu");
  const step = countingStep();
  const batches = delayed(0);
  const { liveBytes } = memory.stats();
  let done = 0;
  const result = await runSteps({} as TrainState, {
    ...{ from: 0, to: 9, crop, readEvery: 1, batches, key: random.key(0), stepAt: () => step },
    onMetrics: (steps) => done = steps,
    stopped: () => done === 2,
  });
  await batches.return();
  assertEquals([result.done, done], [2, 2]);
  assertEquals(memory.stats().liveBytes, liveBytes);
});

/** Two classes by a 3x3 filter, so that a window's border can be told from its middle. */
function filtered(weights: Tensor, image: Tensor): Tensor {
  return conv2d(image, weights, { padding: 1 });
}

Deno.test("segmenter() looks at whole images, their middle, or overlapping windows", async () => {
  await setDevice("cpu");
  const [width, height, side] = [48, 60, 36];
  const image = Float32Array.from({ length: 3 * height * width }, (_, i) => Math.sin(i * 12.9898) * 3);
  const weights = tensor(Float32Array.from({ length: 2 * 3 * 9 }, (_, i) => Math.cos(i * 7.7)), {
    shape: [2, 3, 3, 3],
  });
  const input = { image, width, height };
  /** Scores of a part, [class][row][column], with zeros around it. */
  const scoresOf = async (
    top: number,
    left: number,
    bottom: number,
    right: number,
  ): Promise<number[][][]> => {
    const part: number[] = [];
    for (let c = 0; c < 3; c++) {
      for (let y = top; y < bottom; y++) {
        for (let x = left; x < right; x++) part.push(image[(c * height + y) * width + x]!);
      }
    }
    const shape = [1, 3, bottom - top, right - left];
    const [result] = await filtered(weights, tensor(part, { shape })).toArray() as number[][][][];
    return result!;
  };

  const whole = await segmenter(filtered, { crop: side })(weights, input).data();
  const scores = await scoresOf(0, 0, height, width);
  assertEquals(whole[7 * width + 9], scores[1]![7]![9]! > scores[0]![7]![9]! ? 1 : 0);

  const middle = await segmenter(filtered, { mode: "center-crop", crop: side })(weights, input).data();
  assertEquals(middle.filter((found) => found !== ignoreIndex).length, side * side);
  const center = await scoresOf(12, 6, 48, 42);
  assertEquals([middle[11 * width + 6], middle[12 * width + 5]], [ignoreIndex, ignoreIndex]);
  assertEquals(middle[12 * width + 6], center[1]![0]![0]! > center[0]![0]![0]! ? 1 : 0);

  // 36 * 2 / 3 = 24: a window from column 24 would have 24 columns, and only 12 of them are seen by the one before.
  const sliding = segmenter(filtered, { mode: "sliding-window", crop: side });
  assertThrows(() => sliding(weights, input), RangeError, "at least 29x29 are required");
  await slidingEqualsSum(weights);
});

/**
 * Windows of 45 every 30 pixels on 64 by 64: four windows, whose probabilities are added. What begins at 60 has 4
 * pixels, which the windows before see too, and is left out.
 */
async function slidingEqualsSum(weights: Tensor): Promise<void> {
  const [size, side, stride] = [64, 45, 30];
  const image = Float32Array.from({ length: 3 * size * size }, (_, i) => Math.sin(i * 3.3));
  const total = Array.from({ length: size }, () => new Float64Array(size));
  for (const top of [0, stride]) {
    for (const left of [0, stride]) {
      const [rows, columns] = [Math.min(side, size - top), Math.min(side, size - left)];
      const part = Float32Array.from({ length: 3 * rows * columns }, (_, i) => {
        const [c, y, x] = [Math.floor(i / (rows * columns)), Math.floor(i / columns) % rows, i % columns];
        return image[(c * size + top + y) * size + left + x]!;
      });
      const scores = await filtered(weights, tensor(part, { shape: [1, 3, rows, columns] })).data();
      for (let i = 0; i < rows * columns; i++) {
        // Probability of class 1 minus that of class 0.
        const difference = Math.tanh((scores[rows * columns + i]! - scores[i]!) / 2);
        total[top + Math.floor(i / columns)]![left + i % columns]! += difference;
      }
    }
  }
  const segment = segmenter(filtered, { mode: "sliding-window", crop: side });
  const found = await segment(weights, { image, width: size, height: size }).data();
  total.forEach((row, y) =>
    row.forEach((difference, x) => {
      if (Math.abs(difference) > 1e-4) {
        assertEquals(found[y * size + x], difference > 0 ? 1 : 0, `${x}, ${y}`);
      }
    })
  );
}

Deno.test("evaluateImages() adds up all images and does not count where the mode did not look", async () => {
  await setDevice("cpu");
  const image = (mask: number[], seen: number[]): { mask: Int32Array<ArrayBuffer>; seen: number[] } => ({
    mask: Int32Array.from(mask),
    seen,
  });
  const images = [
    image([0, 1, 255, 1], [0, 1, 0, 0]),
    image([1, 1, 0, 0], [1, 255, 255, 1]),
    ...Array.from({ length: 4 }, () => image([0, 0, 0, 0], [0, 0, 0, 0])),
  ];
  async function* given(): AsyncGenerator<never, void, undefined> {
    for (const { mask, seen } of images) {
      const pixels = { width: 2, height: 2, data: new Uint8Array(12) };
      yield { name: "x", width: 2, height: 2, image: new Float32Array(12), mask, pixels, seen } as never;
    }
  }
  const segment = (image: unknown): Tensor =>
    tensor(Int32Array.from((image as { seen: number[] }).seen), { shape: [1, 2, 2] });
  const { iou } = await evaluateImages(given(), segment, { classes: 2 });
  // Class 0: 1 + 16 right, 18 predicted, 18 true; class 1: 2 right, 3 predicted, 3 true.
  assertAlmostEquals(iou[0]!, 17 / 19, 1e-9);
  assertAlmostEquals(iou[1]!, 2 / 4, 1e-9);
});
