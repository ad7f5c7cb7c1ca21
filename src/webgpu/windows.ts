/**
 * Kernels over buffers that are larger than what a kernel may see at once: the kernel is cut along one axis
 * into pieces, each of which sees only a window of every buffer.
 *
 * @module
 */
import { forEachExpr, mapExpr, mapForms } from "../compiler/expression.ts";
import type { Affine, Contraction, Expr, Fold, Kernel, Store } from "../compiler/kernel.ts";
import { DeviceError } from "../errors.ts";

/** A part of a buffer, in elements. */
export interface Window {
  readonly first: number;
  readonly length: number;
}

/** A kernel with the part of each buffer that it sees. */
export interface Piece {
  readonly kernel: Kernel;
  readonly inputs: readonly Window[];
  readonly outputs: readonly Window[];
}

/** Lengths of a kernel's buffers, in elements. */
export interface Lengths {
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
}

/** `binding`: most elements that can be bound; `alignment`: of which the start of a window is a multiple. */
export interface WindowLimits {
  readonly binding: number;
  readonly alignment: number;
}

/** The pieces of a kernel: itself, if every buffer fits, or what it reads and writes of each. */
export function windows(kernel: Kernel, lengths: Lengths, limits: WindowLimits): Piece[] {
  const all = (list: readonly number[]): Window[] => list.map((length) => ({ first: 0, length }));
  const largest = Math.max(0, ...lengths.inputs, ...lengths.outputs);
  if (largest <= limits.binding) {
    return [{ kernel, inputs: all(lengths.inputs), outputs: all(lengths.outputs) }];
  }
  if (kernel.kind === "fold" || kernel.kind === "contraction") {
    const whole = place(kernel, lengths, limits);
    if (whole !== undefined) return [whole];
    for (let axis = 0; axis < axesOf(kernel).length; axis++) {
      const pieces = cutAlong(kernel, axis, lengths, limits);
      if (pieces !== undefined) return pieces;
    }
  }
  throw new DeviceError(
    `Cannot run ${kernel.label}: it uses a buffer of ${
      4 * largest
    } bytes, this adapter shows a kernel at most ${
      4 * limits.binding
    } bytes of a buffer at once, and the kernel cannot be cut into parts that need no more; use smaller tensors or the cpu device`,
    kernel.label,
  );
}

/** Axes along which a kernel can be cut, in the order of the coefficients. */
function axesOf(kernel: Fold | Contraction): readonly number[] {
  return kernel.kind === "fold" ? kernel.axes : [...kernel.batch, ...kernel.rows, ...kernel.columns];
}

/** As few pieces as possible along an axis; undefined if even single steps need too much. */
function cutAlong(
  kernel: Fold | Contraction,
  axis: number,
  lengths: Lengths,
  limits: WindowLimits,
): Piece[] | undefined {
  const size = axesOf(kernel)[axis]!;
  for (let count = 2; count < 2 * size; count *= 2) {
    const length = Math.ceil(size / Math.min(count, size));
    const pieces: Piece[] = [];
    for (let start = 0; start < size; start += length) {
      const part = partOf(kernel, axis, start, Math.min(length, size - start));
      const piece = place(part, lengths, limits);
      if (piece === undefined) break;
      pieces.push(piece);
    }
    if (pieces.length === Math.ceil(size / length)) return pieces;
  }
  return undefined;
}

/** The kernel for `length` steps of an axis from `start` on. */
function partOf(kernel: Fold | Contraction, axis: number, start: number, length: number): Fold | Contraction {
  const move = ({ offset, coefficients }: Affine): Affine => ({
    offset: offset + (coefficients[axis] ?? 0) * start,
    coefficients,
  });
  const shorter = (axes: readonly number[], first: number): number[] =>
    axes.map((size, k) => first + k === axis ? length : size);
  const moved = mapKernel(
    kernel,
    (expr) => mapForms(expr, move),
    (store) => ({ ...store, at: move(store.at) }),
  );
  if (moved.kind === "fold") return { ...moved, axes: shorter(moved.axes, 0) };
  const [b, r] = [moved.batch.length, moved.batch.length + moved.rows.length];
  return {
    ...moved,
    batch: shorter(moved.batch, 0),
    rows: shorter(moved.rows, b),
    columns: shorter(moved.columns, r),
  };
}

