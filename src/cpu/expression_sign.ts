/**
 * What can be said about the sign of a value without computing it.
 *
 * @module
 */
import type { Expr } from "../compiler/kernel.ts";

/**
 * Whether a value is surely 0, negative or NaN. `maxima` holds, by the number of their stage, the values whose
 * maximum is known: none of them is above it.
 */
export function isNotPositive(e: Expr, maxima: ReadonlyMap<number, Expr>): boolean {
  if (e.kind === "constant") return e.value <= 0;
  if (e.kind === "unary") return e.op === "neg" && isNotNegative(e.x);
  if (e.kind !== "binary" || e.dtype !== "f32") return false;
  const { op, a, b } = e;
  if (op === "sub") return b.kind === "reduced" && maxima.get(b.stage) === a;
  if (op !== "mul" && op !== "div") return false;
  return (isNotNegative(a) && isNotPositive(b, maxima)) || (isNotPositive(a, maxima) && isNotNegative(b));
}

function isNotNegative(e: Expr): boolean {
  if (e.kind === "constant") return e.value >= 0;
  if (e.kind === "unary") return e.op === "abs" || e.op === "exp";
  return e.kind === "binary" && e.dtype === "f32" && e.op === "mul" &&
    (e.a === e.b || (isNotNegative(e.a) && isNotNegative(e.b)));
}
