/**
 * The Semantic Memory of AllSpark (section 3.3): for each class a ring of feature channels of past unlabeled images.
 * Channel-wise Semantic Grouping says which class a channel belongs to; then it is written into that class's ring,
 * over the oldest channels.
 *
 * How many channels a class receives depends on the data, but all shapes here are fixed: the slot of a channel is
 * (pointer + its rank among the channels of its class) mod slots, and the ranks are running sums of one-hot rows.
 *
 * @module
 */
import {
  add,
  arange,
  argmax,
  broadcastTo,
  cumsum,
  div,
  full,
  greaterEqual,
  matmul,
  maximum,
  mod,
  mul,
  oneHot,
  reshape,
  resize,
  scatter,
  softmax,
  sqrt,
  square,
  sub,
  sum,
  swapAxes,
  take,
  tile,
  where,
} from "../ops/mod.ts";
import { requireChoice } from "../ops/common.ts";
import { formatShape, ShapeError } from "../src/errors.ts";
import type { Tensor } from "../src/tensor.ts";
import { stopGradient } from "../src/transforms/mod.ts";
import type { MemoryState } from "./parameters.ts";

/** What channels are compared with: class scores, as in the official code, or probabilities, as in the paper. */
export type Grouping = "logits" | "probabilities";

/** All of {@linkcode Grouping}. */
export const groupings: readonly Grouping[] = ["logits", "probabilities"];

/**
 * Channel-wise Semantic Grouping (AllSpark, section 3.4): the class of every channel, which is the class whose map
 * of scores is most similar to the channel's map, by the cosine of the angle between them. Nothing is differentiated.
 *
 * Shapes: `channels` `[B, C, N]` and `logits` `[B, K, S, T]` → `[B, C]` i32, where N = h·w is `side`'s.
 *
 * @param channels Features, channel by channel.
 * @param logits Class scores of the same images, at any size; they are resized to `side`.
 * @param options `side` `[h, w]`; `grouping`, default "logits".
 * @throws {ShapeError} If the shapes do not fit.
 * @throws {RangeError} If the grouping is another word.
 */
export function groupChannels(
  channels: Tensor,
  logits: Tensor,
  options: { readonly side: readonly [number, number]; readonly grouping?: Grouping },
): Tensor {
  const { side, grouping = "logits" } = options;
  requireChoice("group channels", "grouping", grouping, groupings);
  const [batch, , count] = channels.shape as [number, number, number];
  if (logits.ndim !== 4 || logits.shape[0] !== batch || side[0] * side[1] !== count) {
    throw new ShapeError(
      `Cannot group channels ${formatShape(channels.shape)} by logits ${formatShape(logits.shape)} at ${
        formatShape(side)
      }: [B, C, N], [B, K, S, T] and N positions are required`,
    );
  }
  const maps = grouping === "probabilities" ? softmax(logits, { axis: 1 }) : logits;
  const small = resize(maps, { size: side, method: "bilinear", alignCorners: false });
  const classes = unit(reshape(small, [batch, logits.shape[1]!, count]));
  const similarity = matmul(classes, swapAxes(unit(channels), 1, 2));
  return stopGradient(argmax(similarity, { axis: 1 }));
}

/** x divided by its L2 norm along the last axis. */
function unit(x: Tensor): Tensor {
  return div(x, maximum(sqrt(sum(square(x), { axis: -1, keepDims: true })), 1e-12));
}

/**
 * The memory after the channels of a batch have been written, sample by sample and in the order of the channels,
 * each into the ring of its class. Where a class receives more channels than it has slots, the last ones stay.
 *
 * @param memState The memory.
 * @param channels `[B, C, P]`; no gradient goes through them.
 * @param classOfChannel `[B, C]` i32.
 * @returns The new memory.
 * @throws {ShapeError} If the channels have another number of positions than the memory.
 */
export function writeMemory(memState: MemoryState, channels: Tensor, classOfChannel: Tensor): MemoryState {
  const { queue, pointer } = memState;
  const [classes, slots, positions] = queue.shape as [number, number, number];
  const [batch, width, found] = channels.shape as [number, number, number];
  if (found !== positions) {
    throw new ShapeError(
      `Cannot write channels ${formatShape(channels.shape)} into memory ${
        formatShape(queue.shape)
      }: they have ${found} positions, and the memory ${positions}; train with the crop that the memory was made for`,
    );
  }
  const count = batch * width;
  const owner = reshape(classOfChannel, [count]);
  const membership = oneHot(owner, { classes, dtype: "i32" });
  const received = sum(membership, { axis: 0 });
  const rank = sub(sum(mul(cumsum(membership, { axis: 0 }), membership), { axis: 1 }), 1);
  const slot = mod(add(take(pointer, owner), rank), slots);
  const isLast = greaterEqual(rank, sub(take(received, owner), slots));
  // One number for each class and slot; those that are overwritten within this batch fall out of range.
  const place = where(isLast, add(mul(owner, slots), slot), classes * slots);
  const writer = scatter(full([classes * slots], -1, { dtype: "i32" }), place, arange(0, count));
  const rows = take(reshape(stopGradient(channels), [count, positions]), maximum(writer, 0));
  const isWritten = broadcastTo(reshape(greaterEqual(writer, 0), [classes, slots, 1]), queue.shape);
  return {
    queue: where(isWritten, reshape(rows, queue.shape), queue),
    pointer: mod(add(pointer, received), slots),
  };
}

/**
 * The stored channels as sources of keys and values: `[S, C, N]`, where each source has as many channels as the
 * features. A memory of m·C slots per class gives m sources per class; one of C/m slots is repeated m times.
 *
 * @param memState The memory.
 * @param options `channels` C; `side` `[h, w]` of the features. Where it is not that of the (square) memory, the
 * maps are resized bilinearly if `resizable`.
 * @throws {ShapeError} If the sizes differ and `resizable` is not set.
 */
export function readMemory(
  { queue }: MemoryState,
  options: {
    readonly channels: number;
    readonly side: readonly [number, number];
    readonly resizable?: boolean;
  },
): Tensor {
  const { channels, side, resizable = false } = options;
  const [classes, slots, positions] = queue.shape as [number, number, number];
  const count = side[0] * side[1];
  const own = Math.round(Math.sqrt(positions));
  const fits = side[0] === own && side[1] === own;
  if (!fits && (!resizable || own * own !== positions)) {
    throw new ShapeError(
      `Cannot read memory ${
        formatShape(queue.shape)
      } for features of ${count} positions: the memory has ${positions}; use the crop that it was made for`,
    );
  }
  const maps = fits ? queue : reshape(
    resize(reshape(queue, [classes, slots, own, own]), {
      size: side,
      method: "bilinear",
      alignCorners: false,
    }),
    [classes, slots, count],
  );
  const repeated = slots < channels ? tile(maps, [1, channels / slots, 1]) : maps;
  return stopGradient(reshape(repeated, [(classes * repeated.shape[1]!) / channels, channels, count]));
}
