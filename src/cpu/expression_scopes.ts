/**
 * Scopes: where the axes of a kernel stand in the code being written, and what is already computed there.
 *
 * A generator opens a scope for every loop it writes and says where each axis stands in it: in a local, at a
 * constant, or at four consecutive values (the lanes). Whatever does not change in a scope is computed before
 * it: a value is placed at the start of the outermost scope that knows what it depends on. Addresses are sums
 * that follow the same rule, one partial sum for each scope.
 *
 * A scope can be `exact`: then guards that depend on the lane are tested for each lane, and lanes that are
 * not valid neither read nor write. In other scopes the generator promises that all four lanes pass all
 * guards that depend on the lane.
 *
 * @module
 */
import type { Affine, Guard } from "../compiler/kernel.ts";
import type { FunctionBuilder, Local, Section } from "./assembler.ts";

/** Where an axis stands: `local + plus`, or `plus` alone; with `lanes`, four values from there on. */
export interface AxisValue {
  readonly local?: Local;
  readonly plus?: number;
  readonly lanes?: boolean;
  /** Number of values of the axis, if known: guards that cannot fail are left out. */
  readonly size?: number;
}

/** The finished value of a stage (or the accumulator): a v128 local, the same in all lanes or not. */
export interface FinishedValue {
  readonly local: Local;
  readonly lanes: boolean;
  /** The scope at whose start it is known already; by default the one that adds it. */
  readonly owner?: Scope;
}

/** What a scope adds to the scopes around it. Axes that no scope knows count as 0. */
export interface ScopeOptions {
  /** Axis number → position. */
  readonly axes?: ReadonlyMap<number, AxisValue>;
  /** Stage number → result. */
  readonly reduced?: ReadonlyMap<number, FinishedValue>;
  readonly accumulator?: FinishedValue;
  /** The body runs many times for one run of the scope around it. */
  readonly loop?: boolean;
  /** Axes of unrolled loops inside: guards of lane-dependent reads that involve them hold here (if not `exact`). */
  readonly promised?: ReadonlySet<number>;
  /** Test guards for each lane; `count` (i32) lanes from the first on are valid, `mask` says so as a mask. */
  readonly exact?: { readonly count: Local; readonly mask: Local };
}

/** Guards apart by whether they differ from lane to lane. */
export interface Guards {
  readonly uniform: readonly Guard[];
  readonly lanes: readonly Guard[];
}

interface BoundAxis extends AxisValue {
  readonly owner: Scope;
}

/** A place in the code, with the places around it. */
export interface Scope {
  readonly parent: Scope | undefined;
  readonly axes: Map<number, BoundAxis>;
  readonly finished: Map<number, FinishedValue>;
  readonly loop: boolean;
  readonly exact: ScopeOptions["exact"];
  readonly promised: ReadonlySet<number>;
  readonly start: Section;
  readonly memo: Map<unknown, Local>;
}

/** Stages and the accumulator are kept under negative numbers beside the axes. */
export const accumulatorKey = -1;

/** See `accumulatorKey`. */
export function stageKey(stage: number): number {
  return -2 - stage;
}

/** The scopes of one function. Made where the buffers' addresses are known; that place is the outermost scope. */
export class Scopes {
  #scope: Scope;

  /** For the code written into `f` from here on. */
  constructor(readonly f: FunctionBuilder) {
    this.#scope = this.#newScope(undefined, {});
  }

  /** The lane tests of the present scope. */
  get exact(): ScopeOptions["exact"] {
    return this.#scope.exact;
  }

  /** The present scope. */
  get here(): Scope {
    return this.#scope;
  }

  /** Runs `body`, which writes the code of a scope, with more axes known. */
  open(options: ScopeOptions, body: () => void): void {
    const outer = this.#scope;
    this.#scope = this.#newScope(outer, options);
    body();
    this.#scope = outer;
  }

