import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { ArrayEntry } from "../src/io/array.ts";
import { FileFormatError } from "../src/io/array.ts";
import { readWeights } from "../src/io/mod.ts";
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
  checkRunFolder,
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

Deno.test("a checkpoint whose state is not what it must be is refused, with its file and the field", () =>
  inFolder(async (folder) => {
    const path = `${folder}/some.safetensors`;
    const { arrays, meta: { config, ...state } } = example();
    const write = (metadata: Record<string, string>): Promise<void> =>
      Deno.writeFile(
        path,
        writeSafetensors(arrays, {
          metadata: {
            format: "allspark-checkpoint",
            version: "1",
            config: JSON.stringify(config),
            state: JSON.stringify(state),
            ...metadata,
          },
        }),
      );
    await write({});
    assertEquals((await loadCheckpoint(path)).meta, example().meta);
    const wrong: [Record<string, unknown>, string][] = [
      ...[null, 5, "sky", {}, [5], [null], [{ name: "sky" }], [{ name: 5, color: [0, 0, 0] }]]
        .map((classes) =>
          [{ classes }, "its field classes is not a list of names and colours"] as [
            Record<string, unknown>,
            string,
          ]
        ),
      [{ classes: [{ name: "sky", color: [0, 0, 256] }] }, "its field classes is not"],
      [{ classes: [{ name: "sky", color: [0, 0] }] }, "its field classes is not"],
      [{ classes: [{ name: "sky", color: [0, 0, 0, 0] }] }, "its field classes is not"],
      ...["abc", 1.5, -1, null, 2 ** 60, [3]]
        .map((step) =>
          [{ step }, "its field step is not a whole number of at least 0"] as [
            Record<string, unknown>,
            string,
          ]
        ),
      ...["abc", -0.5, 1.5, {}]
        .map((best) =>
          [{ bestMeanIoU: best }, "its field bestMeanIoU is not null or a number from 0 to 1"] as [
            Record<string, unknown>,
            string,
          ]
        ),
    ];
    for (const [field, reason] of wrong) {
      await write({ state: JSON.stringify({ ...state, ...field }) });
      await assertRejects(
        () => loadCheckpoint(path),
        FileFormatError,
        `Cannot load checkpoint ${path}: ${reason}`,
      );
    }
    const texts: [Record<string, string>, string][] = [
      [{ state: "null" }, "its state is no object"],
      [{ state: "[]" }, "its field classes is not"],
      [{ state: "{" }, "its state is not JSON text"],
      [{ state: '{"step":1,"step":2}' }, "its state names step twice"],
      [{ state: "[".repeat(1e5) }, "nested more than 500 deep"],
      [{ config: "[]" }, "an object with an option per key is required"],
      [{ config: `{"${"x".repeat(90000)}":1}` }, "there is no such option"],
      [{ config: `"${"x".repeat(200000)}"` }, "its configuration has 200002 characters"],
      [{ config: '{"lr":"a\\u001b[31m"}' }, "is required"],
      [{ version: "\x1b[31m".repeat(100) }, "this program reads version 1"],
    ];
    for (const [metadata, reason] of texts) {
      await write(metadata);
      const { message } = await assertRejects(() => loadCheckpoint(path), FileFormatError, reason);
      assert(message.startsWith(`Cannot load checkpoint ${path}: `), message);
      // deno-lint-ignore no-control-regex
      assert(message.length <= 1000 && !/[\x00-\x1f]/.test(message), message);
    }
  }));

Deno.test("a folder, a device and an absent file are refused with a sentence", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/latest.safetensors`);
    await assertRejects(
      () => loadCheckpoint(folder),
      FileFormatError,
      `Cannot load checkpoint ${folder}/latest.safetensors: it is a folder, not a file`,
    );
    await assertRejects(() => readWeights(folder), FileFormatError, `Cannot read ${folder}: it is a folder`);
    await assertRejects(
      () => readWeights("/dev/zero"),
      FileFormatError,
      "it is a device or a pipe, not a file",
    );
    await assertRejects(
      () => readWeights(`${folder}/none.pth`),
      Deno.errors.NotFound,
      `Cannot read ${folder}/none.pth: there is no such file`,
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
    await assertRejects(
      () => checkRunFolder(named),
      Deno.errors.AlreadyExists,
      "choose another --name, or continue",
    );
    await checkRunFolder(trainConfig({ out: `${out}/new/folders`, name: "x" }));
    assertEquals(names(`${out}/new/folders`), []);
    await Deno.writeTextFile(`${out}/file`, "");
    await assertRejects(
      () => checkRunFolder(trainConfig({ out: `${out}/file` })),
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

Deno.test("a checkpoint that was changed anywhere is refused, and the best one of its folder named", () =>
  inFolder(async (folder) => {
    const path = `${folder}/${runFiles.latest}`;
    await saveRunCheckpoint(folder, example(), { best: true });
    const bytes = await Deno.readFile(path);
    const text = new TextDecoder("latin1").decode(bytes);
    const places = [
      bytes.length - 3, // a weight
      text.indexOf('\\"lr\\":') + 8, // a digit of the configuration
      text.indexOf('\\"step\\":') + 9, // the step
      text.indexOf('"checksum":"') + 14,
    ];
    for (const place of places) {
      const changed = bytes.slice();
      changed[place] = changed[place]! ^ 1;
      await Deno.writeFile(path, changed);
      await assertRejects(
        () => loadCheckpoint(path),
        FileFormatError,
        `Cannot load checkpoint ${path}: its checksum does not fit what it holds; it was damaged or changed since it was ` +
          `saved; ${folder}/${runFiles.best} may be whole`,
      );
    }
    // Checkpoints of before had none.
    const arrays = example().arrays;
    const { config, ...state } = example().meta;
    const metadata = {
      format: "allspark-checkpoint",
      version: "1",
      config: JSON.stringify(config),
      state: JSON.stringify(state),
    };
    await Deno.writeFile(path, writeSafetensors(arrays, { metadata }));
    assertEquals((await loadCheckpoint(path)).meta, example().meta);
  }));
