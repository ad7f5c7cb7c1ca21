/**
 * What drivers make of f32 arithmetic, and where they must not.
 *
 * WGSL lets a compiler take f32 for real numbers that are never infinite or NaN. Mesa's does: x · 0 and x − x become 0,
 * (x + y) − x becomes y, x · y + x · z becomes x · (y + z) and overflows where the sum does, (x · y + z · w) + v is
 * added up in another order, √x · √x becomes |x|, (x · y) · 2 becomes (x · 2) · y; and llvmpipe leaves the result of a
 * division by a 0 that it can see undefined, so that it is whatever the register held. Comparisons it takes as they
 * are written.
 *
 * All of these need to see a constant, or one value twice. So constants in arithmetic are parameters of the shader, and
 * where a value occurs in both operands one of them is hidden: its bits are joined with a zero from memory, which
 * costs one integer operation. Which operations those are is decided here.
 *
 * @module
 */
import type { BinaryOp, Expr } from "../compiler/kernel.ts";

/** How a value was computed, as far as a compiler may use it. */
export interface Origin {
  readonly kind: "sum" | "product" | "quotient" | "root";
  readonly operands: readonly Operand[];
}

/** An operand: its name, and how it was computed. */
export interface Operand {
  readonly text: string;
  readonly origin?: Origin | undefined;
}

/** The origin of the result of an operation. */
export function originOf(expr: Expr, operands: readonly Operand[]): Origin | undefined {
  if (expr.dtype !== "f32") return undefined;
  if (expr.kind === "unary") return expr.op === "sqrt" ? { kind: "root", operands } : undefined;
  if (expr.kind !== "binary") return undefined;
  switch (expr.op) {
    case "add":
    case "sub":
      return { kind: "sum", operands };
    case "mul":
      return { kind: "product", operands };
    case "div":
      return { kind: "quotient", operands };
    default:
      return undefined;
  }
}

/** Whether constants among the f32 operands of an operation must be hidden. */
export function hidesConstants(expr: Expr): boolean {
  if (expr.kind === "unary") return true;
  return expr.kind === "binary" && expr.dtype === "f32" && expr.op !== "max" && expr.op !== "min";
}

/** Which operand of an operation on f32 must be hidden, if any. */
export function operandToHide(op: BinaryOp, a: Operand, b: Operand): 0 | 1 | undefined {
  const own = a.origin === undefined && b.origin !== undefined ? 1 : 0;
  switch (op) {
    case "add":
    case "sub":
      if (op === "sub" && a.text === b.text) return 0;
      if (haveCommon(a, b)) return own;
      if (isSumOfProducts(a) && !isProduct(b)) return 0;
      return isSumOfProducts(b) && !isProduct(a) ? 1 : undefined;
    case "div":
      return a.text === b.text || haveCommon(a, b) ? own : undefined;
    case "mul":
      if (a.origin?.kind === "root" && a.text === b.text) return 0;
      return (a.origin?.kind === "quotient" || b.origin?.kind === "quotient") && haveCommon(a, b)
        ? own
        : undefined;
    default:
      return undefined;
  }
}

/** Whether one is an operand of the other, or both have one in common. */
function haveCommon(a: Operand, b: Operand): boolean {
  const [ofA, ofB] = [a, b].map((
    { text, origin },
  ) => [text, ...(origin?.operands ?? []).map((each) => each.text)]);
  return ofA!.some((text, k) => ofB!.some((other, j) => text === other && (k > 0 || j > 0)));
}

function isProduct({ origin }: Operand): boolean {
  return origin?.kind === "product" || origin?.kind === "quotient";
}

function isSumOfProducts({ origin }: Operand): boolean {
  return origin?.kind === "sum" && origin.operands.every(isProduct);
}
