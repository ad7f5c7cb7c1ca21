import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { interpretKernel } from "../src/compiler/interpret.ts";
import type { Expr, Fold, Program } from "../src/compiler/kernel.ts";
import { DeviceError } from "../src/errors.ts";
import { createWebgpuBackend, webgpuUnavailableReason } from "../src/webgpu/mod.ts";
import { windows } from "../src/webgpu/windows.ts";
import { binary, form, load, map } from "./support/kernels.ts";
import { integers, noise, programOf, runProgram, webgpuTest } from "./support/webgpu.ts";

/** A map of its inputs, all of f32. */
const mapOf = (label: string, axes: readonly number[], inputs: number, value: Expr): Fold =>
  map(label, axes, Array.from({ length: inputs }, () => "f32" as const), "f32", value);
const one: Expr = { kind: "constant", dtype: "f32", value: 1 };
const increment = (length: number): Fold =>
  mapOf("increment", [length], 1, binary("add", load(0, form([1])), one));

/** x → x + 1 `steps` times, through two temporary slots. */
function chain(steps: number, length = 10): Program {
  const kernel = increment(length);
  const buffer = (kind: "input" | "output" | "temporary", index: number) => ({
    length,
    dtype: "f32" as const,
    place: { kind, index },
  });
  return {
    buffers: [buffer("input", 0), buffer("output", 0), buffer("temporary", 0), buffer("temporary", 1)],
    slots: [4 * length, 4 * length],
    launches: Array.from({ length: steps }, (_, k) => ({
      kernel,
      inputs: [k === 0 ? 0 : 2 + (k - 1) % 2],
      outputs: [k === steps - 1 ? 1 : 2 + k % 2],
    })),
  };
}

webgpuTest("a program of many launches, run again with other and with the same buffers", async (device) => {
  const executable = device.compile(chain(301));
  const buffers = Array.from({ length: 4 }, () => device.allocate(40));
  device.write(buffers[0]!, new Float32Array(10));
  for (let k = 0; k < 12; k++) executable.run([buffers[k % 4]!], [buffers[(k + 1) % 4]!]);
  const [result] = await device.read([{ buffer: buffers[0]!, length: 10, dtype: "f32" }]);
  assertEquals(result, new Float32Array(10).fill(12 * 301));
  executable.release();
  for (const buffer of buffers) buffer.release();
});

webgpuTest("other outputs make bind groups only for the steps that write them", async (device) => {
  // So long that launches are not joined.
  const length = 10_000;
  const executable = device.compile(chain(50, length));
  const input = device.allocate(4 * length);
  device.write(input, new Float32Array(length));
  const made: string[] = [];
  const { createBindGroup } = device.gpu;
  device.gpu.createBindGroup = (descriptor) => {
    made.push(descriptor.label!);
    return createBindGroup.call(device.gpu, descriptor);
  };
  const outputs = Array.from({ length: 3 }, () => device.allocate(4 * length));
  try {
    for (const output of outputs) executable.run([input], [output]);
  } finally {
    device.gpu.createBindGroup = createBindGroup;
  }
  assertEquals(made.length, 50 + 1 + 1);
  const results = await device.read(outputs.map((buffer) => ({ buffer, length, dtype: "f32" as const })));
  for (const result of results) assertEquals(result, new Float32Array(length).fill(50));
  executable.release();
  for (const each of [input, ...outputs]) each.release();
});

webgpuTest("an output that is also an input", async (device) => {
  const executable = device.compile(chain(3));
  const single = device.compile(chain(1));
  const buffer = device.allocate(40);
  device.write(buffer, new Float32Array(10));
  for (let k = 0; k < 5; k++) executable.run([buffer], [buffer]);
  for (let k = 0; k < 5; k++) single.run([buffer], [buffer]);
  const [result] = await device.read([{ buffer, length: 10, dtype: "f32" }]);
  assertEquals(result, new Float32Array(10).fill(20));
  single.release();
  executable.release();
  buffer.release();
});

webgpuTest("one buffer as two inputs", async (device) => {
  const kernel = mapOf("square", [9], 2, binary("mul", load(0, form([1])), load(1, form([1]))));
  const program = programOf(kernel, [9, 9], [9]);
  const executable = device.compile(program);
  const [x, y] = [device.allocate(36), device.allocate(36)];
  device.write(x, Float32Array.from({ length: 9 }, (_, k) => k));
  executable.run([x, x], [y]);
  const [result] = await device.read([{ buffer: y, length: 9, dtype: "f32" }]);
  assertEquals([...result!], [0, 1, 4, 9, 16, 25, 36, 49, 64]);
  executable.release();
  x.release();
  y.release();
});

