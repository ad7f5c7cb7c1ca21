/**
 * Fixed work that does not depend on the library, as a participant: `reference.ts cpu|webgpu`. One kernel is bound
 * by arithmetic, the other by memory; both use all threads, as the library does, so that whoever takes some of the
 * machine slows down both alike.
 *
 * @module
 */
import type { Case } from "./cases.ts";
import { type Job, serve } from "./serve.ts";

/** Operations of the kernels. */
type Kind = "referenceCompute" | "referenceMemory";

/** Bytes that the kernel for memory reads, and as many that it writes: as much as the cases move. */
const bytes = 2 ** 23;

/** Runs in a worker: multiplications and additions on numbers that stay in registers, or a copy. */
const worker = `
let [source, target] = [new Float32Array(0), new Float32Array(0)];
function compute() {
  let [a, b, c, d] = [1, 2, 3, 4];
  for (let k = 0; k < 2_000_000; k++) {
    a = a * 0.999 + 0.001; b = b * 0.998 + 0.002; c = c * 0.997 + 0.003; d = d * 0.996 + 0.004;
  }
  return a + b + c + d;
}
self.onmessage = ({ data: { kind, calls, length } }) => {
  if (source.length !== length) [source, target] = [new Float32Array(length).fill(1), new Float32Array(length)];
  let result = 0;
  for (let k = 0; k < calls; k++) {
    if (kind === "referenceCompute") result += compute();
    else { target.set(source); result += target[length - 1]; }
  }
  self.postMessage(result);
};`;

function onProcessor(kind: Kind): Job {
  const threads = navigator.hardwareConcurrency;
  const length = kind === "referenceMemory" ? bytes / 4 / threads : 0;
  const url = URL.createObjectURL(new Blob([worker], { type: "text/javascript" }));
  const workers = Array.from({ length: threads }, () => new Worker(url, { type: "module" }));
  let results: number[] = [];
  return {
    async run(calls) {
      if (calls === 0) return;
      results = await Promise.all(workers.map((each) =>
        new Promise<number>((done) => {
          each.onmessage = ({ data }) => done(data);
          each.postMessage({ kind, calls, length });
        })
      ));
    },
    wait: () => Promise.resolve(),
    values: () => Promise.resolve(results),
    release: () => workers.forEach((each) => each.terminate()),
  };
}

/** The same for a GPU: 4M elements are doubled, or 2¹⁸ threads multiply and add 2,000 times. */
const shaders: Record<Kind, string> = {
  referenceCompute: `
    @group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
      var x = vec4f(f32(id.x)) * vec4f(1, 2, 3, 4);
      for (var k = 0u; k < 500u; k++) {
        x = x * 0.999 + 0.001; x = x * 0.998 + 0.002; x = x * 0.997 + 0.003; x = x * 0.996 + 0.004;
      }
      y[id.x] = x;
    }`,
  referenceMemory: `
    @group(0) @binding(0) var<storage, read_write> y: array<vec4f>;
    @group(0) @binding(1) var<storage, read> x: array<vec4f>;
    @compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3u) {
      y[id.x] = x[id.x] * 2;
    }`,
};

async function onAdapter(kind: Kind): Promise<Job> {
  const adapter = await navigator.gpu.requestAdapter({ powerPreference: "high-performance" });
  if (adapter === null) throw new Error("there is no WebGPU adapter");
  const device = await adapter.requestDevice();
  const [storage, copySource] = [0x80, 0x4];
  const vectors = kind === "referenceMemory" ? 2 ** 20 : 2 ** 18;
  const buffers = [0, 1].map(() => device.createBuffer({ size: 16 * vectors, usage: storage | copySource }));
  const module = device.createShaderModule({ code: shaders[kind] });
  const pipeline = device.createComputePipeline({ layout: "auto", compute: { module, entryPoint: "main" } });
  const used = kind === "referenceMemory" ? buffers : buffers.slice(0, 1);
  const bindGroup = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: used.map((buffer, binding) => ({ binding, resource: { buffer } })),
  });
  return {
    run(calls) {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      for (let k = 0; k < calls; k++) pass.dispatchWorkgroups(vectors / 64);
      pass.end();
      device.queue.submit([encoder.finish()]);
    },
    wait: () => device.queue.onSubmittedWorkDone(),
    values: () => Promise.resolve([vectors]),
    release: () => device.destroy(),
  };
}

async function prepare({ operation }: Case): Promise<Job> {
  const kind = operation as Kind;
  return Deno.args[0] === "cpu" ? onProcessor(kind) : await onAdapter(kind);
}

if (import.meta.main) {
  await serve(prepare);
  Deno.exit(0);
}
