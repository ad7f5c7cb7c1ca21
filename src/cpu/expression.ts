/**
 * Writes kernel expressions as code on four lanes.
 *
 * There is one width only. Where an expression is needed decides what it becomes: in a scope whose lanes run
 * along an axis it is a vector of four values, and what does not depend on that axis is computed before the
 * loop, the same in all lanes (expression_scopes.ts). A generator for single values uses lane 0.
 *
 * @module
 */
import type { DType } from "../dtype.ts";
import { children } from "../compiler/expression.ts";
import type { Affine, Expr, Store } from "../compiler/kernel.ts";
import type { FunctionBuilder, Local } from "./assembler.ts";
import { binary, cast, unary } from "./expression_operations.ts";
import { accumulatorKey, type Scope, type ScopeOptions, Scopes, stageKey } from "./expression_scopes.ts";
import { isNotPositive } from "./expression_sign.ts";
import { slackBytes } from "./protocol.ts";
import type { Vector } from "./vector.ts";

/** A value of every lane position, kept at element `at` of the memory at `base`; that of row k at k · `stride` more. */
export interface KeptValue {
  readonly base: Local;
  readonly at: Affine;
  readonly stride: number;
  /** Read from there; until then every evaluation writes it. */
  ready: boolean;
}

/** Writes expressions and stores into one function. */
export class Emitter {
  /** The function. */
  readonly f: FunctionBuilder;
  /** Where the axes stand. */
  readonly scopes: Scopes;
  readonly #inputs: readonly Local[];
  readonly #outputs: readonly Local[];
  /** Values that are kept in memory between two walks along a row. */
  readonly kept: Map<Expr, KeptValue> = new Map();
  /** Which of several rows the code is for. */
  row = 0;
  /** The value of every stage whose result is its maximum, by the number of the stage. */
  readonly maxima: Map<number, Expr> = new Map();
  #uses = new Map<Expr, number>();
  #dependencies = new Map<Expr, ReadonlySet<number>>();
  /** What has been read, by address, and the scope that has read it; undefined where that is not looked at. */
  #read: Map<string, { local: Local; scope: Scope }> | undefined;

  /**
   * `inputs`/`outputs` are i32 locals with byte addresses, set already; `walks` are all expressions that will
   * be written, those of one loop together (values used more than once in it get a local).
   */
  constructor(
    readonly vector: Vector,
    buffers: { inputs: readonly Local[]; outputs: readonly Local[] },
    ...walks: readonly (readonly Expr[])[]
  ) {
    this.f = vector.f;
    this.scopes = new Scopes(this.f);
    this.#inputs = buffers.inputs;
    this.#outputs = buffers.outputs;
    for (const roots of walks) this.#countUses(roots);
  }

  /** Runs `body`, which writes the code of a scope, with more axes known. */
  scope(options: ScopeOptions, body: () => void): void {
    this.scopes.open(options, body);
  }

  /**
   * Runs `body`, which writes scopes one after another, none of them a loop: what one of them has read is not
   * read again by the next.
   */
  sharing(body: () => void): void {
    this.#read = new Map();
    body();
    this.#read = undefined;
  }

