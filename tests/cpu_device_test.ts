/** The run time of the cpu device, with small hand-made kernels. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import type { DType } from "../src/dtype.ts";
import { interpretProgram } from "../src/compiler/interpret.ts";
import { heirsOf } from "../src/compiler/heirs.ts";
import type { Affine, Expr, Kernel, Launch, Program, ProgramBuffer } from "../src/compiler/kernel.ts";
import { ModuleBuilder } from "../src/cpu/assembler.ts";
import { CpuDevice } from "../src/cpu/device.ts";
import { SharedHeap } from "../src/cpu/memory.ts";
import { createCpuBackend } from "../src/cpu/mod.ts";
import { control, failure, type GeneratedKernel, heapStart, record } from "../src/cpu/protocol.ts";

const size = 1000;

/** Chunks of the phases of `generate`'s kernels, by the amount; every phase does the same work, or a part of it. */
const phasesOf: Record<number, number[]> = { 11: [1], 12: [1, 10], 13: [1, 1], 14: [10, 1], 15: [0, 10] };

/**
 * y[i] = x[i] + amount, in chunks of 100 (11 and 13: of 1000); amount 7 traps, 8 is no WebAssembly at all, 9 takes a
 * while.
 */
function generate(kernel: Kernel): GeneratedKernel {
  const amount = Number(kernel.label.split(" ")[1]);
  const module = new ModuleBuilder({ memory: { shared: true, maximumPages: 65536 } });
  const f = module.func("run", ["i32", "i32", "i32"], [], true);
  const [begin, end, args] = f.params;
  const [x, y, at] = [f.local("i32"), f.local("i32"), f.local("i32")];
  const turns = f.local("i32");
  f.get(args!).load("i32.load").set(x).get(args!).load("i32.load", 4).set(y);
  const chunk = amount === 11 || amount === 13 ? 4000 : 400;
  f.get(begin!).i32(chunk).op("i32.mul").set(at).get(end!).i32(chunk).op("i32.mul").set(end!);
  if (amount === 7) f.i32(-4).load("i32.load").op("drop");
  if (amount === 9) f.range(turns, 0, 300_000, 1, () => {});
  f.range(at, at, end!, 4, () => {
    f.get(y).get(at).op("i32.add").get(x).get(at).op("i32.add").load("i32.load").i32(amount).op("i32.add");
    f.store("i32.store");
  });
  const bytes = amount === 8 ? new Uint8Array([1, 2, 3]) : module.bytes();
  return { bytes, phases: phasesOf[amount] ?? [10], scratchBytes: 0, workspaceBytes: 0 };
}

function adder(amount: number): Kernel {
  // The key of a kernel leaves its label out, so the amount is also its axis.
  return {
    kind: "fold",
    label: `add ${amount}`,
    inputs: ["i32"],
    outputs: ["i32"],
    axes: [amount],
    stages: [],
    stores: [],
  };
}

/** output 0 = input 0 + Σ amounts, through two alternating temporaries. */
function chain(amounts: readonly number[]): Program {
  const place = (kind: ProgramBuffer["place"]["kind"], index: number): ProgramBuffer => ({
    length: size,
    dtype: "i32",
    place: { kind, index },
  });
  const buffers = [place("input", 0), place("output", 0), place("temporary", 0), place("temporary", 1)];
  const launches: Launch[] = amounts.map((amount, k) => ({
    kernel: adder(amount),
    inputs: [k === 0 ? 0 : 2 + (k - 1) % 2],
    outputs: [k === amounts.length - 1 ? 1 : 2 + k % 2],
  }));
  return { buffers, launches, slots: [size * 4, size * 4] };
}

const ramp = Int32Array.from({ length: size }, (_, k) => k);
const raised = (by: number): Int32Array => ramp.map((value) => value + by);

async function withDevice(threads: number, body: (device: CpuDevice) => Promise<void>): Promise<void> {
  const device = new CpuDevice(threads, { relaxedSimd: false }, generate);
  try {
    await body(device);
  } finally {
    await device.close();
  }
}

