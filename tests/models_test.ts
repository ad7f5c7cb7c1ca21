/** The parts of the models: channel attention, memory, encoder, head, initialisation. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  allspark,
  channelAttention,
  groupChannels,
  initMitEncoder,
  initModel,
  type MemoryState,
  mitEncoder,
  mlpDecoder,
  type ModelConfig,
  readMemory,
  segment,
  writeMemory,
} from "../models/mod.ts";
import {
  add,
  concat,
  full,
  instanceNorm,
  matmul,
  mul,
  ones,
  random,
  softmax,
  sum,
  swapAxes,
  tensor,
  zeros,
} from "../ops/mod.ts";
import { ShapeError } from "../src/errors.ts";
import { readAll } from "../src/evaluate.ts";
import { lower } from "../src/programs.ts";
import { fewThreads } from "../src/compiler/split.ts";
import { buildGraph } from "../src/graph.ts";
import type { Tensor } from "../src/tensor.ts";
import { jit, valueAndGrad } from "../src/transforms/mod.ts";
import { treeTensors } from "../src/tree.ts";
import { assertClose } from "./support/check.ts";
import { onCpu, onEachDevice } from "./support/devices.ts";

const tiny = {
  dims: [8, 16, 24, 32],
  depths: [1, 2, 1, 1],
  heads: [1, 2, 2, 4],
  srRatios: [8, 4, 2, 1],
} as const;
const tinyModel: ModelConfig = { variant: tiny, classes: 3, embedding: 16, crop: 65 };
const off = { dropPath: 0, attention: 0, projection: 0, head: 0 };

function normals(seed: number, ...shapes: number[][]): Tensor[] {
  return shapes.map((shape, k) => random.normal(random.key(100 * seed + k), shape));
}

/** The definition: all scores, normalised, softmax over the keys. */
function composed(q: Tensor, k: Tensor, v: Tensor): Tensor {
  return matmul(softmax(instanceNorm(matmul(q, swapAxes(k, -1, -2)))), v);
}

onEachDevice("channelAttention() equals softmax(instanceNorm(Q Kᵀ)) V, gradients too", async () => {
  const cases = [
    [[6, 5], [9, 5]],
    [[3, 6, 5], [9, 5]],
    [[4, 12], [3, 12]],
  ] as const;
  for (const [queries, keys] of cases) {
    const [q, k, v, ct] = normals(1, [...queries], [...keys], [...keys], [...queries]) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    // A common offset of all keys and queries, which the normalisation must take out without losing digits.
    const [far, away] = [add(q, 3), add(k, 5)];
    const of = (f: typeof composed) =>
      valueAndGrad((q: Tensor, k: Tensor, v: Tensor) => sum(mul(f(q, k, v), ct)), { argnums: [0, 1, 2] })(
        far,
        away,
        v,
      );
    const found = treeTensors(of((q, k, v) => channelAttention(q, k, v)));
    const expected = treeTensors(of(composed));
    const values = await readAll(Object.fromEntries([...found, ...expected].map((x, j) => [`${j}`, x])));
    found.forEach((_, j) =>
      assertClose(values[j]!, values[j + found.length]!, `part ${j} of ${queries}`, {
        relative: 1e-3,
        absolute: 2e-4,
      })
    );
  }
});

Deno.test("channelAttention() never holds its scores, forward or backward", () => {
  // The memory of 21 classes at crop 513, and one labeled image: the scores would take 88 MB.
  const [queries, keys, positions] = [1024, 21 * 1024, 289];
  const objective = (q: Tensor, k: Tensor, v: Tensor): Tensor => sum(channelAttention(q, k, v));
  const of = (rows: number): Tensor =>
    tensor(new Float32Array(rows * positions), { shape: [rows, positions] });
  const inputs = [of(queries), of(keys), of(keys)] as const;
  const [, gradients] = valueAndGrad(objective, { argnums: [0, 1, 2] })(...inputs);
  const { graph } = buildGraph(gradients);
  const { slots } = lower(graph, { packsOperands: true, reductions: fewThreads });
  const largest = Math.max(...slots);
  assert(largest > 8e6 && largest <= 4 * keys * positions, `a buffer of ${largest} bytes is held`);
});

