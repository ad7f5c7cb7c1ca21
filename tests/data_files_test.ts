/** Reading pictures, masks, labels files and lists; and the sentence for everything that can be wrong with them. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { encode } from "fast-png";
import sharp from "sharp";
import { checkSamples } from "../src/data/check.ts";
import { readClasses } from "../src/data/classes.ts";
import { itemName, readSample } from "../src/data/datasets.ts";
import { DataError } from "../src/data/errors.ts";
import { openFolder } from "../src/data/folder.ts";
import {
  type Color,
  colorTable,
  decodeImage,
  decodeMask,
  encodeImage,
  encodeMask,
  overlayMask,
  paintMask,
  readImage,
} from "../src/data/image.ts";
import { parseClasses } from "../src/data/labels.ts";
import { openOwnFolder } from "../src/data/own_folder.ts";
import { type Files, maskPng, palette, png, withFiles } from "./support/data_files.ts";

/** The colours of the classes in {@linkcode vocFiles}, of which the first has none of its own. */
const vocPalette: Color[] = [[0, 0, 0], [1, 2, 3]];

/** A data folder in VOC's layout with three images of 6x4 pixels. */
async function vocFiles(): Promise<Files> {
  const files: Files = {
    "classes.json": JSON.stringify({
      classes: [{ id: 0, name: "a" }, { id: 1, name: "b", color: [1, 2, 3] }],
    }),
    "splits/1_2/labeled.txt": "img/0.png mask/0.png\r\n",
    "splits/1_2/unlabeled.txt": "img/1.png absent/1.png",
    "splits/val.txt": "img/2.png mask/2.png\n\n",
  };
  for (const i of [0, 1, 2]) {
    files[`img/${i}.png`] = await png(6, 4, 10 * i);
    files[`mask/${i}.png`] = maskPng(6, 4, i % 2, vocPalette);
  }
  return files;
}

Deno.test("readImage() gives RGB for grey, RGBA and 16-bit files", async () => {
  const raw = { width: 2, height: 1 } as const;
  const gray = await sharp(new Uint8Array([7, 200]), { raw: { ...raw, channels: 1 } }).toColourspace("b-w")
    .png()
    .toBuffer();
  assertEquals([...(await decodeImage(gray)).data], [7, 7, 7, 200, 200, 200]);
  const alpha = await sharp(new Uint8Array([1, 2, 3, 0, 4, 5, 6, 255]), { raw: { ...raw, channels: 4 } })
    .png()
    .toBuffer();
  assertEquals([...(await decodeImage(alpha)).data], [1, 2, 3, 4, 5, 6]);
  const deep = encode({
    ...raw,
    data: new Uint16Array([0, 0x8000, 0xffff, 0x100, 0x200, 0x300]),
    depth: 16,
    channels: 3,
  });
  assertEquals([...(await decodeImage(deep)).data], [0, 128, 255, 1, 2, 3]);
});

Deno.test("encodeImage() and encodeMask() keep every value", async () => {
  const image = { width: 3, height: 2, data: Uint8Array.from({ length: 18 }, (_, i) => i * 14) };
  assertEquals(await decodeImage(await encodeImage(image)), image);
  const mask = { width: 16, height: 16, data: Uint8Array.from({ length: 256 }, (_, i) => i) };
  assertEquals(decodeMask(encodeMask(mask, palette)), mask);
});

Deno.test("decodeMask() unpacks palette and grey values of 1, 2, 4 and 8 bits", () => {
  const width = 5;
  for (const depth of [1, 2, 4, 8] as const) {
    const ids = Uint8Array.from({ length: width * 3 }, (_, i) => (i * 7) % Math.min(2 ** depth, 9));
    const white = 2 ** depth - 1;
    const rowBytes = Math.ceil((width * depth) / 8);
    const data = new Uint8Array(rowBytes * 3);
    ids.forEach((id, i) => {
      const bit = (i % width) * depth;
      data[Math.floor(i / width) * rowBytes + (bit >> 3)]! |= id << (8 - depth - (bit & 7));
    });
    const colors = Array.from({ length: Math.min(2 ** depth, 256) }, (_, id) => [id, 0, 0]);
    for (const kind of [{}, { palette: colors }]) {
      const file = encode({ width, height: 3, data, depth, channels: 1, ...kind });
      // White of few bits may have been 255, no label, before a program made the file smaller.
      const isDoubtful = !("palette" in kind) && depth < 8 && ids.includes(white);
      if (isDoubtful) {
        assertThrows(() => decodeMask(file), DataError, `it is grey with ${depth} bit`);
        assertThrows(() => decodeMask(file), DataError, `may be class ${white} or 255 for no label`);
      } else assertEquals(decodeMask(file).data, ids, `${depth} bits, ${Object.keys(kind)}`);
    }
  }
});

