/** A project that uses the package as a stranger would: its imports are the package's public entry points only. */
import { grad, jit, setDevice, square, sum, type Tensor, tensor } from "@allspark/tensor";
import { openLoader, scenes } from "@allspark/tensor/data";
import { fromArrays, readWeights, toArrays, writeSafetensors } from "@allspark/tensor/io";
import { mitSizes } from "@allspark/tensor/models";
import { matmul } from "@allspark/tensor/ops";
import { drawCurves } from "@allspark/tensor/training";

await setDevice("cpu");
const slope = jit(grad((x: Tensor) => sum(square(x))));
const gradient = await slope(tensor([1, 2, 3])).toArray();
const product = await matmul(tensor([[1, 2]]), tensor([[3], [4]])).item();

// Own weights, saved and read back.
const saved = writeSafetensors(await toArrays({ layers: [{ bias: tensor([1, 2]) }] }));
const { entries } = await readWeights(saved);
const loaded = fromArrays(entries, { layers: [{ bias: tensor([0, 0]) }] });

// Workers decode and augment: the part that breaks first when modules come over HTTP.
const dataset = scenes({ labeled: 2, unlabeled: 2, val: 1, size: [48, 40] });
await using loader = openLoader(dataset, { crop: 33, batch: 2, workers: 1 });
const { value: batch } = await loader.batches({ to: 1 }).next();

// Text in pictures needs the package's own font.
const curves = await drawCurves([{ step: 1, loss: 2 }, { step: 2, loss: 1 }], {
  title: "Consumer",
  subtitle: "font",
});
console.log(JSON.stringify({
  gradient,
  product,
  names: [...entries.keys()],
  bias: await loaded.layers[0]!.bias.toArray(),
  pixels: batch!.labeled.image.length,
  dims: mitSizes("b0").dims,
  png: curves[1] === 0x50,
}));
Deno.exit(0);
