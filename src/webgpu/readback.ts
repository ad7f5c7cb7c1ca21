/**
 * Copies results to JavaScript: many buffers through one staging buffer, in one wait.
 *
 * In Deno every awaited map takes at least 11 ms, whatever it waits for; but the map is complete when
 * `mapAsync` returns its promise, so on a staging buffer that was mapped once before the bytes can be taken at
 * once. Where that does not work, the promise is awaited.
 *
 * @module
 */
import { bufferUsage, mapForReading } from "./flags.ts";

/** A part of a device buffer. */
export interface Part {
  readonly gpu: GPUBuffer;
  readonly bytes: number;
}

/** Parts on their way into a staging buffer. */
interface Copied {
  readonly staging: GPUBuffer;
  readonly mapped: Promise<void>;
  /** The bytes of each part, once it is mapped. */
  readonly bytes: () => ArrayBuffer[];
}

/** Staging buffers beyond this size are not kept. */
const largestKept = 64 * 2 ** 20;

/** Reads buffers of one device. */
export class Readback {
  readonly #staging: GPUBuffer[] = [];
  readonly #isImmediate: boolean;

  /** `largest`: the largest buffer that the adapter allows. */
  constructor(readonly device: GPUDevice, readonly largest: number) {
    this.#isImmediate = this.#mapsImmediately();
  }

  /** Copies of the parts, as they are after all work submitted so far. */
  async read(parts: readonly Part[]): Promise<ArrayBuffer[]> {
    const now = this.readNow(parts);
    if (now !== undefined) return now;
    const results: ArrayBuffer[] = [];
    for (const group of this.#groups(parts)) {
      const { staging, mapped, bytes } = this.#copy(group);
      try {
        await mapped;
        results.push(...bytes());
      } finally {
        this.#give(staging);
      }
    }
    return results;
  }

  /** The same before this returns; undefined where that does not work. */
  readNow(parts: readonly Part[]): ArrayBuffer[] | undefined {
    if (!this.#isImmediate) return undefined;
    return this.#groups(parts).flatMap((group) => {
      const { staging, mapped, bytes } = this.#copy(group);
      mapped.catch(() => {});
      try {
        return bytes();
      } finally {
        this.#give(staging);
      }
    });
  }

  /** Parts that fit into one staging buffer together. */
  #groups(parts: readonly Part[]): Part[][] {
    const groups: Part[][] = [];
    let room = 0;
    for (const part of parts) {
      const bytes = padded(part.bytes);
      if (bytes > room || groups.length === 0) {
        groups.push([]);
        room = this.largest;
      }
      groups.at(-1)!.push(part);
      room -= bytes;
    }
    return groups;
  }

  #copy(parts: readonly Part[]): Copied {
    const total = Math.max(8, parts.reduce((sum, { bytes }) => sum + padded(bytes), 0));
    const staging = this.#take(total);
    const encoder = this.device.createCommandEncoder({ label: "read" });
    const places: number[] = [];
    let place = 0;
    for (const { gpu, bytes } of parts) {
      places.push(place);
      if (bytes > 0) encoder.copyBufferToBuffer(gpu, 0, staging, place, bytes);
      place += padded(bytes);
    }
    this.device.queue.submit([encoder.finish()]);
    const mapped = staging.mapAsync(mapForReading, 0, total);
    return {
      staging,
      mapped,
      bytes: () => {
        const all = staging.getMappedRange(0, total);
        return parts.map(({ bytes }, k) => all.slice(places[k]!, places[k]! + bytes));
      },
    };
  }

  #take(bytes: number): GPUBuffer {
    const k = this.#staging.findIndex((buffer) => buffer.size >= bytes && buffer.size <= 4 * bytes + 2 ** 20);
    if (k >= 0) return this.#staging.splice(k, 1)[0]!;
    const size = Math.min(this.largest - this.largest % 8, Math.max(65536, 2 ** Math.ceil(Math.log2(bytes))));
    const usage = bufferUsage.mapRead | bufferUsage.copyTarget;
    const staging = this.device.createBuffer({ label: "staging", size, usage, mappedAtCreation: true });
    // Mapped once: without that, Deno ends the whole process at an early getMappedRange.
    staging.unmap();
    return staging;
  }

  #give(staging: GPUBuffer): void {
    staging.unmap();
    if (staging.size > largestKept || this.#staging.length >= 4) staging.destroy();
    else this.#staging.push(staging);
  }

  /** Tries on a buffer of known content. Only Deno 2 is known to be safe to try. */
  #mapsImmediately(): boolean {
    if (!Deno.version.deno.startsWith("2.")) return false;
    const staging = this.#take(8);
    this.device.queue.writeBuffer(staging, 0, Uint32Array.of(0x600d, 0xf00d));
    this.device.queue.submit([]);
    staging.mapAsync(mapForReading, 0, 8).catch(() => {});
    try {
      const [a, b] = new Uint32Array(staging.getMappedRange(0, 8).slice(0));
      return a === 0x600d && b === 0xf00d;
    } catch {
      return false;
    } finally {
      this.#give(staging);
    }
  }
}

/** Parts start at multiples of eight bytes. */
function padded(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}
