/**
 * Reductions over axes. `axis` is a number or a list, counted from the end if negative; all axes if left out.
 * With `keepDims` the reduced axes stay, with size 1.
 *
 * @module
 */
import { emptyReduction, forEachPosition } from "../src/compiler/interpret.ts";
import type { Combine } from "../src/compiler/kernel.ts";
import type { DType } from "../src/dtype.ts";
import { type Call, definePrimitive, type Primitive, type Sample } from "../src/primitive.ts";
import { ShapeError } from "../src/errors.ts";
import { describe, makeNode, type Tensor } from "../src/tensor.ts";
import { broadcastTo } from "./broadcast.ts";
import { elementAt, fillArray, normalizeAxes, normalizeAxis, requireDType, sizeOf } from "./common.ts";
import { onesLike } from "./create.ts";
import { div, mul } from "./elementwise_arithmetic.ts";
import { equal } from "./elementwise_logic.ts";
import { cast } from "./elementwise_select.ts";
import { pad, reshape, slice, transpose } from "./movement_basic.ts";
import { concat } from "./movement_assembly.ts";

/** Over which axes, and whether they stay with size 1. */
export interface ReduceOptions {
  /** One axis or several; all if left out. */
  readonly axis?: number | readonly number[] | undefined;
  /** Whether reduced axes stay with size 1. Default false. */
  readonly keepDims?: boolean | undefined;
}

/** Parameters of a reduction: its axes, in rising order. */
interface ReduceParams {
  readonly axes: readonly number[];
}

/** What differs between reductions. */
interface ReduceDefinition {
  readonly combine: Combine;
  readonly dtypes: readonly DType[];
  /** One step of the float64 reference, for values that can be folded from the left. */
  readonly step: (total: number, value: number, dtype: DType) => number;
  readonly vjp: (cotangent: Tensor, call: Call<ReduceParams>) => readonly Tensor[];
  readonly jvp: (tangent: Tensor, call: Call<ReduceParams>) => Tensor;
  /** Whether the derivative exists only where values differ. */
  readonly distinct?: boolean;
}

function withoutAxes(shape: readonly number[], axes: readonly number[]): number[] {
  return shape.filter((_, k) => !axes.includes(k));
}

/** Samples over leading, trailing, all, no and empty axes; of every dtype. */
function reduceSamples(dtypes: readonly DType[], distinct: boolean): Sample<ReduceParams>[] {
  return [
    ...([[[2, 3, 5], [1]], [[4, 7], [0, 1]], [[3, 4], [1]], [[], []], [[1, 3], [0]], [[2, 0], [1]]] as const)
      .map(([shape, axes]) => ({ inputs: [{ shape, distinct }], params: { axes } })),
    ...dtypes.filter((dtype) => dtype !== "f32").map((dtype) => ({
      inputs: [{ shape: [3, 4], dtype, low: dtype === "i32" ? -9 : 0, high: dtype === "bool" ? 1 : 9 }],
      params: { axes: [0] },
    })),
  ];
}

function defineReduction(name: string, definition: ReduceDefinition): Primitive<ReduceParams> {
  const { combine, dtypes, step, vjp, jvp, distinct = false } = definition;
  const record: Primitive<ReduceParams> = definePrimitive<ReduceParams>({
    name,
    infer: ([x], { axes }) => {
      requireDType(name, x!, dtypes);
      return { shape: withoutAxes(x!.shape, axes), dtype: x!.dtype };
    },
    vjp,
    jvp: ([tangent], call) => jvp(tangent!, call),
    batch: ([x], _batched, { axes }) => makeNode(record, [x!], { axes: axes.map((axis) => axis + 1) }),
    lowering: { kind: "reduction", combine, axes: ({ axes }) => axes },
    reference: ([x], { axes }, { shape, dtype }) => {
      const inner = axes.map((axis) => x!.shape[axis]!);
      const kept = x!.shape.map((_, k) => k).filter((k) => !axes.includes(k));
      return fillArray(shape, (outer) => {
        const position = x!.shape.map(() => 0);
        kept.forEach((axis, k) => position[axis] = outer[k]!);
        let total = emptyReduction(combine, dtype);
        forEachPosition(inner, (at) => {
          axes.forEach((axis, k) => position[axis] = at[k]!);
          total = step(total, elementAt(x!, position), dtype);
        });
        return total;
      });
    },
    samples: reduceSamples(dtypes, distinct),
  });
  return record;
}

/** Calls a reduction, and gives the reduced axes back with size 1 if wanted. */
function reduce(op: Primitive<ReduceParams>, x: Tensor, options: ReduceOptions): Tensor {
  const axes = normalizeAxes(op.name, options.axis, x.shape);
  const result = makeNode(op, [x], { axes });
  return options.keepDims ? reshape(result, keptShape(x.shape, axes)) : result;
}

