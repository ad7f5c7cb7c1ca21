/**
 * Reverse-mode differentiation: `vjp`, `grad`, `valueAndGrad`.
 *
 * The function is called on aliases of its primals; the pullback walks the graph from the result back to the
 * aliases, in reverse order of creation, and emits the cotangent graph by each operation's rule. The cotangent
 * graph is an ordinary graph on the same nodes, so derivatives of derivatives need nothing more.
 *
 * @module
 */
import { add } from "../../ops/elementwise.ts";
import { zerosLike } from "../../ops/create.ts";
import { DTypeError, formatShape, ShapeError, TraceError } from "../errors.ts";
import { reachable } from "../graph.ts";
import type { Primitive } from "../primitive.ts";
import { full, pick } from "../structure.ts";
import { describe, makeNode, Tensor, type Trace } from "../tensor.ts";
import { treeMap2 } from "../tree.ts";
import { aliasesOf, flattenResult, nameOf, onlyTensorsOf, runTraced } from "./tracing.ts";

/** A node as it was when the function returned: reading it later drops its inputs, but not ours. */
interface Recorded {
  readonly node: Tensor;
  readonly op: Primitive;
  readonly inputs: readonly Tensor[];
}

/** The nodes between the aliases and the outputs that depend on an alias, in order of creation. */
export function record(outputs: readonly Tensor[], sources: readonly Tensor[]): Recorded[] {
  const dependent = new Set<Tensor>(sources);
  const recorded: Recorded[] = [];
  for (const node of reachable(outputs, (tensor) => dependent.has(tensor) || !tensor.symbolic)) {
    if (node.op === undefined || dependent.has(node)) continue;
    if (!node.inputs.some((input) => dependent.has(input))) continue;
    dependent.add(node);
    recorded.push({ node, op: node.op, inputs: node.inputs });
  }
  return recorded;
}

/** Cotangents of `sources` (undefined: none flows there), given those of the outputs. */
export function pullBack(
  recorded: readonly Recorded[],
  outputs: readonly Tensor[],
  cotangents: readonly (Tensor | undefined)[],
  sources: readonly Tensor[],
): (Tensor | undefined)[] {
  const sums = new Map<Tensor, Tensor>();
  const tupleSums = new Map<Tensor, (Tensor | undefined)[]>();
  const flow = (to: Tensor, cotangent: Tensor | undefined): void => {
    if (cotangent === undefined || to.dtype !== "f32") return;
    const sum = sums.get(to);
    sums.set(to, sum === undefined ? cotangent : add(sum, cotangent));
  };
  outputs.forEach((output, k) => flow(output, cotangents[k]));
  for (let k = recorded.length - 1; k >= 0; k--) {
    const { node, op, inputs } = recorded[k]!;
    if (op.tuple !== undefined) {
      const results = tupleSums.get(node);
      if (results !== undefined) {
        op.tuple.vjp(results, { inputs, output: node, params: node.params }).forEach((c, j) =>
          flow(inputs[j]!, c)
        );
      }
      continue;
    }
    const cotangent = sums.get(node);
    if (cotangent === undefined) continue;
    sums.delete(node);
    if (op === pick) {
      const { index } = node.params as { index: number };
      const tuple = inputs[0]!;
      const slots = tupleSums.get(tuple) ?? tuple.op?.tuple?.outputs(tuple.params).map(() => undefined) ?? [];
      slots[index] = slots[index] === undefined ? cotangent : add(slots[index]!, cotangent);
      tupleSums.set(tuple, slots);
    } else {op.vjp?.(cotangent, { inputs, output: node, params: node.params }).forEach((c, j) =>
        flow(inputs[j]!, c)
      );}
  }
  return sources.map((source) => sums.get(source));
}

/**
 * The value of `f` at the primals, and the pullback: a function from a cotangent of the result (a tree like it)
 * to the cotangents of the primals (an array in their order, each a tree like its primal). Integer and bool
 * primals get zeros. The pullback may be called any number of times.
 *
 * @param f A synchronous function of trees of tensors to a tree of tensors.
 * @param primals Its arguments.
 * @throws {TraceError} If `f` returns a promise or reads a tensor, or a primal is a number.
 * @example
 * ```ts
 * import { mul, tensor, vjp } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const [output, pullback] = vjp((x, y) => mul(x, y), tensor(3), tensor(4));
 * const [dx, dy] = pullback(tensor(1));
 * assertEquals([await output.item(), await dx.item(), await dy.item()], [12, 4, 3]);
 * ```
 */
