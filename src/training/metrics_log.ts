/**
 * The log of a run: one JSON object per line and step, in the file as soon as it is written.
 *
 * @module
 */
import { printable, reason } from "../data/errors.ts";
import { FileFormatError } from "../io/array.ts";
import { WriteError, writeFileAtomic } from "./checkpoint_files.ts";

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
  /** What the file that was there lacked or should not have had, in a sentence, if there is something to say. */
  readonly note?: string;
  /** Why the last line is not in the file; it is tried again with the next one and in {@linkcode flush}. */
  readonly failure: WriteError | undefined;
  /** Adds a line. */
  append(record: MetricsRecord): void;
  /**
   * Waits until all lines are on the disk, so that a loss of power does not take them.
   *
   * @throws {WriteError} If they cannot be written.
   */
  flush(): Promise<void>;
  /** Closes the file. */
  close(): void;
}

/** How far the lines of an earlier run are kept. */
export interface MetricsKept {
  /** Lines up to this step are kept, later ones forgotten. */
  readonly keepUntil?: number;
  /** Of evaluations, which have a `meanIoU`, only those up to this step (default: the same). */
  readonly evaluatedUntil?: number;
}

/**
 * Opens a file of metrics.
 *
 * @param path The file; it is made if absent.
 * @param kept How far to keep what is in it, as a resumed run needs; without `keepUntil` it starts empty.
 * @throws {WriteError} If the file cannot be written.
 * @throws {FileFormatError} If it is there and cannot be read.
 */
export async function openMetrics(path: string, kept: MetricsKept = {}): Promise<MetricsLog> {
  const { keepUntil, evaluatedUntil = keepUntil } = kept;
  const { records, note } = keepUntil === undefined
    ? { records: [], note: undefined }
    : keptOf(path, await readLines(path) ?? [], keepUntil, evaluatedUntil!);
  await writeFileAtomic(path, new TextEncoder().encode(records.map(line).join("")));
  return new OpenLog(path, note);
}

class OpenLog implements MetricsLog {
  readonly #file: Deno.FsFile;
  /** What is not in the file. */
  #rest = new Uint8Array();
  failure: WriteError | undefined;
  readonly note?: string;

  constructor(readonly path: string, note: string | undefined) {
    if (note !== undefined) this.note = note;
    this.#file = Deno.openSync(path, { append: true });
  }

  append(record: MetricsRecord): void {
    const bytes = new TextEncoder().encode(line(record));
    const all = new Uint8Array(this.#rest.length + bytes.length);
    all.set(this.#rest);
    all.set(bytes, this.#rest.length);
    this.#rest = all;
    this.#writeRest();
  }

  #writeRest(): void {
    try {
      while (this.#rest.length > 0) this.#rest = this.#rest.subarray(this.#file.writeSync(this.#rest));
      this.failure = undefined;
    } catch (error) {
      this.failure = new WriteError(`write ${this.path}`, error);
    }
  }

  async flush(): Promise<void> {
    this.#writeRest();
    if (this.failure !== undefined) throw this.failure;
    try {
      await this.#file.sync();
    } catch (error) {
      throw new WriteError(`write ${this.path}`, error);
    }
  }

  close(): void {
    this.#file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Reads a file of metrics; an absent file has no lines, and a last line cut off by a crash is left out.
 *
 * @throws {FileFormatError} If the file cannot be read, or a line before the last is not a record.
 */
export async function readMetrics(path: string): Promise<MetricsRecord[]> {
  return (await readLines(path) ?? []).map((text, i) => {
    const record = parsed(text);
    if (record !== undefined) return record;
    throw new FileFormatError(
      `Cannot read line ${i + 1} of ${path}: a JSON object with a step is required, not ${
        printable(text, 60)
      }`,
    );
  });
}

/** The whole lines of a file; undefined if there is none. */
async function readLines(path: string): Promise<string[] | undefined> {
  try {
    const content = await Deno.readTextFile(path);
    return content.slice(0, content.lastIndexOf("\n") + 1).split("\n").slice(0, -1);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new FileFormatError(`Cannot read ${path}: ${reason(error)}`, { cause: error });
  }
}

/** The records of a run up to a step, and a sentence about those that should be there and are not. */
function keptOf(
  path: string,
  lines: readonly string[],
  step: number,
  evaluated: number,
): { records: MetricsRecord[]; note: string | undefined } {
  const records = lines.map(parsed);
  const kept = records.filter((record) => record !== undefined)
    .filter((record) => record.step <= ("meanIoU" in record ? evaluated : step));
  const told = new Set(kept.filter((record) => !("meanIoU" in record)).map((record) => record.step));
  const missing = ranges(Array.from({ length: step }, (_, k) => k + 1).filter((k) => !told.has(k)));
  const damaged = ranges(records.flatMap((record, k) => record === undefined ? [k + 1] : []));
  // What a crash leaves behind the last whole line, such as zeros, is nobody's loss.
  const note = missing === "" ? undefined : `The metrics of step ${missing} are missing in ${path}` +
    (damaged === "" ? ", which was cut or removed" : `, where line ${damaged} cannot be read`) +
    "; the run goes on without them";
  return { records: kept, note };
}

/** Rising numbers as `1 to 7, 9 and 11 to 13`; of very many the first. */
function ranges(numbers: readonly number[]): string {
  const parts: [number, number][] = [];
  for (const k of numbers) {
    const last = parts.at(-1);
    if (last !== undefined && last[1] === k - 1) last[1] = k;
    else parts.push([k, k]);
  }
  const shown = parts.slice(0, 5).map(([from, to]) => from === to ? `${from}` : `${from} to ${to}`);
  if (parts.length > 5) shown.push(`${parts.length - 5} more`);
  return shown.length < 2 ? shown.join("") : `${shown.slice(0, -1).join(", ")} and ${shown.at(-1)}`;
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
