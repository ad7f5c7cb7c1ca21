/**
 * Finding an adapter and opening a device with everything that it allows.
 *
 * @module
 */
import { environment } from "../debug.ts";
import type { Family } from "./schedule.ts";
import { tileFile, TileMemory } from "./tile_memory.ts";
import { Tuner, type TuneSetting, tuneSetting } from "./tuning.ts";

/** How an adapter is asked for. */
export interface AdapterOptions {
  /** Whether an adapter that computes on the cpu will do. */
  readonly allowSoftware?: boolean;
  /** Which kernels to use; chosen by the adapter if it is not given. */
  readonly family?: Family;
  /**
   * How the tiles of contractions are chosen: `"on"` measures, `"off"` goes by rule, the name of a tiling such
   * as `"64x64"` always takes that one. By default real GPUs are measured.
   */
  readonly tune?: string;
  /** Multiplications from which a contraction is measured. */
  readonly tuneFrom?: number;
}

/** An open device. */
export interface OpenDevice {
  readonly gpu: GPUDevice;
  readonly name: string;
  readonly isSoftware: boolean;
  readonly family: Family;
  readonly hasTimestamps: boolean;
  /** Chooses tiles for the kernels for real GPUs. */
  readonly tuner: Tuner;
  /** Invocations of a subgroup, which can pass values to each other; 1 if they cannot. */
  readonly lanes: number;
}

const hints =
  "install a GPU driver with Vulkan (in NVIDIA containers NVIDIA_DRIVER_CAPABILITIES must include graphics), or for tests a software adapter: `apt-get install mesa-vulkan-drivers libvulkan1` on Debian";

const wantedLimits = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
] as const;

/** Opens a device, or says why there is none. */
export async function openDevice(options: AdapterOptions): Promise<OpenDevice | string> {
  prepareEnvironment();
  if (navigator.gpu === undefined) return "this runtime has no WebGPU; use Deno 2.9 or newer";
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) return `no adapter was found; ${hints}`;
  const { info } = adapter;
  const name = info.description || `${info.vendor} ${info.device}`;
  const isSoftware = isSoftwareAdapter(info);
  if (isSoftware && options.allowSoftware === false) {
    return `the only adapter, ${name}, computes on the cpu, where the cpu device is faster; ${hints}`;
  }
  const hasTimestamps = adapter.features.has("timestamp-query");
  const limits = Object.fromEntries(wantedLimits.map((limit) => [limit, adapter.limits[limit]]));
  const family = familyOf(options, isSoftware);
  const request = (features: GPUFeatureName[]): Promise<GPUDevice> =>
    adapter.requestDevice({
      label: name,
      requiredFeatures: [...(hasTimestamps ? ["timestamp-query" as const] : []), ...features],
      requiredLimits: limits,
    });
  // Deno 2.9 does not list this feature even where there is one.
  const withSubgroups = family === "software"
    ? await request(["subgroups" as GPUFeatureName]).catch(() => undefined)
    : undefined;
  const gpu = withSubgroups ?? await request([]);
  const lanes = withSubgroups === undefined ? 1 : (info as { subgroupMinSize?: number }).subgroupMinSize ?? 1;
  const asked = tuneSetting(options.tune ?? environment("ALLSPARK_WEBGPU_TUNE"), isSoftware);
  const setting = family === "gpu" ? asked : "off";
  return {
    gpu,
    name,
    isSoftware,
    family,
    hasTimestamps,
    tuner: tunerOf(adapter, setting, options.tuneFrom),
    lanes,
  };
}

/** Whether an adapter computes on the cpu. */
export function isSoftwareAdapter({ isFallbackAdapter, description }: GPUAdapterInfo): boolean {
  return isFallbackAdapter || description.startsWith("llvmpipe");
}

function tunerOf({ info, limits }: GPUAdapter, setting: TuneSetting, from: number | undefined): Tuner {
  const own = {
    storage: limits.maxComputeWorkgroupStorageSize,
    invocations: Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX),
  };
  // The runtime's version stands for its shader compiler; drivers do not tell theirs.
  const { vendor, device, description } = info;
  const identity = [vendor, device, description, own.storage, own.invocations, `Deno ${Deno.version.deno}`];
  return new Tuner(setting, own, new TileMemory(identity.join(", "), tileFile()), from);
}

function familyOf(options: AdapterOptions, isSoftware: boolean): Family {
  const asked = options.family ?? environment("ALLSPARK_WEBGPU_FAMILY");
  if (asked === "gpu" || asked === "software") return asked;
  if (asked !== undefined) {
    throw new RangeError(`Cannot use kernel family ${JSON.stringify(asked)}: it must be "gpu" or "software"`);
  }
  return isSoftware ? "software" : "gpu";
}

/** Keeps the Vulkan loader from writing to stderr, and wgpu from trying OpenGL. */
function prepareEnvironment(): void {
  const { state } = Deno.permissions.querySync({ name: "env" });
  if (state !== "granted") return;
  if (Deno.env.get("XDG_RUNTIME_DIR") === undefined) {
    Deno.env.set("XDG_RUNTIME_DIR", Deno.env.get("TMPDIR") ?? "/tmp");
  }
  if (Deno.build.os === "linux" && Deno.env.get("DENO_WEBGPU_BACKEND") === undefined) {
    Deno.env.set("DENO_WEBGPU_BACKEND", "vulkan");
  }
}
