/**
 * A point that a computation may not pass: how a recomputation is kept apart from the first computation.
 *
 * @module
 */
import { definePrimitive, type Primitive } from "../src/primitive.ts";
import { makeNode, type Tensor } from "../src/tensor.ts";
import { broadcastTo } from "./broadcast.ts";

/**
 * Input 0, but not before input 1 has been computed, and never merged with input 0 itself: keeps a
 * recomputation from being shared with the first computation, or done too early. The compiler knows it by its name
 * and launches again what is read behind it (src/compiler/recompute.ts).
 */
const barrier: Primitive = definePrimitive<unknown>({
  name: "barrier",
  infer: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: (cotangent) => [cotangent, undefined],
  jvp: ([tangent]) => tangent,
  // Only the order counts of input 1, so it may keep its batch axis or do without.
  batch: ([x, after], [isBatched], params, size) =>
    makeNode(barrier, [isBatched ? x! : broadcastTo(x!, [size, ...x!.shape]), after!], params),
  lowering: { kind: "movement", place: (forms) => ({ forms }) },
  reference: ([x]) => x!,
  samples: [],
});

/** Tensors from which everything is computed again, once `after` has been. Derivatives pass through. */
export function holdUntil(after: Tensor, tensors: readonly Tensor[]): Tensor[] {
  return tensors.map((x) => makeNode(barrier, [x, after], undefined));
}
