/**
 * Builds WebAssembly modules. Code is written in stack order, with methods that chain:
 *
 * ```ts
 * const module = new ModuleBuilder({ memory: { shared: true, maximumPages: 65536 } });
 * const f = module.func("scale", ["i32", "i32"], [], true); // (address, end) -> ()
 * const [at, end] = f.params;
 * f.range(at!, at!, end!, 16, () => {
 *   f.get(at!).get(at!).load("v128.load").f32x4(2).op("f32x4.mul").store("v128.store");
 * });
 * const bytes = module.bytes();
 * ```
 *
 * Two things make generators simple. Vector constants live in locals that are set at the entry of the
 * function (V8 rebuilds a `v128.const` at every use inside a loop). And a `section` is a place in the code
 * that can be filled later, which is how a value met inside a loop gets computed before it.
 *
 * @module
 */
import { lane, memory, memoryLane, plain } from "./assembler_opcodes.ts";

/** A WebAssembly value type. */
export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128";

/** A local or parameter of one function. */
export interface Local {
  readonly index: number;
  readonly type: ValueType;
}

/** A local, or an i32 constant. */
export type Operand = Local | number;

/** Code bytes, with places that may still grow. */
export interface Section extends Array<number | Section> {}

/** The target of branches: the start of a `loop`. */
export interface Label {
  readonly depth: number;
}

const typeCodes = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
const empty = 0x40;
const end = 0x0b;
const zeroOf = {
  i32: [0x41, 0],
  i64: [0x42, 0],
  f32: [0x43, 0, 0, 0, 0],
  f64: [0x44, 0, 0, 0, 0, 0, 0, 0, 0],
  v128: [0xfd, 0x0c, ...new Array(16).fill(0)],
} as const;
/** Bytes of its code that V8's baseline compiler lets a function run (`--wasm-tiering-budget`). */
const tieringBudget = 13_000_000;
/** Bytes of the baseline compiler's code for one of WebAssembly, at least. */
const machineBytes = 2;

/** A function under construction. Every method that writes code returns the builder. */
export class FunctionBuilder {
  /** The parameters, as locals. */
  readonly params: readonly Local[];
  #locals: ValueType[] = [];
  #code: Section = [];
  #entry: Section = [];
  #body: Section;
  #depth = 0;
  #constants = new Map<string, Local>();

  /** Made by `ModuleBuilder.func`. */
  constructor(
    readonly index: number,
    readonly parameters: readonly ValueType[],
    readonly results: readonly ValueType[],
  ) {
    this.params = parameters.map((type, index) => ({ index, type }));
    this.#body = this.#code;
    this.#code.push(this.#entry);
  }

