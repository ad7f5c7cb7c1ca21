/**
 * Order along an axis.
 *
 * @module
 */
import { definePrimitive, type Primitive } from "../src/primitive.ts";
import { describe, makeNode, type Tensor } from "../src/tensor.ts";
import { normalizeAxis, requireDType, sizeOf } from "./common.ts";
import { cast } from "./elementwise.ts";
import { gather } from "./indexing.ts";
import { slice, transpose } from "./movement.ts";

/** Argsort along the last axis. */
const argsorting: Primitive<{ readonly descending: boolean }> = definePrimitive<
  { readonly descending: boolean }
>({
  name: "argsort",
  infer: ([x]) => {
    requireDType("argsort", x!, ["f32", "i32", "u32"]);
    return { shape: x!.shape, dtype: "i32" };
  },
  batch: ([x], _batched, params) => makeNode(argsorting, [x!], params),
  lowering: {
    kind: "kernel",
    build: ([x], { descending }) => ({
      kind: "sort",
      label: `argsort[${x!.shape}]`,
      inputs: [x!.dtype],
      outputs: ["i32"],
      rows: sizeOf(x!.shape.slice(0, -1)),
      size: x!.shape.at(-1)!,
      descending,
    }),
  },
  reference: ([x], { descending }) => {
    const size = x!.shape.at(-1)!;
    const data = new Float64Array(x!.data.length);
    for (let first = 0; first < data.length; first += size) {
      const order = Array.from({ length: size }, (_, k) => k).sort((i, j) => {
        const [a, b] = [x!.data[first + i]!, x!.data[first + j]!];
        const byNan = Number(Number.isNaN(a)) - Number(Number.isNaN(b));
        return byNan || (Number.isNaN(a) ? 0 : descending ? b - a : a - b);
      });
      data.set(order, first);
    }
    return { shape: x!.shape, data };
  },
  samples: [
    { inputs: [{ shape: [7] }], params: { descending: false } },
    { inputs: [{ shape: [3, 300] }], params: { descending: true } },
    { inputs: [{ shape: [2, 33], dtype: "i32", low: -3, high: 3 }], params: { descending: true } },
    { inputs: [{ shape: [5, 8], dtype: "u32", low: 0, high: 4 }], params: { descending: false } },
    { inputs: [{ shape: [2, 1] }], params: { descending: false } },
    { inputs: [{ shape: [3, 0] }], params: { descending: false } },
  ],
});

/** Options of `sort` and `argsort`. */
export interface SortOptions {
  /** Default the last. */
  readonly axis?: number;
  /** Largest first, default false. */
  readonly descending?: boolean;
}

/**
 * The positions (i32) that would put `x` in order along an axis. **Stable**: equal elements keep their order, also
 * with `descending`. NaN comes last in both directions. Not differentiable.
 *
 * @param x f32, i32, u32 or bool.
 * @param options `axis` (default the last), `descending`.
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { argsort, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const x = tensor([3, 1, NaN, 1]);
 * assertEquals(await argsort(x).toArray(), [1, 3, 0, 2]);
 * assertEquals(await argsort(x, { descending: true }).toArray(), [0, 1, 3, 2]);
 * ```
 */
export function argsort(x: Tensor, options: SortOptions = {}): Tensor {
  const axis = normalizeAxis("argsort", options.axis ?? -1, x.shape);
  const keys = x.dtype === "bool" ? cast(x, "i32") : x;
  const axes = x.shape.map((_, k) => k);
  [axes[axis], axes[x.ndim - 1]] = [x.ndim - 1, axis];
  const order = makeNode(argsorting, [transpose(keys, { axes })], {
    descending: options.descending ?? false,
  });
  return transpose(order, { axes });
}

/**
 * `x` in order along an axis, smallest first unless `descending`; NaN last in both directions. Stable.
 * Differentiable: cotangents go back to where the elements stood.
 *
 * @param x f32, i32, u32 or bool.
 * @param options `axis` (default the last), `descending`.
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { sort, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await sort(tensor([[3, 1], [2, 4]]), { axis: 0 }).toArray(), [[2, 1], [3, 4]]);
 * ```
 */
export function sort(x: Tensor, options: SortOptions = {}): Tensor {
  return gather(x, argsort(x, options), normalizeAxis("sort", options.axis ?? -1, x.shape));
}

/**
 * The `k` largest elements along an axis, largest first, and where they stand (i32). Of equal elements those that
 * come first are taken; NaN is taken last. The values are differentiable.
 *
 * @param x f32, i32, u32 or bool.
 * @param options `k`; `axis` (default the last).
 * @throws {RangeError} If the axis has fewer than `k` elements.
 * @throws {AxisError} If `x` has no such axis.
 * @example
 * ```ts
 * import { tensor, topK } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const { values, indices } = topK(tensor([1, 5, 2, 5]), { k: 3 });
 * assertEquals(await values.toArray(), [5, 5, 2]);
 * assertEquals(await indices.toArray(), [1, 3, 2]);
 * ```
 */
export function topK(x: Tensor, options: { k: number; axis?: number }): { values: Tensor; indices: Tensor } {
  const { k } = options;
  const axis = normalizeAxis("topK", options.axis ?? -1, x.shape);
  if (!Number.isInteger(k) || k < 0 || k > x.shape[axis]!) {
    throw new RangeError(
      `Cannot take the top ${k} of ${describe(x)} along axis ${axis}: it has ${x.shape[axis]} elements`,
    );
  }
  const order = argsort(x, { axis, descending: true });
  const indices = slice(order, { sizes: x.shape.map((size, n) => n === axis ? k : size) });
  return { values: gather(x, indices, axis), indices };
}
