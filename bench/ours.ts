/**
 * This library as a participant: `deno run -A bench/ours.ts cpu|webgpu`.
 *
 * @module
 */
import {
  add,
  attention,
  conv2d,
  describeDevice,
  dispose,
  gelu,
  jit,
  layerNorm,
  matmul,
  mul,
  realize,
  setDevice,
  softmax,
  sum,
  type Tensor,
} from "@allspark/tensor";
import type { Case } from "./cases.ts";
import { settle, tensorOf } from "./ours_device.ts";
import { allsparkJob, encoderOf, stepJob } from "./ours_steps.ts";
import { type Job, serve } from "./serve.ts";
import { mapSpecs } from "./values.ts";

type Options = NonNullable<Case["options"]>;

const operations: Record<string, (inputs: readonly Tensor[], options: Options) => Tensor | Tensor[]> = {
  matmul: ([a, b]) => matmul(a!, b!),
  gelu: ([x]) => add(gelu(add(mul(x!, 1.5), 0.25)), x!),
  sum: ([x]) => sum(x!),
  softmax: ([x]) => softmax(x!),
  layerNorm: ([x, gain, bias]) => layerNorm(x!, gain!, bias!, { eps: 1e-5 }),
  convolution: ([x, weight], { stride, padding, groups }) =>
    conv2d(x!, weight!, { stride: stride!, padding: padding!, groups: groups! }),
  attention: ([q, k, v]) => attention(q!, k!, v!),
  // Products do not fuse with each other.
  launches: ([x]) =>
    Array.from({ length: 10 }, (_, chain) => {
      let y = mul(x!, chain / 10);
      for (let k = 0; k < 100; k++) y = matmul(y, x!);
      return y;
    }),
};

/** A job that calls a compiled function again and again; its first result is looked at. */
function callJob(call: () => Tensor[], release: () => void): Job {
  let last: Tensor[] = [];
  return {
    run(calls) {
      for (let k = 0; k < calls; k++) {
        dispose(last); // its memory is the next result's
        last = call();
      }
    },
    wait: () => settle(last.at(-1)!),
    values: () => last.at(-1)!.data(),
    release() {
      dispose(last);
      release();
    },
  };
}

async function prepare(item: Case): Promise<Job> {
  if (item.operation === "allsparkStep") return await allsparkJob(item);
  const inputs = await realize(item.inputs.map(tensorOf));
  const options = item.options ?? {};
  if (item.parameters !== undefined) {
    const parameters = await realize(mapSpecs(item.parameters, tensorOf));
    if (item.operation.endsWith("Step")) return stepJob(item, parameters, inputs);
    const forward = jit((
      parameters: unknown,
      image: Tensor,
    ) => [encoderOf(parameters, image, options).at(-1)!]);
    return callJob(() => forward(parameters, inputs[0]!), () => dispose([parameters, inputs]));
  }
  const operation = operations[item.operation];
  if (operation === undefined) throw new Error(`there is no operation ${item.operation}`);
  const compiled = jit((...inputs: Tensor[]) => [operation(inputs, options)].flat());
  return callJob(() => compiled(...inputs), () => dispose(inputs));
}

await setDevice(Deno.args[0] as "cpu" | "webgpu");
console.error(await describeDevice());
await serve(prepare);
Deno.exit(0);
