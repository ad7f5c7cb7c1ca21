/**
 * Reads PyTorch's `.pt` and `.pth` files, in the zip format (PyTorch 1.6 and later) and in the legacy one, without
 * executing anything in them.
 *
 * Both hold a pickle that builds dictionaries of tensors; a tensor is a view (offset, shape, strides) of a storage
 * whose bytes stand apart: in the zip format one file per storage, in the legacy format one after another behind the
 * pickle. Every array that is returned is a contiguous copy of its own.
 *
 * @module
 * @see https://github.com/pytorch/pytorch/blob/main/torch/serialization.py
 */
import {
  type ArrayData,
  type ArrayDType,
  type ArrayEntry,
  bytesPerElement,
  copyElements,
  elementCount,
  isShape,
  isSize,
  isSizes,
  MAX_AXES,
  spendOnArray,
  storedElements,
  widened,
} from "./array.ts";
import { type Budget, CONTAINER_BYTES, NAME_BYTES, VALUE_BYTES } from "./budget.ts";
import { brief, FileFormatError, shown } from "./errors.ts";
import { latin1 } from "./latin1.ts";
import { isGlobal, readPickle } from "./pickle.ts";
import { StorageReference, TENSOR_GLOBALS, TensorReference } from "./torch_globals.ts";
import type { WeightTree, WeightValue } from "./tree.ts";
import type { ZipArchive } from "./zip.ts";

/** Gives the bytes of a storage. */
type StorageBytes = (storage: StorageReference) => Uint8Array | undefined;

/** What a legacy file begins with, behind the frame of the first pickle: a number of ten bytes. */
const LEGACY_MAGIC = [0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e];
const LEGACY_PROTOCOL = 1001;

/** Whether an archive holds a PyTorch file. */
export function isTorchArchive(archive: ZipArchive): boolean {
  return archive.names.some(isMainPickle);
}

function isMainPickle(name: string): boolean {
  return name === "data.pkl" || name.endsWith("/data.pkl");
}

/** Whether the bytes begin as a legacy PyTorch file does. */
export function isLegacyTorch(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0x80) return false;
  // From protocol 4 on a frame of eight bytes stands around a pickle.
  const start = bytes[2] === 0x95 ? 11 : 2;
  return LEGACY_MAGIC.every((byte, k) => bytes[start + k] === byte);
}

/**
 * Reads a PyTorch file of the zip format.
 *
 * @param archive The opened file.
 * @param budget What the file may still cost.
 * @throws {FileFormatError} If it is damaged, is big-endian, is a program, or names something that is not data.
 */
export function readTorchArchive(archive: ZipArchive, budget: Budget): WeightTree {
  const pickles = archive.names.filter(isMainPickle);
  if (pickles.length > 1) throw refused(`it holds both ${shown(pickles[0]!)} and ${shown(pickles[1]!)}`);
  const root = pickles[0]!.slice(0, -"data.pkl".length);
  if (archive.names.some((name) => name === `${root}constants.pkl` || name.startsWith(`${root}code/`))) {
    throw refused("it is a TorchScript program; a file of weights written by torch.save is required");
  }
  const order = archive.file(`${root}byteorder`);
  if (order && (order.length > 6 || latin1(order) !== "little")) {
    throw refused(`its numbers are of byte order ${shown(latin1(order.subarray(0, 80)))}; little is read`);
  }
  const storages = new StorageTable();
  const { value } = readPickle(archive.file(pickles[0]!)!, 0, {
    globals: TENSOR_GLOBALS,
    persistentLoad: (id) => storages.refer(id),
    budget,
  });
  const tensors = new TensorReader((storage) => archive.file(`${root}data/${storage.key}`), budget);
  return treeOf(value, tensors, budget);
}

/**
 * Reads a PyTorch file of the legacy format.
 *
 * @param bytes The whole file.
 * @param budget What the file may still cost.
 * @throws {FileFormatError} As for the zip format.
 */
export function readLegacyTorch(bytes: Uint8Array, budget: Budget): WeightTree {
  const data = { globals: new Map(), budget };
  const magic = readPickle(bytes, 0, data);
  const protocol = readPickle(bytes, magic.end, data);
  if (protocol.value !== LEGACY_PROTOCOL) {
    throw refused(`its protocol is ${brief(protocol.value)}; 1001 is read`);
  }
  const system = readPickle(bytes, protocol.end, data);
  if (!(system.value instanceof Map) || system.value.get("little_endian") !== true) {
    throw refused("it does not say that its numbers are little-endian");
  }
  const storages = new StorageTable();
  const object = readPickle(bytes, system.end, {
    globals: TENSOR_GLOBALS,
    persistentLoad: (id) => storages.refer(id),
    budget,
  });
  const keys = readPickle(bytes, object.end, data);
  if (!Array.isArray(keys.value)) throw refused("its list of storages is missing");
  const located = locateLegacyStorages(bytes, keys.end, keys.value, storages);
  return treeOf(object.value, new TensorReader((storage) => located.get(storage.key), budget), budget);
}

