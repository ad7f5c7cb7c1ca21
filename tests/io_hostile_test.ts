// Files that are made to hang a reader, to exhaust its memory, or to be read wrongly.
import { assert, assertEquals } from "@std/assert";
import { type Hostile, hostileFiles } from "./support/hostile_files.ts";
import type { Outcome } from "./support/read_files.ts";

/** Of the processor's time, which other work on the machine does not change. */
const maxSeconds = 2;
const maxMemory = 2 ** 30;

Deno.test("readWeights() ends in values or one sentence, in less than 2 s and 1 GiB, whatever a file holds", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const files = hostileFiles();
    for (const [k, file] of files.entries()) await Deno.writeFile(`${folder}/${k}`, file.bytes);
    const reader = new URL("support/read_files.ts", import.meta.url);
    const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", "--quiet", "--v8-flags=--expose-gc", reader.href, folder],
    }).output();
    assert(success, new TextDecoder().decode(stderr));
    const lines = new TextDecoder().decode(stdout).trim().split("\n").map((line) => JSON.parse(line));
    const { peakMemory } = lines.pop() as { peakMemory: number };
    assertEquals(lines.length, files.length);
    const wrong = (lines as Outcome[]).flatMap((outcome) =>
      problemsOf(outcome, files[Number(outcome.file)]!, `${folder}/${outcome.file}`)
    );
    assertEquals(wrong, []);
    assert(peakMemory < maxMemory, `the readers took ${peakMemory} bytes`);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** What is wrong with how reading a file ended, in words. */
function problemsOf({ seconds, arrays, error }: Outcome, file: Hostile, path: string): string[] {
  const { name, refused } = file;
  const problems: string[] = [];
  if (seconds >= maxSeconds) problems.push(`took ${seconds} s`);
  if (refused === undefined) {
    if (String(arrays) !== String(file.arrays)) problems.push(`gave arrays ${arrays} and ${error}`);
  } else if (error === undefined) {
    problems.push(`gave arrays ${arrays}`);
  } else {
    const [kind, message] = error;
    if (kind !== "FileFormatError") problems.push(`threw ${kind}: ${message.slice(0, 300)}`);
    else if (!message.includes(refused)) problems.push(`said ${message.slice(0, 300)}`);
    if (!message.includes(`(${path})`)) problems.push("did not name the file");
    if (message.length > 1000) problems.push(`has a message of ${message.length} characters`);
    // deno-lint-ignore no-control-regex
    if (/[\x00-\x1f\x7f-\x9f]/.test(message)) problems.push("has control characters in its message");
  }
  return problems.map((problem) => `${name}: ${problem}`);
}
