/**
 * What `checkpoint` computes again, as the same kernels launched again.
 *
 * The order in which a kernel adds up depends on all that was fused into it, so a recomputation that is fused for
 * itself rounds differently from the first computation, and a program that recomputes from one that does not.
 * Therefore programs are fused as if nothing was computed twice: {@linkcode computedOnce} takes the barriers away, and
 * what is left are the kernels of a program that keeps everything. {@linkcode computedAgain} then launches some of
 * them a second time, right before what reads their results behind a barrier, and the first results are let go.
 *
 * @module
 */
import { type Graph, type GraphNode, nodeKey } from "../graph.ts";
import { copy } from "../structure.ts";
import type { Fused } from "./fuse.ts";
import { points, type ProgramBuffer } from "./kernel.ts";
import type { Launches } from "./plan.ts";

/** A graph without its barriers. */
export interface Once {
  /** The graph, in which equal nodes on both sides of a barrier are one. */
  readonly graph: Graph;
  /** The node of it that each node of the given graph has become. */
  readonly places: readonly number[];
}

/** Takes the barriers out of a graph; one without them stays as it is. */
export function computedOnce(graph: Graph): Once {
  if (!graph.nodes.some(isBarrier)) return { graph, places: [] };
  const nodes: GraphNode[] = [];
  const known = new Map<string, number>();
  const places: number[] = [];
  for (const node of graph.nodes) {
    const inputs = node.inputs.map((input) => places[input]!);
    const key = node.op === undefined ? `input ${nodes.length}` : nodeKey(node.op, inputs, node.params, node);
    const place = isBarrier(node) ? inputs[0]! : known.get(key) ?? nodes.push({ ...node, inputs }) - 1;
    known.set(key, place);
    places.push(place);
  }
  const inputs = graph.inputs.map((input) => places[input]!);
  // A result that was another one, or an input, behind a barrier gets a buffer of its own.
  const taken = new Set(inputs);
  const outputs = graph.outputs.map((output) => {
    const place = places[output]!;
    const own = taken.has(place)
      ? nodes.push({ ...nodes[place]!, op: copy, inputs: [place], params: undefined }) - 1
      : place;
    taken.add(own);
    return own;
  });
  return { graph: { ...graph, nodes, inputs, outputs }, places };
}

function isBarrier({ op }: GraphNode): boolean {
  return op?.name === "barrier";
}

/**
 * Launches again what is read behind a barrier.
 *
 * @param graph The graph with its barriers.
 * @param once What {@linkcode computedOnce} made of it.
 * @param launches The kernels of that.
 * @returns Launches in an order in which they can run.
 */
export function computedAgain(graph: Graph, once: Once, launches: readonly Fused[]): Launches {
  if (once.graph === graph) return { launches, extra: new Map() };
  return new Recomputation(graph, once, launches).run();
}

/**
 * A launch is behind the barrier that the latest of what it reads is behind: the number of the node that the barrier
 * waits for, −1 for none. One that is wanted behind several is launched for each.
 */
class Recomputation {
  /** Which barrier each node is behind. */
  readonly #behind: number[] = [];
  /** For a buffer the barriers behind which the graph computes it, each with the node that it is there. */
  readonly #copies = new Map<number, Map<number, number>>();
  /** Which launches write a buffer: several, if it is assembled from pieces. */
  readonly #writers = new Map<number, number[]>();
  /** For a launch the barriers behind which it is wanted, each with those that its inputs are behind. */
  readonly #wanted: readonly Map<number, readonly number[]>[];
  readonly #numbers = new Map<string, number>();
  readonly #extra = new Map<number, Pick<ProgramBuffer, "length" | "dtype">>();

