/** What is found before a run, what is left out, and that leaving out follows from the files alone. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import sharp from "sharp";
import type { Batch } from "../src/data/batch.ts";
import { BrokenFiles, itemAt } from "../src/data/broken.ts";
import { checkFiles, checkSamples } from "../src/data/check.ts";
import type { Dataset, FileItem } from "../src/data/datasets.ts";
import { DataError } from "../src/data/errors.ts";
import { readImageHeader, readMaskHeader } from "../src/data/headers.ts";
import { encodeImage } from "../src/data/image.ts";
import { openLoader, pictures, wholeImages } from "../src/data/loader.ts";
import { scenes } from "../src/data/scenes.ts";
import { type Files, maskPng, withFiles } from "./support/data_files.ts";

/** A photo that looks like no other. */
async function jpeg(seed: number, width = 40, height = 36): Promise<Uint8Array> {
  const data = Uint8Array.from({ length: 3 * width * height }, (_, i) => (i * (seed + 3) * 37) % 251);
  const raw = { width, height, channels: 3 as const };
  return new Uint8Array(await sharp(data, { raw }).jpeg({ quality: 95 }).toBuffer());
}

/** A picture whose begin and end are there but whose middle is wrong: only a decoder notices. */
async function hollow(): Promise<Uint8Array> {
  const noise = Uint8Array.from({ length: 3 * 40 * 36 }, (_, i) => (i * i) % 253);
  const bytes = await encodeImage({ width: 40, height: 36, data: noise });
  return bytes.fill(0, 200, 300);
}

const counts = { labeled: 4, unlabeled: 6, val: 3 };

/** Files of a data set with masks for the labeled and validation images. */
async function dataFiles(change: Files = {}): Promise<Files> {
  const files: Files = {};
  for (const [list, count] of Object.entries(counts)) {
    for (let k = 0; k < count; k++) {
      files[`${list}/${k}.jpg`] = await jpeg(list.length * 10 + k);
      if (list !== "unlabeled") files[`${list}/${k}.png`] = maskPng(40, 36, k % 2);
    }
  }
  return { ...files, ...change };
}

function datasetIn(root: string): Dataset {
  const items = (list: keyof typeof counts, masks: boolean): FileItem[] =>
    Array.from({ length: counts[list] }, (_, k) => {
      const image = `${root}/${list}/${k}.jpg`;
      return masks ? { image, mask: `${root}/${list}/${k}.png` } : { image };
    });
  const classes = ["a", "b"].map((name) => ({ name, color: [0, 0, 0] as const }));
  return {
    ...{ name: "test", classes, reading: { masks: { classes: 2 } } },
    ...{ labeled: items("labeled", true), unlabeled: items("unlabeled", false), val: items("val", true) },
  };
}

Deno.test("readImageHeader() gives the sizes of all formats and tells whether they end as they should", async () => {
  const data = new Uint8Array(3 * 33 * 21).map((_, i) => i % 251);
  const picture = () => sharp(data, { raw: { width: 33, height: 21, channels: 3 } });
  const files: Files = {
    "a.jpg": await picture().jpeg().toBuffer(),
    "progressive.jpg": await picture().jpeg({ progressive: true }).toBuffer(),
    "long.jpg": await picture().withMetadata({ exif: { IFD0: { Copyright: "x".repeat(30_000) } } }).jpeg()
      .toBuffer(),
    "a.png": await picture().png().toBuffer(),
    "a.webp": await picture().webp().toBuffer(),
    "a.gif": await picture().gif().toBuffer(),
    "a.tif": await picture().tiff().toBuffer(),
    "a.avif": await picture().avif().toBuffer(),
  };
  await withFiles(files, async (root) => {
    for (const [name, bytes] of Object.entries(files)) {
      const { width, height, endsWell } = await readImageHeader(`${root}/${name}`);
      assertEquals([width, height, endsWell], [33, 21, true], name);
      if (/tif|avif/.test(name)) continue;
      await Deno.writeFile(`${root}/${name}`, (bytes as Uint8Array).subarray(0, bytes.length - 9));
      if (name === "a.gif") {
        // Its reader goes through all of its pictures for the header.
        await assertRejects(() => readImageHeader(`${root}/${name}`), DataError, "it is cut or damaged");
      } else assertEquals((await readImageHeader(`${root}/${name}`)).endsWell, false, name);
    }
    for (const [content, why] of [["", "it is empty"], ["hello", "it is in none of the formats"]]) {
      await Deno.writeTextFile(`${root}/wrong.jpg`, content!);
      const error = await assertRejects(() => readImageHeader(`${root}/wrong.jpg`), DataError, why);
      assertEquals(error.file, `${root}/wrong.jpg`);
    }
    await assertRejects(() => readImageHeader(root), DataError, "it is a folder, not a file");
    await assertRejects(() => readMaskHeader(`${root}/none`), DataError, "none: no such file");
  });
});

