/**
 * How a fold runs: which axes are one loop, which loop the lanes run along, and what a chunk is.
 *
 * There are two schedules. **Columns**: the lanes run along a parallel axis, and each lane reduces for
 * itself; all maps, and reductions over an outer axis. **Rows**: one point at a time, and the lanes run along
 * the reduced axes; reductions, softmax and layer norm over contiguous rows. The cheaper by a count of vector
 * instructions is taken. Everything here depends on the kernel alone, so that results do not depend on the
 * number of threads.
 *
 * @module
 */
import { children, formsOf } from "../compiler/expression.ts";
import { type Affine, type Expr, type Fold, points } from "../compiler/kernel.ts";
import { shareEqual } from "../compiler/share.ts";
import { isIndexStage, sharedWalks } from "../compiler/walks.ts";
import { type Loop, mergeAxes, numberAxes, reachable } from "./expression_axes.ts";

/** The loops of a stage or a store inside a point. In the row schedule the lanes run along the last one. */
export interface InnerPlan {
  readonly loops: readonly Loop[];
  /** Written out once for each step, with constants for the axes. */
  readonly unrolled: boolean;
  /** Where a long sum is cut: loop number `loop` runs in blocks of `size` positions. */
  readonly block?: Block | undefined;
}

/** See `InnerPlan.block`. */
export interface Block {
  readonly loop: number;
  readonly size: number;
}

/**
 * Most f32 additions to an accumulator, after which it is added to a sum in float64 and begins at 0 again. So many
 * equal values are added with a relative error below 1e-6, whatever the length of the whole sum.
 */
const longestChain = 64;

/** A schedule of a fold. */
export interface FoldPlan {
  /** Parallel loops around everything, flattened into points. */
  readonly outer: readonly Loop[];
  /** The parallel loop along which the lanes run: the column schedule. */
  readonly lanes: Loop | undefined;
  /**
   * Small parallel loops that a row does at once, written out, because they share most of what they read:
   * the taps of a depthwise weight gradient.
   */
  readonly taps: readonly Loop[];
  /**
   * The outer loop of which a point takes `size` steps abreast: columns whose windows overlap, so that they
   * share what they read, or rows, so that one need not wait for the sum of another.
   */
  readonly abreast: Loop | undefined;
  readonly stages: readonly InnerPlan[];
  /** The numbers of the stages, those together that one walk computes: none needs the result of another. */
  readonly walks: readonly (readonly number[])[];
  readonly stores: readonly InnerPlan[];
  /** Values of a row that are dear and needed in more than one walk: kept in memory by the first of them. */
  readonly kept: readonly { readonly value: Expr; readonly walk: number; readonly at: Affine }[];
  /** Vectors that a step along the lanes takes at once. */
  readonly width: number;
  /** Points in a chunk, or (where that is 1) blocks of the lanes' loop that are a chunk each. */
  readonly pointsPerChunk: number;
  readonly blocks: number;
  readonly blockSize: number;
  readonly chunks: number;
}

/** Expressions up to this size are written for several vectors at once. */
export const largestWide = 24;

/** Vector instructions in a chunk, roughly: some microseconds. */
const chunkWork = 16384;

/** Vector instructions of evaluating the roots once, with the lanes along an axis (−1: along none). */
function cost(roots: readonly Expr[], axis: number): number {
  let sum = 0;
  for (const e of reachable(roots)) {
    if (e.kind === "load") sum += accessCost(e.at, axis) + (e.guards.length > 0 ? 0.5 : 0);
    else if (e.kind === "gather") sum += 12;
    else if (e.kind === "unary") sum += heavy.has(e.op) ? 20 : 1;
    else if (e.kind === "binary") sum += e.op === "pow" ? 100 : 1;
    else if (e.kind !== "constant") sum += 1;
  }
  return sum;
}

const heavy = new Set(["exp", "expm1", "log", "log1p", "tanh", "erf", "normalCdf", "sin", "cos", "tan"]);

/** Neighbouring lanes in one access, the same value for all, or one access for each lane. */
function accessCost(form: Affine, axis: number): number {
  const step = form.coefficients[axis] ?? 0;
  return step === 1 ? 1 : step === 0 ? 0.5 : 6;
}

