/**
 * Times this library beside other libraries, on the same work, in turns:
 * `deno task bench:peers [--markdown|--write] [--only=NAME,NAME] [word...]`.
 *
 * Every library is a process of its own that stays alive; in every round each has its turn. All are given the same
 * inputs, and results that differ by more than the case's tolerance are printed. Words choose the cases whose names
 * contain one of them; `--only` chooses among the participants. PyTorch and ONNX Runtime's models need Debian's
 * `python3-torch`.
 *
 * @module
 */
import { chosenCases } from "./cases.ts";
import { readCommandLine } from "./command_line.ts";
import { writeFigures } from "./document.ts";
import { describeRun } from "./machine.ts";
import { type Command, denoCommand, Participant } from "./participant.ts";
import { isFigure, measure, median, type Outcome } from "./rounds.ts";
import { alignedTable, markdownTable, short } from "./table.ts";
import { difference } from "./values.ts";

const effort = { least: 3, most: 5, seconds: 8 } as const;
const models = await Deno.makeTempDir({ prefix: "onnx" });

function peer(name: string, path: string, args: readonly string[]): Command {
  return denoCommand(name, { path: `peers/${path}`, args, config: "peers/deno.json" });
}

const threads = String(navigator.hardwareConcurrency);
const torch: Command = {
  name: "torch",
  program: "/usr/bin/python3",
  args: [new URL("peers/pytorch.py", import.meta.url).pathname, threads],
  // Settings of other programs for the same libraries can halve its speed.
  environment: { OMP_NUM_THREADS: threads, OPENBLAS_CORETYPE: undefined, OPENBLAS_L2_SIZE: undefined },
};

/** Ours first; then those that run JavaScript and WebAssembly, those that use WebGPU, and native code. */
const commands: readonly Command[] = [
  denoCommand("cpu", { path: "ours.ts", args: ["cpu"] }),
  denoCommand("webgpu", { path: "ours.ts", args: ["webgpu"] }),
  peer("jax-js wasm", "jax.ts", ["wasm"]),
  peer("tfjs wasm", "tensorflow.ts", ["wasm"]),
  peer("ort wasm", "onnx.ts", ["wasm", models]),
  peer("jax-js webgpu", "jax.ts", ["webgpu"]),
  peer("tfjs webgpu", "tensorflow.ts", ["webgpu"]),
  peer("ort webgpu", "onnx.ts", ["webgpu", models]),
  peer("ort node", "onnx.ts", ["node", models]),
  torch,
];

const given = readCommandLine(["--only="]);
const only = Deno.args.find((arg) => arg.startsWith("--only="))?.slice(7).split(",");
const participants = commands.filter(({ name }) => only === undefined || only.includes(name))
  .map((command) => new Participant(command));
const chosen = chosenCases(given.words).filter((item) => item.forPeers);

/** The least of the figures of participants whose names pass. */
function best(figures: ReadonlyMap<string, number>, isMeant: (name: string) => boolean): number {
  return Math.min(...[...figures].filter(([name]) => isMeant(name)).map(([, figure]) => figure));
}

/** How many times as long the others take; above 1, ours is faster. */
function ratio(others: number, ours: number): string {
  return Number.isFinite(others) && Number.isFinite(ours) ? short(others / ours) : "–";
}

/** Says where results differ from PyTorch's or, without it, from our own on the cpu. */
function reportDifferences(outcomes: readonly Outcome[], tolerance: number): void {
  const found = outcomes.flatMap((outcome, k) =>
    isFigure(outcome) && outcome.summary ? [{ name: participants[k]!.name, summary: outcome.summary }] : []
  );
  const expected = found.find(({ name }) => name === "torch") ?? found[0];
  if (expected === undefined) return;
  for (const { name, summary } of found) {
    const part = difference(summary, expected.summary);
    if (part <= tolerance) continue;
    console.error(
      `  ${name} differs from ${expected.name} by ${part.toExponential(1)} of the elements' size; ` +
        `${tolerance} is allowed: ${JSON.stringify(summary)} against ${JSON.stringify(expected.summary)}`,
    );
  }
}

const run = await describeRun();
console.error(run);
const isOurs = (name: string): boolean => name === "cpu" || name === "webgpu";
const isNative = (name: string): boolean => name === "torch" || name === "ort node";
const heads = [
  "",
  ...participants.map(({ name }) => name),
  "best JS / ours",
  "best webgpu / ours",
  "torch / ours",
];
const rows: string[][] = [heads];
for (const item of chosen) {
  const start = performance.now();
  const outcomes = await measure(participants.map((participant) => ({ participant, case: item })), effort);
  const figures = new Map(
    outcomes.flatMap((outcome, k) =>
      isFigure(outcome) ? [[participants[k]!.name, median(outcome.rounds)] as const] : []
    ),
  );
  console.error(`${item.name}, ${((performance.now() - start) / 1000).toFixed(0)} s`);
  outcomes.forEach((outcome, k) => {
    const { name } = participants[k]!;
    console.error(
      isFigure(outcome)
        ? `  ${name} ${short(median(outcome.rounds))} ms, first ${short(outcome.first)} ms`
        : `  ${name} cannot: ${outcome.cannot}`,
    );
  });
  reportDifferences(outcomes, item.tolerance);
  const ours = best(figures, isOurs);
  rows.push([
    item.name,
    ...participants.map(({ name }) => figures.has(name) ? short(figures.get(name)!) : "–"),
    ratio(best(figures, (name) => !isOurs(name) && !isNative(name)), ours),
    ratio(best(figures, (name) => name.endsWith(" webgpu")), figures.get("webgpu") ?? Infinity),
    ratio(figures.get("torch") ?? Infinity, ours),
  ]);
}
for (const participant of participants) await participant.close();
await Deno.remove(models, { recursive: true });
console.log(given.markdown ? markdownTable(rows) : alignedTable(rows));
if (given.write) await writeFigures({ name: "peers", word: "Compared" }, rows, run);
