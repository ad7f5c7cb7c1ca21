/**
 * Measuring in rounds: in every round each participant has its turn, so that what disturbs the machine for a
 * while disturbs them all, and figures of one run can be compared.
 *
 * @module
 */
import type { Case } from "./cases.ts";
import type { Participant } from "./participant.ts";
import type { Reply } from "./serve.ts";
import type { Summary } from "./values.ts";

/** One participant's part in the rounds. */
export interface Entry {
  readonly participant: Participant;
  readonly case: Case;
}

/** What rounds gave for one entry. */
export interface Figure {
  /** The figure of every round: milliseconds, or MB. */
  readonly rounds: readonly number[];
  /** Milliseconds of the first call. */
  readonly first: number;
  /** The result. */
  readonly summary?: Summary;
}

/** Why there is no figure. */
export interface Failure {
  /** The reason. */
  readonly cannot: string;
}

/** A figure, or why there is none. */
export type Outcome = Figure | Failure;

/** How many rounds are made: at least `least`, and up to `most` while they took less than `seconds` in all. */
export interface Effort {
  readonly least: number;
  readonly most: number;
  readonly seconds: number;
}

/**
 * Milliseconds between turns: threads of OpenMP, OpenBLAS and ONNX Runtime go on spinning for a while when their work
 * is done, and would slow down who comes next.
 */
const pause = 100;

/** The middle of some numbers. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** Whether an outcome is a figure. */
export function isFigure(outcome: Outcome | undefined): outcome is Figure {
  return outcome !== undefined && "rounds" in outcome;
}

/** Measures the entries against each other; the outcomes are in their order. */
export async function measure(entries: readonly Entry[], effort: Effort): Promise<Outcome[]> {
  const runners = entries.map((entry) => entry.case.figure === "time" ? steady(entry) : fresh(entry));
  for (const runner of runners) await runner.begin();
  const start = performance.now();
  for (let round = 0; round < effort.most; round++) {
    if (round >= effort.least && performance.now() - start > 1000 * effort.seconds) break;
    for (const runner of runners) {
      await new Promise((done) => setTimeout(done, pause));
      await runner.round();
    }
  }
  const outcomes: Outcome[] = [];
  for (const runner of runners) outcomes.push(await runner.end());
  return outcomes;
}

interface Runner {
  begin(): Promise<void>;
  round(): Promise<void>;
  end(): Promise<Outcome>;
}

/** Calls in a process that stays. */
function steady({ participant, case: item }: Entry): Runner {
  let prepared: Reply = {};
  const rounds: number[] = [];
  return {
    begin: async () => void (prepared = await participant.ask({ ask: "prepare", case: item })),
    round: async () => {
      if (prepared.cannot !== undefined) return;
      const { milliseconds, cannot } = await participant.ask({ ask: "measure" });
      if (cannot !== undefined) prepared = { cannot };
      else rounds.push(milliseconds!);
    },
    end: async () => {
      if (prepared.cannot === undefined) await participant.ask({ ask: "release" });
      return outcomeOf(prepared, rounds);
    },
  };
}

/** A new process in every round; for its first call with empty caches of shaders. */
function fresh({ participant, case: item }: Entry): Runner {
  let last: Reply = {};
  const rounds: number[] = [];
  return {
    begin: () => Promise.resolve(),
    round: async () => {
      const cache = await Deno.makeTempDir();
      const process = participant.another(item.figure === "first" ? withoutCaches(cache) : {});
      last = await process.ask({ ask: "prepare", case: item });
      const { peakBytes } = last.cannot === undefined ? await process.ask({ ask: "release" }) : {};
      await process.close();
      await Deno.remove(cache, { recursive: true });
      if (last.cannot !== undefined) return;
      if (item.figure === "first") rounds.push(last.first!);
      else if (peakBytes === undefined) last = { cannot: "this system does not tell the peak of a process" };
      else rounds.push(peakBytes / 1e6);
    },
    end: () => Promise.resolve(outcomeOf(last, rounds)),
  };
}

/** Variables that keep the drivers of Mesa and NVIDIA from using shaders compiled before. */
function withoutCaches(folder: string): { [name: string]: string } {
  return {
    MESA_SHADER_CACHE_DISABLE: "true",
    MESA_SHADER_CACHE_DIR: folder,
    __GL_SHADER_DISK_CACHE: "0",
    XDG_CACHE_HOME: folder,
  };
}

function outcomeOf({ cannot, first, summary }: Reply, rounds: readonly number[]): Outcome {
  if (cannot !== undefined) return { cannot };
  return { rounds, first: first!, ...(summary === undefined ? {} : { summary }) };
}
