/**
 * What the transforms share: calling a function on aliases or placeholders, bodies (closed functions as
 * graphs), and rebuilding graphs on other inputs.
 *
 * @module
 */
import { TraceError } from "../errors.ts";
import { reachable } from "../graph.ts";
import type { Aval, Body } from "../primitive.ts";
import { full, makeAlias, makeTuple, pick } from "../structure.ts";
import { makeNode, makePlaceholder, Tensor, type Trace } from "../tensor.ts";
import { treeFlatten } from "../tree.ts";

/** A name for messages. */
export function nameOf(f: (...args: never[]) => unknown): string {
  return f.name === "" ? "an anonymous function" : f.name;
}

/** A leaf for messages: `the number 3`, `null`. */
function nameOfLeaf(leaf: unknown): string {
  if (leaf === null || leaf === undefined) return String(leaf);
  if (typeof leaf === "number") return `the number ${Object.is(leaf, -0) ? "-0" : leaf}`;
  if (typeof leaf !== "object") return `a ${typeof leaf}`;
  return `a ${leaf.constructor?.name ?? "object"}`;
}

/** `the carry`, or `the carry at w.bias`. */
function placeOf(what: string, path: string): string {
  return path === "" ? what : `${what} at ${path.replace(/^\./, "")}`;
}

/** The tensors of a tree and the way back; what is no tensor stays where and what it is. */
export function tensorsOf<T>(
  tree: T,
): { tensors: Tensor[]; paths: string[]; unflatten: (tensors: readonly Tensor[]) => T } {
  const { leaves, paths, unflatten } = treeFlatten(tree);
  const places = leaves.flatMap((leaf, k) => leaf instanceof Tensor ? [k] : []);
  return {
    tensors: places.map((k) => leaves[k] as Tensor),
    paths: places.map((k) => paths[k]!),
    unflatten: (tensors) => {
      const whole = [...leaves];
      places.forEach((place, k) => whole[place] = tensors[k]);
      return unflatten(whole);
    },
  };
}

/**
 * The same of a tree that may hold nothing but tensors: a number would have to become one, and a function that takes it
 * for a number would compute something else without a word.
 */
export function onlyTensorsOf<T>(
  tree: T,
  action: string,
  what: string,
  way: string,
): ReturnType<typeof tensorsOf<T>> {
  const { leaves, paths } = treeFlatten(tree);
  const odd = leaves.findIndex((leaf) => !(leaf instanceof Tensor));
  if (odd >= 0) {
    throw new TraceError(
      `Cannot ${action}: ${placeOf(what, paths[odd]!)} is ${nameOfLeaf(leaves[odd])}, not a tensor; ${way}`,
    );
  }
  return tensorsOf(tree);
}

/** The tensors of what a function returned; plain numbers become f32 scalars. */
export function flattenResult<T>(
  tree: T,
  what: string,
): { tensors: Tensor[]; paths: string[]; unflatten: (tensors: readonly Tensor[]) => T } {
  const { leaves, paths, unflatten } = treeFlatten(tree);
  const asTensor = (leaf: unknown, path: string): Tensor => {
    if (leaf instanceof Tensor) return leaf;
    if (typeof leaf === "number") return makeNode(full, [], { shape: [], dtype: "f32", value: leaf });
    throw new TraceError(
      `Cannot use ${placeOf(what, path)}: it is ${nameOfLeaf(leaf)}; tensors and numbers are taken`,
    );
  };
  return { tensors: leaves.map((leaf, k) => asTensor(leaf, paths[k]!)), paths, unflatten };
}

/** Calls `f` while the trace is active; a promise is refused, for what runs later cannot be traced. */
export function runTraced<R>(trace: Trace, f: () => R): R {
  trace.active = true;
  try {
    const result = f();
    if (result instanceof Promise) {
      result.catch(() => {}); // the sentence below is the error that matters
      throw new TraceError(
        `Cannot trace ${trace.name}: it returned a Promise; a transformed function must be synchronous`,
      );
    }
    return result;
  } finally {
    trace.active = false;
  }
}

/** Aliases of tensors that belong to a trace. */
export function aliasesOf(tensors: readonly Tensor[], trace: Trace): Tensor[] {
  return tensors.map((tensor) => makeAlias(tensor, trace));
}

/** JSON of a body in a node's parameters would be the whole graph: a number stands for it. */
let nextBody = 1;

/** A body with a number, so that parameters which hold it are small and can be compared. */
export class NumberedBody implements Body {
  readonly id: number = nextBody++;
  constructor(readonly parameters: readonly Tensor[], readonly outputs: readonly Tensor[]) {}
  /** What is written into keys. */
  toJSON(): string {
    return `body ${this.id}`;
  }
}

/**
 * Calls `f` on placeholders and closes over what it captured: tensors made before the call become parameters
 * behind the placeholders. Returns the body, the captured tensors, and whatever `f` returned.
 */
export function closeOver<R>(
  f: (inputs: Tensor[]) => R,
  avals: readonly Aval[],
  name: string,
  outputsOf: (result: R) => readonly Tensor[],
): { body: NumberedBody; captures: Tensor[]; result: R } {
  const trace: Trace = { name, kind: "placeholder", active: false };
  const placeholders = avals.map((aval) => makePlaceholder(aval, trace));
  const first = makePlaceholder({ shape: [], dtype: "f32" }, trace).id;
  const result = runTraced(trace, () => f(placeholders));
  const outputs = outputsOf(result);
  const captured = new Set<Tensor>();
  const own = new Set(placeholders);
  const isOutside = (node: Tensor): boolean => {
    if (own.has(node) || node.id > first) return false;
    captured.add(node);
    return true;
  };
  reachable(outputs, isOutside);
  const captures = [...captured].sort((a, b) => a.id - b.id);
  return { body: new NumberedBody([...placeholders, ...captures], outputs), captures, result };
}

/** The outputs of a graph with other tensors in the place of some. Nodes that do not depend on those stay as they are. */
export function rebuild(outputs: readonly Tensor[], replaced: ReadonlyMap<Tensor, Tensor>): Tensor[] {
  const to = new Map<Tensor, Tensor>(replaced);
  const tuples = new Map<Tensor, Tensor[]>();
  for (const node of reachable(outputs, (tensor) => replaced.has(tensor))) {
    if (node.op === undefined || to.has(node)) continue;
    if (node.op === pick) {
      const results = tuples.get(node.inputs[0]!);
      if (results !== undefined) to.set(node, results[(node.params as { index: number }).index]!);
      continue;
    }
    if (node.inputs.every((input) => !to.has(input))) continue;
    const inputs = node.inputs.map((input) => to.get(input) ?? input);
    if (node.op.tuple !== undefined) tuples.set(node, makeTuple(node.op, inputs, node.params));
    else to.set(node, makeNode(node.op, inputs, node.params));
  }
  return outputs.map((output) => to.get(output) ?? output);
}

/** The outputs of a body for these arguments. */
export function instantiate(body: Body, args: readonly Tensor[]): Tensor[] {
  return rebuild(body.outputs, new Map(body.parameters.map((parameter, k) => [parameter, args[k]!])));
}
