/**
 * Runs kernels and programs in plain JavaScript, one element at a time: the definition of what the kernel IR
 * means, and the oracle for both backends. Arithmetic is float64 rounded to f32 at every store and reduction
 * result; integers wrap.
 *
 * @module
 */
import { arrayType, type DType, storedValue, type TensorData } from "../dtype.ts";
import { erf, erfc } from "../special_functions.ts";
import {
  type Affine,
  type Contraction,
  type Expr,
  type Fold,
  type Guard,
  type Kernel,
  points,
  type Program,
  type Stage,
  type Store,
} from "./kernel.ts";

/** Element-wise meaning of the one-operand operations. */
export function applyUnary(op: (Expr & { kind: "unary" })["op"], x: number, dtype: DType): number {
  switch (op) {
    case "neg":
      return -x;
    case "abs":
      return Math.abs(x);
    case "sign":
      return Math.sign(x);
    case "exp":
      return Math.exp(x);
    case "expm1":
      return Math.expm1(x);
    case "log":
      return Math.log(x);
    case "log1p":
      return Math.log1p(x);
    case "sqrt":
      return Math.sqrt(x);
    case "rsqrt":
      return 1 / Math.sqrt(x);
    case "sin":
      return Math.sin(x);
    case "cos":
      return Math.cos(x);
    case "tan":
      return Math.tan(x);
    case "tanh":
      return Math.tanh(x);
    case "erf":
      return erf(x);
    case "normalCdf":
      return 0.5 * erfc(-x * Math.SQRT1_2);
    case "floor":
      return Math.floor(x);
    case "ceil":
      return Math.ceil(x);
    case "round":
      return roundHalfToEven(x);
    case "not":
      return dtype === "bool" ? (x !== 0 ? 0 : 1) : ~x;
    case "isNan":
      return Number.isNaN(x) ? 1 : 0;
    case "isFinite":
      return Number.isFinite(x) ? 1 : 0;
  }
}

/** Element-wise meaning of the two-operand operations; `dtype` is that of the operands. */
export function applyBinary(
  op: (Expr & { kind: "binary" })["op"],
  a: number,
  b: number,
  dtype: DType,
): number {
  switch (op) {
    case "add":
      return a + b;
    case "sub":
      return a - b;
    case "mul":
      return dtype === "i32" || dtype === "u32" ? Math.imul(a, b) : a * b;
    case "div":
      return dtype === "f32" ? a / b : b === 0 ? 0 : Math.trunc(a / b);
    case "mod":
      return dtype === "f32" || b !== 0 ? flooredRemainder(a, b) : 0;
    case "pow":
      return dtype === "f32" ? power(a, b) : integerPower(a, b);
    case "max":
      return Math.max(a, b);
    case "min":
      return Math.min(a, b);
    case "lt":
      return a < b ? 1 : 0;
    case "le":
      return a <= b ? 1 : 0;
    case "gt":
      return a > b ? 1 : 0;
    case "ge":
      return a >= b ? 1 : 0;
    case "eq":
      return a === b ? 1 : 0;
    case "ne":
      return a !== b ? 1 : 0;
    case "and":
      return a & b;
    case "or":
      return a | b;
    case "xor":
      return a ^ b;
    case "shl":
      return a << (b & 31);
    case "shr":
      return dtype === "u32" ? a >>> (b & 31) : a >> (b & 31);
  }
}

/** The remainder with the sign of the divisor: `%` is exact and has that of the dividend. */
export function flooredRemainder(a: number, b: number): number {
  const rest = a % b;
  if (rest === 0) return Object.is(b, -0) || b < 0 ? -0 : 0;
  return rest < 0 === b < 0 ? rest : rest + b;
}

/** As in C99, where JavaScript gives NaN for 1 to the power of NaN and for ±1 to that of ±∞. */
export function power(a: number, b: number): number {
  if (a === 1 || (a === -1 && Math.abs(b) === Infinity)) return 1;
  return Math.pow(a, b);
}

/** Whole powers; negative ones are 1 / base^|exponent| truncated, which is 0 but for ±1. */
function integerPower(base: number, exponent: number): number {
  if (exponent < 0) return Math.abs(base) === 1 ? (exponent % 2 === 0 ? 1 : base) : 0;
  let result = 1;
  for (let [rest, square] = [exponent, base]; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result = Math.imul(result, square);
    square = Math.imul(square, square);
  }
  return result;
}

/** The nearest integer; halves go to the even neighbour, as in NumPy, PyTorch, WebAssembly and WGSL. */
export function roundHalfToEven(x: number): number {
  const r = Math.round(x);
  return Math.abs(x - Math.trunc(x)) === 0.5 && r % 2 !== 0 ? r - 1 : r;
}

