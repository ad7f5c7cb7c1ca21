/**
 * Names in weight files, brought to those of the official AllSpark checkpoints.
 *
 * @module
 */
import { type ArrayEntry, toFloat32 } from "../src/io/array.ts";
import { brief, FileFormatError, shown } from "../src/io/errors.ts";
import { renamed, withoutWrappers } from "../src/io/state_dict.ts";

type Entries = ReadonlyMap<string, ArrayEntry>;

/** Hugging Face's names of SegFormer and ours, as patterns; stages count from 0 there. */
const huggingFace: readonly (readonly [RegExp, (...groups: string[]) => string])[] = [
  [/^patch_embeddings\.(\d)\.proj\.(.+)$/, (k, rest) => `patch_embed${stage(k)}.proj.${rest}`],
  [/^patch_embeddings\.(\d)\.layer_norm\.(.+)$/, (k, rest) => `patch_embed${stage(k)}.norm.${rest}`],
  [/^layer_norm\.(\d)\.(.+)$/, (k, rest) => `norm${stage(k)}.${rest}`],
  [/^block\.(\d)\.(\d+)\.(.+)$/, (k, j, rest) => `block${stage(k)}.${j}.${renameLayer(rest!, blockNames)}`],
];

const blockNames = new Map([
  ["layer_norm_1", "norm1"],
  ["layer_norm_2", "norm2"],
  ["attention.self.query", "attn.q"],
  ["attention.self.key", "attn.k"],
  ["attention.self.value", "attn.v"],
  ["attention.self.sr", "attn.sr"],
  ["attention.self.layer_norm", "attn.norm"],
  ["attention.output.dense", "attn.proj"],
  ["mlp.dense1", "mlp.fc1"],
  ["mlp.dense2", "mlp.fc2"],
]);

const headNames = new Map([
  ["linear_fuse", "linear_fuse.conv"],
  ["batch_norm", "linear_fuse.bn"],
  ["classifier", "linear_pred"],
]);

function stage(index: string | undefined): number {
  return Number(index) + 1;
}

/** A name whose layer, which is all before its last dot, may be called otherwise. */
function renameLayer(name: string, names: ReadonlyMap<string, string>): string {
  const dot = name.lastIndexOf(".");
  const layer = names.get(name.slice(0, Math.max(0, dot)));
  return layer === undefined ? name : layer + name.slice(dot);
}

/**
 * The entries under official names: without what wrappers added, Hugging Face's names translated, and names of
 * an encoder alone put under `backbone.`. The class head of ImageNet files is left out.
 *
 * @throws {FileFormatError} If they are of the released AllSpark checkpoints, which are of an older, different model.
 */
export function officialNames(entries: Entries): Map<string, ArrayEntry> {
  const plain = renamed(withoutWrappers(entries), (name) => name.replace(/^(module\.)+/, ""));
  const old = [...plain.keys()].find((name) => /allspark\.(embeddings|encoder\.layer)\./.test(name));
  if (old !== undefined) {
    throw new FileFormatError(
      `Cannot load the weights: they are of a released AllSpark checkpoint (it has ${
        shown(old)
      }), made by an earlier version of the model ` +
        `with patch embeddings and several layers, which the published code no longer contains; train anew or load the encoder alone`,
    );
  }
  const isHuggingFace = [...plain.keys()].some((name) => /(^|\.)encoder\.patch_embeddings\./.test(name));
  const named = isHuggingFace ? fromHuggingFace(plain) : plain;
  const isEncoderAlone = [...named.keys()].some((name) => name.startsWith("patch_embed1."));
  if (!isEncoderAlone) return named;
  return new Map(
    [...named].flatMap(([name, entry]) => /^head\./.test(name) ? [] : [[`backbone.${name}`, entry] as const]),
  );
}

function fromHuggingFace(entries: Entries): Map<string, ArrayEntry> {
  // The classifier of ImageNet models has no place here.
  const kept = new Map([...entries].filter(([name]) => !name.startsWith("classifier.")));
  const named = renamed(kept, (name) => {
    const head = /^decode_head\.(.+)$/.exec(name)?.[1];
    if (head !== undefined) return `decoder.decoder.${headName(head)}`;
    const encoder = /^(?:segformer\.)?encoder\.(.+)$/.exec(name)?.[1];
    return encoder === undefined ? name : `backbone.${encoderName(encoder)}`;
  });
  for (const [name, key] of [...named]) {
    if (!/\.attn\.k\.\w+$/.test(name)) continue;
    const value = named.get(name.replace(".attn.k.", ".attn.v."));
    if (value === undefined) continue;
    named.delete(name);
    named.delete(name.replace(".attn.k.", ".attn.v."));
    named.set(name.replace(".attn.k.", ".attn.kv."), stackRows(name, key, value));
  }
  return named;
}

function encoderName(name: string): string {
  for (const [pattern, rename] of huggingFace) {
    const match = pattern.exec(name);
    if (match !== null) return rename(...match.slice(1));
  }
  return name;
}

function headName(name: string): string {
  const projection = /^linear_c\.(\d)\.(.+)$/.exec(name);
  if (projection !== null) return `linear_c${stage(projection[1])}.${projection[2]}`;
  return renameLayer(name, headNames);
}

/** The rows of one array after those of another. */
function stackRows(name: string, first: ArrayEntry, second: ArrayEntry): ArrayEntry {
  if (first.shape.length === 0 || first.shape.slice(1).join() !== second.shape.slice(1).join()) {
    throw new FileFormatError(
      `Cannot load the weights: ${shown(name)} and its value have the shapes ${brief(first.shape)} and ${
        brief(second.shape)
      }; rows of one size are required`,
    );
  }
  const data = new Float32Array(first.data.length + second.data.length);
  data.set(toFloat32(first), 0);
  data.set(toFloat32(second), first.data.length);
  return { shape: [first.shape[0]! + second.shape[0]!, ...first.shape.slice(1)], dtype: "f32", data };
}
