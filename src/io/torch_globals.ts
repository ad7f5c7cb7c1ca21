/**
 * The names that a PyTorch file may use, and what they mean here. None of them does more than describe data.
 *
 * @module
 */
import { type ArrayDType, bytesPerElement, decodeElements } from "./array.ts";
import { brief, FileFormatError } from "./errors.ts";
import { isGlobal, type PickleGlobal, type PickleObject } from "./pickle.ts";

/** A storage as a pickle refers to it: its bytes come later. */
export class StorageReference {
  /**
   * Describes a storage.
   *
   * @param key Its name in the file.
   * @param dtype Type of its elements, or "bytes" if only its tensors know.
   * @param count Number of its elements.
   * @param offset First element, where it is part of a larger one.
   */
  constructor(
    readonly key: string,
    readonly dtype: ArrayDType | "bytes",
    readonly count: number,
    readonly offset: number,
  ) {}

  /** Size in bytes. */
  get byteLength(): number {
    return this.count * (this.dtype === "bytes" ? 1 : bytesPerElement(this.dtype));
  }
}

/** A tensor as a pickle describes it; its numbers have yet to be checked. */
export class TensorReference {
  /** Type of the elements. */
  readonly dtype: ArrayDType;

  /**
   * Describes a tensor.
   *
   * @param storage Where its elements are.
   * @param offset The first of them.
   * @param shape Sizes of its axes.
   * @param stride Steps along its axes, in elements.
   * @param dtype Type of its elements, where the storage does not say.
   */
  constructor(
    readonly storage: StorageReference,
    readonly offset: unknown,
    readonly shape: unknown,
    readonly stride: unknown,
    dtype?: ArrayDType,
  ) {
    const known = dtype ?? storage.dtype;
    if (known === "bytes") throw refused("a tensor does not say the type of its elements");
    this.dtype = known;
  }
}

const STORAGE_CLASSES: Record<string, ArrayDType | "bytes"> = {
  DoubleStorage: "f64",
  FloatStorage: "f32",
  HalfStorage: "f16",
  BFloat16Storage: "bf16",
  LongStorage: "i64",
  IntStorage: "i32",
  ShortStorage: "i16",
  CharStorage: "i8",
  ByteStorage: "u8",
  BoolStorage: "bool",
  UntypedStorage: "bytes",
};

const DTYPES: Record<string, ArrayDType> = {
  float64: "f64",
  float32: "f32",
  float16: "f16",
  bfloat16: "bf16",
  int64: "i64",
  int32: "i32",
  int16: "i16",
  int8: "i8",
  uint64: "u64",
  uint32: "u32",
  uint16: "u16",
  uint8: "u8",
  bool: "bool",
};

/** NumPy's short names of types, for single numbers in checkpoints such as the best score so far. */
const NUMPY_DTYPES = new Map<unknown, ArrayDType>([
  ["f8", "f64"],
  ["f4", "f32"],
  ["f2", "f16"],
  ["i8", "i64"],
  ["i4", "i32"],
  ["i2", "i16"],
  ["i1", "i8"],
  ["u8", "u64"],
  ["u4", "u32"],
  ["u2", "u16"],
  ["u1", "u8"],
  ["b1", "bool"],
]);

/** All names that are allowed, by `module.name`. */
export const TENSOR_GLOBALS: ReadonlyMap<string, PickleGlobal> = new Map([
  ...["torch", "torch.cuda", "torch.storage"].flatMap((module) =>
    Object.entries(STORAGE_CLASSES).map(([name, value]) => allow(`${module}.${name}`, { value }))
  ),
  ...Object.entries(DTYPES).map(([name, value]) => allow(`torch.${name}`, { value })),
  allow("torch.Tensor"),
  allow("torch.nn.parameter.Parameter"),
  allow("torch.Size", { call: ([sizes = []]) => Array.isArray(sizes) ? sizes : undefined }),
  allow("torch.device", { call: deviceName }),
  allow("torch._utils._rebuild_tensor", { call: rebuildTensor }),
  allow("torch._utils._rebuild_tensor_v2", { call: rebuildTensor }),
  allow("torch._utils._rebuild_tensor_v3", {
    call: ([storage, offset, shape, stride, _requiresGrad, _hooks, dtype]) =>
      rebuildTensor([storage, offset, shape, stride], dtypeOf(dtype)),
  }),
  allow("torch._utils._rebuild_parameter", { call: parameterData }),
  allow("torch._utils._rebuild_parameter_with_state", { call: parameterData }),
  allow("torch._tensor._rebuild_from_type_v2", { call: rebuildFromType }),
  allow("collections.OrderedDict", { call: orderedDict }),
  allow("collections.defaultdict", { call: () => new Map() }),
  ...["builtins", "__builtin__"].flatMap((module) => [
    allow(`${module}.set`, { call: setOf }),
    allow(`${module}.frozenset`, { call: setOf }),
  ]),
  // How protocol 2 writes bytes: as a text in Latin-1.
  allow("_codecs.encode", { call: encodeLatin1 }),
  allow("numpy.dtype", { call: ([name]) => new NumpyDType(name) }),
  allow("numpy.core.multiarray.scalar", { call: numpyScalar }),
  allow("numpy._core.multiarray.scalar", { call: numpyScalar }),
]);

