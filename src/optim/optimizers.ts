/**
 * Optimisers as pairs of pure functions over trees: `init` makes the state, `update` turns gradients, state and
 * parameters into new parameters and a new state. Formulas are PyTorch's.
 *
 * @module
 */
import { add, cast, div, minimum, mul, pow, sqrt, square, sub, sum, type TensorLike } from "../../ops/mod.ts";
import { zeros, zerosLike } from "../../ops/create.ts";
import { formatShape, ShapeError, TreeError } from "../errors.ts";
import { describe, Tensor } from "../tensor.ts";
import { treeMap, treeMap2, treeTensors } from "../tree.ts";

/** An optimiser whose state for parameters of type `T` is a tree of tensors. */
export interface Optimizer<State> {
  /**
   * The state before the first step.
   *
   * @param params A tree of f32 tensors.
   */
  init(params: unknown): State;
  /**
   * One step.
   *
   * @param gradients A tree like `params`.
   * @param state What `init` or the last `update` gave.
   * @param params The parameters.
   * @param options `learningRate` for this step, instead of the optimiser's own.
   * @returns New trees; nothing given is changed.
   * @throws {TreeError} If the trees differ in structure.
   * @throws {ShapeError} If a gradient has another shape than its parameter, or the learning rate is no scalar.
   */
  update<T>(gradients: T, state: State, params: T, options?: UpdateOptions): { params: T; state: State };
}

/** Options of one step. */
export interface UpdateOptions {
  /** The learning rate, for example a schedule's at this step. */
  readonly learningRate?: TensorLike;
}

/** What all optimisers can be told. */
export interface OptimizerOptions {
  /** The learning rate where `update` is given none. */
  readonly learningRate: TensorLike;
  /**
   * Factors of the learning rate for parts of the parameters, by top-level key; `rest` stands for all keys without a
   * factor of their own. Default 1.
   */
  readonly groups?: { readonly [key: string]: number };
}

/** Options of {@linkcode sgd}. */
export interface SgdOptions extends OptimizerOptions {
  /** Share of the last step's direction that is kept (default 0). */
  readonly momentum?: number;
  /** Added to the gradient, times the parameter (default 0). */
  readonly weightDecay?: number;
  /** Look ahead along the momentum (default false). */
  readonly nesterov?: boolean;
}

/** State of {@linkcode sgd}. */
export interface SgdState {
  /** A tree like the parameters; absent without momentum. */
  readonly momentum?: unknown;
}

/** Options of {@linkcode adam} and {@linkcode adamw}. */
export interface AdamOptions extends OptimizerOptions {
  /** Decay of the mean of the gradients (default 0.9). */
  readonly beta1?: number;
  /** Decay of the mean of their squares (default 0.999). */
  readonly beta2?: number;
  /** Added to the denominator (default 1e-8). */
  readonly eps?: number;
  /** Weight decay (default 0 for `adam`, 0.01 for `adamw`). */
  readonly weightDecay?: number;
}

/** State of {@linkcode adam} and {@linkcode adamw}. */
export interface AdamState {
  /** Steps done, an i32 scalar. */
  readonly step: Tensor;
  /** Running mean of the gradients, a tree like the parameters. */
  readonly mean: unknown;
  /** Running mean of their squares. */
  readonly square: unknown;
}

/**
 * Stochastic gradient descent: `g += weightDecay * p`, `b = momentum * b + g` (`b = g` in the first step), then
 * `p -= learningRate * b`, or with Nesterov `p -= learningRate * (g + momentum * b)`.
 *
 * @param options Rate, momentum, weight decay, Nesterov, factors of parts.
 * @throws {RangeError} If Nesterov is asked for without momentum.
 * @see torch.optim.SGD with dampening 0
 * @example
 * ```ts
 * import { sgd, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const optimizer = sgd({ learningRate: 0.5, momentum: 0.5 });
 * let params = { w: tensor([1]) };
 * let state = optimizer.init(params);
 * for (let k = 0; k < 2; k++) ({ params, state } = optimizer.update({ w: tensor([1]) }, state, params));
 * assertEquals(await params.w.toArray(), [-0.25]);
 * ```
 */