  #countUses(roots: readonly Expr[]): void {
    const own = new Map<Expr, number>();
    const visit = (e: Expr): void => {
      const uses = (own.get(e) ?? 0) + 1;
      own.set(e, uses);
      this.#uses.set(e, Math.max(uses, this.#uses.get(e) ?? 0));
      if (uses === 1) children(e).forEach(visit);
    };
    roots.forEach(visit);
  }

  /** Pushes the value of an expression: f32 or 32-bit integers in four lanes, bool as a mask. */
  value(e: Expr): void {
    if (e.kind === "constant") return this.constant(e.dtype, e.value);
    if (e.kind === "reduced") return void this.f.get(this.scopes.findFinished(stageKey(e.stage)).local);
    if (e.kind === "accumulator") return void this.f.get(this.scopes.findFinished(accumulatorKey).local);
    if (this.#isInline(e)) this.#write(e);
    else this.f.get(this.scopes.once(e, this.#dependenciesOf(e), "v128", () => this.#write(e)));
  }

  /** Pushes sum + value of an f32 expression, with one instruction for a product and the sum where possible. */
  addTo(sum: Local, e: Expr): void {
    if (this.#isFusible(e)) {
      this.value(e.a);
      this.vector.multiplyAdd(() => this.value(e.b), () => this.f.get(sum));
    } else {
      this.f.get(sum);
      this.value(e);
      this.f.op("f32x4.add");
    }
  }

  /** Pushes a constant in four lanes. */
  constant(dtype: DType, value: number): void {
    if (dtype === "f32") this.f.f32x4(value);
    else if (dtype === "bool") this.f.i32x4(value !== 0 ? -1 : 0);
    else this.f.i32x4(value | 0);
  }

  /** Used once, and here is as far out as it can be computed. */
  #isInline(e: Expr): boolean {
    return (this.#uses.get(e) ?? 1) <= 1 && this.scopes.isHere(e, this.#dependenciesOf(e));
  }

  #dependenciesOf(e: Expr): ReadonlySet<number> {
    let known = this.#dependencies.get(e);
    if (!known) {
      const found = new Set<number>();
      const addForm = (form: Affine): void =>
        form.coefficients.forEach((c, axis) => c !== 0 && found.add(axis));
      if (e.kind === "load" || e.kind === "gather") addForm(e.at);
      if (e.kind === "index") addForm(e.form);
      if (e.kind === "load" || e.kind === "gather" || e.kind === "inside") {
        e.guards.forEach((g) => addForm(g.form));
      }
      if (e.kind === "reduced") found.add(stageKey(e.stage));
      if (e.kind === "accumulator") found.add(accumulatorKey);
      for (const operand of children(e)) for (const key of this.#dependenciesOf(operand)) found.add(key);
      this.#dependencies.set(e, known = found);
    }
    return known;
  }

  /** Whether an expression may differ from lane to lane here. */
  varies(e: Expr): boolean {
    for (const key of this.#dependenciesOf(e)) {
      if (key < 0 ? this.scopes.findFinished(key).lanes : this.scopes.findAxis(key)?.lanes) return true;
    }
    return false;
  }

  #write(e: Expr): void {
    const kept = this.kept.get(e);
    if (!kept) return this.#compute(e);
    const { f } = this;
    const { base, at, stride } = kept;
    const offset = this.scopes.address(base, { ...at, offset: at.offset + this.row * stride });
    if (kept.ready) return void f.load("v128.load", offset);
    const address = f.keep("i32");
    this.#compute(e);
    const value = f.keep();
    f.get(address).get(value).store("v128.store", offset).get(value);
  }

  #compute(e: Expr): void {
    const { f, vector } = this;
    switch (e.kind) {
      case "index":
        return this.scopes.indices(e.form);
      case "inside":
        return void f.get(this.scopes.mask(this.scopes.split(e.guards), undefined));
      case "load":
        return this.#read ? this.#loadOnce(e, this.#read) : this.#load(e);
      case "gather":
        return this.#gather(e);
      case "unary":
        this.value(e.x);
        return unary(
          vector,
          e.op === "exp" && isNotPositive(e.x, this.maxima) ? "expOfNegative" : e.op,
          e.x.dtype,
          !this.scopes.exact,
        );
      case "binary":
        return this.#binary(e);
      case "select":
        this.value(e.a);
        this.value(e.b);
        this.value(e.condition);
        return void vector.select();
      case "cast":
        this.value(e.x);
        return cast(vector, e.x.dtype, e.dtype);
      case "bitcast":
        return this.value(e.x);
      default:
        throw new Error(`Cannot write a ${e.kind} as an operation: it is a value of its own`);
    }
  }

  #binary(e: Expr & { kind: "binary" }): void {
    const { a, b, op } = e;
    if (e.dtype === "f32" && (op === "add" || op === "sub")) {
      const product = this.#isFusible(b) ? b : op === "add" && this.#isFusible(a) ? a : undefined;
      if (product) {
        this.value(product.a);
        const second = (): void => this.value(product.b);
        const third = (): void => this.value(product === b ? a : b);
        if (op === "add") this.vector.multiplyAdd(second, third);
        else this.vector.subtractProduct(second, third);
        return;
      }
    }
    if (a.dtype === "f32" && (op === "max" || op === "min")) {
      const [x, bound] = a.kind === "constant" ? [b, a] : [a, b];
      // Of −0 and 0 the first operand is taken: wrong for min(0, −0), and mended by adding 0 for max(−0, 0).
      const isExact = bound.kind === "constant" && !Number.isNaN(bound.value) &&
        !(op === "min" && Object.is(bound.value, -0));
      if (isExact) {
        // One instruction instead of several; NaN in the first operand is kept.
        this.value(x);
        this.value(bound);
        this.f.op(op === "max" ? "f32x4.pmax" : "f32x4.pmin");
        if (op === "max" && Object.is(bound.value, 0)) this.f.f32x4(0).op("f32x4.add");
        return;
      }
    }
    this.value(a);
    if (a.dtype === "f32" && op === "pow" && b.kind === "constant" && [1, 2, 3, -1].includes(b.value)) {
      return smallPower(this.f, b.value);
    }
    if ((op === "shl" || op === "shr") && b.kind === "constant" && a.dtype !== "bool") {
      // One instruction shifts all lanes by the same count.
      const name = op === "shl" ? "i32x4.shl" : a.dtype === "i32" ? "i32x4.shr_s" : "i32x4.shr_u";
      this.f.i32(b.value & 31).op(name);
      return;
    }
    this.value(b);
    binary(this.vector, op, a.dtype);
  }

  /** A product that can be one instruction with the sum around it. */
  #isFusible(e: Expr): e is Expr & { kind: "binary" } {
    return e.kind === "binary" && !this.kept.has(e) && e.op === "mul" && e.dtype === "f32" &&
      this.#isInline(e);
  }

  #loadOnce(e: Expr & { kind: "load" }, read: Map<string, { local: Local; scope: Scope }>): void {
    const { scopes } = this;
    if (!this.#isInline(e)) return this.#load(e);
    const forms = [e.at, ...e.guards.map(({ form }) => form)].map((form) => scopes.identify(form));
    const key = JSON.stringify([e.input, e.fill, e.guards.map(({ size }) => size), forms]);
    const known = read.get(key);
    // In the scope that has read it, code may be written to a place before the read.
    if (known && known.scope !== scopes.here) return void this.f.get(known.local);
    this.#load(e);
    const local = this.f.local("v128");
    this.f.tee(local);
    read.set(key, { local, scope: scopes.here });
  }

  #load(e: Expr & { kind: "load" }): void {
    const { f, scopes } = this;
    const step = scopes.laneStep(e.at);
    const split = scopes.split(e.guards);
    const { uniform, lanes } = step !== 0 || split.lanes.length > 0 ? scopes.splitOfLanes(e.guards) : split;
    const { exact } = scopes;
    const fill = (): void => this.#raw(e.dtype, e.fill);
    const isWhole = step === 0 || step === 1;
    const needsMask = exact && (lanes.length > 0 || !isWhole);
    const guards = { uniform: [], lanes };
    // Neighbouring lanes are read as a whole even where some of them do not count.
    const isNear = step === 1 && scopes.isNear(lanes, slackBytes / 4 - 3);
    const mask = needsMask ? scopes.mask(guards, isNear ? undefined : exact.mask) : undefined;
    const read = (): void => {
      if (!mask) return this.#loadWhole(e, step);
      if (isNear) this.#loadWhole(e, step);
      else if (isWhole) {
        f.get(scopes.any(guards, exact!.mask)).if(() => this.#loadWhole(e, step), fill, "v128");
      } else this.#loadLanes(e, mask);
      if (Object.is(e.fill, 0)) return void f.get(mask).op("v128.and");
      fill();
      f.get(mask);
      this.vector.select();
    };
    const test = scopes.test(uniform);
    if (test) f.get(test).if(read, fill, "v128");
    else read();
    if (e.dtype === "bool") f.i32x4(0).op("i32x4.ne");
  }

  /** Pushes a constant as it is in memory: bool as 0 or 1. */
  #raw(dtype: DType, value: number): void {
    if (dtype === "bool") this.f.i32x4(value !== 0 ? 1 : 0);
    else this.constant(dtype, value);
  }

  #loadWhole(e: Expr & { kind: "load" }, step: number): void {
    const { f } = this;
    const input = this.#inputs[e.input]!;
    if (step === 0) return void f.load("v128.load32_splat", this.scopes.address(input, e.at));
    if (step === 1) return void f.load("v128.load", this.scopes.address(input, e.at));
    // From the lowest address up, since the offset of an instruction is not negative.
    const lowest = step > 0 ? e.at : { ...e.at, offset: e.at.offset + 3 * step };
    const offset = (lane: number): number => 4 * (step > 0 ? lane * step : (lane - 3) * step);
    const base = this.scopes.address(input, lowest);
    const address = f.keep("i32");
    f.get(address).load("v128.load32_zero", base + offset(0));
    for (const lane of [1, 2, 3]) {
      const loaded = f.keep();
      f.get(address).get(loaded).loadLane("v128.load32_lane", lane, base + offset(lane));
    }
  }

  /** Reads each lane at its own address; lanes outside the mask read the first element instead. */
  #loadLanes(e: Expr & { kind: "load" | "gather" }, mask: Local, index?: Local): void {
    const { f } = this;
    const input = this.#inputs[e.input]!;
    const step = 4 * this.scopes.laneStep(e.at);
    const offset = this.scopes.address(input, e.at);
    f.i32(offset).op("i32.add").op("i32x4.splat");
    if (step !== 0) f.i32x4(0, step, 2 * step, 3 * step).op("i32x4.add");
    if (e.kind === "gather") f.get(index!).i32x4(e.stride * 4).op("i32x4.mul").op("i32x4.add");
    f.get(input).op("i32x4.splat").get(mask);
    this.vector.select();
    if (this.scopes.exact) f.call(this.vector.library.vectorFunction("readLanes", 1, readLanes));
    else readLanes(this.vector, f.keep());
  }

  #gather(e: Expr & { kind: "gather" }): void {
    const { f } = this;
    const guards = this.scopes.split(e.guards);
    const varies = this.varies(e);
    const exact = varies ? this.scopes.exact : undefined;
    // Without `exact`, guards of the lanes hold by the promise of the scope.
    const allowed = this.scopes.mask(exact ? guards : { uniform: guards.uniform, lanes: [] }, exact?.mask);
    this.value(e.index);
    const index = f.keep();
    f.get(index).i32x4(e.size).op("i32x4.lt_u").get(allowed).op("v128.and");
    const mask = f.keep();
    if (varies) {
      this.#loadLanes(e, mask, index);
    } else {
      f.get(mask).lane("i32x4.extract_lane", 0).if(
        () => {
          const offset = this.scopes.address(this.#inputs[e.input]!, e.at);
          f.get(index).lane("i32x4.extract_lane", 0).i32(e.stride * 4).op("i32.mul").op("i32.add");
          f.i32(offset).op("i32.add").load("v128.load32_splat");
        },
        () => this.#raw(e.dtype, e.fill),
        "v128",
      );
    }
    this.#raw(e.dtype, e.fill);
    f.get(mask);
    this.vector.select();
    if (e.dtype === "bool") f.i32x4(0).op("i32x4.ne");
  }

  /** Writes a store: four lanes, the valid ones, or (where its address does not depend on the lane) one. */
  store(store: Store): void {
    const { f } = this;
    const output = this.#outputs[store.output]!;
    const step = this.scopes.laneStep(store.at);
    const { exact } = this.scopes;
    const offset = this.scopes.address(output, store.at);
    const address = f.keep("i32");
    this.value(store.value);
    if (store.value.dtype === "bool") f.i32x4(1).op("v128.and");
    const value = f.keep();
    const whole = (): void => void f.get(address).get(value).store("v128.store", offset);
    if (step === 1 && exact) {
      f.get(exact.count).i32(4).op("i32.ge_s").if(
        whole,
        () => this.#storeLanes(address, value, step, offset),
      );
    } else if (step === 1) whole();
    else this.#storeLanes(address, value, step, offset);
  }

  /** Writes the valid lanes one by one; only lane 0, if the address does not depend on the lane. */
  #storeLanes(address: Local, value: Local, step: number, offset: number): void {
    const { f } = this;
    const { exact } = this.scopes;
    for (let lane = 0; lane < (step === 0 ? 1 : 4); lane++) {
      const write = (): void => {
        const shift = offset + 4 * lane * step;
        f.get(address);
        if (shift < 0) f.i32(shift).op("i32.add");
        f.get(value).loadLane("v128.store32_lane", lane, Math.max(shift, 0));
      };
      if (exact && lane > 0) f.get(exact.count).i32(lane).op("i32.gt_s").if(write);
      else write();
    }
  }
}

/** [x] -> x, x², x³ or 1/x. */
function smallPower(f: FunctionBuilder, exponent: number): void {
  const x = f.keep();
  if (exponent === -1) f.f32x4(1).get(x).op("f32x4.div");
  else f.get(x);
  for (let k = 1; k < exponent; k++) f.get(x).op("f32x4.mul");
}

/** Reads four addresses. */
function readLanes({ f }: Vector, addresses: Local): void {
  f.get(addresses).lane("i32x4.extract_lane", 0).load("v128.load32_zero");
  for (const lane of [1, 2, 3]) {
    const loaded = f.keep();
    f.get(addresses).lane("i32x4.extract_lane", lane).get(loaded).loadLane("v128.load32_lane", lane);
  }
}
