/**
 * Evaluation: the graph behind the wanted tensors is compiled and run, and the tensors get their buffers.
 *
 * Calls of compiled functions are programs of their own, which run first, in order; what lies between them and around
 * them is one program for each stretch.
 *
 * Tensors that nobody can reach any longer hold memory until the garbage collector and a turn of the event loop free it.
 * So what would take much more than was needed before waits for the next read, which can have them freed first.
 *
 * @module
 */
import type { Backend, DeviceBuffer } from "./compiler/backend.ts";
import { backend as chosenBackend, readyBackend } from "./device.ts";
import { arrayType, type TensorData } from "./dtype.ts";
import { DeviceError, OutOfMemoryError } from "./errors.ts";
import { buildGraph, checkReadable, type Graph, reachable } from "./graph.ts";
import type { Body } from "./primitive.ts";
import { prepare } from "./programs.ts";
import { pick } from "./structure.ts";
import { describe, setEvaluator, type Storage, Tensor } from "./tensor.ts";
import { treeFlatten, treeTensors } from "./tree.ts";
import { collectGarbage, turnIfDue } from "./turns.ts";

export { type CompileProgress, onCompile } from "./programs.ts";

/** Thrown where a tensor of another device stands in the way of an evaluation that cannot wait for it. */
class Elsewhere extends TypeError {
  constructor(readonly tensor: Tensor, backend: Backend) {
    super(
      `Cannot use tensor ${describe(tensor)} on device ${backend.name}: it lives on ${
        tensor.storage!.backend.name
      }; await realize(...) moves it, or choose the device before making tensors`,
    );
  }
}

/** The buffer of a leaf on a device; sends its values there if need be. */
function leafBuffer(leaf: Tensor, backend: Backend): DeviceBuffer {
  if (leaf.storage === undefined) {
    const buffer = backend.allocate(4 * leaf.size);
    release(buffer, () => backend.write(buffer, leaf.host!));
    leaf.settle({ backend, buffer });
  }
  if (leaf.storage!.backend !== backend) throw new Elsewhere(leaf, backend);
  return leaf.storage!.buffer;
}

/** Does `work`; if that fails, the buffer is given back. */
function release(buffer: DeviceBuffer, work: () => void): void {
  let done = false;
  try {
    work();
    done = true;
  } finally {
    if (!done) buffer.release();
  }
}

/** Runs a program for a graph; the buffers of its results. If that fails, nothing stays behind. */
function runGraph(
  graph: Graph,
  leaves: readonly Tensor[],
  backend: Backend,
  givenUp: readonly number[] = [],
): Storage[] {
  const { executable, scalars } = prepare(graph, backend);
  const inputs = leaves.map((leaf) => leafBuffer(leaf, backend));
  const made: DeviceBuffer[] = [];
  const allocate = (elements: number): DeviceBuffer => {
    const buffer = backend.allocate(4 * elements);
    made.push(buffer);
    return buffer;
  };
  let done = false;
  try {
    const numbers = scalars.map(({ value, dtype }) => {
      const buffer = allocate(1);
      backend.write(buffer, arrayType(dtype).of(value));
      return buffer;
    });
    const outputs = graph.outputs.map((place) =>
      allocate(graph.nodes[place]!.shape.reduce((product, size) => product * size, 1))
    );
    executable.run([...inputs, ...numbers], outputs, givenUp);
    for (const number of numbers) number.release();
    done = true;
    return outputs.map((buffer) => ({ backend, buffer }));
  } finally {
    if (!done) { for (const buffer of made) buffer.release(); }
  }
}

/** Results of calls that ran and that no tensor has claimed yet. */
const results = new WeakMap<Tensor, (Storage | undefined)[]>();
const unclaimed = new FinalizationRegistry<(Storage | undefined)[]>((storages) => {
  for (const storage of storages) storage?.buffer.release();
});

/** The graphs of bodies that are called. */
const bodies = new WeakMap<Body, { graph: Graph; leaves: readonly Tensor[] }>();

function runCall(call: Tensor, backend: Backend): void {
  const { body, donated } = call.op!.tuple!.callee!(call.params);
  evaluateStretch(call.inputs, backend);
  let known = bodies.get(body);
  if (known === undefined) {
    runCalls(body.outputs, backend);
    bodies.set(body, known = buildGraph(body.outputs, body.parameters));
  }
  const own = known.leaves.slice(body.parameters.length);
  const { inputs } = call;
  // What is given twice, or is being read, is not free.
  const free = donated.filter((k) =>
    inputs[k]!.pins === 1 && inputs.indexOf(inputs[k]!) === inputs.lastIndexOf(inputs[k]!)
  );
  const storages: (Storage | undefined)[] = runGraph(known.graph, [...inputs, ...own], backend, free);
  for (const tensor of new Set(donated.map((k) => inputs[k]!))) tensor.unpin();
  call.op = undefined;
  call.inputs = [];
  results.set(call, storages);
  unclaimed.register(call, storages);
}

