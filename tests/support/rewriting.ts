/**
 * Expressions of which a compiler that takes f32 for real numbers makes other ones, with other results: where something
 * is infinite or NaN, overflows, cancels, or is a zero with a sign.
 */
import * as ops from "../../ops/mod.ts";
import type { Tensor } from "../../src/tensor.ts";

/** What a compiler that takes f32 for real numbers makes something else of, as functions of two tensors. */
export const rewritable: Record<string, (x: Tensor, y: Tensor) => Tensor> = {
  "x - x": (x) => ops.sub(x, x),
  "x + -x": (x) => ops.add(x, ops.neg(x)),
  "x / x": (x) => ops.div(x, x),
  "x / (x - x)": (x) => ops.div(x, ops.sub(x, x)),
  "(x - x) / y": (x, y) => ops.div(ops.sub(x, x), y),
  "isNan(x - x)": (x) => ops.isNan(ops.sub(x, x)),
  "(x + y) - x": (x, y) => ops.sub(ops.add(x, y), x),
  "x - (x + y)": (x, y) => ops.sub(x, ops.add(y, x)),
  "(x - y) + y": (x, y) => ops.add(ops.sub(x, y), y),
  "x y - y x": (x, y) => ops.sub(ops.mul(x, y), ops.mul(y, x)),
  "x y + x 3": (x, y) => ops.add(ops.mul(x, y), ops.mul(3, x)),
  "x y + x (2 - y)": (x, y) => ops.add(ops.mul(x, y), ops.mul(x, ops.sub(2, y))),
  "x / y - x / y": (x, y) => ops.sub(ops.div(x, y), ops.div(x, y)),
  "x / y + 3 / y": (x, y) => ops.add(ops.div(x, y), ops.div(3, y)),
  "(x y) / y": (x, y) => ops.div(ops.mul(x, y), y),
  "(x / y) y": (x, y) => ops.mul(y, ops.div(x, y)),
  "1 / (1 / x)": (x) => ops.div(1, ops.div(1, x)),
  "(x 3) / 3": (x) => ops.div(ops.mul(x, 3), 3),
  "(x x - y y) + x": (x, y) => ops.add(ops.sub(ops.mul(x, x), ops.mul(y, y)), x),
  "x (1 - y) + 3 y": (x, y) => ops.add(ops.mul(x, ops.sub(1, y)), ops.mul(3, y)),
  "1 + x (y - 1)": (x, y) => ops.add(1, ops.mul(x, ops.sub(y, 1))),
  "x + y (3 - x)": (x, y) => ops.add(x, ops.mul(y, ops.sub(3, x))),
  "(x + 2) + y": (x, y) => ops.add(ops.add(x, 2), y),
  "(x + y) - 2": (x, y) => ops.sub(ops.add(x, y), 2),
  "(x y) 2": (x, y) => ops.mul(ops.mul(x, y), 2),
  "(x 0.5) 2": (x) => ops.mul(ops.mul(x, 0.5), 2),
  "-(x + y)": (x, y) => ops.neg(ops.add(x, y)),
  "√x √x": (x) => ops.square(ops.sqrt(x)),
  "1 / √x": (x) => ops.div(1, ops.sqrt(x)),
  "exp(log(x))": (x) => ops.exp(ops.log(x)),
  "log(exp(x))": (x) => ops.log(ops.exp(x)),
  "exp(x) exp(y)": (x, y) => ops.mul(ops.exp(x), ops.exp(y)),
  "pow(pow(x, 2.2), 1 / 2.2)": (x) => ops.pow(ops.pow(x, 2.2), 1 / 2.2),
  "x y where y > 0, as a product": (x, y) => ops.mul(x, ops.cast(ops.greater(y, 0), "f32")),
  "x / y where y > 0, as a quotient": (x, y) => ops.div(x, ops.where(ops.greater(y, 0), 1, 0)),
  "blend by a mask": (x, y) => {
    const mask = ops.cast(ops.greater(y, 1), "f32");
    return ops.add(ops.mul(x, mask), ops.mul(y, ops.sub(1, mask)));
  },
  "x 0": (x) => ops.mul(x, ops.zeros([x.size])),
  "x times i32 0": (x) => {
    const whole = ops.cast(x, "i32");
    return ops.mul(x, ops.cast(ops.sub(whole, whole), "f32"));
  },
  "x over i32 0": (x) => {
    const whole = ops.cast(x, "i32");
    return ops.div(x, ops.cast(ops.sub(whole, whole), "f32"));
  },
  "the smaller by where": (x, y) => ops.where(ops.less(x, y), x, y),
  "the larger by where": (x, y) => ops.where(ops.less(x, y), y, x),
  "|x| by where": (x) => ops.where(ops.less(x, 0), ops.neg(x), x),
  "not x < y": (x, y) => ops.logicalNot(ops.less(x, y)),
  "not x = y": (x, y) => ops.logicalNot(ops.equal(x, y)),
  "x < y and x < 2": (x, y) => ops.logicalAnd(ops.less(x, y), ops.less(x, 2)),
  "x < y or x < 2": (x, y) => ops.logicalOr(ops.less(x, y), ops.less(x, 2)),
  "0 < x and y < 0": (x, y) => ops.logicalAnd(ops.less(0, x), ops.less(y, 0)),
  "x + y < x": (x, y) => ops.less(ops.add(x, y), x),
  "x + y = x": (x, y) => ops.equal(ops.add(x, y), x),
  "x + y ≥ 0": (x, y) => ops.greaterEqual(ops.add(x, y), 0),
  "x + 1 > 2": (x) => ops.greater(ops.add(x, 1), 2),
  "x ≥ min(x, y)": (x, y) => ops.greaterEqual(x, ops.minimum(x, y)),
  "x ≥ max(x, y)": (x, y) => ops.greaterEqual(x, ops.maximum(x, y)),
  "clip(x, 0, 1)": (x) => ops.clip(x, { min: 0, max: 1 }),
  "max(|x|, 0)": (x) => ops.maximum(ops.abs(x), 0),
  "trunc by cast": (x) => ops.cast(ops.cast(x, "i32"), "f32"),
  "x + 8388608 - 8388608": (x) => ops.sub(ops.add(x, 8388608), 8388608),
};

/**
 * Those in which a product is added to something. The cpu rounds the two together, once, as C compilers and GPUs do by
 * default, so its results may differ.
 */
export const productsInSums: readonly string[] = [
  "x y - y x",
  "x y + x 3",
  "x y + x (2 - y)",
  "(x x - y y) + x",
  "x (1 - y) + 3 y",
  "1 + x (y - 1)",
  "x + y (3 - x)",
  "blend by a mask",
];

/** Those with a subnormal number in between, which may be 0. */
export const subnormalInBetween: readonly string[] = ["log(exp(x))", "exp(x) exp(y)"];
