/**
 * Constructors for the records of elementwise primitives: an operation is its scalar meaning, the dtypes it
 * takes and its slopes; everything else follows.
 *
 * @module
 */
import { applyBinary, applyUnary } from "../src/compiler/interpret.ts";
import type { BinaryOp, Expr, UnaryOp } from "../src/compiler/kernel.ts";
import type { DType } from "../src/dtype.ts";
import { definePrimitive, type Primitive, type Sample } from "../src/primitive.ts";
import { makeNode, type Tensor } from "../src/tensor.ts";
import { alignBatch, alignOperands, asTensor, requireDType, type TensorLike } from "./common.ts";
import { add } from "./elementwise_arithmetic.ts";

/** Least and greatest value. */
type Range = readonly [number, number];

/** An elementwise function of one tensor. */
export interface UnaryDefinition {
  /** The kernel IR's operation, or an expression with its float64 meaning. */
  readonly op: UnaryOp | { readonly expr: (x: Expr) => Expr; readonly reference: (x: number) => number };
  readonly dtypes: readonly DType[];
  /** The dtype of the result if it is not that of the operand. */
  readonly result?: DType;
  /** Rough cost in additions, default 1. */
  readonly cost?: number;
  /** t · f′(x), where y = f(x): the tangent, and the cotangent too. Absent: nothing flows. */
  readonly slope?: (t: Tensor, x: Tensor, y: Tensor) => Tensor;
  /** Range of the f32 values that the property tests try, default −2 … 2. */
  readonly domain?: Range;
}

/** Defines an elementwise primitive of one operand. */
export function defineUnary(name: string, definition: UnaryDefinition): Primitive {
  const { op, dtypes, result, cost = 1, slope, domain = [-2, 2] } = definition;
  const record: Primitive = definePrimitive<unknown>({
    name,
    infer: ([x]) => {
      requireDType(name, x!, dtypes);
      return { shape: x!.shape, dtype: result ?? x!.dtype };
    },
    ...(slope && {
      vjp: (cotangent, { inputs: [x], output }) => [slope(cotangent, x!, output)],
      jvp: ([tangent], { inputs: [x], output }) => slope(tangent!, x!, output),
    }),
    batch: ([x]) => makeNode(record, [x!], undefined),
    lowering: {
      kind: "elementwise",
      expr: ([x], _params, { dtype }) =>
        typeof op === "string" ? { kind: "unary", dtype, op, x: x! } : op.expr(x!),
      cost,
    },
    reference: ([x], _params, { dtype }) => ({
      shape: x!.shape,
      data: x!.data.map((value) =>
        typeof op === "string" ? applyUnary(op, value, dtype) : op.reference(value)
      ),
    }),
    samples: samplesOf(dtypes, [domain], [[-9, 9]]),
  });
  return record;
}

/** One of the two addends of a binary operation's derivative: t · ∂f/∂a or t · ∂f/∂b, where y = f(a, b). */
export type PartialSlope = (t: Tensor, a: Tensor, b: Tensor, y: Tensor) => Tensor;

/** An elementwise function of two tensors. */
export interface BinaryDefinition {
  readonly op: BinaryOp;
  readonly dtypes: readonly DType[];
  /** The dtype of the result if it is not that of the operands. */
  readonly result?: DType;
  /** Rough cost in additions, default 1. */
  readonly cost?: number;
  /** Whether code for it is another one where an operand is this constant. */
  readonly readsConstant?: (value: number) => boolean;
  /** The derivative in either operand. Absent: nothing flows. */
  readonly slopes?: readonly [PartialSlope, PartialSlope];
  /** Ranges of the f32 values that the property tests try, default −2 … 2. */
  readonly domains?: readonly [Range, Range];
  /** Ranges of the integers that the property tests try, default −9 … 9. */
  readonly integerDomains?: readonly [Range, Range];
}

/** Defines an elementwise primitive of two operands of one dtype and shape. */
export function defineBinary(name: string, definition: BinaryDefinition): Primitive {
  const { op, dtypes, result, cost = 1, slopes, domains = [[-2, 2], [-2, 2]] } = definition;
  const { integerDomains = [[-9, 9], [-9, 9]], readsConstant } = definition;
  const record: Primitive = definePrimitive<unknown>({
    name,
    infer: ([a]) => {
      requireDType(name, a!, dtypes);
      return { shape: a!.shape, dtype: result ?? a!.dtype };
    },
    ...(slopes && {
      vjp: (cotangent, { inputs: [a, b], output }) => slopes.map((slope) => slope(cotangent, a!, b!, output)),
      jvp: (tangents, { inputs: [a, b], output }) =>
        slopes.map((slope, k) => tangents[k] && slope(tangents[k], a!, b!, output)).reduce((sum, term) =>
          sum && term ? add(sum, term) : sum ?? term
        ),
    }),
    batch: (inputs, batched, _params, size) => makeNode(record, alignBatch(inputs, batched, size), undefined),
    lowering: {
      kind: "elementwise",
      expr: ([a, b], _params, { dtype }) => ({ kind: "binary", dtype, op, a: a!, b: b! }),
      cost,
    },
    // Comparisons mean the same for all dtypes, so that of the result does for all.
    reference: ([a, b], _params, { dtype }) => ({
      shape: a!.shape,
      data: a!.data.map((value, k) => applyBinary(op, value, b!.data[k]!, dtype)),
    }),
    readsConstant,
    samples: samplesOf(dtypes, domains, integerDomains),
  });
  return record;
}

/** Calls a unary primitive on a tensor or number. */
export function callUnary(op: Primitive, x: TensorLike): Tensor {
  return makeNode(op, [asTensor(op.name, x)], undefined);
}

/** Calls a binary primitive on operands that broadcast. */
export function callBinary(op: Primitive, a: TensorLike, b: TensorLike): Tensor {
  return makeNode(op, alignOperands(op.name, [a, b]), undefined);
}

/** Samples of every dtype; of f32 in awkward shapes. */
function samplesOf(
  dtypes: readonly DType[],
  floats: readonly Range[],
  integers: readonly Range[],
): Sample<unknown>[] {
  const range = (dtype: DType, k: number): Range => {
    if (dtype === "bool") return [0, 1];
    const [low, high] = (dtype === "f32" ? floats : integers)[k]!;
    return [dtype === "u32" ? Math.max(0, low) : low, high];
  };
  return dtypes.flatMap((dtype) =>
    (dtype === "f32" ? [[], [0, 3], [1], [2, 3, 5]] : [[7]]).map((shape) => ({
      inputs: floats.map((_, k) => ({ shape, dtype, low: range(dtype, k)[0], high: range(dtype, k)[1] })),
      params: undefined,
    }))
  );
}
