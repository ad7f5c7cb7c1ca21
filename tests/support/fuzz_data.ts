/**
 * Random lists, labels, masks, headers, folders and configurations: whatever stands in them, reading ends in values or in
 * one sentence, soon.
 *
 * `deno run -A tests/support/fuzz_data.ts SEED MINUTES` runs a campaign; a finding names the case that repeats it.
 *
 * @module
 */
import { encode } from "fast-png";
import sharp from "sharp";
import { BrokenFiles } from "../../src/data/broken.ts";
import { checkFiles, checkLabels, checkSamples } from "../../src/data/check.ts";
import { readClasses } from "../../src/data/classes.ts";
import type { Dataset } from "../../src/data/datasets.ts";
import { DataError } from "../../src/data/errors.ts";
import { openFolder } from "../../src/data/folder.ts";
import { type Color, colorTable, decodeMask, encodeMask, readImage } from "../../src/data/image.ts";
import { openOwnFolder } from "../../src/data/own_folder.ts";
import { type RandomStream, randomStream } from "../../src/data/random.ts";
import type { Size } from "../../src/data/resize.ts";
import { trainOptions } from "../../src/training/config.ts";
import { OptionError, readOptionFile } from "../../src/training/options.ts";
import { openInput } from "../../src/training/session_data.ts";

/** How long a campaign is, and where it begins. */
export interface FuzzOptions {
  /** Seed of everything. */
  readonly seed: number;
  /** Seconds after which no new case is begun. */
  readonly seconds: number;
  /** First case (default 0), to repeat a finding. */
  readonly from?: number;
  /** Case before which to stop (default: when the time is over). */
  readonly to?: number;
}

/** What a campaign has seen. */
export interface FuzzResult {
  /** Cases of each kind that ended in values. */
  readonly values: { readonly [kind: string]: number };
  /** Cases of each kind that ended in a sentence. */
  readonly sentences: { readonly [kind: string]: number };
  /** What should not be: the case, and what happened. */
  readonly findings: readonly string[];
}

/** A case: makes files in a folder of its own and reads them. */
type Case = (random: Random, folder: string) => Promise<unknown>;

/** Milliseconds after which a case counts as hanging. */
const patience = 20_000;

/** Runs cases of all kinds in turn until the time is over. */
export async function fuzzData({ seed, seconds, from = 0, to = Infinity }: FuzzOptions): Promise<FuzzResult> {
  const kinds = Object.entries(fuzzCases);
  const none = (): { [kind: string]: number } => Object.fromEntries(kinds.map(([kind]) => [kind, 0]));
  const [values, sentences] = [none(), none()];
  const findings: string[] = [];
  const root = await Deno.makeTempDir();
  const end = performance.now() + seconds * 1000;
  try {
    for (let number = from; number < to && performance.now() < end; number++) {
      const [kind, run] = kinds[number % kinds.length]!;
      const folder = `${root}/${number}`;
      await Deno.mkdir(folder);
      const outcome = await outcomeOf(() => run(new Random(seed, number), folder));
      await Deno.remove(folder, { recursive: true });
      if (outcome === "value") values[kind]!++;
      else if (outcome === "sentence") sentences[kind]!++;
      else findings.push(`seed ${seed}, case ${number} (${kind}): ${outcome}`);
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
  return { values, sentences, findings };
}

async function outcomeOf(run: () => Promise<unknown>): Promise<string> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve(`no end after ${patience / 1000} s`), patience);
  });
  const done = run().then(() => "value", (error: unknown) => judged(error));
  const outcome = await Promise.race([done, late]);
  clearTimeout(timer);
  return outcome;
}

/** `sentence`, or what is wrong with an error. */
function judged(error: unknown): string {
  const isOurs = error instanceof DataError || error instanceof OptionError;
  const isRange = error instanceof RangeError && error.message.startsWith("Cannot ");
  if (!isOurs && !isRange) return `${Deno.inspect(error)}`;
  const sentences = error instanceof OptionError ? error.problems : [(error as Error).message];
  const wrong = sentences.find((sentence) => !isSentence(sentence));
  return wrong === undefined ? "sentence" : `not a sentence: ${JSON.stringify(wrong)}`;
}

