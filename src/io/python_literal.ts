/**
 * The literals of Python that NumPy writes into the headers of its files: dictionaries with texts as keys, tuples,
 * lists, texts, whole numbers, True, False and None.
 *
 * @module
 */

/** A literal's value; tuples and lists are arrays. */
export type Literal = Map<string, Literal> | Literal[] | string | number | boolean | null;

/** One sign or word behind white space; each alternative ends where its first character says, so none is tried twice. */
const TOKEN = /\s*(?:([{}()[\],:])|('[^'\\]*'|"[^"\\]*")|(-?\d+)[lL]?(?![\w.])|(True|False|None)(?!\w))/y;

const WORDS = new Map([["True", true], ["False", false], ["None", null]]);
/** NumPy's headers have three levels: the dictionary, a list of fields, a field. */
const MAX_DEPTH = 8;

/**
 * The value of a literal, or undefined if the text is not one, or is none that NumPy writes.
 *
 * @param text The literal with white space around it.
 */
export function parseLiteral(text: string): Literal | undefined {
  const parser = new Parser(text);
  const value = parser.value(0);
  return parser.isAtEnd() ? value : undefined;
}

class Parser {
  readonly #text: string;
  #position = 0;
  /** The sign at the position, or undefined if there is something else. */
  #sign: string | undefined;
  /** The text, number or word at the position. */
  #leaf: Literal | undefined;

  constructor(text: string) {
    this.#text = text;
    this.#next();
  }

  isAtEnd(): boolean {
    return this.#sign === undefined && this.#leaf === undefined &&
      this.#text.slice(this.#position).trim() === "";
  }

  value(depth: number): Literal | undefined {
    if (depth > MAX_DEPTH) return undefined;
    if (this.#take("{")) return this.#dictionary(depth);
    if (this.#take("[")) return this.#items("]", depth)?.items;
    if (!this.#take("(")) return this.#takeLeaf();
    const found = this.#items(")", depth);
    // Parentheses without a comma are no tuple.
    return found?.items.length === 1 && !found.hasComma ? found.items[0] : found?.items;
  }

  #dictionary(depth: number): Map<string, Literal> | undefined {
    const result = new Map<string, Literal>();
    while (!this.#take("}")) {
      const key = this.#takeLeaf();
      if (typeof key !== "string" || result.has(key) || !this.#take(":")) return undefined;
      const value = this.value(depth + 1);
      if (value === undefined) return undefined;
      result.set(key, value);
      if (!this.#take(",") && this.#sign !== "}") return undefined;
    }
    return result;
  }

  #items(close: string, depth: number): { items: Literal[]; hasComma: boolean } | undefined {
    const items: Literal[] = [];
    let hasComma = false;
    while (!this.#take(close)) {
      const item = this.value(depth + 1);
      if (item === undefined) return undefined;
      items.push(item);
      if (this.#take(",")) hasComma = true;
      else if (this.#sign !== close) return undefined;
    }
    return { items, hasComma };
  }

  #take(sign: string): boolean {
    if (this.#sign !== sign) return false;
    this.#next();
    return true;
  }

  #takeLeaf(): Literal | undefined {
    const leaf = this.#leaf;
    if (leaf !== undefined) this.#next();
    return leaf;
  }

  #next(): void {
    TOKEN.lastIndex = this.#position;
    const [whole = "", sign, quoted, digits, word] = TOKEN.exec(this.#text) ?? [];
    this.#position += whole.length;
    this.#sign = sign;
    this.#leaf = quoted !== undefined
      ? quoted.slice(1, -1)
      : digits !== undefined
      ? Number(digits)
      : word !== undefined
      ? WORDS.get(word)
      : undefined;
  }
}
