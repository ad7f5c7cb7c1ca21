/**
 * Writes a fold as one function `run(begin, end, args)` over a range of chunks: see fold_plan.ts for the
 * schedules and fold_lanes.ts for the loop along the lanes.
 *
 * @module
 */
import { type Expr, type Fold, points, type Stage, type Store } from "../compiler/kernel.ts";
import { shareEqual } from "../compiler/share.ts";
import { isIndexStage } from "../compiler/walks.ts";
import type { Local, Operand } from "./assembler.ts";
import { startKernel } from "./codegen_module.ts";
import { Emitter, type KeptValue } from "./expression.ts";
import type { AxisValue, FinishedValue } from "./expression_scopes.ts";
import { emitLanes } from "./fold_lanes.ts";
import { type Loop, reachable } from "./expression_axes.ts";
import { type FoldPlan, type InnerPlan, largestWide, planFold } from "./fold_plan.ts";
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
    const bytes = aligned(4 * points(walks[walk]!.axes) + 16); // the last vector may be incomplete
    workspaceBytes += bytes * (plan.abreast?.size ?? 1);
    return [value, { base, at, stride: bytes / 4, ready: false }];
  });
  // Stores without axes of their own are written at one place.
  const [together, apart] = [true, false].map((isOne) =>
    kernel.stores.filter(({ axes }) => (points(axes) === 1) === isOne)
  ) as [Store[], Store[]];
  const emitter = new Emitter(
    vector,
    buffers,
    ...plan.walks.map((stages) => stages.map((stage) => kernel.stages[stage]!.value)),
    ...apart.map(({ value }) => [value]),
    together.map(({ value }) => value),
  );
  // Where all walks are along the same row, none of its values is above its maximum.
  if ([...kernel.stages, ...apart].every(({ axes }) => String(axes) === String(kernel.stages[0]?.axes))) {
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
      else this.#rows(0, Array.from({ length: this.plan.abreast?.size ?? 1 }, () => new Map()));
    });
  }

  /** Where an outer axis stands, given the step of its loop. */
  #outerPosition(step: Local, axis: number, size: number): AxisValue {
    const { abreast } = this.plan;
    if (axis !== abreast?.axis) return { local: step, size };
    const local = this.emitter.f.get(step).i32(abreast.size).op("i32.mul").keep("i32");
    return { local, size: size * abreast.size };
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
      abreast: plan.abreast,
      body: (vectors, position) => {
        if (plan.abreast) this.#overlapping(plan.abreast);
        else if (vectors === 1) this.#column(0);
        else {
          const { axis, size } = loop;
          this.#together(vectors, (k) => [axis, { local: position, plus: 4 * k, lanes: true, size }]);
        }
      },
    });
  }

  /** Walks from number `walk` on, then stores, for one vector. */
  #column(walk: number): void {
    const { kernel, plan, emitter } = this;
    const stages = plan.walks[walk];
    if (!stages) {
      kernel.stores.forEach((store, k) =>
        this.#inside(store.axes, plan.stores[k]!, () => emitter.store(store))
      );
      return;
    }
    const inner = plan.stages[stages[0]!]!;
    const reductions = this.#reductions(stages, { results: 1, width: 1, inner });
    this.#inside(kernel.stages[stages[0]!]!.axes, inner, () => {
      for (const reduction of reductions.values()) reduction.step(0, 0, undefined);
    }, reductions);
    emitter.scope({ reduced: this.#lanesOf(reductions, 0) }, () => this.#column(walk + 1));
  }

  /** Started accumulators of stages that have the loops `inner` in common. */
  #reductions(
    stages: readonly number[],
    { results, width, inner }: { results: number; width: number; inner: InnerPlan | undefined },
  ): Map<number, Reduction> {
    const { kernel, emitter } = this;
    const options = { results, width, inBlocks: inner?.block !== undefined };
    return new Map(stages.map((stage) => {
      const reduction = new Reduction(emitter, kernel.stages[stage]!, kernel.axes.length, options);
      reduction.start();
      return [stage, reduction];
    }));
  }

  /** Result number k of every stage, one in each lane. */
  #lanesOf(reductions: ReadonlyMap<number, Reduction>, k: number): Map<number, FinishedValue> {
    return new Map([...reductions].map(([stage, reduction]) => [
      stage,
      { local: reduction.lanes(k), lanes: true },
    ]));
  }

  /** The one walk and the stores, for several steps of an outer loop, which share what they read. */
  #overlapping({ axis, size: count }: Loop): void {
    this.emitter.sharing(() => this.#together(count, (k) => [axis, this.#stepAbreast(axis, k)]));
  }

  /** Where an outer axis stands for one of several steps. */
  #stepAbreast(axis: number, step: number): AxisValue {
    const { local, size } = this.emitter.scopes.findAxis(axis)!;
    return { local: local!, plus: step, size: size! };
  }

  /** The one walk and the stores, for several positions of one axis. */
  #together(count: number, at: (k: number) => [axis: number, AxisValue]): void {
    const { kernel, plan, emitter } = this;
    const each = (body: (k: number) => void, reduced?: (k: number) => Map<number, FinishedValue>): void => {
      for (let k = 0; k < count; k++) {
        const axes = new Map([at(k)]);
        emitter.scope({ axes, ...(reduced ? { reduced: reduced(k) } : {}) }, () => body(k));
      }
    };
    const inner = plan.stages[0];
    const reductions = this.#reductions(plan.walks[0] ?? [], { results: count, width: 1, inner });
    const [stage] = kernel.stages;
    if (stage) {
      this.#inside(stage.axes, inner!, () =>
        each((k) => {
          for (const reduction of reductions.values()) reduction.step(k, 0, undefined);
        }), reductions);
    }
    each(
      () => kernel.stores.forEach((store) => emitter.store(store)),
      (k) => this.#lanesOf(reductions, k),
    );
  }

  /** Runs `body` for every step of inner axes, of which reductions (if any) take a value in each. */
  #inside(
    axes: readonly number[],
    inner: InnerPlan,
    body: () => void,
    reductions: ReadonlyMap<number, Reduction> = new Map(),
  ): void {
    if (points(axes) === 0) return;
    if (inner.unrolled) this.#unrolled(inner.loops, body);
    else this.#inBlocks(inner, reductions, (loops, start, stop) => this.#loops(loops, start, stop, body));
  }

  /** Writes `body` once for each step of loops. */
  #unrolled(loops: readonly Loop[], body: () => void): void {
    const [loop, ...inner] = loops;
    if (!loop) return body();
    for (let plus = 0; plus < loop.size; plus++) {
      this.emitter.scope({ axes: new Map([[loop.axis, { plus }]]) }, () => this.#unrolled(inner, body));
    }
  }

  /** Runs `body` for every step of loops, of which the first one goes from `start` to `stop`. */
  #loops(loops: readonly Loop[], start: Operand, stop: Operand, body: () => void): void {
    const { f } = this.emitter;
    const [loop, ...inner] = loops;
    if (!loop) return body();
    const { axis, size } = loop;
    const local = f.local("i32");
    f.range(local, start, stop, 1, () => {
      this.emitter.scope({ axes: new Map([[axis, { local, size }]]), loop: true }, () => {
        this.#loops(inner, 0, inner[0]?.size ?? 1, body);
      });
    });
  }

  /** Runs loops by `run`, which gets those that are left and where the first of them starts and stops. */
  #inBlocks(
    { loops, block }: InnerPlan,
    reductions: ReadonlyMap<number, Reduction>,
    run: (loops: readonly Loop[], start: Operand, stop: Operand) => void,
  ): void {
    if (!block) return run(loops, 0, loops[0]?.size ?? 1);
    const { f } = this.emitter;
    const { size } = loops[block.loop]!;
    this.#loops(loops.slice(0, block.loop), 0, loops[0]!.size, () => {
      const [start, stop] = [f.local("i32"), f.local("i32")];
      f.range(start, 0, size, block.size, () => {
        f.get(start).i32(block.size).op("i32.add").set(stop);
        f.get(stop).i32(size).get(stop).i32(size).op("i32.lt_s").op("select").set(stop);
        run(loops.slice(block.loop), start, stop);
        for (const reduction of reductions.values()) reduction.finishBlock();
      });
    });
  }

  // Rows: one point or several abreast, with the lanes along the inner axes.

  /** Walks from number `walk` on, then stores; `finished` holds what is known about each row. */
  #rows(walk: number, finished: readonly ReadonlyMap<number, FinishedValue>[]): void {
    const { kernel, plan, emitter } = this;
    const stages = plan.walks[walk];
    const rows = finished.length;
    if (!stages) {
      kernel.stores.forEach((store, k) => {
        const width = rows > 1 || reachable([store.value]).size > largestWide ? 1 : plan.width;
        this.#along(
          store.axes,
          plan.stores[k]!,
          [store.value],
          width,
          () => this.#eachRow(finished, () => emitter.store(store)),
        );
        this.#finishWalk(kernel.stages.length + k);
      });
      return;
    }
    const first = kernel.stages[stages[0]!]!;
    if (plan.taps.length > 0) return this.#tappedRow(first);
    const width = isIndexStage(first) || rows > 1 ? 1 : plan.width;
    const inner = plan.stages[stages[0]!]!;
    const reductions = this.#reductions(stages, { results: rows, width, inner });
    const values = stages.map((stage) => kernel.stages[stage]!.value);
    this.#along(
      first.axes,
      inner,
      values,
      width,
      (k, mask) =>
        this.#eachRow(finished, (row) => {
          for (const reduction of reductions.values()) reduction.step(row, k, mask);
        }),
      reductions,
    );
    for (const stage of stages) this.#finishWalk(stage);
    const results = [...reductions].map(([stage, reduction]) => ({
      stage,
      locals: finished.map((_, row) => reduction.across(row)),
    }));
    emitter.scope({}, () => {
      const owner = emitter.scopes.here;
      const more = finished.map((known, row) => {
        const all = new Map(known);
        for (const { stage, locals } of results) {
          all.set(stage, { local: locals[row]!, lanes: false, owner });
        }
        return all;
      });
      this.#rows(walk + 1, more);
    });
  }

  /** Writes `body` once for each row. */
  #eachRow(finished: readonly ReadonlyMap<number, FinishedValue>[], body: (row: number) => void): void {
    const { plan, emitter } = this;
    finished.forEach((reduced, row) => {
      const axes = new Map(
        plan.abreast ? [[plan.abreast.axis, this.#stepAbreast(plan.abreast.axis, row)]] : [],
      );
      emitter.row = row;
      emitter.scope({ axes, reduced }, () => body(row));
    });
    emitter.row = 0;
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
    const inner = plan.stages[0]!;
    const reductions = this.#reductions([0], { results: taps, width: 1, inner });
    const reduction = reductions.get(0)!;
    const each = (body: (tap: number) => void): void => {
      let tap = 0;
      this.#unrolled(plan.taps, () => body(tap++));
    };
    this.#along(
      stage.axes,
      inner,
      [stage.value],
      1,
      (_, mask) => each((tap) => reduction.step(tap, 0, mask)),
      reductions,
    );
    each((tap) => {
      const finished: FinishedValue = { local: reduction.across(tap), lanes: false };
      emitter.scope(
        { reduced: new Map([[0, finished]]) },
        () => kernel.stores.forEach((store) => emitter.store(store)),
      );
    });
  }

  /** Runs `body` for every vector of inner axes (see `#inside`); once, where there are none. */
  #along(
    axes: readonly number[],
    inner: InnerPlan,
    roots: readonly Expr[],
    width: number,
    body: (k: number, mask: Local | undefined) => void,
    reductions: ReadonlyMap<number, Reduction> = new Map(),
  ): void {
    const { emitter } = this;
    if (points(axes) === 0) return;
    if (inner.loops.length === 0) return this.#single(body);
    const vectors = (loop: Loop, start: Operand, stop: Operand): void =>
      emitLanes(emitter, {
        loop,
        start,
        stop,
        width,
        roots,
        inner: this.plan.taps,
        unrolled: this.plan.taps,
        abreast: this.plan.abreast,
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
    this.#inBlocks(inner, reductions, (loops, start, stop) => {
      const last = loops.at(-1)!;
      if (loops.length === 1) vectors(last, start, stop);
      else this.#loops(loops.slice(0, -1), start, stop, () => vectors(last, 0, last.size));
    });
  }

  /** A stage of one step, or a store of one element: the value is in all lanes, and lane 0 counts. */
  #single(body: (k: number, mask: Local | undefined) => void): void {
    const { f } = this.emitter;
    body(0, f.i32x4(-1, 0, 0, 0).keep());
  }
}
