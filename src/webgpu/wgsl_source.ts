/**
 * The text of a shader from its parts.
 *
 * @module
 */
import type { ShaderParts, Variable } from "./schedule.ts";

/** The whole source. WGSL allows any order of functions. */
export function shaderText({ bindings, shared, functions, body, workgroup }: ShaderParts): string {
  return [
    ...bindings.map(declaration),
    ...shared,
    ...functions,
    `@compute @workgroup_size(${workgroup})`,
    "fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {",
    ...body.map((line) => `  ${line}`),
    "}",
    "",
  ].join("\n");
}

function declaration({ access, name, type, words }: Variable, place: number): string {
  const binding = `@group(0) @binding(${place})`;
  // An array of uniforms has a length.
  if (access === "uniform") {
    return `${binding} var<uniform> ${name}: array<${type}, ${Math.ceil(words!.length / 4)}>;`;
  }
  return `${binding} var<storage, ${access}> ${name}: array<${type}>;`;
}
