/**
 * Contractions with a tile of the output in the registers of one invocation: no workgroup memory, no
 * barriers. What counts is the number of multiplications per load; invocations of a subgroup can therefore
 * work on the same rows, of which each reads a part and passes it on.
 *
 * @module
 */
import { type Contraction, points } from "../compiler/kernel.ts";
import { mostWrittenOut, type Reading, readingOf, readingsOf, type Side } from "./contraction_plan.ts";
import { countLoads } from "./fold_plan.ts";
import { checkTurns, type Dispatch, type Family, parametersOf } from "./schedule.ts";
import { type AxisValue, decodeAxes, fixed, shifted } from "./wgsl_axes.ts";
import { type Block, Shader } from "./wgsl.ts";
import { component, Emitter, type Value } from "./wgsl_expression.ts";
import type { Width } from "./wgsl_math.ts";
import {
  decodeTile,
  type Place,
  placesAlong,
  type Tile,
  tilesAlong,
  writeStoreLoop,
  writeStores,
} from "./wgsl_tile.ts";
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

/** How the rows of a tile are read by invocations that share them: the way, and its cost per inner step. */
export function sharedReading(
  kernel: Contraction,
  rows: number,
  lanes: number,
): { reading: Reading; cost: number } {
  return readingsOf(kernel, "left", true).map(({ reading, cost }) => ({
    reading,
    cost: reading !== "own"
      ? cost * Math.ceil(rows / lanes)
      : rows % 4 === 0
      ? 4 * cost * Math.ceil(rows / 4 / lanes)
      : Infinity,
  })).reduce((best, way) => way.cost < best.cost ? way : best);
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
  const { lanes = 1 } = tile;
  const isSoftware = family === "software";
  const workgroup = lanes > 1 ? lanes : isSoftware ? 8 : 64;
  const parameters = parametersOf(family);
  const shader = new Shader({ ...kernel, workgroup, scratchFrom, toScratch, parameters });
  const block = shader.body;
  const columnLength = tile.groups * tile.group;
  const rowTiles = tilesAlong(kernel.rows, tile.rows);
  const columnTiles = tilesAlong(kernel.columns, columnLength * lanes);
  const count = points(kernel.batch) * rowTiles * columnTiles;
  const number = shader.begin(count, lanes > 1 ? "workgroup" : "invocation");
  const { batchNumber, rowTile, columnTile } = decodeTile(block, number, kernel, { rowTiles, columnTiles });
  const batch = decodeAxes(block, batchNumber, kernel.batch, undefined, "batch");
  const own = lanes > 1 ? block.let(`${columnTile} * ${lanes}u + local.x`) : columnTile;
  const isPadded = lanes > 1;
  const columns = placesAlong(block, own, kernel, { side: "right", length: columnLength, isPadded });
  const sums = Array.from(
    { length: tile.rows },
    () =>
      Array.from(
        { length: tile.groups },
        () => block.variable("f32", tile.group, shader.start("sum", "f32", tile.group)),
      ),
  );
  const right = readingOf(kernel, "right", true).reading;
  const shared = sharedReading(kernel, tile.rows, lanes).reading;
  const left = lanes > 1 ? shared : readingOf(kernel, "left", true).reading;
  const rows = lanes > 1
    ? sharedPlaces(block, kernel, rowTile, tile, left)
    : placesAlong(block, rowTile, kernel, { side: "left", length: tile.rows });
  const turns = writeSum(block, kernel, tile, { batch, left, right, rows, columns }, sums);
  const stores = { batch, columns, sums };
  // A loop compiles faster, and takes its time at each run.
  const more = isSoftware ? writeStoreLoop(block, kernel, tile, stores, rowTile) : 0;
  if (!isSoftware) writeStores(block, kernel, tile, stores, rows);
  return shader.finish(checkTurns(kernel.label, turns + more, family));
}

/** The rows that one of several invocations reads: every `lanes`-th of them, or of the groups of four. */
function sharedPlaces(
  block: Block,
  kernel: Contraction,
  rowTile: string,
  { rows, lanes = 1 }: Tile,
  reading: Reading,
): Place[] {
  const length = reading === "own" ? 4 : 1;
  const steps = rows / length;
  return Array.from({ length: Math.ceil(steps / lanes) }, (_, k) => {
    const number = block.let(`${rowTile} * ${steps}u + (local.x + ${k * lanes}u)`);
    return placesAlong(block, number, kernel, { side: "left", length, isPadded: true })[0]!;
  });
}

/** Where the operands of a tile lie, and how they are read. */
interface Operands {
  readonly batch: readonly AxisValue[];
  readonly left: Reading;
  readonly right: Reading;
  /** Of several invocations that share rows: those that this one reads. */
  readonly rows: readonly Place[];
  readonly columns: readonly Place[];
}

