/**
 * Arrays as weight files hold them: shape, element type, and values in row-major order.
 *
 * The element types that JavaScript has no array for are widened when they are read (f16 and bf16 to
 * `Float32Array`, bool to one byte each) and narrowed again when they are written; `dtype` keeps the name of what
 * the file holds.
 *
 * @module
 */
import { ARRAY_BYTES, type Budget } from "./budget.ts";

export { FileFormatError } from "./errors.ts";

/** Names of the element types in weight files. */
export type ArrayDType =
  | "f64"
  | "f32"
  | "f16"
  | "bf16"
  | "i64"
  | "i32"
  | "i16"
  | "i8"
  | "u64"
  | "u32"
  | "u16"
  | "u8"
  | "bool";

/** Typed arrays that hold the elements. */
export type ArrayData =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | Int32Array
  | Int16Array
  | Int8Array
  | BigUint64Array
  | Uint32Array
  | Uint16Array
  | Uint8Array;

/** One array of a weight file. */
export interface ArrayEntry {
  /** Sizes of the axes; empty for a single number. */
  readonly shape: readonly number[];
  /** Element type in the file. */
  readonly dtype: ArrayDType;
  /** Values in row-major order: `Float32Array` for f16 and bf16, `Uint8Array` for bool. */
  readonly data: ArrayData;
}

/** A constructor of arrays over memory. */
type ArrayType = {
  new (buffer: ArrayBufferLike, offset: number, length: number): ArrayData;
  readonly BYTES_PER_ELEMENT: number;
};

/** How the elements of one type are stored. */
interface Storage {
  readonly array: ArrayType;
  /** Conversions for types whose stored form is not what the caller gets, which is a `Float32Array`. */
  readonly widen?: (stored: ArrayData) => Float32Array;
  readonly narrow?: (values: ArrayData) => ArrayBufferView;
}

const STORAGE: Record<ArrayDType, Storage> = {
  f64: { array: Float64Array },
  f32: { array: Float32Array },
  f16: {
    array: Uint16Array,
    widen: (stored) =>
      new Float32Array(new Float16Array(stored.buffer as ArrayBuffer, stored.byteOffset, stored.length)),
    narrow: (values) => Float16Array.from(values as Float32Array),
  },
  bf16: { array: Uint16Array, widen: widenBfloat16, narrow: narrowBfloat16 },
  i64: { array: BigInt64Array },
  i32: { array: Int32Array },
  i16: { array: Int16Array },
  i8: { array: Int8Array },
  u64: { array: BigUint64Array },
  u32: { array: Uint32Array },
  u16: { array: Uint16Array },
  u8: { array: Uint8Array },
  bool: { array: Uint8Array },
};

/** The class of the arrays that callers get for a type. */
export function arrayType(dtype: ArrayDType): ArrayType {
  const { array, widen } = STORAGE[dtype];
  return widen ? Float32Array : array;
}

/** Whether a value from a file is the name of an element type. */
export function isArrayDType(value: unknown): value is ArrayDType {
  return typeof value === "string" && Object.hasOwn(STORAGE, value);
}

/** Bytes that one element takes in a file. */
export function bytesPerElement(dtype: ArrayDType): number {
  return STORAGE[dtype].array.BYTES_PER_ELEMENT;
}

/** Most axes of an array, as in NumPy and PyTorch. */
export const MAX_AXES = 64;

/** Whether a value from a file is the sizes of an array's axes. */
export function isShape(value: unknown): value is number[] {
  return isSizes(value) && value.length <= MAX_AXES;
}

/** Whether a value from a file is a list of whole numbers of at least 0. */
export function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isSize);
}

/** Whether a value from a file is a whole number of at least 0. */
export function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

/** Number of elements of a shape; 1 for an empty one. */
export function elementCount(shape: readonly number[]): number {
  // Sizes beside a 0 may be so large that their product is infinite.
  return shape.includes(0) ? 0 : shape.reduce((product, size) => product * size, 1);
}

/**
 * Decodes little-endian elements.
 *
 * @param bytes A whole number of elements. The result may share their memory.
 * @param dtype Type of the elements.
 */
