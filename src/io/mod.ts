/**
 * Weight files: safetensors, PyTorch's `.pth` in both formats, NumPy's `.npy` and `.npz`.
 *
 * Arrays are plain (`{ shape, dtype, data }`), so this part of the library knows nothing of tensors. Nothing in a file is
 * ever executed, and sizes are checked before memory is taken.
 *
 * @example Reading the parameters of a checkpoint
 * ```ts
 * import { findStateDict, readWeights, writeSafetensors } from "./mod.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const bias = { shape: [2], dtype: "f32", data: new Float32Array([1, 2]) } as const;
 * const file = await readWeights(writeSafetensors(new Map([["module.bias", bias]])));
 * assertEquals(findStateDict(file.tree).get("bias"), bias);
 * ```
 *
 * @module
 */
import { type ArrayEntry, FileFormatError } from "./array.ts";
import { isNpy, readNpy, readNpz } from "./numpy.ts";
import { isSafetensors, readSafetensors } from "./safetensors.ts";
import { isLegacyTorch, isTorchArchive, readLegacyTorch, readTorchArchive } from "./torch.ts";
import { flattenTree, type WeightTree } from "./tree.ts";
import { isZip, openZip } from "./zip.ts";

export { type ArrayData, type ArrayDType, type ArrayEntry, FileFormatError, toFloat32 } from "./array.ts";
export { readNpy, writeNpy } from "./numpy.ts";
export { readSafetensors, type SafetensorsFile, writeSafetensors } from "./safetensors.ts";
export { findStateDict, flattenTree, isArrayEntry, type WeightTree, type WeightValue } from "./tree.ts";

/** What a weight file holds. */
export interface WeightFile {
  /** The format that was recognised. */
  readonly format: "safetensors" | "torch" | "torch-legacy" | "npy" | "npz";
  /** Every array by its path: keys of nested dictionaries joined by dots. */
  readonly entries: Map<string, ArrayEntry>;
  /** The whole content, with what is no array (epochs, settings) beside the arrays. */
  readonly tree: WeightTree;
}

/**
 * Reads a weight file; its format is recognised by its content, not by its name.
 *
 * @param source Path or address of the file, or its bytes.
 * @throws {FileFormatError} If the format is unknown, or the file is damaged or unsafe.
 * @throws {Deno.errors.NotFound} If there is no such file.
 */
export async function readWeights(source: string | URL | Uint8Array): Promise<WeightFile> {
  if (source instanceof Uint8Array) return parseWeights(source);
  const bytes = await Deno.readFile(source);
  try {
    return parseWeights(bytes);
  } catch (error) {
    if (!(error instanceof FileFormatError)) throw error;
    throw new FileFormatError(`${error.message} (${source})`, { cause: error });
  }
}

function parseWeights(bytes: Uint8Array): WeightFile {
  if (isSafetensors(bytes)) return flat("safetensors", readSafetensors(bytes).entries);
  if (isZip(bytes)) {
    const archive = openZip(bytes);
    if (isTorchArchive(archive)) return nested("torch", readTorchArchive(archive));
    if (archive.names.some((name) => name.endsWith(".npy"))) return flat("npz", readNpz(archive));
    throw unknown("it is a zip archive with neither data.pkl nor .npy files");
  }
  if (isLegacyTorch(bytes)) return nested("torch-legacy", readLegacyTorch(bytes));
  if (isNpy(bytes)) return flat("npy", new Map([["array", readNpy(bytes)]]));
  throw unknown(describe(bytes));
}

function flat(format: WeightFile["format"], entries: Map<string, ArrayEntry>): WeightFile {
  return { format, entries, tree: Object.fromEntries(entries) };
}

function nested(format: WeightFile["format"], tree: WeightTree): WeightFile {
  return { format, entries: flattenTree(tree), tree };
}

/** What an unreadable file probably is. */
function describe(bytes: Uint8Array): string {
  if (bytes.length === 0) return "it is empty";
  const head = new TextDecoder("latin1").decode(bytes.subarray(0, 300));
  if (head.startsWith("version https://git-lfs")) {
    return "it is a Git LFS pointer; the file itself has to be fetched";
  }
  if (head.startsWith("\x89HDF")) return "it is an HDF5 file";
  if (/^\s*<(!doctype|html)/i.test(head)) return "it is a web page, probably an error of the download";
  if (head.slice(257, 262) === "ustar") return "it is a tar archive, PyTorch's format before version 0.1.10";
  if (bytes[0] === 0x80 && bytes[1]! <= 5) return "it is a pickle but not one that torch.save wrote";
  return `it begins with ${
    [...bytes.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ")
  }`;
}

function unknown(state: string): FileFormatError {
  return new FileFormatError(
    `Cannot recognise the weight file: ${state}; safetensors, PyTorch's .pth, .npy and .npz are read`,
  );
}
