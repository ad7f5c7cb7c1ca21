/**
 * The loop whose steps are vectors of four lanes.
 *
 * Whole vectors whose guards hold for all lanes are the fast part, a tight loop. What remains at either end
 * (borders of padded loads, an end that is not a multiple of four) runs one exact vector at a time.
 *
 * @module
 */
import type { Affine, Expr, Guard } from "../compiler/kernel.ts";
import type { Local, Operand } from "./assembler.ts";
import type { Emitter } from "./expression.ts";
import type { ScopeOptions } from "./expression_scopes.ts";
import { guardsOf, type Loop, reachable } from "./fold_plan.ts";

/** What to run along the lanes. */
export interface LanesOptions {
  readonly loop: Loop;
  readonly start: Operand;
  readonly stop: Operand;
  /** Vectors of the widest step; narrower steps take the rest. */
  readonly width: number;
  /** The expressions of the body, and the loops inside it. */
  readonly roots: readonly Expr[];
  readonly inner: readonly Loop[];
  /** Writes one step of `vectors` vectors at `position`; the scope of the step is open. */
  readonly body: (vectors: number, position: Local) => void;
}

/** Writes the loop. */
export function emitLanes(emitter: Emitter, options: LanesOptions): void {
  const { f, scopes } = emitter;
  const { loop, start, stop, width } = options;
  const position = f.local("i32");
  const guards = [...reachable(options.roots)].flatMap(guardsOf)
    .filter((guard) => (guard.form.coefficients[loop.axis] ?? 0) !== 0)
    .filter((guard, k, all) => all.findIndex((other) => sameGuard(guard, other)) === k);
  const bounds = new Bounds(emitter, options);
  for (const guard of guards) bounds.narrow(guard);
  const { low, high } = bounds;
  const step = (vectors: number, exact?: ScopeOptions["exact"]): void => {
    const axes = new Map([[loop.axis, { local: position, lanes: true, size: loop.size }]]);
    scopes.open({ axes, loop: true, ...(exact ? { exact } : {}) }, () => options.body(vectors, position));
    if (!exact) f.increase(position, 4 * vectors);
  };
  const fast = (): void => {
    for (const vectors of width > 1 ? [width, 1] : [1]) {
      if (!bounds.mayHold(4 * vectors)) continue;
      if (vectors < width && bounds.isMultipleOf(4 * width)) continue;
      f.while(
        () => f.get(position).i32(4 * vectors).op("i32.add").push(high).op("i32.le_s"),
        () => step(vectors),
      );
    }
  };

  f.push(start).set(position);
  if (guards.length === 0 && loop.size % 4 === 0) return fast();
  const rest = (): void => {
    const count = f.push(stop).get(position).op("i32.sub").keep("i32");
    const mask = f.get(count).op("i32x4.splat").i32x4(0, 1, 2, 3).op("i32x4.gt_s").keep();
    step(1, { count, mask });
    f.increase(position, 4);
  };
  if (guards.length === 0) {
    fast();
    f.get(position).push(stop).op("i32.lt_s").if(rest);
    return;
  }
  f.while(() => {
    f.get(position).push(low).op("i32.ge_s").if(fast);
    f.get(position).push(stop).op("i32.lt_s");
  }, rest);
}

function sameGuard(a: Guard, b: Guard): boolean {
  return a.size === b.size && JSON.stringify(a.form) === JSON.stringify(b.form);
}

/** The positions between `low` and `high` where all guards hold, whatever the loops inside do. */
class Bounds {
  low: Operand;
  high: Operand;

  constructor(readonly emitter: Emitter, readonly options: LanesOptions) {
    this.low = options.start;
    this.high = options.stop;
  }

  /** Whether a step of so many positions may fit between the bounds, as far as it is known here. */
  mayHold(positions: number): boolean {
    const low = typeof this.low === "number" ? this.low : 0;
    const high = typeof this.high === "number" ? this.high : this.options.loop.size;
    return high - low >= positions;
  }

  /** Whether steps of so many positions leave nothing. */
  isMultipleOf(positions: number): boolean {
    return typeof this.low === "number" && typeof this.high === "number" &&
      (this.high - this.low) % positions === 0;
  }

  narrow({ form, size }: Guard): void {
    const { loop, inner } = this.options;
    const step = form.coefficients[loop.axis]!;
    let [least, most] = [0, 0];
    for (const { axis, size } of inner) {
      const reach = (form.coefficients[axis] ?? 0) * (size - 1);
      least += Math.min(reach, 0);
      most += Math.max(reach, 0);
    }
    // The rest of the form, at the loops that are around this one.
    const known = new Set([loop.axis, ...inner.map(({ axis }) => axis)]);
    const rest: Affine = {
      offset: form.offset,
      coefficients: form.coefficients.map((c, k) => known.has(k) ? 0 : c),
    };
    // 0 ≤ rest + least + step · x and rest + most + step · x ≤ size − 1.
    if (step > 0) {
      this.#atLeast(rest, -1, -least, step);
      this.#atMost(rest, -1, size - 1 - most, step);
    } else {
      this.#atLeast(rest, 1, most - size + 1, -step);
      this.#atMost(rest, 1, least, -step);
    }
  }

  /** x ≥ ⌈(sign · rest + add) / step⌉. */
  #atLeast(rest: Affine, sign: 1 | -1, add: number, step: number): void {
    this.low = this.#further(
      this.low,
      this.#quotient(rest, sign, add + step - 1, step),
      Math.max,
      "i32.gt_s",
    );
  }

  /** x ≤ ⌊(sign · rest + add) / step⌋, so below one more. */
  #atMost(rest: Affine, sign: 1 | -1, add: number, step: number): void {
    this.high = this.#further(this.high, this.#quotient(rest, sign, add + step, step), Math.min, "i32.lt_s");
  }

  #further(
    a: Operand,
    b: Operand,
    pick: (a: number, b: number) => number,
    compare: "i32.gt_s" | "i32.lt_s",
  ): Operand {
    if (typeof a === "number" && typeof b === "number") return pick(a, b);
    const { f } = this.emitter;
    return f.push(a).push(b).push(a).push(b).op(compare).op("select").keep("i32");
  }

  /** ⌊(sign · rest + add) / step⌋. */
  #quotient(rest: Affine, sign: 1 | -1, add: number, step: number): Operand {
    const { f, scopes } = this.emitter;
    const scaled = {
      offset: sign * rest.offset + add,
      coefficients: rest.coefficients.map((c) => sign * c),
    };
    const fixed = scopes.constantValue(scaled);
    if (fixed !== undefined) return Math.floor(fixed / step);
    scopes.index(scaled);
    const value = f.keep("i32");
    if (step === 1) return value;
    // Division truncates: lower what is negative first.
    f.get(value).get(value).i32(31).op("i32.shr_s").i32(step - 1).op("i32.and").op("i32.sub");
    return f.i32(step).op("i32.div_s").keep("i32");
  }
}
