/**
 * Compilation of functions: `jit` calls a function on placeholders once for every tree, shapes, dtypes and
 * static values of its arguments, compiles the graph, and from then on replays the program.
 *
 * @module
 */
import type { Backend, Executable } from "../compiler/backend.ts";
import { readyBackend } from "../device.ts";
import { DisposedError, TraceError } from "../errors.ts";
import { compile, evaluate, leafBuffer } from "../evaluate.ts";
import { buildGraph, isOpen, isSymbolic, reachable } from "../graph.ts";
import { describe, makeLeaf, makePlaceholder, Tensor, type Trace } from "../tensor.ts";
import { treeFlatten, treeStructure, treeTensors } from "../tree.ts";
import { nameOf, runTraced } from "./tracing.ts";

/** Options of `jit`. */
export interface JitOptions {
  /**
   * Numbers of arguments whose tensors are given up: their memory is free for the results. Using them
   * afterwards throws and names the call.
   */
  readonly donate?: readonly number[];
  /** Numbers of arguments that are compiled in: plain values (compared as JSON) or functions (compared by identity). */
  readonly staticArgs?: readonly number[];
}

/** A program for one kind of arguments. */
interface Compiled {
  readonly backend: Backend;
  readonly executable: Executable;
  /** Tensors that the function captured; they follow the arguments. */
  readonly captures: readonly Tensor[];
  readonly results: readonly Tensor[];
  readonly rebuild: (results: readonly Tensor[]) => unknown;
}

const identities = new WeakMap<object, number>();
let nextIdentity = 1;

/** A text that tells static values apart. */
function staticKey(value: unknown): string {
  if (typeof value === "function" || (typeof value === "object" && value !== null && !isPlain(value))) {
    let id = identities.get(value);
    if (id === undefined) identities.set(value, id = nextIdentity++);
    return `@${id}`;
  }
  return `${typeof value}:${JSON.stringify(value)}`;
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === Array.prototype || prototype === null;
}

/**
 * A compiled version of `f`, a synchronous function from trees of tensors to a tree of tensors. Numbers among
 * the arguments are inputs of the program like tensors (a changing learning rate does not compile anew); other
 * plain leaves (strings, booleans, null) are part of its key. Tensors that `f` captures are inputs too. Called
 * inside another transform it is traced through.
 *
 * @param f The function. It must not have side effects: it runs only when it is traced.
 * @param options `donate` and `staticArgs`.
 * @returns A function with the same arguments and result.
 * @throws {TraceError} If `f` returns a promise or reads a tensor.
 * @example
 * ```ts
 * import { add, jit, mul, setDevice, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * await setDevice("cpu");
 * const step = jit((x: ReturnType<typeof tensor>, rate: number | ReturnType<typeof tensor>) => add(mul(x, rate), 1));
 * assertEquals(await step(tensor([1, 2]), 10).toArray(), [11, 21]);
 * ```
 */
export function jit<P extends unknown[], R>(
  f: (...args: P) => R,
  options: JitOptions = {},
): (...args: P) => R {
  const cache = new Map<string, Compiled>();
  const { donate = [], staticArgs = [] } = options;
  const name = nameOf(f);
  const compiled = (...args: P): R => {
    const dynamic = args.map((arg, k) => staticArgs.includes(k) ? null : arg);
    const { leaves, unflatten } = treeFlatten(dynamic);
    const backend = readyBackend();
    const tensors = leaves.filter((leaf) => leaf instanceof Tensor);
    if (backend === undefined || tensors.some(isSymbolic)) return f(...args);
    const key = `${backend.name} ${treeStructure(dynamic)} ${leaves.map(leafKey).join()} ${
      staticArgs.map((k) => staticKey(args[k])).join()
    }`;
    let program = cache.get(key);
    if (program === undefined) {
      const traced = trace(f, args, leaves, unflatten, staticArgs, backend);
      if (traced === undefined) return f(...args);
      cache.set(key, program = traced);
    }
    return run(program, leaves, donate.flatMap((k) => treeTensors(args[k])), name) as R;
  };
  Object.defineProperty(compiled, "name", { value: name });
  return compiled;
}

/** Whether a leaf varies from call to call. */
function isDynamic(leaf: unknown): leaf is Tensor | number {
  return leaf instanceof Tensor || typeof leaf === "number";
}

function leafKey(leaf: unknown): string {
  return leaf instanceof Tensor ? describe(leaf) : typeof leaf === "number" ? "number" : staticKey(leaf);
}