function read(device: CpuDevice, buffer: ReturnType<CpuDevice["allocate"]>): Promise<unknown> {
  return device.read([{ buffer, length: size, dtype: "i32" }]).then(([data]) => data);
}

for (const threads of [1, 2, 3]) {
  Deno.test(`a program of 1,000 launches runs in order on ${threads} threads`, async () => {
    await withDevice(threads, async (device) => {
      const program = device.compile(chain(Array.from({ length: 1000 }, (_, k) => 1 + k % 3)));
      const [x, y] = [device.allocate(size * 4), device.allocate(size * 4)];
      device.write(x, ramp);
      program.run([x], [y]);
      assertEquals(await read(device, y), raised(1999));
    });
  });
}

for (const threads of [1, 2, 3]) {
  Deno.test(`phases of one chunk, of many and of none follow one another on ${threads} threads`, async () => {
    await withDevice(threads, async (device) => {
      const kinds = [11, 13, 11, 1, 12, 11, 14, 15, 2];
      for (const last of [11, 12, 13, 14, 1]) {
        const amounts = Array.from({ length: 400 }, (_, k) => kinds[(k * k + (k >> 3)) % kinds.length]!);
        amounts.push(11, last);
        const sum = amounts.reduce((a, b) => a + b);
        const program = device.compile(chain(amounts));
        const [x, y] = [device.allocate(size * 4), device.allocate(size * 4)];
        device.write(x, ramp);
        for (let k = 0; k < 4; k++) program.run([k % 2 ? y : x], [k % 2 ? x : y]);
        assertEquals(await read(device, x), raised(4 * sum));
        const times = await device.profile(program, [x], [y]);
        assertEquals(times.length, amounts.length);
        assert(times.every(({ milliseconds }) => milliseconds >= 0 && milliseconds < 1000));
        assertEquals(await read(device, y), raised(5 * sum));
      }
    });
  });
}

/** Memory that a device keeps for later after four runs, each of the result of the one before. */
async function pooledAfterRuns(amounts: readonly number[], givenUp: readonly number[]): Promise<number> {
  let pooled = 0;
  await withDevice(2, async (device) => {
    const program = device.compile(chain(amounts));
    let x = device.allocate(size * 4);
    device.write(x, ramp);
    for (let k = 0; k < 4; k++) {
      const y = device.allocate(size * 4);
      program.run([x], [y], givenUp);
      x.release();
      x = y;
    }
    assertEquals(await read(device, x), raised(4 * amounts.reduce((a, b) => a + b)));
    pooled = device.memory().pooledBytes;
  });
  return pooled;
}

Deno.test("outputs inherit the memory of inputs that are given up and no longer read", async () => {
  const buffersSaved = async (amounts: readonly number[]): Promise<number> => {
    const bytes = await pooledAfterRuns(amounts, []) - await pooledAfterRuns(amounts, [0]);
    // The small records of runs may or may not find old ones to replace.
    return Math.round(bytes / (size * 4));
  };
  assertEquals(await buffersSaved([1, 2]), 1);
  // A single launch reads and writes at once.
  assertEquals(await buffersSaved([3]), 0);

  await withDevice(2, async (device) => {
    const program = device.compile(chain([9, 1]));
    const [x, y] = [device.allocate(size * 4), device.allocate(size * 4)];
    device.write(x, ramp);
    const before = read(device, x);
    program.run([x], [y], [0]);
    x.release();
    assertEquals(await before, ramp);
    assertEquals(await read(device, y), raised(10));
  });
});

