/**
 * Evaluates graphs by the float64 references of the primitives: slow, device-free, and independent of the
 * compiler. Property tests compare both backends with it.
 *
 * @module
 */
import { type DType, storedValue } from "./dtype.ts";
import type { Graph } from "./graph.ts";
import type { Aval, Params, Primitive, ReferenceArray } from "./primitive.ts";

/** One primitive on arrays. Integers and bool come out as the dtype stores them; f32 stays float64. */
export function interpretNode(
  op: Primitive,
  inputs: readonly ReferenceArray[],
  params: Params,
  output: Aval,
): ReferenceArray {
  const result = op.reference(inputs, params, output);
  if (output.dtype === "f32") return result;
  return { shape: result.shape, data: result.data.map((value) => exactInteger(value, output.dtype)) };
}

function exactInteger(value: number, dtype: DType): number {
  return storedValue(value, dtype);
}

/** All outputs of a graph for the given inputs. */
export function interpretGraph(graph: Graph, inputs: readonly ReferenceArray[]): ReferenceArray[] {
  const values: ReferenceArray[] = [];
  graph.inputs.forEach((place, k) => values[place] = inputs[k]!);
  graph.nodes.forEach((node, place) => {
    if (node.op !== undefined) {
      values[place] = interpretNode(
        node.op,
        node.inputs.map((k) => values[k]!),
        node.params,
        node,
      );
    }
  });
  return graph.outputs.map((place) => values[place]!);
}