Deno.test("decodeMask() turns colours into class ids", () => {
  const data = new Uint8Array([128, 0, 0, 0, 0, 0, 9, 9, 9]);
  const file = encode({ width: 3, height: 1, data, channels: 3 });
  const colors = colorTable([[[0, 0, 0], 0], [[128, 0, 0], 1], [[9, 9, 9], 255]]);
  assertEquals([...decodeMask(file, { colors, classes: 2 }).data], [1, 0, 255]);
  assertThrows(() => decodeMask(file), DataError, "it is an RGB picture and no class has a colour");
  const fewer = colorTable([[[128, 0, 0], 1]]);
  assertThrows(
    () => decodeMask(file, { colors: fewer }, "m.png"),
    DataError,
    "m.png: pixel (1, 0) has colour 0 0 0",
  );
});

Deno.test("decodeMask() refuses what it cannot read truly", async () => {
  const good = maskPng(8, 8, 2);
  assertThrows(
    () => decodeMask(good, { classes: 2 }, "m.png"),
    DataError,
    "m.png: pixel (0, 0) has class id 2; with 2",
  );
  assertThrows(
    () => decodeMask(good.subarray(0, good.length - 30), {}, "m.png"),
    DataError,
    "Cannot read mask m.png",
  );
  const jpeg = await sharp(good).jpeg().toBuffer();
  assertThrows(() => decodeMask(jpeg, {}, "m.jpg"), DataError, "it is not a PNG file");
  const deep = encode({ width: 1, height: 1, data: new Uint16Array([300]), depth: 16, channels: 1 });
  assertThrows(() => decodeMask(deep), DataError, "16 bits");
  const interlaced = await sharp(good).png({ palette: true, colours: 4, progressive: true })
    .toBuffer();
  assertEquals(new Set(decodeMask(interlaced).data), new Set([0]), "one colour is one index, interlaced too");
});

Deno.test("readImage() says which file it cannot read", async () => {
  await assertRejects(
    () => readImage("/no/such.jpg"),
    DataError,
    "Cannot read image /no/such.jpg: no such file",
  );
  const broken = (await png(64, 64)).subarray(0, 60);
  await withFiles({ "a.png": broken, "b.jpg": "hello" }, async (root) => {
    await assertRejects(() => readImage(`${root}/a.png`), DataError, `Cannot read image ${root}/a.png: `);
    await assertRejects(() => readImage(`${root}/b.jpg`), DataError, `Cannot read image ${root}/b.jpg: `);
  });
});

Deno.test("paintMask() and overlayMask() draw class colours, and nothing where there is no label", () => {
  const mask = { width: 3, height: 1, data: new Uint8Array([1, 2, 255]) };
  assertEquals([...paintMask(mask, palette).data], [128, 0, 0, 0, 128, 0, 0, 0, 0]);
  const image = { width: 3, height: 1, data: new Uint8Array(9).fill(100) };
  assertEquals([...overlayMask(image, mask, palette).data], [114, 50, 50, 50, 114, 50, 100, 100, 100]);
  const small = { width: 1, height: 1, data: new Uint8Array(1) };
  assertThrows(() => overlayMask(image, small, palette), RangeError, "equal sizes");
});

Deno.test("readClasses() understands numbers, names, known sets and labels files", async () => {
  assertEquals((await readClasses(3)).classes.map(({ name }) => name), ["class 0", "class 1", "class 2"]);
  assertEquals((await readClasses("pascal")).classes.length, 21);
  assertEquals((await readClasses("coco")).classes.length, 81);
  assertEquals((await readClasses("coco")).classes[80]!.name, "toothbrush");
  const text = "sky 1 2 3\ntree #0a0b0c\n7 8 9 traffic light\nplain\nvoid 0 0 0\n";
  const { classes, maskColors } = parseClasses(text, "labels.txt");
  assertEquals(classes.map(({ name }) => name), ["sky", "tree", "traffic light", "plain"]);
  assertEquals(maskColors, [[[1, 2, 3], 0], [[10, 11, 12], 1], [[7, 8, 9], 2], [[0, 0, 0], 255]]);
  const json = { classes: [{ id: 0, name: "a", color: [0, 0, 0] }], void: { id: 255, color: [0, 0, 0] } };
  assertEquals(parseClasses(JSON.stringify(json), "c.json").maskColors, [[[0, 0, 0], 0]]);
  assertEquals(parseClasses('["a", "b"]', "c.json").classes.length, 2);
});

