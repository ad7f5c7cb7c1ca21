/**
 * Loops over axes: nested, the innermost unrolled, short ones written out entirely. Loop turns are counted,
 * because llvmpipe allows an invocation only so many.
 *
 * @module
 */
import { points } from "../compiler/kernel.ts";

import { type AxisValue, fixed, shifted, variable } from "./wgsl_axes.ts";
import { Block } from "./wgsl.ts";

/** One stretch of a walk: the axes of the points that are handled together, one list per point (or per four). */
export type Visit = (block: Block, points: readonly (readonly AxisValue[])[]) => void;

/** How a walk is written. */
export interface WalkOptions {
  readonly axes: readonly number[];
  /** The axis along which points are taken four at a time; it becomes the innermost. */
  readonly vector: number | undefined;
  /** How many points (or fours) one turn of the innermost loop handles. */
  readonly unroll: number;
  /** Walks of at most this many points (or fours) have no loop at all. */
  readonly flat: number;
}

/** Writes the walk into `block`; returns the loop turns that it takes. */
export function writeWalk(block: Block, options: WalkOptions, visit: Visit): number {
  const { axes, vector } = options;
  const order = axes.map((_, k) => k).filter((k) => k !== vector);
  if (vector !== undefined) order.push(vector);
  return walkFrom(block, options, order, axes.map(() => fixed(0)), visit);
}

function walkFrom(
  block: Block,
  options: WalkOptions,
  order: readonly number[],
  values: readonly AxisValue[],
  visit: Visit,
): number {
  const width = options.vector === undefined ? 1 : 4;
  const left = points(order.map((axis) => options.axes[axis]!)) / width;
  if (left === 0) return 0;
  if (left <= options.flat) {
    visit(block, writtenOut(order, options, values));
    return 0;
  }
  const [axis, ...rest] = order as [number, ...number[]];
  const size = options.axes[axis]!;
  const isInnermost = rest.length === 0;
  const step = isInnermost ? width : 1;
  const unroll = isInnermost ? Math.min(options.unroll, size / step) : 1;
  const stride = Math.floor(unroll) * step;
  const turns = Math.floor(size / stride);
  const inside = new Block(block.shader, block);
  const name = block.shader.fresh();
  const here = variable(name, inside.depth, stride);
  const withAxis = (value: AxisValue): AxisValue[] => values.map((v, k) => k === axis ? value : v);
  const vectorised = (value: AxisValue): AxisValue => width === 4 ? { ...value, isVector: true } : value;
  let inner = 0;
  if (isInnermost) {
    visit(
      inside,
      Array.from({ length: stride / step }, (_, k) => withAxis(vectorised(shifted(here, k * step)))),
    );
  } else {
    inner = walkFrom(inside, options, rest, withAxis(here), visit);
  }
  const end = block.shader.number(`walk ${name}`, turns * stride);
  block.nest(`for (var ${name} = 0; ${name} < ${end}; ${name} += ${stride})`, inside);
  if (turns * stride < size) {
    const tail = Array.from({ length: (size - turns * stride) / step }, (_, k) => k * step);
    const { isGeneric } = block.shader;
    const start = isGeneric ? variable(end, 0, stride) : fixed(turns * stride);
    visit(block, tail.map((at) => withAxis(vectorised(shifted(start, at)))));
  }
  return turns * (1 + inner);
}

/** Every point of the remaining axes, as constants. */
function writtenOut(
  order: readonly number[],
  { axes, vector }: WalkOptions,
  values: readonly AxisValue[],
): AxisValue[][] {
  let all: AxisValue[][] = [[...values]];
  for (const axis of order) {
    const step = axis === vector ? 4 : 1;
    all = all.flatMap((value) =>
      Array.from(
        { length: axes[axis]! / step },
        (_, k) => value.map((v, j) => j === axis ? { ...fixed(k * step), isVector: axis === vector } : v),
      )
    );
  }
  return all;
}
