/** Labels files as programs write them, and the question for every one that can be meant in two ways. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { readClasses } from "../src/data/classes.ts";
import { DataError } from "../src/data/errors.ts";
import { parseClasses } from "../src/data/labels.ts";
import { decodeText, splitFields } from "../src/data/text.ts";
import { withFiles } from "./support/data_files.ts";

const threeColors = [[[0, 0, 0], 0], [[128, 0, 0], 1], [[0, 128, 0], 2]];

Deno.test("parseClasses() reads three classes and their colours however they are written", () => {
  const forms: { [name: string]: string } = {
    "CVAT's label map": "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\ndog:0,128,0::\n",
    "a table with a head": "name,r,g,b\nbackground,0,0,0\ncat,128,0,0\ndog,0,128,0\n",
    "a table with ids": "id,name,r,g,b\n0,background,0,0,0\n1,cat,128,0,0\n2,dog,0,128,0",
    "a head between spaces": "Name R G B\nbackground 0 0 0\ncat 128 0 0\ndog 0 128 0",
    "quotes": '"background","0","0","0"\n"cat","128","0","0"\n"dog","0","128","0"\n',
    "a quoted head": '"name","r","g","b"\n"background",0,0,0\n"cat",128,0,0\n"dog",0,128,0',
    "colours in quotes": 'background,"0,0,0"\ncat,"(128, 0, 0)"\ndog,"0 128 0"',
    "semicolons": "background;0;0;0\ncat;128;0;0\ndog;0;128;0\n",
    "tabs and colours first": "0 0 0\tbackground\n128 0 0\t\tcat\n0 128 0\tdog",
    "comments": "# my classes\nbackground 0 0 0 # black\n\n  # more\ncat #800000\ndog #008000 # green",
    "ids first": "0 background 0 0 0\n1: cat 128 0 0\n2 dog 0 128 0",
    "ids and colours first": "0 0 0 0 background\n1 128 0 0 cat\n2 0 128 0 dog",
    "brackets": "background (0,0,0)\ncat rgb(128, 0, 0)\ndog [0, 128, 0]",
    "carriage returns alone": "background 0 0 0\rcat 128 0 0\rdog 0 128 0",
    "a void class in between": "background 0 0 0\nvoid\ncat 128 0 0\ndog 0 128 0",
  };
  for (const [form, text] of Object.entries(forms)) {
    const { classes, maskColors } = parseClasses(text, form);
    assertEquals(classes.map(({ name }) => name), ["background", "cat", "dog"], form);
    assertEquals(maskColors, threeColors as never, form);
  }
});

Deno.test("parseClasses() keeps numbers, separators and words of heads that belong to names", () => {
  const names = (text: string): string[] => parseClasses(text, "l.txt").classes.map(({ name }) => name);
  assertEquals(names("lesion 1\nlesion 2"), ["lesion 1", "lesion 2"]);
  assertEquals(names("class 5,1,2,3\nclass 6,3,2,1"), ["class 5", "class 6"]);
  assertEquals(names('"1 euro"\n"2 euro"'), ["1 euro", "2 euro"]);
  assertEquals(names('"car, big",1,2,3\n"the ""van""",3,2,1'), ["car, big", 'the "van"']);
  assertEquals(names("red\ngreen\nblue"), ["red", "green", "blue"]);
  assertEquals(names("0\n1\n2"), ["0", "1", "2"]);
  assertEquals(names("3d printer\nshelf"), ["3d printer", "shelf"]);
  assertEquals(names("label free area 1 2 3\nrest 3 2 1"), ["label free area", "rest"]);
  assertEquals(names('"name"\ncat'), ["name", "cat"]);
});

Deno.test("parseClasses() asks where a line can be meant in two ways, and names it", () => {
  const asks: [text: string, question: string][] = [
    ["background 0 0 0\ncat 128 0 0\ndog 128 0 0\n", '"cat" and "dog" both have colour 128 0 0'],
    ["1 wall\n2 floor", "line 1 has id 1, and the class is number 0 of the list"],
    ["0,cat\n2,dog", "line 2 has id 2"],
    ["name\ncat\ndog", 'line 1 is "name", which may be a class or the head of a table'],
    ["Klasse;Rot;Grün;Blau\na;1;2;3\nb;2;3;4", "which may be a class or the head of a table"],
    ["class label\ncat\ndog", "which may be a class or the head of a table"],
    ["cat 128 0 0 255", "it has 4 numbers side by side"],
    ["class 5 1 2 3", "a name that ends with a number needs quotes"],
    ["a,1,2", "a name and a colour like 128 0 0 or #800000 are required"],
    ["x 0.5 0.2 0.1", "a name and a colour like"],
    ["a -1 0 0", "a name and a colour like"],
    ["cat #f00", "#f00 is no colour like #800000"],
    ["cat #ff0000 #00ff00", "it has two colours"],
    ['"cat', "a quote is not closed"],
    ["7 8 9", "a name and a colour like"],
    ["void 0 0 0", "it names no class"],
    ["# only a comment", "it names no class"],
    ["name,r,g,b", "it names no class"],
    ["\x1b[31mcat", 'the name of line 1, "\\u001b[31mcat", has characters that cannot be shown'],
    ["x".repeat(300), "or more than 100 of them"],
    ["a\n".repeat(2000), "it has more than 1000 lines"],
    ['[{"a": 1}]', "class 0 is an object without a name"],
    ['{"classes": [null]}', 'class 0 is "null" without a name'],
    ['{"classes": ["a", {"name": " "}]}', 'class 0 is "a" without a name'],
    ['{"classes": [{"name": "a", "id": "0"}]}', 'class 0 has "0" for an id; a number is required'],
    [
      '{"classes": [{"name": "a", "color": ["1", 2, 3]}]}',
      '"a" has a list for a colour; three bytes are required',
    ],
    ['{"classes": [{"name": "a", "color": [0.5, 2, 3]}]}', '"a" has [0.5, 2, 3] for a colour'],
    ["[".repeat(100_000) + "]".repeat(100_000), "class 0 is an object without a name"],
    [
      '{"classes": [{"name": "a", "color": [1, 2, 3]}, {"name": "b", "color": [1, 2, 3]}]}',
      "both have colour",
    ],
    ['{"classes": 5}', 'it has no list "classes"'],
  ];
  for (const [text, question] of asks) {
    const error = assertThrows(() => parseClasses(text, "l.txt"), DataError, question);
    assert(error.message.startsWith("Cannot read classes from l.txt: "), error.message);
    // deno-lint-ignore no-control-regex
    assert(!/[\x00-\x1f]/.test(error.message) && error.message.length <= 600, error.message);
  }
});

Deno.test("readClasses() reads UTF-8 and UTF-16 with and without marks, and refuses other encodings", async () => {
  const text = "bäcker 0 0 0\r\ncat 128 0 0\r\n";
  const utf8 = new TextEncoder().encode(text);
  const little = new Uint8Array(Uint16Array.from(`\ufeff${text}`, (letter) => letter.charCodeAt(0)).buffer);
  const big = little.map((_, i) => little[i ^ 1]!);
  const json = '{"classes":[{"name":"bäcker"},{"name":"cat"}]}';
  const files = {
    "plain.txt": utf8,
    "marked.txt": new Uint8Array([0xef, 0xbb, 0xbf, ...utf8]),
    "little.txt": little,
    "big.txt": big,
    "classes.json": new Uint8Array([0xef, 0xbb, 0xbf, ...new TextEncoder().encode(json)]),
    "latin1.txt": Uint8Array.from(text, (letter) => letter.charCodeAt(0)),
    "zeros.txt": new Uint8Array(100),
  };
  await withFiles(files, async (root) => {
    for (const name of ["plain.txt", "marked.txt", "little.txt", "big.txt", "classes.json"]) {
      const { classes } = await readClasses(`${root}/${name}`);
      assertEquals(classes.map(({ name }) => name), ["bäcker", "cat"], name);
    }
    for (const name of ["latin1.txt", "zeros.txt"]) {
      await assertRejects(
        () => readClasses(`${root}/${name}`),
        DataError,
        `Cannot read classes from ${root}/${name}: it is not a text in UTF-8 or UTF-16`,
      );
    }
    await assertRejects(() => readClasses(root), DataError, "it is a folder, not a file");
  });
});

Deno.test("readClasses() takes numbers as texts, masks of 0 and 255, and no names of prototypes", async () => {
  assertEquals((await readClasses("3")).classes.map(({ name }) => name), ["class 0", "class 1", "class 2"]);
  assertEquals((await readClasses("foreground")).maskColors, [[[0, 0, 0], 0], [[255, 255, 255], 1]]);
  await assertRejects(() => readClasses("0"), DataError, "a whole number from 1 to 255");
  await assertRejects(() => readClasses("1000"), DataError, "a whole number from 1 to 255");
  await assertRejects(() => readClasses("toString"), DataError, "Cannot read classes from toString: no such");
  await assertRejects(() => readClasses([]), DataError, "Cannot use 0 names as classes");
  await assertRejects(() => readClasses(Array(300).fill("a")), DataError, "1 to 255 texts are required");
});

Deno.test("readClasses() ends with a sentence on a file that has no end", {
  ignore: Deno.build.os === "windows",
}, async () => {
  await assertRejects(
    () => readClasses("/dev/zero"),
    DataError,
    "Cannot read classes from /dev/zero: it has more",
  );
});

Deno.test("decodeText() tells texts from other bytes", () => {
  assertEquals(decodeText(new Uint8Array([0xff, 0xfe, 0x61, 0])), "a");
  assertEquals(decodeText(new Uint8Array([0xfe, 0xff, 0, 0x61])), "a");
  assertEquals(decodeText(new Uint8Array([0xef, 0xbb, 0xbf, 0x61])), "a");
  assertEquals(decodeText(new Uint8Array([])), "");
  assertEquals(decodeText(new Uint8Array([0xe4])), undefined);
  assertEquals(decodeText(new Uint8Array([0x61, 0])), undefined);
  assertEquals(decodeText(new Uint8Array([0xff, 0xfe, 0, 0xd8])), undefined, "half of a pair");
});

Deno.test("splitFields() keeps what stands in quotes together", () => {
  const texts = (line: string, separator = /,/): string[] | undefined =>
    splitFields(line, separator)?.map(({ text }) => text);
  assertEquals(texts('a, "b, ""c""" ,d'), ["a", 'b, "c"', "d"]);
  assertEquals(texts("a,,b"), ["a", "", "b"]);
  assertEquals(texts('"with space.jpg"  x.png', /\s+/), ["with space.jpg", "x.png"]);
  assertEquals(texts(""), [""]);
  assertEquals(texts('a "b" c'), ['a "b" c']);
  assertEquals(texts('"a'), undefined);
});
