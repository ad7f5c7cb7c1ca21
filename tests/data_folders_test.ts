/** Folders and lists as they come: hidden files, links, accents, second names, files that lists do not find. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { DataError, printable, reason } from "../src/data/errors.ts";
import { filesBelow, locateFiles } from "../src/data/files.ts";
import { openFolder } from "../src/data/folder.ts";
import { openOwnFolder } from "../src/data/own_folder.ts";
import { openInput } from "../src/training/session_data.ts";
import { type Files, maskPng, png, withFiles } from "./support/data_files.ts";

const isWindows = Deno.build.os === "windows";

/** `ü` as one letter, and as a letter with a mark: names that look alike. */
const composed = "gr\u00fcn";
const decomposed = "gru\u0308n";

/** Four pairs and one image without a mask. */
async function ownFiles(): Promise<Files> {
  const files: Files = { "im/u0.png": await png(4, 3) };
  for (let k = 0; k < 4; k++) {
    files[`im/a${k}.png`] = await png(4, 3, k);
    files[`ma/a${k}.png`] = maskPng(4, 3, k % 3);
  }
  return files;
}

Deno.test("filesBelow() passes over what systems leave behind", { ignore: isWindows }, async () => {
  const files = {
    "a.jpg": "",
    "._a.jpg": "",
    ".hidden/b.jpg": "",
    "__MACOSX/c.jpg": "",
    "deep/d.jpg": "",
    "other/e.jpg": "",
  };
  await withFiles(files, async (root) => {
    await Deno.symlink("/nowhere/at/all.jpg", `${root}/absent.jpg`);
    await Deno.symlink(".", `${root}/deep/self`);
    await Deno.symlink("..", `${root}/deep/up`);
    await Deno.symlink("loop", `${root}/loop`);
    await Deno.symlink("a.jpg", `${root}/again.jpg`);
    // A folder is listed under its own name, also where a link to it comes first in the alphabet.
    await Deno.symlink("other", `${root}/first`);
    assertEquals(await filesBelow(root), ["a.jpg", "again.jpg", "deep/d.jpg", "other/e.jpg"]);
    assertEquals(await filesBelow(root, { except: [`${root}/deep`, `${root}/none`] }), [
      "a.jpg",
      "again.jpg",
      "other/e.jpg",
    ]);
    await new Deno.Command("mkfifo", { args: [`${root}/pipe.jpg`] }).output();
    assertEquals((await filesBelow(root)).includes("pipe.jpg"), false, "a pipe would be waited for");
  });
});

Deno.test("filesBelow() follows a link out of the folder, and thousands of links to one folder once", {
  ignore: isWindows,
}, async () => {
  await withFiles({ "root/x.txt": "", "elsewhere/a.jpg": "" }, async (root) => {
    await Deno.symlink(`${root}/elsewhere`, `${root}/root/link`);
    assertEquals(await filesBelow(`${root}/root`), ["link/a.jpg", "x.txt"]);
    // Each of twelve folders has two links to the next: 4096 ways lead to the last.
    for (let k = 0; k < 12; k++) {
      await Deno.mkdir(`${root}/chain/${k}`, { recursive: true });
      for (const name of ["one", "two"]) await Deno.symlink(`../${k + 1}`, `${root}/chain/${k}/${name}`);
    }
    await Deno.mkdir(`${root}/chain/12`);
    await Deno.writeTextFile(`${root}/chain/12/end.jpg`, "");
    assertEquals(await filesBelow(`${root}/chain/0`), ["one/".repeat(12) + "end.jpg"]);
  });
});

Deno.test("locateFiles() finds names whose accents are stored in another way, in folders too", async () => {
  const files = { [`${decomposed}/${decomposed}.jpg`]: "", "plain/a.jpg": "" };
  await withFiles(files, async (root) => {
    assertEquals(
      await locateFiles(root, [
        `${composed}/${composed}.jpg`,
        "./plain/a.jpg",
        "plain/b.jpg",
        "none/a.jpg",
        "",
      ]),
      [`${root}/${decomposed}/${decomposed}.jpg`, `${root}/plain/a.jpg`, undefined, undefined, undefined],
    );
  });
});

Deno.test("openOwnFolder() pairs images and masks that look alike", async () => {
  const files = await ownFiles();
  files[`im/${decomposed}.png`] = await png(4, 3);
  files[`ma/${composed}.png`] = maskPng(4, 3);
  await withFiles(files, async (root) => {
    const { labeled, val, unlabeled } = await openOwnFolder({ images: `${root}/im`, masks: `${root}/ma` });
    assertEquals([labeled.length + val.length, unlabeled.length], [5, 1]);
  });
});

