/**
 * What the kernels of contractions share: the rows and columns of a tile, and the stores of its sums.
 *
 * @module
 */
import { type Contraction, points } from "../compiler/kernel.ts";
import { grouping, type Side, storesWhole } from "./contraction_plan.ts";
import { type AxisValue, decodeAxes, fixed, shifted, variable } from "./wgsl_axes.ts";
import { Block } from "./wgsl.ts";
import { Emitter, type Value } from "./wgsl_expression.ts";
import type { Width } from "./wgsl_math.ts";

/** Rows and columns per invocation. Columns come in groups of four (or of one where there are few). */
export interface Tile {
  readonly rows: number;
  readonly groups: number;
  readonly group: Width;
  /**
   * How many invocations work on the same rows, each on columns of its own: each reads a part of the left
   * operand, and they share it as a subgroup. 1 if it is not given.
   */
  readonly lanes?: number;
}

/** A place along rows or columns of a tile: four neighbours if they can be taken at once, and each alone. */
export interface Place {
  readonly vector: readonly AxisValue[] | undefined;
  readonly single: readonly (readonly AxisValue[])[];
  /** For each: whether it is a row or column at all; undefined: always. */
  readonly exists: readonly (string | undefined)[];
}

/** Axes in which the last counts groups of four. */
function grouped(axes: readonly number[]): number[] {
  return axes.map((size, k) => k === axes.length - 1 ? size / 4 : size);
}

/** How many tiles of `length` rows or columns there are. */
export function tilesAlong(axes: readonly number[], length: number): number {
  return Math.ceil(points(axes) / length);
}

/** The tile of a number that counts columns of tiles fastest, then rows of them, then steps of the batch. */
export function decodeTile(
  block: Block,
  number: string,
  kernel: Contraction,
  { rowTiles, columnTiles }: { readonly rowTiles: number; readonly columnTiles: number },
): { batchNumber: string; rowTile: string; columnTile: string } {
  const { shader } = block;
  const bound = points(kernel.batch) * rowTiles * columnTiles;
  const byColumn = { key: "column tiles", size: columnTiles, bound };
  const [rest, columnTile] = shader.divide(block, number, byColumn);
  const byRow = { key: "row tiles", size: rowTiles, bound: bound / columnTiles };
  const [batchNumber, rowTile] = shader.divide(block, rest, byRow);
  return { batchNumber, rowTile, columnTile };
}

/** Which rows or columns. `isPadded`: the number of the tile may lie past the last one. */
export interface TileSide {
  readonly side: Side;
  readonly length: number;
  readonly isPadded?: boolean;
}

/**
 * The rows or columns of one tile, in places of four (or of one). Those that do not exist are read as the
 * last one.
 */
export function placesAlong(block: Block, tile: string, kernel: Contraction, options: TileSide): Place[] {
  const { side, length, isPadded = false } = options;
  const axes = side === "left" ? kernel.rows : kernel.columns;
  const groups = length % 4 === 0 ? grouping(axes) : undefined;
  const [sizes, steps] = groups === "axis" ? [grouped(axes), length / 4] : [axes, length];
  const count = points(sizes);
  const isExact = !isPadded && count % steps === 0;
  const { shader } = block;
  const key = groups === "axis" ? `${side} by four` : side;
  const all = Array.from({ length: steps }, (_, k): Decoded => {
    const number = block.let(steps === 1 ? tile : `${tile} * ${steps}u + ${k}u`);
    if (isExact) {
      return { number, axes: decodeAxes(block, number, sizes, undefined, key), exists: undefined };
    }
    const last = shader.number(`${key} last`, count - 1, "u32");
    const inside = block.let(`min(${number}, ${last})`);
    return {
      number,
      axes: decodeAxes(block, inside, sizes, undefined, key),
      exists: `${number} <= ${last}`,
    };
  });
  if (groups === "axis") return all.map((group) => placeOfFour(block, group));
  const perPlace = length % 4 === 0 ? 4 : 1;
  return Array.from({ length: length / perPlace }, (_, k) => {
    const own = all.slice(k * perPlace, (k + 1) * perPlace);
    return {
      vector: groups === "flat" ? flatAxes(block, own[0]!.number, axes) : undefined,
      single: own.map((one) => one.axes),
      exists: own.map((one) => one.exists),
    };
  });
}

