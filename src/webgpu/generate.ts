/**
 * From a kernel to its dispatches: which generator, and what goes before.
 *
 * @module
 */
import { loadsOf } from "../compiler/expression.ts";
import { type Contraction, type Fold, type Kernel, points } from "../compiler/kernel.ts";
import { planForGpu } from "./contraction_gpu.ts";
import { deferStores, packOperand, storeLoads } from "./contraction_parts.ts";
import { softwareTile } from "./contraction_software.ts";
import { orient } from "./contraction_plan.ts";
import { type Dispatch, type Family, mostTurns, type Schedule } from "./schedule.ts";
import { neighboursLast, simplifyFold } from "./simplify.ts";
import { contractByRegisters, tileOf } from "./wgsl_contraction.ts";
import { guaranteedLimits, rankTilings, type TileChoice } from "./tiles.ts";
import { contractByTiles } from "./wgsl_contraction_shared.ts";
import { cumulate } from "./wgsl_cumulative.ts";
import { foldByLanes, type FoldOptions } from "./wgsl_fold.ts";
import { foldByTeams } from "./wgsl_fold_team.ts";
import { scatter } from "./wgsl_scatter.ts";
import { rowsPerTurn } from "./wgsl_tile.ts";
import { sort } from "./wgsl_sort.ts";

/** How a contraction finds its buffers. */
type Target = FoldOptions & { readonly scratchFrom: number; readonly lanes?: number };

/** Stores with more loads than this in one tile are done by a fold of their own. */
const mostStoreLoads = 16;

/**
 * The dispatches of a kernel; none if there is nothing to compute. `lanes` = invocations of a subgroup, 1 if
 * the adapter has none.
 */
export function generate(
  kernel: Kernel,
  family: Family,
  tiles: TileChoice = { limits: guaranteedLimits },
  lanes = 1,
): Schedule {
  switch (kernel.kind) {
    case "fold":
      return { dispatches: fold(kernel, { family }), scratch: [] };
    case "contraction":
      return contraction(kernel, family, tiles, lanes);
    case "cumulative":
      return cumulate(kernel, family);
    case "sort":
      return sort(kernel, family);
    case "scatter":
      return scatter(kernel, family);
  }
}

function fold(kernel: Fold, options: FoldOptions): Dispatch[] {
  const simple = simplifyFold(kernel);
  if (points(simple.axes) === 0) return [];
  if (isTeamWork(simple, options.family)) return [foldByTeams(simple, options)];
  // llvmpipe loads lane by lane, wherever the lanes read.
  return [foldByLanes(options.family === "gpu" ? neighboursLast(simple) : simple, options)];
}

/** Whether the rows of a fold are long enough to be shared by a team. */
function isTeamWork(kernel: Fold, family: Family): boolean {
  const walks = [...kernel.stages, ...kernel.stores].map((walk) => points(walk.axes));
  if (kernel.stages.length === 0) return false;
  const longest = Math.max(...walks);
  // One invocation of the software adapter could not finish even with four elements per turn.
  if (family === "software") return walks.reduce((sum, length) => sum + length, 0) > mostTurns / 2;
  return longest >= 32 && (points(kernel.axes) < 4096 || liesInRows(kernel));
}

/** Whether at least half of what the stages load lies side by side along the rows rather than across them. */
function liesInRows({ axes, stages }: Fold): boolean {
  let more = 0;
  for (const { at: { coefficients } } of stages.flatMap(({ value }) => loadsOf(value))) {
    const isStep = (c: number): boolean => Math.abs(c) === 1;
    more += Number(coefficients.slice(axes.length).some(isStep)) -
      Number(coefficients.slice(0, axes.length).some(isStep));
  }
  return more >= 0;
}

function contraction(
  given: Contraction,
  family: Family,
  { limits, tiling: wanted }: TileChoice,
  lanes: number,
): Schedule {
  if (points(given.rows) * points(given.columns) * points(given.batch) === 0) {
    return { dispatches: [], scratch: [] };
  }
  if (family === "software") {
    return byRegisters(orient(given), { family, scratchFrom: given.inputs.length, lanes });
  }
  const own: Target = { family, scratchFrom: given.inputs.length };
  const { kernel, parts } = planForGpu(given);
  const ranked = rankTilings(kernel, parts !== undefined, limits);
  if (ranked.length === 0) return byRegisters(orient(given), own);
  const { tiling } = ranked.find((each) => each.tiling === wanted) ?? ranked[0]!;
  if (parts === undefined) {
    return { dispatches: [contractByTiles(kernel, { ...own, tiling })], scratch: [], tiles: tiling.name };
  }
  const summed = contractByTiles(kernel, { ...own, tiling, toScratch: 0, stepsPerPart: parts.steps });
  return { dispatches: [summed, ...fold(parts.fold, own)], scratch: [parts.length], tiles: tiling.name };
}

/** An oriented contraction by tiles in registers. */
function byRegisters(given: Contraction, options: Target): Schedule {
  let kernel = given;
  const { family, scratchFrom, lanes = 1 } = options;
  const tile = family === "software" ? softwareTile(kernel, lanes) : tileOf(kernel, 4096);
  const dispatches: Dispatch[] = [];
  const scratch: number[] = [];
  for (const which of ["left", "right"] as const) {
    const across = which === "left"
      ? Math.ceil(points(kernel.columns) / (tile.groups * tile.group * (tile.lanes ?? 1)))
      : Math.ceil(points(kernel.rows) / tile.rows);
    const packed = packOperand(kernel, which, across);
    if (packed === undefined) continue;
    dispatches.push(...fold(packed.fold, { family, scratchFrom, toScratch: scratch.length }));
    scratch.push(packed.length);
    kernel = packed.kernel;
  }
  const rowsWritten = family === "software" ? Math.min(rowsPerTurn, tile.rows) : tile.rows;
  if (storeLoads(kernel) * rowsWritten * tile.groups <= mostStoreLoads) {
    dispatches.push(contractByRegisters(kernel, { ...options, tile }));
    return { dispatches, scratch };
  }
  const parts = deferStores(kernel);
  // Scratch buffers are numbered in the order in which they become inputs.
  const toScratch = scratch.push(parts.length) - 1;
  dispatches.push(
    contractByRegisters(parts.kernel, { family, scratchFrom, tile, toScratch }),
    ...fold(parts.fold, { family, scratchFrom }),
  );
  return { dispatches, scratch };
}
