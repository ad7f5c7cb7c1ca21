/**
 * All operations: the primitives with their derivatives, batching rules and lowerings, and what is composed
 * of them.
 *
 * @module
 */
export type { TensorLike } from "./common.ts";
export * from "./create.ts";
export * from "./elementwise.ts";
export * from "./movement.ts";
export * from "./reduce.ts";
export * as random from "./random.ts";
