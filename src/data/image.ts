/**
 * Reading and writing pictures: images through sharp, masks through a PNG reader that keeps palette indices.
 *
 * @module
 */
import { type DecodedPng, encode } from "fast-png";
import sharp from "sharp";
import { DataError, reason } from "./errors.ts";
import { ignoreIndex, type ImageArray, type MaskArray, newMask } from "./pixels.ts";
import { decodePng } from "./png.ts";

/** Red, green and blue, 0 to 255 each. */
export type Color = readonly [red: number, green: number, blue: number];

/**
 * Reads an image file as RGB.
 *
 * Pixels are taken as they are stored, as Pillow does: no rotation by camera tags, no colour profile; grey images
 * get three equal channels and an alpha channel is dropped.
 *
 * @param path A file that sharp reads: JPEG, PNG, WebP, TIFF, GIF, AVIF, of at most 268 million pixels.
 * @returns The image.
 * @throws {DataError} If the file is absent or cannot be decoded, or is a drawing (SVG).
 */
export async function readImage(path: string): Promise<ImageArray> {
  return await decodeImage(await readFile(path, "image"), path);
}

/**
 * Decodes the bytes of an image file as RGB, as {@linkcode readImage} does.
 *
 * @param bytes The bytes of the file.
 * @param name What to call it in messages.
 * @returns The image.
 * @throws {DataError} If the bytes cannot be decoded.
 */
export async function decodeImage(bytes: Uint8Array, name = "image"): Promise<ImageArray> {
  try {
    if (isDrawing(bytes)) {
      throw new DataError("it is an SVG drawing, not a picture of pixels; save it as PNG");
    }
    const { data, info } = await sharp(bytes, { ignoreIcc: true, failOn: "error" })
      .removeAlpha()
      .toColourspace("srgb")
      .raw({ depth: "uchar" })
      .toBuffer({ resolveWithObject: true });
    // Workers hand arrays over whole. A small buffer may be a part of Node's pool; a large one is not copied.
    const isWhole = data.byteLength === data.buffer.byteLength;
    const { width, height } = info;
    return { width, height, data: isWhole ? new Uint8Array(data.buffer) : new Uint8Array(data) };
  } catch (error) {
    throw new DataError(`Cannot read image ${name}: ${reason(error)}`, { cause: error });
  }
}

/** Whether the bytes are SVG, packed or not: a program, of which 200 bytes may draw for hours. */
function isDrawing(bytes: Uint8Array): boolean {
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) return true;
  // Every other format that is read begins with bytes that are no text.
  return new TextDecoder().decode(bytes.subarray(0, 1000)).trimStart().startsWith("<");
}

/** How the values of a mask file become class ids. */
export interface MaskOptions {
  /** Number of classes: every id must be below it, or 255. Not checked when absent. */
  readonly classes?: number;
  /** Class id of each colour, for masks that are RGB pictures; see {@linkcode colorTable}. */
  readonly colors?: ReadonlyMap<number, number>;
}

/**
 * Reads a mask file.
 *
 * Palette and grey PNGs hold class ids (of a palette only the indices count); RGB PNGs hold colours, which
 * `options.colors` turns into class ids. 255 means no label.
 *
 * @param path A PNG file.
 * @param options Number of classes and colours.
 * @returns The mask.
 * @throws {DataError} If the file is absent, not a PNG, or holds an id or a colour without a class.
 */
export async function readMask(path: string, options: MaskOptions = {}): Promise<MaskArray> {
  return decodeMask(await readFile(path, "mask"), options, path);
}

/**
 * Decodes the bytes of a mask file, as {@linkcode readMask} does.
 *
 * @param bytes The bytes of a PNG file.
 * @param options Number of classes and colours.
 * @param name What to call it in messages.
 * @returns The mask.
 * @throws {DataError} If it is not a PNG, or holds an id or a colour without a class.
 *
 * @example
 * ```ts
 * import { decodeMask, encodeMask } from "@allspark/tensor/data";
 * import { assertEquals, assertThrows } from "@std/assert";
 * const mask = { width: 2, height: 1, data: new Uint8Array([1, 255]) };
 * const png = encodeMask(mask, [[0, 0, 0], [255, 0, 0]]);
 * assertEquals(decodeMask(png), mask);
 * assertThrows(() => decodeMask(png, { classes: 1 }), Error, "class id 1");
 * ```
 */
export function decodeMask(bytes: Uint8Array, options: MaskOptions = {}, name = "mask"): MaskArray {
  if (!isPng(bytes)) {
    throw new DataError(
      `Cannot read mask ${name}: it is not a PNG file; other formats change class ids at edges`,
    );
  }
  if (bytes[depthByte] === 16) {
    throw new DataError(`Cannot read mask ${name}: it has 16 bits per channel; at most 8 are possible`);
  }
  let png: DecodedPng;
  try {
    png = decodePng(bytes);
  } catch (error) {
    throw new DataError(`Cannot read mask ${name}: ${reason(error)}`, { cause: error });
  }
  const mask = png.channels >= 3 ? classesOfColors(png, options.colors, name) : indices(png);
  checkIds(mask, options.classes, name);
  return mask;
}

/** Where a PNG says its bits per channel: after signature, chunk head and size. */
const depthByte = 24;

function isPng(bytes: Uint8Array): boolean {
  return bytes[0] === 0x89 && bytes[1] === 0x50 && bytes[2] === 0x4e && bytes[3] === 0x47;
}

