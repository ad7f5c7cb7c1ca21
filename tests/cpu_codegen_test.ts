/** Expressions as WebAssembly against the interpreter of the IR. */
import { assert, assertEquals } from "@std/assert";
import { ModuleBuilder } from "../src/cpu/assembler.ts";
import { arrayType, type DType } from "../src/dtype.ts";
import type { BinaryOp, Expr, UnaryOp } from "../src/compiler/kernel.ts";
import { erf } from "../src/special_functions.ts";
import {
  affine,
  bin,
  check,
  comparisons,
  constant,
  execute,
  fill,
  load,
  map,
  pairs,
  special,
  un,
} from "./support/cpu_kernels.ts";

Deno.test("map over odd sizes", () => {
  for (const n of [0, 1, 2, 3, 4, 5, 7, 8, 13, 64, 1009, 70001]) {
    const x = load(0, affine(0, 1));
    const value = bin("add", bin("mul", x, load(1, affine(0, 1))), constant(0.5));
    check(map(`map ${n}`, n, ["f32", "f32"], value), [fill("f32", n, 1), fill("f32", n, 2)], [n]);
  }
});

const unaryOps: Partial<Record<DType, UnaryOp[]>> = {
  f32: [
    ...[
      "neg",
      "abs",
      "sign",
      "exp",
      "expm1",
      "log",
      "log1p",
      "sqrt",
      "rsqrt",
      "sin",
      "cos",
      "tan",
      "tanh",
      "erf",
    ],
    ...["floor", "ceil", "round", "isNan", "isFinite"],
  ] as UnaryOp[],
  i32: ["neg", "abs", "sign", "not", "isNan", "isFinite"],
  u32: ["neg", "sign", "not"],
  bool: ["not", "isNan", "isFinite"],
};

Deno.test("every unary operation on special values", () => {
  for (const [dtype, ops] of Object.entries(unaryOps) as [DType, UnaryOp[]][]) {
    for (const op of ops) {
      const x = new (arrayType(dtype))([...special[dtype], ...fill(dtype, 33, 5)]);
      const type = op === "isNan" || op === "isFinite" ? "bool" : dtype;
      const kernel = map(`${op} ${dtype}`, x.length, [dtype], un(op, load(0, affine(0, 1), dtype), type));
      check(kernel, [x], [x.length], 1e-6);
    }
  }
});

const arithmetic: BinaryOp[] = ["add", "sub", "mul", "div", "mod", "pow", "max", "min"];
const bitwise: BinaryOp[] = ["and", "or", "xor", "shl", "shr"];

Deno.test("every binary operation on pairs of special values", () => {
  for (const dtype of ["f32", "i32", "u32", "bool"] as const) {
    const [a, b] = pairs(dtype);
    const small = b.map((x) => x > 40 || x < -40 ? x % 17 : x);
    for (const op of [...arithmetic, ...comparisons as BinaryOp[], ...(dtype === "f32" ? [] : bitwise)]) {
      const second = op === "pow" && dtype !== "f32" ? small : b;
      const value = bin(op, load(0, affine(0, 1), dtype), load(1, affine(0, 1), dtype));
      check(map(`${op} ${dtype}`, a.length, [dtype, dtype], value), [a, second], [a.length], 1e-6);
    }
  }
});

Deno.test("operations with constants that have a shorter form", () => {
  const x = new Float32Array(special.f32);
  for (const op of ["pow", "max", "min", "sub", "mul"] as const) {
    for (const c of [0, 1, 2, 3, -1, 0.5, NaN, -Infinity]) {
      for (
        const value of [
          bin(op, load(0, affine(0, 1)), constant(c)),
          bin(op, constant(c), load(0, affine(0, 1))),
        ]
      ) {
        check(map(`${op} ${c}`, x.length, ["f32"], value), [x], [x.length], 1e-6);
      }
    }
  }
});

Deno.test("casts, bitcasts and select", () => {
  const floats = [0, -0, 0.9, -0.9, 1.5, -2.7, 3e9, 5e9, -3e9, 1e20, Infinity, -Infinity, NaN, 2147483520];
  for (const from of ["f32", "i32", "u32", "bool"] as const) {
    const x = new (arrayType(from))(from === "f32" ? floats : special[from]);
    for (const to of ["f32", "i32", "u32", "bool"] as const) {
      const loaded = load(0, affine(0, 1), from);
      check(map(`cast ${from} ${to}`, x.length, [from], { kind: "cast", dtype: to, x: loaded }), [x], [
        x.length,
      ], 0);
      if (from !== "bool" && to !== "bool") {
        check(map(`bits ${from} ${to}`, x.length, [from], { kind: "bitcast", dtype: to, x: loaded }), [x], [
          x.length,
        ], 0);
      }
    }
    const value: Expr = {
      kind: "select",
      dtype: from,
      condition: load(1, affine(0, 1), "bool"),
      a: load(0, affine(0, 1), from),
      b: constant(1, from),
    };
    check(
      map(`select ${from}`, x.length, [from, "bool"], value),
      [x, fill("bool", x.length, 3)],
      [x.length],
      0,
    );
  }
});

