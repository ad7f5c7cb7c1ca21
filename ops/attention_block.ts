/**
 * One block of attention as a primitive whose derivatives compute the weights again, so that nothing of their
 * size outlives the block.
 *
 * With P = softmax(q kᵀ), the dropout mask D (0 or 1 / (1 − rate)) and out = (D ∘ P) v, the cotangents are
 * (Dao et al. 2022, "FlashAttention", arXiv:2205.14135, appendix B)
 *
 *     dP = D ∘ (dout vᵀ)    H = P ∘ (dP − Σ dout ∘ out)    dq = H k    dk = Hᵀ q    dv = (D ∘ P)ᵀ dout
 *
 * where the row sums Σ dout ∘ out = Σ P ∘ dP need no matrix.
 *
 * @module
 */
import { definePrimitive, type Primitive } from "../src/primitive.ts";
import { makeNode, type Tensor } from "../src/tensor.ts";
import { holdUntil } from "./barrier.ts";
import { alignBatch, sizeOf } from "./common.ts";
import { dropoutEach } from "./dropout.ts";
import { add, mul, sub } from "./elementwise.ts";
import { matmul } from "./matmul.ts";
import { swapAxes } from "./movement.ts";
import { softmax } from "./nn.ts";
import { numberOfMany } from "./random_bits.ts";
import { sum } from "./reduce.ts";

/** Parameters of a block of attention. */
interface BlockParams {
  /** Dropout of the weights, if there is a key. */
  readonly rate: number;
}

/** The weights of a block, and dropout as this block does it. */
interface Weights {
  readonly weights: Tensor;
  readonly drop: (x: Tensor) => Tensor;
}

/**
 * q `[...vmapped, G, N, D]`, k `[...vmapped, G, M, D]`, v `[...vmapped, G, M, E]` and, for dropout, a key
 * `[...vmapped, 2]`: every example that vmap adds has a key of its own, so that each is what it would be alone.
 */
const block: Primitive<BlockParams> = definePrimitive<BlockParams>({
  name: "attentionBlock",
  infer: ([q, , v]) => ({ shape: [...q!.shape.slice(0, -1), v!.shape.at(-1)!], dtype: "f32" }),
  vjp: (cotangent, { inputs, output, params }) => {
    const [q, k, v, key] = holdUntil(cotangent, inputs);
    const { weights, drop } = weigh(q!, k!, key, params);
    const slopes = mul(weights, sub(drop(matmul(cotangent, turn(v!))), rowSums(mul(cotangent, output))));
    return [matmul(slopes, k!), matmul(turn(slopes), q!), matmul(turn(drop(weights)), cotangent), undefined];
  },
  jvp: ([dq, dk, dv], { inputs, params }) => {
    const [q, k, v, key] = holdUntil((dq ?? dk ?? dv)!, inputs);
    const { weights, drop } = weigh(q!, k!, key, params);
    const scores = total(dq && matmul(dq, turn(k!)), dk && matmul(q!, turn(dk)));
    const slopes = scores && mul(weights, sub(scores, rowSums(mul(weights, scores))));
    return total(slopes && matmul(drop(slopes), v!), dv && matmul(drop(weights), dv));
  },
  batch: (inputs, batched, params, size) => makeNode(block, alignBatch(inputs, batched, size), params),
  lowering: {
    kind: "composition",
    define: ([q, k, v, key], params) => {
      const { weights, drop } = weigh(q!, k!, key, params);
      return matmul(drop(weights), v!);
    },
  },
  reference: ([q, k, v, key], { rate }, { shape }) => {
    const [matrices, rows, width] = [shape.at(-3)!, shape.at(-2)!, shape.at(-1)!];
    const [keys, depth] = k!.shape.slice(-2) as [number, number];
    const line = (data: Float64Array, row: number, size: number): Float64Array =>
      data.subarray(row * size, (row + 1) * size);
    const isKept = (row: number, column: number): boolean => {
      if (key === undefined) return true;
      const example = Math.floor(row / (matrices * rows));
      const own = [key.data[2 * example]!, key.data[2 * example + 1]!] as const;
      const place = (row % (matrices * rows)) * keys + column;
      return (numberOfMany(own, place, matrices * rows * keys) >>> 8) * 2 ** -24 < 1 - rate;
    };
    const result = new Float64Array(sizeOf(shape));
    for (let row = 0; row < sizeOf(shape.slice(0, -1)); row++) {
      const first = Math.floor(row / rows) * keys;
      const query = line(q!.data, row, depth);
      const powers = Array.from(
        { length: keys },
        (_, j) => Math.exp(line(k!.data, first + j, depth).reduce((dot, x, d) => dot + x * query[d]!, 0)),
      );
      const all = powers.reduce((a, b) => a + b, 0);
      powers.forEach((power, j) => {
        if (!isKept(row, j)) return;
        const weight = power / all / (key === undefined ? 1 : 1 - rate);
        line(v!.data, first + j, width).forEach((x, e) => result[row * width + e]! += weight * x);
      });
    }
    return { shape, data: result };
  },
  samples: [
    { inputs: [{ shape: [2, 3, 4] }, { shape: [2, 5, 4] }, { shape: [2, 5, 2] }], params: { rate: 0 } },
    {
      inputs: [
        { shape: [2, 3, 2] },
        { shape: [2, 4, 2] },
        { shape: [2, 4, 3] },
        { shape: [2], dtype: "u32", low: 0, high: 0xffffffff },
      ],
      params: { rate: 0.4 },
    },
  ],
});

/** softmax(q kᵀ), and dropout under the key if there is one. */
function weigh(q: Tensor, k: Tensor, key: Tensor | undefined, { rate }: BlockParams): Weights {
  return {
    weights: softmax(matmul(q, turn(k))),
    drop: (x) => key === undefined ? x : dropoutEach(x, key, rate),
  };
}

function turn(x: Tensor): Tensor {
  return swapAxes(x, -1, -2);
}

function rowSums(x: Tensor): Tensor {
  return sum(x, { axis: -1, keepDims: true });
}

function total(a: Tensor | undefined, b: Tensor | undefined): Tensor | undefined {
  return a && b ? add(a, b) : a ?? b;
}

/**
 * dropout(softmax(q kᵀ)) v for q `[G, N, D]`, k `[G, M, D]` and v `[G, M, E]`, all f32; with a random key, weights are
 * dropped with probability `rate`. Differentiable any number of times; derivatives compute the weights again.
 */
export function attentionBlock(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  dropping: { readonly key: Tensor | undefined; readonly rate: number },
): Tensor {
  const { key, rate } = dropping;
  return makeNode(block, key === undefined ? [q, k, v] : [q, k, v, key], { rate });
}
