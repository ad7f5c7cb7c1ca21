/**
 * Loops as one node: `scan` carries a state along the leading axis of a tree. Its derivative saves the carries
 * and computes the body again, so a long loop keeps one carry a turn and no more.
 *
 * @module
 */
import { add } from "../../ops/elementwise.ts";
import { zeros, zerosLike } from "../../ops/create.ts";
import { broadcastTo } from "../../ops/broadcast.ts";
import { flip, slice } from "../../ops/movement_basic.ts";
import { stack } from "../../ops/movement_assembly.ts";
import { moveAxis, squeeze } from "../../ops/movement_composed.ts";
import { formatShape, ShapeError, TraceError } from "../errors.ts";
import type { Aval, GraphWriter, Primitive } from "../primitive.ts";
import { defineTuple, makeTuple } from "../structure.ts";
import { describe, makePlaceholder, type Tensor } from "../tensor.ts";
import { batchBody, pushForwardBody, recomputedPullback } from "./checkpoint.ts";
import {
  closeOver,
  flattenResult,
  instantiate,
  nameOf,
  type NumberedBody,
  onlyTensorsOf,
} from "./tracing.ts";

interface ScanParams {
  /** From carries, slices and captures to carries and slices of the result. */
  readonly body: NumberedBody;
  readonly carries: number;
  readonly slices: number;
  readonly length: number;
}

/** The body of a loop on flat lists. */
type FlatBody = (carry: Tensor[], x: Tensor[]) => [carry: readonly Tensor[], y: readonly Tensor[]];

const scanCall: Primitive<ScanParams> = defineTuple<ScanParams>("scan", {
  outputs: ({ body, carries, length }): readonly Aval[] =>
    body.outputs.map((output, k) => ({
      shape: k < carries ? output.shape : [length, ...output.shape],
      dtype: output.dtype,
    })),
  vjp: (cotangents, { inputs, params }) => scanBackward(cotangents, inputs, params),
  jvp: (tangents, { inputs, params }) => scanForward(tangents, inputs, params),
  batch: (inputs, batched, { body, carries, slices, length }, size) => {
    const all = inputs.map((input, k) =>
      k >= carries + slices || batched[k] ? input : broadcastTo(input, [size, ...input.shape])
    );
    const flags = batched.map((flag, k) => flag || k < carries + slices);
    const captured = all.slice(carries + slices);
    const f: FlatBody = (carry, x) =>
      splitAt(batchBody(body, [...carry, ...x, ...captured], flags, size), carries);
    const xs = all.slice(carries, carries + slices).map((x) => moveAxis(x, 0, 1));
    const [last, ys] = scanFlat(f, all.slice(0, carries), xs, length, "scan");
    return [...last, ...ys.map((y) => moveAxis(y, 1, 0))];
  },
  expand: unroll,
});

function splitAt(list: readonly Tensor[], k: number): [Tensor[], Tensor[]] {
  return [list.slice(0, k), list.slice(k)];
}

function scanFlat(
  f: FlatBody,
  carry: readonly Tensor[],
  xs: readonly Tensor[],
  length: number,
  name: string,
): [Tensor[], Tensor[]] {
  const example = (x: Tensor): Aval => ({ shape: x.shape.slice(1), dtype: x.dtype });
  const { body, captures } = closeOver(
    (given) => f(...splitAt(given, carry.length)),
    [...carry, ...xs.map(example)],
    name,
    ([next, y]) => [...next, ...y],
  );
  carry.forEach((before, k) => {
    const after = body.outputs[k]!;
    if (before.shape.join() !== after.shape.join() || before.dtype !== after.dtype) {
      throw new ShapeError(
        `Cannot scan ${name}: carry ${k} is ${describe(before)} before a turn and ${
          describe(after)
        } after it`,
      );
    }
  });
  const params: ScanParams = { body, carries: carry.length, slices: xs.length, length };
  return splitAt(makeTuple(scanCall, [...carry, ...xs, ...captures], params), carry.length);
}

