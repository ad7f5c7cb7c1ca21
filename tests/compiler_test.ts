/** The compiler's passes, without a device: graphs are lowered, interpreted and compared with the reference. */
import { assert, assertEquals } from "@std/assert";
import * as ops from "../ops/mod.ts";
import { grad } from "../src/transforms/mod.ts";
import { makeNode, type Tensor, tensor } from "../src/tensor.ts";
import { Forms } from "../src/compiler/affine.ts";
import { shareEqual } from "../src/compiler/share.ts";
import { fewThreads } from "../src/compiler/split.ts";
import { sharedWalks } from "../src/compiler/walks.ts";
import type { Fold, Launch } from "../src/compiler/kernel.ts";
import { lower } from "../src/programs.ts";
import { buildGraph } from "../src/graph.ts";
import { primitives } from "../src/primitive.ts";
import { checkLowering, type Target } from "./support/pipeline.ts";

const targets: Target[] = [
  { packsOperands: true, reductions: fewThreads },
  { packsOperands: false, reductions: { ...fewThreads, longest: 8 } },
];

function ramp(shape: readonly number[], step = 0.37): Tensor {
  const size = shape.reduce((a, b) => a * b, 1);
  return tensor(Float32Array.from({ length: size }, (_, k) => Math.sin(k * step + 1) * 2), { shape });
}

function check(outputs: Tensor[], launches?: number): void {
  for (const target of targets) {
    const program = checkLowering(outputs, target);
    if (launches !== undefined && target.packsOperands) assertEquals(program.launches.length, launches);
  }
}

Deno.test("every primitive's samples lower to kernels that agree with the reference", () => {
  let next = 1;
  for (const op of primitives()) {
    for (const { inputs, params } of op.samples) {
      const leaves = inputs.map(({ shape, dtype = "f32", low, high, distinct }) => {
        const size = shape.reduce((a, b) => a * b, 1);
        const values = Float64Array.from({ length: size }, (_, k) => {
          const unit = distinct
            ? ((k * 7 + 3) % size) / size
            : (Math.imul(next++, 0x9E3779B1) >>> 0) / 2 ** 32;
          const value = (low ?? -2) + unit * ((high ?? 2) - (low ?? -2));
          return dtype === "f32" ? value : Math.floor(value);
        });
        return tensor(values, { shape, dtype });
      });
      try {
        check([makeNode(op, leaves, params)]);
      } catch (error) {
        throw new Error(
          `${op.name}(${inputs.map((input) => `[${input.shape}]`).join(", ")}) ${JSON.stringify(params)}: ${
            (error as Error).message
          }`,
          { cause: error },
        );
      }
    }
  }
});

Deno.test("an elementwise chain is one kernel", () => {
  const x = ramp([3, 5]);
  check([ops.mul(ops.add(ops.exp(x), 1), ops.sin(x))], 1);
});

Deno.test("bias, gelu and residual go into the matrix product", () => {
  const [x, w, b] = [ramp([6, 8]), ramp([8, 8]), ramp([8])];
  check([ops.add(ops.gelu(ops.add(ops.matmul(x, w), b)), x)], 1);
});

Deno.test("a bare reshape, transpose or broadcast of an input costs one copy, inside a chain nothing", () => {
  const x = ramp([4, 6]);
  check([ops.transpose(ops.reshape(x, [2, 2, 6]), { axes: [2, 0, 1] })], 1);
  check([ops.add(ops.reshape(ops.transpose(x), [24]), ops.reshape(x, [24]))], 1);
});

Deno.test("heads are split and merged by index arithmetic", () => {
  const [x, w] = [ramp([2, 5, 12]), ramp([12, 12])];
  const heads = ops.transpose(ops.reshape(ops.matmul(x, w), [2, 5, 3, 4]), { axes: [0, 2, 1, 3] });
  const scores = ops.matmul(heads, ops.transpose(heads, { axes: [0, 1, 3, 2] }));
  const merged = ops.reshape(ops.transpose(ops.matmul(scores, heads), { axes: [0, 2, 1, 3] }), [2, 5, 12]);
  check([ops.add(ops.matmul(merged, w), x)], 4);
});

