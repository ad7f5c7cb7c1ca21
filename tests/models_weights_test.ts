/** Models from and to weight files: names, layouts, and what is refused. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import {
  fromStateDict,
  initModel,
  type Misfits,
  type Model,
  type ModelConfig,
  segment,
  toStateDict,
} from "../models/mod.ts";
import { describeModel, type Parameter } from "../models/parameters.ts";
import { modelShape } from "../models/config.ts";
import { random, zeros } from "../ops/mod.ts";
import { DTypeError } from "../src/errors.ts";
import { readAll } from "../src/evaluate.ts";
import {
  type ArrayEntry,
  FileFormatError,
  findStateDict,
  readWeights,
  writeSafetensors,
} from "../src/io/mod.ts";
import { treeLeaves, treeTensors } from "../src/tree.ts";
import { onCpu } from "./support/devices.ts";

const variant = {
  dims: [8, 16, 24, 32],
  depths: [1, 2, 1, 1],
  heads: [1, 2, 2, 4],
  srRatios: [8, 4, 2, 1],
} as const;
const config: ModelConfig = { variant, classes: 3, embedding: 16, crop: 65 };

/** Names and shapes of a described model. */
function namesOf(config: ModelConfig): Map<string, readonly number[]> {
  const parameters = treeLeaves(describeModel(modelShape(config))) as Parameter[];
  return new Map(parameters.map(({ name, shape }) => [name, shape]));
}

async function assertSameModel(a: Model, b: Model): Promise<void> {
  const [mine, others] = [a, b].map(({ params, bnState, memState }) =>
    treeTensors({ params, bnState, memState })
  );
  assertEquals(
    mine!.map(({ shape, dtype }) => [shape, dtype]),
    others!.map(({ shape, dtype }) => [shape, dtype]),
  );
  const values = await readAll(Object.fromEntries([...mine!, ...others!].map((x, k) => [`${k}`, x])));
  mine!.forEach((_, k) => assertEquals(values[k], values[k + mine!.length]));
}

Deno.test("describeModel() has the official names and shapes of all variants", async () => {
  const encoders = { b0: 176, b1: 176, b2: 332, b3: 572, b4: 832, b5: 1052 } as const;
  for (const [variant, count] of Object.entries(encoders)) {
    const names = namesOf({ variant: variant as "b0", classes: 21, allspark: false });
    assertEquals([...names.keys()].filter((name) => name.startsWith("backbone.")).length, count);
    assertEquals(names.size, count + 16);
  }
  const path = new URL("../../shared/spec/state_dict_shapes.json", import.meta.url);
  const text = await Deno.readTextFile(path).catch(() => undefined);
  if (text === undefined) return;
  const lists = JSON.parse(text) as Record<string, Record<string, number[]>>;
  const sorted = (names: Iterable<readonly [string, readonly number[]]>) =>
    Object.fromEntries([...names].sort());
  for (const variant of ["b0", "b1", "b2", "b3", "b4", "b5"] as const) {
    const names = namesOf({ variant, classes: 21 });
    const decoder =
      lists[{ b0: "decoder_b0_k21_513_embed256", b5: "decoder_b5_k21_513" }[variant as "b0"] ?? ""];
    const expected = [
      ...Object.entries(lists[variant]!).map(([name, shape]) => [`backbone.${name}`, shape] as const),
      ...Object.entries(decoder ?? {}).map(([name, shape]) => [`decoder.${name}`, shape] as const),
    ];
    const own = [...names].filter(([name]) => decoder !== undefined || name.startsWith("backbone."));
    assertEquals(sorted(own), sorted(expected));
  }
});

