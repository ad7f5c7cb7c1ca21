/**
 * Safetensors files: an eight-byte length, a JSON header, and the arrays' bytes one after another.
 *
 * The header is checked completely (sizes, bounds, overlaps, gaps, duplicate names) before any array is made.
 *
 * @module
 * @see https://github.com/huggingface/safetensors, section "Format"
 */
import {
  type ArrayDType,
  type ArrayEntry,
  bytesPerElement,
  checkEntry,
  copyElements,
  elementCount,
  encodeElements,
  isShape,
  isSizes,
  MAX_AXES,
} from "./array.ts";
import { Budget } from "./budget.ts";
import { brief, FileFormatError, shown } from "./errors.ts";
import { parseJson } from "./json.ts";

/** What a safetensors file holds. */
export interface SafetensorsFile {
  /** The arrays by name, in the order of the header. */
  readonly entries: Map<string, ArrayEntry>;
  /** The texts under `__metadata__`. */
  readonly metadata: Record<string, string>;
}

/** The format's own limit. */
const MAX_HEADER_BYTES = 100_000_000;

const DTYPES = new Map<string, ArrayDType>([
  ["F64", "f64"],
  ["F32", "f32"],
  ["F16", "f16"],
  ["BF16", "bf16"],
  ["I64", "i64"],
  ["I32", "i32"],
  ["I16", "i16"],
  ["I8", "i8"],
  ["U64", "u64"],
  ["U32", "u32"],
  ["U16", "u16"],
  ["U8", "u8"],
  ["BOOL", "bool"],
]);
const NAMES = new Map([...DTYPES].map(([name, dtype]) => [dtype, name]));

/** One array as the header describes it; begin and end count from the end of the header. */
interface Placement {
  readonly name: string;
  readonly dtype: ArrayDType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** Whether the bytes look like a safetensors file: a length that fits, then a brace. */
export function isSafetensors(bytes: Uint8Array): boolean {
  return bytes.length > 8 && bytes[8] === 0x7b && headerLength(bytes) <= bytes.length - 8;
}

/**
 * Reads a safetensors file.
 *
 * @param bytes The whole file.
 * @param budget What the file may still cost.
 * @throws {FileFormatError} If the header contradicts itself or the file.
 */
export function readSafetensors(
  bytes: Uint8Array,
  budget: Budget = new Budget(bytes.length),
): SafetensorsFile {
  const { placements, metadata, start } = readHeader(bytes, budget);
  const entries = new Map<string, ArrayEntry>();
  for (const { name, dtype, shape, begin, end } of placements) {
    const data = copyElements(bytes.subarray(start + begin, start + end), dtype, budget);
    entries.set(name, { shape, dtype, data });
  }
  return { entries, metadata };
}

/**
 * The texts under `__metadata__` of a safetensors file, without its arrays.
 *
 * @param bytes The whole file.
 * @throws {FileFormatError} If the header contradicts itself or the file.
 */
export function readMetadata(bytes: Uint8Array): Record<string, string> {
  return readHeader(bytes, new Budget(bytes.length)).metadata;
}

/**
 * Writes a safetensors file; arrays stand in the order of the map.
 *
 * @param entries The arrays by name.
 * @param options `metadata`: texts to keep beside them.
 * @returns The bytes of the file.
 * @throws {TypeError} If an array's data does not fit its dtype or shape.
 */
export function writeSafetensors(
  entries: ReadonlyMap<string, ArrayEntry>,
  options: { readonly metadata?: Readonly<Record<string, string>> } = {},
): Uint8Array<ArrayBuffer> {
  const header: Record<string, unknown> = Object.create(null);
  if (options.metadata) header["__metadata__"] = options.metadata;
  let size = 0;
  for (const [name, entry] of entries) {
    if (name === "__metadata__") {
      throw new TypeError(`Cannot write an array named ${name}: the format reserves it`);
    }
    checkEntry(name, entry);
    const end = size + entry.data.length * bytesPerElement(entry.dtype);
    header[name] = { dtype: NAMES.get(entry.dtype), shape: entry.shape, data_offsets: [size, end] };
    size = end;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  // Spaces after the header keep the arrays aligned to eight bytes.
  const start = 8 + Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(start + size).fill(0x20, 8, start);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(start - 8), true);
  bytes.set(json, 8);
  let offset = start;
  for (const entry of entries.values()) {
    const data = encodeElements(entry);
    bytes.set(data, offset);
    offset += data.length;
  }
  return bytes;
}

function headerLength(bytes: Uint8Array): number {
  return Number(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength).getBigUint64(0, true));
}