/** A row, a column or a group of four: its number in the kernel, its axes, and whether it is there. */
interface Decoded {
  readonly number: string;
  readonly axes: readonly AxisValue[];
  readonly exists: string | undefined;
}

/** Four neighbours of the last axis, of which the decoded axes give the number. */
function placeOfFour(block: Block, group: Decoded): Place {
  const outer = group.axes.slice(0, -1);
  const start = variable(block.let(`${group.axes.at(-1)!.text} * 4`), block.depth, 4);
  return {
    vector: [...outer, { ...start, isVector: true }],
    single: [0, 1, 2, 3].map((c) => [...outer, shifted(start, c)]),
    exists: [0, 1, 2, 3].map(() => group.exists),
  };
}

/** Four neighbours across all axes of a side, which addresses step through as through one. */
function flatAxes(block: Block, number: string, axes: readonly number[]): AxisValue[] {
  const start = { ...variable(block.let(`i32(${number})`), block.depth, 4), isVector: true };
  return axes.map((_, k) => k === axes.length - 1 ? start : fixed(0));
}

/** What the stores of a tile need. */
export interface TileSums {
  readonly batch: readonly AxisValue[];
  readonly columns: readonly Place[];
  /** The sums of each row, by group of columns. */
  readonly sums: readonly (readonly string[])[];
}

/** The epilogue, written out for every row and group of columns of the tile. */
export function writeStores(
  block: Block,
  kernel: Contraction,
  tile: Tile,
  given: TileSums,
  rows: readonly Place[],
): void {
  const perRow = tile.rows % 4 === 0 ? 4 : 1;
  given.sums.forEach((row, i) => {
    const place = rows[Math.floor(i / perRow)]!;
    writeRow(block, kernel, tile, {
      ...given,
      row,
      own: place.single[i % perRow]!,
      exists: place.exists[i % perRow],
    });
  });
}

/** Rows whose stores are written out in one turn of the loop. */
export const rowsPerTurn = 2;

/** The epilogue as a loop over the rows of tile number `rowTile`; returns its turns. */
export function writeStoreLoop(
  block: Block,
  kernel: Contraction,
  tile: Tile,
  given: TileSums,
  rowTile: string,
): number {
  const { shader } = block;
  const perTurn = Math.min(rowsPerTurn, tile.rows);
  const turn = shader.fresh();
  const inside = new Block(shader, block);
  const first = inside.let(`${rowTile} * ${tile.rows}u + u32(${turn})`);
  for (let k = 0; k < perTurn; k++) {
    const number = inside.let(`${first} + ${k}u`);
    const [place] = placesAlong(inside, number, kernel, { side: "left", length: 1, isPadded: true });
    const [own, exists] = [place!.single[0]!, place!.exists[0]];
    writeRow(inside, kernel, tile, { ...given, row: given.sums[k]!, own, exists });
  }
  // The rows that are left move up: variables have no numbers that a loop could count through.
  given.sums.slice(perTurn).forEach((row, i) =>
    row.forEach((sum, j) => inside.lines.push(`${given.sums[i]![j]} = ${sum};`))
  );
  const end = shader.number("rows", tile.rows);
  block.nest(`for (var ${turn} = 0; ${turn} < ${end}; ${turn} += ${perTurn})`, inside);
  return Math.ceil(tile.rows / perTurn);
}

/** The stores of one row. */
function writeRow(
  block: Block,
  kernel: Contraction,
  tile: Tile,
  { batch, columns, row, own, exists }: Pick<TileSums, "batch" | "columns"> & {
    row: readonly string[];
    own: readonly AxisValue[];
    exists: string | undefined;
  },
): void {
  const wide = kernel.outputs.map((_, output) => tile.group === 4 && storesWhole(kernel, output));
  const inner = kernel.inner.map(() => fixed(0));
  const inside = exists === undefined ? block : new Block(block.shader, block);
  row.forEach((sum, j) => {
    const column = columns[j]!;
    for (const store of kernel.stores) {
      const dtype = kernel.outputs[store.output]!;
      const write = (target: Block, axes: readonly AxisValue[], total: Value): void => {
        const emitter = new Emitter(target, [...batch, ...own, ...axes, ...inner], [total]);
        emitter.store(store.output, store.at, emitter.value(store.value), dtype, wide[store.output]!);
      };
      const { depth } = block;
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
  if (inside !== block) block.nest(`if (${exists})`, inside);
}
