/**
 * Compute pipelines, made once per shader text. Errors of the shader compiler arrive later, as a promise; they
 * are handed on with the numbered source.
 *
 * @module
 */
import { DeviceError } from "../errors.ts";
import { Recent } from "../recent.ts";
import { bufferUsage, computeStage } from "./flags.ts";
import type { OnCheck } from "./memory.ts";
import type { Binding, Dispatch } from "./schedule.ts";

/** A compiled shader. */
export interface Pipeline {
  readonly gpu: GPUComputePipeline;
  readonly layout: GPUBindGroupLayout;
  readonly label: string;
  readonly code: string;
  /** Why it does nothing, once that is known. */
  failure?: Error;
  /** Whether it is known that it works. */
  isSound?: boolean;
}

/** Source with line numbers, as in messages of the shader compiler. */
export function numbered(code: string): string {
  return code.split("\n").map((line, k) => `${String(k + 1).padStart(4)} ${line}`).join("\n");
}

const bufferTypes = { read: "read-only-storage", read_write: "storage", uniform: "uniform" } as const;

/** What pipelines with the same bindings share. */
interface Layout {
  readonly layout: GPUBindGroupLayout;
  readonly pipelineLayout: GPUPipelineLayout;
  /** Small buffers, for a dispatch that does nothing. */
  readonly nothing: GPUBindGroup | undefined;
}

/** Shaders that are remembered, beside those of programs that are kept. */
const mostPipelines = 1024;

/** The pipelines of a device. */
export class Pipelines {
  readonly #pipelines = new Recent<string, Pipeline>(mostPipelines);
  readonly #layouts = new Map<string, Layout>();

  constructor(
    readonly device: GPUDevice,
    /**
     * Whether the driver compiles a shader at its first dispatch, as llvmpipe does on a thread of its own. Then one
     * that does nothing follows at once, so that it compiles while the next shader is written.
     */
    readonly compilesLate: boolean,
    /** Told about every check that is under way, and whom to tell what it found. */
    readonly onCheck: OnCheck,
  ) {}

  /** Number of shaders compiled so far. */
  get size(): number {
    return this.#pipelines.size;
  }

  /** All compiled shaders. */
  all(): Iterable<Pipeline> {
    return this.#pipelines.values();
  }

  /** The pipeline of a dispatch. */
  get({ label, code, parts: { bindings } }: Dispatch): Pipeline {
    const known = this.#pipelines.get(code);
    if (known !== undefined) return known;
    const most = this.device.limits.maxStorageBuffersPerShaderStage;
    const count = bindings.filter(({ access }) => access !== "uniform").length;
    if (count > most) {
      throw new DeviceError(
        `Cannot compile kernel ${label}: it uses ${count} buffers, and this adapter allows ${most}`,
        label,
        numbered(code),
      );
    }
    const { layout, pipelineLayout, nothing } = this.#layoutOf(bindings);
    this.device.pushErrorScope("internal");
    this.device.pushErrorScope("validation");
    const module = this.device.createShaderModule({ label, code });
    const gpu = this.device.createComputePipeline({
      label,
      layout: pipelineLayout,
      compute: { module, entryPoint: "main" },
    });
    if (nothing !== undefined) this.#dispatchNothing(gpu, nothing);
    const checks = [this.device.popErrorScope(), this.device.popErrorScope()];
    const pipeline: Pipeline = { gpu, layout, label, code };
    const check = Promise.all(checks).then((errors) => {
      const error = errors.find((each) => each !== null);
      return error && new DeviceError(
        `Cannot compile kernel ${label}: ${error.message.trim() || "the driver refused it"}`,
        label,
        numbered(code),
      );
    });
    this.onCheck(check, (error) => {
      pipeline.isSound = error === undefined;
      if (error === undefined) return;
      pipeline.failure = error;
      // Whoever wants it again has it tried again.
      this.#pipelines.drop(code);
    });
    this.#pipelines.set(code, pipeline);
    return pipeline;
  }

  #dispatchNothing(pipeline: GPUComputePipeline, group: GPUBindGroup): void {
    const encoder = this.device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(0);
    pass.end();
    this.device.queue.submit([encoder.finish()]);
  }

  #layoutOf(bindings: readonly Binding[]): Layout {
    // A uniform's size belongs to the layout: wgpu 29 compares a late one with the bind group before.
    const sizeOf = ({ access, words }: Binding): number =>
      access === "uniform" ? Math.ceil(words!.length / 4) * 16 : 0;
    const key = bindings.map((binding) => `${binding.access} ${sizeOf(binding)}`).join();
    let made = this.#layouts.get(key);
    if (made === undefined) {
      const layout = this.device.createBindGroupLayout({
        label: key,
        entries: bindings.map((each, binding) => ({
          binding,
          visibility: computeStage,
          buffer: { type: bufferTypes[each.access], minBindingSize: sizeOf(each) },
        })),
      });
      const pipelineLayout = this.device.createPipelineLayout({ label: key, bindGroupLayouts: [layout] });
      const nothing = this.compilesLate
        ? this.device.createBindGroup({
          label: key,
          layout,
          entries: bindings.map((each, binding) => {
            const size = Math.max(16, sizeOf(each));
            const usage = bufferUsage[each.access === "uniform" ? "uniform" : "storage"];
            return { binding, resource: { buffer: this.device.createBuffer({ label: key, size, usage }) } };
          }),
        })
        : undefined;
      this.#layouts.set(key, made = { layout, pipelineLayout, nothing });
    }
    return made;
  }
}
