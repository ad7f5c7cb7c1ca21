/**
 * The models against the official PyTorch code: what each file of `tests/golden` holds is computed here, and its
 * errors are collected. The tests and the table (`tests/golden_table.ts`) share this.
 */
import { allspark } from "../../models/allspark.ts";
import { allsparkStep } from "../../models/allspark_step.ts";
import { mitSizes } from "../../models/config.ts";
import { mitEncoder } from "../../models/mit_encoder.ts";
import { mlpDecoder } from "../../models/mlp_decoder.ts";
import {
  type AllSparkParams,
  describeAllSpark,
  describeHead,
  describeMitEncoder,
  describeModel,
  type HeadParams,
  type HeadState,
  type MemoryState,
  type MitParams,
  type Model,
  type Parameter,
} from "../../models/parameters.ts";
import { segment } from "../../models/segment.ts";
import { initTrainState, type StepConfig, type TrainState } from "../../models/steps.ts";
import {
  add,
  crossEntropy,
  gelu,
  instanceNorm,
  mul,
  ohemCrossEntropy,
  onesLike,
  random,
  resize,
  sum,
} from "../../ops/mod.ts";
import { readAll } from "../../src/evaluate.ts";
import { type Tensor, tensor } from "../../src/tensor.ts";
import { jit, valueAndGrad, vjp } from "../../src/transforms/mod.ts";
import { treeLeaves, treeMap } from "../../src/tree.ts";
import { histogram, scores } from "../../src/training/metrics.ts";
import { goldenInput, goldenWeights, loadGolden, norm } from "./golden.ts";
import { Comparison, type Quantity, type Row } from "./golden_comparison.ts";

/** Tensors by the value rule, in the places of a description. */
function byRule<T>(description: unknown): T {
  const leaves = treeLeaves(description) as Parameter[];
  const weights = goldenWeights(Object.fromEntries(leaves.map(({ name, shape }) => [name, shape])));
  return treeMap(description, ({ name, shape, dtype }: Parameter) => {
    return tensor(weights.get(name)!.data as Float32Array, { shape, dtype });
  }) as T;
}

/** Leaves of a tree of tensors, by the official names and a prefix. */
function named(prefix: string, description: unknown, tree: unknown): Record<string, Tensor> {
  const tensors = treeLeaves(tree) as Tensor[];
  return Object.fromEntries(
    (treeLeaves(description) as Parameter[]).map(({ name }, k) => [`${prefix}${name}`, tensors[k]!]),
  );
}

/** Splits off the gradients that are mathematically zero, because a normalisation follows the bias. */
function byKind(gradients: Record<string, Tensor>): [Quantity, Record<string, Tensor>][] {
  const isZero = (name: string): boolean => /linear_c\d\.proj\.bias$/.test(name);
  const pick = (keep: (name: string) => boolean): Record<string, Tensor> =>
    Object.fromEntries(Object.entries(gradients).filter(([name]) => keep(name)));
  return [["gradients", pick((name) => !isZero(name))], ["zero gradients", pick(isZero)]];
}

function total(outputs: readonly Tensor[], cotangents: readonly Tensor[]): Tensor {
  return outputs.map((output, k) => sum(mul(output, cotangents[k]!))).reduce((a, b) => add(a, b));
}

/** The same sum of what the device computed, in float64: cancelling terms leave no room for rounding of the sum. */
async function exactTotal(outputs: readonly Tensor[], cotangents: readonly Tensor[]): Promise<number[]> {
  let result = 0;
  for (const [k, output] of outputs.entries()) {
    const [values, weights] = [await output.data(), await cotangents[k]!.data()];
    values.forEach((value, i) => result += value * weights[i]!);
  }
  return [result];
}

