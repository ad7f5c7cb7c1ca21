/**
 * Assembling a compute shader: bindings are declared when they are first used, values get names, and the
 * same text gets the same name (so that common sub-expressions are computed once, as far out as possible).
 *
 * @module
 */
import type { DType } from "../dtype.ts";
import type { Combine, Kernel } from "../compiler/kernel.ts";
import { type Binding, type Dispatch, layWorkgroups, type Variable } from "./schedule.ts";
import { Helpers, literal, splat, startText, storedType, typeName, type Width } from "./wgsl_math.ts";
import { shaderText } from "./wgsl_source.ts";

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

/** What a shader is for. */
export interface ShaderOptions {
  readonly label: string;
  readonly inputs: Kernel["inputs"];
  readonly outputs: Kernel["outputs"];
  /** Invocations per workgroup. */
  readonly workgroup: number;
  /** Inputs from this number on are scratch buffers. */
  readonly scratchFrom?: number | undefined;
  /** The scratch buffer that stands for output 0. */
  readonly toScratch?: number | undefined;
  /**
   * Where sizes and addresses are kept as parameters, so that kernels that differ in nothing else share one shader;
   * without it they are literals. Real GPUs take operands from uniforms at no cost. Mesa compiles a shader again for
   * every value of a uniform that ends a loop, so there they are storage.
   */
  readonly parameters?: "uniform" | "storage";
}

/** One shader under construction. */
export class Shader {
  readonly helpers: Helpers = new Helpers();
  readonly body: Block = new Block(this);
  /** Functions of the shader's own. */
  readonly functions: string[] = [];
  readonly #bindings: Variable[] = [];
  readonly #shared: string[] = [];
  readonly #bound = new Map<string, string>();
  readonly #values = new Set<string>();
  readonly #parameters = new Map<string, number>();
  readonly #words: number[] = [];
  readonly #ids = new Map<unknown, string>();
  readonly isGeneric: boolean;
  #count = 0;
  #workgroups: [number, number, number] = [0, 1, 1];

  constructor(readonly options: ShaderOptions) {
    this.isGeneric = options.parameters !== undefined;
  }

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

  /** A name for an object (or its text) that depends only on the order in which objects come up. */
  id(of: unknown): string {
    let id = this.#ids.get(of);
    if (id === undefined) this.#ids.set(of, id = `#${this.#ids.size}`);
    return id;
  }

  /** A number that may differ between kernels of one shader; `key` says which number it is. */
  number(key: string, value: number, type: "i32" | "u32" | "f32" = "i32"): string {
    if (!this.isGeneric) return type === "i32" ? String(value) : literal(value, type);
    const word = type === "f32" ? new Int32Array(Float32Array.of(value).buffer)[0]! : value;
    let place = this.#parameters.get(key);
    if (place === undefined) {
      this.#parameters.set(key, place = this.#words.push(word) - 1);
      this.addValue(`p${place}`);
    } else if (this.#words[place] !== word) {
      throw new Error(`parameter ${key} of a shader would be ${this.#words[place]} and ${word}`);
    }
    if (type === "i32") return `p${place}`;
    return this.body.let(type === "u32" ? `u32(p${place})` : `bitcast<f32>(p${place})`);
  }

  /** The bits of an f32, joined with a zero from memory: a value that no compiler knows anything about. */
  hidden(text: string, width: Width): string {
    const zero = splat(this.number("zero", 0, "u32"), "u32", width);
    return `bitcast<${typeName("f32", width)}>(bitcast<${typeName("u32", width)}>(${text}) ^ ${zero})`;
  }

  /** What a reduction starts from. A sum starts from a 0 that no compiler knows, lest it begin with its first value. */
  start(combine: Combine, dtype: DType, width: Width): string {
    return combine === "sum" && dtype === "f32"
      ? splat(this.number("zero as f32", 0, "f32"), "f32", width)
      : startText(combine, dtype, width);
  }

  /** Quotient and remainder of a u32 below `bound` by a size. */
  divide(
    block: Block,
    text: string,
    { key, size, bound }: { readonly key: string; readonly size: number; readonly bound: number },
  ): [quotient: string, remainder: string] {
    const divisor = this.number(key, size, "u32");
    // Steps past the end of a sum go a little beyond the bound.
    if (!this.isGeneric || bound >= 2 ** 22) {
      return [block.let(`${text} / ${divisor}`), block.let(`${text} % ${divisor}`)];
    }
    if (!this.functions.includes(quotient)) this.functions.push(quotient);
    const result = block.let(`quotient(${text}, ${divisor})`);
    return [result, block.let(`${text} - ${result} * ${divisor}`)];
  }

