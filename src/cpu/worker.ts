/**
 * One compute thread of the cpu device. It follows the list of records in shared memory and walks the
 * launches of each program; every thread takes the chunks of its own share, since what it computes in one
 * launch it mostly reads in the next, from a cache near to it, and then what others have left of theirs. They
 * meet at a barrier after every phase. Phases of a single chunk are done by the first thread, which
 * goes on to the next of them at once. The main thread takes no part.
 *
 * @module
 */
import { workerData } from "node:worker_threads";
import {
  control,
  failure,
  lineWords,
  program,
  record,
  type RunKernel,
  spinTurns,
  task,
  type ThreadData,
} from "./protocol.ts";

const { memory, thread, threads } = workerData as ThreadData;
let words = viewOfMemory();
const kernels = new Map<number, RunKernel>();

followRecords();

function followRecords(): void {
  let current: number = control.firstRecord;
  while (true) {
    waitWhile(current + record.next, 0);
    current = wordIndex(words[current + record.next]!);
    const start = wordIndex(words[current + record.program]!);
    switch (words[current + record.task]) {
      case task.run:
        runProgram(current, start);
        break;
      case task.compile:
        compileProgram(current, start);
        break;
      case task.forget:
        forgetKernels(current);
    }
  }
}

function runProgram(current: number, start: number): void {
  const launches = words[start + program.launches]!;
  const workspace = words[current + record.workspaces]! + thread * words[start + program.workspaceBytes]!;
  if (thread === 0) recordTime(current, 0);
  let at = start + program.first;
  for (let launch = 0; launch < launches; launch++) {
    const args = (current + record.args + words[at + 3]!) * 4;
    const phases = words[at + 4]!;
    const isLast = launch === launches - 1;
    for (let phase = 0; phase < phases; phase++) {
      const chunks = words[at + 5 + phase]!;
      const endsLaunch = phase === phases - 1;
      if (chunks > 1 || thread === 0) {
        takeChunks(current, launch, compiled(current, launch, at), chunks, args, phase, workspace);
      }
      // Chunks of the next phase, which for the last of a launch lies behind the words of the next launch.
      const next = words[at + 5 + phase + (endsLaunch ? 6 : 1)]!;
      if (chunks === 1 && next === 1 && !(endsLaunch && isLast)) {
        if (endsLaunch && thread === 0) recordTime(current, launch + 1);
      } else {
        barrier(current, endsLaunch ? launch + 1 : 0, endsLaunch && isLast);
      }
    }
    at += 5 + phases;
  }
  if (launches === 0) barrier(current, 0, true);
}

function takeChunks(
  current: number,
  launch: number,
  run: RunKernel | undefined,
  chunks: number,
  args: number,
  phase: number,
  workspace: number,
): void {
  if (!run) return;
  try {
    if (chunks === 1) return run(0, 1, args, phase, workspace);
    for (let k = 0; k < threads; k++) {
      const owner = (thread + k) % threads;
      const [first, end] = [shareStart(owner, chunks), shareStart(owner + 1, chunks)];
      // Several chunks at a time where there are many, so that taking them costs little.
      const step = Math.max(1, Math.floor((end - first) / 16));
      const taken = control.taken + owner * lineWords;
      while (first + Atomics.load(words, taken) < end) {
        const begin = first + Atomics.add(words, taken, step);
        if (begin < end) run(begin, Math.min(begin + step, end), args, phase, workspace);
      }
    }
  } catch (error) {
    reportFailure(current, launch, error);
  }
}

/** Where the share of a thread begins. */
function shareStart(owner: number, chunks: number): number {
  return Math.floor((owner * chunks) / threads);
}

