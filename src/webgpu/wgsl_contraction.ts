/**
 * Contractions with a tile of the output in the registers of one invocation: no workgroup memory, no
 * barriers. What counts is the number of multiplications per load.
 *
 * @module
 */
import { type Contraction, points } from "../compiler/kernel.ts";
import { type Reading, readingOf, type Side } from "./contraction_plan.ts";
import { countLoads } from "./fold_plan.ts";
import { checkTurns, type Dispatch, type Family } from "./schedule.ts";
import { type AxisValue, decodeAxes, shifted } from "./wgsl_axes.ts";
import { type Block, Shader } from "./wgsl.ts";
import { component, Emitter, type Value } from "./wgsl_expression.ts";
import { typeName, type Width } from "./wgsl_math.ts";
import { type Place, placesAlong, type Tile, tilesAlong, writeStores } from "./wgsl_tile.ts";
import { writeWalk } from "./wgsl_walk.ts";

/** Chooses a tile: as large as the registers take, but enough invocations to keep the device busy. */
export function tileOf(kernel: Contraction, wanted: number): Tile {
  const [m, n] = [points(kernel.rows), points(kernel.columns)];
  const group: Width = n < 4 ? 1 : 4;
  const lanes = ([rows, groups]: readonly [number, number]): number =>
    points(kernel.batch) * Math.ceil(m / rows) * Math.ceil(n / (groups * group));
  const shapes = ([[8, 4], [8, 2], [4, 2], [4, 1]] as const).map(([rows, groups]) =>
    [m >= rows ? rows : m >= 4 ? 4 : m, group === 1 ? n : Math.min(groups, n >= 8 ? groups : 1)] as const
  );
  // Large tiles take long to compile, and the largest spills registers: both pay only in large products.
  const work = points(kernel.batch) * m * n * points(kernel.inner);
  const allowed = shapes.slice(work >= 2 ** 26 && n % 16 === 0 ? 0 : work >= 2 ** 21 ? 1 : 2);
  const shape = allowed.find((each) => lanes(each) >= wanted) ?? allowed.at(-1)!;
  return { rows: shape[0], groups: shape[1], group };
}

/** The dispatch of an oriented contraction. */
export function contractByRegisters(
  kernel: Contraction,
  { family, scratchFrom, tile, toScratch }: {
    family: Family;
    scratchFrom: number;
    tile: Tile;
    toScratch?: number;
  },
): Dispatch {
  const workgroup = family === "software" ? 8 : 64;
  const isGeneric = family === "software";
  const shader = new Shader({ ...kernel, workgroup, scratchFrom, toScratch, isGeneric });
  const block = shader.body;
  const rowTiles = tilesAlong(kernel.rows, tile.rows);
  const columnTiles = tilesAlong(kernel.columns, tile.groups * tile.group);
  const lane = shader.begin(points(kernel.batch) * rowTiles * columnTiles);
  const [rest, columnTile] = shader.divide(block, lane, "column tiles", columnTiles);
  const [batchNumber, rowTile] = shader.divide(block, rest, "row tiles", rowTiles);
  const batch = decodeAxes(block, batchNumber, kernel.batch, undefined, "batch");
  const rows = placesAlong(block, rowTile, kernel, { side: "left", length: tile.rows });
  const columns = placesAlong(block, columnTile, kernel, { side: "right", length: tile.groups * tile.group });
  const sums = Array.from(
    { length: tile.rows },
    () =>
      Array.from(
        { length: tile.groups },
        () => block.variable("f32", tile.group, `${typeName("f32", tile.group)}(0.0f)`),
      ),
  );
  const turns = writeSum(block, kernel, tile, batch, rows, columns, sums);
  checkTurns(kernel.label, turns, family);
  writeStores(block, kernel, tile, batch, rows, columns, sums);
  return shader.finish();
}

/** Elements of an operand for one tile and one loop turn: `[place][step of the inner axis]` as texts. */
type Fragment = (place: number, within: number, step: number) => string;

/** The loop over the inner axes; returns its turns. */
function writeSum(
  block: Block,
  kernel: Contraction,
  tile: Tile,
  batch: readonly AxisValue[],
  rows: readonly Place[],
  columns: readonly Place[],
  sums: readonly (readonly string[])[],
): number {
  const readings = { left: readingOf(kernel, "left").reading, right: readingOf(kernel, "right").reading };
  const isInner = readings.left === "inner" || readings.right === "inner";
  const last = kernel.inner.length - 1;
  const vector = isInner ? last : undefined;
  const unroll = !isInner && loadsPerStep(kernel, tile, readings) <= 4 ? 2 : 1;
  return writeWalk(block, { axes: kernel.inner, vector, unroll, flat: 1 }, (inside, steps) => {
    for (const step of steps) {
      const count = isInner ? 4 : 1;
      const fragment = (side: Side, places: readonly Place[]): Fragment =>
        readFragment(inside, kernel, side, readings[side], batch, places, step, vector);
      const [left, right] = [fragment("left", rows), fragment("right", columns)];
      for (let u = 0; u < count; u++) {
        sums.forEach((row, i) => {
          row.forEach((sum, j) => {
            const a = left(tile.rows % 4 === 0 ? i >> 2 : i, tile.rows % 4 === 0 ? i & 3 : 0, u);
            const parts = Array.from({ length: tile.group }, (_, c) => right(j, c, u));
            const b = tile.group === 1 ? parts[0]! : gatherParts(parts);
            inside.lines.push(`${sum} += ${a} * ${b};`);
          });
        });
      }
    }
  });
}

/** Loads for one step of the inner axis. */
function loadsPerStep(kernel: Contraction, tile: Tile, readings: Record<Side, Reading>): number {
  const per = (side: Side, count: number): number =>
    countLoads(kernel[side]) * (readings[side] === "single" ? count : Math.ceil(count / 4));
  return per("left", tile.rows) + per("right", tile.groups * tile.group);
}

/** Four texts as one vector; the components of one vector in order are that vector. */
function gatherParts(parts: readonly string[]): string {
  const whole = /^(\w+)\.x$/.exec(parts[0]!)?.[1];
  if (whole !== undefined && parts.every((part, k) => part === `${whole}.${"xyzw"[k]}`)) return whole;
  return `vec4<f32>(${parts.join(", ")})`;
}

function readFragment(
  inside: Block,
  kernel: Contraction,
  side: Side,
  reading: Reading,
  batch: readonly AxisValue[],
  places: readonly Place[],
  step: readonly AxisValue[],
  vector: number | undefined,
): Fragment {
  const expr = kernel[side];
  const nothing = (list: readonly number[]): AxisValue[] =>
    list.map(() => ({ offset: 0, multiple: 4, depth: 0 }));
  const axesFor = (own: readonly AxisValue[], inner: readonly AxisValue[]): AxisValue[] =>
    side === "left"
      ? [...batch, ...own, ...nothing(kernel.columns), ...inner]
      : [...batch, ...nothing(kernel.rows), ...own, ...inner];
  const read = (own: readonly AxisValue[], inner: readonly AxisValue[]): Value =>
    new Emitter(inside, axesFor(own, inner)).value(expr);
  const plain = step.map((axis) => ({ ...axis, isVector: false }));
  const at = (u: number): AxisValue[] => plain.map((axis, k) => k === vector ? shifted(axis, u) : axis);
  return (p, within, u) => {
    const place = places[p]!;
    if (reading === "own" && place.vector !== undefined) return component(read(place.vector, at(u)), within);
    if (reading === "inner") return component(read(place.single[within]!, step), u);
    return read(place.single[within]!, at(u)).text;
  };
}
