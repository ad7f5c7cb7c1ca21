/**
 * One result read in several ways by one kernel: every operation that a kernel can take in, times every movement,
 * in pairs and triples. Each case has leaves of its own: equal calls in one graph are one node, which many kernels
 * would read, so that none of them would take it in.
 */
import { assert } from "@std/assert";
import * as ops from "../ops/mod.ts";
import { readAll } from "../src/evaluate.ts";
import { grad } from "../src/transforms/vjp.ts";
import { type Tensor, tensor } from "../src/tensor.ts";
import { operations, primitiveCases } from "./support/cases.ts";
import { assertClose, leafOf, randomSource, randomValues, referenceOf } from "./support/check.ts";
import { composed } from "./support/composed.ts";
import { onEachDevice } from "./support/devices.ts";
import type { Case } from "./support/laws.ts";
import { checkLowering } from "./support/pipeline.ts";

type View = (x: Tensor) => Tensor;

const first = (x: Tensor): number => x.shape[0]!;
const starts = (x: Tensor, start: number): number[] => x.shape.map((_, k) => k === 0 ? start : 0);
const sizes = (x: Tensor, size: number): number[] => x.shape.map((n, k) => k === 0 ? size : n);
const places = (x: Tensor): Tensor =>
  tensor(Array.from({ length: first(x) }, (_, k) => (k * 2 + 1) % first(x)), { dtype: "i32" });

/** Ways to read a tensor of rank 1 or more; what comes out may have any shape. */
const views: Readonly<Record<string, View>> = {
  itself: (x) => x,
  negated: (x) => ops.neg(x),
  "tanh of the flipped": (x) => ops.tanh(ops.flip(x, { axis: 0 })),
  flip: (x) => ops.flip(x),
  "flip of the last axis": (x) => ops.flip(x, { axis: -1 }),
  transpose: (x) => ops.transpose(x),
  "first half": (x) => ops.slice(x, { starts: starts(x, 0), sizes: sizes(x, Math.ceil(first(x) / 2)) }),
  "last half": (x) =>
    ops.slice(x, { starts: starts(x, Math.floor(first(x) / 2)), sizes: sizes(x, Math.ceil(first(x) / 2)) }),
  "every second": (x) => ops.slice(x, { strides: x.shape.map((_, k) => k === 0 ? 2 : 1) }),
  "first row": (x) => ops.slice(x, { sizes: sizes(x, 1) }),
  "last row": (x) => ops.slice(x, { starts: starts(x, first(x) - 1), sizes: sizes(x, 1) }),
  roll: (x) => ops.roll(x, { shift: 1, axis: 0 }),
  "reshape to a column": (x) => ops.reshape(x, [x.size, 1]),
  "reshape to a row": (x) => ops.reshape(x, [1, x.size]),
  pad: (x) => ops.pad(x, { padding: x.shape.map((): [number, number] => [1, 0]), value: 3 }),
  tile: (x) => ops.tile(x, x.shape.map((_, k) => k === 0 ? 2 : 1)),
  repeat: (x) => ops.repeat(x, 2, { axis: 0 }),
  windows: (x) => ops.windows(x, { size: [Math.min(2, x.shape.at(-1)!)], stride: [1] }),
  "concat with itself": (x) => ops.concat([x, x]),
  "lower triangle": (x) => ops.tril(ops.reshape(x, [first(x), x.size / first(x)])),
  take: (x) => ops.take(x, places(x), { axis: 0 }),
  "running sum": (x) => ops.cumsum(x, { axis: 0 }),
  "sum of the last axis": (x) => ops.sum(x, { axis: -1, keepDims: true }),
};

/** The first elements of several tensors, as many as the smallest has, brought together in one kernel. */
function together(parts: readonly Tensor[], how: number): Tensor {
  const least = Math.min(...parts.map((part) => part.size));
  const isAlike = parts.every((part) => String(part.shape) === String(parts[0]!.shape));
  const flat = isAlike
    ? parts
    : parts.map((part) => ops.slice(ops.reshape(part, [part.size]), { sizes: [least] }));
  return flat.reduce((a, b) =>
    how % 3 === 0
      ? ops.sub(a, b)
      : how % 3 === 1
      ? ops.add(ops.mul(a, 0.5), b)
      : ops.where(ops.less(a, b), ops.mul(a, 3), b)
  );
}

let leafNumber = 0;

/** A call of an operation on values that no other call has. */
function produce({ name, inputs, call }: Case): Tensor {
  const random = randomSource(`${name} ${leafNumber++}`);
  const given = inputs.map((spec) => leafOf(spec.shape, spec.dtype ?? "f32", randomValues(spec, random)));
  const result = call(...given);
  if (result.dtype === "f32") return result;
  // Integers that f32 holds: others would be compared after rounding.
  return ops.cast(result.dtype === "bool" ? result : ops.bitwiseAnd(result, 1023), "f32");
}

/** Every operation that has at least two results, from tensors. */
const producers: readonly Case[] = [
  ...operations().flatMap(primitiveCases),
  ...[...composed.values()].flat(),
].filter((example) => {
  const result = produce(example);
  return example.inputs.length > 0 && result.ndim > 0 && result.size > 1;
});

