/** The tuner: what it measures, what it remembers, and that nothing depends on its file. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Contraction, Expr } from "../src/compiler/kernel.ts";
import { createWebgpuBackend } from "../src/webgpu/mod.ts";
import { TileMemory, version } from "../src/webgpu/tile_memory.ts";
import { guaranteedLimits, type Tiling, tilingNamed } from "../src/webgpu/tiles.ts";
import { Tuner } from "../src/webgpu/tuning.ts";
import { noise, programOf, runProgram, webgpuTest } from "./support/webgpu.ts";

/** A matrix product whose operands lie side by side along the inner axis. */
function product(m: number, n: number, k: number): Contraction {
  const load = (input: number, coefficients: readonly number[]): Expr => ({
    kind: "load",
    dtype: "f32",
    input,
    at: { offset: 0, coefficients },
    guards: [],
    fill: 0,
  });
  return {
    kind: "contraction",
    label: `product ${m} ${n} ${k}`,
    inputs: ["f32", "f32"],
    outputs: ["f32"],
    batch: [],
    rows: [m],
    columns: [n],
    inner: [k],
    left: load(0, [k, 0, 1]),
    right: load(1, [0, k, 1]),
    stores: [{
      output: 0,
      at: { offset: 0, coefficients: [n, 1, 0] },
      axes: [],
      value: { kind: "accumulator", dtype: "f32" },
    }],
  };
}

/** Calls with a path in a folder of its own, which is gone afterwards. */
async function withFile(use: (file: string, folder: string) => void | Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await use(`${folder}/allspark/tiles.json`, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

const large = product(2048, 1024, 1024);

/** A measurement in which one tiling wins, and how often it was taken. */
function measurement(
  winner: string,
): { measure: (tilings: readonly Tiling[]) => number[]; count: () => number } {
  let count = 0;
  return {
    measure: (tilings) => {
      count++;
      return tilings.map(({ name }) => name === winner ? 1 : 2);
    },
    count: () => count,
  };
}

Deno.test("the tuner measures a class once, takes the fastest, and remembers it in the next process", () =>
  withFile((file) => {
    const { measure, count } = measurement("64x128");
    const tuner = (adapter: string): Tuner =>
      new Tuner("on", guaranteedLimits, new TileMemory(adapter, file));
    const first = tuner("one");
    assertEquals(first.choose(large).tiling, undefined, "nothing is known without a measurement");
    assertEquals(first.choose(large, measure).tiling?.name, "64x128");
    assertEquals(first.choose(large, measure).tiling?.name, "64x128");
    assertEquals(
      first.choose(product(2049, 1023, 1040), measure).tiling?.name,
      "64x128",
      "of the same class",
    );
    assertEquals(first.choose(large).tiling?.name, "64x128", "what is known needs no measurement");
    assertEquals(count(), 1);
    first.choose(product(4096, 1024, 1024), measure);
    assertEquals(count(), 2, "another class");
    first.memory.save();
    assertEquals(tuner("one").choose(large, measure).tiling?.name, "64x128");
    assertEquals(count(), 2);
    tuner("another").choose(large, measure);
    assertEquals(count(), 3, "another adapter");
  }));

Deno.test("the tuner leaves alone what is small, what it cannot measure, and what is settled", () => {
  const memory = new TileMemory("adapter", undefined);
  const { measure, count } = measurement("64x128");
  const limits = guaranteedLimits;
  const tuner = new Tuner("on", limits, memory);
  assertEquals(tuner.choose(product(256, 256, 256), measure), { limits });
  assertEquals(tuner.choose(large, () => undefined), { limits });
  assertEquals(new Tuner("off", limits, memory).choose(large, measure), { limits });
  const tiling = tilingNamed("32x32")!;
  assertEquals(new Tuner(tiling, limits, memory).choose(large, measure), { limits, tiling });
  assertEquals(count(), 0);
  memory.save();
});

Deno.test("files of the tuner are joined, and a damaged one is replaced", () =>
  withFile((file, folder) => {
    const [a, b] = [new TileMemory("one", file), new TileMemory("two", file)];
    a.set("x", "64x64");
    b.set("x", "32x32");
    for (const memory of [a, b, a]) memory.save();
    assertEquals(new TileMemory("one", file).get("x"), "64x64");
    assertEquals(new TileMemory("two", file).get("x"), "32x32");
    assertEquals([...Deno.readDirSync(`${folder}/allspark`)].map(({ name }) => name), ["tiles.json"]);
    const entries = { one: { x: "64x64" } };
    for (
      const damaged of [
        "",
        "{",
        "null",
        "[]",
        JSON.stringify({ version: 0, adapters: entries }),
        JSON.stringify({ version, adapters: [] }),
        JSON.stringify({ version, adapters: { one: { x: 64 } } }),
        JSON.stringify({ version, adapters: { one: null } }),
      ]
    ) {
      Deno.writeTextFileSync(file, damaged);
      const memory = new TileMemory("one", file);
      assertEquals(memory.get("x"), undefined, damaged);
      memory.set("x", "64x64");
      memory.save();
      assertEquals(new TileMemory("one", file).get("x"), "64x64", `after ${damaged}`);
    }
    // A tiling that this version does not have is measured again.
    Deno.writeTextFileSync(file, JSON.stringify({ version, adapters: { one: { x: "7x7" } } }));
    assertEquals(new TileMemory("one", file).get("x"), "7x7");
    assertEquals(tilingNamed("7x7"), undefined);
  }));

Deno.test("the tuner does without a folder that cannot be written", () =>
  withFile((_, folder) => {
    Deno.writeTextFileSync(`${folder}/file`, "");
    const memory = new TileMemory("one", `${folder}/file/allspark/tiles.json`);
    memory.set("x", "64x64");
    memory.save();
    assertEquals(memory.get("x"), "64x64");
  }));

Deno.test("the tuner does without permissions, and asks for none", async () => {
  const code = `
    import { tileFile, TileMemory } from ${
    JSON.stringify(new URL("../src/webgpu/tile_memory.ts", import.meta.url).href)
  };
    const memory = new TileMemory("one", tileFile() ?? "/tmp/allspark/tiles.json");
    memory.set("x", "64x64");
    memory.save();
    console.log(tileFile(), memory.get("x"));
  `;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", `data:application/typescript,${encodeURIComponent(code)}`],
    stdout: "piped",
    stderr: "piped",
  });
  const { stdout, stderr } = await child.output();
  assertEquals(new TextDecoder().decode(stdout), "undefined 64x64\n", new TextDecoder().decode(stderr));
});

