/** Kernels run as WebAssembly and by the interpreter of the IR, and shorthands to write them with. */
import { assert } from "@std/assert";
import { arrayType, type DType, type TensorData } from "../../src/dtype.ts";
import { interpretKernel } from "../../src/compiler/interpret.ts";
import type {
  Affine,
  BinaryOp,
  Expr,
  Fold,
  Kernel,
  Stage,
  Store,
  UnaryOp,
} from "../../src/compiler/kernel.ts";
import { generate } from "../../src/cpu/codegen.ts";
import type { RunKernel } from "../../src/cpu/protocol.ts";

export { constant, load } from "./kernels.ts";

const memory = new WebAssembly.Memory({ initial: 256, maximum: 65536, shared: true });

/** Runs a kernel in WebAssembly, chunk ranges in reverse order, on copies of the arrays. */
export function execute(
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
    new (arrayType("u32"))(memory.buffer, at, array.length).set(
      new Uint32Array(array.buffer, array.byteOffset, array.length),
    );
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

/** Values that look random, the same for the same seed. */
export function fill(dtype: DType, length: number, seed: number): TensorData {
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
    const close = Number.isNaN(e)
      ? Number.isNaN(a)
      : a === e || Math.abs(a - e) <= tolerance * Math.max(1, Math.abs(e));
    assert(close, `${what}: element ${k} is ${a} instead of ${e}`);
  }
}

/** Asserts that WebAssembly, with relaxed SIMD and without, computes what the interpreter does. */
export function check(
  kernel: Kernel,
  inputs: readonly TensorData[],
  lengths: readonly number[],
  tolerance = 2e-6,
): void {
  const make = (): TensorData[] =>
    lengths.map((length, k) => new (arrayType(kernel.outputs[k]!))(length).fill(77));
  const expected = make();
  interpretKernel(kernel, inputs, expected);
  for (const relaxedSimd of [true, false]) {
    const actual = make();
    execute(kernel, inputs, actual, relaxedSimd);
    expected.forEach((e, k) =>
      assertClose(actual[k]!, e, tolerance, `${kernel.label} (relaxed ${relaxedSimd}) output ${k}`)
    );
  }
}

// Shorthands for expressions.

export const affine = (offset: number, ...coefficients: number[]): Affine => ({ offset, coefficients });

export function un(op: UnaryOp, x: Expr, dtype: DType = x.dtype): Expr {
  return { kind: "unary", dtype, op, x };
}

/** Operations whose result is bool. */
export const comparisons = ["lt", "le", "gt", "ge", "eq", "ne"];

export function bin(op: BinaryOp, a: Expr, b: Expr): Expr {
  return { kind: "binary", dtype: comparisons.includes(op) ? "bool" : a.dtype, op, a, b };
}

/** A fold whose outputs have the dtypes of its stores. */
export function fold(
  label: string,
  axes: number[],
  inputs: DType[],
  stages: Stage[],
  stores: Store[],
): Fold {
  return {
    kind: "fold",
    label,
    axes,
    inputs,
    outputs: stores.map(({ value }) => value.dtype),
    stages,
    stores,
  };
}

/** Values that operations treat differently. */
export const special: Record<DType, number[]> = {
  f32: [
    0,
    -0,
    1,
    -1,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    3.7,
    1e-3,
    -1e-3,
    88,
    -88,
    1e30,
    1e-30,
    -1e9,
    Infinity,
    -Infinity,
    NaN,
  ],
  i32: [0, 1, -1, 2, 3, -3, 5, 7, -7, 31, 33, 100, 2147483647, -2147483648],
  u32: [0, 1, 2, 3, 5, 7, 31, 33, 100, 2147483647, 2147483648, 4294967295],
  bool: [0, 1],
};

/** All pairs of special values. */
export function pairs(dtype: DType): [TensorData, TensorData] {
  const values = special[dtype];
  const type = arrayType(dtype);
  return [
    new type(values.flatMap((a) => values.map(() => a))),
    new type(values.flatMap(() => values)),
  ];
}

/** A map of one expression over n elements. */
export function map(label: string, n: number, inputs: DType[], value: Expr): Fold {
  return fold(label, [n], inputs, [], [{ output: 0, at: affine(0, 1), axes: [], value }]);
}
