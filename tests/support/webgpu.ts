/** Running kernels on the webgpu device, with both kernel families, beside the interpreter. */
import { assert } from "@std/assert";
import { arrayType, type DType, type TensorData } from "../../src/dtype.ts";
import { interpretKernel } from "../../src/compiler/interpret.ts";
import type { Kernel, Program } from "../../src/compiler/kernel.ts";
import {
  createWebgpuBackend,
  type Family,
  type WebgpuDevice,
  webgpuUnavailableReason,
} from "../../src/webgpu/mod.ts";

export const families: readonly Family[] = ["software", "gpu"];

const devices = new Map<Family, Promise<WebgpuDevice | undefined>>();

/** The device of a family; undefined if there is no adapter. */
export function webgpuDevice(family: Family): Promise<WebgpuDevice | undefined> {
  let device = devices.get(family);
  if (device === undefined) devices.set(family, device = createWebgpuBackend({ family }));
  return device;
}

/** A test for every family. Without an adapter it is skipped, or fails if ALLSPARK_REQUIRE_WEBGPU=1. */
export function webgpuTest(name: string, run: (device: WebgpuDevice, family: Family) => Promise<void>): void {
  for (const family of families) {
    Deno.test({
      name: `webgpu (${family} kernels): ${name}`,
      sanitizeOps: false,
      sanitizeResources: false,
      async fn() {
        const device = await webgpuDevice(family);
        if (device !== undefined) return await run(device, family);
        const message = `no WebGPU adapter: ${webgpuUnavailableReason()}`;
        if (Deno.env.get("ALLSPARK_REQUIRE_WEBGPU") === "1") throw new Error(message);
        console.log(`skipped, ${message}`);
      },
    });
  }
}

/** A program of one kernel. */
export function programOf(kernel: Kernel, inputs: readonly number[], outputs: readonly number[]): Program {
  return {
    buffers: [
      ...inputs.map((length, index) => ({
        length,
        dtype: kernel.inputs[index]!,
        place: { kind: "input" as const, index },
      })),
      ...outputs.map((length, index) => ({
        length,
        dtype: kernel.outputs[index]!,
        place: { kind: "output" as const, index },
      })),
    ],
    launches: [{
      kernel,
      inputs: inputs.map((_, k) => k),
      outputs: outputs.map((_, k) => inputs.length + k),
    }],
    slots: [],
  };
}

function readType(dtype: DType): "f32" | "i32" | "u32" {
  return dtype === "bool" ? "u32" : dtype;
}

/** Runs a program; outputs are filled with a value of which nothing may be left. */
export async function runProgram(
  device: WebgpuDevice,
  program: Program,
  inputs: readonly TensorData[],
  poison = 77,
): Promise<TensorData[]> {
  const given = inputs.map((data) => {
    const buffer = device.allocate(data.byteLength);
    device.write(buffer, data);
    return buffer;
  });
  const places = program.buffers.filter(({ place }) => place.kind === "output")
    .sort((a, b) => a.place.index - b.place.index);
  const outputs = places.map(({ length, dtype }) => {
    const buffer = device.allocate(4 * length);
    device.write(buffer, new (arrayType(dtype))(length).fill(poison));
    return buffer;
  });
  const executable = device.compile(program);
  executable.run(given, outputs);
  const results = await device.read(
    places.map(({ length, dtype }, k) => ({ buffer: outputs[k]!, length, dtype: readType(dtype) })),
  );
  executable.release();
  for (const buffer of [...given, ...outputs]) buffer.release();
  return results;
}

/** The kernel's outputs from the device and from the interpreter. */
export async function runBoth(
  device: WebgpuDevice,
  kernel: Kernel,
  inputs: readonly TensorData[],
  outputs: readonly number[],
): Promise<{ actual: TensorData[]; expected: TensorData[] }> {
  const program = programOf(kernel, inputs.map((data) => data.length), outputs);
  const expected = outputs.map((length, k) => new (arrayType(kernel.outputs[k]!))(length).fill(77));
  interpretKernel(kernel, inputs, expected);
  return { actual: await runProgram(device, program, inputs), expected };
}

/** Runs a kernel and compares it with the interpreter: relative to each value, but to no less than `floor`. */
export async function check(
  device: WebgpuDevice,
  kernel: Kernel,
  inputs: readonly TensorData[],
  outputs: readonly number[],
  tolerance = 2e-6,
  floor = 1e-3,
): Promise<void> {
  const { actual, expected } = await runBoth(device, kernel, inputs, outputs);
  expected.forEach((array, k) => assertClose(actual[k]!, array, { tolerance, floor, what: kernel.label }));
}

/** Fails with the first element at which two arrays differ by more than the tolerance. */
export function assertClose(
  actual: TensorData,
  expected: TensorData,
  { tolerance, floor, what }: { tolerance: number; floor: number; what: string },
): void {
  assert(actual.length === expected.length, `${what}: ${actual.length} elements, not ${expected.length}`);
  expected.forEach((wanted, k) => {
    const got = actual[k]!;
    if (Object.is(got, wanted) || got === wanted) return;
    const allowed = tolerance * Math.max(Math.abs(wanted), floor);
    assert(Math.abs(got - wanted) <= allowed, `${what}: element ${k} is ${got}, not ${wanted}`);
  });
}

/** Numbers between −1 and 1 that are the same every time. */
export function noise(length: number, seed = 1): Float32Array {
  let state = seed >>> 0;
  return Float32Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** Whole numbers from 0 to below `limit`. */
export function integers(length: number, limit: number, seed = 1): Int32Array {
  return Int32Array.from(noise(length, seed), (x) => Math.min(limit - 1, Math.floor((x + 1) / 2 * limit)));
}
