/**
 * Errors that the library throws. Each extends the built-in class that fits and carries what it is about.
 *
 * @module
 */

/** Shapes that do not fit together, or an argument of the wrong shape. */
export class ShapeError extends TypeError {
  /** Always "ShapeError". */
  override readonly name = "ShapeError";
}

/** A dtype that an operation does not take. */
export class DTypeError extends TypeError {
  /** Always "DTypeError". */
  override readonly name = "DTypeError";
}

/** An axis outside the rank of a tensor. */
export class AxisError extends RangeError {
  /** Always "AxisError". */
  override readonly name = "AxisError";
}

/** Trees whose structures differ, or a leaf that is not what was expected; the message has its path. */
export class TreeError extends TypeError {
  /** Always "TreeError". */
  override readonly name = "TreeError";
}

/** A function given to a transform did what a traced function cannot do. */
export class TraceError extends TypeError {
  /** Always "TraceError". */
  override readonly name = "TraceError";
}

/** A tensor that was disposed or donated and is used again. */
export class DisposedError extends ReferenceError {
  /** Always "DisposedError". */
  override readonly name = "DisposedError";
}

/** What went wrong on a device: a kernel that does not compile, memory that is not there, a lost device. */
export class DeviceError extends Error {
  /** Always "DeviceError". */
  override readonly name = "DeviceError";

  /**
   * Makes the error.
   *
   * @param message What happened.
   * @param kernel The label of the kernel, if one is to blame.
   * @param source Its generated source with line numbers, if there is one.
   */
  constructor(message: string, readonly kernel?: string, readonly source?: string) {
    super(message);
  }
}

/** No room on a device for what is to be computed there. */
export class OutOfMemoryError extends RangeError {
  /** Always "OutOfMemoryError". */
  override readonly name = "OutOfMemoryError";
}

/** What to do about it, for messages. */
export const outOfMemoryAdvice: string =
  "dispose() of tensors that are no longer needed, let jit donate the state that a step replaces, await something in " +
  "every turn of a loop, so that what nobody can reach is freed, or use a smaller batch";

/** `[2, 3]` for messages. */
export function formatShape(shape: readonly number[]): string {
  return `[${shape.join(", ")}]`;
}
