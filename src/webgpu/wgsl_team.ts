/**
 * Teams: invocations of a workgroup that share one row. Short rows have small teams, of which a workgroup has several.
 *
 * @module
 */
import { type Fold, points } from "../compiler/kernel.ts";
import { type AxisValue, decodeAxes, variable } from "./wgsl_axes.ts";
import type { Block, Shader } from "./wgsl.ts";
import type { Width } from "./wgsl_math.ts";
import { chain, type LoopTexts, writeLoop } from "./wgsl_walk.ts";

/** Invocations of a team, and teams of a workgroup. */
export interface TeamSize {
  readonly lanes: number;
  readonly teams: number;
}

/** Fewest invocations of a workgroup. */
const smallest = 64;
/** A lane takes up to this many places of a row one after another, without a loop: what it loads stays in registers. */
const mostFlat = 4;

/** As many lanes as have something to do: each takes four elements, and of long rows more. */
export function teamSize({ stages, stores }: Fold): TeamSize {
  const longest = Math.max(...[...stages, ...stores].map((walk) => points(walk.axes)));
  if (longest >= 256) return { lanes: longest >= 2048 ? 256 : longest >= 512 ? 128 : smallest, teams: 1 };
  const lanes = Math.min(smallest, Math.max(8, 2 ** Math.ceil(Math.log2(longest / 4))));
  return { lanes, teams: smallest / lanes };
}

/** Places along a row that a lane takes in. `exists`: whether there is such a place; undefined: always. */
export type Visit = (inside: Block, place: readonly AxisValue[], step: number, exists?: string) => void;

/** The team of an invocation. */
export class Team {
  /** The number of the row, of the last one where there is none. */
  readonly row: string;
  /** Whether there is such a row; undefined: always. */
  readonly exists: string | undefined;
  /** The invocation's number in its team. */
  readonly lane: string;

  constructor(readonly shader: Shader, readonly size: TeamSize, rows: number) {
    const { body: block } = shader;
    const { lanes, teams } = size;
    const group = shader.begin(Math.ceil(rows / teams), "workgroup");
    if (teams === 1) {
      [this.row, this.lane] = [group, "local.x"];
      return;
    }
    const number = block.let(`${group} * ${teams}u + local.x / ${lanes}u`);
    const last = shader.number("last row", rows - 1, "u32");
    this.row = block.let(`min(${number}, ${last})`);
    this.exists = block.let(`${number} <= ${last}`);
    this.lane = block.let(`local.x % ${lanes}u`);
  }

  /** Walks along a row with all lanes, each taking every `lanes`-th place; returns the turns of one. */
  walk(
    block: Block,
    axes: readonly number[],
    width: Width,
    visit: Visit,
    carry?: (inside: Block) => void,
  ): number {
    const { shader, lane, size: { lanes } } = this;
    const count = points(axes) / width;
    const steps = Math.ceil(count / lanes);
    if (steps <= mostFlat) {
      const last = shader.number(`last of ${count}`, count - 1, "u32");
      for (let step = 0; step < steps; step++) {
        const number = step === 0 ? lane : block.let(`${lane} + ${step * lanes}u`);
        const place = placeAt(block, block.let(`min(${number}, ${last})`), axes, width);
        visit(block, place, step, block.let(`${number} <= ${last}`));
      }
      return 0;
    }
    const isLong = carry !== undefined && steps > 2 * chain;
    const texts: LoopTexts = {
      start: lane,
      step: `${lanes}u`,
      end: (name) => shader.number(`walk ${name}`, count, "u32"),
      block: isLong ? (name) => shader.number(`chain ${name}`, chain * lanes, "u32") : undefined,
    };
    writeLoop(
      block,
      texts,
      (inside, name) => visit(inside, placeAt(inside, name, axes, width), 0),
      carry,
    );
    return steps + (isLong ? Math.ceil(steps / chain) : 0);
  }
}

/** The axes at place number `number` (u32) of a row, or at four places from there. */
function placeAt(block: Block, number: string, axes: readonly number[], width: Width): AxisValue[] {
  if (axes.length !== 1) return decodeAxes(block, number, axes, undefined, `walk ${axes}`);
  const text = block.let(width === 4 ? `i32(${number} * 4u)` : `i32(${number})`);
  return [{ ...variable(text, block.depth, width), isVector: width === 4 }];
}
