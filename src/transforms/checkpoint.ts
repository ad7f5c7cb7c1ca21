/**
 * Trading time for memory: what `checkpoint` wraps is computed again in the backward pass instead of kept.
 *
 * @module
 */
import { holdUntil } from "../../ops/barrier.ts";
import { broadcastTo } from "../../ops/broadcast.ts";
import type { Aval, Body, Primitive } from "../primitive.ts";
import { defineTuple, makeTuple } from "../structure.ts";
import type { Tensor } from "../tensor.ts";
import { pushForward } from "./jvp.ts";
import {
  aliasesOf,
  closeOver,
  flattenResult,
  instantiate,
  nameOf,
  type NumberedBody,
  tensorsOf,
} from "./tracing.ts";
import { pullBack, record } from "./vjp.ts";
import { batchGraph } from "./vmap.ts";

/** Cotangents of a body's inputs, computed from the inputs alone once the cotangents of its results are there. */
export function recomputedPullback(
  body: Body,
  inputs: readonly Tensor[],
  cotangents: readonly (Tensor | undefined)[],
): (Tensor | undefined)[] {
  const after = cotangents.find((cotangent) => cotangent !== undefined);
  if (after === undefined) return inputs.map(() => undefined);
  return pullBackBody(body, holdUntil(after, inputs), cotangents);
}

/** Cotangents of a body's inputs. */
export function pullBackBody(
  body: Body,
  inputs: readonly Tensor[],
  cotangents: readonly (Tensor | undefined)[],
): (Tensor | undefined)[] {
  const sources = aliasesOf(inputs, { name: "a recomputation", kind: "alias", active: false });
  const outputs = instantiate(body, sources);
  return pullBack(record(outputs, sources), outputs, cotangents, sources);
}

/** Tangents of a body's results. */
export function pushForwardBody(
  body: Body,
  inputs: readonly Tensor[],
  tangents: readonly (Tensor | undefined)[],
): (Tensor | undefined)[] {
  const sources = aliasesOf(inputs, { name: "a tangent", kind: "alias", active: false });
  return pushForward(instantiate(body, sources), sources, tangents);
}

/** A body with a batch axis on some inputs; all results have it. */
export function batchBody(
  body: Body,
  inputs: readonly Tensor[],
  batched: readonly boolean[],
  size: number,
): Tensor[] {
  const plain = new Map(
    body.parameters.flatMap((parameter, k) => batched[k] ? [] : [[parameter, inputs[k]!] as const]),
  );
  const fixed = instantiatePart(body, plain);
  const replaced = new Map(
    body.parameters.flatMap((parameter, k) => batched[k] ? [[parameter, inputs[k]!] as const] : []),
  );
  return batchGraph(fixed, replaced, size).map(({ tensor, batched: has }) =>
    has ? tensor : broadcastTo(tensor, [size, ...tensor.shape])
  );
}

function instantiatePart(body: Body, plain: ReadonlyMap<Tensor, Tensor>): Tensor[] {
  return instantiate(body, body.parameters.map((parameter) => plain.get(parameter) ?? parameter));
}

interface CheckpointParams {
  readonly body: NumberedBody;
}

const checkpointCall: Primitive<CheckpointParams> = defineTuple<CheckpointParams>("checkpoint", {
  outputs: ({ body }): readonly Aval[] => body.outputs,
  vjp: (cotangents, { inputs, params }) => recomputedPullback(params.body, inputs, cotangents),
  jvp: (tangents, { inputs, params }) => pushForwardBody(params.body, inputs, tangents),
  batch: (inputs, batched, { body }, size) =>
    checkpointed((given) => batchBody(body, given, batched, size), inputs, "checkpoint"),
  expand: (graph, inputs, { body }) =>
    graph.inline(body.outputs, new Map(body.parameters.map((parameter, k) => [parameter, inputs[k]!]))),
});

function checkpointed(f: (inputs: Tensor[]) => Tensor[], inputs: readonly Tensor[], name: string): Tensor[] {
  const { body, captures } = closeOver(f, inputs, name, (outputs) => outputs);
  return makeTuple(checkpointCall, [...inputs, ...captures], { body });
}

/**
 * A function like `f` whose intermediate values are not kept for the backward pass but computed again there
 * (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost"). Random numbers are the same, and so is every bit
 * of values and gradients; only where a tensor that `f` reads more than once is read elsewhere too, the terms of its
 * gradient are added in another order.
 *
 * @param f A synchronous function of trees of tensors to a tree of tensors.
 * @example
 * ```ts
 * import { checkpoint, grad, sin, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const f = (x: ReturnType<typeof tensor>) => sin(sin(x));
 * const x = tensor(0.5);
 * assertEquals(await grad(checkpoint(f))(x).item(), await grad(f)(x).item());
 * ```
 */
export function checkpoint<P extends unknown[], R>(f: (...args: P) => R): (...args: P) => R {
  const wrapped = (...args: P): R => {
    const given = tensorsOf(args);
    let results: { unflatten: (tensors: readonly Tensor[]) => R } | undefined;
    const call = (inputs: Tensor[]): Tensor[] => {
      const flat = flattenResult(f(...given.unflatten(inputs)), `the result of ${nameOf(f)}`);
      results = flat;
      return flat.tensors;
    };
    const outputs = checkpointed(call, given.tensors, `checkpoint of ${nameOf(f)}`);
    return results!.unflatten(outputs);
  };
  Object.defineProperty(wrapped, "name", { value: nameOf(f) });
  return wrapped;
}
