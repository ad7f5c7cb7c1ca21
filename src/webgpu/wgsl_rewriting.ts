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
import type { BinaryOp, Expr, UnaryOp } from "../compiler/kernel.ts";

/** How a value was computed, as far as a compiler may use it. */
export interface Origin {
  /** `same`: a compiler may know that the value is one of its operands, or has been rounded or stripped already. */
  readonly kind: "sum" | "product" | "quotient" | "root" | "same";
  readonly operands: readonly Operand[];
}

/** An operand: its name, and how it was computed. */
export interface Operand {
  readonly text: string;
  readonly origin?: Origin | undefined;
}

const kinds: Partial<Record<UnaryOp | BinaryOp, Origin["kind"]>> = {
  add: "sum",
  sub: "sum",
  mul: "product",
  div: "quotient",
  sqrt: "root",
  max: "same",
  min: "same",
  neg: "same",
  abs: "same",
  sign: "same",
  floor: "same",
  ceil: "same",
  round: "same",
};

/** The origin of the result of an operation. */
export function originOf(expr: Expr, operands: readonly Operand[]): Origin | undefined {
  if (expr.dtype !== "f32") return undefined;
  if (expr.kind === "select") return { kind: "same", operands: operands.slice(0, 2) };
  const kind = expr.kind === "unary" || expr.kind === "binary" ? kinds[expr.op] : undefined;
  return kind && { kind, operands };
}

/** Whether constants among the f32 operands of an operation must be hidden: its result may be an operand of another. */
export function hidesConstants(expr: Expr): boolean {
  if (expr.kind === "unary" || expr.kind === "select") return true;
  return expr.kind === "binary" && expr.dtype === "f32" && expr.op !== "max" && expr.op !== "min";
}

/** Which operand of an operation on f32 must be hidden, if any. */
export function operandToHide(op: BinaryOp, a: Operand, b: Operand): 0 | 1 | undefined {
  const own = a.origin === undefined && b.origin !== undefined ? 1 : 0;
  switch (op) {
    case "add":
      return haveCommon(a, b) ? own : besideProducts(a, b);
    case "sub":
      return mayBeEqual(a, b) || haveCommon(a, b) ? own : besideProducts(a, b);
    case "div":
      return mayBeEqual(a, b) || haveCommon(a, b) ? own : undefined;
    case "mul":
      if (a.origin?.kind === "root" && a.text === b.text) return 0;
      return (a.origin?.kind === "quotient" || b.origin?.kind === "quotient") && haveCommon(a, b)
        ? own
        : undefined;
    default:
      return undefined;
  }
}

/** Whether both may be one value. */
function mayBeEqual(a: Operand, b: Operand): boolean {
  return meet(values(a), values(b));
}

/** Whether one may be an operand of the other, or both have one in common. */
function haveCommon(a: Operand, b: Operand): boolean {
  const [ofA, ofB] = [operandsOf(a), operandsOf(b)];
  return meet(values(a), ofB) || meet(ofA, values(b)) || meet(ofA, ofB);
}

/** What a value may be the same as. */
function values(operand: Operand): Operand[] {
  const { origin } = operand;
  return origin?.kind === "same" ? [operand, ...origin.operands.flatMap(values)] : [operand];
}

/** What its operands may be. */
function operandsOf(operand: Operand): Operand[] {
  return values(operand).flatMap(({ origin }) =>
    origin === undefined || origin.kind === "same" ? [] : origin.operands.flatMap(values)
  );
}

function meet(some: readonly Operand[], others: readonly Operand[]): boolean {
  return some.some(({ text }) => others.some((other) => other.text === text));
}

/** A sum of two products, beside what is none. */
function besideProducts(a: Operand, b: Operand): 0 | 1 | undefined {
  if (isSumOfProducts(a) && !isProduct(b)) return 0;
  return isSumOfProducts(b) && !isProduct(a) ? 1 : undefined;
}

function isProduct({ origin }: Operand): boolean {
  return origin?.kind === "product" || origin?.kind === "quotient";
}

function isSumOfProducts({ origin }: Operand): boolean {
  return origin?.kind === "sum" && origin.operands.every(isProduct);
}
