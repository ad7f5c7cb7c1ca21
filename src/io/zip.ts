/**
 * Reads zip archives from their central directory, as PyTorch (`.pth`) and NumPy (`.npz`) write them.
 *
 * Stored files are given as views of the archive's bytes, without a copy. Checksums are verified; one of 0 is none,
 * because PyTorch writes that when it is told to leave them out.
 *
 * @module
 * @see PKWARE, "APPNOTE.TXT - .ZIP File Format Specification"
 */
import { crc32, inflateRawSync } from "node:zlib";
import { type Budget, CONTAINER_BYTES, NAME_BYTES } from "./budget.ts";
import { FileFormatError, shown } from "./errors.ts";

/** A file in an archive, as the directory describes it. */
interface ZipRecord {
  readonly name: string;
  readonly method: number;
  readonly flags: number;
  readonly checksum: number;
  readonly compressedSize: number;
  readonly size: number;
  readonly headerOffset: number;
}

/** A file in an archive whose place is known. */
interface ZipEntry extends ZipRecord {
  /** Where its data begins. */
  readonly begin: number;
}

/** The files of an archive; one is unpacked when it is asked for. */
export interface ZipArchive {
  /** Names of the files, in the order of the directory. */
  readonly names: readonly string[];
  /** The bytes of one file, or undefined if there is none of that name. */
  readonly file: (name: string) => Uint8Array | undefined;
}

const LOCAL_HEADER = 0x04034b50;
const DIRECTORY_HEADER = 0x02014b50;
const END = 0x06054b50;
const END64 = 0x06064b50;
const END64_LOCATOR = 0x07064b50;
const STORED = 0;
const DEFLATED = 8;
/** No deflated byte stands for more than this many. */
const MAX_DEFLATE_RATIO = 1032;

/** Whether the bytes begin as a zip archive does. */
export function isZip(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && viewOf(bytes).getUint32(0, true) === LOCAL_HEADER;
}

/**
 * Opens an archive.
 *
 * @param bytes The whole file.
 * @param budget What the file may still cost.
 * @throws {FileFormatError} If its directory does not fit the file, or two of its files overlap.
 */
export function openZip(bytes: Uint8Array, budget: Budget): ZipArchive {
  const view = viewOf(bytes);
  const entries = new Map<string, ZipEntry>();
  for (const record of readDirectory(bytes, view, budget)) {
    if (entries.has(record.name)) throw refused(`it holds ${shown(record.name)} twice`);
    entries.set(record.name, { ...record, begin: dataBegin(record, bytes, view) });
  }
  checkOverlaps([...entries.values()]);
  return {
    names: [...entries.keys()],
    file: (name) => {
      const entry = entries.get(name);
      return entry && unpack(entry, bytes, budget);
    },
  };
}

function readDirectory(bytes: Uint8Array, view: DataView, budget: Budget): ZipRecord[] {
  const { count, offset } = findDirectory(bytes, view);
  const records: ZipRecord[] = [];
  let position = offset;
  for (let i = 0; i < count; i++) {
    if (position + 46 > bytes.length || view.getUint32(position, true) !== DIRECTORY_HEADER) {
      throw refused(`its directory is damaged at byte ${position}`);
    }
    const nameLength = view.getUint16(position + 28, true);
    const extraLength = view.getUint16(position + 30, true);
    const end = position + 46 + nameLength + extraLength + view.getUint16(position + 32, true);
    if (end > bytes.length) throw refused("its directory ends after the file");
    budget.spend(CONTAINER_BYTES + NAME_BYTES + nameLength);
    const name = new TextDecoder().decode(bytes.subarray(position + 46, position + 46 + nameLength));
    records.push(readRecord(name, view, position, position + 46 + nameLength, extraLength));
    position = end;
  }
  return records;
}

/** Where the data of a file begins: behind a header that repeats what the directory says. */
function dataBegin(
  { name, headerOffset, compressedSize }: ZipRecord,
  bytes: Uint8Array,
  view: DataView,
): number {
  if (headerOffset + 30 > bytes.length || view.getUint32(headerOffset, true) !== LOCAL_HEADER) {
    throw refused(`the header of ${shown(name)} is missing`);
  }
  const begin = headerOffset + 30 + view.getUint16(headerOffset + 26, true) +
    view.getUint16(headerOffset + 28, true);
  if (begin + compressedSize > bytes.length) throw refused(`the data of ${shown(name)} ends after the file`);
  return begin;
}

/** Files that share bytes are how a small archive unpacks to a large one; no program writes them. */
function checkOverlaps(entries: ZipEntry[]): void {
  entries.sort((a, b) => a.headerOffset - b.headerOffset);
  for (const [k, { name, begin, compressedSize }] of entries.entries()) {
    const next = entries[k + 1];
    if (next === undefined || begin + compressedSize <= next.headerOffset) continue;
    throw refused(`${shown(name)} and ${shown(next.name)} overlap`);
  }
}