export function sgd(options: SgdOptions): Optimizer<SgdState> {
  const { momentum = 0, weightDecay = 0, nesterov = false } = options;
  if (nesterov && momentum === 0) {
    throw new RangeError("Cannot use Nesterov without momentum: a momentum above 0 is required");
  }
  return {
    init: (params) => momentum === 0 ? {} : { momentum: treeMap(params, zerosLike) },
    update: <T>(gradients: T, state: SgdState, params: T, { learningRate }: UpdateOptions = {}) => {
      checkAlike(params, gradients, "its gradient");
      if (momentum !== 0) checkAlike(params, state.momentum, "its momentum");
      const rates = ratesOf(params, options, learningRate);
      const decayed = withDecay(gradients, params, weightDecay);
      if (momentum === 0) {
        return { params: step(params, decayed, rates), state };
      }
      const buffers = treeMap2(decayed, state.momentum, (g: Tensor, b: Tensor) => add(mul(b, momentum), g));
      const direction = nesterov
        ? treeMap2(decayed, buffers, (g: Tensor, b: Tensor) => add(g, mul(b, momentum)))
        : buffers;
      return { params: step(params, direction, rates), state: { momentum: buffers } };
    },
  };
}

/**
 * Adam, with weight decay added to the gradient.
 *
 * @param options Rate, betas, eps, weight decay, factors of parts.
 * @see Kingma & Ba 2015, "Adam", arXiv:1412.6980; torch.optim.Adam
 * @example
 * ```ts
 * import { adam, tensor } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * const optimizer = adam({ learningRate: 0.1 });
 * const params = { w: tensor(1) };
 * const { params: next } = optimizer.update({ w: tensor(5) }, optimizer.init(params), params);
 * assertAlmostEquals(await next.w.item(), 0.9, 1e-6);
 * ```
 */
export function adam(options: AdamOptions): Optimizer<AdamState> {
  return adaptive(options, { coupled: options.weightDecay ?? 0, decoupled: 0 });
}

/**
 * Adam with decoupled weight decay: `p -= learningRate * weightDecay * p` beside Adam's step.
 *
 * @param options Rate, betas, eps, weight decay (default 0.01), factors of parts.
 * @see Loshchilov & Hutter 2019, arXiv:1711.05101; torch.optim.AdamW
 * @example
 * ```ts
 * import { adamw, tensor } from "@allspark/tensor";
 * import { assertAlmostEquals } from "@std/assert";
 * const optimizer = adamw({ learningRate: 0.1, weightDecay: 0.1 });
 * const { params } = optimizer.update(tensor(5), optimizer.init(tensor(1)), tensor(1));
 * assertAlmostEquals(await params.item(), 1 - 0.1 * 0.1 - 0.1, 1e-6);
 * ```
 */
export function adamw(options: AdamOptions): Optimizer<AdamState> {
  return adaptive(options, { coupled: 0, decoupled: options.weightDecay ?? 0.01 });
}

function adaptive(
  options: AdamOptions,
  decay: { coupled: number; decoupled: number },
): Optimizer<AdamState> {
  const { beta1 = 0.9, beta2 = 0.999, eps = 1e-8 } = options;
  return {
    init: (params) => ({
      step: zeros([], { dtype: "i32" }),
      mean: treeMap(params, zerosLike),
      square: treeMap(params, zerosLike),
    }),
    update: <T>(gradients: T, state: AdamState, params: T, { learningRate }: UpdateOptions = {}) => {
      checkAlike(params, gradients, "its gradient");
      checkAlike(params, state.mean, "its mean gradient");
      checkAlike(params, state.square, "its mean squared gradient");
      const rates = ratesOf(params, options, learningRate);
      const decayed = withDecay(gradients, params, decay.coupled);
      const count = add(state.step, 1);
      const mean = treeMap2(
        decayed,
        state.mean,
        (g: Tensor, m: Tensor) => add(mul(m, beta1), mul(g, 1 - beta1)),
      );
      const squares = treeMap2(
        decayed,
        state.square,
        (g: Tensor, v: Tensor) => add(mul(v, beta2), mul(square(g), 1 - beta2)),
      );
      const steps = cast(count, "f32");
      const correction1 = sub(1, pow(beta1, steps));
      const correction2 = sqrt(sub(1, pow(beta2, steps)));
      const direction = treeMap2(
        mean,
        squares,
        (m: Tensor, v: Tensor) => div(div(m, correction1), add(div(sqrt(v), correction2), eps)),
      );
      const whole = decay.decoupled === 0 ? direction : withDecay(direction, params, decay.decoupled);
      return { params: step(params, whole, rates), state: { step: count, mean, square: squares } };
    },
  };
}