/** MiT-B0: outputs, gradients, and a rectangular image. */
async function encoder(to: Comparison): Promise<void> {
  const description = describeMitEncoder(mitSizes("b0"), "");
  const params = byRule<MitParams>(description);
  const cotangents = [0, 1, 2, 3].map((k) => to.tensor(`cot/${k}`));
  const objective = (params: MitParams, x: Tensor): readonly [Tensor, Tensor[]] => {
    const outputs = mitEncoder(params, x, { variant: "b0" });
    return [total(outputs, cotangents), outputs];
  };
  const step = jit((params: MitParams, x: Tensor) =>
    valueAndGrad(objective, { argnums: [0, 1], hasAux: true })(params, x)
  );
  const [[, outputs], [gradients, gradX]] = step(params, to.tensor("x"));
  await to.check("forward", Object.fromEntries(outputs.map((output, k) => [`out/${k}`, output])));
  to.add("sums", "loss", await exactTotal(outputs, cotangents));
  await to.check("gradients", { grad_x: gradX as Tensor, ...named("grad/", description, gradients) });
  const wide = jit((params: MitParams, x: Tensor) => mitEncoder(params, x, { variant: "b0" }));
  const features = wide(params, to.tensor("rect/x"));
  await to.check("forward", Object.fromEntries(features.map((output, k) => [`rect/out${k}`, output])));
}

/** SegFormer's head: evaluation, training, gradients, running statistics. */
async function head(to: Comparison): Promise<void> {
  const description = describeHead({ sizes: mitSizes("b0"), embedding: 256, classes: 21 }, "");
  const { params, bnState } = byRule<{ params: HeadParams; bnState: HeadState }>(description);
  const features = [0, 1, 2, 3].map((k) => to.tensor(`in/${k}`));
  const evaluate = jit((params: HeadParams, bnState: HeadState, features: Tensor[]) =>
    mlpDecoder(params, features, { bnState, classes: 21 }).logits
  );
  await to.check("forward", { "eval/out": evaluate(params, bnState, features) });
  const cotangent = tensor(goldenInput(101010, [2, 21, 65, 65], 1), { shape: [2, 21, 65, 65] });
  const objective = (params: HeadParams, features: Tensor[], bnState: HeadState) => {
    const { logits, bnState: after } = mlpDecoder(params, features, {
      bnState,
      train: true,
      rates: { head: 0 },
    });
    const up = resize(logits, { size: [65, 65] });
    return [sum(mul(up, cotangent)), { logits, up, after }] as const;
  };
  const step = jit((params: HeadParams, features: Tensor[], bnState: HeadState) =>
    valueAndGrad(objective, { argnums: [0, 1], hasAux: true })(params, features, bnState)
  );
  const [[, { logits, up, after }], [gradients, gradFeatures]] = step(params, features, bnState);
  await to.check("forward", { "train/out": logits, "train/up": up });
  to.add("sums", "train/loss", await exactTotal([up], [cotangent]));
  await to.check("forward", {
    "after/linear_fuse.bn.running_mean": after.mean,
    "after/linear_fuse.bn.running_var": after.variance,
  });
  await to.check("integers", { "after/linear_fuse.bn.num_batches_tracked": after.count });
  const all = {
    ...Object.fromEntries((gradFeatures as Tensor[]).map((gradient, k) => [`grad_in/${k}`, gradient])),
    ...named("grad/", description.params, gradients),
  };
  for (const [quantity, tensors] of byKind(all)) await to.check(quantity, tensors);
}

