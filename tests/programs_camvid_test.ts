/** `evaluate.ts` on real photographs against the official PyTorch code's own numbers, where those files are at hand. */
import { assertAlmostEquals, assertEquals } from "@std/assert";

const shared = new URL("../../shared/", import.meta.url).pathname;
const weights = `${shared}golden/camvid`;

/** Two trained models: mIoU in percent and classes that they find, as the official evaluation gave them. */
const references = [
  { file: "scratch-supervised-s1-final.safetensors", meanIoU: 20.70 },
  { file: "warm-allspark-s1-final.safetensors", meanIoU: 15.17 },
];

function exists(path: string): boolean {
  try {
    return Deno.statSync(path) !== undefined;
  } catch {
    return false;
  }
}

for (const { file, meanIoU } of references) {
  Deno.test({
    name: `evaluate.ts gives ${file} its official mIoU`,
    ignore: !exists(`${weights}/${file}`) || !exists(`${shared}data/camvid`),
    fn: async () => {
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "-A", "--no-check", "--quiet", new URL("../evaluate.ts", import.meta.url).pathname],
          ...["--data", `${shared}data/camvid`, "--weights", `${weights}/${file}`, "--variant", "b0"],
          ...["--image-size", "240x180", "--device", "cpu"],
        ],
      }).output();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      const [, found] = /\nmIoU (\d+\.\d\d)\n$/.exec(new TextDecoder().decode(stdout))!;
      assertAlmostEquals(Number(found), meanIoU, 0.0501);
    },
  });
}
