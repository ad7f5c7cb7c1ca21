/**
 * What figures depend on beside the code: the machine.
 *
 * @module
 */
import { isSoftwareAdapter } from "../src/webgpu/adapter.ts";

/** The processor's name by the operating system's account. */
export async function processorName(): Promise<string> {
  if (Deno.build.os === "linux") {
    const text = await Deno.readTextFile("/proc/cpuinfo");
    const field = (name: string): string | undefined =>
      new RegExp(`^${name}\\s*: (.*)$`, "m").exec(text)?.[1];
    // Virtual machines call very different processors the same, so family and model count too.
    const name = field("model name") ?? Deno.build.arch;
    return `${name} (family ${field("cpu family") ?? "?"}, model ${field("model") ?? "?"})`;
  }
  if (Deno.build.os === "darwin") {
    const { stdout } = await new Deno.Command("sysctl", { args: ["-n", "machdep.cpu.brand_string"] })
      .output();
    return new TextDecoder().decode(stdout).trim();
  }
  return Deno.env.get("PROCESSOR_IDENTIFIER") ?? Deno.build.arch;
}

/** The WebGPU adapter that computes; null without one. */
async function findAdapter(): Promise<GPUAdapter | null> {
  if (Deno.env.get("XDG_RUNTIME_DIR") === undefined) Deno.env.set("XDG_RUNTIME_DIR", "/tmp");
  return await navigator.gpu?.requestAdapter({ powerPreference: "high-performance" }) ?? null;
}

/** Whether WebGPU finds more than the cpu. */
export async function hasGpu(): Promise<boolean> {
  const adapter = await findAdapter();
  return adapter !== null && !isSoftwareAdapter(adapter.info);
}

/** The WebGPU adapter's name; undefined without one. */
export async function adapterName(): Promise<string | undefined> {
  const adapter = await findAdapter();
  if (adapter === null) return undefined;
  return adapter.info.description || `${adapter.info.vendor} ${adapter.info.device}`;
}

/** What WebGPU's speed depends on: the adapter, and the processor where that is what computes; undefined without one. */
export async function adapterHardware(): Promise<string | undefined> {
  const [name, isGpu] = [await adapterName(), await hasGpu()];
  return name === undefined || isGpu ? name : `${name} on ${await processorName()}`;
}

/** One line about where and when figures were measured. */
export async function describeRun(): Promise<string> {
  const date = new Date().toISOString().slice(0, 10);
  const adapter = await adapterName();
  return `${date}, ${await processorName()}, ${navigator.hardwareConcurrency} threads, Deno ${Deno.version.deno}; ` +
    `WebGPU adapter: ${adapter ?? "none"}`;
}
