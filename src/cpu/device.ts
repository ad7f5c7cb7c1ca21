/**
 * The cpu device: buffers in shared memory, kernels as WebAssembly, programs that run inside the workers.
 *
 * `run` only writes a record and returns. What makes that safe:
 *
 * - A buffer gets its memory when it is first written or computed, so that the main thread only ever writes
 *   where no unfinished run reads or writes.
 * - Memory given back while runs are under way carries the number of the last of them.
 * - A read pins the memory it will copy, and whoever would overwrite it gets other memory.
 *
 * Runs follow one another, so one arena serves the temporaries, scratch and workspaces of all programs.
 *
 * @module
 */
import { arrayType, type TensorData } from "../dtype.ts";
import type { Backend, DeviceBuffer, Executable, MemoryStats } from "../compiler/backend.ts";
import { heirsOf } from "../compiler/heirs.ts";
import { type Kernel, kernelKey, type Program } from "../compiler/kernel.ts";
import { fewThreads } from "../compiler/split.ts";
import { Run, throwFailureOf } from "../compiler/runs.ts";
import { DeviceError } from "../errors.ts";
import { Recent } from "../recent.ts";
import { describe } from "./codegen.ts";
import { type Region, SharedHeap } from "./memory.ts";
import { Pool, type ThreadFailure } from "./pool.ts";
import { aligned, type Features, type GeneratedKernel, record, task } from "./protocol.ts";

/** Turns a kernel into WebAssembly. */
export type Generate = (kernel: Kernel, features: Features) => GeneratedKernel;

/** Memory of a buffer, shared with the reads that wait for it. */
interface HeldRegion extends Region {
  holders: number;
}

/** A kernel that is in shared memory for the threads to compile. */
interface StoredKernel extends GeneratedKernel {
  readonly key: string;
  readonly number: number;
  readonly region: Region;
  /** Programs that have it. */
  users: number;
}

/** Kernels of no program that are kept, for the next program that has them. */
const mostIdleKernels = 256;

/** What the main thread must remember of a record until it is finished. */
interface PendingRun {
  readonly number: number;
  readonly record: Region;
  readonly labels: readonly string[];
  readonly run: Run | undefined;
}

class CpuBuffer implements DeviceBuffer {
  region: HeldRegion | undefined;
  /** Number of the last run that uses the memory. */
  lastRun = 0;
  /** The run that computed the content. */
  origin: Run | undefined;
  released = false;

  constructor(readonly device: CpuDevice, readonly bytes: number) {}

  release(): void {
    if (this.released) return;
    this.released = true;
    this.device.forget(this);
  }
}

/** A backend that computes with WebAssembly in worker threads. */
export class CpuDevice implements Backend {
  readonly name = "cpu";
  readonly description: string;
  readonly packsOperands = true;
  readonly reductions = fewThreads;
  readonly #heap = new SharedHeap();
  readonly #pool: Pool;
  readonly #features: Features;
  readonly #generate: Generate;
  readonly #kernels = new Map<string, StoredKernel>();
  readonly #idle = new Recent<string, StoredKernel>(mostIdleKernels, (kernel) => this.#evict(kernel));
  readonly #evicted: StoredKernel[] = [];
  #kernelNumber = 0;
  readonly #executables = new Set<CpuExecutable>();
  readonly #pending: PendingRun[] = [];
  #arena: Region | undefined;
  #liveBytes = 0;
  #liveBuffers = 0;

  constructor(threads: number, features: Features, generate: Generate) {
    this.#pool = new Pool(this.#heap, threads);
    this.#features = features;
    this.#generate = generate;
    const speed = features.relaxedSimd ? "SIMD with fused multiply-add" : "SIMD";
    this.description = `WebAssembly (${speed}) on ${threads} ${threads === 1 ? "thread" : "threads"}`;
  }

  get lost(): Error | undefined {
    return this.#pool.lost;
  }

  allocate(bytes: number): DeviceBuffer {
    this.#liveBytes += bytes;
    this.#liveBuffers++;
    return new CpuBuffer(this, bytes);
  }

