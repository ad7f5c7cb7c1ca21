/** What the values of masks mean: ids, colours of palettes, greys; and CMYK pictures against Pillow. */
import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { encode } from "fast-png";
import { readClasses } from "../src/data/classes.ts";
import { DataError } from "../src/data/errors.ts";
import { type Color, colorTable, decodeMask, encodeMask, readImage, readMask } from "../src/data/image.ts";
import { colorPairs } from "../src/data/mask_values.ts";
import { openOwnFolder } from "../src/data/own_folder.ts";
import { checkLabels } from "../src/data/check.ts";
import { maskPng, png, withFiles } from "./support/data_files.ts";

const black: Color = [0, 0, 0];
const red: Color = [128, 0, 0];
const green: Color = [0, 128, 0];
const white: Color = [255, 255, 255];

/** A palette file of one row. */
function paletteFile(ids: number[], palette: readonly Color[]): Uint8Array {
  return encode({
    width: ids.length,
    height: 1,
    data: Uint8Array.from(ids),
    channels: 1,
    depth: 8,
    palette: palette.map((color) => [...color]),
  });
}

/** A grey file of one row of at most 8 pixels, whose values have so many bits. */
function grayFile(values: number[], depth: 1 | 2 | 4 | 8): Uint8Array {
  const data = new Uint8Array(Math.ceil(values.length * depth / 8));
  values.forEach((value, i) => data[(i * depth) >> 3]! |= value << (8 - depth - ((i * depth) & 7)));
  return encode({ width: values.length, height: 1, data, channels: 1, depth });
}

const classColors = colorTable([[black, 0], [red, 1], [green, 2]]);

Deno.test("decodeMask() reads a palette by its colours where they contradict the indices", () => {
  // ImageMagick sorts a palette as it likes: here green, black, red.
  const sorted = paletteFile([0, 1, 2, 1], [green, black, red]);
  assertEquals([...decodeMask(sorted, { colors: classColors, classes: 3 }).data], [2, 0, 1, 0]);
  // The indices are ids, whatever the colour of an unused one is, and 255 is no label.
  const truth = paletteFile([0, 1, 2, 255], [...[black, red, green, white], ...Array(252).fill(black)]);
  assertEquals([...decodeMask(truth, { colors: classColors, classes: 3 }).data], [0, 1, 2, 255]);
  // A class without a colour of its own may have any.
  const some = colorTable([[red, 1]]);
  assertEquals([...decodeMask(paletteFile([0, 1], [green, red]), { colors: some, classes: 2 }).data], [0, 1]);
  // Void colours are no label, in a palette too.
  const withVoid = colorTable([[red, 0], [black, 255]]);
  assertEquals([...decodeMask(paletteFile([0, 1], [black, red]), { colors: withVoid }).data], [255, 0]);
  // Without colours only the indices count.
  assertEquals([...decodeMask(sorted, { classes: 3 }).data], [0, 1, 2, 1]);
});

Deno.test("decodeMask() refuses a palette that fits the classes neither by index nor by colour", () => {
  const foreign: Color = [9, 9, 9];
  const read = (ids: number[], palette: Color[], colors = classColors) => () =>
    decodeMask(paletteFile(ids, palette), { colors, classes: 3 }, "m.png");
  const question = "give the labels the palette's colours, or leave colours out of the labels";
  assertThrows(
    read([0, 1], [black, foreign]),
    DataError,
    "m.png: its palette has colour 9 9 9 at index 1, which no class has",
  );
  assertThrows(read([0, 1], [red, foreign]), DataError, question);
  assertThrows(read([0], [foreign]), DataError, question);
  const some = colorTable([[red, 1]]);
  assertThrows(
    read([0, 2], [red, black, green], some),
    DataError,
    "its palette has colour 128 0 0 at index 0, which is that of class 1, but index 2 has a colour that no class has",
  );
  // A palette is filled up with black, the colour of class 0: index 5 is not that class for it.
  const filled = [black, red, green, black, black, black];
  assertThrows(read([0, 5], filled), DataError, "m.png: pixel (1, 0) has class id 5; with 3 classes");
  assertThrows(read([1, 2], [black, red, red]), DataError, "colour 128 0 0 at index 2 and again at index 1");
  assertThrows(read([5], [black]), DataError, "it has index 5, and its palette 1 colours");
});

Deno.test("decodeMask() reads grey values as ids, of few bits only where white is no question", () => {
  assertEquals([...decodeMask(grayFile([0, 1, 2, 255], 8)).data], [0, 1, 2, 255]);
  assertEquals([...decodeMask(grayFile([0, 1, 2, 0], 2)).data], [0, 1, 2, 0]);
  assertEquals([...decodeMask(grayFile([0, 8, 14, 3, 1], 4)).data], [0, 8, 14, 3, 1]);
  assertEquals([...decodeMask(grayFile([0, 0, 0], 1)).data], [0, 0, 0]);
  for (const [depth, value] of [[1, 1], [2, 3], [4, 15]] as const) {
    assertThrows(
      () => decodeMask(grayFile([0, value], depth), {}, "m.png"),
      DataError,
      `m.png: it is grey with ${depth} bit${
        depth === 1 ? "" : "s"
      } and has white pixels, which may be class ${value} or 255 for no label`,
    );
  }
});

