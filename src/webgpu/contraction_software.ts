/**
 * Choosing the tile of a contraction on the software adapter.
 *
 * llvmpipe runs eight invocations as one vector, but loads and stores run as a loop over them: that is what
 * takes the time. Invocations that share rows therefore read each of these once, an eighth of them each, and
 * pass them on by `subgroupBroadcast`, which is one instruction.
 *
 * @module
 */
import { type Contraction, points } from "../compiler/kernel.ts";
import { readingOf, storesWhole } from "./contraction_plan.ts";
import { sharedReading } from "./wgsl_contraction.ts";
import { type Tile, tilesAlong } from "./wgsl_tile.ts";

/** Nanoseconds on llvmpipe with vectors of eight, measured: a multiplication with its sum, for all eight. */
const perProduct = 0.33;
/** A workgroup that does nothing. */
const perWorkgroup = 700;
/** To compile one load or store, and one product, spread over 500 runs. */
const compileAccess = 5000;
const compileProduct = 1200;
/** Threads that run workgroups. */
const threads = 2;

/** The tile that is likely to cost the least, compilation included; `lanes` = invocations of a subgroup. */
export function softwareTile(kernel: Contraction, lanes: number): Tile {
  const candidates = [...candidatesOf(kernel, 1), ...(lanes > 1 ? candidatesOf(kernel, lanes) : [])];
  const costs = candidates.map((tile) => costOf(kernel, tile, Math.max(8, lanes)));
  return candidates[costs.indexOf(Math.min(...costs))]!;
}

function candidatesOf(kernel: Contraction, lanes: number): Tile[] {
  const [m, n] = [points(kernel.rows), points(kernel.columns)];
  if (n < 4 && lanes > 1) return [];
  const rows = m < 4 ? [m] : (lanes > 1 ? [4, 8, 16, 32] : [4, 8]).filter((each) => each <= Math.max(4, m));
  return rows.flatMap((rows): Tile[] =>
    n < 4
      ? [{ rows, groups: n, group: 1, lanes }]
      : [1, 2, 4].filter((groups) => groups * rows <= 32 && groups * 2 <= n)
        .map((groups) => ({ rows, groups, group: 4, lanes }))
  );
}

/** Nanoseconds of a run, and the run's share of compiling; `width` = invocations that run as one vector. */
function costOf(kernel: Contraction, tile: Tile, width: number): number {
  const { rows, groups, group, lanes = 1 } = tile;
  const columns = groups * group;
  const right = columns * readingOf(kernel, "right", true).cost;
  const left = lanes > 1
    ? sharedReading(kernel, rows, lanes).cost
    : rows * readingOf(kernel, "left", true).cost;
  const whole = group === 4 && kernel.outputs.every((_, output) => storesWhole(kernel, output));
  const stores = kernel.stores.length * rows * groups * (whole ? 1 : group);
  const step = left + right + rows * columns * perProduct;
  const each = points(kernel.inner) * step + stores * (whole ? 25 : 12) + perWorkgroup;
  const tiles = points(kernel.batch) * tilesAlong(kernel.rows, rows) *
    tilesAlong(kernel.columns, columns * lanes);
  const groupsOfWork = lanes > 1 ? tiles : tiles / width;
  const compile = compileAccess * (stores + (left + right) / 8) + compileProduct * rows * groups;
  return Math.ceil(Math.ceil(groupsOfWork) / threads) * each + compile;
}
