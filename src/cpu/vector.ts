/**
 * Arithmetic on four lanes: what every generator shares. Masks are lanes of all ones or all zeros.
 *
 * @module
 */
import type { FunctionBuilder, Local, ModuleBuilder } from "./assembler.ts";
import type { Features } from "./protocol.ts";

/** Four-lane arithmetic in one function. Operands are on the stack unless they are named. */
export class Vector {
  /** `library` holds the functions that several places of a module call. */
  constructor(readonly f: FunctionBuilder, readonly library: Library) {}

  /** [a] -> a · b + c, fused where the machine can. */
  multiplyAdd(b: () => void, c: () => void): this {
    if (this.library.features.relaxedSimd) {
      b();
      c();
      this.f.op("f32x4.relaxed_madd");
    } else {
      b();
      this.f.op("f32x4.mul");
      c();
      this.f.op("f32x4.add");
    }
    return this;
  }

  /** [a] -> c − a · b, fused where the machine can. */
  subtractProduct(b: () => void, c: () => void): this {
    if (this.library.features.relaxedSimd) {
      b();
      c();
      this.f.op("f32x4.relaxed_nmadd");
    } else {
      b();
      this.f.op("f32x4.mul").op("f32x4.neg");
      c();
      this.f.op("f32x4.add");
    }
    return this;
  }

  /** [a, b, mask] -> a where the mask is set, else b. */
  select(): this {
    this.f.op(this.library.features.relaxedSimd ? "i32x4.relaxed_laneselect" : "v128.bitselect");
    return this;
  }

  /** Pushes the two low lanes of f32 as float64, or the two high ones. */
  promote(x: Local, half: 0 | 1): this {
    this.f.get(x);
    if (half === 1) this.f.get(x).shuffle(2, 3, 2, 3);
    this.f.op("f64x2.promote_low_f32x4");
    return this;
  }

  /** Σ coefficients[k] · x^k, by Horner's rule. */
  polynomial(x: Local, coefficients: readonly number[]): this {
    const { f } = this;
    f.f32x4(coefficients.at(-1)!);
    for (const c of coefficients.slice(0, -1).reverse()) {
      this.multiplyAdd(() => f.get(x), () => f.f32x4(c));
    }
    return this;
  }

  /** [a] -> a combined across its lanes by `combine` of the stack's two top values; all lanes get the result. */
  acrossLanes(combine: () => void): this {
    const { f } = this;
    for (const order of [[2, 3, 0, 1], [1, 0, 3, 2]] as [number, number, number, number][]) {
      const x = f.keep();
      f.get(x).get(x).get(x).shuffle(...order);
      combine();
    }
    return this;
  }
}

/** Functions of a module that are written at their first use. */
export class Library {
  #functions = new Map<string, FunctionBuilder>();

  /** For one module. */
  constructor(readonly module: ModuleBuilder, readonly features: Features) {}

  /** The function `name` of `operands` vectors to one vector; `write` leaves its result on the stack. */
  vectorFunction(
    name: string,
    operands: number,
    write: (v: Vector, x: Local, y: Local) => void,
  ): FunctionBuilder {
    let f = this.#functions.get(name);
    if (!f) {
      f = this.module.func(name, new Array(operands).fill("v128"), ["v128"]);
      this.#functions.set(name, f);
      write(new Vector(f, this), f.params[0]!, f.params[operands - 1]!);
    }
    return f;
  }
}
