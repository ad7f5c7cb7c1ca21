/** The models give what the official PyTorch code gives, on both devices. */
import { onEachDevice } from "./support/devices.ts";
import { assertNear } from "./support/golden_comparison.ts";
import { compareGolden, goldenCases } from "./support/golden_models.ts";

for (const name of goldenCases) {
  onEachDevice(`golden ${name}: results, gradients and states equal PyTorch's`, async () => {
    assertNear(await compareGolden(name));
  });
}
