/** Right values, from C99, IEEE 754, NumPy and PyTorch, where a function has a corner; the sign of a zero counts. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import * as ops from "../mod.ts";
import { grad, type Tensor, tensor } from "../mod.ts";
import { referenceOf } from "./support/check.ts";
import { onEachDevice } from "./support/devices.ts";

const { abs, PI, sin, cos, tan, fround } = Math;
const i32 = (...values: number[]): Tensor => tensor(values, { dtype: "i32" });

/** Elements are the same to 2 ulp, NaN and the sign of zeros included. */
function assertSame(actual: ArrayLike<number>, right: readonly number[], name: string): void {
  assertEquals(actual.length, right.length, name);
  right.forEach((expected, k) => {
    const value = actual[k]!;
    const near = expected === 0 || !Number.isFinite(expected)
      ? Object.is(value, expected)
      : abs(value - expected) <= abs(expected) * 2 ** -22;
    assert(near, `${name}: element ${k} is ${Object.is(value, -0) ? "-0" : value} instead of ${expected}`);
  });
}

/** Checks values in the float64 reference, before leaves have gone to the device, and on it. */
async function check(cases: readonly [name: string, y: Tensor, right: readonly number[]][]): Promise<void> {
  for (const [name, y, right] of cases) assertSame(referenceOf([y])[0]!.data, right, `${name} (reference)`);
  for (const [name, y, right] of cases) assertSame(Array.from(await y.data()), right, name);
}

function slopes(f: (x: Tensor) => Tensor, x: readonly number[]): Tensor {
  return grad((given: Tensor) => ops.sum(f(given)))(tensor(x)) as Tensor;
}

onEachDevice("mod is exact for every quotient and has the sign of the divisor", async () => {
  const inf = Infinity;
  const mod = (a: number[], b: number | number[]): Tensor =>
    ops.mod(tensor(a), typeof b === "number" ? b : tensor(b));
  await check([
    ["by infinity", mod([5, -5, 0, -0, 1, -1, 5, -5], [inf, inf, inf, inf, -inf, -inf, -inf, -inf]), [
      ...[5, inf, 0, 0, -inf, -1, -inf, -5],
    ]],
    ["by zero, of infinity and NaN", mod([1, -1, 0, inf, -inf, NaN, 1, inf], [0, -0, 0, 3, 3, 1, NaN, inf]), [
      ...new Array<number>(8).fill(NaN),
    ]],
    ["zero has the sign of the divisor", mod([-0, 0, -6, 6, 6], [1, -1, 3, -3, 3]), [0, -0, 0, -0, 0]],
    ["signs", mod([7, -7, 7, -7, 1, -1], [3, 3, -3, -3, -5, 5]), [1, 2, -2, -1, -4, 4]],
    // fmod of the f32 values, from NumPy.
    ["large quotients", mod([1e9, 1e20, -1e9, 3.4e38, 1e20, 5e6], [PI, PI, PI, PI, 3, 0.1]), [
      ...[1.0241949558258057, 1.1547787189483643, 2.1173977851867676, 3.1217684745788574, 2],
      fround(5e6) % fround(0.1),
    ]],
    ["one more", mod([-871546944], 1.4990075826644897), [0.7142143249511719]],
    ["subnormal divisors", mod([3.4e38, 1, 1e-44], [1e-45, 3e-45, 3e-45]), [0, 0, 1.401298464324817e-45]],
    ["a tiny negative one gives the divisor", mod([-1e-10, -1e-45], [1, 3]), [1, 3]],
  ]);
  const a = Float32Array.from({ length: 4000 }, (_, k) => sin(k) * 10 ** (k % 38));
  const b = Float32Array.from({ length: 4000 }, (_, k) => (cos(k) + 1.01) * 10 ** ((k * 7) % 38));
  const values = await ops.mod(tensor(a), tensor(b)).data();
  values.forEach((value, k) => {
    const rest = a[k]! % b[k]!;
    assertEquals(value, fround(rest < 0 ? rest + b[k]! : rest), `mod(${a[k]}, ${b[k]})`);
  });
});

onEachDevice("the slope of mod in its divisor is the quotient that was taken", async () => {
  const of = (a: number[], b: number[]): Tensor => slopes((x) => ops.mod(tensor(a), x), b);
  await check([
    // 2.5 / 0.001 is 2500 in f32, but 0.001 is a little more there.
    ["rounded quotients", of([2.5, -2.5, 7, -7, 0], [0.001, 0.001, 3, 3, 3]), [-2499, 2500, -2, 3, -0]],
    ["infinite divisors", of([5, -5, 5], [Infinity, Infinity, -Infinity]), [-0, 1, 1]],
  ]);
});

onEachDevice("a variance that overflows makes normalised values NaN, not 0", async () => {
  const x = tensor([[1e20, -1e20, 1], [1, 2, 3]]);
  const y = await ops.layerNorm(x, ops.ones([3]), ops.zeros([3])).data();
  assertEquals(Array.from(y, Number.isNaN), [true, true, true, false, false, false]);
  const state = { mean: ops.zeros([3]), variance: tensor([1, Infinity, 1]) };
  const { output } = ops.batchNorm(x, { gain: ops.ones([3]), bias: ops.zeros([3]) }, state, { train: false });
  assertEquals(Array.from(await output.data(), Number.isNaN), [false, true, false, false, true, false]);
});

