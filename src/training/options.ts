/**
 * Options of a program as a table: one row says an option's type, group, help and default. From the table come
 * the command line, the configuration file, the `--help` text and the sentence for every wrong value.
 *
 * Values are layered: defaults, then a checkpoint's configuration, then the file, then the command line.
 *
 * @module
 */

import { parseArgs } from "@std/cli";
import { printable, reason } from "../data/errors.ts";
import { decodeText } from "../data/text.ts";
import type { Kind } from "./options_kinds.ts";

/** One option of a program. */
export interface Option<T> extends Kind<T> {
  /** What the option does, for the help. */
  readonly help: string;
  /** The value when nobody gives one. */
  readonly default: T;
  /** In words, what a default of `null` means. */
  readonly unset?: string;
  /** The option that this one replaces: giving it forgets the other one's value from an earlier layer. */
  readonly insteadOf?: string;
  /** True if a resumed run may give another value, because the numbers do not depend on it. */
  readonly mayChange?: boolean;
  /** The heading of the help under which the option stands. */
  readonly group?: string;
}

/** The options of a program, one row per field of its configuration. */
export type OptionTable<T> = { readonly [K in keyof T]: Option<T[K]> };

/** Wrong options: one sentence each in `problems`, and all of them as lines of the message. */
export class OptionError extends RangeError {
  /** The name of this class. */
  override name = "OptionError";
  /** One sentence per wrong option. */
  readonly problems: string[];

  /** Makes the error from its sentences. */
  constructor(problems: string[]) {
    const shown = problems.map((problem) => printable(problem));
    super(shown.join("\n"));
    this.problems = shown;
  }
}

/** What the command line gave. */
export interface Given<T> {
  /** True if `--help` or `-h` was among the arguments. */
  help: boolean;
  /** The values that were given in the `--config` file or as options; the others are absent. */
  values: Partial<T>;
}

/** One row of a table. */
export function row<T>(
  kind: Kind<T>,
  help: string,
  preset: T,
  extra: Pick<Option<T>, "unset" | "insteadOf" | "mayChange"> = {},
): Option<T> {
  return { ...kind, help, default: preset, ...extra };
}

/** Puts rows under one heading of the help. */
export function group<T>(heading: string, rows: OptionTable<T>): OptionTable<T> {
  const entries = Object.entries<Option<unknown>>(rows as Record<string, Option<unknown>>);
  return Object.fromEntries(
    entries.map(([name, option]) => [name, { ...option, group: heading }]),
  ) as unknown as OptionTable<T>;
}

/** The command-line name of an option: `lrMultiplier` is `--lr-multiplier`. */
export function flagName(name: string): string {
  return "--" + name.replace(/[A-Z]/g, (letter) => "-" + letter.toLowerCase());
}

/**
 * Reads the command line and the file that its `--config` names; the command line wins.
 *
 * @param table The program's options.
 * @param args The arguments, `Deno.args`.
 * @throws {OptionError} If an option is unknown or has a wrong value; every such option gets its sentence.
 */
export function readOptions<T>(table: OptionTable<T>, args: string[]): Given<T> {
  const rows = entriesOf(table);
  const names = new Map(rows.map(([name]) => [flagName(name).slice(2), name]));
  const known = [...names.keys(), "config", "help"];
  const problems: string[] = [];
  const unknown = (argument: string): void => {
    const name = argument.replace(/^-+/, "").replace(/=.*/s, "");
    const problem = `Cannot use ${argument}: there is no such option${suggestion("--", name, known)}`;
    // `-lr 3` comes as l and as r.
    if (!problems.includes(problem)) problems.push(problem);
  };
  const [filled, empty] = withoutEmpty(args);
  for (const flag of empty) {
    const expected = flag === "config"
      ? configExpected
      : known.includes(flag) && optionOf(table, names.get(flag)!).expected;
    if (expected === false) unknown(`--${flag}=`);
    else problems.push(`Cannot use --${flag} without a value: ${expected} is required`);
  }
  const parsed = parseArgs(joinNegativeNumbers(filled), {
    string: [...names.keys(), "config"],
    boolean: ["help"],
    alias: { help: "h" },
    unknown: (argument: string, key?: string): unknown => {
      if (key === undefined) return undefined;
      unknown(argument);
      return false;
    },
  });
  for (const word of parsed._) {
    problems.push(`Cannot use ${word}: an option in front of it is required, as in --name ${word}`);
  }
  const given: Record<string, unknown> = {};
  for (const [flag, name] of names) {
    const value = (parsed as Record<string, unknown>)[flag];
    if (value === undefined) continue;
    const shown = value === "" ? `--${flag} without a value` : `--${flag} ${value}`;
    given[name] = checked(table, name, value, shown, problems);
  }
  if (parsed.help) return { help: true, values: {} };
  const config: unknown = parsed.config;
  if (config === "") problems.push(`Cannot use --config without a value: ${configExpected} is required`);
  const layers = [given as Partial<T>];
  if (typeof config === "string" && config !== "") {
    try {
      layers.unshift(readOptionFile(table, config));
    } catch (error) {
      if (!(error instanceof OptionError)) throw error;
      problems.push(...error.problems);
    }
  }
  for (const [name, option] of rows) {
    if (option.insteadOf === undefined) continue;
    if (given[name] === undefined || given[option.insteadOf] === undefined) continue;
    problems.push(
      `Cannot use ${flagName(name)} together with ${flagName(option.insteadOf)}: give one of the two`,
    );
  }
  if (problems.length > 0) throw new OptionError(problems);
  return { help: false, values: layerOptions(table, ...layers) };
}

