/**
 * Small valid files of every format that is read, as parts that can be changed one by one and put together again with
 * right lengths and checksums, so that a change reaches the reader behind them.
 */
import { deflateSync } from "node:zlib";
import { Budget } from "../../src/io/budget.ts";
import { writeNpy, writeSafetensors } from "../../src/io/mod.ts";
import { isZip, openZip } from "../../src/io/zip.ts";
import { encodeCheckpoint } from "../../src/training/checkpoint.ts";
import { trainConfig } from "../../src/training/config.ts";
import { chunk, pngFile } from "./png_files.ts";
import {
  int32,
  join,
  latin1,
  legacyFile,
  little,
  npyFile,
  npyHeader,
  storage,
  tensor,
  unicode,
  zipFile,
} from "./weight_files.ts";

/** Who reads a file. */
export type Reader = "weights" | "mask" | "checkpoint";

/** A valid file in parts. */
export interface Seed {
  readonly name: string;
  readonly reader: Reader;
  /** Contents by name. */
  readonly parts: Readonly<Record<string, Uint8Array>>;
  /** The file of such parts. */
  readonly build: (parts: Readonly<Record<string, Uint8Array>>) => Uint8Array;
}

/** All seeds, and the files of real programs that lie in a folder. */
export async function fuzzSeeds(fixtures: URL): Promise<Seed[]> {
  const real: Seed[] = [];
  for (const name of ["zip.pth", "legacy.pth", "stored.npz", "deflated.npz", "fortran.npy"]) {
    const file = await Deno.readFile(new URL(name, fixtures));
    real.push(isZip(file) ? members(name, file) : whole(name, "weights", file));
  }
  return [...real, ...arrays(), ...pickles(), ...masks(), checkpoint()];
}

function whole(name: string, reader: Reader, file: Uint8Array): Seed {
  return { name, reader, parts: { file }, build: ({ file }) => file! };
}

/** An archive whose members are the parts. */
function members(name: string, file: Uint8Array): Seed {
  const archive = openZip(file, new Budget(file.length));
  return weights(
    name,
    Object.fromEntries(archive.names.map((name) => [name, archive.file(name)!])),
    (parts) => zipFile(Object.entries(parts).map(([name, data]) => ({ name, data }))),
  );
}

function weights(name: string, parts: Seed["parts"], build: Seed["build"]): Seed {
  return { name, reader: "weights", parts, build };
}

function arrays(): Seed[] {
  const data = Uint8Array.from({ length: 24 }, (_, k) => k);
  const header = latin1("{'descr': '<i2', 'fortran_order': True, 'shape': (3, 4), }\n");
  const npy = (version: number): Seed =>
    weights(
      `version ${version}.npy`,
      { header, data },
      ({ header, data }) => npyFile(String.fromCharCode(...header!.subarray(0, 60000)), data!, { version }),
    );
  const archive = (deflate: boolean): Seed =>
    weights(
      `${deflate ? "deflated" : "stored"}.npz`,
      {
        "a.npy": npyFile(npyHeader("(2, 3)"), data),
        "b.npy": writeNpy({ shape: [], dtype: "bool", data: Uint8Array.of(1) }),
      },
      (parts) => zipFile(Object.entries(parts).map(([name, data]) => ({ name, data, deflate }))),
    );
  const safetensors = writeSafetensors(
    new Map([
      ["a.weight", { shape: [2, 2], dtype: "f32", data: new Float32Array(4) }],
      ["a.bias", { shape: [2], dtype: "bf16", data: new Float32Array(2) }],
      ["step", { shape: [], dtype: "i64", data: BigInt64Array.of(3n) }],
    ]),
    { metadata: { format: "pt" } },
  );
  const end = 8 + safetensors[0]! + 256 * safetensors[1]!;
  return [
    npy(1),
    npy(2),
    npy(3),
    archive(false),
    archive(true),
    weights(
      "a.safetensors",
      { header: safetensors.slice(8, end), data: safetensors.slice(end) },
      ({ header, data }) => join(little(header!.length, 8), header!, data!),
    ),
  ];
}

