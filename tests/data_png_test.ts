// The reader of mask PNGs: every filter, depth and interlacing as other readers have them, and no file that costs more than
// its size allows.
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { deflateSync, gzipSync } from "node:zlib";
import sharp from "sharp";
import { DataError } from "../src/data/errors.ts";
import { decodeImage, decodeMask } from "../src/data/image.ts";
import { decodePng } from "../src/data/png.ts";
import { readClasses } from "../src/data/classes.ts";
import { chunk, pngFile, type PngOptions } from "./support/png_files.ts";
import { latin1 } from "./support/weight_files.ts";

/** Numbers that look random and are the same in every run. */
function* bytesFrom(seed: number): Generator<number, never> {
  for (let state = seed;;) yield (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 24;
}

/** Rows of random samples, each behind a filter. */
function randomRows(
  { width, height, depth = 8, colorType = 3 }: PngOptions,
  source: Generator<number, never>,
): Uint8Array {
  const channels = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }[colorType]!;
  const length = Math.ceil(width * channels * depth / 8);
  return Uint8Array.from({ length: height * (length + 1) }, (_, k) => {
    const byte = source.next().value;
    return k % (length + 1) === 0 ? byte % 5 : byte;
  });
}

Deno.test("decodePng() undoes every filter as sharp does", async () => {
  const source = bytesFrom(1);
  for (const colorType of [0, 2, 4, 6]) {
    for (const [width, height] of [[1, 1], [3, 2], [17, 9], [64, 5]] as const) {
      const options = { width, height, colorType, before: [] };
      const file = pngFile({ ...options, raw: randomRows(options, source) });
      const { data, channels } = decodePng(file);
      const expected = await sharp(file).raw().toBuffer();
      // Sharp gives three channels for grey.
      const given = channels >= 3
        ? [...data]
        : [...data].flatMap((_, k) =>
          channels === 1
            ? [data[k]!, data[k]!, data[k]!]
            : k % 2 === 0
            ? [data[k]!, data[k]!, data[k]!, data[k + 1]!]
            : []
        );
      const grey = expected.length === data.length ? [...data] : given;
      assertEquals(grey, [...expected], `colour type ${colorType}, ${width}x${height}`);
    }
  }
});

Deno.test("decodeMask() reads indices of 1, 2, 4 and 8 bits alike, interlaced or not", () => {
  const source = bytesFrom(2);
  for (const depth of [1, 2, 4, 8]) {
    for (const colorType of [0, 3]) {
      for (const [width, height] of [[1, 1], [5, 3], [8, 8], [13, 11], [2, 9]] as const) {
        const ids = Array.from({ length: width * height }, () => source.next().value % 2 ** depth);
        const masks = [0, 1].map((interlace) =>
          decodeMask(
            pngFile({
              width,
              height,
              depth,
              colorType,
              interlace,
              raw: rowsOf(ids, { width, height, depth, interlace }),
            }),
          )
        );
        for (const mask of masks) assertEquals([...mask.data], ids, `${depth} bits, ${width}x${height}`);
      }
    }
  }
});

/** Ids as rows of a file, packed, without filters, in seven passes if interlaced. */
function rowsOf(
  ids: readonly number[],
  { width, height, depth, interlace }: { width: number; height: number; depth: number; interlace: number },
): Uint8Array {
  const passes = interlace === 0
    ? [[0, 0, 1, 1]]
    : [[0, 0, 8, 8], [4, 0, 8, 8], [0, 4, 4, 8], [2, 0, 4, 4], [0, 2, 2, 4], [1, 0, 2, 2], [0, 1, 1, 2]];
  const bytes: number[] = [];
  for (const [x0, y0, dx, dy] of passes as [number, number, number, number][]) {
    if (x0 >= width) continue;
    for (let y = y0; y < height; y += dy) {
      bytes.push(0);
      let bits = "";
      for (let x = x0; x < width; x += dx) bits += ids[y * width + x]!.toString(2).padStart(depth, "0");
      for (let at = 0; at < bits.length; at += 8) {
        bytes.push(parseInt(bits.slice(at, at + 8).padEnd(8, "0"), 2));
      }
    }
  }
  return Uint8Array.from(bytes);
}

Deno.test("decodePng() reads what sharp writes, interlaced and filtered", async () => {
  const source = bytesFrom(3);
  const [width, height] = [37, 23];
  const pixels = Uint8Array.from({ length: width * height * 3 }, () => source.next().value);
  for (const progressive of [false, true]) {
    const file = await sharp(pixels, { raw: { width, height, channels: 3 } })
      .png({ progressive, adaptiveFiltering: true }).toBuffer();
    assertEquals([...decodePng(file).data], [...pixels]);
  }
});

Deno.test("decodePng() gives the palette, and passes over what a mask has no use for", () => {
  const colors = Uint8Array.of(1, 2, 3, 4, 5, 6);
  const bomb = new Uint8Array(deflateSync(new Uint8Array(2 ** 26)));
  const raw = Uint8Array.of(0, 0, 1);
  const before = [
    chunk("iCCP", latin1(`a\0\0${String.fromCharCode(...bomb.subarray(0, 60000))}`)),
    chunk("PLTE", colors),
  ];
  const png = decodePng(pngFile({ width: 2, height: 1, before, raw }));
  assertEquals(png.palette, [[1, 2, 3], [4, 5, 6]]);
  assertEquals([...png.data], [0, 1]);
  // A few bytes too many are ignored, as other readers do.
  assertEquals([...decodePng(pngFile({ width: 2, height: 1, raw: Uint8Array.of(...raw, 9, 9) })).data], [
    0,
    1,
  ]);
});

