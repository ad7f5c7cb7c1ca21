/**
 * A reader of Python's pickle format that executes nothing.
 *
 * A pickle is a program for a stack machine. This machine knows the operations that build numbers, texts, lists and
 * dictionaries; the only functions it can call are those that the caller lists, which are written here in TypeScript.
 * Anything else that a file names is refused with its name.
 *
 * Python's values become: `None` null, int number (or bigint beyond 2^53), bytes `Uint8Array`, tuple and list arrays,
 * set `Set`, dict `Map`.
 *
 * @module
 * @see https://github.com/python/cpython/blob/main/Lib/pickletools.py for the operations
 */
import { type Budget, CONTAINER_BYTES, NAME_BYTES, VALUE_BYTES } from "./budget.ts";
import { brief, FileFormatError, shown } from "./errors.ts";
import { latin1 } from "./latin1.ts";

/** Something that a pickle may name: a function, a class, or a constant. */
export interface PickleGlobal {
  /** `module.name` as in the file. */
  readonly name: string;
  /** What calling it gives, or undefined if it cannot be called so; absent if it cannot be called at all. */
  readonly call?: (args: readonly unknown[]) => unknown;
  /** What the caller wants to know about it, such as the element type of a storage class. */
  readonly value?: unknown;
}

/** Something made by a call that then is given its state. */
export interface PickleObject {
  /** Takes the state as the pickle holds it. */
  readonly setState: (state: unknown) => void;
}

/** What a pickle may name and load. */
export interface PickleOptions {
  /** The allowed globals by `module.name`. */
  readonly globals: ReadonlyMap<string, PickleGlobal>;
  /** Gives the object behind a persistent identifier; without it there may be none. */
  readonly persistentLoad?: (id: unknown) => unknown;
  /** What the file may still cost. */
  readonly budget: Budget;
}

/** A value read from a pickle, and where the pickle ended. */
export interface PickleResult {
  /** The value. */
  readonly value: unknown;
  /** Position after the pickle's last byte. */
  readonly end: number;
}

/**
 * Reads one pickle.
 *
 * @param bytes Bytes that hold it.
 * @param start Where it begins.
 * @param options What it may name.
 * @throws {FileFormatError} If it is damaged or asks for something that is not allowed.
 */
export function readPickle(bytes: Uint8Array, start: number, options: PickleOptions): PickleResult {
  return new Machine(bytes, start, options).run();
}

/** One step of the machine. */
type Operation = (machine: Machine) => void;

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The stack machine: bytes to read, a stack, the stacks set aside by marks, and remembered values. */
class Machine {
  readonly options: PickleOptions;
  readonly memo = new Map<number, unknown>();
  stack: unknown[] = [];
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #marked: unknown[][] = [];
  #position: number;

