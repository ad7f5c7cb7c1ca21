/**
 * Programs and kernels as text, for people: what `DEBUG=1` shows.
 *
 * @module
 */
import type { Affine, Expr, Kernel, Program } from "./kernel.ts";

function printForm(form: Affine): string {
  const terms = form.coefficients.flatMap((c, k) => c === 0 ? [] : [c === 1 ? `a${k}` : `${c}·a${k}`]);
  if (form.offset !== 0 || terms.length === 0) terms.push(String(form.offset));
  return terms.join(" + ");
}

/** An expression on one line; shared parts are written out again. */
export function printExpr(expr: Expr, depth = 6): string {
  if (depth === 0) return "…";
  const go = (e: Expr): string => printExpr(e, depth - 1);
  switch (expr.kind) {
    case "constant":
      return String(expr.value);
    case "index":
      return `(${printForm(expr.form)})`;
    case "inside":
      return `inside(${expr.guards.map((guard) => `${printForm(guard.form)} < ${guard.size}`).join(", ")})`;
    case "load":
      return `in${expr.input}[${printForm(expr.at)}]${expr.guards.length > 0 ? "?" : ""}`;
    case "gather":
      return `in${expr.input}[${printForm(expr.at)} + ${expr.stride}·${go(expr.index)}]`;
    case "unary":
      return `${expr.op}(${go(expr.x)})`;
    case "binary":
      return `${expr.op}(${go(expr.a)}, ${go(expr.b)})`;
    case "select":
      return `select(${go(expr.condition)}, ${go(expr.a)}, ${go(expr.b)})`;
    case "cast":
    case "bitcast":
      return `${expr.kind}<${expr.dtype}>(${go(expr.x)})`;
    case "reduced":
      return `stage${expr.stage}`;
    case "accumulator":
      return "sum";
  }
}

/** A kernel on a few lines. */
export function printKernel(kernel: Kernel): string {
  switch (kernel.kind) {
    case "fold": {
      const stages = kernel.stages.map((stage, k) =>
        `\n      stage${k} = ${stage.combine} over [${stage.axes}] of ${printExpr(stage.value)}`
      );
      return `fold [${kernel.axes}]${stages.join("")}${printStores(kernel)}`;
    }
    case "contraction": {
      const { batch, rows, columns, inner } = kernel;
      return `contraction batch [${batch}] rows [${rows}] columns [${columns}] inner [${inner}]\n      left ${
        printExpr(kernel.left)
      }\n      right ${printExpr(kernel.right)}${printStores(kernel)}`;
    }
    case "cumulative":
      return `cumulative [${kernel.outer}, ${kernel.size}, ${kernel.innerSize}]`;
    case "sort":
      return `sort [${kernel.rows}, ${kernel.size}]${kernel.descending ? " descending" : ""}`;
    case "scatter":
      return `scatter ${kernel.mode} [${kernel.outer}, ${kernel.count} -> ${kernel.size}, ${kernel.innerSize}]`;
  }
}

function printStores(kernel: Kernel & { kind: "fold" | "contraction" }): string {
  return kernel.stores.map((store) =>
    `\n      out${store.output}[${printForm(store.at)}] = ${printExpr(store.value)}${
      store.axes.length > 0 ? ` over [${store.axes}]` : ""
    }`
  ).join("");
}

/** A program: its memory and its launches. */
export function printProgram(program: Program): string {
  const name = (k: number): string => {
    const { place, length } = program.buffers[k]!;
    return `${place.kind}${place.index}[${length}]`;
  };
  const bytes = program.slots.reduce((sum, slot) => sum + slot, 0);
  const lines = program.launches.map((launch, k) =>
    `${String(k).padStart(4)} ${launch.kernel.label}: ${launch.inputs.map(name).join(", ")} -> ${
      launch.outputs.map(name).join(", ")
    }\n      ${printKernel(launch.kernel)}`
  );
  return `program of ${program.launches.length} launches, ${program.slots.length} slots, ${
    (bytes / 2 ** 20).toFixed(1)
  } MiB of temporary memory\n${lines.join("\n")}`;
}
