// Files written by other people's programs, with what PyTorch and NumPy read in them, where the folder is at hand.
import { assertEquals } from "@std/assert";
import { encodeElements } from "../src/io/array.ts";
import {
  type ArrayEntry,
  FileFormatError,
  isArrayEntry,
  readWeights,
  type WeightValue,
} from "../src/io/mod.ts";
import { TORCH_DTYPES } from "./fixtures/io/described.ts";

interface Reference {
  tensors: Record<string, { dtype: string; shape: number[]; sha256_rowmajor_le: string }>;
  other_values?: Record<string, string>;
  error?: string;
}

const FOLDER = new URL("../../shared/data/weights-sample/", import.meta.url);
const present = await Deno.stat(FOLDER).then(() => true, () => false);

Deno.test({
  name: "readWeights() reads the files of others bit by bit and refuses the broken one",
  ignore: !present,
  fn: async () => {
    const { files }: { files: Record<string, Reference> } = JSON.parse(
      await Deno.readTextFile(new URL("expected.json", FOLDER)),
    );
    let refused = 0;
    for (const [name, reference] of Object.entries(files)) {
      try {
        await compare(name, reference);
      } catch (error) {
        if (!reference.error || !(error instanceof FileFormatError)) throw error;
        refused++;
      }
    }
    assertEquals(refused, 1);
  },
});

async function compare(name: string, reference: Reference): Promise<void> {
  const leaves = leavesOf((await readWeights(new URL(name, FOLDER))).tree);
  const arrays = new Map([...leaves].filter((leaf): leaf is [string, ArrayEntry] => isArrayEntry(leaf[1])));
  assertEquals([...arrays.keys()].sort(), Object.keys(reference.tensors).sort(), name);
  for (const [path, { dtype, shape, sha256_rowmajor_le: sha256 }] of Object.entries(reference.tensors)) {
    const entry = arrays.get(path)!;
    assertEquals(entry.dtype as string, TORCH_DTYPES[dtype] ?? dtype.toLowerCase(), `${name} ${path}`);
    assertEquals(entry.shape, shape, `${name} ${path}`);
    const digest = await crypto.subtle.digest("SHA-256", encodeElements(entry) as Uint8Array<ArrayBuffer>);
    assertEquals(new Uint8Array(digest).toHex(), sha256, `${name} ${path}`);
  }
  const others = [...leaves].filter(([, value]) => !isArrayEntry(value));
  assertEquals(
    Object.fromEntries(others.map(([path, value]) => [path, python(value)])),
    reference.other_values ?? {},
  );
}

/** Every value that is no dictionary or list, by its path. */
function leavesOf(value: WeightValue, path = ""): [string, WeightValue][] {
  if (typeof value !== "object" || value === null || isArrayEntry(value) || ArrayBuffer.isView(value)) {
    return [[path, value]];
  }
  return Object.entries(value).flatMap(([key, child]) =>
    leavesOf(child, path === "" ? key : `${path}/${key}`)
  );
}

/** A value as Python prints it. */
function python(value: WeightValue): string {
  if (typeof value === "boolean") return value ? "True" : "False";
  return typeof value === "string" ? `'${value}'` : String(value);
}
