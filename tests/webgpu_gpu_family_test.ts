/**
 * The kernels for real GPUs through the whole library, on whatever adapter there is: operations, the official
 * results, and the training steps beside those of the cpu.
 */
import { assertEquals } from "@std/assert";
import {
  allsparkStep,
  type Batch,
  newTrainState,
  pseudoLabelStep,
  type StepConfig,
  type StepResult,
  supervisedStep,
  type TrainState,
} from "../models/mod.ts";
import { attention, conv2d, einsum, matmul, random } from "../ops/mod.ts";
import { setDevice } from "../src/device.ts";
import { readAll, realize } from "../src/evaluate.ts";
import type { Tensor } from "../src/tensor.ts";
import { jit } from "../src/transforms/mod.ts";
import { treeTensors } from "../src/tree.ts";
import { checkPromise } from "./support/accuracy.ts";
import { operations, primitiveCases } from "./support/cases.ts";
import { assertClose, type InputSpec } from "./support/check.ts";
import { composed } from "./support/composed.ts";
import { webgpuAvailable } from "./support/devices.ts";
import { assertNear } from "./support/golden_comparison.ts";
import { compareGolden } from "./support/golden_models.ts";
import { type Case, checkDevice } from "./support/laws.ts";
import { promises } from "./support/promises.ts";
import { checkRandomArithmetic } from "./support/random_arithmetic.ts";
import {
  checkConstants,
  checkReductions,
  checkRewriting,
  checkSpecialValues,
} from "./support/special_checks.ts";

/** A test with the kernels for real GPUs. */
function onGpuFamily(name: string, test: () => Promise<void>): void {
  Deno.test({
    name: `${name} (webgpu, gpu kernels)`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      if (!await webgpuAvailable()) return;
      await useGpuFamily();
      await test();
    },
  });
}

/** The device is opened once, so later calls find these kernels too. */
async function useGpuFamily(): Promise<void> {
  Deno.env.set("ALLSPARK_WEBGPU_FAMILY", "gpu");
  try {
    await setDevice("webgpu");
  } finally {
    Deno.env.delete("ALLSPARK_WEBGPU_FAMILY");
  }
}

/** Products of every kind that the tiles tell apart: each with both its gradients. */
const products: readonly Case[] = ([
  ["of one number", [[1, 1], [1, 1]], matmul],
  ["of primes", [[17, 31], [31, 23]], matmul],
  ["with sides of eight", [[8, 40], [40, 67]], matmul],
  ["of a row and a long column", [[1, 1031], [1031, 1]], matmul],
  ["with long sums", [[9, 1040], [1040, 12]], matmul],
  ["of a batch, one side turned", [[3, 18, 36], [3, 20, 36]], (a, b) => einsum("bij,bkj->bki", a!, b!)],
  ["of a batch with one matrix", [[5, 7, 24], [24, 20]], matmul],
  ["convolution", [[2, 5, 9, 11], [16, 5, 3, 3]], (x, w) => conv2d(x!, w!, { padding: 1 })],
  [
    "strided convolution",
    [[1, 8, 13, 16], [12, 8, 3, 3]],
    (x, w) => conv2d(x!, w!, { stride: 2, padding: 1 }),
  ],
  ["attention", [[2, 21, 16], [2, 24, 16], [2, 24, 17]], (q, k, v) => attention(q!, k!, v!)],
] as const satisfies readonly (readonly [string, readonly (readonly number[])[], Case["call"]])[])
  .map(([name, shapes, call]) => ({
    name: `product ${name}`,
    inputs: shapes.map((shape): InputSpec => ({ shape })),
    call,
  }));

onGpuFamily("products of all kinds equal their references", () => checkDevice(products));

/** Operations of every kind of kernel. */
const representatives = [
  ...["contract", "conv2d", "conv2dInput", "conv2dFilter", "attentionBlock", "softmax", "normalize"],
  ...["sum", "argmax", "cumsum", "argsort", "scatter", "gather"],
];
const compositions = ["layerNorm", "batchNorm", "crossEntropy", "resize"];

const kinds: readonly (readonly [string, readonly Case[]])[] = [
  ...operations().filter(({ name }) => representatives.includes(name))
    .map((op) => [op.name, primitiveCases(op)] as const),
  ...[...composed].filter(([name]) => compositions.includes(name)),
];
assertEquals(kinds.length, representatives.length + compositions.length);
for (const [name, cases] of kinds) {
  onGpuFamily(`${name}: equals its reference, under jit too, and leaves no buffer`, () => checkDevice(cases));
}

onGpuFamily("every elementwise function is as exact as it promises", async () => {
  for (const promised of promises) await checkPromise(promised);
});
onGpuFamily("every elementwise operation is right at all pairs of special values", checkSpecialValues);
onGpuFamily("nothing is rewritten as if f32 were real numbers", checkRewriting);
onGpuFamily("constants in the code of a kernel are numbers as others are", checkConstants);
onGpuFamily("random arithmetic of special values has the bits of the reference", checkRandomArithmetic);
onGpuFamily("reductions and products of special values are right", checkReductions);

for (const name of ["b_segformer_head", "f_losses_ops"] as const) {
  onGpuFamily(`golden ${name}: results and gradients equal PyTorch's`, async () => {
    assertNear(await compareGolden(name));
  });
}

const variant = {
  dims: [8, 8, 16, 16],
  depths: [1, 1, 1, 1],
  heads: [1, 1, 2, 2],
  srRatios: [8, 4, 2, 1],
} as const;
const rates = { dropPath: 0, attention: 0, projection: 0, head: 0 };
/** Small, since a software adapter takes its time to compile what real GPUs like. */
const crop = 29;
const withModule: StepConfig = { variant, classes: 4, embedding: 8, crop, rates, learningRate: 0.01 };
const plain: StepConfig = { ...withModule, allspark: false };

/** A training step. */
type Step = (state: TrainState, batch: Batch, key: Tensor) => StepResult;

const steps: Record<string, readonly [Step, StepConfig]> = {
  supervised: [supervisedStep(plain), plain],
  "pseudo-label": [pseudoLabelStep(plain), plain],
  AllSpark: [allsparkStep({ ...withModule, useMemory: true }), withModule],
};

/** Loss, parameters and states after one step on the chosen device, with as many images for every step. */
async function afterStep(step: Step, config: StepConfig): Promise<Float64Array[]> {
  const count = step === steps.supervised![0] ? 2 : 1;
  const image = (seed: number): Tensor => random.normal(random.key(seed), [count, 3, crop, crop]);
  const mask = random.randint(random.key(3), [count, crop, crop], { high: 4 });
  const batch = await realize({ labeled: { image: image(1), mask }, unlabeled: { image: image(2) } });
  const state = await realize(newTrainState(random.key(5), config));
  const { metrics, state: next } = jit(step)(state, batch, random.key(4));
  const tensors = [...treeTensors({ ...metrics }), ...treeTensors(next)];
  const values = await readAll(Object.fromEntries(tensors.map((x, k) => [String(k), x])));
  return tensors.map((_, k) => Float64Array.from(values[String(k)]!));
}

for (const [name, [step, config]] of Object.entries(steps)) {
  onGpuFamily(`${name} step: loss, parameters and states are those of the cpu`, async () => {
    const actual = await afterStep(step, config);
    await setDevice("cpu");
    const expected = await afterStep(step, config);
    expected.forEach((values, k) =>
      assertClose(actual[k]!, values, `${name}: tensor ${k}`, { relative: 1e-4, absolute: 1e-6 })
    );
  });
}
