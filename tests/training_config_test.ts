import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { runName, sceneDefaults, trainConfig, trainHelp, trainOptions } from "../src/training/config.ts";
import {
  evaluateConfig,
  evaluateHelp,
  evaluateOptions,
  predictConfig,
  predictHelp,
  predictOptions,
} from "../src/training/config_inference.ts";
import {
  defaultOptions,
  flagName,
  OptionError,
  optionsFromJson,
  readOptions,
} from "../src/training/options.ts";
import { parseSize } from "../src/training/options_kinds.ts";

/** The sentences for a command line. */
function problems(...args: string[]): string[] {
  const error = assertThrows(() => trainConfig(readOptions(trainOptions, args).values), OptionError);
  return (error as OptionError).problems;
}

function config(...args: string[]): ReturnType<typeof trainConfig> {
  return trainConfig(readOptions(trainOptions, args).values);
}

function withFile<T>(content: string, use: (path: string) => T): T {
  const path = Deno.makeTempFileSync({ suffix: ".json" });
  try {
    Deno.writeTextFileSync(path, content);
    return use(path);
  } finally {
    Deno.removeSync(path);
  }
}

Deno.test("trainConfig() takes the scene defaults without data and the table's with data", () => {
  const scenes = trainConfig();
  for (const [name, value] of Object.entries(sceneDefaults)) {
    assertEquals(scenes[name as keyof typeof scenes], value, name);
  }
  const photographs = trainConfig({ data: "voc", split: "92" });
  assertEquals(photographs, { ...defaultOptions(trainOptions), data: "voc", split: "92" });
});

Deno.test("every default passes its own check", () => {
  for (const given of [defaultOptions(trainOptions), sceneDefaults]) {
    const read = optionsFromJson(trainOptions, JSON.stringify(given), "defaults");
    assertEquals(read, given);
  }
});

Deno.test("readOptions() reads the reference run's command line", () => {
  const line =
    "--data ../data/camvid --split 1_8 --image-size 240x180 --crop 129 --variant b0 --steps 1500 " +
    "--lr 0.005 --lr-multiplier=1 --warmup-steps 93 --method supervised --batch 2 --checkpointing on";
  const result = config(...line.split(" "));
  assertEquals(result.data, "../data/camvid");
  assertEquals(result.split, "1_8");
  assertEquals(parseSize(result.imageSize!), { width: 240, height: 180 });
  assertEquals([result.crop, result.batch, result.seed], [129, 2, 1]);
  assertEquals([result.steps, result.epochs], [1500, null]);
  assertEquals([result.warmupSteps, result.warmupEpochs], [93, null]);
  assertEquals([result.lr, result.lrMultiplier], [0.005, 1]);
  assertEquals(result.method, "supervised");
  assertEquals(result.checkpointing, true);
});

Deno.test("wrong values get one sentence each, with option, value and what would be right", () => {
  assertEquals(
    problems(
      "--crop",
      "12.5",
      "--device",
      "gpu",
      "--image-size",
      "240,180",
      "--lr",
      "-1",
      "--drop-path",
      "1",
    ),
    [
      "Cannot use --image-size 240,180: width x height in pixels, as in 240x180, is required",
      "Cannot use --drop-path 1: a number of at least 0 and below 1 is required",
      "Cannot use --crop 12.5: a whole number of at least 29 is required",
      "Cannot use --lr -1: a number above 0 is required",
      "Cannot use --device gpu: one of auto, cpu, webgpu is required",
    ],
  );
  assertEquals(problems("--steps", "many"), [
    "Cannot use --steps many: a whole number of at least 1 is required",
  ]);
  assertEquals(problems("--steps", "Infinity"), [
    "Cannot use --steps Infinity: a whole number of at least 1 is required",
  ]);
  assertEquals(problems("--data", "--seed", "2"), [
    "Cannot use --data without a value: the path of a folder is required",
  ]);
  assertEquals(problems("--checkpointing", "maybe"), [
    "Cannot use --checkpointing maybe: on or off is required",
  ]);
  assertEquals(problems("--lr=", "--val= ", "--config=", "--learn="), [
    "Cannot use --lr without a value: a number above 0 is required",
    "Cannot use --val without a value: a number above 0 and below 1 is required",
    "Cannot use --config without a value: the path of a JSON file is required",
    "Cannot use --learn=: there is no such option; --help lists the options",
  ]);
});

