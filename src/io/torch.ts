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
  decodeElements,
  elementCount,
  FileFormatError,
} from "./array.ts";
import { readPickle } from "./pickle.ts";
import { StorageReference, TENSOR_GLOBALS, TensorReference } from "./torch_globals.ts";
import type { WeightTree, WeightValue } from "./tree.ts";
import type { ZipArchive } from "./zip.ts";

/** Gives the bytes of a storage. */
type StorageBytes = (storage: StorageReference) => Uint8Array | undefined;

/** The number that a legacy file begins with, as a pickle. */
const LEGACY_MAGIC = 0x1950a86a20f9469cfc6cn;
const LEGACY_PROTOCOL = 1001;

/** A view that repeats its elements (stride 0) may not grow beyond this many. */
const MAX_REPEATED_ELEMENTS = 2 ** 26;
const MAX_DEPTH = 1000;

/** Whether an archive holds a PyTorch file. */
export function isTorchArchive(archive: ZipArchive): boolean {
  return archive.names.some((name) => /(^|\/)data\.pkl$/.test(name));
}

/** Whether the bytes begin as a legacy PyTorch file does. */
export function isLegacyTorch(bytes: Uint8Array): boolean {
  // PROTO 2, LONG1 of ten bytes.
  return bytes.length > 14 && bytes[0] === 0x80 && bytes[2] === 0x8a && bytes[3] === 10 &&
    readPickle(bytes, 0, { globals: new Map() }).value === LEGACY_MAGIC;
}

/**
 * Reads a PyTorch file of the zip format.
 *
 * @param archive The opened file.
 * @throws {FileFormatError} If it is damaged, is big-endian, is a program, or names something that is not data.
 */
export function readTorchArchive(archive: ZipArchive): WeightTree {
  const pickleName = archive.names.find((name) => /(^|\/)data\.pkl$/.test(name))!;
  const root = pickleName.slice(0, -"data.pkl".length);
  if (archive.names.some((name) => name === `${root}constants.pkl` || name.startsWith(`${root}code/`))) {
    throw refused("it is a TorchScript program; a file of weights written by torch.save is required");
  }
  const order = archive.file(`${root}byteorder`);
  if (order && new TextDecoder().decode(order) !== "little") throw refused("its numbers are big-endian");
  const storages = new StorageTable();
  const { value } = readPickle(archive.file(pickleName)!, 0, {
    globals: TENSOR_GLOBALS,
    persistentLoad: (id) => storages.refer(id),
  });
  return treeOf(value, new TensorReader((storage) => archive.file(`${root}data/${storage.key}`)));
}

/**
 * Reads a PyTorch file of the legacy format.
 *
 * @param bytes The whole file.
 * @throws {FileFormatError} As for the zip format.
 */
export function readLegacyTorch(bytes: Uint8Array): WeightTree {
  const data = { globals: new Map() };
  const magic = readPickle(bytes, 0, data);
  const protocol = readPickle(bytes, magic.end, data);
  if (protocol.value !== LEGACY_PROTOCOL) throw refused(`its protocol is ${protocol.value}; 1001 is read`);
  const system = readPickle(bytes, protocol.end, data);
  if (!(system.value instanceof Map) || system.value.get("little_endian") !== true) {
    throw refused("its numbers are big-endian");
  }
  const storages = new StorageTable();
  const object = readPickle(bytes, system.end, {
    globals: TENSOR_GLOBALS,
    persistentLoad: (id) => storages.refer(id),
  });
  const keys = readPickle(bytes, object.end, data);
  if (!Array.isArray(keys.value)) throw refused("its list of storages is missing");
  const located = locateLegacyStorages(bytes, keys.end, keys.value.map(String), storages);
  return treeOf(object.value, new TensorReader((storage) => located.get(storage.key)));
}

/** The storages that a pickle refers to, by key. */
class StorageTable {
  readonly #byKey = new Map<string, StorageReference>();

  /** The storage of a persistent identifier `("storage", type, key, device, count, view)`. */
  refer(id: unknown): StorageReference {
    if (!Array.isArray(id)) throw refused("it refers to a storage by something that is no tuple");
    const [kind, type, key, , count, view] = id;
    if (kind === "module") throw refused("it holds a whole module with its code; only weights are read");
    const dtype = (type as { value?: unknown } | null)?.value as ArrayDType | "bytes" | undefined;
    if (kind !== "storage" || dtype === undefined || !isSize(count)) {
      throw refused(`it refers to ${String(kind)} ${String(key)}, which is no storage`);
    }
    const storage = new StorageReference(String(key), dtype, count, viewOffset(view));
    const known = this.#byKey.get(storage.key);
    if (known && known.byteLength !== storage.byteLength) {
      throw refused(`it gives storage ${storage.key} ${known.byteLength} and ${storage.byteLength} bytes`);
    }
    this.#byKey.set(storage.key, storage);
    return storage;
  }