/**
 * One line of bounded length that begins as ours do, does not end with a full stop (though a file's name may), and that a
 * terminal can show.
 */
export function isSentence(text: string): boolean {
  return /^Cannot /.test(text) && text.length <= 1200 &&
    !/[\p{Cc}\u2028\u2029\u202a-\u202e]/u.test(text) &&
    !/\s\w+\.$/.test(text);
}

/** Random choices from an address. */
class Random {
  readonly #stream: RandomStream;

  constructor(seed: number, number: number) {
    this.#stream = randomStream(seed, number);
  }

  /** A whole number from 0 to below `end`. */
  below(end: number): number {
    return this.#stream.integer(0, end - 1);
  }

  chance(share: number): boolean {
    return this.#stream.chance(share);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }

  /** Between `least` and `most` picks. */
  some<T>(list: readonly T[], least: number, most: number): T[] {
    return Array.from({ length: least + this.below(most - least + 1) }, () => this.pick(list));
  }

  /** Bytes with some of them changed, cut, doubled or put in. */
  damaged(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
    let result = Uint8Array.from(bytes);
    for (let changes = 1 + this.below(4); changes > 0 && result.length > 0; changes--) {
      const at = this.below(result.length);
      const more = Uint8Array.from({ length: 1 + this.below(9) }, () => this.below(256));
      const [head, tail] = [result.slice(0, at), result.slice(at)];
      result = this.pick([
        (): Uint8Array<ArrayBuffer> => head,
        () => joined(head, more, tail),
        () => joined(head, tail.slice(more.length)),
        () => joined(head, tail, tail),
        () => result.map((byte, i) => i === at ? byte ^ (1 << this.below(8)) : byte),
        () => result.map((byte, i) => i >= at && i < at + more.length ? more[0]! : byte),
      ])();
    }
    return result;
  }
}

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

const utf8 = new TextEncoder();

/** A text as bytes of some encoding, with or without a mark, now and then damaged. */
function encoded(random: Random, text: string): Uint8Array<ArrayBuffer> {
  const units = Uint16Array.from(`\ufeff${text}`, (letter) => letter.charCodeAt(0));
  const bytes = random.pick<() => Uint8Array>([
    () => utf8.encode(text),
    () => utf8.encode(`\ufeff${text}`),
    () => new Uint8Array(units.buffer),
    () => Uint8Array.from(text, (letter) => letter.charCodeAt(0) & 255),
  ])();
  return random.chance(0.3) ? random.damaged(bytes) : Uint8Array.from(bytes);
}

const words = [
  ...[
    "cat",
    "dog",
    "traffic light",
    "void",
    "ignore",
    "name",
    "r",
    "label",
    "id",
    "class",
    "1",
    "0",
    "2",
    "255",
    "256",
  ],
  ...[
    "-1",
    "0.5",
    "#ff0000",
    "#f00",
    "#",
    "# comment",
    "128 0 0",
    "128,0,0",
    "(1,2,3)",
    '"',
    '""',
    '"a b"',
    "'",
  ],
  ...[
    "\u00fc",
    "u\u0308",
    "\x1b[2J",
    "\u202e",
    "\u0000",
    "\ud800",
    "x".repeat(400),
    "constructor",
    "__proto__",
    "",
  ],
];
const separators = [" ", ",", ";", "\t", ":", "  ", ", ", "::"];
const breaks = ["\n", "\r\n", "\r", "\n\n", "\u2028", "\x0b"];

function labelText(random: Random): string {
  const separator = random.pick(separators);
  const line = (): string =>
    random.some(words, 1, 6).join(random.chance(0.8) ? separator : random.pick(separators));
  const plain = (id: number): string =>
    [`c${id}`, id, 255 - id, random.below(256)].join(random.chance(0.9) ? separator : " ");
  const lines = Array.from({ length: random.below(8) }, (_, id) => random.chance(0.6) ? plain(id) : line());
  return lines.join(random.pick(breaks));
}

/** A value as JSON could hold it. */
function jsonValue(random: Random, depth: number): unknown {
  const leaves = [null, true, 0, -1, 1.5, 1e300, 255, "", "cat", "void", "\u0007", [], {}, [1, 2, 3], ["a"]];
  if (depth === 0 || random.chance(0.4)) return random.pick(leaves);
  const inner = (): unknown => jsonValue(random, depth - 1);
  if (random.chance(0.5)) return Array.from({ length: random.below(4) }, inner);
  const keys = random.some(["classes", "void", "name", "color", "id", "__proto__", "crop", "batch"], 0, 4);
  return Object.fromEntries(keys.map((key) => [key, inner()]));
}

async function classesCase(random: Random, folder: string): Promise<unknown> {
  const path = `${folder}/labels.txt`;
  if (random.chance(0.3)) {
    const entries = Array.from(
      { length: random.below(5) },
      (_, id) => random.chance(0.7) ? { id, name: `c${id}`, color: [id, 0, 0] } : jsonValue(random, 2),
    );
    const json = random.chance(0.5) ? { classes: entries } : jsonValue(random, 3);
    await Deno.writeFile(path, encoded(random, JSON.stringify(json)));
  } else await Deno.writeFile(path, encoded(random, labelText(random)));
  const { classes, maskColors } = await readClasses(path);
  // Whatever was understood has names that can be shown, and colours that tell the classes apart.
  for (const { name, color } of classes) {
    if (typeof name !== "string" || color.length !== 3 || !isSentence(`Cannot ${name}x`)) {
      throw new TypeError(name);
    }
  }
  const ids = new Set(maskColors.map(([color]) => color.join()));
  if (
    ids.size !==
      maskColors.filter(([, id]) => id !== 255).length +
        new Set(maskColors.filter(([, id]) => id === 255).map(([color]) => color.join())).size
  ) {
    throw new TypeError("two classes of one colour");
  }
  return classes;
}

const shapes = [[1, 1], [5, 3], [8, 8], [33, 2]] as const;

/** A small PNG of some kind. */
function somePng(random: Random, [width, height] = random.pick(shapes)): Uint8Array<ArrayBuffer> {
  const depth = random.pick([1, 2, 4, 8, 8, 8, 16] as const);
  const channels = depth < 8 ? 1 : random.pick([1, 1, 2, 3, 4] as const);
  const most = random.pick([2, 4, 256]);
  const length = Math.ceil(width * channels * depth / 8) * height / (depth === 16 ? 2 : 1);
  const values = Array.from({ length }, () => random.chance(0.1) ? 255 : random.below(most));
  const data = depth === 16 ? Uint16Array.from(values) : Uint8Array.from(values);
  const palette = random.some<Color>(
    [[0, 0, 0], [128, 0, 0], [0, 128, 0], [255, 255, 255], [9, 9, 9]],
    1,
    256,
  );
  const hasPalette = channels === 1 && depth <= 8 && random.chance(0.5);
  const bytes = encode({
    ...{ width, height, data, depth, channels },
    ...(hasPalette && { palette: palette.slice(0, 2 ** depth).map((color) => [...color]) }),
  });
  return random.chance(0.3) ? random.damaged(bytes) : Uint8Array.from(bytes);
}

function maskCase(random: Random): Promise<unknown> {
  const colors = random.some<[Color, number]>(
    [[[0, 0, 0], 0], [[128, 0, 0], 1], [[0, 128, 0], 2], [[255, 255, 255], 1], [[255, 255, 255], 255]],
    1,
    4,
  );
  const classes = 1 + random.below(4);
  return Promise.resolve().then(() => {
    const mask = decodeMask(somePng(random), {
      ...(random.chance(0.7) && { classes }),
      ...(random.chance(0.6) && { colors: colorTable(colors) }),
    }, random.pick(words));
    if (mask.data.length !== mask.width * mask.height) throw new TypeError("a mask of another size");
  });
}

/** The bytes of a small picture of some format. */
async function somePicture(random: Random): Promise<Uint8Array> {
  const [width, height] = random.pick(shapes);
  const data = Uint8Array.from({ length: width * height * 3 }, () => random.below(256));
  const picture = sharp(data, { raw: { width, height, channels: 3 } });
  const format = random.pick(["jpeg", "jpeg", "png", "webp", "gif", "tiff"] as const);
  return await picture.toFormat(format).toBuffer();
}

/** Nothing that can be decoded is refused by the check before a run, and the check knows its size. */
async function headerCase(random: Random, folder: string): Promise<unknown> {
  const bytes = await somePicture(random);
  const path = `${folder}/${random.pick(["a.jpg", "a.png", "\u0007.jpg"])}`;
  await Deno.writeFile(path, random.chance(0.8) ? random.damaged(bytes) : bytes);
  const image = await readImage(path).catch((error) => error as DataError);
  let size: string | undefined;
  const sizeProblem = ([width, height]: Size): undefined => {
    size = `${width}x${height}`;
  };
  const dataset = {
    name: "x",
    classes: [],
    labeled: [],
    unlabeled: [],
    val: [{ image: path }],
    reading: { masks: {} },
  };
  const checked = await checkFiles(dataset, { sizeProblem }).catch((error) => error as DataError);
  if (image instanceof Error) throw image;
  if (checked instanceof Error) throw new TypeError(`can be decoded, but: ${checked.message}`);
  if (size !== `${image.width}x${image.height}`) {
    throw new TypeError(`${size} is not ${image.width}x${image.height}`);
  }
  return size;
}

const fileNames = [
  ...[
    "a.jpg",
    "a.png",
    "A.JPG",
    "b.jpeg",
    "c.png",
    "d.webp",
    "e.bmp",
    "f.txt",
    "._a.jpg",
    ".DS_Store",
    "with space.jpg",
  ],
  ...[
    "gr\u00fcn.png",
    "gru\u0308n.jpg",
    "-x.jpg",
    "#1.jpg",
    "new\nline.png",
    "\x1b[2Jx.jpg",
    "constructor.png",
    "a.b.png",
  ],
];
const folderNames = ["", "", "", "deep/", "__MACOSX/", ".hidden/", "gr\u00fcn/", "deep/deeper/"];

/** Fills a folder with pictures, junk, links and folders where files are due. */
async function fill(random: Random, root: string, masks: boolean): Promise<void> {
  await Deno.mkdir(root, { recursive: true });
  const good = encodeMask({ width: 6, height: 4, data: new Uint8Array(24).map(() => random.below(3)) }, [[
    0,
    0,
    0,
  ]]);
  const image = await sharp(new Uint8Array(72), { raw: { width: 6, height: 4, channels: 3 } }).png()
    .toBuffer();
  await Deno.writeFile(`${root}/good.png`, masks ? good : image);
  for (const name of random.some(fileNames, 0, 8)) {
    const own = random.pick(folderNames);
    const path = `${root}/${own}${
      masks ? name.replace(/\.\w+$/, random.chance(0.9) ? ".png" : ".jpg") : name
    }`;
    await Deno.mkdir(path.replace(/\/[^/]*$/, ""), { recursive: true });
    if (await Deno.lstat(path).then(() => true, () => false)) continue;
    const kind = random.below(12);
    if (kind === 0) {
      await Deno.symlink(random.pick(["/nowhere/x", ".", "..", "a.jpg", "/etc/hostname", name]), path);
    } else if (kind === 1) await Deno.mkdir(path);
    else if (kind === 2) await Deno.writeFile(path, somePng(random));
    else if (kind === 3) await Deno.writeFile(path, random.damaged(image));
    else await Deno.writeFile(path, masks ? good : image);
  }
}

/** All that is done with a data set before a run. */
async function checkAll(random: Random, dataset: Dataset): Promise<void> {
  const broken = random.chance(0.5) ? { broken: new BrokenFiles() } : {};
  await checkFiles(dataset, broken);
  await checkSamples(dataset, { limit: 4, ...broken });
  await checkLabels(dataset, broken);
}

async function ownFolderCase(random: Random, folder: string): Promise<unknown> {
  const inside = random.chance(0.2);
  const masks = inside ? `${folder}/im/ma` : `${folder}/ma`;
  await fill(random, `${folder}/im`, false);
  await fill(random, masks, true);
  if (random.chance(0.3)) {
    return await openInput(`${folder}/im`, { except: random.pick([masks, folder, "/none"]) });
  }
  const labels = random.pick([undefined, undefined, 3, "foreground", "3", "0", `${folder}/labels.txt`]);
  if (labels === `${folder}/labels.txt`) await Deno.writeFile(labels, encoded(random, labelText(random)));
  const dataset = await openOwnFolder({
    ...{ images: `${folder}/im`, masks, val: random.pick([0.1, 0.5, 0.99, 0.3]), seed: random.below(9) },
    ...(labels !== undefined && { labels }),
  });
  return await checkAll(random, dataset);
}

async function listCase(random: Random, folder: string): Promise<unknown> {
  await fill(random, `${folder}/img`, false);
  await fill(random, `${folder}/mask`, true);
  const present = await Array.fromAsync(Deno.readDir(`${folder}/img`), ({ name }) => `img/${name}`);
  const paths = [
    ...present,
    ...present,
    "img/a.jpg",
    "mask/a.png",
    "mask/gr\u00fcn.png",
    "/etc/passwd",
    "../x",
    "",
    "img\\a.jpg",
  ];
  const path = (): string => {
    const chosen = random.pick([...paths, ...words]);
    return random.chance(0.1) ? `"${chosen}"` : chosen;
  };
  // Most lines are right, so that some lists are.
  const line = (): string =>
    random.chance(0.8)
      ? `img/good.png${random.pick([" ", "\t"])}mask/good.png`
      : random.some([path(), path(), path()], 1, 3).join(random.pick([" ", " ", "\t", ",", "  "]));
  const list = (): Uint8Array<ArrayBuffer> => {
    const lines = Array.from({ length: 1 + random.below(3) }, line);
    return random.chance(0.7)
      ? utf8.encode(lines.join("\n"))
      : encoded(random, lines.join(random.pick(breaks)));
  };
  await Deno.mkdir(`${folder}/splits/s`, { recursive: true });
  for (const name of ["s/labeled.txt", "s/unlabeled.txt", "val.txt"]) {
    if (random.chance(0.9)) await Deno.writeFile(`${folder}/splits/${name}`, list());
  }
  const dataset = await openFolder(folder, {
    ...{
      split: random.pick(["s", "s", "s", "none", `${folder}/splits/s`, "\x00"]),
      classes: random.pick([3, "3", "pascal"]),
    },
    allowAbsent: random.chance(0.3),
  });
  return await checkAll(random, dataset);
}

async function configCase(random: Random, folder: string): Promise<unknown> {
  const names = Object.keys(trainOptions);
  const entries = random.some([...names, "__proto__", "crops", "\x1b"], 0, 5).map((
    name,
  ) => [name, jsonValue(random, 2)]);
  const path = `${folder}/config.json`;
  await Deno.writeFile(path, encoded(random, JSON.stringify(Object.fromEntries(entries))));
  return readOptionFile(trainOptions, path);
}

const fuzzCases: { readonly [kind: string]: Case } = {
  classes: classesCase,
  mask: maskCase,
  header: headerCase,
  "own folder": ownFolderCase,
  list: listCase,
  config: configCase,
};

if (import.meta.main) {
  const [seed = 1, minutes = 1] = Deno.args.map(Number);
  const { findings, ...counts } = await fuzzData({ seed, seconds: 60 * minutes });
  console.log(counts);
  for (const finding of findings) console.log(finding);
  Deno.exit(findings.length === 0 ? 0 : 1);
}