Deno.test("heirsOf() pairs outputs with inputs of their size that are read for the last time before", () => {
  const place = (
    kind: ProgramBuffer["place"]["kind"],
    index: number,
    length: number,
  ): ProgramBuffer => ({ length, dtype: "i32", place: { kind, index } });
  const lengths = [8, 8, 4, 8, 8];
  const buffers = [
    ...lengths.map((length, k) => place("input", k, length)),
    ...lengths.map((length, k) => place("output", k, length)),
  ];
  // Output k is written from input k; the last launch reads input 1 again.
  const launches: Launch[] = [0, 1, 2, 3, 4].map((k) => ({
    kernel: adder(1),
    inputs: k === 4 ? [1, 4] : [k],
    outputs: [5 + k],
  }));
  const pairs = (givenUp: number[]): [number, number][] => [
    ...heirsOf({ buffers, launches, slots: [] }, givenUp),
  ];
  assertEquals(pairs([0, 1, 2, 3, 4]), [[1, 0], [4, 3]]);
  assertEquals(pairs([1, 2, 3]), [[4, 3]]);
  assertEquals(pairs([]), []);
});

Deno.test("runs are queued, and later writes, runs and releases do not disturb earlier ones", async () => {
  await withDevice(2, async (device) => {
    const slow = device.compile(chain([9, 1]));
    const add = device.compile(chain([1]));
    const [x, y, z] = [device.allocate(size * 4), device.allocate(size * 4), device.allocate(size * 4)];
    device.write(x, ramp);
    slow.run([x], [y]);
    const first = read(device, y);
    device.write(x, raised(100)); // the slow run still reads the old values
    add.run([x], [y]); // the read still sees the slow run's result
    y.release();
    add.run([x], [z]);
    const other = device.allocate(size * 4);
    device.write(other, raised(5)); // must not land in memory that is in use
    x.release();
    for (let k = 0; k < 5; k++) add.run([z], [z]);
    const last = read(device, z);
    z.release();
    add.run([other], [other]);
    assertEquals(await first, raised(10));
    assertEquals(await last, raised(106));
    assertEquals(await read(device, other), raised(6));
  });
});

Deno.test("timers of the main thread run while a program runs", async () => {
  await withDevice(1, async (device) => {
    const slow = device.compile(chain(new Array(12).fill(9)));
    const buffer = device.allocate(size * 4);
    device.write(buffer, ramp);
    for (let k = 0; k < 200; k++) slow.run([buffer], [buffer]);
    let ticks = 0;
    const timer = setInterval(() => ticks++, 2);
    await read(device, buffer);
    clearInterval(timer);
    assert(ticks >= 3, `${ticks} ticks`);
  });
});

Deno.test("nothing in the control block lies in the place of something else", () => {
  const ends = {
    failure: control.failure + failure.message + failure.maximumBytes / 4,
    firstRecord: control.firstRecord + record.args,
    taken: heapStart / 4,
  };
  const places = Object.entries({ ...control }).sort(([, a], [, b]) => a - b) as [
    keyof typeof control,
    number,
  ][];
  places.forEach(([name, start], k) => {
    const end = name in ends ? ends[name as keyof typeof ends] : start + 1;
    assert(end <= (places[k + 1]?.[1] ?? heapStart / 4), `${name} reaches to ${end}`);
  });
});

Deno.test("a trap and a kernel that does not compile reach every read of what comes of them", async () => {
  await withDevice(2, async (device) => {
    const buffer = device.allocate(size * 4);
    device.write(buffer, ramp);
    device.compile(chain([1, 7])).run([buffer], [buffer]);
    await assertRejects(
      () => read(device, buffer),
      Error,
      "Cannot run kernel add 7: memory access out of bounds",
    );
    // What failed stays so, and so does what would be computed from it.
    await assertRejects(() => read(device, buffer), Error, "Cannot run kernel add 7:");
    assertThrows(
      () => device.compile(chain([1, 2])).run([buffer], [buffer]),
      Error,
      "Cannot run kernel add 7:",
    );
    device.write(buffer, ramp);
    const [sound, later] = [device.allocate(size * 4), device.allocate(size * 4)];
    device.compile(chain([1, 2])).run([buffer], [sound]);
    device.compile(chain([8, 2])).run([buffer], [buffer]);
    device.compile(chain([1, 2])).run([buffer], [later]);
    const reads = await Promise.allSettled([sound, buffer, later].map((each) => read(device, each)));
    assertEquals(reads.map(({ status }) => status), ["fulfilled", "rejected", "rejected"]);
    for (const each of [buffer, later]) {
      await assertRejects(() => read(device, each), Error, "Cannot run kernel add 8:");
    }
    device.write(buffer, ramp);
    device.compile(chain([1, 2])).run([buffer], [buffer]);
    assertEquals(await read(device, buffer), raised(3));
  });
});

