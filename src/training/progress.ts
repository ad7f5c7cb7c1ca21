/**
 * What a long program shows on the terminal while it works: stages ("compiling 3 of 12"), then a bar with loss,
 * learning rate, speed, time left and the share of time spent waiting for data. Where standard error is no terminal it
 * writes a plain line now and then.
 *
 * @module
 */
import { printable } from "../data/errors.ts";
import { stderr, terminalColumns, visibleLines } from "./terminal.ts";

/** Where the progress goes; by default standard error. */
export interface ProgressOutput {
  /** Writes text. */
  write(text: string): void;
  /** Whether the text may be painted over. */
  readonly isTerminal: boolean;
  /** Characters per line; read again for every line. */
  columns(): number;
  /** Milliseconds since any fixed moment. */
  now(): number;
}

/** What a training step reports. */
export interface ProgressUpdate {
  /** Steps done, including those before a resume. */
  step: number;
  /** The loss of the last step. */
  loss: number;
  /** The learning rate of the last step. */
  lr: number;
  /** The share of the step's time, from 0 to 1, that was spent waiting for data. */
  dataWait?: number;
}

/** A moment at which steps were told, and the last of them. */
interface Moment {
  step: number;
  readonly time: number;
  /** What each of these steps said about its waiting. */
  readonly dataWaits: number[];
  /** True of a moment at which steps began and none was told. */
  readonly isBeginning: boolean;
}

/** Milliseconds between two paintings of the bar on a terminal. */
const paintInterval = 100;
/** Milliseconds after which a plain line is due, though nothing was finished: in the first minute, and later. */
const quietFirst = 10_000;
const quietLater = 60_000;
/** Milliseconds over which the speed is averaged. */
const speedWindow = 10_000;
/** Steps that are told within so many milliseconds are told together: when each of them ended is not known. */
const together = 25;

/**
 * The progress of one program. Call {@linkcode stage} before anything slow, {@linkcode start} before the first step,
 * {@linkcode update} after every step, {@linkcode note} for lines that stay, and dispose it at the end.
 *
 * @example
 * ```ts
 * import { Progress } from "@allspark/tensor/training";
 *
 * using progress = new Progress();
 * progress.stage("compiling", 1, 2);
 * progress.start({ total: 2, imagesPerStep: 4 });
 * progress.update({ step: 1, loss: 2.3, lr: 0.01 });
 * progress.note("mIoU 12.34 at step 1");
 * progress.update({ step: 2, loss: 2.1, lr: 0.01 });
 * ```
 */
export class Progress implements Disposable {
  readonly #output: ProgressOutput;
  readonly #begin: number;
  readonly #timer: ReturnType<typeof setInterval>;
  /** The line that is now on the terminal without a line break; empty if there is none. */
  #painted = "";
  #lastWrite: number;
  /** What the next painting shows. */
  #line: () => string = () => "";
  #inStage = false;
  #total = 0;
  #imagesPerStep = 0;
  #from = 0;
  /** When the first steps had ended: what came before, compilation, says nothing about the time left. */
  #firstSteps: Moment | undefined;
  /** When the last steps were told, for the speed; a stage in between, such as an evaluation, empties it. */
  #recent: Moment[] = [];
  #speed = "";

