/** A short campaign of random lists, labels, masks, headers, folders and configurations. */
import { assert, assertEquals } from "@std/assert";
import { fuzzData, isSentence } from "./support/fuzz_data.ts";

Deno.test("random lists, labels, masks, folders and configurations end in values or sentences", async () => {
  const { values, sentences, findings } = await fuzzData({ seed: 1, seconds: 60, to: 300 });
  console.log("values:", JSON.stringify(values), "sentences:", JSON.stringify(sentences));
  assertEquals(findings, []);
  for (const kind of Object.keys(values)) {
    assert(
      values[kind]! > 0 && sentences[kind]! > 0,
      `cases of ${kind} that only fail, or only succeed, say little`,
    );
  }
});

Deno.test("a campaign is repeated by its seed, and tells sentences from other messages", async () => {
  const first = await fuzzData({ seed: 7, seconds: 60, from: 30, to: 60 });
  assertEquals(await fuzzData({ seed: 7, seconds: 60, from: 30, to: 60 }), first);
  assertEquals(isSentence("Cannot read a.png: it is empty"), true);
  for (
    const text of [
      "Is a directory",
      "Cannot read a\nb",
      "Cannot read \x1b[2J",
      "Cannot read it.",
      `Cannot ${"x".repeat(2000)}`,
    ]
  ) {
    assertEquals(isSentence(text), false, text);
  }
});
