/**
 * What the benchmarks that make tables are called with.
 *
 * @module
 */

/** Words that choose cases, and what becomes of the table. */
export interface CommandLine {
  readonly words: readonly string[];
  /** Whether the table is printed as Markdown. */
  readonly markdown: boolean;
  /** Whether the table is put into the document. */
  readonly write: boolean;
}

/**
 * Reads the arguments of this process.
 *
 * @param settings What other flags begin with, such as `--only=`.
 * @throws {Error} If there is another flag.
 */
export function readCommandLine(settings: readonly string[] = []): CommandLine {
  const flags = Deno.args.filter((arg) => arg.startsWith("--"));
  const isKnown = (flag: string): boolean =>
    flag === "--markdown" || flag === "--write" || settings.some((setting) => flag.startsWith(setting));
  const unknown = flags.find((flag) => !isKnown(flag));
  if (unknown !== undefined) {
    const known = ["--markdown", ...settings, "--write"].join(", ").replace(/, (?=--write$)/, " and ");
    throw new Error(`Cannot run the benchmark with ${unknown}: ${known} are known`);
  }
  return {
    words: Deno.args.filter((arg) => !arg.startsWith("--")),
    markdown: flags.includes("--markdown"),
    write: flags.includes("--write"),
  };
}
