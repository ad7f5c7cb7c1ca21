/**
 * What the first and the last bytes of a picture say: its size, and whether it may be cut.
 *
 * JPEG and PNG, which nearly all data sets are made of, are read here: sharp, which reads the headers of other formats,
 * opens a decoder for each, and a data set has a hundred thousand files.
 *
 * @module
 */
import sharp from "sharp";
import { DataError, reason } from "./errors.ts";
import { imageFormats } from "./files.ts";

/** The header of a picture. */
export interface Header {
  /** Pixels per row. */
  readonly width: number;
  /** Number of rows. */
  readonly height: number;
  /** The format, in lower case. */
  readonly format: string;
  /** Values per pixel, where the header says it. */
  readonly channels?: number;
  /** Whether the file ends as files of its format do; one that does not may be cut, or have something behind it. */
  readonly endsWell: boolean;
}

/** So many bytes are read from the begin; where these do not reach a JPEG's size, sharp reads the file. */
const headBytes = 2 ** 14;
const tailBytes = 12;

/**
 * Reads the header of an image from the disk, without the pixels.
 *
 * @param path The file.
 * @returns The header.
 * @throws {DataError} If the file is absent, or no header can be read.
 */
export async function readImageHeader(path: string): Promise<Header> {
  return await naming(`Cannot read image ${path}`, path, async () => {
    const { head, tail, size } = await ends(path);
    const known = jpegHeader(head) ?? pngHeader(head) ?? await otherHeader(path);
    return { ...known, endsWell: endsWell(known.format, head, tail, size) };
  });
}

/**
 * Reads the header of a mask from the disk, without the pixels.
 *
 * @param path A PNG file.
 * @returns The header.
 * @throws {DataError} If the file is absent, or cannot be a mask by its header.
 */
export async function readMaskHeader(path: string): Promise<Header> {
  return await naming(`Cannot read mask ${path}`, path, async () => {
    const { head, tail, size } = await ends(path);
    const problem = maskHeaderProblem(head);
    if (problem !== undefined) throw new DataError(problem);
    const known = pngHeader(head)!;
    return { ...known, endsWell: endsWell(known.format, head, tail, size) };
  });
}

async function naming<T>(what: string, file: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    throw new DataError(`${what}: ${whyUnread(error)}`, { cause: error, file });
  }
}

/**
 * Why a picture could not be read.
 *
 * @param error What the disk, a decoder or this package has thrown.
 * @returns The end of a sentence.
 */
export function whyUnread(error: unknown): string {
  const why = reason(error).replace(/:$/, "");
  if (/unsupported image format/i.test(why)) {
    return `it is in none of the formats that are read, ${imageFormats}`;
  }
  const isOfDisk = Object.values(Deno.errors).some((kind) => error instanceof kind) ||
    /os error/.test(String(error));
  const isKnown = error instanceof DataError || isOfDisk || /limit/i.test(why);
  return isKnown ? why : `it is cut or damaged (${why})`;
}

/** The first and the last bytes of a file. */
async function ends(path: string): Promise<{ head: Uint8Array; tail: Uint8Array; size: number }> {
  using file = await Deno.open(path);
  const head = new Uint8Array(headBytes);
  const read = await file.read(head) ?? 0;
  const size = await file.seek(0, Deno.SeekMode.End);
  if (size === 0) throw new DataError("it is empty");
  const tail = new Uint8Array(Math.min(tailBytes, size));
  await file.seek(-tail.length, Deno.SeekMode.End);
  await file.read(tail);
  return { head: head.subarray(0, read), tail, size };
}

/**
 * The header of a JPEG: its first frame segment.
 *
 * @param bytes The begin of a file.
 * @returns The header, or undefined if it is no JPEG or the frame is not among these bytes.
 */
export function jpegHeader(bytes: Uint8Array): Omit<Header, "endsWell"> | undefined {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return undefined;
  const word = (at: number): number => bytes[at]! * 256 + bytes[at + 1]!;
  for (let at = 2; at + 10 <= bytes.length;) {
    const [mark, kind] = [bytes[at]!, bytes[at + 1]!];
    if (mark !== 0xff) return undefined;
    const isFrame = kind >= 0xc0 && kind <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(kind);
    if (isFrame) {
      const [height, width] = [word(at + 5), word(at + 7)];
      return width * height === 0 ? undefined : { width, height, channels: bytes[at + 9]!, format: "jpeg" };
    }
    // A mark may be padded with further bytes of 255, and some have no content.
    if (kind === 0xff) at++;
    else at += kind === 0x01 || (kind >= 0xd0 && kind <= 0xd8) ? 2 : 2 + word(at + 2);
  }
  return undefined;
}

/**
 * The header of a PNG.
 *
 * @param bytes The begin of a file.
 * @returns The header, or undefined if it is no PNG.
 */
function pngHeader(bytes: Uint8Array): Omit<Header, "endsWell"> | undefined {
  if (!isPng(bytes) || bytes.length < 33) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { width: view.getUint32(16), height: view.getUint32(20), format: "png" };
}

/** Where a PNG says its bits per channel: after signature, chunk head and size. */
const depthByte = 24;

/**
 * Why a file cannot be a mask, as far as its first bytes tell.
 *
 * @param bytes At least the first 33 bytes of the file.
 * @returns The end of a sentence, or undefined if nothing is wrong with them.
 */
export function maskHeaderProblem(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0) return "it is empty";
  if (!isPng(bytes)) return "it is not a PNG file; other formats change class ids at edges";
  if (bytes.length < 33) return "it is cut off within its header";
  if (bytes[depthByte] === 16) return "it has 16 bits per channel; at most 8 are possible";
  return undefined;
}

/** Whether bytes begin as a PNG does. */
function isPng(bytes: Uint8Array): boolean {
  return [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a].every((byte, at) => bytes[at] === byte);
}

async function otherHeader(path: string): Promise<Omit<Header, "endsWell">> {
  const { width, height, format, channels } = await sharp(path).metadata();
  return { width, height, format, channels };
}

function endsWell(format: string, head: Uint8Array, tail: Uint8Array, size: number): boolean {
  const last = (bytes: number[]): boolean => bytes.every((byte, at) => tail.at(at - bytes.length) === byte);
  switch (format) {
    case "jpeg":
      return last([0xff, 0xd9]);
    case "png":
      return last([0, 0, 0, 0, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82]);
    case "gif":
      return last([0x3b]);
    case "webp":
      return new DataView(head.buffer, head.byteOffset).getUint32(4, true) + 8 <= size;
    default:
      return true;
  }
}