export function decodeElements(bytes: Uint8Array, dtype: ArrayDType): ArrayData {
  return widened(storedElements(bytes, dtype), dtype);
}

/** The elements as they are stored: f16 and bf16 as whole numbers of 16 bits. They may share the bytes' memory. */
export function storedElements(bytes: Uint8Array, dtype: ArrayDType): ArrayData {
  const { array } = STORAGE[dtype];
  const size = array.BYTES_PER_ELEMENT;
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  return new array(aligned.buffer, aligned.byteOffset, aligned.byteLength / size);
}

/** Stored elements as the caller gets them. */
export function widened(stored: ArrayData, dtype: ArrayDType): ArrayData {
  return STORAGE[dtype].widen?.(stored) ?? stored;
}

/**
 * The elements in a part of a file, as an array with memory of its own.
 *
 * @param bytes A whole number of elements.
 * @param dtype Type of the elements.
 * @param budget What the file may still cost.
 */
export function copyElements(bytes: Uint8Array, dtype: ArrayDType, budget: Budget): ArrayData {
  spendOnArray(bytes.length / bytesPerElement(dtype), dtype, budget);
  // Not a slice, which of a Buffer of Node's would share its memory.
  return decodeElements(new Uint8Array(bytes), dtype);
}

/** Counts an array that is about to be made: its stored elements, and the widened ones where they differ. */
export function spendOnArray(count: number, dtype: ArrayDType, budget: Budget): void {
  const { array, widen } = STORAGE[dtype];
  const bytes = array.BYTES_PER_ELEMENT + (widen ? Float32Array.BYTES_PER_ELEMENT : 0);
  budget.spend(ARRAY_BYTES + count * bytes);
}

/** Little-endian bytes of an entry's elements, as a file holds them. */
export function encodeElements(entry: ArrayEntry): Uint8Array {
  const narrow = STORAGE[entry.dtype].narrow;
  const stored = narrow ? narrow(entry.data) : entry.data;
  return new Uint8Array(stored.buffer as ArrayBuffer, stored.byteOffset, stored.byteLength);
}

/**
 * The values as 32-bit floats; 64-bit integers lose what a float cannot hold.
 *
 * @returns The entry's own array where it already is one.
 */
export function toFloat32(entry: ArrayEntry): Float32Array {
  const { data } = entry;
  if (data instanceof Float32Array) return data;
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return Float32Array.from(data, Number);
  return Float32Array.from(data);
}

/** Throws unless the entry's data has the type and the length that its dtype and shape announce. */
export function checkEntry(name: string, entry: ArrayEntry): void {
  const expected = arrayType(entry.dtype) as unknown as { readonly name: string };
  if (entry.data.constructor !== expected) {
    throw new TypeError(
      `Cannot write ${name}: its dtype is ${entry.dtype} but its data is a ${entry.data.constructor.name}; ` +
        `a ${expected.name} is required`,
    );
  }
  if (entry.data.length !== elementCount(entry.shape)) {
    throw new TypeError(
      `Cannot write ${name}: shape [${entry.shape.join(", ")}] has ${elementCount(entry.shape)} elements ` +
        `but its data has ${entry.data.length}`,
    );
  }
}

/** A bfloat16 is the upper half of a float32. */
function widenBfloat16(stored: ArrayData): Float32Array {
  const bits = new Uint32Array(stored.length);
  for (let i = 0; i < bits.length; i++) bits[i] = Number(stored[i]) << 16;
  return new Float32Array(bits.buffer);
}

function narrowBfloat16(values: ArrayData): Uint16Array {
  const source = values as Float32Array;
  const bits = new Uint32Array(source.buffer, source.byteOffset, source.length);
  const narrow = new Uint16Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const word = bits[i]!;
    // Rounding could carry a NaN's payload into infinity, so a NaN is cut off instead, and stays quiet.
    if (Number.isNaN(source[i])) narrow[i] = (word >>> 16) | 0x40;
    // Round to nearest, ties to even.
    else narrow[i] = (word + 0x7fff + ((word >>> 16) & 1)) >>> 16;
  }
  return narrow;
}
