// PyTorch files of both formats, made by tests/fixtures/io/make.py, and hostile ones made by hand.
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { Budget } from "../src/io/budget.ts";
import { FileFormatError, findStateDict, readWeights, type WeightTree } from "../src/io/mod.ts";
import { readPickle } from "../src/io/pickle.ts";
import { TENSOR_GLOBALS } from "../src/io/torch_globals.ts";

import { assertDescribed, readExpected } from "./fixtures/io/described.ts";
import { join, latin1, legacyFile, storage, tensor, torchFile, unicode } from "./support/weight_files.ts";

const FIXTURES = new URL("fixtures/io/", import.meta.url);
for (const [name, format] of [["zip.pth", "torch"], ["legacy.pth", "torch-legacy"]] as const) {
  Deno.test(`readWeights() reads every kind of tensor and value of ${name}`, async () => {
    const file = await readWeights(new URL(name, FIXTURES));
    assertEquals(file.format, format);
    const { torch } = await readExpected();
    for (const [key, described] of Object.entries(torch)) {
      assertDescribed(file.entries.get(`state_dict.${key}`), described, key);
    }
    assertEquals(file.entries.size, Object.keys(torch).length + 1);
    assertEquals(file.entries.get("optimizer.state.0.momentum")?.data, new Float32Array([1, 2]));
    const { state_dict: _, optimizer, ...others } = file.tree;
    assertEquals(others, {
      epoch: 12,
      previous_best: 41.625,
      steps: 2 ** 40,
      big: 2n ** 70n,
      name: "résumé",
      raw: new Uint8Array([0, 255]),
      size: [2, 3],
      device: "cuda:1",
      dtype: "torch.float32",
      classes: ["sky", ["road", null]],
      seen: [3],
    } as WeightTree);
    assertEquals((optimizer as WeightTree).param_groups, [{ lr: 0.01 }]);
  });

  Deno.test(`findStateDict() finds the parameters in ${name} and removes the prefix`, async () => {
    const found = findStateDict((await readWeights(new URL(name, FIXTURES))).tree);
    assertEquals([...found.keys()].slice(0, 3), ["f32", "shared", "transposed"]);
    assertEquals(found.get("shared")?.data, new Float32Array([-0.375, -0.25, -0.125, 0, 0.125, 0.25]));
  });

  Deno.test(`readWeights() gives tensors of one storage in ${name} arrays of their own`, async () => {
    const { entries } = await readWeights(new URL(name, FIXTURES));
    (entries.get("state_dict.module.f32")!.data as Float32Array).fill(9);
    assertEquals(entries.get("state_dict.module.shared")!.data[0], -0.375);
  });

  Deno.test(`readWeights() refuses every truncation of ${name}`, async () => {
    const bytes = await Deno.readFile(new URL(name, FIXTURES));
    for (let length = 0; length < bytes.length; length++) {
      await assertRejects(() => readWeights(bytes.slice(0, length)), FileFormatError);
    }
  });

  Deno.test(`readWeights() survives any damaged byte of ${name}`, async () => {
    const bytes = await Deno.readFile(new URL(name, FIXTURES));
    let refused = 0;
    for (let position = 0; position < bytes.length; position++) {
      const damaged = bytes.slice();
      damaged[position]! ^= 0xff;
      try {
        await readWeights(damaged);
      } catch (error) {
        if (!(error instanceof FileFormatError)) {
          throw new Error(`Byte ${position} gives ${error}`, { cause: error });
        }
        refused++;
      }
    }
    // What stays readable is damage inside numbers and names.
    assertEquals(refused > 200, true);
  });
}

Deno.test("readWeights() refuses what is not data, and names it", async () => {
  const cases: [string, string][] = [
    ["namespace.pth", "argparse.Namespace"],
    ["module.pth", "torch.nn.modules.linear.Linear"],
    ["script.pt", "TorchScript"],
  ];
  for (const [name, reason] of cases) {
    const error = await assertRejects(() => readWeights(new URL(name, FIXTURES)), FileFormatError, reason);
    assertStringIncludes(error.message, name);
  }
});

Deno.test("readWeights() never calls what a pickle asks for", async () => {
  const attacks: [string, string][] = [
    ["cos\nsystem\nX\x02\0\0\0id\x85R.", "os.system"],
    ["cbuiltins\neval\nX\x01\0\0\x001\x85R.", "builtins.eval"],
    ["\x8c\x05posix\x8c\x06system\x93.", "posix.system"],
    ["(ios\nsystem\n.", "operation 0x69"],
    ["ctorch.storage\n_load_from_bytes\n.", "torch.storage._load_from_bytes"],
    ["c__builtin__\ngetattr\n.", "__builtin__.getattr"],
    ["X\x01\0\0\0x(K\x01tR.", "no function"],
    ["(X\x06\0\0\0moduleX\x01\0\0\0mX\x01\0\0\0fX\x01\0\0\0stQ.", "a whole module with its code"],
  ];
  for (const [program, reason] of attacks) {
    await assertRejects(() => readWeights(legacyFile(program)), FileFormatError, reason);
  }
  assertEquals((await readWeights(legacyFile("}X\x01\0\0\0aK\x05s."))).tree, { a: 5 });
});

