/**
 * Weight files: read safetensors, PyTorch's `.pth` and NumPy's `.npy` and `.npz`, write safetensors and `.npy`, and
 * turn trees of tensors into arrays and back.
 *
 * Nothing in a file is ever executed, and what it describes is counted before memory is taken: whatever a file holds,
 * reading it ends in values or in one {@linkcode FileFormatError}.
 *
 * @example Weights of your own: to a file and back
 * ```ts
 * import { random, zeros } from "@allspark/tensor";
 * import { fromArrays, readWeights, toArrays, writeSafetensors } from "@allspark/tensor/io";
 * import { assertEquals } from "@std/assert";
 *
 * const params = { weight: random.normal(random.key(0), [3, 2]), bias: zeros([2]) };
 * const path = await Deno.makeTempFile({ suffix: ".safetensors" });
 * await Deno.writeFile(path, writeSafetensors(await toArrays(params)));
 *
 * const loaded = fromArrays((await readWeights(path)).entries, params);
 * assertEquals(await loaded.weight.toArray(), await params.weight.toArray());
 * await Deno.remove(path);
 * ```
 *
 * @example Weights of others: one array of a training checkpoint
 * ```ts
 * import { findStateDict, readWeights, toTensor, writeSafetensors } from "@allspark/tensor/io";
 * import { assertEquals } from "@std/assert";
 *
 * const bias = { shape: [2], dtype: "f32", data: new Float32Array([1, 2]) } as const;
 * const file = await readWeights(writeSafetensors(new Map([["module.head.bias", bias]])));
 * const weights = findStateDict(file.tree); // without `module.` and the like
 * assertEquals(await toTensor(weights.get("head.bias")!).toArray(), [1, 2]);
 * ```
 *
 * @module
 */
export {
  type ArrayData,
  type ArrayDType,
  type ArrayEntry,
  FileFormatError,
  type FindOptions,
  findStateDict,
  flattenTree,
  isArrayEntry,
  type ReadOptions,
  readWeights,
  toFloat32,
  type WeightFile,
  type WeightTree,
  type WeightValue,
  writeNpy,
  writeSafetensors,
} from "../src/io/mod.ts";
export { fromArrays, toArrays, toTensor } from "./tensors.ts";
