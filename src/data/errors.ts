/** The error of everything that a data set on disk can get wrong. @module */

/**
 * Something about the data on disk is wrong: a folder or file that is absent, a list line that cannot be read,
 * an image that cannot be decoded, a mask that holds a class id without a name.
 *
 * The message is one sentence that names the file; it survives the way out of a worker.
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

/**
 * The words of any thrown value.
 *
 * @param error What was thrown.
 * @returns Its message on one line, without a full stop.
 */
export function reason(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replaceAll(/\s+/g, " ").trim().replace(/\.$/, "");
}
