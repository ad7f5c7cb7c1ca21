import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { ArrayEntry } from "../src/io/array.ts";
import { FileFormatError } from "../src/io/array.ts";
import { writeSafetensors } from "../src/io/safetensors.ts";
import {
  type Checkpoint,
  checkResume,
  isCheckpoint,
  loadCheckpoint,
  saveCheckpoint,
  saveRunCheckpoint,
} from "../src/training/checkpoint.ts";
import {
  makeRunFolder,
  removeHalfWritten,
  runFiles,
  WriteError,
  writeFileAtomic,
} from "../src/training/checkpoint_files.ts";
import { trainConfig, trainOptions } from "../src/training/config.ts";
import { OptionError, readOptionFile, readOptions } from "../src/training/options.ts";
import { inFolder } from "./support/folders.ts";

const classes = [
  { name: "sky", color: [128, 128, 128] as const },
  { name: "road", color: [128, 64, 128] as const },
];

function example(step = 7): Checkpoint {
  const arrays = new Map<string, ArrayEntry>([
    ["params/weight", { shape: [2, 2], dtype: "f32", data: new Float32Array([1, -0, NaN, 1e-40]) }],
    ["memState/pointer", { shape: [3], dtype: "i32", data: new Int32Array([-1, 2, 3]) }],
    ["key", { shape: [2], dtype: "u32", data: new Uint32Array([4294967295, 0]) }],
    ["step", { shape: [], dtype: "i32", data: new Int32Array([step]) }],
  ]);
  return {
    arrays,
    meta: { config: trainConfig({ steps: 100, burnInSteps: 0 }), classes, step, bestMeanIoU: 0.25 },
  };
}

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

Deno.test("loadCheckpoint() gives back what saveCheckpoint() was given, bit for bit", () =>
  inFolder(async (folder) => {
    const path = `${folder}/some.safetensors`;
    const checkpoint = example();
    await saveCheckpoint(path, checkpoint);
    const { arrays, meta } = await loadCheckpoint(path);
    assertEquals(meta, checkpoint.meta);
    assertEquals([...arrays.keys()], [...checkpoint.arrays.keys()]);
    for (const [name, entry] of arrays) {
      const expected = checkpoint.arrays.get(name)!;
      assertEquals([entry.dtype, entry.shape], [expected.dtype, expected.shape]);
      assertEquals(new Uint8Array(entry.data.buffer), new Uint8Array(expected.data.buffer), name);
    }
    assertEquals(names(folder), ["some.safetensors"], "no temporary file is left");
  }));

Deno.test("a run keeps its latest and its best checkpoint, and resumes from the latest", () =>
  inFolder(async (folder) => {
    await saveRunCheckpoint(folder, example(1), { best: true });
    await saveRunCheckpoint(folder, example(2), { best: false });
    assertEquals(names(folder), [runFiles.best, runFiles.latest]);
    assertEquals((await loadCheckpoint(folder)).meta.step, 2);
    assertEquals((await loadCheckpoint(`${folder}/${runFiles.best}`)).meta.step, 1);
  }));

Deno.test("truncated and foreign files are refused with a sentence that names them", () =>
  inFolder(async (folder) => {
    const path = `${folder}/some.safetensors`;
    await saveCheckpoint(path, example());
    const bytes = await Deno.readFile(path);
    assert(isCheckpoint(bytes));
    for (const length of [0, 5, 100, bytes.length - 1]) {
      await Deno.writeFile(path, bytes.subarray(0, length));
      await assertRejects(
        () => loadCheckpoint(path),
        FileFormatError,
        `Cannot load checkpoint ${path}: it is truncated, damaged or not a checkpoint`,
      );
    }
    const weights = writeSafetensors(example().arrays);
    assert(!isCheckpoint(weights));
    await Deno.writeFile(path, weights);
    await assertRejects(() => loadCheckpoint(path), FileFormatError, "no checkpoint of this program");
    const later = writeSafetensors(new Map(), { metadata: { format: "allspark-checkpoint", version: "2" } });
    await Deno.writeFile(path, later);
    await assertRejects(
      () => loadCheckpoint(path),
      FileFormatError,
      "its version is 2; this program reads version 1",
    );
    await assertRejects(
      () => loadCheckpoint(folder),
      Deno.errors.NotFound,
      "the folder has no latest.safetensors",
    );
    await assertRejects(
      () => loadCheckpoint(`${folder}/no`),
      Deno.errors.NotFound,
      "there is no such file or folder",
    );
  }));

