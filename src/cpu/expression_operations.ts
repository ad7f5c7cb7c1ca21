/**
 * The operations of the kernel IR on four lanes, by dtype. Bools are masks in registers.
 *
 * @module
 */
import type { DType } from "../dtype.ts";
import type { BinaryOp, UnaryOp } from "../compiler/kernel.ts";
import type { Local } from "./assembler.ts";
import { type Elementary, erf, exp, expm1, expOfNegative, log, log1p, normalCdf, tanh } from "./math.ts";
import { cos, sin, tan } from "./math_angles.ts";
import { floatModulo, pow } from "./math_powers.ts";
import type { Vector } from "./vector.ts";

/** An operation, or the exponential of what is known not to be positive. */
export type UnaryForm = UnaryOp | "expOfNegative";

// Short enough to be written where they are used; the others are called.
const inlined: Partial<Record<UnaryForm, Elementary>> = {
  exp,
  expOfNegative,
  expm1,
  log,
  log1p,
  tanh,
  erf,
  normalCdf,
};
const called: Partial<Record<UnaryForm, Elementary>> = { sin, cos, tan };

/** [x] -> op x. `inline` writes short functions in place: for code that runs often. */
export function unary(v: Vector, op: UnaryForm, dtype: DType, inline: boolean): void {
  const { f } = v;
  const elementary = inlined[op] ?? called[op];
  if (elementary) {
    if (dtype !== "f32") throw new TypeError(`Cannot compute ${op} of ${dtype}: it is defined for f32`);
    if (inline && inlined[op]) elementary(v, f.keep());
    else f.call(v.library.vectorFunction(op, 1, elementary));
    return;
  }
  const write = unaryOperations[op as UnaryOp]?.[dtype];
  if (!write) throw new TypeError(`Cannot compute ${op} of ${dtype}: there is no such operation`);
  write(v);
}

/** [a, b] -> a op b; `dtype` is that of the operands. */
export function binary(v: Vector, op: BinaryOp, dtype: DType): void {
  const write = binaryOperations[dtype][op];
  if (!write) throw new TypeError(`Cannot compute ${op} of ${dtype}: there is no such operation`);
  write(v);
}

type Write = (v: Vector) => void;
type Opcode = Parameters<Vector["f"]["op"]>[0];

const op = (...names: Opcode[]): Write => (v) => names.forEach((name) => v.f.op(name));
const same: Write = () => {};

function constantMask(value: boolean): Write {
  return (v) => v.f.op("drop").i32x4(value ? -1 : 0);
}

const unaryOperations: Partial<Record<UnaryOp, Partial<Record<DType, Write>>>> = {
  neg: { f32: op("f32x4.neg"), i32: op("i32x4.neg"), u32: op("i32x4.neg"), bool: same },
  abs: { f32: op("f32x4.abs"), i32: op("i32x4.abs"), u32: same, bool: same },
  sign: {
    f32: (v) => { // ±0 and NaN are their own signs
      const x = v.f.keep();
      v.f.f32x4(1).get(x).i32x4(-0x80000000).op("v128.and").op("v128.or").get(x);
      v.f.get(x).op("f32x4.abs").f32x4(0).op("f32x4.gt");
      v.select();
    },
    i32: (v) => v.f.i32x4(1).op("i32x4.min_s").i32x4(-1).op("i32x4.max_s"),
    u32: (v) => v.f.i32x4(1).op("i32x4.min_u"),
    bool: same,
  },
  sqrt: { f32: op("f32x4.sqrt") },
  rsqrt: {
    f32: (v) => {
      const x = v.f.op("f32x4.sqrt").keep();
      v.f.f32x4(1).get(x).op("f32x4.div");
    },
  },
  floor: { f32: op("f32x4.floor"), i32: same, u32: same },
  ceil: { f32: op("f32x4.ceil"), i32: same, u32: same },
  round: { f32: op("f32x4.nearest"), i32: same, u32: same },
  not: { i32: op("v128.not"), u32: op("v128.not"), bool: op("v128.not") },
  isNan: {
    f32: (v) => {
      const x = v.f.keep();
      v.f.get(x).get(x).op("f32x4.ne");
    },
    i32: constantMask(false),
    u32: constantMask(false),
    bool: constantMask(false),
  },
  isFinite: {
    f32: (v) => v.f.op("f32x4.abs").f32x4(Infinity).op("f32x4.lt"),
    i32: constantMask(true),
    u32: constantMask(true),
    bool: constantMask(true),
  },
};

