/**
 * The laws that every operation obeys, each as a function of a case: a function of tensors with values to try
 * it on. Derivatives are compared with finite differences of the float64 reference, so they are checked to
 * far more digits than f32 has.
 */
import { assert, assertEquals } from "@std/assert";
import { interpretProgram } from "../../src/compiler/interpret.ts";
import { fewThreads } from "../../src/compiler/split.ts";
import { memory } from "../../src/device.ts";
import { dispose, readAll } from "../../src/evaluate.ts";
import { lower } from "../../src/programs.ts";
import { buildGraph } from "../../src/graph.ts";
import { interpretGraph } from "../../src/reference.ts";
import { describe, type Tensor } from "../../src/tensor.ts";
import { jit } from "../../src/transforms/jit.ts";
import { jvp } from "../../src/transforms/jvp.ts";
import { vjp } from "../../src/transforms/vjp.ts";
import { vmap } from "../../src/transforms/vmap.ts";
import {
  assertClose,
  innerProduct,
  type InputSpec,
  leafOf,
  randomSource,
  randomValues,
  referenceFunction,
  referenceOf,
} from "./check.ts";

/** An operation with values to try it on. */
export interface Case {
  /** The name of the operation. */
  readonly name: string;
  readonly inputs: readonly InputSpec[];
  readonly call: (...inputs: Tensor[]) => Tensor;
  /** Its derivative is not that of its values, on purpose (stopGradient). */
  readonly byDecree?: boolean;
}

/** Which derivatives a case has. */
export interface Derivatives {
  readonly jvp: boolean;
  readonly vjp: boolean;
}

const finite = { relative: 2e-6, absolute: 2e-7 };
const step = 1e-5;

/** The tensors of a case, with values. */
export function inputsOf({ name, inputs }: Case, batch?: readonly (number | undefined)[]): Tensor[] {
  const random = randomSource(name + JSON.stringify(inputs));
  return inputs.map((spec, k) => {
    const shape = batch?.[k] === undefined ? spec.shape : [batch[k], ...spec.shape];
    return leafOf(shape, spec.dtype ?? "f32", randomValues({ ...spec, shape }, random));
  });
}

const hostOf = (tensor: Tensor): Float64Array => Float64Array.from(tensor.host!);

/** The shape that was inferred is that of the reference's result. */
export function checkShape(example: Case): void {
  const output = example.call(...inputsOf(example));
  const [result] = referenceOf([output]);
  assertEquals(result!.shape, [...output.shape], `${example.name}: shape`);
  assertEquals(result!.data.length, output.size, `${example.name}: number of elements`);
}

/** d/dε of f(x + ε · direction), for a function of float64 arrays. */
function centralDifference(
  f: (values: readonly Float64Array[]) => { data: Float64Array }[],
  at: readonly Float64Array[],
  directions: readonly Float64Array[],
): Float64Array[] {
  const moved = (by: number): Float64Array[] =>
    f(at.map((values, k) => values.map((value, i) => value + by * directions[k]![i]!))).map(({ data }) =>
      data
    );
  const [up, down] = [moved(step), moved(-step)];
  // Equal infinities (the maximum of nothing) do not change.
  const slope = (a: number, b: number): number => a === b ? 0 : (a - b) / (2 * step);
  return up.map((values, k) => values.map((value, i) => slope(value, down[k]![i]!)));
}

/** A direction for every f32 input; zeros for the others. */
function directionsOf(inputs: readonly Tensor[], seed: string): Tensor[] {
  const random = randomSource(seed);
  return inputs.map((x) =>
    x.dtype === "f32"
      ? leafOf(x.shape, "f32", randomValues({ shape: x.shape, low: -1, high: 1 }, random))
      : leafOf(x.shape, x.dtype, new Float64Array(x.size))
  );
}

/**
 * The tangent is the central difference in a random direction, the cotangent is its adjoint, and the same of
 * the pullback (second derivatives). Returns whether anything flowed.
 */
