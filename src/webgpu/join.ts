/**
 * Launches that are too small for what a dispatch costs: where the same ones follow one another again and again (the
 * steps of an unrolled loop), they become one dispatch of one workgroup, with barriers between them.
 *
 * Which belong together is found much as in byte pair encoding (Gage 1994, "A new algorithm for data compression"):
 * frequent pairs of neighbours become one, until no pair is frequent. What is joined must occur often, because it is
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
const fewWorkgroups = { software: 8, gpu: 1 } as const;
/** Most turns of loops that its workgroups take together. */
const mostTurnsTogether = 64;

/** Whether a dispatch takes less time than its launch. */
export function isTiny({ workgroups, turns }: Dispatch, family: Family): boolean {
  const count = points(workgroups);
  return count <= fewWorkgroups[family] && count * (turns + 1) <= mostTurnsTogether;
}

/** What the joined launches may be. */
export interface JoinOptions {
  readonly family: Family;
  /** Buffers that a shader may bind. */
  readonly most: { readonly storage: number; readonly uniform: number };
}

/** The launches in their order, with those joined that are tiny and repeat. */
export function joinTiny(launches: readonly BoundLaunch[], options: JoinOptions): BoundLaunch[] {
  const patterns = new Patterns();
  let groups = launches.map((launch): Group => ({
    launches: [launch],
    isJoinable: isJoinable(launch, options),
  }));
  // What was found of a pair that is frequent: whether one shader can do it.
  const known = new Map<string, boolean>();
  const canJoin = (key: string, { launches: a }: Group, { launches: b }: Group): boolean => {
    if (!known.has(key)) known.set(key, joinGroup([...a, ...b], options) !== undefined);
    return known.get(key)!;
  };
  for (;;) {
    const fewer = joinPairs(groups, patterns, canJoin);
    if (fewer.length === groups.length) break;
    groups = fewer;
  }
  const joined = groups.filter((group) => group.launches.length > 1);
  const uses = countBy(joined.map((group) => patterns.of(group)));
  return groups.flatMap((group) =>
    // Of a frequent pair most may have become parts of something longer.
    group.launches.length > 1 && uses.get(patterns.of(group))! >= fewestUses
      ? [joinGroup(group.launches, options)!]
      : group.launches
  );
}

function isJoinable({ dispatches, inputs, outputs }: BoundLaunch, { family }: JoinOptions): boolean {
  if (dispatches.length === 0 || !dispatches.every(({ dispatch }) => isTiny(dispatch, family))) return false;
  // What a launch reads where it writes is copied before it.
  const written = new Set(outputs.map((source) => sourceKey(source)));
  return !inputs.some((source) => written.has(sourceKey(source)));
}

/** Launches that become one. */
interface Group {
  readonly launches: readonly BoundLaunch[];
  readonly isJoinable: boolean;
}

/** Texts that are equal for groups whose joined shaders are equal. */
class Patterns {
  readonly #codes = new Map<string, number>();
  readonly #keys = new WeakMap<BoundDispatch, Keys>();
  readonly #pairs = new WeakMap<Group, { readonly next: Group; readonly key: string }>();

  of(...groups: readonly Group[]): string {
    const [memory, places] = [new Map<string, number>(), new Map<string, number>()];
    const number = (map: Map<string, number>, key: string): number => {
      if (!map.has(key)) map.set(key, map.size);
      return map.get(key)!;
    };
    return groups.flatMap(dispatchesOf).map((each) => {
      const { what, sources } = this.#keysOf(each);
      const bound = sources.map(({ source, place }) => `${number(memory, source)}.${number(places, place)}`);
      return `${what}:${bound}`;
    }).join(";");
  }

  #keysOf(each: BoundDispatch): Keys {
    let known = this.#keys.get(each);
    if (known === undefined) {
      const { dispatch: { code, parts, workgroups }, bindings } = each;
      if (!this.#codes.has(code)) this.#codes.set(code, this.#codes.size);
      const sources = parts.bindings.map((variable, k) => {
        const source = sourceKey(bindings[k]!.source, variable);
        return { source, place: `${source} ${bindings[k]!.offset}` };
      });
      this.#keys.set(each, known = { what: `${this.#codes.get(code)}x${points(workgroups)}`, sources });
    }
    return known;
  }

  /** The same for neighbours. Few pairs are new from one round to the next, so it is remembered. */
  ofPair(a: Group, b: Group): string {
    let known = this.#pairs.get(a);
    if (known?.next !== b) this.#pairs.set(a, known = { next: b, key: this.of(a, b) });
    return known.key;
  }
}

/** A dispatch in short: what it does, and where its bindings are. */
interface Keys {
  readonly what: string;
  readonly sources: readonly { readonly source: string; readonly place: string }[];
}

function dispatchesOf({ launches }: Group): readonly BoundDispatch[] {
  return launches.flatMap(({ dispatches }) => dispatches);
}

/** Joins every pair of neighbours that is frequent, but for the sake of a more frequent one leaves its second alone. */
function joinPairs(
  groups: readonly Group[],
  patterns: Patterns,
  canJoin: (key: string, a: Group, b: Group) => boolean,
): Group[] {
  const keys = groups.map((a, k): string | undefined => {
    const b = groups[k + 1];
    if (b === undefined || !a.isJoinable || !b.isJoinable) return undefined;
    return dispatchesOf(a).length + dispatchesOf(b).length > mostDispatches
      ? undefined
      : patterns.ofPair(a, b);
  });
  const counts = countPairs(keys);
  const countAt = (k: number): number => {
    const key = keys[k];
    const count = key === undefined ? 0 : counts.get(key)!;
    return count >= fewestUses && canJoin(key!, groups[k]!, groups[k + 1]!) ? count : 0;
  };
  const result: Group[] = [];
  for (let k = 0; k < groups.length; k++) {
    const [a, b] = [groups[k]!, groups[k + 1]];
    const count = countAt(k);
    if (b === undefined || count === 0 || countAt(k + 1) > count) {
      result.push(a);
    } else {
      result.push({ launches: [...a.launches, ...b.launches], isJoinable: true });
      k++;
    }
  }
  return result;
}

/** How often each pair occurs, where of three equal ones two are a pair. */
function countPairs(keys: readonly (string | undefined)[]): Map<string, number> {
  const found = new Map<string, { count: number; last: number }>();
  keys.forEach((key, k) => {
    if (key === undefined) return;
    const own = found.get(key) ?? { count: 0, last: -2 };
    if (own.last !== k - 1) found.set(key, { count: own.count + 1, last: k });
  });
  return new Map([...found].map(([key, { count }]) => [key, count]));
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
