import { assert, assertEquals } from "@std/assert";
import { interpretKernel } from "../src/compiler/interpret.ts";
import type { Contraction, Expr, Fold, Kernel, Program } from "../src/compiler/kernel.ts";
import { arrayType, type TensorData } from "../src/dtype.ts";
import type { BoundBinding, BoundLaunch } from "../src/webgpu/bound.ts";
import type { WebgpuExecutable } from "../src/webgpu/executable.ts";
import { generate } from "../src/webgpu/generate.ts";
import { joinTiny } from "../src/webgpu/join.ts";
import type { Family, WebgpuDevice } from "../src/webgpu/mod.ts";
import { binary, constant, form, load, map, reduced } from "./support/kernels.ts";
import { assertClose, noise, runProgram, webgpuTest } from "./support/webgpu.ts";

/** [8, 8] times a matrix, made smaller so that long chains stay where they are. */
const product: Contraction = {
  kind: "contraction",
  label: "product",
  inputs: ["f32", "f32"],
  outputs: ["f32"],
  batch: [],
  rows: [8],
  columns: [8],
  inner: [8],
  left: load(0, form([8, 0, 1])),
  right: load(1, form([0, 1, 8])),
  stores: [{
    output: 0,
    at: form([8, 1, 0]),
    axes: [],
    value: binary("mul", { kind: "accumulator", dtype: "f32" }, constant(0.6)),
  }],
};

const backwards = load(0, form([-1], 63));
const increment = map("increment", [64], ["f32"], "f32", binary("add", load(0, form([1])), constant(0.5)));

const halve = map("halve", [64], ["f32"], "f32", binary("mul", load(0, form([1])), constant(0.5)));

/** Every element becomes half of itself plus the mean of all: a team's work, in workgroup memory, on real GPUs. */
const centre = (read: Expr): Fold => ({
  kind: "fold",
  label: "centre",
  inputs: ["f32"],
  outputs: ["f32"],
  axes: [],
  stages: [{ combine: "sum", axes: [64], dtype: "f32", value: read }],
  stores: [{
    output: 0,
    at: form([1]),
    axes: [64],
    value: binary(
      "add",
      binary("mul", load(0, form([1])), constant(0.5)),
      binary("mul", reduced(0), constant(1 / 64)),
    ),
  }],
});

/** All kernels in order, again and again, each on what the one before it wrote; a matrix is the second input. */
function chain(kernels: readonly Kernel[], rounds: number): Program {
  const all = Array.from({ length: rounds }, () => kernels).flat();
  const buffer = (kind: "input" | "output" | "temporary", index: number) => ({
    length: 64,
    dtype: "f32" as const,
    place: { kind, index },
  });
  return {
    buffers: [
      buffer("input", 0),
      buffer("input", 1),
      buffer("output", 0),
      buffer("temporary", 0),
      buffer("temporary", 1),
    ],
    slots: [256, 256],
    launches: all.map((kernel, k) => ({
      kernel,
      inputs: [k === 0 ? 0 : 3 + (k - 1) % 2, ...(kernel.inputs.length > 1 ? [1] : [])],
      outputs: [k === all.length - 1 ? 2 : 3 + k % 2],
    })),
  };
}

/** What the interpreter makes of a chain. */
function interpret({ launches }: Program, [x, matrix]: readonly TensorData[]): TensorData {
  return launches.reduce<TensorData>((value, { kernel }) => {
    const result = new (arrayType(kernel.outputs[0]!))(64);
    interpretKernel(kernel, kernel.inputs.length > 1 ? [value, matrix!] : [value], [result]);
    return result;
  }, x!);
}

const inputs = [noise(64, 1), noise(64, 2)];
/** Chains of kernels, and the families in which they become few dispatches. */
const chains: Record<string, { kernels: readonly Kernel[]; become: readonly Family[] }> = {
  "products": { kernels: [product], become: ["software", "gpu"] },
  "maps": { kernels: [increment, halve], become: ["software", "gpu"] },
  "rows": { kernels: [centre(load(0, form([1])))], become: ["software", "gpu"] },
  "rows read backwards": { kernels: [centre(backwards)], become: [] },
  "products and maps": { kernels: [product, increment], become: [] },
  "rows read backwards, and products": { kernels: [centre(backwards), product], become: [] },
  "rows, products and maps": { kernels: [centre(load(0, form([1]))), product, increment], become: [] },
};

/** Labels of what is left of a program's launches. */
function labelsOf(device: WebgpuDevice, program: Program): string[] {
  const executable = device.compile(program) as WebgpuExecutable;
  executable.release();
  return executable.launches.map(({ label }) => label);
}

