/** Optimisers and schedules: hand-computed steps of PyTorch's formulas. */
import { assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import {
  adam,
  adamw,
  clipByGlobalNorm,
  constantSchedule,
  cosineSchedule,
  jit,
  type Optimizer,
  polySchedule,
  type Schedule,
  setDevice,
  sgd,
  type Tensor,
  tensor,
  warmUp,
} from "@allspark/tensor";

/** A parameter of 1 after steps with the given gradients. */
async function after<State>(optimizer: Optimizer<State>, gradients: readonly number[]): Promise<number> {
  await setDevice("cpu");
  let params = { w: tensor([1]) };
  let state = optimizer.init(params);
  for (const gradient of gradients) {
    ({ params, state } = optimizer.update({ w: tensor([gradient]) }, state, params));
  }
  return await params.w.item();
}

Deno.test("sgd() takes PyTorch's steps", async () => {
  const learningRate = 0.1;
  const options = { learningRate, momentum: 0.9, weightDecay: 0.1 };
  // g + 0.1 p = 0.6, then 0.594; b = 0.6, then 0.9 * 0.6 + 0.594 = 1.134
  assertAlmostEquals(await after(sgd({ learningRate }), [0.5, 0.5]), 0.9, 1e-6);
  assertAlmostEquals(await after(sgd(options), [0.5]), 0.94, 1e-6);
  assertAlmostEquals(await after(sgd(options), [0.5, 0.5]), 0.8266, 1e-6);
  // 0.6 + 0.9 * 0.6 = 1.14, then 0.5886 + 0.9 * 1.1286 = 1.60434
  assertAlmostEquals(await after(sgd({ ...options, nesterov: true }), [0.5, 0.5]), 0.725566, 1e-6);
  assertThrows(() => sgd({ learningRate, nesterov: true }), RangeError, "Nesterov");
});

Deno.test("adam() and adamw() take PyTorch's steps", async () => {
  const learningRate = 0.1;
  // The first step is the rate times the sign of the gradient.
  assertAlmostEquals(await after(adam({ learningRate }), [0.5]), 0.9, 1e-6);
  // m = -0.055 / 0.19, v = 0.00124975 / 0.001999
  assertAlmostEquals(await after(adam({ learningRate }), [0.5, -1]), 0.936610, 2e-6);
  // Coupled decay turns the gradient -0.1 into 0, and the step with it.
  assertAlmostEquals(await after(adam({ learningRate, weightDecay: 0.1 }), [-0.1]), 1, 1e-6);
  // Decoupled: 1 * (1 - 0.1 * 0.1) - 0.1
  assertAlmostEquals(await after(adamw({ learningRate, weightDecay: 0.1 }), [0.5]), 0.89, 1e-6);
});

Deno.test("optimisers give parts of the parameters rates of their own", async () => {
  await setDevice("cpu");
  const params = { backbone: { w: tensor([1]) }, head: [tensor([1])], other: tensor([1]) };
  const gradients = { backbone: { w: tensor([1]) }, head: [tensor([1])], other: tensor([1]) };
  const optimizer = sgd({ learningRate: 0.01, groups: { backbone: 1, head: 10, rest: 2 } });
  const { params: next } = optimizer.update(gradients, optimizer.init(params), params);
  assertAlmostEquals(await next.backbone.w.item(), 0.99, 1e-6);
  assertAlmostEquals(await next.head[0]!.item(), 0.9, 1e-6);
  assertAlmostEquals(await next.other.item(), 0.98, 1e-6);
  const wrong = sgd({ learningRate: 0.01, groups: { encoder: 1 } });
  assertThrows(() => wrong.update(gradients, wrong.init(params), params), RangeError, "encoder");
});

Deno.test("optimisers run inside jit, with a rate that changes from call to call", async () => {
  await setDevice("cpu");
  const optimizer = adamw({ learningRate: 1 });
  const step = jit((gradient: Tensor, state: ReturnType<typeof optimizer.init>, w: Tensor, rate: number) =>
    optimizer.update(gradient, state, w, { learningRate: rate })
  );
  const w = tensor([1, 2]);
  const first = step(tensor([1, 1]), optimizer.init(w), w, 0);
  assertEquals(await first.params.toArray(), [1, 2]);
  const second = step(tensor([1, 1]), first.state, first.params, 0.5);
  assertAlmostEquals((await second.params.data())[0]!, 1 - 0.5 - 0.005, 1e-5);
  assertEquals(await second.state.step.item(), 2);
});

Deno.test("clipByGlobalNorm() scales only what is too long", async () => {
  await setDevice("cpu");
  const gradients = { a: tensor([3]), b: [tensor([0, 4])] };
  const clipped = clipByGlobalNorm(gradients, { maxNorm: 1 });
  assertAlmostEquals((await clipped.gradients.b[0]!.data())[1]!, 0.8, 1e-6);
  const kept = clipByGlobalNorm(gradients, { maxNorm: 10 });
  assertEquals(await kept.gradients.a.item(), 3);
  assertEquals(await kept.norm.item(), 5);
});

Deno.test("schedules are equal for numbers and tensors", async () => {
  await setDevice("cpu");
  const poly = polySchedule({ learningRate: 0.005, steps: 1500 });
  const cosine = cosineSchedule({ learningRate: 1, steps: 100, final: 0.2 });
  const table: [Schedule, number, number][] = [
    [constantSchedule(0.3), 7, 0.3],
    [poly, 0, 0.005],
    [poly, 750, 0.005 * 0.5 ** 0.9],
    [poly, 1500, 0],
    [poly, 2000, 0],
    [cosine, 50, 0.6],
    [cosine, 100, 0.2],
    [warmUp(cosine, { steps: 50 }), 0, 0],
    [warmUp(poly, { steps: 1000, from: 0.5 }), 750, 0.875 * 0.005 * 0.5 ** 0.9],
    [warmUp(poly, { steps: 750 }), 750, 0.005 * 0.5 ** 0.9],
  ];
  for (const [rate, step, expected] of table) {
    assertAlmostEquals(rate(step), expected, 1e-12);
    assertAlmostEquals(await rate(tensor(step, { dtype: "i32" })).item(), expected, 1e-7);
  }
  assertThrows(() => polySchedule({ learningRate: 1, steps: 0 }), RangeError, "0 steps");
});
