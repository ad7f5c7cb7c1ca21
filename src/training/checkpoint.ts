/**
 * Checkpoints: a training state as one safetensors file, whose metadata says how the model was built and trained.
 *
 * The file knows nothing of tensors: arrays by name go in and come out.
 *
 * @module
 */

import * as v from "valibot";
import type { ClassInfo, ClassList } from "../data/classes.ts";
import type { ArrayEntry } from "../io/array.ts";
import { Budget } from "../io/budget.ts";
import { FileFormatError, shown } from "../io/errors.ts";
import { readBytes } from "../io/files.ts";
import { parseJson } from "../io/json.ts";
import {
  isSafetensors,
  readMetadata,
  readSafetensors,
  type SafetensorsFile,
  writeSafetensors,
} from "../io/safetensors.ts";
import { emptyChecksum, isIntact, seal } from "./checkpoint_checksum.ts";
import { exists, runFiles, writeFileAtomic } from "./checkpoint_files.ts";
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
  /** Steps done at the last evaluation whose scores and pictures are there (absent in early files: `step`). */
  evaluated?: number;
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
  try {
    return decodeCheckpoint(await readBytes(file, "load checkpoint"), file);
  } catch (error) {
    const best = file.replace(/[^/\\]*$/, runFiles.best);
    if (!(error instanceof FileFormatError) || file === best || !await exists(best)) throw error;
    throw new FileFormatError(`${error.message}; ${best} may be whole`, { cause: error });
  }
}

/**
 * True if the bytes are a checkpoint of this program rather than a file of raw weights. A file that is damaged is
 * neither: whoever reads it says what is wrong with it.
 */
export function isCheckpoint(bytes: Uint8Array): boolean {
  if (!isSafetensors(bytes)) return false;
  try {
    return readMetadata(bytes).format === format;
  } catch (error) {
    if (error instanceof FileFormatError) return false;
    throw error;
  }
}

const byte = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255));

const color = v.strictTuple([byte, byte, byte]);
const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

/** What a checkpoint keeps about a run beside its configuration, as JSON. */
const stateSchema = v.object({
  classes: v.array(v.object({ name: v.string(), color })),
  maskColors: v.exactOptional(v.array(v.strictTuple([color, byte]))),
  step: count,
  evaluated: v.exactOptional(count),
  bestMeanIoU: v.nullable(v.pipe(v.number(), v.minValue(0), v.maxValue(1))),
});

/** What each of its fields must be, for messages. */
const stateFields = {
  classes: "a list of names and colours",
  maskColors: "a list of colours and class ids",
  step: "a whole number of at least 0",
  evaluated: "a whole number of at least 0",
  bestMeanIoU: "null or a number from 0 to 1",
} as const;

/** Our own configurations are shorter by far; a longer one is not worth its checks. */
const maxConfigLength = 100_000;

/**
 * Reads a checkpoint from the bytes of its file.
 *
 * @param name What to call the file in messages.
 * @throws {FileFormatError} If the bytes are damaged or not a checkpoint of this program.
 */
export function decodeCheckpoint(bytes: Uint8Array, name: string): Checkpoint {
  const refuse = (why: string, cause?: unknown): never => {
    throw new FileFormatError(`Cannot load checkpoint ${shown(name, 300)}: ${why}`, { cause });
  };
  const budget = new Budget(bytes.length);
  let file: SafetensorsFile;
  try {
    file = readSafetensors(bytes, budget);
  } catch (error) {
    if (!(error instanceof FileFormatError)) throw error;
    return refuse(`it is truncated, damaged or not a checkpoint (${error.message})`, error);
  }
  const { metadata, entries } = file;
  if (metadata.format !== format) {
    refuse("it is a safetensors file but no checkpoint of this program; give raw weights as --pretrained");
  }
  if (metadata.version !== version) {
    refuse(`its version is ${shown(String(metadata.version))}; this program reads version ${version}`);
  }
  if (isIntact(bytes) === false) {
    refuse("its checksum does not fit what it holds; it was damaged or changed since it was saved");
  }
  const { config = "", state = "" } = metadata;
  if (config.length > maxConfigLength) refuse(`its configuration has ${config.length} characters`);
  try {
    const meta = {
      config: trainConfig(optionsFromJson(trainOptions, config, "its configuration")),
      ...readState(state, budget),
    };
    return { arrays: entries, meta };
  } catch (error) {
    if (error instanceof OptionError) return refuse(error.problems.join("; "), error);
    if (!(error instanceof FileFormatError)) throw error;
    return refuse(error.message.replace(/^Cannot read the file: /, ""), error);
  }
}

function readState(text: string, budget: Budget): Omit<CheckpointMeta, "config"> {
  const result = v.safeParse(stateSchema, parseJson(text, "its state", budget));
  if (result.success) return result.output;
  const field = result.issues[0].path?.[0]?.key as keyof typeof stateFields | undefined;
  const wrong = field === undefined
    ? "its state is no object"
    : `its field ${field} is not ${stateFields[field]}`;
  throw new FileFormatError(`Cannot read the file: ${wrong}`);
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

/** The bytes of a checkpoint's file. */
export function encodeCheckpoint({ arrays, meta }: Checkpoint): Uint8Array {
  const { config, ...state } = meta;
  const metadata = {
    format,
    version,
    checksum: emptyChecksum,
    config: JSON.stringify(config),
    state: JSON.stringify(state),
  };
  return seal(writeSafetensors(arrays, { metadata }));
}

/**
 * The file that a path means: itself, or `latest` in a run's folder.
 *
 * @throws {Deno.errors.NotFound} If there is no such file.
 */
export async function checkpointPath(path: string): Promise<string> {
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
