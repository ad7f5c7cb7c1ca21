/**
 * What a device offers to the rest of the library. Only the files of a backend's own folder name its API.
 *
 * @module
 */
import type { TensorData } from "../dtype.ts";
import type { Kernel, Program } from "./kernel.ts";
import type { ReductionLimits } from "./split.ts";

/** Memory on a device. `bytes` is the size asked for; `release` gives it back (to the pool) and may be called once. */
export interface DeviceBuffer {
  readonly bytes: number;
  release(): void;
}

/** A program made ready for a device. */
export interface Executable {
  /** Why it cannot run, once that is known. */
  readonly failure: Error | undefined;
  /**
   * Starts the program; returns at once. Work runs in the order of the calls, and before any later `read`.
   * `inputs`/`outputs` are in the order of the program's places. An output may be the same buffer as an
   * input only if the caller knows the program to be safe for it. `givenUp` are numbers of inputs, each with a buffer
   * of its own, that are released next: the device may let outputs have their memory, and their content is lost.
   *
   * @throws What went wrong, if an input is known to hold nothing for that reason; nothing has started then.
   */
  run(
    inputs: readonly DeviceBuffer[],
    outputs: readonly DeviceBuffer[],
    givenUp?: readonly number[],
  ): void;
  /** Gives back the temporary memory. */
  release(): void;
}

/** Live and pooled memory of a device in bytes, and the number of live buffers. */
export interface MemoryStats {
  /** Bytes in use. */
  readonly liveBytes: number;
  /** Buffers in use. */
  readonly liveBuffers: number;
  /** Bytes given back and kept for reuse. */
  readonly pooledBytes: number;
  /** Most bytes that the device can hold, where that is known. */
  readonly limitBytes?: number;
}

/** A device. */
export interface Backend {
  readonly name: "cpu" | "webgpu";
  /** What a person wants to know: adapter name, threads, why it was chosen. */
  readonly description: string;
  /** Why it can do nothing any longer; undefined while it can. */
  readonly lost: Error | undefined;
  /** Whether an operand of a contraction is evaluated once (packed) or again for every tile. */
  readonly packsOperands: boolean;
  /** When reductions must be cut before they get here. */
  readonly reductions: ReductionLimits;
  allocate(bytes: number): DeviceBuffer;
  write(buffer: DeviceBuffer, data: TensorData): void;
  /**
   * Waits for all work started before and copies the buffers out, all in one wait. Rejects with what went wrong in the work
   * that these buffers came from.
   */
  read(
    requests: readonly { buffer: DeviceBuffer; length: number; dtype: "f32" | "i32" | "u32" }[],
  ): Promise<TensorData[]>;
  /**
   * Waits until it is known whether the device took the work that these buffers come from; that may still be under way.
   * Rejects if it did not.
   */
  taken(buffers: readonly DeviceBuffer[]): Promise<void>;
  /** Compiles what is not compiled yet; `progress(done, total)` counts kernels. */
  compile(program: Program, progress?: (done: number, total: number) => void): Executable;
  /** Per-launch times in milliseconds of one run, for `DEBUG=2`, with labels. */
  profile(
    executable: Executable,
    inputs: readonly DeviceBuffer[],
    outputs: readonly DeviceBuffer[],
  ): Promise<{ label: string; milliseconds: number }[]>;
  /** What the device makes of a kernel, for `DEBUG=4`: its shaders, or the loops of its module. */
  describe(kernel: Kernel): string;
  memory(): MemoryStats;
  /** Ends workers or the device. Nothing may be used afterwards. */
  close(): Promise<void>;
}
