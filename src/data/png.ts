/**
 * Reads PNG files with the samples as they are stored: palette indices stay indices, and what is below 8 bits stays
 * packed. The size of everything is known, and refused where it is too large, before memory is taken for it; what a
 * mask has no use for (profiles, texts) is not unpacked at all.
 *
 * @module
 * @see https://www.w3.org/TR/png-3/
 */
import { crc32, inflateSync } from "node:zlib";
import type { DecodedPng } from "fast-png";
import { Budget } from "../io/budget.ts";
import { shown } from "../io/errors.ts";
import { latin1 } from "../io/latin1.ts";
import { DataError } from "./errors.ts";

/** What the header says. */
interface Header {
  readonly width: number;
  readonly height: number;
  readonly depth: DecodedPng["depth"];
  readonly channels: number;
  readonly interlaced: boolean;
}

/** A part of a file. */
interface Chunk {
  readonly type: string;
  readonly data: Uint8Array;
}

/** Every `xStep`th pixel of every `yStep`th row, as one picture; a picture that is not interlaced is one such pass. */
interface Pass {
  readonly x: number;
  readonly y: number;
  readonly xStep: number;
  readonly yStep: number;
}

const signature = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** Channels of the colour types, and the bits that each may have. */
const colorTypes = new Map([
  [0, { channels: 1, depths: [1, 2, 4, 8] }],
  [2, { channels: 3, depths: [8] }],
  [3, { channels: 1, depths: [1, 2, 4, 8] }],
  [4, { channels: 2, depths: [8] }],
  [6, { channels: 4, depths: [8] }],
]);
const whole: readonly Pass[] = [{ x: 0, y: 0, xStep: 1, yStep: 1 }];
const adam7: readonly Pass[] = [
  { x: 0, y: 0, xStep: 8, yStep: 8 },
  { x: 4, y: 0, xStep: 8, yStep: 8 },
  { x: 0, y: 4, xStep: 4, yStep: 8 },
  { x: 2, y: 0, xStep: 4, yStep: 4 },
  { x: 0, y: 2, xStep: 2, yStep: 4 },
  { x: 1, y: 0, xStep: 2, yStep: 2 },
  { x: 0, y: 1, xStep: 1, yStep: 2 },
];
/** For every pixel, the mask that is made of the samples and the copy that a crop is taken from. */
const bytesPerPixel = 2;
/** Some encoders write a few bytes too many, which other readers ignore too. */
const maxSurplus = 65_536;

/**
 * Decodes a PNG of at most 8 bits per channel.
 *
 * @param bytes The whole file.
 * @returns Its size, its samples row by row, each row from a new byte, and its palette if it has one.
 * @throws {DataError} If the file is damaged or too large; the message is the end of a sentence.
 */
export function decodePng(bytes: Uint8Array): DecodedPng {
  const [first, ...chunks] = chunksOf(bytes);
  if (first?.type !== "IHDR" || first.data.length !== 13) throw new DataError("its header is missing");
  const header = readHeader(first.data);
  const { width, height, depth, channels } = header;
  const passes = header.interlaced ? adam7 : whole;
  const rawBytes = passes.reduce((sum, pass) => {
    const [columns, rows] = sizeOf(pass, header);
    return sum + (columns === 0 ? 0 : rows * (1 + rowBytes(columns, header)));
  }, 0);
  const resultBytes = header.interlaced ? height * rowBytes(width, header) : 0;
  if (!new Budget(bytes.length).allows(rawBytes + resultBytes + bytesPerPixel * width * height)) {
    throw new DataError(`it has ${width}x${height} pixels, more than are read from a file of its size`);
  }
  const raw = inflate(chunks, rawBytes);
  const palette = chunks.find(({ type }) => type === "PLTE");
  return {
    width,
    height,
    depth,
    channels,
    data: header.interlaced ? deinterlace(raw, header) : unfilter(raw, 0, whole[0]!, header),
    text: {},
    ...(palette && { palette: colorsOf(palette.data) }),
  };
}

/** The chunks up to the end, each with its checksum verified. */
function* chunksOf(bytes: Uint8Array): Generator<Chunk> {
  if (!signature.every((byte, k) => bytes[k] === byte)) throw new DataError("it is not a PNG file");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = signature.length;;) {
    if (at + 12 > bytes.length) throw new DataError("it is cut off");
    const length = view.getUint32(at);
    const end = at + 8 + length;
    const type = latin1(bytes.subarray(at + 4, at + 8));
    if (end + 4 > bytes.length) throw new DataError(`it is cut off within its ${shown(type)}`);
    if (crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end)) {
      throw new DataError(`it is damaged: the checksum of its ${shown(type)} does not match`);
    }
    if (type === "IEND") return;
    // What begins with a small letter may be left out by definition, and is.
    if (type < "a") yield { type, data: bytes.subarray(at + 8, end) };
    at = end + 4;
  }
}

function readHeader(data: Uint8Array): Header {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, colorType, compression, filter, interlace] = data.subarray(8) as unknown as readonly number[];
  if (width === 0 || height === 0) throw new DataError(`its size is ${width}x${height}`);
  const known = colorTypes.get(colorType!);
  if (!known?.depths.includes(depth!)) {
    throw new DataError(`it has colour type ${colorType} with ${depth} bits, which is not read`);
  }
  if (compression !== 0 || filter !== 0 || interlace! > 1) {
    throw new DataError("its compression, filter or interlacing is of an unknown kind");
  }
  return {
    width,
    height,
    depth: depth as Header["depth"],
    channels: known.channels,
    interlaced: interlace === 1,
  };
}

