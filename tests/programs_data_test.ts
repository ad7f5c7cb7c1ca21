/** The three programs on folders as users have them: other places, hidden files, broken files, large pictures. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  batchOrder,
  type Color,
  encodeImage,
  encodeMask,
  readMask,
  readSample,
  sceneClasses,
  scenes,
} from "@allspark/tensor/data";
import {
  openTrainingData,
  Progress,
  type ProgressUpdate,
  train,
  type TrainConfig,
  trainConfig,
} from "@allspark/tensor/training";
import { inFolder, lastLine, run } from "./support/programs.ts";

const small =
  "--variant 8,16,40,64:1,1,1,1 --embedding 16 --crop 45 --batch 1 --steps 2 --workers 1 --device cpu".split(
    " ",
  );

/** Scenes as a folder of images, the first ones with masks, in colours that are sorted as a program likes. */
async function writeScenes(
  folder: string,
  { images, masks }: { images: number; masks: number },
): Promise<void> {
  await Deno.mkdir(`${folder}/im`, { recursive: true });
  await Deno.mkdir(`${folder}/ma`, { recursive: true });
  const { labeled, reading } = scenes({ labeled: images, size: [64, 60] });
  const last = sceneClasses.length - 1;
  const reversed = sceneClasses.map(({ color }) => color as Color).reverse();
  for (const [k, item] of labeled.entries()) {
    const { image, mask } = await readSample(item, reading);
    await Deno.writeFile(`${folder}/im/${k}.png`, await encodeImage(image));
    if (k >= masks) continue;
    const data = mask!.data.map((id) => id === 255 ? 255 : last - id);
    await Deno.writeFile(`${folder}/ma/${k}.png`, encodeMask({ ...mask!, data }, reversed));
  }
  const lines = sceneClasses.map(({ name, color }) => `${name};${color.join(";")}`);
  await Deno.writeTextFile(`${folder}/labels.csv`, ["name;r;g;b", ...lines].join("\r\n"));
}

