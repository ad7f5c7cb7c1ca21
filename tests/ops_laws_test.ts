import { assert } from "@std/assert";
import { operations, primitiveCases } from "./support/cases.ts";
import { checkDerivatives, checkKernels, checkShape, checkVmap } from "./support/laws.ts";

for (const op of operations()) {
  const cases = primitiveCases(op);

  Deno.test(`${op.name}: has samples, and its shape rule agrees with its reference`, () => {
    assert(cases.length > 0, `${op.name} has no samples`);
    cases.forEach(checkShape);
  });

  Deno.test(`${op.name}: jvp is the central difference and vjp its adjoint, twice`, () => {
    const flows = cases.map(checkDerivatives).some(({ vjp }) => vjp);
    assert(flows === (op.vjp !== undefined) || op.samples.every(({ inputs }) => inputs.length === 0));
    assert((op.vjp === undefined) === (op.jvp === undefined), `${op.name} has only one of vjp and jvp`);
  });

  Deno.test(`${op.name}: vmap is a loop`, () => cases.forEach((example) => void checkVmap(example)));

  Deno.test(`${op.name}: its kernels compute its reference`, () => cases.forEach(checkKernels));
}
