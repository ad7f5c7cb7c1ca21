/** Runs graphs through the compiler without a device, next to the float64 reference. */
import { assert } from "@std/assert";
import { interpretProgram } from "../../src/compiler/interpret.ts";
import type { Program } from "../../src/compiler/kernel.ts";
import { fewThreads, type ReductionLimits } from "../../src/compiler/split.ts";
import { lower } from "../../src/programs.ts";
import { buildGraph } from "../../src/graph.ts";
import { interpretGraph } from "../../src/reference.ts";
import type { Tensor } from "../../src/tensor.ts";

/** Options of the compiler that a device would give. */
export interface Target {
  readonly packsOperands: boolean;
  readonly reductions: ReductionLimits;
}

/** Compiles and interprets; asserts agreement with the reference; returns the program. */
export function checkLowering(
  outputs: readonly Tensor[],
  target: Target = { packsOperands: true, reductions: fewThreads },
  tolerance = 1e-5,
): Program {
  const { graph, leaves } = buildGraph(outputs);
  const expected = interpretGraph(
    graph,
    leaves.map((leaf) => ({ shape: leaf.shape, data: Float64Array.from(leaf.host!) })),
  );
  const program = lower(graph, target);
  const actual = interpretProgram(program, leaves.map((leaf) => leaf.host!));
  expected.forEach(({ data }, k) => {
    assert(
      actual[k]!.length === data.length,
      `output ${k} has ${actual[k]!.length} elements, not ${data.length}`,
    );
    data.forEach((value, i) => {
      const got = actual[k]![i]!;
      const near = Object.is(value, got) || value === got ||
        Math.abs(value - got) <= tolerance * Math.max(1, Math.abs(value)) ||
        (Number.isNaN(value) && Number.isNaN(got));
      assert(near, `output ${k} element ${i} is ${got}, not ${value}`);
    });
  });
  return program;
}
