/**
 * All operations: the primitives with their derivatives, batching rules and lowerings, and what is composed
 * of them.
 *
 * @module
 */
// Tensors cannot be read without it.
import "../src/evaluate.ts";

export type { TensorLike } from "./common.ts";
export { type NestedArray, Tensor, type TensorOptions } from "../src/tensor.ts";
export type { DType, TensorData } from "../src/dtype.ts";
export * from "./create.ts";
export * from "./elementwise.ts";
export {
  broadcastTo,
  concat,
  expandDims,
  flip,
  moveAxis,
  pad,
  repeat,
  reshape,
  roll,
  slice,
  type SliceOptions,
  split,
  squeeze,
  stack,
  swapAxes,
  tile,
  transpose,
  tril,
  triu,
  type WindowOptions,
  windows,
} from "./movement.ts";
export * from "./reduce.ts";
export * as random from "./random.ts";
export * from "./attention.ts";
export { conv2d, convTranspose2d } from "./conv.ts";
export type { Pair } from "./conv_geometry.ts";
export { cumsum } from "./cumulative.ts";
export { dropout, dropout2d, type DropoutOptions, dropPath } from "./dropout.ts";
export { einsum } from "./einsum.ts";
export { oneHot, take, takeAlongAxis } from "./indexing.ts";
export * from "./losses.ts";
export * from "./matmul.ts";
export * from "./nn.ts";
export * from "./normalize.ts";
export * from "./pool.ts";
export * from "./resize.ts";
export { scatter } from "./scatter.ts";
export * from "./sort.ts";
