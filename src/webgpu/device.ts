/**
 * The webgpu device.
 *
 * WebGPU reports errors late, to whoever listens. Every operation runs in an error scope, and what is found goes to the run
 * whose work it was: who reads what came of that run gets it, with the kernel that it names and that kernel's source. What
 * belongs to no run is thrown by the next read. Once the device is lost, that is all that anybody hears.
 *
 * @module
 */
import type { Backend, DeviceBuffer, Executable, MemoryStats } from "../compiler/backend.ts";
import { type Kernel, kernelKey, type Launch, type Program } from "../compiler/kernel.ts";
import { Run } from "../compiler/runs.ts";
import { fewThreads, type ReductionLimits } from "../compiler/split.ts";
import { arrayType, type TensorData } from "../dtype.ts";
import { DeviceError } from "../errors.ts";
import { Recent } from "../recent.ts";
import { turn } from "../turns.ts";
import type { OpenDevice } from "./adapter.ts";
import type { LaunchPiece } from "./bound.ts";
import { Recorder, WebgpuExecutable } from "./executable.ts";
import { bufferUsage } from "./flags.ts";
import { generate } from "./generate.ts";
import { isTiny, type JoinOptions } from "./join.ts";
import { Counted, MemoryPool, WebgpuBuffer } from "./memory.ts";
import { numbered, Pipelines } from "./pipelines.ts";
import { Readback } from "./readback.ts";
import type { Schedule } from "./schedule.ts";
import type { TileChoice, Tiling } from "./tiles.ts";
import { millisecondsOf, race, recordTimes, repeated } from "./timing.ts";
import { type Window, windows } from "./windows.ts";

/** Bytes that this device may use. Software adapters promise more than the machine has, and are killed for it. */
function totalMemory(isSoftware: boolean): number {
  const { state } = Deno.permissions.querySync({ name: "sys", kind: "systemMemoryInfo" });
  return isSoftware && state === "granted" ? Math.floor(0.75 * Deno.systemMemoryInfo().total) : Infinity;
}

/** Real GPUs have many slow lanes; their contractions are cut where tiles are chosen. */
const gpuReductions: ReductionLimits = {
  longest: 2 ** 30,
  results: 2 ** 17,
  steps: 32,
  apart: { rows: 512, length: 2 ** 15 },
};

/** Kernels whose shaders are remembered, beside those of programs that are kept. */
const mostSchedules = 1024;

/** A backend that computes with WebGPU. */
export class WebgpuDevice implements Backend {
  readonly name = "webgpu";
  readonly description: string;
  readonly packsOperands = false;
  readonly reductions: ReductionLimits;
  readonly gpu: GPUDevice;
  readonly pool: MemoryPool;
  readonly pipelines: Pipelines;
  readonly readback: Readback;
  readonly joinOptions: JoinOptions;
  readonly hasTimestamps: boolean;
  readonly #open: OpenDevice;
  readonly #live = new Counted();
  readonly #schedules = new Recent<string, Schedule>(mostSchedules);
  readonly #constants = new Recent<string, GPUBuffer>(mostSchedules);
  /** An error of which nobody knows whose it is. */
  #failure: Error | undefined;
  #lost: Error | undefined;
  #checks: Promise<void> = Promise.resolve();
  #isClosed = false;

