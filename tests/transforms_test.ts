/** Transforms and their nesting, on every device. */
import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import * as ops from "../ops/mod.ts";
import { memory } from "../src/device.ts";
import { DisposedError, DTypeError, ShapeError, TraceError } from "../src/errors.ts";
import { dispose, readAll, realize } from "../src/evaluate.ts";
import { type NestedArray, type Tensor, tensor } from "../src/tensor.ts";
import {
  checkpoint,
  customVjp,
  grad,
  jit,
  jvp,
  scan,
  stopGradient,
  valueAndGrad,
  vjp,
  vmap,
} from "../src/transforms/mod.ts";
import { onEachDevice } from "./support/devices.ts";

const { add, matmul, mul, reshape, sin, softmax, sum } = ops;

async function near(actual: Tensor, expected: NestedArray, tolerance = 1e-5): Promise<void> {
  const flat = ([expected] as unknown[]).flat(Infinity as 20) as number[];
  const values = await actual.data();
  assertEquals(values.length, flat.length);
  flat.forEach((value, k) => assertAlmostEquals(values[k]!, value, tolerance * Math.max(1, Math.abs(value))));
}

const cube = (x: Tensor): Tensor => mul(x, mul(x, x));

onEachDevice("grad() gives first, second and third derivatives", async () => {
  await near(grad(cube)(tensor(2)), 12);
  await near(grad(grad(cube))(tensor(2)), 12);
  await near(grad(grad(grad(cube)))(tensor(2)), 6);
});

onEachDevice("grad() does not confuse the perturbations of nested calls", async () => {
  // d/dx (x · d/dy (x + y)) = 1
  const f = (x: Tensor): Tensor => mul(x, grad((y: Tensor) => add(x, y))(tensor(1)));
  await near(grad(f)(tensor(1)), 1);
  const g = (x: Tensor): Tensor => mul(x, jvp((y: Tensor) => mul(x, y), [tensor(2)], [tensor(1)])[1]);
  await near(grad(g)(tensor(3)), 6);
});

onEachDevice("grad() walks trees and takes argnums and aux", async () => {
  const f = (p: { a: Tensor; b: Tensor[] }, x: Tensor): Tensor => sum(mul(p.a, mul(p.b[0]!, x)));
  const p = { a: tensor([1, 2]), b: [tensor([3, 4])] };
  const x = tensor([5, 6]);
  const g = grad(f)(p, x);
  await near(g.a, [15, 24]);
  await near(g.b[0]!, [5, 12]);
  const [dp, dx] = grad(f, { argnums: [0, 1] })(p, x) as [typeof p, Tensor];
  await near(dp.a, [15, 24]);
  await near(dx, [3, 8]);
  const [[value, aux], gradient] = valueAndGrad(
    (y: Tensor) => [sum(cube(y)), mul(y, 2)] as [Tensor, Tensor],
    { hasAux: true },
  )(x);
  await near(value, 341);
  await near(aux, [10, 12]);
  await near(gradient, [75, 108]);
});

onEachDevice("vjp() keeps its gradient when the output is read first, and pulls back twice", async () => {
  const [output, pullback] = vjp((x: Tensor, y: Tensor) => mul(sin(x), y), tensor([1, 2]), tensor([3, 4]));
  await near(output, [Math.sin(1) * 3, Math.sin(2) * 4]);
  for (const scale of [1, 2]) {
    const [dx, dy] = pullback(tensor([scale, scale]));
    await near(dx, [Math.cos(1) * 3 * scale, Math.cos(2) * 4 * scale]);
    await near(dy, [Math.sin(1) * scale, Math.sin(2) * scale]);
  }
});