Deno.test("readClasses() says what is wrong with a labels file", async () => {
  await assertRejects(
    () => readClasses("/no/labels.txt"),
    DataError,
    "Cannot read classes from /no/labels.txt: no such",
  );
  await assertRejects(() => readClasses(0), DataError, "Cannot use 0 classes");
  assertThrows(() => parseClasses("sky 1 2 300", "l.txt"), DataError, 'l.txt: line 1 is "sky 1 2 300"');
  assertThrows(() => parseClasses("\n", "l.txt"), DataError, "names no class");
  assertThrows(() => parseClasses("{", "c.json"), DataError, "Cannot read classes from c.json: ");
  assertThrows(
    () => parseClasses('{"classes":[{"id":1,"name":"a"}]}', "c.json"),
    DataError,
    "class 0 has id 1",
  );
  assertThrows(() => parseClasses('{"names":[]}', "c.json"), DataError, 'no list "classes"');
  assertThrows(
    () => parseClasses('{"classes":[{"name":"a","color":"red"}]}', "c.json"),
    DataError,
    "three bytes",
  );
});

Deno.test("openFolder() reads lists, classes and the split by name or path", async () => {
  await withFiles(await vocFiles(), async (root) => {
    const dataset = await openFolder(root, { split: "1_2" });
    assertEquals(dataset.classes, [{ name: "a", color: [0, 0, 0] }, { name: "b", color: [1, 2, 3] }]);
    assertEquals(dataset.labeled, [{ image: `${root}/img/0.png`, mask: `${root}/mask/0.png` }]);
    assertEquals(dataset.unlabeled, [{ image: `${root}/img/1.png` }]);
    assertEquals(dataset.val.map(itemName), [`${root}/img/2.png`]);
    await checkSamples(dataset);
    const byPath = await openFolder(root, { split: `${root}/splits/1_2`, classes: 5 });
    assertEquals([byPath.labeled, byPath.classes.length], [dataset.labeled, 5]);
    const onlyVal = await openFolder(root, { imageSize: [3, 2] });
    assertEquals([onlyVal.labeled.length, onlyVal.val.length], [0, 1]);
    const { image, mask } = await readSample(onlyVal.val[0]!, onlyVal.reading);
    assertEquals([image.width, image.height, mask!.width, mask!.height], [3, 2, 3, 2]);
  });
});

Deno.test("openFolder() says in one sentence what is wrong", async () => {
  await assertRejects(
    () => openFolder("/no/data"),
    DataError,
    "Cannot use data folder /no/data: no such folder",
  );
  const wrong = async (change: Files, message: string): Promise<void> => {
    const files = { ...await vocFiles(), ...change };
    await withFiles(files, async (root) => {
      const open = async (): Promise<void> => await checkSamples(await openFolder(root, { split: "1_2" }));
      const error = await assertRejects(open, DataError, message);
      assert(!/\.$|\n/.test(error.message), error.message);
    });
  };
  const list = "splits/1_2/labeled.txt";
  const absent = [0, 1, 2, 3].map((i) => `img/x${i}.png mask/x${i}.png`).join("\n");
  await wrong({ [list]: absent }, "8 of its 8 files are absent");
  await wrong({ [list]: absent }, "mask/x1.png and 5 more".replace("mask/x1.png and", "and"));
  await wrong(
    { [list]: "img/0.png\n" },
    'it is "img/0.png"; an image path, a space and a mask path are required',
  );
  await wrong({ [list]: "img/0.png mask/0.png\na b c\n" }, "Cannot read line 2 of ");
  await wrong({ [list]: "../0.png mask/0.png\n" }, "../0.png leaves the data folder");
  await wrong({ [list]: "/etc/x.png mask/0.png\n" }, "/etc/x.png leaves the data folder");
  await wrong({ [list]: "\n" }, "it has no lines");
  await wrong({ "classes.json": "[" }, "classes.json: ");
  await wrong(
    { "mask/0.png": maskPng(6, 4, 9, vocPalette) },
    "mask/0.png: pixel (0, 0) has class id 9; with 2 classes",
  );
  await wrong({ "mask/2.png": maskPng(5, 4, 0) }, "they are 6x4 and 5x4 pixels; equal sizes are required");
  await wrong({ "img/1.png": "not a picture" }, "img/1.png: ");

  await withFiles(await vocFiles(), async (root) => {
    await assertRejects(
      () => openFolder(root, { split: "1_3" }),
      DataError,
      "Cannot use split 1_3: neither ",
    );
    await Deno.remove(`${root}/classes.json`);
    await assertRejects(
      () => openFolder(root, { split: "1_2" }),
      DataError,
      "it has no classes.json; give the classes",
    );
    await Deno.remove(`${root}/splits/val.txt`);
    await assertRejects(
      () => openFolder(root, { classes: 2 }),
      DataError,
      "Cannot find the validation images of ",
    );
  });
});

