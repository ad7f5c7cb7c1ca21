/**
 * What a run will cost, found out before it begins: its programs are compiled and tried one after another.
 *
 * @module
 */
import type { TrainState } from "../../models/mod.ts";
import { memory } from "../device.ts";
import { dispose, onCompile, readAll } from "../evaluate.ts";
import { tryStep } from "./loop.ts";
import { duration } from "./progress.ts";
import type { Run } from "./session_report.ts";
import { inBytes } from "./words.ts";

/** The cost of a run. */
export interface RunCost {
  /** For people. */
  readonly line: string;
  /** Seconds that a step takes. */
  readonly stepSeconds: number;
}

/**
 * Compiles all programs of a run, tries each, and says what the run will cost.
 *
 * @param steps The steps to do, and how many evaluations there will be.
 * @returns The cost; undefined if the run was stopped between two programs.
 */
export async function tryRun(
  run: Run,
  state: TrainState,
  { from, total, evaluations }: { from: number; total: number; evaluations: number },
): Promise<RunCost | undefined> {
  const { config, dataset, progress } = run;
  const coming = run.phases.filter(({ to }) => to > from);
  const programs = coming.length + 1;
  const compiling = (k: number, name: string) => (done: number, kernels: number): void =>
    progress.stage(`compiling program ${k} of ${programs} (${name}), kernel`, done, kernels);
  let seconds = 0;
  for (const [k, { name, step, from: begin, to, unlabeled }] of coming.entries()) {
    progress.stage(`tracing program ${k + 1} of ${programs} (${name})`);
    if (await isStopped(run)) return undefined;
    const cost = await tryStep(step, state, {
      batch: config.batch,
      crop: config.crop,
      unlabeled,
      onProgress: compiling(k + 1, name),
    });
    seconds += cost.seconds * (to - Math.max(from, begin));
  }
  progress.stage(`tracing program ${programs} of ${programs} (evaluation)`);
  if (await isStopped(run)) return undefined;
  const perImage = await tryEvaluation(run, state, total, compiling(programs, "evaluation"));
  if (await isStopped(run)) return undefined;
  const whole = seconds + perImage * evaluations * dataset.val.length;
  const { liveBytes, pooledBytes } = memory.stats();
  const times = `${total - from} steps and ${evaluations} evaluation${evaluations === 1 ? "" : "s"}`;
  return {
    line: `Expected: about ${duration(whole)} for ${times}, ${
      inBytes(liveBytes + pooledBytes)
    } on the device`,
    stepSeconds: seconds / Math.max(1, total - from),
  };
}

/** Whether the run was asked to stop. Compilers leave the event loop no time, so signals get theirs here. */
async function isStopped({ signal }: Run): Promise<boolean> {
  await new Promise((resolve) => setTimeout(resolve));
  return signal?.aborted === true;
}

/** Seconds that one validation image takes. */
async function tryEvaluation(
  { dataset, loader, segmentAfter }: Run,
  { params, bnState, memState }: TrainState,
  steps: number,
  onProgress: (done: number, total: number) => void,
): Promise<number> {
  const segment = segmentAfter(steps);
  let seconds = 0;
  for await (const image of loader.images(dataset.val.slice(0, 1))) {
    onCompile(onProgress);
    try {
      for (let k = 0; k < 2; k++) {
        const begin = performance.now();
        const found = segment({ params, bnState, memState }, image);
        await readAll({ found });
        dispose(found);
        seconds = (performance.now() - begin) / 1000;
      }
    } finally {
      onCompile(undefined);
    }
  }
  return seconds;
}
