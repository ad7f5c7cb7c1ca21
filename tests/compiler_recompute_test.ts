/** What is computed again has the bits of what is kept, and the first results are let go. */
import { assert, assertEquals } from "@std/assert";
import {
  add,
  checkpoint,
  concat,
  dropout,
  grad,
  jit,
  layerNorm,
  linear,
  mul,
  ones,
  random,
  readAll,
  reshape,
  scan,
  sin,
  softmax,
  sum,
  type Tensor,
  tensor,
  transpose,
  valueAndGrad,
  zeros,
} from "@allspark/tensor";
import { holdUntil } from "../ops/barrier.ts";
import { kernelKey, type Program } from "../src/compiler/kernel.ts";
import { fewThreads } from "../src/compiler/split.ts";
import { lower } from "../src/programs.ts";
import { buildGraph } from "../src/graph.ts";
import { treeTensors } from "../src/tree.ts";
import { onEachDevice } from "./support/devices.ts";
import { checkLowering } from "./support/pipeline.ts";

type Wrap = typeof checkpoint;
const keep: Wrap = (f) => f;

interface Weights {
  readonly wide: Tensor;
  readonly narrow: Tensor;
  readonly bias: Tensor;
}

const width = 12;

/** Numbers that look random. */
function numbers(shape: readonly number[], seed: number, scale: number): Tensor {
  const size = shape.reduce((a, b) => a * b);
  return tensor(Float32Array.from({ length: size }, (_, k) => scale * Math.sin(k * k + 7 * seed + k)), {
    shape,
  });
}

function weightsOf(seed: number): Weights {
  return {
    wide: numbers([3 * width, width], seed, 0.6),
    narrow: numbers([width, 3 * width], seed + 0.1, 0.4),
    bias: numbers([width], seed + 0.2, 0.1),
  };
}

/** A block of a transformer, as far as fusion is concerned: norms, a softmax, products, dropout, a residual sum. */
function block({ wide, narrow, bias }: Weights, x: Tensor, key: Tensor): Tensor {
  const norm = layerNorm(x, ones([width]), bias);
  const scores = softmax(mul(linear(norm, wide, zeros([3 * width])), 0.5), { axis: -1 });
  const halves = concat([transpose(scores, { axes: [0, 2, 1] }), reshape(sin(scores), [2, 3 * width, 7])], {
    axis: 2,
  });
  const mixed = sum(reshape(halves, [2, 3 * width, 2, 7]), { axis: 2 });
  const dropped = dropout(linear(transpose(mixed, { axes: [0, 2, 1] }), narrow, bias), {
    rate: 0.2,
    key,
    train: true,
  });
  return add(x, dropped);
}

const blocks = 6;
const input = (): Tensor => numbers([2, 7, width], 99, 1);

/** The loss of a chain of blocks, each wrapped. */
function chain(wrap: Wrap, all: readonly Weights[]): Tensor {
  const keys = random.split(random.key(7), all.length);
  const last = all.reduce<Tensor>((x, weights, k) => wrap(block)(weights, x, keys[k]!), input());
  return sum(mul(last, last));
}

/** Several ways to compute the same gradients. */
const ways: Record<string, (wrap: Wrap) => (all: readonly Weights[]) => Tensor> = {
  "each block": (wrap) => (all) => chain(wrap, all),
  "pairs of blocks, and each block in them": (wrap) => (all) => {
    const keys = random.split(random.key(7), all.length);
    const pair = (two: readonly Weights[], x: Tensor, k: number): Tensor =>
      two.reduce((y, weights, j) => wrap(block)(weights, y, keys[k + j]!), x);
    let x: Tensor = input();
    for (let k = 0; k < all.length; k += 2) {
      x = wrap((two: readonly Weights[], y: Tensor) => pair(two, y, k))(all.slice(k, k + 2), x);
    }
    return sum(mul(x, x));
  },
  "a loop within": (wrap) => (all) => {
    const turn = wrap((x: Tensor) => block(all[0]!, x, random.key(3)));
    const [last, sums] = scan(
      (x: Tensor, rate: Tensor) => {
        const y = turn(x);
        return [mul(y, rate), sum(y)];
      },
      input(),
      numbers([3], 1, 1),
    );
    return add(sum(mul(last, last)), sum(sums));
  },
  "several results, of which some are returned": (wrap) => (all) => {
    const both = wrap((
      x: Tensor,
    ) => [block(all[0]!, x, random.key(1)), layerNorm(x, ones([width]), zeros([width]))]);
    const [x, y] = both(input()) as [Tensor, Tensor];
    return sum(mul(block(all[1]!, x, random.key(2)), y));
  },
};

async function bitsOf(tree: unknown): Promise<Uint32Array[]> {
  const tensors = treeTensors(tree);
  const values = await readAll(Object.fromEntries(tensors.map((x, k) => [`${k}`, x])));
  return tensors.map((_, k) => new Uint32Array(Float32Array.from(values[k]!).buffer));
}

onEachDevice("checkpoint() changes no bit of values and gradients", async () => {
  const all = Array.from({ length: blocks }, (_, k) => weightsOf(k));
  for (const [name, way] of Object.entries(ways)) {
    const [kept, again] = [way(keep), way(checkpoint)].map((loss) => valueAndGrad(loss));
    assertEquals(await bitsOf(jit(again!)(all)), await bitsOf(jit(kept!)(all)), name);
    assertEquals(await bitsOf(again!(all)), await bitsOf(kept!(all)), `${name}, not compiled`);
  }
});

function programOf(wrap: Wrap): Program {
  const all = Array.from({ length: blocks }, (_, k) => weightsOf(k));
  const { graph } = buildGraph(treeTensors(grad((w: readonly Weights[]) => chain(wrap, w))(all)));
  return lower(graph, { packsOperands: true, reductions: fewThreads });
}

Deno.test("a program that recomputes launches kernels of the one that keeps, and needs less memory", () => {
  const [kept, again] = [programOf(keep), programOf(checkpoint)];
  const kernels = new Set(kept.launches.map(({ kernel }) => kernelKey(kernel)));
  assertEquals(again.launches.filter(({ kernel }) => !kernels.has(kernelKey(kernel))), []);
  assert(again.launches.length > kept.launches.length);
  const bytes = ({ slots }: Program): number => slots.reduce((a, b) => a + b);
  assert(bytes(again) < bytes(kept) / 2, `${bytes(again)} of ${bytes(kept)} bytes`);
  // Nothing is read before it is written, and nothing is written twice.
  const written = new Set(again.buffers.flatMap(({ place }, k) => place.kind === "input" ? [k] : []));
  for (const { inputs, outputs } of again.launches) {
    for (const buffer of inputs) assert(written.has(buffer));
    for (const buffer of outputs) written.add(buffer);
  }
});

Deno.test("results that differ by a barrier alone are a buffer each", () => {
  const x = tensor([1, 2, 3]);
  const y = sin(x);
  const after = sum(y);
  const [held, heldInput] = holdUntil(after, [y, x]) as [Tensor, Tensor];
  const program = checkLowering([y, held, heldInput, add(held, y), after]);
  const outputs = program.buffers.filter(({ place }) => place.kind === "output");
  assertEquals(outputs.length, 5);
});