Deno.test("a run on one's own folders is evaluated from another place, and predicts what it can", () =>
  inFolder(async (out) => {
    await writeScenes(out, { images: 6, masks: 4 });
    await Deno.writeFile(`${out}/im/._0.png`, new Uint8Array([0, 5, 22, 7]));
    await Deno.symlink(".", `${out}/im/self`);
    const own = "--images im --masks ma --labels labels.csv --method supervised --out im/runs --name a".split(
      " ",
    );
    const trained = await run("train.ts", [...own, ...small], { cwd: out });
    assertEquals(trained.code, 0, trained.err);
    assertStringIncludes(
      trained.out,
      "3 labeled and 2 unlabeled images (not used), 1 to validate, 8 classes",
    );
    assertStringIncludes(trained.err, "checking file 4 of 4");
    // The pictures of the first run lie below the images, and are no images of the second.
    const again = await run("train.ts", [...own.slice(0, -1), "b", ...small], { cwd: out });
    assertStringIncludes(again.out, "3 labeled and 2 unlabeled images");

    const weights = `${out}/im/runs/a/latest.safetensors`;
    const elsewhere = await Deno.makeTempDir({ dir: out });
    for (const name of ["im", "ma"]) {
      await Deno.mkdir(`${elsewhere}/${name}`);
      await Deno.copyFile(`${out}/${name}/1.png`, `${elsewhere}/${name}/1.png`);
    }
    const evaluate = ["--weights", weights, "--images", "im", "--masks", "ma", "--device", "cpu"];
    const scored = await run("evaluate.ts", evaluate, { cwd: elsewhere });
    assertEquals(scored.code, 0, scored.err);
    assertStringIncludes(scored.out, "Data: im: 1 images");
    assertMatch(lastLine(scored.out), /^mIoU \d+\.\d\d$/);
    const wrong = await run("evaluate.ts", [...evaluate, "--classes", "3"], { cwd: elsewhere });
    assertEquals(wrong.code, 2);
    assertStringIncludes(wrong.err, "write --classes 8, or the file of the classes that it was trained on");

    const input = `${elsewhere}/photos`;
    await Deno.mkdir(`${input}/deep`, { recursive: true });
    await Deno.copyFile(`${out}/im/0.png`, `${input}/a.png`);
    await Deno.copyFile(`${out}/im/1.png`, `${input}/deep/b.png`);
    const photo = (width: number, height: number) =>
      encodeImage({ width, height, data: new Uint8Array(3 * width * height).map((_, i) => i % 251) });
    await Deno.writeFile(`${input}/tiny.png`, await photo(20, 20));
    await Deno.writeFile(`${input}/large.png`, await photo(2049, 1025));
    await Deno.writeFile(`${input}/cut.png`, (await photo(64, 64)).subarray(0, 500));
    await Deno.writeTextFile(`${input}/old.bmp`, "BM");
    const predict = [
      "--weights",
      weights,
      "--input",
      "photos",
      "--out",
      "photos/out",
      "--crop",
      "401",
      "--device",
      "cpu",
    ];
    for (let k = 0; k < 2; k++) {
      const predicted = await run("predict.ts", predict, { cwd: elsewhere });
      assertEquals(predicted.code, 2, predicted.err);
      const lines = predicted.err.trimEnd().split("\n");
      const summary = lines.slice(lines.findIndex((line) => line.startsWith("Segmented ")));
      assertEquals(summary[0], "Segmented 3 of 6 images; these could not be:");
      assertEquals(summary.slice(1).toSorted(), [
        "Cannot read image photos/cut.png: it is cut or damaged (" +
        summary.find((line) => line.includes("cut.png"))!.split("(")[1],
        "Cannot read image photos/old.bmp: JPEG, PNG, WebP, TIFF, GIF and AVIF are read",
        "Cannot segment photos/tiny.png of 20x20 pixels: at least 29x29 are required",
      ]);
      assertStringIncludes(predicted.err, "segmenting a large image, window");
    }
    const made = Array.from(Deno.readDirSync(`${input}/out`), ({ name }) => name).sort();
    assertEquals(made, ["a.mask.png", "a.overlay.png", "deep", "large.mask.png", "large.overlay.png"]);
    const { width, height } = await readMask(`${input}/out/large.mask.png`, { classes: 8 });
    assertEquals([width, height], [2049, 1025]);
    const into = await run("predict.ts", ["--weights", weights, "--input", "photos", "--out", "photos"], {
      cwd: elsewhere,
    });
    assertEquals([into.code, into.err.trim().split("\n").length], [2, 1], into.err);
    const file = await run(
      "predict.ts",
      ["--weights", weights, "--input", "photos", "--out", "photos/a.png"],
      {
        cwd: elsewhere,
      },
    );
    assertStringIncludes(file.err, "Cannot make folder photos/a.png: a file has that name");
  }));

/** Takes note of what is told, and stops a run after a step. */
class Watch extends Progress {
  readonly notes: string[] = [];
  readonly controller: AbortController = new AbortController();

  constructor(readonly stopAfter: number) {
    super({ write: () => {}, isTerminal: false, columns: () => 200, now: () => performance.now() });
  }

  override note(text: string): void {
    this.notes.push(text);
  }

  override update(update: ProgressUpdate): void {
    if (update.step >= this.stopAfter) this.controller.abort();
  }
}

/** The metrics of a run without what the clock says. */
function computed(folder: string): string[] {
  const lines = Deno.readTextFileSync(`${folder}/metrics.jsonl`).trimEnd().split("\n");
  return lines.map((line) => JSON.stringify({ ...JSON.parse(line), dataWait: 0 }));
}