onCpu("toStateDict() and fromStateDict() are inverse, through a file and with prefixes", async () => {
  for (const allspark of [true, false]) {
    const model = initModel(random.key(1), { ...config, allspark });
    const entries = await toStateDict(model);
    assertEquals(new Set(entries.keys()), new Set(namesOf({ ...config, allspark }).keys()));
    assertEquals(entries.get("decoder.decoder.linear_fuse.bn.num_batches_tracked")!.dtype, "i64");
    const wrapped = new Map([...entries].map(([name, entry]) => [`module.${name}`, entry]));
    const file = await readWeights(writeSafetensors(wrapped));
    await assertSameModel(fromStateDict(findStateDict(file.tree), { variant }), model);
    await assertSameModel(fromStateDict(wrapped, { variant, classes: 3, embedding: 16 }), model);
  }
});

onCpu("fromStateDict() puts an encoder alone into a new model, and leaves its class head out", async () => {
  const trained = initModel(random.key(1), config);
  const base = initModel(random.key(2), config);
  const entries = [...await toStateDict(trained)].flatMap(([name, entry]) =>
    name.startsWith("backbone.") ? [[name.slice("backbone.".length), entry] as const] : []
  );
  const head: ArrayEntry = { shape: [1000, 32], dtype: "f32", data: new Float32Array(32000) };
  const loaded = fromStateDict(new Map([...entries, ["head.weight", head]]), { variant, base });
  const expected = { ...base, params: { ...base.params, backbone: trained.params.backbone } };
  await assertSameModel(loaded, expected);
  assertThrows(() => fromStateDict(new Map(entries), { variant, classes: 3 }), FileFormatError, "missing");
});

/** What Hugging Face calls a name of ours. */
const huggingFace: readonly (readonly [RegExp, string])[] = [
  [/^backbone\.patch_embed(\d)\.proj/, "segformer.encoder.patch_embeddings.#.proj"],
  [/^backbone\.patch_embed(\d)\.norm/, "segformer.encoder.patch_embeddings.#.layer_norm"],
  [/^backbone\.norm(\d)/, "segformer.encoder.layer_norm.#"],
  [/^backbone\.block(\d)\./, "segformer.encoder.block.#."],
  [/^decoder\.decoder\.linear_c(\d)/, "decode_head.linear_c.#"],
  [/^decoder\.decoder\.linear_fuse\.conv/, "decode_head.linear_fuse"],
  [/^decoder\.decoder\.linear_fuse\.bn/, "decode_head.batch_norm"],
  [/^decoder\.decoder\.linear_pred/, "decode_head.classifier"],
  [/\.norm([12])(?=\.(?:weight|bias)$)/, ".layer_norm_@"],
  [/\.attn\.q\./, ".attention.self.query."],
  [/\.attn\.sr\./, ".attention.self.sr."],
  [/\.attn\.norm\./, ".attention.self.layer_norm."],
  [/\.attn\.proj\./, ".attention.output.dense."],
  [/\.mlp\.fc([12])\./, ".mlp.dense@."],
];

function toHuggingFace(name: string): string {
  return huggingFace.reduce(
    (text, [pattern, to]) =>
      text.replace(pattern, (_, digit) => to.replace("#", String(Number(digit) - 1)).replace("@", digit)),
    name,
  );
}

onCpu("fromStateDict() reads Hugging Face's names", async () => {
  const model = initModel(random.key(3), { ...config, allspark: false });
  const entries = new Map<string, ArrayEntry>();
  for (const [name, entry] of await toStateDict(model)) {
    const renamed = toHuggingFace(name);
    if (!name.includes(".attn.kv.")) {
      entries.set(renamed, entry);
      continue;
    }
    const half = entry.data.length / 2;
    const shape = [entry.shape[0]! / 2, ...entry.shape.slice(1)];
    for (const [k, part] of ["key", "value"].entries()) {
      const data = (entry.data as Float32Array).slice(k * half, (k + 1) * half);
      entries.set(renamed.replace(".attn.kv.", `.attention.self.${part}.`), { shape, dtype: "f32", data });
    }
  }
  assert(entries.has("segformer.encoder.block.1.1.attention.self.key.weight"));
  assert(entries.has("segformer.encoder.block.0.0.layer_norm_2.bias"));
  await assertSameModel(fromStateDict(entries, { variant }), model);
  const encoder = new Map(
    [...entries].filter(([name]) => name.startsWith("segformer.")).map(([name, entry]) => [
      name.replace("segformer.", ""),
      entry,
    ]),
  );
  const base = initModel(random.key(4), config);
  const loaded = fromStateDict(encoder, { variant, base });
  await assertSameModel(loaded, { ...base, params: { ...base.params, backbone: model.params.backbone } });
});

