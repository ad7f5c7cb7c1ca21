/** Loads, reductions, row kernels and the plain kernels as WebAssembly against the interpreter of the IR. */
import { assert } from "@std/assert";
import type { DType } from "../src/dtype.ts";
import {
  type Affine,
  type Expr,
  type Fold,
  type Guard,
  type Kernel,
  points,
  type Stage,
  type Store,
} from "../src/compiler/kernel.ts";
import { interpretKernel } from "../src/compiler/interpret.ts";
import { affine, bin, check, constant, execute, fill, fold, load, map, un } from "./support/cpu_kernels.ts";

Deno.test("strided, reversed, transposed and broadcast loads and stores", () => {
  for (const [rows, columns] of [[1, 1], [3, 5], [8, 8], [7, 16], [33, 12], [64, 3]] as const) {
    const x = fill("f32", rows * columns * 2 + 4, 4);
    const out = rows * columns;
    const forms: [string, Affine, Affine][] = [
      ["copy", affine(0, columns, 1), affine(0, columns, 1)],
      ["strided", affine(1, 2 * columns, 2), affine(0, columns, 1)],
      ["reversed", affine(columns - 1, columns, -1), affine(0, columns, 1)],
      ["all reversed", affine(out - 1, -columns, -1), affine(0, columns, 1)],
      ["transposed", affine(0, columns, 1), affine(0, 1, rows)],
      ["transposed load", affine(0, 1, rows), affine(0, columns, 1)],
      ["row", affine(2, 0, 1), affine(0, columns, 1)],
      ["column", affine(1, 1, 0), affine(0, columns, 1)],
      ["reversed store", affine(0, columns, 1), affine(out - 1, -columns, -1)],
    ];
    for (const [name, from, at] of forms) {
      const value = bin("add", load(0, from), constant(1));
      check(
        fold(`${name} ${rows}x${columns}`, [rows, columns], ["f32"], [], [{
          output: 0,
          at,
          axes: [],
          value,
        }]),
        [x],
        [out],
      );
    }
  }
});

Deno.test("guards on either axis, pads, concatenations and shifts", () => {
  for (const [rows, columns] of [[2, 2], [5, 7], [6, 12], [3, 40], [4, 33]] as const) {
    const x = fill("f32", rows * columns, 6);
    for (
      const [dy, dx] of [[0, 0], [1, 0], [0, 1], [-1, 2], [3, -3], [0, 50], [0, 250], [0, 300], [
        2,
        5,
      ]] as const
    ) {
      const guards = [{ form: affine(-dy, 1, 0), size: rows }, { form: affine(-dx, 0, 1), size: columns }];
      const shifted = load(0, affine(-dy * columns - dx, columns, 1), "f32", guards, 0.25);
      const inside: Expr = { kind: "inside", dtype: "bool", guards };
      const position: Expr = { kind: "index", dtype: "i32", form: affine(dx, 3, -2) };
      const shape = [rows + 3, columns + 5];
      const store = (value: Expr, output = 0): Store => ({
        output,
        at: affine(0, columns + 5, 1),
        axes: [],
        value,
      });
      const kernel = fold(`shift ${rows}x${columns} ${dy},${dx}`, shape, ["f32"], [], [
        store(bin("mul", shifted, constant(2))),
        store(inside, 1),
        store(position, 2),
      ]);
      check(kernel, [x], [points(shape), points(shape), points(shape)]);
    }
    // Reversed and strided under guards, and a join of two parts.
    const reversed = load(0, affine(columns + 1, columns, -1), "f32", [{
      form: affine(columns + 1, 0, -1),
      size: columns,
    }]);
    const strided = load(0, affine(-2, columns, 2), "f32", [{ form: affine(-2, 0, 2), size: columns }], -1);
    const joined = bin(
      "add",
      load(0, affine(0, columns, 1), "f32", [{ form: affine(0, 0, 1), size: columns }]),
      load(1, affine(-columns, columns, 1), "f32", [{ form: affine(-columns, 0, 1), size: columns }]),
    );
    for (const value of [reversed, strided, joined]) {
      const shape = [rows, 2 * columns];
      const store: Store = { output: 0, at: affine(0, 2 * columns, 1), axes: [], value };
      check(fold(`guards ${rows}x${columns}`, shape, ["f32", "f32"], [], [store]), [
        x,
        fill("f32", x.length, 7),
      ], [points(shape)]);
    }
  }
});

