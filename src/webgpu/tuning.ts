/**
 * Choosing tiles by measuring: for a large contraction the promising tilings are run once, when it is compiled,
 * and the fastest is remembered for all contractions of its class.
 *
 * All tilings give the same bits, so it does not matter if the next measurement ends otherwise.
 *
 * @module
 */
import { type Kernel, points } from "../compiler/kernel.ts";
import { planForGpu } from "./contraction_gpu.ts";
import type { TileMemory } from "./tile_memory.ts";
import {
  classOf,
  rankTilings,
  type TileChoice,
  type Tiling,
  tilingNamed,
  tilings,
  type WorkgroupLimits,
} from "./tiles.ts";

/** How tiles are chosen: by measuring, by rule, or always the same. */
export type TuneSetting = "on" | "off" | Tiling;

/** Multiplications below which a contraction is too short to be worth a measurement: each candidate compiles for 0.1 to 0.3 s. */
const leastWork = 2 ** 31;
/** Tilings whose expected time is this much longer than the shortest are not tried. */
const hopeless = 1.6;
/** How many are tried at most. */
const mostTried = 3;

/** What a setting means: `on`, `off` or the name of a tiling; by default real GPUs are tuned. */
export function tuneSetting(asked: string | undefined, isSoftware: boolean): TuneSetting {
  if (asked === undefined) return isSoftware ? "off" : "on";
  if (asked === "on" || asked === "off") return asked;
  const tiling = tilingNamed(asked);
  if (tiling !== undefined) return tiling;
  const names = tilings.map(({ name }) => name).join(", ");
  throw new RangeError(`Cannot use ALLSPARK_WEBGPU_TUNE=${asked}: it must be on, off or one of ${names}`);
}

/** Chooses the tiles of a device's contractions. */
export class Tuner {
  constructor(
    readonly setting: TuneSetting,
    readonly limits: WorkgroupLimits,
    readonly memory: TileMemory,
    readonly least: number = leastWork,
  ) {}

  /**
   * The tiles for a kernel. `measure` gives milliseconds for each of several tilings, or undefined where that
   * cannot be done; without it only what is known already is used.
   */
  choose(kernel: Kernel, measure?: (tilings: readonly Tiling[]) => number[] | undefined): TileChoice {
    const { limits, setting, memory } = this;
    if (kernel.kind !== "contraction" || setting === "off") return { limits };
    if (setting !== "on") return { limits, tiling: setting };
    const { batch, rows, columns, inner } = kernel;
    if (points([...batch, ...rows, ...columns, ...inner]) < this.least) return { limits };
    const { kernel: plan, parts } = planForGpu(kernel);
    const ranked = rankTilings(plan, parts !== undefined, limits);
    const promising = ranked.filter(({ cost }) => cost <= hopeless * ranked[0]!.cost).slice(0, mostTried);
    if (promising.length < 2) return { limits };
    const key = classOf(plan);
    const known = tilingNamed(memory.get(key) ?? "");
    if (known !== undefined) return { limits, tiling: known };
    const tried = promising.map(({ tiling }) => tiling);
    const times = measure?.(tried);
    if (times === undefined) return { limits };
    const tiling = tried[times.indexOf(Math.min(...times))]!;
    memory.set(key, tiling.name);
    return { limits, tiling };
  }
}
