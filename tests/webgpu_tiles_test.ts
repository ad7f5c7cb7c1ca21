/** The tiles of contractions on real GPUs: all give the same bits, and barriers are where all invocations come by. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import type { Affine, Contraction, Expr, Fold, Guard } from "../src/compiler/kernel.ts";
import { planForGpu } from "../src/webgpu/contraction_gpu.ts";
import { generate } from "../src/webgpu/generate.ts";
import { guaranteedLimits, rankTilings, tilings } from "../src/webgpu/tiles.ts";
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

/** Read along the inner axis, one by one, along the rows and columns, with guards; and in parts. */
const kernels: readonly Contraction[] = [
  product([2, 36, 68, 20]),
  product([1, 70, 75, 17]),
  product([1, 131, 132, 16], "own"),
  convolution([1, 4, 18, 7, 11]),
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

Deno.test("steps are divided through f32 only where it can count them", () => {
  const divisions = (m: number, p: number): number => {
    const kernel = { ...product([1, 64, 64, m * p]), batch: [], inner: [m, p] };
    const [left, right] = [load(0, form([p, 0, 0, 1])), load(1, form([0, m, 1, 0]))];
    const stores = [{ output: 0, at: form([64, 1]), axes: [], value: sum }];
    const [first] = generate({ ...kernel, left, right, stores }, "gpu").dispatches;
    return first!.code.split("= quotient(").length - 1;
  };
  assert(divisions(2 ** 10, 2 ** 11) > divisions(2 ** 12, 2 ** 11));
});

/** Loops that every invocation goes through equally often, if what ends them does not depend on the invocation. */
const uniformLoop = /^for \(var (v\d+) = (\w+); \1 < (\w+); \1 \+= \d+u\) \{$/;

/** Barriers of a shader that some invocations may not come by, as the lines around them. */
function lonelyBarriers(code: string): string[] {
  const own = new Set(["local"]);
  const depends = (text: string): boolean => [...text.matchAll(/\w+/g)].some(([word]) => own.has(word));
  const isUniformLoop = (header: string): boolean => {
    const [, , begin, end] = uniformLoop.exec(header) ?? [];
    return end !== undefined && !depends(begin!) && !depends(end);
  };
  const headers: string[] = [];
  const found: string[] = [];
  let isSplit = false;
  for (const line of code.split("\n").map((text) => text.trim())) {
    const [, name, value] = /^(?:let|var) (\w+)[^=]*=(.*)$/.exec(line) ?? [];
    if (name !== undefined && depends(value!)) own.add(name);
    if (line.includes("return;") && depends(line.slice(0, line.indexOf("{")))) isSplit = true;
    if (line.includes("workgroupBarrier()")) {
      const isAlone = line !== "workgroupBarrier();" || isSplit ||
        headers.some((header) => !header.startsWith("fn main") && !isUniformLoop(header));
      if (isAlone) found.push([...headers, line].join(" "));
    }
    if (line.endsWith("{")) headers.push(line);
    else if (line === "}") headers.pop();
  }
  return found;
}

Deno.test("barriers stand where all invocations come by, as browsers demand", () => {
  const row: Expr = load(0, form([300, 1]));
  const stages = (["max", "argMax", "sum"] as const).map((combine) => ({
    combine,
    axes: [300],
    dtype: combine === "argMax" ? "i32" as const : "f32" as const,
    value: row,
  }));
  const fold: Fold = {
    kind: "fold",
    label: "rows",
    inputs: ["f32"],
    outputs: ["f32", "i32", "f32"],
    axes: [5],
    stages,
    stores: stages.map(({ dtype }, k) => ({
      output: k,
      at: form([1]),
      axes: [],
      value: { kind: "reduced", dtype, stage: k },
    })),
  };
  const codes = [
    ...generate(fold, "gpu").dispatches,
    ...kernels.flatMap((kernel) =>
      tilings.flatMap((tiling) => generate(kernel, "gpu", { limits: guaranteedLimits, tiling }).dispatches)
    ),
  ].map(({ code }) => code).filter((code) => code.includes("workgroupBarrier"));
  assert(codes.length > kernels.length * tilings.length, "folds and every tiling have barriers");
  assertEquals(codes.flatMap(lonelyBarriers), []);
  assertEquals(lonelyBarriers("fn main() {\nif (local.x < 3u) {\nworkgroupBarrier();\n}\n}").length, 1);
  const uneven = "let v2 = local.x;\nfor (var v1 = 0u; v1 < v2; v1 += 1u) {\nworkgroupBarrier();\n}";
  assertEquals(lonelyBarriers(uneven).length, 1);
  assertEquals(lonelyBarriers("let v1 = local.x;\nif (v1 > 2u) { return; }\nworkgroupBarrier();").length, 1);
});

Deno.test("tilings fit what an adapter allows, and what a product has", () => {
  const names = (kernel: Contraction, limits = guaranteedLimits): string[] =>
    rankTilings(kernel, false, limits).map(({ tiling }) => tiling.name);
  const large = product([1, 4096, 4096, 64]);
  assertEquals(names(large).length, tilings.length, "every adapter allows all");
  assertEquals(names(large)[0], "128x128");
  assertEquals(
    new Set(names(large, { storage: 8192, invocations: 64 })),
    new Set(["16x64", "64x16", "32x32"]),
  );
  assertEquals(names(large, { storage: 1024, invocations: 256 }), []);
  assertEquals(names(product([1, 12, 16384, 64]))[0], "16x64");
  assertEquals(names(product([1, 16384, 12, 64]))[0], "64x16");
  for (const small of [[1, 7, 100, 100], [1, 100, 7, 100], [1, 100, 100, 15]] as const) {
    assertEquals(names(product(small)), []);
  }
});

Deno.test("sums are split by the sizes alone: few results, many steps", () => {
  const parts = (kernel: Contraction): [count: number, steps: number] | undefined => {
    const plan = planForGpu(kernel);
    return plan.parts && [plan.kernel.batch[0]!, plan.parts.steps];
  };
  assertEquals(parts(product([1, 12, 20, 1024])), [4, 256]);
  assertEquals(parts(product([1, 64, 64, 16384])), [64, 256]);
  assertEquals(parts(product([1, 64, 64, 8191])), [31, 272], "the last part has fewer");
  assertEquals(parts(product([1, 64, 64, 300])), undefined, "too short");
  assertEquals(parts(product([1, 1024, 1024, 4096])), undefined, "enough results");
  const thin = product([1, 1, 64, 8191]);
  assertEquals(rankTilings(thin, false, guaranteedLimits), []);
  assert(rankTilings(thin, true, guaranteedLimits).length > 0, "only tiles have parts");
});

Deno.test("the setting of the tuner is on, off or a tiling", () => {
  assertEquals([tuneSetting(undefined, false), tuneSetting(undefined, true)], ["on", "off"]);
  assertEquals([tuneSetting("on", true), tuneSetting("off", false)], ["on", "off"]);
  assertEquals(tuneSetting("64x128", true), tilings.find(({ name }) => name === "64x128"));
  assertThrows(() => tuneSetting("63x64", false), RangeError, "one of 16x64, 64x16, 32x32");
});