Deno.test("numbers are refused where the device's numbers leave their range", () => {
  const cases: [args: string[], problem: string][] = [
    [
      ["--lr", "1e39"],
      "--lr 1e39: in f32, with which the device computes, it is Infinity; a number above 0 is required",
    ],
    [
      ["--lr", "1e-60"],
      "--lr 1e-60: in f32, with which the device computes, it is 0; a number above 0 is required",
    ],
    [
      ["--momentum", "0.99999999999"],
      "--momentum 0.99999999999: in f32, with which the device computes, it is 1; a number of at least 0 and below 1 is " +
      "required",
    ],
    [
      ["--lr", "1e38", "--lr-multiplier", "10"],
      "--lr 1e+38 with --lr-multiplier 10: their product is infinite in f32, with which the device computes; at most " +
      "3.4e38 is possible",
    ],
    [["--steps", "2147483648"], "--steps 2147483648: at most 2147483647 is possible"],
    [["--workers", "100000"], "--workers 100000: at most 64 is possible"],
    [["--val-scenes", "1e12"], "--val-scenes 1e12: at most 1000000 is possible"],
  ];
  for (const [args, problem] of cases) assertEquals(problems(...args), [`Cannot use ${problem}`]);
  assertEquals(config("--ohem-threshold", "0.1", "--difficulty", "1", "--lr", "3.4e38").ohemThreshold, 0.1);
});

Deno.test("encoders and images of impossible sizes are refused with what is wrong in them", () => {
  const cases: [value: string, problem: string][] = [
    ["8,17,40,64:1,1,1,1", "stage 2 has 17 channels and 2 attention heads; a multiple of 2 is required"],
    ["8,16,24,32:1,1,1,1", "stage 3 has 24 channels and 5 attention heads; a multiple of 5 is required"],
    ["8,16,40,64:1,1,0,1", "stage 3 has no blocks; at least 1 is required"],
    ["0,16,40,64:1,1,1,1", "stage 1 has 0 channels and 1 attention heads; a multiple of 1 is required"],
  ];
  for (const [value, problem] of cases) {
    assertEquals(problems("--variant", value), [`Cannot use --variant ${value}: ${problem}`]);
  }
  assertEquals(problems("--image-size", "99999x99999"), [
    "Cannot use --image-size 99999x99999: an image of that size alone takes 120.0 GB of memory; at most 8192 pixels on " +
    "each side are possible",
  ]);
  for (const name of ["../x", "a/b", "a\\b", ".", "..", "x".repeat(201)]) {
    assertEquals(problems("--name", name), [
      `Cannot use --name ${name}: a name without slashes, of at most 200 bytes, is required`,
    ]);
  }
});

Deno.test("unknown options get the nearest name, stray words a hint", () => {
  assertEquals(problems("--wramup-steps", "3"), [
    "Cannot use --wramup-steps: there is no such option; did you mean --warmup-steps",
  ]);
  assertEquals(problems("--learningrate=0.1"), [
    "Cannot use --learningrate=0.1: there is no such option; --help lists the options",
  ]);
  assertEquals(problems("-lr", "3"), ["Cannot use -lr: there is no such option; did you mean --lr"]);
  assertEquals(problems("-x"), ["Cannot use -x: there is no such option; --help lists the options"]);
  assertEquals(problems("photos"), [
    "Cannot use photos: an option in front of it is required, as in --name photos",
  ]);
});

Deno.test("options that contradict each other are refused", () => {
  assertEquals(problems("--steps", "3", "--epochs", "2"), [
    "Cannot use --steps together with --epochs: give one of the two",
  ]);
  assertStringIncludes(problems("--data", "voc")[0]!, "Cannot use --data without --split");
  assertStringIncludes(problems("--images", "photos")[0]!, "Cannot use --images without --masks");
  assertStringIncludes(problems("--labels", "names.txt")[0]!, "Cannot use --labels without --images");
  assertStringIncludes(
    problems("--images", "a", "--masks", "b", "--data", "voc", "--split", "x")[0]!,
    "Cannot use --data together with --images",
  );
  assertStringIncludes(problems("--steps", "10", "--burn-in-steps", "10")[0]!, "the run has 10 steps");
});

Deno.test("the command line wins over the file, also with steps instead of epochs", () => {
  withFile(`{ "description": "words", "epochs": 80, "warmupEpochs": 5, "crop": 321, "lr": 0.01 }`, (path) => {
    const result = config("--data", "voc", "--split", "92", "--config", path, "--steps", "7", "--lr", "0.1");
    assertEquals([result.steps, result.epochs], [7, null]);
    assertEquals([result.warmupSteps, result.warmupEpochs], [null, 5]);
    assertEquals([result.crop, result.lr], [321, 0.1]);
  });
});

