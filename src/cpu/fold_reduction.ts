/**
 * The accumulators of one reduction stage. A long f32 sum has two levels of them: f32 for a block of steps, and
 * float64 for the blocks, so that its error does not grow with its length.
 *
 * @module
 */
import { emptyReduction } from "../compiler/interpret.ts";
import type { Affine, Stage } from "../compiler/kernel.ts";
import type { Local } from "./assembler.ts";
import type { Emitter } from "./expression.ts";
import { binary } from "./expression_operations.ts";

interface Accumulator {
  readonly value: Local;
  /** For argMax and argMin the index. For max and min of f32: see `Extremum`. */
  readonly extra: Local;
  readonly bits: Local;
}

/**
 * An extremum of f32 is found from three of the bits as integers, one instruction each: `value` is the largest signed
 * one, so the largest float if any is not negative; `extra` the smallest unsigned one, so the float closest to
 * 0 from above, or else from below; `bits` the largest unsigned one, so the smallest float if any is negative.
 * NaN of either sign is beyond the infinity of that sign. And −0 is below 0, which no comparison of floats says.
 */
const extremum = { value: "i32x4.max_s", extra: "i32x4.min_u", bits: "i32x4.max_u" } as const;
type Extremum = keyof typeof extremum;
const partsOfExtremum = Object.keys(extremum) as Extremum[];

const noIndex = 0x7fffffff;

/** How many accumulators there are. */
export interface ReductionOptions {
  /** How many results are computed at once. */
  readonly results: number;
  /** Accumulators of each of them. argMax and argMin have one. */
  readonly width: number;
  /** Whether the steps come in blocks: `finishBlock` is called after each. */
  readonly inBlocks: boolean;
}

/** Accumulates a stage, in one or several accumulators of four lanes for each result. */
export class Reduction {
  readonly #accumulators: readonly (readonly Accumulator[])[];
  /** The float64 sums of the finished blocks of each result: of lanes 0 and 1, and of lanes 2 and 3. */
  readonly #blocks: readonly (readonly [Local, Local])[] | undefined;
  readonly #isArg: boolean;
  readonly #isExtremum: boolean;
  readonly #larger: boolean;
  readonly #position: Affine;