function keptShape(shape: readonly number[], axes: readonly number[]): number[] {
  return shape.map((size, k) => axes.includes(k) ? 1 : size);
}

/** A reduced tensor repeated over the axes that are gone from `shape`. */
function spread(y: Tensor, shape: readonly number[], axes: readonly number[]): Tensor {
  return broadcastTo(reshape(y, keptShape(shape, axes)), shape);
}

const numbers: readonly DType[] = ["f32", "i32", "u32"];

const summation = defineReduction("sum", {
  combine: "sum",
  dtypes: numbers,
  step: (total, value) => total + value,
  vjp: (cotangent, { inputs: [x], params: { axes } }) => [spread(cotangent, x!.shape, axes)],
  jvp: (tangent, { params: { axes } }) => sum(tangent, { axis: axes }),
});

/**
 * The sum over axes; 0 over nothing. f32, i32, u32 (integers wrap). Differentiable.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { sum, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const x = tensor([[1, 2], [3, 4]]);
 * assertEquals(await sum(x).item(), 10);
 * assertEquals(await sum(x, { axis: -1, keepDims: true }).toArray(), [[3], [7]]);
 * ```
 */
export function sum(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduce(summation, x, options);
}

/**
 * For every element, the product of all others along axis 0. Halves are multiplied pairwise, down to one and
 * back: no division, so zeros do no harm to any derivative.
 */
function productOfOthers(x: Tensor): Tensor {
  const [count, ...rest] = x.shape as [number, ...number[]];
  if (count < 2) return onesLike(x);
  const half = Math.ceil(count / 2);
  const part = (start: number, size: number): Tensor =>
    slice(x, { starts: [start, ...rest.map(() => 0)], sizes: [size, ...rest] });
  const first = part(0, half);
  const second = pad(part(half, count - half), {
    padding: [[0, 2 * half - count], ...rest.map((): [number, number] => [0, 0])],
    value: 1,
  });
  const others = productOfOthers(mul(first, second));
  return slice(concat([mul(others, second), mul(others, first)]), {
    starts: x.shape.map(() => 0),
    sizes: x.shape,
  });
}

/** ∂(product over axes)/∂x. */
function productSlope(x: Tensor, axes: readonly number[]): Tensor {
  const order = [...axes, ...x.shape.map((_, k) => k).filter((k) => !axes.includes(k))];
  const front = transpose(x, { axes: order });
  const rows = reshape(front, [sizeOf(axes.map((axis) => x.shape[axis]!)), ...withoutAxes(x.shape, axes)]);
  return transpose(reshape(productOfOthers(rows), front.shape), {
    axes: order.map((_, k) => order.indexOf(k)),
  });
}

const product = defineReduction("prod", {
  combine: "product",
  dtypes: numbers,
  step: (total, value, dtype) => dtype === "f32" ? total * value : Math.imul(total, value),
  vjp: (cotangent, { inputs: [x], params: { axes } }) => [
    mul(spread(cotangent, x!.shape, axes), productSlope(x!, axes)),
  ],
  jvp: (tangent, { inputs: [x], params: { axes } }) =>
    sum(mul(tangent, productSlope(x!, axes)), { axis: axes }),
});

/**
 * The product over axes; 1 over nothing. f32, i32, u32 (integers wrap). Differentiable, with exact derivatives
 * of every order where elements are zero.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { prod, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await prod(tensor([2, 3, 4])).item(), 24);
 * ```
 */
export function prod(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduce(product, x, options);
}

/** For every element, 1 / number of extrema if it is one, else 0. */
function extremumShare({ inputs: [x], output, params: { axes } }: Call<ReduceParams>): Tensor {
  const hits = cast(equal(x!, spread(output, x!.shape, axes)), "f32");
  return div(hits, spread(sum(hits, { axis: axes }), x!.shape, axes));
}

function defineExtremum(
  name: "max" | "min",
  step: (total: number, value: number) => number,
): typeof summation {
  return defineReduction(name, {
    combine: name,
    dtypes: ["f32", "i32", "u32", "bool"],
    step,
    vjp: (cotangent, call) => [
      mul(spread(cotangent, call.inputs[0]!.shape, call.params.axes), extremumShare(call)),
    ],
    jvp: (tangent, call) => sum(mul(tangent, extremumShare(call)), { axis: call.params.axes }),
    distinct: true,
  });
}

const largest = defineExtremum("max", (total, value) => Math.max(total, value));