Deno.test("gathers: rows, elements, indices out of range, bools", () => {
  for (const [count, width] of [[1, 1], [5, 4], [9, 7], [64, 3]] as const) {
    const table = fill("f32", 6 * width, 8);
    const indices = new Int32Array(Array.from({ length: count }, (_, k) => (k * 5) % 9 - 2));
    const gather = (dtype: DType, guards: Guard[]): Expr => ({
      kind: "gather",
      dtype,
      input: 0,
      at: affine(0, 0, 1),
      index: load(1, affine(0, 1, 0), "i32"),
      stride: width,
      size: 6,
      guards,
      fill: 1,
    });
    for (const guards of [[], [{ form: affine(-1, 1, 0), size: 3 }], [{ form: affine(-1, 0, 1), size: 5 }]]) {
      for (const dtype of ["f32", "bool"] as const) {
        for (const at of [affine(0, width, 1), affine(0, 1, count)]) {
          const store: Store = { output: 0, at, axes: [], value: gather(dtype, guards) };
          const data = dtype === "f32" ? table : fill("bool", 6 * width, 2);
          check(
            fold(`gather ${count}x${width}`, [count, width], [dtype, "i32"], [], [store]),
            [data, indices],
            [count * width],
            0,
          );
        }
      }
    }
    const element: Expr = {
      ...gather("f32", []),
      kind: "gather",
      at: affine(0),
      index: load(1, affine(0, 1), "i32"),
      stride: width,
    } as Expr;
    check(map("elements", count, ["f32", "i32"], element), [table, indices], [count], 0);
  }
});

Deno.test("every reduction, along rows, columns and both, of every dtype", () => {
  const combines = ["sum", "product", "max", "min", "argMax", "argMin"] as const;
  const shapes = [[1, 1], [3, 5], [5, 3], [4, 16], [17, 33], [40, 64], [2, 130], [130, 2], [0, 3], [
    3,
    0,
  ]] as const;
  for (const combine of combines) {
    for (const dtype of ["f32", "i32", "u32", "bool"] as const) {
      for (const [rows, columns] of shapes) {
        const x = fill(dtype, rows * columns, rows + columns);
        if (dtype === "f32" && combine === "product") x.set(x.map((v) => 1 + v / 30));
        if (dtype === "f32" && x.length > 20 && combine !== "sum" && combine !== "product") {
          x.set([NaN, -Infinity, NaN, 3], 9);
        }
        const result = combine.startsWith("arg") ? "i32" : dtype;
        const reduced: Expr = { kind: "reduced", dtype: result, stage: 0 };
        const run = (name: string, outer: number[], inner: number[], form: Affine): void => {
          const value = load(0, form, dtype);
          const at = affine(0, ...outer.map((_, k) => points(outer.slice(k + 1))));
          const kernel = fold(`${combine} ${dtype} ${name} of ${rows}x${columns}`, outer, [dtype], [
            { combine, axes: inner, dtype: result, value },
          ], [{ output: 0, at, axes: [], value: reduced }]);
          check(kernel, [x], [points(outer)], combine === "sum" || combine === "product" ? 1e-5 : 0);
        };
        run("rows", [rows], [columns], affine(0, columns, 1));
        run("columns", [columns], [rows], affine(0, 1, columns));
        run("everything", [], [rows, columns], affine(0, columns, 1));
        run("everything transposed", [], [columns, rows], affine(0, 1, columns));
      }
    }
  }
});

