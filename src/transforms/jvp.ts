/**
 * Forward-mode differentiation.
 *
 * @module
 */
import { zerosLike } from "../../ops/create.ts";
import { formatShape, ShapeError, TraceError } from "../errors.ts";
import { pick } from "../structure.ts";
import { Tensor, type Trace } from "../tensor.ts";
import { treeMap2 } from "../tree.ts";
import { aliasesOf, flattenResult, nameOf, runTraced, tensorsOf } from "./tracing.ts";
import { record } from "./vjp.ts";

/**
 * The value of `f` at the primals and its derivative in the direction of the tangents, both trees like the
 * result. Tangents have the shapes of the primals; those of integer primals are ignored. Numbers among the primals
 * stay numbers, and have the tangent 0 or null.
 *
 * @param f A synchronous function of trees of tensors to a tree of tensors.
 * @param primals Its arguments.
 * @param tangents As many trees as there are primals.
 * @throws {ShapeError} If a tangent has another shape than its primal.
 * @throws {TraceError} If a number has a tangent other than 0.
 * @example
 * ```ts
 * import { jvp, mul, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const [value, tangent] = jvp((x) => mul(x, x), [tensor(3)], [tensor(1)]);
 * assertEquals([await value.item(), await tangent.item()], [9, 6]);
 * ```
 */
export function jvp<P extends unknown[], R>(
  f: (...primals: P) => R,
  primals: P,
  tangents: P,
): [output: R, tangent: R] {
  const trace: Trace = { name: `jvp of ${nameOf(f)}`, kind: "alias", active: false };
  const given = tensorsOf(primals);
  const directions: Tensor[] = [];
  treeMap2(primals, tangents, (primal: unknown, tangent: unknown, path: string) => {
    if (primal instanceof Tensor) {
      directions.push(directionOf(primal, tangent, path));
    } else if (tangent !== 0 && tangent !== null && tangent !== undefined) {
      throw new TraceError(
        `Cannot push a tangent forward through ${
          nameOf(f)
        }: primal ${path} is no tensor, so its tangent must be 0 or ` +
          "null; make the primal a tensor",
      );
    }
  });
  const sources = aliasesOf(given.tensors, trace);
  const output = runTraced(trace, () => f(...given.unflatten(sources)));
  const results = flattenResult(output, `the result of ${nameOf(f)}`);
  const pushed = pushForward(
    results.tensors,
    sources,
    given.tensors.map((primal, k) => primal.dtype === "f32" ? directions[k] : undefined),
  );
  return [output, results.unflatten(pushed.map((tangent, k) => tangent ?? zerosLike(results.tensors[k]!)))];
}

function directionOf(primal: Tensor, tangent: unknown, path: string): Tensor {
  const { tensors: [direction] } = flattenResult(tangent, `tangent ${path}`);
  if (primal.shape.join() !== direction!.shape.join()) {
    throw new ShapeError(
      `Cannot push a tangent of shape ${formatShape(direction!.shape)} forward: primal ${path} has shape ${
        formatShape(primal.shape)
      }`,
    );
  }
  return direction!;
}

/** Tangents of the outputs from those of the sources; undefined means zero. */
export function pushForward(
  outputs: readonly Tensor[],
  sources: readonly Tensor[],
  directions: readonly (Tensor | undefined)[],
): (Tensor | undefined)[] {
  const tangents = new Map<Tensor, Tensor>();
  const tuples = new Map<Tensor, readonly (Tensor | undefined)[]>();
  sources.forEach((source, k) => directions[k] !== undefined && tangents.set(source, directions[k]!));
  for (const { node, op, inputs } of record(outputs, sources)) {
    const flowing = inputs.map((input) => tangents.get(input));
    let tangent: Tensor | undefined;
    if (op === pick) tangent = tuples.get(inputs[0]!)?.[(node.params as { index: number }).index];
    else if (flowing.some((t) => t !== undefined)) {
      const call = { inputs, output: node, params: node.params };
      if (op.tuple !== undefined) tuples.set(node, op.tuple.jvp(flowing, call));
      else tangent = op.jvp?.(flowing, call);
    }
    if (tangent !== undefined && node.dtype === "f32") tangents.set(node, tangent);
  }
  return outputs.map((output) => tangents.get(output));
}