Deno.test("openOwnFolder() passes over hidden files, links and results of earlier runs", {
  ignore: isWindows,
}, async () => {
  const files = await ownFiles();
  const junk = new Uint8Array([0, 5, 22, 7, 0, 2, 0, 0]);
  for (const name of ["im/._a0.png", "ma/._a0.png", "im/__MACOSX/._u0.png", "im/.DS_Store"]) {
    files[name] = junk;
  }
  files["im/runs/allspark/overlays.png"] = await png(9, 9);
  await withFiles(files, async (root) => {
    await Deno.symlink("/nowhere/x.jpg", `${root}/im/x.jpg`);
    await Deno.symlink(".", `${root}/im/self`);
    await Deno.symlink("..", `${root}/ma/up`);
    const folders = { images: `${root}/im`, masks: `${root}/ma` };
    const { unlabeled } = await openOwnFolder({ ...folders, except: [`${root}/im/runs`] });
    assertEquals(unlabeled, [{ image: `${root}/im/u0.png` }]);
  });
});

Deno.test("openOwnFolder() tells what leaves a doubt about which mask belongs to which image", async () => {
  const wrong = async (change: Files, message: string): Promise<void> => {
    await withFiles({ ...await ownFiles(), ...change }, async (root) => {
      const error = await assertRejects(
        () => openOwnFolder({ images: `${root}/im`, masks: `${root}/ma` }),
        DataError,
        message,
      );
      assert(!/\.$|\n/.test(error.message), error.message);
    });
  };
  await wrong({ "im/a0.jpg": await png(4, 3) }, "a0.jpg and a0.png in ");
  await wrong(
    { "ma/u0.jpg": "" },
    "1 of its files are pictures but no PNG files, u0.jpg; other formats change",
  );
  await wrong({ "ma/u0.bmp": "" }, "pictures but no PNG files, u0.bmp");
  await wrong(
    { "ma/a0.PNG": maskPng(4, 3) },
    "Cannot tell which mask belongs to image a0: a0.PNG and a0.png in ",
  );
  await wrong(
    {
      [`im/${composed}.png`]: await png(4, 3),
      [`im/${decomposed}.png`]: await png(4, 3),
      [`ma/${composed}.png`]: maskPng(4, 3),
    },
    "both have its name",
  );
});

Deno.test("openOwnFolder() takes two photos of one name without a mask, and a preview beside a mask", async () => {
  const files = { ...await ownFiles(), "im/u0.jpg": await png(4, 3), "ma/a0.jpg": "" };
  await withFiles(files, async (root) => {
    const { unlabeled } = await openOwnFolder({ images: `${root}/im`, masks: `${root}/ma` });
    assertEquals(unlabeled.length, 2);
  });
});

Deno.test("openOwnFolder() remarks on photos in formats that are not read", async () => {
  await withFiles(
    { ...await ownFiles(), "im/old.bmp": "", "im/phone.HEIC": "", "only/x.bmp": "" },
    async (root) => {
      const { remarks } = await openOwnFolder({ images: `${root}/im`, masks: `${root}/ma` });
      assertEquals(remarks, [
        `Not used: 2 pictures in ${root}/im whose formats are not read, old.bmp, phone.HEIC; ` +
        `JPEG, PNG, WebP, TIFF, GIF and AVIF are read`,
      ]);
      await assertRejects(
        () => openOwnFolder({ images: `${root}/only`, masks: `${root}/ma` }),
        DataError,
        "it holds no images but x.bmp",
      );
    },
  );
});

Deno.test("openOwnFolder() says truly why a share cannot be kept for validation", async () => {
  await withFiles(await ownFiles(), async (root) => {
    const open = (val: number) => openOwnFolder({ images: `${root}/im`, masks: `${root}/ma`, val });
    await assertRejects(
      () => open(0.99),
      DataError,
      "Cannot keep a share of 0.99 of 4 labeled images for validation: none is left to train on",
    );
    assertEquals((await open(0.75)).labeled.length, 1);
    assertEquals((await open(0.0001)).val.length, 1);
  });
});

/** A folder in VOC's layout with one list per split. */
async function listFiles(lists: { [name: string]: string | Uint8Array }): Promise<Files> {
  const files: Files = { "classes.json": '["a", "b", "c"]', "splits/val.txt": "img/v.png mask/v.png" };
  for (const name of ["v", "a", "with space", decomposed]) {
    files[`img/${name}.png`] = await png(4, 3);
    files[`mask/${name}.png`] = maskPng(4, 3);
  }
  for (const [name, list] of Object.entries(lists)) files[`splits/${name}/labeled.txt`] = list;
  return files;
}

