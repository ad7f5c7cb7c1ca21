/**
 * Assembling a compute shader: bindings are declared when they are first used, values get names, and the
 * same text gets the same name (so that common sub-expressions are computed once, as far out as possible).
 *
 * @module
 */
import type { DType } from "../dtype.ts";
import type { Kernel } from "../compiler/kernel.ts";
import { type Binding, type Dispatch, layWorkgroups } from "./schedule.ts";
import { Helpers, storedType, typeName, type Width } from "./wgsl_math.ts";

/** Lines of one `{ }` and the names that they define. */
export class Block {
  readonly lines: string[] = [];
  readonly #names = new Map<string, string>();
  readonly depth: number;

  constructor(readonly shader: Shader, readonly parent?: Block) {
    this.depth = parent === undefined ? 0 : parent.depth + 1;
  }

  /** The enclosing block of the given depth. */
  at(depth: number): Block {
    // deno-lint-ignore no-this-alias
    let block: Block = this;
    while (block.depth > depth) block = block.parent!;
    return block;
  }

  /** A name for a value; text that has a name already keeps it. */
  let(text: string): string {
    if (this.shader.isValue(text)) return text;
    const known = this.#find(text);
    if (known !== undefined) return known;
    const name = this.define(text);
    this.#names.set(text, name);
    return name;
  }

  /** A name for text that contains variables: it stands for what they are now, so it is never shared. */
  define(text: string): string {
    const name = this.shader.fresh();
    this.shader.addValue(name);
    this.lines.push(`let ${name} = ${text};`);
    return name;
  }

  /** A new variable. */
  variable(dtype: DType, width: Width, initial: string): string {
    const name = this.shader.fresh();
    this.lines.push(`var ${name}: ${typeName(dtype, width)} = ${initial};`);
    return name;
  }

  /** Adds a block behind a header such as `if (…)` once its lines are complete. */
  nest(header: string, block: Block): void {
    this.lines.push(`${header} {`, ...block.lines.map((line) => `  ${line}`), "}");
  }

  #find(text: string): string | undefined {
    const own = this.#names.get(text);
    return own ?? (this.parent === undefined ? undefined : this.parent.#find(text));
  }
}

/** One shader under construction. */
export class Shader {
  readonly helpers: Helpers = new Helpers();
  readonly body: Block = new Block(this);
  /** Functions of the shader's own. */
  readonly functions: string[] = [];
  readonly #bindings: Binding[] = [];
  readonly #declarations: string[] = [];
  readonly #bound = new Map<string, string>();
  readonly #values = new Set<string>();
  #count = 0;

  /**
   * @param scratchFrom Inputs from this number on are scratch buffers.
   * @param toScratch The scratch buffer that stands for output 0.
   */
  constructor(
    readonly label: string,
    readonly inputs: Kernel["inputs"],
    readonly outputs: Kernel["outputs"],
    readonly workgroup: number,
    readonly scratchFrom: number = inputs.length,
    readonly toScratch?: number,
  ) {}

  /** A name that nothing has yet. */
  fresh(): string {
    return `v${this.#count++}`;
  }

  /** Notes that a name stands for one value for good. */
  addValue(name: string): void {
    this.#values.add(name);
  }

  /** Whether the text is a name that stands for one value for good. */
  isValue(text: string): boolean {
    return this.#values.has(text);
  }

  /** The array of an input, read one or four elements at a time. */
  input(index: number, width: Width): string {
    const isScratch = index >= this.scratchFrom;
    return this.bind(
      {
        kind: isScratch ? "scratch" : "input",
        index: isScratch ? index - this.scratchFrom : index,
        access: "read",
      },
      this.inputs[index]!,
      width,
    );
  }

  /** The array of an output; it must always be asked for with the same width. */
  output(index: number, width: Width): string {
    const target = this.toScratch === undefined
      ? { kind: "output" as const, index }
      : { kind: "scratch" as const, index: this.toScratch };
    return this.bind({ ...target, access: "read_write" }, this.outputs[index]!, width);
  }

  /** The array of any binding, under a name of its own if one is wanted. */
  bind(binding: Binding, dtype: DType, width: Width = 1, wanted?: string): string {
    const key = wanted ?? `${binding.kind}${binding.index}${binding.access}${width}`;
    const known = this.#bound.get(key);
    if (known !== undefined) return known;
    const place = this.#bindings.push(binding) - 1;
    const name = wanted ?? `${binding.kind}${binding.index}${width === 4 ? "by4" : ""}`;
    this.#bound.set(key, name);
    this.#declarations.push(
      `@group(0) @binding(${place}) var<storage, ${binding.access}> ${name}: array<${
        storedType(dtype, width)
      }>;`,
    );
    return name;
  }

  /** Declares an array in workgroup memory. */
  shared(name: string, type: string, length: number): void {
    this.#declarations.push(`var<workgroup> ${name}: array<${type}, ${length}>;`);
  }

  /**
   * The number of the invocation (or of the workgroup) out of `count`; those beyond end at once.
   */
  begin(count: number, unit: "invocation" | "workgroup" = "invocation"): string {
    const groups = unit === "workgroup" ? count : Math.ceil(count / this.workgroup);
    this.#workgroups = layWorkgroups(groups);
    const [x, y] = this.#workgroups;
    const group = `group.x${y > 1 ? ` + group.y * ${x}u` : ""}${
      this.#workgroups[2] > 1 ? ` + group.z * ${x * y}u` : ""
    }`;
    const text = unit === "workgroup" ? group : `(${group}) * ${this.workgroup}u + local.x`;
    const name = this.body.let(text);
    const launched = x * y * this.#workgroups[2] * (unit === "workgroup" ? 1 : this.workgroup);
    if (launched !== count) this.body.lines.push(`if (${name} >= ${count}u) { return; }`);
    return name;
  }
  #workgroups: [number, number, number] = [0, 1, 1];

  /** The finished dispatch. */
  finish(): Dispatch {
    const code = [
      ...this.#declarations,
      this.helpers.source(),
      ...this.functions,
      `@compute @workgroup_size(${this.workgroup})`,
      "fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) local: vec3<u32>) {",
      ...this.body.lines.map((line) => `  ${line}`),
      "}",
      "",
    ].filter((line, k, all) => line !== "" || k === all.length - 1).join("\n");
    return { label: this.label, code, bindings: this.#bindings, workgroups: this.#workgroups };
  }
}
