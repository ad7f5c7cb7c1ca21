/**
 * `train.ts` in a process that ends itself, as a loss of power would, at a chosen call of a chosen kind: its environment
 * variable `TRAIN_INJURY` holds an `Injury` as JSON.
 *
 * @module
 */
import { runProgram, runTrain, trainHelp, trainOptions } from "../../../src/training/mod.ts";
import type { Injury } from "./process.ts";

const injury = JSON.parse(Deno.env.get("TRAIN_INJURY") ?? "null") as Injury | null;
if (injury !== null) injure(injury);
await runProgram(trainOptions, { help: trainHelp, run: runTrain }, Deno.args);

function injure({ at, file, count, when }: Injury): void {
  const end = (): never => {
    Deno.kill(Deno.pid, "SIGKILL");
    for (;;);
  };
  let left = count;
  const isIt = (kind: Injury["at"], path: string): boolean =>
    kind === at && path.includes(file) && --left === 0;
  /** The paths of open files. */
  const paths = new WeakMap<Deno.FsFile, string>();
  const { open, openSync, rename, remove } = Deno;
  const { write, writeSync, sync } = Deno.FsFile.prototype;

  const opened = <F extends Deno.FsFile>(target: F, path: string | URL): F => {
    paths.set(target, String(path));
    return target;
  };
  Deno.open = async (path, options) => {
    const it = isIt("open", String(path));
    if (it && when === "before") end();
    const target = opened(await open(path, options), path);
    if (it) end();
    return target;
  };
  Deno.openSync = (path, options) => opened(openSync(path, options), path);
  Deno.FsFile.prototype.write = async function (bytes): Promise<number> {
    if (!isIt("write", paths.get(this) ?? "")) return await write.call(this, bytes);
    if (when !== "before") {
      await write.call(this, when === "half" ? bytes.subarray(0, bytes.length >> 1) : bytes);
    }
    return end();
  };
  Deno.FsFile.prototype.writeSync = function (bytes): number {
    if (!isIt("write", paths.get(this) ?? "")) return writeSync.call(this, bytes);
    if (when !== "before") {
      writeSync.call(this, when === "half" ? bytes.subarray(0, bytes.length >> 1) : bytes);
    }
    return end();
  };
  Deno.FsFile.prototype.sync = async function (): Promise<void> {
    const it = isIt("sync", paths.get(this) ?? "");
    if (it && when === "before") end();
    await sync.call(this);
    if (it) end();
  };
  Deno.rename = async (from, to) => {
    const it = isIt("rename", String(to));
    if (it && when === "before") end();
    await rename(from, to);
    if (it) end();
  };
  Deno.remove = async (path, options) => {
    const it = isIt("remove", String(path));
    if (it && when === "before") end();
    await remove(path, options);
    if (it) end();
  };
}
