/** Every elementwise function keeps what it promises (`support/promises.ts`), on every device and kernel family. */
import { device } from "../src/device.ts";
import "../src/evaluate.ts";
import { keepsPromise, measure } from "./support/accuracy.ts";
import { onEachDevice } from "./support/devices.ts";
import { promises } from "./support/promises.ts";

for (const promised of promises) {
  onEachDevice(`${promised.name} is as exact as it promises`, async () => {
    const here = device()!;
    for (const finding of await measure(promised, 4)) {
      const { range, error, at, tiny, tinyAt } = finding;
      if (keepsPromise(finding, here)) continue;
      throw new Error(
        tiny === "wrong"
          ? `${promised.name}(${tinyAt!.join(", ")}) is neither 0 nor within ${range[here]} ulp`
          : `${promised.name}(${at.join(", ")}) is ${error} ulp off; ${range.where}: at most ${range[here]}`,
      );
    }
  });
}
