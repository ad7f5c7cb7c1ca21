/**
 * Movement: the same elements at other positions. Nothing is copied until a consumer needs it to be; the
 * compiler reads through these operations where the positions stay affine.
 *
 * @module
 */
import type { Affine } from "../src/compiler/kernel.ts";
import { AxisError, formatShape, ShapeError } from "../src/errors.ts";
import { definePrimitive, type FormAlgebra, type Primitive } from "../src/primitive.ts";
import { describe, makeNode, type Tensor } from "../src/tensor.ts";
import { contiguousStrides } from "../src/compiler/affine.ts";
import { constantValue, elementAt, fillArray, normalizeAxes, normalizeAxis, sizeOf } from "./common.ts";

/** Parameters of `reshape`. */
interface ReshapeParams {
  readonly shape: readonly number[];
}

const reshaping: Primitive<ReshapeParams> = definePrimitive<ReshapeParams>({
  name: "reshape",
  infer: ([x], { shape }) => ({ shape, dtype: x!.dtype }),
  vjp: (cotangent, { inputs: [x] }) => [reshape(cotangent, x!.shape)],
  jvp: ([tangent], { params: { shape } }) => reshape(tangent!, shape),
  batch: ([x], _batched, { shape }, size) => reshape(x!, [size, ...shape]),
  lowering: {
    kind: "movement",
    place: (forms, { shape }, input, algebra) => ({
      forms: reshapeForms(forms, shape, input.shape, algebra),
    }),
  },
  reference: ([x], { shape }) => ({ shape: [...shape], data: x!.data }),
  samples: [
    { inputs: [{ shape: [2, 6] }], params: { shape: [3, 4] } },
    { inputs: [{ shape: [2, 3, 5] }], params: { shape: [6, 5] } },
    { inputs: [{ shape: [] }], params: { shape: [1, 1] } },
    { inputs: [{ shape: [1, 4, 1] }], params: { shape: [2, 2] } },
    { inputs: [{ shape: [0, 3] }], params: { shape: [3, 0, 2] } },
    { inputs: [{ shape: [6], dtype: "i32", low: -9, high: 9 }], params: { shape: [3, 2] } },
  ],
});

/**
 * Input positions of a reshape: axes are matched in groups of equal size, from the front, and a group's
 * row-major number is written in the digits of the input's axes.
 */
function reshapeForms(
  forms: readonly Affine[],
  outer: readonly number[],
  inner: readonly number[],
  algebra: FormAlgebra,
): Affine[] {
  const result = inner.map(() => algebra.constant(0));
  if (sizeOf(inner) === 0) return result;
  // Axes of size 1 carry nothing.
  const outputs = outer.map((_, k) => k).filter((k) => outer[k]! > 1);
  const inputs = inner.map((_, k) => k).filter((k) => inner[k]! > 1);
  while (outputs.length > 0) {
    const from = [outputs.shift()!];
    const to = [inputs.shift()!];
    let [left, right] = [outer[from[0]!]!, inner[to[0]!]!];
    while (left !== right) {
      if (left < right) {
        from.push(outputs.shift()!);
        left *= outer[from.at(-1)!]!;
      } else {
        to.push(inputs.shift()!);
        right *= inner[to.at(-1)!]!;
      }
    }
    const strides = contiguousStrides(from.map((k) => outer[k]!));
    const flat = algebra.add(...from.map((k, place) => algebra.scale(forms[k]!, strides[place]!)));
    algebra.digits(flat, to.map((k) => inner[k]!)).forEach((digit, place) => result[to[place]!] = digit);
  }
  return result;
}

