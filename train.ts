/**
 * Trains a semantic segmentation model, by default AllSpark on scenes that it generates.
 *
 * `deno run -A train.ts --help` lists the options.
 *
 * @module
 */
import { runProgram, runTrain, trainHelp, trainOptions } from "./src/training/mod.ts";

if (import.meta.main) await runProgram(trainOptions, { help: trainHelp, run: runTrain }, Deno.args);
