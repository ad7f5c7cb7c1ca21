/**
 * Looking at folders: what is in them, which of the files of a list are there, and which files are pictures.
 *
 * What systems leave behind is passed over: names that begin with a dot (`._a.jpg`, `.DS_Store`), `__MACOSX`, links that
 * lead nowhere or in a circle, and whatever is neither file nor folder.
 *
 * @module
 */
import { DataError, reason } from "./errors.ts";

const readable = /\.(jpe?g|jpe|jfif|png|webp|tiff?|gif|avif)$/i;
const unreadable =
  /\.(bmp|dib|heic|heif|jp2|j2k|jpx|jxl|psd|tga|exr|hdr|p[bgnp]m|dng|cr[23w]|nef|arw|orf|raf|rw2)$/i;

/** The formats that images are read from, for messages. */
export const imageFormats = "JPEG, PNG, WebP, TIFF, GIF and AVIF";

/** Whether a name has the ending of a picture that is read. */
export function isImageName(path: string): boolean {
  return readable.test(path);
}

/** Whether a name has the ending of a picture, read or not. */
export function isPictureName(path: string): boolean {
  return readable.test(path) || unreadable.test(path);
}

/**
 * A path without the ending of its name, in one way of writing accents: two names that look alike have one stem,
 * however the system that wrote them stores their letters.
 *
 * @param path The path.
 * @returns The stem.
 */
export function stemOf(path: string): string {
  return path.replace(/\.[^./\\]+$/, "").normalize("NFC");
}

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
 * The true paths of files that a list names, relative to a folder. A name whose accents the disk stores in another way
 * than the list is found all the same. Every folder is listed once, so that 100,000 files are quick.
 *
 * @param root The folder.
 * @param paths Paths relative to it, with forward slashes.
 * @returns For each the path below `root` that exists, or undefined.
 */
export async function locateFiles(root: string, paths: readonly string[]): Promise<(string | undefined)[]> {
  const listings = new Map<string, Promise<Map<string, string>>>();
  const folders = new Map<string, Promise<string | undefined>>([["", Promise.resolve(root)]]);
  const find = async (folder: string | undefined, name: string): Promise<string | undefined> => {
    if (folder === undefined) return undefined;
    if (name === "" || name === ".") return folder;
    let listing = listings.get(folder);
    if (listing === undefined) listings.set(folder, listing = namesIn(folder));
    const names = await listing;
    const found = names.get(name) ?? names.get(name.normalize("NFC"));
    return found === undefined ? undefined : `${folder}/${found}`;
  };
  const locateFolder = (path: string): Promise<string | undefined> => {
    let found = folders.get(path);
    if (found === undefined) {
      const [parent, name] = cut(path);
      folders.set(path, found = locateFolder(parent).then((folder) => find(folder, name)));
    }
    return found;
  };
  const located: (string | undefined)[] = [];
  for (const path of paths) {
    const [folder, name] = cut(path);
    located.push(name === "" ? undefined : await find(await locateFolder(folder), name));
  }
  return located;
}

/** A path as its folder and its last name. */
function cut(path: string): [folder: string, name: string] {
  const at = path.lastIndexOf("/");
  return at < 0 ? ["", path] : [path.slice(0, at), path.slice(at + 1)];
}

/** The names in a folder by themselves and by their composed form; none if there is no such folder. */
async function namesIn(folder: string): Promise<Map<string, string>> {
  const names = new Map<string, string>();
  try {
    for await (const { name, isFile, isDirectory, isSymlink } of Deno.readDir(folder)) {
      if (!isFile && !isDirectory && !isSymlink) continue;
      const composed = name.normalize("NFC");
      if (!names.has(composed)) names.set(composed, name);
      names.set(name, name);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) {
      throw new DataError(`Cannot list folder ${folder}: ${reason(error)}`, { cause: error });
    }
  }
  return names;
}

/**
 * All files below a folder, sorted, as paths relative to it. A folder that links lead to more than once is listed once,
 * under its own name where it has one.
 *
 * @param root The folder.
 * @param options `except`: folders to leave out; those that do not exist are no matter.
 * @returns Relative paths with forward slashes.
 * @throws {DataError} If a folder cannot be listed.
 */
export async function filesBelow(
  root: string,
  options: { except?: readonly string[] } = {},
): Promise<string[]> {
  const visited = new Set<string>();
  for (const path of options.except ?? []) {
    const real = await realPath(path);
    if (real !== undefined) visited.add(real);
  }
  const found: string[] = [];
  const pending = [""];
  // Linked folders wait until all others are listed.
  const linked: string[] = [];
  for (let folder: string | undefined; (folder = pending.pop() ?? linked.shift()) !== undefined;) {
    const real = await realPath(`${root}/${folder}`);
    if (real === undefined || visited.has(real)) continue;
    visited.add(real);
    for (const { name, isFile, isDirectory, isSymlink } of await entriesIn(`${root}/${folder}`)) {
      if (name.startsWith(".") || name === "__MACOSX") continue;
      const path = folder + name;
      if (isFile) found.push(path);
      else if (isDirectory) pending.push(`${path}/`);
      else if (isSymlink) {
        const target = await kindOf(`${root}/${path}`);
        if (target === "file") found.push(path);
        else if (target === "folder") linked.push(`${path}/`);
      }
    }
  }
  return found.sort();
}

async function entriesIn(folder: string): Promise<Deno.DirEntry[]> {
  try {
    const entries = await Array.fromAsync(Deno.readDir(folder));
    return entries.sort((a, b) => a.name < b.name ? -1 : 1);
  } catch (error) {
    throw new DataError(`Cannot list folder ${folder}: ${reason(error)}`, { cause: error });
  }
}

/** What a link leads to; undefined if that is nothing, itself, or neither file nor folder. */
async function kindOf(path: string): Promise<"file" | "folder" | undefined> {
  const info = await unlessAbsent(path, Deno.stat);
  return info?.isFile ? "file" : info?.isDirectory ? "folder" : undefined;
}

/** A path without links, or undefined if it leads nowhere. */
export async function realPath(path: string): Promise<string | undefined> {
  return await unlessAbsent(path, Deno.realPath);
}

async function unlessAbsent<T>(path: string, look: (path: string) => Promise<T>): Promise<T | undefined> {
  try {
    return await look(path);
  } catch (error) {
    const { NotFound, FilesystemLoop, NotADirectory } = Deno.errors;
    if ([NotFound, FilesystemLoop, NotADirectory].some((kind) => error instanceof kind)) return undefined;
    throw new DataError(`Cannot look at ${path}: ${reason(error)}`, { cause: error });
  }
}
