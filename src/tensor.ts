/**
 * A tensor is an immutable node of an expression graph: an operation, its inputs and parameters, a shape, a
 * dtype, and, once evaluated, a buffer on a device. Calling an operation makes a node; nothing runs until
 * values are asked for.
 *
 * @module
 */
import type { Backend, DeviceBuffer } from "./compiler/backend.ts";
import type { DType, TensorData } from "./dtype.ts";
import { elementsOf } from "./elements.ts";
import { DisposedError, DTypeError, formatShape, ShapeError } from "./errors.ts";
import type { Aval, Params, Primitive } from "./primitive.ts";

/** Values of a tensor as nested arrays; bool as `true`/`false`. */
export type NestedArray = number | boolean | readonly NestedArray[];

/** A running or finished call of a function under a transform: who made a symbolic tensor, and whether it may be read. */
export interface Trace {
  /** For messages: "grad of loss". */
  readonly name: string;
  /** Aliases stand for real tensors; placeholders for tensors that will be given later. */
  readonly kind: "alias" | "placeholder";
  /** True while the function runs. */
  active: boolean;
}

/** Values in the memory of a device. */
export interface Storage {
  readonly backend: Backend;
  readonly buffer: DeviceBuffer;
}

/** What the tensor class needs from the evaluator, which is built on top of it. */
export interface Evaluator {
  /** Evaluates and reads tensors, all in one wait. */
  read(tensors: readonly Tensor[]): Promise<TensorData[]>;
  /** Starts evaluating, without waiting, if that is possible now. */
  start(tensors: readonly Tensor[]): void;
}

let evaluator: Evaluator | undefined;

/** Starts evaluating tensors where that is possible now; otherwise the first read does it. */
export function startEvaluation(tensors: readonly Tensor[]): void {
  evaluator?.start(tensors);
}

/** Called once by the evaluator. */
export function setEvaluator(value: Evaluator): void {
  evaluator = value;
}

const storages = new FinalizationRegistry<Storage>((storage) => storage.buffer.release());

/** How many operations may hang on each other unevaluated before an eager loop starts evaluating by itself. */
const depthBudget = 2000;
let nextId = 1;

/**
 * An immutable n-dimensional array of f32, i32, u32 or bool. Make one with `tensor`, `zeros`, `random.normal`
 * or any operation; read it with `data`, `item` or `toArray`.
 *
 * @example
 * ```ts
 * import { add, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 *
 * const x = add(tensor([1, 2, 3]), 1);
 * assertEquals(x.shape, [3]);
 * assertEquals(await x.toArray(), [2, 3, 4]);
 * ```
 */
export class Tensor {
  /** The size of every axis. */
  readonly shape: readonly number[];
  /** The type of the elements. */
  readonly dtype: DType;
  /**
   * Order of creation: inputs always have smaller ids than what is computed from them.
   *
   * @internal
   */
  readonly id: number;
  /**
   * The operation that computes it; absent in leaves and after evaluation.
   *
   * @internal
   */
  op: Primitive | undefined;
  /**
   * What the operation is applied to.
   *
   * @internal
   */
  inputs: readonly Tensor[];
  /**
   * The operation's parameters.
   *
   * @internal
   */
  readonly params: Params;
  /**
   * Whether it was built from an alias or a placeholder.
   *
   * @internal
   */
  readonly symbolic: boolean;
  /**
   * The trace of an alias or placeholder.
   *
   * @internal
   */
  readonly trace: Trace | undefined;
  /**
   * Longest chain of unevaluated operations below.
   *
   * @internal
   */
  depth = 0;
  /**
   * Values not yet on a device.
   *
   * @internal
   */
  host: TensorData | undefined;
  /**
   * Why it can no longer be used.
   *
   * @internal
   */
  gone: string | undefined;
  #storage: Storage | undefined;
  #pins = 0;
  /** Whether it had values on a device and was made to give them up. */
  #isLost = false;

  /**
   * Use `tensor`, `makeNode`, `makeLeaf` or `makePlaceholder`.
   *
   * @internal
   */
  constructor(
    aval: Aval,
    node: {
      op?: Primitive | undefined;
      inputs?: readonly Tensor[];
      params?: Params;
      trace?: Trace | undefined;
      host?: TensorData | undefined;
    },
  ) {
    this.shape = aval.shape;
    this.dtype = aval.dtype;
    this.id = nextId++;
    this.op = node.op;
    this.inputs = node.inputs ?? [];
    this.params = node.params;
    this.trace = node.trace;
    this.host = node.host;
    this.symbolic = node.trace !== undefined || this.inputs.some((input) => input.symbolic);
    for (const input of this.inputs) this.depth = Math.max(this.depth, input.depth + 1);
  }

