/**
 * A campaign against the programs: named generators each injure something again and again until their time is over, and
 * tell how it ended. What must never happen: work that is lost, a process that hangs, a crash without a sentence.
 *
 * @module
 */
import { textTable } from "../../../src/training/table.ts";

/**
 * How an injury ended. `survived`: all went on, with the same numbers to the last bit. `sentence`: it was refused in one
 * sentence. The others are failures: `lost` (numbers differ, or work is gone), `hung`, `crashed` (no sentence).
 */
export type End = "survived" | "sentence" | "lost" | "hung" | "crashed";

/** The ends in the order of the table. */
const ends: readonly End[] = ["survived", "sentence", "lost", "hung", "crashed"];

/** One injury, or several of a kind. */
export interface Outcome {
  /** What was done, in a few words; a row of the table. */
  readonly what: string;
  /** How it ended. */
  readonly end: End;
  /** How many (default 1). */
  readonly count?: number;
  /** What repeats a failure, and what was seen. */
  readonly detail?: string;
}

/** Injures until `deadline` (of `performance.now()`); the same seed makes the same injuries. */
export type Generator = (seed: number, deadline: number) => AsyncIterable<Outcome>;

/** What a campaign has counted: for each generator and injury the ends. */
export type Counts = Map<string, Map<string, Map<End, number>>>;

/** A campaign that is over. */
export interface Campaign {
  readonly counts: Counts;
  readonly failures: readonly string[];
}

/** Runs generators one after another, each for its share of the time. */
export async function runCampaign(
  generators: Readonly<Record<string, Generator>>,
  { seed, minutes, say }: { seed: number; minutes: number; say: (line: string) => void },
): Promise<Campaign> {
  const counts: Counts = new Map();
  const failures: string[] = [];
  const names = Object.keys(generators);
  const share = minutes * 60_000 / names.length;
  for (const name of names) {
    const begin = performance.now();
    const rows = new Map<string, Map<End, number>>();
    counts.set(name, rows);
    for await (const { what, end, count = 1, detail } of generators[name]!(seed, begin + share)) {
      const row = rows.get(what) ?? new Map<End, number>();
      rows.set(what, row.set(end, (row.get(end) ?? 0) + count));
      if (end === "survived" || end === "sentence") continue;
      failures.push(`${name}, ${what}: ${end}: ${detail ?? ""}`);
      say(failures.at(-1)!);
    }
    const total = [...rows.values()].flatMap((row) => [...row.values()]).reduce((a, b) => a + b, 0);
    say(`${name}: ${total} in ${((performance.now() - begin) / 1000).toFixed(0)} s`);
  }
  return { counts, failures };
}

/** The counts as a table, with a line of totals. */
export function campaignTable(counts: Counts): string {
  const totals = new Map<End, number>();
  const cells = (row: ReadonlyMap<End, number>): string[] => ends.map((end) => String(row.get(end) ?? 0));
  const rows = [...counts].flatMap(([name, injuries]) =>
    [...injuries].map(([what, row]) => {
      for (const [end, count] of row) totals.set(end, (totals.get(end) ?? 0) + count);
      return [name, what, ...cells(row)];
    })
  );
  return textTable(["generator", "injury", ...ends], [...rows, ["all", "", ...cells(totals)]]);
}
