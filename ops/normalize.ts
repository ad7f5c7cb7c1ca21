/**
 * Normalisation to mean 0 and variance 1 over some axes: layer, instance and batch norm.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import { definePrimitive, type Primitive } from "../src/primitive.ts";
import { contiguousStrides } from "../src/compiler/affine.ts";
import { forEachPosition } from "../src/compiler/interpret.ts";
import { makeNode, type Tensor } from "../src/tensor.ts";
import { requireDType, sizeOf } from "./common.ts";
import { add, less, mul, rsqrt, square, sub, where } from "./elementwise.ts";
import { reshape } from "./movement.ts";
import { mean } from "./reduce.ts";

/** Parameters of the normalisation: the axes over which it goes, and what is added to the variance. */
interface NormalizeParams {
  readonly axes: readonly number[];
  readonly eps: number;
}

const normalization: Primitive<NormalizeParams> = definePrimitive<NormalizeParams>({
  name: "normalize",
  infer: ([x]) => {
    requireDType("normalize", x!, ["f32"]);
    return { shape: x!.shape, dtype: "f32" };
  },
  // With y = r (x − mean x), r = (var x + eps)^−½: dx = r (dy − mean dy − y mean(dy ∘ y)); the Jacobian is
  // symmetric, so the tangent is the same.
  vjp: (cotangent, { inputs: [x], output, params }) => [slope(cotangent, x!, output, params)],
  jvp: ([tangent], { inputs: [x], output, params }) => slope(tangent!, x!, output, params),
  batch: ([x], _batched, { axes, eps }) => normalize(x!, axes.map((axis) => axis + 1), eps),
  lowering: {
    kind: "composition",
    define: ([x], params) => mul(centred(x!, params), inverseDeviation(x!, params)),
  },
  reference: ([x], { axes, eps }) => {
    const { shape, data } = x!;
    const strides = contiguousStrides(shape).map((stride, k) => axes.includes(k) ? 0 : stride);
    const groups = new Map<number, number[]>();
    let place = 0;
    forEachPosition(shape, (position) => {
      const group = position.reduce((sum, p, k) => sum + p * strides[k]!, 0);
      groups.set(group, [...groups.get(group) ?? [], place++]);
    });
    const result = new Float64Array(data.length);
    for (const places of groups.values()) {
      const average = (f: (value: number) => number): number =>
        places.reduce((sum, k) => sum + f(data[k]!), 0) / places.length;
      const centre = average((value) => value);
      const spread = Math.sqrt(average((value) => (value - centre) ** 2) + eps);
      for (const k of places) result[k] = (data[k]! - centre) / spread;
    }
    return { shape, data: result };
  },
  samples: [
    { inputs: [{ shape: [3, 5] }], params: { axes: [1], eps: 1e-5 } },
    { inputs: [{ shape: [2, 3, 4, 3] }], params: { axes: [2, 3], eps: 1e-5 } },
    { inputs: [{ shape: [3, 2, 4] }], params: { axes: [0, 2], eps: 1e-3 } },
    { inputs: [{ shape: [2, 1] }], params: { axes: [1], eps: 1e-2 } },
    { inputs: [{ shape: [0, 4] }], params: { axes: [1], eps: 1e-5 } },
  ],
});

function centred(x: Tensor, { axes }: NormalizeParams): Tensor {
  return sub(x, mean(x, { axis: axes, keepDims: true }));
}

function inverseDeviation(x: Tensor, params: NormalizeParams): Tensor {
  return inverseRoot(mean(square(centred(x, params)), { axis: params.axes, keepDims: true }), params.eps);
}

/** 1 / √(variance + eps). NaN for one that has overflowed: zeros in place of the values would go unseen. */
function inverseRoot(variance: Tensor, eps: number): Tensor {
  return where(less(variance, Infinity), rsqrt(add(variance, eps)), NaN);
}

function slope(t: Tensor, x: Tensor, y: Tensor, params: NormalizeParams): Tensor {
  const average = (z: Tensor): Tensor => mean(z, { axis: params.axes, keepDims: true });
  const rest = sub(sub(t, average(t)), mul(y, average(mul(t, y))));
  return mul(rest, inverseDeviation(x, params));
}

function normalize(x: Tensor, axes: readonly number[], eps: number): Tensor {
  return makeNode(normalization, [x], { axes, eps });
}

/**
 * Layer normalisation (Ba et al. 2016, arXiv:1607.06450) over the last axis:
 * gain · (x − mean) / √(variance + eps) + bias, with the biased variance. f32; differentiable, any number of times.
 *
 * @param x Values `[..., C]`.
 * @param gain `[C]`.
 * @param bias `[C]`.
 * @param options `eps`, default 1e-5.
 * @throws {ShapeError} If the sizes do not fit.
 * @example
 * ```ts
 * import { layerNorm, ones, tensor, zeros } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * const y = layerNorm(tensor([[1, 3]]), ones([2]), zeros([2]), { eps: 0 });
 * assertAlmostEquals((await y.data())[1]!, 1, 1e-6);
 * ```
 */
