import { assert, assertEquals } from "@std/assert";
import { operations, primitiveCases } from "./support/cases.ts";
import { composed, exportedOperations } from "./support/composed.ts";
import { assertClose, referenceOf } from "./support/check.ts";
import {
  type Case,
  checkDerivatives,
  checkKernels,
  checkShape,
  checkVmap,
  inputsOf,
} from "./support/laws.ts";

function testLaws(
  name: string,
  cases: readonly Case[],
  checkFlow: (flows: boolean) => void = () => {},
): void {
  Deno.test(`${name}: has samples, and its shape rule agrees with its reference`, () => {
    assert(cases.length > 0, `${name} has no samples`);
    cases.forEach(checkShape);
  });
  Deno.test(`${name}: jvp is the central difference and vjp its adjoint, twice`, () => {
    checkFlow(cases.map(checkDerivatives).some(({ vjp }) => vjp));
  });
  Deno.test(`${name}: vmap is a loop`, () => cases.forEach((example) => void checkVmap(example)));
  Deno.test(`${name}: its kernels compute its reference`, () => cases.forEach(checkKernels));
}

for (const op of operations()) {
  testLaws(op.name, primitiveCases(op), (flows) => {
    const hasInputs = op.samples.some(({ inputs }) => inputs.length > 0);
    assertEquals(flows, op.vjp !== undefined && hasInputs, `${op.name}: something flows`);
    assertEquals(op.vjp === undefined, op.jvp === undefined, `${op.name}: has only one of vjp and jvp`);
  });
}

for (const op of operations().filter(({ lowering }) => lowering.kind === "composition")) {
  Deno.test(`${op.name}: what it is composed of computes its own reference`, () => {
    op.samples.forEach(({ params }, k) => {
      const example = primitiveCases(op)[k]!;
      const inputs = inputsOf(example);
      const output = example.call(...inputs);
      const arrays = inputs.map(({ shape, host }) => ({ shape, data: Float64Array.from(host!) }));
      const own = op.reference(arrays, params, output);
      assertEquals(own.shape, output.shape);
      const exact = { relative: 1e-12, absolute: 1e-12 };
      assertClose(own.data, referenceOf([output])[0]!.data, `${op.name}: sample ${k}`, exact);
    });
  });
}

for (const [name, cases] of composed) testLaws(name, cases);

Deno.test("every exported operation is a primitive or has cases of its own", () => {
  const covered = new Set([...operations().map(({ name }) => name), ...composed.keys()]);
  assertEquals(exportedOperations().filter((name) => !covered.has(name)), []);
});
