/**
 * Models from and to weight files: the official names and layouts, and those of Hugging Face.
 *
 * @module
 */
import { toTensor } from "../io/tensors.ts";
import { readAll } from "../src/evaluate.ts";
import type { ArrayEntry } from "../src/io/array.ts";
import { compareArrays, describeMisfits, fits, type Misfits, refuseMisfits } from "../src/io/fit.ts";
import { zeros } from "../ops/mod.ts";
import type { Tensor } from "../src/tensor.ts";
import { treeLeaves, treeMap } from "../src/tree.ts";
import { type ModelConfig, modelShape } from "./config.ts";
import {
  describeModel,
  type MemoryState,
  type Model,
  type ModelParams,
  type ModelShape,
  type Parameter,
} from "./parameters.ts";
import { officialNames } from "./weight_names.ts";

/** Options of {@linkcode fromStateDict}. */
export interface StateDictOptions extends Partial<Omit<ModelConfig, "variant" | "rates">> {
  /** The encoder. Every other size that is not given is taken from the file. */
  readonly variant: ModelConfig["variant"];
  /**
   * A model whose values stay where the file lacks a whole part (encoder, head or AllSpark), for example a new one
   * that starts from a pretrained encoder. Its sizes are then used. Without it nothing may be missing.
   */
  readonly base?: Model;
  /**
   * With `base`: takes what fits and leaves the rest of `base` as it is, for example where the file has another number
   * of classes. Called with what did not fit, if there is anything.
   */
  readonly onMisfits?: (misfits: Misfits) => void;
}

/**
 * A model from the arrays of a weight file. Names may be the official ones, with or without what data-parallel
 * training, `torch.compile` and averaging add, those of the encoder alone (whose ImageNet class head is ignored), or
 * Hugging Face's. Types are converted to f32, counters to i32; a counter of batches that is not there is 0.
 *
 * @param entries Arrays by name, for example `findStateDict((await readWeights(path)).tree)`.
 * @param options The encoder's variant, other sizes, and what stays if parts are missing.
 * @throws {FileFormatError} If names are missing, unexpected or misshapen; the message names them. Also if the file is one of
 * the released AllSpark checkpoints, which hold an older model.
 * @example
 * ```ts
 * import { random } from "@allspark/tensor";
 * import { fromStateDict, initModel, toStateDict } from "@allspark/tensor/models";
 * import { assertEquals } from "@std/assert";
 * const model = initModel(random.key(0), { variant: "b0", classes: 3, crop: 65 });
 * const entries = await toStateDict(model);
 * assertEquals(entries.get("backbone.norm1.weight")!.shape, [32]);
 * const again = fromStateDict(entries, { variant: "b0", classes: 3 });
 * assertEquals(again.params.decoder.classify.bias.shape, [3]);
 * ```
 */
export function fromStateDict(entries: ReadonlyMap<string, ArrayEntry>, options: StateDictOptions): Model {
  const named = officialNames(entries);
  const { base, onMisfits } = options;
  if (onMisfits !== undefined && base === undefined) {
    throw new TypeError("Cannot take what fits of the weights: onMisfits needs a base model for the rest");
  }
  const description = describeModel(base === undefined ? shapeOfFile(named, options) : shapeOfModel(base));
  const taken = onMisfits !== undefined
    ? fittingNames(treeLeaves(description) as Parameter[], named, onMisfits)
    : requiredNames(partsOf(description), named, base !== undefined);
  const kept = new Map<string, Tensor>();
  if (base !== undefined) {
    const { params, bnState, memState } = base;
    const tensors = treeLeaves({ params, bnState, memState }) as Tensor[];
    (treeLeaves(description) as Parameter[]).forEach(({ name }, k) => kept.set(name, tensors[k]!));
  }
  return treeMap<Model<Parameter>, Model>(description, ({ name, shape, dtype }: Parameter) => {
    if (!taken.has(name)) return kept.get(name)!;
    const entry = named.get(name);
    return entry === undefined ? zeros(shape, { dtype }) : toTensor(entry, { dtype, name });
  });
}

/** Encoder, head and AllSpark: what a file has whole or not at all. */
function partsOf({ params, bnState, memState }: Model<Parameter>): Parameter[][] {
  return [params.backbone, [params.decoder, bnState], params.allspark && [params.allspark, memState]]
    .map((part) => part === undefined ? [] : treeLeaves(part) as Parameter[]);
}

/** The names of all parameters, but for those of parts that are missing as a whole where that may be. */
function requiredNames(
  parts: readonly Parameter[][],
  entries: ReadonlyMap<string, ArrayEntry>,
  mayLackParts: boolean,
): Set<string> {
  const wanted = parts.filter((part) => !mayLackParts || part.some(({ name }) => entries.has(name))).flat();
  refuseMisfits(compareArrays(wanted.filter(({ name }) => !isAbsentCounter(name, entries)), entries));
  return new Set(wanted.map(({ name }) => name));
}

