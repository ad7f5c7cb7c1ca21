import { contiguousStrides } from "../src/compiler/affine.ts";
import type { Affine, Contraction, Expr, Guard } from "../src/compiler/kernel.ts";
import { points } from "../src/compiler/kernel.ts";
import { check, noise, webgpuTest } from "./support/webgpu.ts";

const form = (coefficients: readonly number[], offset = 0): Affine => ({ offset, coefficients });
const load = (input: number, at: Affine, guards: readonly Guard[] = []): Expr => ({
  kind: "load",
  dtype: "f32",
  input,
  at,
  guards,
  fill: 0,
});
const accumulator: Expr = { kind: "accumulator", dtype: "f32" };
const add = (a: Expr, b: Expr): Expr => ({ kind: "binary", dtype: "f32", op: "add", a, b });
const mul = (a: Expr, b: Expr): Expr => ({ kind: "binary", dtype: "f32", op: "mul", a, b });

interface Product {
  readonly label?: string;
  readonly batch?: number;
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly leftTransposed?: boolean;
  readonly rightTransposed?: boolean;
  readonly resultTransposed?: boolean;
}

/** A matrix product; axes are [batch, row, column, inner]. */
function product(
  { batch = 1, m, n, k, ...how }: Product,
  epilogue: (sum: Expr) => Expr = (sum) => sum,
): Contraction {
  const left = how.leftTransposed ? form([m * k, 1, 0, m]) : form([m * k, k, 0, 1]);
  const right = how.rightTransposed ? form([k * n, 0, k, 1]) : form([k * n, 0, 1, n]);
  const at = how.resultTransposed ? form([m * n, 1, m, 0]) : form([m * n, n, 1, 0]);
  return {
    kind: "contraction",
    label: `matmul ${batch} ${m} ${n} ${k} ${JSON.stringify(how)}`,
    inputs: ["f32", "f32", "f32"],
    outputs: ["f32"],
    batch: [batch],
    rows: [m],
    columns: [n],
    inner: [k],
    left: load(0, left),
    right: load(1, right),
    stores: [{ output: 0, at, axes: [], value: epilogue(accumulator) }],
  };
}

const sizes: readonly Product[] = [
  { m: 1, n: 1, k: 1 },
  { m: 1, n: 17, k: 5 },
  { m: 17, n: 1, k: 8 },
  { m: 3, n: 2, k: 16 },
  { m: 7, n: 13, k: 11 },
  { m: 16, n: 16, k: 16 },
  { m: 33, n: 35, k: 31 },
  { m: 64, n: 64, k: 64 },
  { m: 70, n: 68, k: 36 },
  { m: 129, n: 66, k: 20 },
  { batch: 3, m: 9, n: 12, k: 4 },
  { batch: 2, m: 40, n: 48, k: 32 },
  { m: 5, n: 6, k: 0 },
];

webgpuTest("matrix products in every layout", async (device) => {
  for (const size of sizes) {
    const { batch = 1, m, n, k } = size;
    const inputs = [noise(Math.max(1, batch * m * k)), noise(Math.max(1, batch * k * n), 2), noise(1)];
    const isLarge = m * n > 2000;
    for (const layout of isLarge ? [0, 3, 5] : m * n < 50 ? [0, 6] : [0, 1, 2, 3, 4, 7]) {
      const kernel = product({
        ...size,
        leftTransposed: (layout & 1) !== 0,
        rightTransposed: (layout & 2) !== 0,
        resultTransposed: (layout & 4) !== 0,
      });
      await check(device, kernel, inputs, [batch * m * n], 1e-5, 1);
    }
  }
});

