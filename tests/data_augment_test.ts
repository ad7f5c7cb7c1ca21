/** The pixel algorithms against files made by the official PyTorch and Pillow code, bit for bit. */
import { assert, assertEquals } from "@std/assert";
import { normalize, sizeWithLongSide, strongAugment, weakAugment } from "../src/data/augment.ts";
import { gaussianBlur } from "../src/data/blur.ts";
import {
  adjustBrightness,
  adjustContrast,
  adjustHue,
  adjustSaturation,
  grayscale,
} from "../src/data/color.ts";
import type { ImageArray, MaskArray } from "../src/data/pixels.ts";
import { randomStream } from "../src/data/random.ts";
import {
  cropImage,
  cropMask,
  flipImage,
  flipMask,
  resizeBilinear,
  resizeNearest,
} from "../src/data/resize.ts";

const folder = new URL("./fixtures/data/", import.meta.url);
const golden = readTensors(Deno.readFileSync(new URL("h_augment.safetensors", folder)));
const image = imageOf("img");
const mask = imageOf("mask");

/** The raw bytes and shape of each tensor of a safetensors file. */
function readTensors(file: Uint8Array): Map<string, { shape: number[]; data: Uint8Array<ArrayBuffer> }> {
  const headerBytes = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerBytes)));
  const entries = Object.entries<{ shape: number[]; data_offsets: [number, number] }>(header);
  return new Map(entries.map(([name, { shape, data_offsets: [from, to] }]) => {
    return [name, { shape, data: file.slice(8 + headerBytes + from, 8 + headerBytes + to) }];
  }));
}

function imageOf(name: string): ImageArray {
  const { shape, data } = golden.get(name)!;
  return { height: shape[0]!, width: shape[1]!, data };
}

/** Runs one case per golden tensor whose name begins with `prefix/`, and counts the bytes that differ. */
function everyCase(prefix: string, change: (setting: string) => ImageArray | MaskArray): void {
  const names = [...golden.keys()].filter((name) => name.startsWith(prefix));
  assert(names.length > 0, `no golden tensor begins with ${prefix}`);
  for (const name of names) assertSame(change(name.slice(prefix.length)), name);
}

function assertSame(actual: ImageArray | MaskArray, name: string): void {
  const expected = imageOf(name);
  assertEquals([actual.width, actual.height], [expected.width, expected.height], name);
  const different = actual.data.filter((value, i) => value !== expected.data[i]).length;
  assertEquals(different, 0, `${name}: ${different} of ${actual.data.length} bytes differ`);
}

Deno.test("resizeBilinear() and resizeNearest() equal Pillow", () => {
  everyCase("resize/", (setting) => {
    const [size, what] = setting.split("/");
    const [width, height] = size!.split("x").map(Number) as [number, number];
    return what === "img" ? resizeBilinear(image, [width, height]) : resizeNearest(mask, [width, height]);
  });
});

Deno.test("gaussianBlur() equals Pillow", () => everyCase("blur/", (sigma) => gaussianBlur(image, +sigma)));

Deno.test("colour changes equal torchvision", () => {
  everyCase("brightness/", (factor) => adjustBrightness(image, +factor));
  everyCase("contrast/", (factor) => adjustContrast(image, +factor));
  everyCase("saturation/", (factor) => adjustSaturation(image, +factor));
  everyCase("hue/", (factor) => adjustHue(image, +factor));
  assertSame(grayscale(image), "gray");
  const three = adjustSaturation(adjustContrast(adjustBrightness(image, 0.8), 1.25), 0.5);
  assertSame(adjustHue(three, 0.07), "chain");
});

