/**
 * Which results of a program may take over the memory of arguments that are given up.
 *
 * @module
 */
import type { Program } from "./kernel.ts";

/**
 * For outputs, by number, the input that each may take the memory of: one that is given up, has as many elements, and is
 * read for the last time before the output is first written. No kernel finds its input overwritten by its output.
 *
 * A training step writes new parameters one after another, so that all but the first of each size find such an input.
 */
export function heirsOf(program: Program, givenUp: readonly number[]): Map<number, number> {
  const firstWrite = new Map<number, number>();
  const lastRead = new Map<number, number>();
  program.launches.forEach(({ inputs, outputs }, time) => {
    for (const buffer of inputs) lastRead.set(buffer, time);
    for (const buffer of outputs) if (!firstWrite.has(buffer)) firstWrite.set(buffer, time);
  });
  const isGivenUp = new Set(givenUp);
  const numbered = program.buffers.map(({ place, length }, buffer) => ({ ...place, length, buffer }));
  const inputs = numbered
    .filter(({ kind, index }) => kind === "input" && isGivenUp.has(index))
    .map((input) => ({ ...input, time: lastRead.get(input.buffer) ?? -1 }))
    .sort((a, b) => a.time - b.time);
  const outputs = numbered
    .filter(({ kind, buffer }) => kind === "output" && firstWrite.has(buffer))
    .map((output) => ({ ...output, time: firstWrite.get(output.buffer)! }))
    .sort((a, b) => a.time - b.time);

  const heirs = new Map<number, number>();
  /** Inputs that are done with and have no heir yet, by length. */
  const free = new Map<number, number[]>();
  let next = 0;
  for (const output of outputs) {
    for (; next < inputs.length && inputs[next]!.time < output.time; next++) {
      const { index, length } = inputs[next]!;
      const others = free.get(length);
      if (others === undefined) free.set(length, [index]);
      else others.push(index);
    }
    const input = free.get(output.length)?.pop();
    if (input !== undefined) heirs.set(output.index, input);
  }
  return heirs;
}
