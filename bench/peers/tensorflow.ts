/**
 * TensorFlow.js as a participant: `tensorflow.ts wasm|webgpu`. Maps are `[B, H, W, C]` here, which is the only layout
 * that its wasm and webgpu backends know; results are turned before they are compared.
 *
 * @module
 */
import type { Case } from "../cases.ts";
import { type Job, serve } from "../serve.ts";
import { mapSpecs, type Spec, valuesOf } from "../values.ts";
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
  readonly name: string;
  data(): Promise<Float32Array>;
  assign(value: Value): void;
  dispose(): void;
}

interface Tf {
  setBackend(name: string): Promise<boolean>;
  ready(): Promise<void>;
  backend(): {
    ensureCommandEncoderReady(): void;
    endComputePassEncoder(): void;
    submitQueue(): void;
    readonly device: GPUDevice;
  };
  tidy<T>(f: () => T): T;
  tensor(values: Float32Array, shape: readonly number[]): Value;
  variable(value: Value): Value;
  variableGrads(loss: () => Value, variables: Value[]): { value: Value; grads: Record<string, Value> };
  add(a: Value, b: Value | number): Value;
  sub(a: Value, b: Value): Value;
  mul(a: Value, b: Value | number): Value;
  matMul(a: Value, b: Value, turnA?: boolean, turnB?: boolean): Value;
  erf(x: Value): Value;
  relu(x: Value): Value;
  rsqrt(x: Value): Value;
  square(x: Value): Value;
  sum(x: Value): Value;
  mean(x: Value): Value;
  moments(x: Value, axis: number, keepDims: boolean): { mean: Value; variance: Value };
  softmax(x: Value): Value;
  logSoftmax(x: Value): Value;
  reshape(x: Value, shape: readonly number[]): Value;
  transpose(x: Value, axes: readonly number[]): Value;
  unstack(x: Value, axis: number): Value[];
  conv2d(x: Value, weight: Value, stride: number, padding: number | "same" | "valid"): Value;
  depthwiseConv2d(x: Value, weight: Value, stride: number, padding: "same"): Value;
}

const backend = Deno.args[0]!;

async function load(): Promise<Tf> {
  // Its webgpu backend registers only where there is a window, and asks the adapter in an older way.
  Object.assign(globalThis, { window: globalThis });
  if (backend === "webgpu") {
    const request = navigator.gpu.requestAdapter.bind(navigator.gpu);
    navigator.gpu.requestAdapter = async (options) => {
      const adapter = await request(options);
      if (adapter !== null) {
        Object.assign(adapter, { requestAdapterInfo: () => Promise.resolve(adapter.info) });
      }
      return adapter;
    };
  }
  // Names in variables, so that checking this project needs none of the peers. The core alone lacks the gradients.
  const name = "@tensorflow/tfjs";
  const loaded = await import(name);
  const tf: Tf = loaded.default ?? loaded;
  const module = await import(`${name}-backend-${backend}`);
  if (backend === "wasm") {
    const folder = new URL("node_modules/@tensorflow/tfjs-backend-wasm/dist/", import.meta.url).pathname;
    (module.default ?? module).setWasmPaths(folder);
  }
  if (!await tf.setBackend(backend)) throw new Error(`TensorFlow.js has no ${backend} here`);
  await tf.ready();
  return tf;
}

const tf = await load();

/** Waits for the device; its wasm is done when it returns. */
async function wait(): Promise<void> {
  if (backend !== "webgpu") return;
  const gpu = tf.backend();
  gpu.ensureCommandEncoderReady();
  gpu.endComputePassEncoder();
  gpu.submitQueue();
  await gpu.device.queue.onSubmittedWorkDone();
}

const [toImages, toMaps] = [[0, 2, 3, 1], [0, 3, 1, 2]] as const;

/** x · ½(1 + erf(x / √2)), which it has no operation for. */
function gelu(x: Value): Value {
  return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));
}

function normalize(x: Value, { gain, bias }: Norm<Value>, epsilon: number): Value {
  const { mean, variance } = tf.moments(x, -1, true);
  return tf.add(tf.mul(tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, epsilon))), gain), bias);
}

function attention(q: Value, k: Value, v: Value): Value {
  const scale = 1 / Math.sqrt(q.shape.at(-1)!);
  return tf.matMul(tf.softmax(tf.mul(tf.matMul(q, k, false, true), scale)), v);
}

const operations: Record<string, (inputs: Value[], options: NonNullable<Case["options"]>) => Value> = {
  matmul: ([a, b]) => tf.matMul(a!, b!),
  gelu: ([x]) => tf.add(gelu(tf.add(tf.mul(x!, 1.5), 0.25)), x!),
  sum: ([x]) => tf.sum(x!),
  softmax: ([x]) => tf.softmax(x!),
  layerNorm: ([x, gain, bias]) => normalize(x!, { gain: gain!, bias: bias! }, 1e-5),
  convolution: ([x, weight], { stride, padding, groups }) =>
    groups === 1
      ? tf.conv2d(x!, weight!, stride!, padding!)
      : tf.depthwiseConv2d(x!, weight!, stride!, "same"),
  attention: ([q, k, v]) => attention(q!, k!, v!),
};

function linear(x: Value, { weight, bias }: Affine<Value>): Value {
  const rows = tf.reshape(x, [-1, x.shape.at(-1)!]);
  return tf.reshape(tf.add(tf.matMul(rows, weight), bias), [...x.shape.slice(0, -1), weight.shape[1]!]);
}

