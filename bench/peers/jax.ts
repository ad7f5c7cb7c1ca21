/**
 * jax-js as a participant: `jax.ts wasm|webgpu`.
 *
 * Its functions use their arguments up: `x.ref` keeps a tensor for another use. Results that are disposed before they
 * are awaited are never computed, so all of them are kept until the wait.
 *
 * @module
 */
import type { Case } from "../cases.ts";
import { type Job, serve } from "../serve.ts";
import { mapSpecs, valuesOf } from "../values.ts";
import {
  type Affine,
  type Block,
  headsOfStage,
  inputsFirst,
  type Norm,
  ratioOfStage,
  type Stage,
} from "./layout.ts";

interface Value {
  readonly shape: readonly number[];
  readonly ref: Value;
  add(other: Value | number): Value;
  sub(other: Value): Value;
  mul(other: Value | number): Value;
  sum(): Value;
  mean(): Value;
  reshape(shape: readonly number[]): Value;
  slice(...indices: unknown[]): Value;
  data(): Promise<Float32Array>;
  dispose(): void;
}

type Loss = (parameters: unknown, ...inputs: Value[]) => Value;
type Step = (parameters: unknown, ...inputs: Value[]) => [Value, unknown];

interface Jax {
  init(backend: string): Promise<readonly string[]>;
  defaultDevice(backend: string): void;
  blockUntilReady(tree: unknown): Promise<void>;
  jit<F>(f: F): F;
  valueAndGrad(loss: Loss): (parameters: unknown, ...inputs: Value[]) => [Value, unknown];
  readonly numpy: {
    array(data: Float32Array): Value;
    matmul(a: Value, b: Value): Value;
    sum(x: Value): Value;
    square(x: Value): Value;
    transpose(x: Value, axes: readonly number[]): Value;
  };
  readonly nn: {
    gelu(x: Value, options: { approximate: boolean }): Value;
    relu(x: Value): Value;
    softmax(x: Value): Value;
    logSoftmax(x: Value): Value;
    standardize(x: Value, axis: number, options: { epsilon: number }): Value;
  };
  readonly lax: {
    convGeneralDilated(
      x: Value,
      weight: Value,
      strides: readonly number[],
      padding: readonly (readonly number[])[],
      options: { featureGroupCount: number },
    ): Value;
  };
  readonly tree: {
    ref(tree: unknown): unknown;
    map(f: (...leaves: Value[]) => Value, ...trees: unknown[]): unknown;
    dispose(tree: unknown): void;
  };
}

// The name in a variable, so that checking this project needs none of the peers.
const name = "@jax-js/jax";
const jax: Jax = await import(name);
const { numpy: np, nn, lax, tree } = jax;
const backend = Deno.args[0]!;
if (!(await jax.init(backend)).includes(backend)) throw new Error(`jax-js has no ${backend} here`);
jax.defaultDevice(backend);

type Options = NonNullable<Case["options"]>;

function convolution(x: Value, weight: Value, { stride, padding, groups }: Options): Value {
  const pads = [[padding!, padding!], [padding!, padding!]];
  return lax.convGeneralDilated(x, weight, [stride!, stride!], pads, { featureGroupCount: groups! });
}

function attention(q: Value, k: Value, v: Value): Value {
  const last = k.shape.length - 1;
  const axes = k.shape.map((_, axis) => axis === last ? last - 1 : axis === last - 1 ? last : axis);
  const scale = 1 / Math.sqrt(q.shape.at(-1)!);
  return np.matmul(nn.softmax(np.matmul(q, np.transpose(k, axes)).mul(scale)), v);
}

const operations: Record<string, (inputs: Value[], options: Options) => Value> = {
  matmul: ([a, b]) => np.matmul(a!, b!),
  gelu: ([x]) => nn.gelu(x!.ref.mul(1.5).add(0.25), { approximate: false }).add(x!),
  sum: ([x]) => np.sum(x!).reshape([1]),
  softmax: ([x]) => nn.softmax(x!),
  layerNorm: ([x, gain, bias]) => nn.standardize(x!, -1, { epsilon: 1e-5 }).mul(gain!).add(bias!),
  convolution: ([x, weight], options) => convolution(x!, weight!, options),
  attention: ([q, k, v]) => attention(q!, k!, v!),
};

const normalize = (x: Value, { gain, bias }: Norm<Value>, epsilon: number): Value =>
  nn.standardize(x, -1, { epsilon }).mul(gain).add(bias);
const linear = (x: Value, { weight, bias }: Affine<Value>): Value => np.matmul(x, weight).add(bias);
const convolve = (x: Value, { weight, bias }: Affine<Value>, options: Options): Value =>
  convolution(x, weight, options).add(bias.reshape([1, bias.shape[0]!, 1, 1]));

function tokensOf(x: Value): Value {
  const [batch, channels, height, width] = x.shape as [number, number, number, number];
  return np.transpose(x.reshape([batch, channels, height * width]), [0, 2, 1]);
}

function mapOf(x: Value, side: readonly [number, number]): Value {
  const [batch, , channels] = x.shape as [number, number, number];
  return np.transpose(x, [0, 2, 1]).reshape([batch, channels, ...side]);
}

