/** What `jit` takes for the same call and what not, when it runs, and what it leaves of what it was given. */
import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import * as ops from "../ops/mod.ts";
import { memory } from "../src/device.ts";
import { DisposedError, ShapeError, TraceError } from "../src/errors.ts";
import { onCompile, readAll, realize } from "../src/evaluate.ts";
import { adam } from "../src/optim/optimizers.ts";
import { primitives } from "../src/primitive.ts";
import { makeTuple } from "../src/structure.ts";
import { type NestedArray, type Tensor, tensor } from "../src/tensor.ts";
import { checkpoint, customVjp, grad, jit, jvp, scan, vjp, vmap } from "../src/transforms/mod.ts";
import { closeOver } from "../src/transforms/tracing.ts";
import { onEachDevice } from "./support/devices.ts";

const { add, div, mul, neg, relu, sub, sum } = ops;

async function equals(actual: Tensor, expected: NestedArray): Promise<void> {
  assertEquals(await actual.toArray(), expected);
}

/** Programs that are compiled while `work` runs. */
async function compilations(work: () => Promise<unknown>): Promise<number> {
  let count = 0;
  onCompile((done, total) => done === total && count++);
  try {
    await work();
  } finally {
    onCompile(undefined);
  }
  return count;
}

onEachDevice("a number is a number inside jit(), vmap(), jvp(), checkpoint() and customVjp()", async () => {
  const list = [tensor([10]), tensor([20])];
  // The function, the number, and the result for tensor([8]) and that number.
  const cases: [(x: Tensor, n: number) => Tensor, number, NestedArray][] = [
    [(x, n) => mul(x, 1 / n), 4, [2]],
    [(x, n) => n > 2 ? neg(x) : x, 5, [-8]],
    [(x, n) => n > 2 ? neg(x) : x, 1, [8]],
    [(x, n) => Array.from({ length: n }).reduce<Tensor>((y) => add(y, 1), x), 3, [11]],
    [(x, n) => mul(x, n || 7), 0, [56]],
    [(x, n) => mul(x, n || 7), 2, [16]],
    [(x, n) => n === 0 ? neg(x) : x, 0, [-8]],
    [(x, n) => n === 1 ? neg(x) : x, 1, [-8]],
    [(x, n) => Object.is(n, -0) ? neg(x) : x, -0, [-8]],
    [(x, n) => Object.is(n, -0) ? neg(x) : x, 0, [8]],
    [(x, n) => Number.isNaN(n) ? neg(x) : x, NaN, [-8]],
    [(_, n) => list[n]!, 1, [20]],
    [(x, n) => mul(x, Number(`${n}`)), 3, [24]],
    [(x, n) => ops.full(x.shape, Math.sqrt(n)), 9, [3]],
    [(_, n) => ops.arange(n), 2, [0, 1]],
    [(x, n) => add(ops.cast(x, "i32"), n), 2, [10]],
    [(x, n) => typeof n === "number" ? x : neg(x), 2, [8]],
  ];
  const x = tensor([8]);
  for (const [f, n, expected] of cases) {
    const plain = f(x, n);
    const compiled = jit(f);
    for (const result of [plain, compiled(x, n), compiled(x, n), jit(compiled)(x, n)]) {
      await equals(result, expected);
    }
    await equals(vmap(f, { inAxes: [0, null] })(tensor([[8]]), n), [expected]);
    await equals(jvp(f, [x, n], [tensor([1]), 0])[0], expected);
    await equals(checkpoint(f)(x, n), expected);
    await equals(customVjp(f, (y, m) => [f(y, m), null], () => [null, null])(x, n), expected);
  }
  const key = ops.random.key(3);
  await equals(
    jit((k: Tensor, n: number) => ops.random.foldIn(k, n))(key, 5),
    await ops.random.foldIn(key, 5).toArray(),
  );
});

