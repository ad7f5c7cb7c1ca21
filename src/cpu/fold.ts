/**
 * Writes a fold as one function `run(begin, end, args)` over a range of chunks: see fold_plan.ts for the
 * schedules and fold_lanes.ts for the loop along the lanes.
 *
 * @module
 */
import { type Expr, type Fold, points, type Stage } from "../compiler/kernel.ts";
import type { Local, Operand } from "./assembler.ts";
import { startKernel } from "./codegen_module.ts";
import { Emitter, type KeptValue } from "./expression.ts";
import type { AxisValue, FinishedValue } from "./expression_scopes.ts";
import { shareEqual } from "./expression_sharing.ts";
import { emitLanes } from "./fold_lanes.ts";
import type { Loop } from "./expression_axes.ts";
import { type FoldPlan, type InnerPlan, planFold } from "./fold_plan.ts";
import { Reduction } from "./fold_reduction.ts";
import { aligned, type Features, type GeneratedKernel } from "./protocol.ts";

/** Writes a fold. */
export function generateFold(unshared: Fold, features: Features): GeneratedKernel {
  const kernel = shareEqual(unshared);
  const plan = planFold(kernel);
  const { module, vector, begin, end, workspace, addresses } = startKernel(
    features,
    kernel.inputs.length + kernel.outputs.length,
  );
  const buffers = {
    inputs: addresses.slice(0, kernel.inputs.length),
    outputs: addresses.slice(kernel.inputs.length),
  };
  const walks = [...kernel.stages, ...kernel.stores];
  let workspaceBytes = 0;
  const kept = plan.kept.map(({ value, walk, at }): [Expr, KeptValue] => {
    const base = vector.f.get(workspace).i32(workspaceBytes).op("i32.add").keep("i32");
    workspaceBytes += aligned(4 * points(walks[walk]!.axes) + 16); // the last vector may be incomplete
    return [value, { base, at, ready: false }];
  });
  // Stores without axes of their own are written at one place.
  const [apart, together] = [
    [...kernel.stages, ...kernel.stores.filter(({ axes }) => points(axes) !== 1)],
    kernel.stores.filter(({ axes }) => points(axes) === 1),
  ];
  const emitter = new Emitter(
    vector,
    buffers,
    ...apart.map(({ value }) => [value]),
    together.map(({ value }) => value),
  );
  // Where all walks are along the same row, none of its values is above its maximum.
  if (apart.every(({ axes }) => String(axes) === String(apart[0]!.axes))) {
    kernel.stages.forEach(({ combine, value }, k) => combine === "max" && emitter.maxima.set(k, value));
  }
  for (const [value, place] of kept) emitter.kept.set(value, place);
  if (plan.chunks > 0) new FoldWriter(kernel, plan, emitter).write(begin, end);
  return { bytes: module.bytes(), phases: [plan.chunks], scratchBytes: 0, workspaceBytes };
}

class FoldWriter {
  constructor(readonly kernel: Fold, readonly plan: FoldPlan, readonly emitter: Emitter) {}

  /** The loop over items: points, or blocks of the lanes' loop where a point has several. */
  write(begin: Local, end: Local): void {
    const { f } = this.emitter;
    const { plan } = this;
    const item = f.local("i32");
    if (plan.blocks > 1) {
      f.range(item, begin, end, 1, () => {
        const point = f.get(item).i32(plan.blocks).op("i32.div_u").keep("i32");
        const start = f.get(item).i32(plan.blocks).op("i32.rem_u").i32(plan.blockSize).op("i32.mul").keep(
          "i32",
        );
        const stop = f.get(start).i32(plan.blockSize).op("i32.add").keep("i32");
        f.get(stop).i32(plan.lanes!.size).get(stop).i32(plan.lanes!.size).op("i32.lt_s").op("select").set(
          stop,
        );
        this.#point(point, start, stop);
      });
      return;
    }
    const count = plan.outer.reduce((product, { size }) => product * size, 1);
    const first = f.get(begin).i32(plan.pointsPerChunk).op("i32.mul").keep("i32");
    const last = f.get(end).i32(plan.pointsPerChunk).op("i32.mul").keep("i32");
    f.get(last).i32(count).get(last).i32(count).op("i32.lt_s").op("select").set(last);
    f.range(item, first, last, 1, () => this.#point(item, 0, plan.lanes?.size ?? 1));
  }

  #point(point: Local, start: Operand, stop: Operand): void {
    const { f } = this.emitter;
    const axes = new Map<number, AxisValue>();
    let rest = point;
    for (const { axis, size } of [...this.plan.outer].reverse()) {
      const isFirst = axes.size === this.plan.outer.length - 1;
      const local = isFirst ? rest : f.get(rest).i32(size).op("i32.rem_u").keep("i32");
      axes.set(axis, this.#outerPosition(local, axis, size));
      if (!isFirst) rest = f.get(rest).i32(size).op("i32.div_u").keep("i32");
    }
    this.emitter.scope({ axes, loop: true }, () => {
      if (this.plan.lanes) this.#columns(this.plan.lanes, start, stop);
      else this.#rows(0);
    });
  }

  /** Where an outer axis stands, given the step of its loop. */
  #outerPosition(step: Local, axis: number, size: number): AxisValue {
    const { overlap } = this.plan;
    if (axis !== overlap?.axis) return { local: step, size };
    const local = this.emitter.f.get(step).i32(overlap.size).op("i32.mul").keep("i32");
    return { local, size: size * overlap.size };
  }

