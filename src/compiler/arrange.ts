/**
 * Small operands in the order in which they are read again and again: a depthwise convolution over tokens walks
 * along channels, and its filters `[channels, 3, 3]` have channels nine elements apart. A kernel puts those of each
 * filter side by side once, and all that read it (images of several batches, the gradient, which reads it backwards)
 * read four channels at a time.
 *
 * @module
 */
import { contiguousStrides } from "./affine.ts";
import { forEachExpr, type Load, loadsOf, mapExpr } from "./expression.ts";
import type { Fused } from "./fuse.ts";
import { type Affine, type Expr, type Fold, points } from "./kernel.ts";
import type { Launches } from "./plan.ts";
import { mostBuffers } from "./rows.ts";

/** Elements must be read this many times each to be worth a kernel. */
const fewestReads = 8;
/** An operand of more elements is not small. */
const mostElements = 2 ** 18;

/** What a load reads of a buffer, and how its own axes step through that. */
interface Arrangement {
  /** Sizes: those axes of the stage that the load steps along, then the axis that is to lie side by side. */
  readonly sizes: readonly number[];
  /** Where an element is in the buffer; no step is negative. */
  readonly from: Affine;
  /** Where the load finds it in the new order. */
  readonly at: Affine;
}

/** Adds the kernels that bring operands into order, each before its first reader. `first` = a number no buffer has yet. */
export function arrangeOperands({ launches, ...given }: Launches, first: number): Launches {
  const extra = new Map(given.extra);
  const known = new Map<string, number>();
  const arranged = launches.flatMap((launch): Fused[] => {
    const { kernel } = launch;
    if (kernel.kind !== "fold") return [launch];
    const copies: Fused[] = [];
    const [inputs, dtypes] = [[...launch.inputs], [...kernel.inputs]];
    const replaced = new Map<Expr, Load>();
    for (const [load, arrangement] of loadsToArrange(kernel)) {
      const source = launch.inputs[load.input]!;
      const key = JSON.stringify([source, arrangement.sizes, arrangement.from]);
      let buffer = known.get(key);
      if (buffer === undefined) {
        known.set(key, buffer = first + extra.size);
        extra.set(buffer, { length: points(arrangement.sizes), dtype: load.dtype });
        copies.push({ kernel: copy(load, arrangement), inputs: [source], outputs: [buffer] });
      }
      let input = inputs.indexOf(buffer);
      if (input < 0) {
        input = inputs.push(buffer) - 1;
        dtypes.push(load.dtype);
      }
      replaced.set(load, { ...load, input, at: arrangement.at });
    }
    if (replaced.size === 0) return [launch];
    const reader = withLoads({ ...launch, inputs }, { ...kernel, inputs: dtypes }, replaced);
    if (reader.inputs.length + reader.outputs.length <= mostBuffers) return [...copies, reader];
    // It reads the operand in its old order too, and has no room for both.
    for (const { outputs: [buffer] } of copies) extra.delete(buffer!);
    known.forEach((buffer, key) => !extra.has(buffer) && known.delete(key));
    return [launch];
  });
  return { launches: arranged, extra };
}

/** The loads of a fold's stages that step through a small operand in another order than their neighbours. */
function loadsToArrange(kernel: Fold): (readonly [Load, Arrangement])[] {
  const n = kernel.axes.length;
  const beside = kernel.axes.findLastIndex((size, axis) =>
    size % 4 === 0 && kernel.stores.every(({ at }) => at.coefficients[axis] === 1)
  );
  if (beside < 0 || points(kernel.axes) < fewestReads * kernel.axes[beside]!) return [];
  return kernel.stages.flatMap(({ axes, value }) => {
    const loads = loadsOf(value);
    if (!loads.some(({ at }) => at.coefficients[beside] === 1)) return [];
    return loads.flatMap((load) => {
      const step = load.at.coefficients[beside] ?? 0;
      const isOwn = kernel.axes.every((_, k) => k === beside || (load.at.coefficients[k] ?? 0) === 0);
      if (step <= 1 || !isOwn || load.guards.length > 0 || load.dtype === "bool") return [];
      const arrangement = arrange(load.at, { beside, size: kernel.axes[beside]!, first: n, axes });
      return points(arrangement.sizes) <= mostElements ? [[load, arrangement] as const] : [];
    });
  });
}

/** `beside` = the axis of the fold that is to lie side by side; the stage's `axes` begin at `first`. */
function arrange(
  { offset, coefficients }: Affine,
  { beside, size, first, axes }: { beside: number; size: number; first: number; axes: readonly number[] },
): Arrangement {
  const used = axes.map((_, k) => k).filter((k) => (coefficients[first + k] ?? 0) !== 0);
  const steps = used.map((k) => coefficients[first + k]!);
  const sizes = [...used.map((k) => axes[k]!), size];
  // What is read backwards is kept forwards.
  const ends = (own: readonly number[]): number =>
    steps.reduce((sum, step, k) => step < 0 ? sum + own[k]! * (sizes[k]! - 1) : sum, 0);
  const strides = contiguousStrides(sizes);
  const at = coefficients.map(() => 0);
  at[beside] = 1;
  used.forEach((k, j) => at[first + k] = Math.sign(steps[j]!) * strides[j]!);
  return {
    sizes,
    from: { offset: offset + ends(steps), coefficients: [...steps.map(Math.abs), coefficients[beside]!] },
    at: { offset: ends(strides), coefficients: at },
  };
}

/** The kernel that brings an operand into order. */
function copy(load: Load, { sizes, from }: Arrangement): Fold {
  return {
    kind: "fold",
    label: `arranged[${sizes}]`,
    inputs: [load.dtype],
    outputs: [load.dtype],
    axes: sizes,
    stages: [],
    stores: [{
      output: 0,
      at: { offset: 0, coefficients: contiguousStrides(sizes) },
      axes: [],
      value: { ...load, input: 0, at: from },
    }],
  };
}

/** A launch whose stages read other loads, without the inputs that nothing reads any more. */
function withLoads({ inputs, outputs }: Fused, kernel: Fold, replaced: ReadonlyMap<Expr, Load>): Fused {
  const stages = kernel.stages.map((stage) => ({
    ...stage,
    value: mapExpr(stage.value, (expr) => replaced.get(expr) ?? expr),
  }));
  const read = new Set<number>();
  const note = (expr: Expr): void => {
    if (expr.kind === "load" || expr.kind === "gather") read.add(expr.input);
  };
  for (const { value } of [...stages, ...kernel.stores]) forEachExpr(value, note);
  const kept = inputs.map((_, k) => k).filter((k) => read.has(k));
  const renumber = (value: Expr): Expr =>
    mapExpr(
      value,
      (expr) =>
        expr.kind === "load" || expr.kind === "gather" ? { ...expr, input: kept.indexOf(expr.input) } : expr,
    );
  return {
    kernel: {
      ...kernel,
      inputs: kept.map((k) => kernel.inputs[k]!),
      stages: stages.map((stage) => ({ ...stage, value: renumber(stage.value) })),
      stores: kernel.stores.map((store) => ({ ...store, value: renumber(store.value) })),
    },
    inputs: kept.map((k) => inputs[k]!),
    outputs,
  };
}
