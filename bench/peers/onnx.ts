/**
 * ONNX Runtime as a participant: `onnx.ts node|wasm|webgpu FOLDER`. It only runs models, which PyTorch exports
 * into the folder; training is not among what it does.
 *
 * @module
 */
import type { Case } from "../cases.ts";
import { type Job, serve } from "../serve.ts";
import { valuesOf } from "../values.ts";

interface Value {
  readonly data: Float32Array;
  getData(): Promise<Float32Array>;
  dispose(): void;
}

interface Session {
  run(inputs: Record<string, Value>): Promise<{ output: Value }>;
  release(): Promise<void>;
}

interface Runtime {
  readonly env: {
    readonly wasm: { wasmPaths: string; numThreads: number };
    readonly webgpu: { readonly device: GPUDevice | Promise<GPUDevice> };
    logLevel: string;
  };
  readonly InferenceSession: { create(model: Uint8Array, options: unknown): Promise<Session> };
  readonly Tensor: {
    new (type: "float32", data: Float32Array, shape: readonly number[]): Value;
    fromGpuBuffer(buffer: GPUBuffer, options: unknown): Value;
  };
}

const [backend, folder] = Deno.args as ["node" | "wasm" | "webgpu", string];
const threads = navigator.hardwareConcurrency;

async function load(): Promise<Runtime> {
  // Names in variables, so that checking this project needs none of the peers.
  const name =
    { node: "onnxruntime-node", wasm: "onnxruntime-web", webgpu: "onnxruntime-web/webgpu" }[backend];
  const loaded = await import(name);
  const runtime: Runtime = loaded.default?.InferenceSession ? loaded.default : loaded;
  if (backend !== "node") {
    runtime.env.wasm.wasmPaths = new URL("node_modules/onnxruntime-web/dist/", import.meta.url).href;
    runtime.env.wasm.numThreads = backend === "wasm" ? threads : 1;
    runtime.env.logLevel = "error";
  }
  return runtime;
}

const runtime = await load();

/** The case as an ONNX model, by PyTorch's exporter. */
async function modelOf(item: Case): Promise<Uint8Array> {
  const path = `${folder}/${item.name.replaceAll(/[^a-z0-9]+/gi, "_")}.onnx`;
  try {
    return await Deno.readFile(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  const script = new URL("pytorch.py", import.meta.url).pathname;
  const child = new Deno.Command("/usr/bin/python3", {
    args: [script, "export", path],
    stdin: "piped",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(JSON.stringify(item)));
  await writer.close();
  const { success, stderr } = await child.output();
  if (success) return await Deno.readFile(path);
  const reason = new TextDecoder().decode(stderr).trim().split("\n").at(-1);
  throw new Error(`its model comes from PyTorch's exporter, which failed: ${reason}`);
}

/** An input where the session wants it: for webgpu in a buffer of its device. */
async function inputOf(data: Float32Array<ArrayBuffer>, shape: readonly number[]): Promise<Value> {
  if (backend !== "webgpu") return new runtime.Tensor("float32", data, shape);
  const device = await runtime.env.webgpu.device;
  const usage = 0x80 | 0x8 | 0x4; // STORAGE, COPY_DST, COPY_SRC
  const buffer = device.createBuffer({ size: Math.ceil(data.byteLength / 16) * 16, usage });
  device.queue.writeBuffer(buffer, 0, data);
  return runtime.Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims: shape });
}

async function prepare(item: Case): Promise<Job> {
  if (item.operation.endsWith("Step")) throw new Error("no training");
  const session = await runtime.InferenceSession.create(await modelOf(item), {
    executionProviders: [backend === "node" ? "cpu" : backend],
    intraOpNumThreads: threads,
    logSeverityLevel: 3,
    ...(backend === "webgpu" ? { preferredOutputLocation: "gpu-buffer" } : {}),
  });
  const feeds: Record<string, Value> = {};
  for (const [k, spec] of item.inputs.entries()) {
    feeds[`input${k}`] = await inputOf(valuesOf(spec), spec.shape);
  }
  let last: Value | undefined;
  return {
    async run(calls) {
      for (let k = 0; k < calls; k++) {
        last?.dispose();
        last = (await session.run(feeds)).output;
      }
    },
    async wait() {
      if (backend === "webgpu") await (await runtime.env.webgpu.device).queue.onSubmittedWorkDone();
    },
    values: () => backend === "webgpu" ? last!.getData() : Promise.resolve(last!.data),
    release() {
      last?.dispose();
      for (const value of Object.values(feeds)) value.dispose();
      session.release();
    },
  };
}

await serve(prepare);
Deno.exit(0);
