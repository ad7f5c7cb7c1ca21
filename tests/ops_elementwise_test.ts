import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import * as ops from "../ops/mod.ts";
import { DTypeError, ShapeError } from "../src/errors.ts";
import { type Tensor, tensor } from "../src/tensor.ts";
import { grad } from "../src/transforms/vjp.ts";
import { referenceOf } from "./support/check.ts";

const values = (x: Tensor): number[] => [...referenceOf([x])[0]!.data];
const i32 = (...numbers: number[]): Tensor => tensor(numbers, { dtype: "i32" });
const u32 = (...numbers: number[]): Tensor => tensor(numbers, { dtype: "u32" });

/** Gradients of the sum of f, per argument. */
function slopes(f: (...args: Tensor[]) => Tensor, ...args: Tensor[]): number[][] {
  const argnums = args.map((_, k) => k);
  const gradients = grad((...given: Tensor[]) => ops.sum(f(...given)), { argnums })(...args);
  return gradients.map((gradient) => values(gradient as Tensor));
}

Deno.test("operands broadcast as in NumPy", () => {
  const x = ops.add(tensor([[1], [2]]), tensor([10, 20, 30]));
  assertEquals(x.shape, [2, 3]);
  assertEquals(values(x), [11, 21, 31, 12, 22, 32]);
  assertEquals(ops.mul(ops.zeros([3, 0]), ops.zeros([1])).shape, [3, 0]);
});

Deno.test("shapes that do not broadcast are named, with the axis", () => {
  assertThrows(
    () => ops.add(ops.zeros([8, 3, 64]), ops.zeros([8, 4, 64])),
    ShapeError,
    "Cannot add shapes [8, 3, 64] and [8, 4, 64]: axis 1 is 3 and 4; equal sizes or 1 are required",
  );
});

Deno.test("numbers take the dtype of the tensor beside them", () => {
  assertEquals(ops.add(i32(1), 2).dtype, "i32");
  assertEquals(ops.sub(1, u32(1)).dtype, "u32");
  assertEquals(ops.add(1, 2).dtype, "f32");
  assertEquals(ops.equal(tensor([true]), true).dtype, "bool");
});

Deno.test("dtypes are not promoted silently", () => {
  assertThrows(
    () => ops.add(tensor([1]), i32(1)),
    DTypeError,
    'Cannot add f32[1] and i32[1]: the dtypes must be equal; cast one of them, for example cast(x, "f32")',
  );
  assertThrows(() => ops.mul(i32(1), 0.5), DTypeError, "a whole number is required");
  assertThrows(() => ops.mul(tensor([1]), true), DTypeError, "Cannot mul boolean true");
  assertThrows(() => ops.add(u32(1), -1), RangeError, "u32 holds 0 to 4294967295");
  assertThrows(() => ops.exp(i32(1)), DTypeError, "Cannot exp i32[1]: f32 is required; cast it first");
  assertThrows(() => ops.add(tensor([true]), tensor([true])), DTypeError, "Cannot add bool[1]");
  assertThrows(() => ops.logicalAnd(i32(1), i32(1)), DTypeError, "Cannot apply logicalAnd to i32[1]");
  assertThrows(() => ops.bitwiseNot(tensor([true])), DTypeError, "Cannot apply bitwiseNot to bool[1]");
  assertThrows(() => ops.where(tensor([1]), 1, 0), DTypeError, "bool is required");
});

Deno.test("what is neither a tensor nor a number is refused", () => {
  const add = ops.add as (a: unknown, b: unknown) => Tensor;
  assertThrows(() => add(tensor(1), [1]), TypeError, "Cannot add a value of type array");
  assertThrows(() => add(undefined, 1), TypeError, "Cannot add a value of type undefined");
});

Deno.test("mod has the sign of the divisor", () => {
  assertEquals(values(ops.mod(tensor([-7, 7, -7, 7]), tensor([3, -3, -3, 3]))), [2, -2, -1, 1]);
  assertEquals(values(ops.mod(i32(-7, 7, 5), i32(3, -3, 0))), [2, -2, 0]);
  assertEquals(slopes(ops.mod, tensor([-7]), tensor([3])), [[1], [3]]);
});

Deno.test("integers wrap, truncate, and divide by zero to 0", () => {
  assertEquals(values(ops.add(i32(2147483647), 1)), [-2147483648]);
  assertEquals(values(ops.sub(u32(0), 1)), [4294967295]);
  assertEquals(values(ops.mul(u32(65536), 65537)), [65536]);
  assertEquals(values(ops.div(i32(-7, 7, 7), i32(2, -2, 0))), [-3, -3, 0]);
  assertEquals(values(ops.pow(i32(-2, 7), i32(3, 0))), [-8, 1]);
});

Deno.test("shift counts are taken modulo 32; the right shift of i32 keeps the sign", () => {
  assertEquals(values(ops.shiftLeft(u32(1, 1), u32(31, 33))), [2147483648, 2]);
  assertEquals(values(ops.shiftRight(i32(-8), 1)), [-4]);
  assertEquals(values(ops.shiftRight(u32(4294967288), 1)), [2147483644]);
});

