/**
 * What a long program shows on the terminal while it works: stages ("compiling 3 of 12"), then a bar with loss,
 * learning rate, speed, time left and the share of time spent waiting for data. Where standard error is no terminal it
 * writes a plain line now and then.
 *
 * @module
 */

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

interface Moment {
  step: number;
  time: number;
  dataWait?: number;
}

/** Milliseconds between two paintings of the bar on a terminal. */
const paintInterval = 100;
/** Milliseconds after which a plain line is due, though nothing was finished: in the first minute, and later. */
const quietFirst = 10_000;
const quietLater = 60_000;
/** Milliseconds over which the speed is averaged. */
const speedWindow = 10_000;

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
  /** When the first step had ended: what came before it, compilation, says nothing about the time left. */
  #firstStep: Moment | undefined;
  /** The ends of the last steps, for the speed; a stage in between, such as an evaluation, empties it. */
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
    this.#firstStep = undefined;
    this.#recent = [];
    this.#line = (): string =>
      fit([`step ${from}/${total}`, "the first step takes longest"], this.#columns());
    this.#show({ now: true });
  }

  /** Shows a finished step. */
  update({ step, loss, lr, dataWait }: ProgressUpdate): void {
    const now: Moment = { step, time: this.#output.now(), ...(dataWait !== undefined && { dataWait }) };
    this.#inStage = false;
    this.#firstStep ??= now;
    this.#recent.push(now);
    while (this.#recent.length > 2 && this.#recent[1]!.time < now.time - speedWindow) this.#recent.shift();
    const perStep = millisecondsPerStep(this.#recent[0]!, now);
    if (perStep > 0) this.#speed = `${threeDigits(this.#imagesPerStep / perStep * 1000)} images/s`;
    this.#line = (): string => this.#bar(now, loss, lr);
    this.#show({ now: step === this.#total || step === this.#from + 1 });
  }

  /** Writes a line that stays, above the bar. */
  note(text: string): void {
    this.#erase();
    this.#write(text + "\n");
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
    const shares = this.#recent.flatMap(({ dataWait }) => dataWait === undefined ? [] : [dataWait]);
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
    else if (this.#line() !== "") this.#write(this.#line() + "\n");
  }

  #paint(): void {
    const line = this.#line().slice(0, this.#columns());
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

  #bar(now: Moment, loss: number, lr: number): string {
    const perStep = millisecondsPerStep(this.#firstStep!, now);
    const left = (this.#total - now.step) * perStep / 1000;
    const done = now.step === this.#total;
    const parts = [
      `step ${String(now.step).padStart(String(this.#total).length)}/${this.#total}`,
      `loss ${loss.toFixed(4)}`,
      done
        ? `done in ${duration((now.time - this.#begin) / 1000)}`
        : perStep > 0
        ? `${duration(left)} left`
        : "",
      this.#speed,
      this.#dataWait(),
      `lr ${lr.toPrecision(3)}`,
    ].filter((part) => part !== "");
    return fit(parts, this.#columns(), this.#output.isTerminal ? now.step / this.#total : undefined);
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

/** Standard error as a place for progress. */
export function standardError(): ProgressOutput {
  return {
    write(text: string): void {
      const bytes = new TextEncoder().encode(text);
      for (let written = 0; written < bytes.length;) {
        written += Deno.stderr.writeSync(bytes.subarray(written));
      }
    },
    isTerminal: Deno.stderr.isTerminal(),
    columns: (): number => Deno.stderr.isTerminal() ? Deno.consoleSize().columns : 200,
    now: (): number => performance.now(),
  };
}
