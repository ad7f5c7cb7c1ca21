/**
 * Contractions for real GPUs: a workgroup computes a tile of the output. In every turn it brings what it needs
 * of both operands for some steps of the inner axes to workgroup memory, once for all its invocations; each of
 * these then adds to its sums in registers.
 *
 * Barriers stand only where all invocations come by together, which browsers insist on.
 *
 * @module
 */
import { formsOf } from "../compiler/expression.ts";
import { type Contraction, points } from "../compiler/kernel.ts";
import { layoutOf, ownAxes, type Reading, readingOf, type Side } from "./contraction_plan.ts";
import type { Dispatch } from "./schedule.ts";
import { depth, sizeOf, type Tiling } from "./tiles.ts";
import { type AxisValue, decodeAxes, fixed } from "./wgsl_axes.ts";
import { Block, Shader } from "./wgsl.ts";
import { component, Emitter, type Value, widened } from "./wgsl_expression.ts";
import { decodeTile, type Place, placesAlong, tilesAlong, writeStores } from "./wgsl_tile.ts";

/** How a contraction is computed by tiles. */
export interface TileOptions {
  readonly tiling: Tiling;
  /** Inputs from this number on are scratch buffers. */
  readonly scratchFrom: number;
  /** Output 0 is this scratch buffer. */
  readonly toScratch?: number;
  /** Each step of the first batch axis sums so many steps of the inner axes. */
  readonly stepsPerPart?: number;
}

/** One operand in workgroup memory: `depth` rows of vectors, each of which is four neighbours of its own axis. */
interface Panel {
  readonly side: Side;
  /** The first vector of the tile among those of the whole operand. */
  readonly first: string;
  /** Vectors per step of the inner axes. */
  readonly groups: number;
  /** The number of the invocation among those that fill the panel. */
  readonly worker: string;
  readonly team: number;
}

/** The dispatch of an oriented contraction. */
export function contractByTiles(
  kernel: Contraction,
  { tiling, scratchFrom, toScratch, stepsPerPart }: TileOptions,
): Dispatch {
  const { rowLanes, columnLanes, rowGroups, columnGroups } = tiling;
  const { rows, columns, team } = sizeOf(tiling);
  const shader = new Shader({ ...kernel, workgroup: team, scratchFrom, toScratch, parameters: "uniform" });
  const block = shader.body;
  shader.shared("leftTile", "vec4<f32>", depth * rows / 4);
  shader.shared("rightTile", "vec4<f32>", depth * columns / 4);
  const rowTiles = tilesAlong(kernel.rows, rows);
  const columnTiles = tilesAlong(kernel.columns, columns);
  const number = shader.begin(points(kernel.batch) * rowTiles * columnTiles, "workgroup");
  const { batchNumber, rowTile, columnTile } = decodeTile(block, number, kernel, { rowTiles, columnTiles });
  const batch = decodeAxes(block, batchNumber, kernel.batch, undefined, "batch");
  const firstRow = block.let(`${rowTile} * ${rows / 4}u`);
  const firstColumn = block.let(`${columnTile} * ${columns / 4}u`);
  const [x, y] = [block.let(`local.x % ${columnLanes}u`), block.let(`local.x / ${columnLanes}u`)];
  // Where a panel takes half of the invocations, each panel takes another half.
  const opposite = block.let(`local.x ^ ${team / 2}u`);

  const sums = Array.from(
    { length: 4 * rowGroups },
    () => Array.from({ length: columnGroups }, () => block.variable("f32", 4, shader.start("sum", "f32", 4))),
  );
  const step = shader.fresh();
  const inside = new Block(shader, block);
  const left = { side: "left", first: firstRow, groups: rows / 4, worker: "local.x", team } as const;
  const right = { side: "right", first: firstColumn, groups: columns / 4, worker: opposite, team } as const;
  fill(inside, kernel, left, step, batch);
  fill(inside, kernel, right, step, batch);
  inside.lines.push("workgroupBarrier();");
  multiply(inside, tiling, stepsWritten(kernel, stepsPerPart ?? points(kernel.inner)), [x, y], sums);
  inside.lines.push("workgroupBarrier();");
  const inner = shader.number("inner", points(kernel.inner), "u32");
  const [begin, end] = stepsPerPart === undefined
    ? ["0u", inner]
    : partOf(block, batch[0]!, stepsPerPart, inner);
  block.nest(`for (var ${step} = ${begin}; ${step} < ${end}; ${step} += ${depth}u)`, inside);

  // Neighbouring invocations hold neighbouring vectors, so that they read and write side by side.
  const places = (side: Side, first: string, lane: string, lanes: number, count: number): Place[] =>
    Array.from({ length: count }, (_, k) => {
      const group = block.let(k === 0 ? `${first} + ${lane}` : `${first} + ${lane} + ${k * lanes}u`);
      return placeAt(block, kernel, side, group, 4 * lanes * count);
    });
  const ownRows = places("left", firstRow, y, rowLanes, rowGroups);
  const ownColumns = places("right", firstColumn, x, columnLanes, columnGroups);
  const own = { rows: 4 * rowGroups, groups: columnGroups, group: 4 } as const;
  writeStores(block, kernel, own, { batch, columns: ownColumns, sums }, ownRows);
  return shader.finish(Math.ceil(points(kernel.inner) / depth) * (1 + depth));
}