/** The loop over the inner axes; returns its turns. */
function writeSum(
  block: Block,
  kernel: Contraction,
  tile: Tile,
  operands: Operands,
  sums: readonly (readonly string[])[],
): number {
  const { left, right, columns } = operands;
  const isInner = left === "inner" || right === "inner";
  const vector = isInner ? kernel.inner.length - 1 : undefined;
  const unroll = tile.lanes === 1 && !isInner && loadsPerStep(kernel, tile, operands) <= 4 ? 2 : 1;
  const flat = isInner ? 1 : mostWrittenOut;
  const { shader } = block;
  const start = shader.start("sum", "f32", tile.group);
  const totals = new Map<string, string>();
  const carry = (inside: Block): void => {
    for (const sum of sums.flat()) {
      const total = totals.get(sum) ?? block.variable("f32", tile.group, start);
      totals.set(sum, total);
      inside.lines.push(`${total} += ${sum};`, `${sum} = ${start};`);
    }
  };
  const turns = writeWalk(block, { axes: kernel.inner, vector, unroll, flat, carry }, (inside, steps) => {
    const products = sums.map((row) => row.map((): Product[] => []));
    for (const step of steps) {
      for (let u = 0; u < (isInner ? 4 : 1); u++) {
        const values = columns.flatMap((place) =>
          Array.from(
            { length: tile.group },
            (_, c) => readElement(inside, kernel, "right", operands, place, c, step, u),
          )
        );
        const groups = sums[0]!.map((_, j) => {
          const parts = values.slice(j * tile.group, (j + 1) * tile.group);
          return tile.group === 1 ? parts[0]! : inside.let(gatherParts(parts));
        });
        sums.forEach((row, i) => {
          const a = readRow(inside, kernel, tile, operands, i, step, u);
          row.forEach((_, j) => products[i]![j]!.push([a, groups[j]!]));
        });
      }
    }
    // Products of one turn are added up first: a long sum then rounds at a fraction of its steps.
    sums.forEach((row, i) =>
      row.forEach((sum, j) => {
        const texts = products[i]![j]!.map((product, k, all) =>
          productText(inside, product, all.slice(0, k), tile.group)
        );
        inside.lines.push(`${sum} += ${inPairs(texts)};`);
      })
    );
  });
  for (const [sum, total] of totals) block.lines.push(`${sum} += ${total};`);
  return turns;
}

/** Two factors. */
type Product = readonly [string, string];

/** A product, hidden if one before it has a factor in common: a compiler might add up the others first. */
function productText(inside: Block, [a, b]: Product, before: readonly Product[], width: Width): string {
  const isAlone = before.every(([c, d]) => c !== a && d !== b);
  return isAlone ? `${a} * ${b}` : inside.shader.hidden(`${a} * ${b}`, width);
}

/** The sum of some texts, in pairs. */
function inPairs(texts: readonly string[]): string {
  if (texts.length <= 2) return texts.join(" + ");
  const half = 2 ** Math.ceil(Math.log2(texts.length) - 1);
  return `(${inPairs(texts.slice(0, half))}) + (${inPairs(texts.slice(half))})`;
}

/** Loads for one step of the inner axis. */
function loadsPerStep(kernel: Contraction, tile: Tile, { left, right }: Operands): number {
  const per = (side: Side, reading: Reading, count: number): number =>
    countLoads(kernel[side]) * (reading === "single" ? count : Math.ceil(count / 4));
  return per("left", left, tile.rows) + per("right", right, tile.groups * tile.group);
}

/** Four texts as one vector; the components of one vector in order are that vector. */
function gatherParts(parts: readonly string[]): string {
  const whole = /^(\w+)\.x$/.exec(parts[0]!)?.[1];
  if (whole !== undefined && parts.every((part, k) => part === `${whole}.${"xyzw"[k]}`)) return whole;
  return `vec4<f32>(${parts.join(", ")})`;
}

/** The element of the left operand in a row of the tile, `u` inner steps on. */
function readRow(
  inside: Block,
  kernel: Contraction,
  { rows, lanes = 1 }: Tile,
  operands: Operands,
  row: number,
  step: readonly AxisValue[],
  u: number,
): string {
  const perPlace = operands.left === "own" || (lanes === 1 && rows % 4 === 0) ? 4 : 1;
  const [number, within] = [Math.floor(row / perPlace), row % perPlace];
  const place = operands.rows[Math.floor(number / lanes)]!;
  const own = readElement(inside, kernel, "left", operands, place, within, step, u);
  return lanes === 1 ? own : inside.let(`subgroupBroadcast(${own}, ${number % lanes}u)`);
}

/** One element of an operand: number `within` of a place, `u` inner steps on. */
function readElement(
  inside: Block,
  kernel: Contraction,
  side: Side,
  operands: Operands,
  place: Place,
  within: number,
  step: readonly AxisValue[],
  u: number,
): string {
  const { batch, [side]: reading } = operands;
  const nothing = (list: readonly number[]): AxisValue[] => list.map(() => fixed(0));
  const read = (own: readonly AxisValue[], inner: readonly AxisValue[]): Value => {
    const axes = side === "left"
      ? [...batch, ...own, ...nothing(kernel.columns), ...inner]
      : [...batch, ...nothing(kernel.rows), ...own, ...inner];
    return new Emitter(inside, axes).operand(kernel[side]);
  };
  const last = kernel.inner.length - 1;
  const at = step.map((axis, k) => shifted({ ...axis, isVector: false }, k === last ? u : 0));
  if (reading === "own" && place.vector !== undefined) return component(read(place.vector, at), within);
  if (reading === "inner") return component(read(place.single[within]!, step), u);
  return read(place.single[within]!, at).text;
}
