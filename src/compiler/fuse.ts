/**
 * From a graph to kernels. A node either becomes a buffer (it is **realised**) or is computed where it is
 * read: movement operations turn into index arithmetic, elementwise chains into the loads of what consumes
 * them or the stores of what produces them.
 *
 * Here the realised nodes are walked in order, and the kernels get their time; `kernel_build.ts` builds one.
 *
 * @module
 */
import type { Graph, GraphNode } from "../graph.ts";
import type { Lowering } from "../primitive.ts";
import { contiguousStrides, type Forms, SplitAxis } from "./affine.ts";
import { decide, type FuseOptions } from "./decide.ts";
import { type Affine, type Kernel, points } from "./kernel.ts";
import { KernelBuild, type Nodes, ReadTwice, type Target } from "./kernel_build.ts";

/** A kernel and the buffers that it reads and writes; a buffer has the number of the node that it holds. */
export interface Fused {
  readonly kernel: Kernel;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/** The kernels of a graph, in an order in which they can run. */
export function fuse(graph: Graph, options: FuseOptions): Fused[] {
  return new Fuser(graph, options).run();
}

class Fuser implements Nodes {
  readonly #launches: { fused: Fused; time: number }[] = [];
  /** When the buffer of a realised node is there; inputs at −1. */
  readonly #ready = new Map<number, number>();
  readonly #wanted: ReadonlySet<number>;
  readonly #shared: ReadonlySet<number>;

  constructor(readonly graph: Graph, options: FuseOptions) {
    const decision = decide(graph, options);
    this.#wanted = decision.realised;
    this.#shared = decision.shared;
    for (const input of graph.inputs) this.#ready.set(input, -1);
  }

  run(): Fused[] {
    this.graph.nodes.forEach((_, place) => {
      if (this.#wanted.has(place)) this.realise(place);
    });
    // Sorting is stable and no kernel is earlier than what it reads.
    return this.#launches.sort((a, b) => a.time - b.time).map(({ fused }) => fused);
  }

  node(place: number): GraphNode {
    return this.graph.nodes[place]!;
  }

  isRealised(place: number): boolean {
    return this.#ready.has(place);
  }

  /** Whether several kernels read the node, so that none of them may take it in. */
  isShared(place: number): boolean {
    return this.#shared.has(place);
  }

  /** Makes the node a buffer, if it is not one yet. */
  realise(place: number): void {
    if (this.isRealised(place)) return;
    const node = this.node(place);
    const lowering = node.op!.lowering;
    if (points(node.shape) === 0) this.#ready.set(place, place); // nothing to compute
    else if (lowering.kind === "kernel") this.#launchPlain(place, node, lowering);
    else if (lowering.kind === "assembly") this.#launchPieces(place, node, lowering);
    else {
      const strides = contiguousStrides(node.shape);
      this.#launch(place, place, {
        buffer: place,
        at: (forms, position) => forms.address(position, strides),
      });
    }
  }

  #launchPlain(place: number, node: GraphNode, lowering: Lowering<unknown> & { kind: "kernel" }): void {
    for (const input of node.inputs) this.realise(input);
    const kernel = lowering.build(node.inputs.map((input) => this.node(input)), node.params);
    this.#push({ kernel, inputs: node.inputs, outputs: [place] }, place, place);
  }

  #launchPieces(place: number, node: GraphNode, lowering: Lowering<unknown> & { kind: "assembly" }): void {
    const strides = contiguousStrides(node.shape);
    node.inputs.forEach((piece, k) => {
      const { start, stride } = lowering.place(node.params, k);
      if (points(this.node(piece).shape) === 0) return;
      const at = (forms: Forms, position: readonly Affine[]): Affine =>
        forms.address(
          position.map((form, axis) => forms.shift(forms.scale(form, stride[axis]!), start[axis]!)),
          strides,
        );
      this.#launch(place, piece, { buffer: place, at });
    });
  }

  /** Builds the kernel that computes `root` and writes it to the target; `owner` is the node that becomes a buffer. */
  #launch(owner: number, root: number, target: Target): void {
    const splits = new Map<string, number[]>();
    for (;;) {
      const build = new KernelBuild(this, root, target, splits);
      try {
        const { kernel, inputs, time } = build.finish();
        this.#push({ kernel, inputs, outputs: [target.buffer] }, owner, time);
        return;
      } catch (request) {
        if (request instanceof SplitAxis) build.split(request);
        else if (request instanceof ReadTwice) {
          this.realise(request.place);
          splits.clear();
        } else throw request;
      }
    }
  }

  #push(fused: Fused, owner: number, time: number): void {
    const earliest = Math.max(time, ...fused.inputs.map((input) => this.#ready.get(input)!));
    // Results of the program, and pieces of an assembly that are more than copies, come as early as they can, so
    // that what they are computed from is let go; everything else in its turn.
    const isPiece = this.node(owner).op!.lowering.kind === "assembly" && time >= 0;
    const isEarly = isPiece || this.graph.outputs.includes(owner);
    const when = isEarly ? earliest : Math.max(earliest, owner);
    this.#ready.set(owner, Math.max(when, this.#ready.get(owner) ?? -1));
    this.#launches.push({ fused, time: when });
  }
}