Deno.test("memory is flat over many steps and comes back after release", async () => {
  await withDevice(2, async (device) => {
    const program = device.compile(chain([1, 2, 3]));
    let state = device.allocate(size * 4);
    device.write(state, ramp);
    for (let step = 0; step < 200; step++) {
      const [batch, next] = [device.allocate(size * 4), device.allocate(size * 4)];
      device.write(batch, ramp);
      program.run([state], [next]);
      program.run([batch], [batch]);
      state.release();
      batch.release();
      state = next;
      if (step % 10 === 9) await read(device, state);
      assertEquals(device.memory().liveBytes, size * 4);
      // At most ten steps are under way, with two buffers each.
      assert(device.memory().pooledBytes < 30 * size * 4, `step ${step}: ${device.memory().pooledBytes}`);
    }
    assertEquals(await read(device, state), raised(1200));
    state.release();
    assertEquals([device.memory().liveBytes, device.memory().liveBuffers], [0, 0]);
  });
});

Deno.test("the heap joins free blocks and keeps memory that is in use away from writers", () => {
  const heap = new SharedHeap();
  const [a, b, c] = [heap.take(100, "idle")!, heap.take(100, "idle")!, heap.take(100, "idle")!];
  assertEquals([a.address % 64, b.address - a.address, c.address - b.address], [0, 128, 128]);
  heap.give(a, 0);
  heap.give(b, 5);
  assertEquals(heap.pooledBytes, 256);
  assert(heap.take(256, "idle")!.address > c.address);
  assertEquals(heap.take(100, "any")!.address, b.address);
  heap.give(b, 6);
  const both = heap.take(200, "any")!;
  assertEquals(both.address, a.address);
  heap.give(both, 6);
  Atomics.store(heap.words, control.completed, 6);
  assertEquals(heap.take(256, "idle")!.address, a.address);
  assertEquals(heap.pooledBytes, 0);
  assertEquals(heap.take(2 ** 32, "any"), undefined);
  const large = heap.take(100 * 2 ** 20, "any")!;
  heap.give(large, 0);
  assertEquals(heap.take(50 * 2 ** 20, "idle")!.address, large.address);
});

Deno.test("what does not fit is refused with the sizes", async () => {
  await withDevice(1, async (device) => {
    const large = device.allocate(2 ** 32);
    assertThrows(
      () => device.write(large, new Float32Array(1)),
      RangeError,
      "Cannot allocate 4096.0 MiB on the cpu device: its memory ends at 4096.0 MiB",
    );
    const buffer = device.allocate(8);
    assertThrows(() => device.write(buffer, ramp), RangeError, "Cannot write 4000 bytes to a buffer");
    await assertRejects(() => read(device, buffer), RangeError, "Cannot read 1000 elements");
    const program = device.compile(chain([1]));
    assertThrows(() => program.run([], [buffer]), RangeError, "input 0 is missing");
    assertThrows(() => program.run([buffer], [buffer]), RangeError, "input 0 has 8 bytes; 4000 are needed");
    buffer.release();
    assertThrows(() => device.write(buffer, ramp), ReferenceError, "it was released");
    program.release();
    assertThrows(() => program.run([], []), ReferenceError, "Cannot run a program: it was released");
  });
});

Deno.test("profile() gives a time for every launch, and compile() reports progress", async () => {
  await withDevice(2, async (device) => {
    const steps: string[] = [];
    const program = device.compile(chain([9, 1, 1]), (done, total) => steps.push(`${done}/${total}`));
    assertEquals(steps, ["1/3", "2/3", "3/3"]);
    const buffer = device.allocate(size * 4);
    device.write(buffer, ramp);
    const times = await device.profile(program, [buffer], [buffer]);
    assertEquals(times.map(({ label }) => label), ["add 9", "add 1", "add 1"]);
    assert(times.every(({ milliseconds }) => milliseconds >= 0));
    assertEquals(await read(device, buffer), raised(11));
  });
});