onEachDevice("vmap() nests with grad, jit and itself", async () => {
  const x = tensor([[1, 2, 3], [4, 5, 6]]);
  await near(vmap(vmap(cube))(x), [1, 8, 27, 64, 125, 216]);
  await near(vmap(grad((row: Tensor) => sum(cube(row))))(x), [3, 12, 27, 48, 75, 108]);
  await near(grad((y: Tensor) => sum(vmap((row: Tensor) => sum(cube(row)))(y)))(x), [3, 12, 27, 48, 75, 108]);
  await near(jit(vmap(grad((row: Tensor) => sum(cube(row)))))(x), [3, 12, 27, 48, 75, 108]);
  await near(vmap(jit((row: Tensor) => sum(row)))(x), [6, 15]);
  await near(vmap((row: Tensor, s: Tensor) => mul(row, s), { inAxes: [1, null], outAxes: 1 })(x, tensor(2)), [
    2,
    4,
    6,
    8,
    10,
    12,
  ]);
});

onEachDevice("jit() is traced through by other transforms and agrees with direct evaluation", async () => {
  const f = jit((x: Tensor) => sum(sin(mul(x, x))));
  const x = tensor([0.5, 1.5]);
  await near(f(x), Math.sin(0.25) + Math.sin(2.25));
  await near(grad(f)(x), [Math.cos(0.25), 3 * Math.cos(2.25)]);
  await near(jit(grad(f))(x), [Math.cos(0.25), 3 * Math.cos(2.25)]);
  await near(jvp(f, [x], [tensor([1, 0])])[1], Math.cos(0.25));
});

onEachDevice("jit() keeps captures apart and traces once per shape", async () => {
  let traces = 0;
  const captured = add(tensor([1, 2]), 0.5);
  const f = jit((x: Tensor, rate: Tensor) => {
    traces++;
    return add(mul(x, rate), captured);
  });
  await near(f(tensor([1, 1]), tensor(2)), [3.5, 4.5]);
  await near(f(tensor([1, 1]), tensor(3)), [4.5, 5.5]);
  assertEquals(traces, 1);
  await near(f(tensor([[1, 1]]), tensor(3)), [4.5, 5.5]);
  assertEquals(traces, 2);
  await near(captured, [1.5, 2.5]);
});

onEachDevice("jit() of a function with derivatives inside compiles once", async () => {
  let traces = 0;
  const step = jit((w: Tensor, x: Tensor) => {
    traces++;
    return ops.sub(w, mul(grad((v: Tensor) => sum(mul(cube(v), x)))(w), 0.1));
  });
  let w: Tensor = tensor([1, 2]);
  for (let k = 0; k < 3; k++) w = step(w, tensor([1, 0]));
  await near(w, [0.7 - 0.3 * 0.49 - 0.3 * (0.7 - 0.3 * 0.49) ** 2, 2]);
  assertEquals(traces, 1);
});

onEachDevice("jit() with donate gives up its arguments and says so", async () => {
  const step = jit(function step(state: { w: Tensor }) {
    return { w: mul(state.w, 2) };
  }, { donate: [0] });
  const first = { w: tensor([1, 2]) };
  const second = step(first);
  await near(step(second).w, [4, 8]);
  const error = assertThrows(() => add(first.w, 1), DisposedError);
  assert((error as Error).message.includes("donated to step()"));
});

onEachDevice("jit() with donate computes what it computes without", async () => {
  type State = { a: Tensor; b: Tensor; c: Tensor };
  // Each new value needs old ones that an earlier result could have overwritten.
  const step = ({ a, b, c }: State, x: Tensor): State => {
    const p = softmax(matmul(a, b));
    const q = matmul(p, c);
    return { a: add(q, x), b: matmul(q, a), c: add(mul(b, 0.5), sum(p)) };
  };
  const start = (): State => {
    const of = (k: number): Tensor => tensor(Float32Array.from({ length: 16 }, (_, i) => Math.sin(i * k)));
    const square = (k: number): Tensor => reshape(of(k), [4, 4]);
    return { a: square(1), b: square(2), c: square(3) };
  };
  const [keeping, donating] = [jit(step), jit(step, { donate: [0, 1] })];
  let [kept, donated] = [start(), start()];
  for (let k = 0; k < 5; k++) {
    kept = keeping(kept, kept.a);
    // In the last turn a tensor is given twice.
    donated = donating(donated, k === 4 ? donated.a : add(donated.a, 0));
    for (const name of ["a", "b", "c"] as const) {
      assertEquals(await donated[name].data(), await kept[name].data(), `${name} after step ${k}`);
    }
  }
});

