/** Contractions on the cpu device, against the interpreter of the kernel IR. */
import { assert, assertEquals } from "@std/assert";
import type { TensorData } from "../src/dtype.ts";
import { interpretKernel } from "../src/compiler/interpret.ts";
import {
  type Affine,
  type Contraction,
  type Expr,
  type Guard,
  type Kernel,
  points,
} from "../src/compiler/kernel.ts";
import { generateContraction } from "../src/cpu/contraction.ts";
import { planContraction } from "../src/cpu/contraction_plan.ts";
import { CpuDevice } from "../src/cpu/device.ts";
import type { Features, GeneratedKernel } from "../src/cpu/protocol.ts";

/** Affine form from terms [axis, coefficient]. */
function form(axes: number, offset: number, ...terms: [number, number][]): Affine {
  const coefficients = new Array(axes).fill(0);
  for (const [axis, coefficient] of terms) coefficients[axis] += coefficient;
  return { offset, coefficients };
}

function load(input: number, at: Affine, guards: readonly Guard[] = [], fill = 0): Expr {
  return { kind: "load", dtype: "f32", input, at, guards, fill };
}

const accumulator: Expr = { kind: "accumulator", dtype: "f32" };

function f32(op: "mul" | "add" | "max", a: Expr, b: Expr): Expr {
  return { kind: "binary", dtype: "f32", op, a, b };
}

function constant(value: number): Expr {
  return { kind: "constant", dtype: "f32", value };
}

interface Case {
  readonly name: string;
  readonly kernel: Contraction;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

type Options = {
  transposeLeft?: boolean;
  transposeRight?: boolean;
  transposeOut?: boolean;
  shared?: "left" | "right";
};

/** [batch, m, k] · [batch, k, n], with either operand or the result stored the other way round. */
function matmul(batch: number, m: number, k: number, n: number, options: Options = {}): Case {
  const { transposeLeft, transposeRight, transposeOut, shared } = options;
  const left = form(4, 0, [0, shared === "left" ? 0 : m * k], [1, transposeLeft ? 1 : k], [
    3,
    transposeLeft ? m : 1,
  ]);
  const right = form(4, 0, [0, shared === "right" ? 0 : k * n], [2, transposeRight ? k : 1], [
    3,
    transposeRight ? 1 : n,
  ]);
  const out = form(4, 0, [0, m * n], [1, transposeOut ? 1 : n], [2, transposeOut ? m : 1]);
  return {
    name: `matmul ${batch}x${m}x${k}x${n} ${JSON.stringify(options)}`,
    kernel: {
      kind: "contraction",
      label: "matmul",
      inputs: ["f32", "f32"],
      outputs: ["f32"],
      batch: [batch],
      rows: [m],
      columns: [n],
      inner: [k],
      left: load(0, left),
      right: load(1, right),
      stores: [{ output: 0, at: out, axes: [], value: accumulator }],
    },
    inputs: [batch * m * k, batch * k * n],
    outputs: [batch * m * n],
  };
}

interface Convolution {
  readonly n: number;
  readonly c: number;
  readonly o: number;
  readonly h: number;
  readonly w: number;
  readonly kernel: number;
  readonly stride?: number;
  readonly padding?: number;
  readonly dilation?: number;
}

function outputSize(size: number, { kernel, stride = 1, padding = 0, dilation = 1 }: Convolution): number {
  return Math.floor((size + 2 * padding - dilation * (kernel - 1) - 1) / stride) + 1;
}

/** Axes n | o | oh ow | c kh kw. */
function conv(p: Convolution): Case {
  const { n, c, o, h, w, kernel: size, stride = 1, padding = 0, dilation = 1 } = p;
  const [oh, ow] = [outputSize(h, p), outputSize(w, p)];
  const guards = [
    { form: form(7, -padding, [2, stride], [5, dilation]), size: h },
    { form: form(7, -padding, [3, stride], [6, dilation]), size: w },
  ];
  const at = form(
    7,
    -padding * (w + 1),
    [0, c * h * w],
    [4, h * w],
    [2, stride * w],
    [5, dilation * w],
    [3, stride],
    [6, dilation],
  );
  const bias = load(2, form(7, 0, [1, 1]));
  return {
    name: `conv ${JSON.stringify(p)}`,
    kernel: {
      kind: "contraction",
      label: "conv",
      inputs: ["f32", "f32", "f32"],
      outputs: ["f32"],
      batch: [n],
      rows: [o],
      columns: [oh, ow],
      inner: [c, size, size],
      left: load(1, form(7, 0, [1, c * size * size], [4, size * size], [5, size], [6, 1])),
      right: load(0, at, padding > 0 ? guards : []),
      stores: [{
        output: 0,
        at: form(7, 0, [0, o * oh * ow], [1, oh * ow], [2, ow], [3, 1]),
        axes: [],
        value: f32("max", f32("add", accumulator, bias), constant(0)),
      }],
    },
    inputs: [n * c * h * w, o * c * size * size, o],
    outputs: [n * o * oh * ow],
  };
}

/** The gradient of the weights of `conv`: axes | o | c kh kw | n oh ow. */
function weightGradient(p: Convolution): Case {
  const { n, c, o, h, w, kernel: size, stride = 1, padding = 0, dilation = 1 } = p;
  const [oh, ow] = [outputSize(h, p), outputSize(w, p)];
  const guards = [
    { form: form(7, -padding, [5, stride], [2, dilation]), size: h },
    { form: form(7, -padding, [6, stride], [3, dilation]), size: w },
  ];
  const at = form(
    7,
    -padding * (w + 1),
    [4, c * h * w],
    [1, h * w],
    [5, stride * w],
    [2, dilation * w],
    [6, stride],
    [3, dilation],
  );
  return {
    name: `weight gradient ${JSON.stringify(p)}`,
    kernel: {
      kind: "contraction",
      label: "weightGradient",
      inputs: ["f32", "f32"],
      outputs: ["f32"],
      batch: [],
      rows: [o],
      columns: [c, size, size],
      inner: [n, oh, ow],
      left: load(0, form(7, 0, [4, o * oh * ow], [0, oh * ow], [5, ow], [6, 1])),
      right: load(1, at, padding > 0 ? guards : []),
      stores: [{
        output: 0,
        at: form(7, 0, [0, c * size * size], [1, size * size], [2, size], [3, 1]),
        axes: [],
        value: accumulator,
      }],
    },
    inputs: [n * o * oh * ow, n * c * h * w],
    outputs: [o * c * size * size],
  };
}

/** Small whole numbers, so that every order of summing gives the same f32; NaN shows what is not written. */
function numbers(length: number, seed: number): Float32Array<ArrayBuffer> {
  let state = seed;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
    return (state >>> 16) % 9 - 4;
  });
}

