/** Calls of the operations that are composed of primitives, for the laws. */
import * as ops from "../../ops/mod.ts";
import { Tensor } from "../../src/tensor.ts";
import type { InputSpec } from "./check.ts";
import type { Case } from "./laws.ts";

const { random } = ops;

const f32 = (...shape: number[]): InputSpec => ({ shape });
const apart = (...shape: number[]): InputSpec => ({ shape, distinct: true });
const positive = (...shape: number[]): InputSpec => ({ shape, low: 0.2, high: 2 });
const whole = (low: number, high: number, ...shape: number[]): InputSpec => ({
  shape,
  dtype: "i32",
  low,
  high,
});
const bool = (...shape: number[]): InputSpec => ({ shape, dtype: "bool", low: 0, high: 1 });
const key: InputSpec = { shape: [2], dtype: "u32", low: 0, high: 2 ** 32 - 1 };

type Call = (...inputs: Tensor[]) => Tensor;

/** Name, then pairs of inputs and a call. */
const table: Record<string, readonly [readonly InputSpec[], Call][]> = {
  // Creation
  zeros: [[[], () => ops.zeros([2, 3])]],
  ones: [[[], () => ops.ones([2, 3])]],
  zerosLike: [[[f32(3)], (x) => ops.mul(ops.zerosLike(x), x)]],
  onesLike: [[[f32(3)], (x) => ops.mul(ops.onesLike(x), x)]],
  arange: [[[], () => ops.arange(5)], [[], () => ops.arange(1, 0, { step: -0.3 })]],
  linspace: [[[], () => ops.linspace(-1, 2, 7)]],
  eye: [[[], () => ops.eye(3, { columns: 4 })]],
  // Elementwise
  square: [[[f32(2, 3)], ops.square]],
  clip: [
    [[f32(4, 5)], (x) => ops.clip(x, { min: -0.5, max: 0.7 })],
    [[f32(5), f32(1)], (x, limit) => ops.clip(x, { max: limit })],
  ],
  silu: [[[f32(2, 5)], ops.silu]],
  gelu: [[[f32(2, 5)], ops.gelu]],
  logicalAnd: [[[bool(5), bool(5)], ops.logicalAnd]],
  logicalOr: [[[bool(5), bool(5)], ops.logicalOr]],
  logicalXor: [[[bool(5), bool(1)], ops.logicalXor]],
  logicalNot: [[[bool(5)], ops.logicalNot]],
  bitwiseAnd: [[[whole(-9, 9, 5), whole(-9, 9, 5)], ops.bitwiseAnd]],
  bitwiseOr: [[[whole(-9, 9, 5), whole(-9, 9, 1)], ops.bitwiseOr]],
  bitwiseXor: [[[whole(-9, 9, 5), whole(-9, 9, 5)], ops.bitwiseXor]],
  bitwiseNot: [[[whole(-9, 9, 5)], ops.bitwiseNot]],
  // Movement
  concat: [
    [[f32(2, 3), f32(2, 1), f32(2, 2)], (a, b, c) => ops.concat([a, b, c], { axis: 1 })],
    [[f32(2, 0), f32(2, 3)], (a, b) => ops.concat([a, b], { axis: -1 })],
  ],
  stack: [[[f32(2, 3), f32(2, 3)], (a, b) => ops.stack([a, b], { axis: 1 })]],
  expandDims: [[[f32(2, 3)], (x) => ops.expandDims(x, { axis: [0, -1] })]],
  squeeze: [[[f32(1, 3, 1)], (x) => ops.squeeze(x, { axis: 0 })]],
  split: [[[f32(5, 2)], (x) => ops.split(x, [2, 3])[1]!]],
  roll: [
    [[f32(3, 4)], (x) => ops.roll(x, { shift: [1, -6], axis: [0, 1] })],
    [[f32(2, 3)], (x) => ops.roll(x, { shift: 2 })],
  ],
  tile: [[[f32(2, 3)], (x) => ops.tile(x, [2, 1, 2])]],
  repeat: [[[f32(2, 3)], (x) => ops.repeat(x, 2, { axis: 1 })], [[f32(2, 2)], (x) => ops.repeat(x, 3)]],
  tril: [[[f32(2, 3, 4)], (x) => ops.tril(x, { diagonal: 1 })]],
  triu: [[[f32(4, 3)], (x) => ops.triu(x)]],
  swapAxes: [[[f32(2, 3, 4)], (x) => ops.swapAxes(x, 0, -1)]],
  moveAxis: [[[f32(2, 3, 4)], (x) => ops.moveAxis(x, -1, 0)]],
  // Reductions
  mean: [[[f32(2, 3, 4)], (x) => ops.mean(x, { axis: [0, -1], keepDims: true })], [
    [f32(5)],
    (x) => ops.mean(x),
  ]],
  variance: [[[f32(3, 4)], (x) => ops.variance(x, { axis: 1 })], [
    [f32(5)],
    (x) => ops.variance(x, { correction: 1 }),
  ]],
  std: [[[f32(3, 4)], (x) => ops.std(x, { axis: 0 })]],
  any: [[[bool(3, 4)], (x) => ops.any(x, { axis: 1 })]],
  all: [[[bool(3, 4)], (x) => ops.all(x, { axis: 0 })]],
  logSumExp: [[[f32(3, 4)], (x) => ops.logSumExp(x, { axis: 1 })], [[f32(2, 3)], (x) => ops.logSumExp(x)]],
  // Indexing and sorting
  take: [[[f32(4, 3), whole(-4, 3, 2, 2)], (x, at) => ops.take(x, at, { axis: 0 })]],
  takeAlongAxis: [[[f32(3, 5), whole(0, 4, 3, 2)], (x, at) => ops.takeAlongAxis(x, at, { axis: 1 })]],
  oneHot: [[[whole(-1, 3, 2, 3)], (at) => ops.oneHot(at, { classes: 3 })]],
  scatter: [
    [
      [f32(5, 2), whole(0, 4, 4, 2), f32(4, 2)],
      (x, at, updates) => ops.scatter(x, at, updates, { axis: 0, mode: "add" }),
    ],
  ],
  sort: [[[apart(3, 5)], (x) => ops.sort(x, { axis: 0 })]],
  topK: [[[apart(3, 5)], (x) => ops.topK(x, { k: 2 }).values]],
  // Sums of products
  matmul: [[[f32(2, 3, 4), f32(4, 5)], ops.matmul], [[f32(3), f32(3, 2)], ops.matmul]],
  dot: [[[f32(4), f32(4)], ops.dot]],
  outer: [[[f32(2), f32(3)], ops.outer]],
  einsum: [[[f32(2, 3, 4), f32(2, 4, 5)], (a, b) => ops.einsum("bij,bjk->bki", a, b)], [
    [f32(3, 3), f32(3)],
    (a, b) => ops.einsum("ii,i->", a, b),
  ]],
  linear: [[[f32(2, 3), f32(4, 3), f32(4)], (x, weight, bias) => ops.linear(x, weight, bias)]],
  conv2d: [
    [
      [f32(1, 4, 6, 5), f32(6, 2, 3, 2)],
      (x, w) => ops.conv2d(x, w, { stride: [2, 1], padding: 1, dilation: [1, 2], groups: 2 }),
    ],
    [[f32(2, 3, 5, 5), f32(3, 1, 3, 3)], (x, w) => ops.conv2d(x, w, { padding: 1, groups: 3 })],
  ],
  convTranspose2d: [
    [[f32(1, 2, 3, 4), f32(2, 3, 3, 2)], (x, w) => ops.convTranspose2d(x, w, { stride: 2, padding: 1 })],
  ],
  maxPool2d: [[[apart(1, 2, 5, 6)], (x) => ops.maxPool2d(x, { size: 3, stride: 2, padding: 1 })]],
  avgPool2d: [[[f32(1, 2, 5, 6)], (x) => ops.avgPool2d(x, { size: [2, 3], stride: 2, padding: 1 })]],
  resize: [
    [[f32(1, 2, 3, 4)], (x) => ops.resize(x, { size: [5, 7], method: "bilinear", alignCorners: false })],
    [[f32(1, 2, 5, 4)], (x) => ops.resize(x, { size: [3, 6], method: "bilinear", alignCorners: true })],
    [[f32(2, 3, 4)], (x) => ops.resize(x, { size: [6, 2], method: "nearest" })],
  ],
  // Networks
  dropout: [[[f32(4, 5), key], (x, k) => ops.dropout(x, { rate: 0.4, key: k, train: true })]],
  dropout2d: [[[f32(2, 3, 2, 2), key], (x, k) => ops.dropout2d(x, { rate: 0.4, key: k, train: true })]],
  dropPath: [[[f32(4, 3), key], (x, k) => ops.dropPath(x, { rate: 0.4, key: k, train: true })]],
  layerNorm: [[[f32(2, 3, 5), f32(5), f32(5)], (x, gain, bias) => ops.layerNorm(x, gain, bias)]],
  instanceNorm: [[[f32(2, 3, 4)], (x) => ops.instanceNorm(x)]],
  batchNorm: [
    [[f32(3, 2, 4), f32(2), f32(2)], (x, gain, bias) => {
      const state = { mean: ops.zeros([2]), variance: ops.ones([2]) };
      return ops.batchNorm(x, { gain, bias }, state, { train: true }).output;
    }],
    [[f32(3, 2), f32(2), positive(2)], (x, mean, variance) => {
      const params = { gain: ops.full([2], 2), bias: ops.ones([2]) };
      return ops.batchNorm(x, params, { mean, variance }, { train: false }).output;
    }],
    [[f32(3, 2, 4), f32(2)], (x, mean) => {
      const params = { gain: ops.ones([2]), bias: ops.zeros([2]) };
      const { state } = ops.batchNorm(x, params, { mean, variance: mean }, { train: true, momentum: 0.3 });
      return ops.add(state.mean, state.variance);
    }],
  ],
  attention: [
    [[f32(2, 3, 4), f32(5, 4), f32(5, 2)], (q, k, v) => ops.attention(q, k, v)],
    [
      [f32(2, 3, 4), f32(2, 5, 4), f32(2, 5, 2), f32(2, 1, 1)],
      (q, k, v, scale) => ops.attention(q, k, v, { scale }),
    ],
  ],
  crossEntropy: [
    [[f32(2, 3, 4), whole(0, 2, 2, 4)], (logits, targets) => ops.crossEntropy(logits, targets)],
    [
      [f32(5, 3), whole(0, 2, 5), f32(5)],
      (logits, targets, weights) =>
        ops.crossEntropy(logits, targets, { axis: -1, ignoreIndex: 2, weights, reduction: "none" }),
    ],
  ],
  ohemCrossEntropy: [
    [
      [f32(2, 3, 4), whole(0, 2, 2, 4)],
      (logits, targets) => ops.ohemCrossEntropy(logits, targets, { minKept: 3, threshold: 0.3 }),
    ],
  ],
  // Random numbers
  "random.key": [[[], () => random.key(7)]],
  "random.split": [[[key], (k) => random.split(k, 3)[2]!]],
  "random.foldIn": [[[key, { shape: [], dtype: "u32", low: 0, high: 99 }], random.foldIn]],
  "random.bits": [[[key], (k) => random.bits(k, [2, 3])]],
  "random.uniform": [
    [[key], (k) => random.uniform(k, [2, 3], { low: -1, high: 3 })],
    [[key, positive(3)], (k, high) => random.uniform(k, [3], { high })],
  ],
  "random.normal": [
    [[key], (k) => random.normal(k, [3, 4])],
    [[key, f32(4), positive(1)], (k, mean, std) => random.normal(k, [4], { mean, std })],
  ],
  "random.truncatedNormal": [[[key], (k) => random.truncatedNormal(k, [7], { low: -1, high: 2, std: 0.5 })]],
  "random.bernoulli": [[[key], (k) => random.bernoulli(k, [2, 5], { p: 0.3 })]],
  "random.randint": [[[key], (k) => random.randint(k, [9], { low: -3, high: 4 })]],
  "random.permutation": [
    [[key], (k) => random.permutation(k, 6)],
    [[key, f32(4, 2)], (k, x) => random.permutation(k, x)],
  ],
};

/** Cases of all composed operations, by name. */
export const composed: ReadonlyMap<string, readonly Case[]> = new Map(
  Object.entries(table).map(([name, calls]) => [
    name,
    calls.map(([inputs, call]) => ({ name, inputs, call: (...given: Tensor[]) => call(...given) })),
  ]),
);

/** The names of everything callable that the package of operations exports. */
export function exportedOperations(): string[] {
  const functions = (module: object, prefix = ""): string[] =>
    Object.entries(module).filter(([, value]) => typeof value === "function" && !isClass(value)).map((
      [name],
    ) => prefix + name);
  return [...functions(ops), ...functions(random, "random.")].filter((name) => name !== "tensor");
}

function isClass(value: unknown): boolean {
  return value === Tensor;
}