  constructor(open: OpenDevice) {
    this.#open = open;
    this.gpu = open.gpu;
    this.description = `${open.name}, ${open.family} kernels`;
    this.reductions = open.family === "gpu" ? gpuReductions : { ...fewThreads, longest: 16384 };
    this.hasTimestamps = open.hasTimestamps;
    const { maxBufferSize, maxStorageBufferBindingSize } = open.gpu.limits;
    this.joinOptions = {
      family: open.family,
      most: {
        storage: open.gpu.limits.maxStorageBuffersPerShaderStage,
        uniform: open.gpu.limits.maxUniformBuffersPerShaderStage,
      },
    };
    this.pool = new MemoryPool(
      open.gpu,
      { buffer: maxBufferSize, binding: maxStorageBufferBindingSize, total: totalMemory(open.isSoftware) },
      (check, tell) => this.#await(check, tell),
    );
    this.pipelines = new Pipelines(open.gpu, open.isSoftware, (check, tell) => this.#await(check, tell));
    this.readback = new Readback(open.gpu, maxBufferSize);
    open.gpu.addEventListener(
      "uncapturederror",
      ({ error }) => this.#fail(this.#explain(error.message, "device")),
    );
    open.gpu.lost.then(({ message }) => {
      const reason = message.trim() || "the driver gives no reason";
      this.#lost = new DeviceError(
        this.#isClosed
          ? `Cannot use ${open.name} any longer: it was closed`
          : `Cannot use ${open.name} any longer: the device was lost with all tensors on it (${reason}); ` +
            'setDevice("webgpu") opens it again',
      );
    });
  }

  get lost(): Error | undefined {
    return this.#lost;
  }