function generate(kernel: Kernel, features: Features): GeneratedKernel {
  if (kernel.kind === "contraction") return generateContraction(kernel, features);
  throw new Error(`Cannot generate a ${kernel.kind} here`);
}

function expected(one: Case, inputs: readonly TensorData[]): TensorData[] {
  const outputs = one.outputs.map((length) => new Float32Array(length));
  interpretKernel(one.kernel, inputs, outputs);
  return outputs;
}

async function compute(device: CpuDevice, one: Case, inputs: readonly TensorData[]): Promise<TensorData[]> {
  const buffers = [...one.inputs, ...one.outputs].map((length) => device.allocate(length * 4));
  const kinds = [
    ...one.inputs.map((_, index) => ({ kind: "input" as const, index })),
    ...one.outputs.map((_, index) => ({ kind: "output" as const, index })),
  ];
  const executable = device.compile({
    buffers: [...one.inputs, ...one.outputs].map((length, k) => ({
      length,
      dtype: "f32" as const,
      place: kinds[k]!,
    })),
    launches: [{
      kernel: one.kernel,
      inputs: one.inputs.map((_, k) => k),
      outputs: one.outputs.map((_, k) => one.inputs.length + k),
    }],
    slots: [],
  });
  const [ins, outs] = [buffers.slice(0, one.inputs.length), buffers.slice(one.inputs.length)];
  inputs.forEach((data, k) => device.write(ins[k]!, data));
  outs.forEach((buffer, k) => device.write(buffer, new Float32Array(one.outputs[k]!).fill(NaN)));
  executable.run(ins, outs);
  const results = await device.read(
    outs.map((buffer, k) => ({ buffer, length: one.outputs[k]!, dtype: "f32" as const })),
  );
  executable.release();
  buffers.forEach((buffer) => buffer.release());
  return results;
}

async function withDevice(
  threads: number,
  relaxedSimd: boolean,
  body: (device: CpuDevice) => Promise<void>,
): Promise<void> {
  const device = new CpuDevice(threads, { relaxedSimd }, generate);
  try {
    await body(device);
  } finally {
    await device.close();
  }
}