webgpuTest("bias, residual and activation in the stores", async (device) => {
  for (const [m, n, k] of [[9, 20, 12], [64, 64, 32], [33, 30, 17]] as const) {
    const bias = load(2, form([0, 0, 1, 0]));
    const perRow = load(2, form([0, 1, 0, 0]));
    const residual = load(3, form([0, n, 1, 0]));
    const value = add(
      { kind: "unary", dtype: "f32", op: "tanh", x: add(accumulator, mul(bias, perRow)) },
      residual,
    );
    const kernel: Contraction = {
      ...product({ m, n, k }),
      inputs: ["f32", "f32", "f32", "f32"],
      outputs: ["f32", "bool"],
      stores: [
        { output: 0, at: form([0, n, 1, 0]), axes: [], value },
        {
          output: 1,
          at: form([0, 1, m, 0]),
          axes: [],
          value: {
            kind: "binary",
            dtype: "bool",
            op: "gt",
            a: accumulator,
            b: { kind: "constant", dtype: "f32", value: 0 },
          },
        },
      ],
    };
    await check(
      device,
      kernel,
      [noise(m * k), noise(k * n, 2), noise(64, 3), noise(m * n, 4)],
      [
        m * n,
        m * n,
      ],
      1e-5,
      1,
    );
  }
});

webgpuTest("operands that are expressions", async (device) => {
  for (const [m, n, k] of [[9, 12, 24], [64, 96, 48]] as const) {
    const base = product({ m, n, k });
    const kernel: Contraction = {
      ...base,
      left: mul(add(base.left, load(2, form([0, 1, 0, 0]))), load(2, form([0, 0, 0, 1]))),
      right: { kind: "unary", dtype: "f32", op: "exp", x: base.right },
    };
    await check(device, kernel, [noise(m * k), noise(k * n, 2), noise(128, 3)], [m * n], 1e-5, 1);
  }
});

interface Convolution {
  readonly count: number;
  readonly inputs: number;
  readonly outputs: number;
  readonly groups: number;
  readonly height: number;
  readonly width: number;
  readonly filter: number;
  readonly stride: number;
  readonly padding: number;
  readonly dilation: number;
}

function resultSize(size: number, { filter, stride, padding, dilation }: Convolution): number {
  return Math.floor((size + 2 * padding - dilation * (filter - 1) - 1) / stride) + 1;
}

/** Axes: [image, group] [output channel] [y, x] [input channel, ky, kx]. */
function convolution(c: Convolution): { kernel: Contraction; inputs: Float32Array[]; length: number } {
  const [h, w] = [resultSize(c.height, c), resultSize(c.width, c)];
  const [ci, co] = [c.inputs / c.groups, c.outputs / c.groups];
  const taps = c.filter ** 2;
  const y = form([0, 0, 0, c.stride, 0, 0, c.dilation, 0], -c.padding);
  const x = form([0, 0, 0, 0, c.stride, 0, 0, c.dilation], -c.padding);
  const plane = c.height * c.width;
  const at: Affine = {
    offset: y.offset * c.width + x.offset,
    coefficients: y.coefficients.map((cy, k) =>
      cy * c.width + x.coefficients[k]! +
      (k === 0 ? c.inputs * plane : k === 1 ? ci * plane : k === 5 ? plane : 0)
    ),
  };
  const [first] = contiguousStrides([c.outputs, h, w]);
  const kernel: Contraction = {
    kind: "contraction",
    label: `conv ${Object.values(c)}`,
    inputs: ["f32", "f32"],
    outputs: ["f32"],
    batch: [c.count, c.groups],
    rows: [co],
    columns: [h, w],
    inner: [ci, c.filter, c.filter],
    left: load(0, form([0, co * ci * taps, ci * taps, 0, 0, taps, c.filter, 1])),
    right: load(1, at, [{ form: y, size: c.height }, { form: x, size: c.width }]),
    stores: [{
      output: 0,
      at: form([c.outputs * first!, co * h * w, h * w, w, 1, 0, 0, 0]),
      axes: [],
      value: accumulator,
    }],
  };
  return {
    kernel,
    inputs: [noise(c.outputs * ci * taps), noise(c.count * c.inputs * plane, 2)],
    length: c.count * c.outputs * h * w,
  };
}

