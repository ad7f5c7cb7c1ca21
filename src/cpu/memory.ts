/**
 * The one memory of the cpu device and its allocator.
 *
 * Free blocks are kept in the order of their addresses, neighbours are joined, and the best fit is taken.
 * Programs run behind the main thread's back, so every free block carries the number of the last run that
 * may still touch it. A later run may have the block at once, because runs keep their order; the main thread
 * may write into it only when that run is finished. Memory beyond the highest block ever used costs nothing:
 * the system hands pages out when they are first touched.
 *
 * @module
 */
import { outOfMemoryAdvice, OutOfMemoryError } from "../errors.ts";
import { aligned, alignment, control, heapStart, maximumPages, slackBytes } from "./protocol.ts";

/** A piece of the shared memory. */
export interface Region {
  readonly address: number;
  readonly bytes: number;
}

interface FreeBlock {
  address: number;
  bytes: number;
  /** Number of the last run that may touch it; 0 once that run is known to be finished. */
  lastRun: number;
}

const pageBytes = 65536;

/** One shared `WebAssembly.Memory` that grows on demand, at most to 4 GiB. */
export class SharedHeap {
  readonly memory: WebAssembly.Memory;
  readonly #maximumBytes: number;
  readonly #free: FreeBlock[] = [];
  /** Everything from here on has never been used. */
  #top = heapStart;
  #pooledBytes = 0;
  #views: { words: Int32Array<SharedArrayBuffer>; bytes: Uint8Array<SharedArrayBuffer> };

  constructor() {
    [this.memory, this.#maximumBytes] = reserveMemory();
    this.#views = viewsOf(this.memory);
  }

  /** Free bytes that are kept for later allocations. */
  get pooledBytes(): number {
    return this.#pooledBytes;
  }

  /** The whole memory as 32-bit words; valid until the next allocation. */
  get words(): Int32Array<SharedArrayBuffer> {
    return this.#views.words;
  }

  /** The whole memory as bytes; valid until the next allocation. */
  get bytes(): Uint8Array<SharedArrayBuffer> {
    return this.#views.bytes;
  }

  /** Number of runs that are finished. */
  get completed(): number {
    return Atomics.load(this.#views.words, control.completed);
  }

  /**
   * Takes `bytes` of memory: `idle` memory, which no unfinished run touches, or any that is free, for the use
   * of later runs. Returns undefined if there is no room.
   */
  take(bytes: number, use: "idle" | "any"): Region | undefined {
    const size = Math.max(aligned(bytes), alignment);
    this.#join(false);
    let best = this.#bestFit(size, use);
    if (!best && use === "any") {
      this.#join(true);
      best = this.#bestFit(size, use);
    }
    if (!best) return this.#extend(size, use);
    const region = { address: best.address, bytes: size };
    this.#shorten(best, size);
    return region;
  }

  /** Gives a region back; runs up to number `lastRun` may still touch it. */
  give(region: Region, lastRun: number): void {
    const free = this.#free;
    let low = 0;
    for (let high = free.length; low < high;) {
      const middle = (low + high) >>> 1;
      if (free[middle]!.address < region.address) low = middle + 1;
      else high = middle;
    }
    free.splice(low, 0, { address: region.address, bytes: region.bytes, lastRun });
    this.#pooledBytes += region.bytes;
  }

  /** The size beyond which the memory does not grow. */
  get limitBytes(): number {
    return this.#maximumBytes;
  }

  /** Sentence for an allocation that found no room. */
  outOfMemory(bytes: number): OutOfMemoryError {
    const held = this.#top - heapStart - this.#pooledBytes;
    const largest = this.#free.reduce((most, block) => Math.max(most, block.bytes), 0);
    return new OutOfMemoryError(
      `Cannot allocate ${inMebibytes(bytes)} on the cpu device: its memory ends at ` +
        `${inMebibytes(this.#maximumBytes)}, of which ${inMebibytes(held)} are in use and ` +
        `${inMebibytes(this.#pooledBytes)} are free in pieces of at most ${inMebibytes(largest)}; ` +
        outOfMemoryAdvice,
    );
  }

  /** The smallest free block that is large enough; of two alike, the one that only later runs can use. */
  #bestFit(size: number, use: "idle" | "any"): FreeBlock | undefined {
    let best: FreeBlock | undefined;
    for (const block of this.#free) {
      if (block.bytes < size || (use === "idle" && block.lastRun > 0)) continue;
      const better = !best || block.bytes < best.bytes ||
        (block.bytes === best.bytes && block.lastRun > best.lastRun);
      if (better) best = block;
    }
    return best;
  }

  /** Joins neighbours that are idle or wait for the same run; with `all`, all neighbours. */
  #join(all: boolean): void {
    const free = this.#free;
    const completed = this.completed;
    let kept = 0;
    for (const block of free) {
      if (block.lastRun <= completed) block.lastRun = 0;
      const before = free[kept - 1];
      const touches = before !== undefined && before.address + before.bytes === block.address;
      if (touches && (all || before.lastRun === block.lastRun)) {
        before.bytes += block.bytes;
        before.lastRun = Math.max(before.lastRun, block.lastRun);
      } else free[kept++] = block;
    }
    free.length = kept;
  }

  /** Takes memory behind everything used so far, together with a free block that ends there. */
  #extend(size: number, use: "idle" | "any"): Region | undefined {
    const last = this.#free.at(-1);
    const joins = last !== undefined && last.address + last.bytes === this.#top &&
      (use === "any" || last.lastRun === 0);
    const address = joins ? last.address : this.#top;
    if (!this.#reach(address + size + slackBytes)) return undefined;
    if (joins) this.#shorten(last, last.bytes);
    this.#top = address + size;
    return { address, bytes: size };
  }

  #shorten(block: FreeBlock, bytes: number): void {
    this.#pooledBytes -= bytes;
    if (block.bytes === bytes) this.#free.splice(this.#free.indexOf(block), 1);
    else {
      block.address += bytes;
      block.bytes -= bytes;
    }
  }

  #reach(end: number): boolean {
    const present = this.#views.bytes.length;
    if (end <= present) return true;
    if (end > this.#maximumBytes) return false;
    // Growing is dear and pages cost nothing before they are touched, so memory doubles.
    const wanted = Math.min(Math.max(end, 2 * present), this.#maximumBytes);
    try {
      this.memory.grow(Math.ceil((wanted - present) / pageBytes));
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
    this.#views = viewsOf(this.memory);
    return true;
  }
}

function viewsOf(memory: WebAssembly.Memory): {
  words: Int32Array<SharedArrayBuffer>;
  bytes: Uint8Array<SharedArrayBuffer>;
} {
  const buffer = memory.buffer as unknown as SharedArrayBuffer;
  return { words: new Int32Array(buffer), bytes: new Uint8Array(buffer) };
}

/** Reserves addresses for as much memory as the system allows, at most 4 GiB. */
function reserveMemory(): [memory: WebAssembly.Memory, maximumBytes: number] {
  for (let maximum = maximumPages;; maximum /= 2) {
    try {
      const memory = new WebAssembly.Memory({ initial: 256, maximum, shared: true });
      return [memory, maximum * pageBytes];
    } catch (error) {
      if (!(error instanceof RangeError) || maximum <= 1024) throw error;
    }
  }
}

function inMebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}
