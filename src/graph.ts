/**
 * From tensors to a plain graph: a list of nodes in the order of their creation, in which aliases are gone,
 * compositions are written out, equal calls are one node (common sub-expressions) and what is known is folded.
 * The passes of the compiler work on this form; it needs no device.
 *
 * @module
 */
import { interpretNode } from "./reference.ts";
import { TraceError } from "./errors.ts";
import { storedValue } from "./dtype.ts";
import type { Aval, GraphWriter, Params, Primitive } from "./primitive.ts";
import { describe, makePlaceholder, type Tensor } from "./tensor.ts";
import { alias, copy, everywhere, full, type FullParams, pick, stopGradientOp } from "./structure.ts";

/** A node of a graph: a primitive on earlier nodes, or (without one) an input. */
export interface GraphNode extends Aval {
  readonly op: Primitive | undefined;
  readonly inputs: readonly number[];
  readonly params: Params;
}

/** A graph; `inputs[k]` is the node of `leaves[k]`. */
export interface Graph {
  readonly nodes: readonly GraphNode[];
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** Equal texts mean graphs that differ at most in the values of `constants`. */
  readonly form: string;
  /** Constants whose values no code depends on but as operands, in order. */
  readonly constants: readonly Constant[];
}

/** A node that is the same number everywhere. */
export interface Constant {
  readonly place: number;
  readonly value: number;
}

/** Everything that the tensors need and that is not a leaf or in `stop`, in the order of creation. */
export function reachable(
  outputs: readonly Tensor[],
  stop: (node: Tensor) => boolean = () => false,
): Tensor[] {
  const seen = new Set<Tensor>();
  const stack = [...outputs];
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (seen.has(node) || stop(node)) continue;
    seen.add(node);
    stack.push(...node.inputs);
  }
  return [...seen].sort((a, b) => a.id - b.id);
}

/** True if the tensor hangs on an alias or a placeholder of a function that is being transformed now. */
export function isSymbolic(tensor: Tensor): boolean {
  return tensor.symbolic &&
    reachable([tensor], (node) => !node.symbolic).some(isOpen);
}

/** Whether an alias or placeholder has no values now: its function is running, or it is a placeholder. */
export function isOpen(node: Tensor): boolean {
  if (node.trace === undefined) return false;
  if (node.op === undefined && node.trace.kind === "alias") return false; // evaluated since
  return node.trace.active || node.trace.kind === "placeholder";
}

class Builder implements GraphWriter {
  readonly nodes: GraphNode[] = [];
  readonly keys: string[] = [];
  readonly leaves = new Map<Tensor, number>();
  readonly #byKey = new Map<string, number>();

  aval(place: number): GraphNode {
    return this.nodes[place]!;
  }

  leaf(tensor: Tensor): number {
    let place = this.leaves.get(tensor);
    if (place === undefined) {
      place = this.push({
        op: undefined,
        inputs: [],
        params: undefined,
        shape: tensor.shape,
        dtype: tensor.dtype,
      }, `${describe(tensor)}@${this.leaves.size}`);
      this.leaves.set(tensor, place);
    }
    return place;
  }

  push(node: GraphNode, key: string): number {
    this.nodes.push(node);
    this.keys.push(key);
    this.#byKey.set(key, this.nodes.length - 1);
    return this.nodes.length - 1;
  }

  add<P>(op: Primitive<P>, inputs: readonly number[], params: P): number {
    const plain = op as unknown as Primitive;
    if (plain === alias || plain === stopGradientOp) return inputs[0]!;
    const inferred = op.infer(inputs.map((place) => this.nodes[place]!), params);
    if (op.lowering.kind === "composition") {
      const trace = { name: op.name, kind: "placeholder" as const, active: false };
      const stand = inputs.map((place) => makePlaceholder(this.nodes[place]!, trace));
      const [place] = this.inline(
        [op.lowering.define(stand, params)],
        new Map(stand.map((tensor, k) => [tensor, inputs[k]!])),
      );
      return place!;
    }
    const node: GraphNode = { op: plain, inputs, params, shape: inferred.shape, dtype: inferred.dtype };
    const simpler = this.#simplify(node);
    if (simpler !== undefined) return simpler;
    const key = nodeKey(plain, inputs, params, inferred);
    return this.#byKey.get(key) ?? this.push(node, key);
  }

