/** Segmenting images: many sizes in one program, large images in windows, and what goes on when one image fails. */
import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { initModel, type Model, segment, type StepConfig } from "../models/mod.ts";
import { conv2d, random, tensor } from "../ops/mod.ts";
import { normalize } from "../src/data/augment.ts";
import type { WholeImage } from "../src/data/batch.ts";
import { DataError } from "../src/data/errors.ts";
import { type Color, encodeMask, readMask } from "../src/data/image.ts";
import type { ImageArray } from "../src/data/pixels.ts";
import { readSample } from "../src/data/datasets.ts";
import { DeviceError } from "../src/errors.ts";
import { realize } from "../src/evaluate.ts";
import type { Tensor } from "../src/tensor.ts";
import { trainConfig } from "../src/training/config.ts";
import {
  evaluateConfig,
  largestWhole,
  predictConfig,
  predictHelp,
  predictOptions,
} from "../src/training/config_inference.ts";
import { type Forward, segmentAll, segmenter, sizeProblem } from "../src/training/evaluation.ts";
import { insideWindows, largeSegmenter } from "../src/training/large_images.ts";
import { OptionError, readOptionFile, readOptions } from "../src/training/options.ts";
import { predictFiles, type PredictOptions } from "../src/training/prediction.ts";
import { openEvaluationData, type TrainedClasses } from "../src/training/session_data.ts";
import { encoderOf, forwardOf } from "../src/training/session_model.ts";
import { onCpu, onEachDevice } from "./support/devices.ts";
import { type Files, maskPng, palette, png, withFiles } from "./support/data_files.ts";

const variant = encoderOf("8,16,40,64:1,1,1,1");
const tiny: StepConfig = {
  variant,
  classes: 5,
  allspark: true,
  embedding: 16,
  heads: 2,
  crop: 65,
} as StepConfig;

/** An image of noise that has no two equal rows or columns. */
function noise(width: number, height: number): ImageArray {
  const data = Uint8Array.from(
    { length: 3 * width * height },
    (_, i) => (Math.sin(i * 12.9898) * 43758.5453) & 255,
  );
  return { width, height, data };
}

function inputOf(pixels: ImageArray): { image: Float32Array<ArrayBuffer>; width: number; height: number } {
  return { image: normalize(pixels), width: pixels.width, height: pixels.height };
}

onEachDevice(
  "segmenter() gives images of many sizes the classes that the model gives them, in few programs",
  async () => {
    const model: Model = await realize(initModel(random.key(1), tiny));
    const forward = forwardOf(tiny);
    let traces = 0;
    const counted: Forward<Model> = Object.assign(
      (weights: Model, image: Tensor) => forward(weights, image),
      {
        coarse: (weights: Model, image: Tensor): Tensor => {
          traces++;
          return forward.coarse!(weights, image);
        },
      },
    );
    const own = segmenter(counted, { crop: 65 });
    const plain = segmenter(
      (weights: Model, image: Tensor) => segment(weights, image, { variant, heads: 2 }).logits,
      {
        crop: 65,
      },
    );
    for (const [width, height] of [[45, 53], [46, 54], [47, 55], [48, 56], [48, 53]] as const) {
      const input = inputOf(noise(width, height));
      const found = await own(model, input).data();
      assertEquals(found, await plain(model, input).data(), `${width}x${height}`);
      assert(new Set(found).size > 1);
    }
    assertEquals(traces, 1);
  },
);

/** Two classes by a 3x3 filter, so that a window's border can be told from its middle. */
function filtered(weights: Tensor, image: Tensor): Tensor {
  return conv2d(image, weights, { padding: 1 });
}

function filterWeights(): Tensor {
  return tensor(Float32Array.from({ length: 2 * 3 * 9 }, (_, i) => Math.cos(i * 7.7)), {
    shape: [2, 3, 3, 3],
  });
}

