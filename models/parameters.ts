/**
 * One description of every parameter and every carried state of the models: its place in our trees, its
 * official name, its shape, and how it begins. Initialisation and the reading and writing of weight files all
 * follow it, so that none of them can disagree.
 *
 * @module
 */
import type { Tensor } from "../src/tensor.ts";
import type { DType } from "../src/dtype.ts";
import type { MitSizes } from "./config.ts";

/** A linear layer or convolution: weight `[out, in, ...]`, bias `[out]`. */
export interface Affine<Leaf = Tensor> {
  /** `[out, in]` or `[out, in / groups, height, width]`, PyTorch's layouts. */
  readonly weight: Leaf;
  /** `[out]`. */
  readonly bias: Leaf;
}

/** The learned part of a normalisation. */
export interface Norm<Leaf = Tensor> {
  /** Factor of each channel. */
  readonly gain: Leaf;
  /** Offset of each channel. */
  readonly bias: Leaf;
}

/** One transformer block of the encoder, with C channels. */
export interface MitBlock<Leaf = Tensor> {
  /** Before the attention. */
  readonly norm1: Norm<Leaf>;
  /** Efficient self-attention. */
  readonly attention: {
    /** `[C, C]`. */
    readonly query: Affine<Leaf>;
    /** `[2C, C]`: keys, then values. */
    readonly keyValue: Affine<Leaf>;
    /** `[C, C]`. */
    readonly output: Affine<Leaf>;
    /** The convolution that makes keys and values fewer, and its normalisation; not in the last stage. */
    readonly reduction?: { readonly convolution: Affine<Leaf>; readonly norm: Norm<Leaf> };
  };
  /** Before the feed-forward part. */
  readonly norm2: Norm<Leaf>;
  /** Mix-FFN. */
  readonly feedForward: {
    /** `[4C, C]`. */
    readonly expand: Affine<Leaf>;
    /** `[4C, 1, 3, 3]`. */
    readonly depthwise: Affine<Leaf>;
    /** `[C, 4C]`. */
    readonly contract: Affine<Leaf>;
  };
}

/** One stage of the encoder. */
export interface MitStage<Leaf = Tensor> {
  /** Overlapping patches. */
  readonly patches: { readonly projection: Affine<Leaf>; readonly norm: Norm<Leaf> };
  /** Transformer blocks. */
  readonly blocks: readonly MitBlock<Leaf>[];
  /** After the last block. */
  readonly norm: Norm<Leaf>;
}

/** Parameters of the encoder. */
export interface MitParams<Leaf = Tensor> {
  /** The four stages. */
  readonly stages: readonly MitStage<Leaf>[];
}

/** Parameters of the head, with E channels. */
export interface HeadParams<Leaf = Tensor> {
  /** Of stages 1 to 4: `[E, C_i]`. */
  readonly projections: readonly Affine<Leaf>[];
  /** `[E, 4E, 1, 1]`, for stages 4, 3, 2, 1 in this order; without bias. */
  readonly fuse: Leaf;
  /** Batch normalisation after it. */
  readonly norm: Norm<Leaf>;
  /** `[K, E, 1, 1]`. */
  readonly classify: Affine<Leaf>;
}

/** Projections of one branch of AllSpark, without biases. */
export interface Projections<Leaf = Tensor> {
  /** `[H·C, C]`. */
  readonly query: Leaf;
  /** `[H·C, C]`. */
  readonly key: Leaf;
  /** `[H·C, C]`. */
  readonly value: Leaf;
  /** `[C, H·C]`. */
  readonly output: Leaf;
}

/** Parameters of AllSpark, with C channels and H heads. */
export interface AllSparkParams<Leaf = Tensor> {
  /** `[C, C, 1, 1]`. */
  readonly mapIn: Affine<Leaf>;
  /** Before the attention. */
  readonly norm: Norm<Leaf>;
  /** Self-attention of the unlabeled images. */
  readonly unlabeled: Projections<Leaf>;
  /** Cross-attention of the labeled images. */
  readonly labeled: Projections<Leaf>;
  /** After the residual sum. */
  readonly outputNorm: Norm<Leaf>;
  /** `[C, C, 1, 1]`. */
  readonly mapOut: Affine<Leaf>;
}

/** All learned parameters. */
export interface ModelParams<Leaf = Tensor> {
  /** The encoder. */
  readonly backbone: MitParams<Leaf>;
  /** The head. */
  readonly decoder: HeadParams<Leaf>;
  /** AllSpark, in models that have it. */
  readonly allspark?: AllSparkParams<Leaf>;
}