Deno.test("a program that uses the device ends by itself", async () => {
  const module = new URL("../src/cpu/device.ts", import.meta.url).href;
  const code = `import { CpuDevice } from "${module}";
    const device = new CpuDevice(2, { relaxedSimd: false }, () => { throw new Error("no kernels"); });
    const buffer = device.allocate(16);
    device.write(buffer, new Float32Array([1, 2, 3, 4]));
    device.compile({ buffers: [], launches: [], slots: [] }).run([], []);
    console.log(String(await device.read([{ buffer, length: 4, dtype: "f32" }])));`;
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", `data:text/typescript,${encodeURIComponent(code)}`],
    stdout: "piped",
    stderr: "piped",
  });
  const { code: status, stdout, stderr } = await command.output();
  assertEquals(new TextDecoder().decode(stderr), "");
  assertEquals([status, new TextDecoder().decode(stdout)], [0, "1,2,3,4\n"]);
});

Deno.test("reads that wait are rejected when the device is closed", async () => {
  const device = new CpuDevice(1, { relaxedSimd: false }, generate);
  const buffer = device.allocate(size * 4);
  device.write(buffer, ramp);
  device.compile(chain(new Array(50).fill(9))).run([buffer], [buffer]);
  const waiting = assertRejects(() => read(device, buffer), Error, "closed");
  await device.close();
  await waiting;
});

Deno.test("createCpuBackend() runs programs of several kinds of kernels as the interpreter does", async () => {
  const [rows, inner, columns] = [5, 7, 6];
  const at = (...coefficients: number[]): Affine => ({ offset: 0, coefficients });
  const load = (input: number, form: Affine): Expr => ({
    kind: "load",
    dtype: "f32",
    input,
    at: form,
    guards: [],
    fill: 0,
  });
  const product: Kernel = {
    kind: "contraction",
    label: "product",
    inputs: ["f32", "f32"],
    outputs: ["f32"],
    batch: [],
    rows: [rows],
    columns: [columns],
    inner: [inner],
    left: load(0, at(inner, 0, 1)),
    right: load(1, at(0, 1, columns)),
    stores: [{
      output: 0,
      at: at(columns, 1, 0),
      axes: [],
      value: { kind: "accumulator", dtype: "f32" },
    }],
  };
  const largest: Kernel = {
    kind: "fold",
    label: "largest",
    inputs: ["f32"],
    outputs: ["f32"],
    axes: [rows],
    stages: [{ combine: "max", axes: [columns], dtype: "f32", value: load(0, at(columns, 1)) }],
    stores: [{ output: 0, at: at(1), axes: [], value: { kind: "reduced", dtype: "f32", stage: 0 } }],
  };
  const order: Kernel = {
    kind: "sort",
    label: "order",
    inputs: ["f32"],
    outputs: ["i32"],
    rows: 1,
    size: rows,
    descending: true,
  };
  const place = (length: number, dtype: DType, kind: ProgramBuffer["place"]["kind"], index: number) => ({
    length,
    dtype,
    place: { kind, index },
  });
  const program: Program = {
    buffers: [
      place(rows * inner, "f32", "input", 0),
      place(inner * columns, "f32", "input", 1),
      place(rows * columns, "f32", "temporary", 0),
      place(rows, "f32", "output", 0),
      place(rows, "i32", "output", 1),
    ],
    launches: [
      { kernel: product, inputs: [0, 1], outputs: [2] },
      { kernel: largest, inputs: [2], outputs: [3] },
      { kernel: order, inputs: [3], outputs: [4] },
    ],
    slots: [rows * columns * 4],
  };
  const inputs = [rows * inner, inner * columns].map((length) =>
    Float32Array.from({ length }, (_, k) => (k * 7 + length) % 11 - 5)
  );
  const device = await createCpuBackend({ threads: 2 });
  try {
    const ins = inputs.map((data) => device.allocate(data.byteLength));
    ins.forEach((buffer, k) => device.write(buffer, inputs[k]!));
    const outs = [device.allocate(rows * 4), device.allocate(rows * 4)];
    device.compile(program).run(ins, outs);
    const results = await device.read([
      { buffer: outs[0]!, length: rows, dtype: "f32" },
      { buffer: outs[1]!, length: rows, dtype: "i32" },
    ]);
    assertEquals(results, interpretProgram(program, inputs));
  } finally {
    await device.close();
  }
});

