/**
 * The Mix Transformer encoder of SegFormer (Xie et al., NeurIPS 2021, arXiv:2105.15203, section 3.1): four stages,
 * each with overlapping patches, transformer blocks whose keys and values are fewer than the queries, and no
 * position codes, because the 3×3 convolution in the feed-forward part already tells positions apart.
 *
 * @module
 */
import { add, attention, dropPath, gelu, random, reshape, slice, transpose } from "../ops/mod.ts";
import { formatShape, ShapeError } from "../src/errors.ts";
import type { Tensor } from "../src/tensor.ts";
import { checkpoint } from "../src/transforms/mod.ts";
import { type DropRates, mitSizes, type MitVariant } from "./config.ts";
import { convolve, dense, mapOf, normalize, sideOf, tokensOf } from "./layers.ts";
import type { MitBlock, MitParams, MitStage } from "./parameters.ts";

/** Options of {@linkcode mitEncoder}. */
export interface MitEncoderOptions {
  /** The encoder's sizes; they must be those of the parameters. */
  readonly variant: MitVariant;
  /** Whether residual branches are dropped. Default false. */
  readonly train?: boolean;
  /** Random key, needed in training unless `rates.dropPath` is 0. */
  readonly key?: Tensor | undefined;
  /** `dropPath`, default 0.1: the rate of the last block; it rises linearly from 0 at the first. */
  readonly rates?: Pick<DropRates, "dropPath">;
  /** Whether the backward pass computes each block again instead of keeping its values. Default false. */
  readonly recompute?: boolean;
}

/** What a block needs beside its parameters and input. */
interface BlockOptions {
  readonly heads: number;
  readonly ratio: number;
  readonly side: readonly [number, number];
  readonly rate: number;
  readonly train: boolean;
}

/**
 * Features of images at 1/4, 1/8, 1/16 and 1/32 of their size.
 *
 * Shapes: `[B, 3, S, T]` → `[B, C_i, ⌈S/4⌉, ⌈T/4⌉]` and so on for stages i = 1 to 4. f32, ImageNet-normalised
 * RGB.
 *
 * @param params The encoder's parameters.
 * @param images Images whose sides are at least 29 pixels.
 * @param options Sizes, dropping, recomputation.
 * @returns The four feature maps.
 * @throws {ShapeError} If the images are not `[B, 3, S, T]` or too small.
 * @example
 * ```ts
 * import { random, zeros } from "@allspark/tensor";
 * import { initMitEncoder, mitEncoder } from "@allspark/tensor/models";
 * import { assertEquals } from "@std/assert";
 * const params = initMitEncoder(random.key(0), { variant: "b0" });
 * const features = mitEncoder(params, zeros([1, 3, 64, 64]), { variant: "b0" });
 * assertEquals(features.map(({ shape }) => shape[2]), [16, 8, 4, 2]);
 * ```
 */
export function mitEncoder(
  params: MitParams,
  images: Tensor,
  options: MitEncoderOptions,
): [Tensor, Tensor, Tensor, Tensor] {
  const { train = false, key, rates = {}, recompute = false } = options;
  const { depths, heads, srRatios } = mitSizes(options.variant);
  checkImages(images, params, depths);
  const last = depths.reduce((sum, depth) => sum + depth, 0) - 1;
  const features: Tensor[] = [];
  let map = images;
  let index = 0;
  params.stages.forEach((stage, k) => {
    let [tokens, side] = embedPatches(map, stage, k === 0);
    for (const block of stage.blocks) {
      const rate = last === 0 ? 0 : ((rates.dropPath ?? 0.1) * index) / last;
      const settings = { heads: heads[k]!, ratio: srRatios[k]!, side, rate, train };
      const transform = (params: MitBlock, x: Tensor, key: Tensor | null): Tensor =>
        transformerBlock(params, x, key, settings);
      const blockKey = train && rate > 0 && key !== undefined ? random.foldIn(key, index) : null;
      tokens = (recompute ? checkpoint(transform) : transform)(block, tokens, blockKey);
      index++;
    }
    map = mapOf(normalize(tokens, stage.norm, 1e-6), side);
    features.push(map);
  });
  return features as [Tensor, Tensor, Tensor, Tensor];
}