Deno.test("checkResume() names the options and classes that differ, and lets harmless ones differ", () => {
  const { meta } = example();
  const wanted = { ...meta.config, device: "cpu", workers: 8, name: "other", resume: "runs/x" } as const;
  checkResume(meta, { config: wanted, classes });
  const error = assertThrows(
    () => checkResume(meta, { config: { ...wanted, variant: "b2", embedding: 64 }, classes }),
    OptionError,
  );
  assertEquals((error as OptionError).problems, [
    "Cannot resume with --variant b2: the checkpoint was trained with b0; leave the option out or start a new run",
    "Cannot resume with --embedding 64: the checkpoint was trained with unset; leave the option out or start a new run",
  ]);
  assertThrows(
    () => checkResume(meta, { config: wanted, classes: classes.slice(1) }),
    OptionError,
    "Cannot resume with 1 classes: the checkpoint was trained with 2",
  );
  assertThrows(
    () => checkResume(meta, { config: wanted, classes: classes.toReversed() }),
    OptionError,
    "Cannot resume with class 0 named road: the checkpoint was trained with sky there",
  );
});

Deno.test("a resumed run takes the checkpoint's configuration and what the command line adds", () => {
  const { config } = example().meta;
  const given = readOptions(trainOptions, ["--resume", "runs/x", "--device", "cpu"]).values;
  assertEquals(trainConfig(config, given), { ...config, resume: "runs/x", device: "cpu" });
});

Deno.test("writeFileAtomic() replaces the file or leaves it alone", () =>
  inFolder(async (folder) => {
    const path = `${folder}/file`;
    await writeFileAtomic(path, new TextEncoder().encode("old"));
    await writeFileAtomic(path, new TextEncoder().encode("new"));
    assertEquals(await Deno.readTextFile(path), "new");
    await Deno.mkdir(`${folder}/taken/inside`, { recursive: true });
    const cases: [string, string][] = [
      [`${folder}/none/file`, "there is no such folder"],
      [`${folder}/file/file`, "a file stands where its path needs a folder"],
      [`${folder}/taken`, "it is a folder, not a file"],
    ];
    for (const [taken, why] of cases) {
      await assertRejects(
        () => writeFileAtomic(taken, new Uint8Array(1)),
        WriteError,
        `Cannot write ${taken}: ${why}`,
      );
    }
    assertEquals(names(folder), ["file", "taken"]);
  }));

Deno.test("makeRunFolder() numbers its own names and refuses a taken one", () =>
  inFolder(async (out) => {
    const config = trainConfig({ out });
    assertEquals(await makeRunFolder(config), `${out}/allspark-b0-scenes`);
    assertEquals(await makeRunFolder(config), `${out}/allspark-b0-scenes-2`);
    const named = trainConfig({ out, name: "mine" });
    const folder = await makeRunFolder(named);
    await assertRejects(
      () => makeRunFolder(named),
      Deno.errors.AlreadyExists,
      `${folder} exists; it holds no checkpoint to continue from; choose another --name or remove it`,
    );
    await saveRunCheckpoint(folder, example(), { best: false });
    await assertRejects(
      () => makeRunFolder(named),
      Deno.errors.AlreadyExists,
      `${folder} exists; choose another --name, or continue it with --resume ${folder}`,
    );
    await Deno.writeTextFile(`${out}/file`, "");
    await assertRejects(
      () => makeRunFolder(trainConfig({ out: `${out}/file` })),
      WriteError,
      `Cannot make folder ${out}/file`,
    );
    await assertRejects(
      () => makeRunFolder(trainConfig({ out: `${out}/file/below` })),
      WriteError,
      `Cannot make folder ${out}/file/below: a file stands where its path needs a folder`,
    );
    assertEquals(
      readOptionFile(trainOptions, `${folder}/${runFiles.config}`),
      named,
      "config.json can be read back",
    );
  }));

Deno.test("removeHalfWritten() removes what a killed process left, and nothing else", () =>
  inFolder(async (folder) => {
    const left = ["latest.safetensors.0123abcd.tmp", "metrics.jsonl.ffffffff.tmp", "run.lock.00000000.tmp"];
    const others = [
      "latest.safetensors",
      "notes.0123abcd.tmp",
      "latest.safetensors.tmp",
      "my.best.safetensors.0123abcd.tmp",
    ];
    for (const name of [...left, ...others]) await Deno.writeTextFile(`${folder}/${name}`, "");
    assertEquals((await removeHalfWritten(folder)).sort(), left);
    assertEquals(names(folder), others.sort());
    await assertRejects(
      () => removeHalfWritten(`${folder}/none`),
      WriteError,
      "Cannot remove half-written files from",
    );
  }));
