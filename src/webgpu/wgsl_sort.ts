/**
 * Stable argsort without atomics: every element finds its place in a short run by counting, then runs are
 * merged in pairs, where every element finds its place by binary search in the other run.
 *
 * Keys are compared as u32 in an order that puts NaN last.
 *
 * @module
 */
import type { DType } from "../dtype.ts";
import type { Sort } from "../compiler/kernel.ts";
import { type Binding, checkTurns, type Dispatch, type Family, type Schedule } from "./schedule.ts";
import { Shader } from "./wgsl.ts";

/** A sort as part of another kernel: where its keys are, where the result goes, and two scratch buffers. */
export interface SortPlan {
  readonly label: string;
  readonly rows: number;
  readonly size: number;
  readonly dtype: DType;
  readonly descending: boolean;
  readonly keys: Binding;
  readonly result: Binding;
  readonly scratch: readonly [number, number];
}

/** Up to this size counting is all there is to do. */
const longestCount = 256;
/** Length of the runs that are counted where merging follows. */
const runLength = 64;

/** The dispatches of an argsort. */
export function sort(kernel: Sort, family: Family): Schedule {
  const { rows, size } = kernel;
  if (rows * size === 0) return { dispatches: [], scratch: [] };
  const dispatches = sortSteps({
    ...kernel,
    dtype: kernel.inputs[0],
    keys: { kind: "input", index: 0, access: "read" },
    result: { kind: "output", index: 0, access: "read_write" },
    scratch: [0, 1],
  }, family);
  const scratch = dispatches.length > 1 ? [rows * size, dispatches.length > 2 ? rows * size : 1] : [];
  return { dispatches, scratch };
}

/** The steps of an argsort. */
export function sortSteps(plan: SortPlan, family: Family): Dispatch[] {
  const { size, result, scratch } = plan;
  const first = size <= longestCount ? size : runLength;
  const passes = Math.ceil(Math.log2(size / first));
  const target = (pass: number): Binding =>
    pass === passes ? result : { kind: "scratch", index: scratch[pass % 2]!, access: "read_write" };
  const steps = [countRuns(plan, first, target(0), family)];
  for (let pass = 1; pass <= passes; pass++) {
    const source: Binding = { ...target(pass - 1), access: "read" };
    steps.push(mergeRuns(plan, first * 2 ** (pass - 1), source, target(pass)));
  }
  return steps;
}

/** A shader with the keys bound, and a function `key(row, index)`. */
function sortShader({ label, size, dtype, descending, keys }: SortPlan): { shader: Shader; key: string } {
  const shader = new Shader({ label, inputs: [], outputs: [], workgroup: 64 });
  const array = shader.bind(keys, dtype, 1, "keys");
  const invert = descending ? "~" : "";
  const lines = {
    // Positive numbers above negative ones, whose order is reversed; −0 equals 0.
    f32: [
      `let value = ${array}[row * ${size}u + index];`,
      "let bits = select(bitcast<u32>(value), 0u, value == 0.0f);",
      "let ordered = select(bits | 0x80000000u, ~bits, bits >= 0x80000000u);",
      `return select(${invert}ordered, 0xffffffffu, (bits & 0x7fffffffu) > 0x7f800000u);`,
    ],
    i32: [`return ${invert}(bitcast<u32>(${array}[row * ${size}u + index]) ^ 0x80000000u);`],
    u32: [`return ${invert}${array}[row * ${size}u + index];`],
    bool: [`return ${invert}${array}[row * ${size}u + index];`],
  }[dtype];
  return { shader, key: `fn key(row: u32, index: u32) -> u32 {\n  ${lines.join("\n  ")}\n}` };
}

/** Every element counts those of its run that come before it. */
function countRuns(plan: SortPlan, run: number, target: Binding, family: Family): Dispatch {
  const { rows, size } = plan;
  const { shader, key } = sortShader(plan);
  const result = shader.bind(target, "i32", 1, "result");
  shader.functions.push(key);
  const lane = shader.begin(rows * size);
  shader.body.lines.push(
    `let row = ${lane} / ${size}u;`,
    `let index = ${lane} % ${size}u;`,
    `let first = index - index % ${run}u;`,
    `let end = min(first + ${run}u, ${size}u);`,
    "let own = key(row, index);",
    "var place = first;",
    "for (var k = first; k < end; k++) {",
    "  let other = key(row, k);",
    "  place += select(0u, 1u, other < own || (other == own && k < index));",
    "}",
    `${result}[row * ${size}u + place] = i32(index);`,
  );
  return shader.finish(checkTurns(plan.label, run, family));
}

/** Pairs of sorted runs of a length become one. The length is data, so that all passes share one shader. */
function mergeRuns(plan: SortPlan, length: number, source: Binding, target: Binding): Dispatch {
  const { rows, size } = plan;
  const { shader, key } = sortShader(plan);
  const order = shader.bind(source, "i32", 1, "order");
  const result = shader.bind(target, "i32", 1, "result");
  const constants = shader.bind(
    { kind: "constants", index: 0, access: "read", words: [length] },
    "u32",
    1,
    "constants",
  );
  shader.functions.push(key);
  const lane = shader.begin(rows * size);
  shader.body.lines.push(
    `let length = ${constants}[0];`,
    `let row = ${lane} / ${size}u;`,
    `let position = ${lane} % ${size}u;`,
    "let base = position - position % (2u * length);",
    `let middle = min(base + length, ${size}u);`,
    "let isLeft = position < middle;",
    `let index = ${order}[${lane}];`,
    "let own = key(row, u32(index));",
    "let first = select(base, middle, isLeft);",
    `var low = first;`,
    `var high = select(middle, min(middle + length, ${size}u), isLeft);`,
    "while (low < high) {",
    "  let half = (low + high) / 2u;",
    `  let other = key(row, u32(${order}[row * ${size}u + half]));`,
    // Of equal keys those of the left run come first.
    "  if (other < own || (other == own && !isLeft)) { low = half + 1u; } else { high = half; }",
    "}",
    "let place = select(base + (position - middle), position, isLeft) + (low - first);",
    `${result}[row * ${size}u + place] = index;`,
  );
  return shader.finish(Math.ceil(Math.log2(length)) + 1);
}