Deno.test("arg-extrema of equal values and of infinities take the first", () => {
  for (
    const values of [[2, 5, 5, 1, 5, 5, 1, 1, 1], [-Infinity, -Infinity, -Infinity, -Infinity, -Infinity], [
      Infinity,
      Infinity,
    ], [1, NaN, 3, NaN, 7, NaN]]
  ) {
    for (const combine of ["argMax", "argMin"] as const) {
      const n = values.length;
      const x = new Float32Array([...values, ...values.toReversed(), ...values]);
      const reduced: Expr = { kind: "reduced", dtype: "i32", stage: 0 };
      const kernel = fold(`${combine} of ${values}`, [3], ["f32"], [
        { combine, axes: [n], dtype: "i32", value: load(0, affine(0, n, 1)) },
      ], [{ output: 0, at: affine(0, 1), axes: [], value: reduced }]);
      check(kernel, [x], [3], 0);
    }
  }
});

/** Softmax and layer norm with gain and bias, over axis `inner` of a [points, steps] view. */
function rowKernels(count: number, steps: number, form: Affine): Fold[] {
  const x = load(0, form);
  const reduced = (stage: number): Expr => ({ kind: "reduced", dtype: "f32", stage });
  const shifted = un("exp", bin("sub", x, reduced(0)));
  const at = form;
  const softmax = fold(`softmax ${count}x${steps}`, [count], ["f32", "f32"], [
    { combine: "max", axes: [steps], dtype: "f32", value: x },
    { combine: "sum", axes: [steps], dtype: "f32", value: shifted },
  ], [{ output: 0, at, axes: [steps], value: bin("div", shifted, reduced(1)) }]);
  const mean = bin("mul", reduced(0), constant(1 / steps));
  const centred = bin("sub", x, mean);
  const scale = un("rsqrt", bin("add", bin("mul", reduced(1), constant(1 / steps)), constant(1e-5)));
  const norm = fold(`layer norm ${count}x${steps}`, [count], ["f32", "f32"], [
    { combine: "sum", axes: [steps], dtype: "f32", value: x },
    { combine: "sum", axes: [steps], dtype: "f32", value: bin("mul", centred, centred) },
  ], [
    {
      output: 0,
      at,
      axes: [steps],
      value: bin(
        "add",
        bin("mul", bin("mul", centred, scale), load(1, affine(0, 0, 1))),
        load(1, affine(steps, 0, 1)),
      ),
    },
    { output: 1, at: affine(0, 1), axes: [], value: mean },
  ]);
  return [softmax, norm];
}

Deno.test("row kernels with several stages, contiguous and strided", () => {
  for (const [count, steps] of [[1, 1], [3, 7], [5, 64], [37, 12], [200, 19], [64, 256]] as const) {
    for (const form of [affine(0, steps, 1), affine(0, 1, count)]) {
      for (const kernel of rowKernels(count, steps, form)) {
        const lengths = kernel.stores.map((_, k) => k === 0 ? count * steps : count);
        check(kernel, [fill("f32", count * steps, 9), fill("f32", 2 * steps, 10)], lengths, 2e-5);
      }
    }
  }
});

Deno.test("stages that do not need each other, among others that do", () => {
  for (const [count, steps] of [[1, 9], [4, 64], [6, 30], [64, 300], [130, 5]] as const) {
    for (const form of [affine(0, steps, 1), affine(0, 1, count)]) {
      const x = load(0, form);
      const equal = { ...x }; // another object
      const stage = (combine: Stage["combine"], value: Expr): Stage => ({
        combine,
        axes: [steps],
        dtype: combine === "argMax" ? "i32" : "f32",
        value,
      });
      const reduced = (number: number, dtype: DType = "f32"): Expr => ({
        kind: "reduced",
        dtype,
        stage: number,
      });
      const stages = [
        stage("sum", x),
        stage("max", bin("mul", x, equal)),
        stage("argMax", x),
        stage("min", equal),
        stage("sum", bin("sub", x, reduced(3))),
        stage("sum", bin("mul", equal, x)),
      ];
      const stores = stages.map(({ dtype }, k): Store => ({
        output: k,
        at: affine(0, 1),
        axes: [],
        value: reduced(k, dtype),
      }));
      const kernel = fold(`stages ${count}x${steps}`, [count], ["f32"], stages, stores);
      check(kernel, [fill("f32", count * steps, 14)], stages.map(() => count), 2e-5);
    }
  }
});