function readHeader(
  bytes: Uint8Array,
  budget: Budget,
): { placements: Placement[]; metadata: Record<string, string>; start: number } {
  if (bytes.length < 8) throw refused(`it has ${bytes.length} bytes; at least 8 are required`);
  const length = headerLength(bytes);
  if (length > MAX_HEADER_BYTES || length > bytes.length - 8) {
    throw refused(`its header should have ${length} bytes but the file has ${bytes.length}`);
  }
  const start = 8 + length;
  const header = parseHeader(bytes.subarray(8, start), budget);
  let metadata: Record<string, string> = {};
  const placements: Placement[] = [];
  for (const name of Object.keys(header)) {
    if (name === "__metadata__") metadata = checkMetadata(header[name]);
    else placements.push(checkPlacement(name, header[name]));
  }
  checkCoverage(placements, bytes.length - start);
  return { placements, metadata, start };
}

function parseHeader(bytes: Uint8Array, budget: Budget): Record<string, unknown> {
  // The text, in the two bytes that each of its characters may take.
  budget.spend(2 * bytes.length);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw refused("its header is not JSON text", { cause });
  }
  const header = parseJson(text, "its header", budget);
  if (!isRecord(header)) throw refused("its header is not a JSON object");
  return header;
}

function checkMetadata(value: unknown): Record<string, string> {
  if (!isRecord(value) || !Object.values(value).every((text) => typeof text === "string")) {
    throw refused("its __metadata__ is not an object of texts");
  }
  return value as Record<string, string>;
}

function checkPlacement(name: string, value: unknown): Placement {
  if (!isRecord(value)) {
    throw refused(`its header describes ${shown(name)} by something that is not an object`);
  }
  const { dtype: type, shape, data_offsets: offsets } = value;
  const dtype = typeof type === "string" ? DTYPES.get(type) : undefined;
  if (!dtype) {
    throw refused(`${shown(name)} has dtype ${brief(type)}; ${[...DTYPES.keys()].join(", ")} are read`);
  }
  if (!isShape(shape)) {
    throw refused(
      `${shown(name)} has shape ${brief(shape)}, which is no list of sizes, of at most ${MAX_AXES}`,
    );
  }
  if (!isSizes(offsets) || offsets.length !== 2 || offsets[0]! > offsets[1]!) {
    throw refused(`${shown(name)} has data_offsets ${brief(offsets)}; a begin and an end are required`);
  }
  const [begin, end] = offsets as [number, number];
  const size = elementCount(shape) * bytesPerElement(dtype);
  if (size !== end - begin) {
    throw refused(
      `${shown(name)} has shape ${brief(shape)} of ${dtype}, ${size} bytes, but ${end - begin} bytes of data`,
    );
  }
  return { name, dtype, shape, begin, end };
}

/** The arrays must fill the rest of the file without gap or overlap, as the format demands. */
function checkCoverage(placements: readonly Placement[], available: number): void {
  let filled = 0;
  let previous = "the header";
  for (const { name, begin, end } of [...placements].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin < filled) throw refused(`the data of ${shown(name)} overlaps that of ${shown(previous)}`);
    if (begin > filled) {
      throw refused(
        `there is a gap of ${begin - filled} bytes between ${shown(previous)} and ${shown(name)}`,
      );
    }
    if (end > available) {
      throw refused(
        `the data of ${shown(name)} ends at byte ${end} but the file has ${available} after its header`,
      );
    }
    filled = end;
    previous = name;
  }
  if (filled !== available) throw refused(`${available - filled} bytes follow the last array`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function refused(state: string, options?: ErrorOptions): FileFormatError {
  return new FileFormatError(`Cannot read the safetensors file: ${state}`, options);
}
