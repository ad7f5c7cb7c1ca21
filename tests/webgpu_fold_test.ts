import { assertEquals } from "@std/assert";
import { contiguousStrides } from "../src/compiler/affine.ts";
import type { Affine, BinaryOp, Combine, Expr, Fold, Stage, Store, UnaryOp } from "../src/compiler/kernel.ts";
import { points } from "../src/compiler/kernel.ts";
import type { DType, TensorData } from "../src/dtype.ts";
import { check, integers, noise, programOf, runBoth, runProgram, webgpuTest } from "./support/webgpu.ts";

const form = (coefficients: readonly number[], offset = 0): Affine => ({ offset, coefficients });
const load = (input: number, at: Affine, dtype: DType = "f32"): Expr => ({
  kind: "load",
  dtype,
  input,
  at,
  guards: [],
  fill: 0,
});
const constant = (value: number, dtype: DType = "f32"): Expr => ({ kind: "constant", dtype, value });
const reduced = (stage: number, dtype: DType = "f32"): Expr => ({ kind: "reduced", dtype, stage });

function map(
  label: string,
  axes: readonly number[],
  inputs: readonly DType[],
  output: DType,
  value: Expr,
  at = form(contiguousStrides(axes)),
): Fold {
  const store: Store = { output: 0, at, axes: [], value };
  return { kind: "fold", label, inputs, outputs: [output], axes, stages: [], stores: [store] };
}

const special = [
  0,
  -0,
  1,
  -1,
  0.5,
  -0.5,
  1.5,
  2.5,
  -1.5,
  2,
  -2,
  3,
  NaN,
  Infinity,
  -Infinity,
  1e-3,
  -1e-3,
  0.3,
  7.25,
  -7.25,
  40,
];
/** All pairs of special values and some others, an odd number of them. */
function pairs(): [Float32Array, Float32Array] {
  const [a, b]: [number[], number[]] = [[], []];
  for (const x of special) for (const y of special) a.push(x), b.push(y);
  return [
    Float32Array.from([...a, ...noise(60).map((x) => 5 * x)]),
    Float32Array.from([...b, ...noise(60, 2).map((x) => 5 * x)]),
  ];
}

const floatUnary: readonly UnaryOp[] = [
  "neg",
  "abs",
  "sign",
  "exp",
  "expm1",
  "log",
  "log1p",
  "sqrt",
  "rsqrt",
  "sin",
  "cos",
  "tan",
  "tanh",
  "erf",
  "floor",
  "ceil",
  "round",
];

webgpuTest("one-operand operations of f32", async (device) => {
  const x = Float32Array.from([
    ...special,
    ...noise(100).map((v) => 4 * v),
    ...noise(64).map((v) => v / 100),
  ]);
  // Odd and even counts: one by one, and four at a time.
  for (const length of [x.length, x.length - x.length % 4]) {
    for (const op of floatUnary) {
      const value: Expr = { kind: "unary", dtype: "f32", op, x: load(0, form([1])) };
      const isTrigonometric = op === "sin" || op === "cos" || op === "tan";
      const tolerance = isTrigonometric || op === "exp" || op === "erf" ? 1e-5 : 2e-6;
      await check(device, map(op, [length], ["f32"], "f32", value), [x], [length], tolerance);
    }
    for (const op of ["isNan", "isFinite"] as const) {
      const value: Expr = { kind: "unary", dtype: "bool", op, x: load(0, form([1])) };
      await check(device, map(op, [length], ["f32"], "bool", value), [x], [length]);
    }
  }
});

webgpuTest("functions near zero", async (device) => {
  const x = noise(256).map((v) => v * 1e-4);
  for (const op of ["expm1", "log1p", "tanh", "erf", "sin"] as const) {
    const value: Expr = { kind: "unary", dtype: "f32", op, x: load(0, form([1])) };
    const { actual, expected } = await runBoth(device, map(op, [256], ["f32"], "f32", value), [x], [256]);
    actual[0]!.forEach((got, k) => {
      const error = Math.abs(got - expected[0]![k]!) / Math.abs(expected[0]![k]!);
      if (!(error < 1e-6)) throw new Error(`${op}(${x[k]}) is ${got}, not ${expected[0]![k]}`);
    });
  }
});

webgpuTest("sine, cosine and tangent of large numbers", async (device) => {
  const x = noise(256).map((v, k) => v * 10 ** (k % 7));
  for (const op of ["sin", "cos", "tan"] as const) {
    const value: Expr = { kind: "unary", dtype: "f32", op, x: load(0, form([1])) };
    await check(device, map(op, [256], ["f32"], "f32", value), [x], [256], 1e-5);
  }
});