Deno.test("flips and crops equal Pillow", () => {
  assertSame(flipImage(image), "hflip");
  assertEquals(flipMask(flipMask(mask)).data, mask.data);
  const whole = { x: 0, y: 0, size: [64, 64] } as const;
  assertSame(cropImage(image, whole), "croppad64/img");
  assertSame(cropMask(mask, { ...whole, fill: 255 }), "croppad64/mask");
  const part = { x: 13, y: 0, size: [40, 40] } as const;
  assertSame(cropImage(image, part), "crop40/img");
  assertSame(cropMask(mask, { ...part, fill: 254 }), "crop40/mask");
});

Deno.test("normalize() equals torchvision to the bit", () => {
  const expected = new Uint32Array(golden.get("normalize/img")!.data.buffer);
  assertEquals(new Uint32Array(normalize(image).buffer), expected);
});

Deno.test("sizeWithLongSide() rounds as the official code", () => {
  const table = JSON.parse(Deno.readTextFileSync(new URL("h_augment.json", folder))).resize_rule;
  assert(table.length > 5);
  for (const { w, h, long, ow, oh } of table) assertEquals(sizeWithLongSide([w, h], long), [ow, oh]);
});

Deno.test("pipelines depend on the stream alone and leave their input unchanged", () => {
  const before = image.data.slice();
  const options = { crop: 48 };
  const first = strongAugment({ image, mask }, options, randomStream(3, 1, 4, 1));
  const again = strongAugment({ image, mask }, options, randomStream(3, 1, 4, 1));
  const other = strongAugment({ image, mask }, options, randomStream(3, 1, 5, 1));
  assertEquals(first, again);
  assert(first.image.data.some((value, i) => value !== other.image.data[i]));
  assertEquals(image.data, before);
});

Deno.test("weakAugment() cuts image and mask at the same place", () => {
  // The red channel repeats the mask, so both must stay equal wherever the crop lies inside.
  const { width, height } = mask;
  const marked: ImageArray = { width, height, data: new Uint8Array(width * height * 3) };
  mask.data.forEach((value, i) => marked.data[i * 3] = value);
  for (let i = 0; i < 20; i++) {
    const result = weakAugment({ image: marked, mask }, { crop: 40, scale: [1, 1] }, randomStream(5, i));
    const reds = result.image.data.filter((_, at) => at % 3 === 0);
    const outside = (value: number, at: number): boolean => value === 255 && reds[at] === 0;
    result.mask!.data.forEach((value, at) => assert(reds[at] === value || outside(value, at), `pixel ${at}`));
  }
});

Deno.test("weakAugment() pads only to the right and below, before it mirrors", () => {
  const small: ImageArray = { width: 8, height: 6, data: new Uint8Array(8 * 6 * 3).fill(200) };
  const labels: MaskArray = { width: 8, height: 6, data: new Uint8Array(48).fill(1) };
  const plain = weakAugment(
    { image: small, mask: labels },
    { crop: 10, scale: [1, 1], flip: 0 },
    randomStream(1),
  );
  assertEquals(plain.mask!.data.filter((value) => value === 1).length, 48);
  assertEquals([plain.mask!.data[0], plain.mask!.data[8], plain.mask!.data[60]], [1, 255, 255]);
  const mirrored = weakAugment(
    { image: small, mask: labels },
    { crop: 10, scale: [1, 1], flip: 1 },
    randomStream(1),
  );
  assertEquals([mirrored.mask!.data[0], mirrored.mask!.data[2], mirrored.image.data[0]], [255, 1, 0]);
});

Deno.test("strongAugment() uses each change about as often as its probability says", () => {
  const flat: ImageArray = {
    width: 4,
    height: 4,
    data: new Uint8Array(48).map((_, i) => [200, 90, 40][i % 3]!),
  };
  const color = { jitter: 0, blur: 0 };
  let gray = 0;
  for (let i = 0; i < 2000; i++) {
    const { image: { data } } = strongAugment(
      { image: flat },
      { crop: 2, scale: [1, 1], color },
      randomStream(9, i),
    );
    if (data[0] === data[1]) gray++;
  }
  assert(Math.abs(gray / 2000 - 0.2) < 0.04, `${gray} of 2000 are grey`);
});
