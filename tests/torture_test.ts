/** The campaign of `deno task torture`, short: what is killed, torn or misspelled here loses nothing. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { campaignTable, type Generator, generators, runCampaign } from "./support/torture/mod.ts";

/** A generator that ends after so many outcomes. */
function short(name: string, count: number): Generator {
  return async function* (seed, deadline) {
    for await (const outcome of generators[name]!(seed, deadline)) {
      yield outcome;
      if (--count === 0) return;
    }
  };
}

Deno.test("runs that are killed or torn lose nothing, and configurations end in values or sentences", async () => {
  const some = {
    kills: short("kills", 1),
    torn: short("torn", 6),
    configurations: short("configurations", 2000),
  };
  const { counts, failures } = await runCampaign(some, { seed: 3, minutes: 30, say: () => {} });
  console.log(campaignTable(counts));
  assertEquals(failures, []);
});

Deno.test("a campaign counts every outcome, and tells what was lost", async () => {
  const said: string[] = [];
  const made = {
    one: async function* (seed: number) {
      yield { what: "cut", end: "survived", count: 3 } as const;
      yield { what: "cut", end: "lost", detail: `case ${seed}` } as const;
      yield { what: "burnt", end: "hung" } as const;
    },
    two: async function* () {},
  };
  const { counts, failures } = await runCampaign(made, {
    seed: 7,
    minutes: 1,
    say: (line) => said.push(line),
  });
  assertEquals(failures, ["one, cut: lost: case 7", "one, burnt: hung: "]);
  assertEquals(said.slice(0, 2), failures);
  const table = campaignTable(counts);
  assertStringIncludes(table, "one        cut            3         0     1     0        0");
  assertStringIncludes(table, "all                       3         0     1     1        0");
});
