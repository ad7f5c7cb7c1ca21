/** Checks of special values on the current device against the float64 references. */
import { assertEquals } from "@std/assert";
import * as ops from "../../ops/mod.ts";
import { device } from "../../src/device.ts";
import { readAll } from "../../src/evaluate.ts";
import { type Tensor, tensor } from "../../src/tensor.ts";
import { jit } from "../../src/transforms/jit.ts";
import { vjp } from "../../src/transforms/vjp.ts";
import { productsInSums, rewritable, subnormalInBetween } from "./rewriting.ts";
import {
  combinations,
  roundedReferenceOf,
  specialCalls,
  specials,
  tensorsOf,
  wrongResults,
} from "./special_values.ts";

/** Values of tensors on the current device. */
async function valuesOf(tensors: readonly Tensor[]): Promise<ArrayLike<number>[]> {
  const values = await readAll(Object.fromEntries(tensors.map((x, k) => [String(k), x])));
  return tensors.map((_, k) => values[String(k)]!);
}

/** On the cpu gelu is exact to so much, not relative to what it is in its tail. */
function absoluteOf(name: string): number {
  return device() === "cpu" && /\bgelu/.test(name) ? 3e-7 : 0;
}

/** Every elementwise operation at all combinations of special values. */
export async function checkSpecialValues(): Promise<void> {
  const calls = specialCalls();
  const operands = calls.map(({ dtypes }) => combinations(dtypes));
  const outputs = calls.map(({ dtypes, call }, k) => call(tensorsOf(dtypes, operands[k]!)));
  const expected = roundedReferenceOf(outputs);
  const actual = await valuesOf(outputs);
  const wrong = calls.flatMap(({ name }, k) => {
    const kind = { dtype: outputs[k]!.dtype, absolute: absoluteOf(name) };
    return wrongResults(name, operands[k]!, actual[k]!, expected[k]!, kind);
  });
  assertEquals(wrong, []);
}

/** The derivatives of the elementwise operations at all combinations of special values. */
export async function checkSpecialSlopes(): Promise<void> {
  const wrong: string[] = [];
  for (const { name, dtypes, call, isDifferentiable } of specialCalls()) {
    const floats = dtypes.flatMap((dtype, k) => dtype === "f32" ? [k] : []);
    if (floats.length === 0 || !isDifferentiable) continue;
    const operands = combinations(dtypes);
    const [output, pullback] = vjp((...given: Tensor[]) => call(given), ...tensorsOf(dtypes, operands));
    const cotangents = pullback(ops.ones([output.size]));
    const gradients = floats.map((k) => cotangents[k]!);
    const expected = roundedReferenceOf(gradients);
    const actual = await valuesOf(gradients);
    gradients.forEach(({ dtype }, k) => {
      const what = `∂ ${name} by operand ${floats[k]}`;
      const kind = { dtype, isSlope: true, absolute: absoluteOf(name) };
      wrong.push(...wrongResults(what, operands, actual[k]!, expected[k]!, kind));
    });
  }
  assertEquals(wrong, []);
}

/** Expressions that a compiler likes to simplify, each by itself and all in one program. */
export async function checkRewriting(): Promise<void> {
  const others = device() === "cpu" ? [...productsInSums, ...subnormalInBetween] : [];
  const checked = Object.entries(rewritable).filter(([name]) => !others.includes(name));
  const operands = combinations(["f32", "f32"]);
  const given = (): [Tensor, Tensor] => tensorsOf(["f32", "f32"], operands) as [Tensor, Tensor];
  const call = (x: Tensor, y: Tensor): Tensor[] => checked.map(([, f]) => f(x, y));
  const expected = roundedReferenceOf(call(...given()));
  const outputs = jit(call)(...given());
  const actual = await valuesOf(outputs);
  const wrong = checked.flatMap(([name], k) =>
    wrongResults(name, operands, actual[k]!, expected[k]!, outputs[k]!)
  );
  assertEquals(wrong, []);
}