Deno.test("a tensor does not pass for a number or a text", () => {
  const x = tensor([3]);
  const list: Record<string, unknown> = {};
  const n = x as unknown as number;
  const cases: (() => unknown)[] = [
    () => 1 / n,
    () => n > 2,
    () => n + 1,
    () => -n,
    () => `${n}`,
    () => list[n],
    () => Math.sqrt(n),
    () => Number(n),
    () => n == 3,
    () => [n].join(),
    () => new Array(3).fill(0).slice(n),
  ];
  for (const f of cases) assertThrows(f, TypeError, "compute with operations such as add");
  assertThrows(
    () => jit((y: Tensor) => mul(y, 1 / (y as unknown as number)))(x),
    TypeError,
    "compute with operations",
  );
  assertThrows(() => JSON.stringify({ loss: x }), TypeError, "write what await x.toArray()");
  assertEquals(x.toString(), "Tensor f32[1]");
});

Deno.test("numbers do not become tensors where a derivative or a loop would need one", () => {
  const f = (x: unknown): Tensor => mul(x as Tensor, 2);
  const message = "not a tensor";
  assertThrows(() => grad(f)(3), TraceError, `Cannot grad f: argument 0 is the number 3, ${message}`);
  assertThrows(() => vjp(f, 3), TraceError, message);
  const nested = (p: { w: Tensor; rate: number }): Tensor => mul(sum(p.w), p.rate);
  assertThrows(
    () => grad(nested)({ w: tensor([1]), rate: 2 }),
    TraceError,
    "argument 0 at rate is the number 2",
  );
  assertThrows(() => jvp(f, [3], [1]), TraceError, "its tangent must be 0 or null");
  assertThrows(() => vmap(f)(3), TraceError, "it is no tensor; give it null in inAxes");
  assertThrows(
    () => scan((c: number, x: Tensor) => [c, x], 0, tensor([1])),
    TraceError,
    "the carry is the number 0, not a tensor; what changes from turn to turn must be one",
  );
});

onEachDevice("static arguments are compared by value, and functions and instances by identity", async () => {
  class Box {
    constructor(readonly by: number) {}
  }
  const symbol = Symbol("a");
  const f = (x: Tensor, value: unknown): Tensor => mul(x, numberOf(value));
  let calls = 0;
  const numberOf = (_: unknown): number => ++calls;
  const step = jit(f, { staticArgs: [1] });
  const self: unknown[] = [];
  self.push(self);
  assertThrows(() => step(tensor(1), self), TypeError, "it contains itself");
  // Every one differs from all others; the second of a pair is equal to the first.
  const values: (readonly [unknown, unknown?])[] = [
    [0, 0],
    [-0, -0],
    [NaN, NaN],
    [Infinity],
    [-Infinity],
    [null],
    [undefined],
    ["null", "null"],
    ["0"],
    [0n, 0n],
    [true],
    [symbol, symbol],
    [new Date(5), new Date(5)],
    [new Date(6)],
    [/a/g, /a/g],
    [/a/i],
    [Float32Array.of(1, 2), Float32Array.of(1, 2)],
    [Float32Array.of(1, 3)],
    [Int32Array.of(1, 2), Int32Array.of(1, 2)],
    [new Map([["a", 1]]), new Map([["a", 1]])],
    [new Map([["a", 2]])],
    [new Set([1, 2]), new Set([1, 2])],
    [new Set([1, 3])],
    [{ a: 1, b: [2, { c: 3n }] }, { b: [2, { c: 3n }], a: 1 }],
    [{ a: 1, b: undefined }],
    [{ a: 1 }],
    [["a,b"], ["a,b"]],
    [["a", "b"]],
    [[undefined]],
    [new Array(1)],
    [relu, relu],
    [neg],
    [{ act: relu }, { act: relu }],
    [{ act: neg }],
    [new Box(1)],
    [new Box(1)],
  ];
  for (const [value, equal] of values) {
    const before = calls;
    await step(tensor(1), value).data();
    assertEquals(calls, before + 1, `${Deno.inspect(value)} is another value`);
    if (equal !== undefined) await step(tensor(1), equal).data();
    assertEquals(calls, before + 1, `${Deno.inspect(value)} is the same value`);
  }
  const changing = Float32Array.of(1, 2);
  const total = jit((x: Tensor, a: Float32Array) => add(x, sum(tensor(a))), { staticArgs: [1] });
  await equals(total(tensor(0), changing), 3);
  changing.fill(100);
  await equals(total(tensor(0), changing), 200);
});

