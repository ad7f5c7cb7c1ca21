/**
 * JSON from files of strangers: its values are counted before they are made, and a name that stands twice in one
 * object, of which `JSON.parse` would silently keep the last, is refused.
 *
 * @module
 */
import { type Budget, CONTAINER_BYTES, NAME_BYTES, VALUE_BYTES } from "./budget.ts";
import { FileFormatError, shown } from "./errors.ts";

/** What is open at a place in the text: the names that an object has so far, or a list. */
type Open = Set<string> | "object" | "list";

/**
 * The value of a JSON text.
 *
 * @param text The text.
 * @param what What to call it in messages: "its header".
 * @param budget What the file may still cost.
 * @throws {FileFormatError} If it is not JSON, is too large or too deep, or names something twice.
 */
export function parseJson(text: string, what: string, budget: Budget): unknown {
  try {
    countValues(text, what, budget);
    return JSON.parse(text);
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new FileFormatError(`Cannot read the file: ${what} is not JSON text`, { cause });
  }
}

/** Walks a text, which need not be valid, and counts what begins there. */
function countValues(text: string, what: string, budget: Budget): void {
  const open: Open[] = [];
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE: {
        const end = endOfText(text, at);
        budget.spend(VALUE_BYTES);
        if (isName(text, end)) addName(open, text.slice(at, end), what, budget);
        at = end - 1;
        break;
      }
      case COMMA:
        budget.spend(VALUE_BYTES);
        break;
      case OPEN_OBJECT:
      case OPEN_LIST:
        budget.spend(CONTAINER_BYTES);
        open.push(text.charCodeAt(at) === OPEN_LIST ? "list" : "object");
        budget.checkDepth(open.length);
        break;
      case CLOSE_OBJECT:
      case CLOSE_LIST:
        open.pop();
    }
  }
}

/** The place behind the quote that ends a text. */
function endOfText(text: string, begin: number): number {
  for (let at = begin + 1; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) return at + 1;
    if (code === BACKSLASH) at++;
  }
  return text.length;
}

function isName(text: string, end: number): boolean {
  while (end < text.length && text.charCodeAt(end) <= SPACE) end++;
  return text.charCodeAt(end) === COLON;
}

function addName(open: Open[], written: string, what: string, budget: Budget): void {
  budget.spend(NAME_BYTES);
  const around = open.at(-1);
  if (around === undefined || around === "list") return;
  const names = around === "object" ? new Set<string>() : around;
  open[open.length - 1] = names;
  const name: string = written.includes("\\") ? JSON.parse(written) : written.slice(1, -1);
  if (names.has(name)) throw new FileFormatError(`Cannot read the file: ${what} names ${shown(name)} twice`);
  names.add(name);
}

const QUOTE = '"'.charCodeAt(0);
const BACKSLASH = "\\".charCodeAt(0);
const COMMA = ",".charCodeAt(0);
const OPEN_OBJECT = "{".charCodeAt(0);
const CLOSE_OBJECT = "}".charCodeAt(0);
const OPEN_LIST = "[".charCodeAt(0);
const CLOSE_LIST = "]".charCodeAt(0);
const COLON = ":".charCodeAt(0);
const SPACE = " ".charCodeAt(0);
