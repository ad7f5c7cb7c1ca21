import { assertEquals } from "@std/assert";
import { contiguousStrides } from "../src/compiler/affine.ts";
import type { Affine, BinaryOp, Combine, Expr, Fold, Stage, Store } from "../src/compiler/kernel.ts";
import { points } from "../src/compiler/kernel.ts";
import type { DType } from "../src/dtype.ts";
import { neighboursLast } from "../src/webgpu/simplify.ts";
import { binary, constant, form, load, map, reduced } from "./support/kernels.ts";
import { check, integers, noise, programOf, runBoth, runProgram, webgpuTest } from "./support/webgpu.ts";

const combines: readonly Combine[] = ["sum", "product", "max", "min", "argMax", "argMin"];

function reduction(
  combine: Combine,
  dtype: DType,
  axes: readonly number[],
  inner: readonly number[],
  at: Affine,
): Fold {
  const result = combine.startsWith("arg") ? "i32" : dtype;
  return {
    kind: "fold",
    label: `${combine} ${dtype} ${axes} over ${inner}`,
    inputs: [dtype],
    outputs: [result],
    axes,
    stages: [{ combine, axes: inner, dtype: result, value: load(0, at, dtype) }],
    stores: [{ output: 0, at: form(contiguousStrides(axes)), axes: [], value: reduced(0, result) }],
  };
}

webgpuTest("reductions of every kind, layout and length", async (device) => {
  const layouts: readonly [readonly number[], readonly number[], Affine][] = [
    [[3], [7], form([7, 1])],
    [[5], [64], form([64, 1])],
    [[4], [37], form([1, 4])], // over rows
    [[2, 4], [3, 5], form([60, 1, 20, 4])],
    [[3], [2, 8], form([16, 8, 1])],
    [[6], [1], form([1, 1])],
    [[2], [0], form([1, 1])],
    [[], [101], form([1])],
  ];
  for (const [axes, inner, at] of layouts) {
    for (const combine of combines) {
      const x = noise(512, 3).map((v) => 1 + v / 8);
      const n = points(axes);
      await check(device, reduction(combine, "f32", axes, inner, at), [x], [n], 1e-5);
      x[5] = x[70] = x[6] = NaN;
      await check(device, reduction(combine, "f32", axes, inner, at), [x], [n], 1e-5);
      await check(device, reduction(combine, "i32", axes, inner, at), [integers(512, 9)], [n], 0);
    }
    const bits = Uint32Array.from(integers(512, 2));
    for (const combine of ["max", "min", "argMax"] as const) {
      await check(device, reduction(combine, "bool", axes, inner, at), [bits], [points(axes)], 0);
    }
  }
});

webgpuTest("extrema: ties, infinities and NaN", async (device) => {
  const rows = [
    [1, 3, 3, 2],
    [-Infinity, -Infinity, -Infinity, -Infinity],
    [NaN, 1, NaN, 2],
    [Infinity, NaN, -Infinity, 0],
    [0, -0, 0, -0],
    [-1, -1, -2, -2],
  ];
  const x = Float32Array.from(rows.flat());
  for (const combine of combines.slice(2)) {
    await check(device, reduction(combine, "f32", [6], [4], form([4, 1])), [x], [6]);
  }
});

webgpuTest("long reductions", async (device) => {
  // 65,537 and 200,001 steps of one invocation would end silently on llvmpipe.
  for (const length of [16384, 65537, 200001]) {
    const ones = new Float32Array(length).fill(1);
    ones[length - 1] = 5;
    const { actual } = await runBoth(device, reduction("sum", "f32", [], [length], form([1])), [ones], [1]);
    assertEquals(actual[0]![0], length + 4);
    const { actual: [place] } = await runBoth(device, reduction("argMax", "f32", [], [length], form([1])), [
      ones,
    ], [1]);
    assertEquals(place![0], length - 1);
  }
  const many = new Int32Array(3 * 200 * 401).fill(1);
  const kernel = reduction("sum", "i32", [3], [200, 401], form([200 * 401, 401, 1]));
  await check(device, kernel, [many], [3], 0);
});