/** Operations of special values with constants, which under `jit` are part of a kernel's code. */
export async function checkConstants(): Promise<void> {
  const constants = [0, -0, 1, -1, 2, 0.5, Infinity, -Infinity, NaN, 1e-40, 3e38];
  const operands = [specials.f32];
  const wrong: string[] = [];
  for (
    const op of ["add", "sub", "mul", "div", "mod", "pow", "maximum", "minimum", "less", "equal"] as const
  ) {
    const call = (x: Tensor): Tensor[] => constants.flatMap((c) => [ops[op](x, c), ops[op](c, x)]);
    const expected = roundedReferenceOf(call(tensorsOf(["f32"], operands)[0]!));
    const outputs = jit(call)(tensorsOf(["f32"], operands)[0]!);
    const actual = await valuesOf(outputs);
    const text = (c: number): string => Object.is(c, -0) ? "-0" : String(c);
    constants.flatMap((c) => [`${op}(x, ${text(c)})`, `${op}(${text(c)}, x)`]).forEach((name, k) =>
      wrong.push(...wrongResults(name, operands, actual[k]!, expected[k]!, outputs[k]!))
    );
  }
  assertEquals(wrong, []);
}

/** Reductions and products with special values, and with what a compiler could factor out or leave out. */
const reductions: readonly (readonly [string, () => Tensor, readonly number[]])[] = (() => {
  const [inf, nan] = [Infinity, NaN];
  const rows = (f: (x: Tensor) => Tensor) => (): Tensor => f(tensor([[inf], [NaN], [3]]));
  const along = { axis: 1, keepDims: true } as const;
  return [
    ["variance of infinity", () => ops.variance(tensor([inf])), [nan]],
    ["variance with an infinity", () => ops.variance(tensor([1, inf, 2])), [nan]],
    ["variance of single values", rows((x) => ops.variance(x, { axis: 1 })), [nan, nan, 0]],
    ["variance with a correction of the count", rows((x) => ops.variance(x, { axis: 1, correction: 1 })), [
      ...[nan, nan, nan],
    ]],
    ["values less their mean", rows((x) => ops.sub(x, ops.mean(x, along))), [nan, nan, 0]],
    ["values less their sum", rows((x) => ops.sub(x, ops.sum(x, along))), [nan, nan, 0]],
    ["values less their maximum", rows((x) => ops.sub(x, ops.max(x, along))), [nan, nan, 0]],
    ["values over their sum", rows((x) => ops.div(x, ops.sum(x, along))), [nan, nan, 1]],
    ["sum of products with one factor", () => ops.sum(ops.mul(tensor([3e38, 3e38]), tensor(1e-30))), [6e8]],
    ["sum of quotients by one divisor", () => ops.sum(ops.div(tensor([3e38, 3e38]), tensor(1e30))), [6e8]],
    [
      "sums of three products with one factor",
      () => ops.sum(ops.mul(tensor([[3e38, 3e38, -3e38], [1, 2, 3]]), tensor([[1e-30], [2]])), { axis: 1 }),
      [3e8, 12],
    ],
    ["sum of −0", () => ops.sum(tensor([-0, -0])), [0]],
    ["maxima of zeros", () => ops.max(tensor([[0, -0], [-0, 0], [-0, -0]]), { axis: 1 }), [0, 0, -0]],
    ["minima of zeros", () => ops.min(tensor([[0, -0], [-0, 0], [0, 0]]), { axis: 1 }), [-0, -0, 0]],
    ["extrema with NaN", () => ops.max(tensor([[NaN, 1], [1, NaN]]), { axis: 1 }), [nan, nan]],
    ["product with infinity", () => ops.prod(tensor([[0, -5], [0, inf]]), { axis: 1 }), [-0, nan]],
    ["running sum of infinities", () => ops.cumsum(tensor([inf, -inf])), [inf, nan]],
    ["matrix product with zeros", () => ops.matmul(tensor([[nan, 1], [2, 3]]), ops.zeros([2, 1])), [nan, 0]],
    [
      "large matrix product with zeros",
      () => ops.slice(ops.matmul(ops.full([64, 64], inf), ops.zeros([64, 64])), { sizes: [1, 2] }),
      [nan, nan],
    ],
    ["matrix product of −0", () => ops.matmul(tensor([[-0]]), tensor([[1]])), [0]],
    [
      "matrix product with one factor",
      () => ops.matmul(tensor([[3e38, 3e38]]), ops.broadcastTo(tensor([[1e-30]]), [2, 1])),
      [6e8],
    ],
  ];
})();

/** Reductions and products, compiled. */
export async function checkReductions(): Promise<void> {
  for (const [name, make, right] of reductions) {
    const text = (x: number): string => Object.is(x, -0) ? "-0" : String(Math.fround(x));
    assertEquals(Array.from(await jit(make)().data(), text), right.map(text), name);
  }
}
