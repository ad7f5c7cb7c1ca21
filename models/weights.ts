/**
 * Models from and to weight files: the official names and layouts, and those of Hugging Face.
 *
 * @module
 */
import type { DType } from "../src/dtype.ts";
import { readAll } from "../src/evaluate.ts";
import { type ArrayEntry, FileFormatError, toFloat32 } from "../src/io/array.ts";
import { type Tensor, tensor } from "../src/tensor.ts";
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
}

/** How many names of a kind an error shows. */
const shownNames = 8;

/**
 * A model from the arrays of a weight file. Names may be the official ones, with or without `module.`, those of
 * the encoder alone (whose ImageNet class head is ignored), or Hugging Face's. Types are converted to f32, counters to
 * i32.
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
  const { base } = options;
  const shape = base === undefined ? shapeOfFile(named, options) : shapeOfModel(base);
  const description = describeModel(shape);
  const parts = [
    [description.params.backbone, base?.params.backbone],
    [[description.params.decoder, description.bnState], base && [base.params.decoder, base.bnState]],
    [
      description.params.allspark && [description.params.allspark, description.memState],
      base && [base.params.allspark, base.memState],
    ],
  ].map(([part, kept]) => {
    const parameters = part === undefined ? [] : treeLeaves(part) as Parameter[];
    const isAbsent = kept !== undefined && parameters.every(({ name }) => !named.has(name));
    return { parameters, isAbsent };
  });
  const wanted = parts.flatMap(({ parameters, isAbsent }) => isAbsent ? [] : parameters);
  check(wanted, named);
  const kept = new Map<string, Tensor>();
  if (base !== undefined) {
    const { params, bnState, memState } = base;
    const tensors = treeLeaves({ params, bnState, memState }) as Tensor[];
    (treeLeaves(description) as Parameter[]).forEach(({ name }, k) => kept.set(name, tensors[k]!));
  }
  const loaded = new Set(wanted.map(({ name }) => name));
  return treeMap<Model<Parameter>, Model>(description, ({ name, dtype }: Parameter) => {
    return loaded.has(name) ? toTensor(named.get(name)!, dtype) : kept.get(name)!;
  });
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

/** Throws one error that names everything that does not fit. */
function check(wanted: readonly Parameter[], entries: ReadonlyMap<string, ArrayEntry>): void {
  const names = new Set(wanted.map(({ name }) => name));
  const missing = wanted.filter(({ name }) => !entries.has(name)).map(({ name }) => name);
  const unexpected = [...entries.keys()].filter((name) => !names.has(name));
  const misshapen = wanted.flatMap(({ name, shape }) => {
    const found = entries.get(name)?.shape;
    if (found === undefined || found.join() === shape.join()) return [];
    return [`${name} [${found.join(", ")}] instead of [${shape.join(", ")}]`];
  });
  const problems = Object.entries({ missing, unexpected, misshapen }).flatMap(([kind, list]) => {
    if (list.length === 0) return [];
    const more = list.length > shownNames ? ` and ${list.length - shownNames} more` : "";
    return [`${list.length} ${kind}: ${list.slice(0, shownNames).join(", ")}${more}`];
  });
  if (problems.length > 0) throw new FileFormatError(`Cannot load the weights: ${problems.join("; ")}`);
}

function toTensor(entry: ArrayEntry, dtype: DType): Tensor {
  const values = entry.data instanceof BigInt64Array ? Int32Array.from(entry.data, Number) : toFloat32(entry);
  return tensor(values, { shape: entry.shape, dtype });
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
  const known = Object.fromEntries(Object.entries(found).filter(([, size]) => size !== undefined));
  const shape = modelShape({ classes: 21, ...known, ...given, allspark });
  const tokens = sizeOf("decoder.allspark.attn.kv_queue", 2);
  return options.crop === undefined && tokens !== undefined ? { ...shape, tokens } : shape;
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
