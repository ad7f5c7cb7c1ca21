/** What the system's signals mean to a run: the rules on a stage, then the real ones. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { loadCheckpoint, readMetrics } from "@allspark/tensor/training";
import { listenForStops, type SignalSource, statusOf } from "../src/training/signals.ts";
import { inFolder } from "./support/folders.ts";
import { tinyArguments } from "./support/runs.ts";

/** Signals that a test sends. */
function stage(hasTerminal: boolean): SignalSource & { send(signal: Deno.Signal, after: number): void } {
  const listeners = new Map<Deno.Signal, () => void>();
  let time = 0;
  return {
    add: (signal, listener) => void listeners.set(signal, listener),
    remove: (signal) => void listeners.delete(signal),
    hasTerminal: () => hasTerminal,
    now: () => time,
    send(signal, after) {
      time += after;
      listeners.get(signal)!();
    },
  };
}

Deno.test("a signal stops; from the keyboard a second one, not the first one passed on, ends at once", () => {
  for (
    const [first, second, ends] of [
      ["SIGINT", "SIGINT", true],
      ["SIGQUIT", "SIGINT", true],
      ["SIGTERM", "SIGINT", true],
      ["SIGINT", "SIGTERM", false],
      ["SIGTERM", "SIGTERM", false],
    ] as const
  ) {
    const source = stage(true);
    const ended: Deno.Signal[] = [];
    using stops = listenForStops((signal) => ended.push(signal), source);
    assertEquals(stops.signal.aborted, false);
    source.send(first, 10_000);
    assertEquals(stops.signal.reason, first);
    source.send(second, 300);
    assertEquals(ended, [], "a wrapper passes on what its terminal sent to both");
    source.send(second, 300);
    assertEquals(ended, ends ? [second] : []);
  }
});

Deno.test("a hangup stops what a terminal shows, and nothing else", () => {
  for (const hasTerminal of [true, false]) {
    const source = stage(hasTerminal);
    using stops = listenForStops(() => {}, source);
    source.send("SIGHUP", 0);
    assertEquals(stops.signal.aborted, hasTerminal);
  }
  assertEquals((["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"] as const).map(statusOf), [129, 130, 131, 143]);
});

const train = ["run", "-A", "--no-check", "--quiet", new URL("../train.ts", import.meta.url).pathname];

async function until(isThere: () => Promise<boolean>): Promise<void> {
  for (let k = 0; !await isThere(); k++) {
    assert(k < 3000, "waited for five minutes");
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

const exists = (path: string): Promise<boolean> => Deno.stat(path).then(() => true, () => false);

Deno.test({
  name:
    "a run saves and ends on SIGTERM though its log is full, and goes on without its terminal and its readers",
  ignore: Deno.build.os === "windows",
  fn: () =>
    inFolder(async (out) => {
      const folder = `${out}/run`;
      const command = [Deno.execPath(), ...train, ...tinyArguments, "--out", out, "--name", "run"];
      const first = new Deno.Command("sh", {
        args: ["-c", 'exec "$0" "$@" > /dev/full 2>&1', ...command],
      }).spawn();
      await until(() => exists(`${folder}/latest.safetensors`));
      // `timeout` sends it to the process and then to its group.
      first.kill("SIGTERM");
      first.kill("SIGTERM");
      assertEquals((await first.status).code, 143);
      assertEquals((await loadCheckpoint(folder)).meta.step, 0, "it was stopped while it compiled");
      assert(!await exists(`${folder}/run.lock`));

      const second = new Deno.Command(Deno.execPath(), {
        args: [...train, "--resume", folder],
        stdout: "piped",
        stderr: "piped",
      }).spawn();
      const [reader, errors] = [second.stdout.getReader(), second.stderr.getReader()];
      assertMatch(new TextDecoder().decode((await reader.read()).value), /^Device: cpu/);
      await Promise.all([reader.cancel(), errors.cancel()]);
      second.kill("SIGHUP");
      assertEquals((await second.status).code, 0);
      const { step, evaluated } = (await loadCheckpoint(folder)).meta;
      assertEquals([step, evaluated], [8, 8]);
      assertEquals((await readMetrics(`${folder}/metrics.jsonl`)).length, 10);
    }),
});