const arithmetic: readonly BinaryOp[] = ["add", "sub", "mul", "div", "mod", "pow", "max", "min"];
const comparisons: readonly BinaryOp[] = ["lt", "le", "gt", "ge", "eq", "ne"];

webgpuTest("two-operand operations of f32", async (device) => {
  const inputs = pairs();
  for (const length of [inputs[0].length, inputs[0].length - inputs[0].length % 4]) {
    for (const op of [...arithmetic, ...comparisons]) {
      const dtype = comparisons.includes(op) ? "bool" : "f32";
      const value: Expr = { kind: "binary", dtype, op, a: load(0, form([1])), b: load(1, form([1])) };
      await check(device, map(op, [length], ["f32", "f32"], dtype, value), inputs, [length], 1e-5);
    }
  }
});

webgpuTest("operations of integers", async (device) => {
  const values = [0, 1, -1, 2, -2, 3, 7, -7, 100, 33, -2147483648, 2147483647, 65536];
  const a: number[] = [], b: number[] = [];
  for (const x of values) for (const y of values) a.push(x), b.push(y);
  for (const dtype of ["i32", "u32"] as const) {
    const make = dtype === "i32" ? Int32Array : Uint32Array;
    const inputs = [make.from(a), make.from(b)];
    const n = a.length;
    for (const op of [...arithmetic, ...comparisons, "and", "or", "xor", "shl", "shr"] as BinaryOp[]) {
      const result = comparisons.includes(op) ? "bool" : dtype;
      // A negative exponent, or one of millions, is of no use and takes the interpreter forever.
      const exponent: Expr = {
        kind: "binary",
        dtype,
        op: "and",
        a: load(1, form([1]), dtype),
        b: constant(15, dtype),
      };
      const second = op === "pow" ? exponent : load(1, form([1]), dtype);
      const value: Expr = { kind: "binary", dtype: result, op, a: load(0, form([1]), dtype), b: second };
      await check(device, map(`${op} ${dtype}`, [n], [dtype, dtype], result, value), inputs, [n], 0);
    }
    for (const op of ["neg", "abs", "sign", "not", "floor", "round"] as const) {
      if (dtype === "u32" && op === "sign") continue;
      const value: Expr = { kind: "unary", dtype, op, x: load(0, form([1]), dtype) };
      await check(device, map(`${op} ${dtype}`, [n], [dtype], dtype, value), inputs.slice(0, 1), [n], 0);
    }
  }
});

webgpuTest("operations of bool", async (device) => {
  const [a, b] = [Uint32Array.of(0, 0, 1, 1, 0), Uint32Array.of(0, 1, 0, 1, 1)];
  for (const length of [5, 4]) {
    for (const op of ["and", "or", "xor", "eq", "ne", "lt", "le", "gt", "ge", "max", "min"] as BinaryOp[]) {
      const value: Expr = {
        kind: "binary",
        dtype: "bool",
        op,
        a: load(0, form([1]), "bool"),
        b: load(1, form([1]), "bool"),
      };
      await check(device, map(op, [length], ["bool", "bool"], "bool", value), [a, b], [length]);
    }
    const value: Expr = { kind: "unary", dtype: "bool", op: "not", x: load(0, form([1]), "bool") };
    await check(device, map("not", [length], ["bool"], "bool", value), [a], [length]);
  }
});

webgpuTest("casts and bitcasts", async (device) => {
  const data: Record<DType, TensorData> = {
    f32: Float32Array.of(0, -0, 1.5, -1.5, NaN, Infinity, -Infinity, 3e9, -3e9, 2147483647, 5e9, -0.5),
    i32: Int32Array.of(0, 1, -1, 2147483647, -2147483648, 7, -7, 16777217, 3, 4, 5, 6),
    u32: Uint32Array.of(0, 1, 4294967295, 2147483648, 7, 9, 10, 11, 12, 13, 14, 15),
    bool: Uint32Array.of(0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1),
  };
  const dtypes = Object.keys(data) as DType[];
  for (const length of [12, 11]) {
    for (const from of dtypes) {
      for (const to of dtypes) {
        const value: Expr = { kind: "cast", dtype: to, x: load(0, form([1]), from) };
        await check(device, map(`${from} to ${to}`, [length], [from], to, value), [data[from]], [length], 0);
        if (from === "bool" || to === "bool" || from === to) continue;
        const finite = from === "f32"
          ? Float32Array.from(data.f32, (x) => Number.isNaN(x) ? 1 : x)
          : noise(12);
        const bits: Expr = { kind: "bitcast", dtype: to, x: load(0, form([1]), from) };
        const source = from === "f32"
          ? finite
          : from === "i32"
          ? new Int32Array(finite.buffer)
          : new Uint32Array(finite.buffer);
        await check(
          device,
          map(`bits of ${from} as ${to}`, [length], [from], to, bits),
          [source],
          [length],
          0,
        );
      }
    }
  }
});

