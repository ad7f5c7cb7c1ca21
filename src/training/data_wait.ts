/**
 * The share of training time that is lost to waiting for data.
 *
 * The loop may wait for a batch without harm while the device is still busy with earlier steps, so waits alone say
 * nothing. What counts is the time in which the device had nothing to do. Take a stretch at whose begin b and end e it
 * had just finished everything, with N steps handed over at the moments s₁ … s_N. If each takes it c, it ends at
 *
 *     e = max over k of s_k + (N − k + 1) c,    so    c = min over k of (e − s_k) / (N − k + 1)
 *
 * and of the stretch e − b it was idle for e − b − N c.
 *
 * @module
 */

/** Measures one stretch of steps after another. */
export class DataWait {
  readonly #now: () => number;
  #begin: number;
  #starts: number[] = [];
  #waited = 0;

  /** Begins a stretch; the device must have nothing to do. `now` gives milliseconds since any fixed moment. */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now;
    this.#begin = now();
  }

  /** Waits for a batch. */
  async until<T>(batch: Promise<T>): Promise<T> {
    const begin = this.#now();
    try {
      return await batch;
    } finally {
      this.#waited += this.#now() - begin;
    }
  }

  /** Takes note that a step is handed to the device. */
  stepStarts(): void {
    this.#starts.push(this.#now());
  }

  /** The share, from 0 to 1, of the stretch that ends now, when the device has finished. The next one begins. */
  share(): number {
    const end = this.#now();
    const time = end - this.#begin;
    const count = this.#starts.length;
    const perStep = Math.min(...this.#starts.map((start, k) => (end - start) / (count - k)));
    const idle = count === 0 ? 0 : Math.max(0, time - count * perStep);
    // The device is idle for other reasons too, such as a log that is written.
    const wait = Math.min(idle, this.#waited);
    this.#begin = end;
    this.#starts = [];
    this.#waited = 0;
    return time > 0 ? wait / time : 0;
  }
}