Deno.test("ordinary arguments that may change unseen are refused", () => {
  const f = jit(function scaled(x: Tensor, options: unknown): Tensor {
    return options === null ? x : mul(x, 2);
  });
  const message = (kind: string): string =>
    `Cannot jit scaled: argument 1.data is a ${kind}, which may change unseen`;
  for (const data of [new Float32Array(2), new Map(), new Date(), new URL("https://example.org")]) {
    assertThrows(() => f(tensor(1), { data }), TraceError, message(data.constructor.name));
  }
});

Deno.test("jit() traces once though no device is open, and donates", async () => {
  const script = `
    import { grad, jit, matmul, mean, memory, mul, square, sub, tensor } from "${new URL(
    "../mod.ts",
    import.meta.url,
  )}";
    const x = tensor([[0, 1], [1, 0], [1, 1]]);
    const y = tensor([[1], [2], [3]]);
    let traces = 0;
    const loss = (w) => mean(square(sub(matmul(x, w), y)));
    const step = jit((w) => { traces++; return sub(w, mul(grad(loss)(w), 0.5)); }, { donate: [0] });
    let w = tensor([[0], [0]]);
    const first = w;
    for (let k = 0; k < 50; k++) w = step(w);
    try { sub(first, 1); } catch (error) { console.log(error.message); }
    const value = await loss(w).item();
    console.log(traces, value < 1e-9, memory.stats().liveBuffers <= 4);
  `;
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", "--quiet", "-"],
    cwd: new URL("../", import.meta.url),
    env: { ALLSPARK_DEVICE: "cpu" },
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  });
  const child = command.spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(script));
  await writer.close();
  const { stdout } = await child.output();
  const [gone, counts] = new TextDecoder().decode(stdout).trim().split("\n");
  assert(gone!.startsWith("Cannot apply sub to tensor f32[2, 1]: it was donated"), gone);
  assertEquals(counts, "1 true true");
});

onEachDevice("numbers that change compile at most twice, eager and in jit()", async () => {
  const x = await realize(tensor([1, 2, 3]));
  const eager = await compilations(async () => {
    for (let k = 0; k < 20; k++) {
      await equals(
        div(mul(x, k + 2), k + 3),
        [1, 2, 3].map((v) => Math.fround(v * (k + 2) / (k + 3))),
      );
    }
  });
  assert(eager <= 2, `${eager} programs for twenty numbers`);
  const f = jit((y: Tensor, n: number) => sub(mul(y, n), 0.25));
  const compiled = await compilations(async () => {
    for (let k = 0; k < 20; k++) await equals(f(x, k + 1.5), [1, 2, 3].map((v) => v * (k + 1.5) - 0.25));
  });
  assert(compiled <= 2, `${compiled} programs for twenty numbers in jit`);
  const key = ops.random.key(0);
  const folded = await compilations(async () => {
    for (let k = 0; k < 20; k++) await ops.random.foldIn(key, k).data();
  });
  assert(folded <= 3, `${folded} programs for twenty keys`);
  // Exponents stay in the program, since small ones are products.
  for (const n of [1, 2, 3, 0.5]) await equals(ops.pow(tensor([4]), n), [4 ** n]);
});

onEachDevice("a read holds what it reads: dispose() and donate come after it", async () => {
  const make = async (): Promise<Tensor> => await realize(mul(ops.ones([1000]), 3));
  const y = await make();
  const reading = y.data();
  y.dispose();
  assertEquals((await reading)[0], 3);
  await assertRejects(() => y.data(), DisposedError, "it was disposed");
  const z = await make();
  const values = [z.data(), z.data()];
  const next = jit((x: Tensor) => add(x, 1), { donate: [0] })(z);
  assertEquals((await next.data())[0], 4);
  for (const each of values) assertEquals((await each)[999], 3);
  assertThrows(() => add(z, 1), DisposedError, "it was donated");
  // What was not evaluated has no memory to free: others are still computed from it.
  const lazy = mul(ops.ones([2]), 2);
  const later = add(lazy, 1);
  lazy.dispose();
  await equals(later, [3, 3]);
  assertThrows(() => add(lazy, 1), DisposedError);
});

