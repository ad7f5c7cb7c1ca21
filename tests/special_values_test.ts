/**
 * Every elementwise operation on all pairs of special values, on every device and kernel family: as tensors, as
 * constants that a shader compiler sees, and where it could cancel one value against itself.
 */
import { assertEquals } from "@std/assert";
import * as ops from "../ops/mod.ts";
import { readAll } from "../src/evaluate.ts";
import type { Tensor } from "../src/tensor.ts";
import { jit } from "../src/transforms/jit.ts";
import { vjp } from "../src/transforms/vjp.ts";
import { onEachDevice } from "./support/devices.ts";
import {
  combinations,
  roundedReferenceOf,
  specialCalls,
  tensorsOf,
  wrongResults,
} from "./support/special_values.ts";

/** Values of tensors on the current device. */
async function valuesOf(tensors: readonly Tensor[]): Promise<ArrayLike<number>[]> {
  const values = await readAll(Object.fromEntries(tensors.map((x, k) => [String(k), x])));
  return tensors.map((_, k) => values[String(k)]!);
}

onEachDevice("every elementwise operation is right at all combinations of special values", async () => {
  const calls = specialCalls();
  const operands = calls.map(({ dtypes }) => combinations(dtypes));
  const outputs = calls.map(({ dtypes, call }, k) => call(tensorsOf(dtypes, operands[k]!)));
  const expected = roundedReferenceOf(outputs);
  const actual = await valuesOf(outputs);
  const wrong = calls.flatMap(({ name }, k) =>
    wrongResults(name, operands[k]!, actual[k]!, expected[k]!, outputs[k]!)
  );
  assertEquals(wrong, []);
});

onEachDevice("so are the derivatives of all of them", async () => {
  const wrong: string[] = [];
  for (const { name, dtypes, call, isDifferentiable } of specialCalls()) {
    const floats = dtypes.flatMap((dtype, k) => dtype === "f32" ? [k] : []);
    if (floats.length === 0 || !isDifferentiable) continue;
    const operands = combinations(dtypes);
    const [output, pullback] = vjp((...given: Tensor[]) => call(given), ...tensorsOf(dtypes, operands));
    const cotangents = pullback(ops.ones([output.size]));
    const gradients = floats.map((k) => cotangents[k]!);
    const expected = roundedReferenceOf(gradients);
    const actual = await valuesOf(gradients);
    gradients.forEach(({ dtype }, k) => {
      const what = `∂ ${name} by operand ${floats[k]}`;
      wrong.push(...wrongResults(what, operands, actual[k]!, expected[k]!, { dtype, signs: false }));
    });
  }
  assertEquals(wrong, []);
});
