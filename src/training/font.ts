/**
 * Text in pictures. On a machine without fonts every letter that sharp draws is the same box, so the package brings
 * a small font of its own and tells fontconfig about it before the first letter is drawn.
 *
 * @module
 */

import { printable } from "../data/errors.ts";
import { WriteError } from "./checkpoint_files.ts";
import { robotoLatin } from "./font_data.ts";

/** The font family for SVG text: the package's own font, then whatever the machine has for other scripts. */
export const fontFamily = "Roboto, sans-serif";

let prepared = false;

/**
 * Makes the font known to sharp. It must be called before the first text of the process is drawn, since fontconfig
 * reads its settings once; later calls do nothing.
 *
 * @param options `machineFonts: false` leaves the machine's own fonts out, for letters that ours does not have.
 */
export function prepareFont({ machineFonts = true }: { machineFonts?: boolean } = {}): void {
  if (prepared) return;
  const folder = writeFont(machineFonts);
  globalThis.addEventListener("unload", () => {
    try {
      Deno.removeSync(folder, { recursive: true });
    } catch {
      // Systems tidy such folders up themselves, under a run of many days too.
    }
  });
  prepared = true;
  Deno.env.set("FONTCONFIG_FILE", `${folder}/fonts.conf`);
}

/** Writes the font and fontconfig's settings to a folder of their own. */
function writeFont(machineFonts: boolean): string {
  try {
    const folder = Deno.makeTempDirSync({ prefix: "allspark-font-" });
    const bytes = Uint8Array.from(atob(robotoLatin), (letter) => letter.charCodeAt(0));
    Deno.writeFileSync(`${folder}/roboto.ttf`, bytes);
    Deno.writeTextFileSync(
      `${folder}/fonts.conf`,
      `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${escapeXml(folder)}</dir>
  <cachedir>${escapeXml(folder)}</cachedir>
  ${machineFonts ? '<include ignore_missing="yes">/etc/fonts/fonts.conf</include>' : ""}
</fontconfig>`,
    );
    return folder;
  } catch (error) {
    const place = Deno.env.get("TMPDIR") ?? "the system's folder for temporary files";
    throw new WriteError(`write the font of the pictures to ${place}`, error);
  }
}

/** Makes any text safe inside SVG and other XML, which some characters may not stand in at all. */
export function escapeXml(text: string): string {
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&apos;",
  };
  return printable(text, Infinity).replaceAll(/[\ufffe\uffff]/g, "\ufffd").replaceAll(
    /[&<>"']/g,
    (letter) => entities[letter]!,
  );
}