Deno.test("depthwise convolution, padded, strided and dilated", () => {
  for (
    const [size, stride, dilation] of [
      ...[[1, 1, 1], [4, 1, 1], [5, 1, 1], [6, 1, 1], [9, 2, 1], [16, 1, 1], [18, 2, 1]],
      ...[[19, 1, 2], [33, 1, 1], [34, 1, 1], [34, 2, 1], [35, 1, 3]],
    ] as [number, number, number][]
  ) {
    const [n, c] = [2, 3];
    const out = Math.floor((size + 2 * dilation - 2 * dilation - 1) / stride) + 1;
    const at = affine(
      -dilation * (size + 1),
      c * size * size,
      size * size,
      stride * size,
      stride,
      dilation * size,
      dilation,
    );
    const guards = [
      { form: affine(-dilation, 0, 0, stride, 0, dilation, 0), size },
      { form: affine(-dilation, 0, 0, 0, stride, 0, dilation), size },
    ];
    const value = bin("mul", load(0, at, "f32", guards), load(1, affine(0, 0, 9, 0, 0, 3, 1)));
    const kernel = fold(`depthwise ${size} stride ${stride} dilation ${dilation}`, [n, c, out, out], [
      "f32",
      "f32",
      "f32",
    ], [
      { combine: "sum", axes: [3, 3], dtype: "f32", value },
    ], [{
      output: 0,
      at: affine(0, c * out * out, out * out, out, 1),
      axes: [],
      value: bin("add", { kind: "reduced", dtype: "f32", stage: 0 }, load(2, affine(0, 0, 1, 0, 0))),
    }]);
    check(kernel, [fill("f32", n * c * size * size, 11), fill("f32", c * 9, 12), fill("f32", c, 13)], [
      n * c * out * out,
    ], 1e-5);
  }
});

Deno.test("windows with borders: maximum, average of what is inside, and long filters", () => {
  for (
    const [size, window, stride] of [[7, 3, 1], [16, 3, 2], [33, 3, 1], [24, 2, 2], [40, 21, 1]] as const
  ) {
    const padding = window >> 1;
    const out = Math.floor((size + 2 * padding - window) / stride) + 1;
    // Windows along both axes of [3, size, size], or along the last one where they are long.
    const isLong = window > 3;
    const axes = isLong ? [window] : [window, window];
    const shape = isLong ? [3, size, out] : [3, out, out];
    const rowStep = isLong ? 1 : stride;
    const at = affine(
      -padding * (isLong ? 1 : size + 1),
      ...[size * size, rowStep * size, stride],
      ...(isLong ? [1] : [size, 1]),
    );
    const across: Guard = { form: affine(-padding, 0, 0, stride, ...(isLong ? [1] : [0, 1])), size };
    const down: Guard = { form: affine(-padding, 0, stride, 0, 1, 0), size };
    const guards = isLong ? [across] : [down, across];
    const x = load(0, at, "f32", guards);
    const inside: Expr = { kind: "cast", dtype: "f32", x: { kind: "inside", dtype: "bool", guards } };
    const reduced = (stage: number): Expr => ({ kind: "reduced", dtype: "f32", stage });
    const outAt = affine(0, shape[1]! * out, out, 1);
    const kernel = fold(`windows ${size} ${window} ${stride}`, shape, ["f32"], [
      { combine: "sum", axes, dtype: "f32", value: x },
      { combine: "sum", axes, dtype: "f32", value: inside },
      { combine: "max", axes, dtype: "f32", value: load(0, at, "f32", guards, -Infinity) },
    ], [
      { output: 0, at: outAt, axes: [], value: bin("div", reduced(0), reduced(1)) },
      { output: 1, at: outAt, axes: [], value: reduced(2) },
    ]);
    check(kernel, [fill("f32", 3 * size * size, 20)], [points(shape), points(shape)], 1e-5);
  }
});