Deno.test("padding, slicing, flipping and joining keep every element in its place", () => {
  const x = ramp([3, 7]);
  const padded = ops.pad(ops.exp(x), { padding: [[1, 0], [2, 3]], value: 9 });
  check([ops.flip(ops.slice(padded, { starts: [0, 1], stops: [4, 11], strides: [1, 2] }), { axis: 1 })]);
  check([
    ops.concat([
      x,
      ops.neg(x),
      padded.shape[1] === 12 ? ops.slice(padded, { starts: [0, 0], stops: [2, 7] }) : x,
    ], { axis: 0 }),
  ]);
});

Deno.test("a reshape that no split can express gets a buffer", () => {
  const x = ramp([5, 7]);
  check([ops.add(ops.reshape(ops.transpose(ops.exp(x)), [5, 7]), x)]);
});

Deno.test("a reduction read back by its rows agrees", () => {
  const x = ramp([5, 9]);
  const centred = ops.sub(x, ops.mean(x, { axis: 1, keepDims: true }));
  check([ops.div(centred, ops.sqrt(ops.mean(ops.square(centred), { axis: 1, keepDims: true })))]);
});

Deno.test("several outputs, one of them an input, one twice", () => {
  const x = ramp([4]);
  const y = ops.exp(x);
  check([y, x, y, ops.add(y, 1)]);
});

Deno.test("empty tensors pass through every kind of operation", () => {
  const x = ramp([0, 3]);
  check([
    ops.exp(x),
    ops.sum(x, { axis: 0 }),
    ops.concat([x, ramp([2, 3])], { axis: 0 }),
    ops.matmul(x, ramp([3, 2])),
  ]);
});

Deno.test("long chains do not grow kernels without bound", () => {
  let x = ramp([3]);
  for (let k = 0; k < 500; k++) x = ops.sin(ops.add(x, 0.5));
  const program = checkLowering([x], targets[0], 1e-4);
  assert(program.launches.length > 3 && program.launches.length < 40);
});

Deno.test("thousands of products or reductions, each of the one before, do not overflow the stack", () => {
  let [x, y] = [ramp([2, 2]), ramp([3, 3])];
  const [w, rest] = [tensor([[0, 1], [1, 0]]), ramp([3, 1])];
  for (let k = 0; k < 5000; k++) {
    x = ops.matmul(x, w);
    y = ops.mul(ops.sum(y, { axis: 1, keepDims: true }), ops.transpose(rest));
  }
  assertEquals(lower(buildGraph([x]).graph, targets[0]!).launches.length, 5000);
  assert(lower(buildGraph([y]).graph, targets[0]!).launches.length >= 5000);
});

Deno.test("softmax and layer norm are one kernel each", () => {
  const [x, gain] = [ramp([40, 9]), ramp([9])];
  const e = ops.exp(ops.sub(x, ops.max(x, { axis: 1, keepDims: true })));
  check([ops.div(e, ops.sum(e, { axis: 1, keepDims: true }))], 1);
  const d = ops.sub(x, ops.mean(x, { axis: 1, keepDims: true }));
  check([
    ops.mul(ops.mul(d, ops.rsqrt(ops.add(ops.mean(ops.square(d), { axis: 1, keepDims: true }), 1e-5))), gain),
  ], 1);
});

Deno.test("statistics over a column do not join a walk along the rows", () => {
  const x = ramp([40, 9]);
  const d = ops.sub(x, ops.mean(x, { axis: 0 }));
  check([ops.div(d, ops.sqrt(ops.mean(ops.square(d), { axis: 0 }))), ops.sum(d)]);
});

