/**
 * Tensors, functional autodiff and a compiler for WebGPU and the CPU.
 *
 * - **Tensors** are immutable and lazy: {@linkcode tensor} makes one, operations build a graph, and
 *   `await x.data()` (or {@linkcode realize}, {@linkcode readAll}) evaluates it.
 * - **Operations** are free functions named as in NumPy, JAX and PyTorch: {@linkcode add}, {@linkcode matmul},
 *   {@linkcode conv2d}, {@linkcode softmax}; random numbers come from explicit keys, {@linkcode random}.
 * - **Transforms** turn functions into functions, and nest: {@linkcode grad}, {@linkcode vjp}, {@linkcode jvp},
 *   {@linkcode vmap}, {@linkcode jit}, {@linkcode checkpoint}, {@linkcode scan}.
 * - **Models** are pure functions of parameters and states; **optimisers** are pairs of pure functions.
 *
 * @example A derivative, compiled
 * ```ts
 * import { grad, jit, square, sum, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 *
 * const slope = jit(grad((x: ReturnType<typeof tensor>) => sum(square(x))));
 * assertEquals(await slope(tensor([1, 2, 3])).toArray(), [2, 4, 6]);
 * ```
 *
 * @module
 */
export { type NestedArray, Tensor, type TensorOptions } from "./src/tensor.ts";
export { type DType, type TensorData } from "./src/dtype.ts";
export * from "./src/errors.ts";
export {
  type Tree,
  treeFlatten,
  treeLeaves,
  treeMap,
  treeMap2,
  treeStructure,
  treeTensors,
} from "./src/tree.ts";
export { type CompileProgress, dispose, onCompile, readAll, realize, type Values } from "./src/evaluate.ts";
export { describeDevice, device, type DeviceName, memory, setDevice } from "./src/device.ts";
export { type MemoryStats } from "./src/compiler/backend.ts";
export * from "./src/transforms/mod.ts";
export * from "./ops/mod.ts";
export * from "./models/mod.ts";
export * from "./src/optim/optimizers.ts";
export * from "./src/optim/schedules.ts";
