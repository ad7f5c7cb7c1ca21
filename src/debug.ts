/**
 * The `DEBUG` environment variable: 1 prints programs, 2 kernels with their times, 3 graphs, 4 generated code.
 *
 * @module
 */

/** The level that `DEBUG` asks for; 0 if it is unset or may not be read. */
export function debugLevel(): number {
  return Number(environment("DEBUG") ?? 0) || 0;
}

/** An environment variable, or undefined if it is unset or the program may not read it. */
export function environment(name: string): string | undefined {
  const state = Deno.permissions.querySync({ name: "env", variable: name }).state;
  return state === "granted" ? Deno.env.get(name) : undefined;
}
