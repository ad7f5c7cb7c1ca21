/**
 * Axes of a contraction's code: groups of axes (batch, rows, columns, inner) that are walked as one flat
 * count. Neighbouring axes are joined where every affine form agrees, so that a plain matrix has one long
 * axis per group whatever shape it came in.
 *
 * @module
 */
import type { Affine, Expr, Guard, Store } from "../compiler/kernel.ts";
import type { FunctionBuilder, Local, Operand } from "./assembler.ts";
import { operands } from "./expression.ts";
import type { AxisValue } from "./expression_scopes.ts";

/** Axes that are walked as one: all of them count in steps of the last one, whose number this is. */
export interface JoinedAxis {
  readonly axis: number;
  readonly size: number;
}

/** All affine forms of expressions and stores. */
export function formsOf(expressions: readonly Expr[], stores: readonly Store[] = []): Affine[] {
  const forms: Affine[] = stores.map((store) => store.at);
  for (const e of everyOperand([...expressions, ...stores.map((store) => store.value)])) {
    if (e.kind === "load" || e.kind === "gather") forms.push(e.at);
    if (e.kind === "index") forms.push(e.form);
    if ("guards" in e) forms.push(...e.guards.map((guard) => guard.form));
  }
  return forms;
}

/** All guards of expressions. */
export function guardsOf(expressions: readonly Expr[]): Guard[] {
  return [...everyOperand(expressions)].flatMap((e) => "guards" in e ? e.guards : []);
}

/** All loads of expressions. */
export function loadsOf(expressions: readonly Expr[]): (Expr & { kind: "load" })[] {
  return [...everyOperand(expressions)].filter((e) => e.kind === "load");
}

function everyOperand(expressions: readonly Expr[]): Set<Expr> {
  const seen = new Set<Expr>();
  const visit = (e: Expr): void => {
    if (seen.has(e)) return;
    seen.add(e);
    operands(e).forEach(visit);
  };
  expressions.forEach(visit);
  return seen;
}

/** Leaves out axes of size 1 and joins neighbours (an axis of size n under one that steps n times as far). */
export function join(axes: readonly JoinedAxis[], forms: readonly Affine[]): JoinedAxis[] {
  const joined: JoinedAxis[] = [];
  for (const { axis, size } of axes.filter((axis) => axis.size !== 1).reverse()) {
    const inner = joined[0];
    const fits = inner !== undefined &&
      forms.every(({ coefficients }) =>
        (coefficients[axis] ?? 0) === (coefficients[inner.axis] ?? 0) * inner.size
      );
    if (fits) joined[0] = { axis: inner.axis, size: inner.size * size };
    else joined.unshift({ axis, size });
  }
  return joined;
}

/** Whether any of the forms depends on an axis. */
export function dependsOn(forms: readonly Affine[], axis: number): boolean {
  return forms.some(({ coefficients }) => (coefficients[axis] ?? 0) !== 0);
}

/** Locals that hold the position in a group of axes. */
export class Position {
  readonly #f: FunctionBuilder;
  readonly #axes: readonly JoinedAxis[];
  readonly #locals: readonly Local[];

  constructor(f: FunctionBuilder, axes: readonly JoinedAxis[]) {
    this.#f = f;
    this.#axes = axes;
    this.#locals = axes.map(() => f.local("i32"));
  }

  /** Where the axes stand, for a scope. */
  get values(): Map<number, AxisValue> {
    return new Map(this.#axes.map(({ axis, size }, k) => [axis, { local: this.#locals[k]!, size }]));
  }

  /** The position in the last axis. */
  get last(): Local | undefined {
    return this.#locals.at(-1);
  }

  /**
   * Copies the position in the last axis. Lanes that stand at the copy belong to the scope that names it, so
   * that nothing which is only right under that scope's promises is computed outside.
   */
  copyLast(): Local | undefined {
    return this.last && this.#f.get(this.last).keep("i32");
  }

  /** The last axis at four positions from `first + plus` on, for a scope inside that of `values`. */
  lanes(first: Local | undefined, plus = 0): Map<number, AxisValue> {
    const last = this.#axes.at(-1);
    if (!last || !first) return new Map();
    return new Map([[last.axis, { local: first, plus, size: last.size, lanes: true }]]);
  }

  /** How much a form grows along the last axis. */
  stepOf(form: Affine): number {
    const last = this.#axes.at(-1);
    return last ? form.coefficients[last.axis] ?? 0 : 0;
  }

  /** Writes code that sets the position from a flat one. */
  decode(flat: Operand): void {
    const f = this.#f;
    if (this.#axes.length === 0) return;
    const rest = f.push(flat).keep("i32");
    for (let k = this.#axes.length - 1; k > 0; k--) {
      const { size } = this.#axes[k]!;
      f.get(rest).i32(size).op("i32.rem_u").set(this.#locals[k]!);
      f.get(rest).i32(size).op("i32.div_u").set(rest);
    }
    f.get(rest).set(this.#locals[0]!);
  }

  /** Pushes how many positions are left in the last axis. */
  remaining(): void {
    const last = this.#axes.length - 1;
    if (last < 0) this.#f.i32(1);
    else this.#f.i32(this.#axes[last]!.size).get(this.#locals[last]!).op("i32.sub");
  }

  /** Writes code that moves on by at most what `remaining` gives. */
  advance(by: Operand): void {
    this.#advance(this.#axes.length - 1, by);
  }

  #advance(k: number, by: Operand): void {
    const f = this.#f;
    const local = this.#locals[k];
    if (!local) return;
    f.increase(local, by);
    if (k === 0) return;
    f.get(local).i32(this.#axes[k]!.size).op("i32.ge_s").if(() => {
      f.i32(0).set(local);
      this.#advance(k - 1, 1);
    });
  }
}
