/** Output that nobody takes any more. */
import { assertEquals, assertMatch } from "@std/assert";
import { Output, visibleLines } from "../src/training/terminal.ts";

/** A stream that takes `parts` writes of at most seven bytes, then fails. */
function stream(
  parts: number,
  failure: Error,
): { text: string; writeSync(bytes: Uint8Array): number; isTerminal(): boolean } {
  return {
    text: "",
    writeSync(bytes: Uint8Array): number {
      if (parts-- <= 0) throw failure;
      const part = bytes.subarray(0, 7);
      this.text += new TextDecoder().decode(part);
      return part.length;
    },
    isTerminal: () => false,
  };
}

Deno.test("Output writes everything, also where the system takes it piece by piece", () => {
  const target = stream(Infinity, new Error("never"));
  const output = new Output(target);
  output.write("a longer text than seven bytes");
  output.print("\x1b[31mred\nsecond line");
  assertEquals(target.text, "a longer text than seven bytes\\u001b[31mred\nsecond line\n");
});

Deno.test("Output falls silent when its reader has gone, and keeps the reason of any other failure", () => {
  const full = Object.assign(new Error("No space left on device (os error 28)"), { code: "ENOSPC" });
  for (
    const [failure, kept] of [[new Deno.errors.BrokenPipe("Broken pipe"), undefined], [full, full]] as const
  ) {
    const target = stream(1, failure);
    const output = new Output(target);
    for (let k = 0; k < 3; k++) output.print("0123456789");
    assertEquals(target.text, "0123456");
    assertEquals(output.failure, kept);
  }
  const slow = stream(0, new Deno.errors.WouldBlock("try again"));
  const output = new Output(slow);
  output.print("missed");
  slow.writeSync = (bytes) => {
    slow.text += new TextDecoder().decode(bytes);
    return bytes.length;
  };
  output.print("seen");
  assertEquals(slow.text, "seen\n", "a reader that is slow for a moment is written to again");
});

Deno.test("visibleLines() keeps lines apart and bounds each", () => {
  assertEquals(visibleLines("a\tb\nc\r"), "a\\tb\nc\\r");
  assertMatch(visibleLines("x".repeat(1e6)), /^x{900,1100} \.\.\. x{900,1100}$/);
});
