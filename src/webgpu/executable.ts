/**
 * A program on a device: pipelines with their bindings, recorded into few command buffers with many
 * dispatches each. Temporary memory is taken from the pool for each run and given back at once, since later
 * work runs after it; bind groups are kept for as long as the same memory comes back.
 *
 * @module
 */
import type { DeviceBuffer, Executable } from "../compiler/backend.ts";
import type { Launch, Program, ProgramBuffer } from "../compiler/kernel.ts";
import type { Memory, WebgpuBuffer } from "./memory.ts";
import type { Pipeline } from "./pipelines.ts";
import type { Access, Schedule } from "./schedule.ts";
import type { Window } from "./windows.ts";
import type { WebgpuDevice } from "./device.ts";

/** Where a binding finds its memory in a run. */
interface Source {
  readonly kind: "input" | "output" | "temporary" | "scratch" | "constants";
  readonly index: number;
}

interface StepBinding {
  readonly source: Source;
  readonly access: Access;
  readonly offset: number;
  readonly size: number;
  /** The content of constants. */
  readonly gpu?: GPUBuffer;
}

/** One dispatch with everything but the memory of a run. */
interface Step {
  readonly pipeline: Pipeline;
  readonly workgroups: readonly [number, number, number];
  readonly bindings: readonly StepBinding[];
  /** Its bind groups by the memory that they bind: most of it is the same in a run with other inputs or outputs. */
  readonly groups: Map<string, GPUBindGroup>;
}

/** One launch of the program. */
interface CompiledLaunch {
  readonly label: string;
  readonly steps: readonly Step[];
  readonly inputs: readonly Source[];
  readonly outputs: readonly Source[];
}

/** A schedule with compiled shaders, and the windows that its kernel sees. */
export interface CompiledSchedule {
  readonly schedule: Schedule;
  readonly pipelines: readonly Pipeline[];
}

/** A schedule for one launch and the windows of the launch's buffers. */
export interface LaunchPiece extends CompiledSchedule {
  readonly inputs: readonly Window[];
  readonly outputs: readonly Window[];
}

/** What a run with certain memory needs; kept for the next run with the same memory. */
export interface Prepared {
  readonly groups: readonly (readonly GPUBindGroup[])[];
  /** Inputs that a launch also writes: they are copied before it. */
  readonly copies: ReadonlyMap<number, readonly { from: Memory; to: Memory }[]>;
}

/** Dispatches per command buffer: few submits, but the device starts before all is recorded. */
const perSubmit = 128;
/** How many sets of buffers are remembered, of a program and of each of its steps. */
const mostPrepared = 8;

/** Bindings are padded to this many bytes, so that a last vector of four is whole. */
const padding = 16;

/** A compiled program. */
export class WebgpuExecutable implements Executable {
  readonly launches: readonly CompiledLaunch[];
  readonly #device: WebgpuDevice;
  readonly #program: Program;
  readonly #scratch: readonly number[];
  readonly #prepared = new Map<string, Prepared>();

