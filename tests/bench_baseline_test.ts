/** The comparison with a stored baseline, on made-up numbers, and the tables of figures. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  allowances,
  type Baseline,
  baselineOf,
  isImprovement,
  isRegression,
  ratioOf,
  sentence,
  withRatios,
} from "../bench/baseline.ts";
import { withParagraph } from "../bench/document.ts";
import { median } from "../bench/rounds.ts";
import { markdownTable, short, updateTable } from "../bench/table.ts";
import { difference, summarize, valuesOf } from "../bench/values.ts";

const cpu: Baseline = {
  device: "cpu",
  hardware: "A processor",
  threads: 2,
  date: "2026-01-01",
  ratios: { "matmul 256": 0.5, "sum of 4M": 2 },
};

Deno.test("a figure above the allowance is a regression, and is named with both ratios", () => {
  const compared = { name: "matmul 256", stored: 0.5, measured: 0.64, allowance: 0.25 };
  assert(isRegression(compared));
  assertEquals(
    sentence(compared, "cpu"),
    "matmul 256 on cpu: stored 0.500, measured 0.640: worse by 28 %, where 25 % is allowed",
  );
  assert(isRegression({ ...compared, measured: NaN }), "a figure that is none does not pass");
});

Deno.test("noise is no regression, and neither is being faster", () => {
  const compared = { name: "matmul 256", stored: 0.5, measured: 0.62, allowance: 0.25 };
  assert(!isRegression(compared));
  assert(!isImprovement(compared));
  const faster = { ...compared, measured: 0.25 };
  assert(!isRegression(faster));
  assert(isImprovement(faster));
  assertEquals(
    sentence(faster, "webgpu"),
    "matmul 256 on webgpu: stored 0.500, measured 0.250: better by 50 %; deno task bench:baseline stores that",
  );
  assert(allowances.time < 0.5, "half as slow again must never pass");
});

Deno.test("a ratio is taken round by round, so that a slow hour does not count", () => {
  // The whole machine is four times as slow from the third round on, and the second round was disturbed.
  assertAlmostEquals(ratioOf([1, 9, 4, 4, 4], [2, 2, 8, 8, 8]), 0.5, 1e-12);
  assertEquals(median([3, 1, 2]), 2);
  assertEquals(median([4, 1, 2, 3]), 2.5);
});

Deno.test("a baseline counts for its own kind of machine alone", () => {
  assertEquals(baselineOf([cpu], { device: "cpu", hardware: "A processor", threads: 2 }), cpu);
  assertEquals(baselineOf([cpu], { device: "cpu", hardware: "A processor", threads: 4 }), undefined);
  assertEquals(baselineOf([cpu], { device: "cpu", hardware: "Another", threads: 2 }), undefined);
  assertEquals(baselineOf([cpu], { device: "webgpu", hardware: "A processor", threads: 2 }), undefined);
});

Deno.test("new ratios replace older ones of the same machine and case, and nothing else", () => {
  const other: Baseline = { ...cpu, hardware: "Another" };
  const fresh: Baseline = { ...cpu, date: "2026-02-02", ratios: { "matmul 256": 0.4 } };
  assertEquals(withRatios([other, cpu], fresh), [
    other,
    { ...cpu, date: "2026-02-02", ratios: { "matmul 256": 0.4, "sum of 4M": 2 } },
  ]);
  assertEquals(withRatios([other], fresh), [other, fresh]);
});

Deno.test("rows of a document's table are replaced by name and put in order", () => {
  const text = "Text\n\n<!-- figures -->\n\n| | cpu |\n| --- | ---: |\n| a | 1 |\n| c | 3 |\n\nMore\n";
  const place = { name: "figures", names: ["a", "b", "c"] };
  const updated = updateTable(text, place, [["", "cpu"], ["c", "30"], ["b", "2"]]);
  assertEquals(
    updated,
    `Text\n\n<!-- figures -->\n\n${
      markdownTable([["", "cpu"], ["a", "1"], ["b", "2"], ["c", "30"]])
    }\n\nMore\n`,
  );
  // With other columns the older rows would say something else.
  const widened = updateTable(text, place, [["", "cpu", "webgpu"], ["b", "2", "4"]]);
  assert(!widened.includes("| a |"));
  const begun = updateTable("<!-- figures -->\n\nMore\n", place, [["", "cpu"], ["a", "1"]]);
  assertEquals(begun, "<!-- figures -->\n\n|  | cpu |\n| --- | ---: |\n| a | 1 |\n\nMore\n");
  assertEquals(
    withParagraph("a\n\nMeasured then,\nthere.\n\nb\n", "Measured", "$1"),
    "a\n\nMeasured $1\n\nb\n",
  );
  assertThrows(() => updateTable("", place, [["", "cpu"]]), Error, "Cannot update the table figures");
});

Deno.test("figures have three digits that count", () => {
  assertEquals([0.04321, 1.2345, 99.94, 1234.5].map(short), ["0.0432", "1.23", "99.9", "1,235"]);
});

Deno.test("inputs are uniform, and results are compared by the size of their elements", () => {
  const values = valuesOf({ shape: [100, 100], seed: 3, scale: 2 });
  const { mean, size } = summarize(values);
  assertAlmostEquals(mean, 0, 0.02);
  assertAlmostEquals(size, 1 / Math.sqrt(3), 0.01);
  assert(values.every((value) => Math.abs(value) <= 1));
  assertEquals([...valuesOf({ shape: [3, 2], oneHot: true })], [1, 0, 0, 1, 1, 0]);
  const expected = { mean: 0, size: 2, samples: [1, 2, 3] };
  assertEquals(difference(expected, expected), 0);
  assertEquals(difference({ ...expected, samples: [1, 2, 3.5] }, expected), 0.25);
});
