// Safetensors: what is written is read back, and every contradiction in a header is refused.
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  type ArrayEntry,
  FileFormatError,
  findStateDict,
  readSafetensors,
  readWeights,
  toFloat32,
  writeSafetensors,
} from "../src/io/mod.ts";

const ENTRIES = new Map<string, ArrayEntry>([
  ["f32", { shape: [2, 2], dtype: "f32", data: Float32Array.of(1, -2, NaN, Infinity) }],
  ["f64", { shape: [1], dtype: "f64", data: Float64Array.of(1 / 3) }],
  ["f16", { shape: [3], dtype: "f16", data: Float32Array.of(1, -0.5, 65504) }],
  ["bf16", { shape: [3], dtype: "bf16", data: Float32Array.of(1, -0.5, 3.3895313892515355e38) }],
  ["i64", { shape: [2], dtype: "i64", data: BigInt64Array.of(-1n, 2n ** 62n) }],
  ["i32", { shape: [2], dtype: "i32", data: Int32Array.of(-1, 5) }],
  ["i16", { shape: [2], dtype: "i16", data: Int16Array.of(-1, 5) }],
  ["i8", { shape: [3], dtype: "i8", data: Int8Array.of(-1, 5, 127) }],
  ["u64", { shape: [1], dtype: "u64", data: BigUint64Array.of(2n ** 63n) }],
  ["u32", { shape: [1], dtype: "u32", data: Uint32Array.of(2 ** 31) }],
  ["u16", { shape: [1], dtype: "u16", data: Uint16Array.of(65535) }],
  ["u8", { shape: [], dtype: "u8", data: Uint8Array.of(255) }],
  ["bool", { shape: [2], dtype: "bool", data: Uint8Array.of(1, 0) }],
  ["empty", { shape: [0, 3], dtype: "f32", data: new Float32Array(0) }],
  ["__proto__", { shape: [1], dtype: "f32", data: Float32Array.of(7) }],
]);

Deno.test("writeSafetensors() writes what readSafetensors() reads", async () => {
  const bytes = writeSafetensors(ENTRIES, { metadata: { format: "pt" } });
  const file = readSafetensors(bytes);
  assertEquals(file.entries, ENTRIES);
  assertEquals(file.metadata, { format: "pt" });
  const weights = await readWeights(bytes);
  assertEquals(weights.format, "safetensors");
  assertEquals(weights.entries, ENTRIES);
});

Deno.test("readSafetensors() reads from the middle of a buffer and gives arrays of their own", () => {
  const bytes = writeSafetensors(ENTRIES);
  const shifted = new Uint8Array(bytes.length + 3);
  shifted.set(bytes, 3);
  const { entries } = readSafetensors(shifted.subarray(3));
  assertEquals(entries, ENTRIES);
  shifted.fill(0);
  assertEquals(entries, ENTRIES);
});

Deno.test("writeSafetensors() rounds bf16 and f16 to nearest, ties to even, and keeps NaN", () => {
  const data = Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, -3.4028234663852886e38, NaN);
  const narrow = (dtype: "bf16" | "f16", values: Float32Array): number[] => {
    const bytes = writeSafetensors(new Map([["x", { shape: [values.length], dtype, data: values }]]));
    return [...toFloat32(readSafetensors(bytes).entries.get("x")!)];
  };
  assertEquals(narrow("bf16", data), [1, 1 + 2 ** -6, -Infinity, NaN]);
  assertEquals(narrow("f16", Float32Array.of(1 + 2 ** -11, 1 + 3 * 2 ** -11, 1e9, NaN)), [
    1,
    1 + 2 ** -9,
    Infinity,
    NaN,
  ]);
});

Deno.test("writeSafetensors() refuses data that does not fit dtype or shape", () => {
  const write = (name: string, entry: ArrayEntry) => () => writeSafetensors(new Map([[name, entry]]));
  const data = new Float32Array(3);
  assertThrows(
    write("w", { shape: [2], dtype: "f32", data }),
    TypeError,
    "shape [2] has 2 elements but its data has 3",
  );
  assertThrows(write("w", { shape: [3], dtype: "i32", data }), TypeError, "a Int32Array is required");
  assertThrows(write("__metadata__", { shape: [3], dtype: "f32", data }), TypeError, "reserves");
});

/** A file with a header of our choice and that many bytes of data. */
function fileWith(header: unknown, size: number): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + text.length + size);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  return bytes;
}

