/** Random chains of movements, reductions and arithmetic, compiled, against the reference. */
import fc from "fast-check";
import * as ops from "../ops/mod.ts";
import { readAll } from "../src/evaluate.ts";
import { type Tensor, tensor } from "../src/tensor.ts";
import { assertClose, referenceOf } from "./support/check.ts";
import { onEachDevice } from "./support/devices.ts";
import { checkLowering } from "./support/pipeline.ts";

/** A step of a chain; the numbers choose among what the shape at hand allows. */
type Step = readonly [operation: number, first: number, second: number];

const steps: readonly ((x: Tensor, a: number, b: number) => Tensor)[] = [
  (x, a) => ops.transpose(x, { axes: rotated(x.ndim, a) }),
  (x, a) => ops.flip(x, { axis: a % x.ndim }),
  (x, a, b) =>
    ops.pad(x, { padding: x.shape.map((_, k) => k === a % x.ndim ? [b % 3, a % 2] : [0, 0]), value: 7 }),
  (x, a, b) => {
    const axis = a % x.ndim;
    const stride = 1 + b % 3;
    const start = x.shape[axis]! > 1 ? b % 2 : 0;
    return ops.slice(x, {
      starts: x.shape.map((_, k) => k === axis ? start : 0),
      strides: x.shape.map((_, k) => k === axis ? stride : 1),
    });
  },
  (x, a) => {
    // Merge two neighbouring axes, or split one off.
    const axis = a % x.ndim;
    const size = x.shape[axis]!;
    if (axis + 1 < x.ndim) {
      return ops.reshape(x, [
        ...x.shape.slice(0, axis),
        size * x.shape[axis + 1]!,
        ...x.shape.slice(axis + 2),
      ]);
    }
    const factor = [2, 3, 5].find((n) => size % n === 0) ?? 1;
    return ops.reshape(x, [...x.shape.slice(0, axis), factor, size / factor]);
  },
  (x) => ops.reshape(x, [x.size]),
  (x, a) => ops.roll(x, { shift: a, axis: a % x.ndim }),
  (x, a) => x.size > 200 ? x : ops.repeat(x, 2, { axis: a % x.ndim }),
  (x, a) => x.size > 200 ? x : ops.concat([x, ops.neg(x)], { axis: a % x.ndim }),
  (x, a, b) =>
    x.size > 200 ? x : ops.windows(x, { size: [Math.min(x.shape.at(-1)!, 1 + a % 3)], stride: [1 + b % 2] }),
  (x, a) => ops.sum(x, { axis: a % x.ndim, keepDims: true }),
  (x, a) => ops.sub(x, ops.max(x, { axis: a % x.ndim, keepDims: true })),
  (x) => ops.sin(x),
  // Factors of at most 1: the sine of a number in the thousands is another one for f32 than for the reference.
  (x, a) => ops.mul(x, ops.sin(ops.iota(x.shape, { axis: a % x.ndim, dtype: "f32" }))),
];

function rotated(rank: number, by: number): number[] {
  return Array.from({ length: rank }, (_, k) => (k + by) % rank);
}

const step: fc.Arbitrary<Step> = fc.tuple(fc.nat(steps.length - 1), fc.nat(7), fc.nat(7));
const shapes = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 3 });
const chains = fc.tuple(shapes, fc.array(step, { maxLength: 7 }));

/** What a chain makes of a tensor of a shape. */
function follow(shape: readonly number[], chain: readonly Step[]): Tensor {
  const size = shape.reduce((product, n) => product * n, 1);
  const start = tensor(Float32Array.from({ length: size }, (_, k) => (k * 7 % 11) / 11), { shape });
  const end = chain.reduce(
    (x, [operation, a, b]) => x.ndim > 0 && x.size > 0 ? steps[operation]!(x, a, b) : x,
    start,
  );
  return ops.add(end, 1);
}

Deno.test("random chains compile to what the references say", () => {
  fc.assert(
    fc.property(chains, ([shape, chain]) => void checkLowering([follow(shape, chain)], undefined, 1e-4)),
    { numRuns: 1000 },
  );
});

onEachDevice("random chains give what the references say", async () => {
  const outputs = fc.sample(chains, { numRuns: 60, seed: 1 }).map(([shape, chain]) => follow(shape, chain));
  const expected = referenceOf(outputs);
  const values = await readAll(Object.fromEntries(outputs.map((x, k) => [String(k), x])));
  expected.forEach(({ data }, k) =>
    assertClose(values[String(k)]!, data, `chain ${k}`, { relative: 1e-4, absolute: 1e-4 })
  );
});
