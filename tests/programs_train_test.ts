/** The three programs as processes: a run, the same run killed, interrupted and resumed, and what uses its weights. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { encodeImage, encodeMask, readSample, sceneClasses, scenes } from "@allspark/tensor/data";
import { loadCheckpoint } from "@allspark/tensor/training";
import { inFolder, lastLine, run } from "./support/programs.ts";

/** A run of seconds: a tiny encoder on tiny scenes, with all three phases of AllSpark. */
const tiny = (
  "--variant 8,16,40,64:1,1,1,1 --embedding 16 --image-size 48x40 --crop 33 --batch 2 --steps 16 --burn-in-steps 2 " +
  "--warmup-steps 6 --eval-every 4 --labeled-scenes 4 --unlabeled-scenes 8 --val-scenes 3 --workers 1 --device cpu"
).split(" ");

/** The metrics of a run without what the clock says. */
function computed(folder: string): Record<string, unknown>[] {
  const lines = Deno.readTextFileSync(`${folder}/metrics.jsonl`).trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line)).map(({ dataWait, ...rest }) => {
    assert("meanIoU" in rest ? dataWait === undefined : dataWait >= 0 && dataWait <= 1, `${dataWait}`);
    return rest;
  });
}

Deno.test("a run that is killed, interrupted and resumed has the metrics of one that was not", () =>
  inFolder(async (out) => {
    const whole = await run("train.ts", [...tiny, "--out", out, "--name", "whole"]);
    assertEquals(whole.code, 0, whole.err);
    assertMatch(lastLine(whole.out), /^mIoU \d+\.\d\d$/);
    assertStringIncludes(whole.out, "Device: cpu");
    assertMatch(whole.err, /compiling program 1 of 4 .*kernel \d+ of \d+/);
    assertMatch(whole.err, /Expected: about .* for 16 steps and 4 evaluations, \d+ MB/);
    assertStringIncludes(whole.err, "step 16: mIoU");
    assertMatch(whole.err, /images\/s {2}data wait \d+ %/);
    const files = Array.from(Deno.readDirSync(`${out}/whole`), ({ name }) => name).sort();
    assertEquals(files, [
      "best.safetensors",
      "config.json",
      "curves.png",
      "latest.safetensors",
      "metrics.jsonl",
      "overlays.png",
    ]);

    const resume = ["--resume", `${out}/parts`];
    const killed = await run("train.ts", [...tiny, "--out", out, "--name", "parts"], {
      until: "step 4: mIoU",
      signal: "SIGKILL",
    });
    assert(killed.code !== 0);
    const interrupted = await run("train.ts", resume, { until: " 5/16", signal: "SIGINT" });
    assertEquals(interrupted.code, 130, interrupted.err);
    assertMatch(interrupted.out, /Stopped after step \d+; go on with: train.ts --resume/);
    const resumed = await run("train.ts", resume);
    assertEquals(resumed.code, 0, resumed.err);
    assertEquals(computed(`${out}/parts`), computed(`${out}/whole`));
    assertEquals(lastLine(resumed.out), lastLine(whole.out));
    const again = await run("train.ts", resume);
    assertEquals([again.code, again.err.trim().split("\n").length], [2, 1], again.err);
    assertStringIncludes(again.err, "all its 16 steps are done");

    const scored = await run("evaluate.ts", [
      "--weights",
      `${out}/whole/latest.safetensors`,
      "--device",
      "cpu",
    ]);
    assertEquals(scored.code, 0, scored.err);
    assertMatch(scored.out, /^person +\d+\.\d\d$/m);
    assertEquals(lastLine(scored.out), lastLine(whole.out), "evaluate.ts agrees with the end of train.ts");

    await Deno.mkdir(`${out}/images`);
    await Deno.copyFile(`${out}/whole/overlays.png`, `${out}/images/photo.png`);
    const predicted = await run("predict.ts", [
      ...["--weights", `${out}/whole/best.safetensors`, "--device", "cpu"],
      ...["--input", `${out}/images`, "--out", `${out}/predictions`],
    ]);
    assertEquals(predicted.code, 0, predicted.err);
    const made = Array.from(Deno.readDirSync(`${out}/predictions`), ({ name }) => name).sort();
    assertEquals(made, ["photo.mask.png", "photo.overlay.png"]);
  }));

