import { assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  addHistograms,
  centerBox,
  evaluationBoxes,
  histogram,
  scores,
  slidingWindows,
} from "../src/training/metrics.ts";
import { FileFormatError } from "../src/io/array.ts";
import { WriteError } from "../src/training/checkpoint_files.ts";
import { openMetrics, readMetrics } from "../src/training/metrics_log.ts";
import { inFolder } from "./support/folders.ts";
import { loadGolden } from "./support/golden.ts";
import { iouTable, percent, textTable } from "../src/training/table.ts";

Deno.test("scores() counts by hand", () => {
  const counts = histogram([0, 0, 1, 1, 2, 1], [0, 1, 1, 255, 0, 1], { classes: 4 });
  assertEquals(counts, { intersection: [1, 2, 0, 0], prediction: [2, 2, 1, 0], target: [2, 3, 0, 0] });
  const { iou, meanIoU, pixelAccuracy } = scores(counts);
  assertAlmostEquals(iou[0]!, 1 / 3);
  assertAlmostEquals(iou[1]!, 2 / 3);
  assertEquals(iou.slice(2), [0, 0]);
  assertAlmostEquals(meanIoU, 0.25);
  assertAlmostEquals(pixelAccuracy, 3 / 5);
});

Deno.test("histograms of images add up to the histogram of all pixels", () => {
  const random = (i: number): number => Math.floor(Math.abs(Math.sin(i * 12.9898) * 43758.5453) % 1 * 5);
  const prediction = Array.from({ length: 1000 }, (_, i) => random(i));
  const target = Array.from({ length: 1000 }, (_, i) => i % 17 === 0 ? 255 : random(i + 5000));
  const part = (from: number, to: number): ReturnType<typeof histogram> =>
    histogram(prediction.slice(from, to), target.slice(from, to), { classes: 5 });
  assertEquals(addHistograms(part(0, 300), part(300, 1000)), part(0, 1000));
});

Deno.test("histogram() throws on different lengths and on values that are no class", () => {
  assertThrows(
    () => histogram([1], [1, 1], { classes: 2 }),
    RangeError,
    "1 predicted pixels with 2 true ones",
  );
  assertThrows(() => histogram([2], [1], { classes: 2 }), RangeError, "predicted as class 2");
  assertThrows(() => histogram([1], [7], { classes: 2 }), RangeError, "truly 7");
  assertThrows(() => histogram([-1], [1], { classes: 2 }), RangeError, "predicted as class -1");
  assertEquals(histogram([7], [255], { classes: 2 }).prediction, [0, 0]);
});

Deno.test("scores() agrees with the official metric", async () => {
  const golden = await loadGolden("f_losses_ops");
  const read = (name: string): number[] => Array.from(golden.get(`metric/${name}`)!.data, Number);
  const counts = histogram(read("pred"), read("target"), { classes: 5 });
  assertEquals(counts.intersection, read("intersection"));
  assertEquals(counts.target, read("target_area"));
  assertEquals(
    counts.prediction.map((p, k) => p + counts.target[k]! - counts.intersection[k]!),
    read("union"),
  );
  const { iou, meanIoU } = scores(counts);
  read("iou").forEach((value, k) => assertAlmostEquals(iou[k]! * 100, value, 1e-5));
  assertAlmostEquals(meanIoU * 100, 53.75828235635553, 1e-9);
});

Deno.test("slidingWindows() cuts windows at the border and does not shift them", () => {
  const boxes = slidingWindows({ height: 1024, width: 2048, crop: 801 });
  assertEquals(boxes.map(({ top, bottom, left, right }) => [top, bottom, left, right]), [
    [0, 801, 0, 801],
    [0, 801, 534, 1335],
    [0, 801, 1068, 1869],
    [0, 801, 1602, 2048],
    [534, 1024, 0, 801],
    [534, 1024, 534, 1335],
    [534, 1024, 1068, 1869],
    [534, 1024, 1602, 2048],
  ]);
});

Deno.test("evaluationBoxes() gives the image, its middle or its windows", () => {
  assertEquals(evaluationBoxes("original", { height: 7, width: 9, crop: 3 }), [
    { top: 0, left: 0, bottom: 7, right: 9 },
  ]);
  assertEquals(evaluationBoxes("center-crop", { height: 73, width: 121, crop: 65 }), [
    { top: 4, left: 28, bottom: 69, right: 93 },
  ]);
  assertEquals(centerBox({ height: 40, width: 100, crop: 65 }), { top: 0, left: 17, bottom: 40, right: 82 });
  assertEquals(evaluationBoxes("sliding-window", { height: 73, width: 121, crop: 65 }).length, 2 * 3);
});

