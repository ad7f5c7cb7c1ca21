/**
 * From a contraction to its dispatches on a real GPU: by tiles where there is enough for them, and with the
 * inner axes in parts where there are too few results to keep the device busy.
 *
 * Parts depend on the sizes alone, never on the adapter or on measurements: they decide in which order a sum
 * is taken, and so its last bits.
 *
 * @module
 */
import { type Contraction, type Fold, points } from "../compiler/kernel.ts";
import { sumInParts } from "../compiler/split.ts";
import { orient } from "./contraction_plan.ts";
import { depth } from "./tiles.ts";

/** Results that keep a device busy: 1,024 workgroups with tiles of 32 by 32. */
const enoughResults = 2 ** 20;
/** Steps of the inner axes that a part has at least; and at most, since f32 forgets small terms of a long sum. */
const leastSteps = 256;
const mostSteps = 16384;

/** A contraction in parts: sums over a part of the inner axes go to scratch, and a fold adds them up. */
export interface Parts {
  /** Steps of each part but the last, which may have fewer. The part is the first batch axis of the kernel. */
  readonly steps: number;
  /** Reads the sums as the input after the kernel's own. */
  readonly fold: Fold;
  /** Elements of the scratch buffer, `[part, batch, rows, columns]`. */
  readonly length: number;
}

/** What tiles compute for a contraction: an oriented one, and if that is of parts, how they are joined. */
export function planForGpu(given: Contraction): { kernel: Contraction; parts: Parts | undefined } {
  const kernel = orient(given);
  const results = points(kernel.batch) * points(kernel.rows) * points(kernel.columns);
  const inner = points(kernel.inner);
  const busy = Math.floor(Math.min(enoughResults / results, inner / leastSteps));
  const wanted = Math.max(busy, Math.ceil(inner / mostSteps));
  if (wanted < 2) return { kernel, parts: undefined };
  const steps = Math.ceil(inner / wanted / depth) * depth;
  // Operands do not see the axis of the parts: tiles begin the sum where the part begins.
  const { sums, join, length } = sumInParts(kernel, Math.ceil(inner / steps), () => 0);
  return { kernel: sums, parts: { steps, fold: join, length } };
}
