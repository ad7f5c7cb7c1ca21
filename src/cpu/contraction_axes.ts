/**
 * Groups of axes of a contraction (batch, rows, columns, inner) that are walked as one flat count.
 *
 * @module
 */
import type { Affine, Expr, Guard } from "../compiler/kernel.ts";
import type { FunctionBuilder, Local, Operand } from "./assembler.ts";
import { guardsOf, type Loop, reachable } from "./expression_axes.ts";
import type { AxisValue } from "./expression_scopes.ts";

/** The guards of all loads and gathers of expressions. */
export function allGuards(roots: readonly Expr[]): Guard[] {
  return [...reachable(roots)].flatMap(guardsOf);
}

/** Whether any of the forms depends on an axis. */
export function dependsOn(forms: readonly Affine[], axis: number): boolean {
  return forms.some(({ coefficients }) => (coefficients[axis] ?? 0) !== 0);
}

/** Locals that hold the position in a group of axes. */
export class Position {
  readonly #f: FunctionBuilder;
  readonly #axes: readonly Loop[];
  readonly #locals: readonly Local[];

  constructor(f: FunctionBuilder, axes: readonly Loop[]) {
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
