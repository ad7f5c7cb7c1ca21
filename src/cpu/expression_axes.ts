/**
 * What expressions say about axes: their affine forms, their guards, and which axes can be walked as one.
 *
 * @module
 */
import { children } from "../compiler/expression.ts";
import type { Affine, Expr, Guard } from "../compiler/kernel.ts";

/** A loop over one or several axes of a kernel, under the number of the last of them. */
export interface Loop {
  readonly axis: number;
  readonly size: number;
}

/** All expressions reachable from the roots, each once. */
export function reachable(roots: readonly Expr[]): Set<Expr> {
  const found = new Set<Expr>();
  const visit = (e: Expr): void => {
    if (found.has(e)) return;
    found.add(e);
    children(e).forEach(visit);
  };
  roots.forEach(visit);
  return found;
}

/** The guards of loads and gathers of an expression. */
export function guardsOf(e: Expr): readonly Guard[] {
  return e.kind === "load" || e.kind === "gather" ? e.guards : [];
}

/** Axes `first`, `first + 1`, … of the given sizes. */
export function numberAxes(sizes: readonly number[], first: number): Loop[] {
  return sizes.map((size, k) => ({ axis: first + k, size }));
}

/** Neighbours that every form walks as one become one loop, and axes of size 1 none. */
export function mergeAxes(axes: readonly Loop[], forms: readonly Affine[]): Loop[] {
  const loops: Loop[] = [];
  for (const { axis, size } of axes.filter((loop) => loop.size !== 1).reverse()) {
    const next = loops[0];
    const joins = next &&
      forms.every(({ coefficients }) =>
        (coefficients[axis] ?? 0) === (coefficients[next.axis] ?? 0) * next.size
      );
    if (joins) loops[0] = { axis: next.axis, size: size * next.size };
    else loops.unshift({ axis, size });
  }
  return loops;
}
