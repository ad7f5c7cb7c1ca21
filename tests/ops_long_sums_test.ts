/** Sums of very many values: their error must not grow with their number. */
import { assert, assertEquals } from "@std/assert";
import * as ops from "../mod.ts";
import { grad, type Tensor, tensor } from "../mod.ts";
import { createCpuBackend } from "../src/cpu/mod.ts";
import type { Kernel } from "../src/compiler/kernel.ts";
import { affine, fold, load } from "./support/cpu_kernels.ts";
import { onCpu } from "./support/devices.ts";

const tenth = Math.fround(0.1);

function filled(shape: readonly number[], value = 0.1): Tensor {
  return tensor(new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value), { shape });
}

/** Every element is `right`, to a relative 1e-6. */
async function assertExact(name: string, y: Tensor, right: number): Promise<void> {
  const values = Array.from(await y.data());
  assert(values.length > 0, name);
  const worst = values.reduce((most, value) => Math.max(most, Math.abs(value / right - 1)), 0);
  assert(worst <= 1e-6, `${name} is ${values[0]} instead of ${right}, off by ${worst.toExponential(1)}`);
  y.dispose();
}

onCpu("sums of 20 million values, along every axis, of data and of constants", async () => {
  const n = 2e7;
  using x = filled([n]);
  const views: [string, Tensor, number][] = [
    ["all", ops.sum(x), n],
    ["a prime number of them", ops.sum(ops.slice(x, { sizes: [19999999] })), 19999999],
    ["a constant", ops.sum(ops.full([n], 0.1)), n],
    ["a constant, along rows", ops.sum(ops.full([4, n / 4], 0.1), { axis: 1 }), n / 4],
    ["a constant, along columns", ops.sum(ops.full([n / 4, 4], 0.1), { axis: 0 }), n / 4],
    ["two axes around another", ops.sum(ops.reshape(x, [1000, 20, 1000]), { axis: [0, 2] }), 1e6],
    ["short rows of many", ops.sum(ops.reshape(x, [400000, 10, 5]), { axis: [0, 2] }), 2e6],
  ];
  for (const columns of [2, 10, 100, 1000]) {
    const rows = n / columns;
    views.push([`axis 0 of ${columns}`, ops.sum(ops.reshape(x, [rows, columns]), { axis: 0 }), rows]);
    views.push([`axis 1 of ${columns}`, ops.sum(ops.reshape(x, [columns, rows]), { axis: 1 }), rows]);
  }
  for (const [name, y, count] of views) await assertExact(name, y, count * tenth);
  await assertExact("mean", ops.mean(x), tenth);
  await assertExact("norm", ops.sqrt(ops.sum(ops.square(x))), Math.sqrt(n) * tenth);
  await assertExact("logSumExp", ops.logSumExp(x), Math.log(n) + tenth);
  await assertExact("softmax", ops.mul(ops.slice(ops.softmax(x), { sizes: [3] }), n), 1);
  await assertExact("cumsum", ops.slice(ops.cumsum(x, { axis: 0 }), { starts: [n - 1] }), n * tenth);
  await assertExact("dot", ops.dot(x, x), n * tenth * tenth);
});

onCpu("variance of many values", async () => {
  const [low, high] = [Math.fround(0.9), Math.fround(1.1)];
  using x = tensor(new Float32Array(1e7).map((_, k) => k % 2 ? high : low));
  const right = ((high - low) / 2) ** 2;
  await assertExact("variance", ops.variance(x), right);
  await assertExact("std", ops.std(x), Math.sqrt(right));
  await assertExact("columns", ops.variance(ops.transpose(ops.reshape(x, [2, -1])), { axis: 0 }), right);
});

onCpu("products over long inner axes, and gradients of weights", async () => {
  const n = 2 ** 20;
  for (const value of [0.1, 0.7]) {
    const c = Math.fround(value);
    using x = filled([4, n], value);
    using ones = filled([n, 4], 1);
    await assertExact(`matmul [4, ${n}]`, ops.matmul(x, ones), n * c);
    await assertExact("of a constant", ops.matmul(x, ops.ones([n, 4])), n * c);
    await assertExact("transposed", ops.matmul(ops.transpose(ops.reshape(x, [n, 4])), ones), n * c);
    await assertExact(
      "of a batch",
      ops.matmul(ops.reshape(x, [8, 2, n / 4]), ops.ones([n / 4, 3])),
      n / 4 * c,
    );
  }
  // One block, two blocks, blocks with a rest, four blocks and one more, parts.
  for (const inner of [129, 640, 641, 1030, 2048, 4096, 16384]) {
    await assertExact(
      `matmul [60, ${inner}]`,
      ops.matmul(filled([60, inner]), filled([inner, 60], 1)),
      inner * tenth,
    );
  }
  using image = filled([4, 2, 512, 512]);
  const slope = (kernel: readonly number[], options = {}): Tensor =>
    grad((w: Tensor) => ops.sum(ops.conv2d(image, w, options)))(filled(kernel, 1)) as Tensor;
  await assertExact("conv2d", slope([2, 2, 1, 1]), 4 * 512 * 512 * tenth);
  await assertExact("conv2d 3x3", slope([2, 2, 3, 3]), 4 * 510 * 510 * tenth);
  await assertExact("depthwise", slope([2, 1, 1, 1], { groups: 2 }), 4 * 512 * 512 * tenth);
  await assertExact("depthwise 3x3", slope([2, 1, 3, 3], { groups: 2 }), 4 * 510 * 510 * tenth);
});

onCpu("infinities and NaN come through long sums", async () => {
  const values = new Float32Array(100003);
  const sumOf = (...given: [number, number][]): Promise<number> => {
    const x = values.slice();
    for (const [place, value] of given) x[place] = value;
    return ops.sum(tensor(x)).item();
  };
  assertEquals(await sumOf([77, Infinity], [5000, 1]), Infinity);
  assertEquals(await sumOf([77, Infinity], [99999, -Infinity]), NaN);
  assertEquals(await sumOf([100002, NaN]), NaN);
  // Blocks that cancel are exact in float64.
  assertEquals(await sumOf([0, 1e8], [50000, 1], [100000, -1e8]), 1);
});

Deno.test("long sums have the same bits for any number of threads", async () => {
  const kernel: Kernel = fold("sum", [3], ["f32"], [{
    combine: "sum",
    axes: [50001],
    dtype: "f32",
    value: load(0, affine(0, 50001, 1)),
  }], [{ output: 0, at: affine(0, 1), axes: [], value: { kind: "reduced", dtype: "f32", stage: 0 } }]);
  const data = new Float32Array(3 * 50001).map((_, k) => Math.sin(k) * 10 ** (k % 5));
  const results = new Set<string>();
  for (const threads of [1, 2, 3]) {
    const device = await createCpuBackend({ threads });
    const buffers = [data.length, 3].map((length) => device.allocate(length * 4));
    device.write(buffers[0]!, data);
    const program = {
      buffers: buffers.map((_, k) => ({
        length: k === 0 ? data.length : 3,
        dtype: "f32" as const,
        place: { kind: k === 0 ? "input" as const : "output" as const, index: 0 },
      })),
      launches: [{ kernel, inputs: [0], outputs: [1] }],
      slots: [],
    };
    device.compile(program).run([buffers[0]!], [buffers[1]!]);
    const [read] = await device.read([{ buffer: buffers[1]!, length: 3, dtype: "f32" }]);
    results.add(String(read));
    await device.close();
  }
  assertEquals(results.size, 1);
});
