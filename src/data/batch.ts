/** Making one batch, or one evaluation image: what a data worker does with a task. @module */
import { type AugmentOptions, normalize, type Sample, strongAugment, weakAugment } from "./augment.ts";
import { type Item, itemName, type ReadOptions, readSample } from "./datasets.ts";
import type { ImageArray } from "./pixels.ts";
import { randomStream } from "./random.ts";

/** What a training step takes. */
export interface Batch {
  /** The step that it is for. */
  readonly step: number;
  /** Strongly augmented labeled images `[B, 3, S, S]` and their masks `[B, S, S]`, 255 where there is no label. */
  readonly labeled: { readonly image: Float32Array<ArrayBuffer>; readonly mask: Int32Array<ArrayBuffer> };
  /** Weakly augmented unlabeled images `[B, 3, S, S]`; absent in steps that train on labels alone. */
  readonly unlabeled?: { readonly image: Float32Array<ArrayBuffer> };
}

/** One whole image, for evaluation or prediction. */
export interface WholeImage {
  /** Path of the image, or number of the scene. */
  readonly name: string;
  /** Width in pixels. */
  readonly width: number;
  /** Height in pixels. */
  readonly height: number;
  /** The normalised image `[1, 3, height, width]`. */
  readonly image: Float32Array<ArrayBuffer>;
  /** The mask `[1, height, width]`, 255 where there is no label; absent when the item has none. */
  readonly mask?: Int32Array<ArrayBuffer>;
  /** The picture itself, for overlays. */
  readonly pixels: ImageArray;
}

/** A picture as it is, for those who make their own input of it. */
export interface Picture {
  /** Path of the image, or number of the scene. */
  readonly name: string;
  /** The picture. */
  readonly pixels: ImageArray;
}

/** What comes of a task. */
export type TaskResult = Batch | WholeImage | Picture;

/** What one worker can be asked for. */
export type Task =
  | {
    readonly kind: "batch";
    readonly step: number;
    readonly labeled: readonly Item[];
    readonly unlabeled: readonly Item[];
  }
  | { readonly kind: "image" | "picture"; readonly item: Item };

/** What all tasks of a loader have in common. */
export interface TaskSettings {
  /** How items are read. */
  readonly reading: ReadOptions;
  /** Crop and augmentation. */
  readonly augment: AugmentOptions;
  /** Seed of the augmentation. */
  readonly seed: number;
  /** Bytes of decoded samples to keep. */
  readonly cacheBytes: number;
}

const labeledStream = 1;
const unlabeledStream = 2;

/**
 * A function that carries out tasks with given settings, keeping decoded samples in memory as long as they fit.
 *
 * @param settings Reading, augmentation, seed and memory.
 * @returns The function.
 */
export function taskRunner(settings: TaskSettings): (task: Task) => Promise<TaskResult> {
  const { augment, seed } = settings;
  const read = cachedReader(settings);

  const augmented = (
    items: readonly Item[],
    stream: number,
    step: number,
    change: typeof weakAugment,
  ): Promise<Sample[]> =>
    Promise.all(
      items.map(async (item, i) => change(await read(item), augment, randomStream(seed, stream, step, i))),
    );

  return async (task) => {
    if (task.kind !== "batch") {
      const [name, sample] = [itemName(task.item), await read(task.item)];
      return task.kind === "image" ? wholeImage(name, sample) : { name, pixels: ownPixels(sample) };
    }
    const labeled = await augmented(task.labeled, labeledStream, task.step, strongAugment);
    const unlabeled = await augmented(task.unlabeled, unlabeledStream, task.step, weakAugment);
    return {
      step: task.step,
      labeled: { image: stackImages(labeled), mask: stackMasks(labeled, augment.crop) },
      ...(unlabeled.length > 0 && { unlabeled: { image: stackImages(unlabeled) } }),
    };
  };
}

function wholeImage(name: string, { image, mask }: Sample): WholeImage {
  const { width, height } = image;
  return {
    name,
    width,
    height,
    image: normalize(image),
    pixels: ownPixels({ image }),
    ...(mask && { mask: Int32Array.from(mask.data) }),
  };
}

/** The pixels of a sample to hand over, which leave this thread; the cache keeps its own. */
function ownPixels({ image: { width, height, data } }: Sample): ImageArray {
  return { width, height, data: data.slice() };
}

function stackImages(samples: readonly Sample[]): Float32Array<ArrayBuffer> {
  const size = samples[0]!.image.data.length;
  const result = new Float32Array(samples.length * size);
  samples.forEach(({ image }, i) => normalize(image, result.subarray(i * size, (i + 1) * size)));
  return result;
}

function stackMasks(samples: readonly Sample[], crop: number): Int32Array<ArrayBuffer> {
  const result = new Int32Array(samples.length * crop * crop);
  samples.forEach(({ mask }, i) => result.set(mask!.data, i * crop * crop));
  return result;
}

/** Reads samples and forgets those that were not used for longest when they exceed the memory given. */
function cachedReader({ reading, cacheBytes }: TaskSettings): (item: Item) => Promise<Sample> {
  const kept = new Map<string, Sample>();
  let bytes = 0;
  const sizeOf = ({ image, mask }: Sample): number => image.data.length + (mask?.data.length ?? 0);
  return async (item) => {
    const key = JSON.stringify(item);
    const found = kept.get(key);
    const sample = found ?? await readSample(item, reading);
    if (!kept.delete(key)) bytes += sizeOf(sample);
    kept.set(key, sample);
    for (const [oldest, old] of kept) {
      if (bytes <= cacheBytes || kept.size === 1) break;
      kept.delete(oldest);
      bytes -= sizeOf(old);
    }
    return sample;
  };
}
