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
import { guardsOf, type Loop, reachable } from "./expression_axes.ts";
import type { ScopeOptions } from "./expression_scopes.ts";

/** What to run along the lanes. */
export interface LanesOptions {
  readonly loop: Loop;
  readonly start: Operand;
  readonly stop: Operand;
  /** Vectors of the widest step; narrower steps take the rest. */
  readonly width: number;
  /** The expressions of the body. */
  readonly roots: readonly Expr[];
  /** The loops inside the body, and those of them that are unrolled. */
  readonly inner: readonly Loop[];
  readonly unrolled: readonly Loop[];
  /** The loop outside of which each body takes several steps. */
  readonly abreast: Loop | undefined;
  /** Writes one step of `vectors` vectors at `position`; the scope of the step is open. */
  readonly body: (vectors: number, position: Local) => void;
}

/** Writes the loop. */
export function emitLanes(emitter: Emitter, options: LanesOptions): void {
  const { f, scopes } = emitter;
  const { loop, start, stop, width } = options;
  const position = f.local("i32");
  const bounds = new Bounds(emitter, options);
  const promised = new Set(options.unrolled.map(({ axis }) => axis));
  if (options.abreast) promised.add(options.abreast.axis);
  const guards = guardsOfLanes(options.roots, loop).filter(({ form }) =>
    form.coefficients.some((c, axis) => c !== 0 && (axis === loop.axis || promised.has(axis)))
  );
  for (const guard of guards) {
    if (guard.form.coefficients[loop.axis]) bounds.narrow(guard);
    else bounds.require(guard);
  }
  const { low, high } = bounds;
  const step = (vectors: number, exact?: ScopeOptions["exact"]): void => {
    const axes = new Map([[loop.axis, { local: position, lanes: true, size: loop.size }]]);
    const rules = exact ? { exact } : { promised };
    scopes.open({ axes, loop: true, ...rules }, () => options.body(vectors, position));
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

/** The guards, each once, of what is read at different places along a loop. */
function guardsOfLanes(roots: readonly Expr[], loop: Loop): Guard[] {
  const differs = (form: Affine): boolean => (form.coefficients[loop.axis] ?? 0) !== 0;
  const guards = new Map<string, Guard>();
  for (const e of reachable(roots)) {
    const own = guardsOf(e);
    const isVarying = (e.kind === "load" && differs(e.at)) || own.some(({ form }) => differs(form));
    for (const guard of isVarying ? own : []) guards.set(JSON.stringify(guard), guard);
  }
  return [...guards.values()];
}

/** The positions between `low` and `high` where all guards hold, whatever the loops inside do. */
class Bounds {
  low: Operand;
  high: Operand;
  // Several stages and stores may each have an axis of one number: the longest counts.
  readonly #sizes = new Map<number, number>();

  constructor(readonly emitter: Emitter, readonly options: LanesOptions) {
    this.low = options.start;
    this.high = options.stop;
    const { abreast } = options;
    for (const { axis, size } of abreast ? [...options.inner, abreast] : options.inner) {
      this.#sizes.set(axis, Math.max(size, this.#sizes.get(axis) ?? 0));
    }
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

  /** A guard that depends on the position. */
  narrow({ form, size }: Guard): void {
    const step = form.coefficients[this.options.loop.axis]!;
    const { rest, least, most } = this.#apart(form);
    // 0 ≤ rest + least + step · x and rest + most + step · x ≤ size − 1.
    if (step > 0) {
      this.#atLeast(rest, -1, -least, step);
      this.#atMost(rest, -1, size - 1 - most, step);
    } else {
      this.#atLeast(rest, 1, most - size + 1, -step);
      this.#atMost(rest, 1, least, -step);
    }
  }

  /** A guard that depends on loops inside, but not on the position: where it may fail, nothing is between the bounds. */
  require({ form, size }: Guard): void {
    const { f, scopes } = this.emitter;
    const { rest, least, most } = this.#apart(form);
    const lowest = { ...rest, offset: rest.offset + least };
    const fixed = scopes.constantValue(lowest);
    if (fixed !== undefined) {
      if (fixed < 0 || fixed + most - least >= size) this.high = 0;
    } else if (size > most - least) {
      f.push(this.high).i32(0);
      scopes.index(lowest);
      // 0 ≤ lowest and lowest + most − least < size.
      this.high = f.i32(size - most + least).op("i32.lt_u").op("select").keep("i32");
    } else {
      this.high = 0;
    }
  }

  /** A form as a part of the loops around this one, and what the loops inside can add to it. */
  #apart(form: Affine): { rest: Affine; least: number; most: number } {
    let [least, most] = [0, 0];
    for (const [axis, size] of this.#sizes) {
      const reach = (form.coefficients[axis] ?? 0) * (size - 1);
      least += Math.min(reach, 0);
      most += Math.max(reach, 0);
    }
    const isOutside = (axis: number): boolean =>
      axis === this.options.abreast?.axis || (axis !== this.options.loop.axis && !this.#sizes.has(axis));
    const coefficients = form.coefficients.map((c, axis) => isOutside(axis) ? c : 0);
    return { rest: { offset: form.offset, coefficients }, least, most };
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
