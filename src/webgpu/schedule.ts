/**
 * What a kernel becomes on the device: dispatches in order, and the scratch memory that they share.
 *
 * @module
 */
import { DeviceError } from "../errors.ts";

/** Which kernels suit the adapter: shared-memory tiles, or register tiles without barriers. */
export type Family = "gpu" | "software";

/** How a shader uses a buffer. */
export type Access = "read" | "read_write" | "uniform";

/** A buffer that a dispatch binds. */
export interface Binding {
  readonly kind: "input" | "output" | "scratch" | "constants";
  /** Number of the input, output or scratch buffer. */
  readonly index: number;
  readonly access: Access;
  /** The content of a `constants` buffer. */
  readonly words?: readonly number[];
}

/** Where shaders for a family keep what differs between kernels of one shader: see `ShaderOptions`. */
export function parametersOf(family: Family): "uniform" | "storage" {
  return family === "gpu" ? "uniform" : "storage";
}

/** A binding as a shader declares it: an array of elements of `type`. */
export interface Variable extends Binding {
  readonly name: string;
  readonly type: string;
}

/** What a shader is made of. */
export interface ShaderParts {
  readonly bindings: readonly Variable[];
  /** Declarations of arrays in workgroup memory. */
  readonly shared: readonly string[];
  readonly functions: readonly string[];
  /** Lines of the main function, which knows `group` and `local`. */
  readonly body: readonly string[];
  /** Invocations per workgroup. */
  readonly workgroup: number;
}

/** One shader and how often it runs. */
export interface Dispatch {
  readonly label: string;
  readonly code: string;
  readonly parts: ShaderParts;
  readonly workgroups: readonly [number, number, number];
  /** Turns of all loops of one invocation, at most. */
  readonly turns: number;
}

/** A kernel ready for compilation. `scratch` = elements of each scratch buffer. */
export interface Schedule {
  readonly dispatches: readonly Dispatch[];
  readonly scratch: readonly number[];
  /** The name of the tiles in which a contraction is computed, if it is. */
  readonly tiles?: string | undefined;
}

/** Most workgroups along one dimension of a dispatch. */
export const mostWorkgroups = 65535;

/** Lays `count` workgroups out in as many dimensions as it takes. */
export function layWorkgroups(count: number): [number, number, number] {
  if (count <= mostWorkgroups) return [count, 1, 1];
  const rows = Math.ceil(count / mostWorkgroups);
  if (rows <= mostWorkgroups) return [Math.ceil(count / rows), rows, 1];
  const planes = Math.ceil(rows / mostWorkgroups);
  const perPlane = Math.ceil(rows / planes);
  return [Math.ceil(count / (perPlane * planes)), perPlane, planes];
}

/**
 * llvmpipe ends an invocation after 65,535 turns of all its loops together, silently; so a generator counts
 * the turns and refuses what would come out wrong.
 */
export const mostTurns = 65000;

/** Checks the turns of all loops of one invocation, and returns them. */
export function checkTurns(label: string, turns: number, family: Family): number {
  if (family === "software" && turns > mostTurns) {
    throw new DeviceError(
      `Cannot run ${label} on the software adapter: one invocation takes ${turns} loop turns, at most ${mostTurns} are executed; use the cpu device`,
      label,
    );
  }
  return turns;
}
