/**
 * The whole model: images in, class scores at the images' size out. Encoder, AllSpark where the parameters have it, and
 * head, composed of pure functions.
 *
 * @module
 */
import { random, resize } from "../ops/mod.ts";
import type { Tensor } from "../src/tensor.ts";
import { allspark, type AllSparkOptions } from "./allspark.ts";
import type { DropRates, MitVariant } from "./config.ts";
import { sideOf } from "./layers.ts";
import { mitEncoder } from "./mit_encoder.ts";
import { mlpDecoder } from "./mlp_decoder.ts";
import type { MemoryState, Model } from "./parameters.ts";

/** Options of {@linkcode segment}. */
export interface SegmentOptions extends Omit<AllSparkOptions, "rates"> {
  /** The encoder's sizes. */
  readonly variant: MitVariant;
  /** What is dropped in training. */
  readonly rates?: DropRates;
  /** Whether the backward pass computes the encoder's blocks again instead of keeping their values. Default false. */
  readonly recompute?: boolean;
  /** Whether the logits get the images' size, or stay `[B, K, ⌈S/4⌉, ⌈T/4⌉]` as the head makes them. Default true. */
  readonly upsample?: boolean;
}

/** What {@linkcode segment} returns. */
export interface Segmentation {
  /** Class scores `[B, K, S, T]`, or a quarter of that without `upsample`. */
  readonly logits: Tensor;
  /** New running statistics. */
  readonly bnState: Model["bnState"];
  /** New memory. */
  readonly memState: Model["memState"];
  /** In AllSpark's training: the class of each unlabeled channel, `[B, C]` i32. */
  readonly channelClass?: Tensor;
}

/**
 * Class scores of every pixel.
 *
 * Shapes: `images` `[B, 3, S, T]`, ImageNet-normalised RGB → logits `[B, K, S, T]`. In AllSpark's training the
 * labeled images come first, the unlabeled ones second, and `logits` are given for these.
 *
 * @param model Parameters, running statistics and memory.
 * @param images Images whose sides are at least 29 pixels.
 * @param options See {@linkcode SegmentOptions}.
 * @throws {ShapeError} If shapes do not fit.
 * @example
 * ```ts
 * import { random, zeros } from "@allspark/tensor";
 * import { initModel, segment } from "@allspark/tensor/models";
 * import { assertEquals } from "@std/assert";
 * const model = initModel(random.key(0), { variant: "b0", classes: 21, crop: 65 });
 * const { logits } = segment(model, zeros([1, 3, 65, 80]), { variant: "b0" });
 * assertEquals(logits.shape, [1, 21, 65, 80]);
 * ```
 */
export function segment(model: Model, images: Tensor, options: SegmentOptions): Segmentation {
  const { params, bnState, memState } = model;
  const { train = false, key } = options;
  const keys = train && key !== undefined ? random.split(key, 3) : [];
  const [e1, e2, e3, e4] = mitEncoder(params.backbone, images, { ...options, key: keys[0] });
  const reborn = params.allspark === undefined
    ? { features: e4, memState }
    : allspark(params.allspark, memState as MemoryState, e4, { ...options, key: keys[1] });
  const { features, ...rest } = reborn;
  const head = {
    bnState,
    train,
    key: keys[2],
    ...(options.rates === undefined ? {} : { rates: options.rates }),
  };
  const decoded = mlpDecoder(params.decoder, [e1, e2, e3, features], head);
  const logits = options.upsample === false ? decoded.logits : upsample(decoded.logits, sideOf(images));
  return { logits, bnState: decoded.bnState, ...rest };
}

/** Logits at the size of the images: `[B, K, H, W]` to `[B, K, S, T]`, bilinear without aligned corners. */
export function upsample(logits: Tensor, size: readonly [number, number]): Tensor {
  return resize(logits, { size: [...size], method: "bilinear", alignCorners: false });
}

/**
 * Images whose sides are padded with zeros at the bottom and right to multiples of this have the logits of the unpadded
 * ones, before they are upsampled: the first convolution steps by four pixels and pads with zeros itself.
 */
export const patchSide = 4;