  #newScope(parent: Scope | undefined, options: ScopeOptions): Scope {
    const scope: Scope = {
      parent,
      axes: new Map(),
      finished: new Map(),
      loop: options.loop ?? false,
      exact: options.exact ?? parent?.exact,
      promised: options.promised ?? parent?.promised ?? new Set(),
      start: this.f.section(),
      memo: new Map(),
    };
    for (const [axis, value] of options.axes ?? []) {
      // A position given as the same local further out belongs to the scope that moves the local.
      const known = this.findAxis(axis, parent);
      const owner = known && known.local === value.local ? known.owner : scope;
      scope.axes.set(axis, { ...value, owner });
    }
    for (const [stage, value] of options.reduced ?? []) scope.finished.set(stageKey(stage), value);
    if (options.accumulator) scope.finished.set(accumulatorKey, options.accumulator);
    return scope;
  }

  /** Where an axis stands. */
  findAxis(axis: number, from: Scope | undefined = this.#scope): BoundAxis | undefined {
    for (let scope: Scope | undefined = from; scope; scope = scope.parent) {
      const found = scope.axes.get(axis);
      if (found) return found;
    }
    return undefined;
  }

  /** The value of a finished stage, or the accumulator. */
  findFinished(key: number): FinishedValue {
    for (let scope: Scope | undefined = this.#scope; scope; scope = scope.parent) {
      const found = scope.finished.get(key);
      if (found) return found;
    }
    throw new Error(`Cannot write a reduced value before its stage: stage ${-2 - key} is not finished here`);
  }

  /** The scopes that matter for a set of axes and stages: the innermost that names one, and that moves one. */
  #homes(keys: Iterable<number>): { memo: Scope; owner: Scope } {
    const depth = (scope: Scope): number => scope.parent ? depth(scope.parent) + 1 : 0;
    let root = this.#scope;
    while (root.parent) root = root.parent;
    let [memo, owner] = [root, root];
    for (const key of keys) {
      for (let scope: Scope | undefined = this.#scope; scope; scope = scope.parent) {
        const axis = scope.axes.get(key);
        const finished = scope.finished.get(key);
        if (!axis && !finished) continue;
        if (depth(scope) > depth(memo)) memo = scope;
        const moved = axis ? (axis.local ? axis.owner : root) : finished?.owner ?? scope;
        if (depth(moved) > depth(owner)) owner = moved;
        break;
      }
    }
    return { memo, owner };
  }

  /** As far in as possible without entering a loop that does not move the value: hoisting further gains nothing. */
  #placement(memo: Scope, owner: Scope): Scope {
    let place = memo;
    for (let scope = memo; scope !== owner && scope.parent; scope = scope.parent) {
      if (scope.loop) place = scope.parent;
    }
    return place;
  }

  /** A local with the value that `write` leaves, computed once for the present position of `keys`. */
  once(key: unknown, keys: Iterable<number>, type: Local["type"], write: () => void): Local {
    const { memo, owner } = this.#homes(keys);
    const known = memo.memo.get(key);
    if (known) return known;
    const local = this.f.local(type);
    const place = this.#placement(memo, owner);
    this.f.within(place.start, () => {
      write();
      this.f.set(local);
    });
    memo.memo.set(key, local);
    return local;
  }

  /** Whether a value of these axes and stages is computed here and nowhere further out, each time it is needed. */
  isHere(value: unknown, keys: Iterable<number>): boolean {
    const { memo, owner } = this.#homes(keys);
    if (memo.memo.has(value) || this.#placement(memo, owner) !== memo) return false;
    for (let scope = this.#scope; scope !== memo; scope = scope.parent!) {
      // A scope that only adds finished values runs once for each run of the one around it.
      if (scope.loop || scope.axes.size > 0) return false;
    }
    return true;
  }

  /** The axes of a form that stand somewhere here. */
  #terms(form: Affine): { axis: number; coefficient: number; at: BoundAxis }[] {
    return form.coefficients.flatMap((coefficient, axis) => {
      const at = coefficient === 0 ? undefined : this.findAxis(axis);
      return at ? [{ axis, coefficient, at }] : [];
    });
  }

  /** How much the form grows from one lane to the next. */
  laneStep(form: Affine): number {
    return this.#terms(form).reduce((sum, { coefficient, at }) => at.lanes ? sum + coefficient : sum, 0);
  }

  /**
   * base + scale · form at the first lane, as a local and a constant to be added to it. The local holds one
   * partial sum for each scope that moves an axis of the form.
   */
  #sum(
    base: Local | undefined,
    form: Affine,
    scale: number,
    split: boolean,
  ): { local?: Local; constant: number } {
    const terms = this.#terms(form);
    let constant = form.offset * scale;
    const byOwner = new Map<Scope, { axis: number; factor: number; local: Local }[]>();
    for (const { axis, coefficient, at } of terms) {
      constant += coefficient * scale * (at.plus ?? 0);
      if (!at.local) continue;
      const list = byOwner.get(at.owner) ?? [];
      list.push({ axis, factor: coefficient * scale, local: at.local });
      byOwner.set(at.owner, list);
    }
    let local = base;
    let key = `sum ${base?.index}`;
    const keys: number[] = [];
    // Only what is surely not negative may stay out: a negative sum would wrap before the constant is added.
    const splits = split && constant >= 0 && constant < 2 ** 31 &&
      terms.every((term) => term.coefficient * scale >= 0);
    if (!splits && constant !== 0 && base) {
      const [from, add] = [local!, constant];
      key += ` ${add}`;
      local = this.once(key, keys, "i32", () => this.f.get(from).i32(add).op("i32.add"));
    }
    const chain: Scope[] = [];
    for (let scope: Scope | undefined = this.#scope; scope; scope = scope.parent) chain.unshift(scope);
    for (const scope of chain) {
      const own = byOwner.get(scope);
      if (!own) continue;
      for (const { axis, factor, local: position } of own) {
        keys.push(axis);
        key += ` ${position.index}*${factor}`;
        const product = this.#product(axis, position, factor);
        const from = local;
        local = from ? this.#onceAt(scope, key, () => this.f.get(from).get(product).op("i32.add")) : product;
      }
    }
    return { ...(local ? { local } : {}), constant: splits || !base ? constant : 0 };
  }

  #onceAt(scope: Scope, key: string, write: () => void): Local {
    const known = scope.memo.get(key);
    if (known) return known;
    const local = this.f.local("i32");
    this.f.within(scope.start, () => {
      write();
      this.f.set(local);
    });
    scope.memo.set(key, local);
    return local;
  }

  #product(axis: number, position: Local, factor: number): Local {
    if (factor === 1) return position;
    const owner = this.findAxis(axis)!.owner;
    return this.#onceAt(owner, `product ${position.index} ${factor}`, () => {
      const shift = Math.log2(factor);
      this.f.get(position).i32(Number.isInteger(shift) ? shift : factor);
      this.f.op(Number.isInteger(shift) ? "i32.shl" : "i32.mul");
    });
  }

  /** A text that is equal where the present values of forms are. */
  identify(form: Affine): string {
    let constant = form.offset;
    const locals = this.#terms(form).map(({ coefficient, at }) => {
      constant += coefficient * (at.plus ?? 0);
      return at.local ? `${coefficient}*${at.local.index}${at.lanes ? " lanes" : ""}` : "";
    });
    return `${constant} ${locals.filter((text) => text).sort()}`;
  }

  /** The value of a form that no local moves. */
  constantValue(form: Affine): number | undefined {
    const terms = this.#terms(form);
    if (terms.some(({ at }) => at.local)) return undefined;
    return terms.reduce((sum, { coefficient, at }) => sum + coefficient * (at.plus ?? 0), form.offset);
  }

  /** Pushes the value of a form (i32) at the first lane. */
  index(form: Affine): void {
    const { local, constant } = this.#sum(undefined, form, 1, false);
    if (!local) this.f.i32(constant);
    else if (constant === 0) this.f.get(local);
    else this.f.get(local).i32(constant).op("i32.add");
  }

  /** Pushes the values of a form as four i32. */
  indices(form: Affine): void {
    const step = this.laneStep(form);
    this.index(form);
    this.f.op("i32x4.splat");
    if (step !== 0) this.f.i32x4(0, step, 2 * step, 3 * step).op("i32x4.add");
  }

  /** Pushes the byte address of an element (at the first lane); returns the offset to give to the instruction. */
  address(buffer: Local, at: Affine): number {
    const { local, constant } = this.#sum(buffer, at, 4, true);
    this.f.get(local!);
    return constant;
  }

  /** Those of the guards that may fail here, apart by whether they differ from lane to lane. */
  split(guards: readonly Guard[]): Guards {
    const open = guards.filter((guard) => !this.#alwaysHolds(guard));
    return {
      uniform: open.filter((guard) => this.laneStep(guard.form) === 0),
      lanes: open.filter((guard) => this.laneStep(guard.form) !== 0),
    };
  }

  /** The same for a read that depends on the lane, without what the generator has promised. */
  splitOfLanes(guards: readonly Guard[]): Guards {
    if (this.exact) return this.split(guards);
    const { promised } = this.#scope;
    const uniform = this.split(guards).uniform
      .filter(({ form }) => !form.coefficients.some((c, axis) => c !== 0 && promised.has(axis)));
    return { uniform, lanes: [] };
  }

  #alwaysHolds({ form, size }: Guard): boolean {
    const [low, high] = this.#range(form);
    return low >= 0 && high < size;
  }

  /** Whether one step of `elements` along the lanes is enough to reach where the guards hold, from anywhere. */
  isNear(guards: readonly Guard[], elements: number): boolean {
    if (guards.length === 0) return true;
    if (guards.length > 1 || Math.abs(this.laneStep(guards[0]!.form)) !== 1) return false;
    const [low, high] = this.#range(guards[0]!.form);
    return low >= -elements && high < guards[0]!.size + elements;
  }

  #range(form: Affine): [low: number, high: number] {
    let [low, high] = [form.offset, form.offset];
    for (const { coefficient, at } of this.#terms(form)) {
      const first = at.local ? 0 : at.plus ?? 0;
      const last = at.local ? (at.size ?? Infinity) - 1 : first;
      low += Math.min(coefficient * first, coefficient * last);
      high += Math.max(coefficient * first, coefficient * last);
    }
    return [low, high];
  }

  #keys(guards: readonly Guard[]): number[] {
    return guards.flatMap(({ form }) => form.coefficients.flatMap((c, axis) => c === 0 ? [] : [axis]));
  }

  /** An i32 local: all of these guards (that do not depend on the lane) hold. */
  test(guards: readonly Guard[]): Local | undefined {
    if (guards.length === 0) return undefined;
    return this.once(`test ${JSON.stringify(guards)}`, this.#keys(guards), "i32", () => {
      guards.forEach(({ form, size }, k) => {
        this.index(form);
        this.f.i32(size).op("i32.lt_u");
        if (k > 0) this.f.op("i32.and");
      });
    });
  }

  /** An i32 local: the guards hold for any lane. */
  any(guards: Guards, valid: Local | undefined): Local {
    const { key, axes } = this.#identify(guards, valid);
    return this.once(
      `any ${key}`,
      axes,
      "i32",
      () => this.f.get(this.mask(guards, valid)).op("v128.any_true"),
    );
  }

  #identify({ uniform, lanes }: Guards, valid: Local | undefined): { key: string; axes: number[] } {
    const all = [...uniform, ...lanes];
    return {
      key: `mask ${valid?.index} ${JSON.stringify(all)}`,
      axes: [...this.#keys(all), ...(valid ? this.#lanesAxes() : [])],
    };
  }

  /** A v128 local: the lanes where all guards hold, and that are `valid`. */
  mask(guards: Guards, valid: Local | undefined): Local {
    const { key, axes } = this.#identify(guards, valid);
    return this.once(key, axes, "v128", () => {
      let parts = 0;
      const and = (): void => {
        if (parts++ > 0) this.f.op("v128.and");
      };
      if (valid) {
        this.f.get(valid);
        and();
      }
      const test = this.test(guards.uniform);
      if (test) {
        this.f.i32(0).get(test).op("i32.sub").op("i32x4.splat");
        and();
      }
      for (const { form, size } of guards.lanes) {
        this.indices(form);
        this.f.i32x4(size).op("i32x4.lt_u");
        and();
      }
      if (parts === 0) this.f.i32x4(-1);
    });
  }

  #lanesAxes(): number[] {
    const axes: number[] = [];
    for (let scope: Scope | undefined = this.#scope; scope; scope = scope.parent) {
      for (const [axis, at] of scope.axes) if (at.lanes) axes.push(axis);
    }
    return axes;
  }
}