webgpuTest("select, constants, indices", async (device) => {
  const condition: Expr = {
    kind: "binary",
    dtype: "bool",
    op: "lt",
    a: load(0, form([4, 1])),
    b: constant(0),
  };
  const index: Expr = { kind: "index", dtype: "i32", form: form([-3, 2], 5) };
  const value: Expr = {
    kind: "select",
    dtype: "f32",
    condition,
    a: { kind: "cast", dtype: "f32", x: index },
    b: { kind: "binary", dtype: "f32", op: "div", a: constant(1), b: constant(0) },
  };
  await check(device, map("select", [3, 4], ["f32"], "f32", value), [noise(12)], [12]);
  for (const special of [NaN, Infinity, -Infinity, -0, 1e-30, 3.4028234663852886e38]) {
    await check(device, map("constant", [5], [], "f32", constant(special)), [], [5], 0);
  }
});

webgpuTest("strided, reversed, broadcast and shifted reads", async (device) => {
  const x = noise(600);
  const cases: readonly [readonly number[], Affine][] = [
    [[8, 12], form([1, 8])], // transposed
    [[8, 12], form([12, -1], 11)], // reversed
    [[8, 12], form([0, 1])], // broadcast
    [[8, 12], form([1, 0])],
    [[8, 12], form([16, 1], 3)], // shifted
    [[8, 12], form([13, 1])], // rows that are not aligned
    [[8, 12], form([24, 2], 1)],
    [[7, 11], form([11, 1])],
    [[2, 3, 5, 4], form([60, 20, 4, 1])], // one long axis
    [[1], form([0], 17)],
    [[], form([], 5)],
  ];
  for (const [axes, at] of cases) {
    const value: Expr = { kind: "binary", dtype: "f32", op: "add", a: load(0, at), b: constant(1) };
    await check(device, map(`read ${axes} ${at.coefficients}`, axes, ["f32"], "f32", value), [x], [
      points(axes),
    ]);
  }
  // Stores: transposed, with gaps, shifted, reversed.
  for (const at of [form([1, 8]), form([16, 1], 2), form([16, 1], 4), form([12, -1], 11)]) {
    await check(device, map("store", [8, 12], ["f32"], "f32", load(0, form([12, 1])), at), [x], [140]);
  }
});

webgpuTest("guards and gathers", async (device) => {
  const x = noise(64);
  for (const width of [8, 7]) {
    for (const shift of [-1, 0, 1, -4, 2]) {
      const padded: Expr = {
        kind: "load",
        dtype: "f32",
        input: 0,
        at: form([width, 1], shift - width),
        guards: [{ form: form([1, 0], -1), size: 4 }, { form: form([0, 1], shift), size: width }],
        fill: -3,
      };
      const kernel = map(`pad ${width} ${shift}`, [6, width], ["f32"], "f32", padded);
      await check(device, kernel, [x], [6 * width]);
    }
    const inside: Expr = { kind: "inside", dtype: "bool", guards: [{ form: form([1, -1]), size: 3 }] };
    await check(device, map("inside", [5, width], [], "bool", inside), [], [5 * width]);
  }
  const everything = map("outside", [1], ["f32"], "f32", {
    kind: "load",
    dtype: "f32",
    input: 0,
    at: form([0], -5),
    guards: [{ form: form([0], -5), size: 64 }],
    fill: NaN,
  });
  await check(device, everything, [x], [1]);
  const indices = Int32Array.of(0, 3, -1, 7, 8, 2, 2, 1000000, -2147483648, 5, 4, 6);
  for (const length of [12, 11]) {
    const gather: Expr = {
      kind: "gather",
      dtype: "f32",
      input: 0,
      at: form([0, 1]),
      index: load(1, form([1, 0]), "i32"),
      stride: 8,
      size: 8,
      guards: [{ form: form([0, 1], -1), size: 6 }],
      fill: NaN,
    };
    await check(device, map("gather", [length, 8], ["f32", "i32"], "f32", gather), [x, indices], [
      8 * length,
    ]);
    const along: Expr = { ...gather, at: form([0]), index: load(1, form([1]), "i32"), guards: [] };
    await check(device, map("gather", [length], ["f32", "i32"], "f32", along), [x, indices], [length]);
  }
});

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

/** Mean and sum of squared deviations of each row (or of each column), and the sum of all squares between them. */
function moments(rows: number, size: number, [across, along]: readonly [number, number]): Fold {
  const x = (): Expr => load(0, form([across, along]));
  const binary = (op: BinaryOp, a: Expr, b: Expr): Expr => ({ kind: "binary", dtype: "f32", op, a, b });
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
