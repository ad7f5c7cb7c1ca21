/**
 * Times operations, models and training steps on this library's devices:
 * `deno task bench [cpu|webgpu] [--markdown|--write] [word...]`.
 *
 * Every figure is the median over rounds in which the devices take turns; a round is the mean of enough calls to
 * fill 60 ms, with one wait at the end. `first` is the first call, which compiles. Words choose the cases whose
 * names contain one of them. `--write` puts the rows into `docs/performance.md`.
 *
 * @module
 */
import { type Case, chosenCases } from "./cases.ts";
import { readCommandLine } from "./command_line.ts";
import { writeFigures } from "./document.ts";
import { describeRun } from "./machine.ts";
import { denoCommand, Participant } from "./participant.ts";
import { type Effort, isFigure, measure, median, type Outcome } from "./rounds.ts";
import { alignedTable, markdownTable, short, speed, value } from "./table.ts";

const effort: Effort = { least: 3, most: 9, seconds: 4 };

const given = readCommandLine();
const words = given.words.filter((word) => word !== "cpu" && word !== "webgpu");
const asked = ["cpu", "webgpu"].filter((device) => given.words.includes(device));
const devices = asked.length > 0 ? asked : ["cpu", "webgpu"];
const participants = devices.map((device) =>
  new Participant(denoCommand(device, { path: "ours.ts", args: [device] }))
);

const cellsOf = (item: Case, outcome: Outcome): string[] => {
  if (!isFigure(outcome)) return ["–", "", ""];
  const first = item.figure === "time" ? `${short(outcome.first)} ms` : "";
  return [value(item, outcome), speed(item, median(outcome.rounds)), first];
};

const run = await describeRun();
console.error(run);
const heads = ["", ...devices.flatMap((device) => [device, "speed", "first"])];
const rows: string[][] = [heads];
for (const item of chosenCases(words)) {
  const outcomes = await measure(participants.map((participant) => ({ participant, case: item })), effort);
  const row = [item.name, ...outcomes.flatMap((outcome) => cellsOf(item, outcome))];
  rows.push(row);
  console.error(row.filter((cell) => cell !== "").join("  "));
  outcomes.forEach((outcome, k) => {
    if (!isFigure(outcome)) console.error(`  ${devices[k]} cannot: ${outcome.cannot}`);
  });
}
for (const participant of participants) await participant.close();
console.log(given.markdown ? markdownTable(rows) : alignedTable(rows));
if (given.write) await writeFigures({ name: "figures", word: "Measured" }, rows, run);
