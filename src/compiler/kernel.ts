/**
 * The kernel IR: what the loops of one launch mean, not how they are scheduled.
 *
 * A kernel has axes (sizes known at compile time), reads buffers at **affine** addresses of its axes, and
 * stores expressions. There are five kinds:
 *
 * - `fold`: parallel axes; zero or more reduction stages, each over its own inner axes; then stores.
 *   Elementwise maps (no stage), reductions, soft-max and layer-norm rows (several stages, stores that run
 *   over the row again) are all folds.
 * - `contraction`: a sum of products over inner axes: matmul, convolution and both its gradients as
 *   implicit matrix products. Operands and epilogue are expressions.
 * - `cumulative`, `sort`, `scatter`: the three that a fold cannot say.
 *
 * A backend chooses schedules (tiles, packing, vector width). The order of every sum must be fixed by the
 * kernel alone, never by the number of threads, so that the same program gives the same bits.
 *
 * @module
 */
import type { DType } from "../dtype.ts";

/** offset + Σ coefficients[k] · axis_k. `coefficients` has one entry per axis in scope (see each kernel). */
export interface Affine {
  readonly offset: number;
  readonly coefficients: readonly number[];
}

/** True where 0 ≤ form < size. */
export interface Guard {
  readonly form: Affine;
  readonly size: number;
}

/** Operations of one operand. `not` is logical on bool and bitwise on integers. */
export type UnaryOp =
  | "neg"
  | "abs"
  | "sign"
  | "exp"
  | "expm1"
  | "log"
  | "log1p"
  | "sqrt"
  | "rsqrt"
  | "sin"
  | "cos"
  | "tan"
  | "tanh"
  | "erf"
  | "normalCdf" // ½ erfc(−x / √2), the distribution function of the normal distribution
  | "floor"
  | "ceil"
  | "round" // half to even
  | "not"
  | "isNan"
  | "isFinite";

/**
 * Operations of two operands of one dtype. `mod` is exact for every quotient and has the sign of the divisor
 * (floored). Integer `div` truncates; integer division or `mod` by zero gives 0. `pow` is that of C99; of
 * integers with a negative exponent it is the truncated 1 / a^|b|: ±1 for a = ±1, else 0. `max`/`min` give
 * NaN if either operand is NaN, and −0 is below 0.
 * Comparisons give bool. `and`/`or`/`xor` are logical on bool, bitwise on integers. Shift counts are taken
 * modulo 32; `shr` is arithmetic for i32 and logical for u32.
 */
export type BinaryOp =
  | "add"
  | "sub"
  | "mul"
  | "div"
  | "mod"
  | "pow"
  | "max"
  | "min"
  | "lt"
  | "le"
  | "gt"
  | "ge"
  | "eq"
  | "ne"
  | "and"
  | "or"
  | "xor"
  | "shl"
  | "shr";

/**
 * A scalar expression, evaluated once per point of the axes in scope. It is a DAG: the same object reached
 * twice is one value (generators keep it in a local).
 */
export type Expr =
  /** A literal. f32 may be NaN or ±Infinity; bool is 0 or 1. */
  | { readonly kind: "constant"; readonly dtype: DType; readonly value: number }
  /** The value of an affine form of the axes. */
  | { readonly kind: "index"; readonly dtype: "i32"; readonly form: Affine }
  /** True where all guards hold. */
  | { readonly kind: "inside"; readonly dtype: "bool"; readonly guards: readonly Guard[] }
  /**
   * Element `at` of input number `input`. Where a guard fails, the value is `fill` and **nothing is read**
   * (the address may lie outside the buffer there).
   */
  | {
    readonly kind: "load";
    readonly dtype: DType;
    readonly input: number;
    readonly at: Affine;
    readonly guards: readonly Guard[];
    readonly fill: number;
  }
  /**
   * Element `at + index · stride` of input number `input`, where 0 ≤ index < size and all guards hold;
   * elsewhere `fill`, and nothing is read. `index` is an i32 expression.
   */
  | {
    readonly kind: "gather";
    readonly dtype: DType;
    readonly input: number;
    readonly at: Affine;
    readonly index: Expr;
    readonly stride: number;
    readonly size: number;
    readonly guards: readonly Guard[];
    readonly fill: number;
  }
  | { readonly kind: "unary"; readonly dtype: DType; readonly op: UnaryOp; readonly x: Expr }
  | {
    readonly kind: "binary";
    readonly dtype: DType;
    readonly op: BinaryOp;
    readonly a: Expr;
    readonly b: Expr;
  }
  | {
    readonly kind: "select";
    readonly dtype: DType;
    readonly condition: Expr;
    readonly a: Expr; // where the condition is true
    readonly b: Expr;
  }
  /** Numeric conversion: float to integer truncates and saturates (NaN gives 0); between integers the bits stay; to bool tests ≠ 0. */
  | { readonly kind: "cast"; readonly dtype: DType; readonly x: Expr }
  /** The same 32 bits read as another dtype (never to or from bool). */
  | { readonly kind: "bitcast"; readonly dtype: DType; readonly x: Expr }
  /** The result of an earlier reduction stage of the same fold, for the current point of the parallel axes. */
  | { readonly kind: "reduced"; readonly dtype: DType; readonly stage: number }
  /** The finished sum of a contraction, in its stores. */
  | { readonly kind: "accumulator"; readonly dtype: "f32" };

