/**
 * Prediction: images in, masks and overlays out.
 *
 * @module
 */
import { normalize } from "../data/augment.ts";
import type { Picture, WholeImage } from "../data/batch.ts";
import { BrokenFiles } from "../data/broken.ts";
import type { ClassInfo } from "../data/classes.ts";
import type { FileItem } from "../data/datasets.ts";
import { DataError, reason } from "../data/errors.ts";
import { pictures } from "../data/loader.ts";
import type { ImageArray } from "../data/pixels.ts";
import { resizeBilinear, resizeNearest, type Size } from "../data/resize.ts";
import { DeviceError } from "../errors.ts";
import { writeFileAtomic } from "./checkpoint_files.ts";
import { type ImageSegmenter, segmentAll } from "./evaluation.ts";
import { OptionError } from "./options.ts";
import { encodePrediction } from "./report.ts";

/** Which images, and where their masks go. */
export interface PredictOptions {
  /** The images. */
  readonly items: readonly FileItem[];
  /** What each one's files are called, as many as there are items; folders in a name are made. */
  readonly names: readonly string[];
  /** Folder for the files. */
  readonly out: string;
  /** Names and colours of the classes. */
  readonly classes: readonly ClassInfo[];
  /** Size at which the model sees every image; the masks get the images' own size all the same. */
  readonly imageSize?: Size;
  /** Threads that read images. */
  readonly workers?: number;
  /** Called after each image with the number of images done. */
  readonly onImage?: (done: number) => void;
  /**
   * Takes an image that cannot be read or segmented, with the sentence that says why; the others go on. Without it that
   * is an error.
   */
  readonly onFailure?: (image: string, why: string) => void;
}

/** A picture, and what the model is to see of it. */
export interface PredictImage extends WholeImage {
  /** The picture as the model sees it, from which `image` is made; `pixels` is the picture itself. */
  readonly seen: ImageArray;
}

/**
 * Segments image files. For each it writes `NAME.mask.png`, a palette picture whose indices are the class ids, and
 * `NAME.overlay.png`, the image under the colours of its classes.
 *
 * @param segment One image on the device.
 * @param options Images, names, folder and classes.
 * @returns The paths of the files.
 * @throws {DataError} If an image cannot be read and nobody takes that, or a file cannot be written.
 */
export async function predictFiles(
  segment: ImageSegmenter<PredictImage>,
  { items, names, out, classes, imageSize, workers = 1, onImage, onFailure }: PredictOptions,
): Promise<string[]> {
  const written: string[] = [];
  const nameOf = new Map(items.map(({ image }, k) => [image, names[k]!]));
  const reading = {
    workers,
    // One picture may have a hundred megabytes, and each is needed once.
    prefetch: workers,
    cacheBytes: 0,
    ...(onFailure && { broken: new BrokenFiles(onFailure) }),
  };
  const seen = asSeen(pictures(items, reading), imageSize);
  const segmented = segmentAll(seen, segment, {
    ...(onFailure && { onFailure: ({ name }, error) => onFailure(name, whyNot(name, error)) }),
  });
  for await (const { image: { name, pixels }, prediction } of segmented) {
    const path = `${out}/${nameOf.get(name)}`;
    await makeFolder(path.slice(0, path.lastIndexOf("/")));
    const full = resizeNearest(prediction, [pixels.width, pixels.height]);
    const { mask, overlay } = await encodePrediction(pixels, full, classes);
    await writeFileAtomic(`${path}.mask.png`, mask);
    await writeFileAtomic(`${path}.overlay.png`, overlay);
    written.push(`${path}.mask.png`, `${path}.overlay.png`);
    onImage?.(written.length / 2);
  }
  return written;
}

/**
 * Makes a folder for results, and those above it.
 *
 * @param path The folder; it may exist.
 * @throws {DataError} If it cannot be made.
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await Deno.mkdir(path, { recursive: true });
  } catch (error) {
    const why = error instanceof Deno.errors.AlreadyExists ? "a file has that name" : reason(error);
    throw new DataError(`Cannot make folder ${path}: ${why}`, { cause: error });
  }
}

/** Why an image could not be segmented, if it is the image or its size that is to blame. */
function whyNot(name: string, error: unknown): string {
  const isAboutImage = [DataError, OptionError, DeviceError].some((kind) => error instanceof kind);
  if (!isAboutImage) throw error;
  const why = reason(error);
  return why.includes(name) ? why : `Cannot segment ${name}: ${why}`;
}

/** Pictures as the model is to see them; the normalised values are made when they are asked for. */
async function* asSeen(
  pictures: AsyncIterable<Picture>,
  size: Size | undefined,
): AsyncGenerator<PredictImage, void, undefined> {
  for await (const { name, pixels } of pictures) {
    const seen = size === undefined ? pixels : resizeBilinear(pixels, size);
    const { width, height } = seen;
    yield {
      name,
      width,
      height,
      pixels,
      seen,
      get image(): Float32Array<ArrayBuffer> {
        return normalize(seen);
      },
    };
  }
}
