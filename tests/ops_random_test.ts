import { assert, assertEquals, assertNotEquals, assertThrows } from "@std/assert";
import { random } from "../mod.ts";
import { manyRandomBits, numberWords, threefry } from "../ops/random_bits.ts";
import { DTypeError } from "../src/errors.ts";
import { type Tensor, tensor } from "../src/tensor.ts";
import { referenceOf } from "./support/check.ts";
import { onEachDevice } from "./support/devices.ts";

const values = (x: Tensor): number[] => [...referenceOf([x])[0]!.data];

/** Mean, variance, skewness and kurtosis. */
function moments(data: readonly number[]): number[] {
  const mean = data.reduce((sum, x) => sum + x, 0) / data.length;
  const central = (power: number): number =>
    data.reduce((sum, x) => sum + (x - mean) ** power, 0) / data.length;
  return [mean, central(2), central(3) / central(2) ** 1.5, central(4) / central(2) ** 2];
}

/** Asserts moments within five standard errors (those of a normal distribution; smaller for the others). */
function assertMoments(data: readonly number[], expected: readonly number[]): void {
  const n = data.length;
  const spread = Math.sqrt(expected[1]!);
  const errors = [spread, expected[1]! * Math.SQRT2, Math.sqrt(6), Math.sqrt(24)].map((e) =>
    5 * e / Math.sqrt(n)
  );
  moments(data).forEach((moment, k) =>
    assert(Math.abs(moment - expected[k]!) < errors[k]!, `moment ${k + 1} is ${moment}, not ${expected[k]}`)
  );
}

Deno.test("Threefry-2x32 with 13 rounds gives the known answers of its authors", () => {
  const answers = [
    [[0, 0], [0, 0], [0x9d1c5ec6, 0x8bd50731]],
    [[0xffffffff, 0xffffffff], [0xffffffff, 0xffffffff], [0xfd36d048, 0x2d17272c]],
    [[0x13198a2e, 0x03707344], [0x243f6a88, 0x85a308d3], [0xba3e4725, 0xf27d669e]],
  ] as [[number, number], [number, number], number[]][];
  for (const [key, counter, expected] of answers) {
    assertEquals(threefry(numberWords, key, counter), expected as [number, number]);
  }
  assertEquals(values(random.bits(tensor([0, 0], { dtype: "u32" }), [1])), [0x9d1c5ec6]);
});

Deno.test("the same key gives the same numbers, other keys others", () => {
  const key = random.key(3);
  assertEquals(values(random.uniform(key, [4])), values(random.uniform(key, [4])));
  const keys = [
    key,
    ...random.split(key, 3),
    random.foldIn(key, 0),
    random.foldIn(key, 1),
    random.key(4),
    random.key(2 ** 40 + 3),
    random.key(-3),
  ];
  const draws = new Set(keys.map((one) => values(random.bits(one, [2])).join()));
  assertEquals(draws.size, keys.length);
});

Deno.test("splitting, folding in and drawing never use the same words", () => {
  const key = random.key(5);
  const words = [
    ...values(random.bits(key, [200])),
    ...random.split(key, 100).flatMap(values),
    ...Array.from({ length: 100 }, (_, k) => values(random.foldIn(key, k))).flat(),
  ];
  assertEquals(new Set(words).size, words.length);
});

Deno.test("every bit is set half of the time", () => {
  const words = values(random.bits(random.key(1), [4096]));
  for (let bit = 0; bit < 32; bit++) {
    const ones = words.filter((word) => (word >>> bit) & 1).length;
    assert(Math.abs(ones - 2048) < 5 * 32, `bit ${bit} is set ${ones} times of 4096`);
  }
});

Deno.test("distributions have the moments that they should have", () => {
  assertMoments(values(random.uniform(random.key(1), [20000])), [0.5, 1 / 12, 0, 1.8]);
  assertMoments(values(random.normal(random.key(2), [20000], { mean: 3, std: 2 })), [3, 4, 0, 3]);
  // Variance and kurtosis of a normal distribution cut at ±2, by numeric integration.
  assertMoments(values(random.truncatedNormal(random.key(3), [20000])), [0, 0.77374, 0, 2.3637]);
  const heads = values(random.bernoulli(random.key(4), [20000], { p: 0.3 })).filter((x) => x === 1).length;
  assert(Math.abs(heads - 6000) < 5 * Math.sqrt(20000 * 0.21), `${heads} of 20000 at 0.3`);
});

Deno.test("normal numbers follow the normal distribution function (Kolmogorov-Smirnov)", () => {
  const n = 4000;
  const sorted = values(random.normal(random.key(6), [n])).sort((a, b) => a - b);
  const cumulative = (x: number): number => {
    // Trapezoid rule from -8, fine enough for a test at 0.02.
    const steps = 400;
    let area = 0;
    for (let k = 0; k <= steps; k++) {
      const at = -8 + (x + 8) * k / steps;
      area += Math.exp(-at * at / 2) * (k === 0 || k === steps ? 0.5 : 1);
    }
    return area * (x + 8) / steps / Math.sqrt(2 * Math.PI);
  };
  const distance = Math.max(...sorted.map((x, k) => Math.abs(cumulative(x) - (k + 0.5) / n)));
  assert(distance < 1.63 / Math.sqrt(n), `distance ${distance}`); // exceeded once in 100
});

