/**
 * Channel-wise attention (AllSpark, section 3.2): channels attend to channels, and the scores are instance-normalised
 * over the whole score matrix before the softmax.
 *
 * Here it is ordinary attention with one temperature. Let Q `[R, N]` and K `[M, N]` be query and key channels over
 * N positions and G = Q Kᵀ. The softmax of a row does not see a constant, so softmax(IN(G)) = softmax(s G) with
 * s = 1 / √(σ² + ε), and the variance σ² of all R·M scores follows without forming them: with the keys centred,
 * Kc = K − k̄, and the queries centred, Qc = Q − q̄,
 *
 *     σ² = ⟨Qᵀ Q, Kcᵀ Kc⟩ / (R M) + mean_r (Qc_r · k̄)²
 *
 * two terms that are never negative, from two N × N matrices. So nothing of the size R × M is held, and the
 * derivative is that of ordinary attention.
 *
 * @module
 */
import {
  add,
  attention,
  type DropoutOptions,
  matmul,
  maximum,
  mean,
  mul,
  rsqrt,
  square,
  sub,
  sum,
  swapAxes,
} from "../ops/mod.ts";
import type { Tensor } from "../src/tensor.ts";

/** Options of {@linkcode channelAttention}. */
export interface ChannelAttentionOptions {
  /** Added to the variance of the scores. Default 1e-5. */
  readonly eps?: number;
  /** Dropout of the attention weights; by default none. */
  readonly dropout?: DropoutOptions;
}

/**
 * softmax(instanceNorm(Q Kᵀ)) V, where the softmax goes over the keys and the instance norm over all scores
 * of a matrix.
 *
 * Shapes: `query` `[..., R, N]`, `key` and `value` `[..., M, N]` → `[..., R, N]`: R and M channels over N positions.
 * Leading axes broadcast; keys and values without leading axes are shared. f32; differentiable in all three.
 *
 * @param query Query channels.
 * @param key Key channels.
 * @param value Value channels.
 * @param options `eps`, `dropout`.
 * @throws {ShapeError} If the shapes do not fit.
 * @see Wang et al., "AllSpark: Reborn Labeled Features from Unlabeled in Transformer for Semi-Supervised Semantic
 * Segmentation", CVPR 2024, equations 3 and 4
 * @example
 * ```ts
 * import { instanceNorm, matmul, max, abs, random, softmax, sub, swapAxes } from "@allspark/tensor";
 * import { channelAttention } from "@allspark/tensor/models";
 * import { assert } from "@std/assert";
 * const [q, k, v] = random.split(random.key(0), 3).map((key) => random.normal(key, [8, 5]));
 * const direct = matmul(softmax(instanceNorm(matmul(q!, swapAxes(k!, 0, 1)))), v!);
 * assert(await max(abs(sub(channelAttention(q!, k!, v!), direct))).item() < 1e-5);
 * ```
 */
export function channelAttention(
  query: Tensor,
  key: Tensor,
  value: Tensor,
  options: ChannelAttentionOptions = {},
): Tensor {
  const { eps = 1e-5, dropout } = options;
  const keyMean = mean(key, { axis: -2, keepDims: true });
  // Centred keys give each row's scores without their mean, which the softmax does not see: smaller logits.
  const centred = sub(key, keyMean);
  const scale = rsqrt(add(scoreVariance(query, centred, keyMean), eps));
  return attention(query, centred, value, { scale, dropout });
}

/** σ² of all scores between queries and keys, `[..., 1, 1]`. */
function scoreVariance(query: Tensor, centredKey: Tensor, keyMean: Tensor): Tensor {
  const scores = query.shape.at(-2)! * centredKey.shape.at(-2)!;
  const within = sum(mul(gram(query), gram(centredKey)), { axis: [-2, -1], keepDims: true });
  const centredQuery = sub(query, mean(query, { axis: -2, keepDims: true }));
  const rowMeans = matmul(centredQuery, swapAxes(keyMean, -1, -2));
  const between = mean(square(rowMeans), { axis: [-2, -1], keepDims: true });
  return add(maximum(mul(within, 1 / scores), 0), between);
}

/** Xᵀ X: `[..., R, N]` to `[..., N, N]`. */
function gram(x: Tensor): Tensor {
  return matmul(swapAxes(x, -1, -2), x);
}
