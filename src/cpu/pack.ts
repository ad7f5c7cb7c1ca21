/**
 * Packs an operand of a contraction: evaluates its expression and writes panels
 * [panel][inner][position in the panel], which the tile's inner loop reads from front to back.
 *
 * Vectors of four values run either **across**, along neighbouring positions, or **along** neighbouring
 * inner points, whichever the loads prefer. Across, a whole panel is read at a time; along, four positions
 * are read and transposed. Where a line of the tensor ends within the four values, those behind it are read
 * and ignored; only where a guard parts them are they read lane by lane.
 *
 * @module
 */
import type { Guard } from "../compiler/kernel.ts";
import type { FunctionBuilder, Local } from "./assembler.ts";
import { loadsOf } from "../compiler/expression.ts";
import { allGuards, Position } from "./contraction_axes.ts";
import type { OperandPlan } from "./contraction_plan.ts";
import { Emitter } from "./expression.ts";
import { slackBytes } from "./protocol.ts";
import { type Library, Vector } from "./vector.ts";

/** Numbers of a kernel's buffers. */
export interface Buffers {
  readonly inputs: readonly unknown[];
  readonly outputs: readonly unknown[];
}

/** Loads the addresses of a kernel's inputs and outputs from its argument words. */
export function loadBuffers(
  f: FunctionBuilder,
  args: Local,
  kernel: Buffers,
): { inputs: Local[]; outputs: Local[] } {
  const address = (index: number): Local => f.get(args).load("i32.load", 4 * index).keep("i32");
  return {
    inputs: kernel.inputs.map((_, k) => address(k)),
    outputs: kernel.outputs.map((_, k) => address(kernel.inputs.length + k)),
  };
}

/** Elements from lane to lane such that three steps stay within the memory behind the last buffer. */
const farthestStep = slackBytes / 4 / 4;

/** A position whose values are being read, with code of its own around the loop over inner points. */
interface Line {
  readonly emitter: Emitter;
  readonly across: Position;
  readonly inner: Position;
}

/**
 * The function `(args, batch, start, end, innerStart, innerEnd, destination)` that packs positions
 * `start ≤ j < end` into panels of `size` positions.
 */
export function writePack(
  library: Library,
  kernel: Buffers,
  operand: OperandPlan,
  size: number,
): FunctionBuilder {
  return new Packer(library, kernel, operand, size).write();
}

class Packer {
  readonly f: FunctionBuilder;
  readonly #library: Library;
  readonly #kernel: Buffers;
  readonly #operand: OperandPlan;
  readonly #size: number;
  readonly #guards: readonly Guard[];
  readonly #params: readonly Local[];
  readonly #panelBytes: Local;
  /** Address of the panel's first element, the position in the panel, and how many positions a turn packs. */
  readonly #panel: Local;
  readonly #inPanel: Local;
  readonly #packed: Local;
  /** Address of the next element, the inner point, values that are left in the line, and how many count. */
  readonly #pointer: Local;
  readonly #k: Local;
  readonly #readable: Local;
  readonly #count: Local;

