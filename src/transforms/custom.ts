/**
 * Derivatives by decree: `stopGradient` and `customVjp`.
 *
 * @module
 */
import { ShapeError, TraceError } from "../errors.ts";
import type { Aval, Primitive } from "../primitive.ts";
import { defineTuple, makeTuple, stopGradientOp } from "../structure.ts";
import { describe, makeNode, Tensor } from "../tensor.ts";
import { treeMap, treeMap2 } from "../tree.ts";
import { batchBody } from "./checkpoint.ts";
import { closeOver, flattenResult, instantiate, nameOf, type NumberedBody, tensorsOf } from "./tracing.ts";
import { zerosLike } from "../../ops/create.ts";
import { broadcastTo } from "../../ops/broadcast.ts";

/**
 * The same values, through which no derivative passes.
 *
 * @param tree A tensor or a tree of tensors.
 * @example
 * ```ts
 * import { grad, mul, stopGradient, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * assertEquals(await grad((x) => mul(x, stopGradient(x)))(tensor(3)).item(), 3);
 * ```
 */
export function stopGradient<T>(tree: T): T {
  return treeMap(
    tree,
    (leaf: unknown) => leaf instanceof Tensor ? makeNode(stopGradientOp, [leaf], undefined) : leaf,
  );
}

interface CustomParams {
  readonly name: string;
  /** Results from the arguments and what the function captured. */
  readonly body: NumberedBody;
  /** Cotangents of the arguments from the arguments, the cotangents of the results, and what that captured. */
  readonly backward: NumberedBody;
  /** How many of the node's inputs are arguments, and how many after them belong to `body`; the rest is `backward`'s. */
  readonly args: number;
  readonly captures: number;
}

const customCall: Primitive<CustomParams> = defineTuple<CustomParams>("customVjp", {
  outputs: ({ body }): readonly Aval[] => body.outputs,
  vjp: (cotangents, { inputs, params: { body, backward, args, captures } }) => {
    const full = cotangents.map((cotangent, k) => cotangent ?? zerosLike(body.outputs[k]!));
    return instantiate(backward, [...inputs.slice(0, args), ...full, ...inputs.slice(args + captures)]);
  },
  jvp: (_tangents, { params }) => {
    throw new TraceError(
      `Cannot push a tangent through ${params.name}: customVjp gives only its reverse derivative`,
    );
  },
  batch: (inputs, batched, { name, body, backward, args, captures }, size) => {
    const all = inputs.map((input, k) => batched[k] ? input : broadcastTo(input, [size, ...input.shape]));
    const every = (list: readonly Tensor[]): boolean[] => list.map(() => true);
    const f = (given: Tensor[]): Tensor[] =>
      batchBody(body, given.slice(0, args + captures), every(given), size);
    const back = (given: Tensor[]): Tensor[] => {
      const own = [
        ...given.slice(0, args),
        ...given.slice(all.length),
        ...given.slice(args + captures, all.length),
      ];
      return [
        ...batchBody(backward, own, every(own), size),
        ...given.slice(args, all.length).map((input) => zerosLike(input)),
      ];
    };
    return makeCustom(f, back, all, name);
  },
  expand: (graph, inputs, { body }) =>
    graph.inline(body.outputs, new Map(body.parameters.map((parameter, k) => [parameter, inputs[k]!]))),
});

/** The cotangent that a backward function gave for an argument; null stands for none. */
function checkedCotangent(argument: Tensor, given: unknown, path: string, name: string): Tensor {
  if (given === null || given === undefined || argument.dtype !== "f32") return zerosLike(argument);
  const { tensors: [cotangent] } = flattenResult(given, `the cotangent of ${name} for argument ${path}`);
  if (describe(cotangent!) !== describe(argument)) {
    throw new ShapeError(
      `Cannot differentiate ${name}: its backward function returned ${
        describe(cotangent!)
      } for argument ${path}, ` +
        `which is ${describe(argument)}`,
    );
  }
  return cotangent!;
}

/** A call with a derivative of its own; `backward` gets the inputs and then the cotangents of the results. */
function makeCustom(
  f: (inputs: Tensor[]) => Tensor[],
  backward: (given: Tensor[]) => Tensor[],
  inputs: readonly Tensor[],
  name: string,
): Tensor[] {
  const { body, captures } = closeOver(f, inputs, name, (outputs) => outputs);
  const back = closeOver(
    backward,
    [...inputs, ...body.outputs],
    `the backward function of ${name}`,
    (outputs) => outputs,
  );
  const params = { name, body, backward: back.body, args: inputs.length, captures: captures.length };
  return makeTuple(customCall, [...inputs, ...captures, ...back.captures], params);
}

/**
 * A function like `f` with a reverse derivative of your own. It has none in forward mode: `jvp` through it throws.
 *
 * @param f The function itself.
 * @param forward Called with the same arguments where a derivative is taken; returns the result and what
 * `backward` needs, as `[result, residuals]`.
 * @param backward From the residuals and the cotangent of the result to the cotangents of the arguments, an array; null
 * for what has none, such as a number.
 * @example A gradient that is clipped on its way back
 * ```ts
 * import { clip, customVjp, grad, mul, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * type T = ReturnType<typeof tensor>;
 * const clipped = customVjp((x: T) => x, (x: T) => [x, null], (_: null, g: T) => [clip(g, { min: -1, max: 1 })]);
 * assertEquals(await grad((x: T) => mul(clipped(x), 5))(tensor(2)).item(), 1);
 * ```
 */
export function customVjp<P extends unknown[], R, S>(
  f: (...args: P) => R,
  forward: (...args: P) => readonly [R, S],
  backward: (residuals: S, cotangent: R) => readonly unknown[],
): (...args: P) => R {
  const name = nameOf(f);
  return (...args: P): R => {
    const given = tensorsOf(args);
    let result: { unflatten: (tensors: readonly Tensor[]) => R } | undefined;
    const call = (inputs: Tensor[]): Tensor[] => {
      const flat = flattenResult(f(...given.unflatten(inputs)), `the result of ${name}`);
      result = flat;
      return flat.tensors;
    };
    const back = (both: Tensor[]): Tensor[] => {
      const [, residuals] = forward(...given.unflatten(both.slice(0, given.tensors.length)));
      const cotangents = backward(residuals, result!.unflatten(both.slice(given.tensors.length)));
      if (!Array.isArray(cotangents) || cotangents.length !== args.length) {
        throw new TraceError(
          `Cannot differentiate ${name}: its backward function returned ${
            Array.isArray(cotangents) ? `${cotangents.length} cotangents` : "no array"
          }, and there are ${args.length} arguments`,
        );
      }
      const flowing: Tensor[] = [];
      treeMap2(args, cotangents, (arg: unknown, cotangent: unknown, path: string) => {
        if (arg instanceof Tensor) flowing.push(checkedCotangent(arg, cotangent, path, name));
      });
      return flowing;
    };
    const outputs = makeCustom(call, back, given.tensors, name);
    return result!.unflatten(outputs);
  };
}