/** The storages that a pickle refers to, by key. */
class StorageTable {
  readonly #byKey = new Map<unknown, StorageReference>();

  /** The storage of a persistent identifier `("storage", type, key, device, count, view)`. */
  refer(id: unknown): StorageReference {
    if (!Array.isArray(id)) throw refused("it refers to a storage by something that is no tuple");
    const [kind, type, key, , count, view] = id;
    if (kind === "module") throw refused("it holds a whole module with its code; only weights are read");
    const dtype = isGlobal(type) ? type.value as ArrayDType | "bytes" | undefined : undefined;
    if (kind !== "storage" || dtype === undefined || typeof key !== "string" || !isSize(count)) {
      throw refused(`it refers to ${brief(kind)} ${brief(key)}, which is no storage`);
    }
    const storage = new StorageReference(key, dtype, count, viewOffset(view));
    const known = this.#byKey.get(key);
    if (known && known.byteLength !== storage.byteLength) {
      throw refused(`it gives storage ${shown(key)} ${known.byteLength} and ${storage.byteLength} bytes`);
    }
    this.#byKey.set(key, storage);
    return storage;
  }

  get(key: unknown): StorageReference | undefined {
    return this.#byKey.get(key);
  }
}

/** Very old files describe a storage that is part of another one by `(key, offset, size)`. */
function viewOffset(view: unknown): number {
  if (view === null || view === undefined) return 0;
  const offset = Array.isArray(view) ? view[1] : undefined;
  if (!isSize(offset)) throw refused("it describes a part of a storage by something that is no offset");
  return offset;
}

/** Behind the pickles stand, for every key, the number of elements in eight bytes and the elements. */
function locateLegacyStorages(
  bytes: Uint8Array,
  start: number,
  keys: readonly unknown[],
  storages: StorageTable,
): Map<string, Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const located = new Map<string, Uint8Array>();
  let position = start;
  for (const key of keys) {
    const storage = storages.get(key);
    const name = brief(key);
    if (!storage) throw refused(`it holds storage ${name}, which no tensor names`);
    if (position + 8 > bytes.length) throw refused(`storage ${name} is missing; the file is truncated`);
    const count = view.getBigInt64(position, true);
    if (count !== BigInt(storage.count)) {
      throw refused(`storage ${name} has ${count} elements but its tensors expect ${storage.count}`);
    }
    const end = position + 8 + storage.byteLength;
    if (end > bytes.length) throw refused(`storage ${name} ends after the file, which is truncated`);
    located.set(storage.key, bytes.subarray(position + 8, end));
    position = end;
  }
  return located;
}

/** Makes arrays of tensors, unpacking each storage once. */
class TensorReader {
  readonly #find: StorageBytes;
  readonly #budget: Budget;
  readonly #found = new Map<string, Uint8Array>();

  constructor(find: StorageBytes, budget: Budget) {
    this.#find = find;
    this.#budget = budget;
  }