/**
 * The same elements, in the same row-major order, in another shape. One size may be −1: it becomes what is
 * left. Any dtype; differentiable.
 *
 * @throws {ShapeError} If the number of elements would change.
 * @example
 * ```ts
 * import { reshape, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await reshape(tensor([1, 2, 3, 4]), [2, -1]).toArray(), [[1, 2], [3, 4]]);
 * ```
 */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  const odd = shape.find((size) => !Number.isInteger(size) || size < -1);
  if (odd !== undefined || shape.filter((size) => size === -1).length > 1) {
    throw new ShapeError(
      `Cannot reshape ${formatShape(x.shape)} to ${
        formatShape(shape)
      }: sizes must be whole numbers, 0 or more, and at most one of them -1, which becomes what is left`,
    );
  }
  const open = shape.indexOf(-1);
  const known = sizeOf(shape.filter((_, k) => k !== open));
  const target = shape.map((size, k) => k === open && known !== 0 ? x.size / known : size);
  if (target.some((size) => !Number.isInteger(size) || size < 0) || sizeOf(target) !== x.size) {
    throw new ShapeError(
      `Cannot reshape ${formatShape(x.shape)} to ${formatShape(shape)}: it has ${x.size} elements; ${
        open < 0
          ? `a shape with as many is required, not ${sizeOf(shape)}`
          : known === 0
          ? "beside a size of 0 the -1 may be any; write it out"
          : `their number must be a multiple of ${known}`
      }`,
    );
  }
  if (target.length === x.shape.length && target.every((size, k) => size === x.shape[k])) return x;
  return makeNode(reshaping, [x], { shape: target });
}

/** Parameters of `transpose`: output axis k is input axis `axes[k]`. */
interface TransposeParams {
  readonly axes: readonly number[];
}

const transposing: Primitive<TransposeParams> = definePrimitive<TransposeParams>({
  name: "transpose",
  infer: ([x], { axes }) => ({ shape: axes.map((axis) => x!.shape[axis]!), dtype: x!.dtype }),
  vjp: (cotangent, { params: { axes } }) => [transpose(cotangent, { axes: inverse(axes) })],
  jvp: ([tangent], { params }) => transpose(tangent!, params),
  batch: ([x], _batched, { axes }) => transpose(x!, { axes: [0, ...axes.map((axis) => axis + 1)] }),
  lowering: {
    kind: "movement",
    place: (forms, { axes }) => ({ forms: inverse(axes).map((place) => forms[place]!) }),
  },
  reference: ([x], { axes }) =>
    fillArray(
      axes.map((axis) => x!.shape[axis]!),
      (position) => elementAt(x!, inverse(axes).map((place) => position[place]!)),
    ),
  samples: [
    { inputs: [{ shape: [2, 3, 5] }], params: { axes: [2, 0, 1] } },
    { inputs: [{ shape: [3, 1] }], params: { axes: [1, 0] } },
    { inputs: [{ shape: [] }], params: { axes: [] } },
    { inputs: [{ shape: [0, 2] }], params: { axes: [1, 0] } },
    { inputs: [{ shape: [2, 3], dtype: "bool", low: 0, high: 1 }], params: { axes: [1, 0] } },
  ],
});

function inverse(axes: readonly number[]): number[] {
  return axes.map((_, k) => axes.indexOf(k));
}

/**
 * Axes in another order: axis k of the result is axis `axes[k]` of `x`; reversed if `axes` is left out. Any
 * dtype; differentiable.
 *
 * @throws {AxisError} If `axes` does not name every axis once.
 * @example
 * ```ts
 * import { tensor, transpose } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await transpose(tensor([[1, 2], [3, 4]])).toArray(), [[1, 3], [2, 4]]);
 * ```
 */
export function transpose(x: Tensor, options: { axes?: readonly number[] } = {}): Tensor {
  const axes = options.axes?.map((axis) => normalizeAxis("transpose", axis, x.shape)) ??
    x.shape.map((_, k) => x.ndim - 1 - k);
  if (axes.length !== x.ndim || new Set(axes).size !== x.ndim) {
    throw new AxisError(
      `Cannot transpose ${formatShape(x.shape)} with axes ${formatShape(options.axes!)}: every one of its ${
        String(x.ndim)
      } axes must be named once`,
    );
  }
  return axes.every((axis, k) => axis === k) ? x : makeNode(transposing, [x], { axes });
}