/** Traces and compiles; undefined if the function captured a tensor of a transform that is still running. */
function trace<P extends unknown[], R>(
  f: (...args: P) => R,
  args: P,
  leaves: readonly unknown[],
  unflatten: (leaves: readonly unknown[]) => unknown[],
  staticArgs: readonly number[],
  backend: Backend,
): Compiled | undefined {
  const tracing: Trace = { name: `jit of ${nameOf(f)}`, kind: "placeholder", active: false };
  const placeholders: Tensor[] = [];
  const stand = (leaf: unknown): unknown => {
    if (!isDynamic(leaf)) return leaf;
    const placeholder = makePlaceholder(leaf instanceof Tensor ? leaf : { shape: [], dtype: "f32" }, tracing);
    placeholders.push(placeholder);
    return placeholder;
  };
  const first = makePlaceholder({ shape: [], dtype: "f32" }, tracing).id;
  const inner = unflatten(leaves.map(stand));
  for (const k of staticArgs) inner[k] = args[k];
  const result = runTraced(tracing, () => f(...inner as P));
  const { leaves: resultLeaves, unflatten: rebuild } = treeFlatten(result);
  const results = resultLeaves.filter((leaf) => leaf instanceof Tensor);
  const own = new Set(placeholders);
  const foreign = reachable(results, (node) => !node.symbolic).some((node) => isOpen(node) && !own.has(node));
  if (foreign) return undefined;
  // What was built before the call is evaluated once, not in every run.
  evaluate(capturedBefore(first, results), backend);
  const { graph, leaves: graphLeaves } = buildGraph(results, placeholders);
  const executable = compile(graph, backend);
  return {
    backend,
    executable,
    captures: graphLeaves.slice(placeholders.length),
    results: results.map((tensor) => makePlaceholder(tensor, tracing)),
    rebuild: (values) => {
      let next = 0;
      return rebuild(resultLeaves.map((leaf) => leaf instanceof Tensor ? values[next++] : leaf));
    },
  };
}

/** Tensors made before the trace began that nodes made during it read, or that are results. */
function capturedBefore(first: number, results: readonly Tensor[]): Tensor[] {
  const captured = new Set<Tensor>();
  reachable(results, (node) => {
    if (node.id >= first) return false;
    captured.add(node);
    return true;
  });
  return [...captured];
}

function run(
  { backend, executable, captures, results, rebuild }: Compiled,
  leaves: readonly unknown[],
  donated: readonly Tensor[],
  name: string,
): unknown {
  const given = leaves.filter(isDynamic).map((leaf) =>
    leaf instanceof Tensor ? leaf : makeLeaf({ shape: [], dtype: "f32" }, Float32Array.of(leaf))
  );
  const numbers = given.filter((leaf) => !leaves.includes(leaf));
  evaluate(given.filter((leaf) => leaf.op !== undefined), backend);
  const inputs = [...given, ...captures].map((leaf) => leafBuffer(leaf, backend));
  checkDonation(donated, captures, given, name);
  const outputs = results.map((result) => backend.allocate(4 * result.size));
  executable.run(inputs, outputs, onlyPlaces(given, new Set(donated)));
  for (const number of numbers) number.dispose();
  const values = results.map((result, k) => {
    const tensor = makeLeaf(result, new Float32Array(0));
    tensor.settle({ backend, buffer: outputs[k]! });
    return tensor;
  });
  for (const tensor of new Set(donated)) {
    tensor.surrender(`it was donated to ${name}(); keep what ${name}() returned instead`)?.buffer.release();
  }
  return rebuild(values);
}

/** Where, among all leaves, the ones in question are; those that are there twice are left out. */
function onlyPlaces(leaves: readonly Tensor[], wanted: ReadonlySet<Tensor>): number[] {
  const places = new Map<Tensor, number>();
  leaves.forEach((leaf, k) => {
    if (wanted.has(leaf)) places.set(leaf, places.has(leaf) ? -1 : k);
  });
  return [...places.values()].filter((place) => place >= 0);
}

function checkDonation(
  donated: readonly Tensor[],
  captures: readonly Tensor[],
  given: readonly Tensor[],
  name: string,
): void {
  for (const tensor of donated) {
    if (captures.includes(tensor)) {
      throw new DisposedError(
        `Cannot donate tensor ${
          describe(tensor)
        } to ${name}(): the function has captured it, and needs it in the next call`,
      );
    }
    if (!given.includes(tensor)) throw new TraceError(`Cannot donate a static argument to ${name}()`);
  }
}
