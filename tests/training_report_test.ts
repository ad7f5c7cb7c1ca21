import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { decode } from "fast-png";
import { decodeMask } from "../src/data/image.ts";
import { escapeXml } from "../src/training/font.ts";
import { lineChart, niceTicks } from "../src/training/plot.ts";
import { curvesSvg, drawComparisons, drawCurves, encodePrediction } from "../src/training/report.ts";

const classes = [{ name: "sky", color: [0, 0, 255] as const }, {
  name: "road & path",
  color: [255, 0, 0] as const,
}];

/** Runs a program of two lines in a process of its own, because fonts are chosen once per process. */
async function differentTexts(prepare: string): Promise<string> {
  const code = `
    ${prepare}
    const { default: sharp } = await import("sharp");
    const draw = async (word) => (await sharp(new TextEncoder().encode(
      '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30"><text x="2" y="22" font-size="20" ' +
      'font-family="Roboto, sans-serif">' + word + "</text></svg>")).raw().toBuffer()).toString("hex");
    console.log(await draw("abcd") !== await draw("efgh") && await draw("abcd") === await draw("abcd"));`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", code],
    cwd: new URL("..", import.meta.url),
  }).output();
  return (new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr)).trim();
}

Deno.test("two strings draw differently on a machine without fonts", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/fonts.conf`, `<?xml version="1.0"?><fontconfig></fontconfig>`);
    const bare = await differentTexts(`Deno.env.set("FONTCONFIG_FILE", "${folder}/fonts.conf");`);
    assertStringIncludes(bare, "false", "without any font all letters are the same box");
    const ours = await differentTexts(
      `(await import("./src/training/font.ts")).prepareFont({ machineFonts: false });`,
    );
    assertEquals(ours, "true");
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("the font's folder may be tidied up under a long run, and is named where it cannot be written", async () => {
  const evaluate = async (code: string, env: Record<string, string>) => {
    const font = new URL("../src/training/font.ts", import.meta.url);
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", "--quiet", "--no-check", `const { prepareFont } = await import("${font}"); ${code}`],
      cwd: new URL("..", import.meta.url),
      env: { NO_COLOR: "1", ...env },
    }).output();
    return { success, said: new TextDecoder().decode(stderr) };
  };
  const tidied = await evaluate(
    `prepareFont(); Deno.removeSync(Deno.env.get("FONTCONFIG_FILE").replace("/fonts.conf", ""), { recursive: true });`,
    {},
  );
  assertEquals(tidied, { success: true, said: "" });
  const { said } = await evaluate("prepareFont();", { TMPDIR: "/no/such/folder" });
  assertStringIncludes(
    said,
    "WriteError: Cannot write the font of the pictures to /no/such/folder: there is no such folder",
  );
});

Deno.test("lineChart() draws every series to scale and leaves empty panels out", () => {
  const svg = lineChart({
    title: "a < b",
    subtitle: "",
    xLabel: "step",
    panels: [
      {
        title: "one",
        height: 100,
        format: String,
        fromZero: true,
        series: [{ label: "up", color: "#123456", points: [[0, 0], [5, 5], [10, 10]] }],
      },
      {
        title: "two",
        height: 100,
        format: String,
        series: [{ label: "none", color: "#654321", points: [] }],
      },
    ],
  });
  assertStringIncludes(svg, "a &lt; b");
  assertStringIncludes(svg, ">up 10<");
  assert(!svg.includes(">two<") && !svg.includes("#654321"));
  const points = /<polyline points="([^"]+)"[^>]*stroke="#123456"/.exec(svg)![1]!.split(" ").map((point) =>
    point.split(",").map(Number)
  );
  assertEquals(points.length, 3);
  const [[x0, y0], [x1, y1], [x2, y2]] = points as [number[], number[], number[]];
  assertEquals([x1! - x0!, y0! - y1!], [x2! - x1!, y1! - y2!], "equal steps");
  assertEquals(y0! - y2!, 100, "from the bottom to the top of the panel");
});

Deno.test("niceTicks() are round and hold all values", () => {
  assertEquals(niceTicks(0, 1500, 8), [0, 200, 400, 600, 800, 1000, 1200, 1400, 1600]);
  assertEquals(niceTicks(0, 0.005, 5), [0, 0.001, 0.002, 0.003, 0.004, 0.005]);
  assertEquals(niceTicks(0.31, 0.42, 5), [0.3, 0.325, 0.35, 0.375, 0.4, 0.425]);
  assertEquals(niceTicks(0, 0, 5), [0, 0.2]);
  assertEquals(niceTicks(-3, 7, 5), [-4, -2, 0, 2, 4, 6, 8]);
});

Deno.test("curvesSvg() shows what the records hold, and survives one step, NaN and no records", async () => {
  const look = { title: "run", subtitle: "words", marks: [{ x: 2, label: "memory is read" }] };
  const records = [1, 2, 3].flatMap((step) => [
    { step, loss: 3 / step, lossLabeled: 4 / step, lr: 0.01, dataWait: 0.25 },
    { step, meanIoU: step / 10 },
  ]);
  const svg = curvesSvg(records, look);
  for (
    const part of [">total 1.00<", ">labeled 1.33<", ">mIoU 30 %<", ">0.01<", ">25 %<", ">memory is read<"]
  ) {
    assertStringIncludes(svg, part);
  }
  assert(!svg.includes("unlabeled"), "no records, no curve");
  for (const few of [[], [{ step: 1, loss: NaN }], [{ step: 1, loss: 2, lr: 0.1 }]]) {
    const few_ = curvesSvg(few, look);
    assert(!/NaN|Infinity/.test(few_), few_);
  }
  const png = decode(await drawCurves(records, look));
  assertEquals(png.width, 1200);
  assertEquals(String(png.height), /height="(\d+)"/.exec(svg)![1]);
});

Deno.test("drawComparisons() puts image, truth and prediction side by side over a legend", async () => {
  const image = { width: 8, height: 4, data: new Uint8Array(8 * 4 * 3).fill(100) };
  const mask = (id: number): { width: number; height: number; data: Uint8Array<ArrayBuffer> } => ({
    width: 8,
    height: 4,
    data: new Uint8Array(32).fill(id),
  });
  const look = { classes, title: "run", subtitle: "words" };
  const png = decode(await drawComparisons([{ image, truth: mask(0), prediction: mask(1) }], look));
  const pixel = (x: number, y: number): number[] => {
    const at = (y * png.width + x) * png.channels;
    return Array.from(png.data.subarray(at, at + 3));
  };
  const blended = (color: readonly number[]): number[] => color.map((c) => Math.round(100 * 0.35 + c * 0.65));
  assertEquals(png.width, 2 * 32 + 3 * 400 + 2 * 12);
  const y = 92 + 12 + 100;
  assertEquals(pixel(32 + 200, y), [100, 100, 100]);
  assertEquals(pixel(32 + 412 + 200, y), blended(classes[0]!.color));
  assertEquals(pixel(32 + 824 + 200, y), blended(classes[1]!.color));
  const narrow = decode(await drawComparisons([{ image, prediction: mask(1), caption: "photo.jpg" }], look));
  assertEquals(narrow.width, 2 * 32 + 2 * 400 + 12, "no column for a truth that nobody knows");
  const unlabeled = await drawComparisons([{ image, truth: mask(255), prediction: mask(1) }], look);
  assertNotEquals(decode(unlabeled).data, png.data);
});

Deno.test("drawComparisons() draws names of files with characters that XML cannot have", async () => {
  const image = { width: 8, height: 4, data: new Uint8Array(8 * 4 * 3) };
  const prediction = { width: 8, height: 4, data: new Uint8Array(32) };
  const look = { classes, title: "run", subtitle: "words" };
  for (const caption of ["a\x1b[2J.jpg", "a\u0000.jpg", "a\ud800.jpg", "a\uffff.jpg", "a\nb.jpg"]) {
    assertEquals(
      decode(await drawComparisons([{ image, prediction, caption }], look)).width,
      2 * 32 + 2 * 400 + 12,
    );
  }
});

Deno.test("encodePrediction() keeps class ids in the mask and lightens borders in the overlay", async () => {
  const image = { width: 4, height: 1, data: new Uint8Array(12).fill(100) };
  const prediction = { width: 4, height: 1, data: new Uint8Array([0, 0, 1, 1]) };
  const { mask, overlay } = await encodePrediction(image, prediction, classes);
  assertEquals(decodeMask(mask, { classes: 2 }), prediction);
  const { data } = decode(overlay);
  assertEquals(Array.from(data.subarray(0, 3)), [35, 35, 201]);
  assertEquals(Array.from(data.subarray(3, 6)), [145, 145, 228]);
  assertEquals(Array.from(data.subarray(6, 9)), [201, 35, 35]);
});

Deno.test("escapeXml() makes any name safe", () => {
  assertEquals(escapeXml(`<a & "b" 'c'>`), "&lt;a &amp; &quot;b&quot; &apos;c&apos;&gt;");
});
