/** Values to try operations with, their float64 reference, and comparison with a tolerance. */
import { assert, assertEquals } from "@std/assert";
import { arrayType, type DType, storedValue } from "../../src/dtype.ts";
import { buildGraph, type Graph } from "../../src/graph.ts";
import type { ReferenceArray, Sample } from "../../src/primitive.ts";
import { interpretGraph } from "../../src/reference.ts";
import { makeLeaf, type Tensor } from "../../src/tensor.ts";

/** Numbers from 0 to 1, the same for the same seed (mulberry32). */
export function randomSource(seed: string): () => number {
  let state = [...seed].reduce(
    (hash, letter) => Math.imul(hash ^ letter.charCodeAt(0), 0x01000193),
    0x811c9dc5,
  );
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What a sample says about one input. */
export type InputSpec = Sample["inputs"][number];

/** Random values as an input asks for them, each storable in its dtype. */
export function randomValues(spec: InputSpec, random: () => number): Float64Array {
  const dtype = spec.dtype ?? "f32";
  const { low = dtype === "f32" ? -2 : 0, high = dtype === "f32" ? 2 : 1 } = spec;
  const size = spec.shape.reduce((product, n) => product * n, 1);
  const one = (): number =>
    dtype === "f32"
      ? Math.fround(low + (high - low) * random())
      : Math.ceil(low) + Math.floor(random() * (Math.floor(high) - Math.ceil(low) + 1));
  if (!spec.distinct) return Float64Array.from({ length: size }, one);
  // A shuffled ladder, whose steps are wider than any step of a finite difference.
  const rungs = Array.from({ length: size }, (_, k) => Math.fround(low + (high - low) * (k + 0.5) / size));
  for (let k = size - 1; k > 0; k--) {
    const other = Math.floor(random() * (k + 1));
    [rungs[k], rungs[other]] = [rungs[other]!, rungs[k]!];
  }
  return Float64Array.from(rungs, (value) => dtype === "f32" ? value : Math.floor(value));
}

/** A tensor with the given values. */
export function leafOf(shape: readonly number[], dtype: DType, values: ArrayLike<number>): Tensor {
  return makeLeaf(
    { shape, dtype },
    arrayType(dtype).from(Array.from(values, (value) => storedValue(value, dtype))),
  );
}

/** Values of tensors in float64 by the references, for the values that their leaves have. */
export function referenceOf(outputs: readonly Tensor[]): ReferenceArray[] {
  const { graph, leaves } = buildGraph(outputs);
  return interpretGraph(graph, leaves.map(hostArray));
}

/** A graph as a function of the values of `inputs`; other leaves keep theirs. */
export function referenceFunction(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
): (values: readonly Float64Array[]) => ReferenceArray[] {
  const { graph, leaves }: { graph: Graph; leaves: Tensor[] } = buildGraph(outputs, inputs);
  const others = leaves.slice(inputs.length).map(hostArray);
  return (values) =>
    interpretGraph(graph, [...values.map((data, k) => ({ shape: inputs[k]!.shape, data })), ...others]);
}

function hostArray(leaf: Tensor): ReferenceArray {
  return { shape: leaf.shape, data: Float64Array.from(leaf.host!) };
}

/** Asserts |actual − expected| ≤ absolute + relative · |expected| everywhere; NaN equals NaN. */
export function assertClose(
  actual: ArrayLike<number>,
  expected: ArrayLike<number>,
  message: string,
  tolerance: { relative: number; absolute: number } = { relative: 1e-5, absolute: 1e-6 },
): void {
  assertEquals(actual.length, expected.length, `${message}: number of elements`);
  for (let k = 0; k < expected.length; k++) {
    const [a, e] = [actual[k]!, expected[k]!];
    const near = a === e || (Number.isNaN(a) && Number.isNaN(e)) ||
      Math.abs(a - e) <= tolerance.absolute + tolerance.relative * Math.abs(e);
    assert(near, `${message}: element ${k} is ${a}, not ${e}`);
  }
}

/** Σ aₖ · bₖ. */
export function innerProduct(a: Float64Array, b: Float64Array): number {
  return a.reduce((sum, value, k) => sum + value * b[k]!, 0);
}
