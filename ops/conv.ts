/**
 * Two-dimensional convolution. Images x, filters w and result y are tied by one sum of products, so there are
 * three primitives, one for each of the three that is computed from the other two; the derivatives of each are
 * the other two, and so on without end.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import { definePrimitive, type Primitive, type ReferenceArray, type Sample } from "../src/primitive.ts";
import { contiguousStrides } from "../src/compiler/affine.ts";
import { forEachPosition } from "../src/compiler/interpret.ts";
import { makeNode, type Tensor } from "../src/tensor.ts";
import { alignBatch, requireDType, sizeOf } from "./common.ts";
import {
  type Channels,
  channelsOf,
  type Geometry,
  type Pair,
  pairOf,
  requireImages,
  type Role,
  shapeOf,
} from "./conv_geometry.ts";
import { writeOutFilters, writeOutImages, writeOutResult } from "./conv_lowering.ts";
import { add } from "./elementwise.ts";
import { reshape, transpose } from "./movement.ts";

/** The operands of the primitive that computes a role, in order. */
const operandsOf: Readonly<Record<Role, readonly [Role, Role]>> = {
  result: ["images", "filters"],
  images: ["result", "filters"],
  filters: ["images", "result"],
};

function sample(
  channels: Channels,
  images: [number, number],
  filters: [number, number],
  { stride = 1, padding = 0, dilation = 1, groups = 1 } = {},
): { channels: Channels; geometry: Geometry } {
  const sizes = images.map((size, axis) =>
    Math.floor((size + 2 * padding - dilation * (filters[axis]! - 1) - 1) / stride) + 1
  );
  const pair = (n: number): [number, number] => [n, n];
  const options = { stride: pair(stride), padding: pair(padding), dilation: pair(dilation), groups };
  return { channels, geometry: { images, filters, result: [sizes[0]!, sizes[1]!], ...options } };
}

const sampleGeometries = [
  sample({ count: 2, inputs: 3, outputs: 4 }, [5, 4], [3, 3], { padding: 1 }),
  sample({ count: 1, inputs: 2, outputs: 3 }, [7, 9], [3, 3], { stride: 2, padding: 1 }),
  sample({ count: 1, inputs: 3, outputs: 2 }, [9, 9], [7, 7], { stride: 4, padding: 3 }),
  sample({ count: 1, inputs: 2, outputs: 2 }, [8, 7], [3, 2], { stride: 2, dilation: 3, padding: 2 }),
  sample({ count: 2, inputs: 4, outputs: 6 }, [4, 5], [2, 3], { groups: 2 }),
  sample({ count: 2, inputs: 3, outputs: 2 }, [3, 2], [1, 1]),
  sample({ count: 1, inputs: 3, outputs: 2 }, [7, 5], [2, 2], { stride: 2 }),
  sample({ count: 1, inputs: 2, outputs: 2 }, [7, 5], [2, 1], { stride: 3 }),
  sample({ count: 2, inputs: 3, outputs: 3 }, [5, 4], [3, 3], { padding: 1, groups: 3 }),
  sample({ count: 1, inputs: 2, outputs: 4 }, [6, 7], [3, 3], {
    stride: 2,
    padding: 1,
    dilation: 2,
    groups: 2,
  }),
  sample({ count: 1, inputs: 1, outputs: 1 }, [1, 1], [1, 1]),
  sample({ count: 0, inputs: 2, outputs: 3 }, [4, 4], [3, 3], { padding: 1 }),
];

const primitiveOf: Readonly<Record<Role, Primitive<Geometry>>> = {
  result: defineConvolution("conv2d", "result"),
  images: defineConvolution("conv2dInput", "images"),
  filters: defineConvolution("conv2dFilter", "filters"),
};

/** Computes one of the three from the other two. */
function compute(role: Role, given: Partial<Record<Role, Tensor>>, geometry: Geometry): Tensor {
  return makeNode(primitiveOf[role], operandsOf[role].map((operand) => given[operand]!), geometry);
}

function defineConvolution(name: string, role: Role): Primitive<Geometry> {
  const roles = operandsOf[role];
  const writeOut = { result: writeOutResult, images: writeOutImages, filters: writeOutFilters }[role];
  return definePrimitive<Geometry>({
    name,
    infer: (inputs, geometry) => {
      for (const x of inputs) requireDType(name, x, ["f32"]);
      const shapes = Object.fromEntries(roles.map((operand, k) => [operand, inputs[k]!.shape]));
      return { shape: shapeOf(role, geometry, channelsOf(shapes, geometry)), dtype: "f32" };
    },
    vjp: (cotangent, { inputs: [a, b], params }) => [
      compute(roles[0], { [role]: cotangent, [roles[1]]: b! }, params),
      compute(roles[1], { [role]: cotangent, [roles[0]]: a! }, params),
    ],
    jvp: ([da, db], { inputs: [a, b], params }) => {
      const first = da && compute(role, { [roles[0]]: da, [roles[1]]: b! }, params);
      const second = db && compute(role, { [roles[0]]: a!, [roles[1]]: db }, params);
      return first && second ? add(first, second) : first ?? second;
    },
    batch: (inputs, batched, geometry, size) => batchConvolution(role, inputs, batched, geometry, size),
    lowering: { kind: "composition", define: ([a, b], geometry) => writeOut(a!, b!, geometry) },
    reference: (inputs, geometry, { shape }) => {
      const given = Object.fromEntries(roles.map((operand, k) => [operand, inputs[k]!]));
      return reference(role, given, geometry, shape);
    },
    samples: sampleGeometries.map(({ geometry, channels }): Sample<Geometry> => ({
      inputs: roles.map((operand) => ({ shape: shapeOf(operand, geometry, channels) })),
      params: geometry,
    })),
  });
}

