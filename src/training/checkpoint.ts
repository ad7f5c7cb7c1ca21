/**
 * Checkpoints: a training state as one safetensors file, whose metadata says how the model was built and trained.
 *
 * The file knows nothing of tensors: arrays by name go in and come out.
 *
 * @module
 */

import type { ClassInfo, ClassList } from "../data/classes.ts";
import { type ArrayEntry, FileFormatError } from "../io/array.ts";
import { isSafetensors, readSafetensors, type SafetensorsFile, writeSafetensors } from "../io/safetensors.ts";
import { runFiles, writeFileAtomic } from "./checkpoint_files.ts";
import { type TrainConfig, trainConfig, trainOptions } from "./config.ts";
import { flagName, OptionError, optionsFromJson } from "./options.ts";

/** What a checkpoint says about its arrays. */
export interface CheckpointMeta {
  /** The configuration of the run; its `seed`, with `step`, fixes every random number that follows. */
  config: TrainConfig;
  /** Names and colours of the classes. */
  classes: readonly ClassInfo[];
  /** What the colours of its masks mean, empty if they hold ids (absent in early files, which do not tell). */
  maskColors?: ClassList["maskColors"];
  /** Steps done. */
  step: number;
  /** The best mIoU of the run so far, from 0 to 1, or null before the first evaluation. */
  bestMeanIoU: number | null;
}

/** A saved training state. */
export interface Checkpoint {
  /** Everything that the next step reads: parameters, running statistics, memory, optimiser state. */
  arrays: ReadonlyMap<string, ArrayEntry>;
  /** What they are. */
  meta: CheckpointMeta;
}

/** The word that marks our files, and the version of their layout. */
const format = "allspark-checkpoint";
const version = "1";

/**
 * Saves a checkpoint atomically.
 *
 * @param path The file, which is replaced if it exists.
 */
export async function saveCheckpoint(path: string, checkpoint: Checkpoint): Promise<void> {
  await writeFileAtomic(path, encodeCheckpoint(checkpoint));
}

/** Saves a run's `latest` checkpoint, and the same as its `best` if it is that. */
export async function saveRunCheckpoint(
  folder: string,
  checkpoint: Checkpoint,
  { best }: { best: boolean },
): Promise<void> {
  const bytes = encodeCheckpoint(checkpoint);
  // Best first: if the program dies between the two, a resumed run evaluates again and does not miss it.
  if (best) await writeFileAtomic(`${folder}/${runFiles.best}`, bytes);
  await writeFileAtomic(`${folder}/${runFiles.latest}`, bytes);
}

/**
 * Loads a checkpoint.
 *
 * @param path A checkpoint file, or the folder of a run, whose `latest` is taken.
 * @throws {FileFormatError} If the file is damaged or not a checkpoint of this program.
 * @throws {Deno.errors.NotFound} If it does not exist.
 *
 * @example
 * ```ts
 * import { loadCheckpoint, saveCheckpoint, trainConfig } from "@allspark/tensor/training";
 * import { assertEquals } from "@std/assert";
 *
 * const path = await Deno.makeTempFile();
 * const gain = { shape: [2], dtype: "f32" as const, data: new Float32Array([1, 2]) };
 * const meta = { config: trainConfig(), classes: [], step: 7, bestMeanIoU: null };
 * await saveCheckpoint(path, { arrays: new Map([["gain", gain]]), meta });
 * assertEquals((await loadCheckpoint(path)).meta.step, 7);
 * await Deno.remove(path);
 * ```
 */
export async function loadCheckpoint(path: string): Promise<Checkpoint> {
  const file = await checkpointPath(path);
  return decodeCheckpoint(await Deno.readFile(file), file);
}

/** True if the bytes are a checkpoint of this program rather than a file of raw weights. */
export function isCheckpoint(bytes: Uint8Array): boolean {
  return isSafetensors(bytes) && readSafetensors(bytes).metadata.format === format;
}

/**
 * Reads a checkpoint from the bytes of its file.
 *
 * @param name What to call the file in messages.
 * @throws {FileFormatError} If the bytes are damaged or not a checkpoint of this program.
 */
export function decodeCheckpoint(bytes: Uint8Array, name: string): Checkpoint {
  const refuse = (why: string, cause?: unknown): never => {
    throw new FileFormatError(`Cannot load checkpoint ${name}: ${why}`, { cause });
  };
  let file: SafetensorsFile;
  try {
    file = readSafetensors(bytes);
  } catch (error) {
    if (!(error instanceof FileFormatError)) throw error;
    return refuse(`it is truncated, damaged or not a checkpoint (${error.message})`, error);
  }
  const { metadata, entries } = file;
  if (metadata.format !== format) {
    refuse("it is a safetensors file but no checkpoint of this program; give raw weights as --pretrained");
  }
  if (metadata.version !== version) {
    refuse(`its version is ${metadata.version}; this program reads version ${version}`);
  }
  try {
    const state = JSON.parse(metadata.state!) as Omit<CheckpointMeta, "config">;
    const { classes, maskColors, step, bestMeanIoU } = state;
    const config = trainConfig(optionsFromJson(trainOptions, metadata.config!, "its configuration"));
    return {
      arrays: entries,
      meta: { config, classes, ...(maskColors && { maskColors }), step, bestMeanIoU },
    };
  } catch (error) {
    return refuse((error as Error).message, error);
  }
}

/**
 * Refuses to continue a run with options or classes that would change its numbers.
 *
 * @param saved What the checkpoint says.
 * @param wanted The configuration of this call and the classes of its data.
 * @throws {OptionError} If they differ; the sentences name the options.
 */
export function checkResume(saved: CheckpointMeta, wanted: Pick<CheckpointMeta, "config" | "classes">): void {
  const shown = (value: unknown): string => value === null ? "unset" : String(value);
  const problems = (Object.keys(trainOptions) as (keyof TrainConfig)[])
    .filter((name) => !trainOptions[name].mayChange && saved.config[name] !== wanted.config[name])
    .map((name) =>
      `Cannot resume with ${flagName(name)} ${shown(wanted.config[name])}: the checkpoint was trained with ` +
      `${shown(saved.config[name])}; leave the option out or start a new run`
    );
  const before = saved.classes.map(({ name }) => name);
  const now = wanted.classes.map(({ name }) => name);
  if (before.length !== now.length) {
    problems.push(
      `Cannot resume with ${now.length} classes: the checkpoint was trained with ${before.length}`,
    );
  } else if (before.join() !== now.join()) {
    const at = before.findIndex((name, id) => name !== now[id]);
    problems.push(
      `Cannot resume with class ${at} named ${now[at]}: the checkpoint was trained with ${before[at]} there`,
    );
  }
  if (problems.length > 0) throw new OptionError(problems);
}

function encodeCheckpoint({ arrays, meta }: Checkpoint): Uint8Array {
  const { config, ...state } = meta;
  const metadata = { format, version, config: JSON.stringify(config), state: JSON.stringify(state) };
  return writeSafetensors(arrays, { metadata });
}

/** The file that a path means: itself, or `latest` in a run's folder. */
async function checkpointPath(path: string): Promise<string> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.stat(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Deno.errors.NotFound(`Cannot load checkpoint ${path}: there is no such file or folder`);
  }
  if (!info.isDirectory) return path;
  const latest = `${path}/${runFiles.latest}`;
  if (await Deno.stat(latest).catch(() => undefined)) return latest;
  throw new Deno.errors.NotFound(
    `Cannot load checkpoint ${path}: the folder has no ${runFiles.latest}; the run saved none`,
  );
}
