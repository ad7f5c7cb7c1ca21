/**
 * Torn files: those of a run's folder are cut, changed, removed or put in each other's place before it is resumed.
 *
 * @module
 */
import { loadCheckpoint } from "../../../src/training/checkpoint.ts";
import { sentenceOf } from "../../../src/training/session.ts";
import { computedMetrics, drawPictures, runQuietly, tiny } from "../runs.ts";
import type { Outcome } from "./campaign.ts";
import { Chance } from "./chance.ts";

/** What is done to a file, by name. */
const tears: Record<string, (path: string, chance: Chance) => Promise<void>> = {
  cut: async (path, chance) => {
    const { size } = await Deno.stat(path);
    await Deno.truncate(path, chance.below(size));
  },
  zeroed: (path, chance) =>
    changed(path, chance, (bytes, at) => bytes.fill(0, at, at + 1 + chance.below(4096))),
  "of another bit": (path, chance) =>
    changed(path, chance, (bytes, at) => bytes[at] = bytes[at]! ^ (1 << chance.below(8))),
  longer: async (path, chance) => {
    const tail = Uint8Array.from({ length: 1 + chance.below(64) }, () => chance.below(256));
    await Deno.writeFile(path, tail, { append: true });
  },
  empty: (path) => Deno.truncate(path, 0),
  removed: (path) => Deno.remove(path),
  "a folder": async (path) => {
    await Deno.remove(path);
    await Deno.mkdir(path);
  },
};

async function changed(
  path: string,
  chance: Chance,
  change: (bytes: Uint8Array, at: number) => void,
): Promise<void> {
  const bytes = await Deno.readFile(path);
  if (bytes.length === 0) return;
  change(bytes, chance.below(bytes.length));
  await Deno.writeFile(path, bytes);
}

/** The files of a stopped run; of those that only record, a digit may change unseen. */
const files = [
  "latest.safetensors",
  "best.safetensors",
  "metrics.jsonl",
  "config.json",
  "curves.png",
  "overlays.png",
];

/** Tears files and resumes, in this process. */
export async function* torn(seed: number, deadline: number): AsyncGenerator<Outcome> {
  const out = await Deno.makeTempDir({ prefix: "torture-" });
  try {
    const base = { ...tiny, ...await drawPictures(out), out };
    await runQuietly({ ...base, name: "whole" });
    const whole = await computedMetrics(`${out}/whole`);
    const controller = new AbortController();
    const stopAt = { "step 6/8": () => controller.abort("SIGINT") };
    await runQuietly({ ...base, name: "stopped" }, stopAt, controller.signal);
    const kinds = Object.keys(tears);
    for (let number = 0; performance.now() < deadline; number++) {
      const chance = new Chance(seed, number);
      const file = files[number % files.length]!;
      const tear = kinds[Math.floor(number / files.length) % kinds.length]!;
      const folder = `${out}/torn`;
      await copyFolder(`${out}/stopped`, folder);
      await tears[tear]!(`${folder}/${file}`, chance);
      const outcome = await resumed(folder, file, { tear, whole });
      yield {
        what: `${file} ${tear}`,
        ...(outcome.detail ? { ...outcome, detail: `case ${number}: ${outcome.detail}` } : outcome),
      };
      await Deno.remove(folder, { recursive: true });
    }
  } finally {
    await Deno.remove(out, { recursive: true });
  }
}

async function copyFolder(from: string, to: string): Promise<void> {
  await Deno.mkdir(to);
  for (const { name } of Deno.readDirSync(from)) await Deno.copyFile(`${from}/${name}`, `${to}/${name}`);
}

async function resumed(
  folder: string,
  file: string,
  { tear, whole }: { tear: string; whole: readonly unknown[] },
): Promise<Omit<Outcome, "what">> {
  const { said, error } = await runQuietly({ resume: folder });
  if (error !== undefined) {
    const sentence = sentenceOf(error);
    if (sentence === undefined) return { end: "crashed", detail: Deno.inspect(error) };
    if (!sentence.includes(file)) {
      return { end: "crashed", detail: `the sentence names another file: ${sentence}` };
    }
    if (file !== "latest.safetensors") {
      // What only records may be in the way as a folder, and what is said is how to clear it.
      return tear === "a folder" ? { end: "sentence" } : { end: "lost", detail: sentence };
    }
    // The best checkpoint is another one to go on from.
    const other = await runQuietly({ resume: `${folder}/best.safetensors` });
    if (other.error !== undefined) return { end: "lost", detail: `${sentence}\n${other.error}` };
    return same(await computedMetrics(folder), whole)
      ? { end: "sentence" }
      : { end: "lost", detail: other.said };
  }
  try {
    await loadCheckpoint(`${folder}/best.safetensors`);
  } catch (broken) {
    return { end: "lost", detail: `the best checkpoint: ${broken}\n${said}` };
  }
  const metrics = await computedMetrics(folder);
  if (same(metrics, whole)) return { end: "survived" };
  if (file !== "metrics.jsonl") return { end: "lost", detail: `other metrics\n${said}` };
  // Nothing guards a digit of a log. Lines that are gone are told, and nothing else is missing or wrong.
  const lines = new Set(whole.map((line) => JSON.stringify(line)));
  const wrong = metrics.filter((line) => !lines.has(JSON.stringify(line)));
  if (wrong.length > (tear === "of another bit" || tear === "longer" ? 1 : 0)) {
    return { end: "lost", detail: `lines of nowhere: ${JSON.stringify(wrong)}` };
  }
  const isTold = wrong.length > 0 || /^The metrics of step .* are missing/m.test(said) ||
    onlyEvaluationsMiss(metrics, whole);
  return isTold
    ? { end: "survived" }
    : { end: "lost", detail: `lines are missing and nobody says so\n${said}` };
}

function same(a: readonly unknown[], b: readonly unknown[]): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Whether all lines of steps are there: how often a run was evaluated before is known to nobody. */
function onlyEvaluationsMiss(metrics: readonly unknown[], whole: readonly unknown[]): boolean {
  const steps = (lines: readonly unknown[]): unknown[] =>
    lines.filter((line) => !("meanIoU" in (line as object)));
  return same(steps(metrics), steps(whole));
}