onCpu("fromStateDict() takes names as wrappers leave them, and absent counters as 0", async () => {
  const model = initModel(random.key(1), config);
  const entries = await toStateDict(model);
  const counter = "decoder.decoder.linear_fuse.bn.num_batches_tracked";
  assert(entries.delete(counter));
  const averaged: ArrayEntry = { shape: [], dtype: "i64", data: BigInt64Array.of(9n) };
  for (const prefix of ["", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module."]) {
    const wrapped = new Map([...entries].map(([name, entry]) => [prefix + name, entry]));
    if (prefix.startsWith("module.")) wrapped.set("n_averaged", averaged);
    await assertSameModel(fromStateDict(wrapped, { variant, classes: 3 }), model);
    const file = await readWeights(writeSafetensors(wrapped));
    await assertSameModel(fromStateDict(findStateDict(file.tree), { variant, classes: 3 }), model);
  }
  entries.set(counter, { ...averaged, data: BigInt64Array.of(7n) });
  const counted = fromStateDict(entries, { variant, classes: 3 });
  assertEquals(await counted.bnState.count.item(), 7);
  // A part that is missing as a whole keeps the counter of the base.
  const encoder = new Map([...entries].filter(([name]) => name.startsWith("backbone.")));
  assertEquals(await fromStateDict(encoder, { variant, base: counted }).bnState.count.item(), 7);
});

onCpu("fromStateDict() takes what fits where that is wanted, and lists what does not", async () => {
  const trained = initModel(random.key(1), config);
  const base = initModel(random.key(2), { ...config, classes: 5 });
  const entries = await toStateDict(trained);
  entries.delete("backbone.norm1.bias");
  entries.set("auxiliary.weight", entries.get("backbone.norm1.weight")!);
  const lists: Misfits[] = [];
  const model = fromStateDict(entries, { variant, base, onMisfits: (misfits) => lists.push(misfits) });
  assertEquals(lists.length, 1);
  const { missing, unexpected, misshapen } = lists[0]!;
  assertEquals(missing, ["backbone.norm1.bias"]);
  assertEquals(unexpected, ["auxiliary.weight"]);
  assert(misshapen.includes("decoder.decoder.linear_pred.bias [3] instead of [5]"), misshapen.join());
  const values = await readAll({
    taken: model.params.backbone.stages[0]!.norm.gain,
    trained: trained.params.backbone.stages[0]!.norm.gain,
    kept: model.params.decoder.classify.weight,
    base: base.params.decoder.classify.weight,
  });
  assertEquals(values.taken, values.trained);
  assertEquals(values.kept, values.base);
  // Nothing to list, nothing called.
  const same = fromStateDict(await toStateDict(base), {
    variant,
    base: initModel(random.key(3), { ...config, classes: 5 }),
    onMisfits: () => assert(false),
  });
  await assertSameModel(same, base);
  assertThrows(
    () =>
      fromStateDict(new Map([["x", entries.get("auxiliary.weight")!]]), {
        variant,
        base,
        onMisfits: () => {},
      }),
    FileFormatError,
    "Cannot load the weights",
  );
  assertThrows(
    () => fromStateDict(entries, { variant, onMisfits: () => {} }),
    TypeError,
    "needs a base model",
  );
});

onCpu(
  "fromStateDict() refuses values that its dtypes do not hold, and arrays that do not fit together",
  async () => {
    const entries = await toStateDict(initModel(random.key(1), config));
    const counter = "decoder.decoder.linear_fuse.bn.num_batches_tracked";
    const large = new Map(entries).set(counter, {
      shape: [],
      dtype: "i64",
      data: BigInt64Array.of(2n ** 40n),
    });
    assertThrows(
      () => fromStateDict(large, { variant, classes: 3 }),
      DTypeError,
      `Cannot load ${counter} as i32: element 0 is 1099511627776`,
    );
    const half = (shape: number[]): ArrayEntry => ({ shape, dtype: "f32", data: new Float32Array(64) });
    const uneven = new Map([
      ["encoder.patch_embeddings.0.proj.bias", half([64])],
      ["encoder.block.0.0.attention.self.key.weight", half([8, 8])],
      ["encoder.block.0.0.attention.self.value.weight", half([4, 16])],
    ]);
    assertThrows(
      () => fromStateDict(uneven, { variant, classes: 3 }),
      FileFormatError,
      "rows of one size are required",
    );
    // Names that the patterns of Hugging Face's do not foresee.
    for (
      const odd of ["encoder.block.0.0.constructor", "encoder.block.0.0.toString.weight", "decode_head.x"]
    ) {
      const file = new Map([...uneven].slice(0, 1)).set(odd, half([64]));
      assertThrows(() => fromStateDict(file, { variant, classes: 3 }), FileFormatError, "missing");
    }
  },
);

onCpu("fromStateDict() names everything that is missing, unexpected or misshapen, in one error", async () => {
  const entries = await toStateDict(initModel(random.key(1), config));
  const bias = entries.get("backbone.norm1.bias")!;
  entries.delete("backbone.norm1.bias");
  entries.set("backbone.norm9.bias", bias);
  entries.set("decoder.allspark.attn.queue_ptr", bias);
  const error = assertThrows(() => fromStateDict(entries, { variant, classes: 3 }), FileFormatError);
  assertEquals(
    error.message,
    "Cannot load the weights: 1 missing: backbone.norm1.bias; 1 unexpected: backbone.norm9.bias; " +
      "1 misshapen: decoder.allspark.attn.queue_ptr [8] instead of [3]",
  );
  const other = assertThrows(() => fromStateDict(entries, { variant: "b0", classes: 4 }), FileFormatError);
  assert(/ and \d+ more/.test(other.message), other.message);
});

onCpu("fromStateDict() refuses the released checkpoints' older model in one sentence", async () => {
  const entries = await toStateDict(initModel(random.key(1), config));
  const old = entries.get("backbone.norm1.bias")!;
  for (const name of ["embeddings.patch_embeddings.weight", "encoder.layer.0.attn_norm1.weight"]) {
    const released = new Map([...entries, [`module.decoder.allspark.${name}`, old]]);
    assertThrows(
      () => fromStateDict(released, { variant, classes: 3 }),
      FileFormatError,
      `released AllSpark checkpoint (it has decoder.allspark.${name})`,
    );
  }
});

onCpu("fromStateDict() loads the trained models of the CamVid reference", async () => {
  const folder = new URL("../../shared/golden/camvid/", import.meta.url);
  const files = { "scratch-supervised-s1-final": false, "warm-allspark-s1-final": true };
  for (const [name, allspark] of Object.entries(files)) {
    const file = await readWeights(new URL(`${name}.safetensors`, folder)).catch((error) => {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    });
    if (file === undefined) continue;
    const model = fromStateDict(findStateDict(file.tree), { variant: "b0", classes: 11 });
    assertEquals(model.params.allspark !== undefined, allspark);
    assertEquals(segment(model, zeros([1, 3, 180, 240]), { variant: "b0" }).logits.shape, [1, 11, 180, 240]);
    assertThrows(
      () => {
        fromStateDict(findStateDict(file.tree), { variant: "b0", classes: 21 });
      },
      FileFormatError,
      "linear_pred.weight [11, 256, 1, 1] instead of [21, 256, 1, 1]",
    );
  }
});
