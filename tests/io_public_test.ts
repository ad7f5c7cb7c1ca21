// Weights of one's own: trees of tensors to arrays and back, through the package's public entry point.
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { cast, greater, ones, type Tensor, tensor, zeros } from "@allspark/tensor";
import {
  type ArrayEntry,
  FileFormatError,
  findStateDict,
  flattenTree,
  fromArrays,
  isArrayEntry,
  readWeights,
  toArrays,
  toTensor,
  writeNpy,
  writeSafetensors,
} from "@allspark/tensor/io";
import { onCpu } from "./support/devices.ts";

onCpu("toArrays() and fromArrays() carry a tree of every dtype and shape through a file", async () => {
  const tree = {
    layers: [{ weight: tensor([[1, 2.5], [-0, NaN]]), bias: zeros([0, 3]) }, {
      weight: tensor(7),
      bias: ones([1]),
    }],
    step: tensor([2 ** 31 - 1, -(2 ** 31)], { dtype: "i32" }),
    key: tensor([0, 2 ** 32 - 1], { dtype: "u32" }),
    mask: greater(tensor([1, -1]), 0),
  };
  const path = await Deno.makeTempFile({ suffix: ".safetensors" });
  try {
    await Deno.writeFile(path, writeSafetensors(await toArrays(tree), { metadata: { epoch: "3" } }));
    const { entries, metadata, format } = await readWeights(path);
    assertEquals([format, metadata], ["safetensors", { epoch: "3" }]);
    assertEquals([...entries].map(([name, { dtype, shape }]) => `${name} ${dtype}[${shape}]`), [
      "key u32[2]",
      "layers.0.bias f32[0,3]",
      "layers.0.weight f32[2,2]",
      "layers.1.bias f32[1]",
      "layers.1.weight f32[]",
      "mask bool[2]",
      "step i32[2]",
    ]);
    const loaded = fromArrays(entries, tree);
    for (
      const [mine, other] of [
        [loaded.layers[0]!.weight, tree.layers[0]!.weight],
        [loaded.layers[0]!.bias, tree.layers[0]!.bias],
        [loaded.layers[1]!.weight, tree.layers[1]!.weight],
        [loaded.step, tree.step],
        [loaded.key, tree.key],
        [loaded.mask, tree.mask],
      ] as [Tensor, Tensor][]
    ) {
      assertEquals([mine.dtype, mine.shape], [other.dtype, other.shape]);
      assertEquals(await mine.data(), await other.data());
    }
  } finally {
    await Deno.remove(path);
  }
});

onCpu("toArrays() refuses leaves that are no tensors, and names that two would have", async () => {
  await assertRejects(
    () => toArrays({ a: ones([1]), step: 3 }),
    TypeError,
    "step is number; a tensor is required",
  );
  await assertRejects(() => toArrays({ a: null }), TypeError, "a is object; a tensor is required");
  await assertRejects(() => toArrays(5), TypeError, "the root is number");
  await assertRejects(
    () => toArrays({ "a.b": ones([1]), a: { b: ones([1]) } }),
    TypeError,
    "two are named a.b",
  );
  assertEquals((await toArrays({})).size, 0);
});

onCpu("fromArrays() names what is missing, unexpected and misshapen", async () => {
  const like = { a: zeros([2]), b: zeros([3]), c: zeros([1]) };
  const arrays = await toArrays({ a: zeros([2]), b: zeros([4]), d: zeros([1]) });
  assertThrows(
    () => fromArrays(arrays, like),
    FileFormatError,
    "Cannot load the weights: 1 missing: c; 1 unexpected: d; 1 misshapen: b [4] instead of [3]",
  );
});

onCpu("toTensor() keeps every value or refuses it", async () => {
  const entry = (dtype: ArrayEntry["dtype"], data: ArrayEntry["data"]): ArrayEntry => ({
    shape: [data.length],
    dtype,
    data,
  });
  const kept: [ArrayEntry, "f32" | "i32" | "u32" | "bool", number[]][] = [
    [entry("f64", Float64Array.of(0.1, NaN, -Infinity, 1e-300)), "f32", [
      Math.fround(0.1),
      NaN,
      -Infinity,
      0,
    ]],
    [entry("f16", Float32Array.of(0.5)), "f32", [0.5]],
    [entry("i64", BigInt64Array.of(-1n, 2n ** 31n - 1n)), "i32", [-1, 2 ** 31 - 1]],
    [entry("u64", BigUint64Array.of(2n ** 32n - 1n)), "u32", [2 ** 32 - 1]],
    [entry("u8", Uint8Array.of(255)), "u32", [255]],
    [entry("i8", Int8Array.of(-128)), "i32", [-128]],
  ];
  for (const [array, dtype, values] of kept) {
    const made = toTensor(array);
    assertEquals([made.dtype, [...await made.data()]], [dtype, values]);
  }
  assertEquals(await toTensor(entry("bool", Uint8Array.of(1, 0))).toArray(), [true, false]);
  assertEquals([...await toTensor(entry("i64", BigInt64Array.of(16777216n)), { dtype: "f32" }).data()], [
    2 ** 24,
  ]);
  const refused: [ArrayEntry, "f32" | "i32" | "u32" | "bool" | undefined][] = [
    [entry("i64", BigInt64Array.of(0n, 2n ** 31n)), undefined],
    [entry("u64", BigUint64Array.of(0n, 2n ** 32n)), undefined],
    [entry("i64", BigInt64Array.of(0n, 16777217n)), "f32"],
    [entry("i64", BigInt64Array.of(0n, 2n ** 60n)), "f32"],
    [entry("f64", Float64Array.of(0, 1e300)), "f32"],
    [entry("f32", Float32Array.of(0, 0.5)), "i32"],
    [entry("f32", Float32Array.of(0, NaN)), "i32"],
    [entry("i32", Int32Array.of(0, -1)), "u32"],
    [entry("u8", Uint8Array.of(0, 2)), "bool"],
  ];
  for (const [array, dtype] of refused) {
    assertThrows(
      () => toTensor(array, dtype === undefined ? {} : { dtype, name: "it" }),
      TypeError,
      dtype === undefined ? "Cannot load the array as" : `Cannot load it as ${dtype}: element 1 is`,
    );
  }
});

onCpu("the public entry point reads and writes every format that it names", async () => {
  const array = (await toArrays([cast(ones([2]), "i32")])).get("0")!;
  assertEquals((await readWeights(writeNpy(array))).entries.get("array"), array);
  const file = await readWeights(writeSafetensors(new Map([["module.x", array]])));
  assertEquals(findStateDict(file.tree).get("x"), array);
  assertEquals([...flattenTree({ x: [array, { y: array }] }).keys()], ["x.0", "x.1.y"]);
  assertEquals([isArrayEntry(array), isArrayEntry({ ...array, shape: [3] }), isArrayEntry(null)], [
    true,
    false,
    false,
  ]);
});
