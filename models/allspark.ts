/**
 * AllSpark (Wang et al., CVPR 2024): labeled features are reborn from unlabeled ones. Between encoder and head, each
 * labeled image's channels are rebuilt from channels of unlabeled images, or of the Semantic Memory, by channel-wise
 * cross-attention, so that the labeled data no longer dominate the training.
 *
 * The default follows the official code wherever it differs from the paper; options give the paper's reading.
 *
 * @module
 */
import {
  add,
  concat,
  dropout,
  einsum,
  gelu,
  random,
  reshape,
  slice,
  swapAxes,
  transpose,
} from "../ops/mod.ts";
import { requireChoice } from "../ops/common.ts";
import { formatShape, ShapeError } from "../src/errors.ts";
import type { Tensor } from "../src/tensor.ts";
import type { DropRates } from "./config.ts";
import { channelAttention } from "./cross_attention.ts";
import { mapOf, normalize, pointwise, sideOf, tokensOf } from "./layers.ts";
import type { AllSparkParams, MemoryState, Projections } from "./parameters.ts";
import { groupChannels, type Grouping, readMemory, writeMemory } from "./semantic_memory.ts";

/** What `evalKeys` may be. */
export const keySources: readonly string[] = ["self", "memory"];

/** Options of {@linkcode allspark}. */
export interface AllSparkOptions {
  /**
   * In training: class scores `[B, K, S, T]` of the unlabeled images, from an evaluation of the same network.
   * Without them all images are labeled ones, which attend to each other, and the memory stays as it is.
   */
  readonly logits?: Tensor | undefined;
  /** In training: whether keys and values are the memory's, or those of the batch's unlabeled images. Default true. */
  readonly useMemory?: boolean;
  /** Default false. */
  readonly train?: boolean;
  /** Random key, needed in training unless both rates are 0. */
  readonly key?: Tensor | undefined;
  /** `attention` and `projection`, default 0.1 each. */
  readonly rates?: Pick<DropRates, "attention" | "projection">;
  /** Number of heads H; the projections are H·C wide. Default 2. */
  readonly heads?: number;
  /** What the grouping compares channels with. Default "logits", as in the official code; the paper says probabilities. */
  readonly grouping?: Grouping;
  /** In evaluation: keys and values of the images themselves (default, as in the official code) or of the memory. */
  readonly evalKeys?: "self" | "memory";
}

/** Random keys of the four dropouts; undefined where nothing is random. */
interface Dropping {
  readonly train: boolean;
  readonly rates: Required<Pick<DropRates, "attention" | "projection">>;
  readonly keys: readonly (Tensor | undefined)[];
}

/**
 * The last features of the encoder, reborn.
 *
 * Shapes: `e4` `[2B, C, h, w]`, in training the labeled half first and the unlabeled half second (in evaluation any number of
 * images) → features of the same shape.
 *
 * In training, the unlabeled features are grouped and written into the memory before it is read. In
 * evaluation the images of a batch are each other's keys, so they influence each other, as in the official code: evaluate
 * one at a time to avoid that. `evalKeys: "memory"` reads the memory instead, resized where images are not of the training
 * crop's size.
 *
 * @param params AllSpark's parameters.
 * @param memState The Semantic Memory.
 * @param e4 Features of the encoder's last stage.
 * @param options See {@linkcode AllSparkOptions}.
 * @returns The features, the new memory, and, where logits were given, the class of each unlabeled channel `[B, C]` i32.
 * @throws {ShapeError} If the halves are not equal, or sizes do not fit parameters or memory.
 * @throws {RangeError} If `grouping` or `evalKeys` is another word.
 */
