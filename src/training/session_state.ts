/**
 * Training states from and to the arrays of a checkpoint: the model under its official names, so that the file is a
 * weight file too, and the optimiser's state and the step under names of ours.
 *
 * @module
 */
import { fromStateDict, type StateDictOptions, toStateDict, type TrainState } from "../../models/mod.ts";
import { toTensor } from "../../io/tensors.ts";
import { readAll } from "../evaluate.ts";
import type { ArrayEntry } from "../io/array.ts";
import { brief, FileFormatError } from "../io/errors.ts";
import type { Tensor } from "../tensor.ts";
import { treeFlatten } from "../tree.ts";

/** What stands before the names of all that is not the model. */
const prefix = "training.";

/** Reads a state from the device, as the arrays of a checkpoint. */
export async function stateToArrays(state: TrainState): Promise<Map<string, ArrayEntry>> {
  const { params, bnState, memState, optState, step } = state;
  const arrays = await toStateDict({ params, bnState, memState });
  const { leaves, paths } = treeFlatten({ optState, step });
  const tensors = leaves as Tensor[];
  const values = await readAll(Object.fromEntries(paths.map((path, k) => [path, tensors[k]!])));
  paths.forEach((path, k) => {
    const { shape, dtype } = tensors[k]!;
    const data = values[path]!;
    arrays.set(prefix + path, { shape, dtype: dtype === "bool" ? "u32" : dtype, data });
  });
  return arrays;
}

/** The arrays of a checkpoint that are the model's. */
export function modelArrays(arrays: ReadonlyMap<string, ArrayEntry>): Map<string, ArrayEntry> {
  return new Map([...arrays].filter(([name]) => !name.startsWith(prefix)));
}

/**
 * A state from the arrays of a checkpoint.
 *
 * @param arrays What {@linkcode stateToArrays} gave.
 * @param fresh A state of the same model and optimiser; its values are not looked at.
 * @param variant The model's encoder.
 * @throws {FileFormatError} If arrays are missing, or are not of this model.
 */
export function stateFromArrays(
  arrays: ReadonlyMap<string, ArrayEntry>,
  fresh: TrainState,
  variant: StateDictOptions["variant"],
): TrainState {
  const { params, bnState, memState, optState, step } = fresh;
  const model = fromStateDict(modelArrays(arrays), { variant, base: { params, bnState, memState } });
  const { leaves, paths, unflatten } = treeFlatten({ optState, step });
  const rest = unflatten(leaves.map((leaf, k) => restored(arrays, prefix + paths[k]!, leaf as Tensor)));
  return { ...fresh, ...model, ...rest };
}

function restored(arrays: ReadonlyMap<string, ArrayEntry>, name: string, like: Tensor): Tensor {
  const entry = arrays.get(name);
  if (entry === undefined || entry.shape.join() !== like.shape.join()) {
    const found = entry === undefined ? "missing" : `of shape ${brief(entry.shape)}`;
    throw new FileFormatError(
      `Cannot load the checkpoint: ${name} is ${found}; shape ${brief(like.shape)} is required`,
    );
  }
  return toTensor(entry, { dtype: like.dtype, name });
}
