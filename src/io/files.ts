/** The bytes of a file on disk, or a sentence that names it. @module */
import { FileFormatError, shown } from "./errors.ts";

/**
 * Reads a whole file.
 *
 * @param path The file.
 * @param purpose What it is read for, as the beginning of a sentence: "Cannot `load weights` x.pth: ...".
 * @returns Its bytes.
 * @throws {FileFormatError} If it is a folder, a device, or larger than the memory.
 * @throws {Deno.errors.NotFound} If there is no such file; other errors of the system keep their class too.
 */
export async function readBytes(
  path: string | URL,
  purpose: string = "read",
): Promise<Uint8Array<ArrayBuffer>> {
  const name = shown(String(path), 300);
  try {
    const info = await Deno.stat(path);
    if (info.isDirectory) throw new FileFormatError(`Cannot ${purpose} ${name}: it is a folder, not a file`);
    if (!info.isFile) {
      throw new FileFormatError(`Cannot ${purpose} ${name}: it is a device or a pipe, not a file`);
    }
    return await Deno.readFile(path);
  } catch (error) {
    if (error instanceof FileFormatError || error instanceof Deno.errors.NotCapable) throw error;
    if (error instanceof Deno.errors.NotFound) {
      throw new Deno.errors.NotFound(`Cannot ${purpose} ${name}: there is no such file`, { cause: error });
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      throw new Deno.errors.PermissionDenied(`Cannot ${purpose} ${name}: it may not be read`, {
        cause: error,
      });
    }
    throw new FileFormatError(`Cannot ${purpose} ${name}: ${(error as Error).message}`, { cause: error });
  }
}
