/**
 * Cuts long reductions into a fixed number of parts with a second kernel that joins them: one lane cannot
 * walk far on the software adapter (65,535 loop turns and it is ended silently), and a reduction to few
 * elements would keep all but a few threads idle. The parts depend on the kernel alone, so the order of every
 * sum does too.
 *
 * @module
 */
import type { DType } from "../dtype.ts";
import { mapAffine, mapExpr } from "./expression.ts";
import type { Fused } from "./fuse.ts";
import { contiguousStrides } from "./affine.ts";
import { type Affine, type Contraction, type Expr, type Fold, points } from "./kernel.ts";
import type { Launches } from "./plan.ts";
import { isIndexStage } from "./walks.ts";

/** When reductions are cut. */
export interface ReductionLimits {
  /** Most steps of a result in one kernel. */
  readonly longest: number;
  /** Folds of fewer results than this leave a part of the device idle, so they are cut if they are long… */
  readonly results: number;
  /** …into parts of at least so many steps. A fold is long if that makes 64 parts. */
  readonly steps: number;
  /**
   * Fewer rows than `rows`, each of more elements than `length`, are not walked by one kernel: reductions and maps of
   * their own can be cut, and keep the whole device busy.
   */
  readonly apart?: { readonly rows: number; readonly length: number };
}

/** Of a device with few threads, each of which walks fast. */
export const fewThreads: ReductionLimits = { longest: 2 ** 30, results: 64, steps: 512 };

/** Cuts what is too long for one kernel, and folds of few results. `first` = a number no buffer has yet. */
export function splitReductions(given: Launches, limits: ReductionLimits, first: number): Launches {
  const extra = new Map(given.extra);
  const result = given.launches.flatMap((launch): Fused[] => {
    const { kernel } = launch;
    const pieces = kernel.kind === "fold"
      ? splitFold(kernel, limits)
      : kernel.kind === "contraction"
      ? splitContraction(kernel, limits)
      : undefined;
    if (pieces === undefined) return [launch];
    const partial = first + extra.size;
    extra.set(partial, { length: pieces.length, dtype: pieces.dtype });
    return [
      { kernel: pieces.parts, inputs: launch.inputs, outputs: [partial] },
      { kernel: pieces.join, inputs: [...launch.inputs, partial], outputs: launch.outputs },
    ];
  });
  return { launches: result, extra };
}

interface Pieces {
  readonly parts: Fold | Contraction;
  readonly join: Fold;
  readonly length: number;
  readonly dtype: DType;
}

/** More parts than this would make the join long. */
const mostParts = 4096;

/** How many parts an axis list is cut into, and the axis that is cut: parts · rest = its size. */
function cut(
  axes: readonly number[],
  rows: number,
  { longest, results, steps }: ReductionLimits,
): { axis: number; parts: number } | undefined {
  const length = points(axes);
  const needed = Math.ceil(length / longest);
  const isFew = rows < results && length >= 64 * steps;
  const shares = isFew ? Math.min(mostParts, Math.ceil(results / Math.max(rows, 1)), length / steps) : 1;
  const wanted = Math.max(needed, Math.floor(shares));
  if (wanted < 2) return undefined;
  // Parts are equal, so their number divides an axis: the least that is enough, or the most that there is.
  let best: { axis: number; parts: number } | undefined;
  axes.forEach((size, axis) => {
    for (let parts = 2; parts <= size; parts++) {
      // What must be cut is cut, however short the parts.
      if (size % parts !== 0 || (needed === 1 && length / parts < steps)) continue;
      const better = best === undefined ||
        (best.parts < wanted ? parts > best.parts : parts >= wanted && parts < best.parts);
      if (better) best = { axis, parts };
    }
  });
  return best;
}

