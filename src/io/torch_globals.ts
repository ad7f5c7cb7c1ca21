/**
 * The names that a PyTorch file may use, and what they mean here. None of them does more than describe data.
 *
 * @module
 */
import { type ArrayDType, bytesPerElement, decodeElements, FileFormatError } from "./array.ts";
import type { PickleGlobal, PickleObject } from "./pickle.ts";

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
    readonly offset: number,
    readonly shape: readonly number[],
    readonly stride: readonly number[],
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
const NUMPY_DTYPES: Record<string, ArrayDType> = {
  f8: "f64",
  f4: "f32",
  f2: "f16",
  i8: "i64",
  i4: "i32",
  i2: "i16",
  i1: "i8",
  u8: "u64",
  u4: "u32",
  u2: "u16",
  u1: "u8",
  b1: "bool",
};

/** All names that are allowed, by `module.name`. */
export const TENSOR_GLOBALS: ReadonlyMap<string, PickleGlobal> = new Map([
  ...["torch", "torch.cuda", "torch.storage"].flatMap((module) =>
    Object.entries(STORAGE_CLASSES).map(([name, value]) => allow(`${module}.${name}`, { value }))
  ),
  ...Object.entries(DTYPES).map(([name, value]) => allow(`torch.${name}`, { value })),
  allow("torch.Tensor"),
  allow("torch.nn.parameter.Parameter"),
  allow("torch.Size", { call: (sizes) => sizes }),
  allow("torch.device", { call: (...parts) => parts.join(":") }),
  allow("torch._utils._rebuild_tensor", { call: rebuildTensor }),
  allow("torch._utils._rebuild_tensor_v2", { call: rebuildTensor }),
  allow("torch._utils._rebuild_tensor_v3", {
    call: (storage, offset, shape, stride, _requiresGrad, _hooks, dtype) =>
      rebuildTensor(storage, offset, shape, stride, (dtype as PickleGlobal | undefined)?.value as ArrayDType),
  }),
  allow("torch._utils._rebuild_parameter", { call: (tensor) => tensor }),
  allow("torch._utils._rebuild_parameter_with_state", { call: (tensor) => tensor }),
  allow("torch._tensor._rebuild_from_type_v2", { call: rebuildFromType }),
  allow("collections.OrderedDict", { call: (items) => new Map((items ?? []) as [unknown, unknown][]) }),
  allow("collections.defaultdict", { call: () => new Map() }),
  ...["builtins", "__builtin__"].flatMap((module) => [
    allow(`${module}.set`, { call: (items) => new Set((items ?? []) as unknown[]) }),
    allow(`${module}.frozenset`, { call: (items) => new Set((items ?? []) as unknown[]) }),
  ]),
  // How protocol 2 writes bytes: as a text in Latin-1.
  allow("_codecs.encode", { call: (text) => Uint8Array.from(String(text), (char) => char.charCodeAt(0)) }),
  allow("numpy.dtype", { call: (name) => new NumpyDType(String(name)) }),
  allow("numpy.core.multiarray.scalar", { call: numpyScalar }),
  allow("numpy._core.multiarray.scalar", { call: numpyScalar }),
]);

function allow(name: string, meaning: Omit<PickleGlobal, "name"> = {}): [string, PickleGlobal] {
  return [name, { name, ...meaning }];
}

function rebuildTensor(
  storage: unknown,
  offset: unknown,
  shape: unknown,
  stride: unknown,
  dtype?: unknown,
): TensorReference {
  if (!(storage instanceof StorageReference) || !Array.isArray(shape) || !Array.isArray(stride)) {
    throw refused("a tensor is described by something that is no storage, shape and strides");
  }
  const known = typeof dtype === "string" ? dtype as ArrayDType : undefined;
  return new TensorReference(storage, Number(offset), shape, stride, known);
}

/** A tensor of a subclass: the function and arguments that made the plain one. */
function rebuildFromType(rebuild: unknown, _type: unknown, args: unknown): unknown {
  const called = rebuild as PickleGlobal | null;
  if (!called?.call || !Array.isArray(args)) {
    throw refused("a tensor of a subclass does not say how it was made");
  }
  return called.call(...args);
}

/** NumPy's description of a single number's type. */
class NumpyDType implements PickleObject {
  readonly dtype: ArrayDType;

  constructor(name: string) {
    const dtype = NUMPY_DTYPES[name];
    if (!dtype) throw refused(`it holds a number of NumPy's type ${name}`);
    this.dtype = dtype;
  }

  setState(state: unknown): void {
    if (Array.isArray(state) && state[1] === ">") throw refused("a number in it is big-endian");
  }
}

function numpyScalar(type: unknown, bytes: unknown): number | bigint | boolean {
  if (
    !(type instanceof NumpyDType) || !(bytes instanceof Uint8Array) ||
    bytes.length !== bytesPerElement(type.dtype)
  ) {
    throw refused("a number of NumPy is described by something that is no type and bytes");
  }
  const value = decodeElements(bytes, type.dtype)[0]!;
  if (type.dtype === "bool") return value !== 0;
  return typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;
}

function refused(state: string): FileFormatError {
  return new FileFormatError(`Cannot read the PyTorch file: ${state}`);
}
