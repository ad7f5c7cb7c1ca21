/**
 * Labels files of a user's own: one class per line, or JSON.
 *
 * Programs write such files in many ways, and a line that is understood wrongly shifts all ids after it. So everything
 * that can be meant in two ways is refused with a question: a first line that may be a head line, ids that are not the
 * places in the list, four numbers where a colour has three, two classes of one colour.
 *
 * @module
 */
import type { ClassList } from "./classes.ts";
import { DataError, printable, quoted, reason } from "./errors.ts";
import type { Color } from "./image.ts";
import { ignoreIndex } from "./pixels.ts";
import { type Field, splitFields } from "./text.ts";

/**
 * The colour of a class id in PASCAL VOC's map: its bits, lowest first, go round the channels from the highest bit.
 *
 * @param id Class id, 0 to 255.
 * @returns The colour.
 *
 * @example
 * ```ts
 * import { vocColor } from "@allspark/tensor/data";
 * import { assertEquals } from "@std/assert";
 * assertEquals([0, 1, 2, 15].map(vocColor), [[0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128]]);
 * ```
 */
export function vocColor(id: number): Color {
  const color = [0, 0, 0];
  for (let bit = 0; bit < 8; bit++) {
    color[bit % 3]! |= ((id >> bit) & 1) << (7 - Math.floor(bit / 3));
  }
  return [color[0]!, color[1]!, color[2]!];
}

/** What one line or one JSON element says. */
interface Entry {
  readonly name: string;
  readonly color?: Color;
  /** The id that it gives itself. */
  readonly id?: number;
  /** Where it stands, for messages. */
  readonly place: string;
}

/**
 * The text of a labels file as classes.
 *
 * @param text The text.
 * @param file What to call the file in messages.
 * @returns Names and colours.
 * @throws {DataError} If a line cannot be understood, or can be in two ways.
 */