onEachDevice("channelAttention() of equal channels is the mean of the values", async () => {
  const v = tensor([[1, 2], [3, 6]]);
  const result = channelAttention(ones([3, 2]), full([2, 2], 4), v);
  assertEquals(await result.toArray(), [[2, 4], [2, 4], [2, 4]]);
});

/** One channel after another, in plain JavaScript, as the official code's definition says. */
function enqueue(
  queue: number[][][],
  pointer: number[],
  channels: number[][][],
  classes: number[][],
): void {
  channels.forEach((sample, b) =>
    sample.forEach((channel, c) => {
      const k = classes[b]![c]!;
      queue[k]![pointer[k]!] = channel;
      pointer[k] = (pointer[k]! + 1) % queue[k]!.length;
    })
  );
}

onEachDevice(
  "writeMemory() writes channel by channel, round each ring, also more often than once",
  async () => {
    const [slots, positions] = [4, 2];
    let memory: MemoryState = { queue: zeros([3, slots, positions]), pointer: zeros([3], { dtype: "i32" }) };
    const queue = Array.from({ length: 3 }, () => Array.from({ length: slots }, () => [0, 0]));
    const pointer = [0, 0, 0];
    const write = jit(writeMemory);
    const assignments = [[[0, 2, 0, 2, 0], [2, 2, 2, 2, 2]], [[1, 0, 1, 2, 1], [0, 0, 1, 1, 1]], [[
      0,
      0,
      0,
      0,
      0,
    ], [
      0,
      0,
      0,
      0,
      1,
    ]]];
    for (const [step, classes] of assignments.entries()) {
      const values = classes.map((row, b) => row.map((_, c) => [100 * step + 10 * b + c, -step]));
      memory = write(memory, tensor(values), tensor(classes, { dtype: "i32" }));
      enqueue(queue, pointer, values, classes);
      assertEquals(await memory.queue.toArray(), queue);
      assertEquals(await memory.pointer.toArray(), pointer);
    }
    assertThrows(
      () => write(memory, zeros([2, 5, 9]), zeros([2, 5], { dtype: "i32" })),
      ShapeError,
      "they have 9 positions, and the memory 2",
    );
  },
);

onEachDevice("groupChannels() gives each channel the class whose map is most similar", async () => {
  const maps = [[[5, 5], [0, 0]], [[0, 0], [1, 1]]];
  const channels = [[[0, 0, 7, 7], [3, 3, 0, 0], [1, 1, 0.5, 0]]];
  const classes = groupChannels(tensor(channels), tensor([maps]), { side: [2, 2] });
  assertEquals(await classes.toArray(), [[1, 0, 0]]);
  // As probabilities the second class wins everywhere: its scores are higher, though differently shaped.
  const logits = tensor([[[[0, 0], [0, 1]], [[9, 9], [9, 9]]]]);
  const even = tensor([[[1, 1, 1, 1]]]);
  const byProbability = groupChannels(even, logits, { side: [2, 2], grouping: "probabilities" });
  assertEquals(await byProbability.toArray(), [[1]]);
});

onEachDevice("readMemory() takes other numbers of slots and other sizes of images", async () => {
  const pointer = zeros([2], { dtype: "i32" });
  const [queue] = normals(2, [2, 8, 4]) as [Tensor];
  const options = { side: [2, 2], resizable: false } as const;
  assertEquals(readMemory({ queue, pointer }, { ...options, channels: 4 }).shape, [4, 4, 4]);
  const repeated = await readMemory({ queue, pointer }, { ...options, channels: 16 }).data();
  assertEquals(repeated.slice(0, 32), repeated.slice(32, 64));
  const wide = readMemory({ queue: full([2, 8, 4], 3), pointer }, {
    channels: 8,
    side: [3, 5],
    resizable: true,
  });
  assertEquals(wide.shape, [2, 8, 15]);
  assert((await wide.data()).every((value) => Math.abs(value - 3) < 1e-6));
  assertThrows(
    () => readMemory({ queue, pointer }, { channels: 8, side: [3, 5] }),
    ShapeError,
    "15 positions",
  );
});

