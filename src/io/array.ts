/**
 * Arrays as weight files hold them: shape, element type, and values in row-major order.
 *
 * The element types that JavaScript has no array for are widened when they are read (f16 and bf16 to
 * `Float32Array`, bool to one byte each) and narrowed again when they are written; `dtype` keeps the name of what
 * the file holds.
 *
 * @module
 */

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

/** A weight file that is damaged, malicious, or of a kind that is not read. */
export class FileFormatError extends Error {
  /** Name of the class, as it appears before the message. */
  override name = "FileFormatError";
}

/** How the elements of one type are stored. */
interface Storage {
  readonly bytes: number;
  readonly view: (buffer: ArrayBufferLike, offset: number, length: number) => ArrayData;
  /** Conversions for types whose stored form is not what the caller gets. */
  readonly widen?: (stored: ArrayData) => ArrayData;
  readonly narrow?: (values: ArrayData) => ArrayBufferView;
}

const STORAGE: Record<ArrayDType, Storage> = {
  f64: { bytes: 8, view: (buffer, offset, length) => new Float64Array(buffer, offset, length) },
  f32: { bytes: 4, view: (buffer, offset, length) => new Float32Array(buffer, offset, length) },
  f16: {
    bytes: 2,
    view: (buffer, offset, length) => new Uint16Array(buffer, offset, length),
    widen: (stored) =>
      new Float32Array(new Float16Array(stored.buffer as ArrayBuffer, stored.byteOffset, stored.length)),
    narrow: (values) => Float16Array.from(values as Float32Array),
  },
  bf16: {
    bytes: 2,
    view: (buffer, offset, length) => new Uint16Array(buffer, offset, length),
    widen: widenBfloat16,
    narrow: narrowBfloat16,
  },
  i64: { bytes: 8, view: (buffer, offset, length) => new BigInt64Array(buffer, offset, length) },
  i32: { bytes: 4, view: (buffer, offset, length) => new Int32Array(buffer, offset, length) },
  i16: { bytes: 2, view: (buffer, offset, length) => new Int16Array(buffer, offset, length) },
  i8: { bytes: 1, view: (buffer, offset, length) => new Int8Array(buffer, offset, length) },
  u64: { bytes: 8, view: (buffer, offset, length) => new BigUint64Array(buffer, offset, length) },
  u32: { bytes: 4, view: (buffer, offset, length) => new Uint32Array(buffer, offset, length) },
  u16: { bytes: 2, view: (buffer, offset, length) => new Uint16Array(buffer, offset, length) },
  u8: { bytes: 1, view: (buffer, offset, length) => new Uint8Array(buffer, offset, length) },
  bool: { bytes: 1, view: (buffer, offset, length) => new Uint8Array(buffer, offset, length) },
};

/** Bytes that one element takes in a file. */
export function bytesPerElement(dtype: ArrayDType): number {
  return STORAGE[dtype].bytes;
}

/** Number of elements of a shape; 1 for an empty one. */
export function elementCount(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * Decodes little-endian elements.
 *
 * @param bytes A whole number of elements. The result may share their memory.
 * @param dtype Type of the elements.
 */
export function decodeElements(bytes: Uint8Array, dtype: ArrayDType): ArrayData {
  const { bytes: size, view, widen } = STORAGE[dtype];
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  const stored = view(aligned.buffer, aligned.byteOffset, aligned.byteLength / size);
  return widen ? widen(stored) : stored;
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
  const expected = decodeElements(new Uint8Array(0), entry.dtype).constructor;
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
