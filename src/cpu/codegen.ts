/**
 * Kernels as WebAssembly modules: see `GeneratedKernel` for what a module exports. What a chunk does depends
 * on the kernel alone, never on the number of threads.
 *
 * @module
 */
import type { Kernel } from "../compiler/kernel.ts";
import { generateContraction } from "./contraction.ts";
import { generateFold } from "./fold.ts";
import { describeFold } from "./fold_plan.ts";
import { generateCumulative, generateScatter, generateSort } from "./special.ts";
import type { Features, GeneratedKernel } from "./protocol.ts";

/** Writes the module of a kernel. */
export function generate(kernel: Kernel, features: Features): GeneratedKernel {
  switch (kernel.kind) {
    case "fold":
      return generateFold(kernel, features);
    case "contraction":
      return generateContraction(kernel, features);
    case "cumulative":
      return generateCumulative(kernel, features);
    case "sort":
      return generateSort(kernel, features);
    case "scatter":
      return generateScatter(kernel, features);
  }
}

/** The loops of a kernel for a reader (`DEBUG=4`). */
export function describe(kernel: Kernel): string {
  const { kind, label } = kernel;
  switch (kind) {
    case "fold":
      return `fold ${label}: ${describeFold(kernel)}`;
    case "contraction": {
      const { batch, rows, columns, inner } = kernel;
      return `contraction ${label}: batch [${batch}], rows [${rows}], columns [${columns}], inner [${inner}]`;
    }
    case "sort":
      return `sort ${label}: ${kernel.rows} rows of ${kernel.size}`;
    default:
      return `${kind} ${label}: [${kernel.outer}, ${kernel.size}, ${kernel.innerSize}]`;
  }
}