  /** Number of axes. */
  get ndim(): number {
    return this.shape.length;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, size) => product * size, 1);
  }

  /**
   * Where the values are, once evaluated.
   *
   * @throws {DisposedError} If they were there and are gone.
   * @internal
   */
  get storage(): Storage | undefined {
    if (this.#isLost) this.checkUsable();
    return this.#storage;
  }

  /**
   * Throws if the tensor was disposed or donated.
   *
   * @internal
   */
  checkUsable(): void {
    if (this.gone !== undefined) throw new DisposedError(`Cannot use tensor ${describe(this)}: ${this.gone}`);
  }

  /**
   * Gives the node its values, which it holds from now on; the graph behind it is let go.
   *
   * @internal
   */
  settle(storage: Storage): void {
    storages.unregister(this);
    this.#storage?.buffer.release();
    this.#storage = storage;
    this.op = undefined;
    this.inputs = [];
    this.host = undefined;
    this.depth = 0;
    storages.register(this, storage, this);
  }

  /**
   * Reads and calls under way that need what the tensor holds.
   *
   * @internal
   */
  get pins(): number {
    return this.#pins;
  }

  /**
   * Keeps what the tensor holds, whatever is done with the tensor before `unpin`.
   *
   * @internal
   */
  pin(): void {
    if (this.#isLost) this.checkUsable();
    this.#pins++;
  }

  /**
   * Ends what `pin` or `giveUp` began.
   *
   * @internal
   */
  unpin(): void {
    if (--this.#pins === 0 && this.gone !== undefined) this.#letGo();
  }

  /**
   * Leaves what the tensor holds to a call that is going to run and then to `unpin`. Nobody else can use it any longer.
   *
   * @internal
   */
  giveUp(reason: string): void {
    this.pin();
    this.gone ??= reason;
  }

  /** Frees the memory. What was not evaluated has none, and stays for those that are computed from it. */
  #letGo(): void {
    if (this.#storage === undefined) return;
    storages.unregister(this);
    this.#storage.buffer.release();
    this.#storage = undefined;
    this.#isLost = true;
  }

  /**
   * Evaluates the tensor if that has not happened and copies its values out, in row-major order: f32 as
   * `Float32Array`, i32 as `Int32Array`, u32 and bool (0 or 1) as `Uint32Array`.
   *
   * @throws {TraceError} Inside a function that is being transformed, where there are no values yet.
   * @throws {DisposedError} If it was disposed or donated.
   */
  async data(): Promise<TensorData> {
    this.checkUsable();
    const [values] = await evaluator!.read([this]);
    return values!;
  }

  /**
   * The value of a tensor with one element.
   *
   * @throws {ShapeError} If it has more or fewer.
   */
  async item(): Promise<number> {
    if (this.size !== 1) {
      throw new ShapeError(
        `Cannot take the item of tensor ${describe(this)}: it has ${this.size} elements, not 1`,
      );
    }
    return (await this.data())[0]!;
  }

  /** The values as nested arrays. */
  async toArray(): Promise<NestedArray> {
    return nest(await this.data(), this.shape, this.dtype);
  }

  /**
   * Frees the memory now, or when the reads that were begun before are done; using the tensor afterwards throws. What
   * was computed from it before stays right, unless that was not evaluated and the tensor was. Disposing twice does
   * nothing.
   */
  dispose(): void {
    if (this.gone !== undefined) return;
    this.gone = "it was disposed";
    if (this.#pins === 0) this.#letGo();
  }

  /** For `using x = ...`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** `f32[2, 3]`; values only if they are already at hand. */
  toString(): string {
    return `Tensor ${describe(this)}`;
  }

  /**
   * Refuses to pass for a number or a text: in `1 / x`, `x > 2`, `list[x]` or `Math.sqrt(x)` it would be NaN or
   * nothing without a word.
   *
   * @throws {TypeError} Always.
   */
  [Symbol.toPrimitive](hint: string): never {
    throw new TypeError(
      `Cannot use tensor ${describe(this)} as a JavaScript ${hint === "string" ? "string" : "number"}: ` +
        "compute with operations such as add, div or where; await x.item() gives its value, x.toString() its name",
    );
  }

  /**
   * Refuses to be written as JSON, which would hold no values.
   *
   * @throws {TypeError} Always.
   */
  toJSON(): never {
    throw new TypeError(
      `Cannot write tensor ${describe(this)} as JSON: write what await x.toArray() or await x.item() gives`,
    );
  }

  /** What `console.log` shows in Deno. */
  [Symbol.for("Deno.customInspect")](
    inspect: (value: unknown, options: unknown) => string,
    options: unknown,
  ): string {
    if (this.gone !== undefined) return `Tensor ${describe(this)} (${this.gone})`;
    if (this.host === undefined) {
      return this.#storage === undefined ? `Tensor ${describe(this)} (lazy)` : this.toString();
    }
    return `Tensor ${describe(this)} ${
      inspect(nest(this.host.slice(0, 1000), this.size <= 1000 ? this.shape : [1000], this.dtype), options)
    }`;
  }

  /** What a Deno notebook shows: shape, dtype and the first values. */
  async [Symbol.for("Jupyter.display")](): Promise<Record<string, string>> {
    const title = `Tensor ${describe(this)}`;
    if (this.symbolic && this.op !== undefined) {
      return { "text/plain": `${title} (inside a transformed function)` };
    }
    const values = await this.data();
    const text = preview(values, this.shape, this.dtype);
    return {
      "text/plain": `${title}\n${text}`,
      "text/html": `<div><b>${title}</b><pre>${text}</pre></div>`,
    };
  }
}

/** `f32[2, 3]`. */
export function describe(aval: Aval): string {
  return `${aval.dtype}${formatShape(aval.shape)}`;
}

/** A node that applies a primitive; shapes are checked here, at the user's call. */
export function makeNode<P>(op: Primitive<P>, inputs: readonly Tensor[], params: P): Tensor {
  for (const input of inputs) {
    if (input.gone !== undefined) {
      throw new DisposedError(`Cannot apply ${op.name} to tensor ${describe(input)}: ${input.gone}`);
    }
  }
  const node = new Tensor(op.infer(inputs, params), { op: op as unknown as Primitive, inputs, params });
  // The results of a tuple are evaluated, not the tuple.
  if (node.depth > depthBudget && !node.symbolic && op.tuple === undefined) evaluator?.start([node]);
  return node;
}

/** A tensor with the given values (not copied), which are sent to the device when first used. */
export function makeLeaf(aval: Aval, values: TensorData): Tensor {
  return new Tensor(aval, { host: values });
}

/** A tensor that stands for one that will be given later. */
export function makePlaceholder(aval: Aval, trace: Trace): Tensor {
  return new Tensor({ shape: aval.shape, dtype: aval.dtype }, { trace });
}

/** Nested arrays from a flat one. */
export function nest(values: TensorData, shape: readonly number[], dtype: DType): NestedArray {
  let offset = 0;
  const go = (axis: number): NestedArray => {
    if (axis === shape.length) return dtype === "bool" ? values[offset++] !== 0 : values[offset++]!;
    return Array.from({ length: shape[axis]! }, () => go(axis + 1));
  };
  return go(0);
}

/** The first values of a tensor as text, with its mean and extremes. */
function preview(values: TensorData, shape: readonly number[], dtype: DType): string {
  const shown = 8;
  const head = Array.from(
    values.subarray(0, shown),
    (value) => dtype === "f32" ? Number(value.toPrecision(5)) : value,
  );
  const list = `[${head.join(", ")}${values.length > shown ? ", …" : ""}]`;
  if (values.length <= 1 || dtype === "bool") return shape.length === 0 ? String(head[0] ?? "") : list;
  let [low, high, sum] = [Infinity, -Infinity, 0];
  for (const value of values) [low, high, sum] = [Math.min(low, value), Math.max(high, value), sum + value];
  const format = (value: number): string => String(Number(value.toPrecision(5)));
  return `${list}\nmin ${format(low)}, mean ${format(sum / values.length)}, max ${format(high)}`;
}

/** Checks and flattens nested arrays. */
function flatten(values: NestedArray): { shape: number[]; flat: (number | boolean)[] } {
  const shape: number[] = [];
  for (let level: NestedArray = values; Array.isArray(level); level = level[0] as NestedArray) {
    shape.push(level.length);
    if (level.length === 0) break;
  }
  const flat: (number | boolean)[] = [];
  const go = (level: NestedArray, axis: number): void => {
    if (
      Array.isArray(level) !== axis < shape.length || (Array.isArray(level) && level.length !== shape[axis])
    ) {
      throw new ShapeError(
        `Cannot make a tensor from ragged nested arrays: axis ${axis} has ${
          Array.isArray(level) ? level.length : "no"
        } elements in one place and ${shape[axis] ?? "none"} in the first`,
      );
    }
    if (Array.isArray(level)) level.forEach((item) => go(item, axis + 1));
    else flat.push(level as number | boolean);
  };
  go(values, 0);
  return { shape, flat };
}

/** Shape and dtype of a new tensor. */
export interface TensorOptions {
  /** Defaults to the nesting of the values. */
  readonly shape?: readonly number[];
  /** Defaults to what the values are: see `tensor`. */
  readonly dtype?: DType;
}

/**
 * A tensor from nested arrays, a number, a boolean or a typed array (which is copied). The default dtype is f32
 * for numbers and floating-point arrays (Float16Array, Float32Array, Float64Array), bool for booleans, i32 for
 * Int8Array, Int16Array and Int32Array, u32 for Uint8Array, Uint8ClampedArray, Uint16Array and Uint32Array;
 * 64-bit integer arrays are refused.
 *
 * **Values become elements by one rule** here, in `full` and in everything that is given numbers and a dtype:
 * f32 takes every number, rounded to the nearest float (beyond ±3.4e38 to ±Infinity). i32 and u32 take whole
 * numbers that they hold; fractions, NaN and what is out of range throw. bool is false for 0 and true for every
 * other number, NaN too; true and false are 1 and 0. To truncate or saturate instead, `cast` an f32 tensor.
 *
 * @throws {ShapeError} If nested arrays are ragged or the shape does not fit the number of values.
 * @throws {DTypeError} For values that are no numbers or booleans, and fractions or NaN as integers.
 * @throws {RangeError} For whole numbers that the dtype does not hold.
 * @example
 * ```ts
 * import { tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(tensor([[1, 2], [3, 4]]).shape, [2, 2]);
 * assertEquals(tensor(new Int8Array(6), { shape: [2, 3] }).dtype, "i32");
 * ```
 */
export function tensor(values: NestedArray | ArrayBufferView, options: TensorOptions = {}): Tensor {
  const isView = ArrayBuffer.isView(values);
  if (
    isView &&
    (values instanceof DataView || values instanceof BigInt64Array || values instanceof BigUint64Array)
  ) {
    throw new DTypeError(
      `Cannot make a tensor from ${values.constructor.name}: 8 to 32-bit integer or floating-point arrays are taken`,
    );
  }
  const { shape: nesting, flat } = isView
    ? {
      shape: [(values as unknown as Float32Array).length],
      flat: values as unknown as ArrayLike<number | boolean>,
    }
    : flatten(values);
  const dtype = options.dtype ?? inferDType(isView ? values : flat as (number | boolean)[]);
  const shape = options.shape ?? nesting;
  checkShape(shape, "a tensor");
  const size = shape.reduce((product, n) => product * n, 1);
  if (size !== flat.length) {
    throw new ShapeError(
      `Cannot make a tensor of shape ${formatShape(shape)} from ${flat.length} values: ${size} are needed`,
    );
  }
  return makeLeaf({ shape: [...shape], dtype }, elementsOf("make a tensor from", flat, dtype));
}

function inferDType(values: ArrayBufferView | readonly (number | boolean)[]): DType {
  if (Array.isArray(values)) {
    return values.length > 0 && values.every((value) => typeof value === "boolean") ? "bool" : "f32";
  }
  if (values instanceof Int8Array || values instanceof Int16Array || values instanceof Int32Array) {
    return "i32";
  }
  if (
    values instanceof Uint8Array || values instanceof Uint8ClampedArray || values instanceof Uint16Array ||
    values instanceof Uint32Array
  ) return "u32";
  return "f32";
}

/** Throws unless every size is a whole number that is not negative. */
export function checkShape(shape: readonly number[], what: string): void {
  for (const size of shape) {
    if (!Number.isInteger(size) || size < 0) {
      throw new ShapeError(
        `Cannot make ${what} of shape ${formatShape(shape)}: sizes must be whole numbers, 0 or more`,
      );
    }
  }
}