/** What `--config` takes. */
const configExpected = "the path of a JSON file";

/** The arguments without those like `--lr=`, and the names of these. */
function withoutEmpty(args: readonly string[]): [filled: string[], empty: string[]] {
  const isEmpty = (arg: string): boolean => /^--[^=]+=\s*$/.test(arg);
  return [
    args.filter((arg) => !isEmpty(arg)),
    args.filter(isEmpty).map((arg) => arg.slice(2, arg.indexOf("="))).filter((flag) => flag !== "help"),
  ];
}

/** Reads a JSON file of options; a `description` in it is for readers and ignored. */
export function readOptionFile<T>(table: OptionTable<T>, path: string): Partial<T> {
  let content: string | undefined;
  try {
    const { isCharDevice, isBlockDevice, size } = Deno.statSync(path);
    if (isCharDevice || isBlockDevice) throw new Error("it is a device");
    if (size > mostOptionBytes) throw new Error(`it has ${size} bytes`);
    content = decodeText(Deno.readFileSync(path));
  } catch (error) {
    throw new OptionError([`Cannot read ${path}: ${reason(error)}; a JSON file of options is required`]);
  }
  if (content === undefined) {
    throw new OptionError([`Cannot read ${path}: it is not a text in UTF-8 or UTF-16; save it as UTF-8`]);
  }
  return optionsFromJson(table, content, path);
}

/** A file of options is not longer than this. */
const mostOptionBytes = 2 ** 20;
/** So many wrong options are told; who has more has given another file than was meant. */
const mostProblems = 20;

/**
 * Reads options from JSON text: an object whose keys are the names of the table.
 *
 * @param source Where the text comes from, for the messages.
 * @throws {OptionError} If the text is not such an object, or a name or value is wrong.
 */
export function optionsFromJson<T>(table: OptionTable<T>, content: string, source: string): Partial<T> {
  let values: unknown;
  try {
    // Editors of other systems put a byte order mark before the text.
    values = JSON.parse(content.replace(/^\ufeff/, ""));
  } catch (error) {
    throw new OptionError([`Cannot read ${source}: it is not JSON, ${reason(error)}`]);
  }
  if (typeof values !== "object" || values === null || Array.isArray(values)) {
    throw new OptionError([`Cannot read ${source}: an object with an option per key is required`]);
  }
  const known = entriesOf(table).map(([name]) => name);
  const problems: string[] = [];
  const given: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(values)) {
    if (name === "description") continue;
    if (problems.length === mostProblems) {
      problems.push(`Cannot use ${source}: more of it is wrong than this`);
      break;
    }
    const shown = `"${printable(name, 60)}": ${printable(JSON.stringify(value), 80)} in ${source}`;
    if (known.includes(name)) given[name] = checked(table, name, value, shown, problems);
    else problems.push(`Cannot use ${shown}: there is no such option${suggestion("", name, known)}`);
  }
  if (problems.length > 0) throw new OptionError(problems);
  return given as Partial<T>;
}

/** Joins layers of options: a later layer wins, also over the options that it gives something instead of. */
export function layerOptions<T>(table: OptionTable<T>, ...layers: Partial<T>[]): Partial<T> {
  const rows = entriesOf(table);
  const result: Record<string, unknown> = {};
  for (const layer of layers as Record<string, unknown>[]) {
    for (const [name, option] of rows) {
      const other = option.insteadOf;
      if (other === undefined) continue;
      if (layer[name] != null && layer[other] === undefined) result[other] = null;
      if (layer[other] != null && layer[name] === undefined) result[name] = null;
    }
    for (const [name] of rows) if (layer[name] !== undefined) result[name] = layer[name];
  }
  return result as Partial<T>;
}

