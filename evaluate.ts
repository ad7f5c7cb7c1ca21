/**
 * Evaluates weights on images with masks: IoU per class, and the mIoU in percent on the last line.
 *
 * `deno run -A evaluate.ts --help` lists the options.
 *
 * @module
 */
import { evaluateHelp, evaluateOptions, runEvaluate, runProgram } from "./src/training/mod.ts";

if (import.meta.main) await runProgram(evaluateOptions, { help: evaluateHelp, run: runEvaluate }, Deno.args);