  constructor(device: WebgpuDevice, program: Program, pieces: readonly (readonly LaunchPiece[])[]) {
    this.#device = device;
    this.#program = program;
    const scratch: number[] = [];
    for (const { schedule } of pieces.flat()) {
      schedule.scratch.forEach((length, k) => scratch[k] = Math.max(scratch[k] ?? 0, 4 * length));
    }
    this.#scratch = scratch;
    this.launches = program.launches.map((launch, k) => ({
      label: labelOf(launch, pieces[k]!),
      steps: pieces[k]!.flatMap((piece) => this.#stepsOf(launch, piece)),
      inputs: launch.inputs.map((buffer) => sourceOf(program.buffers[buffer]!)),
      outputs: launch.outputs.map((buffer) => sourceOf(program.buffers[buffer]!)),
    }));
  }

  run(inputs: readonly DeviceBuffer[], outputs: readonly DeviceBuffer[]): void {
    const { prepared, end } = this.begin(inputs, outputs);
    this.#device.check("run", () => {
      let recorder = new Recorder(this.#device.gpu);
      this.launches.forEach((_, k) => {
        this.encode(recorder, k, prepared);
        if (recorder.dispatches >= perSubmit) {
          recorder.submit();
          recorder = new Recorder(this.#device.gpu);
        }
      });
      recorder.submit();
    });
    end();
  }

  /** Finds the memory of a run; `end` gives temporary memory back once everything was submitted. */
  begin(
    inputs: readonly DeviceBuffer[],
    outputs: readonly DeviceBuffer[],
  ): { prepared: Prepared; end: () => void } {
    const { pool } = this.#device;
    const memory = {
      input: this.#memoryOf(inputs, "input"),
      output: this.#memoryOf(outputs, "output"),
      temporary: this.#program.slots.map((bytes) => pool.take(bytes)),
      scratch: this.#scratch.map((bytes) => pool.take(bytes)),
    };
    const key = Object.values(memory).map((list) => list.map(({ id }) => id).join()).join("|");
    const prepared = remember(
      this.#prepared,
      key,
      () => {
        let made: Prepared;
        this.#device.check("bind", () => made = this.#prepare(memory));
        return made!;
      },
      (oldest) => this.#forget(oldest),
    );
    const end = (): void => {
      // The last taken goes back first, so that the next run takes each for what it was.
      for (const each of [...memory.temporary, ...memory.scratch].reverse()) pool.give(each);
      pool.tick();
    };
    return { prepared, end };
  }

  /** Records one launch. */
  encode(
    recorder: Recorder,
    launch: number,
    prepared: Prepared,
    timestamps?: GPUComputePassTimestampWrites,
  ): void {
    const { steps } = this.launches[launch]!;
    for (const { from, to } of prepared.copies.get(launch) ?? []) recorder.copy(from, to);
    const pass = timestamps === undefined ? recorder.pass() : recorder.timedPass(timestamps);
    steps.forEach(({ pipeline, workgroups }, k) => {
      pass.setPipeline(pipeline.gpu);
      pass.setBindGroup(0, prepared.groups[launch]![k]!);
      pass.dispatchWorkgroups(...workgroups);
    });
    recorder.dispatches += steps.length;
    if (timestamps !== undefined) recorder.endPass();
  }

  release(): void {
    for (const key of this.#prepared.keys()) this.#forget(key);
    this.#prepared.clear();
  }

  #forget(key: string): void {
    for (const copies of this.#prepared.get(key)!.copies.values()) {
      for (const { to } of copies) this.#device.pool.give(to);
    }
  }

  #stepsOf(launch: Launch, piece: LaunchPiece): Step[] {
    const { buffers } = this.#program;
    return piece.schedule.dispatches.map((dispatch, k) => ({
      pipeline: piece.pipelines[k]!,
      workgroups: dispatch.workgroups,
      groups: new Map(),
      bindings: dispatch.bindings.map((binding): StepBinding => {
        const { kind, index, access, words } = binding;
        if (kind === "constants") {
          const gpu = this.#device.constants(words!);
          return { source: { kind, index }, access, offset: 0, size: gpu.size, gpu };
        }
        if (kind === "scratch") {
          return { source: { kind, index }, access, offset: 0, size: padded(piece.schedule.scratch[index]!) };
        }
        const list = kind === "input" ? launch.inputs : launch.outputs;
        const window = (kind === "input" ? piece.inputs : piece.outputs)[index]!;
        const source = sourceOf(buffers[list[index]!]!);
        return { source, access, offset: 4 * window.first, size: padded(window.length) };
      }),
    }));
  }

  #memoryOf(buffers: readonly DeviceBuffer[], kind: "input" | "output"): Memory[] {
    const places = this.#program.buffers.filter(({ place }) => place.kind === kind);
    const wanted = Math.max(0, ...places.map(({ place }) => place.index + 1));
    if (buffers.length < wanted) {
      throw new RangeError(
        `Cannot run the program: it has ${wanted} ${kind}s and ${buffers.length} were given`,
      );
    }
    for (const { place, length } of places) {
      const { bytes } = buffers[place.index]!;
      if (bytes < 4 * length) {
        throw new RangeError(
          `Cannot run the program: ${kind} ${place.index} has ${bytes} bytes and ${4 * length} are needed`,
        );
      }
    }
    return buffers.map((buffer) => this.#device.own(buffer as WebgpuBuffer).memory);
  }

