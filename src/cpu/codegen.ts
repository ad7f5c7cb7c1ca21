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
