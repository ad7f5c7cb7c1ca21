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
export type Unit = "GFLOP/s" | "GB/s" | "µs each";

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
  /** Work of one call, in units of 10⁹ (or, for "µs each", how many). */
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
  {
    ...plain,
    name: "attention [8, 1024, 64] on [8, 256, 64]",
    operation: "attention",
    inputs: [uniform([8, 1024, 64], 9, 2), uniform([8, 256, 64], 10, 2), uniform([8, 256, 64], 11, 2)],
    work: (4 * 8 * 1024 * 256 * 64) / 1e9,
    unit: "GFLOP/s",
  },
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

/** Two images of 128 x 128 through the first stages of MiT-B0, forward or as a training step. */
function encoder(name: string, stages: number): Case[] {
  const { dims } = mitSizes("b0");
  const common = {
    ...plain,
    parameters: encoderParameters("b0", stages),
    options: { stages, learningRate: 0.01 },
  };
  const image = uniform([2, 3, 128, 128], 50, 2);
  // Each stage is pulled towards a random map by the mean of the squared differences.
  const targets = dims.slice(0, stages).map((channels, k) =>
    uniform([2, channels, 32 >> k, 32 >> k], 60 + k, 2)
  );
  return [
    { ...common, name: `${name}, forward`, operation: "encoder", inputs: [image] },
    { ...common, name: `${name}, training step`, operation: "encoderStep", inputs: [image, ...targets] },
  ];
}

const wholeEncoder = encoder("MiT-B0", 4);

/** Everything that is measured, in the order of the tables. */
export const cases: readonly Case[] = [
  ...operations,
  perceptronStep(),
  ...encoder("MiT stage 1", 1),
  ...wholeEncoder,
  {
    ...own,
    name: "AllSpark step, B0, crop 129, 2 + 2 images",
    operation: "allsparkStep",
    options: { images: 2, variant: 0 },
  },
  {
    ...own,
    name: "AllSpark step, B5, crop 129, 1 + 1 images",
    operation: "allsparkStep",
    options: { images: 1, variant: 5 },
  },
  {
    ...own,
    name: "launches: a program of 1,000 tiny kernels",
    operation: "launches",
    inputs: [uniform([8, 8], 70)],
    work: 1000,
    unit: "µs each",
  },
  {
    ...wholeEncoder[1]!,
    name: "first call: MiT-B0 training step, nothing cached",
    figure: "first",
    forPeers: false,
  },
  {
    ...own,
    name: "peak memory: AllSpark step, B0, crop 129, 2 + 2 images",
    operation: "allsparkStep",
    options: { images: 2, variant: 0 },
    figure: "peak",
  },
];

/** The cases whose names contain one of the words, or all if there are none. */
export function chosenCases(words: readonly string[]): Case[] {
  const isWanted = ({ name }: Case): boolean =>
    words.length === 0 || words.some((word) => name.toLowerCase().includes(word.toLowerCase()));
  return cases.filter(isWanted);
}
