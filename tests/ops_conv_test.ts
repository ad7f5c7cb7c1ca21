/** Convolution and pooling: values, how they are lowered, gradients of every kind, and errors. */
import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { avgPool2d, conv2d, convTranspose2d, maxPool2d, ones, sum, tensor, zeros } from "../ops/mod.ts";
import { fuse } from "../src/compiler/fuse.ts";
import { DTypeError, ShapeError } from "../src/errors.ts";
import { buildGraph } from "../src/graph.ts";
import { primitives } from "../src/primitive.ts";
import { interpretNode } from "../src/reference.ts";
import { makeNode, type Tensor } from "../src/tensor.ts";
import { grad, vjp } from "../src/transforms/mod.ts";
import { assertClose, referenceOf } from "./support/check.ts";
import { primitiveCases } from "./support/cases.ts";
import { onEachDevice } from "./support/devices.ts";
import { inputsOf } from "./support/laws.ts";

const counting = (...shape: number[]): Tensor => {
  const size = shape.reduce((product, n) => product * n, 1);
  return tensor(Float32Array.from({ length: size }, (_, k) => (k * 7) % 11 - 5), { shape });
};

function kernels(...outputs: Tensor[]): string[] {
  return fuse(buildGraph(outputs).graph, { packsOperands: true }).map(({ kernel }) => kernel.kind);
}

// The laws check what a composition is written out to; its own reference is written independently of that.
for (const op of primitives().filter(({ lowering }) => lowering.kind === "composition")) {
  Deno.test(`${op.name}: what it is written out to computes its reference`, () => {
    primitiveCases(op).forEach((example, k) => {
      const inputs = inputsOf(example);
      const { params } = op.samples[k]!;
      const output = makeNode(op, inputs, params);
      const given = inputs.map((x) => ({ shape: x.shape, data: Float64Array.from(x.host!) }));
      const expected = interpretNode(op, given, params, output);
      const [actual] = referenceOf([output]);
      assertEquals([...actual!.shape], [...expected.shape]);
      assertClose(actual!.data, expected.data, `${op.name} ${JSON.stringify(params)}`, {
        relative: 1e-12,
        absolute: 1e-12,
      });
    });
  });
}

onEachDevice("conv2d() is a cross-correlation", async () => {
  const x = tensor([[[[1, 2, 3], [4, 5, 6], [7, 8, 9]]]]);
  const w = tensor([[[[1, 0], [0, -1]]]]);
  assertEquals(await conv2d(x, w).toArray(), [[[[-4, -4], [-4, -4]]]]);
  assertEquals(await conv2d(x, w, { stride: 2, padding: 1 }).toArray(), [[[[-1, -3], [-7, -4]]]]);
  assertEquals(await conv2d(x, w, { dilation: 2 }).toArray(), [[[[-8]]]]);
});

Deno.test("conv2d() and its gradients are matrix products, depthwise ones folds", () => {
  const [x, w] = [counting(2, 4, 8, 8), counting(6, 4, 3, 3)];
  const [y, pullback] = vjp((x: Tensor, w: Tensor) => conv2d(x, w, { padding: 1 }), x, w);
  assertEquals(kernels(y), ["contraction"]);
  for (const gradient of pullback(counting(2, 6, 8, 8))) assertEquals(kernels(gradient), ["contraction"]);
  const own = counting(4, 1, 3, 3);
  const [z, pullDepthwise] = vjp((x: Tensor, w: Tensor) => conv2d(x, w, { padding: 1, groups: 4 }), x, own);
  assertEquals(kernels(z), ["fold"]);
  for (const gradient of pullDepthwise(counting(2, 4, 8, 8))) assertEquals(kernels(gradient), ["fold"]);
});

Deno.test("conv2d(): the gradient in the images is one product for each phase of the stride, or one for patches", () => {
  const inputGradient = (images: Tensor, filters: Tensor, stride: number, padding: number): Tensor => {
    const [y, pullback] = vjp((x: Tensor) => conv2d(x, filters, { stride, padding }), images);
    return pullback(ones(y.shape))[0]!;
  };
  const x = counting(2, 3, 9, 9);
  assertEquals(kernels(inputGradient(x, counting(4, 3, 3, 3), 2, 1)), Array(4).fill("contraction"));
  // 9 = 2 · 4 + 1: the last row and column belong to no patch.
  const patches = kernels(inputGradient(x, counting(4, 3, 4, 4), 4, 0)).filter((kind) =>
    kind === "contraction"
  );
  assertEquals(patches.length, 1);
});