onCpu("allspark() in evaluation reads the images themselves, or the memory", async () => {
  const { params, memState } = initModel(random.key(1), tinyModel);
  const [e4] = normals(3, [2, 32, 3, 3]) as [Tensor];
  const memory = memState as MemoryState;
  const own = allspark(params.allspark!, memory, e4);
  const stored = allspark(params.allspark!, memory, e4, { evalKeys: "memory" });
  assertEquals(own.memState, memory);
  const [a, b] = [await own.features.data(), await stored.features.data()];
  assertEquals(stored.features.shape, [2, 32, 3, 3]);
  assert(a.some((value, k) => Math.abs(value - b[k]!) > 1e-3));
  // With the memory as keys, images do not influence each other.
  const alone = allspark(params.allspark!, memory, concat([e4, e4]), { evalKeys: "memory" });
  assertClose((await alone.features.data()).slice(0, b.length), b, "images by themselves");
  assertThrows(
    () => allspark(params.allspark!, memory, e4, { heads: 4 }),
    ShapeError,
    "2 heads are required",
  );
  const logits = zeros([2, 3, 65, 65]);
  assertThrows(
    () => allspark(params.allspark!, memory, e4, { logits, train: true }),
    ShapeError,
    "as many labeled as unlabeled images",
  );
});

onCpu("mitEncoder() gives the same gradients when blocks are computed again", async () => {
  const params = initMitEncoder(random.key(2), { variant: tiny });
  const [images] = normals(4, [2, 3, 65, 70]) as [Tensor];
  const gradients = (recompute: boolean) =>
    treeTensors(
      valueAndGrad((p: typeof params) =>
        mitEncoder(p, images, {
          variant: tiny,
          train: true,
          key: random.key(3),
          rates: { dropPath: 0.5 },
          recompute,
        }).map((x) => sum(mul(x, x))).reduce((a, b) => add(a, b))
      )(params),
    );
  const values = async (recompute: boolean) =>
    await readAll(Object.fromEntries(gradients(recompute).map((x, k) => [`${k}`, x])));
  assertEquals(await values(true), await values(false));
});

Deno.test("mitEncoder() has the stages' sizes, and says what it cannot encode", () => {
  const params = initMitEncoder(random.key(2), { variant: tiny });
  const features = mitEncoder(params, zeros([1, 3, 65, 129]), { variant: tiny });
  assertEquals(features.map(({ shape }) => shape.slice(1)), [[8, 17, 33], [16, 9, 17], [24, 5, 9], [
    32,
    3,
    5,
  ]]);
  assertThrows(
    () => mitEncoder(params, zeros([1, 3, 28, 64]), { variant: tiny }),
    ShapeError,
    "at least 29 pixels",
  );
  assertThrows(() => mitEncoder(params, zeros([1, 3, 64, 64]), { variant: "b5" }), ShapeError, "3, 6, 40, 3");
  assertThrows(() => initMitEncoder(random.key(0), { variant: "b6" as "b5" }), RangeError, "b0 to b5");
});

Deno.test("mlpDecoder() says how many classes its parameters have", () => {
  const { params, bnState } = initModel(random.key(1), tinyModel);
  const features = [8, 16, 24, 32].map((channels, k) => zeros([1, channels, 16 >> k, 16 >> k]));
  assertEquals(mlpDecoder(params.decoder, features, { bnState, classes: 3 }).logits.shape, [1, 3, 16, 16]);
  assertThrows(() => mlpDecoder(params.decoder, features, { bnState, classes: 4 }), ShapeError, "for 3");
});

