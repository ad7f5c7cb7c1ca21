/** What an evaluation leaves behind: when it fails, when its device goes, when nobody wants its results any longer. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import * as ops from "../ops/mod.ts";
import { backend, memory, setDevice } from "../src/device.ts";
import { DeviceError, DisposedError, OutOfMemoryError } from "../src/errors.ts";
import { dispose, realize } from "../src/evaluate.ts";
import { type Tensor, tensor } from "../src/tensor.ts";
import { jit } from "../src/transforms/mod.ts";
import type { WebgpuDevice } from "../src/webgpu/mod.ts";
import { onEachDevice, webgpuAvailable } from "./support/devices.ts";

const { add, mean, sqrt } = ops;
const mebibyte = 2 ** 20;

/** A tensor that is computed, so that it takes memory. */
function large(elements: number, k: number): Tensor {
  return add(ops.iota([elements], { dtype: "f32" }), k);
}

/** A test on WebGPU alone. */
function onWebgpu(name: string, test: (device: WebgpuDevice) => Promise<void>): void {
  Deno.test({
    name: `${name} (webgpu)`,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => {
      if (!await webgpuAvailable()) return;
      await setDevice("webgpu");
      await test(await backend() as WebgpuDevice);
    },
  });
}

onEachDevice("a failed evaluation gives all memory back and can be tried again", async () => {
  const x = await realize(tensor([1, 2]));
  const { liveBytes } = memory.stats();
  const tooLarge = ops.broadcastTo(ops.sum(x), [2 ** 30]);
  const f = jit((t: Tensor) => [add(t, 1), ops.broadcastTo(ops.sum(t), [2 ** 30])]);
  for (let k = 0; k < 3; k++) {
    await assertRejects(() => realize([add(x, k), tooLarge]), "Cannot allocate");
    await assertRejects(() => realize(f(x)), "Cannot allocate");
    assertEquals(memory.stats().liveBytes, liveBytes);
  }
  const sum = add(x, 1);
  assertEquals(await sum.toArray(), [2, 3]);
  dispose([sum, x]);
});

Deno.test("what does not fit says what is in use, and leaves room for what does (cpu)", async () => {
  await setDevice("cpu");
  const parts = [large(2 ** 28, 1), large(2 ** 29, 2), large(3 * 2 ** 27, 3)];
  const error = await assertRejects(() => realize(parts), OutOfMemoryError, "dispose()");
  assert(/ends at 4096.0 MiB, of which [\d.]+ MiB are in use/.test((error as Error).message));
  const fits = await realize(large(2 ** 28, 1));
  const last = ops.slice(fits, { starts: [2 ** 28 - 1] });
  assertEquals(await last.item(), 2 ** 28);
  dispose([fits, last]);
});

onWebgpu("a shader that fails belongs to those who wait for it, for good", async (device) => {
  const make = device.gpu.createShaderModule;
  device.gpu.createShaderModule = function (this: GPUDevice, descriptor) {
    const code = descriptor.code.replaceAll("sqrt(", "sqrrt(");
    return make.call(device.gpu, { ...descriptor, code });
  };
  const message = "Cannot compile kernel sqrt";
  try {
    const bad = sqrt(tensor([4, 9, 16, 25, 36, 49, 64]));
    const good = add(tensor([1, 2, 3, 4, 5, 6, 7]), 5);
    const [first, second, third] = await Promise.allSettled([good.data(), bad.data(), add(good, 1).data()]);
    assertEquals([first!.status, second!.status, third!.status], ["fulfilled", "rejected", "fulfilled"]);
    for (let k = 0; k < 3; k++) await assertRejects(() => bad.data(), DeviceError, message);
    await assertRejects(() => add(bad, 1).data(), DeviceError, message);
    await assertRejects(() => realize(sqrt(tensor([4, 9, 16, 25, 36, 49, 65]))), DeviceError, message);
    assertEquals(await add(good, 2).toArray(), [8, 9, 10, 11, 12, 13, 14]);
  } finally {
    device.gpu.createShaderModule = make;
  }
  // The same graph is compiled again: it failed for a reason that is gone.
  assertEquals(await sqrt(tensor([4, 9, 16, 25, 36, 49, 64])).toArray(), [2, 3, 4, 5, 6, 7, 8]);
});

