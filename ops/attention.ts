/**
 * Attention.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import type { Tensor } from "../src/tensor.ts";
import { attentionBlock } from "./attention_block.ts";
import { broadcastShapes, requireDType, sizeOf } from "./common.ts";
import { dropout, dropoutKey, type DropoutOptions } from "./dropout.ts";
import { mul } from "./elementwise.ts";
import { matmul } from "./matmul.ts";
import { assemble, broadcastTo, reshape, slice, swapAxes } from "./movement.ts";
import { softmax } from "./nn.ts";
import { foldIn } from "./random.ts";

/** Scores of at most so many bytes are held at once. */
const scoreBytes = 16 * 2 ** 20;

/** Options of `attention`. */
export interface AttentionOptions {
  /** What the scores are multiplied by: a number or a tensor that broadcasts to `[..., 1, 1]`. Default 1/√D. */
  readonly scale?: number | Tensor;
  /** Dropout of the weights; by default none. */
  readonly dropout?: DropoutOptions | undefined;
}

/**
 * Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762): softmax(scale · q kᵀ) v.
 *
 * Shapes: `q` `[..., N, D]`, `k` `[..., M, D]`, `v` `[..., M, E]` → `[..., N, E]`; leading axes broadcast, and keys
 * without leading axes are not repeated. f32; differentiable in `q`, `k`, `v` and `scale`, any number of times.
 *
 * The N × M scores are never all held if they take more than 16 MiB: rows of queries are then done in blocks,
 * forward and backward, and derivatives compute the weights of each block again. Which weights `dropout` drops
 * depends on the blocks, and so on the shapes.
 *
 * @param q Queries.
 * @param k Keys.
 * @param v Values.
 * @param options `scale`, `dropout`.
 * @throws {ShapeError} If the shapes do not fit.
 * @example
 * ```ts
 * import { attention, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const keys = tensor([[1, 0], [1, 0]]);
 * const values = tensor([[2], [4]]);
 * assertEquals(await attention(tensor([[5, 5]]), keys, values).toArray(), [[3]]);
 * ```
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor {
  const lead = checkShapes(q, k, v);
  const { scale = 1 / Math.sqrt(q.shape.at(-1)!), dropout: dropping } = options;
  const scaled = scale === 1 ? q : mul(q, scale);
  const [rows, keys] = [q.shape.at(-2)!, k.shape.at(-2)!];
  if (4 * sizeOf(lead) * rows * keys <= scoreBytes) return attend(scaled, k, v, dropping);
  const stacked = (x: Tensor, leading: readonly number[]): Tensor => {
    const inner = x.shape.slice(-2);
    return reshape(broadcastTo(x, [...leading, ...inner]), [sizeOf(leading), ...inner]);
  };
  const isShared = k.ndim === 2 && v.ndim === 2;
  // One set of keys for all: what is in front of the queries are more rows.
  const queries = isShared
    ? reshape(stacked(scaled, lead), [1, sizeOf(lead) * rows, q.shape.at(-1)!])
    : stacked(scaled, lead);
  const result = inBlocks(
    queries,
    stacked(k, isShared ? [] : lead),
    stacked(v, isShared ? [] : lead),
    dropping,
  );
  return reshape(result, [...lead, rows, v.shape.at(-1)!]);
}

function attend(q: Tensor, k: Tensor, v: Tensor, dropping: DropoutOptions | undefined): Tensor {
  const weights = softmax(matmul(q, swapAxes(k, -1, -2)));
  return matmul(dropping === undefined ? weights : dropout(weights, dropping), v);
}

/** Blocks of as many matrices, or rows of one matrix, as have scores of the allowed size. */
function inBlocks(q: Tensor, k: Tensor, v: Tensor, dropping: DropoutOptions | undefined): Tensor {
  const [count, rows] = [q.shape[0]!, q.shape[1]!];
  const keys = k.shape[1]!;
  const most = Math.max(1, Math.floor(scoreBytes / (4 * keys)));
  const [perMatrix, perBlock] = [Math.max(1, Math.floor(most / rows)), Math.min(rows, most)];
  const key = dropping && dropoutKey("dropout", dropping);
  const pieces: Tensor[] = [];
  const starts: number[][] = [];
  for (let matrix = 0; matrix < count; matrix += perMatrix) {
    const matrices = Math.min(perMatrix, count - matrix);
    for (let row = 0; row < rows; row += perBlock) {
      const sizes = [matrices, Math.min(perBlock, rows - row)];
      pieces.push(
        attentionBlock(
          slice(q, { starts: [matrix, row], sizes }),
          slice(k, { starts: [matrix], sizes: [matrices] }),
          slice(v, { starts: [matrix], sizes: [matrices] }),
          { key: key && foldIn(key, pieces.length), rate: dropping?.rate ?? 0 },
        ),
      );
      starts.push([matrix, row, 0]);
    }
  }
  const shape = [count, rows, v.shape[2]!];
  return assemble(pieces, { shape, starts, strides: starts.map(() => [1, 1, 1]) });
}

function checkShapes(q: Tensor, k: Tensor, v: Tensor): number[] {
  for (const x of [q, k, v]) requireDType("apply attention to", x, ["f32"]);
  const shapes = `q ${formatShape(q.shape)}, k ${formatShape(k.shape)} and v ${formatShape(v.shape)}`;
  const fits = [q, k, v].every((x) => x.ndim >= 2) && q.shape.at(-1) === k.shape.at(-1) &&
    k.shape.at(-2) === v.shape.at(-2);
  if (!fits) {
    throw new ShapeError(
      `Cannot apply attention to ${shapes}: [..., N, D], [..., M, D] and [..., M, E] are required`,
    );
  }
  return broadcastShapes("apply attention to leading", [q, k, v].map((x) => x.shape.slice(0, -2)));
}
