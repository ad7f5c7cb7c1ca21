import { assert, assertEquals } from "@std/assert";
import { operations, primitiveCases } from "./support/cases.ts";
import { composed, exportedOperations } from "./support/composed.ts";
import { type Case, checkDerivatives, checkKernels, checkShape, checkVmap } from "./support/laws.ts";

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

for (const [name, cases] of composed) testLaws(name, cases);

Deno.test("every exported operation is a primitive or has cases of its own", () => {
  const covered = new Set([...operations().map(({ name }) => name), ...composed.keys()]);
  assertEquals(exportedOperations().filter((name) => !covered.has(name)), []);
});