webgpuTest(
  "the tuner times tilings on the device and keeps the bits",
  (_device, family) =>
    withFile(async (_file, folder) => {
      if (family === "software") return;
      const kernel = product(512, 512, 256);
      const inputs = [noise(512 * 256), noise(512 * 256, 2)];
      const program = programOf(kernel, inputs.map(({ length }) => length), [512 * 512]);
      const before = Deno.env.get("XDG_CACHE_HOME");
      Deno.env.set("XDG_CACHE_HOME", folder);
      const results = [];
      try {
        for (const tune of ["off", "on"]) {
          const device = (await createWebgpuBackend({ family, tune, tuneFrom: 2 ** 26 }))!;
          results.push((await runProgram(device, program, inputs))[0]);
          assertEquals(device.memory().liveBuffers, 0);
          if (tune === "on") {
            const path = `${folder}/allspark/webgpu-tiles.json`;
            const file = Deno.readTextFileSync(path);
            Deno.removeSync(path);
            const [table] = Object.values(
              JSON.parse(file).adapters as Record<string, Record<string, string>>,
            );
            const [name] = Object.values(table!);
            assert(tilingNamed(name!) !== undefined, file);
            assertStringIncludes(device.describe(kernel), `// tiles of ${name}\n`);
            const executable = device.compile(program);
            const buffers = program.buffers.map(({ length }) => device.allocate(4 * length));
            const times = await device.profile(executable, buffers.slice(0, 2), buffers.slice(2));
            assertEquals(times[0]!.label, `${kernel.label} in tiles of ${name}`);
          }
          await device.close();
        }
      } finally {
        if (before === undefined) Deno.env.delete("XDG_CACHE_HOME");
        else Deno.env.set("XDG_CACHE_HOME", before);
      }
      for (const result of results) assertEquals(result, results[0]);
    }),
);
