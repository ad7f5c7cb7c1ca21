/** Images and masks as plain arrays of bytes. @module */

/** An RGB image: 8 bits per channel, interleaved, rows from the top. */
export interface ImageArray {
  /** Pixels per row. */
  readonly width: number;
  /** Number of rows. */
  readonly height: number;
  /** `width * height * 3` values: red, green, blue of the first pixel, then of the next one. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** A mask: one class id per pixel, 255 where there is no label. */
export interface MaskArray {
  /** Pixels per row. */
  readonly width: number;
  /** Number of rows. */
  readonly height: number;
  /** `width * height` class ids, rows from the top. */
  readonly data: Uint8Array<ArrayBuffer>;
}

/** The class id of pixels without a label; no loss and no metric counts them. */
export const ignoreIndex = 255;

/**
 * A black image.
 *
 * @param width Pixels per row.
 * @param height Number of rows.
 * @returns A new image.
 */
export function newImage(width: number, height: number): ImageArray {
  return { width, height, data: new Uint8Array(width * height * 3) };
}

/**
 * A mask of zeros.
 *
 * @param width Pixels per row.
 * @param height Number of rows.
 * @returns A new mask.
 */
export function newMask(width: number, height: number): MaskArray {
  return { width, height, data: new Uint8Array(width * height) };
}