Deno.test({
  name:
    "a run without broken files has the same bits whether it is stopped, or allowed to leave them out later",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    inFolder(async (out) => {
      await writeScenes(out, { images: 9, masks: 4 });
      // Found by its decoder only, by its end, and by its size.
      const broken = await Deno.readFile(`${out}/im/6.png`);
      await Deno.writeFile(`${out}/im/6.png`, broken.fill(0, 2000, 2100));
      await Deno.writeFile(`${out}/im/7.png`, (await Deno.readFile(`${out}/im/7.png`)).subarray(0, 900));
      const config: Partial<TrainConfig> = {
        ...{ images: `${out}/im`, masks: `${out}/ma`, labels: `${out}/labels.csv`, method: "pseudo-label" },
        ...{
          variant: "8,16,40,64:1,1,1,1",
          embedding: 16,
          crop: 33,
          batch: 2,
          steps: 6,
          evalEvery: 6,
          workers: 2,
        },
        ...{ device: "cpu", out, skipBroken: true },
      };
      const quiet = { say: (): void => {} };
      const whole = new Watch(100);
      await train({ ...config, name: "whole" }, { ...quiet, progress: whole });
      const leftOut = whole.notes.filter((note) => note.startsWith("Left out: "));
      assertEquals(leftOut.length, 2, whole.notes.join("\n"));
      for (const name of ["im/6.png", "im/7.png"]) assert(leftOut.some((note) => note.includes(name)), name);

      const stopped = new Watch(3);
      const { signal } = stopped.controller;
      const first = await train({ ...config, name: "parts" }, { ...quiet, progress: stopped, signal });
      assertEquals(first.finished, false);
      await train({ resume: `${out}/parts` }, { ...quiet, progress: new Watch(100) });
      assertEquals(computed(`${out}/parts`), computed(`${out}/whole`));
      const refused = train({ ...config, skipBroken: false, name: "strict" }, {
        ...quiet,
        progress: new Watch(100),
      });
      const message = await refused.then(() => "", (error: Error) => error.message);
      assertMatch(
        message,
        /^Cannot read image .*im\/7\.png: it is cut or damaged .*; --skip-broken leaves broken files out$/,
      );
    }),
});

Deno.test({
  name:
    "a run that goes on without broken files, though it began without that, has the bits of one that always did",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    inFolder(async (out) => {
      const count = 40;
      await writeScenes(out, { images: count + 4, masks: 4 });
      const config: Partial<TrainConfig> = {
        ...{ images: `${out}/im`, masks: `${out}/ma`, labels: `${out}/labels.csv`, method: "pseudo-label" },
        ...{
          variant: "8,16,40,64:1,1,1,1",
          embedding: 16,
          crop: 33,
          batch: 2,
          steps: 8,
          evalEvery: 8,
          workers: 1,
        },
        ...{ device: "cpu", out, seed: 3 },
      };
      const { unlabeled } = await openTrainingData(trainConfig(config));
      const order = batchOrder({ labeled: 3, unlabeled: count, batch: 2, seed: 3 });
      const early = [0, 1, 2, 3].flatMap((step) => order.at(step).unlabeled);
      const sampled = Array.from({ length: 16 }, (_, i) => Math.floor(i * count / 16));
      const place = [5, 6, 7].flatMap((step) => order.at(step).unlabeled).find((i) =>
        !early.includes(i) && !sampled.includes(i)
      );
      const { image } = unlabeled[place!] as { image: string };
      await Deno.writeFile(image, (await Deno.readFile(image)).fill(0, 2000, 2100));
      const quiet = { say: (): void => {} };
      const whole = new Watch(100);
      await train({ ...config, skipBroken: true, name: "whole" }, { ...quiet, progress: whole });
      assert(
        whole.notes.some((note) => note.startsWith("Left out: ") && note.includes(image)),
        "found when its turn came",
      );
      const stopped = new Watch(2);
      const { signal } = stopped.controller;
      await train({ ...config, name: "parts" }, { ...quiet, progress: stopped, signal });
      const goOn = { resume: `${out}/parts` };
      const failed = train(goOn, { ...quiet, progress: new Watch(100) });
      const message = await failed.then(() => "", (error: Error) => error.message);
      assertMatch(message, /: it is cut or damaged .*; --skip-broken leaves broken files out$/);
      await train({ ...goOn, skipBroken: true }, { ...quiet, progress: new Watch(100) });
      assertEquals(computed(`${out}/parts`), computed(`${out}/whole`));
    }),
});
