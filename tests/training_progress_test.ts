import { assert, assertEquals, assertMatch } from "@std/assert";
import { duration, Progress, type ProgressOutput } from "../src/training/progress.ts";

/** A terminal or a file with a clock that only the test moves. */
function fake(isTerminal: boolean, width = 120): ProgressOutput & { text: string; time: number } {
  return {
    isTerminal,
    text: "",
    time: 0,
    write(text: string): void {
      this.text += text;
    },
    columns: () => width,
    now(): number {
      return this.time;
    },
  };
}

/** Goes to the beginning of the line and clears it. */
const erase = "\r\x1b[K";

/** What stands on the screen after all writing. */
function screen(text: string): string[] {
  const lines = [""];
  for (const part of text.replaceAll(erase, "⌫").split(/(⌫|\n)/)) {
    if (part === "\n") lines.push("");
    else if (part === "⌫") lines[lines.length - 1] = "";
    else lines[lines.length - 1] += part;
  }
  return lines;
}

function train(output: ReturnType<typeof fake>, steps: number, { total = steps, from = 0 } = {}): void {
  using progress = new Progress(output);
  progress.start({ total, imagesPerStep: 8, from });
  for (let step = from + 1; step <= steps; step++) {
    output.time += step === from + 1 ? 20_000 : 500;
    progress.update({ step, loss: 2 / step, lr: 0.01 });
  }
}

Deno.test("Progress shows step, loss, learning rate, images/s and time left on one line of a terminal", () => {
  const output = fake(true);
  train(output, 50, { total: 100 });
  const [line, end] = screen(output.text);
  assertMatch(
    line!,
    /^█+░+ {2}step {2}50\/100 {2}loss 0\.0400 {2}25 s left {2}16\.0 images\/s {2}lr 0\.0100$/,
  );
  assertEquals(end, "");
  const bar = line!.split("  ")[0]!;
  assertEquals(bar.replaceAll("░", "").length, bar.length / 2);
});

Deno.test("Progress shows the share of the last steps' time that was spent waiting for data", () => {
  const output = fake(true);
  using progress = new Progress(output);
  progress.start({ total: 40, imagesPerStep: 8 });
  for (let step = 1; step <= 40; step++) {
    output.time += 1000;
    // What is older than ten seconds does not count any more.
    progress.update({ step, loss: 1, lr: 0.01, dataWait: step <= 20 ? 1 : step % 2 / 2 });
  }
  assertMatch(screen(output.text)[0]!, /8\.00 images\/s {2}data wait 2[357] % {2}lr 0\.0100$/);
});

Deno.test("Progress ends with the whole time, and counts from where an earlier run stopped", () => {
  const output = fake(true);
  train(output, 100, { from: 50 });
  assertMatch(screen(output.text)[0]!, /step 100\/100 {2}loss 0\.0200 {2}done in 45 s {2}16\.0 images\/s/);
});

Deno.test("Progress never writes more than a line's width", () => {
  for (const width of [1, 20, 30, 41, 60, 79]) {
    const output = fake(true, width);
    train(output, 50, { total: 1000 });
    const longest = Math.max(...output.text.replaceAll(erase, "\n").split("\n").map((line) => line.length));
    assert(longest < Math.max(20, width), `${longest} letters in ${width} columns`);
    if (width >= 41) assertMatch(output.text, /step {3}50\/1000 {2}loss 0\.0400/);
  }
});

Deno.test("Progress writes no escape codes and few lines where there is no terminal", () => {
  const output = fake(false);
  train(output, 400);
  for (const sign of ["\r", "\x1b", "█", "░"]) assert(!output.text.includes(sign), output.text);
  const lines = output.text.trimEnd().split("\n");
  assertEquals(lines[0], "step 0/400  the first step takes longest");
  assertMatch(lines[1]!, /^step {3}1\/400 {2}loss 2\.0000 {2}lr 0\.0100$/);
  assertMatch(
    lines.at(-1)!,
    /^step 400\/400 {2}loss 0\.0050 {2}done in 3 min 40 s {2}16\.0 images\/s {2}lr 0\.0100$/,
  );
  assert(lines.length > 6 && lines.length < 14, `${lines.length} lines in 220 seconds`);
});

