/** Folders with pictures, masks and texts for tests of data. */
import { type Color, encodeImage, encodeMask } from "../../src/data/image.ts";

/** Contents of files by their paths. */
export interface Files {
  [path: string]: string | Uint8Array;
}

/** Three colours for masks. */
export const palette: Color[] = [[0, 0, 0], [128, 0, 0], [0, 128, 0]];

/** A folder with the given files, removed afterwards; texts are written as they are. */
export async function withFiles(files: Files, test: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    for (const [path, content] of Object.entries(files)) {
      await Deno.mkdir(`${root}/${path}`.replace(/\/[^/]*$/, ""), { recursive: true });
      await Deno.writeFile(
        `${root}/${path}`,
        typeof content === "string" ? new TextEncoder().encode(content) : content,
      );
    }
    await test(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

/** A picture with one red and no green. */
export async function png(width: number, height: number, red = 10): Promise<Uint8Array> {
  return await encodeImage({ width, height, data: new Uint8Array(width * height * 3).fill(red) });
}

/** A palette mask of one class id. */
export function maskPng(width: number, height: number, id = 1, colors = palette): Uint8Array {
  return encodeMask({ width, height, data: new Uint8Array(width * height).fill(id) }, colors);
}
