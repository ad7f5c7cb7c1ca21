/**
 * What the modules of all kernels have in common.
 *
 * @module
 */
import { type Local, ModuleBuilder } from "./assembler.ts";
import type { Features } from "./protocol.ts";
import { Library, Vector } from "./vector.ts";

/** A new module with its function `run` (see `GeneratedKernel`), and locals with the first addresses of `args`. */
export function startKernel(
  features: Features,
  buffers: number,
): { module: ModuleBuilder; vector: Vector; begin: Local; end: Local; workspace: Local; addresses: Local[] } {
  const module = new ModuleBuilder({ memory: { shared: true, maximumPages: 65536 } });
  const f = module.func("run", ["i32", "i32", "i32", "i32", "i32"], [], true);
  const [begin, end, args, , workspace] = f.params;
  const addresses = Array.from(
    { length: buffers },
    (_, k) => f.get(args!).load("i32.load", 4 * k).keep("i32"),
  );
  return {
    module,
    vector: new Vector(f, new Library(module, features)),
    begin: begin!,
    end: end!,
    workspace: workspace!,
    addresses,
  };
}
