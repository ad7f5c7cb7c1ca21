/** Tensors that are made: which values a dtype takes, and the ends of what is counted. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import * as ops from "../mod.ts";
import { type DType, DTypeError, ShapeError, type Tensor, tensor } from "../mod.ts";
import { onEachDevice } from "./support/devices.ts";

const { fround } = Math;

onEachDevice("tensor, full and cast agree on what a value is in a dtype", async () => {
  const same: [number | boolean, DType, number][] = [
    [7, "i32", 7],
    [-2147483648, "i32", -2147483648],
    [2147483647, "i32", 2147483647],
    [4294967295, "u32", 4294967295],
    [-0, "i32", 0],
    [0.1, "f32", fround(0.1)],
    [1e39, "f32", Infinity],
    [NaN, "f32", NaN],
    [NaN, "bool", 1],
    [0, "bool", 0],
    [-0, "bool", 0],
    [0.5, "bool", 1],
    [-Infinity, "bool", 1],
    [true, "bool", 1],
    [true, "f32", 1],
    [true, "i32", 1],
    [false, "u32", 0],
  ];
  for (const [value, dtype, element] of same) {
    const made = [tensor([value], { dtype }), ops.full([1], value, { dtype }), tensor(value, { dtype })];
    if (typeof value === "number") made.push(tensor(Float64Array.of(value), { dtype }));
    for (const x of made) {
      assertEquals(x.dtype, dtype);
      assertEquals([...await x.data()], [element], `${value} as ${dtype}`);
    }
  }
  // What is known only on the device is converted without an error, and to the same where both give something.
  const x = [3e9, -3e9, 1.7, -1.7, NaN, Infinity, -Infinity, 7];
  assertEquals(await ops.cast(tensor(x), "i32").toArray(), [
    ...[2147483647, -2147483648, 1, -1, 0, 2147483647, -2147483648, 7],
  ]);
  assertEquals(await ops.cast(tensor(x), "u32").toArray(), [3000000000, 0, 1, 0, 0, 4294967295, 0, 7]);
  assertEquals(await ops.cast(tensor([NaN, 0, -0, 0.1]), "bool").toArray(), [true, false, false, true]);
});

Deno.test("values that an integer dtype does not hold are refused by tensor and full alike", () => {
  const refused: [number, DType, typeof DTypeError | typeof RangeError, string][] = [
    [3e9, "i32", RangeError, "3000000000 as i32: it holds -2147483648 to 2147483647"],
    [-2147483649, "i32", RangeError, "-2147483649 as i32"],
    [-1, "u32", RangeError, "-1 as u32: it holds 0 to 4294967295"],
    [4294967296, "u32", RangeError, "4294967296 as u32"],
    [1.5, "i32", DTypeError, "1.5 as i32: a whole number is required"],
    [NaN, "i32", DTypeError, "NaN as i32: a whole number is required"],
    [Infinity, "u32", DTypeError, "Infinity as u32: a whole number is required"],
  ];
  for (const [value, dtype, type, message] of refused) {
    assertThrows(() => tensor([1, value], { dtype }), type, `Cannot make a tensor from ${message}`);
    assertThrows(
      () => tensor(Float64Array.of(1, value), { dtype }),
      type,
      `Cannot make a tensor from ${message}`,
    );
    assertThrows(() => ops.full([2], value, { dtype }), type, `Cannot fill with ${message}`);
  }
  assertThrows(() => tensor(Uint32Array.of(4e9), { dtype: "i32" }), RangeError, "4000000000 as i32");
  assertThrows(() => tensor(Int8Array.of(-1), { dtype: "u32" }), RangeError, "-1 as u32");
  for (const value of ["a", null, undefined, 1n, {}]) {
    assertThrows(() => tensor([value] as never), DTypeError, "numbers and booleans are taken");
  }
});

onEachDevice("every typed array is taken, and is copied", async () => {
  const types = [Int8Array, Int16Array, Int32Array, Uint8Array, Uint8ClampedArray, Uint16Array, Uint32Array];
  for (const type of [...types, Float32Array, Float64Array]) {
    const values = type.of(0, 1, 100);
    for (const dtype of ["f32", "i32", "u32", "bool"] as const) {
      const x = tensor(values, { dtype });
      assertEquals(
        [...await x.data()],
        dtype === "bool" ? [0, 1, 1] : [0, 1, 100],
        `${type.name} as ${dtype}`,
      );
    }
    const x = tensor(values);
    values.fill(0);
    assertEquals([...await x.data()], [0, 1, 100]);
  }
});

onEachDevice("linspace includes both ends, is monotone and rounds once", async () => {
  const cases: [number, number, number][] = [
    [1, 1e-8, 11],
    [0.21436651, 0.96568555, 6],
    [1000, 0.1, 7],
    [0, 4.3, 50],
    [4.3, 0, 50],
    [1e8, 1, 3],
    [1e8, 1, 1000],
    [-1, 1, 7],
    [1, 1 + 1e-6, 100],
    [-3e38, 3e38, 5],
    [0, 1, 1001],
    [5, 5, 4],
    [-0.3, 0.7, 2],
  ];
  for (const [start, stop, count] of cases) {
    const values = await ops.linspace(start, stop, count).data();
    assertEquals(values.length, count);
    assertEquals([values[0], values[count - 1]], [fround(start), fround(stop)]);
    values.forEach((value, k) => {
      const exact = start + ((stop - start) * k) / (count - 1);
      assert(
        Math.abs(value - exact) <= 2 ** -24 * Math.abs(exact) + 1e-14 * Math.abs(stop - start),
        `${start}..${stop}: ${k}`,
      );
      if (k > 0) {
        assert(stop >= start ? value >= values[k - 1]! : value <= values[k - 1]!, `${start}..${stop}: ${k}`);
      }
    });
  }
  assertEquals(await ops.linspace(3, 7, 1).toArray(), [3]);
  assertEquals(await ops.linspace(3, 7, 0).toArray(), []);
  assertThrows(() => ops.linspace(0, 1, 1.5), RangeError, "a whole number, 0 or more, is required");
  assertThrows(() => ops.linspace(0, Infinity, 3), RangeError, "finite numbers are required");
});

onEachDevice("arange has NumPy's length and values, each rounded once", async () => {
  const cases: [Parameters<typeof ops.arange>, DType, number[]][] = [
    [[5], "i32", [0, 1, 2, 3, 4]],
    [[0], "i32", []],
    [[-3], "i32", []],
    [[2, 2], "i32", []],
    [[5, 0, { step: -2 }], "i32", [5, 3, 1]],
    [[5, 0, { step: -2, dtype: "u32" }], "u32", [5, 3, 1]],
    [[4e9, 4e9 + 3, { dtype: "u32" }], "u32", [4e9, 4e9 + 1, 4e9 + 2]],
    [[0, 3, { dtype: "f32" }], "f32", [0, 1, 2]],
    [[1, 0, { step: -0.25 }], "f32", [1, 0.75, 0.5, 0.25]],
    [[0, 0.3, { step: 0.1 }], "f32", [0, 0.1, 0.2]],
    [[1, 1.3, { step: 0.1 }], "f32", [1, 1.1, 1.2, 1.3]],
    [[0.5, 3], "f32", [0.5, 1.5, 2.5]],
    [[16777216, 16777220, { dtype: "f32" }], "f32", [16777216, 16777217, 16777218, 16777219]],
    [[1e10, 1e10 + 4096, { step: 2048, dtype: "f32" }], "f32", [1e10, 1e10 + 2048]],
  ];
  for (const [args, dtype, right] of cases) {
    const x = ops.arange(...args);
    assertEquals(x.dtype, dtype);
    assertEquals([...await x.data()], dtype === "f32" ? right.map(fround) : right, JSON.stringify(args));
  }
  const tenths = await ops.arange(0, 1000, { step: 0.1 }).data();
  assertEquals([tenths.length, tenths[9999]], [10000, fround(9999 * 0.1)]);
  assertThrows(() => ops.arange(2147483640, 2147483660), RangeError, "2147483659 as i32");
  assertThrows(() => ops.arange(-3, 3, { dtype: "u32" }), RangeError, "-3 as u32");
  assertThrows(() => ops.arange(0, 1, { step: 0.25, dtype: "i32" }), DTypeError, "0.25 as i32");
  assertThrows(() => ops.arange(0, 3, { step: 0 }), RangeError, "a step other than 0");
});

/** Asserts that a call throws one sentence. */
function assertRefused(
  call: () => unknown,
  type: typeof RangeError | typeof ShapeError,
  message: string,
): void {
  const error = assertThrows(call, type) as Error;
  assertEquals(error.message, message);
}

