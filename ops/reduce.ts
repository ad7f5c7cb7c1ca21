/**
 * Everything that puts elements together over axes.
 *
 * @module
 */
export * from "./reduce_basic.ts";
export * from "./reduce_composed.ts";