for (const [name, { kernels, become }] of Object.entries(chains)) {
  webgpuTest(
    `tiny launches that repeat, joined or not, give the same bits: ${name}`,
    async (device, family) => {
      let expected = inputs[0]!;
      const single = chain(kernels, 1);
      assertEquals(labelsOf(device, single), kernels.map(({ label }) => label));
      for (let round = 1; round <= 70; round++) {
        [expected] = await runProgram(device, single, [expected, inputs[1]!]) as [Float32Array];
        if (![12, 70].includes(round)) continue;
        const program = chain(kernels, round);
        const count = labelsOf(device, program).length;
        if (round === 70 && become.includes(family)) assert(count <= 20, `${count} dispatches`);
        const [result] = await runProgram(device, program, inputs);
        assertEquals(result, expected);
        assertClose(result!, interpret(program, inputs), { tolerance: 1e-4, floor: 1, what: name });
      }
    },
  );
}

webgpuTest("what repeats seldom stays as it is, and what is joined says what it was", (device) => {
  assertEquals(labelsOf(device, chain([product], 4)), Array(4).fill("product"));
  const labels = labelsOf(device, chain([increment, halve], 64));
  assertEquals(labels.slice(1, 3), Array(2).fill(Array(8).fill("halve; increment").join("; ")));
  return Promise.resolve();
});

webgpuTest("memory that kernels see in two ways keeps them apart", (device) => {
  // Products take four elements at once, the map one.
  const program = chain([product, increment], 15);
  assertEquals(labelsOf(device, program), program.launches.map(({ kernel }) => kernel.label));
  return Promise.resolve();
});

webgpuTest("an input that joined launches overwrite is read first", async (device) => {
  const program = chain([product, increment], 20);
  const [expected] = await runProgram(device, program, inputs);
  const executable = device.compile(program);
  const buffers = inputs.map((data) => {
    const buffer = device.allocate(data.byteLength);
    device.write(buffer, data);
    return buffer;
  });
  executable.run(buffers, [buffers[0]!]);
  const [result] = await device.read([{ buffer: buffers[0]!, length: 64, dtype: "f32" }]);
  assertEquals(result, expected);
  executable.release();
  for (const buffer of buffers) buffer.release();
});

webgpuTest("a launch that reads where it writes keeps its copy", async (device) => {
  const turn = map("turn", [64], ["f32"], "f32", binary("add", load(0, form([-1], 63)), constant(1)));
  const program = {
    ...chain([turn], 12),
    launches: Array.from(
      { length: 12 },
      (_, k) => ({ kernel: turn, inputs: [k === 0 ? 0 : 2], outputs: [2] }),
    ),
  };
  const [result] = await runProgram(device, program, inputs);
  assertEquals(result, interpret(program, inputs));
});

/** A launch of one kernel from one place to another. */
function launchOf(kernel: Kernel, from: BoundBinding, to: BoundBinding): BoundLaunch {
  const [dispatch] = generate(kernel, "software").dispatches;
  const constants: BoundBinding = { source: { kind: "constants", index: 0 }, offset: 0, size: 16 };
  const bindings = dispatch!.parts.bindings.map(({ kind }) =>
    kind === "input" ? from : kind === "output" ? to : constants
  );
  return {
    label: kernel.label,
    dispatches: [{ dispatch: dispatch!, bindings }],
    inputs: [from.source],
    outputs: [to.source],
  };
}

const joinOptions = { family: "software", most: { storage: 8, uniform: 12 } } as const;

Deno.test("parts of a buffer that is written are told from other buffers", () => {
  const at = (index: number, offset = 0): BoundBinding => ({
    source: { kind: "temporary", index },
    offset,
    size: 256,
  });
  // The second launch reads another buffer than the first writes, but for once another part of the same.
  const pairs = Array.from({ length: 8 }, (_, k) => [
    launchOf(increment, at(0), at(1)),
    launchOf(halve, at(k === 5 ? 1 : 2, 256), at(3)),
  ]);
  const labels = joinTiny(pairs.flat(), joinOptions).map(({ label }) => label);
  assertEquals(labels.filter((label) => !label.includes(";")), ["increment", "halve"]);
});

Deno.test("many different launches that repeat are joined in little time", () => {
  const kernels = Array.from({ length: 300 }, (_, k) => {
    // A text of its own for each: another order of operations.
    let value = load(0, form([1]));
    for (let bit = 0; bit < 9; bit++) {
      value = binary((k >> bit) % 2 === 1 ? "mul" : "add", value, constant(0.5));
    }
    return map(`kernel ${k}`, [64], ["f32"], "f32", value);
  });
  const slot = (index: number): BoundBinding => ({
    source: { kind: "temporary", index },
    offset: 0,
    size: 256,
  });
  const round = kernels.map((kernel, k) => launchOf(kernel, slot(k % 4), slot((k + 1) % 4)));
  const launches = Array.from({ length: 10 }, () => round).flat();
  const start = performance.now();
  assertEquals(joinTiny(launches, joinOptions).length, launches.length / 4);
  const milliseconds = performance.now() - start;
  assert(milliseconds < 2000, `${milliseconds} ms`);
});