/** Overlapping patches: a strided convolution, normalised. */
function embedPatches(map: Tensor, { patches }: MitStage, first: boolean): [Tensor, [number, number]] {
  const options = first ? { stride: 4, padding: 3 } : { stride: 2, padding: 1 };
  const embedded = convolve(map, patches.projection, options);
  return [normalize(tokensOf(embedded), patches.norm, 1e-5), sideOf(embedded)];
}

/** x + attention(norm(x)), then x + Mix-FFN(norm(x)); each branch may be dropped for a whole sample. */
function transformerBlock(params: MitBlock, x: Tensor, key: Tensor | null, options: BlockOptions): Tensor {
  const { rate, train } = options;
  const keys = key === null ? [] : random.split(key, 2);
  const drop = (branch: Tensor, key: Tensor | undefined): Tensor => dropPath(branch, { rate, train, key });
  const attended = efficientAttention(params.attention, normalize(x, params.norm1, 1e-6), options);
  const y = add(x, drop(attended, keys[0]));
  const mixed = mixFeedForward(params.feedForward, normalize(y, params.norm2, 1e-6), options.side);
  return add(y, drop(mixed, keys[1]));
}

/** Softmax(Q Kᵀ / √d) V, where a convolution of stride R has made K and V fewer by R² (equations 1 and 2). */
function efficientAttention(
  params: MitBlock["attention"],
  x: Tensor,
  { heads, ratio, side }: BlockOptions,
): Tensor {
  const [batch, count, channels] = x.shape as [number, number, number];
  const source = params.reduction === undefined ? x : normalize(
    tokensOf(convolve(mapOf(x, side), params.reduction.convolution, { stride: ratio })),
    params.reduction.norm,
    1e-5,
  );
  const perHead = channels / heads;
  const headsOf = (tokens: Tensor): Tensor =>
    transpose(reshape(tokens, [batch, tokens.shape[1]!, heads, perHead]), { axes: [0, 2, 1, 3] });
  const query = headsOf(dense(x, params.query));
  const both = dense(source, params.keyValue);
  const half = (k: 0 | 1): Tensor =>
    headsOf(slice(both, { starts: [0, 0, k * channels], sizes: [batch, source.shape[1]!, channels] }));
  const attended = attention(query, half(0), half(1), { scale: 1 / Math.sqrt(perHead) });
  return dense(
    reshape(transpose(attended, { axes: [0, 2, 1, 3] }), [batch, count, channels]),
    params.output,
  );
}

/** MLP(GELU(Conv3×3(MLP(x)))) (equation 3); the depthwise convolution's zero padding tells positions apart. */
function mixFeedForward(
  params: MitBlock["feedForward"],
  x: Tensor,
  side: readonly [number, number],
): Tensor {
  const hidden = mapOf(dense(x, params.expand), side);
  const mixed = convolve(hidden, params.depthwise, { padding: 1, groups: hidden.shape[1]! });
  return dense(gelu(tokensOf(mixed)), params.contract);
}

function checkImages(images: Tensor, params: MitParams, depths: readonly number[]): void {
  const { shape } = images;
  if (shape.length !== 4 || shape[1] !== 3 || shape[2]! < 29 || shape[3]! < 29) {
    throw new ShapeError(
      `Cannot encode images ${formatShape(shape)}: [B, 3, S, T] with sides of at least 29 pixels is required`,
    );
  }
  const found = params.stages.map(({ blocks }) => blocks.length);
  if (found.join() !== depths.join()) {
    throw new ShapeError(
      `Cannot encode images: the parameters have ${found.join(", ")} blocks and the variant ${
        depths.join(", ")
      }`,
    );
  }
}