/** Conversion of a value, as `cast` means it. */
export function convert(value: number, from: DType, to: DType): number {
  if (to === "bool") return value !== 0 ? 1 : 0;
  if (to === "f32") return Math.fround(value);
  if (from !== "f32") return storedValue(value, to);
  if (Number.isNaN(value)) return 0;
  const [low, high] = to === "i32" ? [-2147483648, 2147483647] : [0, 4294967295];
  return Math.min(Math.max(Math.trunc(value), low), high);
}

const bits = new DataView(new ArrayBuffer(4));

/** The same 32 bits read as another dtype, as `bitcast` means it. */
export function rebits(value: number, from: DType, to: DType): number {
  if (from === "f32") bits.setFloat32(0, value);
  else bits.setUint32(0, value >>> 0);
  return to === "f32" ? bits.getFloat32(0) : to === "i32" ? bits.getInt32(0) : bits.getUint32(0);
}

function at(form: Affine, position: readonly number[]): number {
  let sum = form.offset;
  for (let k = 0; k < form.coefficients.length; k++) sum += form.coefficients[k]! * (position[k] ?? 0);
  return sum;
}

function inside(guards: readonly Guard[], position: readonly number[]): boolean {
  return guards.every((guard) => {
    const value = at(guard.form, position);
    return value >= 0 && value < guard.size;
  });
}

function evaluate(
  expr: Expr,
  position: readonly number[],
  inputs: readonly TensorData[],
  results: readonly number[],
): number {
  // Shared parts are evaluated once: the DAG of a random number would take exponential time as a tree.
  const values = new Map<Expr, number>();
  const go = (e: Expr): number => {
    let value = values.get(e);
    if (value === undefined) values.set(e, value = compute(e));
    return value;
  };
  const compute = (e: Expr): number => {
    switch (e.kind) {
      case "constant":
        return storedValue(e.value, e.dtype);
      case "index":
        return at(e.form, position) | 0;
      case "inside":
        return inside(e.guards, position) ? 1 : 0;
      case "load":
        return inside(e.guards, position) ? element(inputs, e.input, at(e.at, position)) : e.fill;
      case "gather": {
        const index = go(e.index);
        if (index < 0 || index >= e.size || !inside(e.guards, position)) return e.fill;
        return element(inputs, e.input, at(e.at, position) + index * e.stride);
      }
      case "unary":
        return storedValue(applyUnary(e.op, go(e.x), e.x.dtype), e.dtype);
      case "binary":
        return storedValue(applyBinary(e.op, go(e.a), go(e.b), e.a.dtype), e.dtype);
      case "select":
        return go(e.condition) !== 0 ? go(e.a) : go(e.b);
      case "cast":
        return convert(go(e.x), e.x.dtype, e.dtype);
      case "bitcast":
        return rebits(go(e.x), e.x.dtype, e.dtype);
      case "reduced":
        return results[e.stage]!;
      case "accumulator":
        return results[0]!;
    }
  };
  return go(expr);
}

function element(inputs: readonly TensorData[], input: number, address: number): number {
  const value = inputs[input]![address];
  if (value === undefined) {
    throw new RangeError(
      `Cannot read element ${address} of input ${input}: it has ${inputs[input]!.length} elements`,
    );
  }
  return value;
}

/** Calls `visit` with every position of the axes, in row-major order. */
export function forEachPosition(axes: readonly number[], visit: (position: number[]) => void): void {
  const count = points(axes);
  const position = axes.map(() => 0);
  for (let k = 0; k < count; k++) {
    visit(position);
    for (let axis = axes.length - 1; axis >= 0; axis--) {
      if (++position[axis]! < axes[axis]!) break;
      position[axis] = 0;
    }
  }
}

/** The value of a reduction over nothing. */
export function emptyReduction(combine: Stage["combine"], dtype: DType): number {
  switch (combine) {
    case "sum":
    case "argMax":
    case "argMin":
      return 0;
    case "product":
      return 1;
    case "max":
      return dtype === "f32" ? -Infinity : dtype === "i32" ? -2147483648 : 0;
    case "min":
      return dtype === "f32" ? Infinity : dtype === "i32" ? 2147483647 : dtype === "u32" ? 4294967295 : 1;
  }
}

