/** Matrix products: NumPy's rules, how they are lowered, and their errors. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { dot, einsum, matmul, mul, outer, reshape, sin, slice, sum, tensor, zeros } from "../ops/mod.ts";
import { fuse } from "../src/compiler/fuse.ts";
import type { Contraction } from "../src/compiler/kernel.ts";
import { DTypeError, ShapeError } from "../src/errors.ts";
import { buildGraph } from "../src/graph.ts";
import type { Tensor } from "../src/tensor.ts";
import { grad, vmap } from "../src/transforms/mod.ts";
import { referenceOf } from "./support/check.ts";
import { onEachDevice } from "./support/devices.ts";

const counting = (...shape: number[]): Tensor => {
  const size = shape.reduce((product, n) => product * n, 1);
  return tensor(Float32Array.from({ length: size }, (_, k) => k - 2), { shape });
};

/** The matrix products that a tensor is compiled to. */
function contractions(...outputs: Tensor[]): Contraction[] {
  return fuse(buildGraph(outputs).graph, { packsOperands: true }).map(({ kernel }) => kernel)
    .filter((kernel) => kernel.kind === "contraction");
}

/** Sizes of the axes without those of size 1. */
function extents({ batch, rows, columns, inner }: Contraction): number[][] {
  return [batch, rows, columns, inner].map((axes) => axes.filter((size) => size > 1));
}

onEachDevice("matmul() takes vectors, matrices and stacks of them", async () => {
  assertEquals(await matmul(tensor([1, 2]), tensor([3, 4])).toArray(), 11);
  assertEquals(await matmul(tensor([1, 2]), tensor([[1, 2], [3, 4]])).toArray(), [7, 10]);
  assertEquals(await matmul(tensor([[1, 2], [3, 4]]), tensor([1, 2])).toArray(), [5, 11]);
  const stacked = matmul(tensor([[[1, 2]], [[3, 4]]]), tensor([[1, 0], [1, -1]]));
  assertEquals(await stacked.toArray(), [[[3, -2]], [[7, -4]]]);
});

onEachDevice("matmul() broadcasts leading axes", async () => {
  const [a, b] = [counting(2, 1, 2, 3), counting(4, 3, 2)];
  const together = await matmul(a, b).data();
  const alone = await Promise.all([0, 1].flatMap((i) =>
    [0, 1, 2, 3].map((j) => {
      const part = (x: Tensor, k: number, ...shape: number[]): Tensor =>
        tensor((x.host as Float32Array).slice(k * 6, k * 6 + 6), { shape });
      return matmul(part(counting(2, 1, 2, 3), i, 2, 3), part(counting(4, 3, 2), j, 3, 2)).data();
    })
  ));
  assertEquals([...together], alone.flatMap((values) => [...values]));
});

Deno.test("matmul() with a weight is one product over all rows, and so is the gradient of the weight", () => {
  const [x, weight] = [counting(2, 5, 3), counting(3, 4)];
  assertEquals(contractions(matmul(x, weight)).map(extents), [[[], [2, 5], [4], [3]]]);
  const cotangent = counting(2, 5, 4);
  const loss = (w: Tensor): Tensor => sum(einsum("bnd,bnd->", matmul(x, w), cotangent));
  assertEquals(contractions(grad(loss)(weight)).map(extents), [[[], [3], [4], [2, 5]]]);
});

Deno.test("matmul() under vmap gets rows or columns, not copies", () => {
  const [xs, weight] = [counting(6, 2, 3), counting(3, 4)];
  const overLeft = vmap((x: Tensor) => matmul(x, weight))(xs);
  assertEquals(contractions(overLeft).map(extents), [[[], [6, 2], [4], [3]]]);
  const overRight = vmap((w: Tensor) => matmul(counting(2, 3), w))(counting(6, 3, 4));
  assertEquals(contractions(overRight).map(extents), [[[], [2], [6, 4], [3]]]);
});

Deno.test("matmul() of transposed operands copies nothing", () => {
  const both = einsum("ki,jk->ij", counting(5, 4), counting(3, 5));
  const { graph } = buildGraph([both]);
  assertEquals(fuse(graph, { packsOperands: true }).length, 1);
});

onEachDevice("matmul() of rows, columns and sums over several axes that memory does not join", async () => {
  // Axes of four and of odd sizes, so that kernels walk a side by fours in one place and one by one in another.
  for (
    const [a, b, n, k] of [[3, 8, 64, 20], [5, 4, 36, 12], [2, 12, 7, 33], [7, 3, 96, 16], [
      6,
      16,
      128,
      64,
    ]] as const
  ) {
    const waves = (...shape: number[]): Tensor => mul(sin(counting(...shape)), 0.5);
    const x = slice(waves(a, b + 2, k), { starts: [0, 1], sizes: [a, b] });
    const w = slice(waves(3, n + 3, k), { starts: [0, 2], sizes: [3, n] });
    const outputs = [einsum("abk,cnk->canb", x, w), einsum("abk,cnk->abcn", x, w)];
    const expected = referenceOf(outputs);
    for (const [i, output] of outputs.entries()) {
      const values = await output.data();
      expected[i]!.data.forEach((value, e) =>
        assertAlmostEquals(values[e]!, value, 1e-5, `${[a, b, n, k]} ${i} ${e}`)
      );
    }
  }
});