Deno.test("words that an option does not know are refused with those that it knows", () => {
  const x = ops.zeros([2, 3]);
  const indices = tensor([0, 1], { dtype: "i32" });
  assertRefused(
    () => ops.resize(x, { size: [4, 4], method: "bicubic" as never }),
    RangeError,
    'Cannot resize with method "bicubic": "bilinear" or "nearest" is required',
  );
  assertRefused(
    () => ops.crossEntropy(x, indices, { reduction: "abc" as never }),
    RangeError,
    'Cannot apply crossEntropy with reduction "abc": "mean", "sum" or "none" is required',
  );
  assertRefused(
    () => ops.scatter(ops.zeros([3]), indices, ops.zeros([2]), { mode: "multiply" as never }),
    RangeError,
    'Cannot scatter with mode "multiply": "set" or "add" is required',
  );
  assertThrows(() => ops.resize(x, { size: [4, 4], method: null as never }), RangeError, "with method null");
  assertThrows(() => ops.mitSizes("constructor" as never), RangeError, "Cannot make encoder constructor");
  const config = { variant: "b0", classes: 2 } as const;
  for (
    const [option, word] of [["optimizer", "adam"], ["criterion", "dice"], ["grouping", "cosine"], [
      "evalKeys",
      "all",
    ]]
  ) {
    assertThrows(
      () => ops.supervisedStep({ ...config, [option!]: word } as never),
      RangeError,
      `Cannot make a training step with ${option} "${word}"`,
    );
  }
});