onEachDevice("uniform numbers are in low ≤ x < high, for ranges of every size", async () => {
  const ranges: [number, number][] = [
    ...[[1000, 1001], [0.1, 0.7], [-0.3, 0.3], [0.7, 1], [-3e38, 3e38], [0, 3.4e38], [1e-45, 3e-45]],
    ...[[16777216, 16777220], [-1, -0.9999999], [0, 1e-40], [1, 1.000001], [-1001, -1000], [0.3, 0.3000001]],
  ] as [number, number][];
  const drawn = (low: number | Tensor, high: number | Tensor): Promise<ArrayLike<number>> =>
    random.uniform(random.key(3), [1 << 18], { low, high }).data();
  for (const [low, high] of ranges) {
    const values = Array.from(await drawn(low, high));
    assert(values.every((x) => x >= low && x < high), `${low}..${high}`);
    const mean = values.reduce((sum, x) => sum + x / values.length, 0);
    assert(Math.abs(mean - (low / 2 + high / 2)) <= (high - low) * 0.15, `${low}..${high} has mean ${mean}`);
    if (high - low > 3e38) continue;
    const [first, end] = [Math.fround(low), Math.fround(high)];
    const others = Array.from(await drawn(tensor(low), tensor(high)));
    assert(others.every((x) => x >= first && x < end), `tensors ${low}..${high}`);
  }
  assertEquals(new Set(Array.from(await drawn(5, 5))), new Set([5]));
  for (const [low, high] of [[1, 0], [0, Infinity], [NaN, 1], [1.00000001, 1.00000002]] as const) {
    assertThrows(
      () => random.uniform(random.key(0), [1], { low, high }),
      RangeError,
      "finite bounds with an f32",
    );
  }
});

onEachDevice("truncated normal numbers stay between their bounds, whatever the rounding", async () => {
  const choices = [
    ...[{}, { std: 0.02 }, { mean: 5, std: 0.1, low: -1, high: 3 }, { low: 5, high: 6 }, { low: 8, high: 9 }],
    ...[{ low: -Infinity, high: 0 }, { std: -0.3 }, { low: 1, high: 1.0000001 }, { mean: 2, std: 0 }],
  ] as { mean?: number; std?: number; low?: number; high?: number }[];
  for (const options of choices) {
    const { mean = 0, std = 1, low = -2, high = 2 } = options;
    const [a, b] = [low, high].map((bound) => std === 0 ? mean : mean + bound * std).sort((p, q) => p - q);
    const values = await random.truncatedNormal(random.key(1), [1 << 16], options).data();
    assert(values.every((x) => x >= a! && x <= b!), JSON.stringify(options));
  }
  const normal = await random.normal(random.key(2), [1 << 20]).data();
  assert(normal.every((x) => Math.abs(x) < 5.5));
});

onEachDevice("bernoulli is certain for 0 and 1, and takes no other probabilities", async () => {
  for (const p of [0, 1]) {
    for (const given of [p, tensor(p)]) {
      const values = await random.bernoulli(random.key(0), [1 << 16], { p: given }).data();
      assert(values.every((value) => value === p));
    }
  }
  for (const p of [-0.1, 1.5, NaN]) {
    assertThrows(
      () => random.bernoulli(random.key(0), [2], { p }),
      RangeError,
      "a number from 0 to 1 is required",
    );
  }
});

Deno.test("randint stays in its range and reaches all of it", () => {
  const dice = values(random.randint(random.key(7), [6000], { low: -2, high: 4 }));
  const counts = new Map<number, number>();
  for (const value of dice) counts.set(value, (counts.get(value) ?? 0) + 1);
  assertEquals([...counts.keys()].sort((a, b) => a - b), [-2, -1, 0, 1, 2, 3]);
  for (const count of counts.values()) assert(Math.abs(count - 1000) < 150, `${count} of 6000`);
  assertEquals(random.randint(random.key(0), [2], { low: -(2 ** 31), high: 2 ** 31 }).dtype, "i32");
});

Deno.test("a permutation has every number once; a tensor keeps its rows whole", () => {
  const order = values(random.permutation(random.key(8), 50));
  assertNotEquals(order, order.toSorted((a, b) => a - b));
  assertEquals(order.toSorted((a, b) => a - b), Array.from({ length: 50 }, (_, k) => k));
  const rows = values(random.permutation(random.key(9), tensor([[0, 1], [10, 11], [20, 21]])));
  assertEquals([0, 2, 4].map((k) => rows[k + 1]! - rows[k]!), [1, 1, 1]);
});

Deno.test("what is no key, and empty ranges, are refused", () => {
  assertThrows(() => random.normal(tensor([1, 2]), [1]), DTypeError, "the key must be u32[2]");
  assertThrows(() => random.key(0.5), RangeError, "Cannot make a key from seed 0.5");
  assertThrows(() => random.split(random.key(0), 0), RangeError, "1 or more");
  assertThrows(() => random.foldIn(random.key(0), 0.5), DTypeError, "whole number");
  assertThrows(() => random.randint(random.key(0), [1], { low: 2, high: 2 }), RangeError, "low < high");
  assertThrows(
    () => random.truncatedNormal(random.key(0), [1], { low: 1, high: 0 }),
    RangeError,
    "low < high",
  );
});

Deno.test("many random bits are both words of each counter: no number is there twice, half of the bits are set", () => {
  const bits = values(manyRandomBits(random.key(7), 20001)).map((x) => x >>> 0);
  assertEquals(bits.length, 20001);
  assert(new Set(bits).size > 20001 - 3); // two equal ones among so many have a probability of 5 %
  for (let bit = 0; bit < 32; bit++) {
    const share = bits.filter((x) => (x >>> bit) & 1).length / bits.length;
    assert(Math.abs(share - 0.5) < 0.02, `bit ${bit} is set in ${share}`);
  }
});
