/**
 * Contractions for real GPUs: a workgroup computes a square tile of the output, and brings what it needs of
 * both operands to workgroup memory once for all its invocations, each of which sums four rows by four columns.
 *
 * @module
 */
import { type Contraction, points } from "../compiler/kernel.ts";
import { readingOf, type Side } from "./contraction_plan.ts";
import { checkTurns, type Dispatch, type Family } from "./schedule.ts";
import { type AxisValue, decodeAxes, fixed } from "./wgsl_axes.ts";
import { Block, Shader } from "./wgsl.ts";
import { Emitter, widened } from "./wgsl_expression.ts";

import { placesAlong, type Tile, tilesAlong, writeStores } from "./wgsl_tile.ts";

const perInvocation: Tile = { rows: 4, groups: 1, group: 4 };

/** Invocations along one side of a tile; the tile is four times as wide. Undefined: too little for tiles. */
export function sharedSide(kernel: Contraction): 8 | 16 | undefined {
  const [m, n] = [points(kernel.rows), points(kernel.columns)];
  if (Math.min(m, n) < 16 || points(kernel.inner) < 16) return undefined;
  const tiles = points(kernel.batch) * Math.ceil(m / 64) * Math.ceil(n / 64);
  return Math.min(m, n) >= 48 && tiles >= 64 ? 16 : 8;
}

/** The dispatch of an oriented contraction, with `side` by `side` invocations per tile. */
export function contractByTiles(
  kernel: Contraction,
  { family, scratchFrom, side }: { family: Family; scratchFrom: number; side: 8 | 16 },
): Dispatch {
  const team = side * side;
  const shader = new Shader({ ...kernel, workgroup: team, scratchFrom });
  const block = shader.body;
  shader.shared("leftTile", "vec4<f32>", team);
  shader.shared("rightTile", "vec4<f32>", team);
  const rowTiles = tilesAlong(kernel.rows, 4 * side);
  const columnTiles = tilesAlong(kernel.columns, 4 * side);
  const number = shader.begin(points(kernel.batch) * rowTiles * columnTiles, "workgroup");
  const rest = block.let(`${number} / ${columnTiles}u`);
  const batch = decodeAxes(block, block.let(`${rest} / ${rowTiles}u`), kernel.batch, undefined, "batch");
  const firstRow = block.let(`(${rest} % ${rowTiles}u) * ${side}u`);
  const firstColumn = block.let(`(${number} % ${columnTiles}u) * ${side}u`);
  const [x, y] = [block.let(`local.x % ${side}u`), block.let(`local.x / ${side}u`)];

  const inner = points(kernel.inner);
  const sums = Array.from({ length: 4 }, () => [block.variable("f32", 4, "vec4<f32>(0.0f)")]);
  const inside = new Block(shader, block);
  const step = shader.fresh();
  fill(inside, kernel, "left", { first: firstRow, step, side, x, y, batch });
  fill(inside, kernel, "right", { first: firstColumn, step, side, x, y, batch });
  inside.lines.push("workgroupBarrier();");
  for (let k = 0; k < side; k++) {
    const [a, b] = [
      inside.define(`leftTile[${k * side}u + ${y}]`),
      inside.define(`rightTile[${k * side}u + ${x}]`),
    ];
    sums.forEach(([sum], i) => inside.lines.push(`${sum} += ${a}.${"xyzw"[i]} * ${b};`));
  }
  inside.lines.push("workgroupBarrier();");
  block.nest(`for (var ${step} = 0u; ${step} < ${inner}u; ${step} += ${side}u)`, inside);
  checkTurns(kernel.label, Math.ceil(inner / side), family);

  const rows = placesAlong(block, block.let(`${firstRow} + ${y}`), kernel, {
    side: "left",
    length: 4,
    isPadded: true,
  });
  const columns = placesAlong(block, block.let(`${firstColumn} + ${x}`), kernel, {
    side: "right",
    length: 4,
    isPadded: true,
  });
  writeStores(block, kernel, perInvocation, { batch, columns, sums }, rows);
  return shader.finish();
}

/** Every invocation brings four neighbouring rows (or columns) at one step of the inner axes. */
function fill(
  inside: Block,
  kernel: Contraction,
  which: Side,
  { first, step, side, x, y, batch }: {
    first: string;
    step: string;
    side: number;
    x: string;
    y: string;
    batch: readonly AxisValue[];
  },
): void {
  const outer = inside.parent!;
  const isLeft = which === "left";
  // Neighbouring invocations read neighbouring addresses.
  const { reading } = readingOf(kernel, which);
  const [group, k] = reading === "own" ? [x, y] : [y, x];
  const [place] = placesAlong(outer, outer.let(`${first} + ${group}`), kernel, {
    side: which,
    length: 4,
    isPadded: true,
  });
  const at = inside.let(`${step} + ${k}`);
  const inner = decodeAxes(inside, at, kernel.inner, undefined, "inner");
  const nothing = (list: readonly number[]): AxisValue[] => list.map(() => fixed(0));
  const read = (own: readonly AxisValue[]) =>
    new Emitter(
      inside,
      isLeft
        ? [...batch, ...own, ...nothing(kernel.columns), ...inner]
        : [...batch, ...nothing(kernel.rows), ...own, ...inner],
    ).value(kernel[which]);
  const value = place!.vector === undefined || reading !== "own"
    ? `vec4<f32>(${place!.single.map((own) => read(own).text).join(", ")})`
    : widened(read(place!.vector), "f32", 4);
  // Past the end both operands are zero: a NaN in memory must not get into the sum.
  inside.lines.push(
    `${which}Tile[${k} * ${side}u + ${group}] = select(vec4<f32>(0.0f), ${value}, ${at} < ${
      points(kernel.inner)
    }u);`,
  );
}