onCpu("largeSegmenter() gives the classes of the official windows, a band at a time", async () => {
  const weights = filterWeights();
  for (const [width, height, crop] of [[97, 64, 45], [64, 130, 45], [40, 40, 45], [101, 45, 45]] as const) {
    const pixels = noise(width, height);
    const whole = segmenter(filtered, { mode: "sliding-window", crop });
    const windows: number[] = [];
    const large = largeSegmenter(filtered, {
      ...{ crop, windows: "cut" as const },
      onWindow: (done, total) => windows.push(done, total),
    });
    const found = await large(weights, { name: "x", pixels });
    assertEquals(
      [...found],
      [...await whole(weights, inputOf(pixels)).data()],
      `${width}x${height}, ${crop}`,
    );
    assertEquals(windows.at(-1), windows.at(-2));
  }
});

onCpu("largeSegmenter() with windows inside sees every image through windows of one size", async () => {
  const weights = filterWeights();
  const shapes = new Set<string>();
  const watched: Forward<Tensor> = (w, image) => {
    shapes.add(image.shape.join());
    return filtered(w, image);
  };
  const large = largeSegmenter(watched, { crop: 45, windows: "inside" });
  for (const [width, height] of [[97, 64], [64, 130], [45, 45]] as const) {
    const found = await large(weights, { name: "x", pixels: noise(width, height) });
    assertEquals([...new Set(found)].sort(), [0, 1]);
  }
  assertEquals([...shapes], ["1,3,45,45"]);
  // One window over the whole image is the image as a whole.
  const pixels = noise(45, 40);
  const alone = await large(weights, { name: "x", pixels });
  assertEquals([...alone], [...await segmenter(filtered, { crop: 45 })(weights, inputOf(pixels)).data()]);
});

Deno.test("insideWindows() covers an image with windows of one size, two thirds of it apart at most", () => {
  for (
    const [width, height, crop] of [[8000, 6000, 513], [513, 514, 513], [30, 2000, 129], [7, 7, 1]] as const
  ) {
    const boxes = insideWindows({ width, height, crop });
    const sizes = new Set(boxes.map(({ top, left, bottom, right }) => `${right - left}x${bottom - top}`));
    assertEquals([...sizes], [`${Math.min(width, crop)}x${Math.min(height, crop)}`]);
    for (const [side, from, to] of [[width, "left", "right"], [height, "top", "bottom"]] as const) {
      const starts = [...new Set(boxes.map((box) => box[from]))];
      assertEquals([starts[0], Math.max(...boxes.map((box) => box[to]))], [0, side]);
      const steps = starts.slice(1).map((start, k) => start - starts[k]!);
      assert(steps.every((step) => step > 0 && step <= Math.max(1, Math.floor(crop * 2 / 3))), `${steps}`);
    }
  }
});

Deno.test("largeSegmenter() says what memory a band would need", async () => {
  const wide = { width: 2 ** 18, height: 600, data: new Uint8Array(0) };
  const many: Forward<null> = (_, image) => tensor(new Float32Array(300), { shape: [1, 300, 1, 1] }) ?? image;
  const large = largeSegmenter(many, { crop: 513, windows: "inside" });
  const error = await assertRejects(
    () => large(null, { name: "wide.png", pixels: wide }),
    DataError,
    "GB; a smaller",
  );
  assertEquals(error.file, "wide.png");
  assertStringIncludes(error.message, "Cannot segment wide.png: the scores of 300 classes in 513 rows");
});

Deno.test("sizeProblem() names the image and knows what each mode can see", () => {
  const problem = (
    width: number,
    height: number,
    mode: "original" | "center-crop" | "sliding-window",
    crop = 65,
  ) => sizeProblem({ width, height, name: "a.jpg" }, { mode, crop });
  assertEquals(
    problem(20, 20, "original"),
    "Cannot segment a.jpg of 20x20 pixels: at least 29x29 are required",
  );
  assertEquals(problem(29, 29, "original"), undefined);
  assertEquals(problem(400, 28, "original")?.includes("400x28"), true);
  assertEquals(
    problem(48, 60, "sliding-window", 36),
    "Cannot segment a.jpg of 48x60 pixels in mode sliding-window with crop 36: a part of 24x36 would be seen alone; " +
      "at least 29x29 are required",
  );
  assertEquals(problem(64, 64, "sliding-window", 45), undefined);
  assertEquals(problem(20, 200, "center-crop")?.includes("a part of 20x65 would be seen alone"), true);
});

