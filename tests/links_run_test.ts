// The counts that tests/run.ts prints come from the summary of `deno test`.
import { assertEquals } from "@std/assert";
import { readSummary } from "./run.ts";

Deno.test("readSummary() reads passed and failed, with colours and steps", () => {
  assertEquals(readSummary("x ... ok (1ms)\n\nok | 23 passed | 0 failed (127ms)\n"), {
    passed: 23,
    failed: 0,
  });
  assertEquals(
    readSummary("\x1b[0m\x1b[31mFAILED\x1b[0m | 2 passed (5 steps) | 1 failed | 3 ignored \x1b[0m(2s)\n"),
    { passed: 2, failed: 1 },
  );
});

Deno.test("readSummary() adds several summaries and finds none where there is none", () => {
  assertEquals(readSummary("ok | 1 passed | 0 failed (1ms)\nFAILED | 1 passed | 2 failed (1ms)\n"), {
    passed: 2,
    failed: 2,
  });
  assertEquals(readSummary("error: Module not found"), { passed: 0, failed: 0 });
});