webgpuTest("many reads in one wait, of any size and dtype", async (device) => {
  const data = [noise(1), integers(3, 9), new Float32Array(0), noise(100001), Uint32Array.of(5, 4294967295)];
  const buffers = data.map((array) => {
    const buffer = device.allocate(array.byteLength);
    device.write(buffer, array);
    return buffer;
  });
  const dtypes = ["f32", "i32", "f32", "f32", "u32"] as const;
  const results = await device.read(
    data.map(({ length }, k) => ({ buffer: buffers[k]!, length, dtype: dtypes[k]! })),
  );
  assertEquals(results, data);
  assertEquals(await device.read([]), []);
  for (const buffer of buffers) buffer.release();
});

webgpuTest("memory is counted and used again", async (device) => {
  const before = device.memory();
  const buffer = device.allocate(1_000_000);
  assertEquals(device.memory().liveBytes - before.liveBytes, 1_000_000);
  assertEquals(device.memory().liveBuffers - before.liveBuffers, 1);
  buffer.release();
  buffer.release();
  assertEquals(device.memory().liveBytes, before.liveBytes);
  const { pooledBytes } = device.memory();
  assert(pooledBytes >= 1_000_000);
  device.allocate(999_999).release();
  assertEquals(device.memory().pooledBytes, pooledBytes);
  // Programs leave nothing behind.
  await runProgram(device, chain(5), [new Float32Array(10)]);
  assertEquals(device.memory().liveBytes, before.liveBytes);
});

webgpuTest(
  "buffers that are too large, too small, released or from elsewhere are refused",
  async (device) => {
    const error = assertThrows(() => device.allocate(2 ** 53), DeviceError);
    assertStringIncludes(error.message, "9007199254740992 bytes");
    const small = device.allocate(36);
    assertThrows(() => device.write(small, new Float32Array(10)), RangeError, "40 bytes");
    await assertRejects(
      () => device.read([{ buffer: small, length: 10, dtype: "f32" }]),
      RangeError,
      "36 bytes",
    );
    const executable = device.compile(chain(1));
    assertThrows(() => executable.run([small], [small]), RangeError, "40 are needed");
    assertThrows(() => executable.run([], []), RangeError, "1 inputs and 0");
    small.release();
    assertThrows(() => device.write(small, new Float32Array(1)), DeviceError, "released");
    assertThrows(
      () => device.write({ bytes: 4, release() {} }, new Float32Array(1)),
      TypeError,
      "another device",
    );
    executable.release();
  },
);

webgpuTest(
  "a shader that does not compile is reported with its source to all who read what it wrote",
  async (device) => {
    // A sum of a float and an integer gets through the types of the IR, but not through those of WGSL.
    const index: Expr = { kind: "index", dtype: "i32", form: { offset: 0, coefficients: [1] } };
    const broken = mapOf("broken kernel", [10], 1, binary("add", load(0, form([1])), index));
    const buffer = device.allocate(40);
    const executable = device.compile(programOf(broken, [10], [10]));
    const other = device.allocate(40);
    executable.run([buffer], [other]);
    const error = await assertRejects(
      () => device.read([{ buffer: other, length: 10, dtype: "f32" }]),
      DeviceError,
      "Cannot compile kernel broken kernel",
    );
    assertEquals(error.kernel, "broken kernel");
    assertStringIncludes(error.source!, "   1 @group(0)");
    await assertRejects(
      () => device.read([{ buffer: other, length: 10, dtype: "f32" }]),
      DeviceError,
      "broken kernel",
    );
    device.write(other, new Float32Array(10).fill(3));
    assertEquals(
      await device.read([{ buffer: other, length: 10, dtype: "f32" }]),
      [new Float32Array(10).fill(3)],
    );
    executable.release();
    buffer.release();
    other.release();
  },
);

webgpuTest("identical kernels are compiled once; progress counts kernels", (device) => {
  const seen: string[] = [];
  device.compile(chain(3), (done, total) => seen.push(`${done}/${total}`)).release();
  assertEquals(seen, ["1/3", "2/3", "3/3"]);
  assertStringIncludes(device.describe(increment(10)), "@compute @workgroup_size");
  return Promise.resolve();
});

webgpuTest("profile gives the time of every launch", async (device) => {
  const executable = device.compile(chain(4));
  const [x, y] = [device.allocate(40), device.allocate(40)];
  device.write(x, new Float32Array(10));
  const times = await device.profile(executable, [x], [y]);
  assertEquals(times.map(({ label }) => label), Array(4).fill("increment"));
  assert(times.every(({ milliseconds }) => milliseconds >= 0 && milliseconds < 1000));
  const [result] = await device.read([{ buffer: y, length: 10, dtype: "f32" }]);
  assertEquals(result, new Float32Array(10).fill(4));
  executable.release();
  x.release();
  y.release();
});

