/**
 * Changes small valid files at random and reads them: every read must end in values that are consistent, or in one
 * sentence of the class that belongs to the reader, within bounds of time and memory.
 *
 * A case is a number: the same seed and number give the same file. Cases run in a process of their own, which is watched
 * and started again behind a case that hangs or kills it. To look at one of them:
 * `deno run -A tests/support/fuzz_files.ts SEED CASE`.
 */
import { cpuUsage } from "node:process";
import { DataError } from "../../src/data/errors.ts";
import { decodeMask } from "../../src/data/image.ts";
import {
  FileFormatError,
  findStateDict,
  isArrayEntry,
  readWeights,
  type WeightValue,
} from "../../src/io/mod.ts";
import { TENSOR_GLOBALS } from "../../src/io/torch_globals.ts";
import { decodeCheckpoint } from "../../src/training/checkpoint.ts";
import { fuzzSeeds, type Seed } from "./fuzz_seeds.ts";

/** What to try. */
export interface FuzzOptions {
  /** Which files. */
  readonly seed: number;
  /** How many (or as many as the minutes allow). */
  readonly cases?: number;
  /** How long. */
  readonly minutes?: number;
  /** Takes the counts now and then. */
  readonly onProgress?: (counts: FuzzCounts) => void;
}

/** A case that did not end as it must. */
export interface FuzzFailure {
  readonly case: number;
  readonly problem: string;
}

/** How the cases ended. */
export interface FuzzCounts {
  readonly tried: number;
  /** In values. */
  readonly values: number;
  /** In a sentence. */
  readonly refused: number;
  readonly failures: readonly FuzzFailure[];
}

/** Of the processor's time, for one case. */
const maxSeconds = 2;
const maxMemory = 2 ** 30;
/** What a process says first. */
const ready = "ready";
/** Without a case that ends; then the process is taken to hang. */
const maxSilence = 60_000;

/**
 * Runs cases until there are enough of them or the time is over.
 *
 * @param options Seed, and number of cases or minutes.
 * @returns The counts; `failures` is empty if all went well.
 */
export async function fuzzFiles(options: FuzzOptions): Promise<FuzzCounts> {
  const { seed, cases = options.minutes === undefined ? 1000 : Infinity, minutes = Infinity, onProgress } =
    options;
  const end = performance.now() + minutes * 60_000;
  const counts = { tried: 0, values: 0, refused: 0, failures: [] as FuzzFailure[] };
  while (counts.tried < cases && performance.now() < end) {
    const problem = await runProcess(seed, { from: counts.tried, to: cases, end }, (outcome) => {
      if (outcome.startsWith("{")) counts.failures.push(JSON.parse(outcome));
      else if (outcome === "v") counts.values++;
      else counts.refused++;
      counts.tried++;
      if (counts.tried % 1000 === 0) onProgress?.(counts);
    });
    if (problem === undefined) continue;
    counts.failures.push({ case: counts.tried, problem });
    counts.tried++;
  }
  return counts;
}

/** One process from a case on; gives what ended it if that was neither the last case nor the time. */
async function runProcess(
  seed: number,
  { from, to, end }: { from: number; to: number; end: number },
  onOutcome: (outcome: string) => void,
): Promise<string | undefined> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--quiet", import.meta.url, String(seed), String(from), String(to)],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const errors = new Response(child.stderr).text();
  let stopped: string | undefined;
  const stop = (why: string): void => {
    stopped = why;
    child.kill("SIGKILL");
  };
  let silence = setTimeout(() => stop("hangs"), maxSilence);
  let rest = "";
  let isReady = false;
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    clearTimeout(silence);
    silence = setTimeout(() => stop("hangs"), maxSilence);
    const lines = (rest + text).split("\n");
    rest = lines.pop()!;
    for (const line of lines) {
      if (isReady) onOutcome(line);
      else isReady = line === ready;
    }
    if (performance.now() >= end && stopped === undefined) stop("time is over");
  }
  clearTimeout(silence);
  const { code } = await child.status;
  if (stopped === "time is over" || code === 0) return undefined;
  if (!isReady) throw new Error(`Cannot start a process that reads files: ${await errors}`);
  return stopped ?? `ends the process with status ${code}: ${(await errors).slice(-300)}`;
}