export function vjp<P extends unknown[], R>(
  f: (...primals: P) => R,
  ...primals: P
): [output: R, pullback: (cotangent: R) => P] {
  const { output, pullback } = differentiate("vjp", f, primals, (result) => result);
  return [output, pullback];
}

/** `vjp` of the part of the result that `select` picks; the whole result comes back too. */
function differentiate<P extends unknown[], R, D>(
  transform: string,
  f: (...primals: P) => R,
  primals: P,
  select: (result: R) => D,
): { output: R; pullback: (cotangent: D) => P; part: D } {
  const trace: Trace = { name: `${transform} of ${nameOf(f)}`, kind: "alias", active: false };
  const given = onlyTensorsOf(
    primals,
    `${transform} ${nameOf(f)}`,
    "a primal",
    "only tensors have a gradient: make it one, or let the function capture it",
  );
  const sources = aliasesOf(given.tensors, trace);
  const output = runTraced(trace, () => f(...given.unflatten(sources)));
  const part = select(output);
  const results = flattenResult(part, `the result of ${nameOf(f)}`);
  const recorded = record(results.tensors, sources);
  const pullback = (cotangent: D): P => {
    const directions = flattenResult(cotangent, "the cotangent");
    treeMap2(part, cotangent, (a: Tensor, b: Tensor, path: string) => checkCotangent(a, b, path));
    const flowing = pullBack(recorded, results.tensors, directions.tensors, sources);
    return given.unflatten(flowing.map((c, k) => c ?? zerosLike(given.tensors[k]!)));
  };
  return { output, pullback, part };
}

function checkCotangent(output: Tensor, cotangent: Tensor, path: string): void {
  if (!(output instanceof Tensor) || !(cotangent instanceof Tensor)) return;
  if (output.shape.join() !== cotangent.shape.join()) {
    throw new ShapeError(
      `Cannot pull back a cotangent of shape ${formatShape(cotangent.shape)}${
        path === "" ? "" : ` for ${path}`
      }: the result has shape ${formatShape(output.shape)}`,
    );
  }
}

/** Which arguments to differentiate with respect to. */
export interface GradOptions {
  /** Number of the argument, or several; default 0. With several, gradients come as an array. */
  readonly argnums?: number | readonly number[];
  /** Whether `f` returns `[loss, aux]`, of which only the loss is differentiated. */
  readonly hasAux?: boolean;
}

/**
 * A function like `f` that returns `[value, gradient]`; with `hasAux`, `[[value, aux], gradient]`. The value must
 * be a scalar f32. The gradient is a tree like the argument (an array of trees for several `argnums`).
 *
 * @example
 * ```ts
 * import { mul, sum, tensor, valueAndGrad } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const [value, gradient] = valueAndGrad((x) => sum(mul(x, x)))(tensor([1, 2]));
 * assertEquals(await (value as typeof gradient).item(), 5);
 * assertEquals(await gradient.toArray(), [2, 4]);
 * ```
 */
export function valueAndGrad<P extends unknown[], R>(
  f: (...args: P) => R,
  options: { readonly argnums: readonly number[]; readonly hasAux?: boolean },
): (...args: P) => [value: R, gradients: P[number][]];
/** Value and gradient with respect to one argument, by default the first. */
export function valueAndGrad<P extends unknown[], R>(
  f: (...args: P) => R,
  options?: { readonly argnums?: number; readonly hasAux?: boolean },
): (...args: P) => [value: R, gradient: P[0]];
export function valueAndGrad<P extends unknown[], R>(
  f: (...args: P) => R,
  options: GradOptions = {},
): (...args: P) => [R, unknown] {
  const { argnums = 0, hasAux = false } = options;
  const numbers = typeof argnums === "number" ? [argnums] : argnums;
  return (...args: P) => {
    for (const k of numbers) {
      if (!(k in args)) {
        throw new RangeError(
          `Cannot grad ${nameOf(f)}: argnums has ${k} but ${args.length} arguments were given`,
        );
      }
      checkFloat(args[k], f, k);
    }
    const chosen = numbers.map((k) => args[k]);
    const partial = (...values: unknown[]): R => {
      const full = [...args];
      numbers.forEach((k, j) => full[k] = values[j]);
      return f(...full as P);
    };
    Object.defineProperty(partial, "name", { value: nameOf(f) });
    const { output, pullback, part } = differentiate(
      "grad",
      partial,
      chosen,
      (result) => scalarPart(result, f, hasAux),
    );
    const gradients = pullback(makeNode(full, [], { shape: [], dtype: "f32", value: 1 }) as typeof part);
    return [output, typeof argnums === "number" ? gradients[0] : gradients];
  };
}

