/**
 * Generated scenes: a data set that needs no files.
 *
 * Each scene is a street view drawn from vector shapes: sky, hills, ground, road, houses, trees, cars and people with
 * occlusion, shadows, texture, changing light and clutter. Picture and mask are drawn from the same outlines, so
 * the mask is exact. A scene is a function of (seed, number, size, difficulty) and of nothing else.
 *
 * @module
 */
import sharp from "sharp";
import type { ClassInfo } from "./classes.ts";
import type { Dataset } from "./datasets.ts";
import type { ImageArray, MaskArray } from "./pixels.ts";
import { randomStream, threefry } from "./random.ts";
import { type Layout, layOut, type Light } from "./scene_layout.ts";
import type { sceneClass } from "./scene_objects.ts";
import type { Shape } from "./scene_shapes.ts";

/** One scene, not yet drawn. */
export interface SceneItem {
  /** Number of the scene. */
  readonly scene: number;
  /** Seed of the set that it belongs to. */
  readonly seed: number;
  /** Width and height in pixels. */
  readonly size: readonly [width: number, height: number];
  /** 0 (tidy, daylight) to 1 (any light, much clutter, much grain). */
  readonly difficulty: number;
}

/** How many scenes, and of what sort. */
export interface SceneOptions {
  /** Seed of the scenes (default 0). */
  readonly seed?: number;
  /** Number of labeled scenes (default 48). */
  readonly labeled?: number;
  /** Number of unlabeled scenes (default 192). */
  readonly unlabeled?: number;
  /** Number of validation scenes (default 48). */
  readonly val?: number;
  /** Width and height in pixels (default 128 x 128). */
  readonly size?: readonly [width: number, height: number];
  /** 0 (tidy, daylight) to 1 (any light, much clutter, much grain); default 0.5. */
  readonly difficulty?: number;
}

const colors: { readonly [name in keyof typeof sceneClass]: ClassInfo["color"] } = {
  background: [0, 0, 0],
  sky: [70, 130, 200],
  ground: [90, 160, 70],
  road: [128, 64, 128],
  house: [200, 90, 60],
  tree: [20, 90, 40],
  car: [40, 50, 200],
  person: [230, 40, 90],
};

/** The classes of generated scenes, in the order of their ids. */
export const sceneClasses: readonly ClassInfo[] = Object.entries(colors).map(([name, color]) => ({
  name,
  color,
}));

/**
 * A data set of generated scenes. Nothing is drawn until a scene is read.
 *
 * @param options Numbers of scenes, size, difficulty and seed.
 * @returns The data set; labeled, unlabeled and validation scenes are all different.
 *
 * @example
 * ```ts
 * import { readSample, scenes } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * const dataset = scenes({ labeled: 4, unlabeled: 8, val: 2, size: [64, 48] });
 * const { image, mask } = await readSample(dataset.labeled[0]!, dataset.reading);
 * assertEquals([image.width, image.height, mask?.data.length], [64, 48, 64 * 48]);
 * ```
 */
export function scenes(options: SceneOptions = {}): Dataset {
  const { seed = 0, labeled = 48, unlabeled = 192, val = 48, size = [128, 128], difficulty = 0.5 } = options;
  if (!(difficulty >= 0 && difficulty <= 1)) {
    throw new RangeError(`Cannot draw scenes of difficulty ${difficulty}: a number from 0 to 1 is required`);
  }
  // The three sets are counted apart, so that changing the size of one leaves the scenes of the others as they are.
  const block = (start: number, count: number): SceneItem[] =>
    Array.from({ length: count }, (_, i) => ({ scene: start + i, seed, size, difficulty }));
  return {
    name: "generated scenes",
    classes: sceneClasses,
    labeled: block(0, labeled),
    unlabeled: block(1_000_000, unlabeled),
    val: block(2_000_000, val),
    reading: { masks: { classes: sceneClasses.length } },
  };
}

/**
 * Draws a scene.
 *
 * @param item Which scene.
 * @returns Its picture and its exact mask.
 */
export async function drawScene(item: SceneItem): Promise<{ image: ImageArray; mask: MaskArray }> {
  const { scene, seed, size: [width, height], difficulty } = item;
  const layout = layOut(width, height, difficulty, randomStream(seed, layoutStream, scene));
  const picture = await rasterize(pictureSvg(layout, width, height));
  illuminate(picture, layout.light, item);
  // Without antialiasing every pixel of the mask has the colour of exactly one shape: its class id in each channel.
  const ids = await rasterize(maskSvg(layout, width, height));
  const mask = { width, height, data: ids.data.filter((_, i) => i % 3 === 0) };
  return { image: picture, mask };
}

const layoutStream = 11;
const lightStream = 12;

function svg(width: number, height: number, content: string): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${content}</svg>`;
}

function pictureSvg({ definitions, shapes }: Layout, width: number, height: number): string {
  const drawn = shapes.map(({ outline, paint }) => `<${outline} ${paint}/>`).join("");
  return svg(width, height, `<defs>${definitions}</defs>${drawn}`);
}

function maskSvg({ shapes }: Layout, width: number, height: number): string {
  const counted = shapes.filter((shape): shape is Shape & { id: number } => shape.id !== undefined);
  const drawn = counted.map(({ outline, id }) => `<${outline} fill="rgb(${id},${id},${id})"/>`).join("");
  return svg(width, height, `<g shape-rendering="crispEdges">${drawn}</g>`);
}

async function rasterize(source: string): Promise<ImageArray> {
  const { data, info } = await sharp(new TextEncoder().encode(source)).removeAlpha().raw()
    .toBuffer({ resolveWithObject: true });
  return { width: info.width, height: info.height, data: new Uint8Array(data) };
}

/** Tint, uneven brightness and grain, in place. */
function illuminate({ width, height, data }: ImageArray, light: Light, item: SceneItem): void {
  const random = randomStream(item.seed, lightStream, item.scene);
  const cells = 5;
  const spread = 0.05 + 0.15 * item.difficulty;
  const lattice = Array.from({ length: (cells + 1) ** 2 }, () => random.uniform(1 - spread, 1 + spread));
  const grain = 4 + 16 * item.difficulty;
  const [key0, key1] = [random.integer(0, 2 ** 31), random.integer(0, 2 ** 31)];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      const gain = light.gain * smoothLattice(lattice, cells, x / width, y / height);
      const [words, more] = threefry(key0, key1, at, 0);
      // Four bytes of noise add up to something close to a bell curve.
      const bell = (words & 255) + ((words >> 8) & 255) + ((words >> 16) & 255) + (words >>> 24) - 510;
      for (let channel = 0; channel < 3; channel++) {
        const own = ((more >> (8 * channel)) & 255) - 127.5;
        const value = data[at * 3 + channel]! * gain;
        const lit = value + (light.tint[channel]! * light.gain - value) * light.strength;
        const noisy = lit + (grain * (bell / 300 + own / 255)) / 2;
        data[at * 3 + channel] = Math.min(255, Math.max(0, Math.round(noisy)));
      }
    }
  }
}

/** Bilinear value of a square lattice at a place between 0 and 1. */
function smoothLattice(lattice: readonly number[], cells: number, x: number, y: number): number {
  const [column, row] = [Math.floor(x * cells), Math.floor(y * cells)];
  const [dx, dy] = [x * cells - column, y * cells - row];
  const at = (right: number, down: number): number => lattice[(row + down) * (cells + 1) + column + right]!;
  return (at(0, 0) * (1 - dx) + at(1, 0) * dx) * (1 - dy) + (at(0, 1) * (1 - dx) + at(1, 1) * dx) * dy;
}