async function* sizedImages(names: string[]): AsyncGenerator<WholeImage, void, undefined> {
  for (const name of names) {
    const pixels = { width: 2, height: 1, data: new Uint8Array(6) };
    yield { name, width: 2, height: 1, image: new Float32Array(6), pixels };
  }
}

onCpu(
  "segmentAll() goes on with the others when an image fails at once, later, or while several are read",
  async () => {
    const failures: string[] = [];
    const segmentOne = (image: WholeImage): Tensor | Promise<Uint8Array<ArrayBuffer>> => {
      if (image.name === "refused") throw new DataError("too small", { file: "refused" });
      if (image.name === "later") return Promise.reject(new DeviceError("out of memory"));
      if (image.name === "read") return Promise.resolve(new Uint8Array([1, 0]));
      if (image.name !== "gone") return tensor(new Int32Array([0, 1]), { shape: [1, 1, 2] });
      const gone = tensor(new Int32Array([7, 7]), { shape: [1, 1, 2] });
      gone.dispose();
      return gone;
    };
    const names = ["a", "refused", "b", "gone", "later", "c", "read", "d", "e", "f", "g"];
    const all = segmentAll(sizedImages(names), segmentOne, {
      onFailure: ({ name }, error) => failures.push(`${name}: ${(error as Error).name}`),
    });
    const found = await Array.fromAsync(all, ({ image, prediction }) => `${image.name} ${prediction.data}`);
    assertEquals(found, ["a 0,1", "b 0,1", "c 0,1", "read 1,0", "d 0,1", "e 0,1", "f 0,1", "g 0,1"]);
    assertEquals(failures, ["refused: DataError", "gone: DisposedError", "later: DeviceError"]);
    const error = await assertRejects(
      () => Array.fromAsync(segmentAll(sizedImages(["later"]), segmentOne)),
      DeviceError,
    );
    assertEquals(error.message, "Cannot segment later (2x1): out of memory");
  },
);

const classes = palette.map((color, k) => ({ name: `c${k}`, color }));

/** Says class 1 everywhere, but refuses narrow images. */
function oneSegmenter(image: WholeImage): Tensor {
  const problem = sizeProblem(image, { crop: 65 });
  if (problem !== undefined) throw new OptionError([problem]);
  return tensor(new Int32Array(image.width * image.height).fill(1), {
    shape: [1, image.height, image.width],
  });
}

onCpu("predictFiles() does the other images and tells those that it could not do", async () => {
  const files: Files = {
    "a.png": await png(40, 30),
    "small.png": await png(20, 20),
    "cut.png": (await png(40, 30)).subarray(0, 60),
    "sub/b.png": await png(33, 44),
  };
  await withFiles(files, async (root) => {
    const names = Object.keys(files);
    const options = (more: Partial<PredictOptions>): PredictOptions => ({
      items: names.map((name) => ({ image: `${root}/${name}` })),
      names: names.map((name) => name.replace(".png", "")),
      out: `${root}/out`,
      classes,
      ...more,
    });
    const failures: string[] = [];
    const written = await predictFiles(
      oneSegmenter,
      options({ onFailure: (image, why) => failures.push(image, why) }),
    );
    assertEquals(written.map((path) => path.replace(`${root}/out/`, "")), [
      "a.mask.png",
      "a.overlay.png",
      "sub/b.mask.png",
      "sub/b.overlay.png",
    ]);
    const mask = await readMask(`${root}/out/sub/b.mask.png`, { classes: 3 });
    assertEquals([mask.width, mask.height, ...new Set(mask.data)], [33, 44, 1]);
    const told = new Map(
      failures.map((text, k) => [text, failures[k + 1]]).filter((_, k) => k % 2 === 0) as [string, string][],
    );
    assertEquals([...told.keys()].sort(), [`${root}/cut.png`, `${root}/small.png`]);
    assertStringIncludes(told.get(`${root}/cut.png`)!, `Cannot read image ${root}/cut.png: `);
    assertEquals(
      told.get(`${root}/small.png`),
      `Cannot segment ${root}/small.png of 20x20 pixels: at least 29x29 are required`,
    );
    await assertRejects(() => predictFiles(oneSegmenter, options({})), Error, `${root}/`);
    // At a size that all can have, the small one is done too, and its mask has its own size.
    const resized = await predictFiles(
      oneSegmenter,
      options({ items: [{ image: `${root}/small.png` }], names: ["small"], imageSize: [64, 48] }),
    );
    const small = await readMask(resized[0]!);
    assertEquals([small.width, small.height], [20, 20]);
    await Deno.writeTextFile(`${root}/file`, "");
    const blocked = options({ items: [{ image: `${root}/a.png` }], out: `${root}/file` });
    await assertRejects(
      () => predictFiles(oneSegmenter, blocked),
      DataError,
      `Cannot make folder ${root}/file: a file has that name`,
    );
  });
});

