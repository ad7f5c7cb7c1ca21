// Weights that a run starts from or a program uses: which of several models, and what does not fit.
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { initModel, type Misfits, toStateDict } from "../models/mod.ts";
import { random } from "../ops/mod.ts";
import { readAll } from "../src/evaluate.ts";
import { FileFormatError, writeSafetensors } from "../src/io/mod.ts";
import { trainConfig, trainOptions } from "../src/training/config.ts";
import { evaluateConfig, evaluateOptions } from "../src/training/config_inference.ts";
import { OptionError, readOptions } from "../src/training/options.ts";
import { loadModel, withPretrained } from "../src/training/session_model.ts";
import { onCpu } from "./support/devices.ts";
import { int32, storage, tensor, torchFile, unicode } from "./support/weight_files.ts";

const variant = "8,16,40,64:1,1,1,1";
const sizes = {
  variant: { dims: [8, 16, 40, 64], depths: [1, 1, 1, 1], heads: [1, 2, 5, 8], srRatios: [8, 4, 2, 1] },
  embedding: 16,
  crop: 33,
  allspark: false,
} as const;

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test("options choose one of several models, and a part of one", () => {
  const given = (...args: string[]) => trainConfig(readOptions(trainOptions, args).values);
  const config = given("--pretrained", "x.pth", "--pretrained-key", "teacher", "--pretrained-partial", "on");
  assertEquals([config.pretrainedKey, config.pretrainedPartial], ["teacher", true]);
  assertEquals([given().pretrainedKey, given().pretrainedPartial], [null, false]);
  for (const args of [["--pretrained-key", "teacher"], ["--pretrained-partial", "on"]]) {
    const { problems } = assertThrows(() => given(...args), OptionError) as OptionError;
    assertEquals(problems.length, 1);
    assert(problems[0]!.startsWith(`Cannot use ${args[0]} without --pretrained: `), problems[0]);
  }
  const evaluated = evaluateConfig(
    readOptions(evaluateOptions, ["--weights", "x.pth", "--weights-key", "ema"]).values,
  );
  assertEquals(evaluated.weightsKey, "ema");
});

/** A `.pth` with a teacher of ones and a student of twos: a single parameter each. */
function teacherAndStudent(): Uint8Array {
  const model = (key: string): string =>
    `}(${unicode("module.backbone.norm1.weight")}${
      tensor({ of: storage({ key, count: 8 }), shape: "K\x08\x85" })
    }u`;
  return torchFile(
    `\x80\x02}(${unicode("teacher")}${model("0")}${unicode("student")}${model("1")}${unicode("epoch")}${
      int32(3)
    }u.`,
    {
      storages: {
        0: new Uint8Array(new Float32Array(8).fill(1).buffer),
        1: new Uint8Array(new Float32Array(8).fill(2).buffer),
      },
    },
  );
}

onCpu(
  "withPretrained() asks for a key where a file has several models, and takes what fits where that is enough",
  () =>
    inFolder(async (folder) => {
      const path = `${folder}/both.pth`;
      await Deno.writeFile(path, teacherAndStudent());
      const base = initModel(random.key(1), { ...sizes, classes: 3 });
      await assertRejects(
        () => withPretrained(base, path, variant),
        FileFormatError,
        "Cannot choose the weights: teacher and student both hold a model; the key of one of them is required " +
          `(${path}; --pretrained-key chooses)`,
      );
      await assertRejects(
        () => withPretrained(base, path, variant, { key: "momentum" }),
        FileFormatError,
        "Cannot find the weights under momentum: the file has teacher, student, epoch",
      );
      await assertRejects(
        () => withPretrained(base, path, variant, { key: "teacher" }),
        FileFormatError,
        `(${path}; --pretrained-partial on takes what fits)`,
      );
      for (const [key, value] of [["teacher", 1], ["student", 2]] as const) {
        const lists: Misfits[] = [];
        const model = await withPretrained(base, path, variant, {
          key,
          onMisfits: (misfits) => lists.push(misfits),
        });
        const { gain, kept, own } = await readAll({
          gain: model.params.backbone.stages[0]!.norm.gain,
          kept: model.params.decoder.classify.weight,
          own: base.params.decoder.classify.weight,
        });
        assertEquals([...gain!], Array(8).fill(value));
        assertEquals(kept, own);
        assert(lists.length === 1 && lists[0]!.missing.includes("backbone.norm1.bias"));
      }
    }),
);

