/**
 * How convolutions become kernels. In general each is one sum of products as in a matrix multiplication; a
 * depthwise one has too little to multiply for that and is a sum over shifted windows; the gradient in the
 * images of a strided one falls apart into phases, pixels that the same taps reach.
 *
 * @module
 */
import type { Tensor } from "../src/tensor.ts";
import { along, contraction, convolution, plus, sumOfProducts } from "./contraction.ts";
import { type Geometry, type Phase, phasesOf } from "./conv_geometry.ts";
import { mul } from "./elementwise.ts";
import { zeros } from "./create.ts";
import { assemble, flip, pad, reshape, slice, windows } from "./movement.ts";
import { sum } from "./reduce.ts";

/** Numbers of images, groups, and channels in a group. */
interface Sizes {
  readonly count: number;
  readonly groups: number;
  readonly inputs: number;
  readonly outputs: number;
}

/** conv2d. */
export function writeOutResult(images: Tensor, filters: Tensor, geometry: Geometry): Tensor {
  const { count, groups, inputs, outputs } = sizesOf(images.shape[0]!, filters, geometry);
  const [h, w] = geometry.result;
  const { stride, dilation, padding } = geometry;
  if (inputs === 1) {
    const taps = mul(
      reshape(imageWindows(images, geometry), [count, groups, 1, h, w, ...geometry.filters]),
      reshape(filters, [groups, outputs, 1, 1, ...geometry.filters]),
    );
    return reshape(sum(taps, { axis: [5, 6] }), [count, groups * outputs, h, w]);
  }
  const result = sumOfProducts(kindOf(geometry), filters, images, {
    batch: [count, groups],
    rows: [outputs],
    columns: [h, w],
    inner: [inputs, ...geometry.filters],
    left: [plus(along("batch", 1, outputs), along("rows", 0)), ...inner(0, 1, 2)],
    right: [
      along("batch", 0),
      plus(along("batch", 1, inputs), along("inner", 0)),
      plus(along("columns", 0, stride[0]), along("inner", 1, dilation[0]), -padding[0]),
      plus(along("columns", 1, stride[1]), along("inner", 2, dilation[1]), -padding[1]),
    ],
    output: [
      { list: "batch", index: 0 },
      { list: "batch", index: 1 },
      { list: "rows", index: 0 },
      { list: "columns", index: 0 },
      { list: "columns", index: 1 },
    ],
  });
  return reshape(result, [count, groups * outputs, h, w]);
}

/** The gradient in the filters. */
export function writeOutFilters(images: Tensor, result: Tensor, geometry: Geometry): Tensor {
  const [count, channels] = [images.shape[0]!, result.shape[1]!];
  const groups = geometry.groups;
  const [inputs, outputs] = [images.shape[1]! / groups, channels / groups];
  const [h, w] = geometry.result;
  const { stride, dilation, padding } = geometry;
  if (inputs === 1) {
    const taps = mul(
      reshape(imageWindows(images, geometry), [count, groups, 1, h, w, ...geometry.filters]),
      reshape(result, [count, groups, outputs, h, w, 1, 1]),
    );
    return reshape(sum(taps, { axis: [0, 3, 4] }), [channels, 1, ...geometry.filters]);
  }
  const gradient = sumOfProducts(kindOf(geometry), result, images, {
    batch: [groups],
    rows: [outputs],
    columns: [inputs, ...geometry.filters],
    inner: [count, h, w],
    left: [
      along("inner", 0),
      plus(along("batch", 0, outputs), along("rows", 0)),
      ...inner(1, 2),
    ],
    right: [
      along("inner", 0),
      plus(along("batch", 0, inputs), along("columns", 0)),
      plus(along("inner", 1, stride[0]), along("columns", 1, dilation[0]), -padding[0]),
      plus(along("inner", 2, stride[1]), along("columns", 2, dilation[1]), -padding[1]),
    ],
    output: [
      { list: "batch", index: 0 },
      { list: "rows", index: 0 },
      { list: "columns", index: 0 },
      { list: "columns", index: 1 },
      { list: "columns", index: 2 },
    ],
  });
  return reshape(gradient, [channels, inputs, ...geometry.filters]);
}

/** The gradient in the images, or the transposed convolution. */
export function writeOutImages(result: Tensor, filters: Tensor, geometry: Geometry): Tensor {
  const sizes = sizesOf(result.shape[0]!, filters, geometry);
  if (sizes.inputs > 1 && isTiling(geometry)) return tiles(result, filters, sizes, geometry);
  const phase = sizes.inputs === 1 ? depthwisePhase : densePhase;
  const pieces: Tensor[] = [];
  const starts: number[][] = [];
  for (const y of phasesOf(geometry, 0)) {
    for (const x of phasesOf(geometry, 1)) {
      const shape = [sizes.count, sizes.groups * sizes.inputs, y.size, x.size];
      const isEmpty = y.taps === 0 || x.taps === 0;
      pieces.push(isEmpty ? zeros(shape) : reshape(phase(result, filters, sizes, y, x), shape));
      starts.push([0, 0, y.start, x.start]);
    }
  }
  if (pieces.length === 1) return pieces[0]!;
  return assemble(pieces, {
    shape: [sizes.count, sizes.groups * sizes.inputs, ...geometry.images],
    starts,
    strides: starts.map(() => [1, 1, ...geometry.stride]),
  });
}

function sizesOf(count: number, filters: Tensor, { groups }: Geometry): Sizes {
  return { count, groups, inputs: filters.shape[1]!, outputs: filters.shape[0]! / groups };
}

/** Coordinates that are the given inner axes. */
function inner(...axes: number[]): ReturnType<typeof along>[] {
  return axes.map((axis) => along("inner", axis));
}

