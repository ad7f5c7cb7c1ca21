/**
 * Einstein summation: axes have letters, equal letters go together, letters that the result does not have are
 * summed. Every matrix product of the library is a call of `contract`, the form for two tensors, whose
 * derivatives are contractions again, with the letters in other places.
 *
 * @module
 */
import { formatShape, ShapeError } from "../src/errors.ts";
import { definePrimitive, type Primitive } from "../src/primitive.ts";
import { forEachPosition } from "../src/compiler/interpret.ts";
import { describe, makeNode, type Tensor } from "../src/tensor.ts";
import { elementAt, fillArray, requireDType } from "./common.ts";
import { along, type AxisList, type AxisName, contraction, sumOfProducts } from "./contraction.ts";
import { broadcastTo } from "./broadcast.ts";
import { iota } from "./create.ts";
import { add, equal, mul, where } from "./elementwise.ts";
import { reshape, transpose } from "./movement.ts";
import { sum } from "./reduce.ts";

/**
 * Letters of the axes of both operands and of the result. No letter twice in one of them; every letter in at
 * least two of them.
 */
interface ContractParams {
  readonly left: string;
  readonly right: string;
  readonly output: string;
}

const contracting: Primitive<ContractParams> = definePrimitive<ContractParams>({
  name: "contract",
  infer: ([a, b], params) => {
    for (const x of [a!, b!]) requireDType("contract", x, ["f32"]);
    const sizes = labelSizes([a!, b!], params);
    return { shape: [...params.output].map((label) => sizes.get(label)!), dtype: "f32" };
  },
  // With letters, the gradient of Σ a·b in a is Σ cotangent·b, written to a's letters.
  vjp: (cotangent, { inputs: [a, b], params: { left, right, output } }) => [
    contract(cotangent, b!, output, right, left),
    contract(cotangent, a!, output, left, right),
  ],
  jvp: ([da, db], { inputs: [a, b], params: { left, right, output } }) => {
    const first = da && contract(da, b!, left, right, output);
    const second = db && contract(a!, db, left, right, output);
    return first && second ? add(first, second) : first ?? second;
  },
  batch: ([a, b], [isLeft, isRight], { left, right, output }) => {
    const label = freshLabel(left + right + output);
    return contract(a!, b!, isLeft ? label + left : left, isRight ? label + right : right, label + output);
  },
  lowering: { kind: "composition", define: ([a, b], params) => writeOut(a!, b!, params) },
  reference: ([a, b], params, { shape }) => {
    const sizes = labelSizes([a!, b!], params);
    const summed = [...sizes.keys()].filter((label) => !params.output.includes(label));
    const all = params.output + summed.join("");
    const pick = (labels: string, position: readonly number[]): number[] =>
      [...labels].map((label) => position[all.indexOf(label)]!);
    return fillArray(shape, (outer) => {
      let total = 0;
      forEachPosition(summed.map((label) => sizes.get(label)!), (inner) => {
        const position = [...outer, ...inner];
        total += elementAt(a!, pick(params.left, position)) * elementAt(b!, pick(params.right, position));
      });
      return total;
    });
  },
  samples: [
    { inputs: [{ shape: [3, 4] }, { shape: [4, 5] }], params: { left: "ik", right: "kj", output: "ij" } },
    {
      inputs: [{ shape: [2, 5, 3] }, { shape: [2, 3, 7] }],
      params: { left: "bik", right: "bkj", output: "bij" },
    },
    {
      inputs: [{ shape: [2, 3, 4] }, { shape: [5, 3] }],
      params: { left: "ncp", right: "oc", output: "nop" },
    },
    {
      inputs: [{ shape: [2, 3, 4, 2] }, { shape: [3, 5, 2] }],
      params: { left: "bknm", right: "kpm", output: "npb" },
    },
    { inputs: [{ shape: [4, 3] }, { shape: [3] }], params: { left: "ik", right: "k", output: "i" } },
    { inputs: [{ shape: [4] }, { shape: [4] }], params: { left: "k", right: "k", output: "" } },
    { inputs: [{ shape: [3] }, { shape: [2] }], params: { left: "i", right: "j", output: "ji" } },
    { inputs: [{ shape: [1, 1] }, { shape: [1, 1] }], params: { left: "ik", right: "kj", output: "ij" } },
    { inputs: [{ shape: [2, 0] }, { shape: [0, 3] }], params: { left: "ik", right: "kj", output: "ij" } },
    { inputs: [{ shape: [0, 2] }, { shape: [2, 3] }], params: { left: "ik", right: "kj", output: "ij" } },
  ],
});

/**
 * Σ a·b over the letters that `output` lacks. Letters are as in `einsum`, with no letter twice in one tensor
 * and every letter in at least two of the three.
 *
 * @internal
 */
