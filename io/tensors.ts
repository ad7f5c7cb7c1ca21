/**
 * Tensors from and to the arrays of weight files.
 *
 * @module
 */
import type { DType } from "../src/dtype.ts";
import { readAll } from "../src/evaluate.ts";
import { DTypeError, TreeError } from "../src/errors.ts";
import { type ArrayData, type ArrayEntry, isSize } from "../src/io/array.ts";
import { compareArrays, refuseMisfits } from "../src/io/fit.ts";
import { Tensor, tensor } from "../src/tensor.ts";
import { treeFlatten } from "../src/tree.ts";

/**
 * The arrays of a tree of tensors, ready for `writeSafetensors`. Each is named by its path in the tree: keys, and
 * places in arrays, joined by dots, as PyTorch names parameters.
 *
 * @param tree Plain objects and arrays with tensors at their leaves: parameters, optimiser states, or one tensor.
 * @returns The arrays by name, with the tensors' shapes and dtypes.
 * @throws {TreeError} If a leaf is no tensor, or two have the same name.
 *
 * @example Saving parameters and loading them again
 * ```ts
 * import { ones, tensor } from "@allspark/tensor";
 * import { fromArrays, readWeights, toArrays, writeSafetensors } from "@allspark/tensor/io";
 * import { assertEquals } from "@std/assert";
 *
 * const params = { layers: [{ weight: ones([2, 2]), bias: tensor([1, 2]) }] };
 * const path = await Deno.makeTempFile({ suffix: ".safetensors" });
 * await Deno.writeFile(path, writeSafetensors(await toArrays(params)));
 *
 * const { entries } = await readWeights(path);
 * assertEquals([...entries.keys()], ["layers.0.bias", "layers.0.weight"]);
 * const loaded = fromArrays(entries, params);
 * assertEquals(await loaded.layers[0]!.bias.toArray(), [1, 2]);
 * await Deno.remove(path);
 * ```
 */
export async function toArrays(tree: unknown): Promise<Map<string, ArrayEntry>> {
  const named = namedTensors(tree);
  const values = await readAll(Object.fromEntries(named.map(({ tensor }, k) => [k, tensor])));
  return new Map(named.map(({ name, tensor: { shape, dtype } }, k) => {
    const data = values[k]!;
    return [name, { shape: [...shape], dtype, data: dtype === "bool" ? Uint8Array.from(data) : data }];
  }));
}

/**
 * A tree of tensors from the arrays of a file, which must hold all of them and nothing else.
 *
 * @param arrays Arrays by name: `entries` of what `readWeights` gives, or what `findStateDict` found.
 * @param like A tree whose structure, shapes and dtypes the result has; its values are not looked at.
 * @returns A tree of the same structure.
 * @throws {FileFormatError} If arrays are missing, unexpected or of another shape; the message names them.
 * @throws {DTypeError} If a value does not fit the dtype that is wanted; see {@linkcode toTensor}.
 * @throws {TreeError} If a leaf of `like` is no tensor, or two have the same name.
 *
 * @example
 * ```ts
 * import { zeros } from "@allspark/tensor";
 * import { fromArrays } from "@allspark/tensor/io";
 * import { assertEquals } from "@std/assert";
 * const bias = { shape: [2], dtype: "f32", data: new Float32Array([1, 2]) } as const;
 * const params = fromArrays(new Map([["bias", bias]]), { bias: zeros([2]) });
 * assertEquals(await params.bias.toArray(), [1, 2]);
 * ```
 */
export function fromArrays<T>(arrays: ReadonlyMap<string, ArrayEntry>, like: T): T {
  const named = namedTensors(like);
  refuseMisfits(compareArrays(named.map(({ name, tensor: { shape } }) => ({ name, shape })), arrays));
  return treeFlatten(like).unflatten(
    named.map(({ name, tensor: { dtype } }) => toTensor(arrays.get(name)!, { dtype, name })),
  );
}

/**
 * A tensor from one array of a file. No value changes but for the rounding of f64 to f32: what the dtype cannot hold
 * is refused.
 *
 * @param entry The array.
 * @param options `dtype`: f32 for floating-point numbers, i32 and u32 for whole ones, bool for truth values when
 * absent. `name`: what to call the array in messages.
 * @returns A tensor of the array's shape.
 * @throws {DTypeError} If a value is none of the dtype: a fraction or too large for an integer, too large for f32.
 *
 * @example
 * ```ts
 * import { toTensor } from "@allspark/tensor/io";
 * import { assertEquals } from "@std/assert";
 * const counter = { shape: [], dtype: "i64", data: new BigInt64Array([7n]) } as const;
 * assertEquals(await toTensor(counter).item(), 7);
 * ```
 */
export function toTensor(
  entry: ArrayEntry,
  options: { readonly dtype?: DType; readonly name?: string } = {},
): Tensor {
  const { dtype = dtypeFor(entry), name = "the array" } = options;
  const { data, shape } = entry;
  const bad = firstUnfit(data, dtype);
  if (bad >= 0) {
    throw new DTypeError(
      `Cannot load ${name} as ${dtype}: element ${bad} is ${data[bad]}, which ${dtype} does not hold`,
    );
  }
  const isLarge = data instanceof BigInt64Array || data instanceof BigUint64Array;
  return tensor(isLarge ? Float64Array.from(data, Number) : data, { shape, dtype });
}

/** The place of the first value that would become another one, or -1. */
function firstUnfit(data: ArrayData, dtype: DType): number {
  // Most weights are f32 already.
  if (dtype === "f32" && data instanceof Float32Array) return -1;
  const fit = holds[dtype];
  for (let k = 0; k < data.length; k++) if (!fit(Number(data[k]), data)) return k;
  return -1;
}

/** Whether a dtype holds a value of some data. */
const holds: Record<DType, (value: number, data: ArrayData) => boolean> = {
  f32: (value, data) =>
    data instanceof Float64Array
      ? Number.isFinite(Math.fround(value)) === Number.isFinite(value)
      : Math.fround(value) === value && Math.abs(value) <= Number.MAX_SAFE_INTEGER,
  i32: (value) => Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31,
  u32: (value) => isSize(value) && value < 2 ** 32,
  bool: (value) => value === 0 || value === 1,
};

function dtypeFor({ dtype }: ArrayEntry): DType {
  if (dtype === "bool") return "bool";
  return dtype.startsWith("i") ? "i32" : dtype.startsWith("u") ? "u32" : "f32";
}

function namedTensors(tree: unknown): { name: string; tensor: Tensor }[] {
  const { leaves, paths } = treeFlatten(tree);
  const names = new Set<string>();
  return leaves.map((leaf, k) => {
    const name = paths[k]!.replace(/\[(\d+)\]/g, ".$1").replace(/^\./, "");
    if (!(leaf instanceof Tensor)) {
      throw new TreeError(
        `Cannot name the arrays of a tree: ${name || "the root"} is ${typeof leaf}; a tensor is required`,
      );
    }
    if (names.has(name)) throw new TreeError(`Cannot name the arrays of a tree: two are named ${name}`);
    names.add(name);
    return { name, tensor: leaf };
  });
}