  /** A new local. */
  local(type: ValueType): Local {
    return { index: this.params.length + this.#locals.push(type) - 1, type };
  }

  /** Pushes a local. */
  get(local: Local): this {
    return this.#write(0x20, ...unsigned(local.index));
  }

  /** Pops into a local. */
  set(local: Local): this {
    return this.#write(0x21, ...unsigned(local.index));
  }

  /** Copies the top of the stack into a local. */
  tee(local: Local): this {
    return this.#write(0x22, ...unsigned(local.index));
  }

  /** Pops into a new local. */
  keep(type: ValueType = "v128"): Local {
    const local = this.local(type);
    this.set(local);
    return local;
  }

  /** Pushes a local or an i32 constant. */
  push(operand: Operand): this {
    return typeof operand === "number" ? this.i32(operand) : this.get(operand);
  }

  /** Pushes an i32 constant (taken modulo 2³²). */
  i32(value: number): this {
    return this.#write(0x41, ...signed(BigInt(value | 0)));
  }

  /** Pushes an i64 constant. */
  i64(value: bigint): this {
    return this.#write(0x42, ...signed(BigInt.asIntN(64, value)));
  }

  /** Pushes an f32 constant. */
  f32(value: number): this {
    return this.#write(0x43, ...new Uint8Array(new Float32Array([value]).buffer));
  }

  /** Pushes four copies of an f32, or four f32; kept in a local from the entry of the function on. */
  f32x4(...values: [number] | [number, number, number, number]): this {
    return this.#vector(new Float32Array(values.length === 1 ? new Array(4).fill(values[0]) : values));
  }

  /** Pushes four copies of an i32, or four i32; kept in a local from the entry of the function on. */
  i32x4(...values: [number] | [number, number, number, number]): this {
    return this.#vector(new Int32Array(values.length === 1 ? new Array(4).fill(values[0]) : values));
  }

  /** Pushes two copies of an f64; kept in a local from the entry of the function on. */
  f64x2(value: number): this {
    return this.#vector(new Float64Array([value, value]));
  }

  #vector(values: Float32Array | Int32Array | Float64Array): this {
    const bytes = new Uint8Array(values.buffer);
    const key = bytes.join();
    let local = this.#constants.get(key);
    if (!local) {
      local = this.local("v128");
      this.#constants.set(key, local);
      const set = local;
      this.within(this.#entry, () => this.#write(0xfd, 0x0c, ...bytes).set(set));
    }
    return this.get(local);
  }

  /** An instruction without immediates. */
  op(name: keyof typeof plain): this {
    return this.#write(...opcode(plain[name]));
  }

  /** A memory instruction: load, store or atomic, at the address on the stack plus `offset` bytes. */
  load(name: keyof typeof memory, offset = 0): this {
    const { code, bytes } = memory[name];
    return this.#write(...opcode(code), Math.log2(bytes), ...unsigned(offset));
  }

  /** The same as `load`, for the reader: value and address are on the stack. */
  store(name: keyof typeof memory & `${string}.store`, offset = 0): this {
    return this.load(name, offset);
  }

  /** Extracts or replaces a lane. */
  lane(name: keyof typeof lane, index: number): this {
    return this.#write(...opcode(lane[name]), index);
  }

  /** Loads or stores one lane of the vector on the stack. */
  loadLane(name: keyof typeof memoryLane, index: number, offset = 0): this {
    const { code, bytes } = memoryLane[name];
    return this.#write(...opcode(code), Math.log2(bytes), ...unsigned(offset), index);
  }

  /** Picks four 32-bit lanes of the eight of two vectors. */
  shuffle(...lanes: [number, number, number, number]): this {
    return this.#write(0xfd, 0x0d, ...lanes.flatMap((k) => [4 * k, 4 * k + 1, 4 * k + 2, 4 * k + 3]));
  }

  /** `memory.copy` (destination, source, bytes on the stack). */
  copy(): this {
    return this.#write(0xfc, 10, 0, 0);
  }

  /** Calls a function. */
  call(callee: { readonly index: number }): this {
    return this.#write(0x10, ...unsigned(callee.index));
  }

  /** A loop; a branch to its label starts it again. */
  loop(body: (label: Label) => void, result?: ValueType): this {
    return this.#nest(0x03, body, result);
  }

  /** Runs `then` where the i32 on the stack is not zero, else `otherwise`. */
  if(then: () => void, otherwise?: () => void, result?: ValueType): this {
    return this.#nest(0x04, () => {
      then();
      if (otherwise) {
        this.#write(0x05);
        otherwise();
      }
    }, result);
  }

  #nest(code: number, body: (label: Label) => void, result?: ValueType): this {
    this.#write(code, result === undefined ? empty : typeCodes[result]);
    body({ depth: ++this.#depth });
    this.#depth--;
    return this.#write(end);
  }

  /** Branches. */
  branch(label: Label): this {
    return this.#write(0x0c, ...unsigned(this.#depth - label.depth));
  }

  /** Branches where the i32 on the stack is not zero. */
  branchIf(label: Label): this {
    return this.#write(0x0d, ...unsigned(this.#depth - label.depth));
  }

  /** Repeats `body` for `counter` from `start` (excluded end `stop`) in steps; signed comparison. */
  range(counter: Local, start: Operand, stop: Operand, step: number, body: () => void): this {
    if (start !== counter) this.push(start).set(counter);
    return this.while(() => this.get(counter).push(stop).op("i32.lt_s"), () => {
      body();
      this.increase(counter, step);
    });
  }

  /** Repeats `body` as long as `condition` leaves a number other than zero. */
  while(condition: () => void, body: () => void): this {
    return this.loop((again) => {
      condition();
      this.if(() => {
        body();
        this.branch(again);
      });
    });
  }

  /** counter += step. */
  increase(counter: Local, step: Operand): this {
    return this.get(counter).push(step).op("i32.add").set(counter);
  }

  /** A place in the code, here, that `within` fills later. */
  section(): Section {
    const section: Section = [];
    this.#code.push(section);
    return section;
  }

  /**
   * Writes the code of `body` at the end of a section. Sections that `body` itself fills come before it, so
   * a value may ask for others of the same section in the middle of its own code.
   */
  within(section: Section, body: () => void): void {
    const outer = this.#code;
    this.#code = [];
    body();
    section.push(this.#code);
    this.#code = outer;
  }

  #write(...bytes: number[]): this {
    for (const byte of bytes) this.#code.push(byte);
    return this;
  }

  /** Bytes of code so far. */
  get size(): number {
    return sizeOf(this.#body);
  }

  /**
   * The body as WebAssembly bytes: declarations of locals, then code, which does nothing while global 0 is set (see
   * `ModuleBuilder.bytes`) if the function has no result.
   */
  bytes(): number[] {
    const runs: [number, ValueType][] = [];
    for (const type of this.#locals) {
      const last = runs.at(-1);
      if (last?.[1] === type) last[0]++;
      else runs.push([1, type]);
    }
    const out = list(runs.map(([count, type]) => [...unsigned(count), typeCodes[type]]));
    const isSkipped = this.results.length === 0;
    if (isSkipped) append(out, [0x23, 0, 0x45, 0x04, empty]); // global.get 0, i32.eqz, if
    flatten(this.#body, out);
    if (isSkipped) out.push(end);
    out.push(end);
    return out;
  }
}

/** A module under construction: functions and one imported memory `env.memory`. */
export class ModuleBuilder {
  #memory: number[];
  #types: string[] = [];
  #functions: FunctionBuilder[] = [];
  #exports: { name: string; index: number }[] = [];

  /** `memory` is imported as `env.memory`, with at least one page. */
  constructor(options: { memory: { shared: boolean; maximumPages: number } }) {
    const { shared, maximumPages } = options.memory;
    this.#memory = [...text("env"), ...text("memory"), 2, shared ? 3 : 1, 1, ...unsigned(maximumPages)];
  }

  /** Adds a function; `exported` gives it its name outside. */
  func(
    name: string,
    params: readonly ValueType[],
    results: readonly ValueType[],
    exported = false,
  ): FunctionBuilder {
    const index = this.#functions.length;
    const builder = new FunctionBuilder(index, params, results);
    this.#functions.push(builder);
    if (exported) this.#exports.push({ name, index });
    return builder;
  }

  #type(params: readonly ValueType[], results: readonly ValueType[]): number {
    const key = `${params}>${results}`;
    const known = this.#types.indexOf(key);
    return known >= 0 ? known : this.#types.push(key) - 1;
  }

  /** Code of the function `idle`: calls every function often, while they do nothing. */
  #idle(): number[] {
    const out = [1, 1, typeCodes.i32]; // one local
    append(out, [0x41, 1, 0x24, 0]); // i32.const 1, global.set 0
    for (const { index, parameters, results, size } of this.#functions) {
      append(out, [0x41, ...signed(BigInt(Math.ceil(tieringBudget / (machineBytes * (size + 16)))))]);
      append(out, [0x21, 0, 0x03, empty]); // local.set 0, loop
      for (const type of parameters) append(out, zeroOf[type]);
      append(out, [0x10, ...unsigned(index), ...results.map(() => 0x1a)]); // call, drop
      append(out, [0x20, 0, 0x41, 1, 0x6b, 0x22, 0, 0x0d, 0, end]); // local 0 − 1, br_if
    }
    append(out, [0x41, 0, 0x24, 0, end]); // global 0 = 0
    return out;
  }

  /**
   * The finished module. Besides the exported functions it has `idle()`. V8 compiles a function first with a baseline
   * compiler, whose code is several times slower, and again when it has run for so many bytes of its code; so a
   * training step took 25 calls to reach its speed. A call counts with the size of the function, whatever it does,
   * so `idle` calls each function as often as it takes while a global tells it to do nothing.
   */
  bytes(): Uint8Array<ArrayBuffer> {
    const kinds = this.#functions.map((f) => unsigned(this.#type(f.parameters, f.results)));
    kinds.push(unsigned(this.#type([], [])));
    const types = this.#types.map((key) => {
      const lists = key.split(">").map((names) => names ? names.split(",") as ValueType[] : []);
      return [0x60, ...lists.flatMap((names) => list(names.map((name) => [typeCodes[name]])))];
    });
    const exported = [...this.#exports, { name: "idle", index: this.#functions.length }];
    const exports = exported.map(({ name, index }) => [...text(name), 0, ...unsigned(index)]);
    const bodies = [...this.#functions.map((f) => f.bytes()), this.#idle()].map((bytes) =>
      concatenated(unsigned(bytes.length), bytes)
    );
    const out = [0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
    const sections: [number, number[]][] = [
      [1, list(types)],
      [2, list([this.#memory])],
      [3, list(kinds)],
      [6, list([[typeCodes.i32, 1, 0x41, 0, end]])],
      [7, list(exports)],
      [10, list(bodies)],
    ];
    for (const [id, content] of sections) {
      out.push(id);
      append(out, unsigned(content.length));
      append(out, content);
    }
    return new Uint8Array(out);
  }
}

function opcode(code: number): number[] {
  return code <= 0xff ? [code] : [code >>> 16, ...unsigned(code & 0xffff)];
}

function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let rest = value >>> 0;
  do {
    const low = rest & 0x7f;
    rest >>>= 7;
    bytes.push(rest ? low | 0x80 : low);
  } while (rest);
  return bytes;
}

function signed(value: bigint): number[] {
  const bytes: number[] = [];
  let rest = value;
  while (true) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    if ((rest === 0n && !(low & 0x40)) || (rest === -1n && low & 0x40)) return [...bytes, low];
    bytes.push(low | 0x80);
  }
}

function text(value: string): number[] {
  return list([...new TextEncoder().encode(value)].map((byte) => [byte]));
}

function list(items: readonly (readonly number[])[]): number[] {
  const out = unsigned(items.length);
  for (const item of items) append(out, item);
  return out;
}

function concatenated(a: readonly number[], b: readonly number[]): number[] {
  const out = [...a];
  append(out, b);
  return out;
}

function append(out: number[], more: readonly number[]): void {
  for (const byte of more) out.push(byte);
}

function sizeOf(section: Section): number {
  return section.reduce<number>((sum, part) => sum + (typeof part === "number" ? 1 : sizeOf(part)), 0);
}

function flatten(section: Section, out: number[]): void {
  for (const part of section) {
    if (typeof part === "number") out.push(part);
    else flatten(part, out);
  }
}
