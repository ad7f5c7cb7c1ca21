/** The error of everything that a data set on disk can get wrong, and the words of its sentences. @module */

/** Characters of the longest message; a longer one loses its middle. */
const longestMessage = 600;

/** Characters of the longest piece of a file that a message quotes. */
const longestQuote = 80;

/**
 * Something about the data on disk is wrong: a folder or file that is absent, a list line that cannot be read,
 * an image that cannot be decoded, a mask that holds a class id without a name.
 *
 * The message is one sentence that names the file, {@linkcode printable} and of bounded length; it survives the way out
 * of a worker.
 *
 * @example A list that names absent files
 * ```ts
 * import { DataError, openFolder } from "@allspark/tensor/data";
 * import { assertRejects } from "@std/assert";
 * await assertRejects(() => openFolder("/no/such/folder", { split: "1_8" }), DataError, "no such folder");
 * ```
 */
export class DataError extends Error {
  /** Always `"DataError"`. */
  override readonly name = "DataError";
  /** The file that is broken, where that file alone is to blame and others could be used without it. */
  readonly file?: string;

  /**
   * Makes the error.
   *
   * @param message One sentence.
   * @param options `cause`: what was thrown before; `file`: the file, if it alone is to blame.
   */
  constructor(message: string, options: { cause?: unknown; file?: string } = {}) {
    const { cause, file } = options;
    super(printable(message), cause === undefined ? {} : { cause });
    if (file !== undefined) this.file = file;
  }
}

/** Control characters, line breaks of all kinds, lone surrogates, and what turns the direction of writing. */
const unprintable =
  /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/gu;

/**
 * A text from outside, such as the name or the content of a file, as a message may show it: on one line, without
 * characters that a terminal obeys, and not longer than a reader bears.
 *
 * @param text Any text.
 * @param limit Characters that are kept; a longer text loses its middle (default 600).
 * @returns The text with such characters written as `\n` or `\u001b`.
 */
export function printable(text: string, limit: number = longestMessage): string {
  const half = Math.floor((limit - 5) / 2);
  const short = text.length <= limit ? text : `${text.slice(0, half)} ... ${text.slice(-half)}`;
  return short.replace(unprintable, escaped);
}

/** A piece of a file in quotes, for a message. */
export function quoted(text: string): string {
  return `"${printable(text.trim(), longestQuote)}"`;
}

function escaped(character: string): string {
  const short = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[character];
  return short ?? `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/**
 * The first few of a list of names, for a message: `a.png, b.png, c.png and 7 more`.
 *
 * @param names The names.
 * @returns One line.
 */
export function firstFew(names: readonly string[]): string {
  const shown = names.slice(0, 3).join(", ");
  return names.length > 3 ? `${shown} and ${names.length - 3} more` : shown;
}

/** What the system's refusals mean, as the end of a sentence. */
const refusals: readonly (readonly [new () => Error, string])[] = [
  [Deno.errors.NotFound, "no such file"],
  [Deno.errors.PermissionDenied, "permission is denied"],
  [Deno.errors.IsADirectory, "it is a folder, not a file"],
  [Deno.errors.NotADirectory, "a file stands where its path needs a folder"],
  [Deno.errors.AlreadyExists, "something of that name is there already"],
  [Deno.errors.FilesystemLoop, "its links lead in a circle"],
];

/**
 * The words of any thrown value.
 *
 * @param error What was thrown.
 * @returns Its message on one line, without a full stop and without the system's numbers.
 */
export function reason(error: unknown): string {
  const known = refusals.find(([kind]) => error instanceof kind)?.[1];
  if (known !== undefined) return known;
  const message = error instanceof Error ? error.message : String(error);
  const plain = message.replaceAll(/\s+/g, " ").trim().replace(/ ?\(os error \d+\).*$/, "").replace(
    /\.$/,
    "",
  );
  return plain === "" ? "the reason is unknown" : plain;
}
