/** Indexing, scattering, sorting and running sums: their conventions and errors. */
import { assertEquals, assertThrows } from "@std/assert";
import {
  argsort,
  cumsum,
  iota,
  mul,
  oneHot,
  scatter,
  sort,
  sum,
  take,
  takeAlongAxis,
  tensor,
  topK,
  zeros,
} from "../ops/mod.ts";
import { AxisError, DTypeError, ShapeError } from "../src/errors.ts";
import { buildGraph } from "../src/graph.ts";
import type { Tensor } from "../src/tensor.ts";
import { grad, jvp } from "../src/transforms/mod.ts";
import { onEachDevice } from "./support/devices.ts";

const i32 = (values: Parameters<typeof tensor>[0]): Tensor => tensor(values, { dtype: "i32" });

onEachDevice("take() puts the axes of the indices in the place of the axis", async () => {
  const x = tensor([[1, 2, 3], [4, 5, 6]]);
  assertEquals(await take(x, i32([[2, 0], [1, 1]]), { axis: 1 }).toArray(), [
    [[3, 1], [2, 2]],
    [[6, 4], [5, 5]],
  ]);
  assertEquals(await take(x, i32(1)).toArray(), [4, 5, 6]);
  assertEquals(await take(x, tensor(Uint8Array.of(1, 0))).toArray(), [[4, 5, 6], [1, 2, 3]]);
});

onEachDevice("take() counts negative indices from the end; out of range is NaN, 0 or false", async () => {
  const at = i32([-1, 3, -4, 0]);
  assertEquals(await take(tensor([1, 2, 3]), at).toArray(), [3, NaN, NaN, 1]);
  assertEquals(await take(i32([1, 2, 3]), at).toArray(), [3, 0, 0, 1]);
  assertEquals(await take(tensor([true, true, true]), at).toArray(), [true, false, false, true]);
});

onEachDevice(
  "indices from -K to K - 1 are elements, others are none, in all that takes indices",
  async () => {
    const far = [-2147483648, -4, -3, -2, -1, 0, 1, 2, 3, 2147483647];
    const right = [NaN, NaN, 10, 20, 30, 10, 20, 30, NaN, NaN];
    const x = tensor([10, 20, 30]);
    assertEquals(await take(x, i32(far)).toArray(), right);
    assertEquals(await takeAlongAxis(x, i32(far)).toArray(), right);
    const wide = tensor([4294967295, 3, 2, 0], { dtype: "u32" });
    assertEquals(await take(x, wide).toArray(), [NaN, NaN, 30, 10]);
    for (const mode of ["set", "add"] as const) {
      const placed = far.map((index) => scatter(zeros([3]), i32([index]), tensor([1]), { mode }));
      for (const [k, y] of placed.entries()) {
        const place = right[k]! / 10 - 1;
        assertEquals(await y.toArray(), [0, 1, 2].map((p) => p === place ? 1 : 0), `${far[k]}`);
      }
    }
    const hot = await oneHot(i32(far), { classes: 3 }).toArray() as number[][];
    assertEquals(hot, far.map((index) => [0, 1, 2].map((p) => p === index ? 1 : 0)));
  },
);

onEachDevice("take(): repeated indices add their gradients, lost ones have none", async () => {
  const weights = tensor([1, 10, 100, 1000]);
  const f = (x: Tensor): Tensor => sum(mul(take(x, i32([1, 1, -1, 9])), weights));
  for (const size of [3, 300]) {
    const gradient = await grad(f)(zeros([size])).data();
    assertEquals([gradient[0], gradient[1], gradient[size - 1]], [0, 11, 100]);
  }
  const [, tangent] = jvp((x: Tensor) => take(x, i32([1, 9])), [zeros([3])], [tensor([5, 6, 7])]);
  assertEquals(await tangent.toArray(), [6, 0]);
});

Deno.test("take(): the gradient along a short axis is a sum, along a long one a scatter", () => {
  const kinds = (size: number): string[] => {
    const gradient = grad((x: Tensor) => sum(take(x, i32([1, 2]))))(zeros([size]));
    return buildGraph([gradient]).graph.nodes.map(({ op }) => op?.name ?? "input");
  };
  assertEquals(kinds(21).includes("scatter"), false);
  assertEquals(kinds(1000).includes("scatter"), true);
});

onEachDevice("takeAlongAxis() picks for every row", async () => {
  const x = tensor([[10, 20, 30], [40, 50, 60]]);
  assertEquals(await takeAlongAxis(x, i32([[2, -1], [0, 5]])).toArray(), [[30, 30], [40, NaN]]);
  assertEquals(await takeAlongAxis(x, i32([[1, 0, 1]]), { axis: 0 }).toArray(), [[40, 20, 60]]);
});