/** Soft-max over rows: maximum, sum of exponentials, and a second walk for the stores. */
function softmax(rows: number, size: number): Fold {
  const at = form([size, 1]);
  const shifted: Expr = {
    kind: "unary",
    dtype: "f32",
    op: "exp",
    x: { kind: "binary", dtype: "f32", op: "sub", a: load(0, at), b: reduced(0) },
  };
  return {
    kind: "fold",
    label: `softmax ${rows} ${size}`,
    inputs: ["f32"],
    outputs: ["f32", "f32"],
    axes: [rows],
    stages: [
      { combine: "max", axes: [size], dtype: "f32", value: load(0, at) },
      { combine: "sum", axes: [size], dtype: "f32", value: shifted },
    ],
    stores: [
      {
        output: 0,
        at,
        axes: [size],
        value: { kind: "binary", dtype: "f32", op: "div", a: shifted, b: reduced(1) },
      },
      {
        output: 1,
        at: form([1]),
        axes: [],
        value: { kind: "unary", dtype: "f32", op: "log", x: reduced(1) },
      },
    ],
  };
}

webgpuTest("several stages and a second walk", async (device) => {
  for (const [rows, size] of [[5, 33], [3, 256], [1, 5], [130, 16], [2, 700]] as const) {
    await check(device, softmax(rows, size), [noise(rows * size)], [rows * size, rows], 1e-5);
  }
});

webgpuTest("rows of every length, however many share a workgroup", async (device) => {
  for (const size of [31, 32, 33, 48, 64, 100, 129, 252, 256, 511, 1000, 1023, 2048, 5001]) {
    for (const rows of [1, 3, 8, 19]) {
      await check(device, softmax(rows, size), [noise(rows * size)], [rows * size, rows], 1e-5);
    }
    for (const combine of combines) {
      const kernel = reduction(combine, "f32", [5], [size], form([size, 1]));
      const x = noise(5 * size, 4).map((v) => 1 + v / 64);
      await check(device, kernel, [x], [5], 1e-5);
      // Extrema at both ends, and two of each.
      x[0] = x[size - 1] = 3;
      x[2 * size - 1] = x[2 * size - 2] = -3;
      await check(device, kernel, [x], [5], 1e-5);
    }
  }
});

/** Mean and sum of squared deviations of each row (or of each column), and the sum of all squares between them. */
function moments(rows: number, size: number, [across, along]: readonly [number, number]): Fold {
  const x = (): Expr => load(0, form([across, along]));
  const mean = binary("div", reduced(0), constant(size));
  const deviation = binary("sub", x(), mean);
  const [whole, same] = [x(), x()];
  const sum = (value: Expr): Stage => ({ combine: "sum", axes: [size], dtype: "f32", value });
  const store = (output: number, value: Expr): Store => ({ output, at: form([1]), axes: [], value });
  return {
    kind: "fold",
    label: `moments ${rows} ${size} ${across} ${along}`,
    inputs: ["f32"],
    outputs: ["f32", "f32", "f32"],
    axes: [rows],
    stages: [sum(x()), sum(binary("mul", whole, same)), sum(binary("mul", deviation, deviation))],
    stores: [store(0, mean), store(1, reduced(1)), store(2, reduced(2))],
  };
}

