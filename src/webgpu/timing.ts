/**
 * The time that launches take: by the device's own clock where it has one, else by waiting for them.
 *
 * @module
 */
import type { DeviceBuffer } from "../compiler/backend.ts";
import type { Kernel, Launch, Program, ProgramBuffer } from "../compiler/kernel.ts";
import type { WebgpuDevice } from "./device.ts";
import { Recorder, type WebgpuExecutable } from "./executable.ts";
import { bufferUsage } from "./flags.ts";
import type { Part } from "./readback.ts";

/** Launches of a kernel in one run of a race. */
const perRun = 3;
/** Every executable runs at least this often, and all together at least this many milliseconds. */
const leastRuns = 3;
const leastTime = 20;
/** Most timestamps in one query set. */
const mostTimestamps = 4096;

/** Timestamps under way. */
export interface Recorded {
  /** Where they will be: begin and end of every launch. */
  readonly parts: readonly Part[];
  /** Gives them back once they were read. */
  readonly release: () => void;
}

/** Runs a program with a timestamp before and after every launch. */
export function recordTimes(
  device: WebgpuDevice,
  executable: WebgpuExecutable,
  inputs: readonly DeviceBuffer[],
  outputs: readonly DeviceBuffer[],
): Recorded {
  const { gpu } = device;
  const count = executable.launches.length;
  const sets: { querySet: GPUQuerySet; times: GPUBuffer; bytes: number }[] = [];
  const { prepared, end } = executable.begin(inputs, outputs);
  for (let first = 0; first < count; first += mostTimestamps / 2) {
    const length = Math.min(mostTimestamps / 2, count - first);
    const querySet = gpu.createQuerySet({ type: "timestamp", count: 2 * length });
    const bytes = 16 * length;
    const usage = bufferUsage.queryResolve | bufferUsage.copySource;
    const times = gpu.createBuffer({ label: "times", size: bytes, usage });
    device.check("run", () => {
      const recorder = new Recorder(gpu);
      for (let k = 0; k < length; k++) {
        executable.encode(recorder, first + k, prepared, {
          querySet,
          beginningOfPassWriteIndex: 2 * k,
          endOfPassWriteIndex: 2 * k + 1,
        });
      }
      recorder.encoder.resolveQuerySet(querySet, 0, 2 * length, times, 0);
      recorder.submit();
    });
    sets.push({ querySet, times, bytes });
  }
  end();
  return {
    parts: sets.map(({ times, bytes }) => ({ gpu: times, bytes })),
    release: () => {
      for (const { querySet, times } of sets) {
        querySet.destroy();
        times.destroy();
      }
    },
  };
}

/** Milliseconds of every launch from its timestamps, in nanoseconds. */
export function millisecondsOf(stamps: readonly ArrayBuffer[]): number[] {
  return stamps.flatMap((buffer) => {
    const nanoseconds = new BigUint64Array(buffer);
    return Array.from(
      { length: nanoseconds.length / 2 },
      (_, k) => Number(nanoseconds[2 * k + 1]! - nanoseconds[2 * k]!) / 1e6,
    );
  });
}

/** A program that launches one kernel several times; `lengths` = elements of its inputs and outputs. */
export function repeated(kernel: Kernel, inputs: readonly number[], outputs: readonly number[]): Program {
  const buffers = (kind: "input" | "output", lengths: readonly number[]): ProgramBuffer[] =>
    lengths.map((length, index) => ({ length, dtype: kernel[`${kind}s`][index]!, place: { kind, index } }));
  const launch: Launch = {
    kernel,
    inputs: inputs.map((_, k) => k),
    outputs: outputs.map((_, k) => inputs.length + k),
  };
  return {
    buffers: [...buffers("input", inputs), ...buffers("output", outputs)],
    launches: Array.from({ length: perRun }, () => launch),
    slots: [],
  };
}

/**
 * Shortest milliseconds of a launch of each of several programs that do the same. They take turns, since a
 * device that has been idle is slow at first. Undefined where nothing can be read at once.
 */
export function race(
  device: WebgpuDevice,
  executables: readonly WebgpuExecutable[],
  inputs: readonly DeviceBuffer[],
  outputs: readonly DeviceBuffer[],
): number[] | undefined {
  const best = executables.map(() => Infinity);
  const start = performance.now();
  for (let run = 0; run < leastRuns || performance.now() - start < leastTime; run++) {
    for (const [k, executable] of executables.entries()) {
      const time = device.hasTimestamps
        ? timeByDevice(device, executable, inputs, outputs)
        : timeByWaiting(device, executable, inputs, outputs);
      if (time === undefined) return undefined;
      best[k] = Math.min(best[k]!, time);
    }
  }
  return best;
}

type Timer = (
  device: WebgpuDevice,
  executable: WebgpuExecutable,
  inputs: readonly DeviceBuffer[],
  outputs: readonly DeviceBuffer[],
) => number | undefined;

const timeByDevice: Timer = (device, executable, inputs, outputs) => {
  const { parts, release } = recordTimes(device, executable, inputs, outputs);
  const stamps = device.readback.readNow(parts);
  release();
  return stamps && Math.min(...millisecondsOf(stamps));
};

const timeByWaiting: Timer = (device, executable, inputs, outputs) => {
  const start = performance.now();
  executable.run(inputs, outputs);
  const read = device.readback.readNow([{ gpu: device.constants([0]), bytes: 4 }]);
  return read && (performance.now() - start) / executable.launches.length;
};