/** Calls an operation on scalars for each lane; for what SIMD lacks. */
function laneWise(name: string, write: (v: Vector, a: Local, b: Local) => void): Write {
  return (v) =>
    v.f.call(v.library.vectorFunction(name, 2, (w, x, y) => {
      const [a, b] = [w.f.local("i32"), w.f.local("i32")];
      w.f.get(x);
      for (let k = 0; k < 4; k++) {
        w.f.get(x).lane("i32x4.extract_lane", k).set(a).get(y).lane("i32x4.extract_lane", k).set(b);
        write(w, a, b);
        w.f.lane("i32x4.replace_lane", k);
      }
    }));
}

/** a div b with 0 for b = 0, and without the trap of the smallest integer by −1. */
function divide({ f }: Vector, a: Local, b: Local, signed: boolean): void {
  const quotient = (): void => {
    if (!signed) return void f.get(a).get(b).op("i32.div_u");
    f.get(b).i32(-1).op("i32.eq");
    f.if(() => f.i32(0).get(a).op("i32.sub"), () => f.get(a).get(b).op("i32.div_s"), "i32");
  };
  f.get(b).if(quotient, () => f.i32(0), "i32");
}

/** Floored remainder, 0 for b = 0. */
function modulo({ f }: Vector, a: Local, b: Local, signed: boolean): void {
  f.get(b).if(
    () => {
      f.get(a).get(b).op(signed ? "i32.rem_s" : "i32.rem_u");
      if (!signed) return;
      const rest = f.keep("i32");
      f.get(rest).get(b).op("i32.add").get(rest);
      // Where the rest is not zero and its sign is not the divisor's.
      f.get(rest).i32(0).op("i32.ne").get(rest).get(b).op("i32.xor").i32(31).op("i32.shr_u").op("i32.and");
      f.op("select");
    },
    () => f.i32(0),
    "i32",
  );
}

/** a^b modulo 2³² by squaring. For b below 0 it is 1 / a^|b| truncated: of ±1 as for |b|, else 0. */
function integerPower({ f }: Vector, a: Local, b: Local, signed: boolean): void {
  const result = f.i32(1).keep("i32");
  if (signed) {
    f.get(b).i32(0).op("i32.lt_s").if(() => {
      f.i32(0).get(b).op("i32.sub").i32(1).op("i32.and").set(b);
      f.get(a).i32(1).op("i32.add").i32(3).op("i32.lt_u").get(a).i32(0).op("i32.ne").op("i32.and").set(
        result,
      );
    });
  }
  f.while(() => signed ? f.get(b).i32(0).op("i32.gt_s") : f.get(b), () => {
    f.get(b).i32(1).op("i32.and").if(() => f.get(result).get(a).op("i32.mul").set(result));
    f.get(a).get(a).op("i32.mul").set(a).get(b).i32(1).op("i32.shr_u").set(b);
  });
  f.get(result);
}

/** Shifts every lane by its own count modulo 32. */
function shift(name: "i32.shl" | "i32.shr_s" | "i32.shr_u"): Write {
  return laneWise(name, ({ f }, a, b) => f.get(a).get(b).op(name));
}

