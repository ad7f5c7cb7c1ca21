/**
 * Axes in the code: what is known about where they stand.
 *
 * @module
 */
import { points } from "../compiler/kernel.ts";
import type { Block } from "./wgsl.ts";

/** What an axis is at this point of the code: `text + offset`, or that and the three that follow. */
export interface AxisValue {
  /** An i32 variable or simple expression; undefined: zero. */
  readonly text?: string | undefined;
  readonly offset: number;
  /** What `text` is known to be a multiple of. */
  readonly multiple: number;
  /** Depth of the block in which `text` exists. */
  readonly depth: number;
  readonly isVector?: boolean;
}

/** An axis at a known position. */
export function fixed(offset: number): AxisValue {
  return { offset, multiple: 4, depth: 0 };
}

/** An axis at a variable. */
export function variable(text: string, depth: number, multiple = 1, offset = 0): AxisValue {
  return { text, offset, multiple, depth };
}

/** The same axis, a known distance further on. */
export function shifted(axis: AxisValue, distance: number): AxisValue {
  return { ...axis, offset: axis.offset + distance };
}

/**
 * Values of the axes for the invocation `lane` (u32), row-major; `vector` is taken four at a time. `key`
 * tells the sizes of different axis lists apart.
 */
export function decodeAxes(
  block: Block,
  lane: string,
  axes: readonly number[],
  vector: number | undefined,
  key: string,
): AxisValue[] {
  const values: AxisValue[] = [];
  let rest = lane;
  let bound = points(axes);
  for (let k = axes.length - 1; k >= 0; k--) {
    const width = k === vector ? 4 : 1;
    let own = rest;
    if (k > 0) {
      const divisor = { key: `${key} ${k}`, size: axes[k]! / width, bound };
      [rest, own] = block.shader.divide(block, rest, divisor);
      bound /= axes[k]!;
    }
    const name = block.let(width === 4 ? `i32(${own} * 4u)` : `i32(${own})`);
    values[k] = { ...variable(name, block.depth, width), isVector: width === 4 };
  }
  return values;
}