/**
 * The largest element over axes, NaN if any is; 0 is larger than −0. Over nothing −Infinity, or the dtype's
 * least value. Any dtype. The cotangent goes to the largest element; several that are equal share it equally.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { max, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await max(tensor([[1, 5], [4, 2]]), { axis: 1 }).toArray(), [5, 4]);
 * ```
 */
export function max(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduce(largest, x, options);
}

const smallest = defineExtremum("min", (total, value) => Math.min(total, value));

/**
 * The smallest element over axes, NaN if any is; −0 is smaller than 0. Over nothing Infinity, or the dtype's
 * greatest value. Any dtype. The cotangent goes to the smallest element; several that are equal share it equally.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { min, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await min(tensor([[1, 5], [4, 2]]), { axis: 1 }).toArray(), [1, 2]);
 * ```
 */
export function min(x: Tensor, options: ReduceOptions = {}): Tensor {
  return reduce(smallest, x, options);
}

/** Parameters of `argmax` and `argmin`. */
interface ArgParams {
  readonly axis: number;
}

function defineArgument(name: string, combine: "argMax" | "argMin"): Primitive<ArgParams> {
  const record: Primitive<ArgParams> = definePrimitive<ArgParams>({
    name,
    infer: ([x], { axis }) => {
      requireDType(name, x!, numbers);
      if (x!.shape[axis] === 0) {
        throw new ShapeError(
          `Cannot ${name} over axis ${axis} of ${describe(x!)}: it has no elements; at least one is required`,
        );
      }
      return { shape: withoutAxes(x!.shape, [axis]), dtype: "i32" };
    },
    batch: ([x], _batched, { axis }) => makeNode(record, [x!], { axis: axis + 1 }),
    lowering: { kind: "reduction", combine, axes: ({ axis }) => [axis] },
    reference: ([x], { axis }) =>
      fillArray(withoutAxes(x!.shape, [axis]), (outer) => {
        const value = (k: number): number =>
          elementAt(x!, [...outer.slice(0, axis), k, ...outer.slice(axis)]);
        let best = 0;
        for (let k = 1; k < x!.shape[axis]!; k++) {
          const [a, b] = [value(k), value(best)];
          const better = combine === "argMax" ? a > b : a < b;
          if (!Number.isNaN(b) && (Number.isNaN(a) || better)) best = k;
        }
        return best;
      }),
    samples: [
      { inputs: [{ shape: [3, 5], distinct: true }], params: { axis: 1 } },
      { inputs: [{ shape: [2, 3, 4], distinct: true }], params: { axis: 0 } },
      { inputs: [{ shape: [1] }], params: { axis: 0 } },
      { inputs: [{ shape: [0, 3] }], params: { axis: 1 } },
      { inputs: [{ shape: [4, 6], dtype: "i32", low: -2, high: 2 }], params: { axis: 0 } },
    ],
  });
  return record;
}

/** Over which axis (the flattened tensor if left out), and whether it stays with size 1. */
export interface ArgOptions {
  /** The axis; the flattened tensor if left out. */
  readonly axis?: number | undefined;
  /** Whether the axis stays with size 1. Default false. */
  readonly keepDims?: boolean | undefined;
}

function argument(op: Primitive<ArgParams>, x: Tensor, { axis, keepDims }: ArgOptions): Tensor {
  const place = axis === undefined ? 0 : normalizeAxis(op.name, axis, x.shape);
  const result = makeNode(op, [axis === undefined ? reshape(x, [x.size]) : x], { axis: place });
  if (!keepDims) return result;
  return reshape(result, axis === undefined ? x.shape.map(() => 1) : keptShape(x.shape, [place]));
}

const placeOfLargest = defineArgument("argmax", "argMax");

/**
 * The position (i32) of the first largest element along an axis; NaN counts as the largest. f32, i32, u32.
 * Nothing flows back.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @throws {ShapeError} If there are no elements along it.
 * @example
 * ```ts
 * import { argmax, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await argmax(tensor([[1, 5], [4, 2]]), { axis: 1 }).toArray(), [1, 0]);
 * ```
 */
export function argmax(x: Tensor, options: ArgOptions = {}): Tensor {
  return argument(placeOfLargest, x, options);
}

const placeOfSmallest = defineArgument("argmin", "argMin");

/**
 * The position (i32) of the first smallest element along an axis; NaN counts as the smallest. f32, i32, u32.
 * Nothing flows back.
 *
 * @throws {AxisError} If `x` has no such axis.
 * @throws {ShapeError} If there are no elements along it.
 * @example
 * ```ts
 * import { argmin, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await argmin(tensor([[1, 5], [4, 2]]), { axis: 1 }).toArray(), [0, 1]);
 * ```
 */
export function argmin(x: Tensor, options: ArgOptions = {}): Tensor {
  return argument(placeOfSmallest, x, options);
}
