/**
 * Tables for the terminal.
 *
 * @module
 */

import type { SegmentationScores } from "./metrics.ts";

/** A share from 0 to 1 in percent with two digits, as mIoU is usually given: `20.70`. */
export function percent(share: number): string {
  return (share * 100).toFixed(2);
}

/**
 * A table as lines of text: columns as wide as their longest cell, numbers to the right, words to the left.
 *
 * @param head The headings.
 * @param rows The cells, as many in every row as there are headings.
 */
export function textTable(head: string[], rows: string[][]): string {
  const widths = head.map((title, j) => Math.max(title.length, ...rows.map((row) => row[j]!.length)));
  const numeric = head.map((_, j) => rows.every((row) => !Number.isNaN(Number(row[j]))));
  const line = (cells: string[]): string =>
    cells.map((cell, j) => numeric[j] ? cell.padStart(widths[j]!) : cell.padEnd(widths[j]!)).join("  ")
      .trimEnd();
  return [line(head), widths.map((width) => "─".repeat(width)).join("  "), ...rows.map(line)].join("\n");
}

/** The IoU of every class in percent, one row per class. */
export function iouTable(names: string[], { iou }: SegmentationScores): string {
  return textTable(["class", "IoU %"], iou.map((value, k) => [names[k] ?? `class ${k}`, percent(value)]));
}
