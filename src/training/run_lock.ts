/**
 * One process at a time in a run's folder. The lock is the system's lock of a file, so it ends with its process,
 * however that ends, and a new process with the same number is not taken for the old one.
 *
 * Over a network that lock may not reach from one machine to another. Therefore the file says who holds it, and its
 * holder touches it now and then: a lock of another machine counts until it was not touched for ten minutes.
 *
 * @module
 */
import { runFiles, WriteError } from "./checkpoint_files.ts";
import { duration } from "./progress.ts";

/** Milliseconds between two touches, and after which a lock that nothing can be known about is an old one. */
const touchEvery = 30_000;
const oldAfter = 600_000;

/** A run's folder in which another process is at work. */
export class FolderInUseError extends Error {
  /** The name of this class. */
  override readonly name = "FolderInUseError";
}

/** The process that holds a lock. */
interface Holder {
  readonly pid: number;
  readonly host: string;
  /** What the system calls this start of its machine, where it says. */
  readonly boot: string | null;
  readonly since: string;
}

/** A lock that is held until it is disposed. */
export interface RunLock extends AsyncDisposable {
  /** What is to be said about who held it before, if that process has not ended it. */
  readonly note?: string;
}

/**
 * Takes the lock of a run's folder.
 *
 * @param folder The folder.
 * @param self Who takes it (default: this process).
 * @throws {FolderInUseError} If another process holds it.
 * @throws {WriteError} If the folder cannot be written.
 */
export async function lockRun(folder: string, self: Holder = thisProcess()): Promise<RunLock> {
  const path = `${folder}/${runFiles.lock}`;
  for (;;) {
    const file = await openLock(path);
    try {
      const isFree = await tryLock(file);
      const holder = await readHolder(path);
      if (isFree === false) throw inUse(folder, holder, "wait for its end, or stop it");
      // The holder before may have removed the file between our opening and locking it.
      if (!await isStill(path, file)) {
        file.close();
        continue;
      }
      if (holder !== undefined && !(isFree && isSameMachine(holder, self))) await requireOld(folder, holder);
      await writeHolder(path, file, self);
      return held(path, file, self, holder);
    } catch (error) {
      file.close();
      throw error;
    }
  }
}

function held(path: string, file: Deno.FsFile, self: Holder, before: Holder | undefined): RunLock {
  const timer = setInterval(() => {
    // A lock that cannot be touched is still one on this machine.
    writeHolder(path, file, self).catch(() => {});
  }, touchEvery);
  Deno.unrefTimer(timer as unknown as number);
  return {
    ...(before && { note: `${describe(before)} was ended in this run; what it had saved is there` }),
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      // Removed before it is let go: whoever opens it after that opens another file. A folder that has been removed
      // or can no longer be written needs no unlocking; a system that removes no open file keeps an empty one.
      await file.truncate().catch(() => {});
      await Deno.remove(path).catch(() => {});
      file.close();
    },
  };
}

async function openLock(path: string): Promise<Deno.FsFile> {
  try {
    return await Deno.open(path, { read: true, write: true, create: true });
  } catch (error) {
    throw new WriteError(`lock ${path}`, error);
  }
}

/** Whether the lock could be taken; undefined where the file system has no locks. */
async function tryLock(file: Deno.FsFile): Promise<boolean | undefined> {
  try {
    return await file.tryLock(true);
  } catch {
    return undefined;
  }
}

async function isStill(path: string, file: Deno.FsFile): Promise<boolean> {
  const [own, named] = await Promise.all([file.stat(), Deno.stat(path).catch(() => undefined)]);
  return named !== undefined && own.ino === named.ino && own.dev === named.dev;
}

/** Who the file says holds the lock; undefined if it is empty or not to be understood. */
async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    const { pid, host, boot = null, since } = JSON.parse(await Deno.readTextFile(path)) as Partial<Holder>;
    if (typeof pid !== "number" || typeof host !== "string" || typeof since !== "string") return undefined;
    return { pid, host, boot, since };
  } catch {
    return undefined;
  }
}

async function writeHolder(path: string, file: Deno.FsFile, holder: Holder): Promise<void> {
  try {
    const bytes = new TextEncoder().encode(JSON.stringify(holder) + "\n");
    await file.seek(0, Deno.SeekMode.Start);
    for (let written = 0; written < bytes.length;) written += await file.write(bytes.subarray(written));
    await file.truncate(bytes.length);
  } catch (error) {
    throw new WriteError(`write ${path}`, error);
  }
}

/** Refuses a lock of which nothing but its age is known, unless it is old. */
async function requireOld(folder: string, holder: Holder): Promise<void> {
  const path = `${folder}/${runFiles.lock}`;
  const { mtime } = await Deno.stat(path);
  const age = await clockOf(folder) - (mtime?.getTime() ?? 0);
  if (age >= oldAfter) return;
  const seconds = Math.max(0, age / 1000);
  throw inUse(
    folder,
    holder,
    `it gave a sign of life ${duration(seconds)} ago; if it has ended, remove ${path} or wait ${
      duration(oldAfter / 1000 - seconds)
    }`,
  );
}

/** The time that the folder's file system gives to a new file: the clocks of two machines differ. */
async function clockOf(folder: string): Promise<number> {
  const path = `${folder}/${runFiles.lock}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  try {
    await Deno.writeTextFile(path, "");
    const { mtime } = await Deno.stat(path);
    await Deno.remove(path);
    return mtime?.getTime() ?? Date.now();
  } catch (error) {
    throw new WriteError(`write ${path}`, error);
  }
}

function inUse(folder: string, holder: Holder | undefined, advice: string): FolderInUseError {
  const who = holder === undefined ? "another process" : describe(holder);
  return new FolderInUseError(`Cannot use run folder ${folder}: ${who} is at work in it; ${advice}`);
}

function describe({ pid, host, since }: Holder): string {
  return `process ${pid} on ${host} (since ${since.slice(0, 19).replace("T", " ")} UTC)`;
}

function isSameMachine(a: Holder, b: Holder): boolean {
  return a.host === b.host || (a.boot !== null && a.boot === b.boot);
}

/** This process. Where the system may not be asked, its locks say less. */
export function thisProcess(): Holder {
  const orElse = <T>(ask: () => T, otherwise: T): T => {
    try {
      return ask();
    } catch {
      return otherwise;
    }
  };
  return {
    pid: Deno.pid,
    host: orElse(Deno.hostname, "an unknown machine"),
    // Containers on one machine have names of their own, but share this.
    boot: orElse<string | null>(
      () => Deno.readTextFileSync("/proc/sys/kernel/random/boot_id").trim(),
      null,
    ),
    since: new Date().toISOString(),
  };
}
