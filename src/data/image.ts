/**
 * Reading and writing pictures: images through sharp, masks through a PNG reader that keeps palette indices.
 *
 * @module
 */
import { type DecodedPng, encode } from "fast-png";
import sharp from "sharp";
import { DataError, reason } from "./errors.ts";
import { jpegHeader, maskHeaderProblem, whyUnread } from "./headers.ts";
import { checkIds, classesOfColors, classesOfSamples, type MaskOptions } from "./mask_values.ts";
import { type ImageArray, type MaskArray, newMask } from "./pixels.ts";
import { decodePng } from "./png.ts";

export { colorTable, type MaskOptions } from "./mask_values.ts";

/** Red, green and blue, 0 to 255 each. */
export type Color = readonly [red: number, green: number, blue: number];

/**
 * Reads an image file as RGB.
 *
 * Pixels are taken as they are stored, as Pillow does: no rotation by camera tags, no colour profile; grey images
 * get three equal channels and an alpha channel is dropped. Of CMYK (JPEG and TIFF with 8 bits per channel) the RGB values
 * are (255 - C) (255 - K) / 255 and so on, rounded, which are Pillow's to the bit.
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
    if (bytes.length === 0) throw new DataError("it is empty");
    if (isDrawing(bytes)) {
      throw new DataError("it is an SVG drawing, not a picture of pixels; save it as PNG");
    }
    if (await isCmyk(bytes)) return await decodeCmyk(bytes);
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
    throw new DataError(`Cannot read image ${name}: ${whyUnread(error)}`, { cause: error, file: name });
  }
}

/** Whether the bytes are SVG, packed or not: a program, of which 200 bytes may draw for hours. */
function isDrawing(bytes: Uint8Array): boolean {
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) return true;
  // Every other format that is read begins with bytes that are no text.
  return new TextDecoder().decode(bytes.subarray(0, 1000)).trimStart().startsWith("<");
}

/** Whether a picture has inks for channels, which of the formats only JPEG and TIFF can have. */
async function isCmyk(bytes: Uint8Array): Promise<boolean> {
  const isTiff = (bytes[0] === 0x49 && bytes[1] === 0x49) || (bytes[0] === 0x4d && bytes[1] === 0x4d);
  if (!isTiff) return jpegHeader(bytes)?.channels === 4;
  return (await sharp(bytes).metadata()).space === "cmyk";
}

/** Paper seen through four inks: sharp would convert by a profile of its own, which is not in the file. */
async function decodeCmyk(bytes: Uint8Array): Promise<ImageArray> {
  const { data: inks, info: { width, height, channels } } = await sharp(bytes, {
    ignoreIcc: true,
    failOn: "error",
  }).pipelineColourspace("cmyk").toColourspace("cmyk").raw().toBuffer({ resolveWithObject: true });
  if (channels !== 4 || inks.length !== width * height * 4) {
    throw new DataError(`it is CMYK with ${channels} channels or more than 8 bits; save it as RGB`);
  }
  const data = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    const light = 255 - inks[i * 4 + 3]!;
    for (let channel = 0; channel < 3; channel++) {
      data[i * 3 + channel] = Math.round((255 - inks[i * 4 + channel]!) * light / 255);
    }
  }
  return { width, height, data };
}

/**
 * Reads a mask file.
 *
 * Palette and grey PNGs hold class ids; RGB PNGs hold colours, which `options.colors` turns into class ids. 255 means no
 * label. With `options.colors`, a palette whose colours are not those of the classes that its indices name is a picture
 * in colours too, and is read by them; {@linkcode MaskOptions} says when a grey file is.
 *
 * Grey files of 1, 2 or 4 bits hold their ids as they are, unless white occurs in them: programs that make files small
 * write 255, no label, in this way too, so such a file is refused.
 *
 * @param path A PNG file.
 * @param options Number of classes and colours.
 * @returns The mask.
 * @throws {DataError} If the file is absent, not a PNG, or holds an id or a colour without a class, or what it holds can
 * be meant in two ways.
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
  const refuse = (why: string, cause?: unknown): never => {
    throw new DataError(`Cannot read mask ${name}: ${why}`, { cause, file: name });
  };
  const problem = maskHeaderProblem(bytes);
  if (problem !== undefined) refuse(problem);
  let png: DecodedPng;
  try {
    png = decodePng(bytes);
  } catch (error) {
    return refuse(whyUnread(error), error);
  }
  const mask = png.channels >= 3
    ? classesOfColors(png, options.colors, name)
    : classesOfSamples(indices(png), png, options, name);
  checkIds(mask, options.classes, name);
  return mask;
}

/** The samples of a palette or grey picture, which below 8 bits lie packed, each row from a new byte. */
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
    throw new DataError(`Cannot read ${what} ${path}: ${reason(error)}`, { cause: error, file: path });
  }
}