const floatOperations: Partial<Record<BinaryOp, Write>> = {
  add: op("f32x4.add"),
  sub: op("f32x4.sub"),
  mul: op("f32x4.mul"),
  div: op("f32x4.div"),
  mod: (v) => v.f.call(v.library.vectorFunction("floatModulo", 2, floatModulo)),
  pow: (v) => v.f.call(v.library.vectorFunction("pow", 2, pow)),
  max: op("f32x4.max"),
  min: op("f32x4.min"),
  lt: op("f32x4.lt"),
  le: op("f32x4.le"),
  gt: op("f32x4.gt"),
  ge: op("f32x4.ge"),
  eq: op("f32x4.eq"),
  ne: op("f32x4.ne"),
};

function integerOperations(signed: boolean): Partial<Record<BinaryOp, Write>> {
  const sign = signed ? "s" : "u";
  return {
    add: op("i32x4.add"),
    sub: op("i32x4.sub"),
    mul: op("i32x4.mul"),
    div: laneWise(`divide_${sign}`, (v, a, b) => divide(v, a, b, signed)),
    mod: laneWise(`modulo_${sign}`, (v, a, b) => modulo(v, a, b, signed)),
    pow: laneWise(`power_${sign}`, (v, a, b) => integerPower(v, a, b, signed)),
    max: op(`i32x4.max_${sign}`),
    min: op(`i32x4.min_${sign}`),
    lt: op(`i32x4.lt_${sign}`),
    le: op(`i32x4.le_${sign}`),
    gt: op(`i32x4.gt_${sign}`),
    ge: op(`i32x4.ge_${sign}`),
    eq: op("i32x4.eq"),
    ne: op("i32x4.ne"),
    and: op("v128.and"),
    or: op("v128.or"),
    xor: op("v128.xor"),
    shl: shift("i32.shl"),
    shr: shift(signed ? "i32.shr_s" : "i32.shr_u"),
  };
}

/** [a, b] -> [b, a] of masks. */
const swap: Write = ({ f }) => {
  const b = f.keep();
  const a = f.keep();
  f.get(b).get(a);
};
const then = (...steps: Write[]): Write => (v) => steps.forEach((step) => step(v));
const both = op("v128.and");
const either = op("v128.or");
const onlyFirst = op("v128.andnot");
const first: Write = op("drop");

/** What the arithmetic of 0 and 1, tested for ≠ 0, comes to. */
const boolOperations: Partial<Record<BinaryOp, Write>> = {
  add: either,
  sub: op("v128.xor"),
  mul: both,
  div: both,
  mod: (v) => v.f.op("drop").op("drop").i32x4(0),
  pow: then(op("v128.not"), either),
  max: either,
  min: both,
  lt: then(swap, onlyFirst),
  le: then(swap, op("v128.not"), either),
  gt: onlyFirst,
  ge: then(op("v128.not"), either),
  eq: op("i32x4.eq"),
  ne: op("v128.xor"),
  and: both,
  or: either,
  xor: op("v128.xor"),
  shl: first,
  shr: onlyFirst,
};

const binaryOperations: Record<DType, Partial<Record<BinaryOp, Write>>> = {
  f32: floatOperations,
  i32: integerOperations(true),
  u32: integerOperations(false),
  bool: boolOperations,
};

/** [x] -> x converted. Float to integer truncates and saturates; between integers the bits stay. */
export function cast({ f }: Vector, from: DType, to: DType): void {
  if (from === to) return;
  if (to === "bool") {
    if (from === "f32") f.f32x4(0).op("f32x4.ne");
    else f.i32x4(0).op("i32x4.ne");
  } else if (from === "bool") {
    if (to === "f32") f.f32x4(1).op("v128.and");
    else f.i32x4(1).op("v128.and");
  } else if (to === "f32") {
    f.op(from === "i32" ? "f32x4.convert_i32x4_s" : "f32x4.convert_i32x4_u");
  } else if (from === "f32") {
    f.op(to === "i32" ? "i32x4.trunc_sat_f32x4_s" : "i32x4.trunc_sat_f32x4_u");
  }
}
