/**
 * From a contraction to its dispatches on a real GPU: by tiles where there is enough for them, and with the
 * inner axes in parts where there are too few results to keep the device busy.
 *
 * Parts depend on the sizes alone, never on the adapter or on measurements: they decide in which order a sum
 * is taken, and so its last bits.
 *
 * @module
 */
import { contiguousStrides } from "../compiler/affine.ts";
import { mapAffine, mapExpr } from "../compiler/expression.ts";
import { type Affine, type Contraction, type Expr, type Fold, points } from "../compiler/kernel.ts";
import { layoutOf, orient } from "./contraction_plan.ts";
import { withForms } from "./simplify.ts";

/** Results that keep a device busy: 128 workgroups with tiles of 32 by 32. */
const enoughResults = 2 ** 17;
/** Steps of the inner axes that a part has at least. */
const leastSteps = 256;

/** A contraction in parts: sums over a part of the inner axes go to scratch, and a fold adds them up. */
export interface Parts {
  /** Its output 0 is `[part, batch, rows, columns]`. */
  readonly kernel: Contraction;
  /** Reads the sums as the input after its own. */
  readonly fold: Fold;
  /** Elements of the scratch buffer. */
  readonly length: number;
}

/** What a real GPU computes for a contraction: an oriented one, and if that is of parts, how they are joined. */
export function planForGpu(given: Contraction): { kernel: Contraction; parts: Parts | undefined } {
  const kernel = orient(given);
  const parts = splitInner(kernel);
  return { kernel: parts?.kernel ?? kernel, parts };
}

/** Splits one inner axis, if there are few results and many steps, and the axis has a divisor that suits. */
function splitInner(kernel: Contraction): Parts | undefined {
  const results = points(kernel.batch) * points(kernel.rows) * points(kernel.columns);
  const most = Math.min(enoughResults / results, points(kernel.inner) / leastSteps);
  const { axis, count } = bestSplit(kernel.inner, most);
  return count === 1 ? undefined : splitAt(kernel, axis, count);
}

/** The axis that comes closest to `most` equal parts. */
function bestSplit(inner: readonly number[], most: number): { axis: number; count: number } {
  let best = { axis: 0, count: 1 };
  inner.forEach((size, axis) => {
    // What can be read four elements at a time stays so.
    const unit = size % 4 === 0 ? 4 : 1;
    for (let count = Math.min(Math.floor(most), size / unit); count > best.count; count--) {
      if ((size / unit) % count === 0) best = { axis, count };
    }
  });
  return best;
}

function splitAt(kernel: Contraction, axis: number, count: number): Parts {
  const { inner } = layoutOf(kernel);
  const length = kernel.inner[axis]! / count;
  const split = withForms(kernel, ({ offset, coefficients }) => ({
    offset,
    coefficients: [(coefficients[inner + axis] ?? 0) * length, ...coefficients],
  }));
  const results = [...kernel.batch, ...kernel.rows, ...kernel.columns];
  const sizes = [count, ...results];
  const strides = contiguousStrides(sizes);
  const shorten = ({ offset, coefficients }: Affine): Affine => ({
    offset,
    coefficients: results.map((_, k) => coefficients[k] ?? 0),
  });
  const part: Expr = {
    kind: "load",
    dtype: "f32",
    input: kernel.inputs.length,
    at: { offset: 0, coefficients: [...strides.slice(1), strides[0]!] },
    guards: [],
    fill: 0,
  };
  const total: Expr = { kind: "reduced", dtype: "f32", stage: 0 };
  const at = { offset: 0, coefficients: [...strides, ...kernel.inner.map(() => 0)] };
  return {
    kernel: {
      ...split,
      // The scratch buffer takes the first number after the kernel's own inputs.
      inputs: [...kernel.inputs, "f32"],
      outputs: ["f32"],
      batch: [count, ...kernel.batch],
      inner: kernel.inner.with(axis, length),
      stores: [{ output: 0, at, axes: [], value: { kind: "accumulator", dtype: "f32" } }],
    },
    fold: {
      kind: "fold",
      label: `${kernel.label} parts`,
      inputs: [...kernel.inputs, "f32"],
      outputs: kernel.outputs,
      axes: results,
      stages: [{ combine: "sum", axes: [count], dtype: "f32", value: part }],
      stores: kernel.stores.map((store) => ({
        ...store,
        at: shorten(store.at),
        value: mapExpr(
          mapAffine(store.value, shorten),
          (expr) => expr.kind === "accumulator" ? total : expr,
        ),
      })),
    },
    length: points(sizes),
  };
}
