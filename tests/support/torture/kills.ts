/**
 * Kills: processes end at random moments and at every kind of write, as by a loss of power, and are resumed.
 *
 * @module
 */
import type { Outcome } from "./campaign.ts";
import { Chance } from "./chance.ts";
import { finishAndCompare, hasTrace, type Injury, startTraining, trainWhole, type Whole } from "./process.ts";
import { tinyArguments } from "../runs.ts";

/** Every kind of write of a run, with how often it comes in one. */
const writes: readonly [file: string, often: number][] = [
  ["config.json", 1],
  ["run.lock", 1],
  ["metrics.jsonl", 1],
  ["latest.safetensors", 5],
  ["best.safetensors", 2],
  ["curves.png", 2],
  ["overlays.png", 2],
];

/** All injuries from within. */
function allInjuries(): Injury[] {
  const injuries: Injury[] = [];
  const add = (at: Injury["at"], file: string, often: number, whens: readonly Injury["when"][]): void => {
    for (let count = 1; count <= often; count++) {
      for (const when of whens) injuries.push({ at, file, count, when });
    }
  };
  for (const [file, often] of writes) {
    add("open", file, often, ["before", "after"]);
    add("write", file, often, ["before", "half", "after"]);
    if (file !== "run.lock") {
      add("sync", file, often, ["before", "after"]);
      add("rename", file, often, ["before", "after"]);
    }
  }
  // Every line of the metrics, after the file was made.
  for (let line = 2; line <= 11; line++) add("write", "metrics.jsonl", line, ["half"]);
  add("remove", "run.lock", 1, ["before", "after"]);
  return injuries;
}

/** Kills by turns at a chosen write and at a random moment. */
export async function* kills(seed: number, deadline: number): AsyncGenerator<Outcome> {
  const out = await Deno.makeTempDir({ prefix: "torture-" });
  try {
    const whole = await trainWhole(out);
    const injuries = shuffled(allInjuries(), new Chance(seed, -1 >>> 0));
    for (let number = 0; performance.now() < deadline; number++) {
      const chance = new Chance(seed, number);
      const folder = `${out}/kill-${number}`;
      const injury = number % 2 === 0 ? injuries[number / 2 % injuries.length] : undefined;
      yield injury === undefined
        ? { what: "SIGKILL at a random moment", ...await killSometime(folder, whole, chance) }
        : { what: `SIGKILL at ${injury.at} of ${injury.file}`, ...await killAt(folder, whole, injury) };
      await Deno.remove(folder, { recursive: true }).catch(() => {});
    }
  } finally {
    await Deno.remove(out, { recursive: true });
  }
}

const newRun = (folder: string): string[] => {
  const cut = folder.lastIndexOf("/");
  return [...tinyArguments, "--out", folder.slice(0, cut), "--name", folder.slice(cut + 1)];
};

async function killAt(folder: string, whole: Whole, injury: Injury): Promise<Omit<Outcome, "what">> {
  const { said, hung, signal } = await startTraining(newRun(folder), { injury }).ended;
  if (hung) return { end: "hung", detail: said };
  if (signal !== "SIGKILL") {
    return { end: "crashed", detail: `${JSON.stringify(injury)} was not met\n${said}` };
  }
  return withDetail(await goOn(folder, whole), JSON.stringify(injury));
}

async function killSometime(folder: string, whole: Whole, chance: Chance): Promise<Omit<Outcome, "what">> {
  const kills: number[] = [];
  for (let args = newRun(folder), k = 0; k === 0 || (k < 4 && chance.oneIn(2)); k++) {
    const { process, ended } = startTraining(args);
    const after = chance.between(0, whole.time * (k === 0 ? 1.2 : 0.9));
    kills.push(Math.round(after));
    const timer = setTimeout(() => process.kill("SIGKILL"), after);
    const { said, hung, signal, code } = await ended;
    clearTimeout(timer);
    if (hung) return { end: "hung", detail: said };
    const isDone = signal === "SIGKILL" || code === 0 ||
      /steps are done|holds no checkpoint|saved none/.test(said);
    if (!isDone || hasTrace(said)) return { end: "crashed", detail: said };
    if (!await hasCheckpoint(folder)) break;
    args = ["--resume", folder];
  }
  return withDetail(await goOn(folder, whole), `killed after ${kills.join(", ")} ms`);
}

/** Goes on with a run; one that saved nothing yet must say so, and may be started again under another name. */
async function goOn(folder: string, whole: Whole): Promise<Omit<Outcome, "what">> {
  if (await hasCheckpoint(folder)) return await finishAndCompare(folder, whole);
  const { code, said, hung } = await startTraining(["--resume", folder]).ended;
  if (hung) return { end: "hung", detail: said };
  const isTold = code === 2 && /^Cannot load checkpoint .*(no such file or folder|saved none)/m.test(said);
  return isTold && !hasTrace(said) ? { end: "sentence" } : { end: "crashed", detail: said };
}

async function hasCheckpoint(folder: string): Promise<boolean> {
  return await Deno.stat(`${folder}/latest.safetensors`).then(() => true, () => false);
}

function withDetail(outcome: Omit<Outcome, "what">, how: string): Omit<Outcome, "what"> {
  return outcome.detail === undefined ? outcome : { ...outcome, detail: `${how}: ${outcome.detail}` };
}

function shuffled<T>(list: readonly T[], chance: Chance): T[] {
  const result = [...list];
  for (let k = result.length - 1; k > 0; k--) {
    const other = chance.below(k + 1);
    [result[k], result[other]] = [result[other]!, result[k]!];
  }
  return result;
}