export function contract(a: Tensor, b: Tensor, left: string, right: string, output: string): Tensor {
  return makeNode(contracting, [a, b], { left, right, output });
}

/** A letter that is not in use. */
function freshLabel(used: string): string {
  let code = 97;
  while (used.includes(String.fromCharCode(code))) code++;
  return String.fromCharCode(code);
}

function labelSizes(
  shapes: readonly { shape: readonly number[] }[],
  params: ContractParams,
): Map<string, number> {
  const sizes = new Map<string, number>();
  [params.left, params.right].forEach((labels, k) => {
    [...labels].forEach((label, axis) => {
      const size = shapes[k]!.shape[axis]!;
      const known = sizes.get(label) ?? size;
      if (known !== size) {
        throw new ShapeError(
          `Cannot contract shapes ${formatShape(shapes[0]!.shape)} (${params.left}) and ${
            formatShape(shapes[1]!.shape)
          } (${params.right}): ${label} is ${known} and ${size}`,
        );
      }
      sizes.set(label, size);
    });
  });
  return sizes;
}

/** A contraction kernel, or, where it would have no rows, columns or inner axes, a product and a sum. */
function writeOut(a: Tensor, b: Tensor, params: ContractParams): Tensor {
  const { left, right, output } = params;
  const sizes = labelSizes([a, b], params);
  const count = (labels: readonly string[]): number => labels.reduce((n, label) => n * sizes.get(label)!, 1);
  // The result's last axis should be a column, so that rows of the result are written in one piece.
  const last = [...output].findLast((label) => left.includes(label) !== right.includes(label));
  if (last !== undefined && left.includes(last)) {
    return writeOut(b, a, { left: right, right: left, output });
  }
  const inBoth = (label: string): boolean => left.includes(label) && right.includes(label);
  const labels: Record<AxisList, string[]> = {
    batch: [...output].filter(inBoth),
    rows: [...output].filter((label) => !right.includes(label)),
    columns: [...output].filter((label) => !left.includes(label)),
    inner: [...right].filter((label) => inBoth(label) && !output.includes(label)),
  };
  if (count(labels.rows) <= 1 || count(labels.columns) <= 1 || labels.inner.length === 0) {
    const all = output + labels.inner.join("");
    const aligned = ([[a, left], [b, right]] as const).map(([x, own]) =>
      alignTo(x, own, all, [...all].map((label) => sizes.get(label)!))
    );
    const axis = labels.inner.map((_, k) => output.length + k);
    const product = mul(aligned[0]!, aligned[1]!);
    return axis.length === 0 ? product : sum(product, { axis });
  }
  const name = (label: string): AxisName => {
    const list = (["batch", "rows", "columns", "inner"] as const).find((l) => labels[l].includes(label))!;
    return { list, index: labels[list].indexOf(label) };
  };
  const axes = (list: AxisList): number[] => labels[list].map((label) => sizes.get(label)!);
  return sumOfProducts(contraction, a, b, {
    batch: axes("batch"),
    rows: axes("rows"),
    columns: axes("columns"),
    inner: axes("inner"),
    left: [...left].map((label) => along(name(label).list, name(label).index)),
    right: [...right].map((label) => along(name(label).list, name(label).index)),
    output: [...output].map((label) => name(label) as AxisName & { list: "batch" | "rows" | "columns" }),
  });
}

/** `x`, whose axes have the letters `own`, with all axes of `all`. */
function alignTo(x: Tensor, own: string, all: string, shape: readonly number[]): Tensor {
  const kept = [...all].filter((label) => own.includes(label));
  const ordered = transpose(x, { axes: kept.map((label) => own.indexOf(label)) });
  return broadcastTo(
    reshape(ordered, shape.map((size, k) => own.includes(all[k]!) ? size : 1)),
    shape,
  );
}

/**
 * Einstein summation over f32 tensors, as in NumPy: `einsum("ij,jk->ik", a, b)` is the matrix product.
 *
 * Letters name axes, in the order of the operands' axes. A letter that is not to the right of `->` is summed
 * over; a letter twice in one operand takes its diagonal; `...` stands for any further axes, which must be
 * equal in all operands that have them and come out where the right side has `...`. Without `->` the result
 * has `...` and then the letters that occur once, in alphabetical order. Operands are multiplied from left to right.
 * Differentiable, any number of times.
 *
 * @throws {TypeError} If the equation does not fit the number of operands or names an unknown axis in the result.
 * @throws {ShapeError} If the letters do not fit the shapes.
 * @see {@link https://numpy.org/doc/stable/reference/generated/numpy.einsum.html}
 * @example
 * ```ts
 * import { einsum, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const a = tensor([[1, 2], [3, 4]]);
 * assertEquals(await einsum("ij->j", a).toArray(), [4, 6]);
 * assertEquals(await einsum("ij,kj->ik", a, a).toArray(), [[5, 11], [11, 25]]);
 * ```
 */