/** The functions that make a plain tensor, by which one of a subclass may be made. */
const REBUILD = /^torch\._utils\._rebuild_(tensor|parameter)/;

function allow(name: string, meaning: Omit<PickleGlobal, "name"> = {}): [string, PickleGlobal] {
  return [name, { name, ...meaning }];
}

function rebuildTensor(
  [storage, offset, shape, stride]: readonly unknown[],
  dtype?: ArrayDType,
): TensorReference | undefined {
  if (!(storage instanceof StorageReference)) return undefined;
  return new TensorReference(storage, offset, shape, stride, dtype);
}

/** The element type that a name such as `torch.float32` or a class of storages stands for, if any. */
export function dtypeOf(named: unknown): ArrayDType | undefined {
  const value = isGlobal(named) ? named.value : undefined;
  return value === "bytes" ? undefined : value as ArrayDType | undefined;
}

function parameterData([data]: readonly unknown[]): TensorReference | undefined {
  return data instanceof TensorReference ? data : undefined;
}

/** A tensor of a subclass: the function and arguments that made the plain one. */
function rebuildFromType([rebuild, _type, args]: readonly unknown[]): unknown {
  if (!isGlobal(rebuild) || !REBUILD.test(rebuild.name) || !Array.isArray(args)) return undefined;
  return rebuild.call!(args);
}

function deviceName(parts: readonly unknown[]): string | undefined {
  const isName = typeof parts[0] === "string" && parts.length <= 2 &&
    parts.every((part) => typeof part === "string" || typeof part === "number");
  return isName ? parts.join(":") : undefined;
}

function orderedDict([items = []]: readonly unknown[]): Map<unknown, unknown> | undefined {
  if (!Array.isArray(items)) return undefined;
  return items.every((item) => Array.isArray(item) && item.length === 2) ? new Map(items) : undefined;
}

function setOf([items = []]: readonly unknown[]): Set<unknown> | undefined {
  return Array.isArray(items) ? new Set(items) : undefined;
}

function encodeLatin1([text, encoding]: readonly unknown[]): Uint8Array | undefined {
  if (typeof text !== "string" || (encoding !== "latin1" && encoding !== undefined)) return undefined;
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code > 0xff) return undefined;
    bytes[at] = code;
  }
  return bytes;
}

/** NumPy's description of a single number's type. */
class NumpyDType implements PickleObject {
  readonly dtype: ArrayDType;
  /** What stands for it where it is a value itself. */
  readonly name: string;

  constructor(name: unknown) {
    const dtype = NUMPY_DTYPES.get(name);
    if (!dtype) throw refused(`it holds a number of NumPy's type ${brief(name)}`);
    this.dtype = dtype;
    this.name = `numpy.dtype(${name})`;
  }

  setState(state: unknown): void {
    if (Array.isArray(state) && state[1] === ">") throw refused("a number in it is big-endian");
  }
}

function numpyScalar([type, bytes]: readonly unknown[]): number | bigint | boolean | undefined {
  if (!(type instanceof NumpyDType) || !(bytes instanceof Uint8Array)) return undefined;
  if (bytes.length !== bytesPerElement(type.dtype)) return undefined;
  const value = decodeElements(bytes, type.dtype)[0]!;
  if (type.dtype === "bool") return value !== 0;
  return typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

function refused(state: string): FileFormatError {
  return new FileFormatError(`Cannot read the PyTorch file: ${state}`);
}
