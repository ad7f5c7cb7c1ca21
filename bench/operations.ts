/**
 * Times operations and the AllSpark training step on one device: `deno task bench [cpu|webgpu] [name...]`.
 *
 * Every figure is the median over rounds of the mean of several calls with one wait at the end; the first call,
 * which compiles, is shown apart. Compare ratios within one run, not milliseconds between machines.
 *
 * @module
 */
import {
  add,
  attention,
  conv2d,
  describeDevice,
  gelu,
  jit,
  layerNorm,
  matmul,
  mul,
  random,
  readAll,
  realize,
  setDevice,
  slice,
  softmax,
  sum,
  type Tensor,
} from "@allspark/tensor";
import { allsparkStep, newTrainState } from "@allspark/tensor/models";

interface Case {
  readonly name: string;
  /** Shapes of the normally distributed inputs. */
  readonly shapes: readonly (readonly number[])[];
  readonly run: (...inputs: Tensor[]) => Tensor;
  /** What a call does, in units of 10⁹. */
  readonly work: number;
  readonly unit: "GFLOP/s" | "GB/s";
}

const cases: readonly Case[] = [
  {
    name: "matmul 1024",
    shapes: [[1024, 1024], [1024, 1024]],
    run: matmul,
    work: 2 * 1.024 ** 3,
    unit: "GFLOP/s",
  },
  {
    name: "convolution 3x3, 64 to 64, 64x64, batch 4",
    shapes: [[4, 64, 64, 64], [64, 64, 3, 3]],
    run: (x, w) => conv2d(x, w!, { padding: 1 }),
    work: (2 * 4 * 64 ** 4 * 9) / 1e9,
    unit: "GFLOP/s",
  },
  {
    name: "depthwise 3x3, 256 channels, 32x32, batch 4",
    shapes: [[4, 256, 32, 32], [256, 1, 3, 3]],
    run: (x, w) => conv2d(x, w!, { padding: 1, groups: 256 }),
    work: (2 * 4 * 256 * 32 ** 2 * 9) / 1e9,
    unit: "GFLOP/s",
  },
  {
    name: "softmax [8192, 256]",
    shapes: [[8192, 256]],
    run: (x) => softmax(x),
    work: (8 * 8192 * 256) / 1e9,
    unit: "GB/s",
  },
  {
    name: "layer norm [8192, 256]",
    shapes: [[8192, 256], [256], [256]],
    run: (x, gain, bias) => layerNorm(x, gain!, bias!),
    work: (8 * 8192 * 256) / 1e9,
    unit: "GB/s",
  },
  {
    name: "gelu(x a + b) + x, 4M",
    shapes: [[2 ** 22]],
    run: (x) => add(gelu(add(mul(x, 1.5), 0.5)), x),
    work: (8 * 2 ** 22) / 1e9,
    unit: "GB/s",
  },
  { name: "sum of 4M", shapes: [[2 ** 22]], run: (x) => sum(x), work: (4 * 2 ** 22) / 1e9, unit: "GB/s" },
  {
    name: "attention [8, 1024, 64] on [8, 256, 64]",
    shapes: [[8, 1024, 64], [8, 256, 64], [8, 256, 64]],
    run: (q, k, v) => attention(q, k!, v!),
    work: (4 * 8 * 1024 * 256 * 64) / 1e9,
    unit: "GFLOP/s",
  },
];

/** Waits until the device is done with everything before. */
async function settle(result: Tensor): Promise<void> {
  const probe = slice(result, { starts: result.shape.map(() => 0), sizes: result.shape.map(() => 1) });
  await readAll({ probe });
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Milliseconds of the first call and of one call later. */
async function time(call: () => Tensor, rounds = 7): Promise<{ first: number; steady: number }> {
  const begin = performance.now();
  let last = call();
  await settle(last);
  const first = performance.now() - begin;
  const calls = Math.max(1, Math.min(20, Math.round(200 / first)));
  const times: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const start = performance.now();
    for (let k = 0; k < calls; k++) {
      last.dispose(); // its memory is the next result's
      last = call();
    }
    await settle(last);
    times.push((performance.now() - start) / calls);
  }
  return { first, steady: median(times) };
}

function report(name: string, { first, steady }: { first: number; steady: number }, speed = ""): void {
  console.log(
    `${name.padEnd(46)} ${steady.toFixed(3).padStart(10)} ms  first ${
      first.toFixed(0).padStart(6)
    } ms  ${speed}`,
  );
}

/** The training step of MiT-B0 at crop 129 with 2 + 2 images, 11 classes, memory in use. */
async function timeStep(): Promise<void> {
  const config = { variant: "b0", classes: 11, crop: 129 } as const;
  let state = await realize(newTrainState(random.key(0), config));
  const image = (seed: number): Tensor => random.normal(random.key(seed), [2, 3, 129, 129]);
  const mask = random.randint(random.key(3), [2, 129, 129], { low: 0, high: 11 });
  const batch = await realize({ labeled: { image: image(1), mask }, unlabeled: { image: image(2) } });
  const key = await realize(random.key(4));
  const step = jit(allsparkStep(config), { donate: [0] });
  const times = await time(() => {
    const result = step(state, batch, key);
    state = result.state;
    return result.metrics.loss;
  });
  report("AllSpark step, B0, crop 129, 2 + 2 images", times);
}

const [device = "auto", ...wanted] = Deno.args;
await setDevice(device as "auto");
console.log(await describeDevice());
const isWanted = (name: string): boolean => wanted.length === 0 || wanted.some((word) => name.includes(word));
for (const { name, shapes, run, work, unit } of cases) {
  if (!isWanted(name)) continue;
  const inputs = await realize(shapes.map((shape, k) => random.normal(random.key(k), shape)));
  const compiled = jit(run);
  const times = await time(() => compiled(...inputs));
  report(name, times, `${((1000 * work) / times.steady).toFixed(1)} ${unit}`);
}
if (isWanted("AllSpark step")) await timeStep();