Deno.test("checkFiles() finds what headers and ends tell, and names every file", async () => {
  const photo = await jpeg(1);
  const mask = maskPng(40, 36);
  const cases: [change: Files, why: string][] = [
    [{ "unlabeled/3.jpg": photo.subarray(0, 700) }, "unlabeled/3.jpg: it is cut or damaged"],
    [{ "unlabeled/5.jpg": "" }, "unlabeled/5.jpg: it is empty"],
    [{ "labeled/1.jpg": "hello" }, "labeled/1.jpg: it is in none of the formats that are read"],
    [
      { "val/2.png": maskPng(36, 40) },
      "val/2.png: they are 40x36 and 36x40 pixels; equal sizes are required",
    ],
    [{ "labeled/2.png": mask.subarray(0, mask.length - 20) }, "labeled/2.png: it is cut off within its IDAT"],
    [{ "labeled/2.png": mask.subarray(0, 20) }, "labeled/2.png: it is cut off within its header"],
    [{ "labeled/0.png": photo }, "labeled/0.png: it is not a PNG file"],
    [{ "val/0.jpg": await jpeg(1, 20, 20), "val/0.png": maskPng(20, 20) }, "val/0.jpg is too small"],
  ];
  const sizeProblem = ([width]: readonly [number, number], name: string): string | undefined =>
    width < 29 ? `${name} is too small` : undefined;
  for (const [change, why] of cases) {
    await withFiles(await dataFiles(change), async (root) => {
      const dataset = datasetIn(root);
      const error = await assertRejects(() => checkFiles(dataset, { sizeProblem }), DataError, why);
      assert(error.message.includes(root) && !/\n|\.$/.test(error.message), error.message);
      const broken = new BrokenFiles();
      await checkFiles(dataset, { sizeProblem, broken });
      assertEquals([...broken.reasons.keys()], [error.file!]);
      await checkSamples(dataset, { broken });
    });
  }
});

Deno.test("checkFiles() tells how many files are wrong, in the order of the lists, and counts to the end", async () => {
  const change = { "val/1.jpg": "", "labeled/3.jpg": "", "unlabeled/0.jpg": "", "unlabeled/2.jpg": "" };
  await withFiles(await dataFiles(change), async (root) => {
    const seen: number[] = [];
    await assertRejects(
      () => checkFiles(datasetIn(root), { onProgress: (done, total) => seen.push(done, total) }),
      DataError,
      `Cannot read image ${root}/labeled/3.jpg: it is empty; 3 more cannot be used, ${root}/unlabeled/0.jpg, ` +
        `${root}/unlabeled/2.jpg, ${root}/val/1.jpg`,
    );
    assertEquals(seen.slice(-2), [13, 13]);
  });
});

Deno.test("checkFiles() takes files that have something behind their end, and scenes, which have none", async () => {
  const photo = await jpeg(2);
  const mask = maskPng(40, 36);
  const change = {
    "labeled/0.jpg": new Uint8Array([...photo, 0, 0, 0, 0]),
    "labeled/1.png": new Uint8Array([...mask, ...new Uint8Array(100)]),
  };
  await withFiles(await dataFiles(change), (root) => checkFiles(datasetIn(root)));
  await checkFiles(scenes({ labeled: 2, val: 1 }));
});

const options = { crop: 33, batch: 2, seed: 5, workers: 2 };

async function batchesOf(
  dataset: Dataset,
  broken: BrokenFiles,
  range = { from: 0, to: 8 },
): Promise<Batch[]> {
  await using loader = openLoader(dataset, { ...options, broken });
  return await Array.fromAsync(loader.batches(range));
}

