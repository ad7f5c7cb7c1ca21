/**
 * NumPy's `.npy` (one array) and `.npz` (a zip archive of several).
 *
 * @module
 * @see https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
 */
import {
  type ArrayData,
  type ArrayDType,
  type ArrayEntry,
  bytesPerElement,
  checkEntry,
  decodeElements,
  elementCount,
  encodeElements,
  FileFormatError,
} from "./array.ts";
import type { ZipArchive } from "./zip.ts";

const MAGIC = [0x93, ..."NUMPY"].map((item) => typeof item === "string" ? item.charCodeAt(0) : item);

const DTYPES = new Map<string, ArrayDType>([
  ["<f8", "f64"],
  ["<f4", "f32"],
  ["<f2", "f16"],
  ["<i8", "i64"],
  ["<i4", "i32"],
  ["<i2", "i16"],
  ["|i1", "i8"],
  ["<u8", "u64"],
  ["<u4", "u32"],
  ["<u2", "u16"],
  ["|u1", "u8"],
  ["|b1", "bool"],
]);
const DESCRIPTIONS = new Map([...DTYPES].map(([description, dtype]) => [dtype, description]));

/** The header is a Python dictionary with exactly these keys, which NumPy writes in this order. */
const HEADER =
  /^\{'descr':\s*'([^']*)',\s*'fortran_order':\s*(True|False),\s*'shape':\s*\(((?:\d+,?\s*)*)\),?\s*\}\s*$/;

/** Whether the bytes begin as a `.npy` file does. */
export function isNpy(bytes: Uint8Array): boolean {
  return bytes.length >= 10 && MAGIC.every((value, i) => bytes[i] === value);
}

/**
 * Reads a `.npy` file; arrays in Fortran order are brought into row-major order.
 *
 * @param bytes The whole file.
 * @throws {FileFormatError} If it is damaged, big-endian, or holds objects or records.
 *
 * @example Writing and reading back
 * ```ts
 * import { readNpy, writeNpy } from "./numpy.ts";
 * import { assertEquals } from "@std/assert";
 * const entry = { shape: [2, 1], dtype: "i32", data: new Int32Array([1, 2]) } as const;
 * assertEquals(readNpy(writeNpy(entry)), entry);
 * ```
 */
export function readNpy(bytes: Uint8Array): ArrayEntry {
  if (!isNpy(bytes)) throw refused("it does not begin as a .npy file does");
  const version = bytes[6]!;
  if (version < 1 || version > 3) throw refused(`its version is ${version}; 1 to 3 are read`);
  // Version 1 has a length of two bytes, later ones of four.
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (version > 1 && bytes.length < 12) throw refused("its header is missing");
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = (version === 1 ? 10 : 12) + length;
  if (start > bytes.length) throw refused("its header ends after the file");
  const { dtype, shape, fortranOrder } = parseHeader(
    new TextDecoder().decode(bytes.subarray(start - length, start)),
  );
  const size = elementCount(shape) * bytesPerElement(dtype);
  if (size !== bytes.length - start) {
    throw refused(
      `shape [${shape}] of ${dtype} needs ${size} bytes but ${bytes.length - start} follow the header`,
    );
  }
  const data = decodeElements(bytes.slice(start), dtype);
  return { shape, dtype, data: fortranOrder ? rowMajor(data, shape) : data };
}

/**
 * Reads the arrays of a `.npz` archive by their names, without the ending `.npy`.
 *
 * @param archive The opened archive.
 * @throws {FileFormatError} If one of them cannot be read.
 */
export function readNpz(archive: ZipArchive): Map<string, ArrayEntry> {
  const names = archive.names.filter((name) => name.endsWith(".npy"));
  return new Map(names.map((name) => [name.slice(0, -".npy".length), readNpy(archive.file(name)!)]));
}

/**
 * Writes a `.npy` file.
 *
 * @throws {TypeError} If the data does not fit dtype or shape, or NumPy has no such dtype (bf16).
 */
export function writeNpy(entry: ArrayEntry): Uint8Array<ArrayBuffer> {
  checkEntry("the array", entry);
  const description = DESCRIPTIONS.get(entry.dtype);
  if (!description) {
    throw new TypeError(`Cannot write an array of ${entry.dtype}: NumPy has no such type; f32 would do`);
  }
  const shape = entry.shape.length === 1 ? `${entry.shape[0]},` : entry.shape.join(", ");
  const header = `{'descr': '${description}', 'fortran_order': False, 'shape': (${shape}), }`;
  // Header and preamble together fill a multiple of 64 bytes, so that the data is aligned.
  const start = Math.ceil((10 + header.length + 1) / 64) * 64;
  const data = encodeElements(entry);
  const bytes = new Uint8Array(start + data.length);
  bytes.set([...MAGIC, 1, 0]);
  new DataView(bytes.buffer).setUint16(8, start - 10, true);
  bytes.set(new TextEncoder().encode(header.padEnd(start - 11) + "\n"), 10);
  bytes.set(data, start);
  return bytes;
}

function parseHeader(text: string): { dtype: ArrayDType; shape: number[]; fortranOrder: boolean } {
  const match = HEADER.exec(text);
  if (!match) {
    throw refused(`its header is ${text.trim().slice(0, 80)}; a simple type and a shape are required`);
  }
  const [, description = "", order, sizes = ""] = match;
  const dtype = DTYPES.get(description);
  if (!dtype) {
    const reason = description.startsWith(">") ? "its numbers are big-endian" : `its type is ${description}`;
    throw refused(`${reason}; ${[...DTYPES.keys()].join(", ")} are read`);
  }
  const shape = sizes.split(",").map((size) => size.trim()).filter(Boolean).map(Number);
  return { dtype, shape, fortranOrder: order === "True" };
}

/** Reorders values whose first axis runs fastest. */
function rowMajor(values: ArrayData, shape: readonly number[]): ArrayData {
  const result = values.slice();
  const index = shape.map(() => 0);
  const stride = shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
  for (let i = 0; i < values.length; i++) {
    result[index.reduce((position, at, axis) => position + at * stride[axis]!, 0)] = values[i]!;
    for (let axis = 0; axis < shape.length && ++index[axis]! === shape[axis]; axis++) index[axis] = 0;
  }
  return result;
}

function refused(state: string): FileFormatError {
  return new FileFormatError(`Cannot read the NumPy file: ${state}`);
}
