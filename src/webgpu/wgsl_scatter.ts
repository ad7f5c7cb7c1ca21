/**
 * Scatter without atomics, so that sums have one order: every element of the output looks for its updates. It
 * goes through all of them where they are few; otherwise they are sorted by index and it goes through its own.
 *
 * @module
 */
import type { Scatter } from "../compiler/kernel.ts";
import { type Binding, checkTurns, type Dispatch, type Family, type Schedule } from "./schedule.ts";
import { Shader } from "./wgsl.ts";
import { sortSteps } from "./wgsl_sort.ts";

/** Up to this many updates, or steps in all, every element goes through every update. */
const fewUpdates = 32;
const fewSteps = 2 ** 22;
/** Updates of one element that one pass adds. */
const perPass = 32768;

const indices: Binding = { kind: "input", index: 1, access: "read" };

/** The dispatches of a scatter. */
export function scatter(kernel: Scatter, family: Family): Schedule {
  const { outer, size, count, innerSize } = kernel;
  const elements = outer * size * innerSize;
  if (elements === 0) return { dispatches: [], scratch: [] };
  if (count <= fewUpdates || (elements * count <= fewSteps && count <= perPass)) {
    return { dispatches: [searchAll(kernel, family)], scratch: [] };
  }
  // Scratch: 0 the order, 1 and 2 for sorting, 3 the indices of each column side by side.
  const rows = outer * innerSize;
  const isTransposed = innerSize > 1;
  const keys: Binding = isTransposed ? { kind: "scratch", index: 3, access: "read" } : indices;
  const passes = kernel.mode === "set" ? 1 : Math.ceil(count / perPass);
  return {
    dispatches: [
      ...(isTransposed ? [transpose(kernel)] : []),
      ...sortSteps({
        label: kernel.label,
        rows,
        size: count,
        dtype: "i32",
        descending: false,
        keys,
        result: { kind: "scratch", index: 0, access: "read_write" },
        scratch: [1, 2],
      }, family),
      ...Array.from({ length: passes }, (_, pass) => takeOwn(kernel, keys, pass, family)),
    ],
    scratch: [rows * count, rows * count, rows * count, isTransposed ? rows * count : 1],
  };
}

function start(kernel: Scatter): { shader: Shader; base: string; updates: string; result: string } {
  const shader = new Shader({ ...kernel, workgroup: 64 });
  const [base, , updates] = kernel.inputs;
  return {
    shader,
    base: shader.bind({ kind: "input", index: 0, access: "read" }, base, 1, "base"),
    updates: shader.bind({ kind: "input", index: 2, access: "read" }, updates, 1, "updates"),
    result: shader.bind({ kind: "output", index: 0, access: "read_write" }, kernel.outputs[0], 1, "result"),
  };
}

/** Coordinates `o`, `j` and `i` of the output element of an invocation. */
function coordinates(lane: string, { size, innerSize }: Scatter): string[] {
  return [
    `let i = ${lane} % ${innerSize}u;`,
    `let j = i32((${lane} / ${innerSize}u) % ${size}u);`,
    `let o = ${lane} / ${innerSize * size}u;`,
  ];
}

function combined(kernel: Scatter, update: string): string {
  if (kernel.mode === "set") return `value = ${update};`;
  return kernel.outputs[0] === "bool" ? `value |= ${update};` : `value += ${update};`;
}

function searchAll(kernel: Scatter, family: Family): Dispatch {
  const { outer, size, count, innerSize } = kernel;
  const { shader, base, updates, result } = start(kernel);
  const index = shader.bind(indices, "i32", 1, "indices");
  const lane = shader.begin(outer * size * innerSize);
  shader.body.lines.push(
    ...coordinates(lane, kernel),
    `var value = ${base}[${lane}];`,
    `var at = o * ${count * innerSize}u + i;`,
    `for (var m = 0u; m < ${count}u; m++) {`,
    `  if (${index}[at] == j) { ${combined(kernel, `${updates}[at]`)} }`,
    `  at += ${innerSize}u;`,
    "}",
    `${result}[${lane}] = value;`,
  );
  return shader.finish(checkTurns(kernel.label, count, family));
}

/** Indices `[outer, count, innerSize]` to `[outer, innerSize, count]`. */
function transpose(kernel: Scatter): Dispatch {
  const { outer, count, innerSize } = kernel;
  const shader = new Shader({ ...kernel, workgroup: 64 });
  const from = shader.bind(indices, "i32", 1, "indices");
  const to = shader.bind({ kind: "scratch", index: 3, access: "read_write" }, "i32", 1, "columns");
  const lane = shader.begin(outer * innerSize * count);
  shader.body.lines.push(
    `let m = ${lane} % ${count}u;`,
    `let i = (${lane} / ${count}u) % ${innerSize}u;`,
    `let o = ${lane} / ${count * innerSize}u;`,
    `${to}[${lane}] = ${from}[(o * ${count}u + m) * ${innerSize}u + i];`,
  );
  return shader.finish(0);
}

/** Every element finds its first update among the sorted ones and goes on from there. */
function takeOwn(kernel: Scatter, keys: Binding, pass: number, family: Family): Dispatch {
  const { outer, size, count, innerSize } = kernel;
  const { shader, base, updates, result } = start(kernel);
  const key = shader.bind(keys, "i32", 1, "keys");
  const order = shader.bind({ kind: "scratch", index: 0, access: "read" }, "i32", 1, "order");
  const lane = shader.begin(outer * size * innerSize);
  const sorted = (place: string): string => `${key}[row + u32(${order}[row + ${place}])]`;
  const update = `${updates}[(o * ${count}u + u32(${order}[row + low])) * ${innerSize}u + i]`;
  const lines = shader.body.lines;
  lines.push(
    ...coordinates(lane, kernel),
    `let row = (o * ${innerSize}u + i) * ${count}u;`,
    `var value = ${pass === 0 ? base : result}[${lane}];`,
    "var low = 0u;",
    `var high = ${count}u;`,
    "while (low < high) {",
    "  let half = (low + high) / 2u;",
    // The first of its updates, or the place behind the last.
    `  if (${sorted("half")} ${
      kernel.mode === "set" ? "<=" : "<"
    } j) { low = half + 1u; } else { high = half; }`,
    "}",
  );
  if (kernel.mode === "set") {
    lines.push(
      "if (low > 0u) {",
      "  low--;",
      `  if (${sorted("low")} == j) { ${combined(kernel, update)} }`,
      "}",
    );
  } else {
    lines.push(
      `low += ${pass * perPass}u;`,
      `let end = min(low + ${perPass}u, ${count}u);`,
      `for (; low < end; low++) {`,
      `  if (${sorted("low")} != j) { break; }`,
      `  ${combined(kernel, update)}`,
      "}",
    );
  }
  lines.push(`${result}[${lane}] = value;`);
  return shader.finish(checkTurns(kernel.label, perPass, family));
}
