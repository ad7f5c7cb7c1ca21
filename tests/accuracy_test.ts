/** Every elementwise function keeps what it promises (`support/promises.ts`), on every device. */
import "../src/evaluate.ts";
import { checkPromise } from "./support/accuracy.ts";
import { onEachDevice } from "./support/devices.ts";
import { promises } from "./support/promises.ts";

for (const promised of promises) {
  onEachDevice(`${promised.name} is as exact as it promises`, () => checkPromise(promised));
}
