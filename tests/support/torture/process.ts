/**
 * Training processes that are to be injured: how they are started, watched, and compared with one that was left alone.
 *
 * @module
 */
import { loadCheckpoint } from "../../../src/training/checkpoint.ts";
import { computedMetrics, tinyArguments } from "../runs.ts";
import type { Outcome } from "./campaign.ts";

const entry = new URL("./train_injured.ts", import.meta.url).pathname;

/** How a process ended. */
export interface Ended {
  readonly code: number;
  readonly signal: Deno.Signal | null;
  readonly said: string;
  /** Whether it was ended because nothing came of it. */
  readonly hung: boolean;
}

/** A process that trains. */
export interface Training {
  readonly process: Deno.ChildProcess;
  readonly ended: Promise<Ended>;
}

/** Milliseconds after which a process hangs: many times what it takes on a busy machine. */
const patience = 240_000;

/** How a process is injured from within: at the `count`th call of `at` about a file whose path ends with `file`. */
export interface Injury {
  readonly at: "open" | "write" | "sync" | "rename" | "remove";
  readonly file: string;
  readonly count: number;
  /** Before the call, after half of what it does (of a write), or after it. */
  readonly when: "before" | "half" | "after";
}

/** Starts `train.ts`. `wrap` is a command that it is started by, such as `prlimit`. */
export function startTraining(
  args: readonly string[],
  { injury, wrap = [] }: { injury?: Injury; wrap?: readonly string[] } = {},
): Training {
  const command = [...wrap, Deno.execPath(), "run", "-A", "--no-check", "--quiet", entry, ...args];
  const process = new Deno.Command(command[0]!, {
    args: command.slice(1),
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1", ...(injury && { TRAIN_INJURY: JSON.stringify(injury) }) },
  }).spawn();
  let hung = false;
  const timer = setTimeout(() => {
    hung = true;
    process.kill("SIGKILL");
  }, patience);
  const ended = (async (): Promise<Ended> => {
    const [out, err, status] = await Promise.all([
      new Response(process.stdout).text(),
      new Response(process.stderr).text(),
      process.status,
    ]);
    clearTimeout(timer);
    return { code: status.code, signal: status.signal, said: `${out}\n${err}`, hung };
  })();
  return { process, ended };
}

/** A run that was left alone, and what another of the same configuration is compared with. */
export interface Whole {
  readonly metrics: readonly unknown[];
  readonly arrays: ReadonlyMap<string, unknown>;
  /** Milliseconds that it took. */
  readonly time: number;
}

/** Trains without injuries. */
export async function trainWhole(out: string): Promise<Whole> {
  const begin = performance.now();
  const { code, said } = await startTraining([...tinyArguments, "--out", out, "--name", "whole"]).ended;
  if (code !== 0) throw new Error(`a run that is left alone ends with ${code}:\n${said}`);
  const time = performance.now() - begin;
  return { metrics: await computedMetrics(`${out}/whole`), arrays: await arraysOf(`${out}/whole`), time };
}

async function arraysOf(folder: string): Promise<Map<string, string>> {
  const { arrays } = await loadCheckpoint(folder);
  return new Map([...arrays].map(([name, { data }]) => [name, String(data)]));
}

/**
 * Resumes a run until it is finished and compares it with the whole one: same metrics, same last checkpoint, all files
 * there and no others.
 *
 * @returns What is wrong, or undefined.
 */
export async function finishAndCompare(folder: string, whole: Whole): Promise<Omit<Outcome, "what">> {
  const { code, said, hung } = await startTraining(["--resume", folder]).ended;
  if (hung) return { end: "hung", detail: said };
  const isDone = code === 2 && /all its \d+ steps are done/.test(said);
  if (code !== 0 && !isDone) {
    return { end: hasTrace(said) ? "crashed" : "lost", detail: `resumed: ${code}\n${said}` };
  }
  return await compare(folder, whole);
}

/** Compares a finished run with the whole one. */
export async function compare(folder: string, whole: Whole): Promise<Omit<Outcome, "what">> {
  const metrics = await computedMetrics(folder);
  if (JSON.stringify(metrics) !== JSON.stringify(whole.metrics)) {
    return {
      end: "lost",
      detail: `metrics of ${folder} differ:\n${metrics.map((line) => JSON.stringify(line)).join("\n")}`,
    };
  }
  const arrays = await arraysOf(folder);
  for (const [name, data] of whole.arrays) {
    if (arrays.get(name) !== data) return { end: "lost", detail: `${name} of ${folder} differs` };
  }
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort().join(" ");
  const expected = "best.safetensors config.json curves.png latest.safetensors metrics.jsonl overlays.png";
  return names === expected ? { end: "survived" } : { end: "lost", detail: `files of ${folder}: ${names}` };
}

/** Whether a program has shown where in its source it failed: no user can read that. */
export function hasTrace(said: string): boolean {
  return /^\s+at .*:\d+:\d+\)?$/m.test(said) || /panicked|Stack backtrace|error: Uncaught/.test(said);
}
