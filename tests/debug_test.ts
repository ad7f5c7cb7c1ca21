/** What DEBUG=1 to 4 print. */
import { assert, assertEquals } from "@std/assert";

async function printed(level: number): Promise<string> {
  const code = `
    import { add, exp, jit, setDevice, sum, tensor } from "@allspark/tensor";
    await setDevice("cpu");
    const f = jit((x) => sum(exp(add(x, 1))));
    console.log(await f(tensor([1, 2, 3])).item());
    await new Promise((resolve) => setTimeout(resolve, 200));
  `;
  const command = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--ext=ts", code],
    env: { DEBUG: String(level), NO_COLOR: "1" },
    cwd: new URL("..", import.meta.url),
  });
  const { success, stderr } = await command.output();
  const text = new TextDecoder().decode(stderr);
  assert(success, text);
  return text;
}

Deno.test("DEBUG prints nothing, programs, times, graphs and generated code", async () => {
  const levels = await Promise.all([0, 1, 2, 3, 4].map(printed));
  assertEquals(levels[0], "");
  assert(levels[1]!.includes("program of 1 launches") && levels[1]!.includes("stage0 = sum"));
  assert(/\d ms {2}sum\[\]/.test(levels[2]!), levels[2]);
  assert(levels[3]!.includes("%0 = input f32[3]"));
  assert(levels[4]!.includes("module of"));
});
