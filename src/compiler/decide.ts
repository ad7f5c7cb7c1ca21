/**
 * Which nodes become buffers. A node that one kernel reads is computed there; one that several read is
 * computed again only if that is cheaper than writing and reading it.
 *
 * @module
 */
import type { Graph, GraphNode } from "../graph.ts";

/** What the decision depends on. */
export interface FuseOptions {
  /** Whether an operand of a contraction is evaluated once (packed) or again for every tile. */
  readonly packsOperands: boolean;
}

/** Nodes that become buffers, and nodes that more than one kernel would read. */
export interface Decision {
  readonly realised: ReadonlySet<number>;
  readonly shared: ReadonlySet<number>;
}

/** At most this many additions are done again rather than stored. */
const cheap = 4;
/** An expression grows no further than this: compile time grows faster than size. */
const largest = 160;
/** A kernel reads no more buffers than this: WebGPU guarantees eight bindings, one is written. */
const mostSources = 6;

interface Virtual {
  readonly cost: number;
  readonly size: number;
  readonly sources: ReadonlySet<number>;
  /** Contractions that are not buffers and would be the body of the kernel that reads this. */
  readonly products: ReadonlySet<number>;
  /** Likewise reductions. */
  readonly reductions: ReadonlySet<number>;
}

const none: ReadonlySet<number> = new Set();

/** Decides for every node of a graph. */
export function decide(graph: Graph, options: FuseOptions): Decision {
  const { nodes } = graph;
  const sinks = findSinks(graph);
  const wide = readWidely(graph, options);
  const outputs = new Set(graph.outputs);
  const realised = new Set<number>();
  const virtual: Virtual[] = [];
  const below = (place: number): Virtual =>
    nodes[place]!.op === undefined || realised.has(place)
      ? { cost: 1, size: 1, sources: new Set([place]), products: none, reductions: none }
      : virtual[place]!;

  nodes.forEach((node, place) => {
    if (node.op === undefined) return;
    const kind = node.op.lowering.kind;
    let parts = node.inputs.map(below);
    if (kind === "elementwise" || kind === "reduction" || kind === "movement") {
      // Too much in one kernel: the largest operand becomes a buffer of its own.
      while (
        parts.reduce((sum, part) => sum + part.size, 1) > largest ||
        union(parts.map((part) => part.sources)).size > mostSources
      ) {
        const worst = heaviest(graph, node, parts, realised);
        if (worst === undefined) break;
        realised.add(worst);
        parts = node.inputs.map(below);
      }
    }
    if (kind === "elementwise") {
      for (const earlier of earlierProducts(graph, node, parts)) realised.add(earlier);
      parts = node.inputs.map(below);
    }
    const own = node.op.lowering.kind === "elementwise" ? node.op.lowering.cost : kind === "gather" ? 3 : 0;
    const isAnchor = kind === "reduction" || kind === "contraction" || kind === "kernel" ||
      kind === "assembly";
    const passed = (of: (part: Virtual) => ReadonlySet<number>): ReadonlySet<number> =>
      kind === "elementwise" || kind === "movement" ? union(parts.map(of)) : none;
    virtual[place] = {
      cost: isAnchor ? Infinity : own + parts.reduce((sum, part) => sum + part.cost, 0),
      size: (kind === "movement" ? 0 : 1) + parts.reduce((sum, part) => sum + part.size, 0),
      sources: union(parts.map((part) => part.sources)),
      products: kind === "contraction" ? new Set([place]) : passed((part) => part.products),
      reductions: kind === "reduction" ? new Set([place]) : passed((part) => part.reductions),
    };
    // Within an operand nothing is the body of the kernel. These nodes would get their buffers anyway, but one from
    // within the other, as deep as a chain of them is long.
    if (kind === "contraction" || kind === "reduction" || kind === "gather") {
      for (const body of union(parts.flatMap((part) => [part.products, part.reductions]))) realised.add(body);
    }
    const { cost } = virtual[place]!;
    const isMovement = kind === "movement" || kind === "generator";
    if (outputs.has(place)) realised.add(place);
    else if (isAnchor) {
      if (sinks[place]!.size > 1 || kind === "kernel" || kind === "assembly") realised.add(place);
    } else if (
      !isMovement && ((sinks[place]!.size > 1 && cost > cheap) || cost > (wide.get(place) ?? Infinity))
    ) realised.add(place);
  });
  // A reader that became a buffer is a kernel of its own, so a reduction or product may have more of them now.
  const readers = findSinks(graph, realised);
  nodes.forEach((node, place) => {
    const kind = node.op?.lowering.kind;
    const isBody = kind === "reduction" || kind === "contraction";
    if (isBody && readers[place]!.size > 1) realised.add(place);
  });
  storeAsRead(graph, realised, (place) => {
    const { reductions, products } = virtual[place]!;
    return reductions.size > 0 && products.size === 0;
  });
  const final = findSinks(graph, realised);
  return { realised, shared: new Set(nodes.flatMap((_, place) => final[place]!.size > 1 ? [place] : [])) };
}

/**
 * The result of a reduction whose only reader is another order or shape of it is stored as that: a depthwise
 * convolution whose channels are read side by side is written with its channels side by side.
 */