Deno.test("initModel() has the published numbers of parameters", () => {
  const count = (tree: unknown): number => treeTensors(tree).reduce((total, { size }) => total + size, 0);
  const encoders = {
    b0: 3_319_392,
    b1: 13_151_424,
    b2: 24_196_288,
    b3: 44_072_128,
    b4: 60_842_688,
    b5: 81_443_008,
  };
  for (const [variant, size] of Object.entries(encoders)) {
    assertEquals(count(initMitEncoder(random.key(0), { variant: variant as "b0" })), size);
  }
  const b5 = initModel(random.key(0), { variant: "b5", classes: 21 });
  assertEquals(count(b5.params.allspark), 4_721_664);
  assertEquals(count(b5.params.decoder), 3_166_485);
  assertEquals((b5.memState as MemoryState).queue.shape, [21, 512, 289]);
  const b0 = initModel(random.key(0), { variant: "b0", classes: 11, crop: 129 });
  assertEquals(count(b0.params), 4_898_155);
  assertEquals(
    count(initModel(random.key(0), { variant: "b0", classes: 11, allspark: false }).params),
    3_716_971,
  );
});

onEachDevice("initModel() begins as the official code does, the same for the same key", async () => {
  const config: ModelConfig = { variant: "b0", classes: 5, crop: 65 };
  const make = jit((key: Tensor) => {
    const { params, memState } = initModel(key, config);
    const { attention, feedForward } = params.backbone.stages[3]!.blocks[0]!;
    return {
      linear: feedForward.expand.weight,
      depthwise: feedForward.depthwise.weight,
      bias: attention.query.bias,
      xavier: params.allspark!.labeled.query,
      classify: params.decoder.classify.weight,
      queue: (memState as MemoryState).queue,
    };
  });
  const first = await readAll(make(random.key(5)));
  const deviation = (values: ArrayLike<number>): number =>
    Math.sqrt(Array.from(values).reduce((total, value) => total + value ** 2, 0) / values.length);
  assertAlmostEquals(deviation(first.linear!), 0.02, 1e-4);
  assertAlmostEquals(deviation(first.depthwise!), Math.sqrt(2 / 9), 0.01);
  assertEquals(deviation(first.bias!), 0);
  assertAlmostEquals(deviation(first.queue!), 1, 0.02);
  const bound = Math.sqrt(6 / (256 + 512));
  assert(first.xavier!.every((value) => Math.abs(value) <= bound));
  assertAlmostEquals(deviation(first.xavier!), bound / Math.sqrt(3), 1e-3);
  assert(first.classify!.every((value) => Math.abs(value) <= 1 / 16));
  assertEquals(await readAll(make(random.key(5))), first);
  const other = await readAll(make(random.key(6)));
  assert(other.linear!.some((value, k) => value !== first.linear![k]));
});

Deno.test("initModel() refuses impossible sizes", () => {
  const make = (changes: Partial<ModelConfig>) => () =>
    initModel(random.key(0), { ...tinyModel, ...changes });
  assertThrows(make({ classes: 0 }), RangeError, "classes 0");
  assertThrows(make({ queueSize: 48 }), RangeError, "a multiple or a divisor of the encoder's 32");
  assertThrows(make({ variant: { ...tiny, heads: [3, 2, 2, 4] } }), RangeError, "the heads must divide");
});

onEachDevice(
  "segment() draws differently with different keys in training, and not at all in evaluation",
  async () => {
    const model = initModel(random.key(7), { ...tinyModel, allspark: false });
    const [images] = normals(8, [2, 3, 65, 65]) as [Tensor];
    const logitsOf = jit((key: Tensor) => segment(model, images, { variant: tiny, train: true, key }).logits);
    const [a, again, b] = await Promise.all([1, 1, 2].map((seed) => logitsOf(random.key(seed)).data()));
    assertEquals(a, again);
    assert(a!.some((value, k) => value !== b![k]));
    const still = segment(model, images, { variant: tiny, train: true, rates: off });
    assertEquals(still.logits.shape, [2, 3, 65, 65]);
    assertThrows(
      () => segment(model, images, { variant: tiny, train: true }),
      TypeError,
      "a random key is required",
    );
  },
);
