/**
 * Figures as text: a table for the terminal, and rows of Markdown that replace older ones in a document.
 *
 * @module
 */
import type { Case } from "./cases.ts";
import { isFigure, median, type Outcome } from "./rounds.ts";

/** A number with three digits that count. */
export function short(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString("en");
  return value.toPrecision(3).replace(/e.*/, "");
}

/** Speed of a case that takes so many milliseconds, where that makes sense. */
export function speed({ work, unit, figure }: Case, milliseconds: number): string {
  if (work === undefined || unit === undefined || figure !== "time") return "";
  if (unit === "µs each") return `${short((1000 * milliseconds) / work)} ${unit}`;
  return `${short((1000 * work) / milliseconds)} ${unit}`;
}

/** A figure with its unit, or a dash. */
export function value(item: Case, outcome: Outcome | undefined): string {
  if (!isFigure(outcome)) return "–";
  return `${short(median(outcome.rounds))} ${item.figure === "peak" ? "MB" : "ms"}`;
}

/** Rows of equal numbers of cells, the first row the heads, with every column as wide as it needs. */
export function alignedTable(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row.map((cell, column) => column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!))
      .join("  ").trimEnd()
  ).join("\n");
}

/** The same as Markdown. */
export function markdownTable(rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  const [heads, ...body] = rows as [readonly string[], ...(readonly string[])[]];
  const rule = heads.map((_, column) => column === 0 ? "---" : "---:");
  return [line(heads), line(rule), ...body.map(line)].join("\n");
}

/**
 * A document in which the table after `<!-- NAME -->` has the given rows in place of its own rows of the same first
 * cells; other rows stay, unless the heads differ. Rows are put in the order of `names`.
 *
 * @throws {Error} If the document has no such place.
 */
export function updateTable(
  document: string,
  place: { readonly name: string; readonly names: readonly string[] },
  rows: readonly (readonly string[])[],
): string {
  const marker = `<!-- ${place.name} -->\n`;
  const start = document.indexOf(marker);
  if (start < 0) throw new Error(`Cannot update the table ${place.name}: the document has no line ${marker}`);
  const begin = start + marker.length;
  const lines = document.slice(begin).split("\n");
  const first = lines.findIndex((line) => line.startsWith("|"));
  const next = lines.findIndex((line) => line.startsWith("<!--"));
  const hasTable = first >= 0 && (next < 0 || first < next);
  const from = hasTable ? first : 1;
  let to = from;
  while (lines[to]?.startsWith("|")) to++;
  const old = lines.slice(from, to).map((line) => line.slice(1, -1).split("|").map((cell) => cell.trim()));
  const [heads, ...fresh] = rows as [readonly string[], ...(readonly string[])[]];
  const kept = old[0]?.join("|") === heads.join("|") ? old.slice(2) : [];
  const byName = new Map([...kept, ...fresh].map((row) => [row[0]!, row]));
  const ordered = place.names.flatMap((name) => byName.has(name) ? [byName.get(name)!] : []);
  const table = markdownTable([heads, ...ordered]).split("\n");
  const before = lines.slice(0, from);
  const after = hasTable ? lines.slice(to) : ["", ...lines.slice(from)];
  return document.slice(0, begin) + [...before, ...table, ...after].join("\n");
}
