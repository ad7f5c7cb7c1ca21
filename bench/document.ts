/**
 * The document with the figures.
 *
 * @module
 */
import { cases, gpuCases } from "./cases.ts";
import { updateTable } from "./table.ts";

const file = new URL("../docs/performance.md", import.meta.url);

/** The document with another text in the paragraph that begins with a word. */
export function withParagraph(document: string, word: string, text: string): string {
  return document.replace(new RegExp(`^${word} .*(\\n.+)*`, "m"), () => `${word} ${text}`);
}

/**
 * Puts rows into a table of the document, and below it where and when they were measured, and formats it.
 *
 * @param table The name of the table, and the word that its paragraph begins with.
 * @param rows Heads and rows.
 * @param run Where and when.
 */
export async function writeFigures(
  table: { readonly name: string; readonly word: string },
  rows: readonly (readonly string[])[],
  run: string,
): Promise<void> {
  const place = { name: table.name, names: [...new Set([...cases, ...gpuCases].map(({ name }) => name))] };
  const text = updateTable(await Deno.readTextFile(file), place, rows);
  await Deno.writeTextFile(file, withParagraph(text, table.word, `${run}.`));
  const { success } = await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", file.pathname] })
    .output();
  if (!success) throw new Error(`Cannot format ${file.pathname}`);
}
