/**
 * Kernel expressions in WGSL. An expression is written for a point of the axes, or for four neighbours along
 * one axis at once: then its loads become one load of four elements where the addresses allow it.
 *
 * Every value is named in the outermost block in which its axes exist, so that what does not change in a
 * loop is computed before it.
 *
 * @module
 */
import type { DType } from "../dtype.ts";
import type { Affine, Expr, Guard } from "../compiler/kernel.ts";
import type { Block } from "./wgsl.ts";
import type { AxisValue } from "./wgsl_axes.ts";
import { hidesConstants, operandToHide, type Origin, originOf } from "./wgsl_rewriting.ts";
import {
  binaryText,
  castText,
  literal,
  splat,
  storedType,
  typeName,
  unaryText,
  type Width,
} from "./wgsl_math.ts";

/** A value in the code. */
export interface Value {
  readonly text: string;
  readonly width: Width;
  readonly depth: number;
  readonly isLiteral?: boolean;
  /** How it was computed, if a compiler may use that. */
  readonly origin?: Origin | undefined;
}

/** One component of a value. */
export function component(value: Value, k: number): string {
  return value.width === 1 ? value.text : `${value.text}.${"xyzw"[k]}`;
}

/** A value in the full width. */
export function widened(value: Value, dtype: DType, width: Width): string {
  return value.width === width ? value.text : splat(value.text, dtype, width);
}

/** Where an affine form points: `text` for the first of the four. */
interface Address {
  readonly text: string;
  /** The text is `base + rest`. */
  readonly base: string;
  readonly rest: number;
  readonly depth: number;
  /** Step from one of the four to the next, and its text. */
  readonly step: number;
  readonly stepText: string;
  /** text modulo 4, if it is known. */
  readonly residue: number | undefined;
  /** The value where no variable is in it. */
  readonly constant: number | undefined;
}

/** Writes expressions for one assignment of the axes. */
export class Emitter {
  readonly #memo = new Map<Expr, Value>();

  /**
   * @param block Where the values are needed.
   * @param axes The axes in the order of the coefficients.
   * @param reduced Results of earlier stages, or the accumulator as number 0.
   */
  constructor(
    readonly block: Block,
    readonly axes: readonly AxisValue[],
    readonly reduced: readonly Value[] = [],
  ) {}

  /** The value of an expression. */
  value(expr: Expr): Value {
    let value = this.#memo.get(expr);
    if (value === undefined) {
      value = this.#write(expr);
      this.#memo.set(expr, value);
    }
    return value;
  }

  /** The value of an operand of arithmetic, which no compiler knows. */
  operand(expr: Expr): Value {
    const value = this.value(expr);
    return value.isLiteral && expr.kind === "constant" && expr.dtype === "f32"
      ? this.#parameter(expr)
      : value;
  }

  /** Writes a store of a value to an output. `vector`: the output's array has four elements at each place. */
  store(output: number, at: Affine, value: Value, dtype: DType, vector: boolean): void {
    const { lines, shader } = this.block;
    const array = shader.output(output, vector ? 4 : 1);
    const memory = (text: string, width: Width): string =>
      dtype === "bool" ? `select(${splat("0u", "u32", width)}, ${splat("1u", "u32", width)}, ${text})` : text;
    const address = this.address(at);
    if (vector) {
      lines.push(`${array}[${this.#quarter(address)}] = ${memory(widened(value, dtype, 4), 4)};`);
      return;
    }
    const count = address.step !== 0 || value.width === 4 ? 4 : 1;
    for (let k = 0; k < count; k++) {
      lines.push(`${array}[${this.#place(address, k)}] = ${memory(component(value, k), 1)};`);
    }
  }