/** Parameters of `slice`, all per axis. */
interface SliceParams {
  readonly starts: readonly number[];
  readonly sizes: readonly number[];
  readonly strides: readonly number[];
}

const slicing: Primitive<SliceParams> = definePrimitive<SliceParams>({
  name: "slice",
  infer: ([x], { sizes }) => ({ shape: sizes, dtype: x!.dtype }),
  vjp: (cotangent, { inputs: [x], params: { starts, strides } }) => [
    unslice(cotangent, starts, strides, x!.shape),
  ],
  jvp: ([tangent], { params }) => makeNode(slicing, [tangent!], params),
  batch: ([x], _batched, { starts, sizes, strides }, size) =>
    makeNode(slicing, [x!], { starts: [0, ...starts], sizes: [size, ...sizes], strides: [1, ...strides] }),
  lowering: {
    kind: "movement",
    place: (forms, { starts, strides }, _input, algebra) => ({
      forms: forms.map((form, k) => algebra.shift(algebra.scale(form, strides[k]!), starts[k]!)),
    }),
  },
  reference: ([x], { starts, sizes, strides }) =>
    fillArray(sizes, (position) => elementAt(x!, position.map((p, k) => starts[k]! + strides[k]! * p))),
  samples: [
    { inputs: [{ shape: [4, 5] }], params: { starts: [1, 0], sizes: [2, 3], strides: [1, 2] } },
    { inputs: [{ shape: [7] }], params: { starts: [1], sizes: [2], strides: [3] } },
    { inputs: [{ shape: [3, 2] }], params: { starts: [1, 0], sizes: [0, 2], strides: [1, 1] } },
    { inputs: [{ shape: [] }], params: { starts: [], sizes: [], strides: [] } },
    {
      inputs: [{ shape: [5], dtype: "u32", low: 0, high: 9 }],
      params: { starts: [2], sizes: [3], strides: [1] },
    },
  ],
});

/** Zeros of `shape` in which the elements of `x` stand at starts + strides · position: the transpose of a slice. */
export function unslice(
  x: Tensor,
  starts: readonly number[],
  strides: readonly number[],
  shape: readonly number[],
): Tensor {
  let stretched = x;
  strides.forEach((stride, axis) => {
    const room = shape[axis]! - starts[axis]!;
    if (stride === 1 || x.shape[axis]! < 2) return;
    // [n] -> [n, 1] -> [n, stride] -> [n · stride], which may be too long by zeros.
    const sizes = [...stretched.shape];
    const rows = reshape(stretched, [...sizes.slice(0, axis + 1), 1, ...sizes.slice(axis + 1)]);
    const padding = rows.shape.map((_, k): [number, number] => [0, k === axis + 1 ? stride - 1 : 0]);
    sizes[axis] = sizes[axis]! * stride;
    stretched = reshape(pad(rows, { padding }), sizes);
    sizes[axis] = Math.min(sizes[axis]!, room);
    stretched = slice(stretched, { starts: sizes.map(() => 0), sizes });
  });
  return pad(stretched, {
    padding: starts.map((start, k): [number, number] => [start, shape[k]! - start - stretched.shape[k]!]),
  });
}

/** What part of a tensor `slice` takes: per axis, the first position, and the end (exclusive) or the size. */
export interface SliceOptions {
  /** First positions; negative ones count from the end. Default 0. */
  readonly starts?: readonly number[];
  /** Positions before which to stop; negative ones count from the end. Default: the end. */
  readonly stops?: readonly number[];
  /** Instead of `stops`: how many positions to take. */
  readonly sizes?: readonly number[];
  /** Steps of 1 or more. Default 1. */
  readonly strides?: readonly number[];
}

