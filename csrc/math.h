// Elementary functions of a vector, branch-free. Each is within 4 ulp of the exact value over the range
// it names; tests/test_native.py walks through those ranges.
#pragma once

#include "simd.h"

namespace ttc_fast {
namespace {

// -2 ln(u) for u in [2^-33, 1]. u = 2^e (1 + x), |x| <= 0.42; polynomial: Cephes logf (S. Moshier).
inline F minus_two_log(F u) {
  const U exponent = right_signed<23>(sub(bits(u), all(0x3F3504F3u)));  // 2^e nearest in ratio: from sqrt(1/2)
  const F e = from_signed(exponent);
  const F x = sub(from_bits(sub(bits(u), left<23>(exponent))), all(1.0f));
  F p = all(7.0376836292e-2f);
  p = fma(p, x, all(-1.1514610310e-1f));
  p = fma(p, x, all(1.1676998740e-1f));
  p = fma(p, x, all(-1.2420140846e-1f));
  p = fma(p, x, all(1.4249322787e-1f));
  p = fma(p, x, all(-1.6668057665e-1f));
  p = fma(p, x, all(2.0000714765e-1f));
  p = fma(p, x, all(-2.4999993993e-1f));
  p = fma(p, x, all(3.3333331174e-1f));
  const F square = mul(x, x);
  F y = mul(mul(p, x), square);
  y = fma(e, all(-2.12194440e-4f), y);  // ln 2 in two parts: 0.693359375 and this
  y = fma(square, all(-0.5f), y);
  y = fma(e, all(0.693359375f), add(x, y));
  return mul(y, all(-2.0f));
}

// sin and cos of 2 pi b 2^-32 for every b: the quadrant is in the two top bits of b + 2^29.
inline void sincos_turn(U b, F& sine, F& cosine) {
  const U shifted = add(b, all(0x20000000u));
  const U rest = sub(band(shifted, all(0x3FFFFFFFu)), all(0x20000000u));
  const F f = mul(from_signed(rest), all(1.46291807926715968105e-9f));  // pi/2 2^-30: |f| <= pi/4
  const F f2 = mul(f, f);
  F s = fma(f2, all(-1.9515295891e-4f), all(8.3321608736e-3f));
  s = fma(s, f2, all(-1.6666654611e-1f));
  s = fma(mul(s, f2), f, f);
  F c = fma(f2, all(2.443315711809948e-5f), all(-1.388731625493765e-3f));
  c = fma(c, f2, all(4.166664568298827e-2f));
  c = fma(c, f2, all(-0.5f));
  c = fma(c, f2, all(1.0f));
  const U odd = left<1>(shifted), top = all(0x80000000u);
  sine = from_bits(bxor(bits(select(odd, s, c)), band(shifted, top)));
  cosine = from_bits(bxor(bits(select(odd, c, s)), band(add(shifted, all(0x40000000u)), top)));
}

// e^z for z in [-87, 88]; below and above as at the ends. Polynomial: Cephes expf (S. Moshier).
inline F exponential(F z) {
  z = clamp(z, -87.0f, 88.0f);
  const F shifted = fma(z, all(1.44269504088896341f), all(12582912.0f));  // its low bits: round(z / ln 2)
  const F n = sub(shifted, all(12582912.0f));
  F r = fma(n, all(-0.693359375f), z);
  r = fma(n, all(2.12194440e-4f), r);
  F p = all(1.9875691500e-4f);
  p = fma(p, r, all(1.3981999507e-3f));
  p = fma(p, r, all(8.3334519073e-3f));
  p = fma(p, r, all(4.1665795894e-2f));
  p = fma(p, r, all(1.6666665459e-1f));
  p = fma(p, r, all(5.0000001201e-1f));
  p = fma(mul(r, r), p, add(r, all(1.0f)));
  return from_bits(add(bits(p), left<23>(bits(shifted))));
}

}  // namespace
}  // namespace ttc_fast
