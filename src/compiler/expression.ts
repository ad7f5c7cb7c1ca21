/**
 * Walks over kernel expressions, which are DAGs: every shared node is visited once.
 *
 * @module
 */
import type { Affine, Expr } from "./kernel.ts";

/** The expressions directly below one. */
export function children(expr: Expr): readonly Expr[] {
  switch (expr.kind) {
    case "gather":
      return [expr.index];
    case "unary":
    case "cast":
    case "bitcast":
      return [expr.x];
    case "binary":
      return [expr.a, expr.b];
    case "select":
      return [expr.condition, expr.a, expr.b];
    default:
      return [];
  }
}

/** Calls `visit` once for every node, operands first. */
export function forEachExpr(root: Expr, visit: (expr: Expr) => void, seen: Set<Expr> = new Set()): void {
  if (seen.has(root)) return;
  seen.add(root);
  for (const child of children(root)) forEachExpr(child, visit, seen);
  visit(root);
}

/** Rebuilds an expression with `replace` applied to every node after its operands; sharing is kept. */
export function mapExpr(root: Expr, replace: (expr: Expr) => Expr, memo: Map<Expr, Expr> = new Map()): Expr {
  const known = memo.get(root);
  if (known !== undefined) return known;
  const go = (child: Expr): Expr => mapExpr(child, replace, memo);
  const rebuilt = replace(withChildren(root, go));
  memo.set(root, rebuilt);
  return rebuilt;
}

function withChildren(expr: Expr, go: (child: Expr) => Expr): Expr {
  switch (expr.kind) {
    case "gather":
      return { ...expr, index: go(expr.index) };
    case "unary":
    case "cast":
    case "bitcast":
      return { ...expr, x: go(expr.x) };
    case "binary":
      return { ...expr, a: go(expr.a), b: go(expr.b) };
    case "select":
      return { ...expr, condition: go(expr.condition), a: go(expr.a), b: go(expr.b) };
    default:
      return expr;
  }
}

/** Applies `f` to every affine form of one node. */
export function mapForms(expr: Expr, f: (form: Affine) => Affine): Expr {
  const guards = "guards" in expr
    ? expr.guards.map((guard) => ({ form: f(guard.form), size: guard.size }))
    : [];
  switch (expr.kind) {
    case "index":
      return { ...expr, form: f(expr.form) };
    case "inside":
      return { ...expr, guards };
    case "load":
    case "gather":
      return { ...expr, at: f(expr.at), guards };
    default:
      return expr;
  }
}

/** Applies `f` to every affine form of an expression. */
export function mapAffine(root: Expr, f: (form: Affine) => Affine): Expr {
  return mapExpr(root, (expr) => mapForms(expr, f));
}

/** Every affine form in expressions that are walked together. */
export function formsOf(...roots: readonly Expr[]): Affine[] {
  const forms: Affine[] = [];
  const seen = new Set<Expr>();
  for (const root of roots) {
    forEachExpr(root, (expr) => {
      if (expr.kind === "index") forms.push(expr.form);
      if (expr.kind === "load" || expr.kind === "gather") forms.push(expr.at);
      if ("guards" in expr) forms.push(...expr.guards.map((guard) => guard.form));
    }, seen);
  }
  return forms;
}

/** An element at an address that the axes give. */
export type Load = Extract<Expr, { kind: "load" }>;

/** Every load of an expression. */
export function loadsOf(root: Expr): Load[] {
  const loads: Load[] = [];
  forEachExpr(root, (expr) => {
    if (expr.kind === "load") loads.push(expr);
  });
  return loads;
}