webgpuTest("convolutions", async (device) => {
  const base = { count: 2, groups: 1, padding: 1, stride: 1, dilation: 1, filter: 3 };
  const cases: readonly Convolution[] = [
    { ...base, inputs: 8, outputs: 16, height: 12, width: 16 },
    { ...base, inputs: 3, outputs: 20, height: 17, width: 17 },
    { ...base, inputs: 3, outputs: 32, height: 33, width: 29, filter: 7, stride: 4, padding: 3 },
    { ...base, inputs: 8, outputs: 24, height: 11, width: 13, dilation: 2, padding: 2 },
    { ...base, inputs: 8, outputs: 16, groups: 4, height: 9, width: 10 },
    { ...base, inputs: 4, outputs: 5, height: 8, width: 8, filter: 2, stride: 2, padding: 0 },
    { ...base, inputs: 16, outputs: 16, height: 9, width: 9, filter: 1, padding: 0 },
    { ...base, inputs: 6, outputs: 6, groups: 6, height: 10, width: 12 },
  ];
  for (const each of cases) {
    const { kernel, inputs, length } = convolution(each);
    await check(device, kernel, inputs, [length], 1e-5, 3);
  }
});

webgpuTest("the gradient of a convolution in its filters", async (device) => {
  // [groups] [output channel] [input channel, ky, kx] [image, y, x]
  const [count, ci, co, h, w] = [2, 5, 9, 7, 11];
  const y = form([0, 0, 0, 1, 0, 0, 1, 0], -1);
  const x = form([0, 0, 0, 0, 1, 0, 0, 1], -1);
  const kernel: Contraction = {
    kind: "contraction",
    label: "conv gradient",
    inputs: ["f32", "f32"],
    outputs: ["f32"],
    batch: [1],
    rows: [co],
    columns: [ci, 3, 3],
    inner: [count, h, w],
    left: load(0, form([0, h * w, 0, 0, 0, co * h * w, w, 1])),
    right: load(1, form([0, 0, h * w, w, 1, ci * h * w, w, 1], -w - 1), [{ form: y, size: h }, {
      form: x,
      size: w,
    }]),
    stores: [{ output: 0, at: form([0, ci * 9, 9, 3, 1, 0, 0, 0]), axes: [], value: accumulator }],
  };
  await check(
    device,
    kernel,
    [noise(count * co * h * w), noise(count * ci * h * w, 2)],
    [co * ci * 9],
    1e-5,
    3,
  );
});

webgpuTest("long sums of products", async (device) => {
  const [m, n, k] = [5, 6, 16384];
  await check(device, product({ m, n, k }), [noise(m * k), noise(k * n, 2), noise(1)], [m * n], 1e-5, 100);
  await check(
    device,
    product({ m, n, k: 40009, leftTransposed: true }),
    [new Float32Array(m * 40009).fill(1), new Float32Array(40009 * n).fill(1), noise(1)],
    [m * n],
    0,
  );
});

webgpuTest("long sums of equal products keep their digits", async (device) => {
  for (const [m, n, k] of [[4, 4, 65536], [60, 60, 1030]] as const) {
    const x = new Float32Array(m * k).fill(0.1);
    await check(device, product({ m, n, k }), [x, new Float32Array(k * n).fill(1), noise(1)], [m * n], 3e-6);
  }
});

webgpuTest("NaN beside a product stays out of it", async (device) => {
  // Rows of 6 in memory of 8: what lies between is NaN and not part of the product.
  const [m, n, k] = [18, 18, 18];
  const strided = (seed: number): Float32Array => {
    const data = new Float32Array(m * 20).fill(NaN);
    noise(m * 18, seed).forEach((x, at) => data[Math.floor(at / 18) * 20 + at % 18] = x);
    return data;
  };
  const kernel: Contraction = {
    ...product({ m, n, k }),
    left: load(0, form([0, 20, 0, 1])),
    right: load(1, form([0, 0, 1, 20])),
  };
  await check(device, kernel, [strided(1), strided(2), noise(1)], [points([m, n])], 1e-5, 1);
});
