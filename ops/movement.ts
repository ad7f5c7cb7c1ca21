/**
 * Everything that moves elements without computing.
 *
 * @module
 */
export * from "./broadcast.ts";
export * from "./movement_assembly.ts";
export * from "./movement_basic.ts";
export * from "./movement_composed.ts";
export * from "./movement_windows.ts";
