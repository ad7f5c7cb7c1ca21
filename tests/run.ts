/**
 * Runs the tests and the examples of the documentation, and prints `N passed, N failed` as its last line.
 *
 * `deno run -A tests/run.ts` runs everything; arguments are handed to `deno test` instead
 * (`deno run -A tests/run.ts --filter conv2d`, `deno run -A tests/run.ts tests/io_torch_test.ts`).
 * With ALLSPARK_REQUIRE_WEBGPU=1 a machine without a WebGPU adapter is a failure instead of a reason to skip.
 *
 * @module
 */

/** What one run of `deno test` counted. */
interface Counts {
  passed: number;
  failed: number;
}

/** Where the examples of the documentation are. */
const DOCUMENTED = ["README.md", "mod.ts", "ops", "models", "io", "src"];

const root = new URL("..", import.meta.url);
const environment = {
  // Without it the Vulkan loader writes to stderr whenever an adapter is asked for.
  XDG_RUNTIME_DIR: Deno.env.get("XDG_RUNTIME_DIR") ?? Deno.env.get("TMPDIR") ?? "/tmp",
};

if (import.meta.main) {
  const runs = Deno.args.length > 0 ? [Deno.args] : [["tests"], ["--doc", ...DOCUMENTED]];
  const total: Counts = await hasAdapter() ? { passed: 0, failed: 0 } : missingAdapter();
  for (const args of runs) {
    const counts = await denoTest(args);
    total.passed += counts.passed;
    total.failed += counts.failed;
  }
  console.log(`${total.passed} passed, ${total.failed} failed`);
  Deno.exit(total.failed === 0 ? 0 : 1);
}

/** Runs `deno test` once, forwards what it prints, and reads the counts from its summary. */
async function denoTest(args: readonly string[]): Promise<Counts> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", ...args],
    cwd: root,
    env: environment,
    stdout: "piped",
  }).spawn();
  const [text, status] = await Promise.all([forward(child.stdout), child.status]);
  const counts = readSummary(text);
  // A run that ends before its summary, such as a file that cannot be loaded, is a failure too.
  if (!status.success && counts.failed === 0) return { ...counts, failed: 1 };
  return counts;
}

async function forward(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    await writeAll(chunk);
    text += decoder.decode(chunk, { stream: true });
  }
  return text;
}

async function writeAll(bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await Deno.stdout.write(bytes.subarray(written));
}

/** Adds up the lines `ok | 3 passed (2 steps) | 0 failed`. */
export function readSummary(text: string): Counts {
  // deno-lint-ignore no-control-regex
  const plain = text.replace(/\x1b\[[0-9;]*m/g, "");
  const counts = { passed: 0, failed: 0 };
  for (const line of plain.matchAll(/^(?:ok|FAILED) \| (\d+) passed(?: \([^)]*\))? \| (\d+) failed/gm)) {
    counts.passed += Number(line[1]);
    counts.failed += Number(line[2]);
  }
  return counts;
}

async function hasAdapter(): Promise<boolean> {
  Deno.env.set("XDG_RUNTIME_DIR", environment.XDG_RUNTIME_DIR);
  return await navigator.gpu?.requestAdapter() != null;
}

/** Says how to get an adapter, and counts its absence as a failure where one is required. */
function missingAdapter(): Counts {
  const required = Deno.env.get("ALLSPARK_REQUIRE_WEBGPU") === "1";
  console.log(
    `There is no WebGPU adapter, so the WebGPU tests ${
      required ? "cannot run" : "are skipped"
    }: install the ` +
      `driver of the graphics card, or on Debian the packages mesa-vulkan-drivers and libvulkan1`,
  );
  return { passed: 0, failed: required ? 1 : 0 };
}
