/**
 * The sizes of a two-dimensional convolution, shared by the convolution and both its gradients.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import type { Tensor } from "../src/tensor.ts";

/** A number for both axes of an image, or `[height, width]`. */
export type Pair = number | readonly [number, number];

/** The three tensors that a convolution ties together: images, filters, and the convolved images. */
export type Role = "images" | "filters" | "result";

/** All sizes of a convolution except the number of images and channels. Pairs are `[height, width]`. */
export interface Geometry {
  readonly images: readonly [number, number];
  readonly filters: readonly [number, number];
  readonly result: readonly [number, number];
  readonly stride: readonly [number, number];
  readonly padding: readonly [number, number];
  readonly dilation: readonly [number, number];
  readonly groups: number;
}

/** Numbers of images and channels. */
export interface Channels {
  readonly count: number;
  /** Channels of the images. */
  readonly inputs: number;
  /** Channels of the result. */
  readonly outputs: number;
}

/** Options of a convolution with their defaults filled in. */
export function pairOf(
  action: string,
  name: string,
  value: Pair | undefined,
  least: number,
  fallback: number,
): [number, number] {
  const [h, w] = typeof value === "object" ? value : [value ?? fallback, value ?? fallback];
  for (const n of [h, w]) {
    if (!Number.isInteger(n) || n < least) {
      throw new RangeError(
        `Cannot ${action} with ${name} ${n}: a whole number of at least ${least} is required`,
      );
    }
  }
  return [h, w];
}

/** Throws unless the tensor has four axes. */
export function requireImages(action: string, x: Tensor, name: string, axes: string): void {
  if (x.ndim === 4) return;
  throw new ShapeError(`Cannot ${action}: ${name} has shape ${formatShape(x.shape)}; ${axes} is required`);
}

/** The shape of one of the three tensors. */
export function shapeOf(role: Role, geometry: Geometry, { count, inputs, outputs }: Channels): number[] {
  if (role === "images") return [count, inputs, ...geometry.images];
  if (role === "filters") return [outputs, inputs / geometry.groups, ...geometry.filters];
  return [count, outputs, ...geometry.result];
}

/** What can be read off two of the three shapes. */
export function channelsOf(
  shapes: Partial<Record<Role, readonly number[]>>,
  { groups }: Geometry,
): Channels {
  const { images, filters, result } = shapes;
  return {
    count: (images ?? result)![0]!,
    inputs: images?.[1] ?? filters![1]! * groups,
    outputs: result?.[1] ?? filters![0]!,
  };
}

/**
 * The positions of one axis of the images that are `start` modulo the stride, and how their gradient reads:
 * gradient[start + stride·q] = Σ over t < taps of result[q + offset − step·t] · filter[first + skip·t].
 */
export interface Phase {
  readonly start: number;
  /** How many positions there are. */
  readonly size: number;
  readonly taps: number;
  readonly first: number;
  readonly skip: number;
  readonly offset: number;
  readonly step: number;
}

/** The phases of an axis (0: height, 1: width). */
export function phasesOf(geometry: Geometry, axis: 0 | 1): Phase[] {
  const [stride, dilation] = [geometry.stride[axis], geometry.dilation[axis]];
  const skip = stride / greatestCommonDivisor(stride, dilation);
  return Array.from({ length: Math.min(stride, geometry.images[axis]) }, (_, start) => {
    const from = start + geometry.padding[axis];
    let first = 0;
    while (first < skip && (from - first * dilation) % stride !== 0) first++;
    const taps = first < skip ? Math.max(0, Math.ceil((geometry.filters[axis] - first) / skip)) : 0;
    return {
      start,
      size: Math.ceil((geometry.images[axis] - start) / stride),
      taps,
      first,
      skip,
      offset: taps > 0 ? (from - first * dilation) / stride : 0,
      step: (dilation * skip) / stride,
    };
  });
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
