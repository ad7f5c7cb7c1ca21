/**
 * Arithmetic on affine forms of a kernel's axes, including the one hard part: digits of a form in a mixed
 * radix, which is what a reshape needs. Where an axis is too coarse for that, `SplitAxis` is thrown and the
 * kernel is built again with the axis in two.
 *
 * @module
 */
import type { FormAlgebra } from "../primitive.ts";
import type { Affine, Guard } from "./kernel.ts";

/** Thrown when axis `axis` must become two axes, the inner one of size `inner`. */
export class SplitAxis {
  constructor(readonly axis: number, readonly inner: number) {}
}

/** Thrown when a form cannot be written as affine digits at all: the input must be a buffer of its own. */
export class NotAffine {}

/** Form arithmetic for a kernel with these axes. */
export class Forms implements FormAlgebra {
  constructor(readonly sizes: readonly number[]) {}

  constant(value: number): Affine {
    return { offset: value, coefficients: this.sizes.map(() => 0) };
  }

  axis(index: number): Affine {
    return { offset: 0, coefficients: this.sizes.map((_, k) => k === index && this.sizes[k]! > 1 ? 1 : 0) };
  }

  add(...forms: Affine[]): Affine {
    return {
      offset: forms.reduce((sum, form) => sum + form.offset, 0),
      coefficients: this.sizes.map((_, k) => forms.reduce((sum, form) => sum + form.coefficients[k]!, 0)),
    };
  }

  scale(form: Affine, factor: number): Affine {
    // "+ 0" turns −0 into 0, so that equal forms print equally.
    return { offset: form.offset * factor + 0, coefficients: form.coefficients.map((c) => c * factor + 0) };
  }

  shift(form: Affine, offset: number): Affine {
    return { offset: form.offset + offset, coefficients: form.coefficients };
  }

  range(form: Affine): readonly [number, number] {
    let [low, high] = [form.offset, form.offset];
    form.coefficients.forEach((c, k) => {
      const reach = c * (this.sizes[k]! - 1);
      if (reach > 0) high += reach;
      else low += reach;
    });
    return [low, high];
  }

  /** Row-major address: Σ formₖ · strideₖ. */
  address(forms: readonly Affine[], strides: readonly number[], offset = 0): Affine {
    return this.shift(
      this.add(this.constant(0), ...forms.map((form, k) => this.scale(form, strides[k]!))),
      offset,
    );
  }

  digits(form: Affine, sizes: readonly number[]): Affine[] {
    if (sizes.length === 0) return [];
    if (sizes.length === 1) return [form];
    const inner = sizes.slice(1).reduce((product, size) => product * size, 1);
    if (inner === 1) return [form, ...sizes.slice(1).map(() => this.constant(0))];
    const [high, low] = this.#divide(form, inner);
    return [high, ...this.digits(low, sizes.slice(1))];
  }

  /** form = high · divisor + low with 0 ≤ low < divisor. */
  #divide(form: Affine, divisor: number): [Affine, Affine] {
    const offset = ((form.offset % divisor) + divisor) % divisor;
    const low: Affine = { offset, coefficients: form.coefficients.map((c) => c % divisor === 0 ? 0 : c) };
    const [least, most] = this.range(low);
    if (least >= 0 && most < divisor) {
      const rest = this.add(form, this.scale(low, -1));
      // Whole multiples of the divisor: dividing is exact where multiplying with 1 / divisor is not.
      const high = {
        offset: rest.offset / divisor,
        coefficients: rest.coefficients.map((c) => c / divisor),
      };
      return [high, low];
    }
    for (let k = 0; k < this.sizes.length; k++) {
      const c = low.coefficients[k]!;
      // An axis of step c crosses the boundary of the block: cut it where the block ends.
      if (
        c > 0 && divisor % c === 0 && this.sizes[k]! > divisor / c && this.sizes[k]! % (divisor / c) === 0
      ) {
        throw new SplitAxis(k, divisor / c);
      }
    }
    throw new NotAffine();
  }
}

/** Guards that can fail, without duplicates; undefined if one of them always fails. */
export function usefulGuards(forms: Forms, guards: readonly Guard[]): Guard[] | undefined {
  const kept = new Map<string, Guard>();
  for (const guard of guards) {
    const [low, high] = forms.range(guard.form);
    if (high < 0 || low >= guard.size) return undefined;
    if (low < 0 || high >= guard.size) kept.set(JSON.stringify(guard), guard);
  }
  return [...kept.values()];
}

/** Strides of a contiguous row-major array. */
export function contiguousStrides(shape: readonly number[]): number[] {
  const strides = shape.map(() => 1);
  for (let k = shape.length - 2; k >= 0; k--) strides[k] = strides[k + 1]! * shape[k + 1]!;
  return strides;
}