function transformerBlock(
  block: Block<Value>,
  x: Value,
  stage: number,
  side: readonly [number, number],
): Value {
  const [batch, count, channels] = x.shape as [number, number, number];
  const [heads, ratio] = [headsOfStage[stage]!, ratioOfStage[stage]!];
  const byHead = (t: Value): Value =>
    np.transpose(t.reshape([batch, t.shape[1]!, heads, channels / heads]), [0, 2, 1, 3]);
  const { query, keyValue, output, reduction } = block.attention;
  const normed = normalize(x.ref, block.norm1, 1e-6);
  const q = byHead(linear(normed.ref, query));
  const source = reduction === undefined ? normed : normalize(
    tokensOf(convolve(mapOf(normed, side), reduction.convolution, { stride: ratio, padding: 0, groups: 1 })),
    reduction.norm,
    1e-5,
  );
  const both = np.transpose(linear(source, keyValue).reshape([batch, -1, 2, heads, channels / heads]), [
    2,
    0,
    3,
    1,
    4,
  ]);
  const attended = attention(q, both.ref.slice(0), both.slice(1));
  const merged = np.transpose(attended, [0, 2, 1, 3]).reshape([batch, count, channels]);
  const y = x.add(linear(merged, output));
  const { expand, depthwise, contract } = block.feedForward;
  const hidden = mapOf(linear(normalize(y.ref, block.norm2, 1e-6), expand), side);
  const mixed = convolve(hidden, depthwise, { stride: 1, padding: 1, groups: 4 * channels });
  return y.add(linear(nn.gelu(tokensOf(mixed), { approximate: false }), contract));
}

/** The Mix Transformer of ../../models/mit_encoder.ts. */
function encoder(stages: readonly Stage<Value>[], image: Value): Value[] {
  let x = image;
  const features = stages.map((stage, k) => {
    const embedded = convolve(x, stage.patches.projection, {
      stride: k === 0 ? 4 : 2,
      padding: k === 0 ? 3 : 1,
      groups: 1,
    });
    const side = embedded.shape.slice(2) as [number, number];
    let tokens = normalize(tokensOf(embedded), stage.patches.norm, 1e-5);
    for (const block of stage.blocks) tokens = transformerBlock(block, tokens, k, side);
    x = mapOf(normalize(tokens, stage.norm, 1e-6), side);
    return x.ref;
  });
  x.dispose();
  return features;
}

const losses: Record<string, Loss> = {
  perceptronStep: (parameters, images, labels) => {
    const batch = images!.shape[0]!;
    const layers = parameters as Affine<Value>[];
    const logits = layers.reduce((x, layer, k) => linear(k === 0 ? x : nn.relu(x), layer), images!);
    return nn.logSoftmax(logits).mul(labels!).sum().mul(-1 / batch);
  },
  encoderStep: (parameters, image, ...targets) =>
    encoder(parameters as Stage<Value>[], image!)
      .map((feature, k) => np.square(feature.sub(targets[k]!)).mean())
      .reduce((a, b) => a.add(b)),
};

const arrayOf = (values: Float32Array, shape: readonly number[]): Value => np.array(values).reshape(shape);

/** Results are kept until the wait; the last one stays. */
function job(call: () => Value, also: () => unknown, release: () => void): Job {
  let kept: Value[] = [];
  let last: Value | undefined;
  return {
    mostCalls: 16,
    run(calls) {
      for (let k = 0; k < calls; k++) kept.push(call());
    },
    async wait() {
      await jax.blockUntilReady([kept.length > 0 ? kept : last, also()]);
      if (kept.length === 0) return;
      last?.dispose();
      last = kept.pop()!;
      for (const value of kept) value.dispose();
      kept = [];
    },
    values: () => last!.ref.data(),
    release() {
      last?.dispose();
      release();
    },
  };
}

async function prepare(item: Case): Promise<Job> {
  const inputs = item.inputs.map((spec) => arrayOf(valuesOf(spec), spec.shape));
  await jax.blockUntilReady(inputs);
  const given = (): Value[] => inputs.map((input) => input.ref);
  const free = (): void => inputs.forEach((input) => input.dispose());
  if (item.parameters === undefined) {
    const operation = operations[item.operation];
    if (operation === undefined) throw new Error("not written for jax-js");
    const compiled = jax.jit((...inputs: Value[]) => operation(inputs, item.options ?? {}));
    return job(() => compiled(...given()), () => [], free);
  }
  const isEncoder = item.operation.startsWith("encoder");
  let parameters = mapSpecs(item.parameters, (spec) => {
    const { values, shape } = isEncoder ? inputsFirst(spec) : { values: valuesOf(spec), shape: spec.shape };
    return arrayOf(values, shape);
  });
  await jax.blockUntilReady(parameters);
  const release = (): void => {
    free();
    tree.dispose(parameters);
  };
  if (item.operation === "encoder") {
    const forward = jax.jit((parameters: unknown, image: Value) => {
      const features = encoder(parameters as Stage<Value>[], image);
      for (const feature of features.slice(0, -1)) feature.dispose();
      return features.at(-1)!;
    });
    return job(() => forward(tree.ref(parameters), given()[0]!), () => [], release);
  }
  const { learningRate } = item.options as { learningRate: number };
  const step: Step = jax.jit((parameters: unknown, ...inputs: Value[]): [Value, unknown] => {
    const [loss, gradients] = jax.valueAndGrad(losses[item.operation]!)(tree.ref(parameters), ...inputs);
    return [loss, tree.map((value, slope) => value!.sub(slope!.mul(learningRate)), parameters, gradients)];
  });
  return job(
    () => {
      const [loss, next] = step(parameters, ...given());
      parameters = next;
      return loss;
    },
    () => parameters,
    release,
  );
}

await serve(prepare);
Deno.exit(0);
