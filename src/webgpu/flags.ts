/**
 * Numbers of the WebGPU standard, which TypeScript's DOM types lack (https://www.w3.org/TR/webgpu/).
 *
 * @module
 */

/** What a buffer is for. */
export const bufferUsage = {
  mapRead: 0x1,
  copySource: 0x4,
  copyTarget: 0x8,
  uniform: 0x40,
  storage: 0x80,
  queryResolve: 0x200,
} as const;

/** The stage that a binding is visible to. */
export const computeStage = 0x4;

/** Mapping for reading. */
export const mapForReading = 0x1;