onEachDevice("checkpoint() changes nothing but what is kept", async () => {
  const f = (x: Tensor): Tensor => sum(sin(mul(sin(x), x)));
  const x = tensor([0.3, 0.7, 1.9]);
  const plain = await grad(f)(x).data();
  assertEquals(await grad(checkpoint(f))(x).data(), plain);
  assertEquals(await jit(grad(checkpoint(f)))(x).data(), plain);
  await near(
    grad((y: Tensor) => sum(grad(checkpoint(f))(y)))(x),
    await grad((y: Tensor) => sum(grad(f)(y)))(x).toArray(),
  );
  await near(vmap(checkpoint(cube))(x), [0.027, 0.343, 6.859]);
});

onEachDevice("scan() of no turns keeps the carry and stacks nothing", async () => {
  type Pair = [Tensor, { y: Tensor; n: Tensor }];
  const f = (c: Tensor, x: Tensor): Pair => [add(c, mul(x, 3)), { y: mul(c, x), n: ops.cast(c, "i32") }];
  const run = (c: Tensor, xs: Tensor): Pair => scan(f, c, xs) as Pair;
  for (const call of [run, jit(run)]) {
    const [last, { y, n }] = call(tensor([1, 2]), ops.zeros([0, 2]));
    await near(last, [1, 2]);
    assertEquals([y.shape, y.dtype, n.shape, n.dtype], [[0, 2], "f32", [0, 2], "i32"]);
    assertEquals([...await y.data()], []);
  }
  const loss = (c: Tensor, xs: Tensor): Tensor => {
    const [last, { y }] = run(c, xs);
    return add(sum(mul(last, last)), sum(y));
  };
  const [dc, dxs] = grad(loss, { argnums: [0, 1] })(tensor([1, 2]), ops.zeros([0, 2])) as unknown as [
    Tensor,
    Tensor,
  ];
  await near(dc, [2, 4]);
  assertEquals(dxs.shape, [0, 2]);
  const [, tangent] = jvp((c: Tensor) => run(c, ops.zeros([0, 2]))[0], [tensor([1, 2])], [tensor([5, 6])]);
  await near(tangent as Tensor, [5, 6]);
  const batch = vmap((c: Tensor) => run(c, ops.zeros([0, 2])))(ops.ones([3, 2]));
  assertEquals([batch[0].shape, batch[1].y.shape], [[3, 2], [3, 0, 2]]);
  const counted = scan((c: Tensor): [Tensor, Tensor] => [add(c, 1), c], tensor(7), null, { length: 0 });
  await near(counted[0], 7);
  assertThrows(
    () => scan((c: Tensor): [Tensor, Tensor] => [c, c], tensor(7), null, { length: -1 }),
    RangeError,
    "in -1 turns",
  );
});

