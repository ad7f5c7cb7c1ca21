/**
 * Whether the arrays of a file are those that somebody wants: the names, and the shape of each.
 *
 * @module
 */
import type { ArrayEntry } from "./array.ts";
import { brief, FileFormatError, shown } from "./errors.ts";

/** An array that is wanted. */
export interface Wanted {
  /** Its name in the file. */
  readonly name: string;
  /** Its shape. */
  readonly shape: readonly number[];
}

/** The arrays that do not fit, each as a message shows it. */
export interface Misfits {
  /** Wanted and not there. */
  readonly missing: readonly string[];
  /** There and not wanted. */
  readonly unexpected: readonly string[];
  /** Of another shape than wanted. */
  readonly misshapen: readonly string[];
}

/** How many names of a kind a message shows. */
const SHOWN_NAMES = 8;

/** Compares the arrays of a file with those that are wanted. */
export function compareArrays(
  wanted: readonly Wanted[],
  arrays: ReadonlyMap<string, ArrayEntry>,
): Misfits {
  const names = new Set(wanted.map(({ name }) => name));
  return {
    missing: wanted.filter(({ name }) => !arrays.has(name)).map(({ name }) => name),
    unexpected: [...arrays.keys()].filter((name) => !names.has(name)).map((name) => shown(name)),
    misshapen: wanted.filter((array) => arrays.has(array.name) && !fits(array, arrays)).map((
      { name, shape },
    ) => `${name} ${brief(arrays.get(name)!.shape)} instead of ${brief(shape)}`),
  };
}

/** Whether a wanted array is there, in its shape. */
export function fits({ name, shape }: Wanted, arrays: ReadonlyMap<string, ArrayEntry>): boolean {
  return arrays.get(name)?.shape.join() === shape.join();
}

/** What does not fit, in words: how many arrays of each kind, and the first of them; empty if all fit. */
export function describeMisfits(misfits: Misfits): string {
  return Object.entries(misfits).filter(([, names]) => names.length > 0).map(([kind, names]) => {
    const more = names.length > SHOWN_NAMES ? ` and ${names.length - SHOWN_NAMES} more` : "";
    return `${names.length} ${kind}: ${names.slice(0, SHOWN_NAMES).join(", ")}${more}`;
  }).join("; ");
}

/**
 * Throws one error that names everything that does not fit.
 *
 * @throws {FileFormatError} If there is anything.
 */
export function refuseMisfits(misfits: Misfits): void {
  const problems = describeMisfits(misfits);
  if (problems !== "") throw new FileFormatError(`Cannot load the weights: ${problems}`);
}