Deno.test("openOwnFolder() pairs by name, keeps some for validation and leaves the rest unlabeled", async () => {
  const files: Files = { "images/notes.txt": "not an image" };
  for (let i = 0; i < 20; i++) files[`images/deep/${i}.png`] = await png(6, 4);
  for (let i = 0; i < 10; i++) files[`images/masks/deep/${i}.png`] = maskPng(6, 4, i % 3);
  await withFiles(files, async (root) => {
    // The masks lie inside the image folder, and are not images for that.
    const folders = { images: `${root}/images`, masks: `${root}/images/masks` };
    const dataset = await openOwnFolder({ ...folders, val: 0.2 });
    assertEquals([dataset.labeled.length, dataset.unlabeled.length, dataset.val.length], [8, 10, 2]);
    assertEquals(dataset.classes.length, 3);
    await checkSamples(dataset, { limit: 100 });
    assertEquals(dataset, await openOwnFolder({ ...folders, val: 0.2 }));
    const other = await openOwnFolder({ ...folders, val: 0.2, seed: 4 });
    assert(JSON.stringify(other.val) !== JSON.stringify(dataset.val));
    await Deno.writeTextFile(`${root}/labels.txt`, "one\ntwo\n");
    const tooFew = await openOwnFolder({ ...folders, labels: `${root}/labels.txt` });
    await assertRejects(() => checkSamples(tooFew), DataError, "has class id 2; with 2 classes");
  });
});

Deno.test("openOwnFolder() reads colour masks by a labels file", async () => {
  const colored = encode({ width: 2, height: 1, data: new Uint8Array([9, 9, 9, 200, 0, 0]), channels: 3 });
  const files: Files = { "labels.txt": "road 200 0 0\nsky #090909\n" };
  for (const i of [0, 1]) {
    files[`images/${i}.png`] = await png(2, 1);
    files[`masks/${i}.png`] = colored;
  }
  await withFiles(files, async (root) => {
    const folders = { images: `${root}/images`, masks: `${root}/masks` };
    const dataset = await openOwnFolder({ ...folders, labels: `${root}/labels.txt` });
    const { mask } = await readSample(dataset.labeled[0]!, dataset.reading);
    assertEquals([...mask!.data], [1, 0]);
    await assertRejects(() => openOwnFolder(folders), DataError, "give the colours in a labels file");
  });
});

Deno.test("openOwnFolder() says in one sentence what is wrong", async () => {
  const two = { "i/a.png": await png(2, 2), "i/b.png": await png(2, 2), "m/a.png": maskPng(2, 2) };
  await withFiles({ ...two, "empty/x.txt": "" }, async (root) => {
    const open = (images: string, masks: string) => () =>
      openOwnFolder({ images: `${root}/${images}`, masks: `${root}/${masks}` });
    await assertRejects(open("none", "m"), DataError, "Cannot use image folder");
    await assertRejects(open("i/a.png", "m"), DataError, "it is a file, not a folder");
    await assertRejects(open("i", "i"), DataError, "two different folders are required");
    await assertRejects(open("empty", "m"), DataError, "it holds no images");
    await assertRejects(open("i", "empty"), DataError, "it holds no PNG files");
    await assertRejects(open("i", "m"), DataError, "1 of its images have a mask; at least 2");
    await Deno.copyFile(`${root}/m/a.png`, `${root}/m/zebra.png`);
    await assertRejects(
      open("i", "m"),
      DataError,
      "1 masks in " + `${root}/m have no image of the same name`,
    );
    const badShare = () => openOwnFolder({ images: `${root}/i`, masks: `${root}/m`, val: 1 });
    await assertRejects(badShare, RangeError, "a number between 0 and 1");
  });
});
