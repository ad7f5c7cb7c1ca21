/**
 * What is measured. A case is plain data, so that it can be sent to participants in other processes and languages,
 * which know its operation by name.
 *
 * @module
 */
import { mitSizes, type MitVariant } from "../models/config.ts";
import { describeMitEncoder, Parameter } from "../models/parameters.ts";
import { sizeOf, type Spec, type SpecTree } from "./values.ts";

/** What a figure counts; speed is work per time in `unit`. */
export type Unit = "GFLOP/s" | "GB/s" | "µs each" | "images/s";

/** One thing to measure. */
export interface Case {
  /** For people, and for choosing cases by a part of it. */
  readonly name: string;
  /** What participants know it by. */
  readonly operation: string;
  /** Tensors that it is applied to. */
  readonly inputs: readonly Spec[];
  /** What a training step updates and a model computes with. */
  readonly parameters?: SpecTree;
  /** Numbers that belong to the operation. */
  readonly options?: { readonly [name: string]: number };
  /** Work of one call, in units of 10⁹ (or, for "µs each" and "images/s", how many). */
  readonly work?: number;
  /** Unit of the speed. */
  readonly unit?: Unit;
  /**
   * What the figure is: milliseconds of a call in a running process ("time"), those of the first call of a new process without
   * any cache ("first"), or the MB that a new process holds at most ("peak").
   */
  readonly figure: "time" | "first" | "peak";
  /** Results of participants may differ by this part of their size. */
  readonly tolerance: number;
  /** Whether other libraries can do it too. */
  readonly forPeers: boolean;
}

/** f32 results of different orders of summation differ by less than this. */
const tolerance = 1e-4;

const plain = { figure: "time", tolerance, forPeers: true } as const;
const own = { figure: "time", tolerance, forPeers: false, inputs: [] } as const;

function uniform(shape: readonly number[], seed: number, scale = 1): Spec {
  return { shape, seed, scale };
}

function product(name: string, a: readonly number[], b: readonly number[]): Case {
  const flops = 2 * sizeOf(a) * b.at(-1)!;
  return {
    ...plain,
    name,
    operation: "matmul",
    inputs: [uniform(a, 1), uniform(b, 2)],
    work: flops / 1e9,
    unit: "GFLOP/s",
  };
}

/** `[batch, channels, side, side]` convolved with `[outputs, channels / groups, size, size]`. */
function convolution(
  name: string,
  shapes: { readonly x: readonly number[]; readonly weight: readonly number[] },
  options: { readonly stride: number; readonly padding: number; readonly groups: number },
): Case {
  const [batch, , side] = shapes.x as [number, number, number];
  const outputs = batch * (side / options.stride) ** 2;
  return {
    ...plain,
    name,
    operation: "convolution",
    inputs: [uniform(shapes.x, 3), uniform(shapes.weight, 4, 0.1)],
    options,
    work: (2 * outputs * sizeOf(shapes.weight)) / 1e9,
    unit: "GFLOP/s",
  };
}

/** An operation that reads `inputs` and writes `written` elements, and is bound by memory. */
function streaming(
  name: string,
  operation: string,
  { inputs, written }: { inputs: readonly Spec[]; written: number },
): Case {
  const bytes = 4 * (sizeOf(inputs[0]!.shape) + written);
  return { ...plain, name, operation, inputs, work: bytes / 1e9, unit: "GB/s" };
}

/** Queries `[batch, count, channels]` on `keys` keys. */
function crossAttention(name: string, queries: readonly [number, number, number], keys: number): Case {
  const [batch, count, channels] = queries;
  const source = [batch, keys, channels];
  return {
    ...plain,
    name,
    operation: "attention",
    inputs: [uniform(queries, 9, 2), uniform(source, 10, 2), uniform(source, 11, 2)],
    work: (4 * batch * count * keys * channels) / 1e9,
    unit: "GFLOP/s",
  };
}

const million4 = 2 ** 22;
const rows = uniform([8192, 256], 6, 4);

