/**
 * The few layers that the models share: their parameters as the trees hold them.
 *
 * @module
 */
import { add, conv2d, einsum, layerNorm, linear, type Pair, reshape, transpose } from "../ops/mod.ts";
import type { Tensor } from "../src/tensor.ts";
import type { Affine, Norm } from "./parameters.ts";

/** A linear layer over the last axis: `[..., I]` to `[..., O]`. */
export function dense(x: Tensor, { weight, bias }: Affine): Tensor {
  return linear(x, weight, bias);
}

/** Layer normalisation over the last axis. */
export function normalize(x: Tensor, { gain, bias }: Norm, eps: number): Tensor {
  return layerNorm(x, gain, bias, { eps });
}

/** Convolution with a bias: `[B, I, H, W]` to `[B, O, H', W']`. */
export function convolve(
  x: Tensor,
  { weight, bias }: Affine,
  options: { stride?: Pair; padding?: Pair; groups?: number },
): Tensor {
  return add(conv2d(x, weight, options), reshape(bias, [bias.size, 1, 1]));
}

/** A linear layer at every position of a map, `[B, I, H, W]` to `[B, O, H, W]`; weight `[O, I]` or `[O, I, 1, 1]`. */
export function pointwise(x: Tensor, weight: Tensor, bias?: Tensor): Tensor {
  const matrix = reshape(weight, [weight.shape[0]!, weight.shape[1]!]);
  const product = einsum("oc,bchw->bohw", matrix, x);
  return bias === undefined ? product : add(product, reshape(bias, [bias.size, 1, 1]));
}

/** `[B, C, H, W]` as tokens `[B, H·W, C]`, row by row. */
export function tokensOf(map: Tensor): Tensor {
  const [batch, channels, height, width] = map.shape as [number, number, number, number];
  return transpose(reshape(map, [batch, channels, height * width]), { axes: [0, 2, 1] });
}

/** Tokens `[B, H·W, C]` as a map `[B, C, H, W]`. */
export function mapOf(tokens: Tensor, [height, width]: readonly [number, number]): Tensor {
  const [batch, , channels] = tokens.shape as [number, number, number];
  return reshape(transpose(tokens, { axes: [0, 2, 1] }), [batch, channels, height, width]);
}

/** Height and width of a map `[B, C, H, W]`. */
export function sideOf(map: Tensor): [number, number] {
  return [map.shape[2]!, map.shape[3]!];
}