onEachDevice("scan() has values, both derivatives, and a batch", async () => {
  const f = (c: Tensor, x: Tensor): [Tensor, Tensor] => [sin(add(c, x)), mul(c, x)];
  const loop = (x: Tensor): Tensor => {
    const [last, ys] = scan(f, tensor(0.1), x);
    return add(last, sum(ys));
  };
  const unrolled = (x: Tensor): Tensor => {
    let c: Tensor = tensor(0.1);
    let total: Tensor = tensor(0);
    for (let k = 0; k < 4; k++) {
      const row = sum(ops.slice(x, { starts: [k], stops: [k + 1] }));
      const [next, y] = f(c, row);
      total = add(total, y);
      c = next;
    }
    return add(c, total);
  };
  const x = tensor([0.3, -0.2, 0.9, 0.4]);
  await near(loop(x), await unrolled(x).item());
  await near(grad(loop)(x), await grad(unrolled)(x).toArray());
  await near(
    grad((y: Tensor) => sum(mul(grad(loop)(y), y)))(x),
    await grad((y: Tensor) => sum(mul(grad(unrolled)(y), y)))(x).toArray(),
  );
  await near(
    jvp(loop, [x], [tensor([1, 2, 3, 4])])[1],
    await jvp(unrolled, [x], [tensor([1, 2, 3, 4])])[1].item(),
  );
  const xs = tensor([[0.3, -0.2, 0.9, 0.4], [1, 2, 3, 4]]);
  await near(vmap(loop)(xs), await vmap(unrolled)(xs).toArray());
  await near(
    jit(grad((y: Tensor) => sum(vmap(checkpoint(loop))(y))))(xs),
    await grad((y: Tensor) => sum(vmap(unrolled)(y)))(xs).toArray(),
  );
});

onEachDevice("customVjp() and stopGradient() decide the derivative", async () => {
  const half = customVjp(
    cube,
    (x: Tensor) => [cube(x), x] as const,
    (x: Tensor, g: Tensor) => [mul(g, mul(x, 0.5))],
  );
  await near(half(tensor(2)), 8);
  await near(grad(half)(tensor(2)), 1);
  await near(vmap(grad(half))(tensor([2, 4])), [1, 2]);
  await near(jit(grad(half))(tensor(2)), 1);
  await near(grad((x: Tensor) => mul(x, stopGradient(x)))(tensor(3)), 3);
  assertThrows(
    () => jvp(half, [tensor(2)], [tensor(1)]),
    TraceError,
    "customVjp gives only its reverse derivative",
  );
});

onEachDevice("errors name the function, the shape and the way out", async () => {
  assertThrows(
    () => grad((x: Tensor) => x)(tensor([1, 2])),
    ShapeError,
    "it returned shape [2]; return a scalar, for example with mean(loss)",
  );
  assertThrows(
    () => grad((x: Tensor) => sum(x))(tensor([1], { dtype: "i32" })),
    DTypeError,
    "only f32 has a gradient",
  );
  assertThrows(
    () =>
      jit(function fetchIt(x: Tensor) {
        return x.data();
      })(tensor(1)),
    TraceError,
    "it returned a Promise; a transformed function must be synchronous",
  );
  let leaked: Tensor | undefined;
  jit(function leaky(x: Tensor) {
    leaked = add(x, 1);
    return x;
  })(tensor(1));
  await assertRejects(() => leaked!.data(), TraceError, "a placeholder that leaked out of jit of leaky");
  assertThrows(
    () => vmap((x: Tensor, y: Tensor) => add(x, y))(tensor([1, 2]), tensor([1, 2, 3])),
    ShapeError,
    "has 3 examples but an earlier one has 2",
  );
  const gone = tensor(1);
  gone.dispose();
  assertThrows(() => add(gone, 1), DisposedError, "it was disposed");
});

onEachDevice("20,000 unread additions evaluate", async () => {
  let x: Tensor = tensor([0, 1]);
  for (let k = 0; k < 20000; k++) x = add(x, 1);
  await near(x, [20000, 20001]);
});

onEachDevice("many tensors are read in one wait, and nothing stays behind", async () => {
  const before = memory.stats().liveBuffers;
  const made = { a: add(tensor([1, 2]), 1), b: sum(tensor([3, 4])) };
  const { a, b } = await readAll(made);
  assertEquals([...a!, ...b!], [2, 3, 7]);
  dispose(made);
  await realize({});
  assert(
    memory.stats().liveBuffers <= before + 2,
    "the two inputs may wait for the garbage collector; nothing else",
  );
});