/** Where a part of the inner axes begins and ends. */
function partOf(block: Block, part: AxisValue, steps: number, inner: string): [begin: string, end: string] {
  const length = block.shader.number("steps", steps, "u32");
  const begin = block.let(`u32(${part.text}) * ${length}`);
  return [begin, block.let(`min(${begin} + ${length}, ${inner})`)];
}

/**
 * Steps whose products are written out. More run faster and compile longer: all 16 of a turn against 4 took 0.82 of
 * the time in a product of 4096, and twice as long to compile (H200), so that is for large products.
 */
function stepsWritten({ batch, rows, columns }: Contraction, stepsPerResult: number): number {
  return points([...batch, ...rows, ...columns]) * stepsPerResult >= 2 ** 31 ? depth : 4;
}

/** The products of one turn. */
function multiply(
  inside: Block,
  { rowLanes, columnLanes, rowGroups, columnGroups }: Tiling,
  written: number,
  [x, y]: readonly [string, string],
  sums: readonly (readonly string[])[],
): void {
  const first = inside.shader.fresh();
  const block = written === depth ? inside : new Block(inside.shader, inside);
  const vectors = (panel: string, lane: string, lanes: number, count: number): (k: number) => string[] => {
    const length = lanes * count;
    const base = written === depth ? lane : block.define(`${first} * ${length}u + ${lane}`);
    return (k) =>
      Array.from({ length: count }, (_, j) => block.define(`${panel}[${base} + ${k * length + j * lanes}u]`));
  };
  const leftAt = vectors("leftTile", y, rowLanes, rowGroups);
  const rightAt = vectors("rightTile", x, columnLanes, columnGroups);
  for (let k = 0; k < written; k++) {
    const [left, right] = [leftAt(k), rightAt(k)];
    sums.forEach((row, i) => {
      const factor = `vec4<f32>(${left[i >> 2]}.${"xyzw"[i & 3]})`;
      // Said to be one operation, so that no compiler rounds in one tiling and not in another.
      row.forEach((sum, j) => block.lines.push(`${sum} = fma(${factor}, ${right[j]}, ${sum});`));
    });
  }
  if (block !== inside) {
    inside.nest(`for (var ${first} = 0u; ${first} < ${depth}u; ${first} += ${written}u)`, block);
  }
}

