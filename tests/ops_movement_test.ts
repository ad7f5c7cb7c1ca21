import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import * as ops from "../ops/mod.ts";
import { unslice } from "../ops/movement_basic.ts";
import { AxisError, DTypeError, ShapeError } from "../src/errors.ts";
import { type Tensor, tensor } from "../src/tensor.ts";
import { referenceOf } from "./support/check.ts";
import { checkLowering } from "./support/pipeline.ts";

const values = (x: Tensor): number[] => [...referenceOf([x])[0]!.data];
const count = (...shape: number[]): Tensor =>
  ops.reshape(ops.arange(0, shape.reduce((a, b) => a * b, 1), { dtype: "f32" }), shape);

Deno.test("reshape fills in -1 and keeps the number of elements", () => {
  assertEquals(ops.reshape(count(2, 6), [3, -1]).shape, [3, 4]);
  assertEquals(ops.reshape(ops.zeros([0, 3]), [0, 5]).shape, [0, 5]);
  assertThrows(
    () => ops.reshape(count(2, 3), [4, 2]),
    ShapeError,
    "Cannot reshape [2, 3] to [4, 2]: it has 6 elements; a shape with as many is required, not 8",
  );
  assertThrows(() => ops.reshape(count(2, 3), [4, -1]), ShapeError, "must be a multiple of 4");
  assertThrows(() => ops.reshape(count(2, 3), [-1, -1]), ShapeError, "Cannot reshape");
});

Deno.test("a movement that changes nothing is the tensor itself", () => {
  const x = count(2, 3);
  for (
    const same of [
      ops.reshape(x, [2, 3]),
      ops.transpose(x, { axes: [0, 1] }),
      ops.broadcastTo(x, [2, 3]),
      ops.slice(x, {}),
      ops.pad(x, { padding: [[0, 0], [0, 0]] }),
      ops.concat([x]),
    ]
  ) assertStrictEquals(same, x);
});

Deno.test("transpose takes negative axes and names each once", () => {
  assertEquals(ops.transpose(count(2, 3, 4), { axes: [-1, 0, 1] }).shape, [4, 2, 3]);
  assertEquals(ops.transpose(count(2, 3, 4)).shape, [4, 3, 2]);
  assertThrows(() => ops.transpose(count(2, 3), { axes: [0, 0] }), AxisError, "must be named once");
  assertThrows(() => ops.transpose(count(2, 3), { axes: [0, 2] }), AxisError, "axis must be in -2..1");
});

Deno.test("slice counts from the end and stays inside", () => {
  const x = count(6);
  assertEquals(values(ops.slice(x, { starts: [-3], stops: [-1] })), [3, 4]);
  assertEquals(values(ops.slice(x, { starts: [1], strides: [2] })), [1, 3, 5]);
  assertEquals(ops.slice(x, { starts: [4], stops: [2] }).shape, [0]);
  assertEquals(ops.slice(count(4, 5), { starts: [1] }).shape, [3, 5]);
  assertThrows(
    () => ops.slice(x, { starts: [4], sizes: [3] }),
    RangeError,
    "Cannot slice axis 0 of [6] from 4",
  );
  assertThrows(() => ops.slice(x, { strides: [0] }), RangeError);
  assertThrows(() => ops.slice(x, { starts: [0, 0] }), ShapeError, "2 positions are given for 1 axes");
});

Deno.test("unslice puts a slice back among zeros, whatever the stride", () => {
  for (
    const [size, start, stride, length] of [[7, 1, 3, 2], [5, 0, 2, 3], [4, 3, 2, 1], [9, 2, 1, 4]] as const
  ) {
    const expected = new Array(size).fill(0);
    for (let k = 0; k < length; k++) expected[start + stride * k] = k + 1;
    assertEquals(values(unslice(ops.add(count(length), 1), [start], [stride], [size])), expected);
  }
});

Deno.test("pad takes a value of the tensor's dtype", () => {
  assertEquals(values(ops.pad(tensor([true]), { padding: [[1, 1]], value: true })), [1, 1, 1]);
  assertEquals(values(ops.pad(tensor([1], { dtype: "i32" }), { padding: [[1, 0]], value: -4 })), [-4, 1]);
  assertThrows(() => ops.pad(tensor([1], { dtype: "i32" }), { padding: [[1, 0]], value: 0.5 }), DTypeError);
  assertThrows(() => ops.pad(count(2), { padding: [[-1, 0]] }), RangeError, "0 or more");
  assertThrows(() => ops.pad(count(2), { padding: [] }), ShapeError, "one [before, after] for every axis");
});

