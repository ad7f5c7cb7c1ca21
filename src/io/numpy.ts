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
  copyElements,
  elementCount,
  encodeElements,
  isShape,
  MAX_AXES,
  spendOnArray,
} from "./array.ts";
import { Budget, NAME_BYTES } from "./budget.ts";
import { FileFormatError, shown } from "./errors.ts";
import { parseLiteral } from "./python_literal.ts";
import type { ZipArchive } from "./zip.ts";

const MAGIC = [0x93, ..."NUMPY"].map((item) => typeof item === "string" ? item.charCodeAt(0) : item);

/** NumPy's letters and sizes of the types that are read. */
const DTYPES = new Map<string, ArrayDType>([
  ["f8", "f64"],
  ["f4", "f32"],
  ["f2", "f16"],
  ["i8", "i64"],
  ["i4", "i32"],
  ["i2", "i16"],
  ["i1", "i8"],
  ["u8", "u64"],
  ["u4", "u32"],
  ["u2", "u16"],
  ["u1", "u8"],
  ["b1", "bool"],
]);
const DESCRIPTIONS = new Map([...DTYPES].map(([description, dtype]) => [dtype, description]));

/** NumPy's own limit, which keeps a hostile header from costing anything. */
const MAX_HEADER_BYTES = 10_000;

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
  return readArray(bytes, "the NumPy file", new Budget(bytes.length));
}

/**
 * Reads the arrays of a `.npz` archive by their names, without the ending `.npy`.
 *
 * @param archive The opened archive.
 * @param budget What the file may still cost.
 * @throws {FileFormatError} If one of them cannot be read.
 */
export function readNpz(archive: ZipArchive, budget: Budget): Map<string, ArrayEntry> {
  const names = archive.names.filter((name) => name.endsWith(".npy"));
  return new Map(
    names.map((name) => [
      name.slice(0, -".npy".length),
      readArray(archive.file(name)!, `${shown(name)} in the NumPy archive`, budget),
    ]),
  );
}

/** Reads a `.npy` file that messages call `what`. */
export function readArray(bytes: Uint8Array, what: string, budget: Budget): ArrayEntry {
  const refused = (state: string): FileFormatError => new FileFormatError(`Cannot read ${what}: ${state}`);
  if (!isNpy(bytes)) throw refused("it does not begin as a .npy file does");
  const version = bytes[6]!;
  if (version < 1 || version > 3) throw refused(`its version is ${version}; 1 to 3 are read`);
  // Version 1 has a length of two bytes, later ones of four.
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (version > 1 && bytes.length < 12) throw refused("its header is missing");
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const start = (version === 1 ? 10 : 12) + length;
  if (start > bytes.length) throw refused("its header ends after the file");
  if (length > MAX_HEADER_BYTES) {
    throw refused(`its header has ${length} bytes; at most ${MAX_HEADER_BYTES} are read, as in NumPy`);
  }
  // The header as text, its pieces and the keys.
  budget.spend(8 * NAME_BYTES + 2 * length);
  // Latin-1 until version 3, which exists for names of fields that need more.
  const header = new TextDecoder(version < 3 ? "latin1" : "utf-8").decode(
    bytes.subarray(start - length, start),
  );
  const { dtype, shape, fortranOrder } = parseHeader(header, refused);
  const size = elementCount(shape) * bytesPerElement(dtype);
  if (size !== bytes.length - start) {
    throw refused(
      `shape ${shown(`[${shape}]`)} of ${dtype} needs ${size} bytes but ${
        bytes.length - start
      } follow the header`,
    );
  }
  const data = copyElements(bytes.subarray(start), dtype, budget);
  if (!fortranOrder) return { shape, dtype, data };
  spendOnArray(data.length, dtype, budget);
  return { shape, dtype, data: rowMajor(data, shape) };
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
  const order = bytesPerElement(entry.dtype) === 1 ? "|" : "<";
  const header = `{'descr': '${order}${description}', 'fortran_order': False, 'shape': (${shape}), }`;
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

/** The header is a Python dictionary with three keys, in any order. */
function parseHeader(
  text: string,
  refused: (state: string) => FileFormatError,
): { dtype: ArrayDType; shape: number[]; fortranOrder: boolean } {
  const header = parseLiteral(text);
  if (!(header instanceof Map)) {
    throw refused(`its header is ${shown(text)}; a Python dictionary is required`);
  }
  const keys = [...header.keys()].sort().join();
  if (keys !== "descr,fortran_order,shape") {
    throw refused(`its header has the keys ${shown(keys)}; descr, fortran_order and shape are required`);
  }
  const description = header.get("descr");
  const fortranOrder = header.get("fortran_order");
  const shape = header.get("shape");
  if (typeof description !== "string") throw refused("its elements are records; a simple type is required");
  if (typeof fortranOrder !== "boolean") throw refused("its fortran_order is neither True nor False");
  if (!isShape(shape)) {
    throw refused(`its shape is no tuple of at most ${MAX_AXES} sizes, or one of them is too large`);
  }
  const [, order, type] = /^([<>=|]?)([fiub][1248])$/.exec(description) ?? [];
  const dtype = DTYPES.get(type ?? "");
  if (dtype === undefined) {
    throw refused(`its type is ${shown(description)}; ${[...DTYPES.keys()].join(", ")} are read`);
  }
  if (order === ">" && bytesPerElement(dtype) > 1) throw refused("its numbers are big-endian");
  return { dtype, shape, fortranOrder };
}

/** Reorders values whose first axis runs fastest. */
function rowMajor(values: ArrayData, shape: readonly number[]): ArrayData {
  const result = values.slice();
  const index = shape.map(() => 0);
  const stride = shape.map((_, axis) => elementCount(shape.slice(axis + 1)));
  let position = 0;
  for (const value of values) {
    result[position] = value;
    for (let axis = 0; axis < shape.length; axis++) {
      position += stride[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      position -= shape[axis]! * stride[axis]!;
      index[axis] = 0;
    }
  }
  return result;
}