  /** The value of a form, for the first of the four. */
  address(form: Affine): Address {
    const { shader } = this.block;
    const id = shader.id(JSON.stringify(form));
    let constant = 0;
    let [step, stepText] = [0, "0"];
    let aligned = true;
    // Texts by the depth at which they exist; what is not a parameter is summed up in `rest`.
    const terms: string[][] = [];
    let rest = 0;
    const own = form.coefficients.map((c, k) => c === 0 ? undefined : this.axes[k]);
    const isParameter = shader.isGeneric && own.some((axis) => axis?.text !== undefined);
    const add = (depth: number, value: string): void => void (terms[depth] ??= []).push(value);
    if (isParameter) add(0, shader.number(`${id} offset`, form.offset));
    else rest += form.offset;
    constant += form.offset;
    // Axes with the same step are one parameter, so that equal places (a window one further on, and its row one back)
    // have equal texts.
    const factorOf = (c: number): string => shader.number(`${id} ${form.coefficients.indexOf(c)}`, c);
    const shifts = new Map<number, number>();
    form.coefficients.forEach((c, k) => {
      const axis = own[k];
      if (axis === undefined) return;
      constant += c * axis.offset;
      if (c === 1 || !isParameter) rest += c * axis.offset;
      else if (axis.offset !== 0) shifts.set(c, (shifts.get(c) ?? 0) + axis.offset);
      // That neighbours lie side by side is part of the code where they are read together.
      const isOne = c === 1 && (axis.isVector || axis.text === undefined || !shader.isGeneric);
      if (axis.isVector) [step, stepText] = [step + c, isOne ? "1" : factorOf(c)];
      if (axis.text === undefined) return;
      if ((c * axis.multiple) % 4 !== 0) aligned = false;
      add(axis.depth, isOne ? axis.text : `${axis.text} * ${factorOf(c)}`);
    });
    for (const [c, times] of shifts) {
      if (times !== 0) add(0, times === 1 ? factorOf(c) : `${factorOf(c)} * ${times}`);
    }
    let text = "";
    let depth = 0;
    terms.forEach((own, level) => {
      const sum = [...(text === "" ? [] : [text]), ...own].join(" + ");
      text = sum.includes(" ") ? this.block.at(level).let(sum) : sum;
      depth = level;
    });
    const sum = plus(text, rest);
    return {
      text: sum,
      base: text,
      rest,
      depth,
      step,
      stepText,
      residue: aligned ? ((constant % 4) + 4) % 4 : undefined,
      constant: /^-?\d+$/.test(sum) ? Number(sum) : undefined,
    };
  }