Deno.test("openFolder() reads lists with comments, quotes, tabs, accents, backslashes, marks and UTF-16", async () => {
  const utf16 = new Uint8Array(
    Uint16Array.from("\ufeffimg/a.png mask/a.png\r\n", (c) => c.charCodeAt(0)).buffer,
  );
  const lists = {
    comment: "# the first split\n\nimg/a.png mask/a.png\n#\n",
    quotes: '"img/with space.png" "mask/with space.png"',
    tab: "img/with space.png\tmask/with space.png",
    accents: `img/${composed}.png mask/${composed}.png`,
    windows: "img\\a.png mask\\a.png\r\n",
    mark: "\ufeffimg/a.png mask/a.png",
    utf16,
  };
  await withFiles(await listFiles(lists), async (root) => {
    for (const split of Object.keys(lists)) {
      const { labeled, unlabeled } = await openFolder(root, { split });
      const name = { quotes: "with space", tab: "with space", accents: decomposed }[split] ?? "a";
      assertEquals(labeled, [{ image: `${root}/img/${name}.png`, mask: `${root}/mask/${name}.png` }], split);
      assertEquals(unlabeled, [], "no list of unlabeled images");
    }
  });
});

Deno.test("openFolder() takes an empty list of unlabeled images, and absent files where they may be", async () => {
  const files = await listFiles({
    s: "img/a.png mask/a.png\nimg/none.png mask/a.png",
    t: "img/a.png mask/a.png",
  });
  files["splits/t/unlabeled.txt"] = "\n";
  await withFiles(files, async (root) => {
    assertEquals((await openFolder(root, { split: "t" })).unlabeled, []);
    await assertRejects(() => openFolder(root, { split: "s" }), DataError, "1 of its 4 files are absent");
    const { labeled } = await openFolder(root, { split: "s", allowAbsent: true });
    assertEquals(labeled[1], { image: `${root}/img/none.png`, mask: `${root}/mask/a.png` });
  });
});

Deno.test("openFolder() quotes a wrong line without its control characters, and not the whole of it", async () => {
  const long = `\x1b[2J${"x".repeat(5000)} y z`;
  await withFiles(await listFiles({ s: long }), async (root) => {
    const error = await assertRejects(
      () => openFolder(root, { split: "s" }),
      DataError,
      "Cannot read line 1 of ",
    );
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x1f]/.test(error.message) && error.message.length < 600, error.message);
  });
});

Deno.test("openInput() leaves out the folder for results, and refuses to write into the images' folder", async () => {
  const files: Files = {
    "in/a.png": "",
    "in/b/c.jpg": "",
    "in/out/a.mask.png": "",
    "in/d.bmp": "",
    "in/._a.png": "",
  };
  await withFiles(files, async (root) => {
    const { items, names } = await openInput(`${root}/in`, { except: `${root}/in/out` });
    assertEquals(
      items.map(({ image }) => image),
      ["a.png", "b/c.jpg", "d.bmp"].map((name) => `${root}/in/${name}`),
    );
    assertEquals(names, ["a", "b/c", "d"]);
    await assertRejects(
      () => openInput(`${root}/in`, { except: `${root}/in/../in` }),
      DataError,
      "into itself: a second run would segment the results of the first",
    );
    assertEquals((await openInput(`${root}/in/a.png`, { except: `${root}/in` })).names, ["a"]);
    await assertRejects(() => openInput(`${root}/none`), DataError, "there is no such file or folder");
  });
});

Deno.test("DataError shows what came from files without control characters and not too long", () => {
  assertEquals(new DataError("a\u001b[31m\n\u202eb").message, "a\\u001b[31m\\n\\u202eb");
  assertEquals(printable("\ud83d\ude00 \ud83d"), "\ud83d\ude00 \\ud83d");
  assertEquals(new DataError("x".repeat(10_000)).message.length, 600 - 1);
  assertEquals(printable("abcdefghij".repeat(10), 25), "abcdefghij ... abcdefghij");
});

Deno.test("reason() says what the system refused in words", () => {
  assertEquals(
    reason(new Deno.errors.IsADirectory("Is a directory (os error 21)")),
    "it is a folder, not a file",
  );
  assertEquals(reason(new Error("File name too long (os error 36): open 'x'")), "File name too long");
  assertEquals(reason("plain"), "plain");
  assertEquals(reason(new Error("")), "the reason is unknown");
});