function mapKernel(
  kernel: Fold | Contraction,
  replace: (expr: Expr) => Expr,
  replaceStore: (store: Store) => Store,
): Fold | Contraction {
  const memo = new Map<Expr, Expr>();
  const go = (expr: Expr): Expr => mapExpr(expr, replace, memo);
  const stores = kernel.stores.map((store) => replaceStore({ ...store, value: go(store.value) }));
  return kernel.kind === "fold"
    ? { ...kernel, stages: kernel.stages.map((stage) => ({ ...stage, value: go(stage.value) })), stores }
    : { ...kernel, left: go(kernel.left), right: go(kernel.right), stores };
}

/** Finds the window of every buffer and makes addresses relative to it; undefined if one is too large. */
function place(kernel: Fold | Contraction, lengths: Lengths, limits: WindowLimits): Piece | undefined {
  const reads = lengths.inputs.map((): [number, number] => [Infinity, -Infinity]);
  const writes = lengths.outputs.map((): [number, number] => [Infinity, -Infinity]);
  const widen = (range: [number, number], [low, high]: readonly [number, number]): void => {
    range[0] = Math.min(range[0], low);
    range[1] = Math.max(range[1], high);
  };
  const visit = (root: Expr, axes: readonly number[]): void =>
    forEachExpr(root, (expr) => {
      if (expr.kind !== "load" && expr.kind !== "gather") return;
      const [low, high] = rangeOf(expr.at, axes);
      const reach = expr.kind === "gather" ? (expr.size - 1) * expr.stride : 0;
      widen(reads[expr.input]!, [low + Math.min(0, reach), high + Math.max(0, reach)]);
    });
  const outer = axesOf(kernel);
  if (kernel.kind === "fold") {
    for (const stage of kernel.stages) visit(stage.value, [...outer, ...stage.axes]);
  } else {
    for (const side of [kernel.left, kernel.right]) visit(side, [...outer, ...kernel.inner]);
  }
  for (const store of kernel.stores) {
    const axes = [...outer, ...(kernel.kind === "fold" ? store.axes : kernel.inner)];
    visit(store.value, axes);
    widen(writes[store.output]!, rangeOf(store.at, axes));
  }
  const inputs = reads.map((range, k) => windowOf(range, lengths.inputs[k]!, limits));
  const outputs = writes.map((range, k) => windowOf(range, lengths.outputs[k]!, limits));
  if ([...inputs, ...outputs].some((window) => window.length > limits.binding)) return undefined;
  const relative = (form: Affine, window: Window): Affine => ({
    ...form,
    offset: form.offset - window.first,
  });
  return {
    kernel: mapKernel(
      kernel,
      (expr) =>
        expr.kind === "load" || expr.kind === "gather"
          ? { ...expr, at: relative(expr.at, inputs[expr.input]!) }
          : expr,
      (store) => ({ ...store, at: relative(store.at, outputs[store.output]!) }),
    ),
    inputs,
    outputs,
  };
}

function rangeOf({ offset, coefficients }: Affine, axes: readonly number[]): readonly [number, number] {
  let [low, high] = [offset, offset];
  axes.forEach((size, k) => {
    const reach = (coefficients[k] ?? 0) * (size - 1);
    if (reach > 0) high += reach;
    else low += reach;
  });
  return [low, high];
}

/** Guards keep reads inside the buffer, so the range is cut off at its ends. */
function windowOf(
  [low, high]: readonly [number, number],
  length: number,
  { alignment }: WindowLimits,
): Window {
  if (low > high || high < 0 || low >= length) return { first: 0, length: Math.min(length, 4) };
  const first = Math.floor(Math.max(low, 0) / alignment) * alignment;
  return { first, length: Math.min(high, length - 1) + 1 - first };
}
