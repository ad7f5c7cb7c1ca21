/**
 * Evaluation: the graph behind the wanted tensors is compiled and run, and the tensors get their buffers.
 *
 * @module
 */
import type { Backend, DeviceBuffer, Executable } from "./compiler/backend.ts";
import { arrangeOperands } from "./compiler/arrange.ts";
import { fuse } from "./compiler/fuse.ts";
import { type Kernel, kernelKey, type Program } from "./compiler/kernel.ts";
import { plan } from "./compiler/plan.ts";
import { printProgram } from "./compiler/print.ts";
import { computedAgain, computedOnce } from "./compiler/recompute.ts";
import { mergeRows } from "./compiler/rows.ts";
import { splitReductions } from "./compiler/split.ts";
import { debugLevel } from "./debug.ts";
import { backend as chosenBackend, readyBackend } from "./device.ts";
import type { TensorData } from "./dtype.ts";
import { buildGraph, checkReadable, type Graph, printGraph } from "./graph.ts";
import { describe, setEvaluator, type Tensor } from "./tensor.ts";
import { treeFlatten, treeTensors } from "./tree.ts";

/** Progress of a compilation: kernels done, kernels in all. */
export type CompileProgress = (done: number, total: number) => void;

let compileProgress: CompileProgress | undefined;

/** Calls `listener` while programs are compiled (undefined: no more). The first call of a large step takes seconds. */
export function onCompile(listener: CompileProgress | undefined): void {
  compileProgress = listener;
}

/** The passes of the compiler, one after another. */
export function lower(graph: Graph, backend: Pick<Backend, "packsOperands" | "reductions">): Program {
  const once = computedOnce(graph);
  const buffers = once.graph.nodes.length;
  const fused = fuse(once.graph, { packsOperands: backend.packsOperands });
  const merged = mergeRows(fused, new Set(once.graph.outputs), backend.reductions);
  const arranged = arrangeOperands(computedAgain(graph, once, merged), buffers);
  return plan(once.graph, splitReductions(arranged, backend.reductions, buffers));
}

/** Compiles a graph for a device. */
export function compile(graph: Graph, backend: Backend): Executable {
  const program = lower(graph, backend);
  const level = debugLevel();
  if (level >= 3) console.error(printGraph(graph));
  if (level >= 1) console.error(printProgram(program));
  if (level >= 4) {
    console.error(distinctKernels(program).map((kernel) => backend.describe(kernel)).join("\n\n"));
  }
  const executable = backend.compile(program, compileProgress);
  return level >= 2 ? timed(executable, backend) : executable;
}

function distinctKernels(program: Program): Kernel[] {
  return [...new Map(program.launches.map(({ kernel }) => [kernelKey(kernel), kernel])).values()];
}

/** An executable that prints the time of every launch. */
function timed(executable: Executable, backend: Backend): Executable {
  return {
    run(inputs, outputs) {
      executable.run(inputs, outputs);
      backend.profile(executable, inputs, outputs).then((times) => {
        const total = times.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
        const rows = times.map(({ label, milliseconds }) =>
          `${milliseconds.toFixed(3).padStart(10)} ms  ${label}`
        );
        console.error(`${rows.join("\n")}\n${total.toFixed(3).padStart(10)} ms  in ${times.length} kernels`);
      });
    },
    release: () => executable.release(),
  };
}

const eagerCapacity = 256;
const eager = new WeakMap<Backend, Map<string, Executable>>();

/** The executable of a graph evaluated directly; the most recent ones are kept. */
function eagerExecutable(graph: Graph, backend: Backend): Executable {
  let cache = eager.get(backend);
  if (cache === undefined) eager.set(backend, cache = new Map());
  const found = cache.get(graph.key) ?? compile(graph, backend);
  cache.delete(graph.key);
  cache.set(graph.key, found);
  if (cache.size > eagerCapacity) {
    const [oldest] = cache.keys();
    cache.get(oldest!)!.release();
    cache.delete(oldest!);
  }
  return found;
}

/** The buffer of a leaf on a device; sends its values there if need be. */
export function leafBuffer(leaf: Tensor, backend: Backend): DeviceBuffer {
  if (leaf.storage === undefined) {
    const buffer = backend.allocate(4 * leaf.size);
    backend.write(buffer, leaf.host!);
    leaf.settle({ backend, buffer });
  }
  if (leaf.storage!.backend !== backend) {
    throw new TypeError(
      `Cannot use tensor ${describe(leaf)} on device ${backend.name}: it lives on ${
        leaf.storage!.backend.name
      }; await realize(...) moves it, or choose the device before making tensors`,
    );
  }
  return leaf.storage!.buffer;
}

