/**
 * Equal expressions of a kernel become one object.
 *
 * Kernels that the compiler has joined say the same thing more than once: a softmax has the exponential in its
 * sum and again in its quotient. Generators keep a value that they meet twice, but know it only by its object.
 *
 * @module
 */
import { children, mapExpr } from "./expression.ts";
import type { Affine, Expr, Fold } from "./kernel.ts";

/** The same kernel, in which expressions that are equal are the same object. */
export function shareEqual(kernel: Fold): Fold {
  const known = new Map<string, Expr>();
  const numbers = new Map<Expr, number>();
  const memo = new Map<Expr, Expr>();
  const share = (root: Expr): Expr =>
    mapExpr(root, (expr) => {
      const key = keyOf(expr, numbers);
      const found = known.get(key) ?? expr;
      if (found === expr) {
        known.set(key, expr);
        numbers.set(expr, numbers.size);
      }
      return found;
    }, memo);
  return {
    ...kernel,
    stages: kernel.stages.map((stage) => ({ ...stage, value: share(stage.value) })),
    stores: kernel.stores.map((store) => ({ ...store, value: share(store.value) })),
  };
}

/** A text that is equal for equal expressions, given the numbers of their operands. */
function keyOf(expr: Expr, numbers: ReadonlyMap<Expr, number>): string {
  const below = new Set<unknown>(children(expr));
  return JSON.stringify(expr, (name, value) => {
    if (below.has(value)) return `#${numbers.get(value as Expr)}`;
    if (name === "coefficients") return withoutTrailingZeros(value as Affine["coefficients"]);
    // JSON has no −0, NaN or infinities.
    return name === "value" || name === "fill" ? Object.is(value, -0) ? "-0" : String(value) : value;
  });
}

function withoutTrailingZeros(coefficients: readonly number[]): readonly number[] {
  let length = coefficients.length;
  while (length > 0 && coefficients[length - 1] === 0) length--;
  return coefficients.slice(0, length);
}
