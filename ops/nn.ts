/**
 * Layers of networks without parameters of their own.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import { definePrimitive, type Primitive, type ReferenceArray } from "../src/primitive.ts";
import { contiguousStrides } from "../src/compiler/affine.ts";
import { makeNode, type Tensor } from "../src/tensor.ts";
import { normalizeAxis, requireDType } from "./common.ts";
import { add, div, exp, log, mul, sub } from "./elementwise.ts";
import { matmul } from "./matmul.ts";
import { transpose } from "./movement.ts";
import { max, sum } from "./reduce.ts";

/** Parameters of softmax and logSoftmax. */
interface AxisParams {
  readonly axis: number;
}

/** Σ of the elements, where the axis stays with size 1. */
function total(x: Tensor, { axis }: AxisParams): Tensor {
  return sum(x, { axis, keepDims: true });
}

/** x minus its maximum along the axis, so that exp cannot overflow. */
function shifted(x: Tensor, { axis }: AxisParams): Tensor {
  return sub(x, max(x, { axis, keepDims: true }));
}

const softmaxRecord: Primitive<AxisParams> = definePrimitive<AxisParams>({
  name: "softmax",
  infer: ([x]) => {
    requireDType("softmax", x!, ["f32"]);
    return { shape: x!.shape, dtype: "f32" };
  },
  // dx = y ∘ (dy − Σ dy ∘ y); the Jacobian is symmetric, so the tangent is the same.
  vjp: (cotangent, { output, params }) => [softmaxSlope(cotangent, output, params)],
  jvp: ([tangent], { output, params }) => softmaxSlope(tangent!, output, params),
  batch: ([x], _batched, { axis }) => softmax(x!, { axis: axis + 1 }),
  lowering: {
    kind: "composition",
    define: ([x], params) => {
      const powers = exp(shifted(x!, params));
      return div(powers, total(powers, params));
    },
  },
  reference: ([x], params) =>
    mapLines(x!, params, (line) => line.map((value) => value - logSum(line)).map(Math.exp)),
  samples: axisSamples(),
});

function softmaxSlope(t: Tensor, y: Tensor, params: AxisParams): Tensor {
  return mul(y, sub(t, total(mul(t, y), params)));
}

const logSoftmaxRecord: Primitive<AxisParams> = definePrimitive<AxisParams>({
  name: "logSoftmax",
  infer: ([x]) => {
    requireDType("logSoftmax", x!, ["f32"]);
    return { shape: x!.shape, dtype: "f32" };
  },
  // dx = dy − exp(y) Σ dy
  vjp: (cotangent, { output, params }) => [sub(cotangent, mul(exp(output), total(cotangent, params)))],
  // dy = dx − Σ exp(y) ∘ dx
  jvp: ([tangent], { output, params }) => sub(tangent!, total(mul(exp(output), tangent!), params)),
  batch: ([x], _batched, { axis }) => logSoftmax(x!, { axis: axis + 1 }),
  lowering: {
    kind: "composition",
    define: ([x], params) => {
      const low = shifted(x!, params);
      return sub(low, log(total(exp(low), params)));
    },
  },
  reference: ([x], params) => mapLines(x!, params, (line) => line.map((value) => value - logSum(line))),
  samples: axisSamples(),
});

function axisSamples(): { inputs: { shape: number[] }[]; params: AxisParams }[] {
  const shapes: [number[], number][] = [[[3, 5], 1], [[2, 7, 3], 1], [[4], 0], [[2, 1], 1], [[0, 3], 1], [[
    3,
    0,
  ], 1]];
  return shapes.map(([shape, axis]) => ({ inputs: [{ shape }], params: { axis } }));
}

function logSum(line: readonly number[]): number {
  const most = Math.max(...line);
  return most + Math.log(line.reduce((sum, value) => sum + Math.exp(value - most), 0));
}

/** Applies a function to every line of numbers along the axis. */
function mapLines(
  { shape, data }: ReferenceArray,
  { axis }: AxisParams,
  f: (line: number[]) => readonly number[],
): ReferenceArray {
  const [size, stride] = [shape[axis]!, contiguousStrides(shape)[axis]!];
  const result = new Float64Array(data.length);
  for (let first = 0; first < data.length; first++) {
    if (Math.floor(first / stride) % size !== 0) continue;
    const places = Array.from({ length: size }, (_, k) => first + k * stride);
    f(places.map((place) => data[place]!)).forEach((value, k) => result[places[k]!] = value);
  }
  return { shape, data: result };
}

/**
 * exp(x) / Σ exp(x) along an axis, computed without overflow. f32. A line of nothing but −∞ gives NaN.
 * Differentiable, any number of times.
 *
 * @param x Values.
 * @param options `axis`, default the last.
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { softmax, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await softmax(tensor([1000, 1000])).toArray(), [0.5, 0.5]);
 * ```
 */
export function softmax(x: Tensor, options: { axis?: number } = {}): Tensor {
  return makeNode(softmaxRecord, [x], { axis: normalizeAxis("softmax", options.axis ?? -1, x.shape) });
}

/**
 * log(softmax(x)) along an axis, exact where softmax would round to 0. f32. Differentiable, any number of times.
 *
 * @param x Values.
 * @param options `axis`, default the last.
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { logSoftmax, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await logSoftmax(tensor([0, 1000])).toArray(), [-1000, 0]);
 * ```
 */
export function logSoftmax(x: Tensor, options: { axis?: number } = {}): Tensor {
  return makeNode(logSoftmaxRecord, [x], { axis: normalizeAxis("logSoftmax", options.axis ?? -1, x.shape) });
}

/**
 * x · weightᵀ + bias over the last axis: `[..., I]` → `[..., O]`. f32; differentiable in all three.
 *
 * @param x Values.
 * @param weight `[O, I]`, as PyTorch stores it.
 * @param bias `[O]`, if any.
 * @throws {ShapeError} If the sizes do not fit.
 * @example
 * ```ts
 * import { linear, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const y = linear(tensor([[1, 2]]), tensor([[1, 0], [0, 1], [1, 1]]), tensor([0, 0, 10]));
 * assertEquals(await y.toArray(), [[1, 2, 13]]);
 * ```
 */
export function linear(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  if (weight.ndim !== 2 || x.ndim < 1 || x.shape.at(-1) !== weight.shape[1]) {
    throw new ShapeError(
      `Cannot apply linear to x ${formatShape(x.shape)} and weight ${
        formatShape(weight.shape)
      }: [..., I] and [O, I] are required`,
    );
  }
  if (bias !== undefined && (bias.ndim !== 1 || bias.shape[0] !== weight.shape[0])) {
    throw new ShapeError(
      `Cannot apply linear with weight ${formatShape(weight.shape)} and bias ${
        formatShape(bias.shape)
      }: one bias for each of the ${weight.shape[0]} outputs is required`,
    );
  }
  const product = matmul(x, transpose(weight));
  return bias === undefined ? product : add(product, bias);
}