onEachDevice("pow has the special values of C99, and slopes where they exist", async () => {
  const inf = Infinity;
  await check([
    ["ones", ops.pow(tensor([-1, -1, 1, 1, NaN, 0, -0]), tensor([inf, -inf, inf, NaN, 0, 0, 0])), [
      ...[1, 1, 1, 1, 1, 1, 1],
    ]],
    ["of zero", ops.pow(tensor([0, -0, -0, 0, -0, -0, 0]), tensor([-1, -1, -2, -0.5, 3, 2, inf])), [
      ...[inf, -inf, inf, inf, -0, 0, 0],
    ]],
    [
      "of infinity",
      ops.pow(tensor([-inf, -inf, -inf, -inf, inf, inf]), tensor([3, 2, -3, 0.5, -1, 0.5])),
      [-inf, inf, -0, inf, 0, inf],
    ],
    ["to infinity", ops.pow(tensor([0.5, 2, 0.5, 2, -0.5]), tensor([inf, inf, -inf, -inf, inf])), [
      ...[0, inf, inf, 0, 0],
    ]],
    ["to nothing", ops.pow(tensor([-8, 2, NaN, -inf]), tensor([1 / 3, NaN, 1, 0])), [NaN, NaN, NaN, 1]],
    ["whole powers", ops.pow(10, tensor([2, 3, 4, 10, -1])), [100, 1000, 10000, 1e10, fround(0.1)]],
    ["near one", ops.pow(tensor([0.9999]), 1e5), [fround(0.9999) ** 1e5]],
  ]);
  // PyTorch's gradients of pow(a, b).
  const a = [0, 0, 0, 0, 0, 0, 0, 2, -2, -2, -1, inf, 0.5, 1, -0, NaN, 1, 2];
  const b = [0, 1, 2, 0.5, -1, -0.5, 1.5, 0, 2, 0.5, inf, 2, inf, NaN, 3, 0, inf, 1];
  await check([
    ["slope in the base", slopes((x) => ops.pow(x, tensor(b)), a), [
      ...[0, 1, 0, inf, -inf, -inf, 0, 0, -4, NaN, inf, inf, NaN, NaN, 0, 0, inf, 1],
    ]],
    ["slope in the exponent", slopes((x) => ops.pow(tensor(a), x), b), [
      ...[0, 0, 0, 0, -inf, -inf, 0, Math.LN2, NaN, NaN, NaN, inf, -0, 0, 0, NaN, 0, 2 * Math.LN2],
    ]],
    ["slope of a root", slopes((x) => ops.pow(x, 0.5), [0, 1, 4]), [inf, 0.5, 0.25]],
  ]);
});

onEachDevice("negative powers of integers are truncated quotients", async () => {
  const least = -2147483648;
  await check([
    ["i32", ops.pow(i32(2, 1, -1, 0, -1, -1, 5, -3), i32(-1, -7, -3, -1, -2, least, least, -1)), [
      ...[0, 1, -1, 0, 1, 1, 0, 0],
    ]],
    ["to a number", ops.pow(i32(2, 1, -1, 0), -1), [0, 1, -1, 0]],
    ["of a number", ops.pow(2, i32(-1, 0, 3)), [0, 1, 8]],
    ["u32", ops.pow(tensor([2, 3], { dtype: "u32" }), tensor([5, 4294967295], { dtype: "u32" })), [
      ...[32, 2863311531],
    ]],
  ]);
});

onEachDevice("sin, cos and tan of angles up to the largest float", async () => {
  const x = Float32Array.from(
    { length: 20000 },
    (_, k) => (k % 2 ? -1 : 1) * 2 ** (20 + 108 * (k + 0.37) / 20000),
  );
  x.set([1e12, 5e6, 23e6, 3.4e38, 1e30, 4e8, 400000032, 1367130500000000000, 7.729179e28]);
  for (
    const [name, f, exact, bound] of [["sin", ops.sin, sin, 1.6], ["cos", ops.cos, cos, 1.6], [
      "tan",
      ops.tan,
      tan,
      3.5,
    ]] as const
  ) {
    const values = await f(tensor(x)).data();
    x.forEach((angle, k) => {
      const right = exact(angle);
      const ulp = 2 ** (Math.floor(Math.log2(abs(right))) - 23);
      assert(abs(values[k]! - right) <= bound * ulp, `${name}(${angle}) is ${values[k]} instead of ${right}`);
    });
  }
  const none = new Array<number>(3).fill(NaN);
  for (const [name, f] of [["sin", ops.sin], ["cos", ops.cos], ["tan", ops.tan]] as const) {
    await check([[name, f(tensor([Infinity, -Infinity, NaN])), none]]);
  }
});