Deno.test("gradient of a depthwise filter: several reductions at once that share what they read", () => {
  for (
    const [size, combine] of [[3, "sum"], [5, "sum"], [12, "sum"], [33, "sum"], [9, "max"], [
      9,
      "argMin",
    ]] as const
  ) {
    const [n, c] = [2, 8];
    const at = affine(-size - 1, size * size, size, 1, c * size * size, size, 1);
    const guards = [
      { form: affine(-1, 0, 1, 0, 0, 1, 0), size },
      { form: affine(-1, 0, 0, 1, 0, 0, 1), size },
    ];
    const value = bin(
      "mul",
      load(0, at, "f32", guards),
      load(1, affine(0, size * size, 0, 0, c * size * size, size, 1)),
    );
    const dtype = combine === "argMin" ? "i32" : "f32";
    const kernel = fold(`filter gradient ${size} ${combine}`, [c, 3, 3], ["f32", "f32"], [
      { combine, axes: [n, size, size], dtype, value },
    ], [{ output: 0, at: affine(0, 9, 3, 1), axes: [], value: { kind: "reduced", dtype, stage: 0 } }]);
    const length = n * c * size * size;
    check(kernel, [fill("f32", length, 18), fill("f32", length, 19)], [c * 9], 1e-4);
  }
});

Deno.test("random expressions over random shapes and forms", () => {
  let state = 12345;
  const random = (n: number): number => {
    state = Math.imul(state, 1103515245) + 12345 >>> 0;
    return Math.floor((state >>> 8) / 2 ** 24 * n);
  };
  for (let round = 0; round < 120; round++) {
    const shape = Array.from({ length: 1 + random(3) }, () => 1 + random(round % 3 === 0 ? 20 : 6));
    const strides = shape.map((_, k) => points(shape.slice(k + 1)));
    const length = points(shape);
    const pool: Expr[] = [constant(1.5)];
    const bools: Expr[] = [];
    const form = (): Affine => {
      // Any affine form whose values stay within the input of 20000 elements.
      const coefficients = shape.map((_, k) => [strides[k]!, 0, 1, 2, -1][random(5)]!);
      let [low, high] = [0, 0];
      coefficients.forEach((c, k) => c < 0 ? low += c * (shape[k]! - 1) : high += c * (shape[k]! - 1));
      return { offset: -low + random(Math.max(1, 19999 - high + low)), coefficients };
    };
    for (let k = 0; k < 14; k++) {
      const pick = (): Expr => pool[Math.max(0, pool.length - 1 - random(5))]!;
      const kind = random(8);
      if (kind < 2) {
        const guards = random(2)
          ? [{
            form: affine(random(4) - 2, ...shape.map((_, k) => k === random(shape.length) ? 1 : 0)),
            size: 1 + random(9),
          }]
          : [];
        pool.push(load(random(2), form(), "f32", guards, random(3)));
      } else if (kind === 2) {
        pool.push(
          un((["tanh", "neg", "abs", "exp", "floor", "sin"] as const)[random(6)]!, un("tanh", pick())),
        );
      } else if (kind === 3) bools.push(bin((["lt", "ge", "eq"] as const)[random(3)]!, pick(), pick()));
      else if (kind === 4 && bools.length) {
        pool.push({
          kind: "select",
          dtype: "f32",
          condition: bools[random(bools.length)]!,
          a: pick(),
          b: pick(),
        });
      } else if (kind === 5) {
        const index: Expr = { kind: "cast", dtype: "i32", x: bin("mul", pick(), constant(3)) };
        pool.push({
          kind: "gather",
          dtype: "f32",
          input: 0,
          at: form(),
          index,
          stride: 0,
          size: 2 + random(9),
          guards: [],
          fill: 2,
        });
      } else pool.push(bin((["add", "sub", "mul", "max", "min"] as const)[random(5)]!, pick(), pick()));
    }
    const at = { offset: 0, coefficients: strides };
    const bounded = (e: Expr): Expr => un("tanh", bin("mul", e, constant(0.01)));
    const kernel = fold(`random ${round}`, shape, ["f32", "f32"], [], [
      { output: 0, at, axes: [], value: bounded(pool.at(-1)!) },
      { output: 1, at, axes: [], value: bounded(pool.at(-2)!) },
    ]);
    // Comparisons of values that differ by a rounding may go either way: allow few such elements.
    const inputs = [fill("f32", 20000, round), fill("f32", 20000, round + 1)];
    const [expected, actual] = [0, 1].map(() => [new Float32Array(length), new Float32Array(length)]) as [
      Float32Array[],
      Float32Array[],
    ];
    interpretKernel(kernel, inputs, expected);
    execute(kernel, inputs, actual, round % 2 === 0);
    const wrong = expected.flatMap((e, k) =>
      [...e].filter((v, i) => !(Math.abs(v - actual[k]![i]!) <= 1e-4))
    );
    assert(
      wrong.length <= 0.02 * length,
      `random ${round} over ${shape}: ${wrong.length} of ${length} elements differ`,
    );
  }
});