function transformerBlock(
  block: Block<Value>,
  x: Value,
  stage: number,
  side: readonly [number, number],
): Value {
  const [batch, count, channels] = x.shape as [number, number, number];
  const [heads, ratio] = [headsOfStage[stage]!, ratioOfStage[stage]!];
  const { query, keyValue, output, reduction } = block.attention;
  const normed = normalize(x, block.norm1, 1e-6);
  const q = tf.transpose(tf.reshape(linear(normed, query), [batch, count, heads, channels / heads]), [
    0,
    2,
    1,
    3,
  ]);
  let source = normed;
  if (reduction !== undefined) {
    const { weight, bias } = reduction.convolution;
    const fewer = tf.conv2d(tf.reshape(normed, [batch, ...side, channels]), weight, ratio, "valid");
    source = normalize(tf.reshape(tf.add(fewer, bias), [batch, -1, channels]), reduction.norm, 1e-5);
  }
  const both = tf.reshape(linear(source, keyValue), [batch, source.shape[1]!, 2, heads, channels / heads]);
  const [k, v] = tf.unstack(tf.transpose(both, [2, 0, 3, 1, 4]), 0) as [Value, Value];
  const attended = tf.reshape(tf.transpose(attention(q, k, v), [0, 2, 1, 3]), [batch, count, channels]);
  const y = tf.add(x, linear(attended, output));
  const { expand, depthwise, contract } = block.feedForward;
  const hidden = tf.reshape(linear(normalize(y, block.norm2, 1e-6), expand), [batch, ...side, 4 * channels]);
  const mixed = tf.add(tf.depthwiseConv2d(hidden, depthwise.weight, 1, "same"), depthwise.bias);
  return tf.add(y, linear(gelu(tf.reshape(mixed, [batch, count, 4 * channels])), contract));
}

/** The Mix Transformer of ../../models/mit_encoder.ts. */
function encoder(stages: readonly Stage<Value>[], image: Value): Value[] {
  let x = image;
  return stages.map((stage, k) => {
    const { weight, bias } = stage.patches.projection;
    const embedded = tf.add(tf.conv2d(x, weight, k === 0 ? 4 : 2, k === 0 ? 3 : 1), bias);
    const [batch, height, width, channels] = embedded.shape as [number, number, number, number];
    let tokens = normalize(tf.reshape(embedded, [batch, height * width, channels]), stage.patches.norm, 1e-5);
    for (const block of stage.blocks) tokens = transformerBlock(block, tokens, k, [height, width]);
    return x = tf.reshape(normalize(tokens, stage.norm, 1e-6), [batch, height, width, channels]);
  });
}

const losses: Record<string, (parameters: unknown, inputs: readonly Value[]) => Value> = {
  perceptronStep: (parameters, [images, labels]) => {
    const layers = parameters as Affine<Value>[];
    const logits = layers.reduce((x, layer, k) => linear(k === 0 ? x : tf.relu(x), layer), images!);
    return tf.mul(tf.sum(tf.mul(tf.logSoftmax(logits), labels!)), -1 / images!.shape[0]!);
  },
  encoderStep: (parameters, [image, ...targets]) =>
    encoder(parameters as Stage<Value>[], image!)
      .map((feature, k) => tf.mean(tf.square(tf.sub(feature, targets[k]!))))
      .reduce((a, b) => tf.add(a, b)),
};

/** A map as `[B, H, W, C]`, a weight of a convolution as `[H, W, in, out]` or, of a depthwise one, `[H, W, C, 1]`. */
function turned(x: Value, isWeight: boolean): Value {
  if (x.shape.length !== 4) return x;
  if (!isWeight) return tf.transpose(x, toImages);
  return tf.transpose(x, x.shape[1] === 1 ? [2, 3, 0, 1] : [2, 3, 1, 0]);
}

function parameterOf(spec: Spec, isEncoder: boolean): Value {
  const { values, shape } = isEncoder ? inputsFirst(spec) : { values: valuesOf(spec), shape: spec.shape };
  return tf.variable(turned(tf.tensor(values, shape), true));
}

async function prepare(item: Case): Promise<Job> {
  const isConvolution = item.operation === "convolution";
  const inputs = item.inputs.map((spec, k) =>
    tf.tidy(() => turned(tf.tensor(valuesOf(spec), spec.shape), isConvolution && k === 1))
  );
  for (const input of inputs) await input.data();
  const variables: Value[] = [];
  const parameters = item.parameters && mapSpecs(item.parameters, (spec) => {
    const variable = parameterOf(spec, item.operation.startsWith("encoder"));
    variables.push(variable);
    return variable;
  });
  let call: () => Value;
  if (item.operation in losses) {
    const lossOf = losses[item.operation]!;
    const { learningRate } = item.options as { learningRate: number };
    call = () => {
      const { value, grads } = tf.variableGrads(() => lossOf(parameters, inputs), variables);
      tf.tidy(() => {
        for (const each of variables) each.assign(tf.sub(each, tf.mul(grads[each.name]!, learningRate)));
      });
      for (const gradient of Object.values(grads)) gradient.dispose();
      return value;
    };
  } else if (item.operation === "encoder") {
    call = () => tf.tidy(() => encoder(parameters as Stage<Value>[], inputs[0]!).at(-1)!);
  } else {
    const operation = operations[item.operation];
    if (operation === undefined) throw new Error("not written for TensorFlow.js");
    call = () => tf.tidy(() => operation(inputs, item.options ?? {}));
  }
  let last: Value | undefined;
  return {
    run(calls) {
      for (let k = 0; k < calls; k++) {
        last?.dispose();
        last = call();
      }
    },
    wait,
    values: async () => {
      if (last!.shape.length !== 4) return await last!.data();
      const maps = tf.transpose(last!, toMaps);
      const values = await maps.data();
      maps.dispose();
      return values;
    },
    release() {
      for (const value of [last, ...inputs, ...variables]) value?.dispose();
    },
  };
}

await serve(prepare);
Deno.exit(0);
