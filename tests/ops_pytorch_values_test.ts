/** Values and slopes at 0, −0, ±∞, NaN and far out, against those of PyTorch (`golden/special_values.json`). */
import { assert, assertEquals } from "@std/assert";
import * as ops from "../mod.ts";
import { device, grad, type Tensor, tensor } from "../mod.ts";
import { onEachDevice } from "./support/devices.ts";

type Encoded = readonly (number | string)[];
type Table = Record<string, Record<string, Encoded>>;
const file = await Deno.readTextFile(new URL("golden/special_values.json", import.meta.url));
const golden = JSON.parse(file) as Record<"unary" | "binary" | "rows", Table & { x: Encoded }>;
const functions = ops as unknown as Record<string, (...args: unknown[]) => Tensor>;

/** Where we differ on purpose, by what is compared; the operand is as in the messages. */
const ours: Record<string, (operand: string) => boolean> = {
  "abs slope": (x) => x === "NaN", // NaN, and 0 in PyTorch
  "sign": (x) => x === "NaN", // NaN as in NumPy
  "mod second": (x) => /Infinity, -?Infinity|NaN, -?Infinity/.test(x), // the value is NaN
  // NaN where the value is infinite or NaN; PyTorch has ∓∞.
  "variance slope": (x) => /Infinity|e\+38/.test(x),
  // Squares that f32 does not hold.
  "std": (x) => /e\+38/.test(x),
  // PyTorch and the cpu add in float64, where 6e38 is no infinity.
  "cumsum": (x) => device() === "webgpu" && /e\+38/.test(x),
  // PyTorch rounds the sum to its largest element, so that equal ones get slopes of 1.
  "logSumExp slope": (x) => /e\+38|1000/.test(x),
};

const used = new Set<string>();

function text(value: number): string {
  return Object.is(value, -0) ? "-0" : String(value);
}

function decode(values: Encoded): number[] {
  return values.map(Number);
}

async function compare(
  what: string,
  y: Tensor,
  right: Encoded,
  operand: (k: number) => string,
  absolute = 2 ** -126,
): Promise<void> {
  const values = await y.data();
  assertEquals(values.length, right.length, what);
  decode(right).forEach((expected, k) => {
    const value = values[k]!;
    const near = value === expected || (Number.isNaN(value) && Number.isNaN(expected)) ||
      Math.abs(value - expected) <= 2e-5 * Math.abs(expected) + absolute;
    if (near) return;
    const key = what.replace(/ \d/, "");
    const isOurs = ours[key]?.(operand(k)) ?? false;
    used.add(key);
    assert(isOurs, `${what} of ${operand(k)} is ${text(value)} instead of ${text(expected)}`);
  });
}

function slope(f: (x: Tensor) => Tensor, x: Tensor): Tensor {
  return grad((given: Tensor) => ops.sum(f(given)))(x) as Tensor;
}

onEachDevice("functions of one operand, and their slopes, are PyTorch's", async () => {
  const { x, ...table } = golden.unary;
  const values = decode(x);
  const operand = (k: number): string => text(values[k]!);
  for (const [name, { y, slope: right }] of Object.entries(table as Table)) {
    const f = (given: Tensor): Tensor => functions[name]!(given);
    await compare(name, f(tensor(values)), y!, operand);
    await compare(`${name} slope`, slope(f, tensor(values)), right!, operand);
  }
});

onEachDevice("functions of two operands, and their slopes, are PyTorch's", async () => {
  const { x, ...table } = golden.binary;
  const values = decode(x);
  const [first, second] = [values.flatMap((a) => values.map(() => a)), values.flatMap(() => values)];
  const operand = (k: number): string => `${text(first[k]!)}, ${text(second[k]!)}`;
  for (const [name, right] of Object.entries(table as Table)) {
    const f = functions[name]!;
    const [a, b] = [tensor(first), tensor(second)];
    await compare(name, f(a, b), right.y!, operand);
    if (right.first === undefined) continue;
    await compare(`${name} first`, slope((given) => f(given, b), a), right.first, operand);
    await compare(`${name} second`, slope((given) => f(a, given), b), right.second!, operand);
  }
});

onEachDevice("reductions, and their slopes, are PyTorch's", async () => {
  const { x, ...table } = golden.rows;
  const values = decode(x);
  const rows = tensor(values, { shape: [values.length / 3, 3] });
  for (const [title, right] of Object.entries(table as Table)) {
    const [name, correction] = title.split(" ");
    const options = { axis: 1, ...(correction === undefined ? {} : { correction: Number(correction) }) };
    const f = (given: Tensor): Tensor => functions[name!]!(given, options);
    const operand = (k: number): string => {
      const row = right.y!.length === values.length || k >= values.length / 3 ? Math.floor(k / 3) : k;
      return values.slice(3 * row, 3 * row + 3).map(text).join();
    };
    await compare(title, f(rows), right.y!, operand);
    if (right.slope === undefined) continue;
    const weighted = (given: Tensor): Tensor => {
      const y = f(given);
      return y.ndim === 2 ? ops.mul(y, tensor([1, 2, 3])) : y;
    };
    const row = (k: number): string =>
      values.slice(3 * Math.floor(k / 3), 3 * Math.floor(k / 3) + 3).map(text).join();
    await compare(`${title} slope`, slope(weighted, rows), right.slope, row, 5e-7);
  }
});

Deno.test("each of the differences is one", () => {
  const found = [...used, "cumsum"]; // that of WebGPU alone
  assertEquals([...new Set(found)].sort(), Object.keys(ours).sort());
});
