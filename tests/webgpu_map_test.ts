import type { Affine, BinaryOp, Expr, UnaryOp } from "../src/compiler/kernel.ts";
import { points } from "../src/compiler/kernel.ts";
import type { DType, TensorData } from "../src/dtype.ts";
import { constant, form, load, map } from "./support/kernels.ts";
import { check, noise, runBoth, webgpuTest } from "./support/webgpu.ts";

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