Deno.test("wrong configuration files get sentences with their path", () => {
  withFile(`{ "crop": "wide", "stepz": 3, "lr": [1] }`, (path) =>
    assertEquals(problems("--config", path), [
      `Cannot use "crop": "wide" in ${path}: a whole number of at least 29 is required`,
      `Cannot use "stepz": 3 in ${path}: there is no such option; did you mean steps`,
      `Cannot use "lr": [1] in ${path}: a number above 0 is required`,
    ]));
  withFile(
    "{ crop: 3 }",
    (path) => assertStringIncludes(problems("--config", path)[0]!, `${path}: it is not JSON`),
  );
  withFile(
    "[1]",
    (path) => assertStringIncludes(problems("--config", path)[0]!, "an object with an option per key"),
  );
  assertEquals(problems("--config", "/no/such.json"), [
    "Cannot read /no/such.json: no such file; a JSON file of options is required",
  ]);
  assertEquals(problems("--config", "/tmp"), [
    "Cannot read /tmp: it is a folder, not a file; a JSON file of options is required",
  ]);
  if (Deno.build.os === "linux") {
    assertEquals(problems("--config", "/dev/zero"), [
      "Cannot read /dev/zero: it is a device; a JSON file of options is required",
    ]);
  }
  withFile(
    JSON.stringify(Object.fromEntries(Array.from({ length: 1000 }, (_, k) => [`x${k}`, "y".repeat(999)]))),
    (path) => {
      const all = problems("--config", path);
      assertEquals(all.length, 21);
      assert(all.every((problem) => problem.length < 300));
    },
  );
  withFile(
    "x".repeat(2 ** 20 + 1),
    (path) => assertStringIncludes(problems("--config", path)[0]!, "it has 1048577 bytes"),
  );
  withFile(`\ufeff{ "crop": 33 }`, (path) => assertEquals(config("--config", path).crop, 33));
  withFile(
    `{ "__proto__": 1, "constructor": {}, "toString": 2 }`,
    (path) => assertEquals(problems("--config", path).length, 3),
  );
  assertStringIncludes(problems("--config")[0]!, "Cannot use --config without a value");
});

Deno.test("the paper's configurations hold the numbers of the paper's code", () => {
  const read = (name: string): ReturnType<typeof trainConfig> => {
    const path = new URL(`../configs/${name}.json`, import.meta.url).pathname;
    return config("--data", "folder", "--split", "1_8", "--config", path);
  };
  const shared = { variant: "b5", embedding: 768, heads: 2, momentum: 0.9, weightDecay: 1e-4 } as const;
  const expected = {
    pascal: {
      crop: 513,
      epochs: 80,
      batch: 8,
      lr: 0.001,
      lrMultiplier: 10,
      warmupEpochs: 5,
      criterion: "ce",
    },
    cityscapes: {
      crop: 801,
      epochs: 240,
      batch: 8,
      lr: 0.005,
      lrMultiplier: 1,
      warmupEpochs: 15,
      criterion: "ohem",
    },
    coco: { crop: 513, epochs: 10, batch: 16, lr: 0.001, lrMultiplier: 10, warmupEpochs: 1, criterion: "ce" },
  };
  for (const [name, values] of Object.entries(expected)) {
    const result: Record<string, unknown> = { ...read(name) };
    for (const [key, value] of Object.entries({ ...shared, ...values, classes: name })) {
      assertEquals(result[key], value, `${name} ${key}`);
    }
  }
  assertEquals(read("cityscapes").evalMode, "sliding-window");
  assertEquals([read("cityscapes").ohemThreshold, read("cityscapes").ohemMinKept], [0.7, 200000]);
});

Deno.test("the help of each program names every option with its default, in 110 columns", () => {
  for (
    const [help, table] of [
      [trainHelp(), trainOptions],
      [evaluateHelp(), evaluateOptions],
      [predictHelp(), predictOptions],
    ] as const
  ) {
    for (const name of Object.keys(table)) assertStringIncludes(help, `\n  ${flagName(name)} `);
    for (const line of help.split("\n")) assert(line.length <= 110, line);
  }
  assertStringIncludes(trainHelp(), `[513; scenes: ${sceneDefaults.crop}]`);
  assertEquals(readOptions(trainOptions, ["--help"]), { help: true, values: {} });
  assertEquals(readOptions(trainOptions, ["-h"]).help, true);
});

Deno.test("runName() is made of method, encoder and data unless given", () => {
  assertEquals(runName(trainConfig()), "allspark-b0-scenes");
  assertEquals(
    runName(trainConfig({ data: "../data/camvid/", split: "1_8", variant: "b2" })),
    "allspark-b2-camvid",
  );
  assertEquals(runName(trainConfig({ name: "first" })), "first");
});

Deno.test("evaluateConfig() and predictConfig() require their files", () => {
  assertThrows(() => evaluateConfig({}), OptionError, "Cannot start without --weights");
  assertThrows(() => evaluateConfig({ weights: "w", list: "val.txt" }), OptionError, "--list without --data");
  assertThrows(() => evaluateConfig({ weights: "w", images: "a" }), OptionError, "both folders are required");
  assertThrows(() => predictConfig({ weights: "w" }), OptionError, "Cannot start without --input");
  const line =
    "--data d --weights w.safetensors --variant b0 --image-size 240x180 --device cpu --classes c.json " +
    "--mode sliding-window --crop 801 --list l.txt";
  const evaluated = evaluateConfig(readOptions(evaluateOptions, line.split(" ")).values);
  assertEquals([evaluated.weights, evaluated.mode, evaluated.crop], ["w.safetensors", "sliding-window", 801]);
  const predicted = predictConfig(
    readOptions(predictOptions, ["--weights", "w", "--input", "photo.jpg"]).values,
  );
  assertEquals([predicted.input, predicted.out, predicted.variant], ["photo.jpg", "predictions", null]);
});
