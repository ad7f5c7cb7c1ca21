/** What stands in a scene: houses, trees, cars, people, and clutter that is background. @module */
import type { RandomStream } from "./random.ts";
import {
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

/** Class ids of the scenes. */
export const sceneClass = {
  background: 0,
  sky: 1,
  ground: 2,
  road: 3,
  house: 4,
  tree: 5,
  car: 6,
  person: 7,
} as const;

/** Where an object stands: the middle of its foot, and how tall it is (for a car, how long). */
export interface Place {
  /** Column in pixels. */
  readonly x: number;
  /** Row in pixels. */
  readonly y: number;
  /** Height (length of a car) in pixels. */
  readonly size: number;
}

/** A function that draws an object at a place. */
export type ObjectPainter = (place: Place, random: RandomStream) => Shape[];

const glass: Rgb = [70, 90, 110];
const walls: readonly Rgb[] = [[222, 214, 196], [176, 92, 70], [196, 160, 96], [150, 160, 172], [
  206,
  150,
  130,
]];
const roofs: readonly Rgb[] = [[120, 52, 42], [74, 62, 62], [92, 74, 52], [60, 70, 86]];
const leaves: readonly Rgb[] = [[52, 104, 46], [76, 124, 52], [40, 82, 56], [150, 112, 40], [164, 82, 38]];
const carPaints: readonly Rgb[] = [[186, 32, 36], [34, 70, 158], [224, 224, 222], [40, 42, 48], [
  226,
  180,
  40,
]];
const clothes: readonly Rgb[] = [[200, 60, 60], [60, 80, 170], [230, 200, 70], [80, 150, 110], [
  150,
  70,
  150,
]];
const trousers: readonly Rgb[] = [[44, 50, 84], [60, 52, 46], [30, 30, 34], [110, 104, 90]];
const skins: readonly Rgb[] = [[232, 190, 160], [190, 140, 104], [120, 82, 60]];

/** A soft dark patch under an object. */
function shadow({ x, y }: Place, halfWidth: number): Shape {
  return {
    outline: ellipse(x + halfWidth * 0.25, y, halfWidth * 1.15, halfWidth * 0.2),
    paint: fill([0, 0, 0], 0.3),
  };
}

/** A house: wall with bricks or boards, roof, door and windows. */
export function house(place: Place, random: RandomStream): Shape[] {
  const { x, y, size } = place;
  const id = sceneClass.house;
  const width = size * random.uniform(0.8, 1.5);
  const wallHeight = size * random.uniform(0.55, 0.72);
  const left = x - width / 2;
  const top = y - wallHeight;
  const wall = near(random, walls);
  const roof = near(random, roofs);
  const eaves = width * 0.08;
  const ridge: Point[] = random.chance(0.5)
    ? [[x, y - size]]
    : [[left + width * 0.2, y - size], [left + width * 0.8, y - size]];
  const shapes: Shape[] = [
    shadow(place, width * 0.55),
    { outline: rectangle(left, top, width, wallHeight), paint: fill(wall), id },
    {
      outline: brickLines(left, top, width, wallHeight, size * 0.07),
      paint: line(shade(wall, 0.75), size * 0.012, 0.7),
    },
    { outline: rectangle(x, top, width / 2, wallHeight), paint: fill([0, 0, 0], random.uniform(0, 0.22)) },
    { outline: polygon([[left - eaves, top], ...ridge, [left + width + eaves, top]]), paint: fill(roof), id },
  ];
  if (random.chance(0.6)) {
    const chimney = left + width * random.uniform(0.2, 0.3);
    shapes.unshift({
      outline: rectangle(chimney, y - size * 1.02, width * 0.1, size * 0.4),
      paint: fill(shade(roof, 0.8)),
      id,
    });
  }
  const lit = random.chance(0.25);
  const pane = lit ? [240, 214, 130] as const : glass;
  const columns = random.integer(2, 3);
  const paneSize = Math.min(wallHeight * 0.28, (width / columns) * 0.5);
  for (let column = 0; column < columns; column++) {
    const paneX = left + (width * (column + 0.5)) / columns - paneSize / 2;
    shapes.push({
      outline: rectangle(paneX, top + wallHeight * 0.14, paneSize, paneSize),
      paint: `${fill(pane)} stroke="rgb(235,235,230)" stroke-width="${(size * 0.015).toFixed(2)}"`,
    });
  }
  const doorX = left + width * random.uniform(0.15, 0.7);
  shapes.push({
    outline: rectangle(doorX, y - wallHeight * 0.46, width * 0.15, wallHeight * 0.46),
    paint: fill(shade(roof, 0.7)),
  });
  return shapes;
}

function brickLines(left: number, top: number, width: number, height: number, step: number): string {
  const rows = Math.max(1, Math.floor(height / step));
  return strokes(Array.from({ length: rows }, (_, row): [Point, Point] => {
    const y = top + (row + 0.5) * step;
    return [[left, y], [left + width, y]];
  }));
}

/** A tree: a trunk with either a crown of round masses or the tiers of a conifer. */
export function tree(place: Place, random: RandomStream): Shape[] {
  const { x, y, size } = place;
  const id = sceneClass.tree;
  const leaf = near(random, leaves);
  const trunkWidth = size * random.uniform(0.07, 0.12);
  const shapes: Shape[] = [
    shadow(place, size * 0.28),
    {
      outline: rectangle(x - trunkWidth / 2, y - size * 0.5, trunkWidth, size * 0.5),
      paint: fill(near(random, [[92, 68, 48], [70, 58, 50], [190, 186, 176]], 10)),
      id,
    },
  ];
  return [...shapes, ...(random.chance(0.4) ? conifer(place, leaf, random) : crown(place, leaf, random))];
}

function conifer({ x, y, size }: Place, leaf: Rgb, random: RandomStream): Shape[] {
  const halfWidth = size * random.uniform(0.2, 0.3);
  const tiers = random.integer(3, 4);
  return Array.from({ length: tiers }, (_, tier) => {
    const bottom = y - size * (0.12 + (0.62 * tier) / tiers);
    const reach = halfWidth * (1 - (0.7 * tier) / tiers);
    const top = tier === tiers - 1 ? y - size : bottom - size * 0.36;
    return {
      outline: polygon([[x - reach, bottom], [x, top], [x + reach, bottom]]),
      paint: fill(shade(leaf, 0.7 + 0.12 * tier)),
      id: sceneClass.tree,
    };
  });
}

function crown({ x, y, size }: Place, leaf: Rgb, random: RandomStream): Shape[] {
  const radius = size * random.uniform(0.2, 0.27);
  const centreY = y - size + radius * 1.35;
  const masses = Array.from({ length: 6 }, (_, i): Shape => {
    const angle = (i / 6) * 2 * Math.PI + random.uniform(-0.3, 0.3);
    const outline = ellipse(
      x + Math.cos(angle) * radius * 0.62,
      centreY + Math.sin(angle) * radius * 0.5,
      radius * 0.75,
    );
    return { outline, paint: fill(shade(leaf, 0.9 - 0.2 * Math.sin(angle))), id: sceneClass.tree };
  });
  const area = { x: x - radius, y: centreY - radius * 0.8, width: 2 * radius, height: 1.8 * radius };
  return [...masses, {
    outline: scratches(random, area, { count: 45, length: size * 0.035, slope: 1.5 }),
    paint: line(mix(leaf, [255, 255, 200], 0.3), size * 0.018, 0.6),
  }];
}

/** A car seen from the side: body, cabin, wheels, lights. */
export function car(place: Place, random: RandomStream): Shape[] {
  const { x, y, size } = place;
  const id = sceneClass.car;
  const paint = near(random, carPaints);
  const facing = random.chance(0.5) ? 1 : -1;
  const at = (along: number, up: number): Point => [x + facing * along * size, y - up * size];
  const cabinFront = random.uniform(0.16, 0.24);
  const roof = random.uniform(0.36, 0.44);
  const cabin = (inset: number): Point[] => [
    at(-0.3 + inset, 0.23),
    at(-0.2 + inset, roof - inset * 0.7),
    at(cabinFront - inset, roof - inset * 0.7),
    at(cabinFront + 0.14 - inset, 0.23),
  ];
  const wheel = size * 0.095;
  const wheels = [-0.29, 0.28].map((along) => at(along, 0.095));
  const body: Point[] = [at(-0.5, 0.08), at(-0.48, 0.25), at(0.36, 0.25), at(0.5, 0.19), at(0.5, 0.08)];
  return [
    shadow(place, size * 0.5),
    { outline: polygon(cabin(0)), paint: fill(shade(paint, 0.85)), id },
    { outline: polygon(cabin(0.035)), paint: fill(glass) },
    { outline: polygon(body), paint: fill(paint), id },
    { outline: strokes([[at(-0.46, 0.17), at(0.47, 0.15)]]), paint: line(shade(paint, 0.6), size * 0.014) },
    ...wheels.map(([wheelX, wheelY]) => ({
      outline: ellipse(wheelX, wheelY, wheel),
      paint: fill([28, 28, 30]),
      id,
    })),
    ...wheels.map(([wheelX, wheelY]) => ({
      outline: ellipse(wheelX, wheelY, wheel * 0.5),
      paint: fill([170, 170, 175]),
    })),
    { outline: ellipse(...at(0.46, 0.17), size * 0.022), paint: fill([255, 246, 200]) },
  ];
}

/** A person: head, trunk, two legs and two arms in some posture. */
export function person(place: Place, random: RandomStream): Shape[] {
  const { x, y, size } = place;
  const id = sceneClass.person;
  const shirt = near(random, clothes);
  const legs = near(random, trousers);
  const skin = near(random, skins, 8);
  const stride = random.uniform(0.05, 0.16) * size;
  const limb = (from: Point, to: Point, width: number): string => {
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    const length = Math.hypot(dx, dy);
    const [sideX, sideY] = [(-dy / length) * width * size, (dx / length) * width * size];
    return polygon([
      [from[0] + sideX, from[1] + sideY],
      [to[0] + sideX, to[1] + sideY],
      [to[0] - sideX, to[1] - sideY],
      [from[0] - sideX, from[1] - sideY],
    ]);
  };
  const hip: Point = [x, y - size * 0.46];
  const arm = (side: number): Shape => {
    const reach = random.uniform(0.12, 0.26) * size;
    const hand: Point = [x + side * reach, y - size * random.uniform(0.42, 0.66)];
    return {
      outline: limb([x + side * size * 0.09, y - size * 0.78], hand, 0.038),
      paint: fill(shade(shirt, 0.85)),
      id,
    };
  };
  return [
    shadow(place, size * 0.2),
    { outline: limb(hip, [x - stride, y], 0.062), paint: fill(legs), id },
    { outline: limb(hip, [x + stride, y], 0.062), paint: fill(shade(legs, 0.85)), id },
    arm(-1),
    arm(1),
    {
      outline: rectangle(x - size * 0.125, y - size * 0.84, size * 0.25, size * 0.42, size * 0.05),
      paint: fill(shirt),
      id,
    },
    { outline: ellipse(x, y - size * 0.91, size * 0.085, size * 0.09), paint: fill(skin), id },
    { outline: ellipse(x, y - size * 0.955, size * 0.075, size * 0.04), paint: fill(shade(legs, 0.7)) },
  ];
}

/** Something that belongs to no class: a rock, a crate, a board on a post or a pole. */
export function clutter(place: Place, random: RandomStream): Shape[] {
  const { x, y, size } = place;
  const id = sceneClass.background;
  const color = near(random, [[120, 116, 110], [150, 110, 70], [200, 120, 40], [90, 110, 130]], 25);
  const kind = pick(random, ["rock", "crate", "board", "pole"] as const);
  const foot = shadow(place, size * 0.35);
  switch (kind) {
    case "rock": {
      const points = Array.from({ length: 7 }, (_, i): Point => {
        const angle = Math.PI * (1 + i / 6);
        const reach = size * random.uniform(0.38, 0.55);
        return [x + Math.cos(angle) * reach, y + Math.sin(angle) * reach];
      });
      return [foot, { outline: polygon(points), paint: fill(color), id }];
    }
    case "crate":
      return [
        foot,
        {
          outline: rectangle(x - size * 0.35, y - size * 0.6, size * 0.7, size * 0.6),
          paint: fill(color),
          id,
        },
        {
          outline: strokes([[[x - size * 0.35, y], [x + size * 0.35, y - size * 0.6]]]),
          paint: line(shade(color, 0.6), size * 0.05),
        },
      ];
    case "board":
      return [
        { outline: rectangle(x - size * 0.03, y - size, size * 0.06, size), paint: fill([90, 90, 94]), id },
        {
          outline: rectangle(x - size * 0.26, y - size, size * 0.52, size * 0.4, size * 0.04),
          paint: fill(color),
          id,
        },
      ];
    case "pole":
      return [
        {
          outline: rectangle(x - size * 0.035, y - size * 1.6, size * 0.07, size * 1.6),
          paint: fill([84, 86, 90]),
          id,
        },
        { outline: ellipse(x, y - size * 1.6, size * 0.1), paint: fill([240, 230, 190]), id },
      ];
  }
}