  #prepare(memory: Record<"input" | "output" | "temporary" | "scratch", readonly Memory[]>): Prepared {
    const copies = new Map<number, { from: Memory; to: Memory }[]>();
    const find = ({ kind, index }: Source): Memory => memory[kind as keyof typeof memory][index]!;
    const groups = this.launches.map((launch, number) => {
      const written = new Set(launch.outputs.map(find));
      const replaced = new Map<Memory, Memory>();
      for (const from of new Set(launch.inputs.map(find))) {
        // A buffer cannot be read and written by one dispatch.
        if (written.has(from)) replaced.set(from, this.#device.pool.take(from.capacity));
      }
      if (replaced.size > 0) copies.set(number, [...replaced].map(([from, to]) => ({ from, to })));
      return launch.steps.map((step) => {
        const bound = step.bindings.map(({ source, access, gpu }) => {
          const given = gpu === undefined ? find(source) : undefined;
          return given && access === "read" ? replaced.get(given) ?? given : given;
        });
        const key = bound.map((own) => own?.id).join();
        return remember(step.groups, key, () => this.#bind(launch.label, step, bound));
      });
    });
    return { groups, copies };
  }

  /** `bound` = the memory of each binding that is not a constant. */
  #bind(label: string, { pipeline, bindings }: Step, bound: readonly (Memory | undefined)[]): GPUBindGroup {
    return this.#device.gpu.createBindGroup({
      label,
      layout: pipeline.layout,
      entries: bindings.map(({ offset, size, gpu }, binding) => ({
        binding,
        resource: { buffer: gpu ?? bound[binding]!.gpu, offset, size },
      })),
    });
  }
}

/** The value of a key, made if it is new; of too many the one that was not used for longest goes. */
function remember<Value>(
  map: Map<string, Value>,
  key: string,
  make: () => Value,
  forget?: (key: string) => void,
): Value {
  let value = map.get(key);
  if (value === undefined) {
    value = make();
    const oldest = map.size >= mostPrepared ? map.keys().next().value : undefined;
    if (oldest !== undefined) {
      forget?.(oldest);
      map.delete(oldest);
    }
  }
  // The last used is the last to be forgotten.
  map.delete(key);
  map.set(key, value);
  return value;
}

/** A command buffer under construction. */
export class Recorder {
  dispatches = 0;
  readonly encoder: GPUCommandEncoder;
  #pass: GPUComputePassEncoder | undefined;

  constructor(readonly device: GPUDevice) {
    this.encoder = device.createCommandEncoder({ label: "program" });
  }

  /** The open pass. */
  pass(): GPUComputePassEncoder {
    return this.#pass ??= this.encoder.beginComputePass({ label: "program" });
  }

  /** A pass of its own whose begin and end are timed. */
  timedPass(timestampWrites: GPUComputePassTimestampWrites): GPUComputePassEncoder {
    this.endPass();
    return this.#pass = this.encoder.beginComputePass({ label: "program", timestampWrites });
  }

  /** Ends the open pass. */
  endPass(): void {
    this.#pass?.end();
    this.#pass = undefined;
  }

  /** Copies memory. */
  copy(from: Memory, to: Memory): void {
    this.endPass();
    this.encoder.copyBufferToBuffer(from.gpu, 0, to.gpu, 0, from.capacity);
  }

  /** Hands everything to the device. */
  submit(): void {
    this.endPass();
    this.device.queue.submit([this.encoder.finish()]);
  }
}

/** The kernel's label, with the tiles in which it is computed. */
function labelOf({ kernel }: Launch, pieces: readonly LaunchPiece[]): string {
  const tiles = pieces[0]?.schedule.tiles;
  return tiles === undefined ? kernel.label : `${kernel.label} in tiles of ${tiles}`;
}

function sourceOf({ place }: ProgramBuffer): Source {
  return { kind: place.kind, index: place.index };
}

/** Bytes of a binding of this many elements. */
function padded(length: number): number {
  return Math.max(padding, Math.ceil((4 * length) / padding) * padding);
}