/** Writes the turns out one after another; equal kernels are compiled once. */
function unroll(
  graph: GraphWriter,
  inputs: readonly number[],
  { body, carries, slices, length }: ScanParams,
): number[] {
  const trace = { name: "scan", kind: "placeholder" as const, active: false };
  const whole = inputs.slice(carries, carries + slices).map((place) => ({
    place,
    tensor: makePlaceholder(graph.aval(place), trace),
  }));
  const ys: number[][] = body.outputs.slice(carries).map(() => []);
  let carry = inputs.slice(0, carries);
  for (let turn = 0; turn < length; turn++) {
    const x = whole.map(({ place, tensor }) => {
      const row = squeeze(slice(tensor, { starts: [turn], stops: [turn + 1] }), { axis: 0 });
      return graph.inline([row], new Map([[tensor, place]]))[0]!;
    });
    const given = [...carry, ...x, ...inputs.slice(carries + slices)];
    const results = graph.inline(
      body.outputs,
      new Map(body.parameters.map((parameter, k) => [parameter, given[k]!])),
    );
    carry = results.slice(0, carries);
    results.slice(carries).forEach((place, k) => ys[k]!.push(place));
  }
  const stacked = ys.map((places, k) => {
    if (length === 0) {
      const { shape, dtype } = body.outputs[carries + k]!;
      return graph.inline([zeros([0, ...shape], { dtype })], new Map())[0]!;
    }
    const rows = places.map((place) => makePlaceholder(graph.aval(place), trace));
    return graph.inline([stack(rows)], new Map(rows.map((row, k) => [row, places[k]!])))[0]!;
  });
  return [...carry, ...stacked];
}

/** A second loop, from the last turn to the first, over the saved carries. */
function scanBackward(
  cotangents: readonly (Tensor | undefined)[],
  inputs: readonly Tensor[],
  params: ScanParams,
): (Tensor | undefined)[] {
  const { body, carries, slices, length } = params;
  const [carry, xs, captured] = [
    inputs.slice(0, carries),
    inputs.slice(carries, carries + slices),
    inputs.slice(carries + slices),
  ];
  const forward: FlatBody = (now, x) => {
    const results = instantiate(body, [...now, ...x, ...captured]);
    return [results.slice(0, carries), now];
  };
  const [, saved] = scanFlat(forward, carry, xs, length, "scan");
  const outputs = scanCall.tuple!.outputs(params);
  const given = outputs.map((aval, k) => cotangents[k] ?? zeros(aval.shape, { dtype: aval.dtype }));
  const back: FlatBody = (state, x) => {
    const [flowing, sums] = splitAt(state, carries);
    const [xNow, rest] = splitAt(x, slices);
    const [carryNow, yNow] = splitAt(rest, carries);
    const used = [...carryNow, ...xNow, ...captured];
    const results = recomputedPullback(body, used, [...flowing, ...yNow]).map((c, k) =>
      c ?? zerosLike(used[k]!)
    );
    const next = [
      ...results.slice(0, carries),
      ...sums.map((sum, k) => add(sum, results[carries + slices + k]!)),
    ];
    return [next, results.slice(carries, carries + slices)];
  };
  const reversed = [...xs, ...saved, ...given.slice(carries)].map((x) => flip(x, { axis: 0 }));
  const [state, dxs] = scanFlat(
    back,
    [...given.slice(0, carries), ...captured.map((c) => zerosLike(c))],
    reversed,
    length,
    "the backward pass of scan",
  );
  return [...state.slice(0, carries), ...dxs.map((dx) => flip(dx, { axis: 0 })), ...state.slice(carries)];
}