Deno.test("readSafetensors() refuses every contradiction before it reads an array", () => {
  const f32 = (shape: unknown, ...offsets: number[]): unknown => ({
    dtype: "F32",
    shape,
    data_offsets: offsets,
  });
  const cases: [unknown, number, string][] = [
    [{ a: f32([2], 0, 4) }, 4, "8 bytes, but 4 bytes of data"],
    [{ a: f32([1], 0, 4), b: f32([1], 2, 6) }, 6, "the data of b overlaps that of a"],
    [{ a: f32([1], 0, 4), b: f32([1], 0, 4) }, 4, "the data of b overlaps that of a"],
    [{ a: f32([1], 0, 4), b: f32([1], 8, 12) }, 12, "a gap of 4 bytes between a and b"],
    [{ a: f32([1], 4, 8) }, 8, "a gap of 4 bytes between the header and a"],
    [{ a: f32([1], 0, 4) }, 3, "ends at byte 4 but the file has 3"],
    [{ a: f32([1], 0, 4) }, 5, "1 bytes follow the last array"],
    [{ a: f32([1], 4, 0) }, 4, "a begin and an end are required"],
    [{ a: f32([-1], 0, 4) }, 4, "no list of sizes"],
    [{ a: f32([0.5], 0, 4) }, 4, "no list of sizes"],
    [{ a: f32("1", 0, 4) }, 4, "no list of sizes"],
    [{ a: f32([2 ** 40, 2 ** 40], 0, 4) }, 4, "4 bytes of data"],
    [{ a: { dtype: "F8_E4M3", shape: [1], data_offsets: [0, 1] } }, 1, "has dtype F8_E4M3"],
    [{ a: 5 }, 0, "not an object"],
    [{ __metadata__: { a: 1 } }, 0, "not an object of texts"],
    ["[]", 0, "not a JSON object"],
    ["{nonsense}", 0, "not JSON text"],
    [
      '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
      4,
      "names a twice",
    ],
  ];
  for (const [header, size, reason] of cases) {
    assertThrows(() => readSafetensors(fileWith(header, size)), FileFormatError, reason);
  }
  assertThrows(() => readSafetensors(new Uint8Array(7)), FileFormatError, "at least 8");
  const long = fileWith({}, 0);
  new DataView(long.buffer).setBigUint64(0, 2n ** 62n, true);
  assertThrows(() => readSafetensors(long), FileFormatError, "should have");
});

Deno.test("readSafetensors() accepts padding and names inside values", () => {
  const header =
    '{"a": {"shape" : [1], "dtype":"F32", "data_offsets":[0,4]}, "__metadata__":{"a":"{\\"a\\": [1]}"}}   ';
  assertEquals([...readSafetensors(fileWith(header, 4)).entries.keys()], ["a"]);
  assertEquals(readSafetensors(fileWith("{}", 0)).entries.size, 0);
});

Deno.test("readWeights() says what an unknown file probably is", async () => {
  const cases: [string, string][] = [
    ["", "it is empty"],
    ["version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"],
    ["<!DOCTYPE html><html>", "a web page"],
    ["abc", "it begins with 61 62 63"],
    ["\0".repeat(257) + "ustar", "tar archive"],
  ];
  for (const [text, reason] of cases) {
    await assertRejects(() => readWeights(new TextEncoder().encode(text)), FileFormatError, reason);
  }
  await assertRejects(
    () => readWeights(Uint8Array.of(0x80, 2, 0x4e, 0x2e)),
    FileFormatError,
    "not one that torch.save",
  );
  await assertRejects(() => readWeights("/nonexistent/weights.pth"), Deno.errors.NotFound);
});

Deno.test("findStateDict() follows the keys that training programs use", () => {
  const w: ArrayEntry = { shape: [1], dtype: "f32", data: new Float32Array(1) };
  const names = (tree: Parameters<typeof findStateDict>[0]): string[] => [...findStateDict(tree).keys()];
  assertEquals(names({ "a.b": w }), ["a.b"]);
  assertEquals(names({ model: { "a.b": w }, optimizer: { state: { 0: { m: w } } } }), ["a.b"]);
  assertEquals(names({ checkpoint: { state_dict: { a: w } }, epoch: 3 }), ["a"]);
  assertEquals(names({ mine: { "module.a": w, "module.b": w } }), ["a", "b"]);
  assertEquals(names({ "module.a": w, b: w }), ["module.a", "b"]);
  assertEquals(names({ encoder: { a: w }, decoder: { a: w } }), ["encoder.a", "decoder.a"]);
  assertEquals(names({ model: "resnet", a: w }), ["a"]);
  assertEquals(names({}), []);
});