/** Class ids of a palette or grey picture, whose values below 8 bits lie packed, each row from a new byte. */
function indices({ width, height, depth, channels, data }: DecodedPng): MaskArray {
  const mask = newMask(width, height);
  const rowBytes = Math.ceil((width * channels * depth) / 8);
  const perByte = 8 / depth;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = x * channels;
      const byte = data[y * rowBytes + Math.floor(at / perByte)]!;
      mask.data[y * width + x] = (byte >> (8 - depth - (at % perByte) * depth)) & (2 ** depth - 1);
    }
  }
  return mask;
}

function classesOfColors(png: DecodedPng, colors: MaskOptions["colors"], name: string): MaskArray {
  const { width, height, channels, data } = png;
  if (colors === undefined) {
    throw new DataError(
      `Cannot read mask ${name}: it is an RGB picture and no class has a colour; give the colours in a labels file`,
    );
  }
  const mask = newMask(width, height);
  for (let i = 0; i < mask.data.length; i++) {
    const color: Color = [data[i * channels]!, data[i * channels + 1]!, data[i * channels + 2]!];
    const id = colors.get(colorKey(color));
    if (id === undefined) {
      const place = `(${i % width}, ${Math.floor(i / width)})`;
      throw new DataError(
        `Cannot read mask ${name}: pixel ${place} has colour ${color.join(" ")}, which no class has`,
      );
    }
    mask.data[i] = id;
  }
  return mask;
}

function checkIds(mask: MaskArray, classes: number | undefined, name: string): void {
  if (classes === undefined) return;
  const bad = mask.data.findIndex((id) => id >= classes && id !== ignoreIndex);
  if (bad < 0) return;
  const place = `(${bad % mask.width}, ${Math.floor(bad / mask.width)})`;
  throw new DataError(
    `Cannot use mask ${name}: pixel ${place} has class id ${
      mask.data[bad]
    }; with ${classes} classes ids are 0 to ${classes - 1}, or 255 for no label`,
  );
}

/** One number per colour, as keys of a map. */
function colorKey([red, green, blue]: Color): number {
  return (red << 16) | (green << 8) | blue;
}

/**
 * A table from colour to class id, for masks that are RGB pictures.
 *
 * @param colors Pairs of a colour and its class id; several colours may have one id.
 * @returns The table that {@linkcode MaskOptions} takes.
 */
export function colorTable(colors: Iterable<readonly [color: Color, id: number]>): Map<number, number> {
  return new Map(Array.from(colors, ([color, id]) => [colorKey(color), id]));
}

/**
 * An image as the bytes of a PNG file.
 *
 * @param image The image.
 * @returns The bytes.
 */
export async function encodeImage(image: ImageArray): Promise<Uint8Array<ArrayBuffer>> {
  const { width, height, data } = image;
  return new Uint8Array(await sharp(data, { raw: { width, height, channels: 3 } }).png().toBuffer());
}

/**
 * A mask as the bytes of an 8-bit palette PNG, whose indices are the class ids.
 *
 * @param mask The mask.
 * @param colors Colour of each class id; ids without one are black.
 * @returns The bytes.
 */
export function encodeMask(mask: MaskArray, colors: readonly Color[]): Uint8Array<ArrayBuffer> {
  const palette = Array.from({ length: 256 }, (_, id) => [...(colors[id] ?? [0, 0, 0])]);
  return new Uint8Array(encode({ ...mask, channels: 1, depth: 8, palette }));
}

/**
 * A picture of a mask: every class in its colour.
 *
 * @param mask The mask.
 * @param colors Colour of each class id; ids without one, and 255, are black.
 * @returns A new image.
 */
export function paintMask(mask: MaskArray, colors: readonly Color[]): ImageArray {
  const data = new Uint8Array(mask.data.length * 3);
  mask.data.forEach((id, i) => data.set(colors[id] ?? [0, 0, 0], i * 3));
  return { width: mask.width, height: mask.height, data };
}

/**
 * An image with the colours of a mask laid over it; pixels without a label stay as they are.
 *
 * @param image The image.
 * @param mask A mask of the same size.
 * @param colors Colour of each class id.
 * @param opacity Share of the class colour, 0 to 1 (default 0.5).
 * @returns A new image.
 * @throws {RangeError} If the sizes differ.
 */
export function overlayMask(
  image: ImageArray,
  mask: MaskArray,
  colors: readonly Color[],
  opacity = 0.5,
): ImageArray {
  if (image.width !== mask.width || image.height !== mask.height) {
    throw new RangeError(
      `Cannot overlay a mask of ${mask.width}x${mask.height} on an image of ${image.width}x${image.height}: ` +
        `equal sizes are required`,
    );
  }
  const data = image.data.slice();
  mask.data.forEach((id, i) => {
    const color = colors[id];
    if (color === undefined) return;
    for (let channel = 0; channel < 3; channel++) {
      const at = i * 3 + channel;
      data[at] = Math.round(data[at]! * (1 - opacity) + color[channel]! * opacity);
    }
  });
  return { width: image.width, height: image.height, data };
}

async function readFile(path: string, what: string): Promise<Uint8Array> {
  try {
    return await Deno.readFile(path);
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound ? "no such file" : reason(error);
    throw new DataError(`Cannot read ${what} ${path}: ${why}`, { cause: error });
  }
}
