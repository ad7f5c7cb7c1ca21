/**
 * A map that keeps what was used last: every cache of the library that a user can fill without end.
 *
 * @module
 */

/** At most `capacity` values; of more, the one that was not used for longest is dropped. */
export class Recent<Key, Value> {
  readonly #entries = new Map<Key, Value>();

  constructor(readonly capacity: number, readonly onDrop: (value: Value) => void = () => {}) {}

  /** Number of values. */
  get size(): number {
    return this.#entries.size;
  }

  /** All values, the one that was used last at the end. */
  values(): Iterable<Value> {
    return this.#entries.values();
  }

  /** The value of a key, which counts as used now. */
  get(key: Key): Value | undefined {
    const value = this.#entries.get(key);
    if (value !== undefined) this.#touch(key, value);
    return value;
  }

  /** Gives a key a value, used now. */
  set(key: Key, value: Value): void {
    this.#touch(key, value);
    if (this.#entries.size > this.capacity) this.dropOldest();
  }

  /** The value of a key, made if there is none. */
  take(key: Key, make: () => Value): Value {
    let value = this.get(key);
    if (value === undefined) this.set(key, value = make());
    return value;
  }

  /** Takes a value out, without dropping it. */
  delete(key: Key): void {
    this.#entries.delete(key);
  }

  /** Drops the value of a key. */
  drop(key: Key): void {
    const value = this.#entries.get(key);
    if (value === undefined) return;
    this.#entries.delete(key);
    this.onDrop(value);
  }

  /** Drops the value that was not used for longest; false if there is none. */
  dropOldest(): boolean {
    for (const [key, value] of this.#entries) {
      this.#entries.delete(key);
      this.onDrop(value);
      return true;
    }
    return false;
  }

  /** Drops everything. */
  clear(): void {
    while (this.dropOldest());
  }

  #touch(key: Key, value: Value): void {
    this.#entries.delete(key);
    this.#entries.set(key, value);
  }
}