onEachDevice("a negative zero stays one", async () => {
  const { sin, tan, tanh, erf, log1p, expm1, sqrt, sign, round, floor, ceil, gelu, silu } = ops;
  const odd = { sin, tan, tanh, erf, log1p, expm1, sqrt, sign, round, floor, ceil, gelu, silu };
  for (const [name, f] of Object.entries(odd)) {
    await check([[name, f(tensor([-0, 0, -0, -0])), [-0, 0, -0, -0]]]);
  }
  await check([["round", ops.round(tensor([-0.3, -0.5, 0.5])), [-0, -0, 0]]]);
});

onEachDevice("0 is larger than -0: in pairs, beside constants, in reductions", async () => {
  const x = tensor([-0, 0, -0, 0, NaN, -1, 1]);
  const y = tensor([0, -0, -0, 0, 1, -0, 0]);
  await check([
    ["maximum", ops.maximum(x, y), [0, 0, -0, 0, NaN, -0, 1]],
    ["minimum", ops.minimum(x, y), [-0, -0, -0, 0, NaN, -1, 0]],
    ["maximum with 0", ops.maximum(x, 0), [0, 0, 0, 0, NaN, 0, 1]],
    ["maximum of 0", ops.maximum(0, x), [0, 0, 0, 0, NaN, 0, 1]],
    ["maximum with -0", ops.maximum(x, -0), [-0, 0, -0, 0, NaN, -0, 1]],
    ["minimum with 0", ops.minimum(x, 0), [-0, 0, -0, 0, NaN, -1, 0]],
    ["minimum with -0", ops.minimum(x, -0), [-0, -0, -0, -0, NaN, -1, -0]],
    ["relu", ops.relu(x), [0, 0, 0, 0, NaN, 0, 1]],
    ["clip", ops.clip(x, { min: 0, max: 1 }), [0, 0, 0, 0, NaN, 0, 1]],
  ]);
  for (const n of [1, 2, 3, 4, 7, 16, 17, 64, 100, 1000, 40000]) {
    const negative = new Float32Array(n).fill(-0);
    const positive = new Float32Array(n);
    const some = (values: Float32Array, zero: number): Float32Array => {
      const result = values.slice();
      result[n >> 1] = zero;
      return result;
    };
    const mixed = some(negative, 0);
    const below = mixed.map((value, k) => k % 2 && !Object.is(value, 0) ? -1 : value);
    for (const keep of [(x: Tensor) => x, (x: Tensor) => ops.reshape(x, [n, 1])]) {
      const [max, min] = [ops.max, ops.min].map((f) => (values: Float32Array): Tensor =>
        ops.reshape(f(keep(tensor(values)), { axis: 0 }), [-1])
      ) as [(values: Float32Array) => Tensor, (values: Float32Array) => Tensor];
      await check([
        [`max of ${n}`, ops.concat([max(negative), max(mixed), max(below), max(positive)]), [-0, 0, 0, 0]],
        [`min of ${n}`, ops.concat([min(negative), min(some(positive, -0)), min(positive)]), [-0, -0, 0]],
      ]);
    }
    const columns = tensor([...negative, ...mixed, ...negative], { shape: [3, n] });
    await check([[`max of columns ${n}`, ops.max(columns, { axis: 0 }), Array.from(mixed)]]);
  }
});

onEachDevice("every NaN is one, whatever its bits", async () => {
  const bits = Uint32Array.from({ length: 64 }, (_, k) => (k % 2 ? 0xff800001 : 0x7f800001) + k * 0x1f0f3);
  const x = ops.bitcast(tensor(bits), "f32");
  const { exp, expm1, log, log1p, sqrt, rsqrt, sigmoid, softplus, silu, gelu, relu, abs } = ops;
  const { sin, cos, tan, tanh, erf, sign, neg, round, square } = ops;
  const all = { exp, expm1, log, log1p, sqrt, rsqrt, sigmoid, softplus, silu, gelu, relu, abs };
  for (const [name, f] of Object.entries({ ...all, sin, cos, tan, tanh, erf, sign, neg, round, square })) {
    assert((await f(x).data()).every(Number.isNaN), name);
  }
  for (const f of [ops.max, ops.min, ops.sum, ops.prod, ops.mean, ops.variance, ops.logSumExp]) {
    assert(Number.isNaN(await f(x).item()), f.name);
  }
});

onEachDevice("variance with a correction of the count or more", async () => {
  const two = tensor([1, 3]);
  await check([
    ["Infinity", ops.stack([2, 3, 100].map((correction) => ops.variance(two, { correction }))), [
      ...[Infinity, Infinity, Infinity],
    ]],
    ["std", ops.stack([1, 2, 3].map((correction) => ops.std(two, { correction }))), [
      ...[Math.SQRT2, Infinity, Infinity],
    ]],
    ["of one", ops.variance(tensor([[5], [7]]), { axis: 1, correction: 1 }), [NaN, NaN]],
    ["of nothing", ops.variance(ops.zeros([2, 0]), { axis: 1 }), [NaN, NaN]],
  ]);
  assertThrows(() => ops.variance(two, { correction: NaN }), RangeError, "correction NaN: a finite number");
});