  /** Only algebra that is exact in f32. */
  #simplify(node: GraphNode): number | undefined {
    const value = (k: number): number | undefined => {
      const input = this.nodes[node.inputs[k]!]!;
      return input.op === full ? (input.params as { value: number }).value : undefined;
    };
    const name = node.op!.name;
    const [a, b] = node.inputs;
    if (
      (name === "mul" && value(1) === 1) || (name === "div" && value(1) === 1) ||
      (name === "sub" && Object.is(value(1), 0))
    ) return a;
    if (name === "mul" && value(0) === 1) return b;
    // A constant is not computed, so there is nothing to hold back.
    if (name === "barrier" && value(0) !== undefined) return a;
    const kind = node.op!.lowering.kind;
    if (kind === "movement" && this.nodes[a!]!.shape.join() === node.shape.join() && isIdentity(node)) {
      return a;
    }
    if (node.inputs.length > 0 && node.inputs.every((_, k) => value(k) !== undefined)) {
      if (kind === "elementwise") {
        const arrays = node.inputs.map((_, k) => ({ shape: [], data: Float64Array.of(value(k)!) }));
        const [folded] = interpretNode(node.op!, arrays, node.params, { shape: [], dtype: node.dtype }).data;
        return this.add(full, [], {
          shape: node.shape,
          dtype: node.dtype,
          value: storedValue(folded!, node.dtype),
        });
      }
      if (kind === "movement" && name !== "pad") {
        return this.add(full, [], { shape: node.shape, dtype: node.dtype, value: value(0)! });
      }
    }
    return undefined;
  }

  inline(outputs: readonly Tensor[], places: ReadonlyMap<Tensor, number>): number[] {
    const at = new Map<Tensor, number>(places);
    const tuples = new Map<Tensor, readonly number[]>();
    for (const tensor of reachable(outputs, (node) => at.has(node))) {
      const inputs = tensor.inputs.map((input) => at.get(input) ?? -1);
      if (tensor.op === undefined) at.set(tensor, this.leaf(tensor));
      else if (tensor.op.tuple !== undefined) {
        tuples.set(tensor, tensor.op.tuple.expand(this, inputs, tensor.params));
      } else if (tensor.op === pick) {
        at.set(tensor, tuples.get(tensor.inputs[0]!)![(tensor.params as { index: number }).index]!);
      } else at.set(tensor, this.add(tensor.op, inputs, tensor.params));
    }
    return outputs.map((output) => at.get(output)!);
  }
}

function isIdentity(node: GraphNode): boolean {
  const name = node.op!.name;
  if (name === "transpose") {
    return (node.params as { axes: readonly number[] }).axes.every((axis, k) => axis === k);
  }
  if (name === "slice") {
    return (node.params as { strides: readonly number[] }).strides.every((stride) => stride === 1);
  }
  return name === "reshape" || name === "broadcastTo" || name === "pad";
}

/** A text that is equal for equal calls. */
export function nodeKey(op: Primitive, inputs: readonly number[], params: Params, result: Aval): string {
  return `${op.name}(${inputs.join(",")})${
    params === undefined ? "" : JSON.stringify(params, exactNumbers)
  }:${describe(result)}`;
}

function exactNumbers(_key: string, value: unknown): unknown {
  return typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0))
    ? `#${Object.is(value, -0) ? "-0" : value}`
    : value;
}

/**
 * The graph of `outputs`. `inputs`, if given, are the leaves that come first, in order (placeholders of a
 * traced function); further leaves that are found are appended to `leaves`.
 */
export function buildGraph(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[] = [],
): { graph: Graph; leaves: Tensor[] } {
  const builder = new Builder();
  for (const input of inputs) builder.leaf(input);
  const places = builder.inline(outputs, new Map());
  // An output that is an input, or another output, gets a buffer of its own.
  const taken = new Set<number>(builder.leaves.values());
  places.forEach((place, k) => {
    if (taken.has(place)) {
      places[k] = builder.push(
        { ...builder.aval(place), op: copy, inputs: [place], params: undefined },
        `copy ${k} (${place})`,
      );
    }
    taken.add(place);
  });
  const leaves = [...builder.leaves.keys()];
  const graph = withoutDeadNodes(builder.nodes, [...builder.leaves.values()], places, builder.keys);
  return { graph, leaves };
}

