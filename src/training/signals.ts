/**
 * What the system's signals mean to a long program: it is asked to stop, saves what it has and ends.
 *
 * - SIGINT (Ctrl-C), SIGQUIT (Ctrl-\), SIGTERM (`kill`, a scheduler): stops. From the keyboard a second one ends the
 *   program at once; one that comes within half a second is the same one, passed on by a shell or a wrapper.
 * - SIGHUP (the terminal was closed): stops if output goes to that terminal; else the program goes on, as under `nohup`,
 *   in the background with its output in a file, or as a service.
 * - SIGXFSZ (a file has reached the limit that `ulimit -f` sets): the write fails, as on a full disk.
 *
 * @module
 */
import { stderr, stdout } from "./terminal.ts";

/** The exit status that shells give a program which a signal has ended. */
export function statusOf(signal: Deno.Signal): number {
  return 128 + numbers[signal]!;
}

const numbers: Partial<Record<Deno.Signal, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGTERM: 15,
  SIGBREAK: 21,
};

/** Milliseconds within which a second signal is the first one, passed on. */
const sameWithin = 500;

/** Signals that come from the keyboard. */
const typed: readonly Deno.Signal[] = ["SIGINT", "SIGQUIT", "SIGBREAK"];

/** Listens to the system until it is disposed. */
export interface StopRequests extends Disposable {
  /** Aborted when the program is asked to stop; its reason is the signal's name. */
  readonly signal: AbortSignal;
}

/** Where signals come from, and what a test puts in its place. */
export interface SignalSource {
  /** Starts to listen. */
  add(signal: Deno.Signal, listener: () => void): void;
  /** Stops to listen. */
  remove(signal: Deno.Signal, listener: () => void): void;
  /** Whether a terminal shows what the program writes. */
  hasTerminal(): boolean;
  /** Milliseconds since any fixed moment. */
  now(): number;
}

const system: SignalSource = {
  add: (signal, listener) => Deno.addSignalListener(signal, listener),
  remove: (signal, listener) => Deno.removeSignalListener(signal, listener),
  hasTerminal: () => stdout.isTerminal || stderr.isTerminal,
  now: () => performance.now(),
};

/**
 * Listens to the signals that ask a program to stop.
 *
 * @param endAtOnce Called when it is asked a second time from the keyboard.
 * @param source Where they come from.
 */
export function listenForStops(
  endAtOnce: (signal: Deno.Signal) => void,
  source: SignalSource = system,
): StopRequests {
  const controller = new AbortController();
  let asked = 0;
  const stop = (signal: Deno.Signal) => (): void => {
    if (signal === "SIGHUP" && !source.hasTerminal()) return;
    const now = source.now();
    if (!controller.signal.aborted) {
      asked = now;
      controller.abort(signal);
    } else if (typed.includes(signal) && now - asked >= sameWithin) endAtOnce(signal);
  };
  const stopping: readonly Deno.Signal[] = Deno.build.os === "windows"
    ? ["SIGINT", "SIGBREAK", "SIGHUP"]
    : ["SIGINT", "SIGQUIT", "SIGTERM", "SIGHUP"];
  const listeners = stopping.map((signal): [Deno.Signal, () => void] => [signal, stop(signal)]);
  if (Deno.build.os !== "windows") listeners.push(["SIGXFSZ", () => {}]);
  for (const [signal, listener] of listeners) source.add(signal, listener);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const [signal, listener] of listeners) source.remove(signal, listener);
    },
  };
}
