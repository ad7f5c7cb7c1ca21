/**
 * From kernels to a program: every intermediate gets a slot of temporary memory that it shares with others
 * whose lifetimes do not overlap.
 *
 * The largest come first, so that a slot is as large as the first that takes it and never grows (Pisarchyk and Lee 2020,
 * "Efficient Memory Management for Deep Neural Net Inference", arXiv:2001.03288: "greedy by size").
 *
 * @module
 */
import type { Graph } from "../graph.ts";
import type { Fused } from "./fuse.ts";
import { points, type Program, type ProgramBuffer } from "./kernel.ts";

/** A new buffer of a program under construction that no node stands for (partial sums of a split kernel). */
export interface Launches {
  readonly launches: readonly Fused[];
  /** Length and dtype of buffers that are not nodes, by number. */
  readonly extra: ReadonlyMap<number, Pick<ProgramBuffer, "length" | "dtype">>;
}

/** When a buffer is in use: from one launch to another, both included. */
interface Lifetime {
  readonly first: number;
  last: number;
}

/** Lays out the memory of a program. Inputs that no kernel reads and outputs that are inputs keep their places. */
export function plan(graph: Graph, { launches, extra }: Launches): Program {
  const buffers: ProgramBuffer[] = [];
  const places = new Map<number, number>();
  const declare = (buffer: number, place: ProgramBuffer["place"]): void => {
    const { length, dtype } = describe(buffer);
    places.set(buffer, buffers.push({ length, dtype, place }) - 1);
  };
  const describe = (buffer: number): Pick<ProgramBuffer, "length" | "dtype"> => {
    const node = graph.nodes[buffer];
    return extra.get(buffer) ?? { length: points(node!.shape), dtype: node!.dtype };
  };
  graph.inputs.forEach((node, index) => declare(node, { kind: "input", index }));
  graph.outputs.forEach((node, index) => {
    if (!places.has(node)) declare(node, { kind: "output", index });
  });

  const lifetimes = new Map<number, Lifetime>();
  launches.forEach(({ inputs, outputs }, time) => {
    // Nothing writes an empty intermediate, so that it first appears where it is read.
    for (const buffer of [...outputs, ...inputs]) {
      const known = lifetimes.get(buffer);
      if (known !== undefined) known.last = time;
      else if (!places.has(buffer)) lifetimes.set(buffer, { first: time, last: time });
    }
  });
  const temporaries = [...lifetimes].map(([buffer, lifetime]) => ({
    buffer,
    bytes: 4 * describe(buffer).length,
    ...lifetime,
  }));
  const { slots, slotOf } = shareSlots(temporaries);
  for (const { buffer } of temporaries) {
    declare(buffer, { kind: "temporary", index: slotOf.get(buffer)! });
  }
  const placesOf = (list: readonly number[]): number[] => list.map((buffer) => places.get(buffer)!);
  return {
    buffers,
    launches: launches.map(({ kernel, inputs, outputs }) => ({
      kernel,
      inputs: placesOf(inputs),
      outputs: placesOf(outputs),
    })),
    slots,
  };
}

/** A buffer that needs a slot. */
interface Temporary extends Lifetime {
  readonly buffer: number;
  readonly bytes: number;
}

/** Gives every buffer, from the largest on, the smallest slot that nobody uses during its lifetime, or a new one. */
function shareSlots(temporaries: readonly Temporary[]): { slots: number[]; slotOf: Map<number, number> } {
  const slots: number[] = [];
  const users: Lifetime[][] = [];
  const slotOf = new Map<number, number>();
  for (const { buffer, bytes, first, last } of temporaries.toSorted((a, b) => b.bytes - a.bytes)) {
    // Slots are made in the order of their sizes, so that the last one that is free is the smallest.
    let slot = users.findLastIndex((lifetimes) =>
      lifetimes.every((other) => other.last < first || last < other.first)
    );
    if (slot < 0) {
      slot = slots.push(bytes) - 1;
      users.push([]);
    }
    users[slot]!.push({ first, last });
    slotOf.set(buffer, slot);
  }
  return { slots, slotOf };
}
