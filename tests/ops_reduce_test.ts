import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import * as ops from "../ops/mod.ts";
import { AxisError, DTypeError } from "../src/errors.ts";
import { type Tensor, tensor } from "../src/tensor.ts";
import { grad } from "../src/transforms/vjp.ts";
import { assertClose, referenceOf } from "./support/check.ts";

const values = (x: Tensor): number[] => [...referenceOf([x])[0]!.data];
const slope = (f: (x: Tensor) => Tensor, x: Tensor): number[] =>
  values(grad((given: Tensor) => ops.sum(f(given)))(x) as Tensor);

Deno.test("axis is a number, a list, negative or left out; keepDims keeps", () => {
  const x = tensor([[1, 2, 3], [4, 5, 6]]);
  assertEquals(values(ops.sum(x)), [21]);
  assertEquals(values(ops.sum(x, { axis: -1 })), [6, 15]);
  assertEquals(ops.sum(x, { axis: [0, 1] }).shape, []);
  assertEquals(ops.max(x, { axis: 1, keepDims: true }).shape, [2, 1]);
  assertEquals(ops.mean(x, { keepDims: true }).shape, [1, 1]);
  assertEquals(values(ops.sum(x, { axis: [] })), [1, 2, 3, 4, 5, 6]);
});

Deno.test("axes that do not exist, or twice, are named", () => {
  assertThrows(
    () => ops.sum(ops.zeros([8, 512]), { axis: 3 }),
    AxisError,
    "Cannot sum over axis 3: x has shape [8, 512], so axis must be in -2..1",
  );
  assertThrows(() => ops.sum(ops.zeros([2, 3]), { axis: [1, -1] }), AxisError, "axis 1 is given twice");
  assertThrows(() => ops.argmax(tensor(1), { axis: 0 }), AxisError, "it has no axes");
});

Deno.test("dtypes: integers are not averaged, bool is not summed", () => {
  assertThrows(() => ops.mean(ops.arange(3)), DTypeError, "Cannot average i32[3]: f32 is required");
  assertThrows(() => ops.sum(tensor([true])), DTypeError, "Cannot sum bool[1]");
  assertThrows(() => ops.any(tensor([1])), DTypeError, "Cannot apply any to f32[1]: bool is required");
  assertEquals(values(ops.sum(tensor([2147483647, 1], { dtype: "i32" }))), [-2147483648]);
});

Deno.test("reductions of nothing", () => {
  const empty = ops.zeros([0]);
  assertEquals([ops.sum, ops.prod, ops.max, ops.min].flatMap((f) => values(f(empty))), [
    0,
    1,
    -Infinity,
    Infinity,
  ]);
  assertEquals(values(ops.mean(empty)), [NaN]);
  assertEquals(values(ops.any(ops.zeros([0], { dtype: "bool" }))), [0]);
  assertEquals(values(ops.all(ops.zeros([0], { dtype: "bool" }))), [1]);
  assertEquals(values(ops.logSumExp(empty)), [-Infinity]);
});

Deno.test("NaN is the maximum, the minimum and the first argmax", () => {
  const x = tensor([1, NaN, 3, NaN]);
  assertEquals([ops.max(x), ops.min(x), ops.argmax(x), ops.argmin(x)].flatMap(values), [NaN, NaN, 1, 1]);
});

Deno.test("argmax gives the first of equals, as i32", () => {
  const x = tensor([[1, 3, 3], [2, 2, 1]]);
  assertEquals(values(ops.argmax(x, { axis: 1 })), [1, 0]);
  assertEquals(values(ops.argmin(x)), [0]);
  assertEquals(ops.argmax(x).dtype, "i32");
  assertEquals(ops.argmax(x, { keepDims: true }).shape, [1, 1]);
  assertEquals(ops.argmax(x, { axis: 1, keepDims: true }).shape, [2, 1]);
});

Deno.test("ties of max and min share the cotangent equally", () => {
  assertEquals(slope((x) => ops.max(x), tensor([1, 3, 3, 3])), [0, 1 / 3, 1 / 3, 1 / 3]);
  assertEquals(slope((x) => ops.min(x, { axis: 1 }), tensor([[1, 1], [0, 2]])), [0.5, 0.5, 1, 0]);
});

Deno.test("derivatives of prod are exact where elements are zero, to second order", () => {
  assertEquals(slope((x) => ops.prod(x), tensor([2, 0, 5])), [0, 10, 0]);
  assertEquals(slope((x) => ops.prod(x), tensor([0, 0, 5])), [0, 0, 0]);
  // The row of the Hessian of a · b · c at (0, 0, 5) that belongs to a is (0, c, b).
  const first = (x: Tensor): Tensor =>
    ops.slice(grad((y: Tensor) => ops.prod(y))(x) as Tensor, { sizes: [1] });
  assertEquals(slope(first, tensor([0, 0, 5])), [0, 5, 0]);
});

Deno.test("variance is biased unless corrected", () => {
  const x = tensor([1, 2, 6]);
  assertAlmostEquals(values(ops.variance(x))[0]!, 14 / 3, 1e-12);
  assertAlmostEquals(values(ops.variance(x, { correction: 1 }))[0]!, 7, 1e-12);
  assertAlmostEquals(values(ops.std(x, { correction: 1 }))[0]!, Math.sqrt(7), 1e-12);
});

Deno.test("logSumExp does not overflow, and its slope is the softmax", () => {
  const x = tensor([1000, 1001, -Infinity]);
  assertAlmostEquals(values(ops.logSumExp(x))[0]!, 1001 + Math.log1p(Math.exp(-1)), 1e-9);
  const share = 1 / (1 + Math.E);
  assertClose(slope((x) => ops.logSumExp(x), x), [share, 1 - share, 0], "softmax");
  assertEquals(values(ops.logSumExp(tensor([-Infinity, -Infinity]))), [-Infinity]);
});
