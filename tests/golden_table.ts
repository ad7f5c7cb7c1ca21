/**
 * Prints a table of all reference results of the official PyTorch code: for each file and device the worst error
 * of each kind of quantity, computed now, beside what is allowed.
 *
 *     deno run -A tests/golden_table.ts
 *
 * @module
 */
import { setDevice } from "../src/device.ts";
import { webgpuAvailable } from "./support/devices.ts";
import { isNear, type Row } from "./support/golden_comparison.ts";
import { compareGolden, goldenCases } from "./support/golden_models.ts";

const header = ["golden", "device", "quantity", "tensors", "worst", "error", "allowed", "measure", ""];

/** One line for each kind of quantity. */
function linesOf(golden: string, device: string, rows: readonly Row[]): string[][] {
  return [...new Set(rows.map(({ quantity }) => quantity))].map((quantity) => {
    const own = rows.filter((row) => row.quantity === quantity);
    const worst = own.reduce((a, b) => b.error <= a.error ? a : b);
    const verdict = own.every(isNear) ? "ok" : "WRONG";
    const { name, error, limit, measure } = worst;
    return [
      golden,
      device,
      quantity,
      String(own.length),
      name,
      error.toExponential(1),
      String(limit),
      measure,
      verdict,
    ];
  });
}

/** The augmentation's files are of bytes, and no device takes part: their test compares every one. */
async function augmentation(): Promise<string[]> {
  const test = new URL("data_augment_test.ts", import.meta.url).pathname;
  const { success } = await new Deno.Command(Deno.execPath(), { args: ["test", "-A", "--quiet", test] })
    .output();
  return [
    "h_augment",
    "none",
    "bytes",
    "all",
    "",
    success ? "0" : "not 0",
    "0",
    "absolute",
    success ? "ok" : "WRONG",
  ];
}

function print(lines: readonly (readonly string[])[]): void {
  const widths = header.map((_, k) => Math.max(...lines.map((line) => line[k]!.length)));
  for (const line of lines) console.log(line.map((cell, k) => cell.padEnd(widths[k]!)).join("  ").trimEnd());
}

if (import.meta.main) {
  const lines: string[][] = [header];
  for (const device of await webgpuAvailable() ? ["cpu", "webgpu"] as const : ["cpu"] as const) {
    await setDevice(device);
    for (const golden of goldenCases) lines.push(...linesOf(golden, device, await compareGolden(golden)));
  }
  lines.push(await augmentation());
  print(lines);
  const wrong = lines.filter((line) => line.at(-1) === "WRONG").length;
  console.log(`\n${lines.length - 1 - wrong} lines ok, ${wrong} wrong`);
  Deno.exit(wrong === 0 ? 0 : 1);
}