Deno.test("batches without broken files are the same whenever these are found, and from any step on", async () => {
  const photo = await jpeg(9);
  const change = {
    // Two in a row at the end of a list: the first of the list stands in.
    "unlabeled/4.jpg": await hollow(),
    "unlabeled/5.jpg": photo.subarray(0, 600),
    "labeled/1.jpg": await hollow(),
  };
  await withFiles(await dataFiles(change), async (root) => {
    const dataset = datasetIn(root);
    const late = new BrokenFiles();
    const found = await batchesOf(dataset, late);
    assertEquals(
      [...late.reasons.keys()].sort(),
      Object.keys(change).map((name) => `${root}/${name}`).sort(),
    );

    const early = new BrokenFiles();
    await checkFiles(dataset, { broken: early });
    assertEquals(early.reasons.size, 1, "the header of a hollow file is whole");
    await checkSamples(dataset, { broken: early });
    assertEquals(early.reasons.size, 3);
    assertEquals(await batchesOf(dataset, early), found);
    assertEquals(await batchesOf(dataset, new BrokenFiles(), { from: 5, to: 8 }), found.slice(5));

    // The next one stands in: a data set in which it is there twice gives the same batches.
    const [labeled, unlabeled] = [dataset.labeled, dataset.unlabeled];
    const stood: Dataset = {
      ...dataset,
      labeled: [labeled[0]!, labeled[2]!, labeled[2]!, labeled[3]!],
      unlabeled: [...unlabeled.slice(0, 4), unlabeled[0]!, unlabeled[0]!],
    };
    assertEquals(await batchesOf(stood, new BrokenFiles()), found);
  });
});

Deno.test("a broken file is an error that names it where nobody takes it", async () => {
  await withFiles(await dataFiles({ "unlabeled/4.jpg": await hollow() }), async (root) => {
    await using loader = openLoader(datasetIn(root), options);
    const error = await assertRejects(
      () => Array.fromAsync(loader.batches({ to: 8 })),
      DataError,
      "unlabeled/4.jpg",
    );
    assertEquals(error.file, `${root}/unlabeled/4.jpg`);
  });
});

Deno.test("an unknown class id stops even those who go on without broken files", async () => {
  await withFiles(await dataFiles({ "labeled/1.png": maskPng(40, 36, 2) }), async (root) => {
    const broken = new BrokenFiles();
    await assertRejects(() => batchesOf(datasetIn(root), broken), DataError, "has class id 2");
    assertEquals(broken.reasons.size, 0);
  });
});

Deno.test("images and pictures without broken files are the others, in order", async () => {
  await withFiles(await dataFiles({ "val/0.jpg": "", "val/2.png": "" }), async (root) => {
    const { val, reading } = datasetIn(root);
    const told: string[] = [];
    const broken = new BrokenFiles((file, why) => told.push(file, why));
    const images = await Array.fromAsync(wholeImages(val, reading, { workers: 2, broken }));
    assertEquals(images.map(({ name }) => name), [`${root}/val/1.jpg`]);
    assertEquals(told.filter((_, i) => i % 2 === 0).sort(), [`${root}/val/0.jpg`, `${root}/val/2.png`]);
    const seen = await Array.fromAsync(pictures(val, { workers: 1, broken: new BrokenFiles() }));
    assertEquals(seen.map(({ name }) => name), [`${root}/val/1.jpg`, `${root}/val/2.jpg`]);
    assertEquals(seen[0]!.pixels, images[0]!.pixels);
  });
});

Deno.test("a list of nothing but broken files ends with a sentence", async () => {
  const change: Files = {};
  for (let k = 0; k < counts.labeled; k++) change[`labeled/${k}.jpg`] = "";
  await withFiles(await dataFiles(change), async (root) => {
    await assertRejects(
      () => batchesOf(datasetIn(root), new BrokenFiles()),
      DataError,
      "none of the 4 labeled images can be used",
    );
  });
});

Deno.test("BrokenFiles throws what no file is to blame for, and itemAt() goes round the end", async () => {
  const broken = new BrokenFiles();
  await assertRejects(async () => await broken.add(new TypeError("a mistake")), TypeError, "a mistake");
  await assertRejects(async () => await broken.add(new DataError("a question")), DataError, "a question");
  broken.add(new DataError("wrong", { file: "b" }));
  const items = ["a", "b", "c"].map((image) => ({ image }));
  assertEquals([0, 1, 2].map((place) => itemAt(items, place, broken, "x").image), ["a", "c", "c"]);
  broken.add(new DataError("wrong", { file: "c" }));
  assertEquals(itemAt(items, 1, broken, "x").image, "a");
  assertEquals(broken.has({ image: "a", mask: "c" }), true);
});

Deno.test("a picture that a header makes larger than it is does not pass", async () => {
  const bytes = await encodeImage({ width: 40, height: 36, data: new Uint8Array(3 * 40 * 36) });
  new DataView(bytes.buffer).setUint32(16, 41);
  await withFiles(
    await dataFiles({ "labeled/0.jpg": bytes, "labeled/0.png": maskPng(41, 36) }),
    async (root) => {
      const dataset = datasetIn(root);
      await checkFiles(dataset);
      await assertRejects(
        () => checkSamples(dataset),
        DataError,
        `${root}/labeled/0.jpg: it is cut or damaged`,
      );
    },
  );
});