  constructor(readonly graph: Graph, readonly once: Once, readonly launches: readonly Fused[]) {
    launches.forEach(({ outputs }, launch) => {
      for (const buffer of outputs) this.#writers.set(buffer, [...this.#writersOf(buffer), launch]);
    });
    this.#wanted = launches.map(() => new Map());
    graph.nodes.forEach((node, place) => {
      const own = isBarrier(node) ? node.inputs[1]! : -1;
      const behind = node.inputs.reduce((latest, input) => Math.max(latest, this.#behind[input]!), own);
      this.#behind.push(behind);
      if (isBarrier(node)) return;
      const buffer = once.places[place]!;
      const copies = this.#copies.get(buffer);
      if (copies === undefined) this.#copies.set(buffer, new Map([[behind, place]]));
      else copies.set(behind, place);
    });
  }

  run(): Launches {
    this.once.graph.outputs.forEach((buffer, k) => {
      const behind = this.#behind[this.graph.outputs[k]!]!;
      this.#numbers.set(`${buffer} ${behind}`, buffer);
      this.#want(buffer, behind);
    });
    // A launch reads what earlier ones write.
    for (let launch = this.launches.length - 1; launch >= 0; launch--) {
      const { inputs } = this.launches[launch]!;
      for (const behind of this.#wanted[launch]!.keys()) {
        const sources = this.#sources(launch, behind);
        this.#wanted[launch]!.set(behind, sources);
        inputs.forEach((buffer, k) => this.#want(buffer, sources[k]!));
      }
    }
    const launches = this.#inOrder().map(({ launch, behind }): Fused => {
      const { kernel, inputs, outputs } = this.launches[launch]!;
      const sources = this.#wanted[launch]!.get(behind)!;
      return {
        kernel,
        inputs: inputs.map((buffer, k) => this.#number(buffer, sources[k]!)),
        outputs: outputs.map((buffer) => this.#number(buffer, behind)),
      };
    });
    return { launches, extra: this.#extra };
  }

  #writersOf(buffer: number): readonly number[] {
    return this.#writers.get(buffer) ?? [];
  }

  #want(buffer: number, behind: number): void {
    for (const launch of this.#writersOf(buffer)) {
      const wanted = this.#wanted[launch]!;
      if (!wanted.has(behind)) wanted.set(behind, []);
    }
  }

  /**
   * Behind which barrier each input of a launch is. What the graph does not say, because only results that are not
   * wanted here are made of it, is taken from the nearest copy; if there is none yet, one is made.
   */
  #sources(launch: number, behind: number): number[] {
    const { inputs, outputs } = this.launches[launch]!;
    const read = new Map<number, number>();
    const seen = new Set<number>();
    const stack = outputs.flatMap((buffer) => this.#copies.get(buffer)?.get(behind) ?? []);
    while (stack.length > 0) {
      const place = stack.pop()!;
      if (seen.has(place)) continue;
      seen.add(place);
      const node = this.graph.nodes[place]!;
      const buffer = this.once.places[place]!;
      if (isBarrier(node)) stack.push(node.inputs[0]!);
      else if (inputs.includes(buffer)) read.set(buffer, this.#behind[place]!);
      else stack.push(...node.inputs);
    }
    return inputs.map((buffer) => {
      const there = [...this.#copies.get(buffer)?.keys() ?? []].filter((other) => other <= behind);
      return read.get(buffer) ?? (there.length > 0 ? Math.max(...there) : behind);
    });
  }

  /** First launches in their order, second ones right before their first reader. */
  #inOrder(): { launch: number; behind: number }[] {
    const order: { launch: number; behind: number }[] = [];
    const done = new Set<string>();
    const add = (launch: number, behind: number): void => {
      const needed: { launch: number; behind: number }[] = [];
      const stack = [{ launch, behind }];
      while (stack.length > 0) {
        const next = stack.pop()!;
        const key = `${next.launch} ${next.behind}`;
        if (done.has(key)) continue;
        done.add(key);
        needed.push(next);
        const sources = this.#wanted[next.launch]!.get(next.behind)!;
        this.launches[next.launch]!.inputs.forEach((buffer, k) => {
          for (const writer of this.#writersOf(buffer)) stack.push({ launch: writer, behind: sources[k]! });
        });
      }
      order.push(...needed.sort((a, b) => a.launch - b.launch || a.behind - b.behind));
    };
    for (const isTurn of [(first: boolean): boolean => first, (): boolean => true]) {
      this.#wanted.forEach((wanted, launch) => {
        const first = this.#firstBarrier(launch);
        for (const behind of wanted.keys()) if (isTurn(behind <= first)) add(launch, behind);
      });
    }
    return order;
  }

  /** The barrier that a launch is behind where the graph first has a result of it. */
  #firstBarrier(launch: number): number {
    const { outputs } = this.launches[launch]!;
    return Math.min(...outputs.flatMap((buffer) => [...this.#copies.get(buffer)?.keys() ?? []]));
  }

  /** The number of a copy of a buffer: that of the node for what the program returns, or else for the first copy. */
  #number(buffer: number, behind: number): number {
    if (this.#writersOf(buffer).length === 0) return buffer;
    const key = `${buffer} ${behind}`;
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    const { nodes } = this.once.graph;
    const { shape, dtype } = nodes[buffer]!;
    const number = nodes.length + this.#extra.size;
    this.#extra.set(number, { length: points(shape), dtype });
    this.#numbers.set(key, number);
    return number;
  }
}
