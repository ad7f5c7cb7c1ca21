/**
 * Reads the weight files of a folder one after another, and prints for each one line of JSON: how it ended, and the
 * processor's time that it took. Started as a process of its own, so that its memory is the readers'.
 */
import { cpuUsage } from "node:process";
import { findStateDict, readWeights } from "../../src/io/mod.ts";

/** How reading a file ended. */
export interface Outcome {
  readonly file: string;
  /** Processor's time in seconds. */
  readonly seconds: number;
  /** Names of the arrays. */
  readonly arrays?: readonly string[];
  /** Class and message of the error. */
  readonly error?: readonly [name: string, message: string];
}

if (import.meta.main) {
  const folder = Deno.args[0]!;
  const files = [...Deno.readDirSync(folder)].map(({ name }) => name).sort((a, b) => Number(a) - Number(b));
  for (const file of files) console.log(JSON.stringify(await outcome(folder, file)));
  console.log(JSON.stringify({ peakMemory: peakMemory() }));
}

async function outcome(folder: string, file: string): Promise<Outcome> {
  // What the files before left behind is not this one's.
  (globalThis as { gc?: () => void }).gc?.();
  const before = cpuUsage();
  let result: Pick<Outcome, "arrays" | "error">;
  try {
    const { entries, tree } = await readWeights(`${folder}/${file}`);
    findStateDict(tree);
    result = { arrays: [...entries.keys()] };
  } catch (error) {
    const { name, message } = error as Error;
    result = { error: [name, message] };
  }
  const { user, system } = cpuUsage(before);
  return { file, seconds: (user + system) / 1e6, ...result };
}

/** The most memory that this process has had, in bytes; on Linux, elsewhere what it has now. */
function peakMemory(): number {
  try {
    return Number(/VmHWM:\s*(\d+) kB/.exec(Deno.readTextFileSync("/proc/self/status"))![1]) * 1024;
  } catch {
    return Deno.memoryUsage().rss;
  }
}