function storeAsRead(graph: Graph, realised: Set<number>, isReduction: (place: number) => boolean): void {
  const readers: number[][] = graph.nodes.map(() => []);
  graph.nodes.forEach(({ inputs }, place) => new Set(inputs).forEach((input) => readers[input]!.push(place)));
  const outputs = new Set(graph.outputs);
  for (const place of [...realised]) {
    if (!isReduction(place)) continue;
    let last = place;
    while (!outputs.has(last) && readers[last]!.length === 1 && isRearrangement(graph, readers[last]![0]!)) {
      last = readers[last]![0]!;
    }
    realised.delete(place);
    realised.add(last);
  }
}

/** Whether a node has the elements of its input in another order or shape, and every axis is a part or a product of theirs. */
function isRearrangement({ nodes }: Graph, place: number): boolean {
  const { op, inputs, shape } = nodes[place]!;
  if (op?.name === "transpose") return inputs.length === 1;
  if (op?.name !== "reshape" || inputs.length !== 1 || sizeOf(nodes[place]!) === 0) return false;
  const ends = (sizes: readonly number[]): number[] => {
    let product = 1;
    return sizes.map((size) => product *= size);
  };
  const cuts = [...new Set([...ends(shape), ...ends(nodes[inputs[0]!]!.shape)])].sort((a, b) => a - b);
  return cuts.every((cut, k) => k === 0 || cut % cuts[k - 1]! === 0);
}

function union(sets: readonly ReadonlySet<number>[]): ReadonlySet<number> {
  return sets.reduce((all, set) => set.size === 0 ? all : all.union(set), none);
}

/**
 * A kernel has one contraction. Where several meet, the last one takes in the sum of the earlier ones, so that a
 * long sum of products is one running total and not many terms that wait for each other.
 */
function earlierProducts(graph: Graph, node: GraphNode, parts: readonly Virtual[]): number[] {
  const lastOf = ({ products }: Virtual): number => Math.max(-1, ...products);
  const last = parts.reduce((best, part) => lastOf(part) > lastOf(best) ? part : best, parts[0]!);
  return node.inputs.filter((_, k) => !parts[k]!.products.isSubsetOf(last.products)).map((input) =>
    belowMovements(graph, input)
  );
}

/** The node that movements read in the end. */
function belowMovements(graph: Graph, place: number): number {
  while (graph.nodes[place]!.op?.lowering.kind === "movement") place = graph.nodes[place]!.inputs[0]!;
  return place;
}

/** The largest operand (below movements) that is not a buffer yet. */
function heaviest(
  graph: Graph,
  node: GraphNode,
  parts: readonly Virtual[],
  realised: ReadonlySet<number>,
): number | undefined {
  const bySize = node.inputs.map((input, k) => ({ input, size: parts[k]!.size })).sort((a, b) =>
    b.size - a.size
  );
  for (const { input } of bySize) {
    let place = input;
    while (graph.nodes[place]!.op?.lowering.kind === "movement" && !realised.has(place)) {
      place = graph.nodes[place]!.inputs[0]!;
    }
    const kind = graph.nodes[place]!.op?.lowering.kind;
    if (kind !== undefined && kind !== "generator" && !realised.has(place)) return place;
  }
  return undefined;
}

/**
 * For every node the kernels that would evaluate it, each named by a node: a reader that is computed within a
 * single other kernel stands for that kernel, so that a diamond of elementwise nodes counts once.
 */
function findSinks(graph: Graph, realised: ReadonlySet<number> = none): ReadonlySet<number>[] {
  const sinks: Set<number>[] = graph.nodes.map(() => new Set());
  graph.outputs.forEach((place, k) => sinks[place]!.add(-1 - k));
  for (let place = graph.nodes.length - 1; place >= 0; place--) {
    const node = graph.nodes[place]!;
    const kind = node.op?.lowering.kind;
    const isWithin = !realised.has(place) &&
      (kind === "movement" || (kind === "elementwise" && sinks[place]!.size === 1));
    for (const input of node.inputs) {
      if (isWithin) { for (const sink of sinks[place]!) sinks[input]!.add(sink); }
      else sinks[input]!.add(place);
    }
  }
  return sinks;
}

/**
 * Nodes whose elements are read many times by one reader (through a broadcast, overlapping windows, as the
 * operand of a contraction), with the highest cost at which they may still be computed there.
 */
function readWidely(graph: Graph, options: FuseOptions): Map<number, number> {
  const limit = new Map<number, number>();
  const lower = (place: number, cost: number): void =>
    void limit.set(place, Math.min(limit.get(place) ?? Infinity, cost));
  for (let place = graph.nodes.length - 1; place >= 0; place--) {
    const node = graph.nodes[place]!;
    const lowering = node.op?.lowering;
    if (lowering === undefined) continue;
    const inherited = limit.get(place);
    node.inputs.forEach((input, k) => {
      const source = graph.nodes[input]!;
      if (inherited !== undefined && (lowering.kind === "movement" || lowering.kind === "elementwise")) {
        lower(input, inherited);
      }
      if (
        lowering.kind === "movement" &&
        (lowering.repeats?.(node.params) || sizeOf(node) >= 4 * sizeOf(source)) && sizeOf(source) > 0
      ) lower(input, 2);
      if (lowering.kind === "contraction") {
        lower(input, options.packsOperands && node.op!.name !== "convolution" ? 40 : 2);
      }
      if ((lowering.kind === "gather" && k === 0) || lowering.kind === "kernel") lower(input, -1);
    });
  }
  return limit;
}

function sizeOf(node: GraphNode): number {
  return node.shape.reduce((product, size) => product * size, 1);
}