/** A fold with one sum, product, max or min and stores of one element each. */
function splitFold(kernel: Fold, limits: ReductionLimits): Pieces | undefined {
  const [stage] = kernel.stages;
  const isPlain = kernel.stages.length === 1 && kernel.stores.every((store) => points(store.axes) === 1);
  if (!isPlain || isIndexStage(stage!)) return undefined;
  const rows = points(kernel.axes);
  const where = cut(stage!.axes, rows, limits);
  if (where === undefined) return undefined;
  const { axis, parts } = where;
  const rest = stage!.axes[axis]! / parts;
  const n = kernel.axes.length;
  // Axes of the parts: part, rows, then the stage's axes with the cut one shortened. Rows come last because they are
  // what lies side by side in memory where a long reduction has many of them.
  const move = (form: Affine): Affine => {
    const c = form.coefficients[n + axis] ?? 0;
    return {
      offset: form.offset,
      coefficients: [
        c * rest,
        ...kernel.axes.map((_, k) => form.coefficients[k] ?? 0),
        ...stage!.axes.map((_, k) => form.coefficients[n + k] ?? 0),
      ],
    };
  };
  const partsKernel: Fold = {
    kind: "fold",
    label: `${kernel.label} parts`,
    inputs: kernel.inputs,
    outputs: [stage!.dtype],
    axes: [parts, ...kernel.axes],
    stages: [{
      ...stage!,
      axes: stage!.axes.map((size, k) => k === axis ? rest : size),
      value: mapAffine(stage!.value, move),
    }],
    stores: [{
      output: 0,
      at: { offset: 0, coefficients: contiguousStrides([parts, ...kernel.axes]) },
      axes: [],
      value: { kind: "reduced", dtype: stage!.dtype, stage: 0 },
    }],
  };
  const partial: Expr = {
    kind: "load",
    dtype: stage!.dtype,
    input: kernel.inputs.length,
    at: { offset: 0, coefficients: [...contiguousStrides(kernel.axes), rows] },
    guards: [],
    fill: 0,
  };
  const join: Fold = {
    ...kernel,
    label: `${kernel.label} join`,
    inputs: [...kernel.inputs, stage!.dtype],
    stages: [{ ...stage!, axes: [parts], value: partial }],
  };
  return { parts: partsKernel, join, length: rows * parts, dtype: stage!.dtype };
}

/** A contraction whose inner axes are longer than one kernel may be: an axis is cut. */
function splitContraction(kernel: Contraction, limits: ReductionLimits): Pieces | undefined {
  if (points(kernel.inner) <= limits.longest) return undefined;
  const where = cut(kernel.inner, limits.results, limits);
  if (where === undefined) return undefined;
  const { axis, parts } = where;
  const rest = kernel.inner[axis]! / parts;
  const place = kernel.batch.length + kernel.rows.length + kernel.columns.length + axis;
  const { sums, join, length } = sumInParts(
    kernel,
    parts,
    ({ coefficients }) => (coefficients[place] ?? 0) * rest,
  );
  const inner = kernel.inner.with(axis, rest);
  return { parts: { ...sums, inner }, join, length, dtype: "f32" };
}

/**
 * A contraction of which each step of a new first batch axis sums a part, and the fold that adds the parts up and
 * then does what the stores say. `length` = elements between them, `[part, batch, rows, columns]`.
 *
 * @param stepOf How far an operand's address moves from one part to the next.
 */
export function sumInParts(
  kernel: Contraction,
  parts: number,
  stepOf: (form: Affine) => number,
): { sums: Contraction; join: Fold; length: number } {
  const results = [...kernel.batch, ...kernel.rows, ...kernel.columns];
  const move = (form: Affine): Affine => ({
    offset: form.offset,
    coefficients: [stepOf(form), ...form.coefficients],
  });
  const shorten = ({ offset, coefficients }: Affine): Affine => ({
    offset,
    coefficients: results.map((_, k) => coefficients[k] ?? 0),
  });
  const strides = contiguousStrides([parts, ...results]);
  const sums: Contraction = {
    ...kernel,
    label: `${kernel.label} parts`,
    outputs: ["f32"],
    batch: [parts, ...kernel.batch],
    left: mapAffine(kernel.left, move),
    right: mapAffine(kernel.right, move),
    stores: [{
      output: 0,
      at: { offset: 0, coefficients: [...strides, ...kernel.inner.map(() => 0)] },
      axes: [],
      value: { kind: "accumulator", dtype: "f32" },
    }],
  };
  const partial: Expr = {
    kind: "load",
    dtype: "f32",
    input: kernel.inputs.length,
    at: { offset: 0, coefficients: [...strides.slice(1), strides[0]!] },
    guards: [],
    fill: 0,
  };
  const total: Expr = { kind: "reduced", dtype: "f32", stage: 0 };
  const join: Fold = {
    kind: "fold",
    label: `${kernel.label} join`,
    inputs: [...kernel.inputs, "f32"],
    outputs: kernel.outputs,
    axes: results,
    stages: [{ combine: "sum", axes: [parts], dtype: "f32", value: partial }],
    stores: kernel.stores.map((store) => ({
      ...store,
      at: shorten(store.at),
      value: mapExpr(mapAffine(store.value, shorten), (expr) => expr.kind === "accumulator" ? total : expr),
    })),
  };
  return { sums, join, length: points([parts, ...results]) };
}
