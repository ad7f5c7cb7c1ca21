/** Addressed random numbers and the order of items. */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { batchOrder } from "../src/data/order.ts";
import { randomStream, threefry } from "../src/data/random.ts";

Deno.test("threefry() gives the published answers", () => {
  // Known answers of Random123 for threefry2x32 with 20 rounds: (key, counter) -> output.
  assertEquals(threefry(0, 0, 0, 0), [0x6b200159, 0x99ba4efe]);
  assertEquals(threefry(-1, -1, -1, -1), [0x1cb996fc, 0xbb002be7]);
  assertEquals(threefry(0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3), [0xc4923a9c, 0x483df7a0]);
});

Deno.test("randomStream() has a stream of its own for every address", () => {
  const addresses: [number, number, number, number][] = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [
    0,
    0,
    0,
    1,
  ]];
  const firsts = addresses.map(([seed, ...rest]) => randomStream(seed, ...rest).uniform());
  assertEquals(new Set(firsts).size, 4);
  assertNotEquals(randomStream(2 ** 33).uniform(), randomStream(0).uniform());
});

Deno.test("randomStream() draws evenly and within bounds", () => {
  const random = randomStream(42);
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < 4000; i++) counts[random.integer(-1, 2) + 1]!++;
  for (const count of counts) assert(Math.abs(count - 1000) < 120, `${counts}`);
  for (let i = 0; i < 1000; i++) {
    const value = random.uniform(-0.25, 0.25);
    assert(value >= -0.25 && value < 0.25);
  }
});

Deno.test("batchOrder() visits every unlabeled item once per epoch, each with its fixed partner", () => {
  const order = batchOrder({ labeled: 46, unlabeled: 321, batch: 2, seed: 1 });
  assertEquals(order.stepsPerEpoch, 160);
  const seen = new Set<number>();
  for (let step = 160; step < 320; step++) {
    const { labeled, unlabeled } = order.at(step);
    assertEquals(labeled, unlabeled.map((item) => item % 46));
    unlabeled.forEach((item) => seen.add(item));
  }
  assertEquals(seen.size, 320);
  assertNotEquals(order.at(0), order.at(160));
});

Deno.test("batchOrder() can be asked for any step at any time", () => {
  const options = { labeled: 5, unlabeled: 13, batch: 3, seed: 8 };
  const steps = [0, 1, 2, 3, 9, 20];
  const forwards = steps.map(batchOrder(options).at);
  const backwards = [...steps].reverse().map(batchOrder(options).at).reverse();
  assertEquals(forwards, backwards);
});

Deno.test("batchOrder() repeats the shorter list, whichever it is", () => {
  const order = batchOrder({ labeled: 7, unlabeled: 2, batch: 2, seed: 0 });
  assertEquals(order.stepsPerEpoch, 3);
  for (let step = 0; step < 9; step++) order.at(step).unlabeled.forEach((item) => assert(item < 2));
  assertEquals(
    batchOrder({ labeled: 46, unlabeled: 321, batch: 4, seed: 0, epoch: "labeled" }).stepsPerEpoch,
    11,
  );
  assertEquals(batchOrder({ labeled: 1, unlabeled: 0, batch: 4, seed: 0 }).at(5), {
    labeled: [0, 0, 0, 0],
    unlabeled: [],
  });
});