  allocate(bytes: number): DeviceBuffer {
    this.#checkAlive();
    return new WebgpuBuffer(bytes, this.pool, this.#live);
  }

  write(buffer: DeviceBuffer, data: TensorData): void {
    const target = this.own(buffer);
    const { memory, bytes } = target;
    if (data.byteLength > bytes) {
      throw new RangeError(`Cannot write ${data.byteLength} bytes to a buffer: it has ${bytes} bytes`);
    }
    // Deno 2.9 ends the process when there is nothing to write.
    if (data.byteLength === 0) return;
    const run = new Run([]);
    this.check(
      "write",
      () => this.gpu.queue.writeBuffer(memory.gpu, 0, data as TensorData & ArrayBufferView<ArrayBuffer>),
      (error) => run.end(memory.failure ?? error),
    );
    target.origin = run;
  }

  async read(
    requests: readonly { buffer: DeviceBuffer; length: number; dtype: "f32" | "i32" | "u32" }[],
  ): Promise<TensorData[]> {
    this.#checkAlive();
    const sources = requests.map(({ buffer }) => this.own(buffer));
    const parts = requests.map(({ length }, k) => {
      const { memory, bytes } = sources[k]!;
      if (4 * length > bytes) {
        throw new RangeError(`Cannot read ${length} elements of a buffer: it has ${bytes} bytes`);
      }
      return { gpu: memory.gpu, bytes: 4 * length };
    });
    const origins = sources.map(({ origin }) => origin);
    const own = new Run(origins);
    this.gpu.pushErrorScope("validation");
    const reading = this.readback.read(parts);
    this.#scope("read", (error) => own.end(error));
    const arrays = await reading.catch((error: Error) => error);
    await this.#checks;
    // An error explains a failed read better than the failure itself.
    await this.#throwIfFailed([...origins, own], arrays);
    return requests.map(({ dtype }, k) => new (arrayType(dtype))((arrays as ArrayBuffer[])[k]!));
  }

  async taken(buffers: readonly DeviceBuffer[]): Promise<void> {
    const origins = buffers.map((buffer) => this.own(buffer).origin);
    await this.#checks;
    // That a device is lost is heard of in the next turn.
    await turn();
    this.#checkAlive();
    await this.#throwIfFailed(origins);
  }

  compile(program: Program, progress?: (done: number, total: number) => void): Executable {
    this.#checkAlive();
    const pieces = program.launches.map((launch, k) => {
      const compiled = this.#compileLaunch(program, launch);
      progress?.(k + 1, program.launches.length);
      return compiled;
    });
    this.#open.tuner.memory.save();
    return new WebgpuExecutable(this, program, pieces);
  }

  /** The generated code of a kernel: all its shaders, one after the other. */
  describe(kernel: Kernel): string {
    const { family, tuner, lanes } = this.#open;
    const { dispatches, tiles } = generate(kernel, family, tuner.choose(kernel), lanes);
    const head = tiles === undefined ? "" : `// tiles of ${tiles}\n`;
    return head + dispatches.map(({ label, code, workgroups, parts }) => {
      const words = parts.bindings.flatMap((binding) => binding.words ?? []);
      const parameters = words.length === 0 ? "" : `, parameters ${words.join(" ")}`;
      return `// ${label}: ${workgroups.join(" x ")} workgroups${parameters}\n${code}`;
    }).join("\n");
  }

  async profile(
    executable: Executable,
    inputs: readonly DeviceBuffer[],
    outputs: readonly DeviceBuffer[],
  ): Promise<{ label: string; milliseconds: number }[]> {
    const own = executable as WebgpuExecutable;
    const times = this.hasTimestamps
      ? await this.#timeByDevice(own, inputs, outputs)
      : await this.#timeByWaiting(own, inputs, outputs);
    return own.launches.map(({ label }, k) => ({ label, milliseconds: times[k]! }));
  }

  memory(): MemoryStats {
    return {
      liveBytes: this.#live.bytes,
      liveBuffers: this.#live.buffers,
      pooledBytes: this.pool.pooledBytes,
    };
  }

  close(): Promise<void> {
    this.#isClosed = true;
    this.gpu.destroy();
    return Promise.resolve();
  }

  /** The buffer, if it is one that can be used here. */
  own(buffer: DeviceBuffer): WebgpuBuffer {
    if (!(buffer instanceof WebgpuBuffer)) {
      throw new TypeError("Cannot use the buffer: it belongs to another device");
    }
    if (buffer.isReleased) throw new DeviceError("Cannot use the buffer: it was released");
    return buffer;
  }

  /** A small buffer with constant content. */
  constants(words: readonly number[]): GPUBuffer {
    return this.#constants.take(words.join(), () => {
      const buffer = this.gpu.createBuffer({
        label: "constants",
        size: Math.ceil(words.length / 4) * 16,
        usage: bufferUsage.storage | bufferUsage.uniform | bufferUsage.copySource | bufferUsage.copyTarget,
      });
      this.gpu.queue.writeBuffer(buffer, 0, Uint32Array.from(words));
      return buffer;
    });
  }

  /** Runs `work`; `tell` gets its error, or undefined if there is none, when that is known. */
  check(
    what: string,
    work: () => void,
    tell: (error: Error | undefined) => void = (error) => this.#fail(error),
  ): void {
    this.#checkAlive();
    this.gpu.pushErrorScope("validation");
    try {
      work();
    } finally {
      this.#scope(what, tell);
    }
  }

  #scope(what: string, tell: (error: Error | undefined) => void): void {
    const check = this.gpu.popErrorScope().then((error) =>
      error ? this.#explain(error.message, what) : undefined
    );
    this.#await(check, tell);
  }

  /** Tells what a check finds, in the order in which checks began. */
  #await(check: Promise<Error | undefined>, tell: (error: Error | undefined) => void): void {
    const settled = check.catch((error: Error) => error);
    this.#checks = this.#checks.then(async () => tell(await settled));
  }

  /** The error with the kernel that its message names. */
  #explain(message: string, what: string): DeviceError {
    const text = message.trim() || "the driver gives no reason";
    for (const { label, code } of this.pipelines.all()) {
      if (!message.includes(`'${label}'`)) continue;
      return new DeviceError(`Cannot run kernel ${label}: ${text}`, label, numbered(code));
    }
    return new DeviceError(`Cannot ${what === "device" ? "use the device" : what}: ${text}`);
  }

  /** Keeps the first error: what fails later is mostly a consequence. */
  #fail(error: Error | undefined): void {
    this.#failure ??= error;
  }

  #checkAlive(): void {
    if (this.#lost !== undefined) throw this.#lost;
  }

  /** Throws what went wrong in runs that are over, what nobody has heard of yet, or `result` if it is an error. */
  async #throwIfFailed(runs: readonly (Run | undefined)[], result?: unknown): Promise<void> {
    const failed = runs.find((run) => run?.failure !== undefined)?.failure ?? this.#failure;
    const failure = failed ?? (result instanceof Error ? result : undefined);
    if (failure === undefined) return this.#checkAlive();
    this.#failure = undefined;
    // Much fails when a device is lost, and is heard of before that is.
    await turn();
    this.#checkAlive();
    throw failure;
  }

  #compileLaunch(program: Program, launch: Launch): LaunchPiece[] {
    const lengthOf = (buffer: number): number => program.buffers[buffer]!.length;
    const lengths = { inputs: launch.inputs.map(lengthOf), outputs: launch.outputs.map(lengthOf) };
    const limits = {
      binding: Math.floor(this.pool.limits.binding / 16) * 4,
      alignment: this.gpu.limits.minStorageBufferOffsetAlignment / 4,
    };
    return windows(launch.kernel, lengths, limits).map(({ kernel, inputs, outputs }) => {
      const key = kernelKey(kernel);
      let schedule = this.#schedules.get(key);
      if (schedule === undefined) {
        const tiles = this.#open.tuner.choose(
          kernel,
          (tilings) => this.#timeTilings(kernel, tilings, inputs, outputs),
        );
        this.#schedules.set(key, schedule = this.#schedule(kernel, tiles));
      }
      return { schedule, inputs, outputs };
    });
  }

  #schedule(kernel: Kernel, tiles: TileChoice): Schedule {
    const { family, lanes } = this.#open;
    const schedule = generate(kernel, family, tiles, lanes);
    for (const dispatch of schedule.dispatches) {
      // The driver compiles while the next shader is written. What is tiny may be joined with others.
      if (!isTiny(dispatch, family)) this.pipelines.get(dispatch);
    }
    return schedule;
  }

  /** Milliseconds of a kernel with each of several tilings, on buffers with any content. */
  #timeTilings(
    kernel: Kernel,
    tilings: readonly Tiling[],
    inputs: readonly Window[],
    outputs: readonly Window[],
  ): number[] | undefined {
    const lengths = (windows: readonly Window[]): number[] => windows.map(({ length }) => length);
    const whole = (windows: readonly Window[]): Window[] =>
      lengths(windows).map((length) => ({ first: 0, length }));
    const allocated = (windows: readonly Window[]): DeviceBuffer[] =>
      lengths(windows).map((length) => this.allocate(4 * length));
    const program = repeated(kernel, lengths(inputs), lengths(outputs));
    const executables = tilings.map((tiling) => {
      const schedule = this.#schedule(kernel, { limits: this.#open.tuner.limits, tiling });
      const piece = { schedule, inputs: whole(inputs), outputs: whole(outputs) };
      return new WebgpuExecutable(this, program, program.launches.map(() => [piece]));
    });
    const [given, results] = [allocated(inputs), allocated(outputs)];
    const times = race(this, executables, given, results);
    for (const each of [...executables, ...given, ...results]) each.release();
    return times;
  }

  async #timeByDevice(
    executable: WebgpuExecutable,
    inputs: readonly DeviceBuffer[],
    outputs: readonly DeviceBuffer[],
  ): Promise<number[]> {
    const { parts, release } = recordTimes(this, executable, inputs, outputs);
    const stamps = await this.readback.read(parts);
    release();
    await this.#checks;
    await this.#throwIfFailed([]);
    return millisecondsOf(stamps);
  }

  async #timeByWaiting(
    executable: WebgpuExecutable,
    inputs: readonly DeviceBuffer[],
    outputs: readonly DeviceBuffer[],
  ): Promise<number[]> {
    const times: number[] = [];
    const witness = { gpu: this.constants([0]), bytes: 4 };
    const { prepared, end } = executable.begin(inputs, outputs);
    for (let k = 0; k < executable.launches.length; k++) {
      const start = performance.now();
      this.check("run", () => {
        const recorder = new Recorder(this.gpu);
        executable.encode(recorder, k, prepared);
        recorder.submit();
      });
      await this.readback.read([witness]);
      times.push(performance.now() - start);
    }
    end();
    await this.#checks;
    await this.#throwIfFailed([]);
    return times;
  }
}
