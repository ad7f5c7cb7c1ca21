/**
 * Texts that tell JavaScript values apart: the keys under which `jit` finds what it has traced.
 *
 * @module
 */
import { Tensor } from "../tensor.ts";

const identities = new WeakMap<object, number>();
let nextIdentity = 1;

function identityOf(value: object): number {
  let id = identities.get(value);
  if (id === undefined) identities.set(value, id = nextIdentity++);
  return id;
}

/** What of a text or of bytes is written into a key: all of it, behind its length, so that no two texts look alike. */
function counted(text: string): string {
  return `${text.length}:${text}`;
}

/**
 * A text that is equal for equal values. Numbers are told apart as `Object.is` does; strings, bigints, dates, regular
 * expressions, buffers, typed arrays, maps, sets, arrays and plain objects by content; functions, symbols, tensors and
 * instances of other classes by identity.
 *
 * @param value The value.
 * @param what Its name for messages.
 * @throws {TypeError} For a value that contains itself.
 */
export function valueKey(value: unknown, what: string): string {
  const above = new Set<object>();
  const inside = (container: object, write: () => string): string => {
    if (above.has(container)) {
      throw new TypeError(`Cannot compare ${what} with those of earlier calls: it contains itself`);
    }
    above.add(container);
    const text = write();
    above.delete(container);
    return text;
  };
  const list = (values: Iterable<unknown>): string => [...values].map(go).join();
  const go = (at: unknown): string => {
    switch (typeof at) {
      case "number":
        return Object.is(at, -0) ? "-0" : String(at);
      case "string":
        return `"${counted(at)}`;
      case "bigint":
        return `${at}n`;
      case "symbol":
        return `symbol ${symbolIdentity(at)}`;
      case "function":
        return `@${identityOf(at)}`;
      case "object":
        return at === null ? "null" : inside(at, () => ofObject(at));
      default:
        return String(at);
    }
  };
  const ofObject = (at: object): string => {
    if (at instanceof Tensor) return `@${identityOf(at)}`;
    if (Array.isArray(at)) {
      // A hole is not undefined: loops pass over it.
      return `[${Array.from(at, (item, k) => k in at ? go(item) : "").join()}]`;
    }
    if (ArrayBuffer.isView(at)) {
      const bytes = new Uint8Array(at.buffer, at.byteOffset, at.byteLength);
      return `${at.constructor.name} ${counted(textOf(bytes))}`;
    }
    if (at instanceof ArrayBuffer) return `ArrayBuffer ${counted(textOf(new Uint8Array(at)))}`;
    const prototype = Object.getPrototypeOf(at);
    if (prototype === Date.prototype) return `Date ${Number(at)}`;
    if (prototype === RegExp.prototype) {
      const { source, flags, lastIndex } = at as RegExp;
      return `RegExp ${counted(source)}${flags} ${lastIndex}`;
    }
    if (prototype === Map.prototype) {
      return `Map{${
        Array.from(at as Map<unknown, unknown>, ([key, item]) => `${go(key)}=>${go(item)}`).join()
      }}`;
    }
    if (prototype === Set.prototype) return `Set{${list(at as Set<unknown>)}}`;
    if (prototype !== Object.prototype && prototype !== null) return `@${identityOf(at)}`;
    const keys = Reflect.ownKeys(at).filter((key) => Object.prototype.propertyIsEnumerable.call(at, key));
    const texts = keys.map((key) =>
      `${typeof key === "symbol" ? `symbol ${symbolIdentity(key)}` : counted(key)}=${
        go((at as Record<PropertyKey, unknown>)[key])
      }`
    );
    return `{${texts.sort().join()}}`;
  };
  return go(value);
}

const symbols = new Map<symbol, number>();

function symbolIdentity(value: symbol): number {
  let id = symbols.get(value);
  if (id === undefined) symbols.set(value, id = symbols.size);
  return id;
}

/** Bytes as a text of as many characters. */
function textOf(bytes: Uint8Array): string {
  const parts: string[] = [];
  for (let start = 0; start < bytes.length; start += 8192) {
    parts.push(String.fromCharCode(...bytes.subarray(start, start + 8192)));
  }
  return parts.join("");
}
