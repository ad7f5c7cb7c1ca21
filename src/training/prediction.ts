/**
 * Prediction: images in, masks and overlays out.
 *
 * @module
 */
import { normalize } from "../data/augment.ts";
import type { WholeImage } from "../data/batch.ts";
import type { ClassInfo } from "../data/classes.ts";
import type { FileItem } from "../data/datasets.ts";
import { wholeImages } from "../data/loader.ts";
import { resizeBilinear, resizeNearest, type Size } from "../data/resize.ts";
import type { Tensor } from "../tensor.ts";
import { segmentAll } from "./evaluation.ts";
import { writeFileAtomic } from "./checkpoint_files.ts";
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
}

/**
 * Segments image files. For each it writes `NAME.mask.png`, a palette picture whose indices are the class ids, and
 * `NAME.overlay.png`, the image under the colours of its classes.
 *
 * @param segment One image on the device.
 * @param options Images, names, folder and classes.
 * @returns The paths of the files.
 * @throws {DataError} If an image cannot be read.
 */
export async function predictFiles(
  segment: (image: WholeImage) => Tensor,
  { items, names, out, classes, imageSize, workers = 1, onImage }: PredictOptions,
): Promise<string[]> {
  const written: string[] = [];
  const images = resized(wholeImages(items, { masks: {} }, { workers }), imageSize);
  for await (const { image: { pixels }, prediction } of segmentAll(images, segment)) {
    const path = `${out}/${names[written.length / 2]}`;
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    const full = resizeNearest(prediction, [pixels.width, pixels.height]);
    const { mask, overlay } = await encodePrediction(pixels, full, classes);
    await writeFileAtomic(`${path}.mask.png`, mask);
    await writeFileAtomic(`${path}.overlay.png`, overlay);
    written.push(`${path}.mask.png`, `${path}.overlay.png`);
    onImage?.(written.length / 2);
  }
  return written;
}

/** Images as the model is to see them; their pixels stay as they are. */
async function* resized(
  images: AsyncIterable<WholeImage>,
  size: Size | undefined,
): AsyncGenerator<WholeImage, void, undefined> {
  for await (const image of images) {
    if (size === undefined) yield image;
    else {yield {
        ...image,
        width: size[0],
        height: size[1],
        image: normalize(resizeBilinear(image.pixels, size)),
      };}
  }
}