onCpu("predictFiles() does not take a mistake in the program for a bad image", async () => {
  await withFiles({ "a.png": await png(40, 30) }, async (root) => {
    const mistake = (): never => {
      throw new TypeError("undefined is not a function");
    };
    const options = {
      items: [{ image: `${root}/a.png` }],
      names: ["a"],
      out: root,
      classes,
      onFailure: () => {},
    };
    await assertRejects(() => predictFiles(mistake, options), TypeError, "undefined is not a function");
  });
});

/** A model of three classes that was trained on one's own images with colours. */
const trainedModel: TrainedClasses = {
  trained: trainConfig({ images: "im", masks: "ma", labels: "labels-that-are-no-longer-there.csv" }),
  classes: ["sky", "cat", "dog"].map((name, id) => ({ name, color: palette[id]! })),
  maskColors: palette.map((color, id) => [color, id]),
  classCount: 3,
};

/** The mask colours that a data set reads by, and its class names. */
async function evaluationOf(
  root: string,
  options: { [name: string]: unknown },
  model: TrainedClasses = trainedModel,
): Promise<{ names: string[]; val: number; ids: number[]; remarks: readonly string[] }> {
  const config = evaluateConfig({ weights: "w", images: `${root}/im`, masks: `${root}/ma`, ...options });
  const dataset = await openEvaluationData(config, model);
  const sample = await readSample(dataset.val[0]!, dataset.reading);
  return {
    names: dataset.classes.map(({ name }) => name),
    val: dataset.val.length,
    ids: [...new Set(sample.mask!.data)],
    remarks: dataset.remarks ?? [],
  };
}

/** One pair, whose mask has the given file. */
async function onePair(mask: Uint8Array): Promise<Files> {
  return { "im/a.png": await png(4, 3), "im/u.png": await png(4, 3), "ma/a.png": mask };
}

Deno.test("openEvaluationData() takes the checkpoint's classes for one's own images, one pair too", async () => {
  await withFiles(await onePair(maskPng(4, 3, 1)), async (root) => {
    const { names, val, ids, remarks } = await evaluationOf(root, {});
    assertEquals([names, val, ids], [["sky", "cat", "dog"], 1, [1]]);
    assertEquals(remarks, ["Not evaluated: 1 images without a mask"]);
    assertEquals((await evaluationOf(root, { classes: "3" })).names, ["class 0", "class 1", "class 2"]);
    await assertRejects(
      () => evaluationOf(root, { classes: "4" }),
      DataError,
      "Cannot use the classes of 4 with w: they are 4 and the model has 3; write --classes 3, or the file",
    );
    // Raw weights tell nothing but how many classes there are.
    const raw: TrainedClasses = { trained: trainConfig(), classCount: 2 };
    assertEquals((await evaluationOf(root, {}, raw)).names, ["class 0", "class 1"]);
    const { labeled: _, ...rest } = { labeled: 0, ...trainedModel };
    const { maskColors: __, ...early } = rest;
    assertEquals((await evaluationOf(root, {}, early)).ids, [1]);
  });
});

Deno.test("openEvaluationData() reads masks in the colours that the checkpoint keeps", async () => {
  // As ImageMagick writes it: the index of dog's colour is 0.
  const recolored = encodeMask({ width: 4, height: 3, data: new Uint8Array(12) }, [palette[2] as Color]);
  await withFiles(await onePair(recolored), async (root) => {
    assertEquals((await evaluationOf(root, {})).ids, [2]);
  });
  await withFiles(await onePair(maskPng(4, 3, 9)), async (root) => {
    await assertRejects(
      () => evaluationOf(root, {}),
      DataError,
      `Cannot use mask ${root}/ma/a.png: pixel (0, 0) has class id 9; with 3 classes`,
    );
  });
});

