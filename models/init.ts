/**
 * How models begin: the initialisers of the official code, from an explicit random key.
 *
 * @module
 */
import { full, random } from "../ops/mod.ts";
import type { Tensor } from "../src/tensor.ts";
import { treeFlatten } from "../src/tree.ts";
import { mitSizes, type MitVariant, type ModelConfig, modelShape } from "./config.ts";
import {
  describeMitEncoder,
  describeModel,
  type MitParams,
  type Model,
  type Parameter,
} from "./parameters.ts";

/**
 * A new encoder: linear weights normal with standard deviation 0.02, convolutions with √(2 / fan out), biases 0,
 * norms 1 and 0.
 *
 * @param key Random key.
 * @param options The encoder's sizes.
 * @example
 * ```ts
 * import { random } from "@allspark/tensor";
 * import { initMitEncoder } from "@allspark/tensor/models";
 * import { assertEquals } from "@std/assert";
 * const { stages } = initMitEncoder(random.key(0), { variant: "b0" });
 * assertEquals(stages[0]!.patches.projection.weight.shape, [32, 3, 7, 7]);
 * ```
 */
export function initMitEncoder(key: Tensor, options: { readonly variant: MitVariant }): MitParams {
  return draw(key, describeMitEncoder(mitSizes(options.variant), "")) as MitParams;
}

/**
 * A new model: encoder as {@linkcode initMitEncoder}; the head's and AllSpark's layers uniform within
 * ± 1/√(fan in), the fusion normal with √(2/E), AllSpark's projections Xavier-uniform; norms 1 and 0; the memory standard
 * normal, as in the official code.
 *
 * @param key Random key. Models with the same key have the same encoder, whatever stands behind it.
 * @param config The model.
 * @returns Parameters, running statistics and memory; nothing is computed until it is needed.
 * @throws {RangeError} If a size is not possible.
 * @example
 * ```ts
 * import { random } from "@allspark/tensor";
 * import { initModel } from "@allspark/tensor/models";
 * import { assertEquals } from "@std/assert";
 * const { params } = initModel(random.key(0), { variant: "b0", classes: 21, crop: 129 });
 * assertEquals(params.decoder.classify.weight.shape, [21, 256, 1, 1]);
 * ```
 */
export function initModel(key: Tensor, config: ModelConfig): Model {
  const { params, bnState, memState } = describeModel(modelShape(config));
  const [first, second, third, fourth] = random.split(key, 4) as [Tensor, Tensor, Tensor, Tensor];
  const { backbone, decoder, allspark } = params;
  return {
    params: {
      backbone: draw(first, backbone) as MitParams,
      decoder: draw(second, decoder) as Model["params"]["decoder"],
      ...(allspark === undefined ? {} : {
        allspark: draw(third, allspark) as NonNullable<Model["params"]["allspark"]>,
      }),
    },
    bnState: draw(second, bnState) as Model["bnState"],
    memState: draw(fourth, memState) as Model["memState"],
  };
}

/** A tree of first values for a tree of descriptions. */
function draw(key: Tensor, description: unknown): unknown {
  const { leaves, unflatten } = treeFlatten(description);
  return unflatten(leaves.map((leaf, k) => firstValue(key, k, leaf as Parameter)));
}

function firstValue(key: Tensor, index: number, { shape, dtype, initial }: Parameter): Tensor {
  switch (initial.kind) {
    case "constant":
      return full(shape, initial.value, { dtype });
    case "normal":
      return random.normal(random.foldIn(key, index), shape, { std: initial.std });
    case "uniform":
      return random.uniform(random.foldIn(key, index), shape, { low: -initial.bound, high: initial.bound });
  }
}
