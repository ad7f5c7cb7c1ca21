/**
 * Special values on every device: as tensors, in derivatives, as constants that the compiler of a shader sees, and where
 * it could cancel a value against itself.
 */
import { setDevice } from "../src/device.ts";
import { onEachDevice, webgpuAvailable } from "./support/devices.ts";
import { checkRandomArithmetic } from "./support/random_arithmetic.ts";
import {
  checkConstants,
  checkReductions,
  checkRewriting,
  checkSpecialSlopes,
  checkSpecialValues,
} from "./support/special_checks.ts";

onEachDevice("every elementwise operation is right at all pairs of special values", checkSpecialValues);
onEachDevice("the derivatives of elementwise operations are right at special values", checkSpecialSlopes);
onEachDevice("nothing is rewritten as if f32 were real numbers", checkRewriting);
onEachDevice("constants in the code of a kernel are numbers as others are", checkConstants);
onEachDevice("reductions and products of special values are right", checkReductions);

// The cpu rounds a product and the sum that it goes into once, together.
Deno.test({
  name: "random arithmetic of special values has the bits of the reference (webgpu)",
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    if (!await webgpuAvailable()) return;
    await setDevice("webgpu");
    await checkRandomArithmetic();
  },
});
