/** Training steps: what they compute, and what their options change. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  allsparkStep,
  type Batch,
  type MemoryState,
  newTrainState,
  pseudoLabelStep,
  segment,
  type StepConfig,
  type StepResult,
  supervisedStep,
  type TrainState,
} from "../models/mod.ts";
import { argmax, crossEntropy, full, mul, random, slice } from "../ops/mod.ts";
import { heirsOf } from "../src/compiler/heirs.ts";
import { fewThreads } from "../src/compiler/split.ts";
import { ShapeError } from "../src/errors.ts";
import { readAll, realize } from "../src/evaluate.ts";
import { lower } from "../src/programs.ts";
import { buildGraph } from "../src/graph.ts";
import type { Aval } from "../src/primitive.ts";
import { makePlaceholder, type Tensor, type Trace } from "../src/tensor.ts";
import { constantSchedule } from "../src/optim/schedules.ts";
import { jit } from "../src/transforms/mod.ts";
import { treeMap, treeTensors } from "../src/tree.ts";
import { assertClose } from "./support/check.ts";
import { onCpu } from "./support/devices.ts";

const variant = {
  dims: [8, 16, 24, 32],
  depths: [1, 1, 1, 1],
  heads: [1, 2, 2, 2],
  srRatios: [8, 4, 2, 1],
} as const;
const rates = { dropPath: 0, attention: 0, projection: 0, head: 0 };
const config: StepConfig = { variant, classes: 4, embedding: 16, crop: 33, rates, debug: true };
const plain: StepConfig = { ...config, allspark: false };

const image = random.normal(random.key(1), [2, 3, 33, 33]);
const unlabeled = random.normal(random.key(2), [2, 3, 33, 33]);
const mask = random.randint(random.key(3), [2, 33, 33], { high: 4 });
const batch: Batch = { labeled: { image, mask }, unlabeled: { image: unlabeled } };
const key = random.key(4);

async function stateOf(config: StepConfig): Promise<TrainState> {
  return await realize(newTrainState(random.key(5), config));
}

async function numbersOf({ metrics }: StepResult): Promise<Record<string, number>> {
  const values = await readAll({ ...metrics });
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value[0]!]));
}

function concatenated(tree: unknown): Promise<Float64Array> {
  const tensors = treeTensors(tree);
  return readAll(Object.fromEntries(tensors.map((x, k) => [String(k), x]))).then((values) =>
    Float64Array.from(tensors.flatMap((_, k) => Array.from(values[String(k)]!)))
  );
}

onCpu("supervisedStep() descends the cross-entropy of the labeled images", async () => {
  const state = await stateOf(plain);
  const settings = { learningRate: 0.01, learningRateMultiplier: 3, momentum: 0, weightDecay: 0 };
  const result = jit(supervisedStep({ ...plain, ...settings }))(state, { labeled: batch.labeled }, key);
  const { logits } = segment(state, image, { variant, train: true, rates });
  const metrics = await numbersOf(result);
  assertAlmostEquals(metrics.loss!, await crossEntropy(logits, mask).item(), 1e-6);
  assertEquals([metrics.lossLabeled, metrics.lossUnlabeled, metrics.lr], [
    metrics.loss,
    0,
    Math.fround(0.01),
  ]);
  assertEquals(await result.state.step.item(), 1);
  assertEquals(await result.state.bnState.count.item(), 1);
  for (const [part, rate] of [["backbone", 0.01], ["decoder", 0.03]] as const) {
    const before = await concatenated(state.params[part]);
    const after = await concatenated(result.state.params[part]);
    const gradient = await concatenated(result.gradients![part]);
    assertClose(after, before.map((value, k) => value - rate * gradient[k]!), part, {
      relative: 1e-6,
      absolute: 1e-7,
    });
  }
});

onCpu("supervisedStep() trains a model with AllSpark without touching its memory", async () => {
  const state = await stateOf(config);
  const { state: next, gradients } = jit(supervisedStep(config))(state, { labeled: batch.labeled }, key);
  assertEquals(await concatenated(next.memState), await concatenated(state.memState));
  assert((await concatenated(gradients!.allspark!.labeled)).some((value) => value !== 0));
  assert((await concatenated(gradients!.allspark!.unlabeled)).every((value) => value === 0));
});

onCpu("pseudoLabelStep() halves the sum of both losses, with its own evaluation as labels", async () => {
  const state = await stateOf(plain);
  const result = jit(pseudoLabelStep(plain))(state, batch, key);
  const teacher = segment(state, unlabeled, { variant }).logits;
  assertEquals(await result.pseudoLabel!.data(), await argmax(teacher, { axis: 1 }).data());
  const { loss, lossLabeled, lossUnlabeled } = await numbersOf(result);
  assertAlmostEquals(loss!, (lossLabeled! + lossUnlabeled!) / 2, 1e-6);
  assertThrows(() => pseudoLabelStep(plain)(state, { labeled: batch.labeled }, key), ShapeError, "missing");
  const small = { image: slice(unlabeled, { stops: [1] }) };
  assertThrows(
    () => pseudoLabelStep(plain)(state, { ...batch, unlabeled: small }, key),
    ShapeError,
    "the unlabeled ones [1, 3, 33, 33]; equal shapes are required",
  );
});

onCpu("allsparkStep() writes the memory whether it reads it or not", async () => {
  const state = await stateOf(config);
  const results = [true, false].map((useMemory) =>
    jit(allsparkStep({ ...config, useMemory }))(state, batch, key)
  );
  const [read, written] = results as [StepResult, StepResult];
  assertEquals(await concatenated(read.state.memState), await concatenated(written.state.memState));
  const { pointer, queue } = read.state.memState as MemoryState;
  assertEquals((await readAll({ pointer })).pointer!.length, 4);
  const before = await (state.memState as MemoryState).queue.data();
  assert((await queue.data()).some((value, k) => value !== before[k]));
  assert((await numbersOf(read)).lossLabeled !== (await numbersOf(written)).lossLabeled);
  assertEquals(read.channelClass!.shape, [2, 32]);
  assertThrows(
    () => allsparkStep(plain)(newTrainState(random.key(1), plain), batch, key),
    TypeError,
    "make the model with allspark: true",
  );
});

Deno.test("allsparkStep() takes memories of other sizes", () => {
  for (const queueSize of [8, 32, 96]) {
    const sized = { ...config, queueSize };
    const { state } = allsparkStep(sized)(newTrainState(random.key(1), sized), batch, key);
    assertEquals((state.memState as MemoryState).queue.shape, [4, queueSize, 4]);
  }
});

Deno.test("allsparkStep() of the largest encoder at crop 513 takes 1.6 GiB with its state", () => {
  const large: StepConfig = { variant: "b5", classes: 21, crop: 513, recompute: true };
  const trace: Trace = { name: "the test", kind: "placeholder", active: false };
  const stand = (aval: Aval): Tensor => makePlaceholder(aval, trace);
  const images = { shape: [1, 3, 513, 513], dtype: "f32" } as const;
  const masks = { shape: [1, 513, 513], dtype: "i32" } as const;
  const inputs = {
    state: treeMap<TrainState>(newTrainState(random.key(0), large), stand),
    batch: { labeled: { image: stand(images), mask: stand(masks) }, unlabeled: { image: stand(images) } },
    key: stand({ shape: [2], dtype: "u32" }),
  };
  const [given, results] = [
    treeTensors(inputs),
    treeTensors(allsparkStep(large)(inputs.state, inputs.batch, inputs.key)),
  ];
  const program = lower(buildGraph(results, given).graph, { packsOperands: true, reductions: fewThreads });
  const heirs = heirsOf(program, treeTensors(inputs.state).map((_, k) => k));
  const tensors = [...given, ...results.filter((_, k) => !heirs.has(k))];
  const bytes = tensors.map(({ size }) => 4 * size).concat(program.slots).reduce((a, b) => a + b);
  assert(bytes < 1.6 * 2 ** 30, `the step needs ${bytes} bytes`);
});

onCpu("allsparkStep() is the same compiled or not, and for the same key", async () => {
  const dropping: StepConfig = {
    ...config,
    rates: { dropPath: 0.5, attention: 0.1, projection: 0.1, head: 0.1 },
  };
  const state = await stateOf(dropping);
  const step = jit(allsparkStep(dropping));
  const [first, again, other] = [key, key, random.key(9)].map((key) => step(state, batch, key).state.params);
  const direct = await realize(allsparkStep(dropping)(state, batch, key).state.params);
  const values = await concatenated(first);
  assertEquals(await concatenated(again), values);
  assertClose(await concatenated(direct), values, "not compiled", { relative: 1e-4, absolute: 1e-6 });
  const moved = await concatenated(other);
  assert(values.some((value, k) => Math.abs(value - moved[k]!) > 1e-6));
});

onCpu("allsparkStep() that recomputes its blocks takes the same step, bit for bit", async () => {
  const dropping: StepConfig = {
    ...config,
    rates: { dropPath: 0.5, attention: 0.1, projection: 0.1, head: 0.1 },
  };
  for (const step of [supervisedStep, pseudoLabelStep, allsparkStep]) {
    const own = { ...dropping, allspark: step === allsparkStep };
    const state = await stateOf(own);
    const [kept, again] = [false, true].map((recompute) =>
      jit(step({ ...own, recompute }))(state, batch, key)
    );
    assertEquals(await numbersOf(again!), await numbersOf(kept!), step.name);
    assertEquals(await concatenated(again), await concatenated(kept), step.name);
  }
});

onCpu("allsparkStep() groups by logits or probabilities, and labels by itself or the memory", async () => {
  // Logits of another scale, so that the softmax bends them.
  const state = await stateOf(config);
  const { weight, bias } = state.params.decoder.classify;
  const classify = { weight: mul(weight, 20), bias };
  const sharp = { ...state, params: { ...state.params, decoder: { ...state.params.decoder, classify } } };
  const classesOf = (changes: Partial<StepConfig>) =>
    jit(allsparkStep({ ...config, ...changes }))(sharp, batch, key).channelClass!.data();
  const labelsOf = (changes: Partial<StepConfig>) =>
    jit(allsparkStep({ ...config, ...changes }))(sharp, batch, key).pseudoLabel!.data();
  const different = (a: ArrayLike<number>, b: ArrayLike<number>): boolean =>
    Array.from(a).some((value, k) => value !== b[k]);
  assert(different(await classesOf({ grouping: "logits" }), await classesOf({ grouping: "probabilities" })));
  assert(different(await labelsOf({ evalKeys: "self" }), await labelsOf({ evalKeys: "memory" })));
});

onCpu("steps take the learning rate of the step before, as the official code does", async () => {
  const rateAt = async (step: number, changes: Partial<StepConfig>): Promise<number> => {
    const state = { ...await stateOf(plain), step: full([], step, { dtype: "i32" }) };
    return (await numbersOf(supervisedStep({ ...plain, ...changes })(state, batch, key))).lr!;
  };
  const run = { learningRate: 0.001, totalSteps: 10 };
  for (
    const [step, expected] of [[0, 0.001], [1, 0.001], [2, 0.001 * 0.9 ** 0.9], [
      10,
      0.001 * 0.1 ** 0.9,
    ]] as const
  ) {
    assertAlmostEquals(await rateAt(step, run), expected, 1e-9);
  }
  assertAlmostEquals(await rateAt(7, { learningRate: 0.5 }), 0.5, 1e-9);
  assertAlmostEquals(await rateAt(7, { learningRate: constantSchedule(0.25), totalSteps: 8 }), 0.25, 1e-9);
});

onCpu("steps can look at hard pixels only, and at none", async () => {
  const state = await stateOf(plain);
  const lossOf = async (changes: Partial<StepConfig>, labels: Tensor): Promise<number> => {
    const given = { labeled: { image, mask: labels } };
    return (await numbersOf(jit(supervisedStep({ ...plain, ...changes }))(state, given, key))).loss!;
  };
  const all = await lossOf({}, mask);
  assert(await lossOf({ criterion: "ohem", ohemThreshold: 0, ohemMinKept: 100 }, mask) > all);
  assertAlmostEquals(await lossOf({ criterion: "ohem" }, mask), all, 1e-6);
  assertEquals(await lossOf({}, full([2, 33, 33], 255, { dtype: "i32" })), 0);
});
