/**
 * Prints a table of all operations. Every tick is a check that has just been run: the value and cotangents on
 * a device against the float64 reference, derivatives against finite differences, vmap against a loop.
 *
 *     deno run -A tests/operations_table.ts
 *
 * @module
 */
import { type DeviceName, setDevice } from "../src/device.ts";
import { operations, primitiveCases } from "./support/cases.ts";
import { composed } from "./support/composed.ts";
import { webgpuAvailable } from "./support/devices.ts";
import { type Case, checkDerivatives, checkDevice, checkVmap } from "./support/laws.ts";

/** One operation: what was checked, and what failed. */
interface Row {
  readonly name: string;
  readonly kind: string;
  readonly marks: string[];
}

const failures: string[] = [];

/** "yes" if the check passes, "-" if there is nothing to check, "FAILED" otherwise. */
async function mark(name: string, check: () => boolean | Promise<boolean>): Promise<string> {
  try {
    return await check() ? "yes" : "-";
  } catch (error) {
    failures.push(`${name}: ${(error as Error).message}`);
    return "FAILED";
  }
}

/** Checks an operation on the devices that are there. */
async function rowOf(
  name: string,
  kind: string,
  cases: readonly Case[],
  devices: readonly DeviceName[],
): Promise<Row> {
  const marks: string[] = [];
  for (const device of ["cpu", "webgpu"] as const) {
    marks.push(
      await mark(name, async () => {
        if (!devices.includes(device)) return false;
        await setDevice(device);
        await checkDevice(cases);
        return true;
      }),
    );
  }
  const derivatives = { vjp: false, jvp: false };
  const derived = await mark(name, () => {
    for (const found of cases.map(checkDerivatives)) {
      derivatives.vjp ||= found.vjp;
      derivatives.jvp ||= found.jvp;
    }
    return true;
  });
  for (const flows of [derivatives.vjp, derivatives.jvp]) {
    marks.push(derived === "FAILED" ? derived : flows ? "yes" : "-");
  }
  marks.push(await mark(name, () => cases.map(checkVmap).some((checked) => checked)));
  return { name, kind, marks };
}

const devices: DeviceName[] = await webgpuAvailable() ? ["cpu", "webgpu"] : ["cpu"];
const rows: Row[] = [];
for (const op of operations()) {
  const cases = [...primitiveCases(op), ...(composed.get(op.name) ?? [])];
  rows.push(await rowOf(op.name, "primitive", cases, devices));
}
const primitives = new Set(rows.map(({ name }) => name));
for (const [name, cases] of composed) {
  if (!primitives.has(name)) rows.push(await rowOf(name, "composed", cases, devices));
}

const header = ["operation", "kind", "cpu", "webgpu", "vjp", "jvp", "vmap"];
const lines = rows.sort((a, b) => a.name.localeCompare(b.name)).map(({ name, kind, marks }) => [
  name,
  kind,
  ...marks,
]);
const widths = header.map((title, k) => Math.max(title.length, ...lines.map((line) => line[k]!.length)));
const format = (line: readonly string[]): string =>
  `| ${line.map((cell, k) => cell.padEnd(widths[k]!)).join(" | ")} |`;
console.log(format(header));
console.log(format(widths.map((width) => "-".repeat(width))));
for (const line of lines) console.log(format(line));
console.log(
  `\n${rows.length} operations checked on ${devices.join(" and ")}. A dash means: nothing to check there.`,
);
for (const failure of failures) console.error(`FAILED ${failure}`);
Deno.exit(failures.length > 0 ? 1 : 0);
