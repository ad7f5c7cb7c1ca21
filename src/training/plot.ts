/**
 * Line charts as SVG: panels under each other that share the horizontal axis.
 *
 * @module
 */

import { escapeXml, fontFamily } from "./font.ts";

/** One curve. */
export interface Series {
  /** Its name, written at its end. */
  label: string;
  /** Its colour in SVG's words, such as `#1f6feb`. */
  color: string;
  /** Its points by rising x. */
  points: [x: number, y: number][];
  /** Draw a running mean, and the points themselves faintly behind it. */
  smooth?: boolean;
  /** Mark every point with a dot. */
  dots?: boolean;
}

/** One chart of a picture. */
export interface Panel {
  /** The heading. */
  title: string;
  /** The curves; a panel without points is left out. */
  series: Series[];
  /** How numbers on the vertical axis and at the ends of curves are written. */
  format: (value: number) => string;
  /** Height in pixels. */
  height: number;
  /** Let the vertical axis begin at zero. */
  fromZero?: boolean;
}

/** A whole picture. */
export interface Chart {
  /** The heading. */
  title: string;
  /** A line below the heading. */
  subtitle: string;
  /** The name of the horizontal axis. */
  xLabel: string;
  /** Panels from top to bottom. */
  panels: Panel[];
  /** Vertical lines through all panels, with what happens there. */
  marks?: { x: number; label: string }[];
}

const width = 1200;
const left = 84;
const right = 150;
const inner = width - left - right;
const headHeight = 96;
const gap = 44;
const footHeight = 68;
const ink = "#1f2328";
const soft = "#6e7781";
const gridColor = "#e6e9ed";

/**
 * Draws a chart.
 *
 * @returns The text of an SVG file.
 */
export function lineChart({ title, subtitle, xLabel, panels, marks = [] }: Chart): string {
  const shown = panels.filter(({ series }) => series.some(({ points }) => points.length > 0));
  const xs = shown.flatMap(({ series }) => series.flatMap(({ points }) => points.map(([x]) => x)));
  const x = scale(0, Math.max(1, xs.reduce((a, b) => Math.max(a, b), 0)), left, left + inner);
  const parts = [
    words(left, 44, title, { size: 24, color: ink }),
    words(left, 70, subtitle, { size: 14, color: soft }),
  ];
  let top = headHeight;
  shown.forEach((panel, i) => {
    const frame = { top: top + 28, bottom: top + 28 + panel.height };
    const last = i === shown.length - 1;
    parts.push(
      words(left, top + 10, panel.title, { size: 15, color: ink }),
      ...drawPanel(panel, frame, x, { xTicks: last }),
      ...marks.map((mark) => drawMark(mark, frame, x, { label: i === 0 })),
    );
    top = frame.bottom + gap;
  });
  parts.push(words(left + inner / 2, top - gap + 50, xLabel, { size: 13, color: soft, anchor: "middle" }));
  const height = top - gap + footHeight;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" ` +
    `viewBox="0 0 ${width} ${height}" font-family="${fontFamily}">\n` +
    `<rect width="${width}" height="${height}" fill="#ffffff"/>\n${parts.join("\n")}\n</svg>\n`;
}

interface Frame {
  top: number;
  bottom: number;
}

interface Scale {
  (value: number): number;
  min: number;
  max: number;
}

function scale(min: number, max: number, from: number, to: number): Scale {
  const map = (value: number): number => round(from + (value - min) / (max - min) * (to - from));
  return Object.assign(map, { min, max });
}

