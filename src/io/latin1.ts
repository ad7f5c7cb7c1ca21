/**
 * Bytes as text, each a character of the same number. The platform's "latin1" is not that: it reads 0x80 to 0x9f as
 * Windows-1252 does.
 *
 * @param bytes The bytes.
 */
export function latin1(bytes: Uint8Array): string {
  let text = "";
  // In pieces, as a call takes only so many arguments.
  for (let at = 0; at < bytes.length; at += 4096) {
    text += String.fromCharCode(...bytes.subarray(at, at + 4096));
  }
  return text;
}