/** Running statistics of the head's batch normalisation. */
export interface HeadState<Leaf = Tensor> {
  /** `[E]`. */
  readonly mean: Leaf;
  /** `[E]`, unbiased. */
  readonly variance: Leaf;
  /** Training forwards so far, an i32 scalar. */
  readonly count: Leaf;
}

/** The Semantic Memory. */
export interface MemoryState<Leaf = Tensor> {
  /** `[K, slots, P]`: the stored channels of each class, each a map of P positions. */
  readonly queue: Leaf;
  /** `[K]` i32: the slot that each class writes next. */
  readonly pointer: Leaf;
}

/** The memory of models without AllSpark. */
export type NoMemory = Readonly<Record<string, never>>;

/** Everything that makes a model. */
export interface Model<Leaf = Tensor> {
  /** Learned. */
  readonly params: ModelParams<Leaf>;
  /** Running statistics. */
  readonly bnState: HeadState<Leaf>;
  /** Semantic Memory, empty in models without AllSpark. */
  readonly memState: MemoryState<Leaf> | NoMemory;
}

/** How a parameter begins. */
export type Initial =
  | { readonly kind: "constant"; readonly value: number }
  /** Normal, cut at ± 2 as PyTorch does: absolutely, so at small deviations never. */
  | { readonly kind: "normal"; readonly std: number }
  | { readonly kind: "uniform"; readonly bound: number };

/** A leaf of the description. */
export class Parameter {
  /**
   * @param name Official name.
   * @param shape Its shape, the same in our trees.
   * @param initial How it begins.
   * @param dtype Element type.
   */
  constructor(
    readonly name: string,
    readonly shape: readonly number[],
    readonly initial: Initial,
    readonly dtype: DType = "f32",
  ) {}
}

const zero: Initial = { kind: "constant", value: 0 };
const one: Initial = { kind: "constant", value: 1 };

function norm(name: string, channels: number): Norm<Parameter> {
  return {
    gain: new Parameter(`${name}.weight`, [channels], one),
    bias: new Parameter(`${name}.bias`, [channels], zero),
  };
}

/** The encoder's linear layers: std 0.02, bias 0. */
function linear(name: string, outputs: number, inputs: number): Affine<Parameter> {
  return {
    weight: new Parameter(`${name}.weight`, [outputs, inputs], { kind: "normal", std: 0.02 }),
    bias: new Parameter(`${name}.bias`, [outputs], zero),
  };
}

/** The encoder's convolutions: std √(2 / fan out), bias 0. */
function convolution(
  name: string,
  outputs: number,
  inputs: number,
  size: number,
  groups = 1,
): Affine<Parameter> {
  const std = Math.sqrt((2 * groups) / (size * size * outputs));
  return {
    weight: new Parameter(`${name}.weight`, [outputs, inputs / groups, size, size], { kind: "normal", std }),
    bias: new Parameter(`${name}.bias`, [outputs], zero),
  };
}

/** PyTorch's default for linear layers and convolutions: uniform within ± 1 / √(fan in), the bias too. */
function uniformLayer(name: string, shape: readonly number[]): Affine<Parameter> {
  const initial: Initial = { kind: "uniform", bound: 1 / Math.sqrt(shape[1]!) };
  return {
    weight: new Parameter(`${name}.weight`, shape, initial),
    bias: new Parameter(`${name}.bias`, [shape[0]!], initial),
  };
}

/** The sizes on which shapes and names depend. */
export interface ModelShape {
  /** Of the encoder. */
  readonly sizes: Omit<MitSizes, "heads">;
  /** Number of classes K. */
  readonly classes: number;
  /** Channels E of the head. */
  readonly embedding: number;
  /** Heads H of AllSpark, or 0 without it. */
  readonly heads: number;
  /** Slots of the memory per class. */
  readonly queueSize: number;
  /** Positions P of the memory's maps. */
  readonly tokens: number;
}

/** Describes the encoder; `prefix` is `backbone.`, or empty for a file of the encoder alone. */
export function describeMitEncoder(
  { dims, depths, srRatios }: ModelShape["sizes"],
  prefix: string,
): MitParams<Parameter> {
  const stages = dims.map((channels, k): MitStage<Parameter> => {
    const [stage, size, inputs] = [k + 1, k === 0 ? 7 : 3, k === 0 ? 3 : dims[k - 1]!];
    return {
      patches: {
        projection: convolution(`${prefix}patch_embed${stage}.proj`, channels, inputs, size),
        norm: norm(`${prefix}patch_embed${stage}.norm`, channels),
      },
      blocks: Array.from(
        { length: depths[k]! },
        (_, j) => describeBlock(`${prefix}block${stage}.${j}`, channels, srRatios[k]!),
      ),
      norm: norm(`${prefix}norm${stage}`, channels),
    };
  });
  return { stages };
}

