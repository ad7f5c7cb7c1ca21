/**
 * Measures the error of every elementwise function over the whole range of f32, on both devices, and prints a table.
 * With `--write` it becomes docs/accuracy.md.
 *
 *     deno run -A tests/accuracy_table.ts --write
 *
 * @module
 */
import { type DeviceName, setDevice } from "../src/device.ts";
import "../src/evaluate.ts";
import { type Finding, keepsPromise, measure } from "./support/accuracy.ts";
import { webgpuAvailable } from "./support/devices.ts";
import { promises } from "./support/promises.ts";

/** Floats of every exponent that are tried. */
const density = 256;

const devices: DeviceName[] = await webgpuAvailable() ? ["cpu", "webgpu"] : ["cpu"];
const rows: string[][] = [];
let [points, broken] = [0, 0];
for (const promised of promises) {
  const found = new Map<DeviceName, Finding[]>();
  for (const device of devices) {
    await setDevice(device);
    found.set(device, await measure(promised, device, density));
  }
  promised.ranges.forEach((range, k) => {
    const cells = devices.map((device) => {
      const finding = found.get(device)![k]!;
      points += finding.points;
      if (!keepsPromise(finding, device)) broken++;
      return [
        `${range[device]}`,
        keepsPromise(finding, device) ? measured(finding) : `**${measured(finding)}**`,
        finding.tiny ?? "-",
      ];
    });
    rows.push([promised.name, range.where, ...cells.flat()]);
  });
  console.error(promised.name);
}

/** The error with two digits, and where it is. */
function measured({ error, at }: Finding): string {
  const text = error === Infinity ? "∞" : error > 1000 ? error.toExponential(1) : error.toFixed(2);
  return error <= 0.5 ? text.replace(/\.?0+$/, "") : `${text} at ${at.map((x) => shortest(x)).join(", ")}`;
}

/** Enough digits to tell an f32 from its neighbours. */
function shortest(x: number): string {
  for (let digits = 1; digits < 9; digits++) {
    const text = Number(x.toPrecision(digits));
    if (Math.fround(text) === x) return String(text);
  }
  return String(x);
}

const header = ["function", "operands", ...devices.flatMap((device) => [device, "measured", "below 2⁻¹²⁶"])];
const widths = header.map((title, k) => Math.max(title.length, ...rows.map((row) => row[k]!.length)));
const line = (row: readonly string[]): string =>
  `| ${row.map((cell, k) => cell.padEnd(widths[k]!)).join(" | ")} |`;
const table = [header, widths.map((width) => "-".repeat(width)), ...rows].map(line).join("\n");
const text = `# Accuracy

Printed by \`deno run -A tests/accuracy_table.ts --write\` from ${
  points.toLocaleString("en")
} results, and held to by
\`tests/accuracy_test.ts\`; the promises stand in \`tests/support/promises.ts\`.

The columns \`cpu\` and \`webgpu\` say what a function promises there: how far a result may be from the exact one, in
units of the last place (ulp) of f32. Half an ulp is a correctly rounded result, 0 an exact one. Beside it stands the
greatest error that was found, and the operands at which it is. NaN, infinities and the limits of the range are held to
as well: a wrong one counts as an error of ∞. Operands are floats of every exponent and both signs (${density} of each
where there is one operand), even steps through the middle of the range, the neighbours of what is hard for a function
(1 for a logarithm, multiples of π/2 for a sine, where an exponential overflows), and 0, −0, ±∞ and NaN. The exact
results are float64.

Results below 2⁻¹²⁶ have fewer digits (they are subnormal): \`kept\` says that they were as exact as they can be, \`0\`
that some were made 0, which is allowed everywhere.

Sums have no entry: a sum of millions of equal values is off by at most 1e-6 of itself, a product of matrices over as
long an inner axis by 3e-6. Casts are exact or correctly rounded, and saturate; NaN becomes 0.

## What a driver may do

The WebGPU column is that of Mesa's software adapter, with which this is tested. Everything but the four operations,
roots and rounding to whole numbers is our own code there, so that a GPU gives the same to an ulp or two. The standard
lets a driver

- divide with an error of 2.5 ulp, if the divisor is between 2⁻¹²⁶ and 2¹²⁶ in size. What divides (\`tan\`, \`tanh\`,
  \`sigmoid\`, \`silu\`, \`gelu\` and \`log1p\`) may be off by so much more;
- take roots with an error of 4.5 ulp, and reciprocal roots with one of 2 ulp;
- take subnormal operands of sums, products, quotients, roots and comparisons for 0, and make subnormal results 0;
- round a product and the sum that it goes into once, together.

It may also assume that there are no NaN and infinities, and simplify accordingly; kernels are written so that it has
nothing to simplify ([decision 0012](decisions/0012-no-compiler-knows-the-numbers.md)).

## Results

${table}
`;
if (Deno.args.includes("--write")) {
  Deno.writeTextFileSync(new URL("../docs/accuracy.md", import.meta.url), text);
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "-q", "docs/accuracy.md"] }).output();
} else {
  console.log(table);
}
console.log(`\n${points} results; ${broken} promises broken`);
Deno.exit(broken > 0 ? 1 : 0);