/** The file of a case: a seed, changed in one to three ways. */
export function fuzzCase(
  seeds: readonly Seed[],
  seed: number,
  number: number,
): { name: string; reader: Seed["reader"]; bytes: Uint8Array } {
  const random = new Random(seed, number);
  const { name, reader, parts, build } = random.pick(seeds);
  const changed = { ...parts };
  const others = seeds.flatMap(({ parts }) => Object.values(parts));
  // Mostly one, since the first that is refused hides the others.
  for (let k = Math.max(0, random.below(5) - 2); k >= 0; k--) {
    const part = random.pick(Object.keys(changed));
    changed[part] = mutate(changed[part]!, random, others);
  }
  let bytes = build(changed);
  // Now and then what stands around the parts is changed too.
  if (random.below(6) === 0) bytes = mutate(bytes, random, others);
  return { name, reader, bytes };
}

/** Reads a file. `problem` is what is wrong with how that ended, `message` the sentence that refused it. */
async function tryCase(
  reader: Seed["reader"],
  bytes: Uint8Array,
): Promise<{ problem?: string; message?: string }> {
  const before = cpuUsage();
  const result = await readCase(reader, bytes);
  const { user, system } = cpuUsage(before);
  const seconds = (user + system) / 1e6;
  const memory = Deno.memoryUsage().rss;
  if (result.problem !== undefined) return result;
  if (seconds > maxSeconds) return { ...result, problem: `took ${seconds} s` };
  if (memory > maxMemory) return { ...result, problem: `took ${memory} bytes` };
  return result;
}

/** {@linkcode tryCase} without its bounds. */
export async function readCase(
  reader: Seed["reader"],
  bytes: Uint8Array,
): Promise<{ problem?: string; message?: string }> {
  try {
    const problem = reader === "mask" ? readMask(bytes) : await readArrays(reader, bytes);
    return problem === undefined ? {} : { problem };
  } catch (error) {
    const { name, message } = error as Error;
    if (!(error instanceof (reader === "mask" ? DataError : FileFormatError))) {
      return { message, problem: `${name}: ${(error as Error).stack ?? message}` };
    }
    const isSentence = message.startsWith("Cannot ") && message.length <= 1000 && !/\p{Cc}/u.test(message);
    return isSentence ? { message } : { message, problem: `no sentence: ${message}` };
  }
}

function readMask(bytes: Uint8Array): string | undefined {
  const { width, height, data } = decodeMask(
    bytes,
    { colors: new Map(Array.from({ length: 16 }, (_, k) => [k * 0x10001, k])) },
    "mask.png",
  );
  return data.length === width * height ? undefined : `${width}x${height} pixels have ${data.length} values`;
}

async function readArrays(reader: Seed["reader"], bytes: Uint8Array): Promise<string | undefined> {
  if (reader === "checkpoint") {
    return oddArray(Object.fromEntries(decodeCheckpoint(bytes, "latest.safetensors").arrays));
  }
  const { entries, tree } = await readWeights(bytes);
  return oddArray([tree, Object.fromEntries(entries), Object.fromEntries(findStateDict(tree))]);
}

/** An array whose data are not what its shape and type announce, so that nobody takes it for one. */
function oddArray(value: WeightValue, seen: Set<unknown> = new Set()): string | undefined {
  if (typeof value !== "object" || value === null || seen.has(value) || isArrayEntry(value)) return undefined;
  seen.add(value);
  const { shape, dtype, data } = value as { readonly [key: string]: unknown };
  // Bytes may be a value of their own.
  if (ArrayBuffer.isView(data) && !(data instanceof Uint8Array)) {
    return `an array has ${data.byteLength} bytes of ${dtype} and shape [${shape}]`;
  }
  const children = ArrayBuffer.isView(value) ? [] : Object.values(value) as WeightValue[];
  return children.map((child) => oddArray(child, seen)).find((problem) => problem !== undefined);
}