function describeBlock(name: string, channels: number, ratio: number): MitBlock<Parameter> {
  const hidden = 4 * channels;
  const reduction = {
    convolution: convolution(`${name}.attn.sr`, channels, channels, ratio),
    norm: norm(`${name}.attn.norm`, channels),
  };
  return {
    norm1: norm(`${name}.norm1`, channels),
    attention: {
      query: linear(`${name}.attn.q`, channels, channels),
      keyValue: linear(`${name}.attn.kv`, 2 * channels, channels),
      output: linear(`${name}.attn.proj`, channels, channels),
      ...(ratio > 1 ? { reduction } : {}),
    },
    norm2: norm(`${name}.norm2`, channels),
    feedForward: {
      expand: linear(`${name}.mlp.fc1`, hidden, channels),
      depthwise: convolution(`${name}.mlp.dwconv.dwconv`, hidden, hidden, 3, hidden),
      contract: linear(`${name}.mlp.fc2`, channels, hidden),
    },
  };
}

/** Describes the head; `prefix` is `decoder.decoder.`. */
export function describeHead(
  { sizes, embedding, classes }: Pick<ModelShape, "sizes" | "embedding" | "classes">,
  prefix: string,
): { params: HeadParams<Parameter>; bnState: HeadState<Parameter> } {
  const statistic = (name: string, initial: Initial): Parameter =>
    new Parameter(`${prefix}linear_fuse.bn.${name}`, [embedding], initial);
  return {
    params: {
      projections: sizes.dims.map((channels, k) =>
        uniformLayer(`${prefix}linear_c${k + 1}.proj`, [embedding, channels])
      ),
      fuse: new Parameter(`${prefix}linear_fuse.conv.weight`, [embedding, 4 * embedding, 1, 1], {
        kind: "normal",
        std: Math.sqrt(2 / embedding),
      }),
      norm: norm(`${prefix}linear_fuse.bn`, embedding),
      classify: uniformLayer(`${prefix}linear_pred`, [classes, embedding, 1, 1]),
    },
    bnState: {
      mean: statistic("running_mean", zero),
      variance: statistic("running_var", one),
      count: new Parameter(`${prefix}linear_fuse.bn.num_batches_tracked`, [], zero, "i32"),
    },
  };
}

/** Describes AllSpark and its memory; `prefix` is `decoder.allspark.`. */
export function describeAllSpark(
  { sizes, heads, classes, queueSize, tokens }: Omit<ModelShape, "embedding">,
  prefix: string,
): { params: AllSparkParams<Parameter>; memState: MemoryState<Parameter> } {
  const channels = sizes.dims[3];
  const width = heads * channels;
  // Xavier: uniform within ± √(6 / (in + out)).
  const initial: Initial = { kind: "uniform", bound: Math.sqrt(6 / (channels + width)) };
  const projections = (branch: string): Projections<Parameter> => {
    const weight = (name: string, shape: readonly number[]): Parameter =>
      new Parameter(`${prefix}attn.${name}_${branch}.weight`, shape, initial);
    return {
      query: weight("q", [width, channels]),
      key: weight("k", [width, channels]),
      value: weight("v", [width, channels]),
      output: weight("out", [channels, width]),
    };
  };
  return {
    params: {
      mapIn: uniformLayer(`${prefix}map_in.0`, [channels, channels, 1, 1]),
      norm: norm(`${prefix}attn_norm`, channels),
      unlabeled: projections("u"),
      labeled: projections("l2u"),
      outputNorm: norm(`${prefix}encoder_norm`, channels),
      mapOut: uniformLayer(`${prefix}map_out.0`, [channels, channels, 1, 1]),
    },
    memState: {
      queue: new Parameter(`${prefix}attn.kv_queue`, [classes, queueSize, tokens], {
        kind: "normal",
        std: 1,
      }),
      pointer: new Parameter(`${prefix}attn.queue_ptr`, [classes], zero, "i32"),
    },
  };
}

/** Describes a whole model, by the names of the official checkpoints. */
export function describeModel(shape: ModelShape): Model<Parameter> {
  const backbone = describeMitEncoder(shape.sizes, "backbone.");
  const { params: decoder, bnState } = describeHead(shape, "decoder.decoder.");
  if (shape.heads === 0) return { params: { backbone, decoder }, bnState, memState: {} };
  const { params: allspark, memState } = describeAllSpark(shape, "decoder.allspark.");
  return { params: { backbone, decoder, allspark }, bnState, memState };
}