webgpuTest("mean and squared deviations of one walk are exact, wherever the row lies", async (device) => {
  const sizes = [[5, 1], [3, 2], [7, 3], [6, 36], [9, 257], [4096, 8], [40, 1020], [2, 9409]] as const;
  for (const [rows, size] of sizes) {
    const values = noise(rows * size);
    const data: Record<string, Float32Array> = {
      noise: values,
      // Far from zero compared with their spread, where a difference of two sums of squares would lose everything.
      far: values.map((value) => 1000 + value),
      // One value far from all others: the first of a row, or the last.
      lone: values.map((value, k) => k % size === (k % 2) * (size - 1) ? 1e5 : value),
      // Sums that grow steadily round in one direction.
      ramp: values.map((_, k) => (k % size) / size + Math.floor(k / size)),
    };
    for (const strides of [[size, 1], [1, rows]] as const) {
      for (const [name, row] of Object.entries(data)) {
        const kernel = {
          ...moments(rows, size, strides),
          label: `${name}: moments ${rows} ${size} ${strides}`,
        };
        await check(device, kernel, [row], [rows, rows, rows], 6e-6, 0.05 * size);
      }
    }
  }
  const endless = Float32Array.from({ length: 24 }, (_, k) => k === 5 ? Infinity : k === 13 ? NaN : k);
  const { actual } = await runBoth(device, moments(3, 8, [8, 1]), [endless], [3, 3, 3]);
  assertEquals([...actual[0]!], [Infinity, NaN, 19.5]);
  assertEquals([...actual[2]!], [NaN, NaN, 42]);
});

webgpuTest("deviations of deviations, and of integers, take the walks that they need", async (device) => {
  for (const [rows, size] of [[5, 7], [64, 8], [40, 33], [4096, 12]] as const) {
    for (const dtype of ["f32", "i32"] as const) {
      const binary = (op: BinaryOp, a: Expr, b: Expr): Expr => ({ kind: "binary", dtype, op, a, b });
      const squared = (x: Expr, stage: number): Expr => {
        const apart = binary("sub", x, binary("div", reduced(stage, dtype), constant(size, dtype)));
        return binary("mul", apart, apart);
      };
      const x = load(0, form([size, 1]), dtype);
      const sum = (value: Expr): Stage => ({ combine: "sum", axes: [size], dtype, value });
      const stages = [sum(x), sum(squared(x, 0)), sum(squared(squared(x, 0), 1))];
      const kernel: Fold = {
        kind: "fold",
        label: `twice ${rows} ${size} ${dtype}`,
        inputs: [dtype],
        outputs: [dtype, dtype],
        axes: [rows],
        stages,
        stores: [1, 2].map((stage, output) => ({
          output,
          at: form([1]),
          axes: [],
          value: reduced(stage, dtype),
        })),
      };
      const data = dtype === "f32" ? noise(rows * size) : integers(rows * size, 50);
      await check(device, kernel, [data], [rows, rows], dtype === "f32" ? 6e-6 : 0, 0.05 * size);
    }
  }
});

webgpuTest("stages that share a walk may combine differently", async (device) => {
  for (const [rows, size] of [[4, 33], [64, 8], [3, 100]] as const) {
    const x = load(0, form([size, 1]));
    const other = load(1, form([0, 1]));
    const product: Expr = { kind: "binary", dtype: "f32", op: "mul", a: x, b: other };
    const stage = (combine: Combine, value: Expr): Stage => ({
      combine,
      axes: [size],
      dtype: combine.startsWith("arg") ? "i32" : "f32",
      value,
    });
    const kinds = ["sum", "max", "argMax", "min", "sum"] as const;
    const kernel: Fold = {
      kind: "fold",
      label: `five of ${rows} ${size}`,
      inputs: ["f32", "f32"],
      outputs: ["f32", "f32", "i32", "f32", "f32", "f32"],
      axes: [rows],
      stages: kinds.map((combine, k) => stage(combine, k % 2 === 0 ? x : product)),
      stores: [
        ...kinds.map((combine, k): Store => ({
          output: k,
          at: form([1]),
          axes: [],
          value: reduced(k, combine === "argMax" ? "i32" : "f32"),
        })),
        {
          output: 5,
          at: form([size, 1]),
          axes: [size],
          value: { kind: "binary", dtype: "f32", op: "sub", a: product, b: reduced(1) },
        },
      ],
    };
    const data = [noise(rows * size), noise(size, 2)];
    await check(device, kernel, data, [rows, rows, rows, rows, rows, rows * size], 4e-6, 1);
  }
});

