/**
 * Matrix products.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import { describe, type Tensor } from "../src/tensor.ts";
import { requireDType } from "./common.ts";
import { contract } from "./einsum.ts";
import { mul } from "./elementwise.ts";
import { reshape } from "./movement.ts";

/** Letters for up to that many batch axes, apart from those of rows, columns and the inner axis. */
const batchLabels = "abcdefgh";

/**
 * Matrix product, as `@` in NumPy: `[..., M, K]` times `[..., K, N]` gives `[..., M, N]`; leading axes
 * broadcast. A vector on the left is a row `[1, K]`, one on the right a column `[K, 1]`; the added axis is
 * removed again. f32; differentiable. A weight that has no leading axes is not repeated for them: the
 * product and both gradients are one contraction each.
 *
 * @throws {ShapeError} If the inner sizes differ, leading axes do not broadcast, or an operand has no axes.
 * @example
 * ```ts
 * import { matmul, ones, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const a = tensor([[1, 2], [3, 4]]);
 * assertEquals(await matmul(a, tensor([[1, 0], [1, 1]])).toArray(), [[3, 2], [7, 4]]);
 * assertEquals(await matmul(a, tensor([1, 1])).toArray(), [3, 7]);
 * assertEquals(matmul(ones([5, 2, 3]), ones([3, 4])).shape, [5, 2, 4]);
 * ```
 */
export function matmul(a: Tensor, b: Tensor): Tensor {
  for (const x of [a, b]) requireDType("matmul", x, ["f32"]);
  const shapes = `${formatShape(a.shape)} and ${formatShape(b.shape)}`;
  if (a.ndim === 0 || b.ndim === 0) {
    throw new ShapeError(`Cannot matmul shapes ${shapes}: both need at least one axis; use mul for scalars`);
  }
  const [left, right] = [a.ndim === 1 ? "k" : "mk", b.ndim === 1 ? "k" : "kn"];
  const [inner, other] = [a.shape.at(-1)!, b.shape.at(b.ndim === 1 ? -1 : -2)!];
  if (inner !== other) {
    throw new ShapeError(
      `Cannot matmul shapes ${shapes}: the last axis of the first is ${inner} and the ${
        b.ndim === 1 ? "" : "second to "
      }last of the second is ${other}; they must be equal`,
    );
  }
  const batch = Math.max(a.ndim - left.length, b.ndim - right.length);
  if (batch > batchLabels.length) {
    throw new ShapeError(
      `Cannot matmul shapes ${shapes}: at most ${batchLabels.length} leading axes are taken`,
    );
  }
  // A leading axis that one operand lacks (or has with size 1) is simply another row or column axis.
  const labelsOf = (x: Tensor, own: string, y: Tensor, theirs: string): [Tensor, string] => {
    const leading = x.ndim - own.length;
    let labels = "";
    const shape: number[] = [];
    for (let k = 0; k < leading; k++) {
      const size = x.shape[k]!;
      const across = y.ndim - theirs.length - leading + k;
      const partner = across >= 0 ? y.shape[across]! : 1;
      if (size !== partner && size !== 1 && partner !== 1) {
        throw new ShapeError(
          `Cannot matmul shapes ${shapes}: leading axes are ${size} and ${partner}; equal sizes or 1 are required`,
        );
      }
      if (size === 1 && across >= 0 && partner !== 1) continue;
      labels += batchLabels[batch - leading + k]!;
      shape.push(size);
    }
    return [reshape(x, [...shape, ...x.shape.slice(leading)]), labels + own];
  };
  const [x, xLabels] = labelsOf(a, left, b, right);
  const [y, yLabels] = labelsOf(b, right, a, left);
  const output = batchLabels.slice(0, batch) + (a.ndim > 1 ? "m" : "") + (b.ndim > 1 ? "n" : "");
  return contract(x, y, xLabels, yLabels, output);
}

/**
 * Dot product, as in NumPy: of vectors the sum of products, of matrices the matrix product; in general the
 * sum over the last axis of `a` and the second to last of `b` (its only one if it is a vector), with the axes of
 * `a` before those of `b`. A scalar multiplies. f32; differentiable.
 *
 * @throws {ShapeError} If the sizes of the summed axes differ.
 * @example
 * ```ts
 * import { dot, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await dot(tensor([1, 2, 3]), tensor([4, 5, 6])).item(), 32);
 * ```
 */
export function dot(a: Tensor, b: Tensor): Tensor {
  for (const x of [a, b]) requireDType("dot", x, ["f32"]);
  if (a.ndim === 0 || b.ndim === 0) return mul(a, b);
  const [inner, other] = [a.shape.at(-1)!, b.shape.at(b.ndim === 1 ? -1 : -2)!];
  if (inner !== other) {
    throw new ShapeError(
      `Cannot dot ${describe(a)} and ${describe(b)}: the summed axes are ${inner} and ${other}`,
    );
  }
  const names = (count: number, first: number): string =>
    String.fromCharCode(...Array.from({ length: count }, (_, k) => first + k));
  const [free, before, after] = [
    names(a.ndim - 1, 0x100),
    names(Math.max(b.ndim - 2, 0), 0x200),
    b.ndim > 1 ? "n" : "",
  ];
  return contract(a, b, `${free}k`, `${before}k${after}`, free + before + after);
}

/**
 * Outer product of two vectors: `[M]` and `[N]` give `[M, N]`. Tensors of other ranks are flattened first, as
 * in NumPy. f32, i32 and u32; differentiable.
 *
 * @example
 * ```ts
 * import { outer, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await outer(tensor([1, 2]), tensor([3, 4])).toArray(), [[3, 4], [6, 8]]);
 * ```
 */
export function outer(a: Tensor, b: Tensor): Tensor {
  return mul(reshape(a, [a.size, 1]), reshape(b, [1, b.size]));
}
