/**
 * What a weight file holds, as plain objects: nested dictionaries with arrays at their leaves.
 *
 * @module
 */
import { type ArrayEntry, arrayType, elementCount, isArrayDType, isShape } from "./array.ts";
import { ARRAY_BYTES, Budget, VALUE_BYTES } from "./budget.ts";
import { FileFormatError, shown } from "./errors.ts";

/** A value in a weight file. */
export type WeightValue =
  | ArrayEntry
  | WeightTree
  | readonly WeightValue[]
  | Uint8Array
  | string
  | number
  | bigint
  | boolean
  | null;

/** A dictionary in a weight file. */
export interface WeightTree {
  /** The value of each key; keys that are not texts in the file are written as text. */
  readonly [key: string]: WeightValue;
}

/**
 * Whether a value is an array: a shape, a dtype, and data of that type and size.
 *
 * @param value A value of a weight file.
 *
 * @example
 * ```ts
 * import { isArrayEntry } from "@allspark/tensor/io";
 * import { assertEquals } from "@std/assert";
 * assertEquals(isArrayEntry({ shape: [1], dtype: "f32", data: new Float32Array(1) }), true);
 * assertEquals(isArrayEntry({ epoch: 3 }), false);
 * ```
 */
export function isArrayEntry(value: WeightValue | undefined): value is ArrayEntry {
  if (typeof value !== "object" || value === null || !("data" in value)) return false;
  // A dictionary of a file may have just these keys, so all that an array is gets looked at.
  const { shape, dtype, data } = value as { readonly [key: string]: unknown };
  return isArrayDType(dtype) && isShape(shape) && ArrayBuffer.isView(data) &&
    data.constructor === arrayType(dtype) && (data as Uint8Array).length === elementCount(shape);
}

/** Whether a value is a dictionary. */
export function isTree(value: WeightValue | undefined): value is WeightTree {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value) &&
    !isArrayEntry(value);
}

/**
 * All arrays of a tree by their path: keys, and places in lists, joined by dots.
 *
 * @param tree What `readWeights` gave, or a tree of your own.
 * @throws {FileFormatError} If two arrays have the same path.
 *
 * @example
 * ```ts
 * import { flattenTree } from "@allspark/tensor/io";
 * import { assertEquals } from "@std/assert";
 * const bias = { shape: [1], dtype: "f32", data: new Float32Array(1) } as const;
 * assertEquals([...flattenTree({ epoch: 3, layers: [{ bias }, { bias }] }).keys()], ["layers.0.bias", "layers.1.bias"]);
 * ```
 */
export function flattenTree(tree: WeightTree): Map<string, ArrayEntry> {
  // What comes from a file has been counted when it was read.
  return arraysByPath(tree, new Budget(0, Infinity));
}

/** {@linkcode flattenTree} for what a file may still cost. */
export function arraysByPath(tree: WeightTree, budget: Budget): Map<string, ArrayEntry> {
  const holders = arrayHolders(tree);
  const entries = new Map<string, ArrayEntry>();
  const visit = (path: string, value: WeightValue): void => {
    // A list that stands at several places is walked, and its arrays have a name, at each.
    budget.spend(VALUE_BYTES);
    if (holders.has(value)) {
      const prefix = path === "" ? "" : `${path}.`;
      forEachChild(value, (key, child) => visit(prefix + key, child));
    } else if (isArrayEntry(value)) {
      budget.spend(ARRAY_BYTES + 2 * path.length);
      if (entries.has(path)) {
        throw new FileFormatError(`Cannot read the weights: two arrays are named ${shown(path)}`);
      }
      entries.set(path, value);
    }
  };
  visit("", tree);
  return entries;
}

/** The dictionaries and lists that have an array in them, however deep; each is looked at once. */
export function arrayHolders(tree: WeightValue): ReadonlySet<WeightValue> {
  const seen = new Set<WeightValue>();
  const holders = new Set<WeightValue>();
  const visit = (value: WeightValue): boolean => {
    if (isArrayEntry(value)) return true;
    if (typeof value !== "object" || value === null || seen.has(value)) return holders.has(value);
    seen.add(value);
    forEachChild(value, (_, child) => {
      if (visit(child)) holders.add(value);
    });
    return holders.has(value);
  };
  visit(tree);
  return holders;
}

function forEachChild(value: WeightValue, f: (key: string | number, child: WeightValue) => void): void {
  if (Array.isArray(value)) value.forEach((child, place) => f(place, child));
  else if (isTree(value)) { for (const key of Object.keys(value)) f(key, value[key]!); }
}