/** The names of the parameters that the file has in their shape. */
function fittingNames(
  parameters: readonly Parameter[],
  entries: ReadonlyMap<string, ArrayEntry>,
  onMisfits: (misfits: Misfits) => void,
): Set<string> {
  const wanted = parameters.filter(({ name }) => !isAbsentCounter(name, entries));
  const fitting = wanted.filter((parameter) => fits(parameter, entries));
  const misfits = compareArrays(wanted, entries);
  if (fitting.length === 0) refuseMisfits(misfits);
  if (describeMisfits(misfits) !== "") onMisfits(misfits);
  return new Set(fitting.map(({ name }) => name));
}

/** Whether a file lacks a counter of batches, as those of PyTorch before 0.4.1 do: it then is 0. */
function isAbsentCounter(name: string, entries: ReadonlyMap<string, ArrayEntry>): boolean {
  return name.endsWith(".num_batches_tracked") && !entries.has(name);
}

/**
 * The arrays of a model by their official names, as PyTorch's `load_state_dict` wants them: f32, and i64 for the
 * counters. Write them with `writeSafetensors`.
 *
 * @param model Parameters, running statistics and memory.
 */
export async function toStateDict(model: Model): Promise<Map<string, ArrayEntry>> {
  const { params, bnState, memState } = model;
  const parameters = treeLeaves(describeModel(shapeOfModel(model))) as Parameter[];
  const tensors = treeLeaves({ params, bnState, memState }) as Tensor[];
  const values = await readAll(Object.fromEntries(parameters.map(({ name }, k) => [name, tensors[k]!])));
  return new Map(parameters.map(({ name, shape, dtype }) => {
    const data = values[name]!;
    return [
      name,
      dtype === "f32"
        ? { shape, dtype: "f32", data: data as Float32Array }
        : { shape, dtype: "i64", data: BigInt64Array.from(data as Int32Array, BigInt) },
    ];
  }));
}

/** The sizes that a file and the options give together; what neither gives is as in a new model. */
function shapeOfFile(entries: ReadonlyMap<string, ArrayEntry>, options: StateDictOptions): ModelShape {
  const sizeOf = (name: string, axis: number): number | undefined => entries.get(name)?.shape[axis];
  const allspark = options.allspark ?? entries.has("decoder.allspark.map_in.0.weight");
  const width = sizeOf("decoder.allspark.attn.q_u.weight", 0);
  const channels = sizeOf("decoder.allspark.attn.q_u.weight", 1);
  const { base: _, ...given } = options;
  const found: Partial<Record<keyof ModelConfig, number | undefined>> = {
    classes: sizeOf("decoder.decoder.linear_pred.weight", 0),
    embedding: sizeOf("decoder.decoder.linear_fuse.conv.weight", 0),
    heads: width !== undefined && channels !== undefined ? width / channels : undefined,
    queueSize: sizeOf("decoder.allspark.attn.kv_queue", 1),
  };
  // A size that is none is not taken; the array that has it is then named as misshapen.
  const known = Object.fromEntries(
    Object.entries(found).filter(([, size]) => Number.isSafeInteger(size) && size! > 0),
  );
  const shape = modelShape({ classes: 21, ...known, ...given, allspark });
  const tokens = sizeOf("decoder.allspark.attn.kv_queue", 2);
  return options.crop === undefined && tokens ? { ...shape, tokens } : shape;
}

/** The sizes of a model's own tensors. */
export function shapeOfModel(
  { params, memState }: { readonly params: ModelParams; readonly memState: Model["memState"] },
): ModelShape {
  const { backbone: { stages }, decoder, allspark } = params;
  const { queue } = memState as Partial<MemoryState>;
  const perStage = (size: (stage: (typeof stages)[number]) => number): [number, number, number, number] =>
    stages.map(size) as [number, number, number, number];
  return {
    sizes: {
      dims: perStage(({ norm }) => norm.gain.size),
      depths: perStage(({ blocks }) => blocks.length),
      srRatios: perStage(({ blocks }) => blocks[0]?.attention.reduction?.convolution.weight.shape[2] ?? 1),
    },
    classes: decoder.classify.weight.shape[0]!,
    embedding: decoder.fuse.shape[0]!,
    heads: allspark === undefined ? 0 : allspark.labeled.query.shape[0]! / allspark.labeled.query.shape[1]!,
    queueSize: queue?.shape[1] ?? 1,
    tokens: queue?.shape[2] ?? 1,
  };
}
