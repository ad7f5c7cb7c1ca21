import { Buffer } from "node:buffer";

/**
 * Bytes as text, each a character of the same number. The web platform's "latin1" is not that: it reads 0x80 to 0x9f as
 * Windows-1252 does.
 *
 * @param bytes The bytes.
 */
export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}
