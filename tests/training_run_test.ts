/** A run that something happens to: what is saved, what is said, and that it goes on as if nothing had happened. */
import { assert, assertEquals, assertInstanceOf, assertMatch, assertStringIncludes } from "@std/assert";
import { DataError } from "@allspark/tensor/data";
import { decodeCheckpoint, loadCheckpoint, LossError, type TrainConfig } from "@allspark/tensor/training";
import { exists, runFiles, WriteError } from "../src/training/checkpoint_files.ts";
import { FolderInUseError } from "../src/training/run_lock.ts";
import { inFolder } from "./support/folders.ts";
import { computedMetrics, drawPictures, type Ran, runQuietly, tiny } from "./support/runs.ts";

/** Everything that a finished run leaves. */
const allFiles = [
  runFiles.best,
  runFiles.config,
  runFiles.curves,
  runFiles.latest,
  runFiles.metrics,
  runFiles.overlays,
].sort();

function names(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

/** A run that nothing happens to, and another of the same configuration. */
interface Pair {
  readonly out: string;
  /** The folder of the other run. */
  readonly folder: string;
  readonly config: Partial<TrainConfig>;
  /** Checks that the other run, gone on with, is the same as the first. */
  readonly goesOn: (changes?: Partial<TrainConfig>) => Promise<Ran>;
}

/** The folder of the pictures and of the run that nothing happens to; made by the first test that asks for it. */
let whole: Promise<{ out: string; base: Partial<TrainConfig>; metrics: unknown[] }> | undefined;

async function trainWhole(): ReturnType<() => NonNullable<typeof whole>> {
  const out = await Deno.makeTempDir();
  globalThis.addEventListener("unload", () => Deno.removeSync(out, { recursive: true }));
  const base: Partial<TrainConfig> = { ...tiny, ...await drawPictures(out), out: `${out}/runs` };
  const { error } = await runQuietly({ ...base, name: "whole" });
  assertEquals(error, undefined);
  const metrics = await computedMetrics(`${out}/runs/whole`);
  const steps = metrics.map(({ step, meanIoU }) => meanIoU === undefined ? step : `evaluated ${step}`);
  assertEquals(steps, [1, 2, 3, 4, "evaluated 4", 5, 6, 7, 8, "evaluated 8"]);
  return { out, base, metrics };
}

async function withPair(test: (pair: Pair) => Promise<void>): Promise<void> {
  const { out, base, metrics } = await (whole ??= trainWhole());
  const folder = `${out}/runs/other`;
  if (await exists(folder)) await Deno.remove(folder, { recursive: true });
  await test({
    out,
    folder,
    config: { ...base, name: "other" },
    goesOn: async (changes = {}) => {
      const ran = await runQuietly({ resume: folder, ...changes });
      assertEquals(ran.error, undefined, ran.said);
      assertEquals(await computedMetrics(folder), metrics);
      assertEquals(names(folder), allFiles);
      const [a, b] = [await loadCheckpoint(`${out}/runs/whole`), await loadCheckpoint(folder)];
      for (const [name, { data }] of a.arrays) assertEquals(b.arrays.get(name)!.data, data, name);
      assertEquals(b.meta.bestMeanIoU, a.meta.bestMeanIoU);
      return ran;
    },
  });
}

/** Checks the sentence of an error and what the run says that it has kept. */
function assertEnded(
  { error, said }: Ran,
  kind: new (...args: never[]) => Error,
  sentence: RegExp,
  step: number,
): void {
  assertInstanceOf(error, kind, `${error}\n${said}`);
  assertMatch((error as Error).message, sentence);
  const when = step === 0 ? "from before the first step" : `after step ${step}`;
  assertMatch(
    said,
    new RegExp(`^The last good checkpoint is .*/other/latest.safetensors, ${when}; go on with: train`, "m"),
  );
}

Deno.test("an evaluation that fails loses no step", () =>
  withPair(async ({ out, config, folder, goesOn }) => {
    const hide = (): void => Deno.renameSync(`${out}/masks`, `${out}/hidden`);
    const ran = await runQuietly(config, { "step 3/8": hide });
    assertEnded(ran, DataError, /masks\/\d\.png/, 4);
    const { meta } = await loadCheckpoint(folder);
    assertEquals([meta.step, meta.evaluated, meta.bestMeanIoU], [4, 0, null]);
    await Deno.rename(`${out}/hidden`, `${out}/masks`);
    assertStringIncludes((await goesOn()).said, "step 4: mIoU");
  }));

Deno.test("a picture that vanishes loses no step before it", () =>
  withPair(async ({ out, config, goesOn }) => {
    const ran = await runQuietly({ ...config, evalEvery: 8 }, {
      "Expected: about": () => Deno.renameSync(`${out}/images`, `${out}/hidden`),
    });
    assertInstanceOf(ran.error, DataError, ran.said);
    assertMatch(ran.error.message, /images\/\d\.png/);
    const step = Number(ran.said.match(/latest\.safetensors, after step (\d)/)?.[1]);
    assert(step >= 1 && step < 8, ran.said);
    await Deno.rename(`${out}/hidden`, `${out}/images`);
    await goesOn({ evalEvery: 4 });
  }));

Deno.test("files that cannot be written are named, and the run goes on once they can", () =>
  withPair(async ({ config, folder, goesOn }) => {
    for (const name of [runFiles.overlays, runFiles.best]) {
      const ran = await runQuietly(config, {
        "step 3/8": () => Deno.mkdirSync(`${folder}/${name}/sub`, { recursive: true }),
      });
      assertEnded(
        ran,
        WriteError,
        new RegExp(`^Cannot write ${folder}/${name}: it is a folder, not a file$`),
        4,
      );
      await Deno.remove(`${folder}/${name}`, { recursive: true });
      await goesOn();
      if (name !== runFiles.best) await Deno.remove(folder, { recursive: true });
    }
  }));

Deno.test("a full disk ends a run with a sentence and without a gap in its metrics", () =>
  withPair(async ({ config, folder, goesOn }) => {
    const { writeSync } = Deno.FsFile.prototype;
    try {
      const ran = await runQuietly(config, {
        "step 6/8": () => {
          Deno.FsFile.prototype.writeSync = (): number => {
            throw new Error("No space left on device (os error 28)");
          };
        },
      });
      assertEnded(
        ran,
        WriteError,
        new RegExp(`^Cannot write ${folder}/metrics.jsonl: no space left on device$`),
        4,
      );
    } finally {
      Deno.FsFile.prototype.writeSync = writeSync;
    }
    await goesOn();
  }));

Deno.test("a run that is stopped says truly what is saved, wherever it is, and goes on from there", () =>
  withPair(async ({ config, folder, goesOn }) => {
    const places: [words: string, says: string, step: number | undefined][] = [
      ["tracing program 2 of 2", "Stopping when this program is compiled; the run is saved as it is", 0],
      ["step 2/8", "Stopping after this step; the checkpoint will be saved", undefined],
      ["evaluating image 1 of 2", "Stopping; step 4 is saved, and is evaluated when the run goes on", 4],
    ];
    for (const [words, says, step] of places) {
      const controller = new AbortController();
      const { said, result } = await runQuietly(
        config,
        { [words]: () => controller.abort("SIGINT") },
        controller.signal,
      );
      assertStringIncludes(said, `${says}\n`);
      const { meta } = await loadCheckpoint(folder);
      // The metrics of quick steps are read together.
      const reached = step ?? meta.step;
      assert(reached === step || (reached >= 2 && reached <= 4));
      assertEquals([result?.finished, result?.steps, result?.folder], [false, reached, folder]);
      assertEquals([meta.step, meta.evaluated], [reached, 0]);
      await goesOn();
      await Deno.remove(folder, { recursive: true });
    }
    const controller = new AbortController();
    const ran = await runQuietly(
      config,
      { "Device: cpu": () => controller.abort("SIGINT") },
      controller.signal,
    );
    assertEquals(ran.error, "SIGINT");
    assertStringIncludes(ran.said, "Stopping before the run has begun; there is nothing to save\n");
    assert(!names(config.out!).includes("other"));
    await Deno.mkdir(folder);
  }));

Deno.test("a run that was ended between its last checkpoint and its pictures is finished", () =>
  withPair(async ({ config, folder, goesOn }) => {
    const controller = new AbortController();
    await runQuietly(config, { "step 8/8": () => controller.abort("SIGINT") }, controller.signal);
    const { meta } = await loadCheckpoint(folder);
    assertEquals([meta.step, meta.evaluated], [8, 4]);
    await Deno.remove(`${folder}/${runFiles.curves}`);
    const { said } = await goesOn();
    assertStringIncludes(said, "Expected: about");
    assert(!said.includes("program 1 of 2"), "no step is compiled for it");
    const moved = await runQuietly({ resume: folder, name: "elsewhere" });
    assertEquals(
      (moved.error as Error).message,
      `Cannot resume with --name elsewhere: the run stays in its folder ${folder}; leave the option out`,
    );
    const again = await runQuietly({ resume: folder });
    assertMatch(String(again.error), /all its 8 steps are done; start a new run$/);
  }));

Deno.test("a run is saved between two evaluations, which changes nothing else", () =>
  withPair(async ({ config, folder, goesOn }) => {
    const saved: number[] = [];
    const note = (): void => {
      const bytes = Deno.readFileSync(`${folder}/${runFiles.latest}`);
      saved.push(decodeCheckpoint(bytes, runFiles.latest).meta.step);
    };
    const controller = new AbortController();
    const on = { "step 3/8": note, "step 7/8": note, "step 8/8": () => controller.abort("SIGINT") };
    await runQuietly(config, on, controller.signal, { saveSeconds: 1e-6 });
    assertEquals(saved, [2, 6], "the step that is told is not saved yet");
    await goesOn();
  }));

Deno.test("a resumed run may switch --checkpointing and go on bit for bit", () =>
  withPair(async ({ config, goesOn }) => {
    const controller = new AbortController();
    await runQuietly(config, { "step 3/8": () => controller.abort("SIGINT") }, controller.signal);
    await goesOn({ checkpointing: true });
  }));

Deno.test("a second process is kept out of the folder, and what a killed one left is swept", () =>
  withPair(async ({ config, folder, goesOn }) => {
    let second: Promise<Ran> | undefined;
    const controller = new AbortController();
    await runQuietly(config, {
      "step 2/8": () => second = runQuietly({ resume: folder }),
      "step 5/8": () => controller.abort("SIGINT"),
    }, controller.signal);
    const { error } = (await second)!;
    assertInstanceOf(error, FolderInUseError);
    assertMatch(error.message, new RegExp(`^Cannot use run folder ${folder}: process ${Deno.pid} on`));
    for (const name of [runFiles.latest, runFiles.curves]) {
      await Deno.writeTextFile(`${folder}/${name}.0badcafe.tmp`, "");
    }
    await Deno.writeTextFile(
      `${folder}/${runFiles.lock}`,
      JSON.stringify({ pid: 1, host: Deno.hostname(), since: "2026" }),
    );
    const { said } = await goesOn();
    assertMatch(said, /^process 1 on .* was ended in this run; what it had saved is there$/m);
    assertMatch(said, /^Removed from .* had half written: .*\.0badcafe\.tmp, .*\.0badcafe\.tmp$/m);
  }));

Deno.test("metrics that were removed are missed at resume, and the run goes on", () =>
  withPair(async ({ out, config, folder }) => {
    const controller = new AbortController();
    await runQuietly(config, { "step 5/8": () => controller.abort("SIGINT") }, controller.signal);
    await Deno.remove(`${folder}/${runFiles.metrics}`);
    const { meta: { step } } = await loadCheckpoint(folder);
    const { said, error } = await runQuietly({ resume: folder });
    assertEquals(error, undefined);
    assertStringIncludes(
      said,
      `The metrics of step 1 to ${step} are missing in ${folder}/${runFiles.metrics}`,
    );
    const rest = (await computedMetrics(`${out}/runs/whole`)).filter((line) =>
      Number(line.step) > step || (line.meanIoU !== undefined && line.step === step)
    );
    assertEquals(await computedMetrics(folder), rest);
  }));

Deno.test("labels that are all ignored are told, not trained on in silence", () =>
  inFolder(async (out) => {
    let drawn = 0;
    await drawPictures(out, { count: 6, mask: (ids) => drawn++ > 0 && ids.fill(255) });
    const line = (k: number): string => `images/${k}.png masks/${k}.png`;
    await Deno.mkdir(`${out}/splits/few`, { recursive: true });
    const lists = { labeled: [0, 1, 2, 3], unlabeled: [4], val: [4, 5] };
    for (const [name, items] of Object.entries(lists)) {
      await Deno.writeTextFile(`${out}/splits/few/${name}.txt`, items.map(line).join("\n"));
    }
    const data = { data: out, split: "few", classes: `${out}/labels.txt` };
    const { said, error } = await runQuietly({ ...tiny, ...data, out, name: "void", steps: 4, evalEvery: 2 });
    assertEquals(error, undefined, said);
    assertMatch(
      said,
      /^Step \d learns nothing from its labeled images: all pixels of their crops are ignored \(255\)/m,
    );
    assertMatch(said, /^3 of the 4 steps so far had labeled images without any pixel that counts$/m);
    assertMatch(said, /^No pixel of the images to evaluate has a class/m);
  }));

Deno.test("weights that explode under a finite loss are named, and are not saved", () =>
  inFolder(async (out) => {
    const data = await drawPictures(out);
    const explosive = {
      optimizer: "sgd",
      lr: 3e38,
      weightDecay: 3e38,
      lrMultiplier: 1,
      steps: 1,
      evalEvery: 1,
    } as const;
    const { said, error } = await runQuietly({ ...tiny, ...data, ...explosive, out, name: "other" });
    assertInstanceOf(error, LossError, said);
    assertMatch(
      error.message,
      /^Cannot go on after step 1: the loss is a number, but \d+ of the saved arrays hold NaN or infinities, [\w./]+, /,
    );
    assertMatch(said, /^The last good checkpoint is .*, from before the first step$/m);
    assertEquals((await loadCheckpoint(`${out}/other`)).meta.step, 0);
  }));
