/**
 * What the kernels of contractions share: the rows and columns of a tile, and the stores of its sums.
 *
 * @module
 */
import { type Contraction, points } from "../compiler/kernel.ts";
import { readingOf, type Side, storesWhole } from "./contraction_plan.ts";
import { Block } from "./wgsl.ts";
import { type AxisValue, Emitter, shifted, type Value, variable } from "./wgsl_expression.ts";
import { decodeAxes } from "./wgsl_fold.ts";
import type { Width } from "./wgsl_math.ts";

/** Rows and columns per invocation. Columns come in groups of four (or of one where there are few). */
export interface Tile {
  readonly rows: number;
  readonly groups: number;
  readonly group: Width;
}

/** A place along rows or columns of a tile: four neighbours if they can be taken at once, and each alone. */
export interface Place {
  readonly vector: readonly AxisValue[] | undefined;
  readonly single: readonly (readonly AxisValue[])[];
  /** For each: whether it is a row or column at all; undefined: always. */
  readonly exists: readonly (string | undefined)[];
}

/** Whether places along this side are groups of four neighbours of the last axis. */
function isGrouped(axes: readonly number[], side: Side, kernel: Contraction): boolean {
  const last = axes.at(-1);
  if (last === undefined || last < 4) return false;
  if (last % 4 === 0) return true;
  return readingOf(kernel, side).reading === "own" || (side === "right" && last >= 16);
}

/** Axes in which the last counts groups of four. */
function grouped(axes: readonly number[]): number[] {
  return axes.map((size, k) => k === axes.length - 1 ? Math.ceil(size / 4) : size);
}

/** How many tiles of `length` rows or columns there are. */
export function tilesAlong(axes: readonly number[], length: number, side: Side, kernel: Contraction): number {
  return length % 4 === 0 && isGrouped(axes, side, kernel)
    ? Math.ceil(points(grouped(axes)) / (length / 4))
    : Math.ceil(points(axes) / length);
}

/**
 * The rows or columns of one tile, in places of four (or of one). Those that do not exist are read as the
 * last one. `isPadded`: the tile number may lie past the last tile.
 */
export function placesAlong(
  block: Block,
  tile: string,
  axes: readonly number[],
  length: number,
  side: Side,
  kernel: Contraction,
  isPadded = false,
): Place[] {
  if (length % 4 === 0 && isGrouped(axes, side, kernel)) {
    return groupsAlong(block, tile, axes, length / 4, isPadded);
  }
  const count = points(axes);
  const isExact = !isPadded && count % length === 0;
  const perPlace = length % 4 === 0 ? 4 : 1;
  const all = Array.from({ length }, (_, k) => {
    const number = block.let(length === 1 ? tile : `${tile} * ${length}u + ${k}u`);
    const inside = isExact ? number : block.let(`min(${number}, ${count - 1}u)`);
    return {
      axes: decodeAxes(block, inside, axes, undefined),
      exists: isExact ? undefined : `${number} < ${count}u`,
    };
  });
  return Array.from({ length: length / perPlace }, (_, k) => {
    const own = all.slice(k * perPlace, (k + 1) * perPlace);
    return {
      vector: undefined,
      single: own.map((one) => one.axes),
      exists: own.map((one) => one.exists),
    };
  });
}

function groupsAlong(
  block: Block,
  tile: string,
  axes: readonly number[],
  groups: number,
  isPadded: boolean,
): Place[] {
  const sizes = grouped(axes);
  const [last, count] = [axes.at(-1)!, points(sizes)];
  const isExact = !isPadded && count % groups === 0;
  return Array.from({ length: groups }, (_, k) => {
    const number = block.let(groups === 1 ? tile : `${tile} * ${groups}u + ${k}u`);
    const inside = isExact ? number : block.let(`min(${number}, ${count - 1}u)`);
    const decoded = decodeAxes(block, inside, sizes, undefined);
    const start = decoded.at(-1)!;
    const name = block.let(`${start.text} * 4`);
    const vector = [...decoded.slice(0, -1), { ...variable(name, block.depth, 4), isVector: true }];
    const isReal = isExact ? undefined : `${number} < ${count}u`;
    return {
      vector,
      single: [0, 1, 2, 3].map((c) => [
        ...decoded.slice(0, -1),
        shifted(variable(name, block.depth, 4), c),
      ]),
      exists: [0, 1, 2, 3].map((c) => {
        const isColumn = last % 4 === 0 ? undefined : `${name} + ${c} < ${last}`;
        return isReal === undefined ? isColumn : isColumn === undefined ? isReal : `${isReal} && ${isColumn}`;
      }),
    };
  });
}

/** The epilogue, for every row and group of columns of the tile. */
export function writeStores(
  block: Block,
  kernel: Contraction,
  tile: Tile,
  batch: readonly AxisValue[],
  rows: readonly Place[],
  columns: readonly Place[],
  sums: readonly (readonly string[])[],
): void {
  const perRow = tile.rows % 4 === 0 ? 4 : 1;
  const wide = kernel.outputs.map((_, output) =>
    tile.group === 4 && columns[0]!.vector !== undefined && storesWhole(kernel, output)
  );
  const inner = kernel.inner.map((): AxisValue => ({ offset: 0, multiple: 4, depth: 0 }));
  sums.forEach((row, i) => {
    const place = rows[Math.floor(i / perRow)]!;
    const own = place.single[i % perRow]!;
    const condition = place.exists[i % perRow];
    const inside = condition === undefined ? block : new Block(block.shader, block);
    row.forEach((sum, j) => {
      const column = columns[j]!;
      for (const store of kernel.stores) {
        const dtype = kernel.outputs[store.output]!;
        const write = (target: Block, axes: readonly AxisValue[], total: Value): void => {
          const emitter = new Emitter(target, [...batch, ...own, ...axes, ...inner], [total]);
          emitter.store(store.output, store.at, emitter.value(store.value), dtype, wide[store.output]!);
        };
        const depth = block.depth;
        const guarded = (exists: string | undefined, then: (target: Block) => void): void => {
          if (exists === undefined) return then(inside);
          const nested = new Block(block.shader, inside);
          then(nested);
          inside.nest(`if (${exists})`, nested);
        };
        if (wide[store.output]) {
          guarded(
            column.exists[0],
            (target) => write(target, column.vector!, { text: sum, width: 4, depth }),
          );
        } else {
          column.single.forEach((axes, c) => {
            const text = tile.group === 1 ? sum : `${sum}.${"xyzw"[c]}`;
            guarded(column.exists[c], (target) => write(target, axes, { text, width: 1, depth }));
          });
        }
      }
    });
    if (inside !== block) block.nest(`if (${condition})`, inside);
  });
}
