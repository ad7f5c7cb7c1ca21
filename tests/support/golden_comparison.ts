/** Errors of results against the reference results in `tests/golden`, collected for tests and tables. */
import { AssertionError } from "@std/assert";
import { readAll } from "../../src/evaluate.ts";
import { type ArrayEntry, toFloat32 } from "../../src/io/array.ts";
import { type Tensor, tensor } from "../../src/tensor.ts";
import { norm, sampleOf } from "./golden.ts";

/** What is compared, and how near it must come. */
const tolerances = {
  "forward": { measure: "relative", limit: 1e-5 },
  "gradients": { measure: "relative", limit: 5e-5 },
  "zero gradients": { measure: "absolute", limit: 1e-4 },
  // Up to 88,200 outputs times cotangents, which cancel: PyTorch's own f32 is off by 4e-5 here.
  "sums": { measure: "absolute", limit: 1.5e-4 },
  "losses": { measure: "absolute", limit: 1e-5 },
  "memory": { measure: "absolute", limit: 5e-5 },
  "integers": { measure: "absolute", limit: 0 },
  // Relative to 1.5e-7 max(1, |parameter|) + 1e-4 |reference|: both are differences of nearly equal f32 numbers.
  "parameters": { measure: "allowed", limit: 1 },
} as const;

/** A kind of quantity. */
export type Quantity = keyof typeof tolerances;

/** The error of one tensor. */
export interface Row {
  readonly quantity: Quantity;
  readonly name: string;
  readonly error: number;
  readonly limit: number;
  readonly measure: string;
}

/** Collects the errors of one file. */
export class Comparison {
  readonly rows: Row[] = [];
  constructor(readonly golden: ReadonlyMap<string, ArrayEntry>) {}

  /** Compares tensors, by their names in the file. */
  async check(quantity: Quantity, tensors: Record<string, Tensor>): Promise<void> {
    const values = await readAll(tensors);
    for (const [name, actual] of Object.entries(values)) this.add(quantity, name, actual);
  }

  add(quantity: Quantity, name: string, actual: ArrayLike<number>, allowed?: ArrayLike<number>): void {
    const { measure, limit } = tolerances[quantity];
    const { found, expected } = this.pair(name, actual);
    if (found.length !== expected.length) {
      throw new AssertionError(`${name} has ${found.length} values but should have ${expected.length}`);
    }
    const difference = Float64Array.from(expected, (value, k) => Math.abs(found[k]! - value));
    const error = measure === "relative"
      ? norm(difference) === 0 ? 0 : norm(difference) / norm(expected)
      : difference.reduce((most, value, k) => {
        const scaled = allowed === undefined ? value : value / allowed[k]!;
        return scaled <= most ? most : scaled;
      }, 0);
    this.rows.push({ quantity, name, error, limit, measure });
    const length = this.golden.get(`norm/${name}`);
    if (length === undefined || measure !== "relative") return;
    const ofLength = Math.abs(norm(actual) / Number(length.data[0]) - 1);
    this.rows.push({ quantity, name: `norm of ${name}`, error: ofLength, limit, measure });
  }

  /** A result and its reference, both sampled where the reference is. */
  pair(name: string, actual: ArrayLike<number>): { found: ArrayLike<number>; expected: Float32Array } {
    const whole = this.golden.get(name);
    if (whole !== undefined) return { found: actual, expected: toFloat32(whole) };
    const samples = this.golden.get(`samples/${name}`);
    if (samples === undefined) throw new AssertionError(`There is no reference named ${name}`);
    return { found: sampleOf(actual), expected: toFloat32(samples) };
  }

  tensor(name: string): Tensor {
    const entry = this.golden.get(name)!;
    if (entry.data instanceof BigInt64Array) {
      throw new AssertionError(`${name} is of a type that tensors lack`);
    }
    return tensor(entry.data, { shape: entry.shape, dtype: entry.dtype === "f32" ? "f32" : "i32" });
  }

  number(name: string): number {
    return Number(this.golden.get(name)!.data[0]);
  }
}

/** Whether an error is allowed; NaN is not. */
export function isNear({ error, limit }: Row): boolean {
  return error <= limit;
}

/** Throws, naming the worst, unless all errors are allowed. */
export function assertNear(rows: readonly Row[]): void {
  const failed = rows.filter((row) => !isNear(row));
  if (rows.length > 0 && failed.length === 0) return;
  const list = failed.slice(0, 10).map(({ quantity, name, error, limit, measure }) =>
    `${quantity} ${name}: ${measure} error ${error.toExponential(2)}, allowed ${limit}`
  );
  throw new AssertionError(`${failed.length} of ${rows.length} results are wrong\n${list.join("\n")}`);
}
