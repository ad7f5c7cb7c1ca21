/**
 * What the tuner found out, kept for the next process: a small JSON file in the user's cache folder.
 *
 * It saves time and nothing depends on it, so whatever is wrong with the file or with the rights to it has one
 * consequence: the tuner measures again.
 *
 * @module
 */
import { environment } from "../debug.ts";

/** Names of tilings by class of contraction, by adapter. */
type Content = Record<string, Record<string, string>>;

/** A file that says anything else is not used. */
export const version = 2;

/** The file in the user's cache folder; undefined if it is not known where that is. */
export function tileFile(): string | undefined {
  const home = environment("HOME");
  const cache = environment("XDG_CACHE_HOME") || environment("LOCALAPPDATA") || (home && `${home}/.cache`);
  return cache ? `${cache}/allspark/webgpu-tiles.json` : undefined;
}

/** The best tilings of one adapter. */
export class TileMemory {
  readonly #own: Map<string, string>;
  #isSaved = true;

  /** @param adapter What must be the same for a measurement to hold. */
  constructor(readonly adapter: string, readonly file: string | undefined) {
    this.#own = new Map(Object.entries(read(file)[adapter] ?? {}));
  }

  /** The name of the best tiling of a class. */
  get(key: string): string | undefined {
    return this.#own.get(key);
  }

  /** Remembers the best tiling of a class. */
  set(key: string, name: string): void {
    this.#own.set(key, name);
    this.#isSaved = false;
  }

  /** Adds what is new to the file, as a whole or not at all: another process may be at it too. */
  save(): void {
    const { file } = this;
    if (this.#isSaved || file === undefined) return;
    this.#isSaved = true;
    const folder = file.slice(0, file.lastIndexOf("/"));
    if (!isGranted("read", file) || !isGranted("write", folder)) return;
    const content = read(file);
    content[this.adapter] = { ...content[this.adapter], ...Object.fromEntries(this.#own) };
    const draft = `${file}.${crypto.randomUUID()}`;
    try {
      Deno.mkdirSync(folder, { recursive: true });
      Deno.writeTextFileSync(draft, JSON.stringify({ version, adapters: content }, null, 2) + "\n");
      Deno.renameSync(draft, file);
    } catch {
      // A full disk or a folder of another user: this process goes on with what it knows.
      discard(draft);
    }
  }
}

/** What a file holds; nothing if it cannot be read or understood. */
function read(file: string | undefined): Content {
  if (file === undefined || !isGranted("read", file)) return {};
  let parsed: unknown;
  try {
    parsed = JSON.parse(Deno.readTextFileSync(file));
  } catch {
    return {};
  }
  const isRecord = (value: unknown): value is Record<string, unknown> =>
    typeof value === "object" && value !== null && !Array.isArray(value);
  if (!isRecord(parsed) || parsed.version !== version || !isRecord(parsed.adapters)) return {};
  const isTable = (value: unknown): value is Record<string, string> =>
    isRecord(value) && Object.values(value).every((name) => typeof name === "string");
  return Object.fromEntries(
    Object.entries(parsed.adapters).filter((entry): entry is [string, Record<string, string>] =>
      isTable(entry[1])
    ),
  );
}

function discard(draft: string): void {
  try {
    Deno.removeSync(draft);
  } catch {
    // It was never written.
  }
}

/** Whether the program may; it is never asked. */
function isGranted(name: "read" | "write", path: string): boolean {
  return Deno.permissions.querySync({ name, path }).state === "granted";
}