const operations: readonly Case[] = [
  ...[256, 512, 1024].map((size) => product(`matmul ${size}`, [size, size], [size, size])),
  product("matmul of 8 [256, 64] by [64, 256]", [8, 256, 64], [8, 64, 256]),
  streaming("gelu(x a + b) + x, 4M", "gelu", { inputs: [uniform([million4], 5, 4)], written: million4 }),
  {
    ...streaming("sum of 4M", "sum", { inputs: [uniform([million4], 5, 4)], written: 0 }),
    // The terms have both signs, so their sum is a small part of what is added up.
    tolerance: 1e-3,
  },
  streaming("softmax [8192, 256]", "softmax", { inputs: [rows], written: 8192 * 256 }),
  streaming("layer norm [8192, 256]", "layerNorm", {
    inputs: [rows, uniform([256], 7), uniform([256], 8)],
    written: 8192 * 256,
  }),
  convolution(
    "convolution 3x3, 64 to 64, 64x64, batch 4",
    { x: [4, 64, 64, 64], weight: [64, 64, 3, 3] },
    { stride: 1, padding: 1, groups: 1 },
  ),
  convolution(
    "convolution 7x7 stride 4, 3 to 32, 128x128, batch 4",
    { x: [4, 3, 128, 128], weight: [32, 3, 7, 7] },
    { stride: 4, padding: 3, groups: 1 },
  ),
  convolution(
    "depthwise 3x3, 256 channels, 32x32, batch 4",
    { x: [4, 256, 32, 32], weight: [256, 1, 3, 3] },
    { stride: 1, padding: 1, groups: 256 },
  ),
  crossAttention("attention [8, 1024, 64] on [8, 256, 64]", [8, 1024, 64], 256),
];

/** Three layers with ReLU between them and cross-entropy over ten classes; plain gradient descent. */
function perceptronStep(): Case {
  const widths = [784, 1024, 1024, 10];
  const parameters = widths.slice(1).map((outputs, k) => ({
    weight: uniform([widths[k]!, outputs], 20 + k, 2 / Math.sqrt(widths[k]!)),
    bias: { shape: [outputs], value: 0 },
  }));
  const products = 784 * 1024 + 1024 * 1024 + 1024 * 10;
  return {
    ...plain,
    name: "MLP training step, batch 256",
    operation: "perceptronStep",
    inputs: [uniform([256, 784], 30, 2), { shape: [256, 10], oneHot: true }],
    parameters,
    options: { learningRate: 0.05 },
    // Forward, and backward to weights and inputs, but not to the images.
    work: (2 * 256 * (3 * products - 784 * 1024)) / 1e9,
    unit: "GFLOP/s",
  };
}

/** Parameters of the first `stages` stages of an encoder, uniform within ± 1 / √(fan in). */
function encoderParameters(variant: MitVariant, stages: number): SpecTree {
  let seed = 100;
  const specOf = (tree: unknown): SpecTree => {
    if (tree instanceof Parameter) {
      const { shape, initial } = tree;
      if (initial.kind === "constant") return { shape, value: initial.value };
      return uniform(shape, ++seed, 2 / Math.sqrt(sizeOf(shape.slice(1))));
    }
    if (Array.isArray(tree)) return tree.map(specOf);
    return Object.fromEntries(Object.entries(tree as object).map(([key, branch]) => [key, specOf(branch)]));
  };
  return specOf(describeMitEncoder(mitSizes(variant), "").stages.slice(0, stages));
}

/** Images through an encoder's first stages. */
interface EncoderOptions {
  /** 0 to 5. */
  readonly variant?: number;
  readonly stages?: number;
  readonly images?: number;
  readonly side?: number;
}

