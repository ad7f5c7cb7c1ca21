/**
 * Compares this library with its stored baseline: `deno task bench:check [cpu|webgpu] [word...]` fails where it has
 * become slower; `deno task bench:baseline` stores the figures of this machine instead.
 *
 * @module
 */
import {
  allowances,
  type Baseline,
  baselineOf,
  type Comparison,
  isRegression,
  type Machine,
  ratioOf,
  type Ratios,
  sentence,
  withRatios,
} from "./baseline.ts";
import { type Case, chosenCases } from "./cases.ts";
import { adapterHardware, processorName } from "./machine.ts";
import { denoCommand, Participant } from "./participant.ts";
import { isFigure, measure, median } from "./rounds.ts";

const effort = { least: 3, most: 9, seconds: 4 } as const;
const file = new URL("baseline.json", import.meta.url);

/** A case that seems worse is measured so many times; noise does not make anything faster, so the best counts. */
const attempts = 3;

type Device = Machine["device"];

const isDevice = (word: string): word is Device => word === "cpu" || word === "webgpu";
const isStoring = Deno.args.includes("--store");
const words = Deno.args.filter((arg) => arg !== "--store" && !isDevice(arg));
const asked = Deno.args.filter(isDevice);
const devices: readonly Device[] = asked.length > 0 ? asked : ["cpu", "webgpu"];

/** The fixed work beside a case: by memory for what is bound by memory. */
function referenceOf(item: Case): Case {
  const operation = item.unit === "GB/s" ? "referenceMemory" : "referenceCompute";
  return { name: operation, operation, inputs: [], figure: "time", tolerance: 0, forPeers: false };
}

/** One device with the reference beside it. */
class Contest {
  readonly #ours: Participant;
  readonly #reference: Participant;

  constructor(readonly device: Device) {
    this.#ours = new Participant(denoCommand(device, { path: "ours.ts", args: [device] }));
    this.#reference = new Participant(denoCommand("reference", { path: "reference.ts", args: [device] }));
  }

  /** The ratio of a case (of a peak, MB); undefined with a sentence on stderr if it cannot be measured. */
  async ratio(item: Case): Promise<number | undefined> {
    const entries = [{ participant: this.#ours, case: item }];
    if (item.figure !== "peak") entries.push({ participant: this.#reference, case: referenceOf(item) });
    const once = { ...effort, least: 1, most: 1 };
    const [figure, reference] = await measure(entries, item.figure === "time" ? effort : once);
    for (const outcome of [figure, reference]) {
      if (outcome === undefined || isFigure(outcome)) continue;
      console.error(`${item.name} on ${this.device} cannot be measured: ${outcome.cannot}`);
      return undefined;
    }
    if (!isFigure(figure)) return undefined;
    return isFigure(reference) ? ratioOf(figure.rounds, reference.rounds) : median(figure.rounds);
  }

  async close(): Promise<void> {
    await this.#ours.close();
    await this.#reference.close();
  }
}

async function machineOf(device: Device): Promise<Machine | undefined> {
  const hardware = device === "cpu" ? await processorName() : await adapterHardware();
  return hardware === undefined ? undefined : { device, hardware, threads: navigator.hardwareConcurrency };
}

async function readBaselines(): Promise<Baseline[]> {
  try {
    return JSON.parse(await Deno.readTextFile(file));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
}

async function store(contest: Contest, machine: Machine): Promise<void> {
  const ratios: Record<string, number> = {};
  for (const item of chosenCases(words)) {
    const ratio = await contest.ratio(item);
    if (ratio === undefined) continue;
    ratios[item.name] = Number(ratio.toPrecision(4));
    console.log(`${item.name} on ${contest.device}: ${ratios[item.name]}`);
  }
  const date = new Date().toISOString().slice(0, 10);
  const all = withRatios(await readBaselines(), { ...machine, date, ratios });
  await Deno.writeTextFile(file, `${JSON.stringify(all, null, 2)}\n`);
}

/** Measures a case against the stored ratio, again if it seems worse. */
async function compare(contest: Contest, item: Case, stored: number): Promise<Comparison | undefined> {
  let measured = Infinity;
  const comparison = (): Comparison => ({
    name: item.name,
    stored,
    measured,
    allowance: allowances[item.figure],
  });
  for (let attempt = 0; attempt < attempts && isRegression(comparison()); attempt++) {
    const ratio = await contest.ratio(item);
    if (ratio !== undefined) measured = Math.min(measured, ratio);
  }
  return Number.isFinite(measured) ? comparison() : undefined;
}

/** Prints the comparisons; returns the sentences about what has become worse. */
async function check(contest: Contest, ratios: Ratios): Promise<string[]> {
  const failures: string[] = [];
  for (const item of chosenCases(words)) {
    const stored = ratios[item.name];
    if (stored === undefined) {
      console.log(`${item.name} on ${contest.device}: not in the baseline of this machine`);
      continue;
    }
    const comparison = await compare(contest, item, stored);
    const text = comparison && sentence(comparison, contest.device);
    console.log(text ?? `${item.name} on ${contest.device}: could not be measured`);
    if (comparison === undefined || isRegression(comparison)) failures.push(text ?? item.name);
  }
  return failures;
}

const failures: string[] = [];
for (const device of devices) {
  const machine = await machineOf(device);
  if (machine === undefined) {
    console.log(`${device}: there is no adapter, so nothing is measured`);
    continue;
  }
  const stored = baselineOf(await readBaselines(), machine);
  if (stored === undefined && !isStoring) {
    console.log(
      `${device}: there is no baseline for ${machine.hardware} with ${machine.threads} threads, so nothing is compared; ` +
        "deno task bench:baseline makes one",
    );
    continue;
  }
  const contest = new Contest(device);
  if (isStoring) await store(contest, machine);
  else failures.push(...await check(contest, stored!.ratios));
  await contest.close();
}
if (failures.length > 0) {
  console.error(`Worse than the baseline:\n${failures.join("\n")}`);
  Deno.exit(1);
}
