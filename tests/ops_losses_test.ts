/** Losses, resizing and instance norm: against the official code's results, and their conventions. */
import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  crossEntropy,
  gelu,
  instanceNorm,
  mul,
  ohemCrossEntropy,
  resize,
  sum,
  tensor,
  zeros,
} from "../ops/mod.ts";
import type { ArrayEntry } from "../src/io/array.ts";
import { DTypeError, ShapeError } from "../src/errors.ts";
import type { Tensor } from "../src/tensor.ts";
import { grad, valueAndGrad, vjp } from "../src/transforms/mod.ts";
import { onEachDevice } from "./support/devices.ts";
import { assertGolden, loadGolden } from "./support/golden.ts";

const golden = await loadGolden("f_losses_ops");
const forward = { relative: 1e-6 };
const backward = { relative: 1e-5 };

/** A tensor of the golden file; u8 becomes u32. */
function stored(name: string): Tensor {
  const { data, shape } = golden.get(name) as ArrayEntry & { data: Float32Array | Uint8Array };
  return tensor(data, { shape });
}

const lossCases: [string, (logits: Tensor, targets: Tensor) => Tensor][] = [
  ["ce", (logits, targets) => crossEntropy(logits, targets)],
  ["ohem_keep_all", (logits, targets) => ohemCrossEntropy(logits, targets)],
  ["ohem_thresh", (logits, targets) => ohemCrossEntropy(logits, targets, { minKept: 50 })],
  ["ohem_raised", (logits, targets) => ohemCrossEntropy(logits, targets, { minKept: 700 })],
];

for (const [name, loss] of lossCases) {
  onEachDevice(`golden ${name}: loss and gradient`, async () => {
    const [value, gradient] = valueAndGrad((logits: Tensor) => loss(logits, stored(`${name}/target`)))(
      stored(`${name}/logits`),
    );
    assertGolden(golden, `${name}/loss`, await value.data(), forward);
    assertGolden(golden, `${name}/grad`, await gradient.data(), backward);
  });
}

const mapCases: [string, (x: Tensor, like: Tensor) => Tensor][] = [
  ...[...golden.keys()].filter((name) => name.startsWith("bilinear/") && name.endsWith("/x")).map((
    name,
  ): [string, (x: Tensor, like: Tensor) => Tensor] => [
    name.slice(0, -2),
    (x, like) => resize(x, { size: [like.shape[2]!, like.shape[3]!] }),
  ]),
  ["instnorm", (x) => instanceNorm(x)],
  ["gelu", (x) => gelu(x)],
];

for (const [name, f] of mapCases) {
  onEachDevice(`golden ${name}: values and gradient`, async () => {
    const expected = stored(`${name}/y`);
    const hasCotangent = golden.has(`${name}/cot`);
    const [y, pullback] = vjp((x: Tensor) => f(x, expected), stored(`${name}/x`));
    assertGolden(golden, `${name}/y`, await y.data(), { relative: 1e-6, absolute: 1e-6 });
    const [gradient] = hasCotangent
      ? pullback(stored(`${name}/cot`))
      : vjp((x: Tensor) => sum(f(x, expected)), stored(`${name}/x`))[1](tensor(1));
    assertGolden(golden, `${name}/grad`, await gradient!.data(), { relative: 1e-5, absolute: 1e-6 });
  });
}

onEachDevice("crossEntropy() of nothing but ignored labels is 0 with zero gradients", async () => {
  const targets = tensor([[255, 255]], { dtype: "i32" });
  const logits = tensor([[[1, 2], [3, 4], [5, 6]]]);
  for (const loss of [crossEntropy, ohemCrossEntropy]) {
    const [value, gradient] = valueAndGrad((x: Tensor) => loss(x, targets))(logits);
    assertEquals(await value.item(), 0);
    assertEquals(await gradient.data(), new Float32Array(6));
  }
});

onEachDevice("crossEntropy() of a target that is no class is NaN, unless it is ignored", async () => {
  const logits = tensor([[0, 0], [0, 0]]);
  assertEquals(await crossEntropy(logits, tensor([0, 7], { dtype: "i32" })).item(), NaN);
  const ignored = crossEntropy(logits, tensor([0, 7], { dtype: "i32" }), { ignoreIndex: 7 });
  assertAlmostEquals(await ignored.item(), Math.log(2), 1e-6);
});

onEachDevice("losses of targets that are no class, negative ones too, are NaN", async () => {
  const logits = tensor([[1, 2, 5], [0, 9, 0]]);
  for (const bad of [-1, -2, -3, -4, 3, 7, 2147483647, -2147483648]) {
    const targets = tensor([bad, 0], { dtype: "i32" });
    assertEquals(await crossEntropy(logits, targets).item(), NaN, `${bad}`);
    assertEquals(await crossEntropy(logits, targets, { reduction: "sum" }).item(), NaN, `${bad}`);
    const each = await crossEntropy(logits, targets, { reduction: "none" }).data();
    assertEquals([each[0], Number.isFinite(each[1])], [NaN, true], `${bad}`);
    for (const minKept of [0, 1, 2, 3, 200_000]) {
      assertEquals(await ohemCrossEntropy(logits, targets, { minKept }).item(), NaN, `${bad}, ${minKept}`);
    }
    // The same number ignored is no class, and does not count.
    const kept = ohemCrossEntropy(logits, targets, { ignoreIndex: bad, minKept: 1 });
    assertAlmostEquals(await kept.item(), 9.00024676, 1e-5);
  }
  const large = tensor([4294967295, 0], { dtype: "u32" });
  assertEquals(await crossEntropy(logits, large).item(), NaN);
  assertEquals(await ohemCrossEntropy(logits, large, { minKept: 1 }).item(), NaN);
  // Scores that are NaN do not make the loss smaller either.
  const broken = tensor([[NaN, 2, 5], [0, 9, 0]]);
  assertEquals(await ohemCrossEntropy(broken, tensor([1, 0], { dtype: "i32" }), { minKept: 1 }).item(), NaN);
});

