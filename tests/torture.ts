/**
 * Injures runs, files and configurations for some minutes, and prints how each injury ended.
 *
 * `deno task torture [MINUTES] [SEED] [GENERATOR...]`: 10 minutes, seed 1 and all generators by default. The status is 1 if
 * work was lost, a process hung, or anything crashed without a sentence.
 *
 * @module
 */
import { campaignTable, generators, runCampaign } from "./support/torture/mod.ts";

const [minutesText = "10", seedText = "1", ...chosen] = Deno.args;
const [minutes, seed] = [Number(minutesText), Number(seedText)];
const wrong = chosen.find((name) => !Object.hasOwn(generators, name));
if (!(minutes > 0) || !Number.isSafeInteger(seed) || wrong !== undefined) {
  console.error(
    `Cannot begin: minutes above 0, a whole number as seed and names among ${
      Object.keys(generators).join(", ")
    } are ` +
      `required, not ${Deno.args.join(" ")}`,
  );
  Deno.exit(2);
}
const used = Object.entries(generators).filter(([name]) => chosen.length === 0 || chosen.includes(name));
const say = (line: string): void => console.log(line.length > 4000 ? `${line.slice(0, 4000)} ...` : line);
const { counts, failures } = await runCampaign(Object.fromEntries(used), { seed, minutes, say });
console.log(`\n${campaignTable(counts)}\n`);
console.log(`${failures.length} lost, hung or crashed without a sentence`);
Deno.exit(failures.length === 0 ? 0 : 1);