  /** Puts `data` at the start of the buffer; what lies behind it is undefined afterwards. */
  write(buffer: DeviceBuffer, data: TensorData): void {
    const target = this.#own(buffer);
    if (data.byteLength > target.bytes) {
      throw new RangeError(
        `Cannot write ${data.byteLength} bytes to a buffer: it has ${target.bytes} bytes`,
      );
    }
    const idle = target.region?.holders === 1 && target.lastRun <= this.#heap.completed;
    if (!idle) this.#rebind(target, "idle");
    target.origin = undefined;
    this.#copyIn(target.region!, data);
  }

  async read(
    requests: readonly { buffer: DeviceBuffer; length: number; dtype: "f32" | "i32" | "u32" }[],
  ): Promise<TensorData[]> {
    const sources = requests.map(({ buffer, length, dtype }) => {
      const source = this.#own(buffer);
      if (length * 4 > source.bytes) {
        throw new RangeError(`Cannot read ${length} elements of a buffer: it has ${source.bytes} bytes`);
      }
      const region = source.region ?? this.#rebind(source, "any");
      region.holders++;
      return { region, length, dtype, origin: source.origin };
    });
    try {
      await this.#finish(this.#pool.enqueued);
      throwFailureOf(sources.map(({ origin }) => origin));
      return sources.map(({ region, length, dtype }) => {
        const bytes = new Uint8Array(length * 4);
        bytes.set(this.#heap.bytes.subarray(region.address, region.address + length * 4));
        return new (arrayType(dtype))(bytes.buffer);
      });
    } finally {
      for (const { region } of sources) this.#drop(region, this.#pool.enqueued);
    }
  }

  /** The threads refuse nothing before they run it. */
  taken(buffers: readonly DeviceBuffer[]): Promise<void> {
    this.#settle();
    throwFailureOf(buffers.map((buffer) => this.#own(buffer).origin));
    return this.lost === undefined ? Promise.resolve() : Promise.reject(this.lost);
  }

  compile(program: Program, progress?: (done: number, total: number) => void): Executable {
    const total = program.launches.length;
    const before = this.#kernelNumber;
    const kernels: StoredKernel[] = [];
    try {
      for (const { kernel } of program.launches) {
        kernels.push(this.#store(kernel));
        progress?.(kernels.length, total);
      }
      const executable = new CpuExecutable(this, program, kernels, this.#pool.threads);
      executable.descriptor = this.#takeForWriting(executable.words.byteLength);
      this.#copyIn(executable.descriptor, executable.words);
      this.#executables.add(executable);
      // The threads compile in the background, while the caller prepares the first run.
      if (this.#kernelNumber > before) this.#enqueue(executable, task.compile, new Int32Array(record.args));
      return executable;
    } catch (error) {
      for (const kernel of kernels) this.#leave(kernel);
      throw error;
    }
  }

  /** A kernel in shared memory, with one more program that has it. */
  #store(kernel: Kernel): StoredKernel {
    const key = kernelKey(kernel);
    let stored = this.#kernels.get(key);
    if (!stored) {
      const generated = this.#generate(kernel, this.#features);
      const region = this.#takeForWriting(generated.bytes.length);
      this.#copyIn(region, generated.bytes);
      stored = { ...generated, key, number: this.#kernelNumber++, region, users: 0 };
      this.#kernels.set(key, stored);
    } else if (stored.users === 0) this.#idle.delete(key);
    stored.users++;
    return stored;
  }

  /** A kernel with one program less that has it. */
  #leave(kernel: StoredKernel): void {
    if (--kernel.users === 0) this.#idle.set(kernel.key, kernel);
  }

  #evict(kernel: StoredKernel): void {
    this.#kernels.delete(kernel.key);
    this.#heap.give(kernel.region, this.#pool.enqueued);
    this.#evicted.push(kernel);
    if (this.#evicted.length < 64) return;
    const content = new Int32Array(record.args + 1 + this.#evicted.length);
    content[record.args] = this.#evicted.length;
    content.set(this.#evicted.map(({ number }) => number), record.args + 1);
    this.#evicted.length = 0;
    this.#hand(task.forget, content, []);
  }

  async profile(
    executable: Executable,
    inputs: readonly DeviceBuffer[],
    outputs: readonly DeviceBuffer[],
  ): Promise<{ label: string; milliseconds: number }[]> {
    const { launches } = this.#ownExecutable(executable).program;
    const times = this.#takeForWriting((launches.length + 1) * 8);
    const number = this.start(executable, inputs, outputs, { times: times.address });
    try {
      await this.#finish(number);
      throwFailureOf(outputs.map((buffer) => this.#own(buffer).origin));
      const stamps = new Float64Array(this.#heap.words.buffer, times.address, launches.length + 1);
      return launches.map(({ kernel }, index) => ({
        label: kernel.label,
        milliseconds: stamps[index + 1]! - stamps[index]!,
      }));
    } finally {
      this.#heap.give(times, number);
    }
  }

  describe(kernel: Kernel): string {
    const { bytes, phases } = this.#generate(kernel, this.#features);
    return `${describe(kernel)}\n  module of ${bytes.length} bytes, chunks of its phases: ${
      phases.join(", ")
    }`;
  }

  memory(): MemoryStats {
    const pooledBytes = this.#heap.pooledBytes + (this.#arena?.bytes ?? 0);
    const { limitBytes } = this.#heap;
    return { liveBytes: this.#liveBytes, liveBuffers: this.#liveBuffers, pooledBytes, limitBytes };
  }

  close(): Promise<void> {
    return this.#pool.close();
  }

  /** Starts a run (see `Executable.run`); returns its number. `times`: see `record.times`. */
  start(
    target: Executable,
    inputs: readonly DeviceBuffer[],
    outputs: readonly DeviceBuffer[],
    { givenUp = [], times = 0 }: { givenUp?: readonly number[]; times?: number } = {},
  ): number {
    const executable = this.#ownExecutable(target);
    const ins = executable.check(inputs, "input").map((buffer) => this.#own(buffer));
    const outs = executable.check(outputs, "output").map((buffer) => this.#own(buffer));
    this.#settle();
    throwFailureOf(ins.map(({ origin }) => origin));
    const run = new Run(ins.map(({ origin }) => origin));
    // Addresses of inputs are taken first: an output that is also an input may move.
    const inputAddresses = ins.map((buffer) => (buffer.region ?? this.#rebind(buffer, "any")).address);
    for (const [output, input] of executable.heirs(givenUp)) this.#inherit(outs[output]!, ins[input]!);
    const outputAddresses = outs.map((buffer) => {
      const pinned = buffer.region && buffer.region.holders > 1;
      return (buffer.region && !pinned ? buffer.region : this.#rebind(buffer, "any")).address;
    });
    const arena = this.#arenaOf(executable.arenaBytes);
    const content = executable.record(inputAddresses, outputAddresses, arena);
    content[record.times] = times;
    const number = this.#enqueue(executable, task.run, content, run);
    for (const buffer of ins) buffer.lastRun = number;
    for (const buffer of outs) {
      buffer.lastRun = number;
      buffer.origin = run;
    }
    return number;
  }

  /** Lets a buffer without memory have that of another one, unless a read still wants its content. */
  #inherit(heir: CpuBuffer, owner: CpuBuffer): void {
    if (heir.region || owner.region?.holders !== 1 || heir.bytes !== owner.bytes) return;
    heir.region = owner.region;
    owner.region = undefined;
  }

  /** Takes back the memory of a released buffer. */
  forget(buffer: CpuBuffer): void {
    this.#liveBytes -= buffer.bytes;
    this.#liveBuffers--;
    if (buffer.region) this.#drop(buffer.region, buffer.lastRun);
    buffer.region = undefined;
  }

  /** Takes back the memory of a released executable. */
  retire(executable: CpuExecutable): void {
    if (!this.#executables.delete(executable)) return;
    this.#heap.give(executable.descriptor, executable.lastRun);
    for (const kernel of executable.kernels) this.#leave(kernel);
    let needed = 0;
    for (const { arenaBytes } of this.#executables) needed = Math.max(needed, arenaBytes);
    if (this.#arena && needed < this.#arena.bytes) {
      this.#heap.give(this.#arena, this.#pool.enqueued);
      this.#arena = undefined;
    }
  }

  #enqueue(executable: CpuExecutable, kind: number, content: Int32Array, run?: Run): number {
    content[record.program] = executable.descriptor.address;
    return executable.lastRun = this.#hand(kind, content, executable.labels, run);
  }

  /** Hands a record to the threads; returns its number. */
  #hand(kind: number, content: Int32Array, labels: readonly string[], run?: Run): number {
    const region = this.#takeForWriting(content.byteLength);
    content[record.task] = kind;
    this.#copyIn(region, content);
    const number = this.#pool.enqueue(region.address);
    this.#pending.push({ number, record: region, labels, run });
    return number;
  }

  /** Takes note of what is finished: gives records back, and tells runs how they ended. */
  #settle(): void {
    const failure = this.#pool.takeFailure();
    // Threads leave a record when the next one is there, so it is free when the next run is finished.
    const completed = this.#heap.completed;
    for (const pending of this.#pending) {
      if (pending.number > completed) break;
      const launch = this.#heap.words[(pending.record.address >>> 2) + record.failed]!;
      pending.run?.end(launch > 0 ? failureOf(pending, launch - 1, failure) : undefined);
    }
    while (this.#pending.length > 0 && this.#pending[0]!.number < completed) {
      const { record, number } = this.#pending.shift()!;
      this.#heap.give(record, number);
    }
  }

  async #finish(number: number): Promise<void> {
    await this.#pool.finished(number);
    this.#settle();
  }

  /** Gives a buffer other memory. */
  #rebind(buffer: CpuBuffer, use: "idle" | "any"): HeldRegion {
    const region = { ...this.#take(buffer.bytes, use), holders: 1 };
    if (buffer.region) this.#drop(buffer.region, buffer.lastRun);
    buffer.lastRun = 0;
    return buffer.region = region;
  }

  #drop(region: HeldRegion, lastRun: number): void {
    if (--region.holders === 0) this.#heap.give(region, lastRun);
  }

  #arenaOf(bytes: number): number {
    if (this.#arena && this.#arena.bytes >= bytes) return this.#arena.address;
    if (this.#arena) this.#heap.give(this.#arena, this.#pool.enqueued);
    this.#arena = undefined;
    this.#arena = this.#take(bytes, "any");
    return this.#arena.address;
  }

  #takeForWriting(bytes: number): Region {
    this.#settle();
    return this.#take(bytes, "idle");
  }

  #take(bytes: number, use: "idle" | "any"): Region {
    let region = this.#heap.take(bytes, use);
    if (!region && use === "idle") {
      // Memory is short, but the runs under way hold some of it.
      this.#pool.finishNow();
      this.#settle();
      region = this.#heap.take(bytes, use);
    }
    if (!region) throw this.#heap.outOfMemory(bytes);
    return region;
  }

  #copyIn(region: Region, data: TensorData | Uint8Array): void {
    const source = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    this.#heap.bytes.set(source, region.address);
  }

  #own(buffer: DeviceBuffer): CpuBuffer {
    if (!(buffer instanceof CpuBuffer) || buffer.device !== this) {
      throw new TypeError("Cannot use a buffer on the cpu device: it belongs to another device");
    }
    if (buffer.released) {
      throw new ReferenceError(`Cannot use a buffer of ${buffer.bytes} bytes: it was released`);
    }
    return buffer;
  }

  #ownExecutable(executable: Executable): CpuExecutable {
    if (!(executable instanceof CpuExecutable) || !this.#executables.has(executable)) {
      throw new ReferenceError("Cannot run a program: it was released or belongs to another device");
    }
    return executable;
  }
}

/** The failure of a run; the engine's words are there for the first of several. */
function failureOf({ number, labels }: PendingRun, launch: number, first: ThreadFailure | undefined): Error {
  const reason = first?.run === number ? first.message : "the engine refused it, as one before";
  const label = labels[launch] ?? String(launch);
  return new DeviceError(`Cannot run kernel ${label}: ${reason}`, label);
}

/** A program laid out in words, with its arena: temporaries, then scratch, then one workspace per thread. */
class CpuExecutable implements Executable {
  /** Kernels that do not compile fail when they run. */
  readonly failure = undefined;
  /** The words for the threads. */
  readonly words: Int32Array<ArrayBuffer>;
  readonly labels: readonly string[];
  readonly arenaBytes: number;
  descriptor: Region = { address: 0, bytes: 0 };
  lastRun = 0;
  readonly #slots: number[] = [];
  readonly #scratch: number;
  readonly #workspaces: number;
  readonly #recordWords: number;
  #heirs: { readonly givenUp: string; readonly found: ReadonlyMap<number, number> } | undefined;

  constructor(
    readonly device: CpuDevice,
    readonly program: Program,
    readonly kernels: readonly StoredKernel[],
    threads: number,
  ) {
    this.labels = program.launches.map((launch) => launch.kernel.label);
    let end = 0;
    const reserve = (bytes: number): number => {
      const start = end;
      end += aligned(bytes);
      return start;
    };
    const most = (of: (kernel: StoredKernel) => number): number =>
      kernels.reduce((bytes, kernel) => Math.max(bytes, aligned(of(kernel))), 0);
    for (const bytes of program.slots) this.#slots.push(reserve(bytes));
    this.#scratch = reserve(most((kernel) => kernel.scratchBytes));
    const workspaceBytes = most((kernel) => kernel.workspaceBytes);
    this.#workspaces = reserve(workspaceBytes * threads);
    this.arenaBytes = end;

    const layout = [program.launches.length, workspaceBytes];
    let args: number = record.args;
    program.launches.forEach((launch, index) => {
      const { number, region, bytes, phases } = kernels[index]!;
      layout.push(number, region.address, bytes.length, args - record.args, phases.length, ...phases);
      args += launch.inputs.length + launch.outputs.length + 1;
    });
    this.words = Int32Array.from(layout);
    this.#recordWords = args;
  }

  run(
    inputs: readonly DeviceBuffer[],
    outputs: readonly DeviceBuffer[],
    givenUp: readonly number[] = [],
  ): void {
    this.device.start(this, inputs, outputs, { givenUp });
  }

  /** The input whose memory an output takes over, for outputs that do (see `heirsOf`); mostly the same in every run. */
  heirs(givenUp: readonly number[]): ReadonlyMap<number, number> {
    const key = givenUp.join();
    if (this.#heirs?.givenUp !== key) {
      this.#heirs = { givenUp: key, found: heirsOf(this.program, givenUp) };
    }
    return this.#heirs.found;
  }

  release(): void {
    this.device.retire(this);
  }

  /** Checks number and sizes of the buffers of one kind of place. */
  check(buffers: readonly DeviceBuffer[], kind: "input" | "output"): readonly DeviceBuffer[] {
    for (const { place, length } of this.program.buffers) {
      if (place.kind !== kind) continue;
      const buffer = buffers[place.index];
      if (!buffer) {
        throw new RangeError(
          `Cannot run a program: ${kind} ${place.index} is missing; ${buffers.length} ${kind}s were given`,
        );
      }
      if (buffer.bytes < length * 4) {
        throw new RangeError(
          `Cannot run a program: ${kind} ${place.index} has ${buffer.bytes} bytes; ${length * 4} are needed`,
        );
      }
    }
    return buffers;
  }

  /** The words of one run's record. */
  record(
    inputs: readonly number[],
    outputs: readonly number[],
    arena: number,
  ): Int32Array<ArrayBuffer> {
    const addresses = this.program.buffers.map(({ place }) =>
      place.kind === "temporary"
        ? arena + this.#slots[place.index]!
        : (place.kind === "input" ? inputs : outputs)[place.index]!
    );
    const content = new Int32Array(this.#recordWords);
    let at: number = record.args;
    for (const launch of this.program.launches) {
      for (const buffer of launch.inputs) content[at++] = addresses[buffer]!;
      for (const buffer of launch.outputs) content[at++] = addresses[buffer]!;
      content[at++] = arena + this.#scratch;
    }
    content[record.workspaces] = arena + this.#workspaces;
    return content;
  }
}
