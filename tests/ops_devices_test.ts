import * as ops from "../ops/mod.ts";
import { type Tensor, tensor } from "../src/tensor.ts";
import { operations, primitiveCases } from "./support/cases.ts";
import { composed } from "./support/composed.ts";
import { assertClose, referenceOf } from "./support/check.ts";
import { onEachDevice } from "./support/devices.ts";
import { type Case, checkDevice } from "./support/laws.ts";

const everything: readonly (readonly [string, readonly Case[]])[] = [
  ...operations().map((op) => [op.name, primitiveCases(op)] as const),
  ...[...composed].map(([name, cases]) => [`${name} (composed)`, cases] as const),
];

for (const [name, cases] of everything) {
  onEachDevice(
    `${name}: equals its reference, under jit too, and leaves no buffer`,
    () => checkDevice(cases),
  );
}

const specials = [0, -0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, Infinity, -Infinity, NaN, 3e38, -3e38, 1e-30];
const i32 = (...values: number[]): Tensor => tensor(values, { dtype: "i32" });
const u32 = (...values: number[]): Tensor => tensor(values, { dtype: "u32" });

/** Results where devices like to differ: NaN, infinities, halves, integer division, wide shifts, saturation. */
const corners: Record<string, () => Tensor> = (() => {
  const x = (): Tensor => tensor(specials);
  const pairs = (f: (a: Tensor, b: Tensor) => Tensor) => (): Tensor =>
    f(ops.reshape(x(), [-1, 1]), ops.reshape(x(), [1, -1]));
  const numerators = [-2147483648, -7, -1, 0, 1, 7, 2147483647];
  const integers = (f: (a: Tensor, b: Tensor) => Tensor) => (): Tensor =>
    f(ops.reshape(i32(...numerators), [-1, 1]), i32(-3, -1, 0, 1, 2, 31, 33));
  return {
    maximum: pairs(ops.maximum),
    minimum: pairs(ops.minimum),
    less: pairs(ops.less),
    lessEqual: pairs(ops.lessEqual),
    equal: pairs(ops.equal),
    notEqual: pairs(ops.notEqual),
    isNan: () => ops.isNan(x()),
    isFinite: () => ops.isFinite(x()),
    round: () => ops.round(x()),
    sign: () => ops.sign(x()),
    relu: () => ops.relu(x()),
    sigmoid: () => ops.sigmoid(tensor([-200, -50, 0, 50, 200, Infinity, -Infinity, NaN])),
    softplus: () => ops.softplus(tensor([-200, -50, 0, 50, 200, Infinity, NaN])),
    exp: () => ops.exp(tensor([-200, 88, 89, Infinity, -Infinity, NaN])),
    log: () => ops.log(tensor([0, -1, Infinity, NaN, 1e-30])),
    log1p: () => ops.log1p(tensor([1e-7, -1e-7, 0, -1, Infinity])),
    expm1: () => ops.expm1(tensor([1e-7, -1e-7, 0, -Infinity, 100])),
    tanh: () => ops.tanh(tensor([-100, 100, 1e-5, Infinity, NaN])),
    erf: () => ops.erf(tensor([-10, 10, 1e-5, Infinity, -Infinity, NaN])),
    sqrt: () => ops.sqrt(tensor([0, -1, Infinity, NaN])),
    "pow of whole exponents": () =>
      ops.pow(tensor([-2, -2, 0, 0, 2, NaN, 1, -3]), tensor([2, 3, 0, 2, -1, 0, NaN, 0])),
    "max and min with NaN": () => ops.stack([ops.max(x()), ops.min(x())]),
    "argmax and argmin with NaN": () => ops.stack([ops.argmax(x()), ops.argmin(x())]),
    "cast to i32": () => ops.cast(tensor([...specials, 1e10, -1e10, 2147483520]), "i32"),
    "cast to u32": () => ops.cast(tensor([...specials, 1e10, -1e10, 4294967040]), "u32"),
    "cast to bool": () => ops.cast(x(), "bool"),
    "cast of wide u32": () => ops.cast(u32(4294967295, 2147483648, 7), "f32"),
    "cast of negative i32": () => ops.cast(i32(-1, -2147483648, 7), "u32"),
    "cast of u32 to i32": () => ops.cast(u32(4294967295, 2147483648, 7), "i32"),
    "integer div": integers(ops.div),
    "integer mod": integers(ops.mod),
    "integer shiftLeft": integers(ops.shiftLeft),
    "integer shiftRight": integers(ops.shiftRight),
    "integer maximum": integers(ops.maximum),
    "integer mul": integers(ops.mul),
    "unsigned less": () => ops.less(u32(4294967295, 1), u32(1, 4294967295)),
    "unsigned div": () => ops.div(u32(4294967295, 4294967295), u32(2, 0)),
    "unsigned mod": () => ops.mod(u32(4294967295, 4294967295), u32(10, 0)),
    "unsigned shiftRight": () => ops.shiftRight(u32(4294967295, 4294967295), u32(31, 33)),
    "unsigned max": () => ops.max(u32(1, 4294967295, 7)),
    "integer pow": () => ops.pow(i32(-2, 3, 0, 7), i32(5, 4, 0, 1)),
  };
})();

onEachDevice("special values are what the references say", async () => {
  const failures: string[] = [];
  for (const [name, make] of Object.entries(corners)) {
    const output = make();
    const [expected] = referenceOf([output]);
    try {
      // What exceeds f32 is infinite there; what is below its normal numbers may be 0.
      const rounded = output.dtype === "f32" ? expected!.data.map(Math.fround) : expected!.data;
      assertClose(await output.data(), rounded, name, { relative: 2e-5, absolute: 1e-37 });
    } catch (error) {
      failures.push((error as Error).message);
    }
  }
  if (failures.length > 0) throw new Error(failures.join("\n"));
});
