/**
 * Times this library on a GPU beside the GPU's own libraries, as PyTorch uses them (cuBLAS and cuDNN in true f32):
 * `deno task bench:gpu [--markdown|--write] [word...]`.
 *
 * Where `python3` has no PyTorch with CUDA, ours is measured alone. `BENCH_PYTHON` names another interpreter. A
 * software adapter would take hours, so it is refused.
 *
 * @module
 */
import { chosenCases, gpuCases } from "./cases.ts";
import { readCommandLine } from "./command_line.ts";
import { writeFigures } from "./document.ts";
import { describeRun, hasGpu } from "./machine.ts";
import { denoCommand, Participant } from "./participant.ts";
import { isFigure, measure, median } from "./rounds.ts";
import { alignedTable, markdownTable, short, speed } from "./table.ts";
import { difference } from "./values.ts";

const effort = { least: 3, most: 5, seconds: 2 } as const;

const given = readCommandLine();
if (!await hasGpu()) throw new Error("Cannot measure a GPU: WebGPU finds none on this machine");

const ours = new Participant(denoCommand("webgpu", { path: "ours.ts", args: ["webgpu"] }));
const torch = new Participant({
  name: "torch cuda",
  program: Deno.env.get("BENCH_PYTHON") ?? "python3",
  args: [new URL("peers/pytorch.py", import.meta.url).pathname, "cuda"],
});

const run = await describeRun();
console.error(run);
const rows: string[][] = [["", "webgpu", "speed", "first", "torch cuda", "torch / ours"]];
for (const item of chosenCases(given.words, gpuCases)) {
  const participants = item.forPeers ? [ours, torch] : [ours];
  const entries = participants.map((participant) => ({ participant, case: item }));
  const [own, other] = await measure(entries, effort);
  for (const [k, outcome] of [own, other].entries()) {
    if (outcome && !isFigure(outcome)) console.error(`  ${participants[k]!.name} cannot: ${outcome.cannot}`);
  }
  const [time, theirs] = [own, other].map((outcome) =>
    isFigure(outcome) ? median(outcome.rounds) : undefined
  );
  rows.push([
    item.name,
    time === undefined ? "–" : `${short(time)} ms`,
    time === undefined ? "" : speed(item, time),
    isFigure(own) ? `${short(own.first)} ms` : "",
    theirs === undefined ? "–" : `${short(theirs)} ms`,
    time === undefined || theirs === undefined ? "" : short(theirs / time),
  ]);
  console.error(rows.at(-1)!.filter((cell) => cell !== "").join("  "));
  if (isFigure(own) && isFigure(other) && own.summary && other.summary) {
    const part = difference(own.summary, other.summary);
    if (!(part <= item.tolerance)) {
      console.error(`  the results differ by ${part.toExponential(1)} of the elements' size`);
    }
  }
}
for (const participant of [ours, torch]) await participant.close();
console.log(given.markdown ? markdownTable(rows) : alignedTable(rows));
if (given.write) await writeFigures({ name: "gpu", word: "On this GPU:" }, rows, run);
