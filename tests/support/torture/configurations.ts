/**
 * Random configurations, as command lines and as files: each is refused with one sentence for each wrong option, or it is
 * taken; now and then one that is small enough is trained with for two steps.
 *
 * @module
 */
import { type TrainConfig, trainConfig, trainOptions } from "../../../src/training/config.ts";
import { flagName, OptionError, optionsFromJson, readOptions } from "../../../src/training/options.ts";
import { sentenceOf } from "../../../src/training/session.ts";
import { checkSizes } from "../../../src/training/sizes.ts";
import { isSentence } from "../fuzz_data.ts";
import { drawPictures, runQuietly, tiny } from "../runs.ts";
import type { Outcome } from "./campaign.ts";
import { Chance } from "./chance.ts";

/** Values that people and machines write by mistake. */
const oddTexts = [
  ...[
    "",
    " ",
    "0",
    "-0",
    "-1",
    "1",
    "1e3",
    "1e39",
    "1e-60",
    "1e400",
    "NaN",
    "Infinity",
    "-Infinity",
    "0x10",
    "1,5",
    "1_000",
  ],
  ...[
    "null",
    "undefined",
    "true",
    "on",
    "off",
    "[]",
    "{}",
    "../..",
    "/",
    "/dev/null",
    "a\nb",
    "\x1b[2J",
    "ü",
    "\u202e",
    "%s",
  ],
  ...[
    "b0",
    "b5",
    "b6",
    "8,16,40,64:1,1,1,1",
    "8,17,40,64:1,1,1,1",
    "1,2,5,8:0,0,0,0",
    "9,9,9,9:9,9,9,9",
    "64x48",
    "0x0",
  ],
  ...[
    "99999x99999",
    "1x1",
    "x",
    "sgd",
    "adamw",
    "constructor",
    "__proto__",
    "4294967296",
    "9007199254740993",
    "2147483648",
  ],
];

const oddValues: readonly unknown[] = [null, true, false, 0, -1, 1.5, 1e39, 1e308, [], {}, [1], "", "7", {
  toString: 1,
}];

/** Values that may do, for an option's name. */
const fair: { readonly [name in keyof TrainConfig]?: readonly unknown[] } = {
  method: ["supervised", "pseudo-label", "allspark"],
  grouping: ["logits", "probabilities"],
  evalKeys: ["self", "memory"],
  optimizer: ["sgd", "adamw"],
  criterion: ["ce", "ohem"],
  evalMode: ["original", "center-crop", "sliding-window"],
  batch: [1, 2, 3],
  crop: [29, 33, 40],
  embedding: [1, 7, 16],
  heads: [1, 2, 3],
  lr: [1e-6, 0.01, 1],
  momentum: [0, 0.9],
  weightDecay: [0, 0.5],
  dropPath: [0, 0.5, 0.99],
  headDropout: [0, 0.5],
  burnInSteps: [0, 1],
  warmupSteps: [0, 1, 5],
  ohemThreshold: [0, 0.7, 1],
  ohemMinKept: [0, 10, 1e6],
  checkpointing: [true, false],
  evalEvery: [1, 2],
  seed: [0, 1, 2 ** 40],
  imageSize: ["34x33", "30x64"],
};

const names = Object.keys(trainOptions) as (keyof TrainConfig)[];

/** Makes configurations of all kinds. */
export async function* configurations(seed: number, deadline: number): AsyncGenerator<Outcome> {
  const out = await Deno.makeTempDir({ prefix: "torture-" });
  try {
    const pictures = await drawPictures(out, { count: 6 });
    for (let number = 0; performance.now() < deadline; number++) {
      const chance = new Chance(seed, number);
      // A run takes as long as some thousand of the others.
      if (number % 3000 === 2999) {
        yield { what: "run", ...await runSmall(chance, `${out}/${number}`, pictures) };
      } else if (number % 2 === 0) yield { what: "command line", ...judged(() => take(commandLine(chance))) };
      else yield { what: "file", ...judged(() => take([], jsonText(chance))) };
    }
  } finally {
    await Deno.remove(out, { recursive: true });
  }
}

/** What a program does with its options before it looks at any file. */
function take(args: string[], json?: string): void {
  const file = json === undefined ? {} : optionsFromJson(trainOptions, json, "config.json");
  checkSizes(trainConfig(file, readOptions(trainOptions, args).values));
}

function commandLine(chance: Chance): string[] {
  return Array.from({ length: 1 + chance.below(6) }, () => {
    const flag = flagName(chance.of(names));
    const value = chance.of(oddTexts);
    return chance.of([[flag, value], [`${flag}=${value}`], [flag], [value], [flag.slice(1), value], [
      slip(flag, chance),
      value,
    ]]);
  }).flat();
}

/** A name with a letter changed, doubled or left out. */
function slip(text: string, chance: Chance): string {
  const at = chance.below(text.length);
  return text.slice(0, at) + chance.of(["", "x", text[at]! + text[at]!]) + text.slice(at + 1);
}

function jsonText(chance: Chance): string {
  const entries = Array.from({ length: 1 + chance.below(6) }, (): [string, unknown] => {
    const name = chance.of(names);
    const values = fair[name];
    const value = values && chance.oneIn(2) ? chance.of(values) : chance.of([...oddValues, ...oddTexts]);
    return [chance.oneIn(8) ? slip(name, chance) : name, value];
  });
  const text = JSON.stringify(Object.fromEntries(entries), null, chance.below(3));
  if (!chance.oneIn(6)) return text;
  const at = chance.below(text.length);
  return chance.of([
    text.slice(0, at),
    text.slice(at),
    text.slice(0, at) + chance.of(oddTexts) + text.slice(at),
    `\ufeff${text}`,
  ]);
}

function judged(act: () => void): Omit<Outcome, "what"> {
  const begin = performance.now();
  let error: unknown;
  try {
    act();
  } catch (thrown) {
    error = thrown;
  }
  const seconds = (performance.now() - begin) / 1000;
  if (seconds > 2) return { end: "hung", detail: `${seconds} s, ${error}` };
  if (error === undefined) return { end: "survived" };
  if (!(error instanceof OptionError)) return { end: "crashed", detail: Deno.inspect(error) };
  const wrong = error.problems.find((problem) => !isSentence(problem));
  return wrong === undefined
    ? { end: "sentence" }
    : { end: "crashed", detail: `not a sentence: ${JSON.stringify(wrong)}` };
}

/** A run with small random options, which ends well or with a sentence. */
async function runSmall(
  chance: Chance,
  out: string,
  pictures: Partial<TrainConfig>,
): Promise<Omit<Outcome, "what">> {
  const given: Record<string, unknown> = { ...tiny, ...pictures, steps: 2, evalEvery: 2, out, name: "run" };
  for (const [name, values] of Object.entries(fair)) if (chance.oneIn(2)) given[name] = chance.of(values);
  if (given.method !== "supervised") {
    // The own pictures have all a mask; scenes have unlabeled ones.
    for (const name of Object.keys(pictures)) delete given[name];
    Object.assign(given, {
      labeledScenes: 3,
      unlabeledScenes: 3,
      valScenes: 2,
      imageSize: given.imageSize ?? "34x33",
    });
  }
  const { said, error } = await runQuietly(given as Partial<TrainConfig>);
  if (error === undefined) return { end: "survived" };
  const sentence = sentenceOf(error);
  const detail = `${JSON.stringify(given)}\n${sentence ?? Deno.inspect(error)}\n${said}`;
  return sentence !== undefined && sentence.split("\n").every(isSentence)
    ? { end: "sentence" }
    : { end: "crashed", detail };
}