export function einsum(equation: string, ...operands: Tensor[]): Tensor {
  const { inputs, output } = parse(equation, operands);
  let [total, labels] = ownLabels(operands[0]!, inputs[0]!, inputs.slice(1).join("") + output);
  for (let k = 1; k < operands.length; k++) {
    const later = inputs.slice(k + 1).join("") + output;
    const [next, nextLabels] = ownLabels(operands[k]!, inputs[k]!, labels + later);
    // What only this pair has and nothing later needs is summed; what is left keeps the order of appearance.
    const kept = [...new Set(labels + nextLabels)].filter((label) => later.includes(label)).join("");
    const last = k === operands.length - 1;
    total = contract(total, next, labels, nextLabels, last ? output : kept);
    labels = last ? output : kept;
  }
  return transpose(total, { axes: [...output].map((label) => labels.indexOf(label)) });
}

/** Diagonals taken, and axes summed that nothing else has. */
function ownLabels(x: Tensor, labels: string, elsewhere: string): [Tensor, string] {
  requireDType("einsum over", x, ["f32"]);
  for (let axis = labels.length - 1; axis > 0; axis--) {
    const first = labels.indexOf(labels[axis]!);
    if (first === axis) continue;
    const isDiagonal = equal(iotaAlong(x, first), iotaAlong(x, axis));
    x = sum(where(isDiagonal, x, 0), { axis });
    labels = labels.slice(0, axis) + labels.slice(axis + 1);
  }
  const axis = [...labels].flatMap((label, k) => elsewhere.includes(label) ? [] : [k]);
  if (axis.length > 0) x = sum(x, { axis });
  return [x, [...labels].filter((label) => elsewhere.includes(label)).join("")];
}

function iotaAlong(x: Tensor, axis: number): Tensor {
  return iota(x.shape, { axis });
}

function parse(equation: string, operands: readonly Tensor[]): { inputs: string[]; output: string } {
  const fail = (what: string): never => {
    throw new TypeError(
      `Cannot einsum "${equation}" over ${operands.map(describe).join(", ") || "nothing"}: ${what}`,
    );
  };
  const [left, right, ...rest] = equation.replaceAll(" ", "").split("->");
  const inputs = left!.split(",");
  if (rest.length > 0) fail("one -> at most is allowed");
  if (inputs.length !== operands.length) {
    fail(`it has ${inputs.length} operands, but ${operands.length} tensors are given`);
  }
  for (const term of [...inputs, right ?? ""]) {
    if (!/^[a-zA-Z]*(\.\.\.)?[a-zA-Z]*$/.test(term)) fail(`"${term}" may have letters and one ... only`);
  }
  // Axes behind "..." get labels that no letter has, counted from the last axis.
  let extra = 0;
  const expand = (term: string, count: number): string =>
    term.replace("...", String.fromCharCode(...Array.from({ length: count }, (_, k) => 0x3b1 + count - k)));
  const expanded = inputs.map((term, k) => {
    const letters = term.replace("...", "").length;
    const hidden = operands[k]!.ndim - letters;
    if (hidden < 0 || (hidden > 0 && !term.includes("..."))) {
      fail(`"${term}" has ${letters} letters for a tensor of ${operands[k]!.ndim} axes`);
    }
    extra = Math.max(extra, hidden);
    return expand(term, hidden);
  });
  const sizes = new Map<string, number>();
  expanded.forEach((labels, k) =>
    [...labels].forEach((label, axis) => {
      const size = operands[k]!.shape[axis]!;
      const known = sizes.get(label) ?? size;
      if (known !== size) {
        const name = /[a-zA-Z]/.test(label) ? label : "an axis of ...";
        throw new ShapeError(
          `Cannot einsum "${equation}" over shapes ${
            operands.map((x) => formatShape(x.shape)).join(" and ")
          }: ${name} is ${known} and ${size}`,
        );
      }
      sizes.set(label, size);
    })
  );
  const all = expanded.join("");
  const once = [...all].filter((label) =>
    all.indexOf(label) === all.lastIndexOf(label) && /[a-zA-Z]/.test(label)
  );
  const output = expand(right ?? `...${once.sort().join("")}`, extra);
  for (const [k, label] of [...output].entries()) {
    if (!all.includes(label)) fail(`${label} in the result is in no operand`);
    if (output.indexOf(label) !== k) fail(`${label} is twice in the result`);
  }
  return { inputs: expanded, output };
}