/** Columns and rows of a pass. */
function sizeOf({ x, y, xStep, yStep }: Pass, { width, height }: Header): [columns: number, rows: number] {
  return [Math.max(0, Math.ceil((width - x) / xStep)), Math.max(0, Math.ceil((height - y) / yStep))];
}

function rowBytes(columns: number, { channels, depth }: Header): number {
  return Math.ceil(columns * channels * depth / 8);
}

function inflate(chunks: readonly Chunk[], rawBytes: number): Uint8Array {
  const parts = chunks.filter(({ type }) => type === "IDAT").map(({ data }) => data);
  const packed = parts.length === 1 ? parts[0]! : concatenate(parts);
  let raw: Uint8Array;
  try {
    raw = inflateSync(packed, { maxOutputLength: rawBytes + maxSurplus, chunkSize: rawBytes + maxSurplus });
  } catch (cause) {
    const isLonger = (cause as { code?: string }).code === "ERR_BUFFER_TOO_LARGE";
    const why = isLonger ? "its data unpack to more than its pixels" : "its data are damaged";
    throw new DataError(why, { cause });
  }
  if (raw.length < rawBytes) throw new DataError(`its data have ${raw.length} of ${rawBytes} bytes`);
  return new Uint8Array(raw.buffer, raw.byteOffset, rawBytes);
}

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const result = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/**
 * Undoes the filters of a pass, in place: each row says how its bytes were predicted from those to the left and above.
 *
 * @returns The rows one after another, without the bytes that name the filters.
 */
function unfilter(raw: Uint8Array, start: number, pass: Pass, header: Header): Uint8Array {
  const [columns, rows] = sizeOf(pass, header);
  const length = rowBytes(columns, header);
  const left = Math.max(1, header.channels * header.depth / 8);
  let above = new Uint8Array(length) as Uint8Array;
  for (let y = 0; y < rows; y++) {
    const begin = start + y * (length + 1);
    const row = raw.subarray(begin + 1, begin + 1 + length);
    undo(raw[begin]!, row, above, left);
    // Rows move together as they are done; what they are moved over has been read.
    raw.copyWithin(start + y * length, begin + 1, begin + 1 + length);
    above = raw.subarray(start + y * length, start + (y + 1) * length);
  }
  return raw.subarray(start, start + rows * length);
}

function undo(filter: number, row: Uint8Array, above: Uint8Array, left: number): void {
  switch (filter) {
    case 0:
      break;
    case 1:
      for (let x = left; x < row.length; x++) row[x]! += row[x - left]!;
      break;
    case 2:
      for (let x = 0; x < row.length; x++) row[x]! += above[x]!;
      break;
    case 3:
      for (let x = 0; x < row.length; x++) row[x]! += ((x < left ? 0 : row[x - left]!) + above[x]!) >> 1;
      break;
    case 4:
      for (let x = 0; x < row.length; x++) {
        row[x]! += x < left ? above[x]! : paeth(row[x - left]!, above[x]!, above[x - left]!);
      }
      break;
    default:
      throw new DataError(`a row has filter ${filter}, which does not exist`);
  }
}

/** The neighbour that is nearest to left + above - corner. */
function paeth(left: number, above: number, corner: number): number {
  const [toLeft, toAbove] = [Math.abs(above - corner), Math.abs(left - corner)];
  const toCorner = Math.abs(left + above - 2 * corner);
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

/** Puts the pixels of the seven passes in their places. */
function deinterlace(raw: Uint8Array, header: Header): Uint8Array {
  const { width, height, channels, depth } = header;
  const length = rowBytes(width, header);
  const result = new Uint8Array(height * length);
  const bits = channels * depth;
  let start = 0;
  for (const pass of adam7) {
    const [columns, rows] = sizeOf(pass, header);
    if (columns === 0 || rows === 0) continue;
    const passLength = rowBytes(columns, header);
    const samples = unfilter(raw, start, pass, header);
    start += rows * (passLength + 1);
    for (let row = 0; row < rows; row++) {
      const to = (pass.y + row * pass.yStep) * length;
      for (let column = 0; column < columns; column++) {
        copyPixel(samples, row * passLength, column, result, to, pass.x + column * pass.xStep, bits);
      }
    }
  }
  return result;
}

/** Copies the bits of one pixel: whole bytes, or a part of one. */
function copyPixel(
  from: Uint8Array,
  fromRow: number,
  fromColumn: number,
  to: Uint8Array,
  toRow: number,
  toColumn: number,
  bits: number,
): void {
  if (bits >= 8) {
    const bytes = bits / 8;
    for (let k = 0; k < bytes; k++) {
      to[toRow + toColumn * bytes + k] = from[fromRow + fromColumn * bytes + k]!;
    }
    return;
  }
  const shift = (column: number): number => 8 - bits - (column * bits) % 8;
  const value = (from[fromRow + ((fromColumn * bits) >> 3)]! >> shift(fromColumn)) & (2 ** bits - 1);
  to[toRow + ((toColumn * bits) >> 3)]! |= value << shift(toColumn);
}

function colorsOf(palette: Uint8Array): [number, number, number][] {
  if (palette.length === 0 || palette.length % 3 !== 0 || palette.length > 768) {
    throw new DataError(
      `its palette has ${palette.length} bytes; three for each of 1 to 256 colours are required`,
    );
  }
  return Array.from({ length: palette.length / 3 }, (_, k) => {
    const [red, green, blue] = palette.subarray(3 * k) as unknown as readonly number[];
    return [red!, green!, blue!];
  });
}
