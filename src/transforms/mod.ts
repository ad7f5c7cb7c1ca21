/**
 * Functions of functions: derivatives, vectorisation, compilation, loops. They all nest.
 *
 * @module
 */
export { grad, type GradOptions, valueAndGrad, vjp } from "./vjp.ts";
export { jvp } from "./jvp.ts";
export { type Axes, vmap, type VmapOptions } from "./vmap.ts";
export { jit, type JitOptions } from "./jit.ts";
export { checkpoint } from "./checkpoint.ts";
export { customVjp, stopGradient } from "./custom.ts";
export { scan } from "./scan.ts";