/** Whether the filters stand side by side, so that no pixel is read twice. */
function isTiling({ filters, stride, padding, dilation }: Geometry): boolean {
  return [0, 1].every((axis) =>
    filters[axis] === stride[axis] && padding[axis] === 0 && (dilation[axis] === 1 || filters[axis] === 1)
  );
}

function kindOf(geometry: Geometry): typeof convolution {
  return isTiling(geometry) ? contraction : convolution;
}

/** `[N, C, H', W', KH, KW]`: what every tap of every position reads. */
function imageWindows(images: Tensor, { filters, result, stride, padding, dilation }: Geometry): Tensor {
  const [top, left] = padding;
  const padded = pad(images, { padding: [[0, 0], [0, 0], [top, top], [left, left]] });
  const all = windows(padded, { size: filters, stride, dilation });
  // conv2d stops where no whole window is left, as windows do; a transposed convolution may ask for fewer.
  return slice(all, { sizes: [...all.shape.slice(0, 2), ...result, ...filters] });
}

/** The gradient in the images where filters tile them: every pixel belongs to one tap, or to none at the far edges. */
function tiles(result: Tensor, filters: Tensor, sizes: Sizes, geometry: Geometry): Tensor {
  const { count, groups, inputs, outputs } = sizes;
  const [h, w] = geometry.result;
  const [kh, kw] = geometry.filters;
  const gradient = sumOfProducts(contraction, filters, result, {
    batch: [count, groups],
    rows: [inputs, kh, kw],
    columns: [h, w],
    inner: [outputs],
    left: [
      plus(along("batch", 1, outputs), along("inner", 0)),
      along("rows", 0),
      along("rows", 1),
      along("rows", 2),
    ],
    right: [
      along("batch", 0),
      plus(along("batch", 1, outputs), along("inner", 0)),
      along("columns", 0),
      along("columns", 1),
    ],
    output: [
      { list: "batch", index: 0 },
      { list: "batch", index: 1 },
      { list: "rows", index: 0 },
      { list: "columns", index: 0 },
      { list: "rows", index: 1 },
      { list: "columns", index: 1 },
      { list: "rows", index: 2 },
    ],
  });
  const covered = reshape(gradient, [count, groups * inputs, h * kh, w * kw]);
  const rest = [0, 1].map((axis) =>
    geometry.images[axis]! - geometry.result[axis]! * geometry.filters[axis]!
  );
  return pad(covered, { padding: [[0, 0], [0, 0], [0, rest[0]!], [0, rest[1]!]] });
}

function densePhase(result: Tensor, filters: Tensor, sizes: Sizes, y: Phase, x: Phase): Tensor {
  const { count, groups, inputs, outputs } = sizes;
  return sumOfProducts(convolution, filters, result, {
    batch: [count, groups],
    rows: [inputs],
    columns: [y.size, x.size],
    inner: [outputs, y.taps, x.taps],
    left: [
      plus(along("batch", 1, outputs), along("inner", 0)),
      along("rows", 0),
      { ...along("inner", 1, y.skip), offset: y.first },
      { ...along("inner", 2, x.skip), offset: x.first },
    ],
    right: [
      along("batch", 0),
      plus(along("batch", 1, outputs), along("inner", 0)),
      plus(along("columns", 0), along("inner", 1, -y.step), y.offset),
      plus(along("columns", 1), along("inner", 2, -x.step), x.offset),
    ],
    output: [
      { list: "batch", index: 0 },
      { list: "batch", index: 1 },
      { list: "rows", index: 0 },
      { list: "columns", index: 0 },
      { list: "columns", index: 1 },
    ],
  });
}

/** Windows run forwards, so both the filter's taps and the places where they read are taken in reverse order. */
function depthwisePhase(result: Tensor, filters: Tensor, sizes: Sizes, y: Phase, x: Phase): Tensor {
  const { count, groups, outputs } = sizes;
  const along2 = <T>(f: (phase: Phase) => T): [T, T] => [f(y), f(x)];
  const taps = flip(
    slice(filters, {
      starts: [0, 0, y.first, x.first],
      sizes: [...filters.shape.slice(0, 2), y.taps, x.taps],
      strides: [1, 1, y.skip, x.skip],
    }),
    { axis: [2, 3] },
  );
  const spans = along2(({ size, taps, offset, step }) => {
    const from = offset - (taps - 1) * step;
    return [from, from + size + (taps - 1) * step] as const;
  });
  const read = windows(crop(result, spans), {
    size: along2((phase) => phase.taps),
    stride: [1, 1],
    dilation: along2((phase) => phase.step),
  });
  const products = mul(
    reshape(read, [count, groups, outputs, ...read.shape.slice(2)]),
    reshape(taps, [groups, outputs, 1, 1, y.taps, x.taps]),
  );
  return sum(products, { axis: [2, 5, 6] });
}

/** The images from one position to another along both axes, with zeros beyond the edges. */
function crop(x: Tensor, spans: readonly (readonly [number, number])[]): Tensor {
  const sizes = x.shape.slice(2);
  const inside = spans.map(([from, to], k) =>
    [from, to].map((at) => Math.min(Math.max(at, 0), sizes[k]!)) as [number, number]
  );
  const kept = slice(x, {
    starts: [0, 0, ...inside.map(([from]) => from!)],
    sizes: [...x.shape.slice(0, 2), ...inside.map(([from, to]) => to! - from!)],
  });
  const padding = spans.map(([from, to], k): [number, number] => {
    const [first, last] = inside[k]!;
    return first === last ? [0, to - from] : [first - from, to - last];
  });
  return pad(kept, { padding: [[0, 0], [0, 0], ...padding] });
}