export function checkDerivatives(example: Case): Derivatives {
  const inputs = inputsOf(example);
  const f = (...given: Tensor[]): Tensor => example.call(...given);
  const nothing = { jvp: false, vjp: false };
  if (f(...inputs).dtype !== "f32" || !inputs.some((x) => x.dtype === "f32")) return nothing;
  const directions = directionsOf(inputs, `${example.name} directions`);
  const flows = checkFirst(f, inputs, directions, example);
  if (!flows) return nothing;
  const [cotangent] = directionsOf([f(...inputs)], `${example.name} cotangent`);
  const floats = inputs.map((x, k) => x.dtype === "f32" ? k : -1).filter((k) => k >= 0);
  for (const k of floats) {
    const pulled = (...given: Tensor[]): Tensor => vjp(f, ...given)[1](cotangent!)[k]!;
    checkFirst(pulled, inputs, directions, { ...example, name: `${example.name} (second derivative)` });
  }
  return { jvp: true, vjp: true };
}

function checkFirst(
  f: (...inputs: Tensor[]) => Tensor,
  inputs: readonly Tensor[],
  directions: readonly Tensor[],
  { name, byDecree = false }: Case,
): boolean {
  const [output, tangent] = jvp(f, [...inputs], [...directions]);
  const [cotangent] = directionsOf([output], `${name} cotangent`);
  const [value, pushed] = referenceOf([output, tangent]).map(({ data }) => data);
  assert(value!.every((x) => !Number.isNaN(x)), `${name}: NaN among the values to try`);
  const [difference] = centralDifference(
    referenceFunction([f(...inputs)], inputs),
    inputs.map(hostOf),
    directions.map(hostOf),
  );
  if (!byDecree) assertClose(pushed!, difference!, `${name}: jvp against the central difference`, finite);
  const pulled = referenceOf(vjp(f, ...inputs)[1](cotangent!)).map(({ data }) => data);
  const forward = innerProduct(hostOf(cotangent!), pushed!);
  const backward = pulled.reduce(
    (sum, data, k) => sum + (inputs[k]!.dtype === "f32" ? innerProduct(data, hostOf(directions[k]!)) : 0),
    0,
  );
  const scale = 1 + innerProduct(hostOf(cotangent!).map(Math.abs), pushed!.map(Math.abs));
  assert(
    Math.abs(forward - backward) <= 1e-9 * scale,
    `${name}: <cotangent, jvp> is ${forward} but <vjp, tangent> is ${backward}`,
  );
  return pushed!.some((x) => x !== 0);
}

/** vmap gives what a loop over the examples gives, for every choice of batched inputs; of the pullback too. */
export function checkVmap(example: Case): boolean {
  const { inputs, call, name } = example;
  if (inputs.length === 0) return false;
  checkLoop(example);
  const floats = inputs.map(({ dtype = "f32" }, k) => dtype === "f32" ? k : -1).filter((k) => k >= 0);
  if (call(...inputsOf(example)).dtype !== "f32") return true;
  for (const k of floats) {
    const gradient = (...given: Tensor[]): Tensor => {
      const [output, pullback] = vjp(call, ...given);
      return pullback(output)[k]!;
    };
    checkLoop({ ...example, name: `${name} (cotangent ${k})`, call: gradient });
  }
  return true;
}

function checkLoop(example: Case): void {
  const { inputs, call, name } = example;
  const size = 3;
  const every = inputs.map(() => true);
  const choices = inputs.length === 1
    ? [every]
    : [every, ...inputs.map((_, k) => inputs.map((_, j) => j === k))];
  for (const chosen of choices) {
    const given = inputsOf(example, chosen.map((batched) => batched ? size : undefined));
    const mapped = vmap((...args: Tensor[]) => call(...args), { inAxes: chosen.map((b) => b ? 0 : null) });
    const [together] = referenceOf([mapped(...given)]);
    const loop = Array.from({ length: size }, (_, k) => {
      const one = given.map((x, j) => {
        if (!chosen[j]) return x;
        const length = x.size / size;
        return leafOf(x.shape.slice(1), x.dtype, x.host!.slice(k * length, (k + 1) * length));
      });
      return referenceOf([call(...one)])[0]!;
    });
    assertEquals(together!.shape, [size, ...loop[0]!.shape], `${name}: shape under vmap`);
    const stacked = loop.flatMap(({ data }) => [...data]);
    assertClose(together!.data, stacked, `${name}: vmap over inputs ${chosen.join()}`, {
      relative: 1e-12,
      absolute: 1e-12,
    });
  }
}

