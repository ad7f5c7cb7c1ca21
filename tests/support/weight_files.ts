/** Writers of small weight files, byte for byte as a test wants them, for what no honest program writes. */
import { Buffer } from "node:buffer";
import { crc32, deflateRawSync } from "node:zlib";

/** A text whose characters are bytes. */
export function latin1(text: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(text, "latin1"));
}

/** Pieces one after another; texts are Latin-1. */
export function join(...pieces: (string | Uint8Array)[]): Uint8Array<ArrayBuffer> {
  const parts = pieces.map((piece) => typeof piece === "string" ? latin1(piece) : piece);
  const result = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    result.set(part, at);
    at += part.length;
  }
  return result;
}

/** A little-endian number of some bytes. */
export function little(value: number, bytes: number): Uint8Array<ArrayBuffer> {
  const result = new Uint8Array(bytes);
  let rest = BigInt.asUintN(8 * bytes, BigInt(value));
  for (let k = 0; k < bytes; k++, rest >>= 8n) result[k] = Number(rest & 0xffn);
  return result;
}

/** A `.npy` file with the given header. */
export function npyFile(
  header: string,
  data: Uint8Array = new Uint8Array(4),
  { version = 1, length = header.length }: { version?: number; length?: number } = {},
): Uint8Array<ArrayBuffer> {
  return join("\x93NUMPY", little(version, 1), "\0", little(length, version === 1 ? 2 : 4), header, data);
}

/** NumPy's header for a shape as it is written, of f32. */
export function npyHeader(shape: string): string {
  return `{'descr': '<f4', 'fortran_order': False, 'shape': ${shape}, }\n`;
}

/** A safetensors file with the given header. */
export function safetensorsFile(
  header: string,
  data: Uint8Array = new Uint8Array(4),
): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder().encode(header);
  return join(little(text.length, 8), text, data);
}

/** A file in an archive, and what may be said wrongly of it. */
export interface Member {
  readonly name: string;
  readonly data: Uint8Array;
  readonly deflate?: boolean;
  /** The deflated data, where it is at hand. */
  readonly packed?: Uint8Array;
  /** Size that the directory claims. */
  readonly size?: number;
  readonly checksum?: number;
  readonly method?: number;
  readonly flags?: number;
}

/** A zip archive; `copies` entries of its directory point to each member. */
export function zipFile(
  members: readonly Member[],
  { copies = 1 }: { copies?: number } = {},
): Uint8Array<ArrayBuffer> {
  const locals: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let offset = 0;
  for (const member of members) {
    const { name, data, deflate = member.packed !== undefined } = member;
    const content = deflate ? member.packed ?? new Uint8Array(deflateRawSync(data)) : data;
    const method = member.method ?? (deflate ? 8 : 0);
    const fields = join(
      little(20, 2),
      little(member.flags ?? 0, 2),
      little(method, 2),
      little(0, 4),
      little(member.checksum ?? crc32(data), 4),
      little(content.length, 4),
      little(member.size ?? data.length, 4),
    );
    const local = join("PK\x03\x04", fields, little(name.length, 2), little(0, 2), name, content);
    for (let copy = 0; copy < copies; copy++) {
      const own = copies === 1 ? name : `${copy}${name}`;
      directory.push(
        join(
          "PK\x01\x02",
          little(20, 2),
          fields,
          little(own.length, 2),
          little(0, 12),
          little(offset, 4),
          own,
        ),
      );
    }
    locals.push(local);
    offset += local.length;
  }
  const listing = join(...directory);
  return join(
    ...locals,
    listing,
    "PK\x05\x06",
    little(0, 4),
    little(directory.length, 2),
    little(directory.length, 2),
    little(listing.length, 4),
    little(offset, 4),
    little(0, 2),
  );
}

/** A `.pth` of the zip format around a pickle. */
export function torchFile(
  pickle: string | Uint8Array,
  { storages = {}, deflate = false }: { storages?: Record<string, Uint8Array>; deflate?: boolean } = {},
): Uint8Array<ArrayBuffer> {
  return zipFile([
    { name: "archive/data.pkl", data: join(pickle), deflate },
    { name: "archive/version", data: latin1("3\n") },
    ...Object.entries(storages).map(([key, data]) => ({ name: `archive/data/${key}`, data, deflate })),
  ]);
}

/** A `.pth` of the legacy format around a pickle and a list of storages with their bytes. */
export function legacyFile(
  pickle: string,
  tail: string | Uint8Array = "\x80\x02].",
): Uint8Array<ArrayBuffer> {
  const magic = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
  const system = "\x80\x02}X\x0d\0\0\0little_endian\x88s.";
  return join(magic, "\x80\x02M\xe9\x03.", system, pickle, tail);
}

/** Pickled text. */
export function unicode(text: string): string {
  return `X${String.fromCharCode(...little(text.length, 4))}${text}`;
}

/** Pickled whole number of 32 bits. */
export function int32(value: number): string {
  return `J${String.fromCharCode(...little(value, 4))}`;
}

/** Pickled reference to a storage. */
export function storage({ type = "FloatStorage", key = "0", count = 2 } = {}): string {
  return `(${unicode("storage")}ctorch\n${type}\n${unicode(key)}${unicode("cpu")}${int32(count)}NtQ`;
}

/** Pickled tensor: a view of a storage. Offset, shape and strides are pickled already. */
export function tensor(
  { of = storage(), offset = "K\0", shape = "K\x02\x85", stride = "K\x01\x85" }: {
    of?: string;
    offset?: string;
    shape?: string;
    stride?: string;
  } = {},
): string {
  return `ctorch._utils\n_rebuild_tensor_v2\n(${of}${offset}${shape}${stride}\x89}tR`;
}

/** A list that contains another twice, which contains another twice, and so on; 2^depth paths. */
export function laughs(depth: number): string {
  return "]q\0" + "0](h\0h\0eq\0".repeat(depth);
}

/** A list in a list in a list. */
export function nested(depth: number): string {
  return "]".repeat(depth) + "a".repeat(depth - 1);
}
