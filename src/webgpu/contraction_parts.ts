/**
 * Work that a contraction leaves to folds before and after it, through scratch memory.
 *
 * An operand whose elements do not lie side by side, or that is an expression, is first written out in the
 * right order (for a convolution: its windows), if its elements are used often enough to pay for that. Stores
 * that read much are done afterwards.
 *
 * @module
 */
import { contiguousStrides } from "../compiler/affine.ts";
import { formsOf, mapAffine, mapExpr } from "../compiler/expression.ts";
import { type Affine, type Contraction, type Expr, type Fold, points } from "../compiler/kernel.ts";
import { layoutOf, ownAxes, readingOf, type Side } from "./contraction_plan.ts";
import { countLoads, loadCost } from "./fold_plan.ts";

/** Largest scratch buffer that an operand is written to, in elements. */
const mostPacked = 2 ** 24;

/** An operand that is written to scratch first: the fold that does it, and the contraction that reads it. */
export interface Packed {
  readonly fold: Fold;
  readonly kernel: Contraction;
  readonly length: number;
}

/** Writes an operand to scratch memory if that pays; `across` = how many tiles read each element. */
export function packOperand(
  kernel: Contraction,
  side: Side,
  across: number,
): Packed | undefined {
  const { cost } = readingOf(kernel, side, true);
  const single = loadCost(kernel[side], undefined);
  const packed = 6.25;
  // 12 ns to write an element; reading it in scattered order costs what it costs.
  if ((single + 12) + across * packed >= across * cost) return undefined;
  const layout = layoutOf(kernel);
  const [own, first] = ownAxes(kernel, side);
  const uses = (axis: number): boolean =>
    formsOf(kernel[side]).some((form) => (form.coefficients[axis] ?? 0) !== 0);
  const range = (list: readonly number[], start: number): number[] => list.map((_, k) => start + k);
  const sizes = [...kernel.batch, ...kernel.rows, ...kernel.columns, ...kernel.inner];
  // [batch, inner, own]: the tile's own axis is the fastest.
  const order = [
    ...range(kernel.batch, 0).filter(uses),
    ...range(kernel.inner, layout.inner),
    ...range(own, first),
  ];
  const axes = order.map((axis) => sizes[axis]!);
  // Own axes are contiguous, and each step of the others starts at a multiple of four.
  const outer = axes.slice(0, axes.length - own.length);
  const width = Math.ceil(points(own) / 4) * 4;
  const length = points(outer) * width;
  if (points(own) < 4 || length > mostPacked) return undefined;
  const strides = [...contiguousStrides([...outer, width]).slice(0, -1), ...contiguousStrides(own)];
  const fold: Fold = {
    kind: "fold",
    label: `${kernel.label} ${side}`,
    inputs: kernel.inputs,
    outputs: ["f32"],
    axes,
    stages: [],
    stores: [{
      output: 0,
      at: { offset: 0, coefficients: strides },
      axes: [],
      value: mapAffine(kernel[side], ({ offset, coefficients }) => ({
        offset,
        coefficients: order.map((axis) => coefficients[axis] ?? 0),
      })),
    }],
  };
  const coefficients = sizes.map(() => 0);
  order.forEach((axis, k) => coefficients[axis] = strides[k]!);
  const load: Expr = {
    kind: "load",
    dtype: "f32",
    input: kernel.inputs.length,
    at: { offset: 0, coefficients },
    guards: [],
    fill: 0,
  };
  return { fold, kernel: { ...kernel, inputs: [...kernel.inputs, "f32"], [side]: load }, length };
}

/** A contraction whose stores are done by a fold afterwards, through a scratch buffer. */
export interface Deferred {
  readonly kernel: Contraction;
  readonly fold: Fold;
  readonly length: number;
}

/** Loads of all stores for one element. */
export function storeLoads(kernel: Contraction): number {
  return countLoads(...kernel.stores.map((store) => store.value));
}

/** Takes the stores out of a contraction: written out for every element of a large tile they compile slowly. */
export function deferStores(kernel: Contraction): Deferred {
  const outer = [...kernel.batch, ...kernel.rows, ...kernel.columns];
  const at = { offset: 0, coefficients: [...contiguousStrides(outer), ...kernel.inner.map(() => 0)] };
  const shorten = ({ offset, coefficients }: Affine): Affine => ({
    offset,
    coefficients: outer.map((_, k) => coefficients[k] ?? 0),
  });
  const sum: Expr = {
    kind: "load",
    dtype: "f32",
    input: kernel.inputs.length,
    at: shorten(at),
    guards: [],
    fill: 0,
  };
  return {
    kernel: {
      ...kernel,
      outputs: ["f32"],
      stores: [{ output: 0, at, axes: [], value: { kind: "accumulator", dtype: "f32" } }],
    },
    fold: {
      kind: "fold",
      label: `${kernel.label} stores`,
      inputs: [...kernel.inputs, "f32"],
      outputs: kernel.outputs,
      axes: outer,
      stages: [],
      stores: kernel.stores.map((store) => ({
        ...store,
        at: shorten(store.at),
        value: mapExpr(mapAffine(store.value, shorten), (expr) => expr.kind === "accumulator" ? sum : expr),
      })),
    },
    length: points(outer),
  };
}
