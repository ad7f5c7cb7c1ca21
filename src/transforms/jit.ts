/**
 * Compilation of functions: `jit` calls a function on placeholders once for every kind of arguments. What it found is a
 * body, a closed graph; every call is one node of the graph around it, evaluated by the program that its body is
 * compiled to. Whether a device is open by then does not matter.
 *
 * Only tensors vary from call to call. A number is a number inside, and part of the key like every other plain value:
 * see docs/decisions/0013-numbers-stay-numbers.md.
 *
 * @module
 */
import { DisposedError, TraceError } from "../errors.ts";
import { isSymbolic } from "../graph.ts";
import type { Aval, Callee, Primitive } from "../primitive.ts";
import { defineTuple, makeTuple } from "../structure.ts";
import { Recent } from "../recent.ts";
import { describe, startEvaluation, Tensor } from "../tensor.ts";
import { treeFlatten, treeStructure, treeTensors } from "../tree.ts";
import { batchBody, pullBackBody, pushForwardBody } from "./checkpoint.ts";
import { closeOver, instantiate, nameOf, type NumberedBody } from "./tracing.ts";
import { valueKey } from "./value_key.ts";

/** Options of `jit`. */
export interface JitOptions {
  /**
   * Numbers of arguments whose tensors are given up: their memory is free for the results. Using them
   * afterwards throws and names the call.
   */
  readonly donate?: readonly number[];
  /**
   * Numbers of arguments that are compiled in whatever they are: strings, dates, typed arrays, maps, sets and plain
   * trees are compared by their content, functions, tensors and instances of classes by identity.
   */
  readonly staticArgs?: readonly number[];
}

/** Parameters of a call. */
interface CallParams extends Callee {
  readonly body: NumberedBody;
}

/** A call of a compiled function: one node, whose inputs are the arguments and then what the function captured. */
const jitCall: Primitive<CallParams> = defineTuple<CallParams>("jit", {
  outputs: ({ body }): readonly Aval[] => body.outputs,
  vjp: (cotangents, { inputs, params }) => pullBackBody(params.body, inputs, cotangents),
  jvp: (tangents, { inputs, params }) => pushForwardBody(params.body, inputs, tangents),
  batch: (inputs, batched, { body }, size) => batchBody(body, inputs, batched, size),
  expand: (graph, inputs, { body }) =>
    graph.inline(body.outputs, new Map(body.parameters.map((parameter, k) => [parameter, inputs[k]!]))),
  callee: (params) => params,
});

/** What was found when a function was called on placeholders. */
interface Traced {
  readonly body: NumberedBody;
  /** Tensors that the function captured; they follow the arguments. */
  readonly captures: readonly Tensor[];
  readonly rebuild: (results: readonly Tensor[]) => unknown;
}

/** Kinds of arguments for which a function remembers what it found. */
const mostTraced = 128;

/**
 * A compiled version of `f`, a synchronous function from trees of tensors to a tree of tensors.
 *
 * Tensors vary from call to call. Everything else stays what it is inside `f` and is part of the key: another number,
 * string, boolean or function among the arguments traces anew, though a number that only ends up in operations does
 * not compile anew. What changes all the time should be a tensor: `step(state, tensor(rate))`. Tensors that `f`
 * captures are inputs too. Called inside another transform it is written out there.
 *
 * @param f The function. It must not have side effects: it runs only when it is traced.
 * @param options `donate` and `staticArgs`.
 * @returns A function with the same arguments and result.
 * @throws {TraceError} If `f` returns a promise or reads a tensor, or an argument holds something that may change
 * unseen, such as a typed array.
 * @example
 * ```ts
 * import { add, jit, mul, setDevice, type Tensor, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * await setDevice("cpu");
 * const step = jit((x: Tensor, n: number) => n > 2 ? add(mul(x, 1 / n), 1) : x);
 * assertEquals(await step(tensor([4, 8]), 4).toArray(), [2, 3]);
 * ```
 */
export function jit<P extends unknown[], R>(
  f: (...args: P) => R,
  options: JitOptions = {},
): (...args: P) => R {
  const cache = new Recent<string, Traced>(mostTraced);
  const { donate = [], staticArgs = [] } = options;
  const name = nameOf(f);
  const compiled = (...args: P): R => {
    const dynamic = args.map((arg, k) => staticArgs.includes(k) ? null : arg);
    const { leaves, paths, unflatten } = treeFlatten(dynamic);
    const key = `${treeStructure(dynamic)} ${
      leaves.map((leaf, k) => leafKey(leaf, paths[k]!, name)).join()
    } ${staticArgs.map((k) => valueKey(args[k], `argument ${k} of ${name}`)).join()}`;
    const given = leaves.filter((leaf) => leaf instanceof Tensor);
    const find = (): Traced =>
      trace(given, name, (tensors) => {
        let next = 0;
        const inner = unflatten(leaves.map((leaf) => leaf instanceof Tensor ? tensors[next++] : leaf));
        for (const k of staticArgs) inner[k] = args[k];
        return f(...inner as P);
      });
    const traced = cache.get(key) ?? find();
    // A tensor of a transform that is running now belongs to this call alone.
    if (!traced.captures.some(isSymbolic)) cache.set(key, traced);
    return call(traced, given, donate.flatMap((k) => treeTensors(args[k])), name) as R;
  };
  Object.defineProperty(compiled, "name", { value: name });
  return compiled;
}

function leafKey(leaf: unknown, path: string, name: string): string {
  if (leaf instanceof Tensor) return describe(leaf);
  if (typeof leaf !== "object" || leaf === null) return valueKey(leaf, path);
  const kind = (leaf as object).constructor?.name ?? "object";
  throw new TraceError(
    `Cannot jit ${name}: argument ${
      path.slice(1).replace("]", "")
    } is a ${kind}, which may change unseen; make it a ` +
      "tensor, or name the argument in staticArgs",
  );
}

/** Calls the function on placeholders; what it returns may hold other leaves beside tensors. */
function trace(given: readonly Tensor[], name: string, f: (tensors: readonly Tensor[]) => unknown): Traced {
  let rebuild: Traced["rebuild"];
  const { body, captures } = closeOver(f, given, `jit of ${name}`, (result) => {
    const { leaves, unflatten } = treeFlatten(result);
    rebuild = (values) => {
      let next = 0;
      return unflatten(leaves.map((leaf) => leaf instanceof Tensor ? values[next++] : leaf));
    };
    return leaves.filter((leaf) => leaf instanceof Tensor);
  });
  return { body, captures, rebuild: rebuild! };
}

function call(
  { body, captures, rebuild }: Traced,
  given: readonly Tensor[],
  donated: readonly Tensor[],
  name: string,
): unknown {
  const inputs = [...given, ...captures];
  // Inside a transform the body is written out, so that the transform meets operations that it knows.
  if (inputs.some(isSymbolic)) return rebuild(instantiate(body, inputs));
  checkDonation(donated, captures, given, name);
  const gone = new Set(donated);
  const results = makeTuple(jitCall, inputs, {
    body,
    donated: given.flatMap((tensor, k) => gone.has(tensor) ? [k] : []),
  });
  for (const tensor of gone) {
    tensor.giveUp(`it was donated to ${name}(); keep what ${name}() returned instead`);
  }
  startEvaluation(results);
  return rebuild(results);
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