async function check(device: CpuDevice, one: Case): Promise<void> {
  const inputs = one.inputs.map((length, k) => numbers(length, 7 + k));
  const [got, wanted] = [await compute(device, one, inputs), expected(one, inputs)];
  got.forEach((data, k) => {
    const wrong = data.findIndex((value, index) => value !== wanted[k]![index]);
    if (wrong >= 0) {
      throw new Error(
        `${one.name}: element ${wrong} of output ${k} is ${data[wrong]}, expected ${wanted[k]![wrong]}`,
      );
    }
  });
}

for (const relaxedSimd of [true, false]) {
  Deno.test(`matrix products of all small shapes ${relaxedSimd ? "with" : "without"} fused multiply-add`, async () => {
    await withDevice(2, relaxedSimd, async (device) => {
      for (const m of [0, 1, 2, 3, 4, 5, 6, 7, 13]) {
        for (const n of [0, 1, 3, 4, 5, 8, 9, 31]) {
          for (const k of [0, 1, 3, 8, 9]) await check(device, matmul(2, m, k, n));
        }
      }
    });
  });
}

Deno.test("matrix products with stored transposes and shared operands", async () => {
  await withDevice(2, true, async (device) => {
    for (const [m, k, n] of [[5, 7, 11], [37, 19, 23], [64, 33, 40], [1, 50, 33], [33, 50, 1]] as const) {
      for (const transposeLeft of [false, true]) {
        for (const transposeRight of [false, true]) {
          for (const transposeOut of [false, true]) {
            await check(device, matmul(1, m, k, n, { transposeLeft, transposeRight, transposeOut }));
          }
        }
      }
      for (const shared of ["left", "right"] as const) await check(device, matmul(3, m, k, n, { shared }));
    }
  });
});

Deno.test("matrix products of several blocks in every direction", async () => {
  await withDevice(3, true, async (device) => {
    await check(device, matmul(1, 61, 700, 130));
    await check(device, matmul(1, 61, 700, 130, { transposeLeft: true, transposeRight: true }));
    await check(device, matmul(2, 130, 30, 200));
    await check(device, matmul(40, 29, 8, 29));
  });
});

Deno.test("long sums are cut into parts", async () => {
  await withDevice(2, true, async (device) => {
    const long = matmul(1, 13, 5000, 11);
    assert(planContraction(long.kernel).parts > 1);
    await check(device, long);
    await check(device, matmul(2, 3, 4099, 5, { transposeLeft: true, transposeRight: true }));
  });
});

Deno.test("convolutions and their weight gradients as implicit products", async () => {
  await withDevice(2, true, async (device) => {
    const shapes: Convolution[] = [
      { n: 2, c: 3, o: 5, h: 9, w: 10, kernel: 3, padding: 1 },
      { n: 1, c: 4, o: 8, h: 16, w: 16, kernel: 3, padding: 1 },
      { n: 2, c: 3, o: 7, h: 17, w: 13, kernel: 7, stride: 4, padding: 3 },
      { n: 1, c: 2, o: 3, h: 12, w: 11, kernel: 3, padding: 2, dilation: 2 },
      { n: 2, c: 5, o: 4, h: 8, w: 8, kernel: 2, stride: 2 },
      { n: 2, c: 6, o: 9, h: 7, w: 5, kernel: 1 },
      { n: 2, c: 3, o: 32, h: 56, w: 56, kernel: 7, stride: 4, padding: 3 },
    ];
    for (const shape of shapes) {
      await check(device, conv(shape));
      await check(device, weightGradient(shape));
    }
  });
});

