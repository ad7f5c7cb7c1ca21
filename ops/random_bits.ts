/**
 * The counter-based random number generator Threefry-2x32 (Salmon, Moraes, Dror and Shaw, "Parallel random
 * numbers: as easy as 1, 2, 3", SC 2011) with 13 rounds, the fewest that they found to pass BigCrush.
 *
 * @module
 */
import type { BinaryOp, Expr } from "../src/compiler/kernel.ts";
import { definePrimitive, type Primitive } from "../src/primitive.ts";
import { makeNode, type Tensor } from "../src/tensor.ts";
import { alignBatch, alignOperands, sizeOf } from "./common.ts";
import { less, lessEqual } from "./elementwise_logic.ts";
import { reshape, slice } from "./movement.ts";

/** Arithmetic on 32-bit words, whatever stands for a word. */
interface Words<W> {
  constant(value: number): W;
  add(a: W, b: W): W;
  xor(a: W, b: W): W;
  rotateLeft(x: W, count: number): W;
}

const rounds = 13;
const rotations = [13, 15, 26, 6, 17, 29, 16, 24] as const;

/** Threefry-2x32 of a two-word counter under a two-word key. */
export function threefry<W>(words: Words<W>, key: readonly [W, W], counter: readonly [W, W]): [W, W] {
  const schedule = [...key, words.xor(words.xor(words.constant(0x1bd11bda), key[0]), key[1])];
  let a = words.add(counter[0], schedule[0]!);
  let b = words.add(counter[1], schedule[1]!);
  for (let round = 0; round < rounds; round++) {
    a = words.add(a, b);
    b = words.xor(words.rotateLeft(b, rotations[round % 8]!), a);
    if (round % 4 === 3) {
      const injection = (round + 1) / 4;
      a = words.add(a, schedule[injection % 3]!);
      b = words.add(words.add(b, schedule[(injection + 1) % 3]!), words.constant(injection));
    }
  }
  return [a, b];
}

/** Words as JavaScript numbers. */
export const numberWords: Words<number> = {
  constant: (value) => value,
  add: (a, b) => (a + b) >>> 0,
  xor: (a, b) => (a ^ b) >>> 0,
  rotateLeft: (x, count) => ((x << count) | (x >>> (32 - count))) >>> 0,
};

const constant = (value: number): Expr => ({ kind: "constant", dtype: "u32", value });
const binary = (op: BinaryOp, a: Expr, b: Expr): Expr => ({ kind: "binary", dtype: "u32", op, a, b });

/** Words as expressions of a kernel. */
const expressionWords: Words<Expr> = {
  constant,
  add: (a, b) => binary("add", a, b),
  xor: (a, b) => binary("xor", a, b),
  rotateLeft: (x, count) =>
    binary("or", binary("shl", x, constant(count)), binary("shr", x, constant(32 - count))),
};

const word = { dtype: "u32", low: 0, high: 0xffffffff } as const;

const generator: Primitive = definePrimitive<unknown>({
  name: "randomBits",
  infer: ([key0]) => ({ shape: key0!.shape, dtype: "u32" }),
  batch: (inputs, batched, _params, size) =>
    makeNode(generator, alignBatch(inputs, batched, size), undefined),
  lowering: {
    kind: "elementwise",
    expr: ([key0, key1, counter]) => threefry(expressionWords, [key0!, key1!], [counter!, constant(0)])[0],
    cost: 100,
  },
  reference: ([key0, key1, counter]) => ({
    shape: counter!.shape,
    data: counter!.data.map((count, k) =>
      threefry(numberWords, [key0!.data[k]!, key1!.data[k]!], [count, 0])[0]
    ),
  }),
  samples: [[], [0], [1], [3, 5]].map((shape) => ({
    inputs: [{ shape, ...word }, { shape, ...word }, { shape, ...word }],
    params: undefined,
  })),
});

/** How many counters are used: both words of each become numbers. */
interface WordsParams {
  readonly half: number;
}

/** Keys `[...examples, 2]` to `[...examples, 2, half]`: word w of counter i under each key. */
const wordsOfCounters: Primitive<WordsParams> = definePrimitive<WordsParams>({
  name: "randomWords",
  infer: ([keys], { half }) => ({ shape: [...keys!.shape.slice(0, -1), 2, half], dtype: "u32" }),
  batch: ([keys], _batched, params) => makeNode(wordsOfCounters, [keys!], params),
  lowering: {
    kind: "kernel",
    build: ([keys], { half }) => {
      const examples = sizeOf(keys!.shape) / 2;
      const keyWord = (offset: number): Expr => ({
        kind: "load",
        dtype: "u32",
        input: 0,
        at: { offset, coefficients: [2, 0] },
        guards: [],
        fill: 0,
      });
      const index: Expr = { kind: "index", dtype: "i32", form: { offset: 0, coefficients: [0, 1] } };
      const counter: Expr = { kind: "bitcast", dtype: "u32", x: index };
      const words = threefry(expressionWords, [keyWord(0), keyWord(1)], [counter, constant(0)]);
      return {
        kind: "fold",
        label: `randomWords[${examples},2,${half}]`,
        inputs: ["u32"],
        outputs: ["u32"],
        axes: [examples, half],
        stages: [],
        stores: words.map((value, w) => ({
          output: 0,
          at: { offset: w * half, coefficients: [2 * half, 1] },
          axes: [],
          value,
        })),
      };
    },
  },
  reference: ([keys], { half }, { shape }) => ({
    shape,
    data: Float64Array.from({ length: sizeOf(shape) }, (_, k) => {
      const example = Math.floor(k / (2 * half));
      return numberOfMany([keys!.data[2 * example]!, keys!.data[2 * example + 1]!], k % (2 * half), 2 * half);
    }),
  }),
  samples: [[[2], 0], [[2], 5], [[3, 2], 4], [[0, 2], 3]].map(([shape, half]) => ({
    inputs: [{ shape: shape as number[], ...word }],
    params: { half: half as number },
  })),
});

/** Number `k` of the `count` that {@linkcode manyRandomBits} draws under a key, in plain JavaScript. */
export function numberOfMany(key: readonly [number, number], k: number, count: number): number {
  const half = Math.ceil(count / 2);
  return threefry(numberWords, key, [k % half, 0])[k < half ? 0 : 1];
}

/**
 * `count` times 32 random bits (u32) under each of the keys `[...examples, 2]`: `[...examples, count]`. Number k is the
 * first word of counter k in the first half, the second word of a counter in the second, so that no word is wasted.
 */
export function manyRandomBits(keys: Tensor, count: number): Tensor {
  const half = Math.ceil(count / 2);
  const examples = keys.shape.slice(0, -1);
  const all = reshape(makeNode(wordsOfCounters, [keys], { half }), [...examples, 2 * half]);
  return slice(all, { starts: examples.map(() => 0), sizes: [...examples, count] });
}

/** 32 random bits (u32) for every counter, under a key of two words; the three broadcast. */
export function randomBits(key0: Tensor, key1: Tensor, counter: Tensor): Tensor {
  return makeNode(generator, alignOperands("draw", [key0, key1, counter]), undefined);
}

/**
 * Whether the upper 24 of 32 random bits, as a number in 0 ≤ x < 1, are below `p`. One comparison of integers, so
 * cheap that it is done again where it is needed and no mask is stored.
 */
export function isBelow(bits: Tensor, p: number): Tensor {
  const bound = Math.min(Math.ceil(Math.fround(p) * 2 ** 24), 2 ** 24);
  return bound > 0 ? lessEqual(bits, bound * 2 ** 8 - 1) : less(bits, 0);
}
