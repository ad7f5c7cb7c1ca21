/**
 * Segments images: a mask and an overlay for each.
 *
 * `deno run -A predict.ts --help` lists the options.
 *
 * @module
 */
import { predictHelp, predictOptions, runPredict, runProgram } from "./src/training/mod.ts";

if (import.meta.main) await runProgram(predictOptions, { help: predictHelp, run: runPredict }, Deno.args);