  constructor(library: Library, kernel: Buffers, operand: OperandPlan, size: number) {
    this.f = library.module.func("pack", ["i32", "i32", "i32", "i32", "i32", "i32", "i32"], []);
    this.#library = library;
    this.#kernel = kernel;
    this.#operand = operand;
    this.#size = size;
    this.#guards = allGuards([operand.value]);
    this.#params = this.f.params;
    const local = (): Local => this.f.local("i32");
    [this.#panelBytes, this.#panel, this.#inPanel, this.#packed] = [local(), local(), local(), local()];
    [this.#pointer, this.#k, this.#readable, this.#count] = [local(), local(), local(), local()];
  }

  write(): FunctionBuilder {
    const { f } = this;
    const [, , start, end, innerStart, innerEnd, destination] = this.#params as Local[];
    f.get(destination!).set(this.#panel);
    f.get(innerEnd!).get(innerStart!).op("i32.sub").i32(this.#size * 4).op("i32.mul").set(this.#panelBytes);
    f.while(() => f.get(start!).get(end!).op("i32.lt_s"), () => {
      f.get(this.#panel).get(this.#inPanel).i32(2).op("i32.shl").op("i32.add").set(this.#pointer);
      f.get(innerStart!).set(this.#k);
      if (this.#operand.alongInner) this.#writeAlong();
      else this.#writeAcross();
      f.increase(start!, this.#packed).increase(this.#inPanel, this.#packed);
      f.while(() => f.get(this.#inPanel).i32(this.#size).op("i32.ge_s"), () => {
        f.increase(this.#inPanel, -this.#size).increase(this.#panel, this.#panelBytes);
      });
    });
    return f;
  }

  // ---- vectors across -----------------------------------------------------------------------------------

  /** Whole panels where they lie in one line, else as many positions as do, up to four. */
  #writeAcross(): void {
    const { f } = this;
    this.#position(this.#params[2]!).remaining();
    f.set(this.#readable);
    const onePanel = (): void => this.#ifPanels(1, () => this.#writePart());
    // Two small panels at a time use the whole of every cache line that is read.
    const twice = this.#size <= 8 && this.#guards.length === 0;
    if (twice) this.#ifPanels(2, onePanel);
    else onePanel();
  }

  /** Packs whole panels if they lie in one line. */
  #ifPanels(panels: 1 | 2, otherwise: () => void): void {
    const { f } = this;
    const [, , start, end] = this.#params as [Local, Local, Local, Local];
    const vectors = Math.ceil(this.#size / 4);
    const read = (panels - 1) * this.#size + 4 * vectors;
    f.get(this.#readable).i32(read).op("i32.ge_s").get(this.#inPanel).op("i32.eqz").op("i32.and");
    f.get(end).get(start).op("i32.sub").i32(panels * this.#size).op("i32.ge_s").op("i32.and");
    f.if(() => {
      f.i32(panels * this.#size).set(this.#packed);
      f.i32(4).set(this.#count);
      this.#withLines(1, ([line]) => {
        this.#branch([line!], line!.across, read, (exact) => {
          const first = line!.across.copyLast();
          for (let panel = 0; panel < panels; panel++) {
            if (panel > 0) f.increase(this.#pointer, this.#panelBytes);
            for (let v = 0; v < vectors; v++) {
              const axes = line!.across.lanes(first, panel * this.#size + 4 * v);
              this.#storeLanes(this.#evaluate(line!, axes, exact), 16 * v, Math.min(4, this.#size - 4 * v));
            }
          }
          if (panels > 1) f.get(this.#pointer).get(this.#panelBytes).op("i32.sub").set(this.#pointer);
        });
        this.#advance([line!], 1);
      });
    }, otherwise);
  }

  /** Packs up to four positions of one line. */
  #writePart(): void {
    const { f } = this;
    const [, , start, end] = this.#params as [Local, Local, Local, Local];
    f.get(this.#readable).set(this.#count);
    limit(f, this.#count, () => f.i32(this.#size).get(this.#inPanel).op("i32.sub"));
    limit(f, this.#count, () => f.get(end).get(start).op("i32.sub"));
    limit(f, this.#count, () => f.i32(4));
    f.get(this.#count).set(this.#packed);
    this.#withLines(1, ([line]) => {
      this.#branch([line!], line!.across, 4, (exact) => {
        const axes = line!.across.lanes(line!.across.copyLast());
        this.#storeCounted(this.#evaluate(line!, axes, exact), 0, 4);
      });
      this.#advance([line!], 1);
    });
  }

  // ---- vectors along ------------------------------------------------------------------------------------

  /** Four positions if the panel has them, else one. */
  #writeAlong(): void {
    const { f } = this;
    const [, , start, end] = this.#params as [Local, Local, Local, Local];
    if (this.#size < 4) return this.#writeAlongLines(1);
    f.get(this.#inPanel).i32(this.#size - 4).op("i32.le_s");
    f.get(end).get(start).op("i32.sub").i32(4).op("i32.ge_s").op("i32.and");
    f.if(() => this.#writeAlongLines(4), () => this.#writeAlongLines(1));
  }

  #writeAlongLines(positions: 1 | 4): void {
    const { f } = this;
    const innerEnd = this.#params[5]!;
    f.i32(positions).set(this.#packed);
    this.#withLines(positions, (lines) => {
      const { inner } = lines[0]!;
      inner.remaining();
      f.tee(this.#readable).set(this.#count);
      limit(f, this.#count, () => f.get(innerEnd).get(this.#k).op("i32.sub"));
      limit(f, this.#count, () => f.i32(4));
      this.#branch(lines, inner, 4, (exact) => {
        const first = inner.copyLast();
        const results = lines.map((line) => this.#evaluate(line, inner.lanes(first), exact));
        f.get(this.#count).i32(4).op("i32.eq").if(() => {
          if (positions === 4) return this.#storeTransposed(results);
          for (let lane = 0; lane < 4; lane++) this.#storeLane(results[0]!, lane, lane * this.#size * 4);
        }, () => results.forEach((result, l) => this.#storeCounted(result, 4 * l, this.#size * 4)));
      });
      this.#advance(lines, this.#count);
    });
  }

  // ---- parts of both ------------------------------------------------------------------------------------

  #position(flat: Local, plus = 0): Position {
    const { f } = this;
    const position = new Position(f, this.#operand.across);
    position.decode(plus === 0 ? flat : f.get(flat).i32(plus).op("i32.add").keep("i32"));
    return position;
  }

  /** Runs `body` in a loop over the inner points, with `count` positions from `start` on. */
  #withLines(count: number, body: (lines: readonly Line[]) => void): void {
    const { f } = this;
    const [args, batchIndex, start, , , innerEnd] = this.#params as Local[];
    const buffers = loadBuffers(f, args!, this.#kernel);
    const batch = new Position(f, this.#operand.batch);
    batch.decode(batchIndex!);
    const inner = new Position(f, this.#operand.inner);
    inner.decode(this.#k);
    const lines = Array.from({ length: count }, (_, plus): Line => {
      const across = this.#position(start!, plus);
      return {
        emitter: new Emitter(new Vector(f, this.#library), buffers, [this.#operand.value]),
        across,
        inner,
      };
    });
    const open = (scope: (line: Line) => Parameters<Emitter["scope"]>[0], inside: () => void): void =>
      lines.reduce((body, line) => () => line.emitter.scope(scope(line), body), inside)();
    open(({ across }) => ({ axes: new Map([...batch.values, ...across.values]), loop: true }), () => {
      f.while(() => f.get(this.#k).get(innerEnd!).op("i32.lt_s"), () => {
        open(() => ({ axes: inner.values, loop: true }), () => body(lines));
      });
    });
  }

  /** Writes `body` twice: for values that no guard parts, and with lanes of their own. */
  #branch(
    lines: readonly Line[],
    lanes: Position,
    values: number,
    body: (exact: { count: Local; mask: Local } | undefined) => void,
  ): void {
    const { f } = this;
    // Loads that step far could leave memory behind the last line.
    const far = loadsOf(this.#operand.value).some(({ at }) => Math.abs(lanes.stepOf(at)) > farthestStep);
    if (far) f.get(this.#readable).i32(values).op("i32.ge_s");
    else f.i32(1);
    const guarded = lines.map(({ emitter }) => writeTests(emitter, this.#guards, lanes, values));
    if (far || guarded.includes(true)) f.if(() => body(undefined), () => body(this.#exact()));
    else {
      f.op("drop");
      body(undefined);
    }
  }

  /** The first `count` lanes are valid. */
  #exact(): { count: Local; mask: Local } {
    return writeExact(this.f, this.#count);
  }

  #evaluate(
    { emitter }: Line,
    axes: Map<number, { lanes?: boolean }>,
    exact: { count: Local; mask: Local } | undefined,
  ): Local {
    const result = this.f.local("v128");
    emitter.scope(exact ? { axes, exact } : { axes }, () => {
      emitter.value(this.#operand.value);
      this.f.set(result);
    });
    return result;
  }

  #advance([line]: readonly Line[], steps: Local | 1): void {
    const { f } = this;
    f.get(this.#pointer).push(steps).i32(this.#size * 4).op("i32.mul").op("i32.add").set(this.#pointer);
    line!.inner.advance(steps);
    f.increase(this.#k, steps);
  }

  #storeLane(value: Local, lane: number, offset: number): void {
    this.f.get(this.#pointer).get(value).loadLane("v128.store32_lane", lane, offset);
  }

  /** Stores the first lanes next to each other. */
  #storeLanes(value: Local, offset: number, lanes: number): void {
    if (lanes === 4) return void this.f.get(this.#pointer).get(value).store("v128.store", offset);
    for (let lane = 0; lane < lanes; lane++) this.#storeLane(value, lane, offset + 4 * lane);
  }

  /** Stores the first `count` lanes, `stride` bytes apart. */
  #storeCounted(value: Local, offset: number, stride: number): void {
    const { f } = this;
    for (let lane = 0; lane < 4; lane++) {
      f.get(this.#count).i32(lane).op("i32.gt_s").if(() =>
        this.#storeLane(value, lane, offset + lane * stride)
      );
    }
  }

  /** Stores four positions of four inner points. */
  #storeTransposed([a, b, c, d]: readonly Local[]): void {
    const { f } = this;
    const pairs = (x: Local, y: Local): [Local, Local] => [
      f.get(x).get(y).shuffle(0, 4, 1, 5).keep(),
      f.get(x).get(y).shuffle(2, 6, 3, 7).keep(),
    ];
    const [ac, bd] = [pairs(a!, c!), pairs(b!, d!)];
    for (let half = 0; half < 2; half++) {
      pairs(ac[half]!, bd[half]!).forEach((row, k) => {
        f.get(this.#pointer).get(row).store("v128.store", (2 * half + k) * this.#size * 4);
      });
    }
  }
}

/** The lane tests of an exact scope: the first `count` lanes are valid. */
export function writeExact(f: FunctionBuilder, count: Local): { count: Local; mask: Local } {
  f.i32x4(0, 1, 2, 3).get(count).op("i32x4.splat").op("i32x4.lt_s");
  return { count, mask: f.keep() };
}

/**
 * [i32] -> whether that is not zero and `values` neighbours pass all guards that depend on the lane. Returns
 * whether there are such guards.
 */
export function writeTests(
  emitter: Emitter,
  guards: readonly Guard[],
  lanes: Position,
  values: number,
): boolean {
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
    f.get(first).i32((values - 1) * step).op("i32.add").i32(size).op("i32.lt_u").op("i32.and");
  }
  return written.size > 0;
}

/** Sets a local to the smaller of itself and what `other` pushes. */
export function limit(f: FunctionBuilder, local: Local, other: () => void): void {
  other();
  const bound = f.keep("i32");
  f.get(local).get(bound).get(local).get(bound).op("i32.lt_s").op("select").set(local);
}
