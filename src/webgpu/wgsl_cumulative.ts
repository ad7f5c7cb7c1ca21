/**
 * Running sums. Long ones in three passes: sums of blocks, running sums of those, running sums in the blocks.
 *
 * @module
 */
import type { Cumulative } from "../compiler/kernel.ts";
import type { DType } from "../dtype.ts";
import {
  type Binding,
  checkTurns,
  type Dispatch,
  type Family,
  parametersOf,
  type Schedule,
} from "./schedule.ts";
import { Shader } from "./wgsl.ts";
import { literal } from "./wgsl_math.ts";

/** Up to this length one invocation goes through all of it. */
const longestSerial = 512;

const input: Binding = { kind: "input", index: 0, access: "read" };
const output: Binding = { kind: "output", index: 0, access: "read_write" };

/** The dispatches of a running sum. */
export function cumulate(kernel: Cumulative, family: Family): Schedule {
  const { outer, size, innerSize } = kernel;
  if (outer * size * innerSize === 0) return { dispatches: [], scratch: [] };
  if (size <= longestSerial) {
    return {
      dispatches: [walkBlocks(kernel, { block: size, blocks: 1, family, writes: true })],
      scratch: [],
    };
  }
  const block = Math.ceil(Math.sqrt(size));
  const blocks = Math.ceil(size / block);
  return {
    dispatches: [
      walkBlocks(kernel, { block, blocks, family, writes: false }),
      joinBlocks(kernel, blocks, family),
      walkBlocks(kernel, { block, blocks, family, writes: true }),
    ],
    scratch: [outer * blocks * innerSize],
  };
}

/** One invocation per block: either its sum to scratch, or its running sum to the output. */
function walkBlocks(
  kernel: Cumulative,
  { block, blocks, family, writes }: { block: number; blocks: number; family: Family; writes: boolean },
): Dispatch {
  const { outer, size, innerSize, inputs: [dtype] } = kernel;
  const shader = new Shader({ ...kernel, workgroup: 64, parameters: parametersOf(family) });
  const source = shader.bind(input, dtype, 1, "source");
  const sums = blocks === 1
    ? undefined
    : shader.bind({ kind: "scratch", index: 0, access: writes ? "read" : "read_write" }, dtype, 1, "sums");
  const lane = shader.begin(outer * blocks * innerSize);
  const lines = shader.body.lines;
  lines.push(
    `let i = ${lane} % ${innerSize}u;`,
    `let b = (${lane} / ${innerSize}u) % ${blocks}u;`,
    `let o = ${lane} / ${innerSize * blocks}u;`,
    `let first = b * ${block}u;`,
    `let end = min(first + ${block}u, ${size}u);`,
    `var at = (o * ${size}u + first) * ${innerSize}u + i;`,
    `var sum = ${writes && sums !== undefined ? `${sums}[${lane}]` : literal(0, dtype)};`,
    ...lostVariable(dtype),
    "for (var k = first; k < end; k++) {",
    ...addition(shader, dtype, `${source}[at]`),
  );
  if (writes) lines.push(`  ${shader.bind(output, dtype, 1, "result")}[at] = sum;`);
  lines.push(`  at += ${innerSize}u;`, "}");
  if (!writes) lines.push(`${sums}[${lane}] = sum;`);
  return shader.finish(checkTurns(kernel.label, block, family));
}

/** The sums of blocks become the sums of all blocks before. */
function joinBlocks(kernel: Cumulative, blocks: number, family: Family): Dispatch {
  const { outer, innerSize, inputs: [dtype] } = kernel;
  const shader = new Shader({ ...kernel, workgroup: 64, parameters: parametersOf(family) });
  const sums = shader.bind({ kind: "scratch", index: 0, access: "read_write" }, dtype, 1, "sums");
  const lane = shader.begin(outer * innerSize);
  shader.body.lines.push(
    `var at = (${lane} / ${innerSize}u) * ${blocks * innerSize}u + ${lane} % ${innerSize}u;`,
    `var sum = ${literal(0, dtype)};`,
    ...lostVariable(dtype),
    `for (var k = 0u; k < ${blocks}u; k++) {`,
    `  let own = ${sums}[at];`,
    `  ${sums}[at] = sum;`,
    ...addition(shader, dtype, "own"),
    `  at += ${innerSize}u;`,
    "}",
  );
  return shader.finish(checkTurns(kernel.label, blocks, family));
}

/** What a sum of f32 has lost in rounding, so far. */
function lostVariable(dtype: DType): string[] {
  return dtype === "f32" ? ["var lost = 0.0f;"] : [];
}

/** `sum += value`, to which the digits that the last addition lost are given back (Kahan 1965). */
function addition(shader: Shader, dtype: DType, value: string): string[] {
  if (dtype !== "f32") return [`  sum += ${value};`];
  return [
    `  let more = ${value} - lost;`,
    `  let next = ${shader.hidden("sum + more", 1)};`,
    // Beyond the largest float there is nothing to give back.
    `  lost = select(0.0f, (next - sum) - more, ${shader.helpers.use("isFinite", 1)}(next));`,
    "  sum = next;",
  ];
}
