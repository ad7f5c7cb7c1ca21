/**
 * The launches of a program with what each dispatch binds: not yet memory, but where a run finds it.
 *
 * @module
 */
import type { Launch, ProgramBuffer } from "../compiler/kernel.ts";
import type { Dispatch, Schedule } from "./schedule.ts";
import type { Window } from "./windows.ts";

/** Where a binding finds its memory in a run. */
export interface Source {
  readonly kind: "input" | "output" | "temporary" | "scratch" | "constants";
  readonly index: number;
}

/** A part of some memory, in bytes. */
export interface BoundBinding {
  readonly source: Source;
  readonly offset: number;
  readonly size: number;
}

/** A dispatch with the memory of each of its bindings. */
export interface BoundDispatch {
  readonly dispatch: Dispatch;
  readonly bindings: readonly BoundBinding[];
}

/** Dispatches between which nothing is copied. */
export interface BoundLaunch {
  readonly label: string;
  readonly dispatches: readonly BoundDispatch[];
  /** What they read, and what they write. */
  readonly inputs: readonly Source[];
  readonly outputs: readonly Source[];
}

/** The schedule of a launch, or of a piece of it, and the windows of the launch's buffers that it sees. */
export interface LaunchPiece {
  readonly schedule: Schedule;
  readonly inputs: readonly Window[];
  readonly outputs: readonly Window[];
}

/** Bindings are padded to this many bytes, so that a last vector of four is whole. */
const padding = 16;

/** A launch on the buffers of its program. */
export function bindLaunch(
  launch: Launch,
  pieces: readonly LaunchPiece[],
  buffers: readonly ProgramBuffer[],
): BoundLaunch {
  const sources = (list: readonly number[]): Source[] =>
    list.map((buffer) => {
      const { kind, index } = buffers[buffer]!.place;
      return { kind, index };
    });
  const own = { input: sources(launch.inputs), output: sources(launch.outputs) };
  const bind = ({ schedule, ...piece }: LaunchPiece, dispatch: Dispatch): BoundDispatch => ({
    dispatch,
    bindings: dispatch.parts.bindings.map(({ kind, index, words }): BoundBinding => {
      if (kind === "constants") return { source: { kind, index }, offset: 0, size: padded(words!.length) };
      if (kind === "scratch") {
        return { source: { kind, index }, offset: 0, size: padded(schedule.scratch[index]!) };
      }
      const { first, length } = piece[`${kind}s`][index]!;
      return { source: own[kind][index]!, offset: 4 * first, size: padded(length) };
    }),
  });
  return {
    label: labelOf(launch, pieces),
    dispatches: pieces.flatMap((piece) => piece.schedule.dispatches.map((each) => bind(piece, each))),
    inputs: own.input,
    outputs: own.output,
  };
}

/** The kernel's label, with the tiles in which it is computed. */
function labelOf({ kernel }: Launch, pieces: readonly LaunchPiece[]): string {
  const tiles = pieces[0]?.schedule.tiles;
  return tiles === undefined ? kernel.label : `${kernel.label} in tiles of ${tiles}`;
}

/** Bytes of a binding of this many elements. */
function padded(length: number): number {
  return Math.max(padding, Math.ceil((4 * length) / padding) * padding);
}
