/** Runs a test once per device; WebGPU is skipped, with a sentence, where there is no adapter. */
import { setDevice } from "../../src/device.ts";

let hasWebgpu: boolean | undefined;

/** Whether WebGPU can be tested here. With ALLSPARK_REQUIRE_WEBGPU=1 its absence is an error. */
export async function webgpuAvailable(): Promise<boolean> {
  if (hasWebgpu === undefined) {
    const { createWebgpuBackend, webgpuUnavailableReason } = await import("../../src/webgpu/mod.ts");
    const backend = await createWebgpuBackend({ allowSoftware: true });
    hasWebgpu = backend !== undefined;
    await backend?.close();
    if (!hasWebgpu) {
      const reason =
        `WebGPU is not tested: ${webgpuUnavailableReason()}. Debian's mesa-vulkan-drivers and libvulkan1 give a software adapter`;
      if (Deno.env.get("ALLSPARK_REQUIRE_WEBGPU") === "1") throw new Error(reason);
      console.log(reason);
    }
  }
  return hasWebgpu;
}

/** One test per device. */
export function onEachDevice(name: string, test: () => Promise<void> | void): void {
  for (const device of ["cpu", "webgpu"] as const) {
    Deno.test({
      name: `${name} (${device})`,
      // Devices outlive a single test: their workers and buffers are shared by all.
      sanitizeOps: false,
      sanitizeResources: false,
      fn: async () => {
        if (device === "webgpu" && !await webgpuAvailable()) return;
        await setDevice(device);
        await test();
      },
    });
  }
}

/** A test on the cpu alone: of what does not depend on the device and would take long on a software adapter. */
export function onCpu(name: string, test: () => Promise<void> | void): void {
  Deno.test({
    name: `${name} (cpu)`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      await setDevice("cpu");
      await test();
    },
  });
}
