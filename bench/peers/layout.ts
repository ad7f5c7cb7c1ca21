/**
 * Layouts that peers prefer to PyTorch's, which parameters are described in.
 *
 * @module
 */
import { type Spec, valuesOf } from "../values.ts";

/** Values and shape of a tensor. */
export interface Laid {
  readonly values: Float32Array;
  readonly shape: readonly number[];
}

/** A linear layer's `[out, in]` as `[in, out]`; everything else as it is. */
export function inputsFirst(spec: Spec): Laid {
  const values = valuesOf(spec);
  if (spec.shape.length !== 2) return { values, shape: spec.shape };
  const [outputs, inputs] = spec.shape as [number, number];
  const turned = new Float32Array(values.length);
  for (let k = 0; k < values.length; k++) {
    turned[(k % inputs) * outputs + Math.floor(k / inputs)] = values[k]!;
  }
  return { values: turned, shape: [inputs, outputs] };
}

/** A linear layer or convolution. */
export interface Affine<Leaf> {
  readonly weight: Leaf;
  readonly bias: Leaf;
}

/** A normalisation. */
export interface Norm<Leaf> {
  readonly gain: Leaf;
  readonly bias: Leaf;
}

/** A block of the encoder. */
export interface Block<Leaf> {
  readonly norm1: Norm<Leaf>;
  readonly attention: {
    readonly query: Affine<Leaf>;
    readonly keyValue: Affine<Leaf>;
    readonly output: Affine<Leaf>;
    readonly reduction?: { readonly convolution: Affine<Leaf>; readonly norm: Norm<Leaf> };
  };
  readonly norm2: Norm<Leaf>;
  readonly feedForward: {
    readonly expand: Affine<Leaf>;
    readonly depthwise: Affine<Leaf>;
    readonly contract: Affine<Leaf>;
  };
}

/** A stage of the encoder. */
export interface Stage<Leaf> {
  readonly patches: { readonly projection: Affine<Leaf>; readonly norm: Norm<Leaf> };
  readonly blocks: readonly Block<Leaf>[];
  readonly norm: Norm<Leaf>;
}

/** Attention heads of the stages. */
export const headsOfStage = [1, 2, 5, 8] as const;

/** By how much the blocks of a stage make keys and values fewer along each side. */
export const ratioOfStage = [8, 4, 2, 1] as const;