Deno.test("Progress shows stages with their counts and the time that they take", () => {
  for (const isTerminal of [true, false]) {
    const output = fake(isTerminal);
    using progress = new Progress(output);
    progress.stage("compiling", 1, 3);
    assertEquals(screen(output.text)[0], "compiling 1 of 3");
    for (let second = 1; second <= 25; second++) {
      output.time += 1000;
      progress.tick();
    }
    assertMatch(output.text, /compiling 1 of 3, 10 s/);
    assertMatch(output.text, /compiling 1 of 3, 20 s/);
    progress.stage("evaluating");
    assertMatch(screen(output.text).join("\n"), /evaluating/);
  }
});

Deno.test("Progress gives a sign of life within 10 seconds in the first minute, then every minute", () => {
  const output = fake(false);
  using progress = new Progress(output);
  progress.stage("compiling the step");
  const times: number[] = [];
  let length = output.text.length;
  while (output.time < 200_000) {
    output.time += 1000;
    progress.tick();
    if (output.text.length > length) times.push(output.time / 1000);
    length = output.text.length;
  }
  assertEquals(times, [10, 20, 30, 40, 50, 110, 170]);
});

Deno.test("Progress keeps notes above the bar", () => {
  const output = fake(true);
  {
    using progress = new Progress(output);
    progress.start({ total: 10, imagesPerStep: 1 });
    progress.note("mIoU 12.34 at step 1");
    output.time += 1000;
    progress.update({ step: 1, loss: 1, lr: 1 });
  }
  const lines = screen(output.text);
  assertEquals(lines[0], "mIoU 12.34 at step 1");
  assertMatch(lines[1]!, /step {2}1\/10/);
});

Deno.test("Progress leaves the bar on the terminal at the end, but not the name of a stage", () => {
  const output = fake(true);
  train(output, 5);
  assertMatch(screen(output.text)[0]!, /step 5\/5/);
  const stage = fake(true);
  {
    using progress = new Progress(stage);
    progress.stage("evaluating");
    progress.note("mIoU 50.00");
  }
  assertEquals(screen(stage.text), ["mIoU 50.00", ""]);
});

Deno.test("an evaluation between two steps does not count as their time in images/s", () => {
  const output = fake(true);
  using progress = new Progress(output);
  progress.start({ total: 100, imagesPerStep: 8 });
  for (let step = 1; step <= 20; step++) {
    if (step === 10) {
      progress.stage("evaluating");
      output.time += 60_000;
    }
    output.time += 500;
    progress.update({ step, loss: 1, lr: 1 });
  }
  assertMatch(screen(output.text)[0]!, / 16\.0 images\/s/);
});

Deno.test("steps that are told together count over the time between two such moments", () => {
  const output = fake(true);
  using progress = new Progress(output);
  progress.start({ total: 1000, imagesPerStep: 8 });
  let step = 0;
  const burst = (milliseconds: number): void => {
    output.time += milliseconds;
    for (let k = 0; k < 16; k++) {
      output.time += 0.1;
      progress.update({ step: ++step, loss: 1, lr: 1 });
    }
  };
  burst(20_000);
  assert(!output.text.includes("images/s"), "one moment says nothing about the speed");
  assert(!output.text.includes(" left"), "nor about the time left");
  for (let k = 0; k < 3; k++) {
    burst(1600);
    if (k > 0) assertMatch(screen(output.text)[0]!, / 79\.9 images\/s/, "in the middle of a burst, too");
  }
  output.time += 500;
  progress.tick();
  // 16 steps of 8 images in 1601.6 ms.
  assertMatch(
    screen(output.text)[0]!,
    /step {3}64\/1000 {2}loss 1\.0000 {2}1 min 34 s left {2}79\.9 images\/s/,
  );
  progress.stage("evaluating");
  output.time += 60_000;
  progress.steps(step);
  burst(800);
  output.time += 500;
  progress.tick();
  assertMatch(screen(output.text)[0]!, /step {3}80\/1000 .* 160 images\/s/);
});

Deno.test("what files say is shown on the terminal, not obeyed, and not at any length", () => {
  const output = fake(false);
  using progress = new Progress(output);
  progress.stage("reading \x1b[2Ja.png");
  progress.note("image \x1b]0;title\x07 " + "x".repeat(10_000));
  assertEquals(output.text.replaceAll("\n", "").match(/\p{Cc}/u), null);
  assertMatch(output.text, /reading \\u001b\[2Ja\.png/);
  assert(output.text.length < 2200);
});

Deno.test("duration() is short and has units", () => {
  assertEquals([0.4, 59, 65, 3599.7, 7380].map(duration), [
    "0 s",
    "59 s",
    "1 min 05 s",
    "1 h 00 min",
    "2 h 03 min",
  ]);
});
