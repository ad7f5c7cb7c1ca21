/**
 * Disks that are full, read-only, or take only small files: the run ends with a sentence that names the file, and goes on
 * once there is room.
 *
 * @module
 */
import { tinyArguments } from "../runs.ts";
import type { Outcome } from "./campaign.ts";
import { Chance } from "./chance.ts";
import { finishAndCompare, hasTrace, startTraining, trainWhole, type Whole } from "./process.ts";

type Way = (root: string, whole: Whole, chance: Chance) => Promise<Omit<Outcome, "what">>;

/** Fills disks in turn. What the system does not allow (mounting needs root, limits need Linux) is left out. */
export async function* disk(seed: number, deadline: number): AsyncGenerator<Outcome> {
  const root = await Deno.makeTempDir({ prefix: "torture-" });
  const ways: [what: string, way: Way][] = [];
  if (await works("prlimit", ["--version"])) ways.push(["limit on the size of files", limited]);
  if (await works("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", root])) {
    await works("umount", [root]);
    ways.push(["full disk", full], ["disk that turns read-only", readOnly]);
  }
  if (Deno.build.os !== "windows") ways.push(["full disk below the log", fullLog]);
  try {
    const whole = await trainWhole(root);
    for (let number = 0; performance.now() < deadline && ways.length > 0; number++) {
      const [what, way] = ways[number % ways.length]!;
      const folder = `${root}/${number}`;
      await Deno.mkdir(folder);
      yield { what, ...await way(folder, whole, new Chance(seed, number)) };
      await Deno.remove(folder, { recursive: true });
    }
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

/** Whether a command ends well. */
async function works(command: string, args: readonly string[]): Promise<boolean> {
  try {
    const { success } = await new Deno.Command(command, { args: [...args], stdout: "null", stderr: "null" })
      .output();
    return success;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.PermissionDenied) return false;
    throw error;
  }
}

const named = (out: string): string[] => [...tinyArguments, "--out", out, "--name", "run"];

/** What a process that met its limit has to say, and that it goes on without one. */
async function judge(
  { code, said, hung }: { code: number; said: string; hung: boolean },
  { folder, words, whole }: { folder: string; words: RegExp; whole: Whole },
): Promise<Omit<Outcome, "what">> {
  if (hung) return { end: "hung", detail: said };
  if (hasTrace(said)) return { end: "crashed", detail: said };
  if (code !== 0) {
    // Shells give 128 and more to what a signal has ended.
    if (code !== 2 || !words.test(said)) return { end: "crashed", detail: `status ${code}\n${said}` };
    if (!await Deno.stat(`${folder}/latest.safetensors`).then(() => true, () => false)) {
      return { end: "sentence" };
    }
  }
  return await finishAndCompare(folder, whole);
}

const limited: Way = async (out, whole, chance) => {
  const bytes = Math.round(2 ** chance.between(8, 21));
  const ended = await startTraining(named(out), { wrap: ["prlimit", `--fsize=${bytes}`] }).ended;
  const outcome = await judge(ended, { folder: `${out}/run`, words: /^Cannot .*: file too large/m, whole });
  return outcome.detail === undefined ? outcome : { ...outcome, detail: `${bytes} bytes: ${outcome.detail}` };
};

/** Trains in a file system of its own. */
async function mounted(
  out: string,
  kilobytes: number,
  train: (remount: (options: string) => Promise<boolean>) => Promise<Omit<Outcome, "what">>,
): Promise<Omit<Outcome, "what">> {
  await works("mount", ["-t", "tmpfs", "-o", `size=${kilobytes}k`, "tmpfs", out]);
  try {
    return await train((options) => works("mount", ["-o", `remount,${options}`, out]));
  } finally {
    await works("umount", ["-l", out]);
  }
}

const full: Way = (out, whole, chance) => {
  const kilobytes = Math.round(2 ** chance.between(2, 12.5));
  return mounted(out, kilobytes, async (remount) => {
    const ended = await startTraining(named(out)).ended;
    await remount("size=64m");
    const words = /^Cannot .*: no space left on device/m;
    const outcome = await judge(ended, { folder: `${out}/run`, words, whole });
    return outcome.detail === undefined
      ? outcome
      : { ...outcome, detail: `${kilobytes} KiB: ${outcome.detail}` };
  });
};

const readOnly: Way = (out, whole, chance) =>
  mounted(out, 65536, async (remount) => {
    const { ended } = startTraining(named(out));
    const after = chance.between(0, whole.time);
    let isOver = false;
    // A file that is open for writing keeps the file system from it: try again.
    const turn = async (): Promise<void> => {
      await new Promise((resolve) => setTimeout(resolve, after));
      while (!isOver && !await remount("ro")) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    const [result] = await Promise.all([ended.finally(() => isOver = true), turn()]);
    await remount("rw");
    const words = /^Cannot .*: (read-only file system|permission is denied)/im;
    return await judge(result, { folder: `${out}/run`, words, whole });
  });

const fullLog: Way = async (out, whole) => {
  const wrap = ["sh", "-c", 'exec "$0" "$@" > /dev/full 2>&1'];
  const ended = await startTraining(named(out), { wrap }).ended;
  if (ended.hung || ended.code !== 0) {
    return { end: ended.hung ? "hung" : "lost", detail: `status ${ended.code}` };
  }
  return await finishAndCompare(`${out}/run`, whole);
};