  /** Starts to show progress. */
  constructor(output: ProgressOutput = standardError()) {
    this.#output = output;
    this.#begin = this.#lastWrite = output.now();
    // Steps and compilations can take longer than anybody waits without a sign of life.
    this.#timer = setInterval(() => this.tick(), 1000);
    Deno.unrefTimer(this.#timer as unknown as number);
  }

  /**
   * Names what is done now, with how many of how many if that is known.
   *
   * @param what A few words, such as `compiling the training step`.
   * @param k Which part is being worked on, from 1.
   * @param n How many parts there are.
   */
  stage(what: string, k?: number, n?: number): void {
    const fresh = k === undefined || k <= 1;
    this.#keepSpeed();
    this.#recent = [];
    this.#inStage = true;
    const began = this.#output.now();
    const count = k === undefined ? "" : n === undefined ? ` ${k}` : ` ${k} of ${n}`;
    this.#line = (): string => {
      const seconds = (this.#output.now() - began) / 1000;
      return what + count + (seconds < 2 ? "" : `, ${duration(seconds)}`);
    };
    this.#show({ now: fresh || k === n });
  }

  /**
   * Begins the bar.
   *
   * @param options `total` steps, `imagesPerStep` for the speed, and `from` steps that an earlier run has done.
   */
  start({ total, imagesPerStep, from = 0 }: { total: number; imagesPerStep: number; from?: number }): void {
    this.#total = total;
    this.#imagesPerStep = imagesPerStep;
    this.#from = from;
    this.#inStage = false;
    this.#firstSteps = undefined;
    this.#recent = [];
    this.#line = (): string =>
      fit([`step ${from}/${total}`, "the first step takes longest"], this.#columns());
    this.#show({ now: true });
  }

  /**
   * Says that steps begin now that everything is compiled, after so many: the speed counts from here.
   *
   * @param done Steps done.
   */
  steps(done: number): void {
    this.#keepSpeed();
    this.#recent = [{ step: done, time: this.#output.now(), dataWaits: [], isBeginning: true }];
  }

  /** Shows a finished step. Several may be told in one go. */
  update({ step, loss, lr, dataWait }: ProgressUpdate): void {
    const time = this.#output.now();
    const waits = dataWait === undefined ? [] : [dataWait];
    const last = this.#recent.at(-1);
    if (last !== undefined && !last.isBeginning && time - last.time < together) {
      last.step = step;
      last.dataWaits.push(...waits);
    } else this.#recent.push({ step, time, dataWaits: waits, isBeginning: false });
    this.#firstSteps ??= this.#recent.at(-1)!;
    this.#inStage = false;
    while (this.#recent.length > 3 && this.#recent[1]!.time < time - speedWindow) this.#recent.shift();
    this.#line = (): string => this.#bar(step, loss, lr);
    this.#show({ now: step === this.#total || step === this.#from + 1 });
  }

  /** Writes a line that stays, above the bar. */
  note(text: string): void {
    this.#erase();
    this.#write(visibleLines(text) + "\n");
    if (this.#output.isTerminal) this.#paint();
  }

  /** Repaints the line if it is time to; a timer calls it every second. */
  tick(): void {
    this.#show({ now: this.#output.isTerminal });
  }

  /** Stops; the bar stays on the terminal, the name of a stage goes. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    if (this.#inStage) this.#erase();
    else if (this.#painted !== "") this.#write("\n");
    this.#painted = "";
  }

  /** How much of the last steps' time was spent waiting for data. */
  #dataWait(): string {
    const shares = this.#recent.flatMap(({ dataWaits }) => dataWaits);
    if (shares.length === 0) return "";
    const mean = shares.reduce((sum, share) => sum + share) / shares.length;
    return `data wait ${(100 * mean).toFixed(0)} %`;
  }

  #columns(): number {
    return Math.max(20, this.#output.columns()) - 1;
  }

  #show({ now }: { now: boolean }): void {
    const time = this.#output.now();
    const quiet = time - this.#begin < quietLater ? quietFirst : quietLater;
    if (!now && time - this.#lastWrite < (this.#output.isTerminal ? paintInterval : quiet)) return;
    if (this.#output.isTerminal) this.#paint();
    else if (this.#line() !== "") this.#write(printable(this.#line()) + "\n");
  }

  #paint(): void {
    const line = printable(this.#line()).slice(0, this.#columns());
    if (line === "") return;
    this.#erase();
    this.#write(line);
    this.#painted = line;
  }

  #erase(): void {
    if (this.#painted !== "") this.#write("\r\x1b[K");
    this.#painted = "";
  }

  #write(text: string): void {
    this.#output.write(text);
    this.#lastWrite = this.#output.now();
  }

  /** The last moment of which no more steps will be told. */
  #lastWhole(step: number): Moment | undefined {
    const last = this.#recent.at(-1);
    const isWhole = last === undefined || step === this.#total || this.#output.now() - last.time >= together;
    return isWhole ? last : this.#recent.at(-2);
  }

  /** The speed since the first of the recent moments, or the last that was known. */
  #speedNow(step: number): string {
    const [begin, end] = [this.#recent[0], this.#lastWhole(step)];
    if (begin === undefined || end === undefined || end.step <= begin.step) return this.#speed;
    return `${threeDigits(this.#imagesPerStep / millisecondsPerStep(begin, end) * 1000)} images/s`;
  }

  #keepSpeed(): void {
    this.#speed = this.#speedNow(this.#recent.at(-1)?.step ?? 0);
  }

  #bar(step: number, loss: number, lr: number): string {
    const end = this.#lastWhole(step);
    const perStep = end === undefined ? 0 : millisecondsPerStep(this.#firstSteps!, end);
    const done = step === this.#total;
    const parts = [
      `step ${String(step).padStart(String(this.#total).length)}/${this.#total}`,
      `loss ${loss.toFixed(4)}`,
      done
        ? `done in ${duration((this.#output.now() - this.#begin) / 1000)}`
        : perStep > 0
        ? `${duration((this.#total - step) * perStep / 1000)} left`
        : "",
      this.#speedNow(step),
      this.#dataWait(),
      `lr ${lr.toPrecision(3)}`,
    ].filter((part) => part !== "");
    return fit(parts, this.#columns(), this.#output.isTerminal ? step / this.#total : undefined);
  }
}

/** The mean time of the steps between two moments; 0 if there are none. */
function millisecondsPerStep(from: Moment, to: Moment): number {
  return (to.time - from.time) / Math.max(1, to.step - from.step);
}

function threeDigits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** Joins the parts that fit into a line, the first ones first, and fills what is left with a bar. */
function fit(parts: string[], columns: number, share?: number): string {
  let line = "";
  for (const part of parts) {
    const longer = line === "" ? part : `${line}  ${part}`;
    if (longer.length > columns) break;
    line = longer;
  }
  const room = Math.min(30, columns - line.length - 2);
  if (share === undefined || room < 8) return line;
  const full = Math.round(share * room);
  return `${"█".repeat(full)}${"░".repeat(room - full)}  ${line}`;
}

/** Seconds as `7 s`, `4 min 05 s` or `2 h 03 min`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (value: number): string => String(value).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  return `${Math.floor(whole / 3600)} h ${two(Math.floor(whole / 60) % 60)} min`;
}

/** Standard error as a place for progress, for as long as somebody reads it. */
export function standardError(): ProgressOutput {
  return {
    write: (text: string): void => stderr.write(text),
    isTerminal: stderr.isTerminal,
    columns: terminalColumns,
    now: (): number => performance.now(),
  };
}