  /** `parallel` is the number of axes before those of the stage. */
  constructor(readonly emitter: Emitter, readonly stage: Stage, parallel: number, options: ReductionOptions) {
    const { combine, value, dtype } = stage;
    this.#isArg = combine === "argMax" || combine === "argMin";
    this.#larger = combine === "argMax" || combine === "max";
    this.#isExtremum = (combine === "max" || combine === "min") && value.dtype === "f32";
    const strides = stage.axes.map((_, k) => stage.axes.slice(k + 1).reduce((a, b) => a * b, 1));
    this.#position = { offset: 0, coefficients: [...new Array<number>(parallel).fill(0), ...strides] };
    const { f } = emitter;
    const many = <T>(length: number, make: () => T): T[] => Array.from({ length }, make);
    this.#accumulators = many(
      options.results,
      () =>
        many(
          options.width,
          () => ({ value: f.local("v128"), extra: f.local("v128"), bits: f.local("v128") }),
        ),
    );
    if (options.inBlocks && combine === "sum" && dtype === "f32") {
      this.#blocks = many(options.results, () => [f.local("v128"), f.local("v128")]);
    }
  }

  /** The value that changes nothing. */
  #identity(): void {
    const { combine, value, dtype } = this.stage;
    const same = this.#isArg ? (this.#larger ? "max" : "min") : combine;
    const type = this.#isArg ? (value.dtype === "bool" ? "i32" : value.dtype) : dtype;
    this.emitter.constant(type, emptyReduction(same, type));
  }

  /** Sets the accumulators to the value of an empty reduction. */
  start(): void {
    const { f } = this.emitter;
    for (const accumulator of this.#accumulators.flat()) {
      for (const part of this.#parts) {
        this.#identity();
        f.set(accumulator[part]);
      }
      if (this.#isArg) f.i32x4(noIndex).set(accumulator.extra);
    }
    for (const sum of this.#blocks?.flat() ?? []) f.i32x4(0).set(sum);
  }

  /** Takes the value at the present position into an accumulator of a result; only lanes in `mask`, if given. */
  step(result: number, k: number, mask: Local | undefined): void {
    const { emitter, stage } = this;
    const { f } = emitter;
    const accumulator = this.#accumulators[result]![k]!;
    if (this.#isArg) return this.#argStep(accumulator, mask);
    if (!mask && stage.combine === "sum" && stage.dtype === "f32") {
      emitter.addTo(accumulator.value, stage.value);
      f.set(accumulator.value);
      return;
    }
    emitter.value(stage.value);
    if (mask) {
      this.#identity();
      f.get(mask);
      emitter.vector.select();
    }
    const x = f.keep();
    this.#combine(accumulator, () => x);
  }

  /** The parts of an accumulator that are combined. */
  get #parts(): readonly Extremum[] {
    return this.#isExtremum ? partsOfExtremum : ["value"];
  }

  /** Combines the parts of an accumulator with others. */
  #combine(accumulator: Accumulator, other: (part: Extremum) => Local): void {
    const { f } = this.emitter;
    for (const part of this.#parts) {
      f.get(accumulator[part]).get(other(part));
      this.#join(part);
      f.set(accumulator[part]);
    }
  }

  /** Adds what has been accumulated in f32 to the float64 sums, and begins again. */
  finishBlock(): void {
    const { f } = this.emitter;
    this.#blocks?.forEach(([low, high], result) => {
      this.#merge(result);
      const accumulators = this.#accumulators[result]!;
      const { value } = accumulators[0]!;
      [low, high].forEach((sum, half) => {
        this.emitter.vector.promote(value, half as 0 | 1);
        f.get(sum).op("f64x2.add").set(sum);
      });
      for (const { value } of accumulators) f.i32x4(0).set(value);
    });
  }

  /** [a, b] -> their combination. */
  #join(part: Extremum): void {
    const { combine, dtype } = this.stage;
    if (this.#isExtremum) this.emitter.f.op(extremum[part]);
    else {
      const operation = combine === "sum" ? "add" : combine === "product" ? "mul" : combine as "max" | "min";
      binary(this.emitter.vector, operation, dtype);
    }
  }

  #argStep(accumulator: Accumulator, mask: Local | undefined): void {
    const { f, vector, scopes } = this.emitter;
    this.emitter.value(this.stage.value);
    if (this.stage.value.dtype === "bool") f.i32x4(1).op("v128.and");
    const x = f.keep();
    this.#better(x, accumulator.value);
    if (mask) f.get(mask).op("v128.and");
    const take = f.keep();
    f.get(x).get(accumulator.value).get(take);
    vector.select();
    f.set(accumulator.value);
    scopes.indices(this.#position);
    f.get(accumulator.extra).get(take);
    vector.select();
    f.set(accumulator.extra);
  }

  /** Pushes the lanes where x comes before best: it is further out, or the first NaN. */
  #better(x: Local, best: Local): void {
    const { f } = this.emitter;
    const type = this.stage.value.dtype;
    if (type === "f32") {
      f.get(best).get(best).op("f32x4.eq").get(x).get(best).op(this.#larger ? "f32x4.le" : "f32x4.ge");
      f.op("v128.andnot");
    } else {
      f.get(x).get(best);
      binary(this.emitter.vector, this.#larger ? "gt" : "lt", type === "bool" ? "i32" : type);
    }
  }

  /** The result of each lane, for one result that has a single accumulator. */
  lanes(result: number): Local {
    const { f, vector } = this.emitter;
    const blocks = this.#blocks?.[result];
    if (blocks) {
      for (const sum of blocks) f.get(sum).op("f32x4.demote_f64x2_zero");
      return f.shuffle(0, 1, 4, 5).keep();
    }
    const { value, extra, bits } = this.#accumulators[result]![0]!;
    if (this.#isArg) { // a lane that has met nothing but the identity has its first element as the extremum
      f.i32x4(0).get(extra).get(extra).i32x4(noIndex).op("i32x4.eq");
      vector.select();
    } else if (this.#isExtremum) {
      // The least negative float, or the most negative one, where there is such a one.
      const [negative, sign] = this.#larger ? [extra, value] : [bits, bits];
      f.get(negative).get(this.#larger ? value : extra).get(sign).i32(31).op("i32x4.shr_s");
      vector.select();
      f.get(value).i32x4(0x7f800000).op("i32x4.gt_s").get(bits).i32x4(-0x800000).op("i32x4.gt_u");
      f.op("v128.or").op("v128.or"); // all ones are a NaN
    } else {
      return value;
    }
    return f.keep();
  }

  /** One result of all its lanes and accumulators together, in every lane. */
  across(result: number): Local {
    const { f, vector } = this.emitter;
    const blocks = this.#blocks?.[result];
    if (blocks) {
      const both = f.get(blocks[0]).get(blocks[1]).op("f64x2.add").keep();
      f.get(both).get(both).get(both).shuffle(2, 3, 0, 1).op("f64x2.add").op("f32x4.demote_f64x2_zero");
      const sum = f.keep();
      return f.get(sum).get(sum).shuffle(0, 0, 0, 0).keep();
    }
    this.#merge(result);
    const accumulator = this.#accumulators[result]![0]!;
    if (this.#isArg) this.#argAcross(accumulator.value, accumulator.extra);
    else {
      for (const part of this.#parts) {
        f.get(accumulator[part]);
        vector.acrossLanes(() => this.#join(part));
        f.set(accumulator[part]);
      }
    }
    return this.lanes(result);
  }

  /** Combines the accumulators of a result into its first. */
  #merge(result: number): void {
    const accumulators = this.#accumulators[result]!;
    for (let distance = accumulators.length >> 1; distance > 0; distance >>= 1) {
      for (let k = 0; k < distance; k++) {
        this.#combine(accumulators[k]!, (part) => accumulators[k + distance]![part]);
      }
    }
  }

  #argAcross(value: Local, extra: Local): void {
    const { f, vector } = this.emitter;
    const isFloat = this.stage.value.dtype === "f32";
    for (const order of [[2, 3, 0, 1], [1, 0, 3, 2]] as [number, number, number, number][]) {
      const x = f.get(value).get(value).shuffle(...order).keep();
      const index = f.get(extra).get(extra).shuffle(...order).keep();
      this.#better(x, value);
      // Equal, or both NaN: the smaller index.
      f.get(x).get(value).op(isFloat ? "f32x4.eq" : "i32x4.eq");
      if (isFloat) {
        f.get(x).get(x).op("f32x4.ne").get(value).get(value).op("f32x4.ne").op("v128.and").op("v128.or");
      }
      f.get(index).get(extra).op("i32x4.lt_s").op("v128.and").op("v128.or");
      const take = f.keep();
      f.get(x).get(value).get(take);
      vector.select();
      f.get(index).get(extra).get(take);
      vector.select();
      f.set(extra).set(value);
    }
  }
}
