/**
 * The all-MLP head of SegFormer (Xie et al., NeurIPS 2021, section 3.2): the features of all stages, with E channels
 * each, upsampled to 1/4 of the image, fused, and classified.
 *
 * @module
 */
import { add, batchNorm, dropout2d, matmul, relu, reshape, resize, slice } from "../ops/mod.ts";
import { formatShape, ShapeError } from "../src/errors.ts";
import type { Tensor } from "../src/tensor.ts";
import type { DropRates } from "./config.ts";
import { pointwise, sideOf } from "./layers.ts";
import type { HeadParams, HeadState } from "./parameters.ts";

/** Options of {@linkcode mlpDecoder}. */
export interface MlpDecoderOptions {
  /** Running statistics of the batch normalisation. */
  readonly bnState: HeadState;
  /** Whether the batch's own statistics are used, and channels dropped. Default false. */
  readonly train?: boolean;
  /** Random key, needed in training unless `rates.head` is 0. */
  readonly key?: Tensor | undefined;
  /** `head`, default 0.1: the rate of dropped channels. */
  readonly rates?: Pick<DropRates, "head">;
  /** Number of classes, if it is to be checked against the parameters. */
  readonly classes?: number;
}

/**
 * Class scores from the features of an encoder.
 *
 * Shapes: `[B, C_i, H_i, W_i]` for i = 1 to 4 → logits `[B, K, H_1, W_1]`, at a quarter of the image's size.
 *
 * @param params The head's parameters.
 * @param features Feature maps of the four stages.
 * @param options Running statistics, dropping.
 * @returns The logits and the new running statistics (in evaluation the old ones).
 * @throws {ShapeError} If there are not four feature maps, or `classes` is another number than the parameters have.
 */
export function mlpDecoder(
  params: HeadParams,
  features: readonly Tensor[],
  options: MlpDecoderOptions,
): { logits: Tensor; bnState: HeadState } {
  const { bnState, train = false, key, rates = {}, classes } = options;
  if (features.length !== 4) {
    throw new ShapeError(`Cannot decode ${features.length} feature maps: those of four stages are required`);
  }
  const found = params.classify.weight.shape[0]!;
  if (classes !== undefined && classes !== found) {
    throw new ShapeError(
      `Cannot decode to ${classes} classes: the classifier has weight ${
        formatShape(params.classify.weight.shape)
      }, for ${found}`,
    );
  }
  const fused = fuse(params, features);
  const normalized = batchNorm(fused, params.norm, bnState, { train });
  const kept = dropout2d(relu(normalized.output), { rate: rates.head ?? 0.1, train, key });
  const logits = pointwise(kept, params.classify.weight, params.classify.bias);
  return { logits, bnState: { ...normalized.state, count: train ? add(bnState.count, 1) : bnState.count } };
}

/**
 * linear_fuse(concat(up(W_4 c4 + b_4), …, W_1 c1 + b_1)), computed as Σ up(F_i W_i c_i + F_i b_i), where F_i are the
 * columns of linear_fuse that belong to stage i. A product at every position and an interpolation between positions act on different
 * axes, so they commute exactly: the products are made where the maps are small, and, since F_i W_i is computed first,
 * with few channels.
 */
function fuse(params: HeadParams, features: readonly Tensor[]): Tensor {
  const width = params.fuse.shape[0]!;
  const matrix = reshape(params.fuse, [width, 4 * width]);
  const size = sideOf(features[0]!);
  const parts = features.map((feature, k) => {
    const { weight, bias } = params.projections[k]!;
    const columns = slice(matrix, { starts: [0, (3 - k) * width], sizes: [width, width] });
    const part = pointwise(feature, matmul(columns, weight), matmul(columns, bias));
    return resize(part, { size, method: "bilinear", alignCorners: false });
  });
  return parts.reduce((total, part) => add(total, part));
}