/** Starts the evaluation of tensors on a device; they have buffers when this returns, values when the device is done. */
export function evaluate(tensors: readonly Tensor[], backend: Backend): void {
  const wanted = [...new Set(tensors)].filter((tensor) => tensor.storage === undefined);
  checkReadable(wanted);
  const computed = wanted.filter((tensor) => tensor.op !== undefined);
  for (const leaf of wanted) if (leaf.op === undefined) leafBuffer(leaf, backend);
  if (computed.length === 0) return;
  const { graph, leaves } = buildGraph(computed);
  const executable = eagerExecutable(graph, backend);
  const outputs = computed.map((tensor) => backend.allocate(4 * tensor.size));
  executable.run(leaves.map((leaf) => leafBuffer(leaf, backend)), outputs);
  computed.forEach((tensor, k) => tensor.settle({ backend, buffer: outputs[k]! }));
}

/** Copies leaves below the tensors that live on other devices to this one. */
async function migrate(tensors: readonly Tensor[], backend: Backend): Promise<void> {
  const seen = new Set<Tensor>();
  const stack = [...tensors];
  const foreign: Tensor[] = [];
  while (stack.length > 0) {
    const node = stack.pop()!;
    if (seen.has(node)) continue;
    seen.add(node);
    if (node.storage !== undefined && node.storage.backend !== backend) foreign.push(node);
    stack.push(...node.inputs);
  }
  for (const node of foreign) {
    const { backend: home, buffer } = node.storage!;
    const [values] = await home.read([{
      buffer,
      length: node.size,
      dtype: node.dtype === "bool" ? "u32" : node.dtype,
    }]);
    const copy = backend.allocate(4 * node.size);
    backend.write(copy, values!);
    buffer.release();
    node.settle({ backend, buffer: copy });
  }
}

/** Evaluates tensors on the chosen device and waits until it has taken them; they can be read from any device. */
async function evaluated(tensors: readonly Tensor[]): Promise<Backend> {
  checkReadable(tensors);
  const backend = await chosenBackend();
  await migrate(tensors.filter((tensor) => tensor.storage === undefined), backend);
  evaluate(tensors, backend);
  return backend;
}

async function read(tensors: readonly Tensor[]): Promise<TensorData[]> {
  await evaluated(tensors);
  const results: TensorData[] = [];
  const homes = new Set(tensors.map((tensor) => tensor.storage!.backend));
  for (const home of homes) {
    const mine = tensors.flatMap((tensor, k) => tensor.storage!.backend === home ? [k] : []);
    const values = await home.read(mine.map((k) => {
      const { storage, size, dtype } = tensors[k]!;
      return { buffer: storage!.buffer, length: size, dtype: dtype === "bool" ? "u32" : dtype };
    }));
    mine.forEach((k, j) => results[k] = values[j]!);
  }
  return results;
}

setEvaluator({
  read,
  start: (tensors) => {
    const backend = readyBackend();
    if (backend !== undefined) evaluate(tensors, backend);
  },
});

/**
 * Evaluates every tensor of a tree in one program and returns the tree. Work may still be running when the
 * promise resolves; reading waits for it. Tensors on another device are moved to the chosen one.
 *
 * @example
 * ```ts
 * import { mul, realize, tensor } from "@allspark/tensor";
 * const { a } = await realize({ a: mul(tensor([1, 2]), 3) });
 * console.log(await a.data());
 * ```
 */
export async function realize<T>(tree: T): Promise<T> {
  const tensors = treeTensors(tree);
  const backend = await evaluated(tensors);
  await migrate(tensors, backend);
  return tree;
}

/**
 * Reads every tensor of a tree in one wait; the result has typed arrays in their places.
 *
 * @example
 * ```ts
 * import { readAll, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const { loss } = await readAll({ loss: tensor(2) });
 * assertEquals(loss[0], 2);
 * ```
 */
export async function readAll(
  tree: { readonly [key: string]: Tensor },
): Promise<{ [key: string]: TensorData }> {
  const { leaves, paths } = treeFlatten(tree);
  const values = await read(leaves as Tensor[]);
  return Object.fromEntries(paths.map((path, k) => [path, values[k]!]));
}

/** Frees every tensor of a tree now. Using them afterwards throws. */
export function dispose(tree: unknown): void {
  for (const tensor of treeTensors(tree)) tensor.dispose();
}
