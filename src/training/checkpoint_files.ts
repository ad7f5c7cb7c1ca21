/**
 * The folder of a run, and files in it that are either old or new but never half written.
 *
 * @module
 */
import { reason } from "../data/errors.ts";
import { runName, type TrainConfig } from "./config.ts";

/** The files that a run leaves in its folder. */
export const runFiles = {
  /** The configuration; `--config` reads it. */
  config: "config.json",
  /** One JSON object per line and step. */
  metrics: "metrics.jsonl",
  /** Loss, learning rate and mIoU over the steps. */
  curves: "curves.png",
  /** Validation images with truth and prediction. */
  overlays: "overlays.png",
  /** The state after the last saved step. */
  latest: "latest.safetensors",
  /** The state with the best mIoU so far. */
  best: "best.safetensors",
  /** Who is at work in the folder; there only while somebody is. */
  lock: "run.lock",
} as const;

/** A file or folder that cannot be written, because the disk is full or it is not allowed; the message names it. */
export class WriteError extends Error {
  /** The name of this class. */
  override readonly name = "WriteError";

  /**
   * Makes the error.
   *
   * @param what What was to be done, such as `write runs/x/config.json`.
   * @param cause What the system said.
   */
  constructor(what: string, cause: unknown) {
    const why = cause instanceof Deno.errors.NotFound ? "there is no such folder" : reason(cause);
    super(`Cannot ${what}: ${why[0]!.toLowerCase()}${why.slice(1)}`, { cause });
  }
}

/**
 * Writes a file so that a crash at any moment leaves either the old content or the new one: into a temporary file in
 * the same folder, flushed to the disk, then renamed.
 *
 * @throws {WriteError} If it cannot be written; the old content stays.
 */
export async function writeFileAtomic(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  try {
    await writeFlushed(temporary, bytes);
    await Deno.rename(temporary, path);
    await flushNames(path.replace(/[^/\\]*$/, "") || ".");
  } catch (error) {
    // What went wrong above is the news; a temporary file that cannot be removed is not.
    await Deno.remove(temporary).catch(() => {});
    throw new WriteError(`write ${path}`, error);
  }
}

async function writeFlushed(path: string, bytes: Uint8Array): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true });
  for (let written = 0; written < bytes.length;) written += await file.write(bytes.subarray(written));
  await file.sync();
}

/** Flushes the names in a folder: a file that was renamed is still there after a loss of power. */
async function flushNames(folder: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  try {
    using names = await Deno.open(folder);
    await names.sync();
  } catch {
    // Not every file system can do this with a folder. The file itself is written.
  }
}

/**
 * Removes what a process that was killed while it wrote has left in a run's folder.
 *
 * @returns The names of the files.
 */
export async function removeHalfWritten(folder: string): Promise<string[]> {
  const ours = Object.values(runFiles).map((name) => name.replaceAll(".", "\\.")).join("|");
  const pattern = new RegExp(`^(${ours})\\.[0-9a-f]{8}\\.tmp$`);
  const removed: string[] = [];
  try {
    for await (const { name } of Deno.readDir(folder)) if (pattern.test(name)) removed.push(name);
    for (const name of removed) await Deno.remove(`${folder}/${name}`);
  } catch (error) {
    throw new WriteError(`remove half-written files from ${folder}`, error);
  }
  return removed;
}

/**
 * Refuses a run whose folder cannot be made, before any work is done for it.
 *
 * @throws {Deno.errors.AlreadyExists} If the chosen name is taken.
 * @throws {WriteError} If nothing can be written to `config.out`.
 */
export async function checkRunFolder(config: TrainConfig): Promise<void> {
  await makeFolder(config.out, { recursive: true });
  if (config.name !== null && await exists(folderOf(config))) throw await nameTaken(config);
  const path = `${config.out}/${crypto.randomUUID().slice(0, 8)}.tmp`;
  try {
    await Deno.writeTextFile(path, "");
    await Deno.remove(path);
  } catch (error) {
    throw new WriteError(`write to folder ${config.out}`, error);
  }
}

/**
 * Makes the folder of a new run, with its configuration inside.
 *
 * @returns Its path, `out/name`; a name that nobody chose gets a number if it is taken.
 * @throws {Deno.errors.AlreadyExists} If the chosen name is taken.
 * @throws {WriteError} If the folder cannot be made or written.
 */
export async function makeRunFolder(config: TrainConfig): Promise<string> {
  await makeFolder(config.out, { recursive: true });
  for (let number = 1;; number++) {
    const folder = folderOf(config) + (number === 1 ? "" : `-${number}`);
    if (await makeFolder(folder)) {
      await writeRunConfig(folder, config);
      return folder;
    }
    if (config.name !== null) throw await nameTaken(config);
  }
}

function folderOf(config: TrainConfig): string {
  return `${config.out}/${runName(config)}`;
}

/** Makes a folder; false if it is there already. */
async function makeFolder(path: string, options: Deno.MkdirOptions = {}): Promise<boolean> {
  try {
    await Deno.mkdir(path, options);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AlreadyExists && options.recursive !== true) return false;
    throw new WriteError(`make folder ${path}`, error);
  }
}

async function nameTaken(config: TrainConfig): Promise<Error> {
  const folder = folderOf(config);
  const advice = await exists(`${folder}/${runFiles.latest}`)
    ? `choose another --name, or continue it with --resume ${folder}`
    : "it holds no checkpoint to continue from; choose another --name or remove it";
  return new Deno.errors.AlreadyExists(`Cannot start run ${runName(config)}: ${folder} exists; ${advice}`);
}

/** Whether there is a file or folder of this name. */
export async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

/** Writes the configuration of a run, with which another one can be started, to its folder. */
export async function writeRunConfig(folder: string, config: TrainConfig): Promise<void> {
  const text = JSON.stringify({ ...config, resume: null }, null, 2) + "\n";
  await writeFileAtomic(`${folder}/${runFiles.config}`, new TextEncoder().encode(text));
}