/** Fills a panel: neighbouring invocations read neighbouring addresses. */
function fill(
  inside: Block,
  kernel: Contraction,
  panel: Panel,
  step: string,
  batch: readonly AxisValue[],
): void {
  const { side, worker, groups, team } = panel;
  const { reading } = readingOf(kernel, side);
  const quads = reading === "inner";
  // What an invocation takes at once: four steps of the inner axes, or one.
  const steps = quads ? depth / 4 : depth;
  const units = groups * steps;
  const isIdle = units < team;
  const target = isIdle ? new Block(inside.shader, inside) : inside;
  const innerFirst = quads || (reading === "single" && !isOwnCloser(kernel, side));
  const outer = inside.shader.body;
  const length = points(kernel.inner);
  const end = length % depth === 0
    ? undefined
    : inside.shader.number(quads ? "inner quads" : "inner", length / (quads ? 4 : 1), "u32");
  for (let round = 0; round < Math.ceil(units / team); round++) {
    const split = (size: number): [string, string] => {
      const quotient = outer.let(`${worker} / ${size}u`);
      const later = round === 0 ? quotient : outer.let(`${quotient} + ${round * team / size}u`);
      return [outer.let(`${worker} % ${size}u`), later];
    };
    const [fast, slow] = split(innerFirst ? steps : groups);
    const [group, k] = innerFirst ? [slow, fast] : [fast, slow];
    const place = placeAt(outer, kernel, side, outer.let(`${panel.first} + ${group}`), 4 * groups);
    const at = target.let(quads ? `(${step} >> 2u) + ${k}` : `${step} + ${k}`);
    const vectors = readGroup(target, kernel, side, batch, place, at, reading);
    // Past the end both operands are zero: a NaN in memory must not get into the sum.
    vectors.forEach((vector, c) => {
      const row = quads ? `(${k} * 4u + ${c}u)` : k;
      const value = end === undefined ? vector : `select(vec4<f32>(0.0f), ${vector}, ${at} < ${end})`;
      target.lines.push(`${side}Tile[${row} * ${groups}u + ${group}] = ${value};`);
    });
  }
  if (isIdle) inside.nest(`if (${worker} < ${units}u)`, target);
}

/** Four neighbours of a side, by their number; `perTile` = rows or columns of a tile, of which the last may be cut off. */
function placeAt(block: Block, kernel: Contraction, side: Side, group: string, perTile: number): Place {
  const [own] = ownAxes(kernel, side);
  const isPadded = points(own) % perTile !== 0;
  return placesAlong(block, group, kernel, { side, length: 4, isPadded })[0]!;
}

/** Four neighbours of a side at one step of the inner axes; or at four steps, where these lie side by side. */
function readGroup(
  target: Block,
  kernel: Contraction,
  side: Side,
  batch: readonly AxisValue[],
  place: Place,
  at: string,
  reading: Reading,
): string[] {
  const last = kernel.inner.length - 1;
  const quads = reading === "inner";
  const inner = decodeAxes(target, at, kernel.inner, quads ? last : undefined, quads ? "quads" : "inner");
  const nothing = (list: readonly number[]): AxisValue[] => list.map(() => fixed(0));
  const read = (own: readonly AxisValue[]): Value => {
    const sides = side === "left" ? [...own, ...nothing(kernel.columns)] : [...nothing(kernel.rows), ...own];
    return new Emitter(target, [...batch, ...sides, ...inner]).operand(kernel[side]);
  };
  if (reading === "own" && place.vector !== undefined) return [widened(read(place.vector), "f32", 4)];
  const values = place.single.map(read);
  return Array.from(
    { length: quads ? 4 : 1 },
    (_, c) => `vec4<f32>(${values.map((value) => component(value, c)).join(", ")})`,
  );
}

/** Whether neighbours of the operand's own axis lie closer together in memory than those of the inner axes. */
function isOwnCloser(kernel: Contraction, side: Side): boolean {
  const [own, first] = ownAxes(kernel, side);
  const coefficients = formsOf(kernel[side])[0]?.coefficients ?? [];
  const distance = (axis: number): number => Math.abs(coefficients[axis] ?? 0) || Infinity;
  return distance(first + own.length - 1) <= distance(layoutOf(kernel).end - 1);
}