/** Images through the first stages of an encoder, forward and as a training step. */
function encoder(name: string, options: EncoderOptions): Case[] {
  const { variant = 0, stages = 4, images = 2, side = 128 } = options;
  const size = `b${variant}` as MitVariant;
  const common = {
    ...plain,
    parameters: encoderParameters(size, stages),
    options: { variant, stages, learningRate: 0.01 },
  };
  const image = uniform([images, 3, side, side], 50, 2);
  // Each stage is pulled towards a random map by the mean of the squared differences.
  const targets = mitSizes(size).dims.slice(0, stages).map((channels, k) => {
    const cells = (side / 4) >> k;
    return uniform([images, channels, cells, cells], 60 + k, 2);
  });
  return [
    { ...common, name: `${name}, forward`, operation: "encoder", inputs: [image] },
    { ...common, name: `${name}, training step`, operation: "encoderStep", inputs: [image, ...targets] },
  ];
}

/** A training step of AllSpark on as many labeled as unlabeled images, with the memory in use. */
function allspark(
  variant: number,
  { crop, classes, images }: Record<"crop" | "classes" | "images", number>,
): Case {
  return {
    ...own,
    name: `AllSpark step, B${variant}, crop ${crop}, ${images} + ${images} images`,
    operation: "allsparkStep",
    options: { variant, crop, classes, images },
  };
}

const wholeEncoder = encoder("MiT-B0", {});
const smallStep = allspark(0, { crop: 129, classes: 11, images: 2 });

/** Everything that is measured, in the order of the tables. */
export const cases: readonly Case[] = [
  ...operations,
  {
    ...own,
    name: "launches: a program of 1,000 tiny kernels",
    operation: "launches",
    inputs: [uniform([8, 8], 70)],
    work: 1000,
    unit: "µs each",
  },
  perceptronStep(),
  ...encoder("MiT stage 1", { stages: 1 }),
  ...wholeEncoder,
  smallStep,
  allspark(5, { crop: 129, classes: 11, images: 1 }),
  {
    ...wholeEncoder[1]!,
    name: "first call: MiT-B0 training step, nothing cached",
    figure: "first",
    forPeers: false,
  },
  { ...smallStep, name: `peak memory: ${smallStep.name}`, figure: "peak" },
];

/** Sizes that keep a GPU busy, up to the steps of the paper: its crop, and the 21 classes of PASCAL. */
export const gpuCases: readonly Case[] = [
  ...[1024, 4096].map((size) => product(`matmul ${size}`, [size, size], [size, size])),
  streaming("softmax [131072, 512]", "softmax", {
    inputs: [uniform([131072, 512], 6, 4)],
    written: 131072 * 512,
  }),
  streaming("layer norm [131072, 512]", "layerNorm", {
    inputs: [uniform([131072, 512], 6, 4), uniform([512], 7), uniform([512], 8)],
    written: 131072 * 512,
  }),
  convolution(
    "convolution 3x3, 256 to 256, 128x128, batch 8",
    { x: [8, 256, 128, 128], weight: [256, 256, 3, 3] },
    { stride: 1, padding: 1, groups: 1 },
  ),
  convolution(
    "depthwise 3x3, 256 channels, 128x128, batch 8",
    { x: [8, 256, 128, 128], weight: [256, 1, 3, 3] },
    { stride: 1, padding: 1, groups: 256 },
  ),
  crossAttention("attention [8, 16384, 64] on [8, 256, 64]", [8, 16384, 64], 256),
  ...[0, 5].flatMap((variant) =>
    encoder(`MiT-B${variant}, 8 images of 512x512`, { variant, images: 8, side: 512 }).slice(1)
      .map((item): Case => ({ ...item, work: 8, unit: "images/s" }))
  ),
  ...[0, 2, 5].map((variant): Case => ({
    ...allspark(variant, { crop: 513, classes: 21, images: 4 }),
    work: 8,
    unit: "images/s",
  })),
];

/** Those of the cases whose names contain one of the words, or all if there are none. */
export function chosenCases(words: readonly string[], among: readonly Case[] = cases): Case[] {
  const isWanted = ({ name }: Case): boolean =>
    words.length === 0 || words.some((word) => name.toLowerCase().includes(word.toLowerCase()));
  return among.filter(isWanted);
}
