/**
 * What a weight file holds, as plain objects: nested dictionaries with arrays at their leaves.
 *
 * @module
 */
import { type ArrayEntry, FileFormatError } from "./array.ts";

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

/** More names than any file of weights has; shared dictionaries could make exponentially many. */
const MAX_ENTRIES = 1_000_000;

/** Keys under which training programs keep the weights, in the order in which they are tried. */
const STATE_DICT_KEYS = ["state_dict", "model_state_dict", "model", "params", "weights", "net", "module"];

/** Whether a value is an array. */
export function isArrayEntry(value: WeightValue | undefined): value is ArrayEntry {
  return typeof value === "object" && value !== null && "dtype" in value && "data" in value &&
    ArrayBuffer.isView(value.data);
}

/**
 * All arrays of a tree by their path, whose parts are joined by dots.
 *
 * @throws {FileFormatError} If two arrays have the same path.
 */
export function flattenTree(tree: WeightTree): Map<string, ArrayEntry> {
  const entries = new Map<string, ArrayEntry>();
  // A stack of its own, since a hostile file may be nested deeply; the last element comes first.
  const pending: [string, WeightValue][] = childrenOf("", tree).reverse();
  for (let next = pending.pop(); next; next = pending.pop()) {
    const [path, value] = next;
    if (isArrayEntry(value)) {
      if (entries.has(path)) {
        throw new FileFormatError(`Cannot read the weights: two arrays are named ${path}`);
      }
      entries.set(path, value);
    } else {
      for (const child of childrenOf(path, value).reverse()) pending.push(child);
    }
    if (entries.size + pending.length > MAX_ENTRIES) {
      throw new FileFormatError(`Cannot read the weights: there are more than ${MAX_ENTRIES} names`);
    }
  }
  return entries;
}

/**
 * Finds the parameters of a model in a checkpoint.
 *
 * Goes into `state_dict`, `model` and the like as long as they hold arrays, and into a dictionary that is the only one
 * with arrays; then takes every array by its path. A prefix `module.`, which data-parallel training adds, is removed if
 * all names have it.
 *
 * @param tree What `readWeights` gave.
 * @returns The arrays by their names in the model.
 *
 * @example A checkpoint of data-parallel training
 * ```ts
 * import { findStateDict } from "./tree.ts";
 * import { assertEquals } from "@std/assert";
 * const bias = { shape: [1], dtype: "f32", data: new Float32Array(1) } as const;
 * assertEquals([...findStateDict({ epoch: 3, model: { "module.bias": bias } }).keys()], ["bias"]);
 * ```
 */
export function findStateDict(tree: WeightTree): Map<string, ArrayEntry> {
  let found = tree;
  for (let next: WeightTree | undefined = tree; next; next = innerDict(next)) found = next;
  let entries = flattenTree(found);
  while (entries.size > 0 && [...entries.keys()].every((name) => name.startsWith("module."))) {
    entries = new Map([...entries].map(([name, entry]) => [name.slice("module.".length), entry]));
  }
  return entries;
}

/** The dictionary inside `tree` that holds the parameters, if they do not lie in `tree` itself. */
function innerDict(tree: WeightTree): WeightTree | undefined {
  const inner = Object.entries(tree).filter(([, value]) => isTree(value) && holdsArrays(value));
  const named = STATE_DICT_KEYS.map((key) => inner.find(([name]) => name === key)).find((pair) => pair);
  if (named) return named[1] as WeightTree;
  if (Object.values(tree).some(isArrayEntry) || inner.length !== 1) return undefined;
  return inner[0]![1] as WeightTree;
}

function holdsArrays(tree: WeightTree): boolean {
  const seen = new Set<WeightValue>();
  const pending: WeightValue[] = [tree];
  while (pending.length > 0) {
    const value = pending.pop()!;
    if (isArrayEntry(value)) return true;
    if (seen.has(value)) continue;
    seen.add(value);
    for (const [, child] of childrenOf("", value)) pending.push(child);
  }
  return false;
}

function isTree(value: WeightValue): value is WeightTree {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value) &&
    !isArrayEntry(value);
}

function childrenOf(path: string, value: WeightValue): [string, WeightValue][] {
  if (!Array.isArray(value) && !isTree(value)) return [];
  const prefix = path === "" ? "" : `${path}.`;
  return Object.entries(value).map(([key, child]) => [prefix + key, child]);
}