Deno.test("createCpuBackend() refuses a number of threads that is not one", async () => {
  await assertRejects(() => createCpuBackend({ threads: 0 }), RangeError, "Cannot start 0 threads");
  await assertRejects(() => createCpuBackend({ threads: 1.5 }), RangeError, "Cannot start 1.5 threads");
});

Deno.test("any order of writes, runs, reads and releases gives the values of doing them one by one", async () => {
  await withDevice(3, async (device) => {
    const programs = [[1], [9, 2], [3, 3, 3]].map((amounts) => ({
      executable: device.compile(chain(amounts)),
      sum: amounts.reduce((a, b) => a + b),
    }));
    let state = 42;
    const random = (below: number): number => {
      state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
      return (state >>> 16) % below;
    };
    const buffers: { buffer: ReturnType<CpuDevice["allocate"]>; value: number }[] = [];
    const reads: Promise<void>[] = [];
    for (let step = 0; step < 600; step++) {
      const one = buffers[random(buffers.length || 1)];
      const action = one ? random(6) : 0;
      if (action === 0) {
        const buffer = device.allocate(size * 4);
        device.write(buffer, raised(step));
        buffers.push({ buffer, value: step });
      } else if (action === 1) {
        device.write(one!.buffer, raised(step));
        one!.value = step;
      } else if (action === 2) {
        const value = one!.value;
        reads.push(
          read(device, one!.buffer).then((data) => assertEquals(data, raised(value), `step ${step}`)),
        );
      } else if (action === 3) {
        one!.buffer.release();
        buffers.splice(buffers.indexOf(one!), 1);
      } else {
        const { executable, sum } = programs[random(3)]!;
        const target = action === 4 ? one! : buffers[random(buffers.length)]!;
        executable.run([one!.buffer], [target.buffer]);
        target.value = one!.value + sum;
      }
      if (step % 50 === 0) await reads.at(-1);
    }
    await Promise.all(reads);
    for (const { buffer, value } of buffers) assertEquals(await read(device, buffer), raised(value));
  });
});

Deno.test("the backend works when its modules come over HTTP", async () => {
  const root = new URL("../", import.meta.url);
  const server = Deno.serve({ port: 0, onListen: () => {} }, async (request) => {
    const file = new URL(`.${new URL(request.url).pathname}`, root);
    return new Response(await Deno.readTextFile(file), {
      headers: { "content-type": "application/typescript" },
    });
  });
  const cache = await Deno.makeTempDir();
  try {
    const code = `import { createCpuBackend } from "http://localhost:${server.addr.port}/src/cpu/mod.ts";
      const device = await createCpuBackend({ threads: 2 });
      const buffer = device.allocate(8);
      device.write(buffer, new Float32Array([1, 2]));
      device.compile({ buffers: [], launches: [], slots: [] }).run([], []);
      console.log(String(await device.read([{ buffer, length: 2, dtype: "f32" }])));`;
    const command = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--no-lock", `data:text/typescript,${encodeURIComponent(code)}`],
      env: { DENO_DIR: cache },
      cwd: cache,
      stdout: "piped",
      stderr: "piped",
    });
    const { stdout, stderr } = await command.output();
    assertEquals([new TextDecoder().decode(stdout), new TextDecoder().decode(stderr)], ["1,2\n", ""]);
  } finally {
    await server.shutdown();
    await Deno.remove(cache, { recursive: true });
  }
});