/** A legacy file with a storage of the numbers 3 and 4. */
function legacyStorage(program: string): Uint8Array {
  return legacyFile(
    program,
    join("\x80\x02]X\x01\0\0\x000a.", "\x02\0\0\0\0\0\0\0", "\0\0\x40\x40\0\0\x80\x40"),
  );
}

Deno.test("readWeights() refuses tensors outside of their storage and absurd ones", async () => {
  const file = (options: Parameters<typeof tensor>[0]): Uint8Array =>
    legacyStorage(`}X\x01\0\0\0t${tensor(options)}s.`);
  const good = await readWeights(file({}));
  assertEquals(good.entries.get("t")?.data, new Float32Array([3, 4]));
  const bad: [Parameters<typeof tensor>[0], string][] = [
    [{ offset: "K\x01" }, "reads element 2 of a storage of 2"],
    [{ stride: "K\x02\x85" }, "reads element 2"],
    [{ offset: "J\xff\xff\xff\xff" }, "offset -1"],
    [{ stride: ")" }, "strides []"],
    [{ shape: "J\xff\xff\xff\x7f\x85", stride: "K\0\x85" }, "more than 512 MiB of memory"],
    [{ shape: "X\x01\0\0\0x\x85", stride: "K\0\x85" }, "shape [x]"],
  ];
  for (const [options, reason] of bad) {
    await assertRejects(() => readWeights(file(options)), FileFormatError, reason);
  }
});

Deno.test("readWeights() reads more where the caller allows it", async () => {
  const file = torchFile(
    `\x80\x02}${unicode("t")}${
      tensor({ of: storage({ type: "ByteStorage" }), shape: "J\0\0\x20\0\x85", stride: "K\0\x85" })
    }s.`,
    { storages: { 0: new Uint8Array([7, 0]) } },
  );
  const { data } = (await readWeights(file)).entries.get("t")!;
  assertEquals([data.length, data[0], data.at(-1)], [2 ** 21, 7, 7]);
  await assertRejects(
    () => readWeights(file, { memory: 2 ** 20, name: "weights.pth" }),
    FileFormatError,
    "takes more than 1 MiB of memory, the limit for a file of its size (weights.pth)",
  );
});

Deno.test("readWeights() keeps keys apart, and reads tuples, bytes and types as keys", async () => {
  const { tree } = await readWeights(
    torchFile(`\x80\x02}(K\x01K\x02\x86K\x07C\x02abK\x08ctorch\nfloat32\nK\x09\x88K\x0au.`),
  );
  assertEquals(tree, { "1,2": 7, ab: 8, "torch.float32": 9, true: 10 });
});

Deno.test("readPickle() reads all protocols alike and refuses loops and empty stacks", () => {
  const read = (text: string): unknown =>
    readPickle(latin1(text), 0, { globals: TENSOR_GLOBALS, budget: new Budget(text.length) }).value;
  assertEquals(
    read("(dp0\nVa\np1\n(lp2\nI1\naL22L\naF0.5\naNaI01\nas."),
    new Map([["a", [1, 22, 0.5, null, true]]]),
  );
  assertEquals(read("\x80\x04\x95\0\0\0\0\0\0\0\0\x8c\x01a\x94h\0\x86."), ["a", "a"]);
  assertEquals(read("\x80\x04\x8f(K\x01K\x02\x90."), new Set([1, 2]));
  assertEquals(read("\x80\x02\x8a\0."), 0);
  assertEquals(read("\x80\x02\x8a\x01\xff."), -1);
  assertEquals(read("\x80\x02\x8a\x03\x00\x00\x80."), -(2 ** 23));
  assertEquals(read("\x80\x02\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00."), 2n ** 64n - 1n);
  assertEquals(read("V\xe9\\u20ac\\u005c\\u000a\\U0001f600\n."), "é€\\\n😀");
  assertEquals(read("X\x06\0\0\0\xef\xbb\xbfabc."), "\ufeffabc");
  for (
    const damaged of [
      "a.",
      "\x80\x09.",
      "K",
      "h\x05.",
      "t.",
      "K\x01K\x02s.",
      "\x8b\xff\xff\xff\xff.",
      "X\x02\0\0\0\xff\xff.",
    ]
  ) {
    assertThrows(() => read(damaged), FileFormatError);
  }
});

Deno.test("readWeights() refuses a list that contains itself", async () => {
  await assertRejects(() => readWeights(legacyFile("]q\0h\0a.")), FileFormatError, "contains itself");
});
