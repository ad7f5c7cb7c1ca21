/**
 * Signals at random moments, one or several: the run saves and ends with the status of the signal, or goes on.
 *
 * @module
 */
import { tinyArguments } from "../runs.ts";
import type { Outcome } from "./campaign.ts";
import { Chance } from "./chance.ts";
import { finishAndCompare, hasTrace, startTraining, trainWhole, type Whole } from "./process.ts";

const patterns: readonly (readonly Deno.Signal[])[] = [
  ["SIGINT"],
  ["SIGTERM"],
  ["SIGQUIT"],
  ["SIGHUP"],
  ["SIGTERM", "SIGTERM"],
  ["SIGHUP", "SIGHUP", "SIGTERM"],
  ["SIGINT", "SIGTERM"],
];

/** Sends signals at random moments. */
export async function* signals(seed: number, deadline: number): AsyncGenerator<Outcome> {
  const out = await Deno.makeTempDir({ prefix: "torture-" });
  try {
    const whole = await trainWhole(out);
    for (let number = 0; performance.now() < deadline; number++) {
      const chance = new Chance(seed, number);
      const pattern = patterns[number % patterns.length]!;
      yield { what: pattern.join(" "), ...await signalled(`${out}/run-${number}`, pattern, whole, chance) };
    }
  } finally {
    await Deno.remove(out, { recursive: true });
  }
}

async function signalled(
  folder: string,
  pattern: readonly Deno.Signal[],
  whole: Whole,
  chance: Chance,
): Promise<Omit<Outcome, "what">> {
  const cut = folder.lastIndexOf("/");
  const args = [...tinyArguments, "--out", folder.slice(0, cut), "--name", folder.slice(cut + 1)];
  const { process, ended } = startTraining(args);
  // Before its first line nobody listens, and a signal ends any process.
  const after = chance.between(whole.time * 0.3, whole.time);
  const timer = setTimeout(() => {
    for (const signal of pattern) process.kill(signal);
  }, after);
  const { code, said, hung } = await ended;
  clearTimeout(timer);
  const how = `after ${Math.round(after)} ms of ${Math.round(whole.time)}, status ${code}\n${said}`;
  if (hung) return { end: "hung", detail: how };
  if (hasTrace(said)) return { end: "crashed", detail: how };
  const statuses: Partial<Record<Deno.Signal, number>> = {
    SIGHUP: 0,
    SIGINT: 130,
    SIGQUIT: 131,
    SIGTERM: 143,
  };
  // The signal may come when all is done. Signals that come together are taken in any order.
  if (code !== 0 && !pattern.some((signal) => statuses[signal] === code)) {
    return { end: "crashed", detail: how };
  }
  if (await Deno.stat(`${folder}/run.lock`).then(() => true, () => false)) {
    return { end: "lost", detail: how };
  }
  if (!await Deno.stat(folder).then(() => true, () => false)) {
    return /there is nothing to save/.test(said) ? { end: "sentence" } : { end: "crashed", detail: how };
  }
  const outcome = await finishAndCompare(folder, whole);
  return outcome.detail === undefined ? outcome : { ...outcome, detail: `${how}\n${outcome.detail}` };
}
