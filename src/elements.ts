/**
 * JavaScript numbers and booleans as elements of tensors, by one rule, wherever a program gives values together
 * with a dtype:
 *
 * - f32 takes every number, rounded to the nearest float; what is beyond ±3.4e38 becomes ±Infinity.
 * - i32 and u32 take the whole numbers that they hold. Others throw: fractions, NaN and infinities a DTypeError,
 *   what is out of range a RangeError.
 * - bool is false for 0 and true for every other number, NaN too.
 * - true and false are 1 and 0.
 *
 * @module
 */
import { arrayType, type DType, storedValue, type TensorData } from "./dtype.ts";
import { DTypeError } from "./errors.ts";

/** Whether an integer dtype holds a number. */
export function isHeld(value: number, dtype: DType): boolean {
  return storedValue(value, dtype) === value;
}

/** What an integer dtype holds, for messages. */
export function limitsOf(dtype: DType): string {
  return dtype === "i32" ? "-2147483648 to 2147483647" : "0 to 4294967295";
}

/** A value as an element of a dtype; `action` starts the message of an error, as in "fill with". */
export function elementOf(action: string, value: number | boolean, dtype: DType): number {
  if (typeof value !== "number" && typeof value !== "boolean") {
    throw new DTypeError(`Cannot ${action} a value of type ${typeOf(value)}: numbers and booleans are taken`);
  }
  const number = Number(value);
  if (dtype === "f32" || dtype === "bool" || isHeld(number, dtype)) return storedValue(number, dtype);
  if (!Number.isInteger(value)) {
    throw new DTypeError(
      `Cannot ${action} ${value} as ${dtype}: a whole number is required; take f32, or cast an f32 tensor`,
    );
  }
  throw new RangeError(`Cannot ${action} ${value} as ${dtype}: it holds ${limitsOf(dtype)}`);
}

function typeOf(value: unknown): string {
  return value === null ? "null" : typeof value;
}

/** Values as elements of a dtype, in an array of their own. */
export function elementsOf(
  action: string,
  values: ArrayLike<number | boolean>,
  dtype: DType,
): TensorData {
  if (!ArrayBuffer.isView(values)) {
    const data = new (arrayType(dtype))(values.length);
    for (let k = 0; k < data.length; k++) data[k] = elementOf(action, values[k]!, dtype);
    return data;
  }
  const numbers = values as unknown as ArrayLike<number>;
  if (dtype === "bool") {
    const data = new Uint32Array(numbers.length);
    for (let k = 0; k < data.length; k++) data[k] = numbers[k] === 0 ? 0 : 1;
    return data;
  }
  // The engine converts whole arrays fast, and an element that is not held comes out as another number.
  const data = new (arrayType(dtype))(numbers);
  if (dtype === "f32" || isWithin(values, dtype)) return data;
  for (let k = 0; k < data.length; k++) if (data[k] !== numbers[k]) elementOf(action, numbers[k]!, dtype);
  return data;
}

/** Whether an integer dtype holds everything that an array's type does. */
function isWithin(values: ArrayBufferView, dtype: DType): boolean {
  const isUnsigned = values instanceof Uint8Array || values instanceof Uint8ClampedArray ||
    values instanceof Uint16Array;
  if (dtype === "u32") return isUnsigned || values instanceof Uint32Array;
  return isUnsigned || values instanceof Int8Array || values instanceof Int16Array ||
    values instanceof Int32Array;
}
