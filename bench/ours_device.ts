/**
 * Tensors of a benchmark on this library's device, and the wait for it.
 *
 * @module
 */
import { readAll, slice, type Tensor, tensor } from "@allspark/tensor";
import { type Spec, valuesOf } from "./values.ts";

/** The tensor that a spec describes. */
export function tensorOf(spec: Spec): Tensor {
  return tensor(valuesOf(spec), { shape: spec.shape });
}

/** Waits until the device is done with everything that was started before. */
export async function settle(result: Tensor): Promise<void> {
  const probe = slice(result, { starts: result.shape.map(() => 0), sizes: result.shape.map(() => 1) });
  await readAll({ probe });
  if (probe !== result) probe.dispose(); // a slice that takes everything is the tensor itself
}