Deno.test("a reduction whose only reader is another order of it is stored in that order", () => {
  const [x, filter, bias] = [ramp([2, 30, 8]), ramp([8, 1, 3, 3]), ramp([8, 1, 1])];
  const map = ops.reshape(ops.transpose(x, { axes: [0, 2, 1] }), [2, 8, 5, 6]);
  const mixed = ops.add(ops.conv2d(map, filter, { padding: 1, groups: 8 }), bias);
  const tokens = ops.transpose(ops.reshape(mixed, [2, 8, 30]), { axes: [0, 2, 1] });
  // Two readers, so that the convolution is a buffer of its own; both read channels side by side.
  const outputs = [ops.gelu(tokens), ops.matmul(tokens, ramp([8, 3]))];
  check(outputs);
  const { launches } = checkLowering(outputs, targets[0]!);
  const { kernel } = launches.find(({ kernel }) => kernel.kind === "fold" && kernel.stages.length > 0)!;
  assert(kernel.kind === "fold");
  const channels = kernel.axes.indexOf(8);
  assertEquals(kernel.stores[0]!.at.coefficients[channels], 1);
});

Deno.test("intermediates share slots whenever they are not needed at the same time", () => {
  // Sizes rise, fall and rise again, and every third value is kept to the end.
  const kept: Tensor[] = [];
  let x = ramp([32, 3]);
  for (let k = 0; k < 30; k++) {
    const width = 1 + ((k * k * 7) % 97);
    x = ops.softmax(ops.matmul(x, ramp([x.shape[1]!, width])));
    if (k % 3 === 0) kept.push(ops.sum(x, { axis: 1 }));
  }
  const output = kept.reduce((total, row) => ops.mul(ops.add(total, row), ops.sum(x)));
  const { buffers, launches, slots } = checkLowering([output], targets[0], 1e-4);
  const uses = buffers.map((_, buffer) =>
    launches.flatMap(({ inputs, outputs }, time) =>
      inputs.includes(buffer) || outputs.includes(buffer) ? [time] : []
    )
  );
  const isAlive = (buffer: number, time: number): boolean =>
    uses[buffer]![0]! <= time && uses[buffer]!.at(-1)! >= time;
  const temporaries = buffers.flatMap(({ place }, k) => place.kind === "temporary" ? [k] : []);
  const peak = launches.reduce((most, _, time) => {
    const alive = temporaries.filter((buffer) => isAlive(buffer, time));
    const taken = alive.map((buffer) => buffers[buffer]!.place.index);
    assertEquals(new Set(taken).size, alive.length, `two buffers in one slot at launch ${time}`);
    return Math.max(most, alive.reduce((bytes, buffer) => bytes + 4 * buffers[buffer]!.length, 0));
  }, 0);
  for (const k of temporaries) assert(4 * buffers[k]!.length <= slots[buffers[k]!.place.index]!);
  const held = slots.reduce((sum, bytes) => sum + bytes, 0);
  assert(held <= 1.1 * peak, `${held} bytes are held; at most ${peak} are needed at once`);
});

Deno.test("long reductions to few results are cut, whatever is stored of them", () => {
  const x = ramp([64, 5, 40]);
  const velocity = ops.add(ops.mul(ramp([40]), 0.9), ops.sum(x, { axis: [0, 1] }));
  const reductions = { longest: 1e9, results: 1000, steps: 4 };
  const program = checkLowering([velocity, ops.sub(ramp([40]), ops.mul(velocity, 0.1))], {
    packsOperands: true,
    reductions,
  });
  const [parts, join] = program.launches.map(({ kernel }) => kernel as Fold);
  assertEquals(parts!.stages.map(({ axes }) => axes), [[2, 5]]);
  assertEquals([join!.stages.map(({ axes }) => axes), join!.stores.length], [[[32]], 2]);
});