export function parseClasses(text: string, file: string): ClassList {
  const refuse: Refuse = (why, cause) => {
    throw new DataError(`Cannot read classes from ${file}: ${why}`, { cause });
  };
  const entries = /^\s*[[{]/.test(text) ? jsonEntries(text, refuse) : textEntries(text, refuse);
  const classes = entries.filter(({ name }) => !isVoid(name));
  if (classes.length === 0) refuse("it names no class");
  if (classes.length > ignoreIndex) {
    refuse(`it names ${classes.length} classes; at most ${ignoreIndex} fit in a mask`);
  }
  checkNames(entries, refuse);
  checkIds(classes, refuse);
  return {
    classes: classes.map(({ name, color }, id) => ({ name, color: color ?? vocColor(id) })),
    maskColors: maskColorsOf(entries, classes, refuse),
  };
}

/** Ends the reading of a file. */
type Refuse = (why: string, cause?: unknown) => never;

function isVoid(name: string): boolean {
  return /^(void|ignored?|unlabel+ed)$/i.test(name);
}

/** Names are written on terminals and into pictures. */
function checkNames(entries: readonly Entry[], refuse: Refuse): void {
  const wrong = entries.find(({ name }) => printable(name, longestName) !== name);
  if (wrong === undefined) return;
  refuse(
    `the name of ${wrong.place}, ${quoted(wrong.name)}, has characters that cannot be shown, or more than ` +
      `${longestName} of them`,
  );
}

const longestName = 100;

/** Ids are places in the list: a file that counts otherwise means other masks than these. */
function checkIds(classes: readonly Entry[], refuse: Refuse): void {
  const wrong = classes.findIndex(({ id }, place) => id !== undefined && id !== place);
  if (wrong < 0) return;
  const { id, place, name } = classes[wrong]!;
  refuse(
    `${place} has id ${id}, and the class is number ${wrong} of the list; ids go 0, 1, 2, ...` +
      (place.startsWith("line") ? `; put the name in quotes if the number belongs to ${quoted(name)}` : ""),
  );
}

/** Which class, or 255 for void, each colour means. */
function maskColorsOf(
  entries: readonly Entry[],
  classes: readonly Entry[],
  refuse: Refuse,
): [Color, number][] {
  const owners = new Map<string, Entry>();
  const maskColors: [Color, number][] = [];
  classes.forEach((entry, id) => {
    if (entry.color === undefined) return;
    const key = entry.color.join(" ");
    const other = owners.get(key);
    if (other !== undefined) {
      refuse(
        `${quoted(other.name)} and ${
          quoted(entry.name)
        } both have colour ${key}; a colour of its own is required for each`,
      );
    }
    owners.set(key, entry);
    maskColors.push([entry.color, id]);
  });
  for (const { name, color } of entries) {
    if (color && isVoid(name) && !owners.has(color.join(" "))) maskColors.push([color, ignoreIndex]);
  }
  return maskColors;
}

function jsonEntries(text: string, refuse: Refuse): Entry[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    refuse(reason(error), error);
  }
  if (Array.isArray(json)) return json.map((name, place) => jsonEntry({ name }, place, refuse));
  const { classes, void: nothing } = json as Record<string, unknown>;
  if (!Array.isArray(classes)) return refuse('it has no list "classes"');
  const entries = classes.map((entry, place) => jsonEntry(entry, place, refuse));
  const color: unknown = (nothing as { color?: unknown } | null | undefined)?.color;
  return isColor(color) ? [...entries, { name: "void", color, place: "void" }] : entries;
}

function jsonEntry(entry: unknown, place: number, refuse: Refuse): Entry {
  const { name, color, id = place } = (entry ?? {}) as Record<string, unknown>;
  if (typeof name !== "string" || name.trim() === "") {
    return refuse(`class ${place} is ${brief(entry)} without a name`);
  }
  if (typeof id !== "number") {
    return refuse(`class ${place} has ${brief(id)} for an id; a number is required`);
  }
  if (color !== undefined && !isColor(color)) {
    return refuse(`${quoted(name)} has ${brief(color)} for a colour; three bytes are required`);
  }
  return { name: name.trim(), id, place: `class ${place}`, ...(color !== undefined && { color }) };
}

/** A JSON value in few words, however deep it is. */
function brief(value: unknown): string {
  if (Array.isArray(value)) {
    return value.length < 5 && value.every((item) => typeof item === "number")
      ? `[${value.join(", ")}]`
      : "a list";
  }
  return typeof value === "object" && value !== null ? "an object" : quoted(String(value));
}

function isColor(value: unknown): value is Color {
  return Array.isArray(value) && value.length === 3 && value.every(isByte);
}

function isByte(value: unknown): boolean {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 255;
}

/** A line of a text, before it is known whether its number is an id. */
interface Line extends Entry {
  /** The pieces of the line. */
  readonly fields: readonly Field[];
  /** The number at the begin, or after a comma at the end, if there is one; the name is without it. */
  readonly number?: number;
  /** The name with that number. */
  readonly longName: string;
}

/** More lines than a list of classes can have; what is longer is another file. */
const mostLines = 1000;

function textEntries(text: string, refuse: Refuse): Entry[] {
  const lines: Line[] = [];
  text.split(/\r\n|\r|\n/).forEach((line, i) => {
    const content = withoutComment(line);
    if (content === "") return;
    const place = `line ${i + 1}`;
    lines.push(parseLine(content, place, (why) => refuse(`${place} is ${quoted(content)}; ${why}`)));
    if (lines.length > mostLines) refuse(`it has more than ${mostLines} lines`);
  });
  return withIds(withoutHead(lines, refuse));
}

/**
 * A line up to its comment. A `#` begins one at the begin of the line or after a space, unless digits of a colour follow
 * it.
 */
function withoutComment(line: string): string {
  const colorAt = /#[0-9a-f]{3,8}(?![^\s,;:"])/iy;
  let isQuoted = false;
  for (let at = 0; at < line.length; at++) {
    if (line[at] === '"') isQuoted = !isQuoted;
    if (line[at] !== "#" || isQuoted || (at > 0 && !/[\s,;]/.test(line[at - 1]!))) continue;
    colorAt.lastIndex = at;
    if (!colorAt.test(line)) return line.slice(0, at).trim();
  }
  return line.trim();
}

const required = "a name and a colour like 128 0 0 or #800000 are required";
const isNumber = (text: string): boolean => /^[-+]?\d+(\.\d+)?$/.test(text);

/**
 * `name`, `name 128 0 0`, `name #800000` or `128 0 0 name`, with an id before it or without, its pieces between spaces,
 * commas, semicolons, colons or tabs, quoted or not.
 */
function parseLine(content: string, place: string, refuse: (why: string) => never): Line {
  const flat = content.replace(/(?:rgb)?[([]\s*(\d+)[\s,;]+(\d+)[\s,;]+(\d+)\s*[)\]]/gi, " $1 $2 $3 ");
  const fields = splitFields(flat, /[,;:\t]/)?.filter(({ text }) => text !== "");
  if (fields === undefined) return refuse("a quote is not closed");
  const isTable = fields.length > 1;
  const words = (text: string): string[] => text.trim().split(/[\s,;]+/);
  const pieces = fields.flatMap(({ text, isQuoted }) => {
    const isSplit = words(text).every(isNumber) || (!isQuoted && (!isTable || isNumber(words(text)[0]!)));
    return isSplit ? words(text) : [text];
  });
  const found = colorOf(pieces, refuse) ??
    (isTable ? colorOf(fields.flatMap(({ text }) => words(text)), refuse) : undefined);
  const { color, rest } = found ?? { color: undefined, rest: pieces };
  const whole = (text: string | undefined): boolean => text !== undefined && /^\d+$/.test(text);
  const longName = rest.join(" ");
  const base = { place, fields, longName, ...(color && { color }) };
  if (rest.length === 0) return refuse(required);
  if (isTable && color === undefined && rest.filter(isNumber).length > 1) return refuse(required);
  if (whole(rest[0]) && (rest.length > 1 || color !== undefined)) {
    const name = rest.length > 1 ? rest.slice(1).join(" ") : longName;
    return { ...base, name, number: Number(rest[0]) };
  }
  if (isTable && rest.length > 1 && whole(rest.at(-1))) {
    return { ...base, name: rest.slice(0, -1).join(" "), number: Number(rest.at(-1)) };
  }
  return { ...base, name: longName };
}

/** The colour among the pieces of a line, and the other pieces; undefined if there is none. */
function colorOf(
  pieces: readonly string[],
  refuse: (why: string) => never,
): { color: Color; rest: string[] } | undefined {
  const hex = pieces.filter((piece) => /^#[0-9a-f]{3,8}$/i.test(piece));
  if (hex.length > 1) return refuse("it has two colours; one is required");
  if (hex.length === 1) {
    if (hex[0]!.length !== 7) return refuse(`${hex[0]} is no colour like #800000; six digits are required`);
    const bytes = [1, 3, 5].map((at) => parseInt(hex[0]!.slice(at, at + 2), 16));
    return { color: bytes as unknown as Color, rest: pieces.filter((piece) => piece !== hex[0]) };
  }
  const firstWord = pieces.findIndex((piece) => !isNumber(piece));
  const leading = firstWord < 0 ? 0 : firstWord;
  const trailing = firstWord < 0
    ? pieces.length
    : pieces.length - 1 - pieces.findLastIndex((piece) => !isNumber(piece));
  if (trailing > 3 && firstWord >= 0 || trailing > 4 || leading > 4) {
    return refuse(
      `it has ${
        Math.max(leading, trailing)
      } numbers side by side; three are a colour, and a name that ends with a ` +
        `number needs quotes`,
    );
  }
  if (trailing < 3 && leading < 3) return undefined;
  const start = trailing >= 3 ? pieces.length - 3 : leading - 3;
  const color = pieces.slice(start, start + 3);
  if (!color.every((piece) => /^\d+$/.test(piece) && Number(piece) <= 255)) return refuse(required);
  return { color: color.map(Number) as unknown as Color, rest: pieces.toSpliced(start, 3) };
}

/** Words that name the columns of a table, and those that may stand alone above a list of names. */
const headWord =
  /^(ids?|index|values?|names?|class(es)?|labels?|categor(y|ies)|[rgb]|red|green|blue|rgb|hex|colou?rs?|color_rgb|parts|actions|(class|label|category)[_-]?(ids?|names?))$/i;
const loneHead = /^(names?|class(es)?|labels?|categor(y|ies)|(class|label|category)[_-]?names?)$/i;

/** The lines without a head line, if the first one is that for certain. */
function withoutHead(lines: readonly Line[], refuse: Refuse): readonly Line[] {
  const [first, ...others] = lines;
  if (first === undefined || first.color !== undefined) return lines;
  const words = first.longName.split(/\s+/);
  const isTable = first.fields.length > 1;
  const areColored = others.length > 0 && others.every(({ color }) => color !== undefined);
  const namesColumns = words.length > 1 && words.every((word) => headWord.test(word));
  if (namesColumns && (isTable || areColored)) return others;
  const isLoneHead = loneHead.test(first.longName) && !first.fields[0]!.isQuoted;
  if (namesColumns || isLoneHead || (areColored && (isTable || words.length > 3))) {
    refuse(
      `${first.place} is ${
        quoted(first.longName)
      }, which may be a class or the head of a table; put # before it ` +
        `if it is a head, or put it in quotes${areColored ? " and give it a colour as the others have" : ""}`,
    );
  }
  return lines;
}

/** Numbers are ids if every class has one; otherwise they are parts of the names. */
function withIds(lines: readonly Line[]): Entry[] {
  const areIds = lines.every(({ name, number }) => number !== undefined || isVoid(name));
  return lines.map(({ name, longName, number, color, place }) => ({
    name: areIds ? name : longName,
    place,
    ...(color && { color }),
    ...(areIds && number !== undefined && { id: number }),
  }));
}