/** Batched sums of products and reductions over inner axes, as networks have them: square results, all views differ. */
const square: readonly Case[] = [
  ...([ops.sum, ops.mean, ops.max, ops.min, ops.prod, ops.variance, ops.std, ops.logSumExp] as const).flatMap(
    (reduce) =>
      [0, 1, 2].map((axis) => ({
        name: `${reduce.name} over axis ${axis}`,
        inputs: [{ shape: [4, 4, 4], low: 0.5, high: 1.5 }],
        call: (x: Tensor) => reduce(x, { axis }),
      })),
  ),
  ...[ops.argmax, ops.argmin].map((reduce) => ({
    name: reduce.name,
    inputs: [{ shape: [4, 5, 4], distinct: true }],
    call: (x: Tensor) => reduce(x, { axis: 1 }),
  })),
  ...[ops.any, ops.all].map((reduce) => ({
    name: reduce.name,
    inputs: [{ shape: [4, 2, 4], dtype: "bool" as const }],
    call: (x: Tensor) => reduce(x, { axis: 1 }),
  })),
  {
    name: "matmul",
    inputs: [{ shape: [4, 3] }, { shape: [3, 4] }],
    call: (a: Tensor, b: Tensor) => ops.matmul(a, b),
  },
  {
    name: "matmul of one row",
    inputs: [{ shape: [1, 8] }, { shape: [8, 6] }],
    call: (a: Tensor, b: Tensor) => ops.matmul(a, b),
  },
  {
    name: "conv2d",
    inputs: [{ shape: [1, 2, 4, 4] }, { shape: [4, 2, 1, 1] }],
    call: (x: Tensor, w: Tensor) => ops.reshape(ops.conv2d(x, w), [4, 4, 4]),
  },
  {
    name: "maxPool2d",
    inputs: [{ shape: [4, 1, 4, 4], distinct: true }],
    call: (x: Tensor) => ops.reshape(ops.maxPool2d(x, { size: 2, stride: 2 }), [4, 4]),
  },
  {
    name: "sum plus a row",
    inputs: [{ shape: [4, 4, 4] }, { shape: [4] }],
    call: (x: Tensor, b: Tensor) => ops.sigmoid(ops.add(ops.sum(x, { axis: 2 }), b)),
  },
];

const names = Object.keys(views);

/** A producer, read in the ways of the given numbers. */
function caseOf(producer: Case, chosen: readonly number[], how: number): { what: string; output: Tensor } {
  const x = produce(producer);
  const parts = chosen.map((k) => views[names[k]!]!(x));
  return {
    what: `${producer.name} as ${chosen.map((k) => names[k]).join(", ")}`,
    output: together(parts, how),
  };
}

function check({ what, output }: { what: string; output: Tensor }): void {
  try {
    checkLowering([output], undefined, 1e-4);
  } catch (error) {
    throw new Error(`${what}: ${(error as Error).message}`, { cause: error });
  }
}

Deno.test("every operation is right when a kernel reads it twice, once through each view", () => {
  for (const [p, producer] of producers.entries()) {
    names.forEach((_, k) => check(caseOf(producer, k % 2 === 0 ? [0, k] : [k, 0], p + k)));
  }
});

Deno.test("reductions and products are right when a kernel reads them through any two views", () => {
  for (const [p, producer] of square.entries()) {
    // All pairs, dealt out among the producers that differ only in their axis or formula.
    for (let a = 0; a < names.length; a++) {
      for (let b = a + 1; b < names.length; b++) {
        if ((a + b + p) % 5 === 0) check(caseOf(producer, [a, b], a + b));
      }
    }
  }
});

Deno.test("reductions and products are right when a kernel reads them through three views", () => {
  const random = randomSource("triples");
  const pick = (): number => Math.floor(random() * names.length);
  for (let k = 0; k < 600; k++) check(caseOf(square[k % square.length]!, [pick(), pick(), pick()], k));
});

onEachDevice("two views of one reduction or product", async () => {
  const random = randomSource("devices");
  const pick = (): number => Math.floor(random() * names.length);
  const cases = square.flatMap((producer, p) =>
    [0, 1, 2].map((k) => caseOf(producer, k === 0 ? [0, 3 + p % 12] : [pick(), pick()], p + k))
  );
  const expected = referenceOf(cases.map(({ output }) => output));
  const values = await readAll(Object.fromEntries(cases.map(({ output }, k) => [String(k), output])));
  cases.forEach(({ what }, k) =>
    assertClose(values[String(k)]!, expected[k]!.data, what, { relative: 1e-4, absolute: 1e-4 })
  );
});

onEachDevice("a reduction less its own flip, and a gradient through two halves of one", async () => {
  const s = ops.sum(tensor([[1, 2], [3, 4]]), { axis: 0 });
  const m = ops.mean(tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]), { axis: 0 });
  const w = ops.reshape(ops.iota([24], { dtype: "f32" }), [2, 12]);
  const loss = (t: Tensor): Tensor =>
    ops.sum(ops.mul(ops.broadcastTo(ops.concat([t, t], { axis: 1 }), [2, 12]), w));
  const slope = grad(loss)(ops.zeros([1, 6]));
  const values = await readAll({ s: ops.sub(s, ops.flip(s)), m: ops.sub(m, ops.transpose(m)), slope });
  assert(String(values.s) === "-2,2", `sum less its flip is ${values.s}`);
  assert(String(values.m) === "0,-1,1,0", `mean less its transpose is ${values.m}`);
  assert(String(values.slope) === "36,40,44,48,52,56", `the gradient is ${values.slope}`);
});