onEachDevice("matmul() over nothing is zero", async () => {
  assertEquals(await matmul(zeros([2, 0]), zeros([0, 3])).toArray(), [[0, 0, 0], [0, 0, 0]]);
  assertEquals((await matmul(zeros([0, 2]), zeros([2, 3])).data()).length, 0);
});

Deno.test("matmul() says which sizes differ", () => {
  assertThrows(
    () => matmul(zeros([2, 3]), zeros([4, 5])),
    ShapeError,
    "Cannot matmul shapes [2, 3] and [4, 5]: the last axis of the first is 3 and the second to last of the second is 4",
  );
  assertThrows(() => matmul(zeros([2, 2, 3]), zeros([3, 3, 5])), ShapeError, "leading axes are 2 and 3");
  assertThrows(() => matmul(zeros([]), zeros([3])), ShapeError, "use mul for scalars");
  assertThrows(() => matmul(zeros([2, 2], { dtype: "i32" }), zeros([2, 2])), DTypeError, "f32 is required");
});

onEachDevice("dot() and outer() follow NumPy", async () => {
  assertEquals(dot(zeros([2, 3, 4]), zeros([5, 4, 6])).shape, [2, 3, 5, 6]);
  assertEquals(await dot(tensor(2), tensor([1, 2])).toArray(), [2, 4]);
  assertEquals(await dot(tensor([[1, 2], [3, 4]]), tensor([[1, 0], [1, -1]])).toArray(), [[3, -2], [7, -4]]);
  assertEquals(outer(zeros([2, 2]), zeros([3])).shape, [4, 3]);
  assertThrows(() => dot(zeros([3]), zeros([4])), ShapeError, "the summed axes are 3 and 4");
});

onEachDevice("einsum() knows diagonals, sums, ellipses and more than two operands", async () => {
  const a = tensor([[1, 2], [3, 4]]);
  assertEquals(await einsum("ii", a).item(), 5);
  assertEquals(await einsum("ii->i", a).toArray(), [1, 4]);
  assertEquals(await einsum("ij->ji", a).toArray(), [[1, 3], [2, 4]]);
  assertEquals(await einsum("ij->", a).item(), 10);
  assertEquals(await einsum("ba", a).toArray(), [[1, 3], [2, 4]]); // result in alphabetical order
  assertEquals(await einsum("ij,jk,kl->il", a, a, a).toArray(), [[37, 54], [81, 118]]);
  assertEquals(await einsum("i,j,k->kji", tensor([1, 2]), tensor([3]), tensor([5, 7])).toArray(), [
    [[15, 30]],
    [[21, 42]],
  ]);
  assertEquals(einsum("...ij,...jk->...ik", zeros([5, 6, 2, 3]), zeros([5, 6, 3, 4])).shape, [5, 6, 2, 4]);
  assertEquals(einsum("...i,ij", zeros([5, 6, 2]), zeros([2, 3])).shape, [5, 6, 3]);
  const poisoned = tensor([[1, Infinity], [NaN, 2]]);
  assertEquals(await einsum("ii->i", poisoned).toArray(), [1, 2]); // only the diagonal is read
});

Deno.test("einsum() refuses equations that do not fit", () => {
  const a = zeros([2, 3]);
  assertThrows(() => einsum("ij,jk->ik", a), TypeError, "2 operands, but 1 tensors are given");
  assertThrows(() => einsum("ijk->i", a), TypeError, "3 letters for a tensor of 2 axes");
  assertThrows(() => einsum("ij->k", a), TypeError, "k in the result is in no operand");
  assertThrows(() => einsum("ij->ii", a), TypeError, "i is twice in the result");
  assertThrows(() => einsum("ij,jk->ik", a, a), ShapeError, "j is 3 and 2");
  assertThrows(() => einsum("i1->i", a), TypeError, "letters");
  assertThrows(() => einsum("ij->i->j", a), TypeError, "one -> at most");
});

onEachDevice("matmul() is the same bits twice", async () => {
  const random = (...shape: number[]): Tensor => {
    const x = counting(...shape);
    return tensor((x.host as Float32Array).map((value) => Math.sin(value * value)), { shape });
  };
  const [a, b] = [random(37, 129), random(129, 41)];
  const first = await matmul(a, b).data();
  const second = await reshape(matmul(a, b), [37 * 41]).data();
  assertEquals(first, second);
  assert(first.some((value) => value !== 0));
});
