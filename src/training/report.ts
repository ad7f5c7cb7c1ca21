/**
 * Pictures of a run: curves over the steps, and images beside their truth and prediction.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import sharp from "sharp";
import type { ClassInfo } from "../data/classes.ts";
import { type Color, encodeMask, overlayMask } from "../data/image.ts";
import { ignoreIndex, type ImageArray, type MaskArray } from "../data/pixels.ts";
import { resizeNearest, type Size } from "../data/resize.ts";
import { escapeXml, fontFamily, prepareFont } from "./font.ts";
import type { MetricsRecord } from "./metrics_log.ts";
import { lineChart, type Panel, type Series } from "./plot.ts";

/** An image with what the model says about it. */
export interface Comparison {
  /** The image. */
  image: ImageArray;
  /** The true classes, if they are known. */
  truth?: MaskArray;
  /** The predicted classes. */
  prediction: MaskArray;
  /** A word or two below the image, such as its name. */
  caption?: string;
}

const blue = "#1f6feb";
const green = "#1a7f37";
const orange = "#bc4c00";
const purple = "#8250df";

/**
 * The curves of a run as SVG: loss, mIoU, pixel accuracy, learning rate and waiting for data over the steps.
 *
 * Read from the records, where they are: `loss`, `lossLabeled`, `lossUnlabeled`, `lr`, `meanIoU`, `pixelAccuracy`,
 * `dataWait`.
 *
 * @param records The lines of the metrics file.
 * @param options Heading, a line below it, and steps to mark, for example where the memory is first read.
 */
export function curvesSvg(
  records: readonly MetricsRecord[],
  { title, subtitle, marks = [] }: {
    title: string;
    subtitle: string;
    marks?: { x: number; label: string }[];
  },
): string {
  const series = (key: string, label: string, color: string, look: Partial<Series>): Series => ({
    label,
    color,
    points: records.flatMap((record) => typeof record[key] === "number" ? [[record.step, record[key]]] : []),
    ...look,
  });
  const decimals = (digits: number) => (value: number): string => value.toFixed(digits);
  const percents = (value: number): string => `${Number((value * 100).toFixed(1))} %`;
  const panels: Panel[] = [
    {
      title: "Loss",
      height: 300,
      format: decimals(2),
      fromZero: true,
      series: [
        series("loss", "total", blue, { smooth: true }),
        series("lossLabeled", "labeled", orange, { smooth: true }),
        series("lossUnlabeled", "unlabeled", purple, { smooth: true }),
      ],
    },
    {
      title: "Validation",
      height: 260,
      format: percents,
      fromZero: true,
      series: [
        series("meanIoU", "mIoU", green, { dots: true }),
        series("pixelAccuracy", "pixels right", "#8c959f", { dots: true }),
      ],
    },
    {
      title: "Learning rate",
      height: 110,
      format: (value) =>
        value === 0 || value >= 1e-3 ? String(Number(value.toPrecision(2))) : value.toExponential(1),
      fromZero: true,
      series: [series("lr", "", "#57606a", {})],
    },
    {
      title: "Share of time spent waiting for data",
      height: 110,
      format: percents,
      fromZero: true,
      series: [series("dataWait", "", "#57606a", { smooth: true })],
    },
  ];
  return lineChart({ title, subtitle, xLabel: "step", panels, marks });
}

/**
 * The curves of a run as a PNG file; see {@linkcode curvesSvg}.
 *
 * @returns The bytes of the file.
 */
export async function drawCurves(
  records: readonly MetricsRecord[],
  options: { title: string; subtitle: string; marks?: { x: number; label: string }[] },
): Promise<Uint8Array<ArrayBuffer>> {
  return await renderSvg(curvesSvg(records, options));
}

/**
 * Renders SVG as PNG, with the package's own font where the machine has none.
 *
 * @param svg The text of an SVG file.
 * @returns The bytes of a PNG file.
 */
export async function renderSvg(svg: string): Promise<Uint8Array<ArrayBuffer>> {
  prepareFont();
  return new Uint8Array(await sharp(Buffer.from(svg)).png().toBuffer());
}

const panelWidth = 400;
const margin = 32;
const space = 12;
const headHeight = 92;
const captionHeight = 26;
const legendLine = 28;
const unlabeledColor: Color = [236, 236, 236];

/**
 * Draws images beside their truth and prediction, with a legend of the classes that occur.
 *
 * @param comparisons One row per image.
 * @param options The classes, a heading and a line below it.
 * @returns The bytes of a PNG file.
 */