/** The new axis goes to the images' axis where only that operand has it, otherwise to the groups. */
function batchConvolution(
  role: Role,
  inputs: readonly Tensor[],
  batched: readonly boolean[],
  geometry: Geometry,
  size: number,
): Tensor {
  const roles = operandsOf[role];
  if (role !== "filters" && !batched[1]) {
    const [first, ...rest] = inputs[0]!.shape.slice(1);
    const merged = reshape(inputs[0]!, [size * first!, ...rest]);
    const result = compute(role, { [roles[0]]: merged, filters: inputs[1]! }, geometry);
    return reshape(result, [size, first!, ...result.shape.slice(1)]);
  }
  const given = alignBatch(inputs, batched, size).map((x, k) => {
    if (roles[k] === "filters") return reshape(x, [size * x.shape[1]!, ...x.shape.slice(2)]);
    const [, count, channels, h, w] = x.shape;
    return reshape(transpose(x, { axes: [1, 0, 2, 3, 4] }), [count!, size * channels!, h!, w!]);
  });
  const result = compute(
    role,
    { [roles[0]]: given[0]!, [roles[1]]: given[1]! },
    { ...geometry, groups: geometry.groups * size },
  );
  const [first, second, ...rest] = result.shape;
  if (role === "filters") return reshape(result, [size, first! / size, second!, ...rest]);
  return transpose(reshape(result, [first!, size, second! / size, ...rest]), { axes: [1, 0, 2, 3, 4] });
}

/** Every product of the sum, added where it belongs. */
function reference(
  role: Role,
  given: Partial<Record<Role, ReferenceArray>>,
  geometry: Geometry,
  shape: readonly number[],
): ReferenceArray {
  const output = { shape, data: new Float64Array(sizeOf(shape)) };
  const { images, filters, result } = { ...given, [role]: output } as Record<Role, ReferenceArray>;
  const { stride, padding, dilation, groups } = geometry;
  const [strides, filterStrides, resultStrides] = [images, filters, result].map((x) =>
    contiguousStrides(x.shape)
  );
  const at = (position: readonly number[], steps: readonly number[]): number =>
    position.reduce((sum, p, k) => sum + p * steps[k]!, 0);
  const outputs = result.shape[1]! / groups;
  forEachPosition([...result.shape, ...filters.shape.slice(1)], ([n, o, y, x, c, ky, kx]) => {
    const h = y! * stride[0] + ky! * dilation[0] - padding[0];
    const w = x! * stride[1] + kx! * dilation[1] - padding[1];
    if (h < 0 || w < 0 || h >= geometry.images[0] || w >= geometry.images[1]) return;
    const channel = Math.floor(o! / outputs) * filters.shape[1]! + c!;
    const i = at([n!, channel, h, w], strides!);
    const f = at([o!, c!, ky!, kx!], filterStrides!);
    const r = at([n!, o!, y!, x!], resultStrides!);
    if (role === "result") output.data[r]! += images.data[i]! * filters.data[f]!;
    else if (role === "images") output.data[i]! += result.data[r]! * filters.data[f]!;
    else output.data[f]! += images.data[i]! * result.data[r]!;
  });
  return output;
}

/**
 * Two-dimensional convolution (cross-correlation, as in the field).
 *
 * Shapes: `x` `[N, C, H, W]`, `weight` `[O, C/groups, KH, KW]` → `[N, O, H', W']`,
 * H' = ⌊(H + 2·padding − dilation·(KH − 1) − 1) / stride⌋ + 1. f32. `groups` = C with one output channel each
 * is the depthwise convolution. Differentiable in `x` and `weight`, any number of times, for every option.
 *
 * @param x Images.
 * @param weight Filters.
 * @param options Numbers or `[height, width]`; defaults: stride 1, padding 0 (zeros, on both sides), dilation 1, groups 1.
 * @throws {ShapeError} If the channels do not fit, or the filter is larger than the padded image.
 * @throws {RangeError} For a stride, padding, dilation or number of groups that is not possible.
 * @see Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285
 * @example
 * ```ts
 * import { conv2d, ones } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const y = conv2d(ones([1, 1, 3, 3]), ones([1, 1, 3, 3]), { padding: 1 });
 * assertEquals(await y.toArray(), [[[[4, 6, 4], [6, 9, 6], [4, 6, 4]]]]);
 * ```
 */
