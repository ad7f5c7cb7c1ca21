/**
 * The folder of a run, and files in it that are either old or new but never half written.
 *
 * @module
 */

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
} as const;

/**
 * Writes a file so that a crash at any moment leaves either the old content or the new one: into a temporary file in
 * the same folder, flushed to the disk, then renamed.
 */
export async function writeFileAtomic(path: string, bytes: Uint8Array): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  try {
    await writeFlushed(temporary, bytes);
    await Deno.rename(temporary, path);
  } catch (error) {
    // What went wrong above is the news; a temporary file that cannot be removed is not.
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
}

async function writeFlushed(path: string, bytes: Uint8Array): Promise<void> {
  using file = await Deno.open(path, { write: true, createNew: true });
  for (let written = 0; written < bytes.length;) written += await file.write(bytes.subarray(written));
  await file.sync();
}

/**
 * Makes the folder of a new run, with its configuration inside.
 *
 * @returns Its path, `out/name`; a name that nobody chose gets a number if it is taken.
 * @throws {Deno.errors.AlreadyExists} If the chosen name is taken.
 */
export async function makeRunFolder(config: TrainConfig): Promise<string> {
  await Deno.mkdir(config.out, { recursive: true });
  const name = runName(config);
  for (let number = 1;; number++) {
    const folder = `${config.out}/${name}${number === 1 ? "" : `-${number}`}`;
    try {
      await Deno.mkdir(folder);
    } catch (error) {
      if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
      if (config.name === null) continue;
      throw new Deno.errors.AlreadyExists(
        `Cannot start run ${name}: ${folder} exists; choose another --name, or continue it with --resume ${folder}`,
      );
    }
    await writeFileAtomic(`${folder}/${runFiles.config}`, encodeJson(config));
    return folder;
  }
}

function encodeJson(value: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(value, null, 2) + "\n");
}