  /** The array of an input, read one or four elements at a time. */
  input(index: number, width: Width): string {
    const { inputs, scratchFrom = inputs.length } = this.options;
    const isScratch = index >= scratchFrom;
    return this.bind(
      {
        kind: isScratch ? "scratch" : "input",
        index: isScratch ? index - scratchFrom : index,
        access: "read",
      },
      inputs[index]!,
      width,
    );
  }

  /** The array of an output; it must always be asked for with the same width. */
  output(index: number, width: Width): string {
    const { outputs, toScratch } = this.options;
    const target = toScratch === undefined
      ? { kind: "output" as const, index }
      : { kind: "scratch" as const, index: toScratch };
    return this.bind({ ...target, access: "read_write" }, outputs[index]!, width);
  }

  /** The array of any binding, under a name of its own if one is wanted. */
  bind(binding: Binding, dtype: DType, width: Width = 1, wanted?: string): string {
    const key = wanted ?? `${binding.kind}${binding.index}${binding.access}${width}`;
    const known = this.#bound.get(key);
    if (known !== undefined) return known;
    const name = wanted ??
      (this.isGeneric
        ? `array${this.#bindings.length}`
        : `${binding.kind}${binding.index}${width === 4 ? "by4" : ""}`);
    this.#bound.set(key, name);
    this.#bindings.push({ ...binding, name, type: storedType(dtype, width) });
    return name;
  }

  /** Declares an array in workgroup memory. */
  shared(name: string, type: string, length: number): void {
    this.#shared.push(`var<workgroup> ${name}: array<${type}, ${length}>;`);
  }

  /**
   * The number of the invocation (or of the workgroup) out of `count`; those beyond end at once.
   */
  begin(count: number, unit: "invocation" | "workgroup" = "invocation"): string {
    const { workgroup } = this.options;
    const groups = unit === "workgroup" ? count : Math.ceil(count / workgroup);
    this.#workgroups = layWorkgroups(groups);
    const [x, y, z] = this.#workgroups;
    const group = `group.x${y > 1 ? ` + group.y * ${this.number("groups x", x, "u32")}` : ""}${
      z > 1 ? ` + group.z * ${this.number("groups xy", x * y, "u32")}` : ""
    }`;
    const text = unit === "workgroup" ? group : `(${group}) * ${workgroup}u + local.x`;
    const name = this.body.let(text);
    if (x * y * z * (unit === "workgroup" ? 1 : workgroup) !== count) {
      this.body.lines.push(`if (${name} >= ${this.number("count", count, "u32")}) { return; }`);
    }
    return name;
  }

  /** The finished dispatch; `turns` = turns of all loops of one invocation, at most. */
  finish(turns: number): Dispatch {
    const { label, workgroup, parameters } = this.options;
    const bindings = [...this.#bindings];
    const prologue: string[] = [];
    if (this.#words.length > 0) {
      const access = parameters === "uniform" ? "uniform" : "read";
      const words = { kind: "constants", index: 0, access, words: this.#words } as const;
      bindings.push({ ...words, name: "parameters", type: "vec4<i32>" });
      this.#words.forEach((_, k) => {
        if (k % 4 === 0) prologue.push(`let q${k / 4} = parameters[${k / 4}];`);
        prologue.push(`let p${k} = q${k >> 2}.${"xyzw"[k & 3]};`);
      });
    }
    const parts = {
      bindings,
      shared: this.#shared,
      functions: [...this.helpers.sources(), ...this.functions],
      body: [...prologue, ...this.body.lines],
      workgroup,
    };
    return { label, code: shaderText(parts), parts, workgroups: this.#workgroups, turns };
  }
}

/** Division of numbers below 2²³ through f32, which vector units have: the quotient is at most one off at first. */
const quotient = `fn quotient(a: u32, b: u32) -> u32 {
  let q = u32(f32(a) / f32(b));
  let r = i32(a) - i32(q * b);
  return select(select(q, q + 1u, r >= i32(b)), q - 1u, r < 0);
}`;