Deno.test("shapes and parts that cannot be are refused with what would be right", () => {
  const six = ops.zeros([6]);
  const parts = "a whole number, 1 or more, is required";
  assertRefused(() => ops.split(six, -1), RangeError, `Cannot split [6] into -1 parts: ${parts}`);
  assertRefused(() => ops.split(six, 1.5), RangeError, `Cannot split [6] into 1.5 parts: ${parts}`);
  assertRefused(() => ops.split(six, 0), RangeError, `Cannot split [6] into 0 parts: ${parts}`);
  assertRefused(
    () => ops.split(six, 4),
    ShapeError,
    "Cannot split axis 0 of [6] into 4 equal parts: 4 does not divide 6; give a list of sizes",
  );
  assertThrows(
    () => ops.split(six, [7, -1]),
    ShapeError,
    "they must be whole numbers, 0 or more, that add up to 6",
  );
  const sizes =
    "sizes must be whole numbers, 0 or more, and at most one of them -1, which becomes what is left";
  for (const shape of [[-2, -3], [-1, -1], [1.5, 4], [NaN]]) {
    assertRefused(
      () => ops.reshape(six, shape),
      ShapeError,
      `Cannot reshape [6] to [${shape.join(", ")}]: ${sizes}`,
    );
  }
  assertThrows(
    () => ops.reshape(ops.zeros([0]), [0, -1]),
    ShapeError,
    "beside a size of 0 the -1 may be any",
  );
  const none = "it has no elements; at least one is required";
  for (const f of [ops.argmax, ops.argmin]) {
    const calls: [() => Tensor, string][] = [
      [() => f(ops.zeros([3, 0]), { axis: 1 }), "axis 1 of f32[3, 0]"],
      [() => f(ops.zeros([3, 0]), { axis: -1, keepDims: true }), "axis 1 of f32[3, 0]"],
      [() => f(ops.zeros([0])), "axis 0 of f32[0]"],
      [() => f(ops.zeros([2, 0, 3])), "axis 0 of f32[0]"],
      [() => ops.vmap((x: Tensor) => f(x))(ops.zeros([2, 0])) as Tensor, "of f32[0]"],
    ];
    for (const [call, where] of calls) assertThrows(call, ShapeError, `${where}: ${none}`);
    assertEquals(f(ops.zeros([0, 3]), { axis: 1 }).shape, [0]);
  }
});