  get(key: string): StorageReference | undefined {
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
  keys: readonly string[],
  storages: StorageTable,
): Map<string, Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const located = new Map<string, Uint8Array>();
  let position = start;
  for (const key of keys) {
    const storage = storages.get(key);
    if (!storage) throw refused(`it holds storage ${key}, which no tensor names`);
    if (position + 8 > bytes.length) throw refused(`storage ${key} is missing; the file is truncated`);
    const count = view.getBigInt64(position, true);
    if (count !== BigInt(storage.count)) {
      throw refused(`storage ${key} has ${count} elements but its tensors expect ${storage.count}`);
    }
    const end = position + 8 + storage.byteLength;
    if (end > bytes.length) throw refused(`storage ${key} ends after the file, which is truncated`);
    located.set(key, bytes.subarray(position + 8, end));
    position = end;
  }
  return located;
}

/** Makes arrays of tensors, decoding each storage once. */
class TensorReader {
  readonly #bytes: StorageBytes;
  readonly #decoded = new Map<string, ArrayData>();

  constructor(bytes: StorageBytes) {
    this.#bytes = bytes;
  }

  read(tensor: TensorReference): ArrayEntry {
    const { shape, stride, dtype } = tensor;
    if (!isSizes(shape) || !isSizes(stride) || shape.length !== stride.length || !isSize(tensor.offset)) {
      throw refused(`a tensor has shape [${shape}], strides [${stride}] and offset ${tensor.offset}`);
    }
    const values = this.#values(tensor.storage, dtype);
    const offset = tensor.storage.offset + tensor.offset;
    const count = elementCount(shape);
    const last = shape.reduce((position, size, axis) => position + (size - 1) * stride[axis]!, offset);
    if (count > 0 && last >= values.length) {
      throw refused(`a tensor of shape [${shape}] reads element ${last} of a storage of ${values.length}`);
    }
    if (count > values.length && count > MAX_REPEATED_ELEMENTS) {
      throw refused(`a tensor of shape [${shape}] repeats a storage of ${values.length} elements`);
    }
    if (isContiguous(shape, stride)) return { shape, dtype, data: values.slice(offset, offset + count) };
    return { shape, dtype, data: gather(values, offset, shape, stride, count) };
  }

  #values(storage: StorageReference, dtype: ArrayDType): ArrayData {
    const id = `${storage.key} ${dtype}`;
    const known = this.#decoded.get(id);
    if (known) return known;
    // An empty storage may have no file.
    const bytes = this.#bytes(storage) ?? (storage.byteLength === 0 ? new Uint8Array(0) : undefined);
    if (!bytes) throw refused(`storage ${storage.key} is missing`);
    if (bytes.length < storage.byteLength) {
      throw refused(`storage ${storage.key} has ${bytes.length} bytes but should have ${storage.byteLength}`);
    }
    const whole = storage.byteLength - storage.byteLength % bytesPerElement(dtype);
    const values = decodeElements(bytes.subarray(0, whole), dtype);
    this.#decoded.set(id, values);
    return values;
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
function treeOf(value: unknown, tensors: TensorReader): WeightTree {
  const made = new Map<unknown, WeightValue>();
  const convert = (node: unknown, depth: number): WeightValue => {
    if (depth > MAX_DEPTH) throw refused(`it is nested more than ${MAX_DEPTH} deep or contains itself`);
    const known = made.get(node);
    if (known !== undefined) return known;
    const result = convertNode(node, depth);
    if (typeof node === "object" && node !== null) made.set(node, result);
    return result;
  };
  const convertNode = (node: unknown, depth: number): WeightValue => {
    if (node instanceof TensorReference) return tensors.read(node);
    if (node instanceof Map) {
      return Object.fromEntries([...node].map(([key, child]) => [String(key), convert(child, depth + 1)]));
    }
    if (Array.isArray(node) || node instanceof Set) {
      return [...node].map((child) => convert(child, depth + 1));
    }
    if (node instanceof Uint8Array) return node;
    if (node === null || ["string", "number", "bigint", "boolean"].includes(typeof node)) {
      return node as WeightValue;
    }
    if (node instanceof StorageReference) throw refused(`it holds storage ${node.key} without a tensor`);
    return String((node as { name?: unknown }).name);
  };
  const tree = convert(value, 0);
  if (value instanceof Map) return tree as WeightTree;
  return { value: tree };
}

function isSize(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every(isSize);
}

function refused(state: string): FileFormatError {
  return new FileFormatError(`Cannot read the PyTorch file: ${state}`);
}
