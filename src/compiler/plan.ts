/**
 * From kernels to a program: every intermediate gets a slot of temporary memory that it shares with others
 * whose lifetimes do not overlap.
 *
 * @module
 */
import type { Graph } from "../graph.ts";
import type { Fused } from "./fuse.ts";
import { type Launch, points, type Program, type ProgramBuffer } from "./kernel.ts";

/** A new buffer of a program under construction that no node stands for (partial sums of a split kernel). */
export interface Launches {
  readonly launches: readonly Fused[];
  /** Length and dtype of buffers that are not nodes, by number. */
  readonly extra: ReadonlyMap<number, Pick<ProgramBuffer, "length" | "dtype">>;
}

/** Lays out the memory of a program. Inputs that no kernel reads and outputs that are inputs keep their places. */
export function plan(graph: Graph, { launches, extra }: Launches): Program {
  const lastUse = new Map<number, number>();
  launches.forEach((launch, time) =>
    [...launch.inputs, ...launch.outputs].forEach((buffer) => lastUse.set(buffer, time))
  );
  const slots: number[] = [];
  const free: number[] = [];
  const buffers: ProgramBuffer[] = [];
  const places = new Map<number, number>();
  const slotOf = new Map<number, number>();

  const declare = (buffer: number, place: ProgramBuffer["place"]): void => {
    const node = graph.nodes[buffer];
    const { length, dtype } = extra.get(buffer) ?? { length: points(node!.shape), dtype: node!.dtype };
    places.set(buffer, buffers.push({ length, dtype, place }) - 1);
  };
  graph.inputs.forEach((node, index) => declare(node, { kind: "input", index }));
  graph.outputs.forEach((node, index) => {
    if (!places.has(node)) declare(node, { kind: "output", index });
  });

  const result: Launch[] = launches.map((launch, time) => {
    // Nothing writes an empty intermediate, so that it first appears where it is read.
    for (const buffer of [...launch.outputs, ...launch.inputs]) {
      if (places.has(buffer)) continue;
      const bytes = 4 * (extra.get(buffer)?.length ?? points(graph.nodes[buffer]!.shape));
      const slot = takeSlot(slots, free, bytes);
      slotOf.set(buffer, slot);
      declare(buffer, { kind: "temporary", index: slot });
    }
    for (const buffer of new Set([...launch.inputs, ...launch.outputs])) {
      const slot = slotOf.get(buffer);
      if (slot !== undefined && lastUse.get(buffer) === time) free.push(slot);
    }
    return {
      kernel: launch.kernel,
      inputs: launch.inputs.map((buffer) => places.get(buffer)!),
      outputs: launch.outputs.map((buffer) => places.get(buffer)!),
    };
  });
  return { buffers, launches: result, slots };
}

/** Buffers up to this size share slots of up to four times as much, so that there are not many small ones. */
const smallBuffer = 65536;

/**
 * The free slot that fits best: the smallest that is large enough, else the largest, which grows. One that is much
 * too large is left for a buffer that needs it.
 */
function takeSlot(slots: number[], free: number[], bytes: number): number {
  let best = -1;
  for (let k = 0; k < free.length; k++) {
    const size = slots[free[k]!]!;
    const bestSize = best < 0 ? -1 : slots[free[best]!]!;
    if (
      best < 0 || (size >= bytes ? bestSize < bytes || size < bestSize : bestSize < bytes && size > bestSize)
    ) best = k;
  }
  if (best < 0 || slots[free[best]!]! > 4 * Math.max(bytes, smallBuffer)) return slots.push(bytes) - 1;
  const [slot] = free.splice(best, 1);
  slots[slot!] = Math.max(slots[slot!]!, bytes);
  return slot!;
}