onWebgpu("a lost device says so everywhere, and is opened again by who chooses it", async (device) => {
  const lost = "any longer: the device was lost with all tensors on it";
  const step = jit((t: Tensor) => ops.tanh(add(t, 1)));
  let x = await realize(step(tensor([1, 2])));
  x = step(x);
  device.gpu.destroy();
  await assertRejects(() => x.data(), DeviceError, lost);
  await assertRejects(() => x.data(), DeviceError, lost);
  await assertRejects(() => realize(add(tensor([1]), 1)), DeviceError, lost);
  await assertRejects(async () => await step(tensor([1, 2])).data(), DeviceError, lost);
  await setDevice("webgpu");
  assertEquals(await add(tensor([1]), 1).toArray(), [2]);
  await assertRejects(() => add(x, 1).data(), DeviceError, lost);
  await setDevice("cpu");
  assertEquals(await add(tensor([1]), 1).toArray(), [2]);
  await assertRejects(() => x.data(), DeviceError, lost);
});

onWebgpu("who learns of the loss first need not read", async () => {
  const device = await backend() as WebgpuDevice;
  device.gpu.destroy();
  await assertRejects(() => realize(add(tensor([1]), 3)), DeviceError, 'setDevice("webgpu") opens it again');
  await setDevice("webgpu");
});

onWebgpu("a tensor that several tasks want on another device is moved once", async () => {
  const x = await realize(tensor(new Float32Array(1000).fill(2)));
  await setDevice("cpu");
  const before = memory.stats().liveBytes;
  const sums = await Promise.all(Array.from({ length: 5 }, (_, k) => ops.sum(add(x, k)).item()));
  assertEquals(sums, [2000, 3000, 4000, 5000, 6000]);
  assertEquals((await backend()).memory().liveBytes - before >= 4000, true);
  x.dispose();
  const { liveBytes } = memory.stats();
  assert(liveBytes - before < 4000, `${liveBytes - before} bytes stay`);
  // Disposed of on its way, it leaves nothing there.
  await setDevice("webgpu");
  const y = await realize(tensor(new Float32Array(1000)));
  await setDevice("cpu");
  const { liveBytes: bytes } = memory.stats();
  const moving = realize(y);
  await Promise.resolve();
  y.dispose();
  await moving;
  assertEquals(memory.stats().liveBytes, bytes);
  await assertRejects(() => y.data(), DisposedError);
});

onWebgpu("reads under way do not mind that the device is changed", async () => {
  for (let round = 0; round < 10; round++) {
    await setDevice(round % 2 === 0 ? "cpu" : "webgpu");
    const xs = await realize(Array.from({ length: 8 }, (_, k) => tensor([k])));
    const reads: Promise<number>[] = [];
    for (const name of ["cpu", "webgpu", "cpu", "webgpu"] as const) {
      await setDevice(name);
      reads.push(ops.sum(ops.concat(xs)).item());
      for (let k = 0; k < round % 4; k++) await null;
    }
    assertEquals(await Promise.all(reads), [28, 28, 28, 28]);
  }
  await setDevice("webgpu");
});

onEachDevice("timers, signals and finalisers run while tensors are awaited", async () => {
  const f = jit((x: Tensor) => ({ x: add(x, 1), mean: mean(x) }));
  let x: Tensor = ops.ones([64, 64]);
  await f(x).mean.item();
  let ticks = 0;
  const timer = setInterval(() => ticks++, 10);
  const begin = performance.now();
  let turns = 0;
  for (; performance.now() - begin < 1000; turns++) {
    const result = f(x);
    x = result.x;
    await result.mean.item();
  }
  clearInterval(timer);
  assert(ticks > 20, `${ticks} ticks of a timer of 10 ms in a second of ${turns} reads`);
});

onEachDevice("what nobody can reach is freed, in loops that await and in loops that do not", async () => {
  const f = jit((x: Tensor) => add(x, 1));
  let x: Tensor = ops.ones([mebibyte]);
  for (let k = 0; k < 100; k++) x = f(x);
  assertEquals((await ops.slice(x, { sizes: [1] }).data())[0], 101);
  const afterCalls = memory.stats().liveBytes;
  for (let k = 0; k < 100; k++) x = await realize(add(x, 1));
  assertEquals((await ops.slice(x, { sizes: [1] }).data())[0], 201);
  const afterReads = memory.stats().liveBytes;
  x.dispose();
  for (const bytes of [afterCalls, afterReads]) {
    // Without that it would be 404, and then 808.
    assert(bytes < 320 * mebibyte, `${Math.round(bytes / mebibyte)} MiB are held, of which 4 are needed`);
  }
});
