/**
 * A reduction while its points are taken in: variables of its own, and what becomes of them.
 *
 * @module
 */
import { contiguousStrides } from "../compiler/affine.ts";
import type { Combine } from "../compiler/kernel.ts";
import { isIndexStage } from "../compiler/walks.ts";
import type { DType } from "../dtype.ts";
import type { Block } from "./wgsl.ts";
import type { AxisValue } from "./wgsl_axes.ts";
import { Emitter, type Value } from "./wgsl_expression.ts";
import { combineText, literal, splat, typeName, type Width } from "./wgsl_math.ts";

/** The row-major position of a point, as an i32 text. */
export function rowMajor(block: Block, axes: readonly number[], place: readonly AxisValue[]): string {
  const at = { offset: 0, coefficients: contiguousStrides(axes) };
  return `i32(${new Emitter(block, place).address(at).text})`;
}

/** A value of a row at one place; `k` = the number of the place in its loop turn, `position` writes where that is. */
export interface Taken {
  readonly row: number;
  readonly part: number;
  readonly k: number;
  readonly text: string;
  readonly position: () => string;
}

/** Partial results of a reduction. Neighbouring points go to different ones, which is faster and more exact. */
export class Partial {
  readonly #names: string[] = [];
  readonly #places: string[] = [];
  /** What has been carried of each, if anything has. */
  readonly #totals: string[] = [];

  constructor(
    readonly block: Block,
    readonly combine: Combine,
    readonly dtype: DType,
    readonly width: Width,
  ) {
    this.#slot(0);
  }

  /** Whether the result is the place of an extremum. */
  get isPlace(): boolean {
    return isIndexStage(this);
  }

  /** Takes in the value of a point; `k` = its number among those of one loop turn, `place` names its position. */
  add(inside: Block, k: number, value: string, place?: () => string): void {
    if (this.isPlace) return this.#addPlace(inside, value, place!());
    const name = this.#slot(k % 4);
    const joined = combineText(this.combine, name, value, this.dtype, this.width, inside.shader.helpers);
    inside.lines.push(`${name} = ${joined};`);
  }

  /** Puts what has been summed up since the last time with the rest, so that no sum of f32 has many terms. */
  carry(inside: Block): void {
    if (this.combine !== "sum" || this.dtype !== "f32") return;
    const { shader } = this.block;
    const start = shader.start("sum", "f32", this.width);
    this.#names.forEach((name, k) => {
      const total = this.#totals[k] ??= this.block.variable("f32", this.width, start);
      inside.lines.push(`${total} += ${name};`, `${name} = ${start};`);
    });
  }

  /** Value and place of the extremum so far. */
  extremum(): [value: string, place: string] {
    return [this.#names[0]!, this.#places[0]!];
  }

  /** The result; `across`: the four components are joined too. */
  finish(block: Block, across: boolean): Value {
    if (this.isPlace) return { text: this.#places[0]!, width: this.width, depth: block.depth };
    const { helpers } = block.shader;
    const join = (a: string, b: string, width: Width): string =>
      block.let(combineText(this.combine, a, b, this.dtype, width, helpers));
    // Pairs first: ((0, 1), (2, 3)).
    let names = this.#names.map((name, k) => {
      const total = this.#totals[k];
      return total === undefined ? name : join(total, name, this.width);
    });
    while (names.length > 1) {
      names = names.flatMap((name, k) =>
        k % 2 === 1 ? [] : k + 1 < names.length ? [join(name, names[k + 1]!, this.width)] : [name]
      );
    }
    const [text] = names as [string];
    if (!across) {
      return {
        text: block.let(`${typeName(this.dtype, this.width)}(${text})`),
        width: this.width,
        depth: block.depth,
      };
    }
    const pairs = [join(`${text}.x`, `${text}.y`, 1), join(`${text}.z`, `${text}.w`, 1)] as const;
    return { text: join(pairs[0], pairs[1], 1), width: 1, depth: block.depth };
  }

  #slot(k: number): string {
    while (this.#names.length <= k) {
      const start = this.block.shader.start(this.combine, this.dtype, this.width);
      const name = this.block.variable(this.dtype, this.width, start);
      this.#names.push(name);
      if (this.isPlace) {
        this.#places.push(
          this.block.variable("i32", this.width, splat(literal(0, "i32"), "i32", this.width)),
        );
      }
    }
    return this.#names[k]!;
  }

  #addPlace(inside: Block, value: string, place: string): void {
    const [best, at] = this.extremum();
    const { helpers } = inside.shader;
    let better = `${value} ${this.combine === "argMax" ? ">" : "<"} ${best}`;
    if (this.dtype === "f32") {
      const nan = helpers.use("isNan", this.width);
      better = `(${better}) | (${nan}(${value}) & !${nan}(${best}))`;
    } else if (this.dtype === "bool") {
      better = this.combine === "argMax" ? `${value} & !${best}` : `!${value} & ${best}`;
    }
    const found = inside.define(better);
    inside.lines.push(
      `${at} = select(${at}, ${splat(place, "i32", this.width)}, ${found});`,
      `${best} = select(${best}, ${value}, ${found});`,
    );
  }
}
