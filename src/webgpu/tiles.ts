/**
 * The tiles in which real GPUs compute contractions, and which of them suit a product.
 *
 * Every tiling adds up each element of the output in the same order, so the choice changes the time and never
 * the bits.
 *
 * @module
 */
import { formsOf } from "../compiler/expression.ts";
import { type Contraction, points } from "../compiler/kernel.ts";
import { readingOf } from "./contraction_plan.ts";

/**
 * A tile of the output, computed by one workgroup. Its invocations lie in a grid of `rowLanes` by
 * `columnLanes`, and each sums `rowGroups` by `columnGroups` squares of four by four.
 */
export interface Tiling {
  /** Rows and columns, as in `"64x128"`. */
  readonly name: string;
  readonly rowLanes: number;
  readonly columnLanes: number;
  readonly rowGroups: 1 | 2;
  readonly columnGroups: 1 | 2;
}

/** What an adapter allows a workgroup. */
export interface WorkgroupLimits {
  /** Bytes of workgroup memory. */
  readonly storage: number;
  readonly invocations: number;
}

/** What every adapter allows. */
export const guaranteedLimits: WorkgroupLimits = { storage: 16384, invocations: 256 };

/** Which tiles to use: what the adapter allows, and the one to take where it is possible. */
export interface TileChoice {
  readonly limits: WorkgroupLimits;
  readonly tiling?: Tiling | undefined;
}

/** Steps of the inner axes between two barriers: the same for all, so that the same zeros end every sum. */
export const depth = 16;

/** Rows and columns of a tile, and its invocations. */
export function sizeOf(tiling: Tiling): { rows: number; columns: number; team: number } {
  return {
    rows: 4 * tiling.rowLanes * tiling.rowGroups,
    columns: 4 * tiling.columnLanes * tiling.columnGroups,
    team: tiling.rowLanes * tiling.columnLanes,
  };
}

function tiling(
  rowLanes: number,
  columnLanes: number,
  rowGroups: 1 | 2 = 1,
  columnGroups: 1 | 2 = 1,
): Tiling {
  const own = { name: "", rowLanes, columnLanes, rowGroups, columnGroups };
  const { rows, columns } = sizeOf(own);
  return { ...own, name: `${rows}x${columns}` };
}

/** All tilings: two for thin products, then from small to large. */
export const tilings: readonly Tiling[] = [
  tiling(4, 16),
  tiling(16, 4),
  tiling(8, 8),
  tiling(16, 16),
  tiling(16, 16, 1, 2),
  tiling(16, 16, 2, 1),
  tiling(16, 16, 2, 2),
];

/** The tiling of a name; undefined if there is none. */
export function tilingNamed(name: string): Tiling | undefined {
  return tilings.find((each) => each.name === name);
}

/** Workgroups that keep a device busy; the tuner corrects what this gets wrong on small and on large ones. */
const processors = 128;

/** How long the device is taken to need, in multiplications of a tile with one square per invocation. */
function cost(kernel: Contraction, tiling: Tiling): number {
  const { rows, columns } = sizeOf(tiling);
  const tiles = points(kernel.batch) * Math.ceil(points(kernel.rows) / rows) *
    Math.ceil(points(kernel.columns) / columns);
  // One square takes two vectors from workgroup memory for four products of vectors, four squares four for 16.
  const speed = 1 + Math.log2(tiling.rowGroups * tiling.columnGroups) / 4;
  // What is brought to workgroup memory counts as some of the products that it is used for.
  return Math.max(tiles, processors) * (rows * columns / speed + 8 * (rows + columns));
}

/** A tiling, and how long it is expected to take in units of its own. */
export interface Ranked {
  readonly tiling: Tiling;
  readonly cost: number;
}

/**
 * The tilings that an adapter allows, the most promising first; none for a contraction too small for tiles.
 * `isInParts`: its sums are shared out.
 */
export function rankTilings(
  kernel: Contraction,
  isInParts: boolean,
  { storage, invocations }: WorkgroupLimits,
): Ranked[] {
  // A thin product wastes most of a tile, but only tiles can share out a long sum.
  const isThin = Math.min(points(kernel.rows), points(kernel.columns)) < 8;
  if ((isThin && !isInParts) || points(kernel.inner) < depth) return [];
  return tilings.filter((tiling) => {
    const { rows, columns, team } = sizeOf(tiling);
    return team <= invocations && 4 * depth * (rows + columns) <= storage;
  }).map((tiling) => ({ tiling, cost: cost(kernel, tiling) })).sort((a, b) => a.cost - b.cost);
}

/**
 * What decides how fast the tilings are: sizes to within a factor of √2, how operands are read, and whether
 * their elements are guarded. Contractions of one class share what was measured for one of them.
 */
export function classOf(kernel: Contraction): string {
  const sizes = [kernel.batch, kernel.rows, kernel.columns, kernel.inner].map((axes) =>
    Math.round(2 * Math.log2(points(axes))) / 2
  );
  const operands = (["left", "right"] as const).map((side) =>
    `${readingOf(kernel, side).reading} ${formsOf(kernel[side]).length}`
  );
  return [...sizes.map((size) => `2^${size}`), ...operands].join(", ");
}