/** Numbers, texts and operations that readers treat in a way of their own. */
const tokens = [
  ..."0123456789-.,:'\"()[]{}\\/\n\0 LNIF.utRQbcqhpg}])(".split(""),
  ...[
    "9999999999999999999",
    "18446744073709551615",
    "9007199254740993",
    "4294967295",
    "2147483648",
    "1e999",
    "-1",
  ],
  ...["NaN", "null", "true", "[[[[", "{}", "\\u0000", "\\ud800", "__proto__", "constructor", "__metadata__"],
  ...[
    "\xff\xff\xff\xff",
    "\xff\xff\xff\x7f",
    "\0\0\0\x80",
    "\x01\0\0\0",
    "\x7f\xff\xff\xff",
    "\xff".repeat(8),
  ],
  ...["data.pkl", "dtype", "shape", "PK\x01\x02", "IDAT", "PLTE"],
  // Operations of pickles: pieces, and calls of all that may be called, with arguments of several kinds.
  ...[
    "\x85",
    "\x86",
    "\x87",
    "\x8a\x01\x80",
    "\x8b\xff\xff\0\0",
    "\x8c\x01a",
    "\x93",
    "\x94",
    "\x90",
    "\x8f",
    "\x91",
  ],
  ...["h\0", "q\0", "](h\0h\0eq\0", "K\x05", "}", ")R", "s", "e", "d", "l", "1", "2", "\x95"],
  ...[...TENSOR_GLOBALS.keys()].flatMap((name) => {
    const global = `c${name.slice(0, name.lastIndexOf("."))}\n${name.slice(name.lastIndexOf(".") + 1)}\n`;
    return [")R", "N\x85R", "K\x05\x85R", "]\x85R", "}}\x86R", "N}b"].map((call) => global + call);
  }),
];

/** A part with one change. */
function mutate(bytes: Uint8Array, random: Random, others: readonly Uint8Array[]): Uint8Array {
  const at = random.below(bytes.length + 1);
  const length = random.below(random.below(2) === 0 ? 8 : bytes.length - at + 1);
  const splice = (insert: Uint8Array, remove: number): Uint8Array => {
    const result = new Uint8Array(bytes.length + insert.length - Math.min(remove, bytes.length - at));
    result.set(bytes.subarray(0, at));
    result.set(insert, at);
    result.set(bytes.subarray(at + remove), at + insert.length);
    return result;
  };
  const token = (): Uint8Array => Uint8Array.from(random.pick(tokens), (char) => char.charCodeAt(0));
  const piece = bytes.subarray(at, at + Math.min(length, 2000));
  switch (random.below(9)) {
    case 0: {
      const flipped = bytes.slice();
      if (at < flipped.length) flipped[at]! ^= 1 << random.below(8);
      return flipped;
    }
    case 1:
      return splice(Uint8Array.of(random.below(256)), 1);
    case 8:
      // A little more or less, which is how sizes are wrong.
      return splice(Uint8Array.of(bytes.length === at ? 0 : bytes[at]! + random.below(9) - 4), 1);
    case 2:
      return splice(token(), 0);
    case 3: {
      const written = token();
      return splice(written, written.length);
    }
    case 4:
      return splice(new Uint8Array(0), length);
    case 5:
      return bytes.slice(0, at);
    case 6: {
      const times = 1 + random.below(random.below(8) === 0 ? 5000 : 8);
      return splice(
        Uint8Array.from({ length: Math.min(piece.length * times, 1e6) }, (_, k) => piece[k % piece.length]!),
        0,
      );
    }
    default: {
      const other = random.pick(others);
      const from = random.below(other.length + 1);
      return splice(other.subarray(from, from + length), random.below(2) * length);
    }
  }
}

/** Random numbers that a seed and a number decide (xorshift, Marsaglia 2003). */
class Random {
  #state: number;

  constructor(seed: number, number: number) {
    this.#state = (Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b)) | 1;
    for (let k = 0; k < 8; k++) this.below(2);
  }

  /** A whole number below a limit of at least 1. */
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return Math.floor((this.#state >>> 0) / 2 ** 32 * limit);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

if (import.meta.main) {
  const [seed, from, to] = Deno.args.map(Number) as [number, number, number?];
  const seeds = await fuzzSeeds(new URL("../fixtures/io/", import.meta.url));
  console.log(ready);
  for (let k = from; k < (to ?? from + 1); k++) {
    const { name, reader, bytes } = fuzzCase(seeds, seed, k);
    if (to === undefined) console.error(`${name}, ${bytes.length} bytes`);
    const outcome = await tryCase(reader, bytes);
    // Without a second number one case is run, and told in full.
    if (to === undefined) console.error(outcome.message ?? "values");
    const { problem } = outcome;
    console.log(
      problem === undefined
        ? outcome.message === undefined ? "v" : "r"
        : JSON.stringify({ case: k, problem: `${name}: ${problem}` }),
    );
  }
}