Deno.test("decodeMask() reads greys as colours where all classes have greys, such as foreground", async () => {
  const { maskColors } = await readClasses("foreground");
  const colors = colorTable(maskColors);
  const options = { colors, classes: 2 };
  assertEquals([...decodeMask(grayFile([0, 255, 255], 8), options).data], [0, 1, 1]);
  assertEquals([...decodeMask(grayFile([0, 1, 0], 1), options).data], [0, 1, 0]);
  assertEquals([...decodeMask(paletteFile([1, 0], [white, black]), options).data], [0, 1]);
  const rgb = encode({ width: 2, height: 1, data: new Uint8Array([255, 255, 255, 0, 0, 0]), channels: 3 });
  assertEquals([...decodeMask(rgb, options).data], [1, 0]);
  assertThrows(
    () => decodeMask(grayFile([0, 1], 8), options, "m.png"),
    DataError,
    "m.png: it has grey 1, which no class has, and the colours of all classes are greys",
  );
  // 255 stays no label where no class is white.
  const grays = colorTable([[black, 0], [[128, 128, 128], 1]]);
  assertEquals([...decodeMask(grayFile([0, 128, 255], 8), { colors: grays }).data], [0, 1, 255]);
});

Deno.test("decodeMask() refuses greys that may be ids or the colours of classes", () => {
  // Black means void, and value 0 the first class: an all-black picture may be either.
  const colors = colorTable([[red, 0], [green, 1], [black, 255]]);
  assertThrows(
    () => decodeMask(grayFile([0, 0], 8), { colors }, "m.png"),
    DataError,
    "m.png: it is grey, and its values 0 may be class ids or the colours of classes 255",
  );
  assertEquals([...decodeMask(grayFile([0, 1], 8), { colors }).data], [0, 1]);
  assertEquals([...decodeMask(grayFile([0, 0], 8), { colors: classColors }).data], [0, 0]);
});

Deno.test("colorPairs() gives back what colorTable() was given", () => {
  const pairs: [Color, number][] = [[red, 1], [white, 0], [[1, 2, 3], 255]];
  assertEquals(colorPairs(colorTable(pairs)), pairs);
});

Deno.test("openOwnFolder() asks about masks of 0 and 255, and reads them as foreground", async () => {
  const mask = encodeMask({ width: 2, height: 1, data: new Uint8Array([0, 255]) }, [black]);
  const files: { [path: string]: Uint8Array } = {};
  for (const k of [0, 1, 2]) {
    files[`im/${k}.png`] = await png(2, 1);
    files[`gray/${k}.png`] = grayFile([0, 255], 8);
    files[`palette/${k}.png`] = mask;
    files[`void/${k}.png`] = grayFile([255, 255], 8);
  }
  await withFiles(files, async (root) => {
    const open = (masks: string, labels?: string) =>
      openOwnFolder({ images: `${root}/im`, masks: `${root}/${masks}`, ...(labels && { labels }) });
    for (const masks of ["gray", "palette"]) {
      const error = await assertRejects(
        () => open(masks),
        DataError,
        `classes of ${root}/${masks}: its masks hold`,
      );
      assertEquals(
        /only class 0 and 255, which means no label; if 255 is the object/.test(error.message),
        true,
      );
    }
    await assertRejects(() => open("void"), DataError, "its masks hold only 255, no label");
    const dataset = await open("gray", "foreground");
    assertEquals(dataset.classes.map(({ name }) => name), ["background", "foreground"]);
    const read = await readMask(`${root}/gray/0.png`, dataset.reading.masks);
    assertEquals([...read.data], [0, 1]);
    await checkLabels(dataset);
    // With two names 255 is still no label, so nothing could be learned.
    const named = await open("gray", "2");
    await assertRejects(() => checkLabels(named), DataError, "its masks hold only class 0 and 255");
  });
});

Deno.test("checkLabels() looks into masks until it has seen two classes", async () => {
  const files: { [path: string]: Uint8Array } = {};
  for (let k = 0; k < 6; k++) {
    files[`im/${k}.png`] = await png(2, 2);
    files[`ma/${k}.png`] = maskPng(2, 2, k === 5 ? 2 : 1);
  }
  await withFiles(files, async (root) => {
    const dataset = await openOwnFolder({ images: `${root}/im`, masks: `${root}/ma`, val: 0.2 });
    const all = [...dataset.labeled, ...dataset.val];
    await checkLabels({ ...dataset, labeled: all });
    const one = all.filter((item) => !("image" in item) || !item.image.endsWith("5.png"));
    await assertRejects(
      () => checkLabels({ ...dataset, labeled: one }),
      DataError,
      "its masks hold only class 1;",
    );
  });
});

Deno.test("readImage() gives Pillow's RGB for CMYK files, to the bit", async () => {
  for (const name of ["cmyk.jpg", "cmyk.tif"]) {
    const path = new URL(`fixtures/data/${name}`, import.meta.url).pathname;
    assertEquals(await readImage(path), await readImage(`${path}.png`), name);
  }
});