Deno.test("running sums, sorts and scatters", () => {
  for (
    const [outer, size, innerSize] of [[1, 1, 1], [3, 7, 1], [2, 5, 6], [2, 9, 8], [1, 1000, 1], [4, 0, 3], [
      3,
      4,
      0,
    ]] as const
  ) {
    for (const dtype of ["f32", "i32"] as const) {
      const length = outer * size * innerSize;
      const kernel: Kernel = {
        kind: "cumulative",
        label: "cumulative",
        inputs: [dtype],
        outputs: [dtype],
        outer,
        size,
        innerSize,
      };
      check(kernel, [fill(dtype, length, 14)], [length], 1e-6);
      for (const mode of ["set", "add"] as const) {
        const count = size + 3;
        const scatter: Kernel = {
          kind: "scatter",
          label: `scatter ${mode}`,
          inputs: [dtype, "i32", dtype],
          outputs: [dtype],
          outer,
          size,
          count,
          innerSize,
          mode,
        };
        const indices = new Int32Array(outer * count * innerSize).map((_, k) => (k * 7) % (size + 3) - 1);
        check(scatter, [fill(dtype, length, 15), indices, fill(dtype, indices.length, 16)], [length], 1e-6);
      }
    }
  }
  for (const [rows, size] of [[1, 1], [3, 2], [5, 7], [2, 64], [2, 1001], [4, 0]] as const) {
    for (const dtype of ["f32", "i32", "u32"] as const) {
      for (const descending of [false, true]) {
        const keys = fill(dtype, rows * size, 17).map((x) => Math.round(x)); // many equal keys
        if (dtype === "f32" && size > 60) keys.set([NaN, -0, 0, -Infinity, Infinity, NaN, -0], 20);
        if (dtype === "u32" && size > 60) keys.set([4294967295, 2147483648], 20);
        const kernel: Kernel = {
          kind: "sort",
          label: `sort ${dtype} ${rows}x${size} ${descending}`,
          inputs: [dtype],
          outputs: ["i32"],
          rows,
          size,
          descending,
        };
        check(kernel, [keys], [rows * size], 0);
      }
    }
  }
});