Deno.test("a folder of one's own is trained on, evaluated in every mode, and its weights start another run", () =>
  inFolder(async (out) => {
    await Deno.mkdir(`${out}/images`);
    await Deno.mkdir(`${out}/masks`);
    const dataset = scenes({ labeled: 6, size: [64, 60] });
    for (const [k, item] of dataset.labeled.entries()) {
      const { image, mask } = await readSample(item, dataset.reading);
      await Deno.writeFile(`${out}/images/${k}.png`, await encodeImage(image));
      const colors = sceneClasses.map(({ color }) => color);
      if (k < 4) await Deno.writeFile(`${out}/masks/${k}.png`, encodeMask(mask!, colors));
    }
    await Deno.writeTextFile(`${out}/labels.txt`, sceneClasses.map(({ name }) => name).join("\n"));
    const own = ["--images", `${out}/images`, "--masks", `${out}/masks`];
    const small =
      "--variant 8,16,40,64:1,1,1,1 --embedding 16 --crop 45 --batch 1 --steps 2 --workers 1 --device cpu";
    const options = [...own, "--labels", `${out}/labels.txt`, ...small.split(" "), "--out", out];
    const first = await run("train.ts", [...options, "--method", "supervised", "--name", "first"]);
    assertEquals(first.code, 0, first.err);
    assertStringIncludes(first.out, "3 labeled and 2 unlabeled images (not used), 1 to validate, 8 classes");

    const weights = `${out}/first/latest.safetensors`;
    for (const mode of ["original", "center-crop", "sliding-window"]) {
      const args = [...own, "--weights", weights, "--mode", mode, "--crop", "45", "--device", "cpu"];
      const scored = await run("evaluate.ts", args);
      assertEquals(scored.code, 0, scored.err);
      assertStringIncludes(scored.out, "4 images");
      assertMatch(lastLine(scored.out), /^mIoU \d+\.\d\d$/);
    }
    const second = await run("train.ts", [...options, "--pretrained", weights, "--name", "second"]);
    assertEquals(second.code, 0, second.err);
    assertStringIncludes(second.out, `Model: allspark`);
    assertStringIncludes(second.out, `from ${weights}`);
  }));

Deno.test("a run whose weights explode stops with the step and keeps no bad checkpoint", () =>
  inFolder(async (out) => {
    const { code, err } = await run("train.ts", [
      ...tiny,
      ...["--method", "supervised", "--lr", "1e30", "--eval-every", "2", "--out", out, "--name", "bad"],
    ]);
    assertEquals(code, 2, err);
    assertMatch(lastLine(err), /^Cannot go on after step 2: the loss is/);
    assertMatch(
      err,
      /^The last good checkpoint is .*\/bad\/latest\.safetensors, from before the first step$/m,
    );
    assertEquals((await loadCheckpoint(`${out}/bad`)).meta.step, 0);
  }));

Deno.test("what cannot work is refused with sentences before training starts", async () => {
  const cases: [string, string[], string][] = [
    ["train.ts", ["--crop", "x"], "Cannot use --crop x"],
    ["train.ts", ["--data", "/none", "--split", "1_8"], "Cannot use data folder /none"],
    ["train.ts", ["--resume", "/none"], "Cannot load checkpoint /none"],
    ["evaluate.ts", ["--weights", "/none"], "Cannot load weights /none"],
    ["predict.ts", ["--weights", "/none", "--input", "/nothing"], "Cannot segment /nothing"],
  ];
  for (const [program, args, sentence] of cases) {
    const { code, err } = await run(program, [...args, "--device", "cpu"]);
    assertEquals(code, 2, err);
    assertStringIncludes(err, sentence);
    assertEquals(err.trim().split("\n").length, 1, err);
  }
});
