/**
 * Random programs of operations that are exact or correctly rounded, at special values: a device that does what is
 * written has the bits of the reference.
 */
import { assertEquals } from "@std/assert";
import * as ops from "../../ops/mod.ts";
import { readAll } from "../../src/evaluate.ts";
import type { Tensor } from "../../src/tensor.ts";
import { jit } from "../../src/transforms/jit.ts";
import { leafOf, randomSource } from "./check.ts";
import { roundedReferenceOf, specials } from "./special_values.ts";

type Random = () => number;
type Operand = Tensor | number;

const size = 200;
const constants = [0, -0, 1, -1, 2, -2, 0.5, 3, 1e30, -1e-30, Infinity, NaN, 1e8, 0.1];
const comparisons = [ops.less, ops.lessEqual, ops.greater, ops.equal, ops.notEqual];

function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)]!;
}

const tensorOf = (x: Operand): Tensor => typeof x === "number" ? ops.full([size], x) : x;

/** What a program is made of. Sums and products are most of it. */
const steps: readonly ((random: Random, operand: () => Operand) => Tensor)[] = [
  (_, x) => ops.add(tensorOf(x()), x()),
  (_, x) => ops.sub(tensorOf(x()), x()),
  (_, x) => ops.sub(x(), tensorOf(x())),
  (_, x) => ops.mul(tensorOf(x()), x()),
  (_, x) => ops.mul(tensorOf(x()), x()),
  (_, x) => ops.div(x(), tensorOf(x())),
  (_, x) => ops.maximum(tensorOf(x()), x()),
  (_, x) => ops.minimum(tensorOf(x()), x()),
  (_, x) => ops.clip(tensorOf(x()), { min: -2, max: 3 }),
  (random, x) => pick(random, [ops.neg, ops.abs, ops.sqrt, ops.square, ops.floor, ops.sign])(tensorOf(x())),
  (random, x) => ops.where(pick(random, comparisons)(tensorOf(x()), x()), tensorOf(x()), x()),
  (random, x) => ops.mul(tensorOf(x()), ops.cast(pick(random, comparisons)(tensorOf(x()), x()), "f32")),
  (_, x) => ops.where(ops.isNan(tensorOf(x())), tensorOf(x()), x()),
];

/** A program of up to twelve steps on three tensors; values of a few steps ago come back often. */
function program(seed: string, given: readonly Tensor[]): Tensor {
  const random = randomSource(seed);
  const made: Tensor[] = [];
  const operand = (): Operand => {
    const share = random();
    if (share < 0.25) return pick(random, constants);
    return share < 0.55 || made.length === 0 ? pick(random, given) : pick(random, made.slice(-3));
  };
  const length = 2 + Math.floor(random() * 11);
  for (let k = 0; k < length; k++) made.push(pick(random, steps)(random, operand));
  return made.at(-1)!;
}

/** Tries random programs, many of them in one compiled function. */
export async function checkRandomArithmetic(): Promise<void> {
  const random = randomSource("operands");
  const values = [0, 1, 2].map(() =>
    Array.from({ length: size }, () => random() < 0.7 ? pick(random, specials.f32) : 20 * random() - 10)
  );
  const given = (): Tensor[] => values.map((own) => leafOf([size], "f32", own));
  for (let round = 0; round < 6; round++) {
    const call = (x: readonly Tensor[]): Tensor[] =>
      Array.from({ length: 24 }, (_, k) => program(`program ${24 * round + k}`, x));
    const expected = roundedReferenceOf(call(given()));
    const actual = await readAll({ ...jit(call)(given()) });
    const wrong = expected.flatMap(({ data }, k) => {
      const at = data.findIndex((value, i) => !Object.is(value, (actual[k]! as Float32Array)[i]!));
      const where = values.map((own) => own[at]).join(", ");
      return at < 0 ? [] : `program ${24 * round + k} at ${where}: ${actual[k]![at]}, not ${data[at]}`;
    });
    assertEquals(wrong, []);
  }
}