Deno.test("operands that walk backwards, that are filled outside, and that are gathered", async () => {
  await withDevice(2, true, async (device) => {
    // Gradient of a 3x3 convolution's input, padding 1. Axes n | c | h w | o kh kw.
    const [n, c, o, h, w] = [2, 3, 4, 6, 9];
    const guards = [
      { form: form(7, 1, [2, 1], [5, -1]), size: h },
      { form: form(7, 1, [3, 1], [6, -1]), size: w },
    ];
    const at = form(7, w + 1, [0, o * h * w], [4, h * w], [2, w], [5, -w], [3, 1], [6, -1]);
    const base: Contraction = {
      kind: "contraction",
      label: "inputGradient",
      inputs: ["f32", "f32"],
      outputs: ["f32"],
      batch: [n],
      rows: [c],
      columns: [h, w],
      inner: [o, 3, 3],
      left: load(0, form(7, 0, [4, c * 9], [1, 9], [5, 3], [6, 1])),
      right: load(1, at, guards),
      stores: [{
        output: 0,
        at: form(7, 0, [0, c * h * w], [1, h * w], [2, w], [3, 1]),
        axes: [],
        value: accumulator,
      }],
    };
    const sizes = { inputs: [o * c * 9, n * o * h * w], outputs: [n * c * h * w] };
    await check(device, { name: "input gradient", kernel: base, ...sizes });
    await check(device, { name: "filled", kernel: { ...base, right: load(1, at, guards, 3) }, ...sizes });
    // Rows of a table, chosen by numbers of which some lie outside. Axes | m | k | j.
    const index: Expr = { kind: "cast", dtype: "i32", x: load(1, form(3, 0, [1, 1])) };
    const rows: Expr = {
      kind: "gather",
      dtype: "f32",
      input: 2,
      at: form(3, 0, [2, 1]),
      index,
      stride: 5,
      size: 4,
      guards: [],
      fill: 2,
    };
    const gathered: Contraction = {
      kind: "contraction",
      label: "gathered",
      inputs: ["f32", "f32", "f32"],
      outputs: ["f32"],
      batch: [],
      rows: [6],
      columns: [11],
      inner: [5],
      left: load(0, form(3, 0, [0, 5], [2, 1])),
      right: rows,
      stores: [{ output: 0, at: form(3, 0, [0, 11], [1, 1]), axes: [], value: accumulator }],
    };
    await check(device, { name: "gathered", kernel: gathered, inputs: [30, 11, 20], outputs: [66] });
  });
});

Deno.test("grouped products, expressions as operands, and several stores", async () => {
  // Axes n g | o | p | c: groups share their weights over n; the input is squared; both x and 2x are stored.
  const [n, g, o, p, c] = [2, 3, 4, 10, 5];
  const x = load(0, form(5, 0, [0, g * c * p], [1, c * p], [4, p], [3, 1]));
  const w = load(1, form(5, 0, [1, o * c], [2, c], [4, 1]));
  const at = form(5, 0, [0, g * o * p], [1, o * p], [2, p], [3, 1]);
  const across = form(5, 0, [0, g * o * p], [1, o * p], [2, 1], [3, o]);
  const kernel: Contraction = {
    kind: "contraction",
    label: "grouped",
    inputs: ["f32", "f32", "f32"],
    outputs: ["f32", "f32"],
    batch: [n, g],
    rows: [o],
    columns: [p],
    inner: [c],
    left: w,
    right: f32("mul", x, x),
    stores: [
      { output: 0, at, axes: [], value: f32("add", accumulator, load(2, at)) },
      { output: 1, at: across, axes: [], value: f32("mul", accumulator, constant(2)) },
    ],
  };
  const size = n * g * o * p;
  await withDevice(2, true, async (device) => {
    await check(device, {
      name: "grouped",
      kernel,
      inputs: [n * g * c * p, g * o * c, size],
      outputs: [size, size],
    });
  });
});

Deno.test("results have the same bits for 1, 2 and 3 threads and from run to run", async () => {
  const cases = [
    matmul(1, 65, 900, 70),
    matmul(6, 50, 32, 50),
    matmul(1, 20, 6000, 20),
    conv({ n: 2, c: 8, o: 12, h: 20, w: 20, kernel: 3, padding: 1 }),
  ];
  const results = new Map<Case, string>();
  for (const threads of [1, 2, 3]) {
    await withDevice(threads, true, async (device) => {
      for (const one of cases) {
        const inputs = one.inputs.map((length, k) =>
          numbers(length, 3 + k).map((x, i) => x / 7 + i % 11 * 0.37)
        );
        for (let run = 0; run < 3; run++) {
          const bits = (await compute(device, one, inputs)).map((data) => new Uint32Array(data.buffer).join())
            .join();
          if (!results.has(one)) results.set(one, bits);
          assert(results.get(one) === bits, `${one.name}: run ${run} on ${threads} threads differs`);
        }
      }
    });
  }
});

Deno.test("the schedule keeps to its limits", () => {
  const plan = planContraction(matmul(1, 1024, 1024, 1024).kernel);
  assertEquals([plan.height, plan.width, plan.parts, plan.depth], [5, 8, 1, 512]);
  assertEquals([plan.left.place, plan.right.place], ["shared", "shared"]);
  assert(points(plan.phases) > 24);
  assert(plan.workspaceBytes < 2 ** 20);
  assert(planContraction(matmul(1, 32, 33000, 147).kernel).parts >= 12);
});
