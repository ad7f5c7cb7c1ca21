/**
 * All generators of the campaign, by name. One more is one more line here.
 *
 * @module
 */
import { fuzzData } from "../fuzz_data.ts";
import { fuzzFiles } from "../fuzz_files.ts";
import type { Generator, Outcome } from "./campaign.ts";
import { configurations } from "./configurations.ts";
import { disk } from "./disk.ts";
import { kills } from "./kills.ts";
import { signals } from "./signals.ts";
import { torn } from "./torn.ts";

export { type Campaign, campaignTable, type Generator, runCampaign } from "./campaign.ts";

/** Weight, image and checkpoint files that were changed at random. */
const files: Generator = async function* (seed, deadline) {
  const minutes = (deadline - performance.now()) / 60_000;
  const { values, refused, failures } = await fuzzFiles({ seed, minutes });
  const what = "changed weight, image and checkpoint files";
  yield* [...counted(what, "survived", values), ...counted(what, "sentence", refused)];
  for (const failure of failures) {
    yield { what, end: "crashed", detail: `case ${failure.case}: ${failure.problem}` };
  }
};

/** Lists, labels, masks, headers, folders and configurations that were made at random. */
const data: Generator = async function* (seed, deadline) {
  const seconds = (deadline - performance.now()) / 1000;
  const { values, sentences, findings } = await fuzzData({ seed, seconds });
  for (const [kind, count] of Object.entries(values)) yield* counted(kind, "survived", count);
  for (const [kind, count] of Object.entries(sentences)) yield* counted(kind, "sentence", count);
  for (const finding of findings) {
    yield {
      what: finding.match(/\((\w+)\)/)?.[1] ?? "data",
      end: /no end/.test(finding) ? "hung" : "crashed",
      detail: finding,
    };
  }
};

function counted(what: string, end: Outcome["end"], count: number): Outcome[] {
  return count === 0 ? [] : [{ what, end, count }];
}

/** The generators. */
export const generators: Readonly<Record<string, Generator>> = {
  kills,
  signals,
  disk,
  torn,
  configurations,
  files,
  data,
};
