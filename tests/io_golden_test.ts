// The rule that makes the inputs and weights of the reference results, and the check that reads them.
import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { toFloat32 } from "../src/io/array.ts";
import {
  assertGolden,
  goldenInput,
  goldenWeights,
  hash32,
  loadGolden,
  norm,
  sampleOf,
  SAMPLES,
} from "./support/golden.ts";

interface Statistics {
  tag: number;
  shape: number[];
  sum: number;
  sumsq: number;
  first: number[];
}

Deno.test("goldenWeights() follows the rule for every tensor of MiT-B0", async () => {
  const path = new URL("golden/a_mit_b0.params.json", import.meta.url);
  const expected: Record<string, Statistics> = JSON.parse(await Deno.readTextFile(path));
  const shapes = Object.fromEntries(Object.entries(expected).map(([name, { shape }]) => [name, shape]));
  const weights = goldenWeights(shapes);
  assertEquals(
    [...weights.keys()],
    Object.entries(expected).sort(([, a], [, b]) => a.tag - b.tag).map(([n]) => n),
  );
  for (const [name, { shape, sum, sumsq, first }] of Object.entries(expected)) {
    const entry = weights.get(name)!;
    const values = toFloat32(entry);
    assertEquals(entry.shape, shape);
    assertEquals([...values.subarray(0, first.length)], first, name);
    assertAlmostEquals(Float64Array.from(values).reduce((a, b) => a + b, 0), sum, 1e-9 * values.length, name);
    assertAlmostEquals(norm(values) ** 2, sumsq, 1e-9 * values.length, name);
  }
});

Deno.test("goldenWeights() gives buffers their own values", () => {
  const weights = goldenWeights({
    "bn.num_batches_tracked": [],
    "bn.running_mean": [3],
    "bn.running_var": [3],
    "kv_queue": [2, 2],
    "queue_ptr": [2],
  });
  assertEquals(weights.get("queue_ptr"), { shape: [2], dtype: "i32", data: new Int32Array(2) });
  assertEquals(weights.get("bn.num_batches_tracked")?.data, new Int32Array(1));
  const unit = (tag: number, i: number): number => 2 * (hash32(tag, i) / 2 ** 32) - 1;
  assertEquals(weights.get("bn.running_mean")?.data[2], Math.fround(unit(1, 2) * 0.1));
  assertEquals(weights.get("bn.running_var")?.data[2], Math.fround(1 + unit(2, 2) * 0.25));
  assertEquals(weights.get("kv_queue")?.data[3], Math.fround(unit(3, 3) * Math.sqrt(3)));
});

Deno.test("goldenInput() gives the inputs of the reference results", async () => {
  const golden = await loadGolden("a_mit_b0");
  const x = golden.get("x")!;
  assertEquals(goldenInput(100000, x.shape, 2), x.data);
  assertEquals(goldenInput(100010, [1, 3, 64, 96], 2), golden.get("rect/x")!.data);
});

Deno.test("loadGolden() reads every file, all finite", async () => {
  for (const name of ["a_mit_b0", "b_segformer_head", "c_allspark", "d_train_tiny", "f_losses_ops"]) {
    const golden = await loadGolden(name);
    for (const [key, entry] of golden) {
      if (!toFloat32(entry).every(Number.isFinite)) throw new Error(`${name} ${key} is not finite`);
    }
  }
});

Deno.test("assertGolden() accepts what is near and refuses what is not, whole or sampled", async () => {
  const golden = await loadGolden("a_mit_b0");
  const x = golden.get("x")!.data as Float32Array;
  assertEquals(assertGolden(golden, "x", x, { relative: 1e-5 }), 0);
  assertThrows(
    () => assertGolden(golden, "x", x.map((v) => v * 1.001), { relative: 1e-5 }),
    Error,
    "relative L2 error",
  );
  assertThrows(() => assertGolden(golden, "x", x.map(() => NaN), { relative: 1e-5 }), Error, "NaN");
  assertThrows(
    () => assertGolden(golden, "x", x.subarray(1), { relative: 1e-5 }),
    Error,
    "values but should have",
  );
  assertThrows(() => assertGolden(golden, "y", x, { relative: 1e-5 }), Error, "no reference named y");
  const sampled = new Map(
    [
      ["samples/big", { shape: [SAMPLES], dtype: "f32", data: sampleOf(x) }],
      ["norm/big", { shape: [1], dtype: "f64", data: Float64Array.of(norm(x)) }],
    ] as const,
  );
  assertGolden(sampled, "big", x, { relative: 1e-5 });
  assertThrows(
    () => assertGolden(sampled, "big", x.map((v) => -v), { relative: 1e-5 }),
    Error,
    "samples of big",
  );
  const elsewhere = x.slice();
  const seen = new Set(Array.from({ length: SAMPLES }, (_, j) => hash32(900000, j) % x.length));
  elsewhere[[...x.keys()].find((i) => !seen.has(i))!] = 1000;
  assertThrows(() => assertGolden(sampled, "big", elsewhere, { relative: 1e-5 }), Error, "Norm of big");
});