Deno.test("openEvaluationData() takes fewer classes in a data folder, but none by another name", async () => {
  const listed = (names: string[]): Promise<Files> =>
    onePair(maskPng(4, 3, 1)).then((files) => ({
      ...files,
      "classes.json": JSON.stringify(names),
      "splits/val.txt": "im/a.png ma/a.png",
    }));
  const open = (names: string[], options: { [name: string]: unknown } = {}, model = trainedModel) => {
    let result: Awaited<ReturnType<typeof evaluationOf>> | undefined;
    return listed(names).then((files) =>
      withFiles(files, async (root) => {
        result = await evaluationOf(root, { data: root, images: null, masks: null, ...options }, model);
      })
    ).then(() => result!);
  };
  assertEquals((await open(["sky", "Cat"])).names, ["sky", "cat", "dog"]);
  const wrong = await assertRejects(
    () => open(["sky", "dog"]),
    DataError,
    "Cannot tell what the masks mean: class 1 is",
  );
  assertStringIncludes(wrong.message, "dog in ");
  await assertRejects(() => open(["sky", "cat", "dog", "cow"]), DataError, "class 3 is cow in ");
  assertEquals((await open(["sky", "dog"], { classes: "3" })).names.length, 3);
  const raw: TrainedClasses = { trained: trainConfig(), classCount: 3 };
  assertEquals((await open(["x", "y", "z"], {}, raw)).names, ["x", "y", "z"]);
  await assertRejects(() => open(["x", "y"], {}, raw), DataError, "they are 2 and the model has 3");
});

Deno.test("sizes that no memory would hold are refused with what they would need", () => {
  for (const make of [evaluateConfig, predictConfig]) {
    const config = (given: { [name: string]: unknown }) => () =>
      make({ weights: "w", input: "x", ...given } as never);
    assertThrows(
      config({ imageSize: "99999x99999" }),
      OptionError,
      "Cannot use --image-size 99999x99999: an image of 99999x99999 pixels alone has 120 GB",
    );
    assertThrows(
      config({ crop: 999999 }),
      OptionError,
      "Cannot use --crop 999999: an image of 999999x999999",
    );
    config({ imageSize: "8192x8192", crop: 4097 })();
  }
  assertEquals(predictConfig({ weights: "w", input: "x" }).mode, null);
  assertStringIncludes(
    predictHelp().replaceAll(/\s+/g, " "),
    `windows for images of more than ${largestWhole} pixels`,
  );
});

Deno.test("options are read from a file with a byte order mark, and a file that is no text is refused", async () => {
  const json = new TextEncoder().encode('{"crop": 33}');
  const files = {
    "mark.json": new Uint8Array([0xef, 0xbb, 0xbf, ...json]),
    "binary.json": new Uint8Array([0, 1, 255]),
  };
  await withFiles(files, (root) => {
    assertEquals(readOptionFile(predictOptions, `${root}/mark.json`), { crop: 33 });
    const read = (path: string) => () => readOptionFile(predictOptions, path);
    assertThrows(
      read(`${root}/binary.json`),
      OptionError,
      "binary.json: it is not a text in UTF-8 or UTF-16",
    );
    assertThrows(read(root), OptionError, `Cannot read ${root}: it is a folder, not a file`);
    assertThrows(read(`${root}/none`), OptionError, "none: no such file");
    return Promise.resolve();
  });
});

Deno.test("--skip-broken needs no value", async () => {
  const { trainOptions } = await import("../src/training/config.ts");
  const read = (...args: string[]): unknown => readOptions(trainOptions, args).values.skipBroken;
  assertEquals(read("--skip-broken"), true);
  assertEquals(read("--skip-broken", "--steps", "3"), true);
  assertEquals(read("--skip-broken", "off"), false);
  assertEquals(read("--steps", "3"), undefined);
  assertThrows(() => read("--skip-broken", "maybe"), OptionError, "on or off is required");
});
