/**
 * The one sum of products behind `einsum` and the convolutions: every axis of both operands is read at an
 * affine form of named axes. Operations are written out into it after differentiation and batching, so it has
 * no such rules of its own.
 *
 * @module
 */
import type { Affine, Guard } from "../src/compiler/kernel.ts";
import {
  type Aval,
  type ContractionForms,
  type ContractionPlan,
  definePrimitive,
  type FormAlgebra,
  type OperandPlan,
  type Primitive,
  type ReferenceArray,
} from "../src/primitive.ts";
import { contiguousStrides } from "../src/compiler/affine.ts";
import { forEachPosition } from "../src/compiler/interpret.ts";
import { makeNode, type Tensor } from "../src/tensor.ts";
import { sizeOf } from "./common.ts";
import { zeros } from "./create.ts";

/** The four kinds of axes: in both operands and the result, in the left and the result, in the right and the result, summed. */
export type AxisList = "batch" | "rows" | "columns" | "inner";

/** One axis of a contraction. */
export interface AxisName {
  readonly list: AxisList;
  readonly index: number;
}

/** Where an operand is read along one of its axes: offset + Σ factor · axis; outside the operand it is zero. */
export interface Coordinate {
  readonly offset: number;
  readonly terms: readonly (AxisName & { readonly factor: number })[];
}

/** Sizes of all axes, and how operands and result use them. */
export interface ContractionParams extends Readonly<Record<AxisList, readonly number[]>> {
  readonly left: readonly Coordinate[];
  readonly right: readonly Coordinate[];
  readonly output: readonly (AxisName & { readonly list: Exclude<AxisList, "inner"> })[];
}

/** The coordinate that is an axis itself, or a multiple of it. */
export function along(list: AxisList, index: number, factor = 1): Coordinate {
  return { offset: 0, terms: [{ list, index, factor }] };
}

/** The sum of two coordinates, moved by `offset`. */
export function plus(a: Coordinate, b: Coordinate, offset = 0): Coordinate {
  return { offset: a.offset + b.offset + offset, terms: [...a.terms, ...b.terms] };
}

/** A sum of products in which every element of the operands stands for itself: matrix products. */
export const contraction: Primitive<ContractionParams> = defineContraction("contraction");
/** A sum of products that reads elements of an operand again at every tap: convolutions. */
export const convolution: Primitive<ContractionParams> = defineContraction("convolution");

/** Calls a contraction; a sum of no products is zeros, which no kernel needs to compute. */
export function sumOfProducts(
  op: Primitive<ContractionParams>,
  left: Tensor,
  right: Tensor,
  params: ContractionParams,
): Tensor {
  if (sizeOf(params.inner) > 0) return makeNode(op, [left, right], params);
  return zeros(params.output.map(({ list, index }) => params[list][index]!));
}

function defineContraction(name: string): Primitive<ContractionParams> {
  return definePrimitive<ContractionParams>({
    name,
    infer: (_inputs, params) => ({
      shape: params.output.map(({ list, index }) => params[list][index]!),
      dtype: "f32",
    }),
    batch: () => {
      throw new TypeError(`Cannot batch ${name}: the operation that it is written out from is batched`);
    },
    lowering: { kind: "contraction", plan },
    reference,
    samples: [],
  });
}

function plan(inputs: readonly Aval[], params: ContractionParams): ContractionPlan {
  const { batch, rows, columns, inner, output } = params;
  const operand =
    (input: number, coordinates: readonly Coordinate[]) =>
    (lists: ContractionForms, algebra: FormAlgebra): OperandPlan => {
      const forms = coordinates.map(({ offset, terms }): Affine =>
        algebra.shift(
          algebra.add(
            algebra.constant(0),
            ...terms.map(({ list, index, factor }) => algebra.scale(lists[list][index]!, factor)),
          ),
          offset,
        )
      );
      const guards = forms.map((form, axis): Guard => ({ form, size: inputs[input]!.shape[axis]! }));
      return { input, forms, guards, fill: 0 };
    };
  return {
    batch,
    rows,
    columns,
    inner,
    output,
    left: operand(0, params.left),
    right: operand(1, params.right),
  };
}

const lists: readonly AxisList[] = ["batch", "rows", "columns", "inner"];

function reference(
  [a, b]: readonly ReferenceArray[],
  params: ContractionParams,
  { shape }: Aval,
): ReferenceArray {
  const sizes = lists.flatMap((list) => params[list]);
  const place = ({ list, index }: AxisName): number =>
    lists.slice(0, lists.indexOf(list)).reduce((sum, before) => sum + params[before].length, index);
  const reader = (array: ReferenceArray, coordinates: readonly Coordinate[]) => {
    const strides = contiguousStrides(array.shape);
    const steps = coordinates.map(({ offset, terms }) => ({
      offset,
      terms: terms.map((term) => ({ axis: place(term), factor: term.factor })),
    }));
    return (position: readonly number[]): number => {
      let address = 0;
      for (const [axis, { offset, terms }] of steps.entries()) {
        const at = terms.reduce((sum, term) => sum + term.factor * position[term.axis]!, offset);
        if (at < 0 || at >= array.shape[axis]!) return 0;
        address += at * strides[axis]!;
      }
      return array.data[address]!;
    };
  };
  const [left, right] = [reader(a!, params.left), reader(b!, params.right)];
  const outer = params.output.map(place);
  const strides = contiguousStrides(shape);
  const data = new Float64Array(sizeOf(shape));
  forEachPosition(sizes, (position) => {
    const address = outer.reduce((sum, axis, k) => sum + position[axis]! * strides[k]!, 0);
    data[address]! += left(position) * right(position);
  });
  return { shape, data };
}
