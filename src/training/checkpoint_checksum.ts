/**
 * The checksum of a checkpoint: CRC-32 of the whole file, in which the checksum itself stands as eight zeros. A damaged
 * weight or a damaged digit of the configuration would otherwise train on as another number.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { crc32 } from "node:zlib";

/** What stands in the place of a checksum while it is computed. */
export const emptyChecksum = "00000000";

/** Writes the checksum of a file into its place. */
export function seal(bytes: Uint8Array): Uint8Array {
  const place = placeOf(bytes);
  if (place === undefined) throw new Error("a checkpoint without a place for its checksum");
  bytes.set(new TextEncoder().encode(checksumOf(bytes, place)), place);
  return bytes;
}

/** Whether a file is what was sealed; undefined if it has no checksum. */
export function isIntact(bytes: Uint8Array): boolean | undefined {
  const place = placeOf(bytes);
  if (place === undefined) return undefined;
  const stored = new TextDecoder().decode(bytes.subarray(place, place + emptyChecksum.length));
  return stored === checksumOf(bytes, place);
}

function checksumOf(bytes: Uint8Array, place: number): string {
  const zeros = new TextEncoder().encode(emptyChecksum);
  const before = crc32(zeros, crc32(bytes.subarray(0, place)));
  return crc32(bytes.subarray(place + zeros.length), before).toString(16).padStart(emptyChecksum.length, "0");
}

/** Where the checksum begins. Within another text of the header its quotes would have backslashes. */
function placeOf(bytes: Uint8Array): number | undefined {
  const key = '"checksum":"';
  const at = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, 4096)).indexOf(key);
  return at < 0 ? undefined : at + key.length;
}
