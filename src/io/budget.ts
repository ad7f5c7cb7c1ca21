/**
 * What reading one file may cost.
 *
 * A few bytes of a file can describe a great deal: deflated zeros, views that repeat their elements, lists that
 * contain another list twice, which does so again. So one allowance covers the whole file, and every reader counts
 * what it is about to make before it makes it. All is counted in bytes of memory; since a value of any kind counts
 * too, even one that is thrown away at once, the same allowance bounds the time.
 *
 * @module
 */
import { FileFormatError } from "./errors.ts";

/** What a value counts, whatever it is: a number, an operation of a pickle, a name. */
export const VALUE_BYTES = 64;
/** What a text counts beside its characters, and what a name in a table counts: a key, a number that a value is kept by. */
export const NAME_BYTES = 512;
/** What a list, a dictionary or a set counts beside its elements. */
export const CONTAINER_BYTES = 448;
/** What an array counts beside its elements. */
export const ARRAY_BYTES = 2048;

/** Allowed for every file: what a small one may unpack to. */
const BASE = 512 * 2 ** 20;
/** Allowed for every byte of a file: its text, its arrays (twice as large where f16 is widened) and one copy. */
const PER_BYTE = 4;
/** Deepest nesting of lists and dictionaries; files of weights have less than ten levels. */
const MAX_DEPTH = 500;

/** The allowance of one file, and what is left of it. */
export class Budget {
  readonly #limit: number;
  #spent = 0;

  /**
   * Makes the allowance of a file.
   *
   * @param fileBytes Size of the file.
   * @param memory Bytes that it may cost; 512 MiB and four times its size when absent.
   */
  constructor(fileBytes: number, memory: number = BASE + PER_BYTE * fileBytes) {
    this.#limit = memory;
  }

  /** Whether so many bytes are left. */
  allows(bytes: number): boolean {
    return this.#spent + bytes <= this.#limit;
  }

  /**
   * Counts what is about to be made.
   *
   * @param bytes Its size in memory.
   * @throws {FileFormatError} If that is more than is left.
   */
  spend(bytes: number): void {
    if (!this.allows(bytes)) {
      throw new FileFormatError(
        `Cannot read the file: what it describes takes more than ${mebibytes(this.#limit)} MiB of memory, ` +
          `the limit for a file of its size`,
      );
    }
    this.#spent += bytes;
  }

  /**
   * Refuses what is nested too deeply, so that whatever walks it may call itself.
   *
   * @param depth Lists and dictionaries around a value.
   * @throws {FileFormatError} If there are too many.
   */
  checkDepth(depth: number): void {
    if (depth <= MAX_DEPTH) return;
    throw new FileFormatError(
      `Cannot read the file: it is nested more than ${MAX_DEPTH} deep or contains itself`,
    );
  }
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 2 ** 20);
}