Deno.test("the metrics log keeps complete lines up to a step", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/metrics.jsonl`;
    {
      using log = await openMetrics(path);
      for (let step = 1; step <= 4; step++) log.append({ step, loss: 1 / step });
      log.append({ step: 4, meanIoU: 0.5, iou: [0.25, 0.75] });
      assertEquals((await readMetrics(path)).length, 5, "lines are there before the file is closed");
    }
    await Deno.writeTextFile(path, `{"step":5,"lo`, { append: true });
    assertEquals((await readMetrics(path)).length, 5, "a line that a crash cut off is left out");
    {
      using log = await openMetrics(path, { keepUntil: 2 });
      log.append({ step: 3, loss: 9 });
    }
    assertEquals(await readMetrics(path), [{ step: 1, loss: 1 }, { step: 2, loss: 0.5 }, {
      step: 3,
      loss: 9,
    }]);
    (await openMetrics(path)).close();
    assertEquals(await readMetrics(path), []);
    await Deno.writeTextFile(path, `words\n{"step":1}\n`);
    await assertRejects(() => readMetrics(path), FileFormatError, `Cannot read line 1 of ${path}`);
    assertEquals(await readMetrics(`${folder}/absent`), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("tables align words to the left and numbers to the right", () => {
  assertEquals(
    textTable(["class", "n"], [["sky", "7"], ["building", "11"]]),
    "class      n\n────────  ──\nsky        7\nbuilding  11",
  );
  assertEquals(percent(0.20699), "20.70");
  const counts = histogram([0, 1, 1], [0, 0, 1], { classes: 2 });
  assertEquals(
    iouTable(["road", "tree"], scores(counts)),
    "class  IoU %\n─────  ─────\nroad   50.00\ntree   50.00",
  );
});

Deno.test("openMetrics() says which steps a file has lost, and goes on without them", () =>
  inFolder(async (folder) => {
    const path = `${folder}/metrics.jsonl`;
    const lines = Array.from({ length: 8 }, (_, k) => JSON.stringify({ step: k + 1, loss: k }));
    lines.splice(4, 0, JSON.stringify({ step: 4, meanIoU: 0.5 }));
    const cases: [string | undefined, string | undefined, number[]][] = [
      [lines.join("\n") + "\n", undefined, [1, 2, 3, 4, 4, 5, 6]],
      // A crash has left zeros behind.
      [lines.slice(0, 7).join("\n") + "\n" + "\0".repeat(100) + "\n", undefined, [1, 2, 3, 4, 4, 5, 6]],
      [undefined, `step 1 to 6 are missing in ${path}, which was cut or removed`, []],
      ["", `step 1 to 6 are missing in ${path}, which was cut or removed`, []],
      [lines.slice(0, 3).join("\n"), `step 3 to 6 are missing in ${path}, which was cut or removed`, [1, 2]],
      [
        [lines[0], "{", ...lines.slice(2, 5), "[]", lines[6], ""].join("\n"),
        `step 2 and 5 are missing in ${path}, where line 2 and 6 cannot be read`,
        [1, 3, 4, 4, 6],
      ],
    ];
    for (const [content, note, steps] of cases) {
      if (content === undefined) await Deno.remove(path);
      else await Deno.writeTextFile(path, content);
      using log = await openMetrics(path, { keepUntil: 6 });
      assertEquals(log.note, note && `The metrics of ${note}; the run goes on without them`);
      assertEquals((await readMetrics(path)).map(({ step }) => step), steps);
    }
    await Deno.writeTextFile(path, lines.join("\n") + "\n");
    using log = await openMetrics(path, { keepUntil: 4, evaluatedUntil: 0 });
    assertEquals(log.note, undefined);
    assertEquals((await readMetrics(path)).length, 4, "an evaluation that is made again is forgotten");
    await Deno.mkdir(`${folder}/sub`);
    await assertRejects(() => readMetrics(`${folder}/sub`), FileFormatError, "it is a folder");
    await assertRejects(
      () => openMetrics(`${folder}/none/file`),
      WriteError,
      `Cannot write ${folder}/none/file`,
    );
  }));

Deno.test("lines that a full disk refuses are written once it takes them, each once", () =>
  inFolder(async (folder) => {
    const path = `${folder}/metrics.jsonl`;
    using log = await openMetrics(path);
    const { writeSync } = Deno.FsFile.prototype;
    let room = 20;
    Deno.FsFile.prototype.writeSync = function (bytes: Uint8Array): number {
      if (room === 0) throw new Error("No space left on device (os error 28)");
      const written = writeSync.call(this, bytes.subarray(0, room));
      room -= written;
      return written;
    };
    try {
      for (let step = 1; step <= 3; step++) log.append({ step, loss: step });
      assertEquals(log.failure?.message, `Cannot write ${path}: no space left on device`);
      await assertRejects(() => log.flush(), WriteError, "no space left on device");
      room = Infinity;
      log.append({ step: 4, loss: 4 });
    } finally {
      Deno.FsFile.prototype.writeSync = writeSync;
    }
    assertEquals(log.failure, undefined);
    await log.flush();
    assertEquals((await readMetrics(path)).map(({ loss }) => loss), [1, 2, 3, 4]);
  }));
