/**
 * The cpu backend: WebAssembly in worker threads over one shared memory.
 *
 * @module
 */
import type { Backend } from "../compiler/backend.ts";
import { ModuleBuilder } from "./assembler.ts";
import { generate } from "./codegen.ts";
import { CpuDevice } from "./device.ts";
import { mostThreads } from "./protocol.ts";

/** Choices that are usually left to the machine. */
export interface CpuOptions {
  /**
   * Worker threads; by default the environment's `ALLSPARK_THREADS`, else one per processor. Results do not
   * depend on it.
   */
  readonly threads?: number;
  /** Whether to use fused multiply-add (it rounds once instead of twice); by default where the engine has it. */
  readonly relaxedSimd?: boolean;
}

/** Starts the threads of a cpu backend. Throws RangeError if the number of threads is not a positive integer. */
// deno-lint-ignore require-await
export async function createCpuBackend(options: CpuOptions = {}): Promise<Backend> {
  const threads = options.threads ?? threadsFromEnvironment() ?? navigator.hardwareConcurrency;
  if (!Number.isInteger(threads) || threads < 1 || threads > mostThreads) {
    throw new RangeError(`Cannot start ${threads} threads: give a whole number from 1 to ${mostThreads}`);
  }
  const relaxedSimd = options.relaxedSimd ?? hasRelaxedSimd();
  return new CpuDevice(threads, { relaxedSimd }, generate);
}

function threadsFromEnvironment(): number | undefined {
  const text = Deno.env.get("ALLSPARK_THREADS");
  return text ? Number(text) : undefined;
}

function hasRelaxedSimd(): boolean {
  const module = new ModuleBuilder({ memory: { shared: true, maximumPages: 1 } });
  module.func("test", [], ["v128"]).f32x4(1).f32x4(2).f32x4(3).op("f32x4.relaxed_madd");
  return WebAssembly.validate(module.bytes());
}
