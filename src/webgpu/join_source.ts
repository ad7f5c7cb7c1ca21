/**
 * One shader that does what several dispatches do, one after the other, in one workgroup: each becomes a function, and
 * barriers stand between them. What repeats becomes a loop, so that a long chain compiles as fast as a short one.
 *
 * @module
 */
import { points } from "../compiler/kernel.ts";
import type { BoundBinding, BoundDispatch, Source } from "./bound.ts";
import { mostTurns, type ShaderParts, type Variable } from "./schedule.ts";
import { shaderText } from "./wgsl_source.ts";

/** Most calls in the text of a shader: compilers take each for a copy of its function. */
const mostCalls = 4;

/** A text that is equal for the same memory; constants are known by their content. */
export function sourceKey({ kind, index }: Source, variable?: Variable): string {
  return kind === "constants" ? `constants ${variable?.words?.join(" ")}` : `${kind} ${index}`;
}

/** The dispatches as one; undefined if they cannot be one. */
export function joinDispatches(
  label: string,
  dispatches: readonly BoundDispatch[],
): BoundDispatch | undefined {
  const { workgroup } = dispatches[0]!.dispatch.parts;
  if (dispatches.some(({ dispatch }) => dispatch.parts.workgroup !== workgroup)) return undefined;
  const memory = new JoinedMemory();
  const shared = new Declarations(/^var<workgroup> (\w+)/);
  const functions = new Declarations(/^(?:fn|struct) (\w+)/);
  const bodies = new Map<string, string>();
  const calls = dispatches.map((each) => {
    const { parts, workgroups } = each.dispatch;
    const rename = memory.add(each);
    parts.shared.forEach((text) => shared.add(text));
    parts.functions.forEach((text) => functions.add(rename(text)));
    const body = rename(parts.body.map((line) => `  ${line}`).join("\n"));
    const name = bodies.get(body) ?? `part${bodies.size}`;
    bodies.set(body, name);
    return callOf(name, points(workgroups), parts.shared.length > 0);
  });
  const period = periodOf(calls);
  const rounds = calls.length / period;
  const turns = dispatches.reduce(
    (sum, { dispatch }) => sum + points(dispatch.workgroups) * (1 + dispatch.turns),
    rounds,
  );
  // Workgroup memory that suffices for one of them must do for all.
  const mostShared = Math.max(...dispatches.map(({ dispatch }) => dispatch.parts.shared.length));
  const isPossible = memory.isConsistent && !shared.isAmbiguous && !functions.isAmbiguous &&
    shared.texts.length <= mostShared;
  if (!isPossible || period > mostCalls || turns > mostTurns) return undefined;
  const barriers = [...(shared.texts.length > 0 ? ["workgroupBarrier();"] : []), "storageBarrier();"];
  const round = calls.slice(0, period).flatMap((call) => [call, ...barriers]);
  const parts: ShaderParts = {
    bindings: memory.variables,
    shared: shared.texts,
    functions: [
      ...functions.texts,
      ...[...bodies].map(([body, name]) => `fn ${name}(group: vec3<u32>, local: vec3<u32>) {\n${body}\n}`),
    ],
    body: rounds === 1
      ? round
      : [`for (var round = 0u; round < ${rounds}u; round++) {`, ...round.map((line) => `  ${line}`), "}"],
    workgroup,
  };
  const dispatch = { label, code: shaderText(parts), parts, workgroups: [1, 1, 1], turns } as const;
  return { dispatch, bindings: memory.bindings };
}

/** The variables of several shaders together: one for each place in memory and each way to read it. */
class JoinedMemory {
  readonly #places = new Map<string, { readonly variable: Variable; readonly binding: BoundBinding }>();

  get variables(): Variable[] {
    return [...this.#places.values()].map(({ variable }) => variable);
  }

  get bindings(): BoundBinding[] {
    return [...this.#places.values()].map(({ binding }) => binding);
  }

  /** Whether what is written is a single variable: WebGPU allows no other beside it. */
  get isConsistent(): boolean {
    const all = [...this.#places.values()].map(({ variable, binding }) => ({
      key: sourceKey(binding.source, variable),
      isWritten: variable.access === "read_write",
    }));
    return all.every((each) => !each.isWritten || all.filter(({ key }) => key === each.key).length === 1);
  }

  /** Adds the variables of a shader; returns what puts their new names into a text of it. */
  add({ dispatch, bindings }: BoundDispatch): (text: string) => string {
    const names = new Map<string, string>();
    dispatch.parts.bindings.forEach((variable, k) => {
      const { source, offset, size } = bindings[k]!;
      const key = [sourceKey(source, variable), offset, variable.type].join(" ");
      const known = this.#places.get(key);
      const name = known?.variable.name ?? `memory${this.#places.size}`;
      const access = known?.variable.access === "read_write" ? "read_write" : variable.access;
      this.#places.set(key, {
        variable: { ...variable, name, access },
        binding: { source, offset, size: Math.max(size, known?.binding.size ?? 0) },
      });
      names.set(variable.name, name);
    });
    const pattern = new RegExp(`\\b(${[...names.keys()].join("|")})\\b`, "g");
    return (text) => text.replace(pattern, (name) => names.get(name)!);
  }
}

/** Declarations of several shaders: what they have in common once. */
class Declarations {
  readonly #texts = new Map<string, string>();
  /** Whether a name has two meanings. */
  isAmbiguous = false;

  constructor(readonly name: RegExp) {}

  get texts(): string[] {
    return [...this.#texts.values()];
  }

  add(text: string): void {
    const [, name] = this.name.exec(text)!;
    if ((this.#texts.get(name!) ?? text) !== text) this.isAmbiguous = true;
    this.#texts.set(name!, text);
  }
}

/** The line that does the work of all workgroups; those that share memory do not meet in it. */
function callOf(name: string, workgroups: number, hasShared: boolean): string {
  if (workgroups === 1) return `${name}(vec3<u32>(), local);`;
  const barrier = hasShared ? " workgroupBarrier();" : "";
  return `for (var g = 0u; g < ${workgroups}u; g++) { ${name}(vec3<u32>(g, 0u, 0u), local);${barrier} }`;
}

/** The length of the part whose repetitions make up the whole. */
function periodOf(calls: readonly string[]): number {
  for (let period = 1; period < calls.length; period++) {
    if (calls.length % period === 0 && calls.every((call, k) => call === calls[k % period])) return period;
  }
  return calls.length;
}
