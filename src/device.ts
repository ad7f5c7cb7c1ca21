/**
 * Which device computes. Without a choice it is WebGPU where there is a real GPU, and the cpu otherwise.
 *
 * @module
 */
import type { Backend, MemoryStats } from "./compiler/backend.ts";
import { environment } from "./debug.ts";

/** The names of the devices. */
export type DeviceName = "cpu" | "webgpu";

const opened = new Map<DeviceName, Promise<Backend>>();
let current: Backend | undefined;
let opening: Promise<Backend> | undefined;

async function open(name: DeviceName): Promise<Backend> {
  const known = opened.get(name);
  if (known !== undefined && (await known).lost === undefined) return await known;
  // One that was lost is opened anew by the first who chooses it again.
  if (opened.get(name) === known) {
    const backend = name === "cpu" ? openCpu() : openWebgpu();
    opened.set(name, backend);
    backend.catch(() => opened.delete(name));
  }
  return await opened.get(name)!;
}

async function openCpu(): Promise<Backend> {
  const { createCpuBackend } = await import("./cpu/mod.ts");
  return await createCpuBackend();
}

async function openWebgpu(): Promise<Backend> {
  const { createWebgpuBackend, webgpuUnavailableReason } = await import("./webgpu/mod.ts");
  const backend = await createWebgpuBackend({ allowSoftware: true });
  if (backend === undefined) throw new Error(`Cannot use device webgpu: ${webgpuUnavailableReason()}`);
  return backend;
}

async function openDefault(): Promise<Backend> {
  const asked = environment("ALLSPARK_DEVICE");
  if (asked === "cpu" || asked === "webgpu") return await open(asked);
  if (asked !== undefined && asked !== "auto") {
    throw new RangeError(`Cannot use ALLSPARK_DEVICE=${asked}: it must be cpu, webgpu or auto`);
  }
  const { createWebgpuBackend } = await import("./webgpu/mod.ts");
  const gpu = await createWebgpuBackend({ allowSoftware: false });
  if (gpu === undefined) return await open("cpu");
  opened.set("webgpu", Promise.resolve(gpu));
  return gpu;
}

/**
 * Chooses the device for everything that is evaluated from now on. Tensors that live on another device are
 * copied when they are next read or evaluated with `await`.
 *
 * @param name `"cpu"`, `"webgpu"` (a software adapter too), or `"auto"`: a real GPU if there is one, else the cpu.
 * @throws {Error} If there is no WebGPU adapter; the message says how to get one.
 * @example
 * ```ts
 * import { device, setDevice } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * await setDevice("cpu");
 * assertEquals(device(), "cpu");
 * ```
 */
export async function setDevice(name: DeviceName | "auto"): Promise<void> {
  if (name !== "cpu" && name !== "webgpu" && name !== "auto") {
    throw new RangeError(`Cannot use device ${JSON.stringify(name)}: it must be "cpu", "webgpu" or "auto"`);
  }
  current = name === "auto" ? await openDefault() : await open(name);
}

/** The name of the chosen device; undefined before the first use if none was chosen. */
export function device(): DeviceName | undefined {
  return current?.name;
}

/** A line about the device for people: adapter or threads. Chooses the default device if none was chosen. */
export async function describeDevice(): Promise<string> {
  return (await backend()).description;
}

/**
 * The chosen device, or the default one.
 *
 * @internal
 */
export async function backend(): Promise<Backend> {
  if (current === undefined) {
    opening ??= openDefault();
    const found = await opening;
    current ??= found;
  }
  return current;
}

/**
 * The chosen device if it is ready now.
 *
 * @internal
 */
export function readyBackend(): Backend | undefined {
  return current;
}

/** What the memory of a device holds. */
export const memory: {
  /** Live and pooled bytes of the chosen device; zeros before its first use. */
  stats(): MemoryStats;
} = {
  stats: () => current?.memory() ?? { liveBytes: 0, liveBuffers: 0, pooledBytes: 0 },
};
