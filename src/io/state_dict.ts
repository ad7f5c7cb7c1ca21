/**
 * The parameters of a model among everything that training programs put into a file.
 *
 * @module
 */
import type { ArrayEntry } from "./array.ts";
import { FileFormatError, shown } from "./errors.ts";
import {
  arrayHolders,
  flattenTree,
  isArrayEntry,
  isTree,
  type WeightTree,
  type WeightValue,
} from "./tree.ts";

/** What averaging adds to the parameters, itself wrapped or not. */
const COUNTER = /^(?:module\.)*n_averaged$/;

/** Dictionaries beside each other that may each be a model; more of them are parts of one. */
const MAX_MODELS = 8;

/** Options of {@linkcode findStateDict}. */
export interface FindOptions {
  /** The dictionary to take where a file has several models: its key, or the keys on the way to it with dots between. */
  readonly key?: string;
}

/** Keys under which training programs keep the weights, in the order in which they are tried. */
const STATE_DICT_KEYS = ["state_dict", "model_state_dict", "model", "params", "weights", "net", "module"];

/** Keys under which they keep arrays that are no weights. */
const OTHER_KEYS = /^(optim|opt_state|(lr_)?sched|(grad_)?scaler|amp$|(cuda_)?(rng|random)_state)/i;

/** Parts of names that come from what a model was wrapped in: `torch.compile`, FSDP, checkpointing, Fabric. */
const WRAPPERS =
  /(^|\.)(?:(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.)+/g;

/**
 * Finds the parameters of a model in a checkpoint.
 *
 * Goes into `state_dict`, `model` and the like as long as they hold arrays, and into a dictionary that is the only one
 * with arrays, optimisers aside; then takes every array by its path. What a wrapper adds is removed from the names:
 * `module.` of data-parallel training if all names have it, `_orig_mod.` of `torch.compile` and the like anywhere, and
 * the counter `n_averaged` of `torch.optim.swa_utils`.
 *
 * @param tree What `readWeights` gave.
 * @param options Which of several models.
 * @returns The arrays by their names in the model.
 * @throws {FileFormatError} If the file holds several models of the same names, such as `teacher` and `student`, and no
 * key is given; or if there is nothing under the key.
 *
 * @example A checkpoint of data-parallel training
 * ```ts
 * import { findStateDict } from "@allspark/tensor/io";
 * import { assertEquals } from "@std/assert";
 * const bias = { shape: [1], dtype: "f32", data: new Float32Array(1) } as const;
 * assertEquals([...findStateDict({ epoch: 3, model: { "module.bias": bias } }).keys()], ["bias"]);
 * ```
 */
export function findStateDict(tree: WeightTree, options: FindOptions = {}): Map<string, ArrayEntry> {
  let found = options.key === undefined ? tree : under(tree, options.key);
  const holders = arrayHolders(found);
  for (let next: WeightTree | undefined = found; next; next = innerDict(next, holders)) found = next;
  return withoutWrappers(flattenTree(found));
}

/**
 * The arrays under the names that they have in the model itself, without what wrappers added.
 *
 * @throws {FileFormatError} If two arrays then have the same name.
 */
export function withoutWrappers(entries: ReadonlyMap<string, ArrayEntry>): Map<string, ArrayEntry> {
  const plain = renamed(entries, (name) => name.replace(WRAPPERS, "$1"));
  for (const name of [...plain.keys()]) if (COUNTER.test(name)) plain.delete(name);
  const common = [...plain.keys()].reduce((least, name) => Math.min(least, prefixLength(name)), Infinity);
  return common === 0 || plain.size === 0 ? plain : renamed(plain, (name) => name.slice(common));
}

/** Length of the `module.` that a name begins with, once or more often. */
function prefixLength(name: string): number {
  return /^(?:module\.)*/.exec(name)![0].length;
}

/**
 * The arrays under other names.
 *
 * @throws {FileFormatError} If two arrays then have the same name.
 */
export function renamed(
  entries: ReadonlyMap<string, ArrayEntry>,
  rename: (name: string) => string,
): Map<string, ArrayEntry> {
  const result = new Map<string, ArrayEntry>();
  for (const [name, entry] of entries) {
    const plain = rename(name);
    if (result.has(plain)) {
      throw new FileFormatError(
        `Cannot read the weights: two arrays are named ${shown(plain)}, one as ${shown(name)}`,
      );
    }
    result.set(plain, entry);
  }
  return result;
}

/** What stands under a key, or under keys with dots between. */
function under(tree: WeightTree, key: string): WeightTree {
  const step = (value: WeightValue | undefined, part: string): WeightValue | undefined =>
    isTree(value) && Object.hasOwn(value, part) ? value[part] : undefined;
  const found = step(tree, key) ?? key.split(".").reduce<WeightValue | undefined>(step, tree);
  if (isTree(found)) return found;
  throw new FileFormatError(
    `Cannot find the weights under ${shown(key)}: the file has ${
      shown(Object.keys(tree).slice(0, 20).join(", "), 200)
    }`,
  );
}

/** The dictionary inside `tree` that holds the parameters, if they do not lie in `tree` itself. */
function innerDict(tree: WeightTree, holders: ReadonlySet<WeightValue>): WeightTree | undefined {
  const named = namedDict(tree, holders);
  if (named) return named;
  if (Object.values(tree).some(isArrayEntry)) return undefined;
  const models = dictsIn(tree, holders).filter(([key]) => !OTHER_KEYS.test(key));
  if (models.length === 1) return models[0]![1];
  checkAlternatives(models, holders);
  return undefined;
}

/** The dictionary under one of the usual keys. */
function namedDict(tree: WeightTree, holders: ReadonlySet<WeightValue>): WeightTree | undefined {
  const dicts = new Map(dictsIn(tree, holders));
  const key = STATE_DICT_KEYS.find((key) => dicts.has(key));
  return key === undefined ? undefined : dicts.get(key);
}

function dictsIn(tree: WeightTree, holders: ReadonlySet<WeightValue>): [string, WeightTree][] {
  return Object.entries(tree).filter((pair): pair is [string, WeightTree] =>
    isTree(pair[1]) && holders.has(pair[1])
  );
}

/** Refuses two dictionaries that are each a whole model, for one would be as right as the other. */
function checkAlternatives(
  models: readonly [string, WeightTree][],
  holders: ReadonlySet<WeightValue>,
): void {
  if (models.length > MAX_MODELS) return;
  const names = models.map(([, model]) => modelNames(namedDict(model, holders) ?? model));
  names.forEach((mine, k) => {
    const rival = names.findIndex((others, other) => other > k && areAlternatives(mine, others));
    if (rival < 0) return;
    throw new FileFormatError(
      `Cannot choose the weights: ${shown(models[k]![0])} and ${
        shown(models[rival]![0])
      } both hold a model; ` +
        `the key of one of them is required`,
    );
  });
}

/** The names in a dictionary that looks like a PyTorch model's: flat, with dots in its names. */
function modelNames(model: WeightTree): Set<string> {
  const names = Object.keys(model).filter((name) => name.includes(".") && isArrayEntry(model[name]));
  return new Set(names.map((name) => name.replace(WRAPPERS, "$1").replace(/^(module\.)+/, "")));
}

function areAlternatives(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  const shared = [...a].filter((name) => b.has(name)).length;
  return shared > 0 && shared >= Math.min(a.size, b.size) / 2;
}
