// PyTorch files of both formats, made by tests/fixtures/io/make.py, and hostile ones made by hand.
import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { Budget } from "../src/io/budget.ts";
import { FileFormatError, findStateDict, readWeights, type WeightTree } from "../src/io/mod.ts";
import { readPickle } from "../src/io/pickle.ts";
import { TENSOR_GLOBALS } from "../src/io/torch_globals.ts";

import { assertDescribed, readExpected } from "./fixtures/io/described.ts";

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

/** A legacy file whose main pickle is `program`. */
function legacyFile(program: string): Uint8Array {
  const magic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
  const system = "\x80\x02}X\x0d\0\0\0little_endian\x88s.";
  return latin1(`${magic}\x80\x02M\xe9\x03.${system}${program}\x80\x02].`);
}

function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

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

Deno.test("readWeights() refuses tensors outside of their storage and absurd ones", async () => {
  const storage = "(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x02NtQ";
  const tensor = (offset: string, shape: string, stride: string): string =>
    `}X\x01\0\0\0tctorch._utils\n_rebuild_tensor_v2\n(${storage}${offset}${shape}${stride}\x89}tRs.`;
  const file = (program: string): Uint8Array => {
    const head = legacyFile(program);
    const list = latin1("\x80\x02]X\x01\0\0\x000a.");
    const storages = new Uint8Array(16);
    storages[0] = 2;
    storages.set(new Uint8Array(new Float32Array([3, 4]).buffer), 8);
    return new Uint8Array([...head.subarray(0, -4), ...list, ...storages]);
  };
  const good = await readWeights(file(tensor("K\0", "K\x02\x85", "K\x01\x85")));
  assertEquals(good.entries.get("t")?.data, new Float32Array([3, 4]));
  const bad: [string, string][] = [
    [tensor("K\x01", "K\x02\x85", "K\x01\x85"), "reads element 2 of a storage of 2"],
    [tensor("K\0", "K\x02\x85", "K\x02\x85"), "reads element 2"],
    [tensor("J\xff\xff\xff\xff", "K\x02\x85", "K\x01\x85"), "offset -1"],
    [tensor("K\0", "K\x02\x85", ")"), "strides []"],
    [tensor("K\0", "J\xff\xff\xff\x7f\x85", "K\0\x85"), "more than 512 MiB of memory"],
    [tensor("K\0", "X\x01\0\0\0x\x85", "K\0\x85"), "shape [x]"],
  ];
  for (const [program, reason] of bad) {
    await assertRejects(() => readWeights(file(program)), FileFormatError, reason);
  }
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
