import { assertEquals } from "@std/assert";
import { contiguousStrides } from "../src/compiler/affine.ts";
import { type Combine, type Expr, type Fold, points } from "../src/compiler/kernel.ts";
import { rowsAbreast } from "../src/webgpu/abreast.ts";
import { planFold } from "../src/webgpu/fold_plan.ts";
import { simplifyFold } from "../src/webgpu/simplify.ts";
import { binary, constant, form, load, reduced } from "./support/kernels.ts";
import { check, noise, webgpuTest } from "./support/webgpu.ts";

/** What a window kernel is about: images `[images, channels, height, width]` and windows of three by three. */
interface Windows {
  readonly sizes: readonly [images: number, channels: number, height: number, width: number];
  /** Whether the channels lie side by side in memory. */
  readonly channelsLast: boolean;
  readonly stride?: number;
  readonly dilation?: number;
  readonly combine?: Combine;
}

/** Addresses of the elements of an image. */
function stridesOf({ sizes: [, c, h, w], channelsLast }: Windows): [number, number, number, number] {
  return channelsLast ? [c * h * w, 1, w * c, c] : [c * h * w, h * w, w, 1];
}

/** A depthwise convolution with a border of zeros (or of what the extremum ignores). */
function depthwise(windows: Windows): Fold {
  const { sizes: [n, c, h, w], stride = 1, dilation = 1, combine = "sum" } = windows;
  const [height, width] = [Math.ceil(h / stride), Math.ceil(w / stride)];
  const [image, channel, row, column] = stridesOf(windows);
  const x: Expr = {
    kind: "load",
    dtype: "f32",
    input: 0,
    at: form(
      [image, channel, stride * row, stride * column, dilation * row, dilation * column],
      -dilation * (row + column),
    ),
    guards: [
      { form: form([0, 0, stride, 0, dilation, 0], -dilation), size: h },
      { form: form([0, 0, 0, stride, 0, dilation], -dilation), size: w },
    ],
    fill: combine === "max" ? -Infinity : 0,
  };
  // The compiler arranges weights as the channels are.
  const weights = form(windows.channelsLast ? [0, 1, 0, 0, 3 * c, c] : [0, 9, 0, 0, 3, 1]);
  const value = combine === "max" ? x : binary("mul", x, load(1, weights));
  const axes = [n, c, height, width];
  const out = windows.channelsLast ? [c * height * width, 1, width * c, c] : contiguousStrides(axes);
  return {
    kind: "fold",
    label: `${combine} of windows ${JSON.stringify(windows)}`,
    inputs: ["f32", "f32"],
    outputs: ["f32"],
    axes,
    stages: [{ combine, axes: [3, 3], dtype: "f32", value }],
    stores: [{ output: 0, at: form(out), axes: [], value: reduced(0) }],
  };
}

/** The gradient of its weights: rows are channels and taps, and the walk goes through the image. */
function weightGradient(windows: Windows): Fold {
  const { sizes: [n, c, h, w] } = windows;
  const [image, channel, row, column] = stridesOf(windows);
  const x: Expr = {
    kind: "load",
    dtype: "f32",
    input: 0,
    at: form([channel, row, column, image, row, column], -row - column),
    guards: [
      { form: form([0, 1, 0, 0, 1, 0], -1), size: h },
      { form: form([0, 0, 1, 0, 0, 1], -1), size: w },
    ],
    fill: 0,
  };
  return {
    kind: "fold",
    label: `weights of ${JSON.stringify(windows)}`,
    inputs: ["f32", "f32"],
    outputs: ["f32"],
    axes: [c, 3, 3],
    stages: [{
      combine: "sum",
      axes: [n, h, w],
      dtype: "f32",
      value: binary("mul", x, load(1, form([channel, 0, 0, image, row, column]))),
    }],
    stores: [{ output: 0, at: form([9, 3, 1]), axes: [], value: reduced(0) }],
  };
}

const cases: readonly Windows[] = [
  { sizes: [2, 16, 13, 16], channelsLast: false },
  { sizes: [2, 16, 13, 16], channelsLast: true },
  { sizes: [1, 64, 7, 11], channelsLast: true },
  { sizes: [1, 64, 7, 11], channelsLast: false },
  { sizes: [2, 128, 3, 2], channelsLast: true },
  { sizes: [2, 32, 16, 12], channelsLast: false, dilation: 2 },
  { sizes: [2, 32, 17, 12], channelsLast: true, stride: 2 },
  { sizes: [2, 32, 9, 16], channelsLast: false, stride: 2 },
  { sizes: [2, 32, 9, 10], channelsLast: true, combine: "max" },
];

webgpuTest("windows that overlap are read together", async (device) => {
  for (const windows of cases) {
    const [n, c, h, w] = windows.sizes;
    const kernel = depthwise(windows);
    const x = noise(n * c * h * w, 5);
    await check(device, kernel, [x, noise(9 * c, 6)], [points(kernel.axes)], 1e-5, 1);
    if (windows.stride !== undefined || windows.dilation !== undefined) continue;
    await check(device, weightGradient(windows), [x, noise(n * c * h * w, 7)], [9 * c], 1e-5, 1);
  }
});

Deno.test("rows are walked together where their windows overlap most, and few rows alone", () => {
  const countsOf = (kernel: Fold): readonly number[] => {
    const simple = simplifyFold(kernel);
    return rowsAbreast(simple, planFold(simple, 64), "software").counts;
  };
  const large = [4, 256, 32, 32] as const;
  // Along a row four neighbours are one load, so that rows below one another are what is left to share.
  assertEquals(countsOf(depthwise({ sizes: large, channelsLast: false })), [1, 1, 4, 1]);
  assertEquals(countsOf(depthwise({ sizes: large, channelsLast: true })), [1, 1, 2, 2]);
  assertEquals(countsOf(weightGradient({ sizes: large, channelsLast: true })), [1, 3, 3]);
  // 32 invocations are too few to have fewer.
  assertEquals(countsOf(depthwise({ sizes: [1, 4, 4, 2], channelsLast: true })), [1, 1, 1]);
});

Deno.test("walks of no places, and of no loads, are no reason to walk rows together", () => {
  const fold = (axes: readonly number[], value: Expr): Fold => ({
    kind: "fold",
    label: "fold",
    inputs: ["f32"],
    outputs: ["f32"],
    axes: [400],
    stages: [{ combine: "sum", axes, dtype: "f32", value }],
    stores: [{ output: 0, at: form([1]), axes: [], value: reduced(0) }],
  });
  for (const kernel of [fold([3e7, 0], load(0, form([1, 3, 5]))), fold([3, 3], constant(2))]) {
    assertEquals(rowsAbreast(kernel, planFold(kernel, 64), "software").counts, [1]);
  }
});
