/** The memory that a run needs, from its sizes, next to what the compiler plans. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { random } from "@allspark/tensor";
import {
  allsparkStep,
  type Batch,
  newTrainState,
  segment,
  type StepConfig,
  supervisedStep,
  type TrainState,
} from "@allspark/tensor/models";
import { largest, OptionError, type TrainConfig, trainConfig } from "@allspark/tensor/training";
import { heirsOf } from "../src/compiler/heirs.ts";
import { fewThreads } from "../src/compiler/split.ts";
import { lower } from "../src/programs.ts";
import { buildGraph } from "../src/graph.ts";
import type { Aval } from "../src/primitive.ts";
import { makePlaceholder, type Tensor } from "../src/tensor.ts";
import { stepConfigOf } from "../src/training/session_model.ts";
import { checkMemory, checkSizes, evaluationBytes, stepBytes } from "../src/training/sizes.ts";
import { treeMap, treeTensors } from "../src/tree.ts";

const stand = (aval: Aval): Tensor =>
  makePlaceholder(aval, { name: "the test", kind: "placeholder", active: false });
const target = { packsOperands: true, reductions: fewThreads };

/** Bytes that the compiler plans for a step: arguments, results that take no argument's place, and what is between. */
function plannedBytes(config: TrainConfig, classes: number): number {
  const { crop, batch } = config;
  const step: StepConfig = stepConfigOf(config, { classes, steps: 10 });
  const image = stand({ shape: [batch, 3, crop, crop], dtype: "f32" });
  const mask = stand({ shape: [batch, crop, crop], dtype: "i32" });
  const isSemi = config.method !== "supervised";
  const inputs = {
    state: treeMap<TrainState>(newTrainState(random.key(0), step), stand),
    batch: { labeled: { image, mask }, ...(isSemi && { unlabeled: { image } }) } as Batch,
    key: stand({ shape: [2], dtype: "u32" }),
  };
  const given = treeTensors(inputs);
  const results = treeTensors(
    (isSemi ? allsparkStep : supervisedStep)(step)(inputs.state, inputs.batch, inputs.key),
  );
  const program = lower(buildGraph(results, given).graph, target);
  const heirs = heirsOf(program, treeTensors(inputs.state).map((_, k) => k));
  const own = [...given, ...results.filter((_, k) => !heirs.has(k))].map(({ size }) => 4 * size);
  return [...own, ...program.slots].reduce((a, b) => a + b);
}

Deno.test("stepBytes() is within a quarter of what the compiler plans", () => {
  const cases: [Partial<TrainConfig>, classes: number][] = [
    [{ method: "supervised", variant: "b0", crop: 257, batch: 4 }, 21],
    [{ method: "allspark", variant: "64,128,320,512:1,1,1,1", crop: 193, batch: 2, checkpointing: true }, 8],
  ];
  for (const [given, classes] of cases) {
    const config = trainConfig({ imageSize: null, burnInSteps: 0, warmupSteps: 0, ...given });
    const ratio = stepBytes(config, classes) / plannedBytes(config, classes);
    assert(ratio > 0.75 && ratio < 1.25, `${JSON.stringify(given)}: ${ratio}`);
  }
});

Deno.test("evaluationBytes() is within a quarter of what the compiler plans", () => {
  for (const [variant, classes] of [["b0", 21], ["b0", 150]] as const) {
    const config = trainConfig({ variant, method: "supervised" });
    const model = treeMap(
      newTrainState(random.key(0), stepConfigOf(config, { classes, steps: 1 })),
      stand,
    ) as TrainState;
    const image = stand({ shape: [1, 3, 384, 512], dtype: "f32" });
    const logits = segment(model, image, { variant: variant as "b0" }).logits;
    const { slots } = lower(buildGraph([logits], treeTensors({ model, image })).graph, target);
    const planned = slots.reduce((a, b) => a + b, 0) + 4 * logits.size;
    const ratio = evaluationBytes(config, classes, { width: 512, height: 384 }) / planned;
    assert(ratio > 0.75 && ratio < 1.25, `${variant}, ${classes} classes: ${ratio}`);
  }
});

function problems(act: () => void): string[] {
  return (assertThrows(act, OptionError) as OptionError).problems;
}

Deno.test("sizes beyond all bounds are refused with the bound and the memory that they would need", () => {
  const small = {
    crop: largest.crop,
    batch: largest.batch,
    embedding: largest.embedding,
    heads: largest.heads,
  };
  checkSizes(trainConfig({ ...small, variant: "4096,4096,4095,4096:256,256,256,256" }));
  const cases: [Partial<TrainConfig>, RegExp][] = [
    [
      { crop: 999_999 },
      /^Cannot use --crop 999999: at most 4096 is possible; a training step .* about [\d.]+ PB of memory$/,
    ],
    [
      { batch: 1000 },
      /^Cannot use --batch 1000: at most 256 is possible; a training step would need about [\d.]+ GB of memory$/,
    ],
    [
      { embedding: 99_999_999 },
      /^Cannot use --embedding 99999999: at most 8192 is possible; .* about [\d.]+ PB of memory$/,
    ],
    [
      { heads: 65 },
      /^Cannot use --heads 65: at most 64 is possible; a training step would need about [\d.]+ GB of memory$/,
    ],
    [
      { variant: "8,16,40,64:1,1,1,999999999" },
      /^Cannot use --variant .*: at most 4096 channels and 256 blocks in a stage are possible; .* about [\d.]+ [TP]B of memory$/,
    ],
  ];
  for (const [given, sentence] of cases) {
    const found = problems(() => checkSizes(trainConfig(given)));
    assertEquals(found.length, 1);
    assert(sentence.test(found[0]!), found[0]);
  }
});

Deno.test("what the device cannot hold is refused before it is traced", () => {
  const available = 4 * 2 ** 30;
  const config = trainConfig({ variant: "b5", crop: 513, batch: 8, imageSize: "4096x4096" });
  assertEquals(problems(() => checkMemory(config, { classes: 21, available })), [
    "Cannot train with --batch 8, --crop 513 and --variant b5: a step needs about " +
    "30.1 GB of memory and the device has 4.3 GB; use a smaller batch or crop, or --checkpointing on",
    "Cannot evaluate images of 4096x4096 pixels: one needs about 9.7 GB of memory and the device has 4.3 GB; use a " +
    "smaller --image-size",
  ]);
  checkMemory(config, { classes: 21, available: Infinity });
  checkMemory(trainConfig({ variant: "b5", crop: 513, batch: 1, checkpointing: true }), {
    classes: 21,
    available,
  });
});