/** How a reduction stage combines values. `argMax`/`argMin` give the first index (i32) of the extremum, with
 * NaN counting as the extremum; the index is the row-major position in the stage's axes. `max`/`min` are NaN
 * if any value is, and −0 is below 0. Empty stages give 0, 1, -Infinity/+Infinity (integers: the dtype's extremes). */
export type Combine = "sum" | "product" | "max" | "min" | "argMax" | "argMin";

/** One reduction of a fold. Affine forms in `value` are over `[...fold.axes, ...axes]`. */
export interface Stage {
  readonly combine: Combine;
  readonly axes: readonly number[];
  readonly dtype: DType; // of the result; value has the same dtype, except for argMax/argMin
  readonly value: Expr; // may use `reduced` of earlier stages
}

/**
 * Writes `value` to element `at` of output number `output`, for every point of the kernel's axes and of
 * the store's own `axes` (a second walk along the row; usually empty). Forms are over `[...kernel axes,
 * ...axes]`. Addresses of different points never collide.
 */
export interface Store {
  readonly output: number;
  readonly at: Affine;
  readonly axes: readonly number[];
  readonly value: Expr; // dtype = the output's dtype
}

/** Parallel axes, reduction stages, stores. */
export interface Fold {
  readonly kind: "fold";
  readonly label: string;
  readonly inputs: readonly DType[];
  readonly outputs: readonly DType[];
  readonly axes: readonly number[];
  readonly stages: readonly Stage[];
  readonly stores: readonly Store[];
}

/**
 * For all batch, row and column points: accumulator = Σ over inner of left · right (f32), then the stores.
 * Every affine form has coefficients over `[...batch, ...rows, ...columns, ...inner]`; `left` does not depend
 * on column axes, `right` not on row axes, stores (whose own `axes` are empty) not on inner axes.
 */
export interface Contraction {
  readonly kind: "contraction";
  readonly label: string;
  readonly inputs: readonly DType[];
  readonly outputs: readonly DType[];
  readonly batch: readonly number[];
  readonly rows: readonly number[];
  readonly columns: readonly number[];
  readonly inner: readonly number[];
  readonly left: Expr;
  readonly right: Expr;
  readonly stores: readonly Store[];
}

/** Running sum along the middle axis of `[outer, size, innerSize]`, contiguous input 0 to contiguous output 0. */
export interface Cumulative {
  readonly kind: "cumulative";
  readonly label: string;
  readonly inputs: readonly [DType];
  readonly outputs: readonly [DType];
  readonly outer: number;
  readonly size: number;
  readonly innerSize: number;
}

/**
 * Stable argsort along the last axis of `[rows, size]`: contiguous input 0 (f32, i32 or u32) to contiguous
 * i32 output 0. NaN sorts last in both directions; equal keys keep their order in both directions.
 */
export interface Sort {
  readonly kind: "sort";
  readonly label: string;
  readonly inputs: readonly [DType];
  readonly outputs: readonly ["i32"];
  readonly rows: number;
  readonly size: number;
  readonly descending: boolean;
}

/**
 * Output 0 = a copy of input 0 `[outer, size, innerSize]` in which, for every m, element
 * `[o, indices[o, m, i], i]` is set to (`set`: the last m wins) or increased by (`add`: in the order of m)
 * `updates[o, m, i]`. Input 1 = indices i32 `[outer, count, innerSize]`, input 2 = updates of the same
 * shape. An index outside 0 … size − 1 is dropped. All contiguous.
 */
export interface Scatter {
  readonly kind: "scatter";
  readonly label: string;
  readonly inputs: readonly [DType, "i32", DType];
  readonly outputs: readonly [DType];
  readonly outer: number;
  readonly size: number;
  readonly count: number;
  readonly innerSize: number;
  readonly mode: "set" | "add";
}

/** Any kernel. */
export type Kernel = Fold | Contraction | Cumulative | Sort | Scatter;

/** A buffer of a program: where it comes from and how many elements (of four bytes) it has. */
export interface ProgramBuffer {
  readonly length: number;
  readonly dtype: DType;
  /** `input k` and `output k` are given at each call; a temporary lives in slot k of the program's own memory. */
  readonly place: { readonly kind: "input" | "output" | "temporary"; readonly index: number };
}

/** One kernel with its buffers (indices into `Program.buffers`), in the order of the kernel's inputs/outputs. */
export interface Launch {
  readonly kernel: Kernel;
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/**
 * A compiled graph: launches in order. `slots[k]` = bytes of temporary slot k (slots are reused by
 * temporaries whose lifetimes do not overlap; a launch never writes a slot that it reads).
 */
export interface Program {
  readonly buffers: readonly ProgramBuffer[];
  readonly launches: readonly Launch[];
  readonly slots: readonly number[];
}

/** Number of points of an axis list. */
export function points(axes: readonly number[]): number {
  return axes.reduce((product, size) => product * size, 1);
}

/** A text that is equal for kernels that do the same work on other buffers: the key under which they are compiled once. */
export function kernelKey(kernel: Kernel): string {
  const { label: _, ...rest } = kernel;
  const ids = new Map<object, number>();
  // Shared sub-expressions are written once and referred to by number, so the key stays as small as the DAG.
  return JSON.stringify(rest, (_name, value) => {
    if (
      value !== null && typeof value === "object" && !Array.isArray(value) && "dtype" in value &&
      "kind" in value
    ) {
      const seen = ids.get(value);
      if (seen !== undefined) return `#${seen}`;
      ids.set(value, ids.size);
    }
    return typeof value === "number" && !Number.isFinite(value)
      ? String(value)
      : Object.is(value, -0)
      ? "-0"
      : value;
  });
}
