/**
 * What became of the work that was handed to a device. Devices report failures late; whoever reads a buffer then must get the
 * failure of the work that its content came from, and nobody else.
 *
 * @module
 */

/** A piece of work: a program that ran, or data that was written. */
export class Run {
  #failure: Error | undefined;
  #isOver = false;
  #sources: readonly Run[];

  /** `sources`: the work that made what it reads; undefined where that is long over. */
  constructor(sources: Iterable<Run | undefined>) {
    this.#sources = [...new Set(sources)].flatMap((run) => run === undefined || run.isSound ? [] : [run]);
  }

  /** What went wrong, once that is known. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Whether it is known that nothing went wrong. */
  get isSound(): boolean {
    return this.#isOver && this.#failure === undefined;
  }

  /** Tells how it ended, when all work before it has ended. What was computed from failed values has failed too. */
  end(failure?: Error): void {
    this.#failure ??= failure ?? this.#sources.find((source) => source.failure !== undefined)?.failure;
    this.#isOver = true;
    this.#sources = [];
  }
}

/** Throws the failure of the first piece of work that failed. */
export function throwFailureOf(runs: Iterable<Run | undefined>): void {
  for (const run of runs) if (run?.failure !== undefined) throw run.failure;
}
