// Files changed at random; see support/fuzz_files.ts, which a longer campaign calls with minutes instead.
import { assert, assertEquals } from "@std/assert";
import { fuzzCase, fuzzFiles, readCase } from "./support/fuzz_files.ts";
import { fuzzSeeds } from "./support/fuzz_seeds.ts";

const fixtures = new URL("fixtures/io/", import.meta.url);

Deno.test("readers of files end in consistent values or one sentence on 4,000 changed files", async () => {
  const counts = await fuzzFiles({ seed: 1, cases: 4000 });
  assertEquals(counts.failures, []);
  assertEquals(counts.tried, 4000);
  // Enough of both, so that neither way is left untried.
  assert(counts.values > 400 && counts.refused > 2000, JSON.stringify(counts));
});

Deno.test("every file that is changed is valid before, and a case is the same file again", async () => {
  const seeds = await fuzzSeeds(fixtures);
  for (const { name, reader, parts, build } of seeds) {
    assertEquals(await readCase(reader, build(parts)), {}, name);
  }
  for (let k = 0; k < 100; k++) assertEquals(fuzzCase(seeds, 3, k), fuzzCase(seeds, 3, k));
  assert(String(fuzzCase(seeds, 3, 5).bytes) !== String(fuzzCase(seeds, 4, 5).bytes));
});