/**
 * A rectangular part of `x`, optionally of every n-th element. Lists that are shorter than the number of axes
 * leave the last axes whole. Any dtype; differentiable.
 *
 * @throws {RangeError} If the part does not lie inside `x`.
 * @example
 * ```ts
 * import { slice, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const x = tensor([0, 1, 2, 3, 4, 5]);
 * assertEquals(await slice(x, { starts: [1], stops: [-1] }).toArray(), [1, 2, 3, 4]);
 * assertEquals(await slice(x, { starts: [1], sizes: [2], strides: [3] }).toArray(), [1, 4]);
 * ```
 */
export function slice(x: Tensor, options: SliceOptions): Tensor {
  const { shape } = x;
  for (const list of [options.starts, options.stops, options.sizes, options.strides]) {
    if (list !== undefined && list.length > shape.length) {
      throw new ShapeError(
        `Cannot slice ${formatShape(shape)}: ${list.length} positions are given for ${shape.length} axes`,
      );
    }
  }
  const fromEnd = (position: number, axis: number): number =>
    position < 0 ? position + shape[axis]! : position;
  const starts = shape.map((_, k) => fromEnd(options.starts?.[k] ?? 0, k));
  const strides = shape.map((_, k) => options.strides?.[k] ?? 1);
  const sizes = shape.map((size, k) =>
    options.sizes?.[k] ??
      Math.max(0, Math.ceil((fromEnd(options.stops?.[k] ?? size, k) - starts[k]!) / strides[k]!))
  );
  shape.forEach((size, k) => {
    const [start, count, stride] = [starts[k]!, sizes[k]!, strides[k]!];
    const last = count === 0 ? start : start + (count - 1) * stride + 1;
    if (
      ![start, count, stride].every(Number.isInteger) || stride < 1 || count < 0 || start < 0 || last > size
    ) {
      throw new RangeError(
        `Cannot slice axis ${k} of ${formatShape(shape)} from ${start} in ${count} steps of ${stride}: ` +
          `whole numbers that stay in 0..${size} are required`,
      );
    }
  });
  const whole = sizes.every((size, k) => size === shape[k] && strides[k] === 1);
  return whole ? x : makeNode(slicing, [x], { starts, sizes, strides });
}

/** Parameters of `pad`. */
interface PadParams {
  readonly padding: readonly (readonly [number, number])[];
  readonly value: number;
}

const paddingRecord: Primitive<PadParams> = definePrimitive<PadParams>({
  name: "pad",
  infer: ([x], { padding }) => ({
    shape: x!.shape.map((size, k) => padding[k]![0] + size + padding[k]![1]),
    dtype: x!.dtype,
  }),
  vjp: (cotangent, { inputs: [x], params: { padding } }) => [
    slice(cotangent, { starts: padding.map(([before]) => before), sizes: x!.shape }),
  ],
  jvp: ([tangent], { params: { padding } }) => pad(tangent!, { padding }),
  batch: ([x], _batched, { padding, value }) =>
    makeNode(paddingRecord, [x!], { padding: [[0, 0], ...padding], value }),
  lowering: {
    kind: "movement",
    place: (forms, { padding, value }, input, algebra) => {
      const inner = forms.map((form, k) => algebra.shift(form, -padding[k]![0]));
      const guards = inner.map((form, k) => ({ form, size: input.shape[k]! })).filter((_, k) =>
        padding[k]![0] + padding[k]![1] > 0
      );
      return { forms: inner, guards, fill: value };
    },
  },
  reference: ([x], { padding, value }, { shape }) =>
    fillArray(shape, (position) => {
      const inner = position.map((p, k) => p - padding[k]![0]);
      return inner.every((p, k) => p >= 0 && p < x!.shape[k]!) ? elementAt(x!, inner) : value;
    }),
  samples: [
    { inputs: [{ shape: [2, 3] }], params: { padding: [[1, 0], [0, 2]], value: 0 } },
    { inputs: [{ shape: [3] }], params: { padding: [[2, 1]], value: -1.5 } },
    { inputs: [{ shape: [0, 2] }], params: { padding: [[1, 1], [0, 0]], value: 7 } },
    { inputs: [{ shape: [] }], params: { padding: [], value: 0 } },
    { inputs: [{ shape: [2], dtype: "i32", low: -9, high: 9 }], params: { padding: [[1, 1]], value: 5 } },
  ],
});

