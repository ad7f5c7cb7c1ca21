/** A writer of PNG files, byte for byte as a test wants them. */
import { crc32, deflateSync } from "node:zlib";
import { join } from "./weight_files.ts";

/** What a picture is, and what may be wrong with it. */
export interface PngOptions {
  readonly width: number;
  readonly height: number;
  /** Bits per channel (8). */
  readonly depth?: number;
  /** 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA (3). */
  readonly colorType?: number;
  readonly interlace?: number;
  /** Rows, each with the byte that names its filter. */
  readonly raw?: Uint8Array;
  /** The compressed rows, instead of `raw`. */
  readonly packed?: Uint8Array;
  /** Chunks between header and data (a palette of two colours). */
  readonly before?: readonly Uint8Array[];
}

/** A PNG file. */
export function pngFile(options: PngOptions): Uint8Array<ArrayBuffer> {
  const { width, height, depth = 8, colorType = 3, interlace = 0, raw = new Uint8Array(0) } = options;
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([depth, colorType, 0, 0, interlace], 8);
  const before = options.before ?? [chunk("PLTE", new Uint8Array([0, 0, 0, 128, 0, 0]))];
  return join(
    "\x89PNG\r\n\x1a\n",
    chunk("IHDR", header),
    ...before,
    chunk("IDAT", options.packed ?? new Uint8Array(deflateSync(raw))),
    chunk("IEND", new Uint8Array(0)),
  );
}

/** A part of a PNG file, with its length and checksum. */
export function chunk(type: string, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const body = join(type, data);
  const ends = new DataView(new ArrayBuffer(8));
  ends.setUint32(0, data.length);
  ends.setUint32(4, crc32(body));
  return join(new Uint8Array(ends.buffer, 0, 4), body, new Uint8Array(ends.buffer, 4, 4));
}
