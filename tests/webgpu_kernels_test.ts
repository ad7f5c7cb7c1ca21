import { assertEquals } from "@std/assert";
import type { Cumulative, Scatter, Sort } from "../src/compiler/kernel.ts";
import type { DType, TensorData } from "../src/dtype.ts";
import { check, integers, noise, runBoth, webgpuTest } from "./support/webgpu.ts";

function cumulative(dtype: DType, outer: number, size: number, innerSize: number): Cumulative {
  return {
    kind: "cumulative",
    label: `cumulative ${dtype} ${outer} ${size} ${innerSize}`,
    inputs: [dtype],
    outputs: [dtype],
    outer,
    size,
    innerSize,
  };
}

webgpuTest("running sums", async (device) => {
  for (
    const [outer, size, inner] of [[1, 1, 1], [3, 7, 5], [2, 512, 1], [2, 513, 3], [1, 0, 4], [
      0,
      3,
      2,
    ]] as const
  ) {
    const length = outer * size * inner;
    await check(device, cumulative("i32", outer, size, inner), [integers(length, 100)], [length], 0);
    const x = Float32Array.from(integers(length, 9));
    await check(device, cumulative("f32", outer, size, inner), [x], [length], 0);
  }
  const long = new Int32Array(100003).fill(1);
  const { actual } = await runBoth(device, cumulative("i32", 1, long.length, 1), [long], [long.length]);
  assertEquals(actual[0]!.findIndex((x, k) => x !== k + 1), -1);
  // The error does not grow with the number of terms, and nothing is given back beyond the largest float.
  const equal = new Float32Array(100003).fill(0.1);
  await check(device, cumulative("f32", 1, equal.length, 1), [equal], [equal.length], 2e-7);
  equal[500] = Infinity;
  equal[77777] = -Infinity;
  await check(device, cumulative("f32", 1, equal.length, 1), [equal], [equal.length], 2e-7);
});

function sort(dtype: DType, rows: number, size: number, descending: boolean): Sort {
  const label = `sort ${dtype} ${rows} ${size} ${descending}`;
  return { kind: "sort", label, inputs: [dtype], outputs: ["i32"], rows, size, descending };
}

webgpuTest("argsort: stable, NaN last", async (device) => {
  for (
    const [rows, size] of [[1, 1], [3, 7], [2, 64], [2, 65], [1, 256], [2, 300], [1, 1500], [0, 4], [
      4,
      0,
    ]] as const
  ) {
    const length = rows * size;
    const x = Float32Array.from(integers(length, 40), (k) => (k - 20) / 4);
    if (length > 6) [x[1], x[3], x[4], x[5], x[6]] = [NaN, Infinity, -Infinity, -0, NaN];
    const keys: [DType, TensorData][] = [
      ["f32", x],
      ["i32", integers(length, 30).map((k) => k - 15)],
      ["u32", Uint32Array.from(integers(length, 30), (k) => k * 100000000)],
    ];
    for (const [dtype, data] of keys) {
      for (const descending of [false, true]) {
        await check(device, sort(dtype, rows, size, descending), [data], [length], 0);
      }
    }
  }
});

function scatter(
  mode: "set" | "add",
  dtype: DType,
  [outer, size, count, innerSize]: readonly number[],
): Scatter {
  return {
    kind: "scatter",
    label: `scatter ${mode} ${dtype} ${outer} ${size} ${count} ${innerSize}`,
    inputs: [dtype, "i32", dtype],
    outputs: [dtype],
    outer: outer!,
    size: size!,
    count: count!,
    innerSize: innerSize!,
    mode,
  };
}

webgpuTest(
  "scatter: the last of several wins, sums have an order, indices outside are dropped",
  async (device) => {
    for (
      const shape of [[1, 1, 1, 1], [2, 5, 3, 4], [1, 40, 33, 2], [3, 2, 0, 2], [2, 0, 3, 2], [
        1,
        2000,
        3000,
        1,
      ], [2, 300, 2500, 3]]
    ) {
      const [outer, size, count, inner] = shape as [number, number, number, number];
      const indices = integers(outer * count * inner, size + 2).map((k) => k - 1);
      for (const mode of ["set", "add"] as const) {
        const length = outer * size * inner;
        const [base, updates] = [noise(length), noise(indices.length, 2)];
        await check(device, scatter(mode, "f32", shape), [base, indices, updates], [length], 1e-5, 1);
        const whole = [integers(length, 50), indices, integers(indices.length, 50, 3)];
        await check(device, scatter(mode, "i32", shape), whole, [length], 0);
      }
    }
  },
);

webgpuTest("scatter of many updates to one element", async (device) => {
  const count = 70001;
  const shape = [1, 80, count, 1];
  const inputs = [new Int32Array(80), new Int32Array(count).fill(3), new Int32Array(count).fill(1)];
  await check(device, scatter("add", "i32", shape), inputs, [80], 0);
  await check(device, scatter("set", "i32", shape), inputs, [80], 0);
});
