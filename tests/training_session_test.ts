/** The frame of the programs: which errors end in a sentence. */
import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { DataError } from "@allspark/tensor/data";
import { chooseDevice, LossError, OptionError, WriteError } from "@allspark/tensor/training";
import { DeviceError } from "../src/errors.ts";
import { FileFormatError } from "../src/io/errors.ts";
import { FolderInUseError } from "../src/training/run_lock.ts";
import { sentenceOf } from "../src/training/session.ts";
import { inFolder } from "./support/folders.ts";

Deno.test("sentenceOf() gives what is for the user to mend, and nothing of what is not", () => {
  const ours = [
    new OptionError(["Cannot use a", "Cannot use b"]),
    new DataError("Cannot read a"),
    new FileFormatError("Cannot load a"),
    new LossError(3, NaN),
    new LossError(3, ["head.weight"]),
    new WriteError("write a", new Error("no")),
    new FolderInUseError("Cannot use a"),
    new DeviceError("Cannot go on"),
    new Deno.errors.NotFound("Cannot load weights a: there is no such file"),
  ];
  for (const error of ours) assertEquals(sentenceOf(error), error.message);
  for (
    const error of [
      new TypeError("x is not a function"),
      new Error("no"),
      new RangeError("Cannot go"),
      "text",
      undefined,
    ]
  ) {
    assertEquals(sentenceOf(error), undefined);
  }
  assertMatch(
    sentenceOf(new RangeError("Cannot allocate 9 MiB on the cpu device: its memory ends at 8 MiB"))!,
    /^Cannot allocate 9 MiB .*; a smaller --batch or --crop needs less memory$/,
  );
});

Deno.test("what the system says by itself becomes a sentence that names the file", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/file`, "");
    await Deno.mkdir(`${folder}/sub/inside`, { recursive: true });
    const cases: [act: () => Promise<unknown>, sentence: string][] = [
      [() => Deno.readFile(`${folder}/none`), `Cannot use ${folder}/none: no such file`],
      [() => Deno.readFile(folder), `Cannot use ${folder}: it is a folder, not a file`],
      [
        () => Deno.mkdir(`${folder}/sub`),
        `Cannot use ${folder}/sub: something of that name is there already`,
      ],
      [
        () => Deno.readFile(`${folder}/file/x`),
        `Cannot use ${folder}/file/x: a file stands where its path needs a folder`,
      ],
      [
        () => Deno.rename(`${folder}/file`, `${folder}/sub`),
        `Cannot use ${folder}/file and ${folder}/sub: it is a folder, not a file`,
      ],
      [() => Deno.writeFile("/dev/full", new Uint8Array(1)), "Cannot use /dev/full: No space left on device"],
    ];
    for (const [act, sentence] of cases) {
      if (sentence.includes("/dev/full") && Deno.build.os !== "linux") continue;
      assertEquals(sentenceOf(await assertRejects(act, Error)), sentence);
    }
  }));

Deno.test("chooseDevice() says in a sentence which device is not here", async () => {
  await assertRejects(() => chooseDevice("gpu" as "cpu"), OptionError, 'Cannot use device "gpu"');
});
