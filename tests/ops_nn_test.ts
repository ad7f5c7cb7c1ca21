/** Layers of networks: softmax, normalisation, dropout, attention. */
import { assert, assertAlmostEquals, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import {
  attention,
  batchNorm,
  concat,
  dropout,
  dropout2d,
  dropPath,
  instanceNorm,
  layerNorm,
  linear,
  logSoftmax,
  matmul,
  mean,
  mul,
  ones,
  random,
  slice,
  softmax,
  square,
  stack,
  sum,
  swapAxes,
  tensor,
  variance,
  zeros,
} from "../ops/mod.ts";
import { attentionBlock } from "../ops/attention_block.ts";
import { dropoutEach } from "../ops/dropout.ts";
import { lower } from "../src/programs.ts";
import { fewThreads } from "../src/compiler/split.ts";
import { ShapeError } from "../src/errors.ts";
import { buildGraph } from "../src/graph.ts";
import type { Tensor } from "../src/tensor.ts";
import { grad, jit, jvp, vmap } from "../src/transforms/mod.ts";
import { onEachDevice } from "./support/devices.ts";

const waves = (...shape: number[]): Tensor => {
  const size = shape.reduce((product, n) => product * n, 1);
  return tensor(Float32Array.from({ length: size }, (_, k) => Math.sin(k * k + shape.length)), { shape });
};

async function assertNear(actual: Tensor, expected: Tensor, tolerance: number): Promise<void> {
  assertEquals(actual.shape, expected.shape);
  const [a, b] = [await actual.data(), await expected.data()];
  a.forEach((value, k) => assertAlmostEquals(value, b[k]!, tolerance, `element ${k}`));
}

onEachDevice("softmax() and logSoftmax() do not overflow and know infinities", async () => {
  assertEquals(await softmax(tensor([1e30, 0, -Infinity])).toArray(), [1, 0, 0]);
  assertEquals(await logSoftmax(tensor([0, -2000])).toArray(), [0, -2000]);
  assertEquals(await softmax(tensor([-Infinity, -Infinity])).toArray(), [NaN, NaN]);
  const columns = await softmax(tensor([[1, 2], [1, 2]]), { axis: 0 }).toArray();
  assertEquals(columns, [[0.5, 0.5], [0.5, 0.5]]);
});

onEachDevice("layerNorm() and instanceNorm() leave mean 0 and variance 1", async () => {
  const x = waves(3, 40);
  const y = layerNorm(x, ones([40]), zeros([40]), { eps: 0 });
  await assertNear(mean(y, { axis: 1 }), zeros([3]), 1e-6);
  await assertNear(variance(y, { axis: 1 }), ones([3]), 1e-5);
  const z = instanceNorm(waves(2, 3, 5, 7), { eps: 0 });
  await assertNear(variance(z, { axis: [2, 3] }), ones([2, 3]), 1e-5);
  const scaled = layerNorm(x, tensor(new Float32Array(40).fill(3)), ones([40]), { eps: 0 });
  await assertNear(mean(scaled, { axis: 1 }), ones([3]), 1e-5);
});

onEachDevice("batchNorm() updates with the unbiased variance in training, and not otherwise", async () => {
  const params = { gain: tensor([2]), bias: tensor([1]) };
  const state = { mean: tensor([1]), variance: tensor([4]) };
  const x = tensor([[[1, 2], [3, 6]]], { shape: [2, 1, 2] });
  const { output, state: next } = batchNorm(x, params, state, { train: true, momentum: 0.1 });
  assertAlmostEquals(await next.mean.item(), 0.9 * 1 + 0.1 * 3, 1e-6);
  assertAlmostEquals(await next.variance.item(), 0.9 * 4 + 0.1 * (14 / 3), 1e-6);
  await assertNear(mean(output), tensor(1), 1e-6);
  const still = batchNorm(x, params, state, { train: false, eps: 0 });
  assertEquals(still.state, state);
  assertEquals(await still.output.toArray(), [[[1, 2]], [[3, 6]]]);
});

Deno.test("normalisation says which parameter does not fit", () => {
  assertThrows(
    () => layerNorm(zeros([2, 3]), ones([2]), zeros([3])),
    ShapeError,
    "gain has shape [2], and [3]",
  );
  assertThrows(() => instanceNorm(zeros([3])), ShapeError, "[..., H, W] is required");
  const params = { gain: ones([3]), bias: zeros([3]) };
  const state = { mean: zeros([3]), variance: ones([2]) };
  assertThrows(
    () => batchNorm(zeros([2, 3]), params, state, { train: true }),
    ShapeError,
    "variance has shape [2]",
  );
  assertThrows(
    () => batchNorm(zeros([1, 3]), params, { ...state, variance: ones([3]) }, { train: true }),
    ShapeError,
    "a channel has 1 values, and its variance needs two",
  );
});

onEachDevice("dropout() keeps the mean, repeats itself for one key, and differs for another", async () => {
  const x = ones([100, 100]);
  const drop = (seed: number): Promise<ArrayLike<number>> =>
    dropout(x, { rate: 0.25, key: random.key(seed), train: true }).data();
  const [first, again, other] = [await drop(1), await drop(1), await drop(2)];
  assertEquals(first, again);
  assertNotEquals(first, other);
  const values = Array.from(first);
  const dropped = values.filter((value) => value === 0).length / values.length;
  assertAlmostEquals(dropped, 0.25, 0.02);
  assert(values.every((value) => value === 0 || Math.abs(value - 4 / 3) < 1e-6));
  assertEquals(dropout(x, { rate: 0.25, train: false }), x);
  assertEquals(dropout(x, { rate: 0, train: true }), x);
});

onEachDevice("dropout2d() drops channels, dropPath() samples", async () => {
  const options = { rate: 0.5, key: random.key(3), train: true };
  const planes = await sum(dropout2d(ones([8, 8, 2, 2]), options), { axis: [2, 3] }).data();
  assertEquals(new Set(planes), new Set([0, 8]));
  const samples = await sum(dropPath(ones([64, 4]), options), { axis: 1 }).data();
  assertEquals(new Set(samples), new Set([0, 8]));
});

Deno.test("dropout() refuses what is no rate, and training without a key", () => {
  assertThrows(() => dropout(ones([2]), { rate: 1, train: true }), RangeError, "rate 1");
  assertThrows(() => dropout(ones([2]), { rate: 0.5, train: true }), TypeError, "a random key is required");
});

Deno.test("linear() says what does not fit", () => {
  assertThrows(() => linear(ones([2, 3]), ones([3, 4])), ShapeError, "[..., I] and [O, I] are required");
  assertThrows(() => linear(ones([2, 3]), ones([4, 3]), ones([3])), ShapeError, "each of the 4 outputs");
});

const plain = (q: Tensor, k: Tensor, v: Tensor): Tensor =>
  matmul(softmax(mul(matmul(q, swapAxes(k, -1, -2)), 1 / Math.sqrt(q.shape.at(-1)!))), v);

onEachDevice(
  "attention() is softmax(q kT / sqrt(D)) v, also for shared keys and a scale that is a tensor",
  async () => {
    const [q, k, v] = [waves(2, 3, 4), waves(2, 5, 4), waves(2, 5, 3)];
    await assertNear(attention(q, k, v), plain(q, k, v), 1e-6);
    const [sharedK, sharedV] = [waves(5, 4), waves(5, 3)];
    await assertNear(attention(q, sharedK, sharedV), plain(q, sharedK, sharedV), 1e-6);
    const scale = tensor([[[0.5]], [[2]]]);
    await assertNear(attention(q, k, v, { scale }), attention(mul(q, scale), k, v, { scale: 1 }), 1e-6);
  },
);

// More than 16 MiB of scores, so rows are done in blocks.
const large = (): [Tensor, Tensor, Tensor] => [waves(2, 1100, 3), waves(2500, 3), waves(2500, 2)];

onEachDevice("attention() in blocks has the values and gradients of attention at once", async () => {
  const [q, k, v] = large();
  const weights = waves(2, 1100, 2);
  const gradients = (f: typeof plain): Tensor[] =>
    grad((q: Tensor, k: Tensor, v: Tensor) => sum(mul(f(q, k, v), weights)), { argnums: [0, 1, 2] })(
      q,
      k,
      v,
    ) as Tensor[];
  await assertNear(attention(q, k, v), plain(q, k, v), 2e-6);
  const [blocks, whole] = [gradients((...given) => attention(...given)), gradients(plain)];
  for (const [i, gradient] of blocks.entries()) await assertNear(gradient, whole[i]!, 2e-5);
});

Deno.test("attention() in blocks holds a few blocks of scores, whatever the size of the matrix", () => {
  const [q, k, v] = [waves(4, 2000, 8), waves(8000, 8), waves(8000, 8)];
  const matrix = 4 * q.shape[0]! * q.shape[1]! * k.shape[0]!;
  for (const dropping of [undefined, { rate: 0.1, key: random.key(1), train: true }]) {
    const attend = (q: Tensor, k: Tensor, v: Tensor): Tensor => attention(q, k, v, { dropout: dropping });
    const loss = (...given: [Tensor, Tensor, Tensor]): Tensor => sum(square(attend(...given)));
    const gradients = grad(loss, { argnums: [0, 1, 2] })(q, k, v) as Tensor[];
    for (const outputs of [[attend(q, k, v)], gradients, jvp(attend, [q, k, v], [q, k, v])]) {
      for (const packsOperands of [true, false]) {
        const program = lower(buildGraph(outputs).graph, { packsOperands, reductions: fewThreads });
        const held = program.slots.reduce((sum, bytes) => sum + bytes, 0);
        assert(held < matrix / 3, `${held} bytes are held at once; the scores have ${matrix}`);
      }
    }
  }
});

onEachDevice("attention() with dropout is the same in every block of a compiled function", async () => {
  const [q, k, v] = large();
  const options = { dropout: { rate: 0.5, key: random.key(1), train: true } };
  const f = (q: Tensor): Tensor => attention(q, k, v, options);
  await assertNear(jit(f)(q), f(q), 1e-6);
  assertNotEquals(await f(q).data(), await attention(q, k, v).data());
});

onEachDevice(
  "a block of attention drops weights, for each example of vmap() under its own key",
  async () => {
    const keys = stack(random.split(random.key(4), 3));
    const [q, k, v] = [waves(3, 2, 5, 4), waves(2, 6, 4), waves(2, 6, 3)];
    const rate = 0.5;
    const whole = (q: Tensor, key: Tensor): Tensor =>
      matmul(dropoutEach(softmax(matmul(q, swapAxes(k, -1, -2))), key, rate), v);
    const asBlock = (q: Tensor, key: Tensor): Tensor => attentionBlock(q, k, v, { key, rate });
    const alone = (q: Tensor): Tensor =>
      concat(
        [0, 1, 2].map((k) =>
          whole(slice(q, { starts: [k], sizes: [1] }), slice(keys, { starts: [k], sizes: [1] }))
        ),
      );
    await assertNear(vmap(asBlock)(q, keys), alone(q), 1e-6);
    const slope = (f: (q: Tensor) => Tensor): Tensor => grad((q: Tensor) => sum(square(f(q))))(q);
    await assertNear(slope((q) => vmap(asBlock)(q, keys)), slope(alone), 1e-5);
  },
);

Deno.test("attention() says what does not fit", () => {
  assertThrows(() => attention(ones([2, 3]), ones([4, 2]), ones([4, 3])), ShapeError, "[..., M, D]");
  assertThrows(
    () => attention(ones([2, 1, 3]), ones([3, 4, 3]), ones([4, 3])),
    ShapeError,
    "axis 0 is 2 and 3",
  );
});
