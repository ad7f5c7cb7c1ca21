/** Tiny training runs within a test: seconds each, and something happens on their way. */
import { assert } from "@std/assert";
import { encodeImage, encodeMask, readSample, sceneClasses, scenes } from "@allspark/tensor/data";
import {
  Progress,
  readMetrics,
  train,
  type TrainConfig,
  type TrainOptions,
  type TrainResult,
} from "@allspark/tensor/training";

/** A run of a second: a tiny encoder on tiny pictures. */
export const tiny = {
  method: "supervised",
  variant: "8,16,40,64:1,1,1,1",
  embedding: 8,
  crop: 29,
  batch: 1,
  steps: 8,
  evalEvery: 4,
  workers: 1,
  device: "cpu",
} satisfies Partial<TrainConfig>;

/** The same on generated scenes, as a command line. */
export const tinyArguments: readonly string[] = (
  "--method supervised --variant 8,16,40,64:1,1,1,1 --embedding 8 --crop 29 --batch 1 --steps 8 --eval-every 4 " +
  "--workers 1 --device cpu --image-size 34x33 --labeled-scenes 4 --unlabeled-scenes 2 --val-scenes 2"
).split(" ");

/** Draws pictures with masks into `folder/images` and `folder/masks`; returns the options that train on them. */
export async function drawPictures(
  folder: string,
  { count = 8, mask }: { count?: number; mask?: (ids: Uint8Array) => void } = {},
): Promise<Pick<TrainConfig, "images" | "masks" | "labels" | "val">> {
  const paths = { images: `${folder}/images`, masks: `${folder}/masks`, labels: `${folder}/labels.txt` };
  await Deno.mkdir(paths.images, { recursive: true });
  await Deno.mkdir(paths.masks, { recursive: true });
  const dataset = scenes({ labeled: count, size: [34, 33] });
  for (const [k, item] of dataset.labeled.entries()) {
    const sample = await readSample(item, dataset.reading);
    mask?.(sample.mask!.data);
    await Deno.writeFile(`${paths.images}/${k}.png`, await encodeImage(sample.image));
    await Deno.writeFile(
      `${paths.masks}/${k}.png`,
      encodeMask(sample.mask!, sceneClasses.map(({ color }) => color)),
    );
  }
  await Deno.writeTextFile(paths.labels, sceneClasses.map(({ name }) => name).join("\n"));
  return { ...paths, val: 0.25 };
}

/** What a run has said, and how it ended. */
export interface Ran {
  readonly said: string;
  readonly result?: TrainResult;
  readonly error?: unknown;
}

/**
 * Trains, with `on` called for everything that the run says: for each text that it holds once, its function.
 * The run waits for nothing, so these act at once.
 */
export async function runQuietly(
  given: Partial<TrainConfig>,
  on: Readonly<Record<string, () => void>> = {},
  signal?: AbortSignal,
  options: Pick<TrainOptions, "saveSeconds"> = {},
): Promise<Ran> {
  let said = "";
  const waiting = new Map(Object.entries(on));
  const hear = (text: string): void => {
    // One line for a kernel is enough for the tests of the progress.
    if (!text.includes(", kernel ")) said += text;
    for (const [words, act] of waiting) {
      if (!said.includes(words)) continue;
      waiting.delete(words);
      act();
    }
  };
  // A clock that runs fast, so that every step has its line.
  let time = 0;
  const progress = new Progress({
    write: hear,
    isTerminal: false,
    columns: () => 200,
    now: () => (time += 120_000),
  });
  try {
    const result = await train(given, {
      say: (line) => hear(line + "\n"),
      progress,
      ...(signal && { signal }),
      ...options,
    });
    return { said, result };
  } catch (error) {
    return { said, error };
  } finally {
    assert(waiting.size === 0, `the run never said ${[...waiting.keys()].join(", ")}, but\n${said}`);
  }
}

/** The lines of a run without what the clock says. */
export async function computedMetrics(folder: string): Promise<Record<string, unknown>[]> {
  return (await readMetrics(`${folder}/metrics.jsonl`)).map(({ dataWait: _, ...rest }) => rest);
}