/** A loop over values and tangents together. */
function scanForward(
  tangents: readonly (Tensor | undefined)[],
  inputs: readonly Tensor[],
  params: ScanParams,
): Tensor[] {
  const { body, carries, slices, length } = params;
  const directions = inputs.map((input, k) => tangents[k] ?? zerosLike(input));
  const part = (
    list: readonly Tensor[],
  ): [Tensor[], Tensor[], Tensor[]] => [
    list.slice(0, carries),
    list.slice(carries, carries + slices),
    list.slice(carries + slices),
  ];
  const [carry, xs, captured] = part(inputs);
  const [dCarry, dXs, dCaptured] = part(directions);
  const f: FlatBody = (state, x) => {
    const [now, dNow] = splitAt(state, carries);
    const [xNow, dxNow] = splitAt(x, slices);
    const used = [...now, ...xNow, ...captured];
    const results = instantiate(body, used);
    const pushed = pushForwardBody(body, used, [...dNow, ...dxNow, ...dCaptured]).map((t, k) =>
      t ?? zerosLike(results[k]!)
    );
    return [[...results.slice(0, carries), ...pushed.slice(0, carries)], pushed.slice(carries)];
  };
  const [state, ys] = scanFlat(f, [...carry, ...dCarry], [...xs, ...dXs], length, "scan");
  return [...state.slice(carries), ...ys];
}

/**
 * Calls `f(carry, x)` for every slice `x` of `xs` along axis 0, handing the carry on. `f` returns
 * `[carry, y]`; the result is the last carry and all `y` stacked along a new axis 0. In no turns the carry stays
 * as it is, and the stack is empty.
 *
 * @param f A synchronous function of two trees; the carry keeps its structure, shapes and dtypes.
 * @param init The first carry, a tree of tensors.
 * @param xs A tree of tensors with a common leading axis; `null` with `length` for none.
 * @param options `length`, if there is no `xs`.
 * @throws {ShapeError} If the carry changes its shape, or the leading axes differ.
 * @throws {RangeError} If the length is not a whole number, 0 or more.
 * @example
 * ```ts
 * import { add, mul, scan, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * type T = ReturnType<typeof tensor>;
 * const f = (sum: T, x: T): [T, T] => [add(sum, x), mul(sum, x)];
 * const [total, products] = scan(f, tensor(0), tensor([1, 2, 3]));
 * assertEquals(await total.item(), 6);
 * assertEquals(await products.toArray(), [0, 2, 9]);
 * ```
 */
export function scan<C, X, Y>(
  f: (carry: C, x: X) => readonly [C, Y],
  init: C,
  xs: X,
  options: { readonly length?: number } = {},
): [carry: C, ys: Y] {
  const name = nameOf(f);
  const varying = "what changes from turn to turn must be one";
  const carry = onlyTensorsOf(init, `scan ${name}`, "the carry", varying);
  const slices = xs === null || xs === undefined
    ? { tensors: [], paths: [], unflatten: () => xs }
    : onlyTensorsOf(xs, `scan ${name}`, "xs", varying);
  const length = options.length ?? slices.tensors[0]?.shape[0];
  if (length === undefined) {
    throw new TraceError(
      `Cannot scan ${name}: there is no xs with a leading axis; give the number of turns as length`,
    );
  }
  if (!Number.isInteger(length) || length < 0) {
    throw new RangeError(`Cannot scan ${name} in ${length} turns: a whole number, 0 or more, is required`);
  }
  slices.tensors.forEach((x, k) => {
    if (x.shape[0] !== length) {
      throw new ShapeError(
        `Cannot scan ${name}: xs${slices.paths[k] === "" ? "" : `.${slices.paths[k]}`} has shape ${
          formatShape(x.shape)
        }; its first axis must be ${length}`,
      );
    }
  });
  let shapeOfY: { unflatten: (tensors: readonly Tensor[]) => Y } | undefined;
  const flat: FlatBody = (now, x) => {
    const result = f(carry.unflatten(now), slices.unflatten(x) as X);
    if (!Array.isArray(result) || result.length !== 2) {
      throw new TraceError(`Cannot scan ${name}: it must return [carry, y]`);
    }
    const y = result[1] === null || result[1] === undefined
      ? { tensors: [], unflatten: () => result[1] as Y }
      : flattenResult(result[1] as Y, "y");
    shapeOfY = y;
    return [flattenResult(result[0] as C, "the carry").tensors, y.tensors];
  };
  const [last, ys] = scanFlat(flat, carry.tensors, slices.tensors, length, name);
  return [carry.unflatten(last), shapeOfY!.unflatten(ys)];
}
