/**
 * The part of `@std/cli` that this repository uses: `parseArgs`, with the same behaviour.
 *
 * `deno.json` links it so that a clone works where JSR cannot be reached; whoever imports the package
 * from JSR gets the real `@std/cli`, because links count only in the root project.
 *
 * The result's types are a little stricter than the real ones: aliases and dotted names are `unknown`.
 *
 * @module
 */

/** One name or several. */
type OneOrMore<Name extends string> = Name | readonly Name[];

/** What `parseArgs` may be told. */
export interface ParseOptions<
  S extends string = string,
  B extends string = string,
  C extends string = string,
  N extends string = string,
  D extends Record<string, unknown> = Record<string, unknown>,
  DoubleDash extends boolean = boolean,
> {
  /** Collect what follows `--` under `"--"` instead of `_`. */
  "--"?: DoubleDash;
  /** Other names for an option. */
  alias?: Record<string, string | readonly string[]>;
  /** Options without a value; `true` makes every `--name` without `=` one of them. */
  boolean?: boolean | OneOrMore<B>;
  /** Values of options that were not given. */
  default?: D;
  /** Put everything from the first non-option on into `_`. */
  stopEarly?: boolean;
  /** Options whose values stay text even if they look like numbers; `_` stands for the non-options. */
  string?: OneOrMore<S>;
  /** Options that may be given several times and become arrays. */
  collect?: OneOrMore<C>;
  /** Options that `--no-name` sets to false. */
  negatable?: OneOrMore<N>;
  /** Called with every argument that no option describes; returning false drops it. */
  unknown?: (arg: string, key?: string, value?: unknown) => unknown;
}

/** What `parseArgs` returns. */
export type Args<
  S extends string = never,
  B extends string = never,
  C extends string = never,
  N extends string = never,
  D extends Record<string, unknown> = Record<never, never>,
  DoubleDash extends boolean = false,
> =
  & Record<string, unknown>
  & { [K in Exclude<Known<S>, C | keyof D | "_">]?: string | Negated<K, N> | undefined }
  & { [K in Exclude<Known<B>, C | keyof D>]: boolean }
  & { [K in C]: (K extends S ? string[] : K extends B ? boolean[] : unknown[]) | Negated<K, N> }
  & { [K in Exclude<keyof D, C>]: K extends S ? D[K] | string : K extends B ? D[K] | boolean : unknown }
  & { _: (string | number)[] }
  & (DoubleDash extends true ? { "--": string[] } : Record<never, never>);

/** The names if they are known one by one, none if any text may be a name. */
type Known<Name extends string> = string extends Name ? never : Name;

type Negated<K, N> = K extends N ? false : never;

/**
 * Parses command line arguments: `--name value`, `--name=value`, `--flag`, `--no-flag`, `-x value`,
 * `-xyz`, `-n5`, and plain words under `_`. Values that look like numbers become numbers unless the
 * option is listed in `string`.
 *
 * @param args The arguments, as in `Deno.args`.
 * @param options Which names are strings, booleans, lists, and so on.
 * @returns The values by name, and the plain words under `_`.
 */
export function parseArgs<
  S extends string = never,
  B extends string = never,
  C extends string = never,
  N extends string = never,
  D extends Record<string, unknown> = Record<never, never>,
  DoubleDash extends boolean = false,
>(
  args: string[],
  options: ParseOptions<S, B, C, N, D, DoubleDash> = {},
): Args<S, B, C, N, D, DoubleDash> {
  const result = new ArgumentReader(options as ParseOptions).read(args);
  return result as Args<S, B, C, N, D, DoubleDash>;
}

type Value = string | number | boolean;

/** `--no-name=value`: dashes, an optional negation, the name, an optional value. */
const LONG = /^--(?<negated>no-)?(?<name>.+?)(?:=(?<value>.+))?$/s;

/** Applies one set of options to one list of arguments. */
class ArgumentReader {
  readonly #options: ParseOptions;
  readonly #aliases: Map<string, string[]>;
  readonly #booleans: Set<string>;
  readonly #strings: Set<string>;
  readonly #lists: Set<string>;
  readonly #negatable: Set<string>;
  readonly #result: Record<string, unknown> = {};
  readonly #words: (string | number)[] = [];

  constructor(options: ParseOptions) {
    this.#options = options;
    this.#aliases = aliasMap(options.alias ?? {});
    this.#booleans = this.#withAliases(typeof options.boolean === "boolean" ? [] : options.boolean);
    this.#strings = this.#withAliases(options.string);
    this.#lists = this.#withAliases(options.collect);
    this.#negatable = this.#withAliases(options.negatable);
  }

  read(args: readonly string[]): Record<string, unknown> {
    const end = args.indexOf("--");
    const parsed = end < 0 ? args : args.slice(0, end);
    const rest = end < 0 ? [] : args.slice(end + 1);
    this.#result._ = this.#words;
    for (let i = 0; i < parsed.length;) {
      const arg = parsed[i]!;
      const next = parsed[i + 1];
      if (arg.startsWith("--") && arg.length > 2) {
        i += this.#long(arg, next);
      } else if (arg.startsWith("-") && arg.length > 1) {
        i += this.#short(arg, next);
      } else {
        this.#word(arg);
        i++;
        if (this.#options.stopEarly) {
          this.#words.push(...parsed.slice(i));
          break;
        }
      }
    }
    this.#fillDefaults();
    if (this.#options["--"]) this.#result["--"] = rest;
    else this.#words.push(...rest);
    return this.#result;
  }

  /** Reads `--name...` and returns how many arguments that took. */
  #long(arg: string, next: string | undefined): number {
    const { negated, name, value } = LONG.exec(arg)!.groups!;
    if (value !== undefined) {
      const key = name!;
      this.#set(key, this.#booleans.has(key) ? value !== "false" : value, arg);
      return 1;
    }
    if (negated && this.#negatable.has(name!)) {
      this.#set(name!, false, arg, { collect: false });
      return 1;
    }
    const key = negated ? `no-${name}` : name!;
    const takesValue = this.#options.boolean !== true && next !== undefined && !next.startsWith("-");
    return this.#valueOrFlag(key, arg, next, takesValue);
  }