/**
 * `x` with a border of `value` (default 0): `padding[k]` = [before, after] of axis k. Any dtype;
 * differentiable.
 *
 * @throws {ShapeError} If `padding` has not one pair for every axis.
 * @throws {RangeError} If a border is negative (use `slice` to cut).
 * @example
 * ```ts
 * import { pad, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await pad(tensor([1, 2]), { padding: [[1, 2]], value: 9 }).toArray(), [9, 1, 2, 9, 9]);
 * ```
 */
export function pad(
  x: Tensor,
  options: { padding: readonly (readonly [number, number])[]; value?: number | boolean },
): Tensor {
  const { padding, value = x.dtype === "bool" ? false : 0 } = options;
  if (padding.length !== x.ndim) {
    throw new ShapeError(
      `Cannot pad ${
        describe(x)
      } with ${padding.length} pairs: one [before, after] for every axis is required`,
    );
  }
  for (const pair of padding) {
    if (pair.length !== 2 || pair.some((border) => !Number.isInteger(border) || border < 0)) {
      throw new RangeError(
        `Cannot pad ${describe(x)} by ${formatShape(pair)}: two whole numbers, 0 or more, are required`,
      );
    }
  }
  if (padding.every(([before, after]) => before + after === 0)) return x;
  return makeNode(paddingRecord, [x], { padding, value: constantValue("pad with", value, x.dtype) });
}

/** Parameters of `flip`. */
interface FlipParams {
  readonly axes: readonly number[];
}

const flipping: Primitive<FlipParams> = definePrimitive<FlipParams>({
  name: "flip",
  infer: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: (cotangent, { params: { axes } }) => [flip(cotangent, { axis: axes })],
  jvp: ([tangent], { params: { axes } }) => flip(tangent!, { axis: axes }),
  batch: ([x], _batched, { axes }) => flip(x!, { axis: axes.map((axis) => axis + 1) }),
  lowering: {
    kind: "movement",
    place: (forms, { axes }, input, algebra) => ({
      forms: forms.map((form, k) =>
        axes.includes(k) ? algebra.shift(algebra.scale(form, -1), input.shape[k]! - 1) : form
      ),
    }),
  },
  reference: ([x], { axes }) =>
    fillArray(
      x!.shape,
      (position) => elementAt(x!, position.map((p, k) => axes.includes(k) ? x!.shape[k]! - 1 - p : p)),
    ),
  samples: [
    { inputs: [{ shape: [3, 4] }], params: { axes: [1] } },
    { inputs: [{ shape: [2, 1, 5] }], params: { axes: [0, 2] } },
    { inputs: [{ shape: [0] }], params: { axes: [0] } },
    { inputs: [{ shape: [4], dtype: "i32", low: -9, high: 9 }], params: { axes: [0] } },
  ],
});

/**
 * `x` with the order along the axes turned round (all axes if `axis` is left out). Any dtype;
 * differentiable.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { flip, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await flip(tensor([[1, 2], [3, 4]]), { axis: 1 }).toArray(), [[2, 1], [4, 3]]);
 * ```
 */
export function flip(x: Tensor, options: { axis?: number | readonly number[] } = {}): Tensor {
  const axes = normalizeAxes("flip", options.axis, x.shape);
  return axes.length === 0 ? x : makeNode(flipping, [x], { axes });
}
