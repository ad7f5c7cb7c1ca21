/**
 * Values at which arithmetic likes to go wrong, calls of every elementwise operation on all pairs of them, and the
 * comparison with the references.
 */
import type { DType } from "../../src/dtype.ts";
import { buildGraph } from "../../src/graph.ts";
import type { Primitive, ReferenceArray } from "../../src/primitive.ts";
import { interpretNode } from "../../src/reference.ts";
import { makeNode, type Tensor } from "../../src/tensor.ts";
import { leastNormal } from "./accuracy.ts";
import { operations } from "./cases.ts";
import { leafOf } from "./check.ts";

/** Special values of every dtype. */
export const specials: Readonly<Record<DType, readonly number[]>> = {
  f32: [
    ...[0, 1, Infinity, 1e-45, 1e-40, leastNormal, 3.4028234663852886e38, 2 ** 24 - 1, 2 ** 24, 2 ** 24 + 2],
    ...[0.5, 1.5, 2, 2.5, 3, 10, 100, 1e-20, 1e20, 0.1, 2 ** 31, 2 ** 32, 1 - 2 ** -24, 1 + 2 ** -23],
  ].flatMap((x) => [Math.fround(x), -Math.fround(x)]).concat(NaN),
  i32: [0, 1, 2, 3, 7, 31, 32, 33, 46341, 2 ** 24 + 1, 2147483647].flatMap((x) => [x, -x]).concat(
    -2147483648,
  ),
  u32: [0, 1, 2, 3, 7, 31, 32, 33, 65536, 2 ** 24 + 1, 2 ** 31 - 1, 2 ** 31, 4294967040, 4294967295],
  bool: [0, 1],
};

/** An operation with operands of certain dtypes. */
export interface SpecialCall {
  readonly name: string;
  readonly dtypes: readonly DType[];
  readonly call: (inputs: readonly Tensor[]) => Tensor;
  readonly isDifferentiable: boolean;
}

/** Every elementwise operation, for every choice of dtypes that its samples have. */
export function specialCalls(): SpecialCall[] {
  const isElementwise = ({ lowering }: Primitive): boolean => lowering.kind === "elementwise";
  return operations().filter(isElementwise).flatMap((op) => {
    const kinds = new Map(op.samples.map(({ inputs, params }) => {
      const dtypes = inputs.map(({ dtype = "f32" }) => dtype);
      return [JSON.stringify([dtypes, params]), { dtypes, params }];
    }));
    return [...kinds.values()].map(({ dtypes, params }) => ({
      name: `${op.name} of ${dtypes}${params === undefined ? "" : ` ${JSON.stringify(params)}`}`,
      dtypes,
      call: (inputs: readonly Tensor[]) => makeNode(op, inputs, params),
      isDifferentiable: op.vjp !== undefined,
    }));
  });
}

/** Values of operands, equal places of which are every combination of special values. */
export function combinations(dtypes: readonly DType[]): number[][] {
  // Three operands of many values would be many combinations: the later ones take every third value.
  const values = dtypes.map((dtype, k) =>
    k < 2 || dtype === "bool" ? specials[dtype] : specials[dtype].filter((_, j) => j % 3 === 0)
  );
  const count = values.reduce((product, { length }) => product * length, 1);
  let repeats = count;
  return values.map((own) => {
    repeats /= own.length;
    return Array.from({ length: count }, (_, at) => own[Math.floor(at / repeats) % own.length]!);
  });
}

/** Tensors of operands. */
export function tensorsOf(dtypes: readonly DType[], values: readonly (readonly number[])[]): Tensor[] {
  return dtypes.map((dtype, k) => leafOf([values[k]!.length], dtype, values[k]!));
}

/** Values of tensors by the float64 references, rounded to f32 after every operation as a device does. */
export function roundedReferenceOf(outputs: readonly Tensor[]): ReferenceArray[] {
  const { graph, leaves } = buildGraph(outputs);
  const values: ReferenceArray[] = [];
  graph.inputs.forEach((place, k) => {
    values[place] = { shape: leaves[k]!.shape, data: Float64Array.from(leaves[k]!.host!) };
  });
  graph.nodes.forEach((node, place) => {
    if (node.op === undefined) return;
    const inputs = node.inputs.map((k) => values[k]!);
    const { shape, data } = interpretNode(node.op, inputs, node.params, node);
    values[place] = { shape, data: node.dtype === "f32" ? data.map(Math.fround) : data };
  });
  return graph.outputs.map((place) => values[place]!);
}

/**
 * Whether a result is the expected one: the same NaN, infinity or zero with its sign, else near it. Slopes are made of
 * several operations, of whose zeros no one promises the sign.
 */
function isRight(actual: number, expected: number, { dtype, isSlope = false, absolute = 0 }: Kind): boolean {
  if (Object.is(actual, expected) || (isSlope && actual === expected)) return true;
  if (dtype !== "f32" || !Number.isFinite(expected) || expected === 0) return false;
  // What is below the normal numbers may be 0; what is just above them may be just below.
  if (Math.abs(expected) < leastNormal && actual === 0) return true;
  const relative = isSlope ? 5e-5 : 1e-6;
  return Math.abs(actual - expected) <= absolute + relative * Math.max(Math.abs(expected), leastNormal);
}

/** What a result is. */
interface Kind {
  readonly dtype: DType;
  readonly isSlope?: boolean;
  /** An error that is allowed anywhere. */
  readonly absolute?: number;
}

/** The first results that are not right, in words. */
export function wrongResults(
  name: string,
  operands: readonly (readonly number[])[],
  actual: ArrayLike<number>,
  expected: ReferenceArray,
  kind: Kind,
): string[] {
  const text = (x: number): string => Object.is(x, -0) ? "-0" : String(x);
  const wrong: string[] = [];
  expected.data.forEach((wanted, k) => {
    const got = actual[k]!;
    if (isRight(got, wanted, kind)) return;
    const at = operands.map((values) => text(values[k]!)).join(", ");
    wrong.push(`${name}: (${at}) gives ${text(got)}, not ${text(wanted)}`);
  });
  return wrong.length > 8 ? [...wrong.slice(0, 8), `and ${wrong.length - 8} more`] : wrong;
}
