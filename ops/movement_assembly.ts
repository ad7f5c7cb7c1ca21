/**
 * Assembly: a tensor put together from disjoint pieces.
 *
 * @module
 */
import { DTypeError, formatShape, ShapeError } from "../src/errors.ts";
import { forEachPosition } from "../src/compiler/interpret.ts";
import { contiguousStrides } from "../src/compiler/affine.ts";
import { definePrimitive, type Primitive } from "../src/primitive.ts";
import { describe, makeNode, type Tensor } from "../src/tensor.ts";
import { broadcastTo } from "./broadcast.ts";
import { normalizeAxis, sizeOf } from "./common.ts";
import { zerosLike } from "./create.ts";
import { reshape, slice } from "./movement_basic.ts";

/** Where every piece goes: its position p to `starts[k]` + `strides[k]` · p. Together they cover `shape`. */
export interface AssemblyParams {
  readonly shape: readonly number[];
  readonly starts: readonly (readonly number[])[];
  readonly strides: readonly (readonly number[])[];
}

const assembly: Primitive<AssemblyParams> = definePrimitive<AssemblyParams>({
  name: "assembly",
  infer: ([first], { shape }) => ({ shape, dtype: first!.dtype }),
  vjp: (cotangent, { inputs, params: { starts, strides } }) =>
    inputs.map((piece, k) =>
      slice(cotangent, { starts: starts[k]!, sizes: piece.shape, strides: strides[k]! })
    ),
  jvp: (tangents, { inputs, params }) =>
    assemble(tangents.map((tangent, k) => tangent ?? zerosLike(inputs[k]!)), params),
  batch: (inputs, batched, { shape, starts, strides }, size) =>
    assemble(inputs.map((piece, k) => batched[k] ? piece : broadcastTo(piece, [size, ...piece.shape])), {
      shape: [size, ...shape],
      starts: starts.map((start) => [0, ...start]),
      strides: strides.map((stride) => [1, ...stride]),
    }),
  lowering: {
    kind: "assembly",
    place: ({ starts, strides }, index) => ({ start: starts[index]!, stride: strides[index]! }),
  },
  reference: (inputs, { shape, starts, strides }) => {
    const steps = contiguousStrides(shape);
    const data = new Float64Array(sizeOf(shape)).fill(NaN);
    inputs.forEach((piece, k) => {
      let place = 0;
      forEachPosition(piece.shape, (position) => {
        const to = position.reduce(
          (sum, p, axis) => sum + (starts[k]![axis]! + strides[k]![axis]! * p) * steps[axis]!,
          0,
        );
        data[to] = piece.data[place++]!;
      });
    });
    return { shape: [...shape], data };
  },
  samples: [
    {
      inputs: [{ shape: [2, 3] }, { shape: [2, 1] }],
      params: { shape: [2, 4], starts: [[0, 0], [0, 3]], strides: [[1, 1], [1, 1]] },
    },
    {
      inputs: [{ shape: [3] }, { shape: [2] }],
      params: { shape: [5], starts: [[0], [1]], strides: [[2], [2]] },
    },
    {
      inputs: [{ shape: [0, 2] }, { shape: [1, 2] }],
      params: { shape: [1, 2], starts: [[0, 0], [0, 0]], strides: [[1, 1], [1, 1]] },
    },
    { inputs: [{ shape: [] }], params: { shape: [], starts: [[]], strides: [[]] } },
    {
      inputs: [{ shape: [2], dtype: "i32", low: -9, high: 9 }, {
        shape: [1],
        dtype: "i32",
        low: -9,
        high: 9,
      }],
      params: { shape: [3], starts: [[1], [0]], strides: [[1], [1]] },
    },
  ],
});

/**
 * A tensor from pieces of one dtype that together cover it without overlapping: position p of piece k goes to
 * `starts[k] + strides[k] · p`. Whether they cover it is not checked. Differentiable.
 */
export function assemble(pieces: readonly Tensor[], params: AssemblyParams): Tensor {
  return makeNode(assembly, pieces, params);
}

/**
 * Tensors one after the other along an axis; their other sizes and their dtypes are equal. Any dtype;
 * differentiable.
 *
 * @throws {ShapeError} If the shapes differ elsewhere.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { concat, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await concat([tensor([1, 2]), tensor([3])], { axis: 0 }).toArray(), [1, 2, 3]);
 * ```
 */
export function concat(tensors: readonly Tensor[], options: { axis?: number } = {}): Tensor {
  const first = tensors[0];
  if (first === undefined) throw new ShapeError("Cannot concat no tensors: at least one is required");
  const axis = normalizeAxis("concat", options.axis ?? 0, first.shape);
  for (const x of tensors) {
    if (x.dtype !== first.dtype) {
      throw new DTypeError(`Cannot concat ${describe(first)} and ${describe(x)}: the dtypes must be equal`);
    }
    if (x.ndim !== first.ndim || x.shape.some((size, k) => k !== axis && size !== first.shape[k])) {
      throw new ShapeError(
        `Cannot concat shapes ${formatShape(first.shape)} and ${formatShape(x.shape)} over axis ${axis}: ` +
          "all other sizes must be equal",
      );
    }
  }
  const pieces = tensors.filter((x) => x.shape[axis] !== 0);
  if (pieces.length < 2) return pieces[0] ?? first;
  let length = 0;
  const starts = pieces.map((x) => {
    const start = x.shape.map((_, k) => k === axis ? length : 0);
    length += x.shape[axis]!;
    return start;
  });
  const shape = first.shape.map((size, k) => k === axis ? length : size);
  return assemble(pieces, { shape, starts, strides: starts.map((start) => start.map(() => 1)) });
}

/**
 * Tensors of one shape and dtype side by side along a new axis. Any dtype; differentiable.
 *
 * @throws {ShapeError} If the shapes differ.
 * @throws {DTypeError} If the dtypes differ.
 * @example
 * ```ts
 * import { stack, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await stack([tensor([1, 2]), tensor([3, 4])], { axis: 1 }).toArray(), [[1, 3], [2, 4]]);
 * ```
 */
export function stack(tensors: readonly Tensor[], options: { axis?: number } = {}): Tensor {
  const first = tensors[0];
  if (first === undefined) throw new ShapeError("Cannot stack no tensors: at least one is required");
  const odd = tensors.find((x) => formatShape(x.shape) !== formatShape(first.shape));
  if (odd !== undefined) {
    throw new ShapeError(
      `Cannot stack shapes ${formatShape(first.shape)} and ${formatShape(odd.shape)}: they must be equal`,
    );
  }
  const axis = normalizeAxis("stack", options.axis ?? 0, [...first.shape, 1]);
  const shape = [...first.shape.slice(0, axis), 1, ...first.shape.slice(axis)];
  return concat(tensors.map((x) => reshape(x, shape)), { axis });
}