  constructor(bytes: Uint8Array, start: number, options: PickleOptions) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#position = start;
    this.options = options;
  }

  run(): PickleResult {
    for (;;) {
      const code = this.byte();
      if (code === STOP) return { value: this.pop(), end: this.#position };
      const operation = OPERATIONS[code];
      this.options.budget.spend(VALUE_BYTES);
      if (!operation) {
        this.fail(`operation 0x${code.toString(16).padStart(2, "0")} is not one that files of weights use`);
      }
      operation(this);
    }
  }

  fail(state: string): never {
    throw new FileFormatError(`Cannot read the pickle at byte ${this.#position - 1}: ${state}`);
  }

  push(value: unknown): void {
    this.stack.push(value);
  }

  pop(): unknown {
    if (this.stack.length === 0) this.fail("its stack is empty");
    return this.stack.pop();
  }

  top(): unknown {
    if (this.stack.length === 0) this.fail("its stack is empty");
    return this.stack.at(-1);
  }

  /** Pushes a new list, dictionary or set. */
  pushContainer(value: unknown): void {
    this.options.budget.spend(CONTAINER_BYTES);
    this.push(value);
  }

  mark(): void {
    this.options.budget.spend(CONTAINER_BYTES);
    this.#marked.push(this.stack);
    this.stack = [];
  }

  popMark(): unknown[] {
    const outer = this.#marked.pop();
    if (!outer) this.fail("a mark is missing");
    const items = this.stack;
    this.stack = outer;
    return items;
  }

  take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.#position) {
      this.fail(
        `${length} bytes should follow but the file ends after ${this.#bytes.length - this.#position}`,
      );
    }
    this.#position += length;
    return this.#bytes.subarray(this.#position - length, this.#position);
  }

  byte(): number {
    return this.take(1)[0]!;
  }

  uint16(): number {
    return this.byte() | this.byte() << 8;
  }

  int32(): number {
    this.take(4);
    return this.#view.getInt32(this.#position - 4, true);
  }

  uint32(): number {
    return this.int32() >>> 0;
  }

  uint64(): number {
    this.take(8);
    return Number(this.#view.getBigUint64(this.#position - 8, true));
  }

  /** Big-endian, unlike everything else in the format. */
  float64(): number {
    this.take(8);
    return this.#view.getFloat64(this.#position - 8, false);
  }

  /** A copy of the next bytes. */
  bytes(length: number): Uint8Array {
    const bytes = this.take(length);
    this.options.budget.spend(CONTAINER_BYTES + length);
    return new Uint8Array(bytes);
  }

  text(length: number, decode: (bytes: Uint8Array) => string = utf8): string {
    const bytes = this.take(length);
    // Two bytes for each character, as JavaScript may need.
    this.options.budget.spend(NAME_BYTES + 2 * length);
    try {
      return decode(bytes);
    } catch (cause) {
      throw new FileFormatError(`Cannot read the pickle at byte ${this.#position}: a text is not UTF-8`, {
        cause,
      });
    }
  }

  line(decode?: (bytes: Uint8Array) => string): string {
    const end = this.#bytes.indexOf(0x0a, this.#position);
    if (end < 0) this.fail("a line does not end");
    const text = this.text(end - this.#position, decode);
    this.#position++;
    return text;
  }

  /** The number of a remembered value as text, in protocol 0. */
  index(): number {
    const text = this.line();
    if (!/^\d{1,15}$/.test(text)) this.fail(`"${shown(text)}" is no number of a value`);
    return Number(text);
  }

  global(module: unknown, name: unknown): void {
    if (typeof module !== "string" || typeof name !== "string") {
      this.fail("it asks for something without a name");
    }
    const full = `${module}.${name}`;
    const found = this.options.globals.get(full);
    if (!found) {
      throw new FileFormatError(
        `Cannot read the pickle: it asks for ${
          shown(full)
        }, which could execute code; only arrays, numbers, texts, lists ` +
          `and dictionaries are read`,
      );
    }
    this.push(found);
  }

  call(target: unknown, args: unknown): void {
    const called = target as PickleGlobal | null;
    if (typeof called?.call !== "function" || !Array.isArray(args)) {
      this.fail(`it calls ${isGlobal(target) ? target.name : brief(target)}, which is no function`);
    }
    // What is called may copy its arguments, and the same ones may be given again and again.
    for (const arg of args) this.options.budget.spend(sizeOf(arg));
    const result = called.call(args);
    if (result === undefined) this.fail(`it calls ${called.name} with unusable arguments`);
    this.pushContainer(result);
  }

  /** Remembers the value on top under a number. */
  keep(index: number): void {
    this.options.budget.spend(NAME_BYTES);
    this.memo.set(index, this.top());
  }

  recall(index: number): void {
    if (!this.memo.has(index)) this.fail(`it recalls value ${index}, which it never kept`);
    this.push(this.memo.get(index));
  }

  setItems(items: readonly unknown[]): void {
    const target = this.top();
    if (!(target instanceof Map) || items.length % 2 !== 0) {
      this.fail("it sets items of something that is no dict");
    }
    this.options.budget.spend(NAME_BYTES * items.length / 2);
    for (let i = 0; i < items.length; i += 2) target.set(items[i], items[i + 1]);
  }

  append(items: readonly unknown[]): void {
    const target = this.top();
    if (!Array.isArray(target)) this.fail("it appends to something that is no list");
    for (const item of items) target.push(item);
  }

  add(items: readonly unknown[]): void {
    const target = this.top();
    if (!(target instanceof Set)) this.fail("it adds to something that is no set");
    this.options.budget.spend(NAME_BYTES * items.length);
    for (const item of items) target.add(item);
  }

  /** Sets attributes of the object on top; those of a dictionary are ignored, as they are no weights. */
  build(): void {
    const state = this.pop();
    const target = this.top();
    if (isPickleObject(target)) target.setState(state);
    else if (!(target instanceof Map)) this.fail("it sets attributes of something that has none");
  }

  load(): void {
    if (!this.options.persistentLoad) this.fail("it refers to an object outside of it");
    this.push(this.options.persistentLoad(this.pop()));
  }
}

/** Short texts are plain ASCII nearly always, which a call of the decoder costs more than. */
function utf8(bytes: Uint8Array): string {
  if (bytes.length > 64 || bytes.some((byte) => byte > 0x7f)) return UTF8.decode(bytes);
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}

function isPickleObject(value: unknown): value is PickleObject {
  return typeof value === "object" && value !== null && "setState" in value;
}

/** What copying a value would cost, without what is in its elements. */
function sizeOf(value: unknown): number {
  if (typeof value === "string") return 2 * value.length;
  if (Array.isArray(value)) return VALUE_BYTES * value.length;
  if (value instanceof Map || value instanceof Set) return VALUE_BYTES * value.size;
  return value instanceof Uint8Array ? value.length : VALUE_BYTES;
}

/** Whether a value stands for something that a pickle names. */
export function isGlobal(value: unknown): value is PickleGlobal {
  return typeof value === "object" && value !== null && "name" in value && typeof value.name === "string";
}

/** Python reads integers of at most this many digits from text; longer ones cost more than they can be worth. */
const MAX_DIGITS = 4300;
const MAX_INTEGER_BYTES = 2048;

/** A two's-complement little-endian integer. */
function longInteger(machine: Machine, length: number): void {
  const bytes = machine.take(length);
  if (length > MAX_INTEGER_BYTES) {
    machine.fail(`an integer has ${length} bytes; at most ${MAX_INTEGER_BYTES} are read`);
  }
  const hex = new Uint8Array(bytes).reverse().toHex();
  machine.push(narrow(BigInt.asIntN(8 * length, BigInt(`0x0${hex}`))));
}

function narrow(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** Integers of protocol 0 are text; 00 and 01 are booleans there. */
function textInteger(machine: Machine): void {
  const text = machine.line().replace(/L$/, "");
  if (text === "00" || text === "01") return machine.push(text === "01");
  if (text.length > MAX_DIGITS || !/^[+-]?\d+$/.test(text)) {
    machine.fail(`"${shown(text)}" is no integer of at most ${MAX_DIGITS} digits`);
  }
  machine.push(narrow(BigInt(text)));
}

const SPECIAL_FLOATS = new Map([["inf", Infinity], ["-inf", -Infinity], ["nan", NaN]]);

function textFloat(machine: Machine): void {
  const text = machine.line();
  const special = SPECIAL_FLOATS.get(text);
  if (special === undefined && (text.trim() === "" || Number.isNaN(Number(text)))) {
    machine.fail(`"${shown(text)}" is no number`);
  }
  machine.push(special ?? Number(text));
}

/** Texts of protocol 0 are Latin-1 with `\u20ac` for what that lacks, for line breaks, and for the backslash. */
function escapedText(machine: Machine): void {
  const text = machine.line(latin1);
  machine.push(
    text.replace(/\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g, (_, short?: string, long?: string) => {
      const code = parseInt((short ?? long)!, 16);
      if (code > 0x10ffff) machine.fail("a text has a character that does not exist");
      return String.fromCodePoint(code);
    }),
  );
}

function tuple(length: number): Operation {
  return (machine) => {
    if (machine.stack.length < length) machine.fail("its stack is empty");
    machine.pushContainer(machine.stack.splice(machine.stack.length - length));
  };
}

const STOP = ".".charCodeAt(0);

/** The operations by their byte: letters for those of protocols 0 and 1, numbers for later ones. */
const OPERATIONS: (Operation | undefined)[] = [];
for (
  const [code, operation] of [
    // Frame of the program.
    [0x80, (m) => {
      const protocol = m.byte();
      if (protocol > 5) m.fail(`protocol ${protocol} is unknown; 0 to 5 are read`);
    }],
    [0x95, (m) => void m.uint64()],
    // Stack and memory.
    ["(", (m) => m.mark()],
    ["0", (m) => void m.pop()],
    ["1", (m) => void m.popMark()],
    ["2", (m) => m.push(m.top())],
    ["p", (m) => m.keep(m.index())],
    ["q", (m) => m.keep(m.byte())],
    ["r", (m) => m.keep(m.uint32())],
    [0x94, (m) => m.keep(m.memo.size)],
    ["g", (m) => m.recall(m.index())],
    ["h", (m) => m.recall(m.byte())],
    ["j", (m) => m.recall(m.uint32())],
    // Numbers.
    ["N", (m) => m.push(null)],
    [0x88, (m) => m.push(true)],
    [0x89, (m) => m.push(false)],
    ["I", textInteger],
    ["L", textInteger],
    ["F", textFloat],
    ["J", (m) => m.push(m.int32())],
    ["K", (m) => m.push(m.byte())],
    ["M", (m) => m.push(m.uint16())],
    [0x8a, (m) => longInteger(m, m.byte())],
    [0x8b, (m) => longInteger(m, m.uint32())],
    ["G", (m) => m.push(m.float64())],
    // Texts and bytes.
    ["V", escapedText],
    ["X", (m) => m.push(m.text(m.uint32()))],
    [0x8c, (m) => m.push(m.text(m.byte()))],
    [0x8d, (m) => m.push(m.text(m.uint64()))],
    ["T", (m) => m.push(m.text(m.uint32()))],
    ["U", (m) => m.push(m.text(m.byte()))],
    ["B", (m) => m.push(m.bytes(m.uint32()))],
    ["C", (m) => m.push(m.bytes(m.byte()))],
    [0x8e, (m) => m.push(m.bytes(m.uint64()))],
    [0x96, (m) => m.push(m.bytes(m.uint64()))],
    // Tuples, lists, sets and dictionaries.
    [")", tuple(0)],
    ["t", (m) => m.push(m.popMark())],
    [0x85, tuple(1)],
    [0x86, tuple(2)],
    [0x87, tuple(3)],
    ["]", (m) => m.pushContainer([])],
    ["l", (m) => m.push(m.popMark())],
    ["a", (m) => m.append([m.pop()])],
    ["e", (m) => m.append(m.popMark())],
    [0x8f, (m) => m.pushContainer(new Set())],
    [0x90, (m) => m.add(m.popMark())],
    [0x91, (m) => {
      const items = m.popMark();
      m.pushContainer(new Set());
      m.add(items);
    }],
    ["}", (m) => m.pushContainer(new Map())],
    ["d", (m) => {
      const items = m.popMark();
      m.pushContainer(new Map());
      m.setItems(items);
    }],
    ["s", (m) => {
      const value = m.pop();
      const key = m.pop();
      m.setItems([key, value]);
    }],
    ["u", (m) => m.setItems(m.popMark())],
    // Names, calls and attributes.
    ["c", (m) => {
      const module = m.line();
      m.global(module, m.line());
    }],
    [0x93, (m) => {
      const name = m.pop();
      m.global(m.pop(), name);
    }],
    ["R", (m) => {
      const args = m.pop();
      m.call(m.pop(), args);
    }],
    [0x81, (m) => {
      const args = m.pop();
      m.call(m.pop(), args);
    }],
    ["b", (m) => m.build()],
    // Objects kept outside the pickle.
    ["Q", (m) => m.load()],
  ] satisfies [string | number, Operation][]
) OPERATIONS[typeof code === "string" ? code.charCodeAt(0) : code] = operation;