onEachDevice("convTranspose2d() turns conv2d around", async () => {
  const x = tensor([[[[1, 2], [3, 4]]]]);
  const y = convTranspose2d(x, tensor([[[[1, 10], [100, 1000]]]]), { stride: 2 });
  assertEquals(await y.toArray(), [[[[1, 10, 2, 20], [100, 1000, 200, 2000], [3, 30, 4, 40], [
    300,
    3000,
    400,
    4000,
  ]]]]);
  const sizes = [0, 1].map((outputPadding) =>
    convTranspose2d(zeros([1, 2, 5, 5]), zeros([2, 3, 3, 3]), { stride: 2, padding: 1, outputPadding }).shape
  );
  assertEquals(sizes, [[1, 3, 9, 9], [1, 3, 10, 10]]);
});

onEachDevice("conv2d() of no images is empty, and its filters get zero gradients", async () => {
  const w = counting(3, 2, 3, 3);
  const y = conv2d(zeros([0, 2, 5, 5]), w);
  assertEquals(y.shape, [0, 3, 3, 3]);
  assertEquals((await y.data()).length, 0);
  const gradient = grad((w: Tensor) => sum(conv2d(zeros([0, 2, 5, 5]), w)))(w);
  assertEquals(await gradient.data(), new Float32Array(54));
});

Deno.test("conv2d() says what does not fit", () => {
  const message = "Cannot apply conv2d to x [2, 3, 224, 224] and weight [64, 4, 7, 7]: " +
    "x has 3 channels but weight expects 4 (groups = 1)";
  assertThrows(() => conv2d(zeros([2, 3, 224, 224]), zeros([64, 4, 7, 7])), ShapeError, message);
  const [x, w] = [zeros([1, 2, 3, 3]), zeros([2, 2, 3, 3])];
  assertThrows(() => conv2d(zeros([2, 3, 3]), w), ShapeError, "[N, C, H, W] is required");
  assertThrows(
    () => conv2d(x, w, { dilation: 2 }),
    ShapeError,
    "the filter spans 5 pixels, the padded image 3",
  );
  assertThrows(() => conv2d(x, w, { stride: 0 }), RangeError, "stride 0");
  assertThrows(() => conv2d(x, w, { padding: [1, 0.5] }), RangeError, "padding 0.5");
  assertThrows(() => conv2d(x, w, { groups: 3 }), RangeError, "groups 3");
  assertThrows(() => conv2d(zeros([1, 2, 3, 3], { dtype: "i32" }), w), DTypeError, "f32 is required");
  assertThrows(
    () => convTranspose2d(x, zeros([3, 2, 3, 3])),
    ShapeError,
    "x has 2 channels but weight expects 3",
  );
  assertThrows(() => convTranspose2d(x, w, { outputPadding: 1 }), RangeError, "outputPadding 1");
  assertThrows(() => convTranspose2d(x, w, { padding: 4 }), ShapeError, "leaves an image of size");
});

onEachDevice("maxPool2d() pads with nothing and shares ties", async () => {
  const x = tensor([[[[-1, -2], [-3, -4]]]]);
  assertEquals(await maxPool2d(x, { size: 2, padding: 1 }).toArray(), [[[[-1, -2], [-3, -4]]]]);
  const ties = grad((x: Tensor) => sum(maxPool2d(x, { size: 2 })))(ones([1, 1, 2, 2]));
  assertEquals(await ties.toArray(), [[[[0.25, 0.25], [0.25, 0.25]]]]);
});

onEachDevice("avgPool2d() counts padding unless told otherwise", async () => {
  const options = { size: 3, stride: 2, padding: 1 };
  const x = ones([1, 1, 3, 3]);
  const all = await avgPool2d(x, options).data();
  all.forEach((value) => assertAlmostEquals(value, 4 / 9, 1e-6));
  const covered = await avgPool2d(x, { ...options, countIncludePad: false }).data();
  covered.forEach((value) => assertAlmostEquals(value, 1, 1e-6));
});

Deno.test("pooling says what does not fit", () => {
  assertThrows(() => maxPool2d(zeros([1, 1, 2, 2]), { size: 3 }), ShapeError, "does not fit");
  assertThrows(() => avgPool2d(zeros([1, 1, 2, 2]), { size: 2, padding: 2 }), RangeError, "at most half");
  assertThrows(() => maxPool2d(zeros([1, 2, 2]), { size: 2 }), ShapeError, "[N, C, H, W]");
});
