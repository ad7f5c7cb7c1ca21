/** Generated scenes: deterministic, with exact masks and all classes. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { readSample } from "../src/data/datasets.ts";
import { sceneClasses, scenes } from "../src/data/scenes.ts";

Deno.test("scenes() draws the same scene for the same seed, and another one otherwise", async () => {
  const read = (seed: number, set: "labeled" | "unlabeled" | "val") => {
    const dataset = scenes({ seed, size: [48, 40] });
    return readSample(dataset[set][1]!, dataset.reading);
  };
  const first = await read(5, "labeled");
  assertEquals(first, await read(5, "labeled"));
  assertEquals([first.image.width, first.image.height, first.mask!.height], [48, 40, 40]);
  for (const other of [await read(6, "labeled"), await read(5, "unlabeled"), await read(5, "val")]) {
    assert(other.image.data.some((value, i) => value !== first.image.data[i]));
    assert(other.mask!.data.some((value, i) => value !== first.mask!.data[i]));
  }
});

Deno.test("scenes() holds every class often and large enough to learn", async () => {
  const { unlabeled, reading } = scenes({ unlabeled: 40, size: [64, 64], difficulty: 1 });
  const pixels = new Array<number>(sceneClasses.length).fill(0);
  const pictures = new Array<number>(sceneClasses.length).fill(0);
  for (const item of unlabeled) {
    const { mask } = await readSample(item, reading);
    for (const id of mask!.data) pixels[id]!++;
    for (const id of new Set(mask!.data)) pictures[id]!++;
  }
  assertEquals(pixels.length, 8);
  sceneClasses.forEach(({ name }, id) => {
    const share = pixels[id]! / (40 * 64 * 64);
    assert(share > 0.02 && share < 0.4, `${name} has ${(100 * share).toFixed(1)} % of the pixels`);
    assert(pictures[id]! >= 32, `${name} is in ${pictures[id]} of 40 pictures`);
  });
});

Deno.test("the edges of a scene's mask lie on edges of its picture", async () => {
  // Across a mask edge the picture changes far more than within one class: both are drawn from the same outlines.
  const { labeled, reading } = scenes({ labeled: 8, size: [128, 128], difficulty: 0 });
  let [across, acrossCount, within, withinCount] = [0, 0, 0, 0];
  for (const item of labeled) {
    const { image, mask } = await readSample(item, reading);
    for (let i = 0; i + 1 < mask!.data.length; i++) {
      if (i % 128 === 127) continue;
      const change = [0, 1, 2].reduce(
        (sum, c) => sum + Math.abs(image.data[i * 3 + c]! - image.data[i * 3 + 3 + c]!),
        0,
      );
      if (mask!.data[i] !== mask!.data[i + 1]) [across, acrossCount] = [across + change, acrossCount + 1];
      else [within, withinCount] = [within + change, withinCount + 1];
    }
  }
  const ratio = across / acrossCount / (within / withinCount);
  assert(ratio > 4, `the picture changes ${ratio.toFixed(1)} times as much across a mask edge`);
});

Deno.test("scenes() takes a difficulty from 0 to 1", () => {
  assertThrows(() => scenes({ difficulty: 2 }), RangeError, "a number from 0 to 1 is required");
});
