/**
 * The elementary functions in WGSL: their errors are in `docs/accuracy.md`.
 *
 * The built-in ones of a driver may be off by hundreds of units of the last place, so these are our own, with minimax
 * polynomials on reduced ranges. What makes them exact must survive drivers that take f32 for real numbers and may
 * fuse products with sums or not:
 *
 * - a product that has to be exact has factors of twelve bits (`upper`), so rounding once or twice is the same;
 * - a difference that has to be taken as written goes through `opposite`, whose bits no driver sees through;
 * - exponents, signs and the rests of large angles are computed with integers.
 *
 * No function has a loop: llvmpipe counts the turns of all loops of an invocation.
 *
 * @module
 */

/** Sources of functions, which begin with their parameters, and of structures, which begin with their members. F, I, U, B stand for the types of a width. */
export const elementary = {
  // |x|: Mesa's abs of a constant −0 is −0.
  size: `(x: F) -> F { return bitcast<F>(bitcast<U>(x) & U(0x7fffffffu)); }`,
  opposite: `(x: F) -> F { return bitcast<F>(bitcast<U>(x) ^ U(0x80000000u)); }`,
  upper: `(x: F) -> F { return bitcast<F>(bitcast<U>(x) & U(0xfffff000u)); }`,
  withSignOf: `(y: F, x: F) -> F { return bitcast<F>(bitcast<U>(y) | (bitcast<U>(x) & U(0x80000000u))); }`,
  mulHigh: `(a: U, b: U) -> U {
  let al = a & U(0xffffu);
  let ah = a >> U(16u);
  let bl = b & U(0xffffu);
  let bh = b >> U(16u);
  let m = ah * bl + ((al * bl) >> U(16u));
  let n = al * bh + (m & U(0xffffu));
  return ah * bh + (m >> U(16u)) + (n >> U(16u));
}`,

  // y · 2ⁿ in two steps, since 2ⁿ itself may be out of range.
  scaled: `(y: F, n: I) -> F {
  let h = n >> U(1u);
  return y * bitcast<F>((h + I(127)) << U(23u)) * bitcast<F>((n - h + I(127)) << U(23u));
}`,
  // x = n ln 2 + r; n · ln 2 in two parts, the first of nine bits.
  exp: `(x: F) -> F {
  let c = clamp(x, F(-105.0f), F(90.0f));
  let n = round(c * F(1.442695f));
  let r = c - n * F(0.693359375f) + n * F(0.00021219444f);
  let w = r + r * r * (F(0.5f) + r * (F(0.1666652f) + r * (F(0.041666415f) + r * (F(0.008368822f) +
    r * F(0.001393954f)))));
  return select(scaled_(F(1.0f) + w, I(n)), x, isNan_(x));
}`,
  // 2ⁿ (eʳ − 1) + (2ⁿ − 1), halved so that n = 128 is in range.
  expm1: `(x: F) -> F {
  let c = clamp(x, F(-20.0f), F(89.0f));
  let n = round(c * F(1.442695f));
  let r = c - n * F(0.693359375f) + n * F(0.00021219444f);
  let w = r + r * r * (F(0.5f) + r * (F(0.16666666f) + r * (F(0.041666493f) + r * (F(0.008333545f) +
    r * (F(0.0013932331f) + r * F(0.00019762573f))))));
  let half = bitcast<F>((I(n) + I(126)) << U(23u));
  let y = half * w - opposite_(half - F(0.5f));
  return select(y + y, x, isNan_(x) | (size_(x) < F(3e-8f)));
}`,

  // Bits of positive x as a normal number: a subnormal one is brought up by 2¹⁴⁹.
  normalBits: `(x: F) -> U {
  let b = bitcast<U>(x);
  return select(b, bitcast<U>(F(b)), b < U(0x00800000u));
}`,
  // x = 2^e m with m from √½ to √2.
  exponentOf: `(x: F) -> I {
  let e = bitcast<I>(normalBits_(x) - U(0x3f3504f3u)) >> U(23u);
  return e - select(I(0), I(149), bitcast<U>(x) < U(0x00800000u));
}`,
  mantissaOf: `(x: F) -> F {
  return bitcast<F>(((normalBits_(x) - U(0x3f3504f3u)) & U(0x007fffffu)) + U(0x3f3504f3u));
}`,
  // (log(1 + f) − f) / f² for 1 + f from √½ to √2.
  logTail: `(f: F) -> F {
  return F(-0.5f) + f * (F(0.3333333f) + f * (F(-0.25000823f) + f * (F(0.20001245f) + f * (F(-0.16623299f) +
    f * (F(0.14201422f) + f * (F(-0.13160592f) + f * (F(0.12763898f) + f * F(-0.07635883f))))))));
}`,
  log: `(x: F) -> F {
  let e = F(exponentOf_(x));
  let f = mantissaOf_(x) - F(1.0f);
  let y = e * F(0.693359375f) + (f + (e * F(-0.00021219444f) + f * f * logTail_(f)));
  // By the bits, lest a subnormal number is taken for 0: from infinity on, below −0, and 0 or −0.
  let b = bitcast<U>(x);
  let z = select(y, x, b >= U(0x7f800000u));
  let w = select(z, bitcast<F>(U(0x7fc00000u)), b > U(0x80000000u));
  return select(w, bitcast<F>(U(0xff800000u)), (b << U(1u)) == U(0u));
}`,
  // log u + c / u, where u is 1 + x but for its last four bits, and c what is left of it.
  log1p: `(x: F) -> F {
  let u = bitcast<F>(bitcast<U>(F(1.0f) + x) & U(0xfffffff0u));
  let e = exponentOf_(u);
  let n = F(e);
  let near = e == I(0);
  let f = select(mantissaOf_(u) - F(1.0f), x, near);
  let c = select((x + opposite_(u - F(1.0f))) / u, F(0.0f), near);
  let y = n * F(0.693359375f) + (f + (n * F(-0.00021219444f) + (c + f * f * logTail_(f))));
  let z = select(y, x, !isFinite_(x) | (size_(x) < F(3e-8f)));
  let w = select(z, bitcast<F>(U(0x7fc00000u)), x < F(-1.0f));
  return select(w, bitcast<F>(U(0xff800000u)), x == F(-1.0f));
}`,

  tanh: `(x: F) -> F {
  let z = size_(x);
  let q = z * z;
  let near = z + z * q * (F(-0.3333328f) + q * (F(0.1333141f) + q * (F(-0.053737268f) + q * (F(0.020631723f) +
    q * F(-0.005697346f)))));
  let far = F(1.0f) - F(2.0f) / (exp_(z + z) + F(1.0f));
  return withSignOf_(select(far, near, z < F(0.625f)), x);
}`,
  // An odd polynomial up to 0.9; beyond it 1 − e^−g with a polynomial for g = −log erfc.
  erf: `(x: F) -> F {
  let z = size_(x);
  let q = z * z;
  let near = z + z * (F(0.12837915f) + q * (F(-0.37612507f) + q * (F(0.11281976f) + q * (F(-0.026773285f) +
    q * (F(0.00500416f) + q * F(-0.00060524617f))))));
  let c = min(z, F(4.0f));
  let g = F(0.00016643909f) + c * (F(1.1277972f) + c * (F(0.6369761f) + c * (F(0.10411362f) +
    c * (F(-0.022315178f) + c * (F(0.0030654834f) + c * F(-0.00019821956f))))));
  let y = select(F(1.0f) - exp_(-g), near, z < F(0.9f));
  return withSignOf_(select(y, x, isNan_(x)), x);
}`,

  // Φ(−z) = e^(−z²/2) N(z) / D(z), exact to 6e-9. z² in two parts: the exponential of the first, which is exact, times
  // that of the second, which is small.
  normalCdf: `(x: F) -> F {
  let z = min(size_(x), F(14.5f));
  let h = upper_(z);
  let d = (h - z) * (h + z) * F(0.5f);
  let e = exp_(F(-0.5f) * h * h);
  let n = F(0.5f) + z * (F(0.43829483f) + z * (F(0.18323506f) + z * (F(0.040633202f) + z * F(0.0041163056f))));
  let m = F(1.0f) + z * (F(1.6744747f) + z * (F(1.2025028f) + z * (F(0.46947044f) + z * (F(0.10185878f) +
    z * F(0.010317928f)))));
  let tail = (e + e * (d + d * d * (F(0.5f) + d * (F(0.16666667f) + d * F(0.041666668f))))) * (n / m);
  return select(select(F(1.0f) - tail, tail, x < F(0.0f)), x, isNan_(x));
}`,

  // x ≥ 0 as so many quarters of a turn, and the rest from −π/4 to π/4.
  Angle: `{ rest: F, turns: U }`,
  // π/2 in four parts (Cody and Waite), whose products with up to 4096 turns are exact.
  angle: `(x: F) -> Angle_ {
  let q = round(x * F(0.63661975f));
  let r = x - q * F(1.5703125f) - q * F(0.0004837513f) - q * F(7.5495336e-8f) - q * F(2.563344e-12f);
  var result = Angle_(r, bitcast<U>(I(min(q, F(4096.0f)))));
  let large = x > F(6000.0f);
  if (any(large)) {
    let a = largeAngle_(x);
    result = Angle_(select(r, a.rest, large), select(result.turns, a.turns, large));
  }
  result.rest = select(bitcast<F>(U(0x7fc00000u)), result.rest, isFinite_(x));
  return result;
}`,
  // The digits of 2/π that matter are multiplied exactly (Payne and Hanek 1983): x = m · 2ᵉ, and what lies above them
  // gives whole turns.
  largeAngle: `(x: F) -> Angle_ {
  let m = (bitcast<U>(x) & U(0x007fffffu)) | U(0x00800000u);
  let s = (bitcast<U>(x) >> U(23u)) - U(120u);
  // The words from number s / 32 on of 2/π, before which stands a word of zeros.
  let b4 = (s & U(128u)) != U(0u);
  let w0 = select(U(0u), U(0xf534ddc0u), b4);
  let w1 = select(U(0xa2f9836eu), U(0xdb629599u), b4);
  let w2 = select(U(0x4e441529u), U(0x3c439041u), b4);
  let w3 = select(U(0xfc2757d1u), U(0xfe5163abu), b4);
  let w4 = U(0xf534ddc0u);
  let w5 = U(0xdb629599u);
  let w6 = U(0x3c439041u);
  let b2 = (s & U(64u)) != U(0u);
  let v0 = select(w0, w2, b2);
  let v1 = select(w1, w3, b2);
  let v2 = select(w2, w4, b2);
  let v3 = select(w3, w5, b2);
  let v4 = select(w4, w6, b2);
  let b1 = (s & U(32u)) != U(0u);
  let u0 = select(v0, v1, b1);
  let u1 = select(v1, v2, b1);
  let u2 = select(v2, v3, b1);
  let u3 = select(v3, v4, b1);
  let t = s & U(31u);
  let d0 = (u0 << t) | ((u1 >> U(1u)) >> (U(31u) - t));
  let d1 = (u1 << t) | ((u2 >> U(1u)) >> (U(31u) - t));
  let d2 = (u2 << t) | ((u3 >> U(1u)) >> (U(31u) - t));
  let carried = mulHigh_(m, d2);
  let p1 = m * d1 + carried;
  let p0 = m * d0 + mulHigh_(m, d1) + select(U(0u), U(1u), p1 < carried);
  // Two bits are the quarter, the others a fraction of one; from a half on it counts from the next.
  let high = (p0 << U(2u)) | (p1 >> U(30u));
  let low = p1 << U(2u);
  let over = high >= U(0x80000000u);
  let h = select(high, ~high, over);
  let l = select(low, ~low, over);
  let zeros = countLeadingZeros(h);
  let n = (h << zeros) | ((l >> U(1u)) >> (U(31u) - zeros));
  let product = mulHigh_(n, U(0xc90fdaa2u));
  let short = U(1u) - (product >> U(31u));
  let digits = product << short;
  let r = F((digits >> U(8u)) + ((digits >> U(7u)) & U(1u)));
  let rest = r * bitcast<F>((U(104u) - zeros - short) << U(23u));
  return Angle_(select(rest, -rest, over), (p0 + U(0x20000000u)) >> U(30u));
}`,
  sineWithin: `(r: F) -> F {
  let z = r * r;
  return r + r * z * (F(-0.16666655f) + z * (F(0.008332187f) + z * F(-0.00019517909f)));
}`,
  cosineWithin: `(r: F) -> F {
  let z = r * r;
  return F(1.0f) + z * (F(-0.5f) + z * (F(0.041666646f) + z * (F(-0.0013887309f) + z * F(0.000024432336f))));
}`,
  sin: `(x: F) -> F {
  let a = angle_(size_(x));
  let y = select(sineWithin_(a.rest), cosineWithin_(a.rest), (a.turns & U(1u)) != U(0u));
  return bitcast<F>(bitcast<U>(y) ^ ((a.turns & U(2u)) << U(30u)) ^ (bitcast<U>(x) & U(0x80000000u)));
}`,
  cos: `(x: F) -> F {
  let a = angle_(size_(x));
  let y = select(cosineWithin_(a.rest), sineWithin_(a.rest), (a.turns & U(1u)) != U(0u));
  return bitcast<F>(bitcast<U>(y) ^ (((a.turns + U(1u)) & U(2u)) << U(30u)));
}`,
  // s/c, and in odd quarters −c/s.
  tan: `(x: F) -> F {
  let a = angle_(size_(x));
  let s = sineWithin_(a.rest);
  let c = cosineWithin_(a.rest);
  let odd = (a.turns & U(1u)) != U(0u);
  let y = select(s, c, odd) / select(c, s, odd);
  return bitcast<F>(bitcast<U>(y) ^ (a.turns << U(31u)) ^ (bitcast<U>(x) & U(0x80000000u)));
}`,

  // log₂ x of positive x, the first part of twelve bits: e + 2/(3 ln 2) · s (3 + s² + …) of s = (m − 1)/(m + 1).
  Parts: `{ high: F, low: F }`,
  log2Parts: `(x: F) -> Parts_ {
  let e = F(exponentOf_(x));
  let m = mantissaOf_(x);
  let f = m - F(1.0f);
  let gh = upper_(m + F(1.0f));
  let gl = m + opposite_(gh - F(1.0f));
  let sh = upper_(f / gh);
  let sl = (f - sh * gh - sh * gl) / (m + F(1.0f));
  let s = sh + sl;
  let q = s * s;
  let squared = sh * sh;
  let tail = sl * (sh + s) + q * q * (F(0.6f) + q * (F(0.4285796f) + q * (F(0.33269423f) + q * F(0.29339197f))));
  let th = upper_(F(3.0f) + squared + tail);
  let tl = tail + (opposite_(th - F(3.0f)) + squared);
  let rest = sl * th + s * tl;
  let ph = upper_(sh * th + rest);
  let pl = rest - (ph - sh * th);
  let zh = F(0.9616699f) * ph;
  let zl = F(0.00012677205f) * ph + F(0.9617967f) * pl;
  let high = upper_(e + (zh + zl));
  return Parts_(high, zl - (high - e - zh));
}`,
  // 2^(b log₂ |a|), where every product that matters is exact; the special values of C99.
  pow: `(a: F, b: F) -> F {
  let x = size_(a);
  let c = clamp(b, F(-4294967296.0f), F(4294967296.0f));
  let l = log2Parts_(x);
  let ch = upper_(c);
  let ph = clamp(ch * l.high, F(-160.0f), F(140.0f));
  let pl = clamp((c - ch) * l.high + c * l.low, F(-1.0f), F(1.0f));
  let n = round(ph + pl);
  let r = ph - n + pl;
  let rh = round(r * F(2048.0f)) * F(0.00048828125f);
  let rl = pl - (rh - (ph - n));
  let w = rl * F(0.6931472f) + rh * F(0.000031946183f) + r * r * (F(0.2402265f) + r * (F(0.055503618f) +
    r * (F(0.009618068f) + r * (F(0.0013390403f) + r * F(0.0001546047f)))));
  let near = opposite_(F(1.0f) + rh * F(0.69311523f));
  let size = scaled_(w - near, I(n));
  let isRising = (b > F(0.0f)) == (x > F(1.0f));
  let limit = select(F(0.0f), bitcast<F>(U(0x7f800000u)), isRising);
  let isLimit = (bitcast<U>(x) == U(0u)) | !isFinite_(x);
  let whole = floor(b) == b;
  let half = b * F(0.5f);
  let odd = whole & (floor(half) != half);
  let isOne = (a == F(1.0f)) | (b == F(0.0f));
  let y = select(select(size, limit, isLimit), F(1.0f), isOne);
  let signed = bitcast<F>(bitcast<U>(y) | select(U(0u), bitcast<U>(a) & U(0x80000000u), odd));
  let isWrong = (bitcast<U>(a) >= U(0x80000000u)) & !isLimit & !whole;
  let isNothing = (isNan_(a) | isNan_(b)) & !isOne;
  return select(signed, bitcast<F>(U(0x7fc00000u)), isWrong | isNothing);
}`,
} as const;