/**
 * Runs the calls that tensors need, in order, and gives their results to those that are among these. Returns whether all
 * are done: `isEnough` ends it after a call.
 */
function runCalls(
  tensors: readonly Tensor[],
  backend: Backend,
  isEnough: () => boolean = () => false,
): boolean {
  for (const node of reachable(tensors)) {
    if (node.op?.tuple?.callee !== undefined) {
      if (isEnough()) return false;
      runCall(node, backend);
    } else if (node.op === pick && results.has(node.inputs[0]!)) {
      const storages = results.get(node.inputs[0]!)!;
      const { index } = node.params as { index: number };
      node.settle(storages[index]!);
      storages[index] = undefined;
    }
  }
  return true;
}

/** Evaluates tensors, with all calls that they need done. */
function evaluateStretch(tensors: readonly Tensor[], backend: Backend): void {
  const wanted = [...new Set(tensors)].filter((tensor) => tensor.storage === undefined);
  const computed = wanted.filter((tensor) => tensor.op !== undefined);
  for (const leaf of wanted) if (leaf.op === undefined) leafBuffer(leaf, backend);
  if (computed.length === 0) return;
  const { graph, leaves } = buildGraph(computed);
  runGraph(graph, leaves, backend).forEach((storage, k) => computed[k]!.settle(storage));
}

/** Starts the evaluation of tensors on a device; they have buffers when this returns, values when the device is done. */
export function evaluate(tensors: readonly Tensor[], backend: Backend): void {
  const wanted = tensors.filter(({ storage }) => storage === undefined);
  const foreign = tensors.find(({ storage }) => storage !== undefined && storage.backend !== backend);
  if (foreign !== undefined) throw new Elsewhere(foreign, backend);
  if (wanted.length === 0) return;
  checkReadable(wanted);
  runCalls(wanted, backend);
  evaluateStretch(wanted, backend);
}

/** Bytes beyond which it is worth looking for tensors that nobody can reach. */
const leastLimit = 256 * 2 ** 20;
/** The least that a device held since such tensors were last freed. */
const leastHeld = new WeakMap<Backend, number>();

/** Whether a device holds much more than it did before. */
function isCrowded(backend: Backend): boolean {
  const held = backend.memory().liveBytes;
  const least = Math.min(held, leastHeld.get(backend) ?? 0);
  leastHeld.set(backend, least);
  return held > Math.max(leastLimit, 2 * least);
}

async function makeRoom(backend: Backend): Promise<void> {
  await collectGarbage(() => backend.memory().liveBytes);
  leastHeld.set(backend, backend.memory().liveBytes);
}

/** The same as `evaluate`, with pauses in which memory is freed. */
async function evaluateWithPauses(tensors: readonly Tensor[], backend: Backend): Promise<void> {
  for (let isLast = false;;) {
    if (isCrowded(backend)) await makeRoom(backend);
    try {
      if (runCalls(tensors, backend, () => isCrowded(backend))) return evaluate(tensors, backend);
    } catch (error) {
      if (!(error instanceof OutOfMemoryError) || isLast) throw error;
      await makeRoom(backend);
      isLast = true;
    }
  }
}

/** Tensors on their way to another device. */
const moves = new WeakMap<Tensor, Promise<void>>();

/** Leaves below the tensors that live on other devices. */
function leavesElsewhere(tensors: readonly Tensor[], backend: Backend): Tensor[] {
  return reachable(tensors).filter((node) => node.storage !== undefined && node.storage.backend !== backend);
}

/** Brings a tensor to a device. Whoever asks while it is on its way waits for the same copy. */
function move(tensor: Tensor, backend: Backend): Promise<void> {
  let moving = moves.get(tensor);
  if (moving === undefined) {
    const copy = async (): Promise<void> => {
      const { backend: home, buffer } = tensor.storage!;
      const [values] = await home.read([{ buffer, length: tensor.size, dtype: stored(tensor) }]);
      const target = backend.allocate(4 * tensor.size);
      release(target, () => backend.write(target, values!));
      tensor.settle({ backend, buffer: target });
    };
    moving = copy().finally(() => moves.delete(tensor));
    moves.set(tensor, moving);
  }
  return moving;
}

function stored({ dtype }: Tensor): "f32" | "i32" | "u32" {
  return dtype === "bool" ? "u32" : dtype;
}

/**
 * Keeps what tensors hold, whatever is disposed of or donated, until the function that it returns is called; but not the
 * tensors themselves, so that those that nobody else can reach may go.
 */
function pin(tensors: readonly Tensor[]): () => void {
  const held: WeakRef<Tensor>[] = [];
  const unpin = (): void => {
    for (const tensor of held) tensor.deref()?.unpin();
  };
  try {
    for (const tensor of tensors) {
      tensor.pin();
      held.push(new WeakRef(tensor));
    }
  } catch (error) {
    unpin();
    throw error;
  }
  return unpin;
}

