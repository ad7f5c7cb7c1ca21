/**
 * Weight files: safetensors, PyTorch's `.pth` in both formats, NumPy's `.npy` and `.npz`.
 *
 * Arrays are plain (`{ shape, dtype, data }`), so this part of the library knows nothing of tensors. Nothing in a file is
 * ever executed, and what a file describes is counted before memory is taken (`budget.ts`).
 *
 * @module
 */
import type { ArrayEntry } from "./array.ts";
import { Budget } from "./budget.ts";
import { FileFormatError, shown } from "./errors.ts";
import { readBytes } from "./files.ts";
import { latin1 } from "./latin1.ts";
import { isNpy, readArray, readNpz } from "./numpy.ts";
import { isSafetensors, readSafetensors } from "./safetensors.ts";
import { isLegacyTorch, isTorchArchive, readLegacyTorch, readTorchArchive } from "./torch.ts";
import { arraysByPath, type WeightTree } from "./tree.ts";
import { isZip, openZip } from "./zip.ts";

export { type ArrayData, type ArrayDType, type ArrayEntry, toFloat32 } from "./array.ts";
export { FileFormatError } from "./errors.ts";
export { readNpy, writeNpy } from "./numpy.ts";
export { readSafetensors, type SafetensorsFile, writeSafetensors } from "./safetensors.ts";
export { type FindOptions, findStateDict } from "./state_dict.ts";
export { flattenTree, isArrayEntry, type WeightTree, type WeightValue } from "./tree.ts";

/** What a weight file holds. */
export interface WeightFile {
  /** The format that was recognised. */
  readonly format: "safetensors" | "torch" | "torch-legacy" | "npy" | "npz";
  /** Every array by its path: keys of nested dictionaries joined by dots. */
  readonly entries: Map<string, ArrayEntry>;
  /** The whole content, with what is no array (epochs, settings) beside the arrays. */
  readonly tree: WeightTree;
  /** The texts that a safetensors file keeps beside its arrays; empty for other formats. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Options of {@linkcode readWeights}. */
export interface ReadOptions {
  /** What to call the file in messages; its path when absent. */
  readonly name?: string;
  /**
   * Bytes of memory that the content may take; 512 MiB and four times the file's size when absent. A file that you
   * trust may need more, for example deflated zeros.
   */
  readonly memory?: number;
}

/**
 * Reads a weight file; its format is recognised by its content, not by its name.
 *
 * Whatever the file holds, reading it executes nothing, takes memory and time in proportion to its size, and ends in
 * values or in one error. f16 and bf16 become f32, exactly.
 *
 * @param source Path of the file, or its bytes.
 * @param options Its name in messages, and its limit.
 * @returns The arrays, and what stands beside them.
 * @throws {FileFormatError} If the format is unknown, or the file is damaged, unsafe, or larger than it may be.
 * @throws {Deno.errors.NotFound} If there is no such file.
 *
 * @example Writing a file and reading it again
 * ```ts
 * import { readWeights, writeSafetensors } from "@allspark/tensor/io";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile({ suffix: ".safetensors" });
 * const bias = { shape: [2], dtype: "f32", data: new Float32Array([1, 2]) } as const;
 * await Deno.writeFile(path, writeSafetensors(new Map([["bias", bias]]), { metadata: { epoch: "3" } }));
 * const { entries, metadata } = await readWeights(path);
 * assertEquals(entries.get("bias"), bias);
 * assertEquals(metadata, { epoch: "3" });
 * await Deno.remove(path);
 * ```
 */
export async function readWeights(
  source: string | URL | Uint8Array,
  options: ReadOptions = {},
): Promise<WeightFile> {
  const bytes = source instanceof Uint8Array ? source : await readBytes(source);
  const name = options.name ?? (source instanceof Uint8Array ? undefined : String(source));
  try {
    return parseWeights(bytes, new Budget(bytes.length, options.memory));
  } catch (error) {
    if (!(error instanceof FileFormatError) || name === undefined) throw error;
    throw new FileFormatError(`${error.message} (${shown(name, 300)})`, { cause: error });
  }
}

function parseWeights(bytes: Uint8Array, budget: Budget): WeightFile {
  if (isSafetensors(bytes)) {
    const { entries, metadata } = readSafetensors(bytes, budget);
    return { ...flat("safetensors", entries), metadata };
  }
  if (isZip(bytes)) {
    const archive = openZip(bytes, budget);
    if (isTorchArchive(archive)) return nested("torch", readTorchArchive(archive, budget), budget);
    if (archive.names.some((name) => name.endsWith(".npy"))) return flat("npz", readNpz(archive, budget));
    throw unknown("it is a zip archive with neither data.pkl nor .npy files");
  }
  if (isLegacyTorch(bytes)) return nested("torch-legacy", readLegacyTorch(bytes, budget), budget);
  if (isNpy(bytes)) return flat("npy", new Map([["array", readArray(bytes, "the NumPy file", budget)]]));
  throw unknown(describe(bytes));
}

function flat(format: WeightFile["format"], entries: Map<string, ArrayEntry>): WeightFile {
  return { format, entries, tree: Object.fromEntries(entries), metadata: {} };
}

function nested(format: WeightFile["format"], tree: WeightTree, budget: Budget): WeightFile {
  return { format, entries: arraysByPath(tree, budget), tree, metadata: {} };
}

/** What an unreadable file probably is. */
function describe(bytes: Uint8Array): string {
  if (bytes.length === 0) return "it is empty";
  const head = latin1(bytes.subarray(0, 300));
  if (head.startsWith("version https://git-lfs")) {
    return "it is a Git LFS pointer; the file itself has to be fetched";
  }
  if (bytes.length > 8 && head.startsWith('{"', 8)) {
    return "it is a safetensors file that ends within its header";
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
