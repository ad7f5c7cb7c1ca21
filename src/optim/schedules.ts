/**
 * Learning rates as pure functions of the step. Given a number they return a number, for a progress bar; given a
 * tensor they return a tensor, so that a compiled step computes its own rate.
 *
 * @module
 */
import * as ops from "../../ops/mod.ts";
import { Tensor } from "../tensor.ts";

/** The learning rate of a step, which counts from 0. */
export interface Schedule {
  /** The rate as a number. */
  (step: number): number;
  /** The rate as a scalar tensor, of a scalar step of any numeric dtype. */
  (step: Tensor): Tensor;
}

/** The few operations that schedules are written in, so that each formula stands once. */
interface Arithmetic<T> {
  readonly add: (a: T, b: T | number) => T;
  readonly mul: (a: T, b: T | number) => T;
  readonly pow: (a: T, b: number) => T;
  readonly cos: (a: T) => T;
  readonly clip: (a: T, bounds: { min: number; max: number }) => T;
  /** `a` if `x` is below `bound`, else `b`. */
  readonly below: (x: T, bound: number, a: T, b: T) => T;
}

const numbers: Arithmetic<number> = {
  add: (a, b) => a + b,
  mul: (a, b) => a * b,
  pow: (a, b) => a ** b,
  cos: Math.cos,
  clip: (a, { min, max }) => Math.min(max, Math.max(min, a)),
  below: (x, bound, a, b) => x < bound ? a : b,
};

const tensors: Arithmetic<Tensor> = {
  add: ops.add,
  mul: ops.mul,
  pow: ops.pow,
  cos: ops.cos,
  clip: ops.clip,
  below: (x, bound, a, b) => ops.where(ops.less(x, bound), a, b),
};

/** A schedule from a formula that works for both. */
function schedule(formula: <T>(step: T, arithmetic: Arithmetic<T>) => T): Schedule {
  const rate = (step: number | Tensor): number | Tensor =>
    step instanceof Tensor ? formula(ops.cast(step, "f32"), tensors) : formula(step, numbers);
  return rate as Schedule;
}

/** The share of the run that is over, from 0 to 1. */
function progress<T>(step: T, steps: number, { mul, clip }: Arithmetic<T>): T {
  return clip(mul(step, 1 / steps), { min: 0, max: 1 });
}

/**
 * The same rate in every step.
 *
 * @param learningRate The rate.
 */
export function constantSchedule(learningRate: number): Schedule {
  return schedule((step, { add, mul }) => add(mul(step, 0), learningRate));
}

/**
 * Polynomial decay to zero: `learningRate * (1 - step / steps) ** power`.
 *
 * @param options The rate of step 0, the steps of the whole run, and the power (default 0.9).
 * @see Chen et al. 2017, "DeepLab", arXiv:1606.00915, section 4.1
 * @example
 * ```ts
 * import { polySchedule } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const rate = polySchedule({ learningRate: 0.5, steps: 100, power: 1 });
 * assertEquals([rate(0), rate(50), rate(100)], [0.5, 0.25, 0]);
 * ```
 */
export function polySchedule(
  { learningRate, steps, power = 0.9 }: { learningRate: number; steps: number; power?: number },
): Schedule {
  checkSteps("decay the learning rate", steps);
  return schedule((step, arithmetic) => {
    const { add, mul, pow } = arithmetic;
    return mul(pow(add(mul(progress(step, steps, arithmetic), -1), 1), power), learningRate);
  });
}

/**
 * Half a cosine from `learningRate` down to `final`.
 *
 * @param options The rate of step 0, the steps of the whole run, and the rate at its end (default 0).
 * @see Loshchilov & Hutter 2017, "SGDR", arXiv:1608.03983
 * @example
 * ```ts
 * import { cosineSchedule } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * const rate = cosineSchedule({ learningRate: 1, steps: 100 });
 * assertAlmostEquals(rate(50), 0.5);
 * ```
 */
export function cosineSchedule(
  { learningRate, steps, final = 0 }: { learningRate: number; steps: number; final?: number },
): Schedule {
  checkSteps("decay the learning rate", steps);
  return schedule((step, arithmetic) => {
    const { add, mul, cos } = arithmetic;
    const falling = mul(add(cos(mul(progress(step, steps, arithmetic), Math.PI)), 1), 0.5);
    return add(mul(falling, learningRate - final), final);
  });
}

/**
 * Another schedule with a warm-up before it: over the first `steps` steps its rate is multiplied by a factor that
 * grows linearly from `from` to 1.
 *
 * @param after The schedule; it sees the step as it is, not counted from the end of the warm-up.
 * @param options Steps of the warm-up, and the first factor (default 0).
 * @example
 * ```ts
 * import { constantSchedule, warmUp } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const rate = warmUp(constantSchedule(2), { steps: 4 });
 * assertEquals([0, 1, 4, 9].map((step) => rate(step)), [0, 0.5, 2, 2]);
 * ```
 */
export function warmUp(after: Schedule, { steps, from = 0 }: { steps: number; from?: number }): Schedule {
  checkSteps("warm up", steps);
  return schedule(<T>(step: T, arithmetic: Arithmetic<T>) => {
    const { add, mul, below } = arithmetic;
    const rate = (after as unknown as (step: T) => T)(step);
    const factor = add(mul(progress(step, steps, arithmetic), 1 - from), from);
    return below(step, steps, mul(rate, factor), rate);
  });
}

function checkSteps(action: string, steps: number): void {
  if (steps > 0) return;
  throw new RangeError(`Cannot ${action} over ${steps} steps: a number above 0 is required`);
}