/** The default of every option. */
export function defaultOptions<T>(table: OptionTable<T>): T {
  return Object.fromEntries(entriesOf(table).map(([name, option]) => [name, option.default])) as T;
}

/**
 * The `--help` text: usage, then every group with its options, their defaults and what they do.
 *
 * @param about Lines above the options: what the program does, its usage, examples.
 * @param others Further defaults that hold in a case with a name, for example those of the built-in scenes.
 */
export function helpText<T>(
  table: OptionTable<T>,
  { about, others }: { about: string; others?: { label: string; values: Partial<T> } },
): string {
  const lines = [about.trim()];
  let heading: string | undefined;
  const add = (left: string, right: string): void => {
    const head = "  " + left;
    const texts = wrap(right, 110 - helpColumn);
    if (head.length >= helpColumn) texts.unshift("");
    lines.push(...texts.map((words, i) => ((i === 0 ? head : "").padEnd(helpColumn) + words).trimEnd()));
  };
  for (const [name, option] of entriesOf(table)) {
    if (option.group !== heading) {
      heading = option.group;
      lines.push("", `${heading ?? "Options"}:`);
    }
    const other = (others?.values as Record<string, unknown> | undefined)?.[name];
    const preset = shownDefault(option) + (other == null ? "" : `; ${others!.label}: ${shownValue(other)}`);
    add(`${flagName(name)} ${option.placeholder}`, `${option.help} [${preset}]`);
  }
  lines.push("", "General:");
  add("--config FILE", "read options from a JSON file; the command line wins");
  add("-h, --help", "show this text");
  return lines.join("\n");
}

/** Makes `--lr -5` one argument, so that it is a wrong number and not an option without a value. */
function joinNegativeNumbers(args: string[]): string[] {
  const joined: string[] = [];
  for (const arg of args) {
    const last = joined.at(-1);
    if (last?.startsWith("--") && !last.includes("=") && /^-\.?\d/.test(arg)) {
      joined.push(`${joined.pop()}=${arg}`);
    } else joined.push(arg);
  }
  return joined;
}

function entriesOf<T>(table: OptionTable<T>): [string, Option<unknown>][] {
  return Object.entries(table as Record<string, Option<unknown>>);
}

function optionOf<T>(table: OptionTable<T>, name: string): Option<unknown> {
  return (table as Record<string, Option<unknown>>)[name]!;
}

function checked<T>(
  table: OptionTable<T>,
  name: string,
  value: unknown,
  shown: string,
  problems: string[],
): unknown {
  const option = optionOf(table, name);
  const result = option.read(value);
  if (result !== undefined) return result.value;
  problems.push(`Cannot use ${shown}: ${option.fault?.(value) ?? `${option.expected} is required`}`);
  return undefined;
}

function shownDefault(option: Option<unknown>): string {
  return option.default === null || option.default === ""
    ? option.unset ?? "none"
    : shownValue(option.default);
}

function shownValue(value: unknown): string {
  return typeof value === "boolean" ? (value ? "on" : "off") : String(value);
}

/** Where the descriptions of the help text begin. */
const helpColumn = 36;

/** Breaks a text into lines of at most `width` characters. */
function wrap(content: string, width: number): string[] {
  const lines = [""];
  for (const word of content.split(" ")) {
    const line = lines.at(-1)!;
    if (line !== "" && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  return lines;
}

/** `; did you mean --crop` for the nearest known name, or a pointer to the help if none is near. */
function suggestion(prefix: string, name: string, known: string[]): string {
  const longest = 40;
  if (name.length <= longest) {
    const ranked = known.map((word) => ({ word, distance: editDistance(name, word) }));
    const best = ranked.reduce((a, b) => (b.distance < a.distance ? b : a));
    // A name of which no letter is right is no slip.
    const isNear = best.distance <= Math.max(2, Math.floor(name.length / 3)) && best.distance < name.length;
    if (isNear) return `; did you mean ${prefix}${best.word}`;
  }
  return "; --help lists the options";
}

/** The number of letters to insert, remove or replace to turn `a` into `b` (Levenshtein). */
function editDistance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const line = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = above[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      line.push(Math.min(replaced, above[j]! + 1, line[j - 1]! + 1));
    }
    above = line;
  }
  return above[b.length]!;
}
