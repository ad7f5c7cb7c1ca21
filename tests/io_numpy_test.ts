// NumPy's files, made by tests/fixtures/io/make.py.
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { type ArrayEntry, FileFormatError, readNpy, readWeights, writeNpy } from "../src/io/mod.ts";
import { assertDescribed, readExpected } from "./fixtures/io/described.ts";
import { npyFile, npyHeader, zipFile } from "./support/weight_files.ts";

const FIXTURES = new URL("fixtures/io/", import.meta.url);
const GRID = Float32Array.from({ length: 12 }, (_, i) => i);

for (const name of ["stored.npz", "deflated.npz"]) {
  Deno.test(`readWeights() reads every array of ${name}`, async () => {
    const file = await readWeights(new URL(name, FIXTURES));
    assertEquals(file.format, "npz");
    const { numpy } = await readExpected();
    assertEquals([...file.entries.keys()].sort(), Object.keys(numpy).sort());
    for (const [key, described] of Object.entries(numpy)) {
      assertDescribed(file.entries.get(key), described, key);
    }
  });

  Deno.test(`readWeights() survives any damaged byte of ${name}`, async () => {
    const bytes = await Deno.readFile(new URL(name, FIXTURES));
    for (let position = 0; position < bytes.length; position++) {
      const damaged = bytes.slice();
      damaged[position]! ^= 0xff;
      try {
        await readWeights(damaged);
      } catch (error) {
        if (!(error instanceof FileFormatError)) {
          throw new Error(`Byte ${position} gives ${error}`, { cause: error });
        }
      }
    }
    for (let length = 0; length < bytes.length; length++) {
      await assertRejects(() => readWeights(bytes.slice(0, length)), FileFormatError);
    }
  });
}

Deno.test("readNpy() brings Fortran order into row-major order", async () => {
  const file = await readWeights(new URL("fortran.npy", FIXTURES));
  assertEquals(file.format, "npy");
  assertEquals(file.entries.get("array"), { shape: [3, 4], dtype: "f32", data: GRID });
});

Deno.test("readNpy() reads what any version of NumPy writes", () => {
  const one = new Uint8Array(Float32Array.of(1.5).buffer);
  const headers = [
    npyHeader("(1,)"),
    npyHeader("(1L,)"),
    npyHeader("[1]"),
    "{'shape': (1,), 'fortran_order': False, 'descr': '<f4'}",
    "{'descr': '=f4', 'fortran_order': False, 'shape': (1,)}   \n",
    "{'descr': 'f4', 'fortran_order': True, 'shape': (1,), }\n",
    '{"descr": "<f4", "fortran_order": False, "shape": (1,), }\n',
    "  {\n'descr':'<f4','fortran_order':False,'shape':(1,)}\n",
  ];
  for (const header of headers) {
    for (const version of [1, 2, 3]) {
      assertEquals(readNpy(npyFile(header, one, { version })), {
        shape: [1],
        dtype: "f32",
        data: Float32Array.of(1.5),
      });
    }
  }
  for (const type of ["|i1", "<i1", ">i1", "=i1", "i1"]) {
    const header = `{'descr': '${type}', 'fortran_order': False, 'shape': (2,), }\n`;
    assertEquals(readNpy(npyFile(header, new Uint8Array([255, 1]))).data, Int8Array.of(-1, 1));
  }
});

Deno.test("readNpy() refuses headers that are nearly right", () => {
  const wrong = [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), ",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }}",
    "{'descr': '<f4' 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<f4', 'fortran_order': false, 'shape': (1,), }",
    "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1.0,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1LL,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1 1), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': None, }",
    "{'descr': '<f4', 'fortran_order': False}",
    "{'descr': '<f3', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }",
    "('<f4', False, (1,))",
    "",
  ];
  for (const header of wrong) {
    assertThrows(() => readNpy(npyFile(header)), FileFormatError, "Cannot read the NumPy file: its ", header);
  }
});

Deno.test("readWeights() notices damage inside the arrays of an archive by their checksums", async () => {
  const bytes = zipFile([
    { name: "a.npy", data: npyFile(npyHeader("(1,)"), new Uint8Array(4)) },
    { name: "b.npy", data: npyFile(npyHeader("(100,)"), new Uint8Array(400)), deflate: true },
  ]);
  assertEquals([...(await readWeights(bytes)).entries.keys()], ["a", "b"]);
  const data = bytes.indexOf(0x93);
  for (let position = data; position < data + 70; position++) {
    const damaged = bytes.slice();
    damaged[position]! ^= 1;
    await assertRejects(() => readWeights(damaged), FileFormatError, "a.npy is damaged: its checksum");
  }
});

Deno.test("readWeights() copies out of a Buffer of Node's, whose slices share its memory", async () => {
  const { Buffer } = await import("node:buffer");
  const buffer = Buffer.from(writeNpy({ shape: [12], dtype: "f32", data: GRID }));
  const { data } = (await readWeights(buffer)).entries.get("array")!;
  buffer.fill(0);
  assertEquals(data, GRID);
});

Deno.test("readNpy() refuses big-endian numbers, objects and wrong sizes", async () => {
  await assertRejects(() => readWeights(new URL("big_endian.npy", FIXTURES)), FileFormatError, "big-endian");
  await assertRejects(() => readWeights(new URL("object.npy", FIXTURES)), FileFormatError, "its type is |O");
  const bytes = writeNpy({ shape: [12], dtype: "f32", data: GRID });
  assertThrows(() => readNpy(bytes.subarray(0, -1)), FileFormatError, "needs 48 bytes but 47 follow");
  assertThrows(() => readNpy(bytes.subarray(0, 20)), FileFormatError, "header ends after the file");
});

Deno.test("writeNpy() writes what readNpy() reads, for every dtype and rank", () => {
  const entries: ArrayEntry[] = [
    { shape: [], dtype: "f64", data: Float64Array.of(1 / 3) },
    { shape: [3], dtype: "f16", data: Float32Array.of(1, -0.5, 65504) },
    { shape: [0, 4], dtype: "f32", data: new Float32Array(0) },
    { shape: [1, 2, 1], dtype: "i64", data: BigInt64Array.of(-1n, 2n ** 62n) },
    { shape: [2], dtype: "u64", data: BigUint64Array.of(1n, 2n ** 63n) },
    { shape: [2], dtype: "i32", data: Int32Array.of(-1, 5) },
    { shape: [2], dtype: "u32", data: Uint32Array.of(1, 2 ** 31) },
    { shape: [2], dtype: "i16", data: Int16Array.of(-1, 5) },
    { shape: [2], dtype: "u16", data: Uint16Array.of(65535, 5) },
    { shape: [2], dtype: "i8", data: Int8Array.of(-1, 5) },
    { shape: [2], dtype: "u8", data: Uint8Array.of(255, 5) },
    { shape: [2], dtype: "bool", data: Uint8Array.of(1, 0) },
  ];
  for (const entry of entries) assertEquals(readNpy(writeNpy(entry)), entry, entry.dtype);
  assertThrows(
    () => writeNpy({ shape: [1], dtype: "bf16", data: new Float32Array(1) }),
    TypeError,
    "no such type",
  );
});