/**
 * Scales gradients down so that the L2 norm of them all together is at most `maxNorm`.
 *
 * @param gradients A tree of f32 tensors.
 * @param options `maxNorm`.
 * @returns The scaled tree, and the norm before scaling.
 * @see torch.nn.utils.clip_grad_norm_
 * @example
 * ```ts
 * import { clipByGlobalNorm, tensor } from "@allspark/tensor";
 * import { assertEquals } from "@std/assert";
 * const { norm } = clipByGlobalNorm({ a: tensor([3]), b: tensor([4]) }, { maxNorm: 1 });
 * assertEquals(await norm.item(), 5);
 * ```
 */
export function clipByGlobalNorm<T>(
  gradients: T,
  { maxNorm }: { maxNorm: TensorLike },
): { gradients: T; norm: Tensor } {
  const squares = treeTensors(gradients).map((gradient) => sum(square(gradient)));
  const norm = sqrt(squares.reduce((total, part) => add(total, part), zeros([])));
  const factor = minimum(div(maxNorm, add(norm, 1e-6)), 1);
  return { gradients: treeMap<T, T>(gradients, (gradient: Tensor) => mul(gradient, factor)), norm };
}

/** Throws unless a tree has a tensor for every parameter, of the same shape and dtype: others would be broadcast. */
function checkAlike(params: unknown, tree: unknown, what: string): void {
  treeMap2(params, tree, (param: unknown, other: unknown, path: string) => {
    const name = path === "" ? "a parameter" : `parameter ${path}`;
    if (!(param instanceof Tensor) || !(other instanceof Tensor)) {
      throw new TreeError(
        `Cannot update ${name}: ${param instanceof Tensor ? what : "it"} is no tensor`,
      );
    }
    if (describe(param) !== describe(other)) {
      throw new ShapeError(`Cannot update ${name} ${describe(param)}: ${what} is ${describe(other)}`);
    }
  });
}

/** `direction + decay * params`. */
function withDecay<T>(direction: T, params: T, decay: number): T {
  if (decay === 0) return direction;
  return treeMap2<T>(direction, params, (d: Tensor, p: Tensor) => add(d, mul(p, decay)));
}

/** `params - rates * direction`. */
function step<T>(params: T, direction: unknown, rateOf: (path: string) => TensorLike): T {
  return treeMap2<T>(
    params,
    direction,
    (p: Tensor, d: Tensor, path: string) => sub(p, mul(d, rateOf(path))),
  );
}

/** The learning rate of every leaf, by its path. */
function ratesOf(
  params: unknown,
  { learningRate, groups = {} }: OptimizerOptions,
  given: TensorLike | undefined,
): (path: string) => TensorLike {
  const base = given ?? learningRate;
  if (base instanceof Tensor && base.shape.length > 0) {
    throw new ShapeError(
      `Cannot update parameters with a learning rate of shape ${
        formatShape(base.shape)
      }: a scalar is required`,
    );
  }
  const top = params instanceof Tensor ? [] : Object.keys(params as object);
  const unknown = Object.keys(groups).find((key) => key !== "rest" && !top.includes(key));
  if (unknown !== undefined) {
    throw new RangeError(
      `Cannot give ${unknown} a learning rate of its own: the parameters have the keys ${top.join(", ")}`,
    );
  }
  const rates = new Map(top.map((key) => {
    const factor = groups[key] ?? groups.rest ?? 1;
    return [key, factor === 1 ? base : mul(base, factor)] as const;
  }));
  return (path) => rates.get(/^\[?([^.[\]]*)/.exec(path)![1]!) ?? base;
}