/** Compiles every kernel of a program, each thread beginning elsewhere: the engine shares code of equal bytes. */
function compileProgram(current: number, start: number): void {
  const positions: number[] = [];
  let at = start + program.first;
  for (let launch = 0; launch < words[start + program.launches]!; launch++) {
    positions.push(at);
    at += 5 + words[at + 4]!;
  }
  const first = Math.floor((thread * positions.length) / threads);
  const share = Math.ceil(positions.length / threads);
  for (let k = 0; k < positions.length; k++) {
    const launch = (first + k) % positions.length;
    compiled(current, launch, positions[launch]!, k < share);
  }
  barrier(current, 0, true);
}

function forgetKernels(current: number): void {
  const first = current + record.args;
  for (let k = 1; k <= words[first]!; k++) kernels.delete(words[first + k]!);
  barrier(current, 0, true);
}

/** The function of a kernel. `warm`: it is compiled for speed at once, for all threads. */
function compiled(current: number, launch: number, at: number, warm = false): RunKernel | undefined {
  const known = kernels.get(words[at]!);
  if (known) return known;
  try {
    const address = words[at + 1]! >>> 0;
    const bytes = new Uint8Array(words.buffer, address, words[at + 2]!).slice();
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
    if (warm) (exports.idle as () => void)();
    kernels.set(words[at]!, exports.run as RunKernel);
    return exports.run as RunKernel;
  } catch (error) {
    reportFailure(current, launch, error);
    return undefined;
  }
}

/** Waits for all threads. The last one to come notes the time of a launch (counted from 1) and ends the run. */
function barrier(current: number, launch: number, endsRun: boolean): void {
  const generation = Atomics.load(words, control.generation);
  if (Atomics.add(words, control.arrived, 1) + 1 < threads) return waitWhile(control.generation, generation);
  Atomics.store(words, control.arrived, 0);
  for (let owner = 0; owner < threads; owner++) Atomics.store(words, control.taken + owner * lineWords, 0);
  if (launch > 0) recordTime(current, launch);
  if (endsRun) {
    const completed = Atomics.add(words, control.completed, 1) + 1;
    // Whoever waits for a later run sleeps on: waking it for every run would cost the threads a processor.
    if (completed >= Atomics.load(words, control.wanted)) Atomics.notify(words, control.completed);
  }
  Atomics.store(words, control.generation, (generation + 1) | 0);
  if (Atomics.load(words, control.sleeping) > 0) Atomics.notify(words, control.generation);
}

function waitWhile(index: number, value: number): void {
  for (let turn = 0; turn < spinTurns; turn++) {
    if (Atomics.load(words, index) !== value) return;
  }
  Atomics.add(words, control.sleeping, 1);
  while (Atomics.load(words, index) === value) Atomics.wait(words, index, value);
  Atomics.sub(words, control.sleeping, 1);
}

function recordTime(current: number, launch: number): void {
  const times = words[current + record.times]! >>> 0;
  // Threads count time from their own start, hence the origin.
  if (times) {
    new Float64Array(words.buffer, times + 8 * launch, 1)[0] = performance.timeOrigin + performance.now();
  }
}

function reportFailure(current: number, launch: number, error: unknown): void {
  Atomics.compareExchange(words, current + record.failed, 0, launch + 1);
  if (Atomics.compareExchange(words, control.failure, 0, 1) !== 0) return;
  const text = error instanceof Error ? error.message : String(error);
  const message = new TextEncoder().encode(text).subarray(0, failure.maximumBytes);
  words[control.failure + failure.run] = words[current + record.number]!;
  words[control.failure + failure.launch] = launch;
  words[control.failure + failure.length] = message.length;
  new Uint8Array(words.buffer).set(message, (control.failure + failure.message) * 4);
  Atomics.store(words, control.failure, 2);
}

/** Index of the word at a byte address; looks at the memory anew where it has grown beyond the view. */
function wordIndex(address: number): number {
  words = viewOfMemory();
  return address >>> 2;
}

function viewOfMemory(): Int32Array<SharedArrayBuffer> {
  return new Int32Array(memory.buffer as unknown as SharedArrayBuffer);
}
