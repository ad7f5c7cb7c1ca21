/** The loader: the same batches for any number of workers and any first step; errors from workers. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { normalize } from "../src/data/augment.ts";
import type { Batch, WholeImage } from "../src/data/batch.ts";
import { readSample } from "../src/data/datasets.ts";
import { DataError } from "../src/data/errors.ts";
import { openFolder } from "../src/data/folder.ts";
import { type LoaderOptions, openLoader, type StepRange, wholeImages } from "../src/data/loader.ts";
import { scenes } from "../src/data/scenes.ts";

const dataset = scenes({ labeled: 3, unlabeled: 7, val: 3, size: [40, 32], seed: 2 });
const options: LoaderOptions = { crop: 33, batch: 2, seed: 11, workers: 1 };

async function take(range: StepRange, change: Partial<LoaderOptions> = {}): Promise<Batch[]> {
  await using loader = openLoader(dataset, { ...options, ...change });
  return await Array.fromAsync(loader.batches(range));
}

Deno.test("batches are the same with 1, 2 and 3 workers, with and without prefetch", async () => {
  const one = await take({ to: 5 });
  assertEquals(one.map(({ step }) => step), [0, 1, 2, 3, 4]);
  assertEquals(one, await take({ to: 5 }, { workers: 2, prefetch: 7 }));
  assertEquals(one, await take({ to: 5 }, { workers: 3, prefetch: 0, cacheBytes: 1 }));
  assert(one[0]!.labeled.image.some((value, i) => value !== one[1]!.labeled.image[i]));
});

Deno.test("a run that begins at step k sees what an uninterrupted run sees", async () => {
  assertEquals(await take({ from: 4, to: 7 }), (await take({ to: 7 })).slice(4));
});

Deno.test("supervised and burn-in batches have the labeled stream of the semi-supervised ones", async () => {
  const both = await take({ to: 3 });
  const labeledOnly = await take({ to: 3 }, { unlabeledFrom: Infinity });
  assertEquals(labeledOnly, both.map(({ step, labeled }) => ({ step, labeled })));
  const burnIn = await take({ to: 3 }, { unlabeledFrom: 2 });
  assertEquals(burnIn, [...labeledOnly.slice(0, 2), both[2]!]);
});

Deno.test("batches have the promised shapes and values", async () => {
  const [{ labeled, unlabeled }] = await take({ to: 1 }) as [Batch];
  assertEquals(labeled.image.length, 2 * 3 * 33 * 33);
  assertEquals(labeled.mask.length, 2 * 33 * 33);
  assertEquals(unlabeled!.image.length, 2 * 3 * 33 * 33);
  assert(labeled.mask.every((id) => id < 8 || id === 255));
  assert(labeled.image.every((value) => value > -2.2 && value < 2.7));
});

Deno.test("batches are made before the first is asked for", async () => {
  await using loader = openLoader(dataset, { ...options, prefetch: 3 });
  const batches = loader.batches({ to: 3 });
  // The one worker takes tasks in order, so the batches are there when this image is.
  await loader.images(dataset.val.slice(0, 1)).next();
  const first = await Promise.race([batches.next(), new Promise((resolve) => setTimeout(resolve))]);
  assertEquals((first as IteratorResult<Batch>).value?.step, 0);
  assertEquals(await Array.fromAsync(batches), (await take({ to: 3 })).slice(1));
});

Deno.test("stopping early leaves the loader usable", async () => {
  await using loader = openLoader(dataset, options);
  for await (const batch of loader.batches()) if (batch.step === 1) break;
  assertEquals(await Array.fromAsync(loader.batches({ from: 2, to: 3 })), await take({ from: 2, to: 3 }));
  assertEquals((await Array.fromAsync(loader.images(dataset.val))).length, 3);
});

Deno.test("images() gives whole images in order, normalised, with their masks", async () => {
  const images: WholeImage[] = await Array.fromAsync(
    wholeImages(dataset.val, dataset.reading, { workers: 2 }),
  );
  assertEquals(images.map(({ name }) => name), ["scene 2000000", "scene 2000001", "scene 2000002"]);
  for (const [i, { image, mask, width, height, pixels }] of images.entries()) {
    const sample = await readSample(dataset.val[i]!, dataset.reading);
    assertEquals([width, height], [40, 32]);
    assertEquals(pixels, sample.image);
    assertEquals(image, normalize(sample.image));
    assertEquals(mask, Int32Array.from(sample.mask!.data));
  }
});

Deno.test("an error in a worker reaches the caller with the file's name, when its turn comes", async () => {
  const broken = { ...dataset, val: [dataset.val[0]!, { image: "/no/such.jpg" }, dataset.val[1]!] };
  await using loader = openLoader(broken, options);
  const images = loader.images(broken.val);
  assertEquals((await images.next()).value?.name, "scene 2000000");
  await assertRejects(() => images.next(), DataError, "Cannot read image /no/such.jpg: no such file");
  assertEquals((await Array.fromAsync(loader.batches({ to: 1 }))).length, 1);
});

Deno.test("a closed loader refuses to load", async () => {
  const loader = openLoader(dataset, options);
  const waiting = loader.batches().next();
  await loader.close();
  await loader.close();
  await assertRejects(() => waiting, Error, "the loader was closed");
  await assertRejects(() => loader.batches().next(), Error, "the loader is closed");
});

Deno.test("openLoader() refuses what cannot work before it starts a worker", () => {
  assertThrows(() => openLoader({ ...dataset, labeled: [] }, options), DataError, "it has no labeled images");
  assertThrows(
    () => openLoader({ ...dataset, unlabeled: [] }, options),
    DataError,
    "it has none; train supervised",
  );
  assertThrows(
    () => openLoader(dataset, { ...options, crop: 0 }),
    RangeError,
    "crop 0: a whole number from 1",
  );
  assertThrows(() => openLoader(dataset, { ...options, batch: 1.5 }), RangeError, "batch 1.5");
  assertThrows(() => openLoader(dataset, { ...options, workers: 0 }), RangeError, "workers 0");
});

const camvid = new URL("../../shared/data/camvid-tiny", import.meta.url).pathname;
const hasCamvid = await Deno.stat(camvid).then(() => true, () => false);

Deno.test({
  name: "CamVid's photographs load with split lists, and every mask is within its 11 classes",
  ignore: !hasCamvid,
  async fn() {
    const folder = await openFolder(camvid, { split: "1_4", imageSize: [60, 45] });
    assertEquals([folder.labeled.length, folder.unlabeled.length, folder.val.length], [6, 18, 8]);
    assertEquals(folder.classes[3], { name: "road", color: [128, 64, 128] });
    await using loader = openLoader(folder, { ...options, workers: 2 });
    const batches = await Array.fromAsync(loader.batches({ to: loader.stepsPerEpoch }));
    assertEquals(batches.length, 9);
    for await (const { mask, width } of loader.images(folder.val)) {
      assertEquals(width, 60);
      assert(mask!.every((id) => id < 11 || id === 255));
    }
  },
});