Deno.test("webgpu: kernels over large buffers are cut into windows", () => {
  const [rows, width] = [37, 24];
  const limits = { binding: 200, alignment: 8 };
  const kernel: Fold = {
    ...mapOf(
      "windows",
      [rows, width],
      2,
      binary("add", load(0, form([width, -1], width - 1)), load(1, form([0, 1]))),
    ),
    stages: [{ combine: "sum", axes: [3], dtype: "f32", value: load(0, form([width, 1, 1])) }],
  };
  const inputs = [noise(rows * width + 2), noise(width, 2)];
  const expected = new Float32Array(rows * width);
  interpretKernel(kernel, inputs, [expected]);
  const lengths = { inputs: inputs.map(({ length }) => length), outputs: [expected.length] };
  const pieces = windows(kernel, lengths, limits);
  assert(pieces.length > 4);
  const actual = new Float32Array(rows * width);
  for (const piece of pieces) {
    const part = ({ first, length }: { first: number; length: number }, data: Float32Array) => {
      assert(first % limits.alignment === 0 && length <= limits.binding);
      return data.subarray(first, first + length);
    };
    interpretKernel(
      piece.kernel,
      piece.inputs.map((window, k) => part(window, inputs[k]!)),
      piece.outputs.map((window) => part(window, actual)),
    );
  }
  assertEquals(actual, expected);
  const error = assertThrows(
    () => {
      const stage = { ...kernel.stages[0]!, axes: [300] };
      windows({ ...kernel, axes: [1, 1], stages: [stage] }, { inputs: [302, 24], outputs: [300] }, limits);
    },
    DeviceError,
  );
  assertStringIncludes(error.message, "1208 bytes");
  assertStringIncludes(error.message, "at most 800 bytes");
});

Deno.test("webgpu: a kernel that reads little of a large buffer sees that part alone", () => {
  const kernel = mapOf("last", [1], 1, load(0, form([0], 1000)));
  const limits = { binding: 200, alignment: 8 };
  const [piece, ...others] = windows(kernel, { inputs: [1001], outputs: [1] }, limits);
  assertEquals(others, []);
  assertEquals(piece!.inputs, [{ first: 1000, length: 1 }]);
  const result = new Float32Array(1);
  interpretKernel(piece!.kernel, [Float32Array.of(7)], [result]);
  assertEquals(result[0], 7);
});

webgpuTest("a buffer larger than one binding", async (device, family) => {
  const most = device.gpu.limits.maxStorageBufferBindingSize / 4;
  // Once is enough, and only where it is cheap.
  if (family === "gpu" || most > 2 ** 26) return;
  const width = 1024;
  const rows = Math.floor(most / width) + 3;
  const index: Expr = { kind: "index", dtype: "i32", form: { offset: 0, coefficients: [1, 0] } };
  const program: Program = {
    buffers: [
      { length: rows * width, dtype: "f32", place: { kind: "temporary", index: 0 } },
      { length: rows, dtype: "f32", place: { kind: "output", index: 0 } },
    ],
    slots: [4 * rows * width],
    launches: [
      {
        kernel: mapOf("large", [rows, width], 0, { kind: "cast", dtype: "f32", x: index }),
        inputs: [],
        outputs: [0],
      },
      {
        kernel: {
          ...mapOf("sums", [rows], 1, { kind: "reduced", dtype: "f32", stage: 0 }),
          stages: [{ combine: "sum", axes: [width], dtype: "f32", value: load(0, form([width, 1])) }],
        },
        inputs: [0],
        outputs: [1],
      },
    ],
  };
  const [sums] = await runProgram(device, program, []);
  assertEquals(sums!.findIndex((sum, row) => sum !== row * width), -1);
  device.pool.freeAll();
});

Deno.test({
  name: "webgpu: a software adapter is refused where a GPU is wanted",
  sanitizeResources: false,
  async fn() {
    const backend = await createWebgpuBackend({ allowSoftware: false });
    if (backend === undefined) assertStringIncludes(webgpuUnavailableReason()!, "Vulkan");
    else await backend.close();
  },
});

Deno.test({
  name: "webgpu: an unknown kernel family is refused",
  sanitizeResources: false,
  async fn() {
    if (await createWebgpuBackend() === undefined) return;
    Deno.env.set("ALLSPARK_WEBGPU_FAMILY", "quantum");
    try {
      await assertRejects(() => createWebgpuBackend(), RangeError, '"gpu" or "software"');
    } finally {
      Deno.env.delete("ALLSPARK_WEBGPU_FAMILY");
    }
  },
});