onCpu(
  "withPretrained() takes a model of another number of classes, but for its last layer",
  () =>
    inFolder(async (folder) => {
      const path = `${folder}/five.safetensors`;
      const trained = initModel(random.key(2), { ...sizes, classes: 5 });
      await Deno.writeFile(path, writeSafetensors(await toStateDict(trained)));
      const base = initModel(random.key(1), { ...sizes, classes: 3 });
      await assertRejects(
        () => withPretrained(base, path, variant),
        FileFormatError,
        `linear_pred.weight [5, 16, 1, 1] instead of [3, 16, 1, 1] (${path}; --pretrained-partial on takes what fits)`,
      );
      const lists: Misfits[] = [];
      const model = await withPretrained(base, path, variant, {
        onMisfits: (misfits) => lists.push(misfits),
      });
      const weight = "decoder.decoder.linear_pred.weight [5, 16, 1, 1] instead of [3, 16, 1, 1]";
      const bias = "decoder.decoder.linear_pred.bias [5] instead of [3]";
      assertEquals(lists, [{ missing: [], unexpected: [], misshapen: [bias, weight] }]);
      const { fuse, same, last, own } = await readAll({
        fuse: model.params.decoder.fuse,
        same: trained.params.decoder.fuse,
        last: model.params.decoder.classify.weight,
        own: base.params.decoder.classify.weight,
      });
      assertEquals([fuse, last], [same, own]);
    }),
);

onCpu(
  "a file of weights that cannot be used is named, whatever is wrong with it",
  () =>
    inFolder(async (folder) => {
      const load = (weights: string) =>
        loadModel(evaluateConfig({ weights, variant, weightsKey: null, embedding: 16, classes: null }));
      const entries = await toStateDict(initModel(random.key(2), { ...sizes, classes: 3 }));
      const good = writeSafetensors(entries);
      entries.delete("backbone.norm1.bias");
      const counter = "decoder.decoder.linear_fuse.bn.num_batches_tracked";
      const files: [string, Uint8Array, string][] = [
        ["cut.safetensors", good.subarray(0, 100), "it is a safetensors file that ends within its header"],
        ["short.safetensors", good.subarray(0, good.length - 4), "ends at byte"],
        ["missing.safetensors", writeSafetensors(entries), "1 missing: backbone.norm1.bias"],
        [
          "large.safetensors",
          writeSafetensors(
            new Map(await toStateDict(initModel(random.key(2), { ...sizes, classes: 3 })))
              .set(counter, { shape: [], dtype: "i64", data: BigInt64Array.of(2n ** 40n) }),
          ),
          `Cannot load ${counter} as i32`,
        ],
        ["both.pth", teacherAndStudent(), "--weights-key chooses"],
        ["page.pth", new TextEncoder().encode("<!doctype html>"), "it is a web page"],
      ];
      for (const [name, bytes, reason] of files) {
        const path = `${folder}/${name}`;
        await Deno.writeFile(path, bytes);
        const { message } = await assertRejects(() => load(path), FileFormatError, reason);
        assert(message.includes(path), message);
      }
      await assertRejects(
        () => load(folder),
        FileFormatError,
        `Cannot load weights ${folder}: it is a folder`,
      );
      await assertRejects(() => load(`${folder}/no`), Deno.errors.NotFound, "there is no such file");
      await Deno.writeFile(`${folder}/good.safetensors`, good);
      assertEquals((await load(`${folder}/good.safetensors`)).classCount, 3);
    }),
);
