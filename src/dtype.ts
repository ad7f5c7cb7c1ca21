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
