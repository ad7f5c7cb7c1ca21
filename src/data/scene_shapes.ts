/**
 * The shapes that scenes are drawn from: SVG outlines with a paint and, when they count, a class.
 *
 * A shape with a class is drawn twice, in the picture with its paint and in the mask with its class id; a shape
 * without a class is decoration on what lies under it (a window, a shadow) and is drawn in the picture only.
 *
 * @module
 */
import type { RandomStream } from "./random.ts";

/** One outline. */
export interface Shape {
  /** SVG element name and geometry attributes. */
  readonly outline: string;
  /** SVG paint attributes. */
  readonly paint: string;
  /** Class id in the mask; absent for decoration. */
  readonly id?: number;
}

/** Red, green and blue, 0 to 255. */
export type Rgb = readonly [number, number, number];

/** A point in pixels. */
export type Point = readonly [x: number, y: number];

const text = (value: number): string => value.toFixed(2);

/** A closed polygon. */
export function polygon(points: readonly Point[]): string {
  return `polygon points="${points.map(([x, y]) => `${text(x)},${text(y)}`).join(" ")}"`;
}

/** A rectangle, with rounded corners of radius `round`. */
export function rectangle(x: number, y: number, width: number, height: number, round = 0): string {
  return `rect x="${text(x)}" y="${text(y)}" width="${text(width)}" height="${text(height)}" rx="${
    text(round)
  }"`;
}

/** An ellipse. */
export function ellipse(x: number, y: number, radiusX: number, radiusY = radiusX): string {
  return `ellipse cx="${text(x)}" cy="${text(y)}" rx="${text(radiusX)}" ry="${text(radiusY)}"`;
}

/** Separate line segments. */
export function strokes(segments: readonly (readonly [Point, Point])[]): string {
  const path = segments.map(([[x0, y0], [x1, y1]]) => `M${text(x0)} ${text(y0)}L${text(x1)} ${text(y1)}`);
  return `path d="${path.join("")}"`;
}

/** A colour as SVG writes it, with optional opacity. */
export function fill(color: Rgb, opacity = 1): string {
  return `fill="${cssColor(color)}" fill-opacity="${text(opacity)}"`;
}

/** Lines of a colour. */
export function line(color: Rgb, width: number, opacity = 1): string {
  return `fill="none" stroke="${cssColor(color)}" stroke-width="${text(width)}" stroke-opacity="${
    text(opacity)
  }"`;
}

/** A colour as SVG writes it. */
export function cssColor(color: Rgb): string {
  return `rgb(${color.map((value) => Math.round(Math.min(255, Math.max(0, value)))).join(",")})`;
}

/** A colour made lighter (above 1) or darker. */
export function shade([red, green, blue]: Rgb, factor: number): Rgb {
  return [red * factor, green * factor, blue * factor];
}

/** A colour part of the way from one to another. */
export function mix(from: Rgb, to: Rgb, share: number): Rgb {
  const between = (channel: 0 | 1 | 2): number => from[channel] + (to[channel] - from[channel]) * share;
  return [between(0), between(1), between(2)];
}

/** One element of a list. */
export function pick<T>(random: RandomStream, list: readonly T[]): T {
  return list[random.integer(0, list.length - 1)]!;
}

/** A colour near one of a palette: each channel moves by at most `spread`. */
export function near(random: RandomStream, palette: readonly Rgb[], spread = 18): Rgb {
  const [red, green, blue] = pick(random, palette);
  const vary = (value: number): number => value + random.uniform(-spread, spread);
  return [vary(red), vary(green), vary(blue)];
}

/** Short random lines within a rectangle, as texture. */
export function scratches(
  random: RandomStream,
  area: { x: number; y: number; width: number; height: number },
  options: { count: number; length: number; slope: number },
): string {
  const segments = Array.from({ length: options.count }, (): [Point, Point] => {
    const x = area.x + random.uniform() * area.width;
    const y = area.y + random.uniform() * area.height;
    const turn = random.uniform(-options.slope, options.slope);
    return [[x, y], [x + options.length * Math.sin(turn), y - options.length * Math.cos(turn)]];
  });
  return strokes(segments);
}