  // Columns: each lane is a point of its own.

  #columns(loop: Loop, start: Operand, stop: Operand): void {
    const { kernel, plan } = this;
    emitLanes(this.emitter, {
      loop,
      start,
      stop,
      width: plan.width,
      roots: [...kernel.stages, ...kernel.stores].map(({ value }) => value),
      inner: [...plan.stages, ...plan.stores].flatMap(({ loops }) => loops),
      unrolled: plan.stages.flatMap(({ loops, unrolled }) => unrolled ? loops : []),
      overlap: plan.overlap,
      body: (vectors, position) => {
        if (plan.overlap) this.#overlapping(plan.overlap);
        else if (vectors === 1) this.#column(0);
        else {
          const { axis, size } = loop;
          this.#together(vectors, (k) => [axis, { local: position, plus: 4 * k, lanes: true, size }]);
        }
      },
    });
  }

  /** Stages from number `stage` on, then stores, for one vector. */
  #column(stage: number): void {
    const { kernel, plan, emitter } = this;
    const next = kernel.stages[stage];
    if (!next) {
      kernel.stores.forEach((store, k) =>
        this.#inside(store.axes, plan.stores[k]!, () => emitter.store(store))
      );
      return;
    }
    const reduction = new Reduction(emitter, next, kernel.axes.length, 1);
    reduction.start();
    this.#inside(next.axes, plan.stages[stage]!, () => reduction.step(0, undefined));
    const finished: FinishedValue = { local: reduction.lanes(0), lanes: true };
    emitter.scope({ reduced: new Map([[stage, finished]]) }, () => this.#column(stage + 1));
  }

  /** The one stage and the stores, for several steps of an outer loop, which share what they read. */
  #overlapping({ axis, size: count }: Loop): void {
    const { local, size } = this.emitter.scopes.findAxis(axis)!;
    this.emitter.sharing(() => this.#together(count, (k) => [axis, { local: local!, plus: k, size: size! }]));
  }

  /** The one stage and the stores, for several positions of one axis. */
  #together(count: number, at: (k: number) => [axis: number, AxisValue]): void {
    const { kernel, plan, emitter } = this;
    const each = (body: (k: number) => void, reduced?: (k: number) => FinishedValue): void => {
      for (let k = 0; k < count; k++) {
        const axes = new Map([at(k)]);
        emitter.scope({ axes, ...(reduced ? { reduced: new Map([[0, reduced(k)]]) } : {}) }, () => body(k));
      }
    };
    const reduction = new Reduction(emitter, kernel.stages[0]!, kernel.axes.length, count);
    reduction.start();
    this.#inside(kernel.stages[0]!.axes, plan.stages[0]!, () => each((k) => reduction.step(k, undefined)));
    each(
      () => kernel.stores.forEach((store) => emitter.store(store)),
      (k) => ({ local: reduction.lanes(k), lanes: true }),
    );
  }

  /** Runs `body` for every step of inner axes. */
  #inside(axes: readonly number[], inner: InnerPlan, body: () => void): void {
    if (points(axes) === 0) return;
    this.#loops(inner.loops, inner.unrolled, body);
  }

  #loops(loops: readonly Loop[], unrolled: boolean, body: () => void): void {
    const { f } = this.emitter;
    const [loop, ...inner] = loops;
    if (!loop) return body();
    const { axis, size } = loop;
    if (unrolled) {
      for (let plus = 0; plus < size; plus++) {
        this.emitter.scope({ axes: new Map([[axis, { plus }]]) }, () => this.#loops(inner, true, body));
      }
    } else {
      const local = f.local("i32");
      f.range(local, 0, size, 1, () => {
        this.emitter.scope({ axes: new Map([[axis, { local, size }]]), loop: true }, () => {
          this.#loops(inner, false, body);
        });
      });
    }
  }

  // Rows: one point, with the lanes along its inner axes.

  /** Stages from number `stage` on, then stores. */
  #rows(stage: number): void {
    const { kernel, plan, emitter } = this;
    const next = kernel.stages[stage];
    if (!next) {
      kernel.stores.forEach((store, k) => {
        this.#along(store.axes, plan.stores[k]!, [store.value], 1, () => emitter.store(store));
        this.#finishWalk(kernel.stages.length + k);
      });
      return;
    }
    if (plan.taps.length > 0) return this.#tappedRow(next);
    const keepsOrder = next.combine === "argMax" || next.combine === "argMin";
    const width = keepsOrder ? 1 : plan.width;
    const reduction = new Reduction(emitter, next, kernel.axes.length, width);
    reduction.start();
    this.#along(next.axes, plan.stages[stage]!, [next.value], width, (k, mask) => reduction.step(k, mask));
    this.#finishWalk(stage);
    reduction.merge();
    const finished: FinishedValue = { local: reduction.across(0), lanes: false };
    emitter.scope({ reduced: new Map([[stage, finished]]) }, () => this.#rows(stage + 1));
  }

  /** What this walk has kept is read from now on. */
  #finishWalk(number: number): void {
    for (const { value, walk } of this.plan.kept) {
      if (walk === number) this.emitter.kept.get(value)!.ready = true;
    }
  }

  /** The one stage and the stores for all points of the taps at once, which share what they read. */
  #tappedRow(stage: Stage): void {
    const { kernel, plan, emitter } = this;
    const taps = plan.taps.reduce((product, { size }) => product * size, 1);
    const reduction = new Reduction(emitter, stage, kernel.axes.length, taps);
    const each = (body: (tap: number) => void): void => {
      let tap = 0;
      this.#loops(plan.taps, true, () => body(tap++));
    };
    reduction.start();
    this.#along(
      stage.axes,
      plan.stages[0]!,
      [stage.value],
      1,
      (_, mask) => each((tap) => reduction.step(tap, mask)),
    );
    each((tap) => {
      const finished: FinishedValue = { local: reduction.across(tap), lanes: false };
      emitter.scope(
        { reduced: new Map([[0, finished]]) },
        () => kernel.stores.forEach((store) => emitter.store(store)),
      );
    });
  }

  /** Runs `body` for every vector of inner axes; once, where there are none. */
  #along(
    axes: readonly number[],
    inner: InnerPlan,
    roots: readonly Expr[],
    width: number,
    body: (k: number, mask: Local | undefined) => void,
  ): void {
    const { emitter } = this;
    const loop = inner.loops.at(-1);
    if (points(axes) === 0) return;
    if (!loop) return this.#single(body);
    this.#loops(inner.loops.slice(0, -1), false, () => {
      emitLanes(emitter, {
        loop,
        start: 0,
        stop: loop.size,
        width,
        roots,
        inner: this.plan.taps,
        unrolled: this.plan.taps,
        body: (vectors, position) => {
          for (let k = 0; k < vectors; k++) {
            const mask = emitter.scopes.exact?.mask;
            if (vectors === 1) body(0, mask);
            else {
              const at = { local: position, plus: 4 * k, lanes: true, size: loop.size };
              emitter.scope({ axes: new Map([[loop.axis, at]]) }, () => body(k, mask));
            }
          }
        },
      });
    });
  }

  /** A stage of one step, or a store of one element: the value is in all lanes, and lane 0 counts. */
  #single(body: (k: number, mask: Local | undefined) => void): void {
    const { f } = this.emitter;
    body(0, f.i32x4(-1, 0, 0, 0).keep());
  }
}
