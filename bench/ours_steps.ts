/**
 * The training steps: a perceptron, the encoder, and AllSpark.
 *
 * @module
 */
import {
  add,
  dispose,
  jit,
  logSoftmax,
  matmul,
  mean,
  mul,
  random,
  realize,
  relu,
  sgd,
  square,
  sub,
  sum,
  type Tensor,
  valueAndGrad,
} from "@allspark/tensor";
import {
  allsparkStep,
  initMitEncoder,
  mitEncoder,
  type MitStage,
  type MitVariant,
  newTrainState,
  type StepConfig,
} from "@allspark/tensor/models";
import type { Case } from "./cases.ts";
import { settle } from "./ours_device.ts";
import type { Job } from "./serve.ts";

type Options = NonNullable<Case["options"]>;

/** The encoder of a number from 0 to 5. */
function variantOf({ variant }: Options): MitVariant {
  return `b${variant}` as MitVariant;
}

/** Features of an encoder's first stages, whose parameters are given. */
export function encoderOf(parameters: unknown, image: Tensor, options: Options): Tensor[] {
  const variant = variantOf(options);
  const stages = parameters as MitStage[];
  // The encoder wants all four stages. What nobody reads is never computed, so the rest may be anything.
  const rest = initMitEncoder(random.key(0), { variant }).stages.slice(stages.length);
  return mitEncoder({ stages: [...stages, ...rest] }, image, { variant }).slice(0, stages.length);
}

interface Layer {
  readonly weight: Tensor;
  readonly bias: Tensor;
}

/** Losses by operation: of parameters and inputs. */
const losses: Record<string, (parameters: unknown, inputs: readonly Tensor[], options: Options) => Tensor> = {
  perceptronStep: (parameters, [images, labels]) => {
    const layers = parameters as Layer[];
    const logits = layers.reduce(
      (x, { weight, bias }, k) => add(matmul(k === 0 ? x : relu(x), weight), bias),
      images!,
    );
    return mul(sum(mul(logSoftmax(logits), labels!)), -1 / images!.shape[0]!);
  },
  encoderStep: (parameters, [image, ...targets], options) =>
    encoderOf(parameters, image!, options)
      .map((feature, k) => mean(square(sub(feature, targets[k]!))))
      .reduce((a, b) => add(a, b)),
};

/** Runs a step again and again on what it left behind. */
function trainingJob<State>(
  start: State,
  step: (state: State) => { loss: Tensor; state: State },
  release: () => void,
): Job {
  let state = start;
  let loss: Tensor | undefined;
  return {
    run(calls) {
      for (let k = 0; k < calls; k++) {
        loss?.dispose();
        ({ loss, state } = step(state));
      }
    },
    wait: () => settle(loss!),
    values: () => loss!.data(),
    release() {
      dispose([state, loss]);
      release();
    },
  };
}

/** A step of plain gradient descent. */
export function stepJob(item: Case, parameters: unknown, inputs: readonly Tensor[]): Job {
  const lossOf = losses[item.operation];
  if (lossOf === undefined) throw new Error(`there is no operation ${item.operation}`);
  const options = item.options!;
  const optimizer = sgd({ learningRate: options.learningRate! });
  const step = jit((parameters: unknown, inputs: readonly Tensor[]) => {
    const [loss, gradients] = valueAndGrad((parameters: unknown) => lossOf(parameters, inputs, options))(
      parameters,
    );
    return { loss, state: optimizer.update(gradients, {}, parameters).params };
  }, { donate: [0] });
  return trainingJob(parameters, (state) => step(state, inputs), () => dispose(inputs));
}

/**
 * The training step of AllSpark after its warm-up: the memory is full and is read. (A new memory is full of noise,
 * which costs the same.)
 */
export async function allsparkJob({ options }: Case): Promise<Job> {
  const { images, crop, classes } = options as Record<"images" | "crop" | "classes", number>;
  const config: StepConfig = { variant: variantOf(options!), classes, crop, useMemory: true };
  const image = (seed: number): Tensor => random.normal(random.key(seed), [images, 3, crop, crop]);
  const mask = random.randint(random.key(3), [images, crop, crop], { low: 0, high: classes });
  const batch = await realize({ labeled: { image: image(1), mask }, unlabeled: { image: image(2) } });
  const key = await realize(random.key(4));
  const step = jit(allsparkStep(config), { donate: [0] });
  const start = await realize(newTrainState(random.key(0), config));
  return trainingJob(start, (state) => {
    const { state: next, metrics } = step(state, batch, key);
    const { loss, ...others } = metrics;
    dispose(others);
    return { loss, state: next };
  }, () => dispose([batch, key]));
}