  read({ shape, stride, dtype, offset: first, storage }: TensorReference): ArrayEntry {
    if (!isShape(shape) || !isSizes(stride) || shape.length !== stride.length || !isSize(first)) {
      throw refused(
        `a tensor has shape ${brief(shape)}, strides ${brief(stride)} and offset ${
          brief(first)
        }; whole numbers for ` +
          `at most ${MAX_AXES} axes are required`,
      );
    }
    const size = bytesPerElement(dtype);
    const bytes = this.#bytes(storage);
    const available = Math.floor(bytes.length / size);
    const offset = storage.offset + first;
    const count = elementCount(shape);
    const last = shape.reduce((position, size, axis) => position + (size - 1) * stride[axis]!, offset);
    if (count > 0 && last >= available) {
      throw refused(`a tensor of shape ${brief(shape)} reads element ${last} of a storage of ${available}`);
    }
    if (count === 0 || isContiguous(shape, stride)) {
      const part = count === 0
        ? bytes.subarray(0, 0)
        : bytes.subarray(offset * size, (offset + count) * size);
      return { shape, dtype, data: copyElements(part, dtype, this.#budget) };
    }
    spendOnArray(count, dtype, this.#budget);
    const stored = storedElements(this.#aligned(storage, available * size), dtype);
    return { shape, dtype, data: widened(gather(stored, offset, shape, stride, count), dtype) };
  }

  #bytes(storage: StorageReference): Uint8Array {
    // An empty storage may have no file.
    const bytes = this.#found.get(storage.key) ?? this.#find(storage) ??
      (storage.byteLength === 0 ? new Uint8Array(0) : undefined);
    if (!bytes) throw refused(`storage ${shown(storage.key)} is missing`);
    if (bytes.length < storage.byteLength) {
      const lengths = `${bytes.length} bytes but should have ${storage.byteLength}`;
      throw refused(`storage ${shown(storage.key)} has ${lengths}`);
    }
    this.#found.set(storage.key, bytes);
    return bytes.subarray(0, storage.byteLength);
  }

  /** The first bytes of a storage where numbers of any size can be read; legacy files hold them anywhere. */
  #aligned(storage: StorageReference, length: number): Uint8Array {
    let bytes = this.#found.get(storage.key)!;
    if (bytes.byteOffset % BigInt64Array.BYTES_PER_ELEMENT !== 0) {
      this.#budget.spend(bytes.length);
      bytes = new Uint8Array(bytes);
      this.#found.set(storage.key, bytes);
    }
    return bytes.subarray(0, length);
  }
}

function isContiguous(shape: readonly number[], stride: readonly number[]): boolean {
  let expected = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    if (shape[axis] !== 1 && stride[axis] !== expected) return false;
    expected *= shape[axis]!;
  }
  return true;
}

/** Copies a view with any strides in row-major order. */
function gather(
  values: ArrayData,
  offset: number,
  shape: readonly number[],
  stride: readonly number[],
  count: number,
): ArrayData {
  const result = new (values.constructor as new (length: number) => ArrayData)(count);
  const index = shape.map(() => 0);
  let position = offset;
  for (let i = 0; i < count; i++) {
    result[i] = values[position]!;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      position += stride[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      position -= shape[axis]! * stride[axis]!;
      index[axis] = 0;
    }
  }
  return result;
}

/** The pickle's value as plain objects with arrays at the leaves. */
function treeOf(value: unknown, tensors: TensorReader, budget: Budget): WeightTree {
  // What stands at several places is made once.
  const made = new Map<unknown, WeightValue>();
  const convert = (node: unknown, depth: number): WeightValue => {
    if (isScalar(node)) return node;
    budget.checkDepth(depth);
    const known = made.get(node);
    if (known !== undefined) return known;
    const result = convertNode(node, depth);
    made.set(node, result);
    return result;
  };
  const convertNode = (node: unknown, depth: number): WeightValue => {
    if (node instanceof TensorReference) return tensors.read(node);
    if (node instanceof Map) return dictionary(node, (child) => convert(child, depth + 1), budget);
    if (Array.isArray(node) || node instanceof Set) {
      budget.spend(CONTAINER_BYTES);
      return Array.from(node, (child) => convert(child, depth + 1));
    }
    if (node instanceof Uint8Array) return node;
    if (node instanceof StorageReference) {
      throw refused(`it holds storage ${shown(node.key)} without a tensor`);
    }
    if (isGlobal(node)) return node.name;
    throw refused("it holds something that is no array, number, text, list or dictionary");
  };
  const tree = convert(value, 0);
  return value instanceof Map ? tree as WeightTree : { value: tree };
}

function isScalar(node: unknown): node is string | number | bigint | boolean | null {
  return node === null || ["string", "number", "bigint", "boolean"].includes(typeof node);
}

/** A dictionary with texts as keys. */
function dictionary(
  node: ReadonlyMap<unknown, unknown>,
  convert: (child: unknown) => WeightValue,
  budget: Budget,
): WeightTree {
  budget.spend(CONTAINER_BYTES + NAME_BYTES * node.size);
  const entries = new Map<string, WeightValue>();
  for (const [key, child] of node) {
    const name = keyText(key, budget);
    if (entries.has(name)) throw refused(`two keys of a dictionary are written ${shown(name)}`);
    entries.set(name, convert(child));
  }
  return Object.fromEntries(entries);
}

/** A key as text: numbers as they are written, tuples with commas between their parts. */
function keyText(key: unknown, budget: Budget): string {
  if (typeof key === "string") return key;
  const parts = Array.isArray(key) ? key : [key];
  const texts = parts.map((part) => {
    const text = part instanceof Uint8Array ? latin1(part) : isGlobal(part) ? part.name : part;
    if (typeof text === "object" && text !== null) throw refused(`a key of a dictionary is ${brief(key)}`);
    budget.spend(VALUE_BYTES + 2 * String(text).length);
    return String(text);
  });
  return texts.join(",");
}

function refused(state: string): FileFormatError {
  return new FileFormatError(`Cannot read the PyTorch file: ${state}`);
}