/** Deflated zeros. */
function zeros(bytes: number): Uint8Array {
  return new Uint8Array(deflateSync(new Uint8Array(bytes)));
}

Deno.test("decodeMask() refuses what is damaged or too large before it takes memory, and names it", () => {
  const square = (side: number, rest: Partial<PngOptions> = {}): Uint8Array =>
    pngFile({ width: side, height: side, packed: zeros(9), ...rest });
  const good = pngFile({ width: 8, height: 8, raw: new Uint8Array(72) });
  const damaged = good.slice();
  damaged[50]! ^= 1;
  const cases: [Uint8Array, string][] = [
    [square(65536, { depth: 1 }), "it has 65536x65536 pixels, more than are read from a file of its size"],
    [square(65536), "it has 65536x65536 pixels"],
    [square(65536, { interlace: 1 }), "it has 65536x65536 pixels"],
    [square(20000, { colorType: 6 }), "it has 20000x20000 pixels"],
    [square(2 ** 32 - 1), "it has 4294967295x4294967295 pixels"],
    [square(8, { packed: zeros(2 ** 26) }), "its data unpack to more than its pixels"],
    [square(8, { raw: new Uint8Array(63), packed: zeros(63) }), "its data have 63 of 72 bytes"],
    [square(8, { packed: latin1("nothing that is deflated") }), "its data are damaged"],
    [square(8, { packed: zeros(72).subarray(0, 9) }), "its data are damaged"],
    [square(8, { packed: new Uint8Array(deflateSync(new Uint8Array(72).fill(9))) }), "a row has filter 9"],
    [square(0), "its size is 0x0"],
    [square(8, { depth: 3 }), "it has colour type 3 with 3 bits"],
    [square(8, { depth: 4, colorType: 2 }), "it has colour type 2 with 4 bits"],
    [square(8, { colorType: 5 }), "it has colour type 5 with 8 bits"],
    [square(8, { depth: 16, colorType: 0 }), "it has 16 bits per channel"],
    [square(8, { interlace: 2 }), "of an unknown kind"],
    [square(8, { packed: zeros(72), before: [chunk("PLTE", new Uint8Array(4))] }), "its palette has 4 bytes"],
    [damaged, "it is damaged: the checksum of its PLTE does not match"],
    [good.subarray(0, 60), "it is cut off"],
    [good.subarray(0, 8), "it is cut off"],
    [
      pngFile({ width: 8, height: 8, before: [chunk("\x1b[\n1", new Uint8Array(0)).subarray(0, 10)] }),
      "it is",
    ],
  ];
  for (const [bytes, reason] of cases) {
    const before = performance.now();
    const { message } = assertThrows(() => decodeMask(bytes, {}, "m.png"), DataError, reason);
    assert(message.startsWith("Cannot read mask m.png: "), message);
    // deno-lint-ignore no-control-regex
    assert(message.length < 300 && !/[\x00-\x1f]/.test(message), message);
    assert(performance.now() - before < 2000, reason);
  }
  assertEquals([...decodeMask(good).data], Array(64).fill(0));
});

Deno.test("decodeMask() notices any damaged byte", () => {
  const file = pngFile({ width: 3, height: 2, raw: Uint8Array.of(0, 0, 1, 0, 1, 1, 0, 1) });
  for (let position = 0; position < file.length - 12; position++) {
    const damaged = file.slice();
    damaged[position]! ^= 0x20;
    assertThrows(
      () => decodeMask(damaged, {}, "m.png"),
      DataError,
      "Cannot read mask m.png: ",
      `byte ${position}`,
    );
  }
  for (let length = 0; length < file.length; length++) {
    assertThrows(() => decodeMask(file.subarray(0, length)), DataError, "Cannot read mask");
  }
});

Deno.test("decodeImage() refuses more pixels than it reads", async () => {
  const file = pngFile({ width: 65536, height: 65536, packed: zeros(9) });
  const error = await decodeImage(file, "p.png").then(() => undefined, (error) => error);
  assert(
    error instanceof DataError && /p\.png: Input image exceeds pixel limit/.test(error.message),
    error?.message,
  );
});

Deno.test("decodeImage() does not draw", async () => {
  const turbulence = '<filter id="f"><feTurbulence baseFrequency="0.05" numOctaves="100000000"/></filter>';
  const drawing = `<svg xmlns="http://www.w3.org/2000/svg" width="4000" height="4000">${turbulence}` +
    '<rect width="4000" height="4000" filter="url(#f)"/></svg>';
  for (const text of [drawing, ` \n${drawing}`, `\ufeff<?xml version="1.0"?>${drawing}`]) {
    const bytes = new TextEncoder().encode(text);
    for (const file of [bytes, new Uint8Array(gzipSync(bytes))]) {
      await assertRejects(
        () => decodeImage(file, "p.png"),
        DataError,
        "Cannot read image p.png: it is an SVG drawing",
      );
    }
  }
});

Deno.test("readClasses() does not take members of objects for sets of classes", async () => {
  for (const name of ["toString", "constructor", "__proto__", "hasOwnProperty"]) {
    await assertRejects(() => readClasses(name), DataError, `Cannot read classes from ${name}: no such file`);
  }
});
