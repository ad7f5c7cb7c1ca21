/** Kernels for tests, written in few words. */
import { contiguousStrides } from "../../src/compiler/affine.ts";
import type { Affine, BinaryOp, Expr, Fold, Guard, Store } from "../../src/compiler/kernel.ts";
import type { DType } from "../../src/dtype.ts";

/** An address: `offset` and a step for every axis. */
export const form = (coefficients: readonly number[], offset = 0): Affine => ({ offset, coefficients });
/** The element of an input at an address; `fill` where a guard fails. */
export const load = (
  input: number,
  at: Affine,
  dtype: DType = "f32",
  guards: readonly Guard[] = [],
  fill = 0,
): Expr => ({ kind: "load", dtype, input, at, guards, fill });
/** A literal. */
export const constant = (value: number, dtype: DType = "f32"): Expr => ({ kind: "constant", dtype, value });
/** The result of a stage. */
export const reduced = (stage: number, dtype: DType = "f32"): Expr => ({ kind: "reduced", dtype, stage });

/** An operation of two operands of f32. */
export const binary = (op: BinaryOp, a: Expr, b: Expr): Expr => ({ kind: "binary", dtype: "f32", op, a, b });

/** A fold without stages and with one store. */
export function map(
  label: string,
  axes: readonly number[],
  inputs: readonly DType[],
  output: DType,
  value: Expr,
  at = form(contiguousStrides(axes)),
): Fold {
  const store: Store = { output: 0, at, axes: [], value };
  return { kind: "fold", label, inputs, outputs: [output], axes, stages: [], stores: [store] };
}
