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
  /** Written after every `chain` turns of a walk of many, in a block of its own or at the end of a loop's. */
  readonly carry?: ((block: Block) => void) | undefined;
}

/** So many turns add to one variable before it is carried: a sum loses digits in proportion to its additions. */
export const chain = 64;

/** A loop over an axis. */
interface Loop {
  readonly axis: number;
  /** Turns, and how far each goes. */
  readonly turns: number;
  readonly stride: number;
  /** Turns after which sums are carried; undefined: never. */
  readonly carryAfter: number | undefined;
}

/** Writes the walk into `block`; returns the loop turns that it takes. */
export function writeWalk(block: Block, options: WalkOptions, visit: Visit): number {
  const { axes, vector } = options;
  const order = axes.map((_, k) => k).filter((k) => k !== vector);
  if (vector !== undefined) order.push(vector);
  if (points(axes) === 0) return 0;
  return walkFrom(block, options, order, loopsOf(options, order), axes.map(() => fixed(0)), visit);
}

/** The loops of a walk, from the outermost on. */
function loopsOf({ axes, vector, unroll, flat, carry }: WalkOptions, order: readonly number[]): Loop[] {
  const width = vector === undefined ? 1 : 4;
  const loops: Omit<Loop, "carryAfter">[] = [];
  for (let k = 0; k < order.length; k++) {
    const axis = order[k]!;
    if (points(order.slice(k).map((each) => axes[each]!)) / width <= flat) break;
    const step = k === order.length - 1 ? width : 1;
    const stride = k === order.length - 1 ? Math.floor(Math.min(unroll, axes[axis]! / step)) * step : 1;
    loops.push({ axis, turns: Math.floor(axes[axis]! / stride), stride });
  }
  // Sums are carried in the innermost loop that, with those inside it, takes more turns than two chains.
  let [inner, isDone] = [1, carry === undefined];
  return loops.reverse().map((loop): Loop => {
    const carries = !isDone && inner * loop.turns > 2 * chain;
    const carryAfter = carries ? Math.max(1, Math.floor(chain / inner)) : undefined;
    isDone ||= carries;
    inner *= loop.turns;
    return { ...loop, carryAfter };
  }).reverse();
}

function walkFrom(
  block: Block,
  options: WalkOptions,
  order: readonly number[],
  loops: readonly Loop[],
  values: readonly AxisValue[],
  visit: Visit,
): number {
  const [loop, ...others] = loops;
  if (loop === undefined) {
    visit(block, writtenOut(order, options, values));
    return 0;
  }
  const { axis, turns, stride } = loop;
  const { shader } = block;
  const rest = order.slice(1);
  const step = options.vector === undefined ? 1 : 4;
  const withAxis = (value: AxisValue): AxisValue[] => values.map((v, k) => k === axis ? value : v);
  const end = (name: string): string => shader.number(`walk ${name}`, turns * stride);
  const atPoints = (target: Block, start: AxisValue, length: number): void =>
    visit(
      target,
      Array.from({ length: length / step }, (_, k) => {
        const here = shifted(start, k * step);
        return withAxis(step === 4 ? { ...here, isVector: true } : here);
      }),
    );
  const { carryAfter = 0 } = loop;
  const texts: LoopTexts = {
    start: "0",
    step: String(stride),
    end,
    block: carryAfter > 1 ? (name) => shader.number(`chain ${name}`, carryAfter * stride) : undefined,
  };
  let inner = 0;
  const name = writeLoop(block, texts, (inside, name) => {
    const here = variable(name, inside.depth, stride);
    if (rest.length === 0) atPoints(inside, here, stride);
    else inner = walkFrom(inside, options, rest, others, withAxis(here), visit);
    if (carryAfter === 1) options.carry!(inside);
  }, options.carry);
  const left = options.axes[axis]! - turns * stride;
  if (left > 0) {
    atPoints(block, shader.isGeneric ? variable(end(name), 0, stride) : fixed(turns * stride), left);
  }
  return turns * (1 + inner) + (carryAfter > 1 ? Math.ceil(turns / carryAfter) : 0);
}

/** How a loop counts, as texts: they may depend on the name of its number. */
export interface LoopTexts {
  readonly start: string;
  readonly step: string;
  readonly end: (name: string) => string;
  /** How far its number goes until sums are carried; undefined: they are not. */
  readonly block: ((name: string) => string) | undefined;
}

/** Writes a loop, which where sums are carried is a loop of loops. Returns the name of its number. */
export function writeLoop(
  block: Block,
  { start, step, end, block: length }: LoopTexts,
  write: (inside: Block, name: string) => void,
  carry: ((block: Block) => void) | undefined,
): string {
  const { shader } = block;
  const around = length === undefined ? block : new Block(shader, block);
  const inside = new Block(shader, around);
  const name = shader.fresh();
  write(inside, name);
  if (length === undefined) {
    block.nest(`for (var ${name} = ${start}; ${name} < ${end(name)}; ${name} += ${step})`, inside);
    return name;
  }
  const first = shader.fresh();
  const last = around.define(`min(${first} + ${length(name)}, ${end(name)})`);
  around.nest(`for (var ${name} = ${first}; ${name} < ${last}; ${name} += ${step})`, inside);
  carry!(around);
  block.nest(`for (var ${first} = ${start}; ${first} < ${end(name)}; ${first} += ${length(name)})`, around);
  return name;
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
