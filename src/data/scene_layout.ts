/** How a scene is put together: a backdrop of sky, hills, ground and road, and objects from far to near. @module */
import type { RandomStream } from "./random.ts";
import {
  car,
  clutter,
  house,
  type ObjectPainter,
  person,
  type Place,
  sceneClass,
  tree,
} from "./scene_objects.ts";
import {
  cssColor,
  ellipse,
  fill,
  line,
  mix,
  near,
  pick,
  type Point,
  polygon,
  rectangle,
  type Rgb,
  scratches,
  shade,
  type Shape,
  strokes,
} from "./scene_shapes.ts";

/** A scene before it is drawn. */
export interface Layout {
  /** SVG definitions that paints refer to. */
  readonly definitions: string;
  /** Shapes from far to near. */
  readonly shapes: readonly Shape[];
  /** The light that lies over everything. */
  readonly light: Light;
}

/** The light of a scene. */
export interface Light {
  /** Colour that everything is mixed with. */
  readonly tint: Rgb;
  /** Share of that colour. */
  readonly strength: number;
  /** Factor of all values. */
  readonly gain: number;
}

interface Sky {
  readonly top: Rgb;
  readonly bottom: Rgb;
  readonly tint: Rgb;
  readonly gain: number;
}

const skies: readonly Sky[] = [
  { top: [84, 146, 222], bottom: [190, 220, 244], tint: [255, 250, 235], gain: 1 },
  { top: [150, 158, 168], bottom: [206, 210, 214], tint: [170, 176, 186], gain: 0.92 },
  { top: [86, 92, 150], bottom: [246, 170, 112], tint: [255, 150, 90], gain: 0.9 },
  { top: [20, 26, 54], bottom: [60, 70, 110], tint: [40, 54, 110], gain: 0.72 },
  { top: [210, 214, 216], bottom: [232, 232, 228], tint: [222, 224, 226], gain: 1.02 },
];

const grounds: readonly Rgb[] = [[104, 142, 62], [134, 148, 70], [182, 158, 104], [222, 226, 232], [
  118,
  98,
  72,
]];
const roads: readonly Rgb[] = [[92, 92, 98], [116, 112, 108], [152, 134, 112], [70, 72, 80]];
const hills: readonly Rgb[] = [[98, 124, 134], [86, 108, 92], [128, 118, 124], [150, 160, 176]];

/**
 * Puts a scene together.
 *
 * @param width Width in pixels.
 * @param height Height in pixels.
 * @param difficulty 0 to 1: more of it means stranger light, more clutter and less tidy sizes.
 * @param random Where the random numbers come from.
 * @returns Shapes and light.
 */
export function layOut(width: number, height: number, difficulty: number, random: RandomStream): Layout {
  // On an easy set most scenes lie in daylight; on a hard one every sky is as likely.
  const sky = random.chance(0.25 + 0.75 * difficulty) ? pick(random, skies) : skies[0]!;
  const horizon = height * random.uniform(0.3, 0.46);
  const frame: Frame = { width, height, horizon };
  const definitions = `<linearGradient id="sky" x1="0" y1="0" x2="0" y2="1"><stop offset="0" stop-color="${
    cssColor(sky.top)
  }"/><stop offset="1" stop-color="${cssColor(sky.bottom)}"/></linearGradient>`;
  return {
    definitions,
    shapes: [
      ...drawSky(frame, sky, random),
      ...drawHills(frame, sky, random),
      ...drawGround(frame, random),
      ...drawRoad(frame, random),
      ...placeObjects(frame, difficulty, random),
    ],
    light: {
      tint: sky.tint,
      strength: random.uniform(0.02, 0.12 + 0.26 * difficulty),
      gain: sky.gain * random.uniform(1 - 0.3 * difficulty, 1 + 0.15 * difficulty),
    },
  };
}

interface Frame {
  readonly width: number;
  readonly height: number;
  readonly horizon: number;
}

function drawSky({ width, height, horizon }: Frame, sky: Sky, random: RandomStream): Shape[] {
  const shapes: Shape[] = [{
    outline: rectangle(0, 0, width, height),
    paint: `fill="url(#sky)"`,
    id: sceneClass.sky,
  }];
  if (random.chance(0.4)) {
    const radius = height * random.uniform(0.03, 0.06);
    const [x, y] = [random.uniform(0, width), random.uniform(0, horizon * 0.6)];
    shapes.push({ outline: ellipse(x, y, radius), paint: fill([255, 244, 200], 0.9) });
  }
  const cloud = mix(sky.bottom, [255, 255, 255], 0.6);
  const clouds = random.integer(0, 4);
  for (let i = 0; i < clouds; i++) {
    const [x, y] = [random.uniform(0, width), random.uniform(0, horizon * 0.8)];
    const size = width * random.uniform(0.05, 0.13);
    for (let puff = -1; puff <= 1; puff++) {
      const radius = size * (puff === 0 ? 0.6 : 0.42);
      shapes.push({
        outline: ellipse(x + puff * size * 0.6, y, radius * 1.2, radius * 0.6),
        paint: fill(cloud, 0.65),
      });
    }
  }
  return shapes;
}

