/**
 * The log of a run: one JSON object per line and step, on the disk as soon as it is written.
 *
 * @module
 */

import { writeFileAtomic } from "./checkpoint_files.ts";

/**
 * One line of a log: the step that it belongs to and any numbers, for example `loss`, `lr` or `meanIoU`. `dataWait` is the
 * share of the step's time, from 0 to 1, that was spent waiting for data.
 */
export interface MetricsRecord {
  /** Steps done when the line was written. */
  step: number;
  /** Numbers by name. */
  [name: string]: number | number[];
}

/** A metrics file that is open for further lines. */
export interface MetricsLog extends Disposable {
  /** Adds a line. */
  append(record: MetricsRecord): void;
  /** Closes the file. */
  close(): void;
}

/**
 * Opens a file of metrics.
 *
 * @param path The file; it is made if absent.
 * @param options `keepUntil` keeps the lines up to that step and forgets the later ones, as a resumed run needs;
 * without it the file starts empty.
 */
export async function openMetrics(
  path: string,
  { keepUntil }: { keepUntil?: number } = {},
): Promise<MetricsLog> {
  const kept = keepUntil === undefined
    ? []
    : (await readMetrics(path)).filter(({ step }) => step <= keepUntil);
  await writeFileAtomic(path, new TextEncoder().encode(kept.map(line).join("")));
  const file = await Deno.open(path, { append: true });
  const close = (): void => file.close();
  return {
    append(record: MetricsRecord): void {
      const bytes = new TextEncoder().encode(line(record));
      for (let written = 0; written < bytes.length;) written += file.writeSync(bytes.subarray(written));
    },
    close,
    [Symbol.dispose]: close,
  };
}

/**
 * Reads a file of metrics; an absent file has no lines, and a last line cut off by a crash is left out.
 *
 * @throws {SyntaxError} If a line before the last is not a record.
 */
export async function readMetrics(path: string): Promise<MetricsRecord[]> {
  let content: string;
  try {
    content = await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  const complete = content.slice(0, content.lastIndexOf("\n") + 1).split("\n").slice(0, -1);
  return complete.map((text, i) => {
    const record = parsed(text);
    if (record !== undefined) return record;
    throw new SyntaxError(
      `Cannot read line ${i + 1} of ${path}: a JSON object with a step is required, not ${text.slice(0, 60)}`,
    );
  });
}

function parsed(text: string): MetricsRecord | undefined {
  try {
    const record: unknown = JSON.parse(text);
    const step = (record as MetricsRecord | null)?.step;
    return typeof step === "number" ? record as MetricsRecord : undefined;
  } catch {
    return undefined;
  }
}

function line(record: MetricsRecord): string {
  return JSON.stringify(record) + "\n";
}
