/** The programs as processes. */
export { inFolder } from "./folders.ts";

const root = new URL("../..", import.meta.url).pathname;

/** How a program ended, and what it wrote. */
export interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a program; when its standard error holds `until`, the process gets `signal`. */
export async function run(
  program: string,
  args: readonly string[],
  { until, signal, cwd }: { until?: string; signal?: Deno.Signal; cwd?: string } = {},
): Promise<Ended> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--quiet", `${root}${program}`, ...args],
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
    ...(cwd !== undefined && { cwd }),
  }).spawn();
  let err = "";
  const watch = async (): Promise<void> => {
    let sent = false;
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      err += text;
      if (until !== undefined && !sent && err.includes(until)) {
        sent = true;
        child.kill(signal!);
      }
    }
  };
  const [out, { code }] = await Promise.all([new Response(child.stdout).text(), child.status, watch()]);
  return { code, out, err };
}

/** The last line of a text that is not empty. */
export function lastLine(text: string): string {
  return text.trimEnd().split("\n").at(-1)!;
}
