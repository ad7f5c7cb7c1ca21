/**
 * Launches that are too small for what a dispatch costs: where the same ones follow one another again and again (the
 * steps of an unrolled loop), they become one dispatch of one workgroup, with barriers between them.
 *
 * Which belong together is found as in byte pair encoding (Gage 1994, "A new algorithm for data compression"): the most
 * frequent pair of neighbours becomes one, until no pair is frequent. What is joined must occur often, because it is
 * compiled once more; so programs that repeat nothing stay as they are.
 *
 * @module
 */
import { points } from "../compiler/kernel.ts";
import type { BoundDispatch, BoundLaunch, Source } from "./bound.ts";
import { joinDispatches, sourceKey } from "./join_source.ts";
import type { Dispatch, Family } from "./schedule.ts";

/** A combination that occurs less often is not joined. */
const fewestUses = 4;
/** Dispatches that become one at most: the others of a device wait for them. */
const mostDispatches = 64;

/**
 * Most workgroups of a dispatch that is joined, since all of them run one after the other: few on a GPU, which has
 * many places for workgroups.
 */
const mostWorkgroups = { software: 8, gpu: 1 } as const;
/** Most turns of loops that its workgroups take together. */
const mostTurnsTogether = 64;

/** Whether a dispatch takes less time than its launch. */
export function isTiny({ workgroups, turns }: Dispatch, family: Family): boolean {
  const count = points(workgroups);
  return count <= mostWorkgroups[family] && count * (turns + 1) <= mostTurnsTogether;
}

/** What the joined launches may be. */
export interface JoinOptions {
  readonly family: Family;
  /** Buffers that a shader may bind. */
  readonly most: { readonly storage: number; readonly uniform: number };
}

/** The launches in their order, with those joined that are tiny and repeat. */
export function joinTiny(launches: readonly BoundLaunch[], options: JoinOptions): BoundLaunch[] {
  const isJoinable = ({ dispatches }: BoundLaunch): boolean =>
    dispatches.length > 0 && dispatches.every(({ dispatch }) => isTiny(dispatch, options.family));
  const refused = new Set<string>();
  const patterns = new Patterns();
  let groups = launches.map((launch): Group => ({ launches: [launch], isJoinable: isJoinable(launch) }));
  for (;;) {
    const pair = mostFrequentPair(groups, patterns, refused);
    if (pair === undefined) break;
    const { key, first } = pair;
    if (joinGroup([...groups[first]!.launches, ...groups[first + 1]!.launches], options) === undefined) {
      refused.add(key);
    } else {
      groups = joinPairs(groups, key, patterns);
    }
  }
  const uses = countBy(groups.map((group) => patterns.of(group)));
  return groups.flatMap((group) =>
    // Of a frequent pair most may have become parts of something longer.
    group.launches.length > 1 && uses.get(patterns.of(group))! >= fewestUses
      ? [joinGroup(group.launches, options)!]
      : group.launches
  );
}

/** Launches that become one. */
interface Group {
  readonly launches: readonly BoundLaunch[];
  readonly isJoinable: boolean;
}

/** Texts that are equal for groups whose joined shaders are equal. */
class Patterns {
  readonly #codes = new Map<string, number>();

  of(...groups: readonly Group[]): string {
    const memory = new Map<string, number>();
    const number = <Key>(map: Map<Key, number>, key: Key): number => {
      if (!map.has(key)) map.set(key, map.size);
      return map.get(key)!;
    };
    return groups.flatMap(dispatchesOf).map(({ dispatch, bindings }) => {
      const bound = dispatch.parts.bindings.map((variable, k) =>
        number(memory, `${sourceKey(bindings[k]!.source, variable)} ${bindings[k]!.offset}`)
      );
      return `${number(this.#codes, dispatch.code)}x${points(dispatch.workgroups)}:${bound}`;
    }).join(";");
  }
}

function dispatchesOf({ launches }: Group): readonly BoundDispatch[] {
  return launches.flatMap(({ dispatches }) => dispatches);
}

/** The pair of neighbours that occurs most often, if it does so often enough. */
function mostFrequentPair(
  groups: readonly Group[],
  patterns: Patterns,
  refused: ReadonlySet<string>,
): { key: string; first: number } | undefined {
  const found = new Map<string, { count: number; first: number; last: number }>();
  let best: { key: string; count: number; first: number } | undefined;
  for (let k = 0; k + 1 < groups.length; k++) {
    const [a, b] = [groups[k]!, groups[k + 1]!];
    if (!a.isJoinable || !b.isJoinable) continue;
    if (dispatchesOf(a).length + dispatchesOf(b).length > mostDispatches) continue;
    const key = patterns.of(a, b);
    if (refused.has(key)) continue;
    let own = found.get(key);
    if (own === undefined) found.set(key, own = { count: 0, first: k, last: -2 });
    // Of three equal ones two are a pair.
    if (own.last === k - 1) continue;
    own.last = k;
    own.count++;
    if (own.count >= fewestUses && own.count > (best?.count ?? 0)) best = { key, ...own };
  }
  return best;
}

function joinPairs(groups: readonly Group[], key: string, patterns: Patterns): Group[] {
  const result: Group[] = [];
  for (let k = 0; k < groups.length; k++) {
    const [a, b] = [groups[k]!, groups[k + 1]];
    if (a.isJoinable && b?.isJoinable && patterns.of(a, b) === key) {
      result.push({ launches: [...a.launches, ...b.launches], isJoinable: true });
      k++;
    } else {
      result.push(a);
    }
  }
  return result;
}

/** One launch for several; undefined if no shader can do what they do. */
function joinGroup(launches: readonly BoundLaunch[], { most }: JoinOptions): BoundLaunch | undefined {
  const dispatches = launches.flatMap((launch) => launch.dispatches);
  const label = labelOf(launches.map((launch) => launch.label));
  const joined = joinDispatches(label, dispatches);
  if (joined === undefined) return undefined;
  const { bindings } = joined.dispatch.parts;
  const uniforms = bindings.filter(({ access }) => access === "uniform").length;
  if (uniforms > most.uniform || bindings.length - uniforms > most.storage) return undefined;
  const outputs = distinct(launches.flatMap((launch) => launch.outputs));
  const written = new Set(outputs.map((source) => sourceKey(source)));
  const inputs = distinct(launches.flatMap((launch) => launch.inputs));
  return {
    label,
    dispatches: [joined],
    inputs: inputs.filter((source) => !written.has(sourceKey(source))),
    outputs,
  };
}

/** The labels of all, as in "mul[8]; 3 x exp[8]". */
function labelOf(labels: readonly string[]): string {
  const runs: { label: string; count: number }[] = [];
  for (const label of labels) {
    const last = runs.at(-1);
    if (last?.label === label) last.count++;
    else runs.push({ label, count: 1 });
  }
  return runs.map(({ label, count }) => count === 1 ? label : `${count} x ${label}`).join("; ");
}

function distinct(sources: readonly Source[]): Source[] {
  return [...new Map(sources.map((source) => [sourceKey(source), source])).values()];
}

function countBy(keys: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const key of keys) counts.set(key, (counts.get(key) ?? 0) + 1);
  return counts;
}
