/**
 * Vectorisation: a function of one example becomes a function of a batch, by rewriting its graph with each
 * operation's batching rule.
 *
 * @module
 */
import { broadcastTo } from "../../ops/broadcast.ts";
import { moveAxis } from "../../ops/movement_composed.ts";
import { AxisError, formatShape, ShapeError, TraceError, TreeError } from "../errors.ts";
import { reachable } from "../graph.ts";
import { pick } from "../structure.ts";
import { makePlaceholder, Tensor, type Trace } from "../tensor.ts";
import { treeFlatten, treeMap } from "../tree.ts";
import { flattenResult, nameOf, runTraced } from "./tracing.ts";

/** Which axis is the batch: a number for a whole tree, `null` for "not batched", or a tree of these. */
export type Axes = number | null | readonly Axes[] | { readonly [key: string]: Axes };

/** Options of `vmap`. */
export interface VmapOptions {
  /** One entry per argument, or one for all; default 0. */
  readonly inAxes?: Axes;
  /** Where the batch axis goes in the result; a number for all leaves or a tree like the result; default 0. */
  readonly outAxes?: Axes;
}

/** Spreads axes over the leaves of a tree. */
function spread(axes: Axes, tree: unknown, what: string): (number | null)[] {
  const result: (number | null)[] = [];
  const go = (at: Axes, branch: unknown, path: string): void => {
    if (at === null || typeof at === "number") {
      treeMap(branch, () => result.push(at));
      return;
    }
    if (branch === null || typeof branch !== "object" || Array.isArray(at) !== Array.isArray(branch)) {
      throw new TreeError(
        `Cannot match ${what} with ${path === "" ? "the tree" : path}: its structure differs`,
      );
    }
    for (const key of Array.isArray(branch) ? branch.keys() : Object.keys(branch).sort()) {
      const sub = (at as Record<string, Axes>)[key];
      if (sub === undefined) {
        throw new TreeError(`Cannot match ${what} with ${path}.${key}: no axis is given for it`);
      }
      go(sub, (branch as Record<string, unknown>)[key], `${path}.${key}`);
    }
  };
  go(axes, tree, "");
  return result;
}

/** Outputs of a graph for inputs with a leading batch axis in the place of some tensors. */
export function batchGraph(
  outputs: readonly Tensor[],
  replaced: ReadonlyMap<Tensor, Tensor>,
  size: number,
): { tensor: Tensor; batched: boolean }[] {
  const to = new Map<Tensor, Tensor>(replaced);
  const tuples = new Map<Tensor, readonly Tensor[]>();
  for (const node of reachable(outputs, (tensor) => replaced.has(tensor))) {
    if (node.op === undefined || to.has(node)) continue;
    if (node.op === pick) {
      const results = tuples.get(node.inputs[0]!);
      if (results !== undefined) to.set(node, results[(node.params as { index: number }).index]!);
      continue;
    }
    const batched = node.inputs.map((input) => to.has(input));
    if (!batched.includes(true)) continue;
    const inputs = node.inputs.map((input) => to.get(input) ?? input);
    if (node.op.tuple !== undefined) {
      tuples.set(node, node.op.tuple.batch(inputs, batched, node.params, size));
    } else to.set(node, node.op.batch(inputs, batched, node.params, size));
  }
  return outputs.map((output) => ({ tensor: to.get(output) ?? output, batched: to.has(output) }));
}

/**
 * A function like `f` in which every argument has one more axis, the batch. It nests with itself and with all
 * other transforms. What has no batch axis (`null` in `inAxes`) reaches `f` as it is: a number stays a number.
 *
 * @param f A synchronous function of trees of tensors to a tree of tensors, written for one example.
 * @param options `inAxes` and `outAxes`.
 * @throws {ShapeError} If batch sizes differ.
 * @example
 * ```ts
 * import { dot, tensor, vmap } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const rows = tensor([[1, 2], [3, 4]]);
 * const weights = tensor([10, 1]);
 * const result = vmap(dot, { inAxes: [0, null] })(rows, weights);
 * assertEquals(await result.toArray(), [12, 34]);
 * ```
 */
export function vmap<P extends unknown[], R>(
  f: (...args: P) => R,
  options: VmapOptions = {},
): (...args: P) => R {
  const { inAxes = 0, outAxes = 0 } = options;
  return (...args: P) => {
    const trace: Trace = { name: `vmap of ${nameOf(f)}`, kind: "placeholder", active: false };
    const given = treeFlatten(args);
    const axes = spread(Array.isArray(inAxes) ? inAxes as Axes : args.map(() => inAxes), args, "inAxes");
    let size: number | undefined;
    const replaced = new Map<Tensor, Tensor>();
    const inner = given.leaves.map((tensor, k) => {
      const axis = axes[k]!;
      if (axis === null) return tensor;
      if (!(tensor instanceof Tensor)) {
        throw new TraceError(
          `Cannot vmap ${nameOf(f)} over axis ${axis} of argument ${
            given.paths[k]
          }: it is no tensor; give it null in ` +
            "inAxes, or make it a tensor",
        );
      }
      if (axis < -tensor.ndim || axis >= tensor.ndim) {
        throw new AxisError(
          `Cannot vmap ${nameOf(f)} over axis ${axis} of argument ${given.paths[k]}: it has shape ${
            formatShape(tensor.shape)
          }`,
        );
      }
      const front = moveAxis(tensor, axis, 0);
      size ??= front.shape[0]!;
      if (front.shape[0] !== size) {
        throw new ShapeError(
          `Cannot vmap ${nameOf(f)}: argument ${given.paths[k]} has ${
            front.shape[0]
          } examples but an earlier one has ${size}`,
        );
      }
      const placeholder = makePlaceholder({ shape: front.shape.slice(1), dtype: tensor.dtype }, trace);
      replaced.set(placeholder, front);
      return placeholder;
    });
    if (size === undefined) {
      throw new TraceError(
        `Cannot vmap ${nameOf(f)}: no argument has a batch axis; give one an axis in inAxes`,
      );
    }
    const output = runTraced(trace, () => f(...given.unflatten(inner)));
    const results = flattenResult(output, `the result of ${nameOf(f)}`);
    const places = spread(outAxes, output, "outAxes");
    const batched = batchGraph(results.tensors, replaced, size);
    return results.unflatten(batched.map(({ tensor, batched: isBatched }, k) => {
      const axis = places[k]!;
      if (axis === null) {
        if (isBatched) {
          throw new TraceError(
            `Cannot return result ${results.paths[k]} of vmap of ${
              nameOf(f)
            } without a batch axis: it depends on the batch`,
          );
        }
        return tensor;
      }
      const whole = isBatched ? tensor : broadcastTo(tensor, [size!, ...tensor.shape]);
      return moveAxis(whole, 0, axis);
    }));
  };
}