export function conv2d(
  x: Tensor,
  weight: Tensor,
  options: { stride?: Pair; padding?: Pair; dilation?: Pair; groups?: number } = {},
): Tensor {
  const action = `apply conv2d to x ${formatShape(x.shape)} and weight ${formatShape(weight.shape)}`;
  const common = checkOptions(action, x, weight, options);
  const { stride, padding, dilation, groups } = common;
  if (x.shape[1] !== weight.shape[1]! * groups) {
    throw new ShapeError(
      `Cannot ${action}: x has ${x.shape[1]} channels but weight expects ${
        weight.shape[1]! * groups
      } (groups = ${groups})`,
    );
  }
  const images = [x.shape[2]!, x.shape[3]!] as const;
  const filters = [weight.shape[2]!, weight.shape[3]!] as const;
  const sizeAlong = (axis: 0 | 1): number => {
    const room = images[axis] + 2 * padding[axis] - dilation[axis] * (filters[axis] - 1) - 1;
    if (room < 0 || filters[axis] === 0) {
      throw new ShapeError(
        `Cannot ${action}: the filter spans ${
          dilation[axis] * (filters[axis] - 1) + 1
        } pixels, the padded image ${images[axis] + 2 * padding[axis]}; it must fit in`,
      );
    }
    return Math.floor(room / stride[axis]) + 1;
  };
  const geometry: Geometry = { images, filters, result: [sizeAlong(0), sizeAlong(1)], ...common };
  return compute("result", { images: x, filters: weight }, geometry);
}

/**
 * Transposed convolution: the gradient of `conv2d` in its images, as an operation of its own.
 *
 * Shapes: `x` `[N, C, H, W]`, `weight` `[C, O/groups, KH, KW]` (PyTorch's layout) → `[N, O, H', W']`,
 * H' = (H − 1)·stride − 2·padding + dilation·(KH − 1) + 1 + outputPadding. f32. Differentiable in `x` and
 * `weight`, any number of times.
 *
 * @param x Images.
 * @param weight Filters.
 * @param options As in `conv2d`; `outputPadding` (default 0) chooses among the sizes that `conv2d` maps to H.
 * @throws {ShapeError} If the channels do not fit or nothing is left of the image.
 * @throws {RangeError} If `outputPadding` is not smaller than the stride or the dilation.
 * @example
 * ```ts
 * import { convTranspose2d, ones } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const y = convTranspose2d(ones([1, 1, 2, 2]), ones([1, 1, 2, 2]), { stride: 2 });
 * assertEquals(y.shape, [1, 1, 4, 4]);
 * ```
 */
export function convTranspose2d(
  x: Tensor,
  weight: Tensor,
  options: { stride?: Pair; padding?: Pair; outputPadding?: Pair; dilation?: Pair; groups?: number } = {},
): Tensor {
  const action = `apply convTranspose2d to x ${formatShape(x.shape)} and weight ${formatShape(weight.shape)}`;
  const common = checkOptions(action, x, weight, options);
  const { stride, padding, dilation } = common;
  const extra = pairOf(action, "outputPadding", options.outputPadding, 0, 0);
  if (x.shape[1] !== weight.shape[0]) {
    throw new ShapeError(
      `Cannot ${action}: x has ${x.shape[1]} channels but weight expects ${weight.shape[0]}`,
    );
  }
  const result = [x.shape[2]!, x.shape[3]!] as const;
  const filters = [weight.shape[2]!, weight.shape[3]!] as const;
  const sizeAlong = (axis: 0 | 1): number => {
    if (extra[axis] >= Math.max(stride[axis], dilation[axis])) {
      throw new RangeError(
        `Cannot ${action} with outputPadding ${
          extra[axis]
        }: it must be smaller than the stride or the dilation`,
      );
    }
    const size = (result[axis] - 1) * stride[axis] - 2 * padding[axis] +
      dilation[axis] * (filters[axis] - 1) + 1 + extra[axis];
    if (size <= 0) {
      throw new ShapeError(`Cannot ${action}: a padding of ${padding[axis]} leaves an image of size ${size}`);
    }
    return size;
  };
  const geometry: Geometry = { images: [sizeAlong(0), sizeAlong(1)], filters, result, ...common };
  return compute("images", { result: x, filters: weight }, geometry);
}

function checkOptions(
  action: string,
  x: Tensor,
  weight: Tensor,
  options: { stride?: Pair; padding?: Pair; dilation?: Pair; groups?: number },
): Pick<Geometry, "stride" | "padding" | "dilation" | "groups"> {
  requireImages(action, x, "x", "[N, C, H, W]");
  requireImages(action, weight, "weight", "[O, C/groups, KH, KW]");
  const { groups = 1 } = options;
  if (!Number.isInteger(groups) || groups < 1 || weight.shape[0]! % groups !== 0) {
    throw new RangeError(
      `Cannot ${action} with groups ${groups}: a whole number that divides ${weight.shape[0]} is required`,
    );
  }
  return {
    stride: pairOf(action, "stride", options.stride, 1, 1),
    padding: pairOf(action, "padding", options.padding, 0, 0),
    dilation: pairOf(action, "dilation", options.dilation, 1, 1),
    groups,
  };
}
