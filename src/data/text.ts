/**
 * Text files of a user's own: their encodings, and lines of fields with or without quotes.
 *
 * Editors and spreadsheets write UTF-8 and UTF-16, with and without a byte order mark; all of these are read. Other
 * encodings are refused: to guess one would give wrong names without an error.
 *
 * @module
 */
import { DataError, reason } from "./errors.ts";

/** Bytes of the largest list that is read; one of a million images has less. */
const largestList = 2 ** 27;

/**
 * The text of a file.
 *
 * @param path The path.
 * @param purpose What it is wanted for: "read list".
 * @param largest Bytes that it may have.
 * @returns The text, without a byte order mark.
 * @throws {DataError} If the file is absent, too large, or not a text.
 */
export async function readText(path: string, purpose: string, largest = largestList): Promise<string> {
  const text = await readTextIfPresent(path, purpose, largest);
  if (text === undefined) throw new DataError(`Cannot ${purpose} ${path}: no such file`);
  return text;
}

/**
 * The text of a file, or undefined if there is no such file.
 *
 * @param path The path.
 * @param purpose What it is wanted for: "read list".
 * @param largest Bytes that it may have.
 * @returns The text, without a byte order mark.
 * @throws {DataError} If the file is there but too large, or not a text.
 */
export async function readTextIfPresent(
  path: string,
  purpose = "read",
  largest = largestList,
): Promise<string | undefined> {
  const refuse = (why: string, cause?: unknown): never => {
    throw new DataError(`Cannot ${purpose} ${path}: ${why}`, { cause });
  };
  let bytes: Uint8Array | undefined;
  try {
    bytes = await readUpTo(path, largest);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    refuse(reason(error), error);
  }
  const text = bytes === undefined ? undefined : decodeText(bytes);
  if (bytes === undefined) refuse(`it has more than ${largest} bytes, which no such text has`);
  return text ?? refuse("it is not a text in UTF-8 or UTF-16; save it as UTF-8");
}

/** The bytes of a file, which may be without an end such as a device; undefined if there are more than `limit`. */
async function readUpTo(path: string, limit: number): Promise<Uint8Array | undefined> {
  using file = await Deno.open(path);
  const { isFile, isDirectory, size } = await file.stat();
  if (isDirectory) throw new Deno.errors.IsADirectory();
  if (isFile && size > limit) return undefined;
  let bytes = new Uint8Array(isFile ? size + 1 : 2 ** 16);
  let length = 0;
  for (let read: number | null; (read = await file.read(bytes.subarray(length))) !== null;) {
    length += read;
    if (length > limit) return undefined;
    if (length < bytes.length) continue;
    const larger = new Uint8Array(2 * bytes.length);
    larger.set(bytes);
    bytes = larger;
  }
  return bytes.subarray(0, length);
}

/**
 * The text that bytes are: UTF-8, or UTF-16 by its byte order mark.
 *
 * @param bytes The bytes.
 * @returns The text without its mark, or undefined if the bytes are neither.
 */
export function decodeText(bytes: Uint8Array): string | undefined {
  const [first, second] = bytes;
  const encoding = first === 0xff && second === 0xfe
    ? "utf-16le"
    : first === 0xfe && second === 0xff
    ? "utf-16be"
    : "utf-8";
  let text: string;
  try {
    text = new TextDecoder(encoding, { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
  return text.includes("\0") ? undefined : text;
}

/** A piece of a line: what stood in it, and whether it stood in quotes. */
export interface Field {
  /** The piece, without quotes and surrounding spaces. */
  readonly text: string;
  /** Whether it was quoted, so that it is one piece whatever is in it. */
  readonly isQuoted: boolean;
}

/**
 * A line in pieces. A piece may stand in double quotes, within which separators count as text and two quotes as one.
 *
 * @param line One line.
 * @param separator What stands between two pieces; it matches one separator.
 * @returns The pieces in order, empty ones too; undefined if a quote is not closed.
 */
export function splitFields(line: string, separator: RegExp): Field[] | undefined {
  const between = new RegExp(separator.source, "y");
  const fields: Field[] = [];
  let text = "";
  let isQuoted = false;
  const finish = (): void => {
    fields.push({ text: isQuoted ? text : text.trim(), isQuoted });
    text = "";
    isQuoted = false;
  };
  for (let at = 0; at < line.length;) {
    between.lastIndex = at;
    const gap = between.exec(line)?.[0];
    if (gap !== undefined && gap !== "") {
      finish();
      at += gap.length;
    } else if (line[at] === '"' && text.trim() === "" && !isQuoted) {
      const end = closingQuote(line, at);
      if (end < 0) return undefined;
      text = line.slice(at + 1, end).replaceAll('""', '"');
      isQuoted = true;
      at = end + 1;
    } else {
      // Spaces between a closing quote and the next separator are no part of the piece.
      if (!isQuoted || line[at]!.trim() !== "") text += line[at];
      at++;
    }
  }
  finish();
  return fields;
}

function closingQuote(line: string, open: number): number {
  for (let at = open + 1; at < line.length; at++) {
    if (line[at] !== '"') continue;
    if (line[at + 1] !== '"') return at;
    at++;
  }
  return -1;
}