function pickles(): Seed[] {
  const view = tensor({
    of: storage({ count: 6 }),
    offset: "K\x01",
    shape: "K\x02K\x02\x86",
    stride: "K\x01K\x02\x86",
  });
  const half = tensor({ of: storage({ type: "HalfStorage", key: "1", count: 4 }), shape: "K\x03\x85" });
  const program = latin1(
    `\x80\x02ccollections\nOrderedDict\n)R(${unicode("a.weight")}${view}q\x01${unicode("a.bias")}${half}` +
      `${unicode("again")}h\x01${unicode("epoch")}${int32(7)}${
        unicode("list")
      }](K\x01G\x3f\xb9\x99\x99\x99\x99\x99\x9aNe` +
      `${unicode("best")}cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n${unicode("f8")}\x89\x88\x87R${
        "c_codecs\nencode\n" + unicode("\0".repeat(8)) + unicode("latin1") + "\x86R"
      }\x86R` +
      `${unicode("state")}}${unicode("module.x")}ctorch._utils\n_rebuild_parameter\n${half}\x88}\x87Rs` +
      `${unicode("big")}\x8a\x09\0\0\0\0\0\0\0\0\x01(K\x01K\x02tK\x03u.`,
  );
  const storages = { 0: new Uint8Array(24).fill(1), 1: new Uint8Array(8).fill(2) };
  const zip = (deflate: boolean): Seed =>
    weights(
      `${deflate ? "deflated" : "stored"}.pth`,
      {
        "r/data.pkl": program,
        "r/byteorder": latin1("little"),
        "r/data/0": storages[0],
        "r/data/1": storages[1],
      },
      (parts) => zipFile(Object.entries(parts).map(([name, data]) => ({ name, data, deflate }))),
    );
  const tail = join(
    "\x80\x02](",
    unicode("0"),
    unicode("1"),
    "e.",
    little(6, 8),
    storages[0],
    little(4, 8),
    storages[1],
  );
  // Little around what can be wrong: most changes of these are of an offset, a size or a stride.
  const small = (name: string, tensor: string): Seed =>
    weights(`${name}.pth`, { program: latin1(tensor) }, ({ program }) =>
      zipFile([
        {
          name: "data.pkl",
          data: join(`\x80\x02(${storage({ count: 6 })}q\x000}(${unicode("t")}`, program!, "u."),
        },
        { name: "data/0", data: storages[0] },
      ]));
  const rebuild = "ctorch._utils\n_rebuild_tensor_v2\n(h\0";
  const protocol0 = latin1("(dp0\nVa\\u20ac\np1\n(lp2\nI1\naL22L\naF0.5\naNaI01\nas.");
  return [
    zip(false),
    zip(true),
    weights(
      "legacy.pth",
      { program, tail },
      ({ program, tail }) => join(legacyFile("", "").subarray(0), program!, tail!),
    ),
    small("rows", `${rebuild}K\0K\x02K\x03\x86K\x03K\x01\x86\x89}tR`),
    small("columns", `${rebuild}K\x01K\x02K\x02\x86K\x01K\x02\x86\x89}tR`),
    small("repeated", `${rebuild}K\x05K\x04\x85K\0\x85\x89}tR`),
    weights(
      "protocol 0.pth",
      { program: protocol0 },
      ({ program }) => zipFile([{ name: "data.pkl", data: program! }]),
    ),
  ];
}

function masks(): Seed[] {
  const kinds = [
    { depth: 1, colorType: 3, interlace: 0 },
    { depth: 2, colorType: 0, interlace: 1 },
    { depth: 4, colorType: 3, interlace: 1 },
    { depth: 8, colorType: 3, interlace: 0 },
    { depth: 8, colorType: 2, interlace: 0 },
    { depth: 8, colorType: 4, interlace: 1 },
  ];
  return kinds.map(({ depth, colorType, interlace }): Seed => {
    const header = Uint8Array.of(0, 0, 0, 5, 0, 0, 0, 4, depth, colorType, 0, 0, interlace);
    // Enough rows for any of these kinds; what is too much is ignored.
    const rows = Uint8Array.from({ length: 100 }, (_, k) => colorType === 2 ? 0 : k % 3);
    return {
      name: `${depth} bits of type ${colorType}${interlace ? ", interlaced" : ""}.png`,
      reader: "mask",
      parts: {
        header,
        palette: Uint8Array.from({ length: 48 }, (_, k) => k % 3 === 1 ? 0 : Math.floor(k / 3)),
        rows,
      },
      build: ({ header, palette, rows }) =>
        join(
          "\x89PNG\r\n\x1a\n",
          chunk("IHDR", header!),
          chunk("PLTE", palette!),
          chunk("IDAT", new Uint8Array(deflateSync(rows!))),
          chunk("IEND", new Uint8Array(0)),
        ),
    };
  }).concat([whole("whole.png", "mask", pngFile({ width: 3, height: 2, raw: new Uint8Array(8) }))]);
}

function checkpoint(): Seed {
  const file = encodeCheckpoint({
    arrays: new Map([["gain", { shape: [2], dtype: "f32", data: Float32Array.of(1, 2) }]]),
    meta: { config: trainConfig(), classes: [{ name: "sky", color: [1, 2, 3] }], step: 7, bestMeanIoU: 0.5 },
  });
  const end = 8 + file[0]! + 256 * file[1]!;
  return {
    name: "checkpoint.safetensors",
    reader: "checkpoint",
    // Without its checksum, which would refuse every change before anything else is looked at.
    parts: { header: withoutChecksum(file.slice(8, end)), data: file.slice(end) },
    build: ({ header, data }) => join(little(header!.length, 8), header!, data!),
  };
}

function withoutChecksum(header: Uint8Array): Uint8Array {
  const text = new TextDecoder().decode(header);
  return new TextEncoder().encode(text.replace(/"checksum":"[0-9a-f]{8}",/, ""));
}