/** Vectors along a loop; an incomplete one costs as much as three. */
function vectors(size: number): number {
  return Math.floor(size / 4) + (size % 4 ? 3 : 0);
}

/** Makes the schedule of a fold. */
export function planFold(kernel: Fold): FoldPlan {
  const { axes, stages, stores } = kernel;
  const roots = [...stages, ...stores].map(({ value }) => value);
  const forms = [...formsOf(...roots), ...stores.map(({ at }) => at)];
  const parallel = mergeAxes(numberAxes(axes, 0), forms);
  const inner = [
    ...stages.map((stage) => ({ roots: [stage.value], at: [], axes: stage.axes, stage })),
    ...stores.map((store) => ({ roots: [store.value], at: [store.at], axes: store.axes, stage: undefined })),
  ].map((part) => ({
    ...part,
    loops: mergeAxes(numberAxes(part.axes, axes.length), [...formsOf(...part.roots), ...part.at]),
  }));

  const total = points(axes);
  const costOfPart = (part: typeof inner[number], axis: number): number =>
    cost(part.roots, axis) + part.at.reduce((sum, at) => sum + Math.max(1, accessCost(at, axis)), 0) + 1;
  const columnWork = (lanes: Loop): number =>
    inner.reduce(
      (sum, part) => sum + points(part.axes) * vectors(lanes.size) * costOfPart(part, lanes.axis),
      12,
    ) * (total / lanes.size);
  const ordered = inner.map((part) => {
    // The lanes take the loop that is cheapest to walk; argMax and argMin need the order of the axes.
    const candidates = part.stage && isIndexStage(part.stage) ? part.loops.slice(-1) : part.loops;
    const work = (loop: Loop): number =>
      points(part.axes) * vectors(loop.size) / loop.size * costOfPart(part, loop.axis);
    const best = [...candidates].reverse().sort((a, b) => work(a) - work(b))[0];
    const loops = best ? [...part.loops.filter((loop) => loop !== best), best] : part.loops;
    const steps = points(part.axes) === 0 ? 0 : best ? work(best) : costOfPart(part, -1);
    return { loops, work: steps + (part.stage ? 25 : 2) };
  });
  const rowWork = (10 + ordered.reduce((sum, part) => sum + part.work, 0)) * total;

  const best =
    parallel.map((lanes) => ({ lanes, work: columnWork(lanes) })).sort((a, b) => a.work - b.work)[0];
  const byColumns = best !== undefined && best.work <= rowWork;
  const plans = inner.map((part, k): InnerPlan => {
    if (!byColumns) return { loops: ordered[k]!.loops, unrolled: false };
    const steps = points(part.axes);
    const size = reachable(part.roots).size;
    return { loops: part.loops, unrolled: steps <= 16 && steps * size <= 256 };
  });
  const lanes = byColumns ? best.lanes : undefined;
  const oneStage = stages.length === 1 && stores.every((store) => points(store.axes) === 1);
  const overlap = lanes && oneStage && plans[0]!.unrolled
    ? overlappingWindows(parallel.filter((loop) => loop !== lanes), plans[0]!, stages[0]!.value)
    : undefined;
  if (overlap) plans[0] = { loops: overlap.loops, unrolled: true };
  const stagePlans = plans.slice(0, stages.length);
  const walks = sharedWalks(stages, (first, next) => sameLoops(stagePlans[first]!, stagePlans[next]!));
  const isSmall = stores.every(({ value }) => reachable([value]).size <= largestWide);
  const oneWalk = (walks.length === 1 || (stages.length === 0 && isSmall)) &&
    stores.every((store) => points(store.axes) === 1);
  const taps = lanes || !oneStage ? [] : sharingTaps(parallel, stages[0]!.value);
  // A long reduction over an outer axis takes several neighbouring vectors, to use whole cache lines.
  const width = !lanes || (oneWalk && !stagePlans[0]?.unrolled) ? (stages.length > 2 ? 2 : 4) : 1;
  const outer = parallel.filter((loop) => loop !== lanes && !taps.includes(loop));
  const abreast = overlap ?? (lanes || taps.length > 0 ? undefined : rowsAbreast(outer, inner));
  const alongLanes = lanes ? 1 : 4 * (taps.length > 0 || abreast ? 1 : width);
  const together = lanes?.size ?? taps.reduce((product, { size }) => product * size, 1);
  return {
    outer: outer.map((loop) =>
      loop.axis === abreast?.axis ? { ...loop, size: loop.size / abreast.size } : loop
    ),
    lanes,
    taps,
    abreast,
    kept: lanes ? [] : keptValues(kernel, plans),
    stages: stagePlans.map((plan) => ({
      ...plan,
      block: plan.unrolled ? undefined : blockOf(plan, alongLanes),
    })),
    walks,
    stores: plans.slice(stages.length),
    width,
    ...chunking(total / (abreast?.size ?? 1), together, lanes !== undefined, byColumns ? best.work : rowWork),
  };
}

