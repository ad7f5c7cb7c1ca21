/**
 * Makes the files of this folder from the full reference results.
 *
 * `deno run -A tests/golden/reduce.ts FOLDER`, where FOLDER holds the full files. What the value rule gives is dropped,
 * and large gradients are replaced by 512 sampled values and their norm.
 *
 * @module
 */
import type { ArrayEntry } from "../../src/io/array.ts";
import { readSafetensors, writeSafetensors } from "../../src/io/safetensors.ts";
import { norm, sampleOf } from "../support/golden.ts";

/** Which tensors of a file are dropped, and which are sampled when they are large. */
interface Reduction {
  readonly drop?: RegExp;
  readonly sample?: RegExp;
}

/** Tensors up to this size are kept whole. */
const LARGE = 8_000;

const FILES: Record<string, Reduction> = {
  a_mit_b0: { sample: /^grad\// },
  b_segformer_head: { drop: /^cot$/, sample: /^grad\/|^train\/up$/ },
  c_allspark: { drop: /^param\//, sample: /\/cap\/attn\.(psi|softmax)_l2u/ },
  d_train_tiny: { drop: /^s[12]\/pred_u_pseudo$|^s[12]\/preds$/, sample: /\/(grad|delta)\// },
  f_losses_ops: {},
};

if (import.meta.main) {
  const folder = Deno.args[0];
  if (!folder) throw new TypeError("Cannot reduce the reference results: the folder of the full files is missing");
  for (const [name, reduction] of Object.entries(FILES)) {
    const { entries, metadata } = readSafetensors(await Deno.readFile(`${folder}/${name}.safetensors`));
    const bytes = writeSafetensors(reduce(entries, reduction), { metadata });
    await Deno.writeFile(new URL(`${name}.safetensors`, import.meta.url), bytes);
    console.log(`${name}: ${bytes.length} bytes`);
  }
}

function reduce(entries: Map<string, ArrayEntry>, { drop, sample }: Reduction): Map<string, ArrayEntry> {
  const kept = new Map<string, ArrayEntry>();
  for (const [name, entry] of entries) {
    if (drop?.test(name)) continue;
    if (sample?.test(name) && entry.data.length > LARGE) {
      const values = entry.data as Float32Array;
      kept.set(`samples/${name}`, { shape: [sampleOf(values).length], dtype: "f32", data: sampleOf(values) });
      kept.set(`norm/${name}`, { shape: [1], dtype: "f64", data: Float64Array.of(norm(values)) });
    } else {
      kept.set(name, entry);
    }
  }
  return kept;
}