function reduce(
  stage: Stage,
  row: readonly number[],
  inputs: readonly TensorData[],
  results: readonly number[],
): number {
  let total = emptyReduction(stage.combine, stage.dtype);
  let best = NaN;
  let step = 0;
  forEachPosition(stage.axes, (inner) => {
    const value = evaluate(stage.value, [...row, ...inner], inputs, results);
    switch (stage.combine) {
      case "sum":
        total += value;
        break;
      case "product":
        total = stage.dtype === "f32" ? total * value : Math.imul(total, value);
        break;
      case "max":
        total = Math.max(total, value);
        break;
      case "min":
        total = Math.min(total, value);
        break;
      default: {
        const better = stage.combine === "argMax" ? value > best : value < best;
        if (step === 0 || (!Number.isNaN(best) && (better || Number.isNaN(value)))) {
          [best, total] = [value, step];
        }
      }
    }
    step++;
  });
  return storedValue(total, stage.dtype);
}

function runStores(
  stores: readonly Store[],
  row: readonly number[],
  inputs: readonly TensorData[],
  outputs: readonly TensorData[],
  results: readonly number[],
): void {
  for (const store of stores) {
    forEachPosition(store.axes, (inner) => {
      const position = [...row, ...inner];
      outputs[store.output]![at(store.at, position)] = evaluate(store.value, position, inputs, results);
    });
  }
}

function runFold(kernel: Fold, inputs: readonly TensorData[], outputs: readonly TensorData[]): void {
  forEachPosition(kernel.axes, (row) => {
    const results: number[] = [];
    for (const stage of kernel.stages) results.push(reduce(stage, row, inputs, results));
    runStores(kernel.stores, row, inputs, outputs, results);
  });
}

function runContraction(
  kernel: Contraction,
  inputs: readonly TensorData[],
  outputs: readonly TensorData[],
): void {
  forEachPosition([...kernel.batch, ...kernel.rows, ...kernel.columns], (point) => {
    let sum = 0;
    forEachPosition(kernel.inner, (inner) => {
      const position = [...point, ...inner];
      sum += evaluate(kernel.left, position, inputs, []) * evaluate(kernel.right, position, inputs, []);
    });
    runStores(kernel.stores, point, inputs, outputs, [Math.fround(sum)]);
  });
}

/** Runs one kernel. */
export function interpretKernel(
  kernel: Kernel,
  inputs: readonly TensorData[],
  outputs: readonly TensorData[],
): void {
  const source = inputs[0]!;
  const target = outputs[0]!;
  switch (kernel.kind) {
    case "fold":
      return runFold(kernel, inputs, outputs);
    case "contraction":
      return runContraction(kernel, inputs, outputs);
    case "cumulative": {
      const { outer, size, innerSize } = kernel;
      forEachPosition([outer, innerSize], ([o, i]) => {
        let sum = 0;
        for (let k = 0; k < size; k++) {
          const address = (o! * size + k) * innerSize + i!;
          sum += source[address]!;
          target[address] = sum;
        }
      });
      return;
    }
    case "sort": {
      const { rows, size, descending } = kernel;
      for (let row = 0; row < rows; row++) {
        const keys = source.subarray(row * size, (row + 1) * size);
        const compare = (i: number, j: number): number => {
          const [a, b] = [keys[i]!, keys[j]!];
          if (Number.isNaN(a) || Number.isNaN(b)) {
            return Number(Number.isNaN(a)) - Number(Number.isNaN(b)) || i - j;
          }
          return (descending ? b - a : a - b) || i - j;
        };
        target.set(Array.from({ length: size }, (_, k) => k).sort(compare), row * size);
      }
      return;
    }
    case "scatter": {
      const { outer, size, count, innerSize, mode } = kernel;
      target.set(source.subarray(0, outer * size * innerSize));
      forEachPosition([outer, count, innerSize], ([o, m, i]) => {
        const from = (o! * count + m!) * innerSize + i!;
        const index = inputs[1]![from]!;
        if (index < 0 || index >= size) return;
        const to = (o! * size + index) * innerSize + i!;
        target[to] = mode === "set" ? inputs[2]![from]! : target[to]! + inputs[2]![from]!;
      });
    }
  }
}

/** Runs a program on arrays; returns its outputs in order. */
export function interpretProgram(program: Program, inputs: readonly TensorData[]): TensorData[] {
  const outputs: TensorData[] = [];
  const memory = program.buffers.map((buffer) => {
    if (buffer.place.kind === "input") return inputs[buffer.place.index]!;
    const array = new (arrayType(buffer.dtype))(buffer.length);
    if (buffer.place.kind === "output") outputs[buffer.place.index] = array;
    return array;
  });
  for (const launch of program.launches) {
    interpretKernel(
      launch.kernel,
      launch.inputs.map((k) => memory[k]!),
      launch.outputs.map((k) => memory[k]!),
    );
  }
  return outputs;
}
