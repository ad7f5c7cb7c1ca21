/** Two processes in one run's folder. */
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { runFiles, WriteError } from "../src/training/checkpoint_files.ts";
import { FolderInUseError, lockRun, thisProcess } from "../src/training/run_lock.ts";
import { inFolder } from "./support/folders.ts";

const elsewhere = { ...thisProcess(), host: "node-7", boot: "another start", pid: 4711 };

Deno.test("lockRun() lets one in at a time, and leaves nothing behind", () =>
  inFolder(async (folder) => {
    {
      await using lock = await lockRun(folder);
      assertEquals(lock.note, undefined);
      const error = await assertRejects(() => lockRun(folder), FolderInUseError);
      assertMatch(
        (error as Error).message,
        new RegExp(
          `^Cannot use run folder ${folder}: process ${Deno.pid} on .* \\(since .* UTC\\) is at work in it; wait`,
        ),
      );
    }
    assertEquals([...Deno.readDirSync(folder)], []);
    await using lock = await lockRun(folder);
    assertEquals(lock.note, undefined);
  }));

Deno.test("lockRun() takes the lock of a process that was killed, though its number is in use again", () =>
  inFolder(async (folder) => {
    const script = `const { lockRun } = await import(${
      JSON.stringify(new URL("../src/training/run_lock.ts", import.meta.url))
    });
      await lockRun(${JSON.stringify(folder)}); console.log("locked"); setInterval(() => {}, 1000);`;
    const child = new Deno.Command(Deno.execPath(), { args: ["eval", "--no-check", script], stdout: "piped" })
      .spawn();
    const reader = child.stdout.getReader();
    await reader.read();
    await assertRejects(() => lockRun(folder), FolderInUseError, `process ${child.pid} on`);
    child.kill("SIGKILL");
    await child.status;
    await reader.cancel();
    // The number of a process that lives.
    const path = `${folder}/${runFiles.lock}`;
    const left = JSON.parse(await Deno.readTextFile(path));
    await Deno.writeTextFile(path, JSON.stringify({ ...left, pid: Deno.pid }));
    await using lock = await lockRun(folder);
    assertMatch(lock.note!, new RegExp(`^process ${Deno.pid} on .* was ended in this run`));
  }));

Deno.test("a lock from another machine counts until it has not been touched for ten minutes", () =>
  inFolder(async (folder) => {
    const path = `${folder}/${runFiles.lock}`;
    const write = async (holder: unknown, secondsAgo: number): Promise<void> => {
      await Deno.writeTextFile(path, JSON.stringify(holder));
      const time = Date.now() / 1000 - secondsAgo;
      await Deno.utime(path, time, time);
    };
    await write(elsewhere, 60);
    const error = await assertRejects(() => lockRun(folder), FolderInUseError, "process 4711 on node-7");
    assertMatch(
      (error as Error).message,
      /it gave a sign of life 1 min 00 s ago; if it has ended, remove .*run\.lock or wait 9 min 00 s$/,
    );
    assertEquals(
      [...Deno.readDirSync(folder)].map(({ name }) => name),
      [runFiles.lock],
      "what is asked leaves no file",
    );
    await write(elsewhere, 601);
    {
      await using lock = await lockRun(folder);
      assertMatch(lock.note!, /^process 4711 on node-7/);
      assertEquals(JSON.parse(await Deno.readTextFile(path)).pid, Deno.pid);
    }
    // The same machine, started again, and another container on it.
    for (const same of [{ ...elsewhere, host: thisProcess().host }, { ...thisProcess(), host: "c0ffee" }]) {
      await write(same, 1);
      await using lock = await lockRun(folder);
      assert(lock.note !== undefined);
    }
    // What cannot be understood says nothing.
    for (const text of ["", "{", "[]", "null", '{"pid":"1"}']) {
      await Deno.writeTextFile(path, text);
      await using lock = await lockRun(folder);
      assertEquals(lock.note, undefined);
    }
  }));

Deno.test("lockRun() says which file it cannot write", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    const cases: [string, string][] = [
      [`${folder}/none`, "there is no such folder"],
      [`${folder}/file`, "a file stands where its path needs a folder"],
    ];
    for (const [path, why] of cases) {
      await assertRejects(() => lockRun(path), WriteError, `Cannot lock ${path}/${runFiles.lock}: ${why}`);
    }
  }));