function withoutDeadNodes(
  nodes: readonly GraphNode[],
  inputs: readonly number[],
  outputs: readonly number[],
  keys: readonly string[],
): Graph {
  const live = new Set<number>([...inputs, ...outputs]);
  for (let k = nodes.length - 1; k >= 0; k--) {
    if (live.has(k)) nodes[k]!.inputs.forEach((input) => live.add(input));
  }
  const fixed = new Set(
    nodes.flatMap(({ op, inputs }) =>
      inputs.filter((k) =>
        nodes[k]!.op === (full as Primitive) && op?.readsConstant?.((nodes[k]!.params as FullParams).value)
      )
    ),
  );
  const place = new Map<number, number>();
  const kept: GraphNode[] = [];
  const constants: Constant[] = [];
  const forms: string[] = [];
  nodes.forEach((node, k) => {
    if (!live.has(k)) return;
    place.set(k, kept.length);
    if (node.op === (full as Primitive) && !fixed.has(k)) {
      constants.push({ place: kept.length, value: (node.params as FullParams).value });
      forms.push(`full ${k}:${describe(node)}`);
    } else forms.push(keys[k]!);
    kept.push({ ...node, inputs: node.inputs.map((input) => place.get(input)!) });
  });
  return {
    nodes: kept,
    inputs: inputs.map((k) => place.get(k)!),
    outputs: outputs.map((k) => place.get(k)!),
    form: `${forms.join("\n")}\n${outputs.join()}\n${nodes.length}`,
    constants,
  };
}

/**
 * The graph in which some of its constants, given by their numbers among all, are read from inputs: scalars that
 * follow the other inputs.
 */
export function withConstantsAsInputs(graph: Graph, numbers: readonly number[]): Graph {
  const nodes: GraphNode[] = [];
  const inputs: number[] = [];
  const place = new Map<number, number>();
  const scalars = new Map(numbers.map((number) => [graph.constants[number]!.place, number]));
  const added: number[] = [];
  graph.nodes.forEach((node, k) => {
    if (scalars.has(k)) {
      added.push(nodes.length);
      nodes.push({ op: undefined, inputs: [], params: undefined, shape: [], dtype: node.dtype });
      place.set(k, nodes.length);
      nodes.push({
        ...node,
        op: everywhere as Primitive,
        inputs: [nodes.length - 1],
        params: { shape: node.shape },
      });
    } else {
      place.set(k, nodes.length);
      nodes.push({ ...node, inputs: node.inputs.map((input) => place.get(input)!) });
    }
  });
  for (const input of graph.inputs) inputs.push(place.get(input)!);
  return {
    ...graph,
    nodes,
    inputs: [...inputs, ...added],
    outputs: graph.outputs.map((k) => place.get(k)!),
    constants: [],
  };
}

/** Throws if a tensor cannot have values yet, or never will. */
export function checkReadable(tensors: readonly Tensor[]): void {
  for (const tensor of tensors) {
    if (!tensor.symbolic) continue;
    const open = reachable([tensor], (node) => !node.symbolic).find(isOpen);
    if (open === undefined) continue;
    const { name, active } = open.trace!;
    throw new TraceError(
      active
        ? `Cannot read tensor ${
          describe(tensor)
        } inside ${name}: it has no values while the function is traced; return it and read the result`
        : `Cannot read tensor ${
          describe(tensor)
        }: it is a placeholder that leaked out of ${name}; return it from the function instead`,
    );
  }
}

/** A graph as text, one node a line. */
export function printGraph(graph: Graph): string {
  const lines = graph.nodes.map((node, k) =>
    node.op === undefined
      ? `%${k} = input ${describe(node)}`
      : `%${k} = ${node.op.name}(${node.inputs.map((input) => `%${input}`).join(", ")}) ${
        node.params === undefined ? "" : JSON.stringify(node.params).slice(0, 120)
      } -> ${describe(node)}`
  );
  return `${lines.join("\n")}\nreturn ${graph.outputs.map((k) => `%${k}`).join(", ")}`;
}
