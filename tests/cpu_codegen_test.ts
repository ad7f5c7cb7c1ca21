/** Kernels as WebAssembly against the interpreter of the IR. */
import { assert } from "@std/assert";
import { arrayType, type DType, type TensorData } from "../src/dtype.ts";
import { interpretKernel } from "../src/compiler/interpret.ts";
import {
  type Affine,
  type BinaryOp,
  type Expr,
  type Fold,
  type Guard,
  type Kernel,
  points,
  type Stage,
  type Store,
  type UnaryOp,
} from "../src/compiler/kernel.ts";
import { generateFold } from "../src/cpu/fold.ts";
import type { RunKernel } from "../src/cpu/protocol.ts";

const memory = new WebAssembly.Memory({ initial: 256, maximum: 65536, shared: true });

function generate(kernel: Kernel, features: { relaxedSimd: boolean }) {
  if (kernel.kind !== "fold") throw new Error("no");
  return generateFold(kernel, features);
}

/** Runs a kernel in WebAssembly, chunk ranges in reverse order, on copies of the arrays. */
function execute(
  kernel: Kernel,
  inputs: readonly TensorData[],
  outputs: readonly TensorData[],
  relaxedSimd = true,
): void {
  const { bytes, phases } = generate(kernel, { relaxedSimd });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
  let top = 4096;
  const addresses = [...inputs, ...outputs].map((array) => {
    const at = top;
    new (arrayType("u32"))(memory.buffer, at, array.length).set(new Uint32Array(array.buffer, array.byteOffset, array.length));
    top += (array.length * 4 + 63) & ~63;
    return at;
  });
  new Int32Array(memory.buffer, 1024, addresses.length).set(addresses);
  const run = exports.run as RunKernel;
  phases.forEach((chunks, phase) => {
    const middle = chunks >> 1;
    run(middle, chunks, 1024, phase, top);
    run(0, middle, 1024, phase, top);
  });
  outputs.forEach((array, k) => {
    new Uint32Array(array.buffer, array.byteOffset, array.length)
      .set(new Uint32Array(memory.buffer, addresses[inputs.length + k]!, array.length));
  });
}

function fill(dtype: DType, length: number, seed: number): TensorData {
  let state = seed * 2654435761 >>> 0 || 1;
  const next = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  return new (arrayType(dtype))(
    Array.from({ length }, () => {
      const x = next();
      if (dtype === "bool") return x < 0.5 ? 1 : 0;
      if (dtype === "f32") return (x - 0.5) * 6;
      return Math.floor(x * 20) - (dtype === "i32" ? 10 : 0);
    }),
  );
}

/** Compares element by element: relative 1e-5 (sums) or a given tolerance. */
function assertClose(actual: TensorData, expected: TensorData, tolerance: number, what: string): void {
  for (let k = 0; k < expected.length; k++) {
    const [a, e] = [actual[k]!, expected[k]!];
    const close = Number.isNaN(e) ? Number.isNaN(a) : a === e || Math.abs(a - e) <= tolerance * Math.max(1, Math.abs(e));
    assert(close, `${what}: element ${k} is ${a} instead of ${e}`);
  }
}

function check(kernel: Kernel, inputs: readonly TensorData[], lengths: readonly number[], tolerance = 2e-6): void {
  const make = (): TensorData[] => lengths.map((length, k) => new (arrayType(kernel.outputs[k]!))(length).fill(77));
  const expected = make();
  interpretKernel(kernel, inputs, expected);
  for (const relaxedSimd of [true, false]) {
    const actual = make();
    execute(kernel, inputs, actual, relaxedSimd);
    expected.forEach((e, k) => assertClose(actual[k]!, e, tolerance, `${kernel.label} (relaxed ${relaxedSimd}) output ${k}`));
  }
}

// Shorthands for expressions.

const affine = (offset: number, ...coefficients: number[]): Affine => ({ offset, coefficients });

function load(input: number, at: Affine, dtype: DType = "f32", guards: Guard[] = [], fill = 0): Expr {
  return { kind: "load", dtype, input, at, guards, fill };
}

function constant(value: number, dtype: DType = "f32"): Expr {
  return { kind: "constant", dtype, value };
}

function un(op: UnaryOp, x: Expr, dtype: DType = x.dtype): Expr {
  return { kind: "unary", dtype, op, x };
}

const comparisons = ["lt", "le", "gt", "ge", "eq", "ne"];

function bin(op: BinaryOp, a: Expr, b: Expr): Expr {
  return { kind: "binary", dtype: comparisons.includes(op) ? "bool" : a.dtype, op, a, b };
}

function fold(
  label: string,
  axes: number[],
  inputs: DType[],
  stages: Stage[],
  stores: Store[],
): Fold {
  return { kind: "fold", label, axes, inputs, outputs: stores.map(({ value }) => value.dtype), stages, stores };
}

Deno.test("map over odd sizes", () => {
  for (const n of [0, 1, 2, 3, 4, 5, 7, 8, 13, 64, 1009, 70001]) {
    const x = load(0, affine(0, 1));
    const value = bin("add", bin("mul", x, load(1, affine(0, 1))), constant(0.5));
    const kernel = fold(`map ${n}`, [n], ["f32", "f32"], [], [{ output: 0, at: affine(0, 1), axes: [], value }]);
    check(kernel, [fill("f32", n, 1), fill("f32", n, 2)], [n]);
  }
});