function checkFloat(argument: unknown, f: (...args: never[]) => unknown, k: number): void {
  const { tensors, paths } = onlyTensorsOf(
    argument,
    `grad ${nameOf(f)}`,
    `argument ${k}`,
    "only tensors have a gradient: make it one, or pass it as an argument that argnums leaves out",
  );
  tensors.forEach((tensor, j) => {
    if (tensor.dtype !== "f32") {
      throw new DTypeError(
        `Cannot grad ${nameOf(f)}: argument ${k}${paths[j] === "" ? "" : ` at ${paths[j]}`} is ${
          describe(tensor)
        }; only f32 has a gradient`,
      );
    }
  });
}

function scalarPart<R>(result: R, f: (...args: never[]) => unknown, hasAux: boolean): Tensor {
  const value: unknown = hasAux ? (result as unknown as readonly unknown[])?.[0] : result;
  if (!(value instanceof Tensor)) {
    throw new TraceError(
      `Cannot grad ${nameOf(f)}: it returned ${
        hasAux ? "no pair of a loss tensor and aux" : "no tensor"
      }; return a scalar${hasAux ? " and aux as [loss, aux]" : ""}`,
    );
  }
  if (value.shape.length > 0) {
    throw new ShapeError(
      `Cannot grad ${nameOf(f)}: it returned shape ${
        formatShape(value.shape)
      }; return a scalar, for example with mean(loss)`,
    );
  }
  if (value.dtype !== "f32") {
    throw new DTypeError(`Cannot grad ${nameOf(f)}: it returned ${describe(value)}; return an f32 scalar`);
  }
  return value;
}

/**
 * The gradient of a scalar function with respect to an argument; with `hasAux`, `[gradient, aux]`.
 *
 * @param f A synchronous function whose result is an f32 scalar (or `[scalar, aux]`).
 * @param options `argnums` and `hasAux`.
 * @throws {ShapeError} If the result is not a scalar.
 * @throws {DTypeError} If an argument is not f32.
 * @example
 * ```ts
 * import { grad, mul, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const cube = (x: ReturnType<typeof tensor>) => mul(x, mul(x, x));
 * assertEquals(await grad(cube)(tensor(2)).item(), 12);
 * assertEquals(await grad(grad(cube))(tensor(2)).item(), 12);
 * ```
 */
export function grad<P extends unknown[], A>(
  f: (...args: P) => readonly [Tensor, A],
  options: { readonly argnums?: number; readonly hasAux: true },
): (...args: P) => [gradient: P[0], aux: A];
/** The gradients with respect to several arguments. */
export function grad<P extends unknown[], R>(
  f: (...args: P) => R,
  options: { readonly argnums: readonly number[]; readonly hasAux?: false },
): (...args: P) => P[number][];
/** The gradient with respect to one argument, by default the first. */
export function grad<P extends unknown[], R>(
  f: (...args: P) => R,
  options?: { readonly argnums?: number; readonly hasAux?: false },
): (...args: P) => P[0];
export function grad<P extends unknown[], R>(
  f: (...args: P) => R,
  options: GradOptions = {},
): (...args: P) => unknown {
  const both =
    (valueAndGrad as (f: (...args: P) => R, options: GradOptions) => (...args: P) => [unknown, unknown])(
      f,
      options,
    );
  return (...args: P) => {
    const [value, gradient] = both(...args);
    return options.hasAux === true ? [gradient, (value as readonly unknown[])[1]] : gradient;
  };
}
