/**
 * The error of everything that reads a file, and what a file says as a message may repeat it: short, on one line,
 * and without characters that a terminal would obey.
 *
 * @module
 */

/** Longest message; whoever builds one keeps its parts short, and this keeps the promise where that failed. */
const MAX_MESSAGE = 1000;
/** Longest text of a file in a message. */
const MAX_QUOTED = 80;
/** Most elements of a list in a message. */
const MAX_LISTED = 8;

/** A file that is damaged, malicious, or of a kind that is not read; its message is one line of bounded length. */
export class FileFormatError extends Error {
  /** Name of the class, as it appears before the message. */
  override name = "FileFormatError";

  /**
   * Makes the error.
   *
   * @param message What is wrong with the file.
   * @param options The cause.
   */
  constructor(message: string, options?: ErrorOptions) {
    super(shown(message, MAX_MESSAGE), options);
  }
}

/**
 * A text from a file as a message may show it: white space as single spaces, control characters and what reorders
 * text as escapes, and the middle of a long one left out.
 *
 * @param text The text.
 * @param length Most characters that are kept.
 */
export function shown(text: string, length: number = MAX_QUOTED): string {
  const tail = Math.floor(length / 4);
  const kept = text.length <= length
    ? text
    : `${text.slice(0, length - tail - 3)}...${text.slice(text.length - tail)}`;
  return kept.replace(/\s+/g, " ").replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, escape);
}

/** A value from a file as a message may show it, whatever it is; nested values are only named by their kind. */
export function brief(value: unknown): string {
  if (!Array.isArray(value)) return briefLeaf(value);
  const items = value.slice(0, MAX_LISTED).map(briefLeaf).join(", ");
  return shown(
    value.length > MAX_LISTED ? `[${items}, ... (${value.length} in all)]` : `[${items}]`,
    2 * MAX_QUOTED,
  );
}

function briefLeaf(value: unknown): string {
  if (typeof value === "string") return shown(value);
  if (typeof value === "bigint") return value.toString(16).length > 20 ? "a large integer" : String(value);
  if (Array.isArray(value)) return "a list";
  if (typeof value !== "object" && typeof value !== "function" || value === null) return String(value);
  return "an object";
}

function escape(character: string): string {
  return `\\u{${character.codePointAt(0)!.toString(16)}}`;
}