  /** The address of the k-th of the four. */
  #place({ text, base, rest, step, stepText }: Address, k: number): string {
    if (k === 0 || step === 0) return text;
    return this.block.shader.isGeneric && step !== 1
      ? `${text} + ${stepText} * ${k}`
      : plus(base, rest + k * step);
  }

  #quarter({ base, rest }: Address, distance = 0): string {
    return `(${plus(base, rest + distance)}) >> 2u`;
  }

  #name(text: string, width: Width, depth: number): Value {
    return { text: this.block.at(depth).let(text), width, depth };
  }

  /** The truth of all guards; undefined if there are none. */
  #inside(guards: readonly Guard[]): Value | undefined {
    let all: Value | undefined;
    for (const guard of guards) {
      const form = this.address(guard.form);
      if (form.constant !== undefined) {
        const places = [0, 1, 2, 3].map((k) => form.constant! + k * form.step);
        const truths = places.map((at) => at >= 0 && at < guard.size);
        const text = form.step === 0 ? String(truths[0]) : `vec4<bool>(${truths.join(", ")})`;
        const known: Value = { text, width: form.step === 0 ? 1 : 4, depth: 0 };
        all = all === undefined ? known : this.#both("&", all, known);
        continue;
      }
      const width = form.step === 0 ? 1 : 4;
      const size = this.block.shader.number(
        `guard ${this.block.shader.id(JSON.stringify(guard))}`,
        guard.size,
        "u32",
      );
      const limit = splat(size, "u32", width);
      const one = this.#name(
        below(this.#spread(form), limit, width),
        width,
        form.depth,
      );
      all = all === undefined ? one : this.#both("&", all, one);
    }
    return all;
  }

  #both(operator: string, a: Value, b: Value): Value {
    const width = Math.max(a.width, b.width) as Width;
    return this.#name(
      `${widened(a, "bool", width)} ${operator} ${widened(b, "bool", width)}`,
      width,
      Math.max(a.depth, b.depth),
    );
  }

  /** A form at all four places. */
  #spread({ text, step, stepText }: Address): string {
    return step === 0 ? text : `vec4<i32>(${text}) + vec4<i32>(0, 1, 2, 3) * ${stepText}`;
  }

  #write(expr: Expr): Value {
    switch (expr.kind) {
      case "constant":
        return this.#constant(expr);
      case "index": {
        const form = this.address(expr.form);
        return form.step === 0
          ? this.#name(`i32(${form.text})`, 1, form.depth)
          : this.#name(this.#spread(form), 4, form.depth);
      }
      case "inside":
        return this.#inside(expr.guards) ?? { text: "true", width: 1, depth: 0 };
      case "load":
        return this.#guarded(expr, this.#load(expr.input, expr.at, expr.dtype), this.#inside(expr.guards));
      case "gather":
        return this.#gather(expr);
      case "unary":
        return this.#apply(
          expr,
          [expr.x],
          (width, x) => unaryText(expr.op, x!, expr.x.dtype, width, this.block.shader.helpers),
        );
      case "binary":
        return this.#binary(expr);
      case "select":
        return this.#select(expr);
      case "cast":
        return this.#known(
          this.#apply(
            expr,
            [expr.x],
            (width, x) => castText(x!, expr.x.dtype, expr.dtype, width, this.block.shader.helpers),
          ),
          expr,
        );
      case "bitcast":
        return this.#known(
          this.#apply(expr, [expr.x], (width, x) => `bitcast<${typeName(expr.dtype, width)}>(${x})`),
          expr,
        );
      case "reduced":
        return this.reduced[expr.stage]!;
      case "accumulator":
        return this.reduced[0]!;
    }
  }

  /** Numbers that are the same in many kernels are literals. */
  #constant(expr: Expr & { kind: "constant" }): Value {
    const isCommon = expr.dtype !== "f32" || !Number.isFinite(expr.value) ||
      (Math.abs(expr.value) <= 2 && Number.isInteger(2 * expr.value));
    return isCommon || !this.block.shader.isGeneric
      ? { text: literal(expr.value, expr.dtype), width: 1, depth: 0, isLiteral: true }
      : this.#parameter(expr);
  }

  #parameter(expr: Expr & { kind: "constant" }): Value {
    const { shader } = this.block;
    return { text: shader.number(`constant ${shader.id(expr)}`, expr.value, "f32"), width: 1, depth: 0 };
  }

  /** The same bits, which no compiler sees through. */
  #hidden(value: Value): Value {
    const { text, width, depth } = value;
    return this.#name(this.block.shader.hidden(text, width), width, depth);
  }

  /** A number that was something else before: a compiler may know it. */
  #known(value: Value, { dtype }: { dtype: DType }): Value {
    return dtype === "f32" ? this.#hidden(value) : value;
  }

  #apply(
    expr: Expr,
    operands: readonly Expr[],
    text: (width: Width, ...operands: string[]) => string,
  ): Value {
    const values = this.#operands(expr, operands);
    const width = Math.max(...values.map((value) => value.width)) as Width;
    const depth = Math.max(...values.map((value) => value.depth));
    const result = this.#name(
      text(width, ...values.map((value, k) => widened(value, operands[k]!.dtype, width))),
      width,
      depth,
    );
    return { ...result, origin: originOf(expr, values) };
  }

  /** The operands as a compiler may see them. */
  #operands(expr: Expr, operands: readonly Expr[]): Value[] {
    const values = operands.map((operand) => this.value(operand));
    const isKnown = operands.every(({ dtype }, k) => dtype === "bool" || values[k]!.isLiteral);
    if (isKnown || hidesConstants(expr)) operands.forEach((operand, k) => values[k] = this.operand(operand));
    if (values.every((value) => value.isLiteral)) {
      // WGSL refuses constant expressions that overflow, such as 1 / 0: a variable is not constant.
      const [dtype, text] = [operands[0]!.dtype, values[0]!.text];
      values[0] = { text: this.block.at(0).variable(dtype, 1, text), width: 1, depth: 0 };
    }
    if (expr.kind === "binary" && expr.dtype === "f32") {
      const hidden = operandToHide(expr.op, values[0]!, values[1]!);
      if (hidden !== undefined) values[hidden] = this.#hidden(values[hidden]!);
    }
    return values;
  }

  #select(expr: Expr & { kind: "select" }): Value {
    // A compiler knows that a choice between equals is none; so must those who ask whether two values are one.
    if (this.value(expr.a).text === this.value(expr.b).text) return this.operand(expr.a);
    return this.#apply(
      expr,
      [expr.b, expr.a, expr.condition],
      (_, b, a, condition) => `select(${b}, ${a}, ${condition})`,
    );
  }

  #binary(expr: Expr & { kind: "binary" }): Value {
    const { op, a: { dtype } } = expr;
    const { helpers } = this.block.shader;
    const simpler = dtype === "f32" ? this.#wholePower(expr) ?? this.#limited(expr) : undefined;
    return simpler ?? this.#apply(expr, [expr.a, expr.b], (width, ...operands) => {
      // One order, so that what is equal has one name.
      const [a, b] = op === "add" || op === "mul" ? operands.sort() : operands;
      return binaryText(op, a!, b!, dtype, width, helpers);
    });
  }

  /** Whole powers that products give to an ulp, cheaper than the general power. */
  #wholePower({ op, a, b }: Expr & { kind: "binary" }): Value | undefined {
    if (op !== "pow" || b.kind !== "constant") return undefined;
    const multiply = (x: Expr): Expr => ({ kind: "binary", dtype: "f32", op: "mul", a: x, b: a });
    switch (b.value) {
      case 1:
        return this.operand(a);
      case 2:
        return this.value(multiply(a));
      case 3:
        return this.value(multiply(multiply(a)));
      default:
        return undefined;
    }
  }

  /** The larger or smaller of a value and a constant. */
  #limited(expr: Expr & { kind: "binary" }): Value | undefined {
    const { op, a, b } = expr;
    const [x, limit] = b.kind === "constant" ? [a, b] : [b, a];
    if ((op !== "max" && op !== "min") || limit.kind !== "constant" || x.kind === "constant") {
      return undefined;
    }
    if (Number.isNaN(limit.value) || Object.is(limit.value, -0)) return undefined;
    const helper = op === "max" ? "maxWith" : "minWith";
    return this.#apply(
      expr,
      [x, limit],
      (width, x, limit) => `${this.block.shader.helpers.use(helper, width)}(${x}, ${limit})`,
    );
  }

  /** `value` where the condition holds, else the fill. */
  #guarded(
    expr: Expr & { kind: "load" | "gather" },
    value: Value,
    condition: Value | undefined,
  ): Value {
    if (condition === undefined) return value;
    const width = Math.max(value.width, condition.width) as Width;
    const fill = splat(literal(expr.fill, expr.dtype), expr.dtype, width);
    const result = this.#name(
      `select(${fill}, ${widened(value, expr.dtype, width)}, ${widened(condition, "bool", width)})`,
      width,
      Math.max(value.depth, condition.depth),
    );
    // Where it is known that nothing is read, a compiler knows the value.
    const isKnown = expr.guards.some(({ form }) => this.address(form).constant !== undefined);
    return isKnown ? this.#known(result, expr) : result;
  }

  /** Addresses outside the buffer are harmless: WebGPU promises that such a read gives some value. */
  #load(input: number, at: Affine, dtype: DType): Value {
    const { shader } = this.block;
    const address = this.address(at);
    const { step, residue, depth } = address;
    const truth = (text: string, width: Width): Value =>
      this.#name(dtype === "bool" ? `${text} != ${splat("0u", "u32", width)}` : text, width, depth);
    if (address.constant !== undefined) {
      // Where a guard excludes it the place may be below zero, which as a constant does not compile.
      const array = shader.input(input, 1);
      const at = [0, 1, 2, 3].map((k) => `${array}[${Math.max(0, address.constant! + k * step)}]`);
      return step === 0 ? truth(at[0]!, 1) : truth(`${storedType(dtype, 4)}(${at.join(", ")})`, 4);
    }
    if (step === 0) return truth(`${shader.input(input, 1)}[${address.text}]`, 1);
    if (step === 1 && residue !== undefined) {
      const array = shader.input(input, 4);
      const quad = (distance: number): string =>
        this.block.at(depth).let(`${array}[${this.#quarter(address, distance)}]`);
      const first = quad(-residue);
      if (residue === 0) return truth(first, 4);
      const second = quad(4 - residue);
      const parts = [0, 1, 2, 3].map((k) => {
        const place = k + residue;
        return `${place < 4 ? first : second}.${"xyzw"[place % 4]}`;
      });
      return truth(`${storedType(dtype, 4)}(${parts.join(", ")})`, 4);
    }
    const array = shader.input(input, 1);
    const parts = [0, 1, 2, 3].map((k) => this.block.at(depth).let(`${array}[${this.#place(address, k)}]`));
    return truth(`${storedType(dtype, 4)}(${parts.join(", ")})`, 4);
  }

  #gather(expr: Expr & { kind: "gather" }): Value {
    const { dtype } = expr;
    const array = this.block.shader.input(expr.input, 1);
    const given = this.value(expr.index);
    const index = given.isLiteral
      ? { text: this.block.at(0).variable("i32", 1, given.text), width: 1 as const, depth: 0 }
      : given;
    const address = this.address(expr.at);
    const { shader } = this.block;
    const stride = shader.number(`stride ${shader.id(expr)}`, expr.stride);
    const size = shader.number(`size ${shader.id(expr)}`, expr.size, "u32");
    const width: Width = index.width === 4 || address.step !== 0 ? 4 : 1;
    const depth = Math.max(index.depth, address.depth);
    const one = (k: number): string =>
      this.block.at(depth).let(
        `${array}[${this.#place(address, k)} + ${component(index, k)} * ${stride}]`,
      );
    const raw = width === 1 ? one(0) : `${storedType(dtype, 4)}(${[0, 1, 2, 3].map(one).join(", ")})`;
    const value = this.#name(
      dtype === "bool" ? `${raw} != ${splat("0u", "u32", width)}` : raw,
      width,
      depth,
    );
    const valid = this.#name(
      below(index.text, splat(size, "u32", index.width), index.width),
      index.width,
      index.depth,
    );
    const guards = this.#inside(expr.guards);
    return this.#guarded(expr, value, guards === undefined ? valid : this.#both("&", valid, guards));
  }
}

/** 0 ≤ text < limit: below zero is far above as u32. A literal below zero has no value there, so its bits are taken. */
function below(text: string, limit: string, width: Width): string {
  return `bitcast<${typeName("u32", width)}>(${typeName("i32", width)}(${text})) < ${limit}`;
}

/** `text + constant` without a needless zero. */
export function plus(text: string, constant: number): string {
  if (text === "") return `${constant}`;
  return constant === 0 ? text : constant > 0 ? `${text} + ${constant}` : `${text} - ${-constant}`;
}
