/**
 * Reads zip archives from their central directory, as PyTorch (`.pth`) and NumPy (`.npz`) write them.
 *
 * Stored files are given as views of the archive's bytes, without a copy. Checksums are not verified: PyTorch can be
 * told to leave them out.
 *
 * @module
 * @see PKWARE, "APPNOTE.TXT - .ZIP File Format Specification"
 */
import { inflateSync } from "fflate";
import { FileFormatError } from "./array.ts";

/** A file in an archive. */
interface ZipRecord {
  readonly method: number;
  readonly flags: number;
  readonly compressedSize: number;
  readonly size: number;
  readonly headerOffset: number;
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
 * @throws {FileFormatError} If its directory does not fit the file.
 */
export function openZip(bytes: Uint8Array): ZipArchive {
  const view = viewOf(bytes);
  const records = readDirectory(bytes, view);
  return {
    names: [...records.keys()],
    file: (name) => {
      const record = records.get(name);
      return record && unpack(name, record, bytes, view);
    },
  };
}

function readDirectory(bytes: Uint8Array, view: DataView): Map<string, ZipRecord> {
  const { count, offset } = findDirectory(bytes, view);
  const records = new Map<string, ZipRecord>();
  let position = offset;
  for (let i = 0; i < count; i++) {
    if (position + 46 > bytes.length || view.getUint32(position, true) !== DIRECTORY_HEADER) {
      throw refused(`its directory is damaged at byte ${position}`);
    }
    const nameLength = view.getUint16(position + 28, true);
    const extraLength = view.getUint16(position + 30, true);
    const end = position + 46 + nameLength + extraLength + view.getUint16(position + 32, true);
    if (end > bytes.length) throw refused("its directory ends after the file");
    const name = new TextDecoder().decode(bytes.subarray(position + 46, position + 46 + nameLength));
    if (records.has(name)) throw refused(`it holds ${name} twice`);
    records.set(name, readRecord(view, position, position + 46 + nameLength, extraLength));
    position = end;
  }
  return records;
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

function readRecord(view: DataView, position: number, extra: number, extraLength: number): ZipRecord {
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
  return { method: view.getUint16(position + 10, true), flags: view.getUint16(position + 8, true), ...sizes };
}

function unpack(name: string, record: ZipRecord, bytes: Uint8Array, view: DataView): Uint8Array {
  const { headerOffset, compressedSize, size, method } = record;
  if (record.flags & 1) throw refused(`${name} is encrypted`);
  if (headerOffset + 30 > bytes.length || view.getUint32(headerOffset, true) !== LOCAL_HEADER) {
    throw refused(`the header of ${name} is missing`);
  }
  const begin = headerOffset + 30 + view.getUint16(headerOffset + 26, true) +
    view.getUint16(headerOffset + 28, true);
  if (begin + compressedSize > bytes.length) throw refused(`the data of ${name} ends after the file`);
  const packed = bytes.subarray(begin, begin + compressedSize);
  if (method === STORED) {
    if (size !== compressedSize) throw refused(`${name} is stored but its two sizes differ`);
    return packed;
  }
  if (method !== DEFLATED) throw refused(`${name} is compressed by method ${method}; 0 and 8 are read`);
  if (size > compressedSize * MAX_DEFLATE_RATIO + 64) {
    throw refused(`${name} should unpack from ${compressedSize} to ${size} bytes, which is impossible`);
  }
  return inflate(name, packed, size);
}

function inflate(name: string, packed: Uint8Array, size: number): Uint8Array {
  let unpacked: Uint8Array;
  try {
    unpacked = inflateSync(packed, { out: new Uint8Array(size) });
  } catch (cause) {
    throw refused(`the data of ${name} is damaged`, { cause });
  }
  if (unpacked.length !== size) {
    throw refused(`${name} unpacks to ${unpacked.length} bytes but should have ${size}`);
  }
  return unpacked;
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