Deno.test("maximum and minimum: NaN wins, ties share the cotangent half and half", () => {
  assertEquals(values(ops.maximum(tensor([NaN, 1]), tensor([1, NaN]))), [NaN, NaN]);
  assertEquals(slopes(ops.maximum, tensor([1, 2, 3]), tensor([1, 5, 0])), [[0.5, 0, 1], [0.5, 1, 0]]);
  assertEquals(slopes(ops.minimum, tensor([1, 2, 3]), tensor([1, 5, 0])), [[0.5, 1, 0], [0.5, 0, 1]]);
  assertEquals(slopes((x) => ops.clip(x, { min: 0, max: 1 }), tensor([-1, 0, 0.5, 1, 2])), [[
    0,
    0.5,
    1,
    0.5,
    0,
  ]]);
});

Deno.test("slopes at corners: abs and relu are 0 at 0, rounding has none", () => {
  assertEquals(slopes(ops.abs, tensor([-2, 0, 2])), [[-1, 0, 1]]);
  assertEquals(slopes(ops.relu, tensor([-2, 0, 2])), [[0, 0, 1]]);
  for (const f of [ops.sign, ops.floor, ops.ceil, ops.round]) assertEquals(slopes(f, tensor([0.3])), [[0]]);
  assertEquals(slopes((x) => ops.where(ops.isNan(x), 0, x), tensor([NaN, 2])), [[0, 1]]);
});

Deno.test("pow has finite slopes at base 0 and exponent 0", () => {
  const [base, exponent] = slopes(ops.pow, tensor([0, 0, 0, 3]), tensor([0, 1, 2, 0]));
  assertEquals(base, [0, 1, 0, 0]);
  assertEquals(exponent!.slice(0, 3), [0, 0, 0]);
  assertAlmostEquals(exponent![3]!, Math.log(3), 1e-12);
  const second = grad((x: Tensor) => grad((y: Tensor) => ops.pow(y, 2))(x));
  assertEquals(values(second(tensor(0)) as Tensor), [2]);
});

Deno.test("sigmoid and softplus neither overflow nor lose their tails, in value and slope", () => {
  const far = tensor([-100, 100]);
  assertEquals(slopes(ops.sigmoid, far)[0]!.map((x) => x < 1e-40), [true, true]);
  assertAlmostEquals(values(ops.sigmoid(tensor(-20)))[0]! / Math.exp(-20), 1, 1e-8);
  assertEquals(values(ops.softplus(far))[1], 100);
  assertAlmostEquals(slopes(ops.softplus, tensor([0]))[0]![0]!, 0.5, 1e-12);
  assertAlmostEquals(values(ops.gelu(tensor(-1)))[0]!, -0.15865525, 1e-7);
});

Deno.test("round goes to the even neighbour", () => {
  assertEquals(values(ops.round(tensor([-1.5, -0.5, 0.5, 1.5, 2.5]))), [-2, -0, 0, 2, 2]);
});

Deno.test("cast truncates and saturates; bitcast keeps the bits", () => {
  const x = tensor([-1.7, 2.9, NaN, 1e20, -1e20]);
  assertEquals(values(ops.cast(x, "i32")), [-1, 2, 0, 2147483647, -2147483648]);
  assertEquals(values(ops.cast(x, "u32")), [0, 2, 0, 4294967295, 0]);
  assertEquals(values(ops.cast(tensor([0, -0.5, NaN]), "bool")), [0, 1, 1]);
  assertEquals(values(ops.cast(tensor([true, false]), "f32")), [1, 0]);
  assertEquals(values(ops.cast(i32(-1), "u32")), [4294967295]);
  assertEquals(values(ops.bitcast(i32(-1), "u32")), [4294967295]);
  assertEquals(values(ops.bitcast(u32(0x40490fdb), "f32")), [Math.fround(Math.PI)]);
  assertThrows(() => ops.bitcast(tensor([true]), "u32"), DTypeError, "Cannot bitcast bool[1] to u32");
});

Deno.test("creation: values, dtypes and refusals", () => {
  assertEquals([ops.arange(3).dtype, ops.arange(0, 1, { step: 0.5 }).dtype], ["i32", "f32"]);
  assertEquals(values(ops.arange(5, 1, { step: -2 })), [5, 3]);
  assertEquals(ops.arange(0).shape, [0]);
  assertEquals(values(ops.linspace(1, 2, 1)), [1]);
  assertEquals(values(ops.eye(2, { columns: 3 })), [1, 0, 0, 0, 1, 0]);
  assertEquals(ops.full([2], true).dtype, "bool");
  assertEquals(values(ops.zeros([1], { dtype: "bool" })), [0]);
  assertThrows(() => ops.full([2], 0.5, { dtype: "i32" }), DTypeError, "a whole number is required");
  assertThrows(() => ops.zeros([2, -1]), ShapeError, "Cannot make a tensor of shape [2, -1]");
  assertThrows(() => ops.arange(1, 2, { step: 0 }), RangeError, "a step other than 0");
});