/** Where sums over these loops are cut, if they are long; a step of the last loop takes `lanes` positions. */
function blockOf({ loops }: InnerPlan, lanes: number): Block | undefined {
  let steps = 1;
  for (let k = loops.length - 1; k >= 0; k--) {
    const positions = k === loops.length - 1 ? lanes : 1;
    const own = Math.ceil(loops[k]!.size / positions);
    if (steps * own > longestChain) {
      const size = Math.max(1, Math.floor(longestChain / steps)) * positions;
      return { loop: k, size };
    }
    steps *= own;
  }
  return undefined;
}

/** Longest rows, in elements, that go abreast: the sum of a longer one is more exact in several accumulators. */
const longestAbreast = 32;

/** Several rows of the innermost loop. */
function rowsAbreast(
  outer: readonly Loop[],
  walks: readonly { readonly axes: readonly number[] }[],
): Loop | undefined {
  const loop = outer.at(-1);
  if (!loop || walks.some(({ axes }) => points(axes) > longestAbreast)) return undefined;
  const size = [4, 3, 5, 2].find((count) => loop.size % count === 0);
  return size === undefined ? undefined : { axis: loop.axis, size };
}

/**
 * The innermost parallel loop whose neighbouring steps read some of the same elements in an unrolled stage, with
 * the number of steps to take at once and the loops of the stage in the order in which they meet these soonest.
 */
function overlappingWindows(
  parallel: readonly Loop[],
  { loops }: InnerPlan,
  value: Expr,
): Loop & { readonly loops: readonly Loop[] } | undefined {
  const values = reachable([value]);
  const steps = loops.reduce((product, { size }) => product * size, 1);
  for (const { axis, size } of [...parallel].reverse()) {
    const count = [4, 3, 5, 2].find((count) => size % count === 0 && count * steps * values.size <= 512);
    if (count === undefined) continue;
    for (const e of values) {
      if (e.kind !== "load") continue;
      const step = e.at.coefficients[axis] ?? 0;
      const shared = loops.find((loop) => {
        const tap = e.at.coefficients[loop.axis] ?? 0;
        return step * tap > 0 && step % tap === 0 && step <= tap * (loop.size - 1);
      });
      if (shared) return { axis, size: count, loops: [...loops.filter((loop) => loop !== shared), shared] };
    }
  }
  return undefined;
}

/** The innermost parallel loops, at most 16 points, if something that the value reads is the same for them. */
function sharingTaps(parallel: readonly Loop[], value: Expr): Loop[] {
  const taps: Loop[] = [];
  for (let count = 1, k = parallel.length - 1; k > 0; k--) {
    count *= parallel[k]!.size;
    if (count <= 16) taps.unshift(parallel[k]!);
    else break;
  }
  const isShared = [...reachable([value])].some((e) =>
    e.kind === "load" && taps.every(({ axis }) => (e.at.coefficients[axis] ?? 0) === 0)
  );
  return isShared ? taps : [];
}

/** Longest row of a kept value, in elements: it should stay in the cache. */
const longestKept = 16384;