Deno.test("windows have the shape of a convolution's output and refuse not to fit", () => {
  const x = ops.windows(count(1, 7, 8), { size: [3, 2], stride: [2, 3], dilation: [1, 2] });
  assertEquals(x.shape, [1, 3, 2, 3, 2]);
  assertEquals(values(x).slice(0, 6), [0, 2, 8, 10, 16, 18]);
  assertThrows(() => ops.windows(count(2), { size: [3] }), ShapeError, "Cannot take windows of size [3]");
  assertThrows(() => ops.windows(count(2), { size: [1], stride: [0] }), RangeError, "1 or more");
});

Deno.test("concat and stack want equal dtypes and fitting shapes", () => {
  assertEquals(values(ops.concat([count(1, 2), count(2, 2)])), [0, 1, 0, 1, 2, 3]);
  assertEquals(ops.stack([count(2), count(2)], { axis: -1 }).shape, [2, 2]);
  assertThrows(() => ops.concat([count(2), ops.arange(2)]), DTypeError, "Cannot concat f32[2] and i32[2]");
  assertThrows(() => ops.concat([count(2, 2), count(2, 3)]), ShapeError, "all other sizes must be equal");
  assertThrows(() => ops.concat([]), ShapeError, "at least one is required");
  assertThrows(() => ops.stack([count(2), count(3)]), ShapeError, "Cannot stack shapes [2] and [3]");
});

Deno.test("rearrangements agree with their definitions", () => {
  assertEquals(values(ops.roll(count(5), { shift: -2, axis: 0 })), [2, 3, 4, 0, 1]);
  assertEquals(values(ops.roll(count(2, 2), { shift: 1 })), [3, 0, 1, 2]);
  assertEquals(values(ops.tile(count(1, 2), [2, 2])), [0, 1, 0, 1, 0, 1, 0, 1]);
  assertEquals(values(ops.repeat(count(2, 1), 2, { axis: 0 })), [0, 0, 1, 1]);
  assertEquals(values(ops.tril(ops.ones([2, 3]), { diagonal: -1 })), [0, 0, 0, 1, 0, 0]);
  assertEquals(values(ops.triu(ops.ones([2, 3]), { diagonal: 1 })), [0, 1, 1, 0, 0, 1]);
  assertEquals(ops.split(count(6), 3).map((x) => x.shape), [[2], [2], [2]]);
  assertEquals(ops.squeeze(count(1, 2, 1)).shape, [2]);
  assertThrows(() => ops.split(count(5), 2), ShapeError, "into 2 equal parts");
  assertThrows(() => ops.squeeze(count(2), { axis: 0 }), ShapeError, "it is 2; 1 is required");
  assertThrows(() => ops.repeat(count(2), -1), RangeError, "Cannot repeat -1 times");
});

Deno.test("chains of movements are read through by the compiler", () => {
  const x = tensor(Float32Array.from({ length: 60 }, (_, k) => k), { shape: [3, 4, 5] });
  const chains: ((x: Tensor) => Tensor)[] = [
    (x) => ops.reshape(ops.transpose(x, { axes: [2, 0, 1] }), [5, 12]),
    (x) =>
      ops.flip(
        ops.pad(ops.slice(x, { starts: [1, 0, 1], strides: [1, 2, 2] }), {
          padding: [[1, 0], [0, 2], [1, 1]],
        }),
      ),
    (x) => ops.reshape(ops.windows(x, { size: [2, 3] }), [3, 9, 6]),
    (x) => ops.roll(ops.reshape(x, [12, 5]), { shift: [5, 2], axis: [0, 1] }),
    (x) =>
      ops.concat([
        ops.moveAxis(x, 0, 2),
        ops.pad(ops.zeros([4, 5, 0]), { padding: [[0, 0], [0, 0], [1, 1]] }),
      ], { axis: 2 }),
    (x) => unslice(x, [1, 0, 2], [3, 1, 2], [8, 4, 12]),
  ];
  for (const chain of chains) checkLowering([ops.add(chain(x), 1)]);
});
