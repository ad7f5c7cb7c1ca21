/**
 * Standard output and standard error of a program that must outlive both: a terminal that is closed, a reader that has
 * gone (`2>&1 | head`) or a full disk below a log does not end hours of work.
 *
 * @module
 */
import { printable } from "../data/errors.ts";

/** What a stream of the process offers. */
interface Stream {
  writeSync(bytes: Uint8Array): number;
  isTerminal(): boolean;
}

/** A stream that is written to for as long as somebody reads it. */
export class Output {
  readonly #stream: Stream;
  readonly #isTerminal: boolean;
  /** Why nothing is written any more; undefined while all is well, and after a reader has gone, which is its right. */
  failure: Error | undefined;
  #isClosed = false;

  /** Writes to a stream. */
  constructor(stream: Stream) {
    this.#stream = stream;
    this.#isTerminal = stream.isTerminal();
  }

  /** Whether it was a terminal when the program began. */
  get isTerminal(): boolean {
    return this.#isTerminal;
  }

  /** Writes a text as it is; after the first failure nothing. */
  write(text: string): void {
    if (this.#isClosed) return;
    const bytes = new TextEncoder().encode(text);
    try {
      for (let written = 0; written < bytes.length;) {
        written += this.#stream.writeSync(bytes.subarray(written));
      }
    } catch (error) {
      // A reader that is slow for a moment misses a line.
      if (error instanceof Deno.errors.WouldBlock) return;
      this.#isClosed = true;
      if (!(error instanceof Deno.errors.BrokenPipe)) this.failure = error as Error;
    }
  }

  /** Writes lines. What came from files in them is shown, not obeyed. */
  print(text: string): void {
    this.write(visibleLines(text) + "\n");
  }
}

/** Standard output. */
export const stdout: Output = new Output(Deno.stdout);
/** Standard error. */
export const stderr: Output = new Output(Deno.stderr);

/** Characters of the longest line that is written. */
const longestLine = 2000;

/** Lines without characters that a terminal obeys, none longer than a reader bears. */
export function visibleLines(text: string): string {
  return text.split("\n").map((line) => printable(line, longestLine)).join("\n");
}

/** Characters in a line of the terminal that standard error is; many, where it is none (any more). */
export function terminalColumns(): number {
  const many = 200;
  if (!stderr.isTerminal) return many;
  try {
    return Deno.consoleSize().columns;
  } catch {
    // The terminal has been closed since.
    return many;
  }
}
