/**
 * Special functions in float64 that JavaScript's `Math` lacks.
 *
 * @module
 */

/** Below it the series converges fast, above it the continued fraction does. */
const middle = 2.5;

/** The error function 2/√π ∫₀ˣ exp(−t²) dt, to about 1e-15 of its value. */
export function erf(x: number): number {
  return Math.abs(x) < middle ? series(x) : x < 0 ? erfc(-x) - 1 : 1 - erfc(x);
}

/** 1 − erf x, to about 1e-13 of its value, however small it is. */
export function erfc(x: number): number {
  return x < -middle ? 2 - fraction(-x) : x < middle ? 1 - series(x) : fraction(x);
}

/** erf for small |x|: Abramowitz & Stegun 7.1.6. */
function series(x: number): number {
  let term = x;
  let sum = x;
  for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(sum); n++) {
    term *= (2 * x * x) / (2 * n + 1);
    sum += term;
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

/** erfc for large x, and NaN for NaN: the continued fraction of Abramowitz & Stegun 7.1.14. */
function fraction(x: number): number {
  let rest = 0;
  for (let n = 60; n >= 1; n--) rest = (n / 2) / (x + rest);
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * (x + rest));
}
