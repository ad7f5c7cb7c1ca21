/** What the source may and may not contain: the order of its layers, names that belong to one folder, and sizes. */
import { assertEquals } from "@std/assert";

/** A source file: its path from the root of the package, and its text. */
interface Source {
  readonly path: string;
  readonly text: string;
}

const root = new URL("../", import.meta.url);
const skipped = ["node_modules", "runs"];

/** All TypeScript of the package, without what git ignores. */
function* sourcesIn(folder: string): Generator<Source> {
  for (const { name, isDirectory } of Deno.readDirSync(new URL(folder, root))) {
    const path = folder + name;
    if (isDirectory && !name.startsWith(".") && !skipped.includes(name)) yield* sourcesIn(`${path}/`);
    else if (name.endsWith(".ts")) yield { path, text: Deno.readTextFileSync(new URL(path, root)) };
  }
}

const all = [...sourcesIn("")];
const product = all.filter(({ path }) => !/^(tests|bench|links|examples|docs)\//.test(path));

/** Every layer with those that it may import beside itself, from the bottom up. */
const layers: ReadonlyMap<string, readonly string[]> = new Map([
  ["core", []],
  ["src/cpu", ["core"]],
  ["src/webgpu", ["core"]],
  ["src/io", []],
  ["src/data", ["src/io"]],
  ["ops", ["core"]],
  ["io", ["core", "src/io"]],
  ["src/transforms", ["core", "ops"]],
  ["src/optim", ["core", "ops"]],
  ["models", ["core", "ops", "src/transforms", "src/optim", "src/io", "io"]],
  ["src/training", ["core", "ops", "src/transforms", "src/optim", "models", "src/io", "io", "src/data"]],
  ["programs", ["core", "ops", "src/transforms", "src/optim", "models", "src/training"]],
]);

/** The layer of a file; undefined for a folder that has no place in the order. */
function layerOf(path: string): string | undefined {
  const folder = path.slice(0, Math.max(0, path.lastIndexOf("/")));
  if (folder === "") return "programs";
  if (folder === "src" || folder === "src/compiler") return "core";
  return layers.has(folder) ? folder : undefined;
}

/** Text without comments; a `//` within a string is taken for one if white space stands before it. */
function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/(^|\s)\/\/.*$/gm, "$1");
}

/** Relative imports of a file, static and dynamic, as paths from the root. */
function importsOf({ path, text }: Source): { target: string; isDynamic: boolean }[] {
  const found = withoutComments(text).matchAll(/\b(?:from|import)\s*(\()?\s*"(\.[^"]*)"/g);
  return [...found].map(([, call, target]) => ({
    target: new URL(target!, new URL(path, root)).href.slice(root.href.length),
    isDynamic: call !== undefined,
  }));
}

/** The one door to the backends: whoever chooses the device loads the one that is chosen. */
function isDoor(from: string, target: string, isDynamic: boolean): boolean {
  return isDynamic && from === "src/device.ts" && ["src/cpu/mod.ts", "src/webgpu/mod.ts"].includes(target);
}

/** Imports that go up or sideways. */
function againstTheOrder(sources: readonly Source[]): string[] {
  return sources.flatMap((source) => {
    const layer = layerOf(source.path);
    if (layer === undefined) return [`${source.path} is in no layer`];
    return importsOf(source).flatMap(({ target, isDynamic }) => {
      const below = layerOf(target);
      const isAllowed = below !== undefined && (below === layer || layers.get(layer)!.includes(below));
      return isAllowed || isDoor(source.path, target, isDynamic) ? [] : [`${source.path} imports ${target}`];
    });
  });
}

/** Files outside a folder in whose code a pattern occurs, with what was found. */
function namesOutside(sources: readonly Source[], pattern: RegExp, folder: string): string[] {
  return sources.filter(({ path }) => !path.startsWith(`${folder}/`)).flatMap(({ path, text }) => {
    const found = withoutComments(text).match(pattern);
    return found === null ? [] : [`${path} names ${found[0]}`];
  });
}

Deno.test("imports go one way: core, ops, transforms, optimisers, models, training, programs", () => {
  assertEquals(againstTheOrder(product), []);
});

Deno.test("an import against the order is found, however it is written", () => {
  const found = againstTheOrder([
    { path: "ops/a.ts", text: 'import { grad } from "../src/transforms/mod.ts";' },
    { path: "src/io/a.ts", text: 'export type { Tensor } from "../tensor.ts";' },
    { path: "src/device.ts", text: 'import { assemble } from "./cpu/mod.ts";' },
    { path: "src/evaluate.ts", text: 'await import("./webgpu/mod.ts");' },
    { path: "src/cpu/a.ts", text: 'import "../webgpu/mod.ts"; // import "./b.ts"' },
    { path: "src/new/a.ts", text: "" },
    { path: "models/a.ts", text: '/** import "../train.ts" */ import "../ops/mod.ts";' },
  ]);
  assertEquals(found, [
    "ops/a.ts imports src/transforms/mod.ts",
    "src/io/a.ts imports src/tensor.ts",
    "src/device.ts imports src/cpu/mod.ts",
    "src/evaluate.ts imports src/webgpu/mod.ts",
    "src/cpu/a.ts imports src/webgpu/mod.ts",
    "src/new/a.ts is in no layer",
  ]);
});

Deno.test("only src/webgpu names the API of WebGPU, and only src/cpu that of WebAssembly", () => {
  const gpu = /\bGPU[A-Z]\w*|\bnavigator\s*\??\.\s*gpu\b/;
  assertEquals(namesOutside(product, gpu, "src/webgpu"), []);
  assertEquals(namesOutside(product, /\bWebAssembly\b/, "src/cpu"), []);
  const planted = { path: "src/a.ts", text: "// GPUBuffer\nconst adapter = navigator.gpu;" };
  assertEquals(namesOutside([planted], gpu, "src/webgpu"), ["src/a.ts names navigator.gpu"]);
});

Deno.test("no file has more than 600 lines", () => {
  const long = all.map(({ path, text }) => ({ path, lines: text.split("\n").length - 1 }));
  assertEquals(long.filter(({ lines }) => lines > 600), []);
});

Deno.test("nothing is left for later", () => {
  // Written in two pieces, so that this file does not contain them.
  const words = [
    "TO" + "DO",
    "FIX" + "ME",
    "not " + "implemented",
    "not yet " + "implemented",
    "placeholder for " + "later",
  ];
  const pattern = new RegExp(`\\b(${words.join("|")})\\b`, "i");
  assertEquals(all.filter(({ text }) => pattern.test(text)).map(({ path }) => path), []);
});
