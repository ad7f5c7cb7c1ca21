/**
 * Time and memory of one AllSpark training step in a process that does nothing else:
 * `deno task bench:step [--device --variant --crop --batch --classes --steps --optimizer --no-checkpointing]`.
 *
 * By default the largest case that the paper trains, cut to 1 + 1 images: MiT-B5 at crop 513 with the 21 classes of PASCAL,
 * the memory in use and the encoder's blocks computed again in the backward pass.
 *
 * @module
 */
import process from "node:process";
import {
  describeDevice,
  jit,
  memory,
  random,
  readAll,
  realize,
  setDevice,
  type Tensor,
} from "@allspark/tensor";
import { allsparkStep, newTrainState, type StepConfig } from "@allspark/tensor/models";
import { parseArgs } from "@std/cli";

const args = parseArgs(Deno.args, {
  string: ["device", "variant", "crop", "batch", "classes", "steps", "optimizer"],
  boolean: ["checkpointing"],
  negatable: ["checkpointing"],
  default: {
    device: "cpu",
    variant: "b5",
    crop: "513",
    batch: "1",
    classes: "21",
    steps: "1",
    optimizer: "sgd",
    checkpointing: true,
  },
});
const crop = Number(args.crop);
const batch = Number(args.batch);
const classes = Number(args.classes);
const config = {
  variant: args.variant as "b5",
  crop,
  classes,
  optimizer: args.optimizer as "sgd",
  recompute: args.checkpointing,
  useMemory: true,
} satisfies StepConfig;

function report(name: string, value: string): void {
  console.log(`${name.padEnd(32)} ${value}`);
}

/** Mebibytes of a number of bytes. */
function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}

await setDevice(args.device as "cpu");
console.log(await describeDevice());
const checkpointing = config.recompute ? "with checkpointing" : "without checkpointing";
console.log(
  `AllSpark step, ${args.variant}, crop ${crop}, ${batch} + ${batch} images, ${classes} classes, ` +
    `${args.optimizer}, memory in use, ${checkpointing}`,
);
let state = await realize(newTrainState(random.key(0), config));
const image = (seed: number): Tensor => random.normal(random.key(seed), [batch, 3, crop, crop]);
const mask = random.randint(random.key(3), [batch, crop, crop], { low: 0, high: classes });
const images = await realize({ labeled: { image: image(1), mask }, unlabeled: { image: image(2) } });
const key = await realize(random.key(4));
const step = jit(allsparkStep(config), { donate: [0] });

for (let k = 0; k <= Number(args.steps); k++) {
  const begin = performance.now();
  const result = step(state, images, key);
  const { loss } = await readAll({ loss: result.metrics.loss });
  state = result.state;
  const seconds = (performance.now() - begin) / 1000;
  report(
    k === 0 ? "first step, with compilation" : `step ${k + 1}`,
    `${seconds.toFixed(2)} s, loss ${loss![0]}`,
  );
}
const { liveBytes, pooledBytes } = memory.stats();
report("on the device", `${mebibytes(liveBytes)} live, ${mebibytes(pooledBytes)} for the step`);
report("peak resident set size", mebibytes(process.resourceUsage().maxRSS * 1024));
