/** Looking at folders: does it exist, what is in it, which of these files are absent. @module */
import { DataError, reason } from "./errors.ts";

/**
 * Refuses a path that is not a folder.
 *
 * @param path The path.
 * @param purpose What the folder is wanted for: "use data folder".
 * @throws {DataError} If there is no such folder.
 */
export async function requireFolder(path: string, purpose: string): Promise<void> {
  let isFolder: boolean;
  try {
    isFolder = (await Deno.stat(path)).isDirectory;
  } catch (error) {
    const why = error instanceof Deno.errors.NotFound ? "no such folder" : reason(error);
    throw new DataError(`Cannot ${purpose} ${path}: ${why}`, { cause: error });
  }
  if (!isFolder) throw new DataError(`Cannot ${purpose} ${path}: it is a file, not a folder`);
}

/**
 * The text of a file, or nothing if there is no such file.
 *
 * @param path The path.
 * @returns The text.
 * @throws {DataError} If the file is there but cannot be read.
 */
export async function readTextIfPresent(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw new DataError(`Cannot read ${path}: ${reason(error)}`, { cause: error });
  }
}

/**
 * The paths among the given ones that do not exist; every folder is listed once, so that 100,000 files are quick.
 *
 * @param paths Paths of files.
 * @returns Those that are absent, in the given order.
 */
export async function absentFiles(paths: readonly string[]): Promise<string[]> {
  const listings = new Map<string, Set<string>>();
  const absent: string[] = [];
  for (const path of paths) {
    const cut = path.lastIndexOf("/");
    const folder = path.slice(0, cut);
    let names = listings.get(folder);
    if (names === undefined) {
      names = await namesIn(folder);
      listings.set(folder, names);
    }
    if (!names.has(path.slice(cut + 1))) absent.push(path);
  }
  return absent;
}

async function namesIn(folder: string): Promise<Set<string>> {
  const names = new Set<string>();
  try {
    for await (const entry of Deno.readDir(folder)) names.add(entry.name);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) {
      throw new DataError(`Cannot list folder ${folder}: ${reason(error)}`, { cause: error });
    }
  }
  return names;
}

/**
 * All files below a folder, sorted, as paths relative to it.
 *
 * @param root The folder.
 * @param options `except`: a folder to leave out.
 * @returns Relative paths with forward slashes.
 */
export async function filesBelow(root: string, options: { except?: string } = {}): Promise<string[]> {
  const found: string[] = [];
  const pending = [""];
  while (pending.length > 0) {
    const folder = pending.pop()!;
    for await (const { name, isDirectory, isSymlink } of Deno.readDir(`${root}/${folder}`)) {
      const path = folder + name;
      const isFolder = isDirectory || (isSymlink && (await Deno.stat(`${root}/${path}`)).isDirectory);
      if (!isFolder) found.push(path);
      else if (await Deno.realPath(`${root}/${path}`) !== options.except) pending.push(`${path}/`);
    }
  }
  return found.sort();
}