onEachDevice("a donated argument may be needed by the other arguments, and twice", async () => {
  const step = jit((state: { a: Tensor }, x: Tensor) => ({ a: add(state.a, x) }), { donate: [0] });
  let state = { a: tensor([1, 2]) };
  for (let k = 0; k < 3; k++) state = step(state, mul(state.a, 2));
  await equals(state.a, [27, 54]);
  const both = jit((p: Tensor, q: Tensor) => [add(p, q), mul(p, q)], { donate: [0, 1] });
  const x = await realize(tensor([3]));
  const [total, product] = both(x, x) as [Tensor, Tensor];
  assertEquals([await total.toArray(), await product.toArray()], [[6], [9]]);
});

onEachDevice("calls that were not read run in order, each once", async () => {
  const before = memory.stats().liveBuffers;
  let traces = 0;
  const f = jit((x: Tensor) => {
    traces++;
    return { next: add(x, 1), twice: mul(x, 2), unread: ops.zeros([5]) };
  });
  let x: Tensor = tensor([0]);
  const doubles: Tensor[] = [];
  for (let k = 0; k < 100; k++) {
    const { next, twice } = f(x);
    doubles.push(twice);
    x = next;
  }
  await equals(ops.concat(doubles), Array.from({ length: 100 }, (_, k) => 2 * k));
  assertEquals(traces, 1);
  assert(memory.stats().liveBuffers >= before);
});

onEachDevice(
  "the call of a compiled function has derivatives and a batch, written out or as a node",
  async () => {
    const f = (x: Tensor, y: Tensor): Tensor[] => [mul(x, y), add(x, y)];
    const callOf = primitives().find(({ name }) => name === "jit")!;
    const asNode = (x: Tensor, y: Tensor): Tensor[] => {
      const { body } = closeOver((given) => f(given[0]!, given[1]!), [x, y], "f", (results) => results);
      return makeTuple(callOf, [x, y], { body, donated: [] });
    };
    const [a, b] = [tensor([2, 3]), tensor([5, 7])];
    for (const g of [jit(f), asNode]) {
      await equals(g(a, b)[0]!, [10, 21]);
      await equals(grad((x: Tensor) => sum(g(x, b)[0]!))(a), [5, 7]);
      await equals(jvp((x: Tensor) => g(x, b)[0]!, [a], [tensor([1, 0])])[1], [5, 0]);
      await equals(vmap((x: Tensor) => g(x, b)[1]!)(tensor([[1, 1], [2, 2]])), [[6, 8], [7, 9]]);
    }
  },
);

onEachDevice("a captured tensor of a transform that is running is not remembered", async () => {
  let w: Tensor = tensor(2);
  const f = jit((x: Tensor) => mul(x, w));
  const slopeAt = (value: number): Tensor =>
    grad((v: Tensor) => {
      w = v;
      return f(tensor(3));
    })(tensor(value));
  await equals(slopeAt(2), 3);
  await equals(slopeAt(5), 3);
  w = tensor(10);
  await equals(f(tensor(3)), 30);
});

onEachDevice("readAll() gives a tree", async () => {
  const tree = {
    loss: tensor(2),
    parts: [tensor([1, 2]), { n: tensor([3], { dtype: "i32" }) }],
    epoch: 4,
  } as const;
  const values = await readAll(tree);
  assertEquals(values.loss[0], 2);
  assertEquals([...values.parts[0]], [1, 2]);
  assert(values.parts[1].n instanceof Int32Array);
  assertEquals(values.epoch, 4);
});

Deno.test("an optimiser refuses gradients and rates of other shapes", () => {
  const optimizer = adam({ learningRate: 0.1 });
  const params = { w: ops.zeros([3]) };
  const state = optimizer.init(params);
  const update = (w: Tensor, learningRate: Tensor): unknown =>
    optimizer.update({ w }, state, params, { learningRate });
  assertThrows(
    () => update(ops.ones([1]), tensor(1)),
    ShapeError,
    "Cannot update parameter w f32[3]: its gradient is f32[1]",
  );
  assertThrows(() => update(ops.ones([3]), tensor([1, 2, 3])), ShapeError, "a scalar is required");
});