/** Rolling hills or pointed mountains in one or two ranges; far things take the colour of the air. */
function drawHills({ width, height, horizon }: Frame, sky: Sky, random: RandomStream): Shape[] {
  const pointed = random.chance(0.4);
  const ranges = random.integer(1, 2);
  return Array.from({ length: ranges }, (_, range): Shape => {
    const color = mix(near(random, hills), sky.bottom, range === ranges - 1 ? 0.15 : 0.4);
    const steps = pointed ? 7 : 24;
    const [phase, waves] = [random.uniform(0, 6), random.uniform(1.2, 2.6)];
    const rise = height * random.uniform(0.08, 0.17) * (ranges - range * 0.4);
    const ridge = Array.from({ length: steps + 1 }, (_, i): Point => {
      const share = i / steps;
      const wave = pointed
        ? (i % 2 === 0 ? random.uniform(0.1, 0.4) : random.uniform(0.6, 1))
        : 0.55 + 0.45 * Math.sin(phase + share * waves * 2 * Math.PI);
      return [share * width, horizon - rise * wave];
    });
    const outline = polygon([[0, horizon + 2], ...ridge, [width, horizon + 2]]);
    return { outline, paint: fill(color), id: sceneClass.background };
  });
}

function drawGround({ width, height, horizon }: Frame, random: RandomStream): Shape[] {
  const color = near(random, grounds);
  const area = { x: 0, y: horizon + 2, width, height: height - horizon };
  const texture = (tone: Rgb): Shape => ({
    outline: scratches(random, area, {
      count: 130,
      length: height * random.uniform(0.015, 0.04),
      slope: 0.6,
    }),
    paint: line(tone, height * 0.008, 0.55),
  });
  return [
    { outline: rectangle(0, horizon, width, height - horizon), paint: fill(color), id: sceneClass.ground },
    texture(shade(color, 0.78)),
    texture(shade(color, 1.18)),
  ];
}

/** A road towards the horizon or across the picture. */
function drawRoad(frame: Frame, random: RandomStream): Shape[] {
  return random.chance(0.6) ? roadAhead(frame, random) : roadAcross(frame, random);
}

function roadAhead({ width, height, horizon }: Frame, random: RandomStream): Shape[] {
  const color = near(random, roads, 10);
  const far = width * random.uniform(0.3, 0.7);
  const close = width * random.uniform(0.2, 0.8);
  const halfWidth = width * random.uniform(0.22, 0.4);
  const across = (share: number, side: number): Point => {
    const x = far + (close - far) * share + side * (halfWidth * share + width * 0.012);
    return [x, horizon + (height - horizon) * share];
  };
  const dashes = [0.12, 0.3, 0.55, 0.85].map((share): Shape => {
    const end = share + 0.12;
    const outline = polygon([
      across(share, -0.03),
      across(share, 0.03),
      across(end, 0.03),
      across(end, -0.03),
    ]);
    return { outline, paint: fill([232, 230, 214], 0.85) };
  });
  const outline = polygon([across(0, -1), across(0, 1), across(1, 1), across(1, -1)]);
  return [{ outline, paint: fill(color), id: sceneClass.road }, ...dashes];
}

function roadAcross({ width, height, horizon }: Frame, random: RandomStream): Shape[] {
  const color = near(random, roads, 10);
  const thickness = (height - horizon) * random.uniform(0.26, 0.42);
  const left = horizon + (height - horizon) * random.uniform(0.3, 0.62);
  const right = left + height * random.uniform(-0.07, 0.07);
  const dashes = [0.05, 0.25, 0.45, 0.65, 0.85].map((share): [Point, Point] => {
    const y = (at: number): number => left + (right - left) * at + thickness / 2;
    return [[share * width, y(share)], [(share + 0.1) * width, y(share + 0.1)]];
  });
  return [
    {
      outline: polygon([[0, left], [width, right], [width, right + thickness], [0, left + thickness]]),
      paint: fill(color),
      id: sceneClass.road,
    },
    { outline: strokes(dashes), paint: line([232, 230, 214], thickness * 0.06, 0.85) },
  ];
}

interface Kind {
  readonly paint: ObjectPainter;
  /** Fewest and most of it in one scene. */
  readonly count: readonly [number, number];
  /** Smallest and largest size at the front, as a share of the picture's height. */
  readonly size: readonly [number, number];
  /** Nearest and farthest place of its foot: 0 is the horizon, 1 the lower border. */
  readonly depth: readonly [number, number];
}

function kinds(difficulty: number): readonly Kind[] {
  return [
    { paint: house, count: [1, 2], size: [0.55, 0.85], depth: [0.08, 0.5] },
    { paint: tree, count: [1, 3], size: [0.6, 1], depth: [0.1, 0.75] },
    { paint: car, count: [1, 2], size: [0.4, 0.62], depth: [0.35, 0.95] },
    { paint: person, count: [1, 3], size: [0.42, 0.62], depth: [0.4, 1] },
    { paint: clutter, count: [0, 1 + Math.round(4 * difficulty)], size: [0.16, 0.26], depth: [0.2, 1] },
  ];
}

function placeObjects({ width, height, horizon }: Frame, difficulty: number, random: RandomStream): Shape[] {
  const placed: { place: Place; paint: ObjectPainter }[] = [];
  for (const { paint, count, size, depth } of kinds(difficulty)) {
    const several = random.integer(...count);
    for (let i = 0; i < several; i++) {
      const share = random.uniform(...depth);
      const perspective = 0.45 + 0.55 * share;
      placed.push({
        paint,
        place: {
          x: random.uniform(0.04, 0.96) * width,
          y: horizon + (height - horizon) * share,
          size: height * random.uniform(...size) * perspective,
        },
      });
    }
  }
  return placed.sort((a, b) => a.place.y - b.place.y).flatMap(({ paint, place }) => paint(place, random));
}