/** A depthwise convolution over tokens `[batch, height, width, channels]`, and its gradient by them. */
function overTokens(tokens: Tensor, filters: Tensor): { mixed: Tensor; gradient: Tensor } {
  const mix = (tokens: Tensor): Tensor => {
    const image = ops.transpose(tokens, { axes: [0, 3, 1, 2] });
    return ops.transpose(ops.conv2d(image, filters, { padding: 1, groups: filters.shape[0]! }), {
      axes: [0, 2, 3, 1],
    });
  };
  const gradient = grad((tokens: Tensor) => ops.sum(ops.square(mix(tokens))))(tokens);
  return { mixed: mix(tokens), gradient };
}

Deno.test("filters of a depthwise convolution over tokens are put side by side once, for all that read them", () => {
  const filters = ramp([8, 1, 3, 3]);
  const parts = [ramp([2, 5, 6, 8]), ramp([1, 4, 5, 8])].map((tokens) => overTokens(tokens, filters));
  const outputs = parts.flatMap(({ mixed, gradient }) => [mixed, gradient]);
  for (const target of targets) {
    const { launches, buffers } = checkLowering(outputs, target);
    const copies = launches.filter(({ kernel }) => kernel.label.startsWith("arranged"));
    assertEquals(copies.map(({ kernel }) => (kernel as Fold).axes), [[3, 3, 8]]);
    const readers = (buffer: number): Launch[] => launches.filter(({ inputs }) => inputs.includes(buffer));
    assertEquals(readers(copies[0]!.inputs[0]!).length, 1, "nobody else reads the filters as they are");
    assert(readers(copies[0]!.outputs[0]!).length >= 4, "forward and backward of both");
    assertEquals(buffers[copies[0]!.outputs[0]!]!.length, 72);
  }
});

Deno.test("what is read few times, or lies side by side already, stays where it is", () => {
  const names = (output: Tensor): string[] =>
    checkLowering([output]).launches.map(({ kernel }) => kernel.label);
  const { mixed } = overTokens(ramp([1, 1, 2, 8]), ramp([8, 1, 3, 3]));
  assert(!names(mixed).some((label) => label.startsWith("arranged")), "two positions");
  const image = ops.conv2d(ramp([2, 8, 5, 8]), ramp([8, 1, 3, 3]), { padding: 1, groups: 8 });
  assert(
    !names(image).some((label) => label.startsWith("arranged")),
    "channels are not what is walked along",
  );
});

Deno.test("reductions are cut into parts of enough steps, or not at all", () => {
  const reductions = { longest: 1e9, results: 1000, steps: 4 };
  const cuts = (shape: readonly number[], axis: number | readonly number[]): number[][][] =>
    checkLowering([ops.sum(ramp(shape), { axis })], { packsOperands: true, reductions }, 1e-4).launches
      .map(({ kernel }) => (kernel as Fold).stages.map(({ axes }) => [...axes]));
  assertEquals(cuts([257, 600], 0), [[[257]]], "a prime has no parts but single steps");
  assertEquals(cuts([6, 2 * 43, 16], [0, 1]), [[[6, 1]], [[86]]], "the least that is enough");
  assertEquals(cuts([8, 41, 16], [0, 1]), [[[8, 1]], [[41]]], "the most that there is");
  assertEquals(cuts([300, 16], 0), [[[4]], [[75]]]);
});

Deno.test("kernels over the same operand bind its new order once, and no more than eight buffers", () => {
  const y = ops.mul(ramp([40, 5, 8]), ops.transpose(ramp([8, 5])));
  const reductions = [ops.sum(y, { axis: 1 }), ops.max(y, { axis: 1 }), ops.min(y, { axis: 1 })];
  const squares = [ops.sum(ops.square(y), { axis: 1 }), ops.sum(ops.abs(y), { axis: 1 })];
  for (const target of targets) {
    const { launches } = checkLowering([...reductions, ...squares], target);
    assert(launches.some(({ kernel }) => kernel.label.startsWith("arranged")));
    for (const { inputs, outputs } of launches) {
      assertEquals(new Set(inputs).size, inputs.length);
      assert(inputs.length + outputs.length <= 8);
    }
  }
});

