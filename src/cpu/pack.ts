/**
 * Packs an operand of a contraction: evaluates its expression and writes panels
 * [panel][inner][position in the panel], which the tile's inner loop reads from front to back.
 *
 * Four values at a time are computed either at neighbouring positions or at neighbouring inner points,
 * whichever the loads prefer. Where four neighbours exist in the same line of the tensor and no guard parts
 * them, they are read as one vector; elsewhere lane by lane.
 *
 * @module
 */
import type { FunctionBuilder, Local } from "./assembler.ts";
import { guardsOf, Position } from "./contraction_axes.ts";
import type { OperandPlan } from "./contraction_plan.ts";
import { Emitter } from "./expression.ts";
import { type Library, Vector } from "./vector.ts";

/** Loads the addresses of a kernel's inputs and outputs from its argument words. */
export function loadBuffers(
  f: FunctionBuilder,
  args: Local,
  kernel: { readonly inputs: readonly unknown[]; readonly outputs: readonly unknown[] },
): { inputs: Local[]; outputs: Local[] } {
  const address = (index: number): Local => f.get(args).load("i32.load", 4 * index).keep("i32");
  return {
    inputs: kernel.inputs.map((_, k) => address(k)),
    outputs: kernel.outputs.map((_, k) => address(kernel.inputs.length + k)),
  };
}

/**
 * The function `(args, batch, start, end, innerStart, innerEnd, destination)` that packs positions
 * `start ≤ j < end` into panels of `size` positions.
 */
export function writePack(
  library: Library,
  kernel: { readonly inputs: readonly unknown[]; readonly outputs: readonly unknown[] },
  operand: OperandPlan,
  size: number,
): FunctionBuilder {
  const f = library.module.func("pack", ["i32", "i32", "i32", "i32", "i32", "i32", "i32"], []);
  const [args, batch, start, end, innerStart, innerEnd, destination] = f.params as [
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
  ];
  const { value, alongInner } = operand;
  const emitter = new Emitter(new Vector(f, library), loadBuffers(f, args, kernel), [value]);
  const positions = {
    batch: new Position(f, operand.batch),
    across: new Position(f, operand.across),
    inner: new Position(f, operand.inner),
  };
  const [count, readable, pointer, line, inPanel, k] = Array.from({ length: 6 }, () => f.local("i32")) as [
    Local,
    Local,
    Local,
    Local,
    Local,
    Local,
  ];
  const lanes = alongInner ? positions.inner : positions.across;
  const laneBytes = alongInner ? size * 4 : 4;

  positions.batch.decode(batch);
  f.get(destination).set(line).i32(0).set(inPanel);
  emitter.scope({ axes: positions.batch.values }, () => {
    f.while(() => f.get(start).get(end).op("i32.lt_s"), () => {
      positions.across.decode(start);
      if (alongInner) f.i32(1).set(count);
      else {
        lanes.remaining();
        f.tee(readable).set(count);
        limit(f, count, () => f.i32(size).get(inPanel).op("i32.sub"));
        limit(f, count, () => f.get(end).get(start).op("i32.sub"));
        limit(f, count, () => f.i32(4));
      }
      const advance = alongInner ? f.i32(1).keep("i32") : f.get(count).keep("i32");
      f.get(line).get(inPanel).i32(2).op("i32.shl").op("i32.add").set(pointer);
      f.get(innerStart).set(k);
      positions.inner.decode(k);
      emitter.scope({ axes: positions.across.values, loop: true }, () => {
        f.while(() => f.get(k).get(innerEnd).op("i32.lt_s"), () => {
          if (alongInner) {
            lanes.remaining();
            f.tee(readable).set(count);
            limit(f, count, () => f.get(innerEnd).get(k).op("i32.sub"));
            limit(f, count, () => f.i32(4));
          }
          emitter.scope({ axes: positions.inner.values, loop: true }, () => {
            writeLanes(emitter, operand, lanes, { count, readable, pointer }, laneBytes);
          });
          const steps = alongInner ? count : 1;
          f.get(pointer).push(steps).i32(size * 4).op("i32.mul").op("i32.add").set(pointer);
          positions.inner.advance(steps);
          f.increase(k, steps);
        });
      });
      f.increase(start, advance).increase(inPanel, advance);
      f.get(inPanel).i32(size).op("i32.ge_s").if(() => {
        f.i32(0).set(inPanel);
        f.get(innerEnd).get(innerStart).op("i32.sub").i32(size * 4).op("i32.mul");
        f.get(line).op("i32.add").set(line);
      });
    });
  });
  return f;
}

/** Evaluates the operand at four neighbours and stores those that count. */
function writeLanes(
  emitter: Emitter,
  { value }: OperandPlan,
  lanes: Position,
  at: { count: Local; readable: Local; pointer: Local },
  laneBytes: number,
): void {
  const { f } = emitter;
  const store = (result: Local): void => {
    f.get(at.count).i32(4).op("i32.eq").if(() => {
      if (laneBytes === 4) return void f.get(at.pointer).get(result).store("v128.store");
      for (let lane = 0; lane < 4; lane++) {
        f.get(at.pointer).get(result).loadLane("v128.store32_lane", lane, lane * laneBytes);
      }
    }, () => {
      for (let lane = 0; lane < 3; lane++) {
        f.get(at.count).i32(lane).op("i32.gt_s").if(() => {
          f.get(at.pointer).get(result).loadLane("v128.store32_lane", lane, lane * laneBytes);
        });
      }
    });
  };
  f.get(at.readable).i32(4).op("i32.ge_s");
  writeTests(emitter, guardsOf([value]), lanes);
  f.if(
    () =>
      emitter.scope({ axes: lanes.lanes() }, () => {
        emitter.value(value);
        store(f.keep());
      }),
    () =>
      emitter.scope({ axes: lanes.lanes(), exact: writeExact(f, at.count) }, () => {
        emitter.value(value);
        store(f.keep());
      }),
  );
}

/** The lane tests of an exact scope: the first `count` lanes are valid. */
export function writeExact(f: FunctionBuilder, count: Local): { count: Local; mask: Local } {
  f.i32x4(0, 1, 2, 3).get(count).op("i32x4.splat").op("i32x4.lt_s");
  return { count, mask: f.keep() };
}

/** [i32] -> whether that is not zero and all four neighbours pass all guards that depend on the lane. */
export function writeTests(
  emitter: Emitter,
  guards: ReturnType<typeof guardsOf>,
  lanes: Position,
): void {
  const { f } = emitter;
  const written = new Set<string>();
  for (const { form, size } of guards) {
    const step = lanes.stepOf(form);
    const key = JSON.stringify([form, size]);
    if (step === 0 || written.has(key)) continue;
    written.add(key);
    emitter.scopes.index(form);
    const first = f.keep("i32");
    f.get(first).i32(size).op("i32.lt_u").op("i32.and");
    f.get(first).i32(3 * step).op("i32.add").i32(size).op("i32.lt_u").op("i32.and");
  }
}

/** Sets a local to the smaller of itself and what `other` pushes. */
export function limit(f: FunctionBuilder, local: Local, other: () => void): void {
  other();
  const bound = f.keep("i32");
  f.get(local).get(bound).get(local).get(bound).op("i32.lt_s").op("select").set(local);
}
