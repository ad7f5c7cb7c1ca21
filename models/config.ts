/**
 * What a model is: the sizes of its encoder, its head and its AllSpark module.
 *
 * @module
 */

import type { ModelShape } from "./parameters.ts";

/** Sizes of a Mix Transformer, stage by stage. */
export interface MitSizes {
  /** Channels of the four stages. */
  readonly dims: readonly [number, number, number, number];
  /** Transformer blocks of the four stages. */
  readonly depths: readonly [number, number, number, number];
  /** Attention heads of the four stages; they divide the channels. */
  readonly heads: readonly [number, number, number, number];
  /** By how much keys and values are smaller than queries, along each side. */
  readonly srRatios: readonly [number, number, number, number];
}

/** A published encoder size, or sizes of your own. */
export type MitVariant = "b0" | "b1" | "b2" | "b3" | "b4" | "b5" | MitSizes;

/** Probabilities of what is dropped in training; 0 turns each off. */
export interface DropRates {
  /** Residual branches of the encoder, rising from 0 at its first block to this at its last. Default 0.1. */
  readonly dropPath?: number;
  /** AllSpark's attention weights. Default 0.1. */
  readonly attention?: number;
  /** AllSpark's two output projections. Default 0.1. */
  readonly projection?: number;
  /** Whole channels before the head's last layer. Default 0.1. */
  readonly head?: number;
}

/** A whole model. */
export interface ModelConfig {
  /** The encoder. */
  readonly variant: MitVariant;
  /** Number of classes K. */
  readonly classes: number;
  /** Channels E of the head. Default 256 for b0 and b1, else 768. */
  readonly embedding?: number;
  /** Whether the AllSpark module stands between encoder and head. Default true. */
  readonly allspark?: boolean;
  /** Heads H of AllSpark. Default 2. */
  readonly heads?: number;
  /** Side of the square training crops in pixels, which decides the size P of the memory's maps. Default 513. */
  readonly crop?: number;
  /** Channels that the memory holds of each class. Default C, the channels of the encoder's last stage. */
  readonly queueSize?: number;
  /** What is dropped in training. */
  readonly rates?: DropRates;
}

const wide = { dims: [64, 128, 320, 512], heads: [1, 2, 5, 8], srRatios: [8, 4, 2, 1] } as const;

const variants = new Map<string, MitSizes>([
  ["b0", { dims: [32, 64, 160, 256], depths: [2, 2, 2, 2], heads: wide.heads, srRatios: wide.srRatios }],
  ["b1", { ...wide, depths: [2, 2, 2, 2] }],
  ["b2", { ...wide, depths: [3, 4, 6, 3] }],
  ["b3", { ...wide, depths: [3, 4, 18, 3] }],
  ["b4", { ...wide, depths: [3, 8, 27, 3] }],
  ["b5", { ...wide, depths: [3, 6, 40, 3] }],
]);

/**
 * The sizes of an encoder (SegFormer, appendix A).
 *
 * @throws {RangeError} If the name is unknown or heads do not divide channels.
 * @example
 * ```ts
 * import { mitSizes } from "@allspark/tensor/models";
 * import { assertEquals } from "@std/assert";
 * assertEquals(mitSizes("b0").dims, [32, 64, 160, 256]);
 * ```
 */
export function mitSizes(variant: MitVariant): MitSizes {
  const sizes = typeof variant === "string" ? variants.get(variant) : variant;
  if (sizes === undefined) {
    throw new RangeError(
      `Cannot make encoder ${variant as string}: it must be b0 to b5, or { dims, depths, heads, srRatios }`,
    );
  }
  sizes.dims.forEach((channels, k) => {
    if (channels % sizes.heads[k]! === 0) return;
    throw new RangeError(
      `Cannot make an encoder whose stage ${k + 1} has ${channels} channels and ${
        sizes.heads[k]
      } heads: the heads must divide the channels`,
    );
  });
  return sizes;
}

/**
 * Writes the defaults out. The memory's maps have P = ⌈crop / 32⌉² positions. (The official code takes
 * (⌊crop / 32⌋ + 1)², which is wrong where 32 divides the crop.)
 *
 * @throws {RangeError} If a size is not possible.
 */
export function modelShape(config: ModelConfig): ModelShape {
  const sizes = mitSizes(config.variant);
  const { classes, allspark = true, heads = 2, crop = 513 } = config;
  const channels = sizes.dims[3];
  const embedding = config.embedding ?? (config.variant === "b0" || config.variant === "b1" ? 256 : 768);
  const queueSize = config.queueSize ?? channels;
  for (const [name, value] of Object.entries({ classes, embedding, heads, crop, queueSize })) {
    if (Number.isInteger(value) && value > 0) continue;
    throw new RangeError(`Cannot make a model with ${name} ${value}: a whole number above 0 is required`);
  }
  if (queueSize % channels !== 0 && channels % queueSize !== 0) {
    throw new RangeError(
      `Cannot make a memory of ${queueSize} channels per class: a multiple or a divisor of the encoder's ${channels} is required`,
    );
  }
  const tokens = Math.ceil(crop / 32) ** 2;
  return { sizes, classes, embedding, heads: allspark ? heads : 0, queueSize, tokens };
}
