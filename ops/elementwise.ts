/**
 * Everything that computes element by element.
 *
 * @module
 */
export * from "./elementwise_activations.ts";
export * from "./elementwise_arithmetic.ts";
export * from "./elementwise_logic.ts";
export * from "./elementwise_math.ts";
export * from "./elementwise_select.ts";