onEachDevice("crossEntropy() weighs pixels and divides by their number", async () => {
  const logits = tensor([[0, 0], [0, 0], [5, 1]]);
  const targets = tensor([0, 1, 255], { dtype: "i32" });
  const weights = tensor([1, 0.5, 9]);
  const mean = await crossEntropy(logits, targets, { weights }).item();
  assertAlmostEquals(mean, Math.log(2) * 0.75, 1e-6);
  const total = await crossEntropy(logits, targets, { weights, reduction: "sum" }).item();
  assertAlmostEquals(total, Math.log(2) * 1.5, 1e-6);
  const each = await crossEntropy(logits, targets, { reduction: "none" }).data();
  assertEquals(each.length, 3);
  assertEquals(each[2], 0);
});

onEachDevice("crossEntropy() stays finite for logits that softmax would round to 0", async () => {
  const [value, gradient] = valueAndGrad((x: Tensor) => crossEntropy(x, tensor([0], { dtype: "i32" })))(
    tensor([[-1000, 0]]),
  );
  assertEquals(await value.item(), 1000);
  assertEquals(await gradient.toArray(), [[-1, 1]]);
});

onEachDevice("ohemCrossEntropy() keeps the hardest, with no gradient through the choice", async () => {
  const logits = tensor([[0, 0], [1, 0], [9, 0]]);
  const targets = tensor([0, 0, 0], { dtype: "i32" });
  const loss = (x: Tensor): Tensor => ohemCrossEntropy(x, targets, { minKept: 1, threshold: 0.6 });
  assertAlmostEquals(await loss(logits).item(), Math.log(2), 1e-6);
  const gradient = await grad(loss)(logits).data();
  assert(gradient.slice(2).every((value) => value === 0));
  const two = ohemCrossEntropy(logits, targets, { minKept: 2, threshold: 0.6 });
  assertAlmostEquals(await two.item(), (Math.log(2) + Math.log1p(Math.exp(-1))) / 2, 1e-6);
});

Deno.test("crossEntropy() refuses targets of another shape or type, and weights that do not broadcast", () => {
  const logits = zeros([2, 3, 4]);
  assertThrows(() => crossEntropy(logits, zeros([2, 4])), DTypeError, "i32 or u32");
  assertThrows(
    () => crossEntropy(logits, zeros([2, 3], { dtype: "i32" })),
    ShapeError,
    "must have shape [2, 4]",
  );
  const targets = zeros([2, 4], { dtype: "i32" });
  assertThrows(() => crossEntropy(logits, targets, { weights: zeros([3]) }), ShapeError, "must broadcast");
  assertThrows(() => ohemCrossEntropy(logits, targets, { minKept: -1 }), RangeError, "minKept");
});

onEachDevice("resize() aligns corners or edges, and holds the border", async () => {
  const x = tensor([[0, 4, 8]]);
  assertEquals(await resize(x, { size: [1, 5], alignCorners: true }).toArray(), [[0, 2, 4, 6, 8]]);
  assertEquals(await resize(x, { size: [1, 6] }).toArray(), [[0, 1, 3, 5, 7, 8]]);
  assertEquals(await resize(x, { size: [1, 1], alignCorners: true }).toArray(), [[0]]);
  assertEquals(await resize(tensor([[3]]), { size: [2, 2] }).toArray(), [[3, 3], [3, 3]]);
});

onEachDevice("resize() by nearest takes integers and keeps infinities apart", async () => {
  const x = tensor([[1, 255], [3, 4]], { dtype: "i32" });
  const size = [3, 4] as const;
  assertEquals(await resize(x, { size, method: "nearest" }).toArray(), [
    [1, 1, 255, 255],
    [1, 1, 255, 255],
    [3, 3, 4, 4],
  ]);
  const y = await resize(tensor([[1, Infinity]]), { size: [1, 4], method: "nearest" }).toArray();
  assertEquals(y, [[1, 1, Infinity, Infinity]]);
});

Deno.test("resize() refuses sizes that are none, and integers between pixels", () => {
  assertThrows(() => resize(zeros([2, 2]), { size: [0, 2] }), RangeError, "at least 1");
  assertThrows(() => resize(zeros([2]), { size: [1, 2] }), ShapeError, "[..., H, W]");
  assertThrows(() => resize(zeros([2, 2], { dtype: "i32" }), { size: [3, 3] }), DTypeError, "bilinearly");
});

onEachDevice("resize() commutes with a product by channels", async () => {
  const x = tensor([[[1, 2], [3, 4]], [[5, 6], [7, 8]]]);
  const gain = tensor([[[2]], [[-1]]]);
  const a = await resize(mul(x, gain), { size: [3, 3] }).data();
  const b = await mul(resize(x, { size: [3, 3] }), gain).data();
  a.forEach((value, k) => assertAlmostEquals(value, b[k]!, 1e-5));
});