function keptValues(kernel: Fold, plans: readonly InnerPlan[]): FoldPlan["kept"][number][] {
  const walks = [...kernel.stages, ...kernel.stores];
  const isDear = (e: Expr): boolean => [...reachable([e])].some((x) => x.kind === "unary" && heavy.has(x.op));
  const kept: FoldPlan["kept"][number][] = [];
  walks.forEach(({ axes, value: root }, walk) => {
    if (points(axes) === 1 || points(axes) > longestKept) return;
    const known = reachable([root]);
    const later = walks.slice(walk + 1).filter((other) => String(other.axes) === String(axes));
    const { loops } = plans[walk]!;
    const coefficients = [...kernel.axes, ...axes].map((_, axis) => {
      const k = loops.findIndex((loop) => loop.axis === axis);
      return k < 0 ? 0 : loops.slice(k + 1).reduce((product, { size }) => product * size, 1);
    });
    const visit = (e: Expr): void => {
      if (kept.some(({ value }) => value === e) || !isDear(e)) return;
      const isInner = formsOf(e).some((form) =>
        form.coefficients.some((c, k) => c !== 0 && k >= kernel.axes.length)
      );
      if (known.has(e) && isInner) kept.push({ value: e, walk, at: { offset: 0, coefficients } });
      else children(e).forEach(visit);
    };
    for (const other of later) {
      if (sameLoops(plans[walk]!, plans[walks.indexOf(other)]!)) visit(other.value);
    }
  });
  return kept;
}

function sameLoops(a: InnerPlan, b: InnerPlan): boolean {
  return JSON.stringify(a.loops) === JSON.stringify(b.loops);
}

function chunking(
  total: number,
  together: number,
  divisible: boolean,
  work: number,
): Pick<FoldPlan, "pointsPerChunk" | "blocks" | "blockSize" | "chunks"> {
  const count = total / together;
  if (total === 0) return { pointsPerChunk: 1, blocks: 1, blockSize: together, chunks: 0 };
  const workOfPoint = work / count;
  const pointsPerChunk = Math.max(1, Math.floor(chunkWork / workOfPoint));
  // Blocks begin at cache lines.
  const wanted = Math.ceil(together * chunkWork / workOfPoint / 16) * 16;
  const blockSize = divisible ? Math.min(together, Math.max(16, wanted)) : together;
  const blocks = pointsPerChunk > 1 ? 1 : Math.ceil(together / blockSize);
  return {
    pointsPerChunk,
    blocks,
    blockSize: blocks === 1 ? together : blockSize,
    chunks: Math.ceil(count / pointsPerChunk) * blocks,
  };
}

/** The schedule for a reader. */
export function describeFold(kernel: Fold): string {
  const plan = planFold(shareEqual(kernel));
  const loopText = ({ axis, size }: Loop): string => `axis ${axis} < ${size}`;
  const innerText = (name: string, { loops, unrolled, block }: InnerPlan, alongLast: boolean): string => {
    const texts = loops.map((loop, k) =>
      loopText(loop) + (alongLast && k === loops.length - 1 ? " by 4 lanes" : "") +
      (k === block?.loop ? ` in blocks of ${block.size}` : "")
    );
    return `    ${name}: ${texts.join(", ") || "one step"}${
      unrolled && loops.length > 0 ? " (unrolled)" : ""
    }`;
  };
  const parts = [
    ...kernel.stages.map(({ combine }, k) => [`${combine} -> stage ${k}`, plan.stages[k]!] as const),
    ...kernel.stores.map(({ output }, k) => [`store to output ${output}`, plan.stores[k]!] as const),
  ];
  return [
    `${plan.chunks} chunks of ${plan.pointsPerChunk} points` +
    (plan.blocks > 1 ? `, ${plan.blocks} blocks of ${plan.blockSize} to a point` : ""),
    `  for each point: ${plan.outer.map(loopText).join(", ") || "only one"}`,
    ...(plan.lanes ? [`   for ${loopText(plan.lanes)} by ${plan.width} × 4 lanes`] : []),
    ...(plan.abreast ? [`   for ${plan.abreast.size} steps of axis ${plan.abreast.axis} abreast`] : []),
    ...(plan.taps.length > 0 ? [`   for all of ${plan.taps.map(loopText).join(", ")} at once`] : []),
    ...parts.map(([name, inner]) => innerText(name, inner, plan.lanes === undefined)),
  ].join("\n");
}
