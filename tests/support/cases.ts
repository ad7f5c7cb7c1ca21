/** All cases of the laws: the samples of every primitive, and a few calls of every composed operation. */
import { type Primitive, primitives } from "../../src/primitive.ts";
import { makeNode } from "../../src/tensor.ts";
import type { Case } from "./laws.ts";
import "../../ops/mod.ts";
import "../../src/transforms/checkpoint.ts";
import "../../src/transforms/custom.ts";
import "../../src/transforms/scan.ts";

/** Primitives of the graph itself and of the transforms, which have tests of their own. */
export const structural: readonly string[] = [
  "alias",
  "pick",
  "stopGradient",
  "copy",
  "barrier",
  "everywhere",
  "checkpoint",
  "customVjp",
  "jit",
  "scan",
  // What contract and conv2d become before they are compiled: the tests of those run them.
  "contraction",
  "convolution",
];

/** The samples of a primitive as cases. */
export function primitiveCases(op: Primitive): Case[] {
  return op.samples.map(({ inputs, params }) => ({
    name: op.name,
    inputs,
    call: (...given) => makeNode(op, given, params),
  }));
}

/** Every primitive that is an operation. */
export function operations(): Primitive[] {
  return primitives().filter(({ name }) => !structural.includes(name));
}
