/**
 * Training, evaluation and prediction: what the three programs are made of.
 *
 * - {@linkcode train} runs everything that `train.ts` runs, from a configuration ({@linkcode TrainConfig}).
 * - {@linkcode loadModel}, {@linkcode segmenter} and {@linkcode evaluateImages} score a model on images;
 *   {@linkcode predictFiles} writes masks and overlays.
 * - {@linkcode sgd}, {@linkcode adamw}, {@linkcode polySchedule} and their kin are optimisers and schedules for steps of
 *   your own; {@linkcode compileStep} and {@linkcode runSteps} the loop around them.
 * - Checkpoints, metrics, curves, options and progress are plain functions on plain data.
 *
 * @example The scores of a prediction
 * ```ts
 * import { histogram, scores } from "@allspark/tensor/training";
 * import { assertAlmostEquals } from "@std/assert";
 * const { iou } = scores(histogram([0, 1, 1], [0, 1, 0], { classes: 2 }));
 * assertAlmostEquals(iou[0]!, 0.5);
 * ```
 *
 * @module
 */
export * from "./checkpoint.ts";
export { makeRunFolder, runFiles, WriteError, writeFileAtomic } from "./checkpoint_files.ts";
export * from "./config.ts";
export * from "./config_inference.ts";
export * from "./evaluation.ts";
export * from "./large_images.ts";
export * from "./loop.ts";
export * from "./metrics.ts";
export * from "./metrics_log.ts";
export * from "../optim/optimizers.ts";
export {
  type Given,
  type Option,
  OptionError,
  optionsFromJson,
  type OptionTable,
  readOptionFile,
  readOptions,
} from "./options.ts";
export type { Kind } from "./options_kinds.ts";
export * from "./prediction.ts";
export * from "./progress.ts";
export * from "./report.ts";
export * from "../optim/schedules.ts";
export { FolderInUseError } from "./run_lock.ts";
export { chooseDevice, runProgram } from "./session.ts";
export { openEvaluationData, openInput, openTrainingData, type TrainedClasses } from "./session_data.ts";
export {
  encoderOf,
  forwardOf,
  type LoadedModel,
  loadModel,
  type PretrainedOptions,
  stepConfigOf,
  withPretrained,
} from "./session_model.ts";
export { runEvaluate, runPredict } from "./session_inference.ts";
export { runTrain } from "./session_programs.ts";
export { modelArrays, stateFromArrays, stateToArrays } from "./session_state.ts";
export { train, type TrainOptions, type TrainResult } from "./session_train.ts";
export { iouTable, percent, textTable } from "./table.ts";
