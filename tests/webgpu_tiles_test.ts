/** The tiles of contractions on real GPUs: all give the same bits, and barriers are where all invocations come by. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { contiguousStrides } from "../src/compiler/affine.ts";
import type { Affine, Contraction, Expr, Guard } from "../src/compiler/kernel.ts";
import { planForGpu } from "../src/webgpu/contraction_gpu.ts";
import { generate } from "../src/webgpu/generate.ts";
import { classOf, guaranteedLimits, rankTilings, tilings } from "../src/webgpu/tiles.ts";
import { tuneSetting } from "../src/webgpu/tuning.ts";
import { createWebgpuBackend } from "../src/webgpu/mod.ts";
import { assertClose, noise, programOf, runBoth, runProgram, webgpuTest } from "./support/webgpu.ts";

const form = (coefficients: readonly number[], offset = 0): Affine => ({ offset, coefficients });
const load = (input: number, at: Affine, guards: readonly Guard[] = []): Expr => ({
  kind: "load",
  dtype: "f32",
  input,
  at,
  guards,
  fill: 0,
});
const sum: Expr = { kind: "accumulator", dtype: "f32" };

/** left[batch, rows, inner] · right[batch, columns, inner], both stored as their layout says. */
function product(
  [batch, m, n, k]: readonly [number, number, number, number],
  layout: "inner" | "own" = "inner",
): Contraction {
  const isInner = layout === "inner";
  return {
    kind: "contraction",
    label: `${batch} products ${m}x${n}x${k} by ${layout}`,
    inputs: ["f32", "f32"],
    outputs: ["f32"],
    batch: [batch],
    rows: [m],
    columns: [n],
    inner: [k],
    left: load(0, isInner ? form([m * k, k, 0, 1]) : form([m * k, 1, 0, m])),
    right: load(1, isInner ? form([n * k, 0, k, 1]) : form([n * k, 0, 1, n])),
    stores: [{ output: 0, at: form([m * n, n, 1, 0]), axes: [], value: sum }],
  };
}

/** A 3x3 convolution, padded by one: [image] [output channel] [y, x] [input channel, ky, kx]. */
function convolution([count, ci, co, h, w]: readonly [number, number, number, number, number]): Contraction {
  const y = form([0, 0, 1, 0, 0, 1, 0], -1);
  const x = form([0, 0, 0, 1, 0, 0, 1], -1);
  return {
    kind: "contraction",
    label: `convolution ${count} ${ci} ${co} ${h} ${w}`,
    inputs: ["f32", "f32"],
    outputs: ["f32"],
    batch: [count],
    rows: [co],
    columns: [h, w],
    inner: [ci, 3, 3],
    left: load(0, form([0, ci * 9, 0, 0, 9, 3, 1])),
    right: load(1, form([ci * h * w, 0, w, 1, h * w, w, 1], -w - 1), [{ form: y, size: h }, {
      form: x,
      size: w,
    }]),
    stores: [{ output: 0, at: form([co * h * w, h * w, w, 1, 0, 0, 0]), axes: [], value: sum }],
  };
}

const lengths = ({ batch, rows, columns, inner }: Contraction): [number, number, number] => {
  const all = (...lists: (readonly number[])[]): number => lists.flat().reduce((a, b) => a * b, 1);
  return [all(batch, rows, inner), all(batch, columns, inner), all(batch, rows, columns)];
};

const inner17 = product([1, 70, 75, 17]);
const kernels: readonly Contraction[] = [
  product([2, 36, 68, 40]),
  product([2, 36, 68, 40], "own"),
  inner17,
  product([1, 131, 129, 9], "own"),
  convolution([2, 4, 18, 7, 11]),
  // In parts.
  product([1, 12, 20, 1024]),
];

webgpuTest("all tilings give the same bits", async (device, family) => {
  // The tiles are of one family.
  if (family === "software") return;
  const devices = [];
  for (const { name } of tilings) devices.push((await createWebgpuBackend({ family, tune: name }))!);
  for (const kernel of kernels) {
    const [left, right, length] = lengths(kernel);
    const inputs = [noise(left), noise(right, 2)];
    const { actual: [first], expected: [expected] } = await runBoth(device, kernel, inputs, [length]);
    assertClose(first!, expected!, { tolerance: 1e-5, floor: 3, what: kernel.label });
    const program = programOf(kernel, [left, right], [length]);
    for (const [k, each] of devices.entries()) {
      const { name } = tilings[k]!;
      assert(each.describe(kernel).startsWith(`// tiles of ${name}\n`), `${kernel.label} takes ${name}`);
      const [result] = await runProgram(each, program, inputs);
      assertEquals(result, first, `${kernel.label} in tiles of ${name}`);
    }
  }
  for (const each of devices) await each.close();
});
