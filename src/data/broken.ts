/** Files that cannot be used, for those who go on without them. @module */
import type { FileItem, Item } from "./datasets.ts";
import { DataError } from "./errors.ts";

/**
 * Files that are left out because they are broken: absent, cut, of no known format, too small, or an image and a mask
 * of different sizes. Whoever is given one adds to it instead of throwing.
 *
 * Which items are left out depends on the files alone, not on when a file is found to be broken: so a run gives the same
 * bits whether it finds one before its first step, later, or in the run that resumes it.
 *
 * @example
 * ```ts
 * import { BrokenFiles, wholeImages } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * const broken = new BrokenFiles();
 * const images = wholeImages([{ image: "/no/such.jpg" }], { masks: {} }, { workers: 1, broken });
 * assertEquals(await Array.fromAsync(images), []);
 * assertEquals([...broken.reasons.keys()], ["/no/such.jpg"]);
 * ```
 */
export class BrokenFiles {
  readonly #reasons = new Map<string, string>();
  readonly #onFound: ((file: string, why: string) => void) | undefined;

  /**
   * Begins with no files.
   *
   * @param onFound Called with each file as it is found, and with the sentence that says what is wrong with it.
   */
  constructor(onFound?: (file: string, why: string) => void) {
    this.#onFound = onFound;
  }

  /** Why each file cannot be used: one sentence that names it. */
  get reasons(): ReadonlyMap<string, string> {
    return this.#reasons;
  }

  /**
   * Takes the file that an error is about.
   *
   * @param error What was thrown.
   * @throws {unknown} The error itself, if no file is to blame.
   */
  add(error: unknown): void {
    if (!(error instanceof DataError) || error.file === undefined) throw error;
    if (this.#reasons.has(error.file)) return;
    this.#reasons.set(error.file, error.message);
    this.#onFound?.(error.file, error.message);
  }

  /** Whether a file of an item is among them. */
  has(item: Item): boolean {
    if ("scene" in item) return false;
    const { image, mask }: FileItem = item;
    return this.#reasons.has(image) || (mask !== undefined && this.#reasons.has(mask));
  }
}

/**
 * What stands at a place of a list: the item itself, or, if it is broken, the next one that is not, round the end.
 *
 * @param items The list.
 * @param place A place in it.
 * @param broken The files that are left out.
 * @param listName What to call the list in messages.
 * @returns An item that is not known to be broken.
 * @throws {DataError} If all are broken.
 */
export function itemAt<I extends Item>(
  items: readonly I[],
  place: number,
  broken: BrokenFiles | undefined,
  listName: string,
): I {
  for (let step = 0; step < items.length; step++) {
    const item = items[(place + step) % items.length]!;
    if (broken?.has(item) !== true) return item;
  }
  throw new DataError(
    `Cannot go on without broken files: none of the ${items.length} ${listName} can be used`,
  );
}