/** AllSpark alone: five steps with memory, and three evaluations. */
async function module(to: Comparison): Promise<void> {
  const sizes = { dims: [8, 16, 32, 64], depths: [1, 1, 1, 1], srRatios: [8, 4, 2, 1] } as const;
  const shape = { sizes, heads: 2, classes: 5, queueSize: 64, tokens: 9 };
  const description = describeAllSpark(shape, "");
  const { params, memState } = byRule<{ params: AllSparkParams; memState: MemoryState }>(description);
  const rates = { attention: 0, projection: 0 };
  const stepOf = (useMemory: boolean) => {
    type Args = [params: AllSparkParams, x: Tensor, memState: MemoryState, logits: Tensor, cotangent: Tensor];
    const objective = (...[params, x, memState, logits, cotangent]: Args) => {
      const result = allspark(params, memState, x, { logits, useMemory, train: true, rates });
      return [sum(mul(result.features, cotangent)), result] as const;
    };
    return jit((...args: Args) => valueAndGrad(objective, { argnums: [0, 1], hasAux: true })(...args));
  };
  const steps = [stepOf(false), stepOf(true)];
  let memory: MemoryState = { ...memState, queue: to.tensor("mem/init") };
  for (let t = 0; t < 5; t++) {
    const step = steps[to.number(`s${t}/using_smem`)]!;
    const given = ["x", "prob", "cot"].map((name) => to.tensor(`s${t}/${name}`));
    const [[, result], [gradients, gradX]] = step(params, given[0]!, memory, given[1]!, given[2]!);
    memory = result.memState;
    await to.check("forward", { [`s${t}/out`]: result.features });
    to.add("losses", `s${t}/loss`, await exactTotal([result.features], [given[2]!]));
    await to.check("memory", { [`s${t}/kv_queue_after`]: memory.queue });
    await to.check("integers", {
      [`s${t}/queue_ptr_after`]: memory.pointer,
      [`s${t}/channel_cls`]: result.channelClass!,
    });
    await to.check("gradients", { [`s${t}/grad_x`]: gradX as Tensor });
    if (t < 2) await to.check("gradients", named(`s${t}/grad/`, description.params, gradients));
  }
  for (const name of ["b1", "b2", "rect"]) {
    const evaluate = jit((params: AllSparkParams, memory: MemoryState, x: Tensor) =>
      allspark(params, memory, x).features
    );
    await to.check("forward", {
      [`eval/${name}/out`]: evaluate(params, memory, to.tensor(`eval/${name}/x`)),
    });
  }
}

/** Three whole training steps of a tiny model. */
async function training(to: Comparison): Promise<void> {
  const variant = {
    dims: [8, 16, 40, 64],
    depths: [1, 1, 1, 1],
    heads: [1, 2, 5, 8],
    srRatios: [8, 4, 2, 1],
  } as const;
  const config: StepConfig = {
    variant,
    classes: 5,
    embedding: 32,
    crop: 65,
    rates: { dropPath: 0, attention: 0, projection: 0, head: 0 },
    learningRate: 0.001,
    learningRateMultiplier: 10,
    totalSteps: 10,
    debug: true,
  };
  const shape = { sizes: variant, classes: 5, embedding: 32, heads: 2, queueSize: 64, tokens: 9 };
  const description = describeModel(shape);
  const first = byRule<Model>(description);
  const initial = await readAll(named("", description.params, first.params));
  const steps = [false, true].map((useMemory) => jit(allsparkStep({ ...config, useMemory })));
  const teach = jit((model: Model, x: Tensor) => segment(model, x, { variant }).logits);
  let state: TrainState = initTrainState(first, config);
  for (let t = 0; t < 3; t++) {
    const image = (tag: number): Tensor =>
      tensor(goldenInput(tag, [2, 3, 65, 65], 2), { shape: [2, 3, 65, 65] });
    const batch = {
      labeled: { image: image(110000 + 10 * t), mask: to.tensor(`s${t}/mask_x`) },
      unlabeled: { image: image(110001 + 10 * t) },
    };
    const { params, bnState, memState } = state;
    if (t === 0) {
      const logits = teach({ params, bnState, memState }, batch.unlabeled.image);
      await to.check("forward", { [`s${t}/pred_u_pseudo`]: logits });
    }
    const result = steps[t === 0 ? 0 : 1]!(state, batch, random.key(t));
    state = result.state;
    await to.check("integers", {
      [`s${t}/pseudo_label`]: result.pseudoLabel!,
      [`s${t}/channel_cls`]: result.channelClass!,
      [`s${t}/queue_ptr`]: (state.memState as MemoryState).pointer,
    });
    const { loss, lossLabeled, lossUnlabeled, lr } = await readAll({ ...result.metrics });
    to.add("losses", `s${t}/loss`, [loss![0]!, lossLabeled![0]!, lossUnlabeled![0]!]);
    to.add("losses", `s${t}/lr`, [lr![0]!, 10 * lr![0]!]);
    await to.check("memory", { [`s${t}/kv_queue`]: (state.memState as MemoryState).queue });
    await to.check("forward", {
      [`s${t}/bn/running_mean`]: state.bnState.mean,
      [`s${t}/bn/running_var`]: state.bnState.variance,
    });
    const gradients = named(`s${t}/grad/`, description.params, result.gradients);
    for (const [quantity, tensors] of byKind(gradients)) await to.check(quantity, tensors);
    const now = await readAll(named("", description.params, state.params));
    to.add("forward", `s${t}/param_norms`, Object.keys(now).sort().map((name) => norm(now[name]!)));
    checkDeltas(to, t, initial, now);
  }
}