/**
 * Evaluates tensors at once, on a device that is open; false if something has to be waited for. What the device refuses is
 * for the read, which tries it again.
 */
function evaluatedNow(tensors: readonly Tensor[]): boolean {
  const backend = readyBackend();
  if (backend === undefined || isCrowded(backend)) return false;
  try {
    evaluate(tensors, backend);
    return true;
  } catch (error) {
    const waits = error instanceof Elsewhere || error instanceof OutOfMemoryError ||
      error instanceof DeviceError;
    if (waits) return false;
    throw error;
  }
}

/** Keeps what tensors and everything below them hold. Apart, since a function that waits holds what it had at hand. */
function pinBelow(tensors: readonly Tensor[]): () => void {
  return pin(reachable(tensors));
}

/** Evaluates tensors on the chosen device, when it is open, the leaves are there, and there is room. */
async function evaluatedLater(tensors: readonly Tensor[]): Promise<void> {
  const unpin = pinBelow(tensors);
  try {
    for (;;) {
      const backend = await chosenBackend();
      const foreign = leavesElsewhere(tensors, backend);
      // Nothing else runs between this look and the evaluation.
      if (foreign.length === 0) return await evaluateWithPauses(tensors, backend);
      await Promise.all(foreign.map((tensor) => move(tensor, backend)));
    }
  } finally {
    unpin();
  }
}

/** Evaluates tensors; undefined if that is done. */
function evaluated(tensors: readonly Tensor[]): Promise<void> | undefined {
  checkReadable(tensors);
  return evaluatedNow(tensors) ? undefined : evaluatedLater(tensors);
}

async function read(tensors: readonly Tensor[]): Promise<TensorData[]> {
  const unpin = pin(tensors);
  try {
    const pending = tensors.filter((tensor) => tensor.storage === undefined);
    const evaluating = pending.length > 0 ? evaluated(pending) : undefined;
    if (evaluating !== undefined) await evaluating;
    const values: TensorData[] = [];
    const homes = new Set(tensors.map((tensor) => tensor.storage!.backend));
    await Promise.all([...homes].map(async (home) => {
      const mine = tensors.flatMap((tensor, k) => tensor.storage!.backend === home ? [k] : []);
      const found = await home.read(mine.map((k) => {
        const tensor = tensors[k]!;
        return { buffer: tensor.storage!.buffer, length: tensor.size, dtype: stored(tensor) };
      }));
      mine.forEach((k, j) => values[k] = found[j]!);
    }));
    const turn = turnIfDue();
    if (turn !== undefined) await turn;
    return values;
  } finally {
    unpin();
  }
}

setEvaluator({ read, start: (tensors) => void evaluatedNow(tensors) });

/**
 * Evaluates every tensor of a tree in one program and returns the tree. Work may still be running when the
 * promise resolves; reading waits for it. Tensors on another device are moved to the chosen one.
 *
 * @throws {DeviceError} If the device refuses the work, or is lost.
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
  for (const tensor of tensors) tensor.checkUsable();
  const unpin = pin(tensors);
  try {
    await evaluated(tensors);
    const homes = new Set(tensors.map((tensor) => tensor.storage!.backend));
    for (const home of homes) {
      const mine = tensors.filter((tensor) => tensor.storage!.backend === home);
      await home.taken(mine.map((tensor) => tensor.storage!.buffer));
    }
    await turnIfDue();
    return tree;
  } finally {
    unpin();
  }
}

/** A tree with the values of its tensors in their places. */
export type Values<T> = T extends Tensor ? TensorData
  : T extends (...args: never[]) => unknown ? T
  : T extends object ? { [K in keyof T]: Values<T[K]> }
  : T;

/**
 * Reads every tensor of a tree in one wait; the result has typed arrays in their places, and all other leaves as they
 * are.
 *
 * @example
 * ```ts
 * import { readAll, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const { loss, grads } = await readAll({ loss: tensor(2), grads: [tensor([3, 4])] });
 * assertEquals(loss[0], 2);
 * assertEquals([...grads[0]!], [3, 4]);
 * ```
 */
export async function readAll<T>(tree: T): Promise<Values<T>> {
  const { leaves, unflatten } = treeFlatten(tree);
  const tensors = leaves.filter((leaf) => leaf instanceof Tensor);
  for (const tensor of tensors) tensor.checkUsable();
  const values = await read(tensors);
  let next = 0;
  return unflatten(leaves.map((leaf) => leaf instanceof Tensor ? values[next++] : leaf)) as Values<T>;
}

/** Frees every tensor of a tree now. Using them afterwards throws. */
export function dispose(tree: unknown): void {
  for (const tensor of treeTensors(tree)) tensor.dispose();
}
