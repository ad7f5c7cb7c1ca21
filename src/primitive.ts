/**
 * What a primitive operation is: one record with its shape rule, derivatives, batching rule, lowering to the
 * kernel IR, float64 reference and samples. The records live in `ops/`; everything else in the library is
 * written once over all of them.
 *
 * @module
 */
import type { Affine, Combine, Contraction, Expr, Guard, Kernel } from "./compiler/kernel.ts";
import type { DType } from "./dtype.ts";
import type { Tensor } from "./tensor.ts";

/** Shape and dtype of a tensor, without its values. */
export interface Aval {
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** Parameters of a primitive: plain data, so that they can be hashed and printed. */
export type Params = unknown;

/** What a derivative rule sees of the call that it differentiates. */
export interface Call<P> {
  readonly inputs: readonly Tensor[];
  readonly output: Tensor;
  readonly params: P;
}

/** An affine map of positions: where in the input the element of an output position stands, and where it stands nowhere. */
export interface Placement {
  readonly forms: readonly Affine[];
  readonly guards?: readonly Guard[];
  /** The value where a guard fails. */
  readonly fill?: number;
}

/** Arithmetic on affine forms that may need to split a kernel's axes; given to movement lowerings. */
export interface FormAlgebra {
  constant(value: number): Affine;
  add(...forms: Affine[]): Affine;
  scale(form: Affine, factor: number): Affine;
  shift(form: Affine, offset: number): Affine;
  /** Mixed-radix digits of a form for the given sizes (row-major). Splits kernel axes if it must; fails if it cannot. */
  digits(form: Affine, sizes: readonly number[]): Affine[];
  /** `form` is 0 ≤ form < bound for sure. */
  range(form: Affine): readonly [number, number];
}

/** A sum of products as the kernel IR means it, relative to one node. Axis lists hold sizes. */
export interface ContractionPlan {
  readonly batch: readonly number[];
  readonly rows: readonly number[];
  readonly columns: readonly number[];
  readonly inner: readonly number[];
  /** For every output axis of the node: which axis of which list it is. */
  readonly output: readonly { readonly list: "batch" | "rows" | "columns"; readonly index: number }[];
  /** Which input, and where in it, given the forms of all axes in each list. */
  readonly left: (lists: ContractionForms, algebra: FormAlgebra) => OperandPlan;
  readonly right: (lists: ContractionForms, algebra: FormAlgebra) => OperandPlan;
}

/** The forms of a contraction's axes. */
export interface ContractionForms {
  readonly batch: readonly Affine[];
  readonly rows: readonly Affine[];
  readonly columns: readonly Affine[];
  readonly inner: readonly Affine[];
}

/** An operand of a contraction. */
export interface OperandPlan extends Placement {
  readonly input: number;
}

/** How a primitive becomes kernels. */
export type Lowering<P> =
  /** A scalar expression of the inputs at the same position. */
  | {
    readonly kind: "elementwise";
    readonly expr: (inputs: readonly Expr[], params: P, output: Aval) => Expr;
    /** Rough cost in additions; decides whether it may be computed again. */
    readonly cost: number;
  }
  /** A value known from the position alone. */
  | { readonly kind: "generator"; readonly expr: (forms: readonly Affine[], params: P, output: Aval) => Expr }
  /** The input read at other positions. */
  | {
    readonly kind: "movement";
    readonly place: (forms: readonly Affine[], params: P, input: Aval, algebra: FormAlgebra) => Placement;
    /** Whether elements are read more than once in a way that makes recomputing the input wasteful. */
    readonly repeats?: (params: P) => boolean;
  }
  /** A reduction over axes of the input (removed from the shape). */
  | { readonly kind: "reduction"; readonly combine: Combine; readonly axes: (params: P) => readonly number[] }
  /** Input 0 read along `axis` at the position that input 1 gives. */
  | { readonly kind: "gather"; readonly axis: (params: P) => number }
  /** A sum of products. */
  | { readonly kind: "contraction"; readonly plan: (inputs: readonly Aval[], params: P) => ContractionPlan }
  /** Disjoint pieces of the output, each computed from one input: piece k goes to start + stride · position. */
  | {
    readonly kind: "assembly";
    readonly place: (
      params: P,
      index: number,
    ) => { readonly start: readonly number[]; readonly stride: readonly number[] };
  }
  /** One kernel over contiguous inputs. */
  | {
    readonly kind: "kernel";
    readonly build: (inputs: readonly Aval[], params: P) => Exclude<Kernel, Contraction>;
  }
  /** Other operations, put in its place before compiling. */
  | { readonly kind: "composition"; readonly define: (inputs: readonly Tensor[], params: P) => Tensor };

/** What a primitive with several results adds: its node is a tuple, never evaluated itself, from which `pick` takes. */
export interface TupleRules<P> {
  /** Shapes and dtypes of the results. */
  readonly outputs: (params: P) => readonly Aval[];
  /** Cotangents of the inputs from those of the results (undefined: none). */
  readonly vjp: (
    cotangents: readonly (Tensor | undefined)[],
    call: Call<P>,
  ) => readonly (Tensor | undefined)[];
  /** Tangents of the results from those of the inputs. */
  readonly jvp: (tangents: readonly (Tensor | undefined)[], call: Call<P>) => readonly (Tensor | undefined)[];
  /** The results for inputs with a new axis 0. All results have it. */
  readonly batch: (
    inputs: readonly Tensor[],
    batched: readonly boolean[],
    params: P,
    size: number,
  ) => readonly Tensor[];
  /** Writes the work into a graph under construction; returns the results' places. */
  readonly expand: (graph: GraphWriter, inputs: readonly number[], params: P) => readonly number[];
  /** For a call that is a program of its own: what is called. */
  readonly callee?: (params: P) => Callee;
}

/** A closed function as a graph: `outputs` in terms of `parameters` and of nothing else that varies. */
export interface Body {
  readonly parameters: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

/** What a call runs. */
export interface Callee {
  readonly body: Body;
  /** Numbers of the inputs that nothing else can use, so that their memory is free for the results. */
  readonly donated: readonly number[];
}

/** A graph under construction, as tuple primitives see it. */
export interface GraphWriter {
  /** Adds a call of a primitive on nodes and returns its place. */
  add<P>(op: Primitive<P>, inputs: readonly number[], params: P): number;
  /** Adds everything that `outputs` need, with nodes in the place of some tensors; returns the outputs' places. */
  inline(outputs: readonly Tensor[], places: ReadonlyMap<Tensor, number>): number[];
  /** Shape and dtype of a node. */
  aval(place: number): Aval;
}

/** Arrays of the float64 reference. */
export interface ReferenceArray {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** One call to try a primitive with in the property tests. */
export interface Sample<P = Params> {
  readonly inputs: readonly {
    readonly shape: readonly number[];
    readonly dtype?: DType;
    /** Range of the values, default −2 … 2 for f32; integers need one. */
    readonly low?: number;
    readonly high?: number;
    /** Values are all different, so that sorting and extrema have no ties. */
    readonly distinct?: boolean;
  }[];
  readonly params: P;
}

/** A primitive operation. */
export interface Primitive<P = Params> {
  readonly name: string;
  /** Shape and dtype of the result; throws `ShapeError` or `DTypeError` in the words of the user's call. */
  readonly infer: (inputs: readonly Aval[], params: P) => Aval;
  /** Cotangents of the inputs (undefined: none flows there). Absent: not differentiable (comparisons, sorting …), nothing flows. */
  readonly vjp?: (cotangent: Tensor, call: Call<P>) => readonly (Tensor | undefined)[];
  /** Tangent of the output from those of the inputs (undefined: zero; at least one is given). */
  readonly jvp?: (tangents: readonly (Tensor | undefined)[], call: Call<P>) => Tensor | undefined;
  /** The call on inputs that have a new axis 0 of size `size` where `batched` says so; the result has it at axis 0. */
  readonly batch: (inputs: readonly Tensor[], batched: readonly boolean[], params: P, size: number) => Tensor;
  readonly lowering: Lowering<P>;
  /** The result in float64, by plain loops. */
  readonly reference: (inputs: readonly ReferenceArray[], params: P, output: Aval) => ReferenceArray;
  readonly samples: readonly Sample<P>[];
  /** Whether code for it is another one where an operand is this constant, beyond what is computed with it. */
  readonly readsConstant?: ((value: number) => boolean) | undefined;
  /** For primitives with several results. */
  readonly tuple?: TupleRules<P>;
}

const registered = new Map<string, Primitive>();

/** Adds a primitive to the registry and returns it. Its name must be new. */
export function definePrimitive<P>(record: Primitive<P>): Primitive<P> {
  if (registered.has(record.name)) throw new TypeError(`Cannot define primitive ${record.name} twice`);
  registered.set(record.name, record as unknown as Primitive);
  return record;
}

/** Every primitive that has been defined, in order. */
export function primitives(): readonly Primitive[] {
  return [...registered.values()];
}