export function allspark(
  params: AllSparkParams,
  memState: MemoryState,
  e4: Tensor,
  options: AllSparkOptions = {},
): { features: Tensor; memState: MemoryState; channelClass?: Tensor } {
  const { logits, useMemory = true, train = false, key, heads = 2, grouping, evalKeys = "self" } = options;
  requireChoice("apply allspark", "evalKeys", evalKeys, keySources);
  checkFeatures(params, e4, heads, logits);
  const side = sideOf(e4);
  const channels = e4.shape[1]!;
  const rates = { attention: 0.1, projection: 0.1, ...options.rates };
  const keys = train && key !== undefined ? random.split(key, 4) : [];
  const labeledDrops: Dropping = { train, rates, keys: keys.slice(0, 2) };
  const unlabeledDrops: Dropping = { train, rates, keys: keys.slice(2, 4) };

  const embedded = tokensOf(gelu(pointwise(e4, params.mapIn.weight, params.mapIn.bias)));
  const all = swapAxes(normalize(embedded, params.norm, 1e-6), 1, 2);
  const finish = (attended: Tensor): Tensor => {
    const output = normalize(add(attended, embedded), params.outputNorm, 1e-6);
    return gelu(pointwise(mapOf(output, side), params.mapOut.weight, params.mapOut.bias));
  };
  if (!train || logits === undefined) {
    const fromMemory = !train && evalKeys === "memory";
    const sources = fromMemory ? readMemory(memState, { channels, side, resizable: true }) : all;
    return { features: finish(crossAttend(params.labeled, all, sources, labeledDrops)), memState };
  }
  const [labeled, unlabeled] = halves(all);
  const channelClass = groupChannels(unlabeled, logits, {
    side,
    ...(grouping === undefined ? {} : { grouping }),
  });
  const next = writeMemory(memState, unlabeled, channelClass);
  const sources = useMemory ? readMemory(next, { channels, side }) : unlabeled;
  const reborn = crossAttend(params.labeled, labeled, sources, labeledDrops);
  const own = selfAttend(params.unlabeled, unlabeled, heads, unlabeledDrops);
  return { features: finish(concat([reborn, own])), memState: next, channelClass };
}

/**
 * Labeled branch: all H·C query channels of an image attend to the channels of all sources in one matrix; there
 * are no heads here. `x` `[B, C, N]`, `sources` `[S, C, N]` → tokens `[B, N, C]`.
 */
function crossAttend(params: Projections, x: Tensor, sources: Tensor, dropping: Dropping): Tensor {
  const together = (projected: Tensor): Tensor => {
    const [count, width, positions] = projected.shape as [number, number, number];
    return reshape(projected, [count * width, positions]);
  };
  const attended = channelAttention(
    project(params.query, x),
    together(project(params.key, sources)),
    together(project(params.value, sources)),
    { dropout: { train: dropping.train, rate: dropping.rates.attention, key: dropping.keys[0] } },
  );
  return output(params.output, attended, dropping);
}

/**
 * Unlabeled branch: channels attend to channels of the same image, head by head. `[B, C, N]` → tokens
 * `[B, N, C]`. The projections put the heads one after another, but the output expects them interleaved (head
 * fastest), as in the official code.
 */
function selfAttend(params: Projections, x: Tensor, heads: number, dropping: Dropping): Tensor {
  const [batch, channels, positions] = x.shape as [number, number, number];
  const headsOf = (weight: Tensor): Tensor =>
    reshape(project(weight, x), [batch, heads, channels, positions]);
  const attended = channelAttention(headsOf(params.query), headsOf(params.key), headsOf(params.value), {
    dropout: { train: dropping.train, rate: dropping.rates.attention, key: dropping.keys[0] },
  });
  const interleaved = reshape(transpose(attended, { axes: [0, 2, 1, 3] }), [
    batch,
    channels * heads,
    positions,
  ]);
  return output(params.output, interleaved, dropping);
}

/** weight `[O, C]` at every position: `[B, C, N]` to `[B, O, N]`. */
function project(weight: Tensor, x: Tensor): Tensor {
  return einsum("oc,bcn->bon", weight, x);
}

/** The output projection of attended channels `[B, R, N]`, as tokens `[B, N, C]`, with dropout. */
function output(weight: Tensor, attended: Tensor, { train, rates, keys }: Dropping): Tensor {
  return dropout(einsum("brn,cr->bnc", attended, weight), { train, rate: rates.projection, key: keys[1] });
}

/** Labeled and unlabeled half of a batch. */
function halves(x: Tensor): [Tensor, Tensor] {
  const half = x.shape[0]! / 2;
  return [slice(x, { stops: [half] }), slice(x, { starts: [half] })];
}

function checkFeatures(
  params: AllSparkParams,
  e4: Tensor,
  heads: number,
  logits: Tensor | undefined,
): void {
  const [width, channels] = params.labeled.query.shape;
  if (e4.ndim !== 4 || e4.shape[1] !== channels || width !== heads * channels!) {
    throw new ShapeError(
      `Cannot apply allspark to features ${formatShape(e4.shape)} with ${heads} heads: the projections are ${
        formatShape(params.labeled.query.shape)
      }, so [B, ${channels}, h, w] and ${width! / channels!} heads are required`,
    );
  }
  if (logits !== undefined && e4.shape[0] !== 2 * logits.shape[0]!) {
    throw new ShapeError(
      `Cannot apply allspark to ${e4.shape[0]} images with logits ${
        formatShape(logits.shape)
      }: as many labeled as unlabeled images are required, and logits for the unlabeled ones`,
    );
  }
}