export async function drawComparisons(
  comparisons: readonly Comparison[],
  { classes, title, subtitle }: { classes: readonly ClassInfo[]; title: string; subtitle: string },
): Promise<Uint8Array<ArrayBuffer>> {
  prepareFont();
  const withTruth = comparisons.some(({ truth }) => truth !== undefined);
  const columns = withTruth ? ["image", "truth", "prediction"] : ["image", "prediction"];
  const width = 2 * margin + columns.length * panelWidth + (columns.length - 1) * space;
  const columnLeft = (j: number): number => margin + j * (panelWidth + space);
  const texts = [
    text(margin, 40, title, 22, "#1f2328"),
    text(margin, 64, subtitle, 13, "#6e7781"),
    ...columns.map((name, j) => text(columnLeft(j), headHeight, name, 14, "#1f2328")),
  ];
  const rasters: { image: ImageArray; left: number; top: number }[] = [];
  let top = headHeight + 12;
  for (const { image, truth, prediction, caption = "" } of comparisons) {
    const size: Size = [panelWidth, Math.max(1, Math.round(panelWidth * image.height / image.width))];
    const scaled = await resize(image, size);
    const painted = (mask: MaskArray | undefined): ImageArray | undefined =>
      mask && paint(scaled, resizeNearest(mask, size), classes);
    const panels = [scaled, ...(withTruth ? [painted(truth)] : []), painted(prediction)];
    panels.forEach((panel, j) => panel && rasters.push({ image: panel, left: columnLeft(j), top }));
    texts.push(text(margin, top + size[1] + 17, caption, 12, "#6e7781"));
    top += size[1] + captionHeight;
  }
  const legend = drawLegend(occurring(comparisons, classes), {
    left: margin,
    top: top + 8,
    width: width - 2 * margin,
  });
  const height = legend.bottom + margin - 8;
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
    `font-family="${fontFamily}">${[...texts, ...legend.parts].join("\n")}</svg>`;
  const canvas = sharp({ create: { width, height, channels: 3, background: "#ffffff" } }).composite([
    { input: Buffer.from(svg), left: 0, top: 0 },
    ...rasters.map(({ image, left, top }) => ({
      input: Buffer.from(image.data.buffer),
      raw: rawInfo(image),
      left,
      top,
    })),
  ]);
  return new Uint8Array(await canvas.png().toBuffer());
}

/**
 * A prediction as two PNG files: the classes as a palette picture whose indices are the class ids, and the image with
 * the colours laid over it.
 */
export async function encodePrediction(
  image: ImageArray,
  prediction: MaskArray,
  classes: readonly ClassInfo[],
): Promise<{ mask: Uint8Array<ArrayBuffer>; overlay: Uint8Array<ArrayBuffer> }> {
  const overlay = paint(image, prediction, classes);
  return {
    mask: encodeMask(prediction, classes.map(({ color }) => color)),
    overlay: new Uint8Array(await sharp(overlay.data, { raw: rawInfo(overlay) }).png().toBuffer()),
  };
}

/** The image under its classes' colours, with a light line where two classes meet. */
function paint(image: ImageArray, mask: MaskArray, classes: readonly ClassInfo[]): ImageArray {
  const colors = classes.map(({ color }) => color);
  const allColors = Array.from(
    { length: ignoreIndex + 1 },
    (_, id) => colors[id] ?? [128, 128, 128] as const,
  );
  const painted = overlayMask(image, mask, allColors, 0.65);
  const { width, height, data: ids } = mask;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const edge = (x + 1 < width && ids[i] !== ids[i + 1]) || (y + 1 < height && ids[i] !== ids[i + width]);
      if (!edge) continue;
      for (let c = i * 3; c < i * 3 + 3; c++) painted.data[c] = (painted.data[c]! + 255) >> 1;
    }
  }
  return painted;
}

async function resize(image: ImageArray, [width, height]: Size): Promise<ImageArray> {
  const data = await sharp(image.data, { raw: rawInfo(image) })
    .resize(width, height, { fit: "fill", kernel: "lanczos3" }).raw().toBuffer();
  return { width, height, data: new Uint8Array(data) };
}

function rawInfo({ width, height }: ImageArray): { width: number; height: number; channels: 3 } {
  return { width, height, channels: 3 };
}

/** The classes that some truth or prediction holds, and "no label" if some truth has unlabeled pixels. */
function occurring(comparisons: readonly Comparison[], classes: readonly ClassInfo[]): ClassInfo[] {
  const ids = new Set<number>();
  for (const { truth, prediction } of comparisons) {
    for (const id of prediction.data) ids.add(id);
    for (const id of truth?.data ?? []) ids.add(id);
  }
  const found = classes.filter((_, id) => ids.has(id));
  return ids.has(ignoreIndex) ? [...found, { name: "no label", color: unlabeledColor }] : found;
}

/** Colour chips with names, in as many lines as they need. */
function drawLegend(
  classes: readonly ClassInfo[],
  { left, top, width }: { left: number; top: number; width: number },
): { parts: string[]; bottom: number } {
  const parts: string[] = [];
  let x = left;
  let y = top;
  for (const { name, color } of classes) {
    // Letters of this font are on average a little over half as wide as high.
    const needed = 22 + name.length * 7.6 + 20;
    if (x > left && x + needed > left + width) {
      x = left;
      y += legendLine;
    }
    const fill = `rgb(${color.join(",")})`;
    parts.push(
      `<rect x="${x}" y="${y}" width="15" height="15" rx="3" fill="${fill}" stroke="#00000033"/>`,
      text(x + 22, y + 12.5, name, 13, "#1f2328"),
    );
    x += needed;
  }
  return { parts, bottom: y + legendLine };
}

function text(x: number, y: number, content: string, size: number, color: string): string {
  return `<text x="${x}" y="${y}" font-size="${size}" fill="${color}">${escapeXml(content)}</text>`;
}
