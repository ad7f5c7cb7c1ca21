/**
 * Trees of tensors: plain objects and arrays whose leaves are tensors, numbers, or other plain values.
 * Parameters, states and batches are trees.
 *
 * @module
 */
import { TreeError } from "./errors.ts";
import { Tensor } from "./tensor.ts";

/** A tree whose leaves are of type `Leaf`. */
export type Tree<Leaf = Tensor> = Leaf | readonly Tree<Leaf>[] | { readonly [key: string]: Tree<Leaf> };

/** True for the two kinds of inner nodes: arrays and plain objects. */
function isBranch(value: unknown): value is Record<string, unknown> | unknown[] {
  if (value === null || typeof value !== "object" || value instanceof Tensor) return false;
  if (Array.isArray(value)) return true;
  const prototype = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Keys of plain objects in sorted order, so that equal trees flatten equally however they were built. */
function keysOf(branch: Record<string, unknown> | unknown[]): string[] {
  return Array.isArray(branch) ? branch.map((_, k) => String(k)) : Object.keys(branch).sort();
}

function child(branch: Record<string, unknown> | unknown[], key: string): unknown {
  return (branch as Record<string, unknown>)[key];
}

/** Calls `f(leaf, path)` on every leaf and returns a tree of the results, with the same structure. */
export function treeMap<T, R = T>(tree: T, f: (leaf: never, path: string) => unknown, path = ""): R {
  const visit = f as (leaf: unknown, path: string) => unknown;
  const go = (value: unknown, at: string): unknown => {
    if (!isBranch(value)) return visit(value, at);
    if (Array.isArray(value)) return value.map((item, k) => go(item, `${at}[${k}]`));
    return Object.fromEntries(
      keysOf(value).map((key) => [key, go(child(value, key), at === "" ? key : `${at}.${key}`)]),
    );
  };
  return go(tree, path) as R;
}

/** The leaves in order, and a function that puts other leaves in their places. */
export function treeFlatten<T>(tree: T): {
  leaves: unknown[];
  paths: string[];
  unflatten: (leaves: readonly unknown[]) => T;
} {
  const leaves: unknown[] = [];
  const paths: string[] = [];
  treeMap(tree, (leaf: unknown, path: string) => {
    leaves.push(leaf);
    paths.push(path);
    return leaf;
  });
  const unflatten = (values: readonly unknown[]): T => {
    if (values.length !== leaves.length) {
      throw new TreeError(
        `Cannot unflatten a tree: ${leaves.length} leaves expected, ${values.length} given`,
      );
    }
    let next = 0;
    return treeMap<T>(tree, () => values[next++]);
  };
  return { leaves, paths, unflatten };
}

/** The leaves in order. */
export function treeLeaves(tree: unknown): unknown[] {
  return treeFlatten(tree).leaves;
}

/** The tensors among the leaves, in order. */
export function treeTensors(tree: unknown): Tensor[] {
  return treeLeaves(tree).filter((leaf) => leaf instanceof Tensor);
}

/** A text that is equal for trees of equal structure (leaves are written as `*`). */
export function treeStructure(tree: unknown): string {
  if (!isBranch(tree)) return "*";
  if (Array.isArray(tree)) return `[${tree.map(treeStructure).join(",")}]`;
  return `{${
    keysOf(tree).map((key) => `${JSON.stringify(key)}:${treeStructure(child(tree, key))}`).join(",")
  }}`;
}

/** Calls `f` on the corresponding leaves of trees of equal structure; names the first difference otherwise. */
export function treeMap2<T, R = T>(a: T, b: unknown, f: (a: never, b: never, path: string) => unknown): R {
  const visit = f as (a: unknown, b: unknown, path: string) => unknown;
  const go = (x: unknown, y: unknown, at: string): unknown => {
    if (!isBranch(x)) {
      if (isBranch(y)) {
        throw new TreeError(
          `Cannot map over two trees: ${at || "the root"} is a leaf in one and a branch in the other`,
        );
      }
      return visit(x, y, at);
    }
    if (!isBranch(y) || Array.isArray(x) !== Array.isArray(y)) {
      throw new TreeError(
        `Cannot map over two trees: ${at || "the root"} has another structure in the second`,
      );
    }
    const [mine, others] = [keysOf(x), keysOf(y)];
    const odd = mine.find((key) => !others.includes(key)) ?? others.find((key) => !mine.includes(key));
    if (odd !== undefined) {
      throw new TreeError(
        `Cannot map over two trees: ${at === "" ? odd : `${at}.${odd}`} is only in one of them`,
      );
    }
    const mapped = mine.map((key) => {
      const path = Array.isArray(x) ? `${at}[${key}]` : at === "" ? key : `${at}.${key}`;
      return [key, go(child(x, key), child(y, key), path)] as const;
    });
    return Array.isArray(x) ? mapped.map(([, value]) => value) : Object.fromEntries(mapped);
  };
  return go(a, b, "") as R;
}