function checkDeltas(
  to: Comparison,
  t: number,
  initial: Record<string, ArrayLike<number>>,
  params: Record<string, ArrayLike<number>>,
): void {
  for (const [name, now] of Object.entries(params)) {
    const before = initial[name]!;
    const delta = Float64Array.from(now, (value, k) => value - before[k]!);
    const { expected } = to.pair(`s${t}/delta/${name}`, delta);
    const { found } = to.pair(`s${t}/delta/${name}`, now);
    const allowed = Float64Array.from(
      expected,
      (value, k) => 1.5e-7 * Math.max(1, Math.abs(found[k]!)) + 1e-4 * Math.abs(value),
    );
    to.add("parameters", `s${t}/delta/${name}`, delta, allowed);
  }
}

/** Losses and operations by themselves: values and gradients; and the metric. */
async function losses(to: Comparison): Promise<void> {
  const hard = { ohem_keep_all: 200_000, ohem_thresh: 50, ohem_raised: 700 };
  const cases: Record<string, (logits: Tensor, target: Tensor) => Tensor> = {
    ce: (logits, target) => crossEntropy(logits, target),
    ...Object.fromEntries(
      Object.entries(hard).map(([name, minKept]) => [
        name,
        (logits: Tensor, target: Tensor) => ohemCrossEntropy(logits, target, { minKept }),
      ]),
    ),
  };
  for (const [name, loss] of Object.entries(cases)) {
    const target = to.tensor(`${name}/target`);
    const [value, gradient] = valueAndGrad((logits: Tensor) => loss(logits, target))(
      to.tensor(`${name}/logits`),
    );
    await to.check("losses", { [`${name}/loss`]: value });
    await to.check("gradients", { [`${name}/grad`]: gradient });
  }
  const maps = [...to.golden.keys()].filter((name) => name.endsWith("/x")).map((name) => name.slice(0, -2));
  for (const name of maps) {
    const [height, width] = to.golden.get(`${name}/y`)!.shape.slice(-2) as [number, number];
    const f = (x: Tensor): Tensor =>
      name === "instnorm"
        ? instanceNorm(x)
        : name === "gelu"
        ? gelu(x)
        : resize(x, { size: [height, width] });
    const [y, pullback] = vjp(f, to.tensor(`${name}/x`));
    const cotangent = to.golden.has(`${name}/cot`) ? to.tensor(`${name}/cot`) : onesLike(y);
    await to.check("forward", { [`${name}/y`]: y });
    await to.check("gradients", { [`${name}/grad`]: pullback(cotangent)[0] });
  }
  const [predicted, target] = ["pred", "target"].map((name) =>
    Array.from(to.golden.get(`metric/${name}`)!.data, Number)
  );
  const { iou } = scores(histogram(predicted!, target!, { classes: 5 }));
  to.add("forward", "metric/iou", iou.map((value) => 100 * value));
}

/** The files, and what computes their content. */
const cases = {
  a_mit_b0: encoder,
  b_segformer_head: head,
  c_allspark: module,
  d_train_tiny: training,
  f_losses_ops: losses,
} as const;

/** Names of the files. */
export type GoldenCase = keyof typeof cases;

/** All of them. */
export const goldenCases: readonly GoldenCase[] = Object.keys(cases) as GoldenCase[];

/** Computes everything that a file holds, on the chosen device, and returns the errors. */
export async function compareGolden(name: GoldenCase): Promise<Row[]> {
  const comparison = new Comparison(await loadGolden(name));
  await cases[name](comparison);
  return comparison.rows;
}
