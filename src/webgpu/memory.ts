/**
 * Device memory in size classes. What is given back is handed out again: a new buffer must be cleared by the
 * driver before its first use, and the garbage collector knows nothing of device memory.
 *
 * @module
 */
import type { DeviceBuffer } from "../compiler/backend.ts";
import type { Run } from "../compiler/runs.ts";
import { DeviceError, outOfMemoryAdvice, OutOfMemoryError } from "../errors.ts";
import { bufferUsage } from "./flags.ts";

/** Takes a check that is under way; `tell` gets what it found, in the order in which checks began. */
export type OnCheck = (check: Promise<Error | undefined>, tell: (error: Error | undefined) => void) => void;

/** A piece of device memory. */
export interface Memory {
  /** Never used twice, so it can stand for the memory in keys. */
  readonly id: number;
  readonly gpu: GPUBuffer;
  readonly capacity: number;
  /** Why there is none, once that is known. */
  failure?: Error;
}

/** What an adapter allows. */
export interface MemoryLimits {
  /** Largest buffer in bytes. */
  readonly buffer: number;
  /** Largest part of a buffer that a kernel can see at once, in bytes. */
  readonly binding: number;
  /** All buffers together, in bytes. */
  readonly total: number;
}

/** Memory that no run has taken for this many runs is freed. */
const patience = 64;

/** The pool of a device. */
export class MemoryPool {
  readonly #free = new Map<number, { memory: Memory; since: number }[]>();
  #pooledBytes = 0;
  #usedBytes = 0;
  #nextId = 0;
  #time = 0;

  constructor(
    readonly device: GPUDevice,
    readonly limits: MemoryLimits,
    /** Told about every check that is under way, and whom to tell what it found. */
    readonly onCheck: OnCheck,
  ) {}

  /** Bytes that wait to be used again. */
  get pooledBytes(): number {
    return this.#pooledBytes;
  }

  /** Memory of at least this many bytes, with any content. */
  take(bytes: number): Memory {
    const capacity = this.#capacityFor(bytes);
    const shelf = this.#free.get(capacity);
    const found = shelf?.pop();
    if (found !== undefined) {
      this.#pooledBytes -= capacity;
      this.#usedBytes += capacity;
      return found.memory;
    }
    if (this.#usedBytes + this.#pooledBytes + capacity > this.limits.total) this.freeAll();
    if (this.#usedBytes + capacity > this.limits.total) {
      throw new OutOfMemoryError(
        `Cannot allocate ${bytes} bytes on the webgpu device: ${this.#usedBytes} bytes are in use and ` +
          `${this.limits.total} are allowed; ${outOfMemoryAdvice}`,
      );
    }
    const memory = this.#create(capacity);
    this.#usedBytes += capacity;
    return memory;
  }

  /** Takes memory back. Work that uses it may still be under way: later work runs after it. */
  give(memory: Memory): void {
    this.#usedBytes -= memory.capacity;
    if (memory.failure !== undefined) return memory.gpu.destroy();
    this.#pooledBytes += memory.capacity;
    let shelf = this.#free.get(memory.capacity);
    if (shelf === undefined) this.#free.set(memory.capacity, shelf = []);
    shelf.push({ memory, since: this.#time });
  }

  /** Counts a run, and now and then frees what has not been used for long. */
  tick(): void {
    this.#time++;
    if (this.#time % 16 === 0) this.#freeOlderThan(this.#time - patience);
  }

  /** Frees all memory that is not in use. */
  freeAll(): void {
    this.#freeOlderThan(Infinity);
  }

  #freeOlderThan(time: number): void {
    for (const [capacity, shelf] of this.#free) {
      const kept = shelf.filter(({ since }) => since >= time);
      if (kept.length === shelf.length) continue;
      for (const { memory, since } of shelf) if (since < time) memory.gpu.destroy();
      this.#pooledBytes -= capacity * (shelf.length - kept.length);
      if (kept.length === 0) this.#free.delete(capacity);
      else this.#free.set(capacity, kept);
    }
  }

  /** Eight classes per power of two: at most an eighth is wasted. Always a multiple of 256. */
  #capacityFor(bytes: number): number {
    if (bytes > this.limits.buffer) {
      throw new DeviceError(
        `Cannot allocate ${bytes} bytes: this adapter has buffers of at most ${this.limits.buffer} bytes; split the tensor`,
      );
    }
    const step = Math.max(256, 2 ** (Math.floor(Math.log2(Math.max(bytes, 1))) - 3));
    const capacity = Math.max(256, Math.ceil(bytes / step) * step);
    return Math.min(capacity, Math.max(bytes, Math.floor(this.limits.buffer / 256) * 256));
  }

  #create(size: number): Memory {
    const usage = bufferUsage.storage | bufferUsage.copySource | bufferUsage.copyTarget;
    this.device.pushErrorScope("out-of-memory");
    const gpu = this.device.createBuffer({ label: `memory of ${size} bytes`, size, usage });
    const memory: Memory = { id: this.#nextId++, gpu, capacity: size };
    const check = this.device.popErrorScope().then((error) =>
      error === null ? undefined : new OutOfMemoryError(
        `Cannot allocate ${size} bytes on the webgpu device: it is out of memory; ${outOfMemoryAdvice}`,
      )
    );
    this.onCheck(check, (error) => error && (memory.failure = error));
    return memory;
  }
}

/** Live buffers of a device, counted. */
export class Counted {
  bytes = 0;
  buffers = 0;
}

/** A buffer of the webgpu device. */
export class WebgpuBuffer implements DeviceBuffer {
  readonly memory: Memory;
  /** The work that its content comes from. */
  origin: Run | undefined;
  readonly #pool: MemoryPool;
  readonly #live: Counted;
  #isReleased = false;

  constructor(readonly bytes: number, pool: MemoryPool, live: Counted) {
    this.memory = pool.take(bytes);
    this.#pool = pool;
    this.#live = live;
    live.bytes += bytes;
    live.buffers++;
  }

  /** Whether the memory was given back. */
  get isReleased(): boolean {
    return this.#isReleased;
  }

  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#live.bytes -= this.bytes;
    this.#live.buffers--;
    this.#pool.give(this.memory);
  }
}
