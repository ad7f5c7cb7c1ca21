/**
 * The stored baseline, and what counts as a regression against it.
 *
 * Milliseconds say little about another machine, and on a shared one little about another hour. So each case is
 * stored as a ratio: its time divided by that of a fixed reference kernel, which does not depend on the library and
 * is measured in the same rounds. Ratios too differ from processor to processor and from adapter to adapter, so there
 * is a set of them for every kind of machine.
 *
 * @module
 */
import { median } from "./rounds.ts";

/** What ratios depend on beside the code. */
export interface Machine {
  /** Of this library. */
  readonly device: "cpu" | "webgpu";
  /** The processor's name, or for webgpu the adapter's, with the processor's where that is what computes. */
  readonly hardware: string;
  /** Threads of the processor. */
  readonly threads: number;
}

/** Ratios by the names of the cases; of peaks of memory, MB. */
export type Ratios = { readonly [name: string]: number };

/** The ratios of one kind of machine. */
export interface Baseline extends Machine {
  /** Day of the last measurement. */
  readonly date: string;
  /** Ratios of the cases. */
  readonly ratios: Ratios;
}

/**
 * By what part a figure may exceed the stored one: above what repeated runs of the same code differ by
 * (docs/performance.md has the numbers), below what anybody would call the same.
 */
export const allowances = { time: 0.25, first: 0.4, peak: 0.1 } as const;

/** A figure beside the stored one. */
export interface Comparison {
  /** The case. */
  readonly name: string;
  /** The stored ratio. */
  readonly stored: number;
  /** The ratio now. */
  readonly measured: number;
  /** What the excess may be. */
  readonly allowance: number;
}

/** The middle of the ratios of rounds in which both were measured. */
export function ratioOf(rounds: readonly number[], reference: readonly number[]): number {
  return median(rounds.map((figure, round) => figure / reference[round]!));
}

/** Whether the figure is worse than noise explains. */
export function isRegression({ stored, measured, allowance }: Comparison): boolean {
  return !(measured <= stored * (1 + allowance));
}

/** Whether the figure is so much better that the baseline has become easy to meet. */
export function isImprovement({ stored, measured, allowance }: Comparison): boolean {
  return measured * (1 + allowance) < stored;
}

/** A comparison in words. */
export function sentence(comparison: Comparison, device: string): string {
  const { name, stored, measured, allowance } = comparison;
  const percent = (part: number): string => `${Math.abs(100 * part).toFixed(0)} %`;
  const change = measured / stored - 1;
  const verdict = isRegression(comparison)
    ? `worse by ${percent(change)}, where ${percent(allowance)} is allowed`
    : isImprovement(comparison)
    ? `better by ${percent(1 - measured / stored)}; deno task bench:baseline stores that`
    : `within ${percent(allowance)}`;
  return `${name} on ${device}: stored ${stored.toPrecision(3)}, measured ${
    measured.toPrecision(3)
  }: ${verdict}`;
}

function isSame(a: Machine, b: Machine): boolean {
  return a.device === b.device && a.hardware === b.hardware && a.threads === b.threads;
}

/** The ratios stored for a machine; undefined if there are none. */
export function baselineOf(baselines: readonly Baseline[], machine: Machine): Baseline | undefined {
  return baselines.find((baseline) => isSame(baseline, machine));
}

/** The baselines with new ratios in the place of older ones of the same cases and machine. */
export function withRatios(baselines: readonly Baseline[], fresh: Baseline): Baseline[] {
  const old = baselineOf(baselines, fresh);
  if (old === undefined) return [...baselines, fresh];
  const merged = { ...fresh, ratios: { ...old.ratios, ...fresh.ratios } };
  return baselines.map((baseline) => baseline === old ? merged : baseline);
}
