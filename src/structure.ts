/**
 * The primitives that hold a graph together rather than compute: alias, pick, and constants.
 *
 * @module
 */
import type { DType } from "./dtype.ts";
import { type Aval, definePrimitive, type Primitive, type TupleRules } from "./primitive.ts";
import { makeNode, type Tensor, Tensor as TensorClass, type Trace } from "./tensor.ts";

/** The input itself, under another identity: what a transform gives to the function that it transforms. */
export const alias: Primitive = definePrimitive<unknown>({
  name: "alias",
  infer: ([x]) => ({ shape: x!.shape, dtype: x!.dtype }),
  vjp: (cotangent) => [cotangent],
  jvp: ([tangent]) => tangent,
  batch: ([x]) => x!,
  lowering: { kind: "movement", place: (forms) => ({ forms }) },
  reference: ([x]) => x!,
  samples: [],
});

/** An alias of `x` that belongs to a trace. */
export function makeAlias(x: Tensor, trace: Trace): Tensor {
  return new TensorClass({ shape: x.shape, dtype: x.dtype }, { op: alias, inputs: [x], trace });
}

/** The input, through which no derivative passes. */
export const stopGradientOp: Primitive = definePrimitive<unknown>({
  ...alias,
  name: "stopGradient",
  vjp: () => [undefined],
  jvp: () => undefined,
});

/** The input in a buffer of its own. */
export const copy: Primitive = definePrimitive<unknown>({
  ...alias,
  name: "copy",
  lowering: { kind: "elementwise", expr: ([x]) => x!, cost: 0 },
});

/** Parameters of `full`. */
export interface FullParams extends Aval {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly value: number;
}

/** A constant. */
export const full: Primitive<FullParams> = definePrimitive<FullParams>({
  name: "full",
  infer: (_, { shape, dtype }) => ({ shape, dtype }),
  vjp: () => [],
  jvp: () => undefined,
  batch: (_inputs, _batched, params) => makeNode(full, [], params),
  lowering: { kind: "generator", expr: (_forms, { dtype, value }) => ({ kind: "constant", dtype, value }) },
  reference: (_, { shape, value }) => ({
    shape,
    data: new Float64Array(shape.reduce((a, b) => a * b, 1)).fill(value),
  }),
  samples: [{ inputs: [], params: { shape: [2, 3], dtype: "f32", value: 1.5 } }],
});

/** A scalar at every position of a shape: a constant that is not known when the program is compiled. */
export const everywhere: Primitive<{ readonly shape: readonly number[] }> = definePrimitive<
  { readonly shape: readonly number[] }
>({
  name: "everywhere",
  infer: ([x], { shape }) => ({ shape, dtype: x!.dtype }),
  batch: () => {
    throw new TypeError("Cannot batch everywhere: it is written by the compiler alone");
  },
  lowering: { kind: "movement", place: () => ({ forms: [] }), repeats: () => true },
  reference: ([x], { shape }) => ({
    shape,
    data: new Float64Array(shape.reduce((a, b) => a * b, 1)).fill(x!.data[0]!),
  }),
  samples: [{ inputs: [{ shape: [] }], params: { shape: [2, 3] } }],
});

/** One result of a tuple node. */
export const pick: Primitive = definePrimitive<unknown>({
  name: "pick",
  infer: () => {
    throw new TypeError("Cannot infer pick from its input alone: use makeTuple");
  },
  batch: () => {
    throw new TypeError("Cannot batch pick by itself: its tuple is batched");
  },
  lowering: { kind: "movement", place: (forms) => ({ forms }) },
  reference: ([x]) => x!,
  samples: [],
});

/** Defines a primitive with several results: its node holds them together and is never evaluated itself. */
export function defineTuple<P>(name: string, tuple: TupleRules<P>): Primitive<P> {
  return definePrimitive<P>({
    name,
    infer: () => ({ shape: [], dtype: "f32" }),
    batch: () => {
      throw new TypeError(`Cannot batch ${name} by its node: its results are batched together`);
    },
    lowering: { kind: "generator", expr: () => ({ kind: "constant", dtype: "f32", value: 0 }) },
    reference: () => ({ shape: [], data: new Float64Array(1) }),
    samples: [],
    tuple,
  });
}

/** Applies a tuple primitive; returns its results. */
export function makeTuple<P>(op: Primitive<P>, inputs: readonly Tensor[], params: P): Tensor[] {
  const tuple = makeNode(op, inputs, params);
  return op.tuple!.outputs(params).map((aval, index) =>
    new TensorClass({ shape: aval.shape, dtype: aval.dtype }, {
      op: pick,
      inputs: [tuple],
      params: { index },
    })
  );
}
