/**
 * What the operations share: the meaning of numbers among tensors, broadcasting, axes, and their errors.
 *
 * @module
 */
import type { DType } from "../src/dtype.ts";
import { isHeld, limitsOf } from "../src/elements.ts";
import { AxisError, DTypeError, formatShape, ShapeError } from "../src/errors.ts";
import type { Aval, ReferenceArray } from "../src/primitive.ts";
import { forEachPosition } from "../src/compiler/interpret.ts";
import { contiguousStrides } from "../src/compiler/affine.ts";
import { points } from "../src/compiler/kernel.ts";
import { full } from "../src/structure.ts";
import { describe, makeNode, Tensor } from "../src/tensor.ts";
import { broadcastTo } from "./broadcast.ts";

/** What elementwise operations take: a number or boolean becomes a constant of the other operand's dtype. */
export type TensorLike = Tensor | number | boolean;

/** The shape that NumPy broadcasting gives; `action` is the verb of the error message. */
export function broadcastShapes(action: string, shapes: readonly (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((shape) => shape.length));
  const result = new Array<number>(rank).fill(1);
  for (const shape of shapes) {
    shape.forEach((size, k) => {
      const axis = rank - shape.length + k;
      if (size === 1 || size === result[axis]) return;
      if (result[axis] !== 1) {
        throw new ShapeError(
          `Cannot ${action} shapes ${shapes.map(formatShape).join(" and ")}: axis ${axis} is ${
            result[axis]
          } and ${size}; equal sizes or 1 are required`,
        );
      }
      result[axis] = size;
    });
  }
  return result;
}

/** Operands of an elementwise operation, with one dtype and one shape: numbers written out, smaller shapes broadcast. */
export function alignOperands(action: string, operands: readonly TensorLike[]): Tensor[] {
  const tensors = operands.filter((operand) => operand instanceof Tensor);
  for (const operand of operands) checkTensorLike(action, operand);
  const dtype = tensors[0]?.dtype ?? (operands.every((x) => typeof x === "boolean") ? "bool" : "f32");
  const odd = tensors.find((x) => x.dtype !== dtype);
  if (odd !== undefined) {
    throw new DTypeError(
      `Cannot ${action} ${describe(tensors[0]!)} and ${
        describe(odd)
      }: the dtypes must be equal; cast one of them, for example cast(x, "${dtype}")`,
    );
  }
  const shape = broadcastShapes(action, tensors.map((x) => x.shape));
  return operands.map((operand) =>
    operand instanceof Tensor
      ? broadcastTo(operand, shape)
      : makeNode(full, [], { shape, dtype, value: constantValue(action, operand, dtype) })
  );
}

/** Throws unless the value is a tensor, number or boolean. */
export function checkTensorLike(action: string, value: unknown): void {
  if (value instanceof Tensor || typeof value === "number" || typeof value === "boolean") return;
  throw new TypeError(
    `Cannot ${action} a value of type ${
      value === null ? "null" : Array.isArray(value) ? "array" : typeof value
    }: a tensor, number or boolean is required`,
  );
}

/** A number or boolean as a tensor of rank 0 (f32 or bool unless `dtype` says otherwise); a tensor as it is. */
export function asTensor(action: string, value: TensorLike, dtype?: DType): Tensor {
  checkTensorLike(action, value);
  if (value instanceof Tensor) return value;
  const type = dtype ?? (typeof value === "boolean" ? "bool" : "f32");
  return makeNode(full, [], { shape: [], dtype: type, value: constantValue(action, value, type) });
}

/** A JavaScript number or boolean as an element of a dtype, if the dtype holds it exactly. */
export function constantValue(action: string, value: number | boolean, dtype: DType): number {
  if ((typeof value === "boolean") !== (dtype === "bool")) {
    throw new DTypeError(
      `Cannot ${action} ${typeof value} ${value} and a tensor of dtype ${dtype}: cast the tensor first`,
    );
  }
  if (dtype === "f32" || dtype === "bool") return Number(value);
  if (!Number.isInteger(value)) {
    throw new DTypeError(
      `Cannot ${action} ${value} and a tensor of dtype ${dtype}: a whole number is required; cast the tensor to f32`,
    );
  }
  if (!isHeld(Number(value), dtype)) {
    throw new RangeError(
      `Cannot ${action} ${value} and a tensor of dtype ${dtype}: ${dtype} holds ${limitsOf(dtype)}`,
    );
  }
  return Number(value);
}

/** Throws unless the dtype is one of those that the operation takes. */
export function requireDType(action: string, x: Aval, allowed: readonly DType[]): void {
  if (allowed.includes(x.dtype)) return;
  throw new DTypeError(
    `Cannot ${action} ${describe(x)}: ${allowed.join(" or ")} is required; cast it first`,
  );
}

/**
 * Throws unless an option is one of the words that it may be. `action` is the start of the message, as in
 * "resize".
 */
export function requireChoice(
  action: string,
  option: string,
  value: unknown,
  allowed: readonly string[],
): void {
  if (allowed.includes(value as string)) return;
  const given = typeof value === "string" ? JSON.stringify(value.slice(0, 40)) : String(value);
  const words = allowed.map((word) => JSON.stringify(word));
  throw new RangeError(
    `Cannot ${action} with ${option} ${given}: ${words.slice(0, -1).join(", ")} or ${
      words.at(-1)
    } is required`,
  );
}

/** An axis counted from the front, 0 or more. */
export function normalizeAxis(action: string, axis: number, shape: readonly number[]): number {
  const rank = shape.length;
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) {
    throw new AxisError(
      `Cannot ${action} over axis ${axis}: x has shape ${formatShape(shape)}, so ${
        rank === 0 ? "it has no axes" : `axis must be in ${-rank}..${rank - 1}`
      }`,
    );
  }
  return axis < 0 ? axis + rank : axis;
}

/** Axes counted from the front, in rising order; all of them if `axis` is undefined. */
export function normalizeAxes(
  action: string,
  axis: number | readonly number[] | undefined,
  shape: readonly number[],
): number[] {
  if (axis === undefined) return shape.map((_, k) => k);
  const axes = (typeof axis === "number" ? [axis] : axis).map((k) => normalizeAxis(action, k, shape));
  const twice = axes.find((k, place) => axes.indexOf(k) !== place);
  if (twice !== undefined) {
    throw new AxisError(
      `Cannot ${action} over axes ${formatShape([...axis as number[]])}: axis ${twice} is given twice`,
    );
  }
  return axes.sort((a, b) => a - b);
}

/** The inputs of an elementwise call under `vmap`: those that are not batched are repeated. */
export function alignBatch(
  inputs: readonly Tensor[],
  batched: readonly boolean[],
  size: number,
): Tensor[] {
  return inputs.map((x, k) => batched[k] ? x : broadcastTo(x, [size, ...x.shape]));
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return points(shape);
}

/** An array whose element at every position is `value(position)`. */
export function fillArray(
  shape: readonly number[],
  value: (position: readonly number[]) => number,
): ReferenceArray {
  const data = new Float64Array(sizeOf(shape));
  let k = 0;
  forEachPosition(shape, (position) => data[k++] = value(position));
  return { shape: [...shape], data };
}

/** The element of an array at a position. */
export function elementAt(array: ReferenceArray, position: readonly number[]): number {
  const strides = contiguousStrides(array.shape);
  return array.data[position.reduce((sum, p, k) => sum + p * strides[k]!, 0)]!;
}
