/**
 * Element types. Every element takes four bytes on every device; `bool` is stored as 0 or 1.
 *
 * @module
 */

/** The element types of tensors. */
export type DType = "f32" | "i32" | "u32" | "bool";

/** A typed array that can hold the elements of a tensor: f32, i32, u32, and for bool 0 or 1 as u32. */
export type TensorData = Float32Array | Int32Array | Uint32Array;

/** The typed array that stores a dtype; bool is kept as 0 or 1 in a `Uint32Array`. */
export function arrayType(
  dtype: DType,
): Float32ArrayConstructor | Int32ArrayConstructor | Uint32ArrayConstructor {
  return dtype === "f32" ? Float32Array : dtype === "i32" ? Int32Array : Uint32Array;
}

const bits = new DataView(new ArrayBuffer(4));

/** The smallest f32 that is not below a number. */
export function floatFrom(value: number): number {
  const rounded = Math.fround(value);
  return rounded < value ? neighbour(rounded, 1) : rounded;
}

/** The largest f32 below a number. */
export function floatBelow(value: number): number {
  const rounded = Math.fround(value);
  return rounded < value ? rounded : neighbour(rounded, -1);
}

/** The next f32 above (1) or below (−1). */
function neighbour(float: number, direction: 1 | -1): number {
  if (float === 0) return direction * 2 ** -149;
  bits.setFloat32(0, float);
  bits.setUint32(0, bits.getUint32(0) + (float > 0 ? direction : -direction));
  return bits.getFloat32(0);
}

/** Rounds or wraps a number to the nearest value that the dtype can hold, as storing it does. */
export function storedValue(value: number, dtype: DType): number {
  switch (dtype) {
    case "f32":
      return Math.fround(value);
    case "i32":
      return value | 0;
    case "u32":
      return value >>> 0;
    case "bool":
      return value !== 0 ? 1 : 0;
  }
}