/** The distance of an f32 from a float64 in units of the last place of the latter. */
function ulps(actual: number, exact: number): number {
  const exponent = Math.max(-126, Math.floor(Math.log2(Math.abs(exact) || 2 ** -126)));
  return Math.abs(actual - exact) / 2 ** (exponent - 23);
}

Deno.test("elementary functions keep the errors that their comments state", () => {
  const n = 20000;
  const spread = (low: number, high: number): Float32Array =>
    Float32Array.from({ length: n }, (_, k) => low + (high - low) * (k + 0.37) / n);
  const scales = (low: number, high: number): Float32Array =>
    Float32Array.from({ length: n }, (_, k) => (k % 2 ? -1 : 1) * 2 ** (low + (high - low) * (k + 0.37) / n));
  const cases: [UnaryOp, (x: number) => number, number, Float32Array[]][] = [
    ["exp", Math.exp, 1.5, [spread(-87, 88.7), scales(-30, 6)]],
    ["expm1", Math.expm1, 2, [spread(-20, 88.7), scales(-100, 6)]],
    ["log", Math.log, 1.5, [spread(1e-3, 100), scales(-149, 127).map(Math.abs), spread(0.9, 1.1)]],
    ["log1p", Math.log1p, 2, [spread(-0.999, 50), scales(-60, -1)]],
    ["tanh", Math.tanh, 3, [spread(-10, 10), scales(-60, 4)]],
    ["erf", erf, 3, [spread(-5, 5), scales(-60, 2)]],
    ["sin", Math.sin, 1.6, [spread(-10, 10), spread(-1e5, 1e5), scales(-40, 127)]],
    ["cos", Math.cos, 1.6, [spread(-10, 10), spread(-1e5, 1e5), scales(-40, 127)]],
    ["tan", Math.tan, 3.5, [spread(-10, 10), spread(-1e5, 1e5), scales(-40, 127)]],
  ];
  for (const [op, exact, bound, ranges] of cases) {
    for (const x of ranges) {
      for (const relaxedSimd of [true, false]) {
        const y = new Float32Array(x.length);
        execute(map(op, x.length, ["f32"], un(op, load(0, affine(0, 1)))), [x], [y], relaxedSimd);
        x.forEach((value, k) => {
          const error = ulps(y[k]!, exact(value));
          assert(error <= bound, `${op}(${value}) is ${y[k]}, ${error} ulp from ${exact(value)}`);
        });
      }
    }
  }
  // The exponential of what is known to be negative has a shorter form.
  const powers: [Expr, (x: number) => number][] = [
    [
      bin("mul", bin("mul", load(0, affine(0, 1)), load(0, affine(0, 1))), constant(-1)),
      (x) => -Math.fround(x * x),
    ],
    [un("neg", un("abs", load(0, affine(0, 1)))), (x) => -Math.abs(x)],
  ];
  for (const [power, exponent] of powers) {
    for (const x of [spread(-9.3, 9.3), spread(-87.3, 0), scales(-30, 3), new Float32Array(special.f32)]) {
      for (const relaxedSimd of [true, false]) {
        const y = new Float32Array(x.length);
        execute(map("exp", x.length, ["f32"], un("exp", power)), [x], [y], relaxedSimd);
        x.forEach((value, k) => {
          const exact = Math.exp(exponent(value));
          if (Number.isNaN(exact)) return assert(Number.isNaN(y[k]!));
          const bound = exact < 2 ** -126 ? 2 ** 23 : 1.5; // may be flushed to zero
          assert(ulps(y[k]!, exact) <= bound, `exp(${exponent(value)}) is ${y[k]} instead of ${exact}`);
        });
      }
    }
  }
  const a = spread(0.001, 30);
  const b = a.map((_, k) => Math.sin(k) * 20);
  const y = new Float32Array(n);
  execute(map("pow", n, ["f32", "f32"], bin("pow", load(0, affine(0, 1)), load(1, affine(0, 1)))), [a, b], [
    y,
  ]);
  a.forEach((base, k) => {
    const exact = base ** b[k]!;
    if (exact > 1e-37 && exact < 3e38) {
      assert(ulps(y[k]!, exact) <= 1, `${base} ** ${b[k]} is ${y[k]}, not ${exact}`);
    }
  });
});

Deno.test("idle() of a module changes nothing, and its functions work afterwards", () => {
  const module = new ModuleBuilder({ memory: { shared: true, maximumPages: 1 } });
  const f = module.func("run", ["i32"], [], true);
  f.get(f.params[0]!).f32x4(3).store("v128.store");
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.bytes()), { env: { memory } });
  const values = new Float32Array(memory.buffer);
  (exports.idle as () => void)();
  assertEquals(values.every((value) => value === 0), true);
  (exports.run as (address: number) => void)(16);
  assertEquals([...values.subarray(0, 9)], [0, 0, 0, 0, 3, 3, 3, 3, 0]);
});