Deno.test("indexing says what does not fit", () => {
  const x = zeros([2, 3]);
  assertThrows(() => take(x, zeros([2])), DTypeError, "i32 or u32 is required");
  assertThrows(() => take(x, i32([0]), { axis: 2 }), AxisError, "axis must be in -2..1");
  assertThrows(() => takeAlongAxis(x, i32([[0]]), { axis: 1 }), ShapeError, "except along axis 1");
  assertThrows(() => scatter(x, i32([[0, 0, 0]]), zeros([1, 2])), ShapeError, "the shapes must be equal");
  assertThrows(() => scatter(x, i32([[0, 0, 0]]), i32([[0, 0, 0]])), DTypeError, "the dtypes must be equal");
  const flags = tensor([true]);
  assertThrows(() => scatter(flags, i32([0]), flags, { mode: "add" }), DTypeError, "f32 or i32 or u32");
  assertThrows(() => oneHot(i32([0]), { classes: -1 }), RangeError, "-1 classes");
});

onEachDevice(
  "scatter(): of duplicate indices the last is set, all are added, those out of range dropped",
  async () => {
    const x = tensor([1, 2, 3, 4]);
    const at = i32([1, 1, -1, 7, -9]);
    const updates = tensor([10, 20, 30, 40, 50]);
    assertEquals(await scatter(x, at, updates).toArray(), [1, 20, 3, 30]);
    assertEquals(await scatter(x, at, updates, { mode: "add" }).toArray(), [1, 32, 3, 34]);
  },
);

onEachDevice("scatter(): what is overwritten has no gradient", async () => {
  const at = i32([1, 1, 7, 3]);
  const weights = tensor([1, 2, 4, 8]);
  const gradients = (mode: "set" | "add"): Tensor[] =>
    grad(
      (x: Tensor, updates: Tensor) => sum(mul(scatter(x, at, updates, { mode }), weights)),
      { argnums: [0, 1] },
    )(zeros([4]), zeros([4])) as Tensor[];
  const [setX, setUpdates] = gradients("set");
  assertEquals(await setX!.toArray(), [1, 0, 4, 0]);
  assertEquals(await setUpdates!.toArray(), [0, 2, 0, 8]);
  const [addX, addUpdates] = gradients("add");
  assertEquals(await addX!.toArray(), [1, 2, 4, 8]);
  assertEquals(await addUpdates!.toArray(), [2, 2, 0, 8]);
});

onEachDevice("oneHot() puts the classes where asked, and zeros for what is none", async () => {
  const x = oneHot(i32([1, 255, -1]), { classes: 2, axis: 0, dtype: "i32" });
  assertEquals(await x.toArray(), [[0, 0, 0], [1, 0, 0]]);
});

onEachDevice("argsort() is stable in both directions, with NaN last", async () => {
  const x = tensor([2, NaN, 1, 2, -0, 0, NaN, Infinity]);
  assertEquals(await argsort(x).toArray(), [4, 5, 2, 0, 3, 7, 1, 6]);
  assertEquals(await argsort(x, { descending: true }).toArray(), [7, 0, 3, 2, 4, 5, 1, 6]);
  const many = tensor(Int32Array.from({ length: 1000 }, (_, k) => (k * 37) % 10));
  const expected = Array.from({ length: 1000 }, (_, k) => k).sort((a, b) =>
    (a * 37) % 10 - (b * 37) % 10 || a - b
  );
  assertEquals(await argsort(many).toArray(), expected);
});

onEachDevice("sort() goes along any axis and takes every dtype", async () => {
  assertEquals(await sort(tensor([[3, 1], [2, 4]]), { axis: 0, descending: true }).toArray(), [[3, 4], [
    2,
    1,
  ]]);
  assertEquals(await sort(tensor([true, false, true])).toArray(), [false, true, true]);
  assertEquals(await sort(tensor(Uint32Array.of(4294967295, 0, 7))).toArray(), [0, 7, 4294967295]);
  assertEquals(await sort(i32([-5, 3, -7])).toArray(), [-7, -5, 3]);
});

onEachDevice("sort() hands gradients back to where the elements stood", async () => {
  const gradient = grad((x: Tensor) => sum(mul(sort(x), tensor([1, 10, 100]))))(tensor([5, 3, 4]));
  assertEquals(await gradient.toArray(), [100, 1, 10]);
});

onEachDevice("topK() gives the largest with their places", async () => {
  const { values, indices } = topK(tensor([[1, 9, 3], [7, 7, 8]]), { k: 2 });
  assertEquals(await values.toArray(), [[9, 3], [8, 7]]);
  assertEquals(await indices.toArray(), [[1, 2], [2, 0]]);
  assertThrows(() => topK(tensor([1, 2]), { k: 3 }), RangeError, "it has 2 elements");
});

onEachDevice("cumsum() adds up along an axis; integers wrap, flags count", async () => {
  assertEquals(await cumsum(tensor([[1, 2], [3, 4]]), { axis: -1 }).toArray(), [[1, 3], [3, 7]]);
  assertEquals(await cumsum(tensor([true, false, true])).toArray(), [1, 1, 2]);
  assertEquals(await cumsum(i32([2147483647, 1])).toArray(), [2147483647, -2147483648]);
  const ranks = cumsum(oneHot(i32([1, 0, 1]), { classes: 2, dtype: "i32" }), { axis: 0 });
  assertEquals(await ranks.toArray(), [[0, 1], [1, 1], [1, 2]]);
  assertEquals(await grad((x: Tensor) => sum(cumsum(x)))(zeros([3])).toArray(), [3, 2, 1]);
  assertEquals(await cumsum(iota([4])).toArray(), [0, 1, 3, 6]);
});