function drawPanel(panel: Panel, frame: Frame, x: Scale, { xTicks }: { xTicks: boolean }): string[] {
  const ys = panel.series.flatMap(({ points }) => points.map(([, y]) => y)).filter(Number.isFinite);
  const ticks = niceTicks(panel.fromZero ? 0 : Math.min(...extent(ys)), Math.max(...extent(ys)), 5);
  const y = scale(ticks[0]!, ticks.at(-1)!, frame.bottom, frame.top);
  const parts = ticks.map((tick) =>
    line([[left, y(tick)], [left + inner, y(tick)]], gridColor, 1) +
    words(left - 12, y(tick) + 4, panel.format(tick), { size: 12, color: soft, anchor: "end" })
  );
  for (const tick of niceTicks(0, x.max, 8).filter((tick) => tick <= x.max)) {
    parts.push(line([[x(tick), frame.bottom], [x(tick), frame.bottom + 5]], soft, 1));
    if (!xTicks) continue;
    parts.push(
      words(x(tick), frame.bottom + 22, tick.toLocaleString("en"), {
        size: 12,
        color: soft,
        anchor: "middle",
      }),
    );
  }
  const ends: { y: number; text: string; color: string }[] = [];
  for (const series of panel.series) {
    const finite = series.points.filter(([, value]) => Number.isFinite(value));
    if (finite.length === 0) continue;
    const thin = thinned(finite, inner);
    const curve = series.smooth ? runningMean(thin) : thin;
    const at = (points: [number, number][]): [number, number][] => points.map(([a, b]) => [x(a), y(b)]);
    if (series.smooth) parts.push(line(at(thin), series.color, 1, 0.25));
    parts.push(line(at(curve), series.color, 2.2));
    if (series.dots) {
      parts.push(...at(thin).map(([a, b]) => `<circle cx="${a}" cy="${b}" r="3.6" fill="${series.color}"/>`));
    }
    const value = curve.at(-1)![1];
    ends.push({ y: y(value), text: `${series.label} ${panel.format(value)}`.trim(), color: series.color });
  }
  return [
    ...parts,
    ...apart(ends).map((end) =>
      words(left + inner + 12, end.y + 4, end.text, { size: 13, color: end.color })
    ),
  ];
}

function drawMark(
  { x: at, label }: { x: number; label: string },
  frame: Frame,
  x: Scale,
  options: { label: boolean },
): string {
  if (at <= 0 || at >= x.max) return "";
  const rule = `<line x1="${x(at)}" y1="${frame.top}" x2="${x(at)}" y2="${frame.bottom}" stroke="${soft}" ` +
    `stroke-dasharray="4 4"/>`;
  return rule + (options.label ? words(x(at) + 6, frame.top + 12, label, { size: 12, color: soft }) : "");
}

function line(points: [number, number][], color: string, thickness: number, opacity = 1): string {
  const path = points.map(([x, y]) => `${x},${y}`).join(" ");
  return `<polyline points="${path}" fill="none" stroke="${color}" stroke-width="${thickness}" ` +
    `stroke-opacity="${opacity}" stroke-linejoin="round" stroke-linecap="round"/>`;
}

function words(
  x: number,
  y: number,
  content: string,
  { size, color, anchor = "start" }: { size: number; color: string; anchor?: "start" | "middle" | "end" },
): string {
  return `<text x="${x}" y="${y}" font-size="${size}" fill="${color}" text-anchor="${anchor}">${
    escapeXml(content)
  }</text>`;
}

/** Round numbers (1, 2, 2.5 or 5 times a power of ten apart) from below `min` to above `max`. */
export function niceTicks(min: number, max: number, count: number): number[] {
  const span = max > min ? max - min : Math.abs(max) || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough)!;
  const first = Math.floor(min / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(max / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** The least and the greatest value; of no values, 0 and 1. */
function extent(values: number[]): [number, number] {
  if (values.length === 0) return [0, 1];
  return [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
}

/** At most about `count` points: neighbours are replaced by their mean, the last point stays. */
function thinned(points: [number, number][], count: number): [number, number][] {
  const size = Math.ceil(points.length / count);
  if (size <= 1) return points;
  const result: [number, number][] = [];
  for (let i = 0; i < points.length; i += size) {
    const part = points.slice(i, i + size);
    result.push([part.at(-1)![0], part.reduce((sum, [, y]) => sum + y, 0) / part.length]);
  }
  return result;
}

/** The mean of each point with its neighbours, over a fortieth of the curve on each side. */
function runningMean(points: [number, number][]): [number, number][] {
  const reach = Math.floor(points.length / 40);
  return points.map(([x], i) => {
    const part = points.slice(Math.max(0, i - reach), i + reach + 1);
    return [x, part.reduce((sum, [, y]) => sum + y, 0) / part.length];
  });
}

/** Moves labels down until no two overlap. */
function apart<T extends { y: number }>(labels: T[]): T[] {
  const sorted = [...labels].sort((a, b) => a.y - b.y);
  let free = -Infinity;
  return sorted.map((label) => {
    const y = Math.max(label.y, free);
    free = y + 17;
    return { ...label, y };
  });
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}