export function layerNorm(x: Tensor, gain: Tensor, bias: Tensor, options: { eps?: number } = {}): Tensor {
  const size = x.shape.at(-1);
  for (const [name, parameter] of Object.entries({ gain, bias })) {
    if (parameter.ndim === 1 && parameter.shape[0] === size) continue;
    throw new ShapeError(
      `Cannot apply layerNorm to x ${formatShape(x.shape)}: ${name} has shape ${
        formatShape(parameter.shape)
      }, and ${size === undefined ? "x needs a last axis" : `[${size}] is required`}`,
    );
  }
  return add(mul(normalize(x, [x.ndim - 1], options.eps ?? 1e-5), gain), bias);
}

/**
 * Instance normalisation (Ulyanov et al. 2016, arXiv:1607.08022) without parameters, over the last two axes:
 * (x − mean) / √(variance + eps), with the biased variance. f32; differentiable, any number of times.
 *
 * @param x Images `[..., H, W]`.
 * @param options `eps`, default 1e-5.
 * @throws {ShapeError} If `x` has fewer than two axes.
 * @example
 * ```ts
 * import { instanceNorm, tensor } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * const y = instanceNorm(tensor([[1, 1], [3, 3]]), { eps: 0 });
 * assertAlmostEquals((await y.data())[0]!, -1, 1e-6);
 * ```
 */
export function instanceNorm(x: Tensor, options: { eps?: number } = {}): Tensor {
  if (x.ndim < 2) {
    throw new ShapeError(`Cannot apply instanceNorm to x ${formatShape(x.shape)}: [..., H, W] is required`);
  }
  return normalize(x, [x.ndim - 2, x.ndim - 1], options.eps ?? 1e-5);
}

/** Learned parameters of `batchNorm`, each `[C]`. */
export interface BatchNormParams {
  /** Factor of every channel. */
  readonly gain: Tensor;
  /** Offset of every channel. */
  readonly bias: Tensor;
}

/** Running statistics of `batchNorm`, each `[C]`. */
export interface BatchNormState {
  /** Mean of every channel. */
  readonly mean: Tensor;
  /** Unbiased variance of every channel. */
  readonly variance: Tensor;
}

/**
 * Batch normalisation (Ioffe & Szegedy 2015, arXiv:1502.03167) of the channels on axis 1. In training with the mean and
 * biased variance of the batch, and running statistics are updated as in PyTorch:
 * new = (1 − momentum) · old + momentum · batch, **with the unbiased variance**. Otherwise with the running
 * statistics, which come back as they are. f32; differentiable.
 *
 * @param x Values `[N, C, ...]`.
 * @param params `gain` and `bias`.
 * @param state Running `mean` and `variance`.
 * @param options `train`; `momentum`, default 0.1; `eps`, default 1e-5.
 * @returns The normalised values and the new running statistics.
 * @throws {ShapeError} If the sizes do not fit, or in training a channel has fewer than two values.
 * @example
 * ```ts
 * import { batchNorm, ones, tensor, zeros } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * const params = { gain: ones([1]), bias: zeros([1]) };
 * const state = { mean: zeros([1]), variance: ones([1]) };
 * const x = tensor([[1], [3]]);
 * const { output, state: next } = batchNorm(x, params, state, { train: true, momentum: 0.5 });
 * assertAlmostEquals((await output.data())[0]!, -1, 1e-4);
 * assertAlmostEquals(await next.variance.item(), 1.5, 1e-6); // (1 + 2) / 2
 * ```
 */
export function batchNorm(
  x: Tensor,
  params: BatchNormParams,
  state: BatchNormState,
  options: { train: boolean; momentum?: number; eps?: number },
): { output: Tensor; state: BatchNormState } {
  const { train, momentum = 0.1, eps = 1e-5 } = options;
  const channels = x.shape[1];
  const given = { gain: params.gain, bias: params.bias, mean: state.mean, variance: state.variance };
  for (const [name, parameter] of Object.entries(given)) {
    if (parameter.ndim === 1 && parameter.shape[0] === channels) continue;
    throw new ShapeError(
      `Cannot apply batchNorm to x ${formatShape(x.shape)}: ${name} has shape ${
        formatShape(parameter.shape)
      }, and ${channels === undefined ? "x needs a channel axis" : `[${channels}] is required`}`,
    );
  }
  const perChannel = (parameter: Tensor): Tensor =>
    reshape(parameter, x.shape.slice(1).map((size, k) => k === 0 ? size : 1));
  const finish = (y: Tensor): Tensor => add(mul(y, perChannel(params.gain)), perChannel(params.bias));
  if (!train) {
    const scale = perChannel(inverseRoot(state.variance, eps));
    return { output: finish(mul(sub(x, perChannel(state.mean)), scale)), state };
  }
  const axes = x.shape.map((_, k) => k).filter((k) => k !== 1);
  const count = sizeOf(axes.map((axis) => x.shape[axis]!));
  if (count < 2) {
    throw new ShapeError(
      `Cannot apply batchNorm to x ${
        formatShape(x.shape)
      } in training: a channel has ${count} values, and its variance needs two`,
    );
  }
  const batchMean = mean(x, { axis: axes });
  const batchVariance = mul(
    mean(square(sub(x, perChannel(batchMean))), { axis: axes }),
    count / (count - 1),
  );
  const mix = (old: Tensor, now: Tensor): Tensor => add(mul(old, 1 - momentum), mul(now, momentum));
  return {
    output: finish(normalize(x, axes, eps)),
    state: { mean: mix(state.mean, batchMean), variance: mix(state.variance, batchVariance) },
  };
}