webgpuTest("nothing to do", async (device) => {
  await check(device, map("empty", [0, 3], ["f32"], "f32", load(0, form([3, 1]))), [new Float32Array(0)], [
    0,
  ]);
});

webgpuTest("more than 65,535 workgroups", async (device) => {
  // One element per invocation, since the last axis is odd; and axes that stay apart.
  const axes = [3, 1193, 1199];
  const value: Expr = { kind: "index", dtype: "i32", form: form([7, 1000, 1], 3) };
  const program = programOf(map("large", axes, [], "i32", value), [], [points(axes)]);
  const [actual] = await runProgram(device, program, []);
  let k = 0;
  for (let a = 0; a < 3; a++) {
    for (let b = 0; b < 1193; b++) {
      for (let c = 0; c < 1199; c++) {
        if (actual![k++] !== 3 + 7 * a + 1000 * b + c) throw new Error(`wrong at ${[a, b, c]}`);
      }
    }
  }
});

webgpuTest("the same bits every time", async (device) => {
  const x = noise(40000);
  const kernel = reduction("sum", "f32", [4], [10000], form([10000, 1]));
  const first = await runBoth(device, kernel, [x], [4]);
  const second = await runBoth(device, kernel, [x], [4]);
  assertEquals(first.actual, second.actual);
});

webgpuTest("short sums of a row that is long to write", async (device) => {
  const [rows, size] = [33, 70_001];
  const kernel: Fold = {
    kind: "fold",
    label: "long store",
    inputs: ["f32", "f32"],
    outputs: ["f32"],
    axes: [rows],
    stages: [{ combine: "sum", axes: [8], dtype: "f32", value: load(1, form([8, 1])) }],
    stores: [{
      output: 0,
      at: form([size, 1]),
      axes: [size],
      value: binary("add", load(0, form([size, 1])), reduced(0)),
    }],
  };
  await check(device, kernel, [noise(rows * size), noise(8 * rows, 3)], [rows * size], 1e-5, 1);
});

webgpuTest(
  "neighbours in memory are neighbours on the device, in whatever order the axes come",
  async (device) => {
    const x = noise(6 * 5 * 7 * 12, 8);
    // The gradient of a depthwise convolution: channels last in memory, and first in the result.
    const kernel: Fold = {
      kind: "fold",
      label: "channels first",
      inputs: ["f32"],
      outputs: ["f32"],
      axes: [12, 3, 3],
      stages: [{
        combine: "sum",
        axes: [6, 2, 4],
        dtype: "f32",
        value: load(0, form([1, 84, 12, 420, 84, 12])),
      }],
      stores: [{ output: 0, at: form([9, 3, 1]), axes: [], value: reduced(0) }],
    };
    assertEquals(neighboursLast(kernel).axes, [3, 3, 12]);
    await check(device, kernel, [x], [108], 1e-5);
    // What is written counts as much as what is read.
    const transpose = map("transpose", [7, 60], ["f32"], "f32", load(0, form([1, 7])));
    assertEquals(neighboursLast(transpose), transpose);
    await check(device, transpose, [x], [420]);
  },
);

webgpuTest("long sums of equal values keep their digits", async (device) => {
  const layouts: readonly [readonly number[], readonly number[], Affine][] = [
    [[8], [30000], form([30000, 1])],
    [[2], [200000], form([200000, 1])],
    [[8], [20000], form([1, 8])], // across rows, four at a time
    [[3], [20000], form([1, 3])],
    [[4], [150, 200], form([30000, 200, 1])],
    [[4], [9000, 3], form([27000, 3, 1])],
  ];
  for (const [axes, inner, at] of layouts) {
    for (const value of [0.1, 0.7]) {
      const x = new Float32Array(points(axes) * points(inner)).fill(value);
      await check(device, reduction("sum", "f32", axes, inner, at), [x], [points(axes)], 1e-6);
      x[12345] = Infinity;
      await check(device, reduction("sum", "f32", axes, inner, at), [x], [points(axes)], 1e-6);
    }
  }
});