/** What a case is evaluated for: its value, and its cotangents if it has any; with all leaves that have values. */
export function outputsOf(example: Case): { leaves: Tensor[]; evaluate: (...leaves: Tensor[]) => Tensor[] } {
  const inputs = inputsOf(example);
  const floats = inputs.map((x, k) => x.dtype === "f32" ? k : -1).filter((k) => k >= 0);
  const output = example.call(...inputs);
  if (output.dtype !== "f32" || floats.length === 0) {
    return { leaves: inputs, evaluate: (...given) => [example.call(...given)] };
  }
  const [cotangent] = directionsOf([output], `${example.name} cotangent`);
  return {
    leaves: [...inputs, cotangent!],
    evaluate: (...given) => {
      const [value, pullback] = vjp((...x: Tensor[]) => example.call(...x), ...given.slice(0, -1));
      const cotangents = pullback(given.at(-1)!);
      return [value, ...floats.map((k) => cotangents[k]!)];
    },
  };
}

/** How far results in f32 may be from the float64 reference. */
export const single = { relative: 2e-5, absolute: 5e-6 };

/** The compiled kernels mean what the references say: value and cotangents, run by the interpreter of the IR. */
export function checkKernels(example: Case): void {
  const { leaves: given, evaluate } = outputsOf(example);
  const { graph, leaves } = buildGraph(evaluate(...given));
  const expected = interpretGraph(graph, leaves.map((leaf) => ({ shape: leaf.shape, data: hostOf(leaf) })));
  for (const packsOperands of [true, false]) {
    const program = lower(graph, { packsOperands, reductions: fewThreads });
    const actual = interpretProgram(program, leaves.map((leaf) => leaf.host!));
    expected.forEach(({ data }, k) =>
      assertClose(actual[k]!, data, `${example.name}: kernels of output ${k}`, single)
    );
  }
}

/**
 * On the chosen device: values and cotangents are those of the reference, a compiled call gives the same bits
 * as a direct one, inputs are unchanged, and no buffer stays behind. All cases go into one program.
 */
export async function checkDevice(cases: readonly Case[]): Promise<void> {
  const before = memory.stats().liveBuffers;
  const parts = cases.map(outputsOf);
  const leaves = parts.map((part) => part.leaves);
  const kept = leaves.flat().map(hostOf);
  const all = (given: readonly Tensor[][]): Tensor[] =>
    parts.flatMap(({ evaluate }, k) => evaluate(...given[k]!));
  const outputs = all(leaves);
  const constants = buildGraph(outputs).leaves.filter((leaf) => !leaves.flat().includes(leaf));
  const expected = referenceOf(outputs);
  const values = await valuesOf(outputs);
  const compiled = jit(all)(leaves);
  const again = await valuesOf(compiled);
  const name = cases[0]!.name;
  expected.forEach(({ data }, k) => {
    const what = `${name}: output ${k} ${describe(outputs[k]!)} of all cases`;
    assertClose(values[k]!, data, what, single);
    assertEquals(again[k], values[k], `${what} under jit`);
  });
  (await valuesOf(leaves.flat())).forEach((data, k) =>
    assertEquals(data, kept[k], `${name}: input ${k} changed`)
  );
  dispose([leaves, constants, outputs, compiled]);
  // Tables that an operation makes (of resize, say) live as long as the compiled function that captured them.
  const after = memory.stats().liveBuffers - constants.length;
  assert(after <= before, `${name}: ${after - before} buffers stay behind`);
}

/** Values of tensors on the chosen device, all in one program and one wait. */
async function valuesOf(tensors: readonly Tensor[]): Promise<Float64Array[]> {
  const values = await readAll(Object.fromEntries(tensors.map((x, k) => [String(k), x])));
  return tensors.map((_, k) => Float64Array.from(values[String(k)]!));
}
