/**
 * A program on a device: pipelines with their bindings, recorded into few command buffers with many
 * dispatches each. Temporary memory is taken from the pool for each run and given back at once, since later
 * work runs after it; bind groups are kept for as long as the same memory comes back.
 *
 * @module
 */
import type { DeviceBuffer, Executable } from "../compiler/backend.ts";
import type { Program } from "../compiler/kernel.ts";
import { Run, throwFailureOf } from "../compiler/runs.ts";
import { Recent } from "../recent.ts";
import {
  bindLaunch,
  type BoundBinding,
  type BoundDispatch,
  type BoundLaunch,
  type LaunchPiece,
  type Source,
} from "./bound.ts";
import type { WebgpuDevice } from "./device.ts";
import { joinTiny } from "./join.ts";
import type { Memory, MemoryPool, WebgpuBuffer } from "./memory.ts";
import type { Pipeline } from "./pipelines.ts";
import type { Access } from "./schedule.ts";

interface StepBinding extends BoundBinding {
  readonly access: Access;
  /** The content of constants. */
  readonly gpu?: GPUBuffer;
}

/** One dispatch with everything but the memory of a run. */
interface Step {
  readonly pipeline: Pipeline;
  readonly workgroups: readonly [number, number, number];
  readonly bindings: readonly StepBinding[];
  /** Its bind groups by the memory that they bind: most of it is the same in a run with other inputs or outputs. */
  readonly groups: Recent<string, GPUBindGroup>;
}

/** A launch with its compiled shaders. */
interface CompiledLaunch extends Pick<BoundLaunch, "label" | "inputs" | "outputs"> {
  readonly steps: readonly Step[];
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

/** A compiled program. */
export class WebgpuExecutable implements Executable {
  readonly launches: readonly CompiledLaunch[];
  readonly #device: WebgpuDevice;
  readonly #program: Program;
  readonly #scratch: readonly number[];
  #isSound = false;
  readonly #prepared = new Recent<string, Prepared>(mostPrepared, ({ copies }) => {
    for (const { to } of [...copies.values()].flat()) this.#device.pool.give(to);
  });

  constructor(device: WebgpuDevice, program: Program, pieces: readonly (readonly LaunchPiece[])[]) {
    this.#device = device;
    this.#program = program;
    const scratch: number[] = [];
    for (const { schedule } of pieces.flat()) {
      schedule.scratch.forEach((length, k) => scratch[k] = Math.max(scratch[k] ?? 0, 4 * length));
    }
    this.#scratch = scratch;
    const launches = program.launches.map((launch, k) => bindLaunch(launch, pieces[k]!, program.buffers));
    this.launches = joinTiny(launches, device.joinOptions).map(({ dispatches, ...launch }) => ({
      ...launch,
      steps: dispatches.map((each) => this.#stepOf(each)),
    }));
  }

  /** Why it cannot run: a shader that the driver refused. */
  get failure(): Error | undefined {
    if (this.#isSound) return undefined;
    const pipelines = this.launches.flatMap(({ steps }) => steps.map(({ pipeline }) => pipeline));
    this.#isSound = pipelines.every(({ isSound }) => isSound);
    return pipelines.find(({ failure }) => failure !== undefined)?.failure;
  }

  run(inputs: readonly DeviceBuffer[], outputs: readonly DeviceBuffer[]): void {
    const origins = inputs.map((buffer) => this.#device.own(buffer).origin);
    throwFailureOf(origins);
    if (this.failure !== undefined) throw this.failure;
    const { prepared, memory, end } = this.begin(inputs, outputs);
    const run = new Run(origins);
    const work = (): void => {
      let recorder = new Recorder(this.#device.gpu);
      this.launches.forEach((_, k) => {
        this.encode(recorder, k, prepared);
        if (recorder.dispatches >= perSubmit) {
          recorder.submit();
          recorder = new Recorder(this.#device.gpu);
        }
      });
      recorder.submit();
    };
    try {
      this.#device.check("run", work, (error) => {
        // A shader or memory that is not there explains more than what came of it.
        run.end(this.failure ?? memory.find(({ failure }) => failure !== undefined)?.failure ?? error);
      });
    } finally {
      end();
    }
    for (const buffer of outputs) this.#device.own(buffer).origin = run;
  }

  /** Finds the memory of a run; `end` gives temporary memory back once everything was submitted. */
  begin(
    inputs: readonly DeviceBuffer[],
    outputs: readonly DeviceBuffer[],
  ): { prepared: Prepared; memory: readonly Memory[]; end: () => void } {
    const { pool } = this.#device;
    const given = { input: this.#memoryOf(inputs, "input"), output: this.#memoryOf(outputs, "output") };
    const own = takeAll(pool, [...this.#program.slots, ...this.#scratch]);
    const memory = {
      ...given,
      temporary: own.slice(0, this.#program.slots.length),
      scratch: own.slice(this.#program.slots.length),
    };
    const key = Object.values(memory).map((list) => list.map(({ id }) => id).join()).join("|");
    const prepared = this.#prepared.take(key, () => {
      let made: Prepared;
      this.#device.check("bind", () => made = this.#prepare(memory));
      return made!;
    });
    const end = (): void => {
      // The last taken goes back first, so that the next run takes each for what it was.
      for (const each of own.toReversed()) pool.give(each);
      pool.tick();
    };
    return { prepared, memory: Object.values(memory).flat(), end };
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
    this.#prepared.clear();
  }

  #stepOf({ dispatch, bindings }: BoundDispatch): Step {
    return {
      pipeline: this.#device.pipelines.get(dispatch),
      workgroups: dispatch.workgroups,
      groups: new Recent(mostPrepared),
      bindings: dispatch.parts.bindings.map(({ access, words }, k): StepBinding => ({
        ...bindings[k]!,
        access,
        ...(words === undefined ? {} : { gpu: this.#device.constants(words) }),
      })),
    };
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
        return step.groups.take(key, () => this.#bind(launch.label, step, bound));
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

/** Memory of each of these sizes; if one is not to be had, none is kept. */
function takeAll(pool: MemoryPool, sizes: readonly number[]): Memory[] {
  const taken: Memory[] = [];
  try {
    for (const bytes of sizes) taken.push(pool.take(bytes));
    return taken;
  } catch (error) {
    for (const each of taken) pool.give(each);
    throw error;
  }
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