Deno.test("a map of a product's results that are kept too is one more store of the product", () => {
  const velocity = ops.add(ops.mul(ramp([5, 6]), 0.9), ops.matmul(ramp([5, 7]), ramp([7, 6], 0.21)));
  const parameter = ops.sub(ramp([5, 6], 0.11), ops.mul(velocity, 0.1));
  for (const target of targets) {
    const { launches } = checkLowering([velocity, parameter], { ...target, reductions: fewThreads });
    assertEquals(launches.map(({ kernel, outputs }) => [kernel.kind, outputs.length]), [["contraction", 2]]);
  }
  // Turned around, or summed, the results are read from memory.
  for (const other of [ops.exp(ops.transpose(velocity)), ops.sum(velocity, { axis: 1 })]) {
    assertEquals(checkLowering([velocity, other]).launches.length, 2);
  }
});

Deno.test("rows that are few and long are walked apart, so that their sums can be cut", () => {
  const x = ramp([40, 96]);
  const whole = { packsOperands: false, reductions: { ...fewThreads, results: 2 ** 10, steps: 1 } };
  const apart = { ...whole, reductions: { ...whole.reductions, apart: { rows: 64, length: 90 } } };
  const labels = (output: Tensor, target: Target): string[] =>
    checkLowering([output], target).launches.map(({ kernel }) => kernel.label);
  const softmax = ops.softmax(x);
  assertEquals(labels(softmax, whole).length, 1);
  assertEquals(labels(softmax, apart), [
    "max[40] parts",
    "max[40] join",
    "exp[40,96]",
    "sum[40] parts",
    "sum[40] join",
    "div[40,96]",
  ]);
  // What does not walk the rows stays with the sums.
  const scale = ops.sub(1, ops.mul(ops.sum(x, { axis: 1 }), 0.1));
  assertEquals(labels(scale, apart).length, 2);
  // A long row to write, of a short sum.
  const written = ops.add(x, ops.sum(ramp([40, 8]), { axis: 1, keepDims: true }));
  assertEquals(labels(written, whole).length, 1);
  assertEquals(labels(written, apart).length, 2);
  // Many rows, or short ones.
  assertEquals(labels(ops.softmax(ramp([80, 96])), apart).length, 1);
  assertEquals(labels(ops.softmax(ramp([40, 88])), apart).length, 1);
});

Deno.test("what a layer norm and its gradient find out about a row takes few walks", () => {
  const [x, gain, bias, slope] = [ramp([40, 9]), ramp([9]), ramp([9], 0.2), ramp([40, 9], 0.7)];
  const loss = (x: Tensor): Tensor => ops.sum(ops.mul(ops.layerNorm(x, gain, bias), slope));
  const walksOf = (output: Tensor, withSpread: boolean): number[][][] =>
    lower(buildGraph([output]).graph, targets[0]!).launches.flatMap(({ kernel }) =>
      kernel.kind === "fold" && kernel.stages.length > 0
        ? [sharedWalks(shareEqual(kernel).stages, () => true, withSpread)]
        : []
    );
  assertEquals(walksOf(ops.layerNorm(x, gain, bias), false), [[[0], [1]]]);
  assertEquals(walksOf(ops.layerNorm(x, gain, bias), true), [[[0, 1]]]);
  assertEquals(walksOf(grad(loss)(x) as Tensor, true), [[[0, 1]], [[0, 1]]]);
});

Deno.test("digits of a form are whole numbers for every size of a block", () => {
  for (let size = 1; size <= 200; size++) {
    const forms = new Forms([7, size]);
    const [high, low] = forms.digits(forms.address([forms.axis(0), forms.axis(1)], [size, 1]), [7, size]);
    assertEquals([high, low], [forms.axis(0), forms.axis(1)], `blocks of ${size}`);
  }
});
