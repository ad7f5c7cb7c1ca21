/**
 * Numbers that every participant of a benchmark makes for itself, the same ones in every language, and the few
 * numbers by which results are compared.
 *
 * @module
 */

/** A tensor of a benchmark, described so that a line of text can carry it. */
export type Spec =
  /** Uniform in ± scale / 2. */
  | { readonly shape: readonly number[]; readonly seed: number; readonly scale: number }
  /** The same value everywhere. */
  | { readonly shape: readonly number[]; readonly value: number }
  /** `[N, K]`: row n is 1 in column n mod K and 0 elsewhere, which are labels as probabilities. */
  | { readonly shape: readonly number[]; readonly oneHot: true };

/** Parameters: a tree of specs. */
export type SpecTree = Spec | readonly SpecTree[] | { readonly [key: string]: SpecTree };

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/**
 * The elements of a spec. Random ones come from the finaliser of MurmurHash3 (Appleby, public domain) over the
 * index, which is integer arithmetic and so the same everywhere.
 */
export function valuesOf(spec: Spec): Float32Array<ArrayBuffer> {
  const values = new Float32Array(sizeOf(spec.shape));
  if ("value" in spec) return values.fill(spec.value);
  if ("oneHot" in spec) {
    const columns = spec.shape[1]!;
    for (let row = 0; row < spec.shape[0]!; row++) values[row * columns + (row % columns)] = 1;
    return values;
  }
  const offset = Math.imul(spec.seed, 0x85ebca77);
  for (let k = 0; k < values.length; k++) {
    let hash = Math.imul(k, 0x9e3779b1) + offset;
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    values[k] = (((hash ^ (hash >>> 16)) >>> 0) / 2 ** 32 - 0.5) * spec.scale;
  }
  return values;
}

/** Whether a node of a tree is a leaf. */
export function isSpec(tree: SpecTree): tree is Spec {
  return "shape" in tree && Array.isArray(tree.shape);
}

/** A tree with `make(spec)` in the place of every spec. */
export function mapSpecs<Leaf>(tree: SpecTree, make: (spec: Spec) => Leaf): unknown {
  if (isSpec(tree)) return make(tree);
  if (Array.isArray(tree)) return tree.map((branch) => mapSpecs(branch as SpecTree, make));
  return Object.fromEntries(Object.entries(tree).map(([key, branch]) => [key, mapSpecs(branch, make)]));
}

/** What is compared of a result. */
export interface Summary {
  /** Mean of the elements. */
  readonly mean: number;
  /** Root of the mean of their squares: the size of a typical element, against which differences are seen. */
  readonly size: number;
  /** Some of the elements: the second, the middle one and the last but one. */
  readonly samples: readonly number[];
}

/** Summary of a result; in double precision, so that it adds no error of its own. */
export function summarize(values: ArrayLike<number>): Summary {
  let [sum, squares] = [0, 0];
  for (let k = 0; k < values.length; k++) {
    sum += values[k]!;
    squares += values[k]! ** 2;
  }
  const at = (index: number): number => values[Math.max(0, Math.min(values.length - 1, index))]!;
  return {
    mean: sum / values.length,
    size: Math.sqrt(squares / values.length),
    samples: [at(1), at(values.length >> 1), at(values.length - 2)],
  };
}

/** The largest difference of two summaries, as a part of the size of the expected elements. */
export function difference(found: Summary, expected: Summary): number {
  const pairs = [
    [found.mean, expected.mean],
    [found.size, expected.size],
    ...expected.samples.map((sample, k) => [found.samples[k] ?? NaN, sample]),
  ] as [number, number][];
  const largest = Math.max(...pairs.map(([a, b]) => Math.abs(a - b)));
  return largest === 0 ? 0 : largest / expected.size;
}
