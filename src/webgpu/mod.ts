/**
 * The webgpu device: kernels as WGSL compute shaders.
 *
 * There are two families of kernels. Those for real GPUs share operands in workgroup memory; those for
 * software adapters (Mesa's llvmpipe), where that is slow, use registers and pass values on within subgroups, if
 * the adapter has them. `ALLSPARK_WEBGPU_FAMILY=gpu` or `=software` forces one. For real GPUs the tiles of large
 * contractions are chosen by measuring; `ALLSPARK_WEBGPU_TUNE=off` leaves that out, `=on` does it on a software
 * adapter too, and the name of a tiling, such as `=64x64`, always takes that one.
 *
 * @module
 */
import { type AdapterOptions, openDevice } from "./adapter.ts";
import { WebgpuDevice } from "./device.ts";

export type { AdapterOptions } from "./adapter.ts";
export { WebgpuDevice } from "./device.ts";
export type { Family } from "./schedule.ts";

let reason: string | undefined;

/**
 * Opens the best adapter.
 *
 * @param options `allowSoftware` (default true) and `family`.
 * @returns The device, or undefined if there is none: `webgpuUnavailableReason` then says why.
 */
export async function createWebgpuBackend(options: AdapterOptions = {}): Promise<WebgpuDevice | undefined> {
  const opened = await openDevice(options);
  reason = typeof opened === "string" ? opened : undefined;
  return typeof opened === "string" ? undefined : new WebgpuDevice(opened);
}

/** Why the last `createWebgpuBackend` gave no device, and how to get one; undefined if it gave one. */
export function webgpuUnavailableReason(): string | undefined {
  return reason;
}
