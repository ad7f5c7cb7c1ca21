/**
 * The participant's side of a benchmark: a process that is asked in lines of JSON on its standard input and
 * answers in lines of JSON on its standard output. It stays alive, so that participants can take turns.
 *
 * @module
 */
import type { Case } from "./cases.ts";
import { summarize, type Summary } from "./values.ts";

/** A case that is ready to run. */
export interface Job {
  /** Starts so many calls; returns when they are handed over or done. */
  run(calls: number): void | Promise<void>;
  /** Returns when everything is done. */
  wait(): Promise<void>;
  /** The last result. */
  values(): Promise<ArrayLike<number>>;
  /** Frees what the job holds. */
  release(): void;
  /** Most calls at once, where results are kept until the wait. */
  readonly mostCalls?: number;
}

/** What a participant is asked: to prepare a case, to time some calls of it, to end it. */
export type Request =
  | { readonly ask: "prepare"; readonly case: Case }
  | { readonly ask: "measure" }
  | { readonly ask: "release" };

/** What it answers. */
export interface Reply {
  /** Prepared: milliseconds of the first call. */
  readonly first?: number;
  /** Prepared: its result; of a training step, the losses of the first three steps. */
  readonly summary?: Summary;
  /** Measured: milliseconds of one call. */
  readonly milliseconds?: number;
  /** Released: most bytes that the process ever held, where the system tells. */
  readonly peakBytes?: number;
  /** Why the case cannot be done. */
  readonly cannot?: string;
}

/** Calls of one measurement take so many milliseconds together, if one does not take longer. */
const target = 60;

/** Before anything is measured, a job runs so many calls and `least` milliseconds, or `most`. */
const warm = { calls: 12, least: 400, most: 4000 };

/** Answers until standard input ends. `prepare` makes a job, or throws an error that says why it cannot. */
export async function serve(prepare: (item: Case) => Promise<Job>): Promise<void> {
  // Standard output belongs to the answers.
  console.log = console.info = console.error;
  let job: Job | undefined;
  let calls = 1;
  let idle = 0;
  const answer = async (request: Request): Promise<Reply> => {
    if (request.ask === "release") {
      job?.release();
      job = undefined;
      const peakBytes = peakMemory();
      return peakBytes === undefined ? {} : { peakBytes };
    }
    if (request.ask === "measure") {
      if (job === undefined) return { cannot: "nothing is prepared" };
      return { milliseconds: Math.max(0, await timed(job, calls) - idle) / calls };
    }
    job = await prepare(request.case);
    const first = await timed(job, 1);
    const summary = await summaryOf(job, request.case);
    idle = await idleWait(job);
    calls = await warmUp(job, idle);
    return { first, summary };
  };
  for await (const line of lines(Deno.stdin.readable)) {
    const reply = await answer(JSON.parse(line)).catch((error): Reply => {
      job = undefined;
      return { cannot: error instanceof Error ? error.message : String(error) };
    });
    await writeLine(JSON.stringify(reply));
  }
}

async function timed(job: Job, calls: number): Promise<number> {
  const start = performance.now();
  await job.run(calls);
  await job.wait();
  return performance.now() - start;
}

/** A step's loss after other steps shows that its updates are right too. */
async function summaryOf(job: Job, { operation }: Case): Promise<Summary> {
  if (!operation.endsWith("Step")) return summarize(await job.values());
  const losses = [(await job.values())[0]!];
  while (losses.length < 3) {
    await timed(job, 1);
    losses.push((await job.values())[0]!);
  }
  return summarize(losses);
}

/**
 * Milliseconds of a wait for nothing, which are taken off every measurement: in Deno it can be the 11 that every
 * awaited WebGPU map takes.
 */
async function idleWait(job: Job): Promise<number> {
  const times: number[] = [];
  for (let k = 0; k < 5; k++) times.push(await timed(job, 0));
  return Math.min(...times);
}

/**
 * Warms a job up and returns how many calls make up a measurement. JavaScript engines compile what runs often once
 * more, in the background, and get several times faster by that.
 */
async function warmUp(job: Job, idle: number): Promise<number> {
  const most = job.mostCalls ?? 400;
  const start = performance.now();
  let [calls, done] = [1, 0];
  for (;;) {
    const time = Math.max(1e-3, await timed(job, calls) - idle);
    done += calls;
    calls = Math.max(1, Math.min(most, Math.round((target * calls) / time)));
    const elapsed = performance.now() - start;
    if (elapsed > warm.most || (elapsed > warm.least && done >= warm.calls)) return calls;
  }
}

/** Most bytes that this process ever held, by Linux's account. */
function peakMemory(): number | undefined {
  try {
    const kilobytes = /^VmHWM:\s+(\d+) kB$/m.exec(Deno.readTextFileSync("/proc/self/status"))?.[1];
    return kilobytes === undefined ? undefined : 1024 * Number(kilobytes);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Lines of a stream, without their ends. */
export async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const pieces = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = pieces.pop()!;
    yield* pieces;
  }
  if (rest !== "") yield rest;
}

async function writeLine(text: string): Promise<void> {
  const bytes = new TextEncoder().encode(`${text}\n`);
  for (let written = 0; written < bytes.length;) written += await Deno.stdout.write(bytes.subarray(written));
}
