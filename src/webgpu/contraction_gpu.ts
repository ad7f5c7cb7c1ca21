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
import { orient } from "./contraction_plan.ts";
import { withForms } from "./simplify.ts";
import { depth } from "./tiles.ts";

/** Results that keep a device busy: 1,024 workgroups with tiles of 32 by 32. */
const enoughResults = 2 ** 20;
/** Steps of the inner axes that a part has at least. */
const leastSteps = 256;

/** A contraction in parts: sums over a part of the inner axes go to scratch, and a fold adds them up. */
export interface Parts {
  /** Steps of each part but the last, which may have fewer. The part is the first batch axis of the kernel. */
  readonly steps: number;
  /** Reads the sums as the input after the kernel's own. */
  readonly fold: Fold;
  /** Elements of the scratch buffer, `[part, batch, rows, columns]`. */
  readonly length: number;
}

/** What tiles compute for a contraction: an oriented one, and if that is of parts, how they are joined. */
export function planForGpu(given: Contraction): { kernel: Contraction; parts: Parts | undefined } {
  const kernel = orient(given);
  const results = points(kernel.batch) * points(kernel.rows) * points(kernel.columns);
  const inner = points(kernel.inner);
  const most = Math.floor(Math.min(enoughResults / results, inner / leastSteps));
  if (most < 2) return { kernel, parts: undefined };
  const steps = Math.ceil(inner / most / depth) * depth;
  return inParts(kernel, steps, Math.ceil(inner / steps));
}

function inParts(kernel: Contraction, steps: number, count: number): { kernel: Contraction; parts: Parts } {
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
  // Operands do not see the axis of the parts: tiles begin the sum where the part begins.
  const widened = withForms(kernel, ({ offset, coefficients }) => ({
    offset,
    coefficients: [0, ...coefficients],
  }));
  return {
    kernel: {
      ...widened,
      outputs: ["f32"],
      batch: [count, ...kernel.batch],
      stores: [{ output: 0, at, axes: [], value: { kind: "accumulator", dtype: "f32" } }],
    },
    parts: {
      steps,
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
    },
  };
}