  /** Reads `-x`, `-xyz`, `-x5`, `-x=value` and returns how many arguments that took. */
  #short(arg: string, next: string | undefined): number {
    for (let j = 1; j < arg.length - 1; j++) {
      const letter = arg[j]!;
      const rest = arg.slice(j + 1);
      if (rest === "-") {
        this.#set(letter, "-", arg);
        return 1;
      }
      const attached = attachedValue(letter, rest);
      if (attached !== undefined) {
        this.#set(letter, attached, arg);
        return 1;
      }
      this.#set(letter, this.#strings.has(letter) ? "" : true, arg);
    }
    return this.#valueOrFlag(arg.at(-1)!, arg, next, next !== undefined && !/^--?[^-]/.test(next));
  }

  /** Gives `key` the next argument if it may have it, otherwise "on"; returns how many arguments that took. */
  #valueOrFlag(key: string, arg: string, next: string | undefined, takesValue: boolean): number {
    if (next) {
      if (takesValue && !this.#isBoolean(key)) {
        this.#set(key, next, arg);
        return 2;
      }
      if (next === "true" || next === "false") {
        this.#set(key, next === "true", arg);
        return 2;
      }
    }
    this.#set(key, this.#strings.has(key) ? "" : true, arg);
    return 1;
  }

  #word(arg: string): void {
    if (this.#options.unknown?.(arg) === false) return;
    this.#words.push(this.#strings.has("_") ? arg : numberIfNumeric(arg));
  }

  #set(key: string, value: Value, arg: string, { collect = true } = {}): void {
    const known = this.#booleans.has(key) || this.#strings.has(key) || this.#aliases.has(key) ||
      this.#options.boolean === true && /^--[^=]+$/.test(arg);
    if (!known && this.#options.unknown?.(arg, key, value) === false) return;
    const typed = typeof value === "string" && !this.#strings.has(key) ? numberIfNumeric(value) : value;
    const append = collect && this.#lists.has(key);
    for (const name of this.#names(key)) setNested(this.#result, name, typed, append);
  }

  #fillDefaults(): void {
    for (const [key, value] of Object.entries(this.#options.default ?? {})) {
      if (hasNested(this.#result, key)) continue;
      for (const name of this.#names(key)) setNested(this.#result, name, value, false);
    }
    for (const key of this.#booleans) {
      if (!hasNested(this.#result, key)) {
        setNested(this.#result, key, this.#lists.has(key) ? [] : false, false);
      }
    }
    for (const key of this.#strings) {
      if (this.#lists.has(key) && !hasNested(this.#result, key)) setNested(this.#result, key, [], false);
    }
  }

  #names(key: string): string[] {
    return [key, ...this.#aliases.get(key) ?? []];
  }

  #withAliases(names: OneOrMore<string> | undefined): Set<string> {
    const listed = typeof names === "string" ? [names] : names ?? [];
    return new Set(listed.filter(Boolean).flatMap((name) => this.#names(name)));
  }

  #isBoolean(key: string): boolean {
    return this.#names(key).some((name) => this.#booleans.has(name));
  }
}

/** From every name of an option to its other names. */
function aliasMap(alias: Record<string, string | readonly string[]>): Map<string, string[]> {
  const map = new Map<string, string[]>();
  for (const [key, value] of Object.entries(alias)) {
    if (value === undefined) throw new TypeError("Alias value must be defined");
    const group = [key, ...(typeof value === "string" ? [value] : value)];
    for (const name of group) map.set(name, group.filter((other) => other !== name));
  }
  return map;
}

/** The value written directly after a short option: `-x=5`, `-n12`, `-I/path`. */
function attachedValue(letter: string, rest: string): string | undefined {
  if (/[A-Za-z]/.test(letter)) {
    const assigned = /=(.+)/.exec(rest);
    if (assigned) return assigned[1];
    if (/-?\d+(\.\d*)?(e-?\d+)?$/.test(rest)) return rest;
  }
  return rest.length > 1 && /\W/.test(rest[0]!) ? rest : undefined;
}

function numberIfNumeric(text: string): string | number {
  return /\S/.test(text) && Number.isFinite(Number(text)) ? Number(text) : text;
}

/** Sets `a.b.c`, making the objects on the way; with `append` the value joins a list. */
function setNested(target: Record<string, unknown>, dotted: string, value: unknown, append: boolean): void {
  const path = dotted.split(".");
  const last = path.pop()!;
  for (const key of path) target = (target[key] ??= {}) as Record<string, unknown>;
  const old = target[last];
  if (!append) target[last] = value;
  else if (Array.isArray(old)) old.push(value);
  else target[last] = old ? [old, value] : [value];
}

function hasNested(target: Record<string, unknown>, dotted: string): boolean {
  let value: unknown = target;
  for (const key of dotted.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return false;
    value = (value as Record<string, unknown>)[key];
  }
  return true;
}