/** Number of files and position of the directory, from the record at the end of the archive. */
function findDirectory(bytes: Uint8Array, view: DataView): { count: number; offset: number } {
  // A comment of up to 65,535 bytes may follow the 22 bytes of the record.
  const earliest = Math.max(0, bytes.length - 22 - 0xffff);
  let end = bytes.length - 22;
  while (end >= earliest && view.getUint32(end, true) !== END) end--;
  if (end < earliest) throw refused("its directory is missing; the file is truncated");
  const count = view.getUint16(end + 10, true);
  const offset = view.getUint32(end + 16, true);
  if (count !== 0xffff && offset !== 0xffffffff) return { count, offset };
  const locator = end - 20;
  if (locator < 0 || view.getUint32(locator, true) !== END64_LOCATOR) return { count, offset };
  const end64 = large(view.getBigUint64(locator + 8, true));
  if (end64 + 56 > bytes.length || view.getUint32(end64, true) !== END64) {
    throw refused("its 64-bit directory is damaged");
  }
  return {
    count: large(view.getBigUint64(end64 + 32, true)),
    offset: large(view.getBigUint64(end64 + 48, true)),
  };
}

function readRecord(
  name: string,
  view: DataView,
  position: number,
  extra: number,
  extraLength: number,
): ZipRecord {
  const sizes = {
    size: view.getUint32(position + 24, true),
    compressedSize: view.getUint32(position + 20, true),
    headerOffset: view.getUint32(position + 42, true),
  };
  // What does not fit 32 bits stands in extra field 1, in this order.
  for (let at = extra; at + 4 <= extra + extraLength; at += 4 + view.getUint16(at + 2, true)) {
    if (view.getUint16(at, true) !== 1) continue;
    const fieldEnd = Math.min(at + 4 + view.getUint16(at + 2, true), extra + extraLength);
    let field = at + 4;
    for (const key of ["size", "compressedSize", "headerOffset"] as const) {
      if (sizes[key] !== 0xffffffff || field + 8 > fieldEnd) continue;
      sizes[key] = large(view.getBigUint64(field, true));
      field += 8;
    }
  }
  return {
    name,
    method: view.getUint16(position + 10, true),
    flags: view.getUint16(position + 8, true),
    checksum: view.getUint32(position + 16, true),
    ...sizes,
  };
}

function unpack(entry: ZipEntry, bytes: Uint8Array, budget: Budget): Uint8Array {
  const { begin, compressedSize, size, method, flags, checksum } = entry;
  const name = shown(entry.name);
  if (flags & 1) throw refused(`${name} is encrypted`);
  if (method !== STORED && method !== DEFLATED) {
    throw refused(`${name} is compressed by method ${method}; 0 and 8 are read`);
  }
  let content = bytes.subarray(begin, begin + compressedSize);
  if (method === DEFLATED) content = inflate(name, content, size, budget);
  else if (size !== compressedSize) throw refused(`${name} is stored but its two sizes differ`);
  if (checksum !== 0 && crc32(content) !== checksum) {
    throw refused(`${name} is damaged: its checksum does not match its content`);
  }
  return content;
}

function inflate(name: string, packed: Uint8Array, size: number, budget: Budget): Uint8Array {
  if (size > packed.length * MAX_DEFLATE_RATIO + 64) {
    throw refused(`${name} should unpack from ${packed.length} to ${size} bytes, which is impossible`);
  }
  budget.spend(size);
  let unpacked: Uint8Array;
  try {
    // One chunk of the announced size, within what is possible, so that nothing is copied together.
    const chunkSize = Math.min(Math.max(64, size), 2 ** 30);
    unpacked = inflateRawSync(packed, { maxOutputLength: Math.max(1, size), chunkSize });
  } catch (cause) {
    const isLonger = (cause as { code?: string }).code === "ERR_BUFFER_TOO_LARGE";
    throw refused(`${name} ${isLonger ? `unpacks to more than its ${size} bytes` : "is damaged"}`, { cause });
  }
  if (unpacked.length !== size) {
    throw refused(`${name} unpacks to ${unpacked.length} bytes but should have ${size}`);
  }
  // A plain array: slices of Node's buffers share their memory.
  return new Uint8Array(unpacked.buffer, unpacked.byteOffset, size);
}

function large(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw refused("a position in it is beyond any file");
  return Number(value);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function refused(state: string, options?: ErrorOptions): FileFormatError {
  return new FileFormatError(`Cannot read the zip archive: ${state}`, options);
}
