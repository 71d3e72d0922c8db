// Elementary functions of a vector, branch-free. Each is within 4 ulp of the exact value over the range
// it names, but for gelu; tests/decoding/test_native.py walks through those ranges.
#pragma once

#include "simd.h"

namespace ttc_fast {
namespace {

// -2 ln(u) for u in [2^-33, 1]: u = 2^e (1 + x) with 1 + x in [sqrt(1/2), sqrt(2)).
inline F minus_two_log(F u) {
  const U exponent = right_signed<23>(sub(bits(u), all(0x3F3504F3u)));
  const F x = sub(from_bits(sub(bits(u), left<23>(exponent))), all(1.0f));
  // -2 ln(1 + x) = x (-2 + x q(x)), minimax within 0.6 * 2^-24 of it
  F q = all(-0.17469501495361328f);
  q = fma(q, x, all(0.28614965081214905f));
  q = fma(q, x, all(-0.29835978150367737f));
  q = fma(q, x, all(0.33141028881073f));
  q = fma(q, x, all(-0.3992414176464081f));
  q = fma(q, x, all(0.5000351071357727f));
  q = fma(q, x, all(-0.6666790246963501f));
  q = fma(q, x, all(0.9999998211860657f));
  q = mul(x, fma(q, x, all(-2.0f)));
  return fma(from_signed(exponent), all(-1.3862943611198906f), q);
}

// sin and cos of 2 pi b 2^-32 for every b: the quadrant is in the two top bits of b + 2^29, and what is
// left of b as a signed number is the angle from its middle.
inline void sincos_turn(U b, F& sine, F& cosine) {
  const U quadrant = add(b, all(0x20000000u)), odd = left<1>(quadrant);
  const F f = mul(from_signed(left<2>(b)), all(3.6572951981678993e-10f));  // pi/2 2^-32: |f| <= pi/4
  const F z = mul(f, f);
  F s = fma(z, all(-1.9515282474458218e-4f), all(8.33216030150652e-3f));
  s = fma(s, z, all(-0.16666655242443085f));
  s = fma(mul(s, z), f, f);
  F c = fma(z, all(-1.364871277473867e-3f), all(4.166107252240181e-2f));
  c = fma(c, z, all(-0.5f));
  c = fma(c, z, all(1.0f));
  sine = flip(select(odd, s, c), quadrant);
  cosine = flip(select(odd, c, s), bxor(quadrant, odd));
}

// 2^t for t in [-126, 127]; of several vectors stage by stage, so that few operations wait for the one before.
template <int n>
__attribute__((always_inline)) inline void exp2_within(F (&t)[n]) {
  F shifted[n], p[n];
  for (int i = 0; i < n; ++i) shifted[i] = add(t[i], all(12582912.0f));  // its low bits: t rounded to a whole number
  for (int i = 0; i < n; ++i) t[i] = sub(t[i], sub(shifted[i], all(12582912.0f)));
  for (int i = 0; i < n; ++i) p[i] = fma(all(1.3264723820611835e-3f), t[i], all(9.671512991189957e-3f));
  for (const float c : {5.550733581185341e-2f, 0.24022242426872253f, 0.6931470036506653f, 1.0f}) {
    for (int i = 0; i < n; ++i) p[i] = fma(p[i], t[i], all(c));
  }
  for (int i = 0; i < n; ++i) t[i] = from_bits(add(bits(p[i]), left<23>(bits(shifted[i]))));
}

inline F exp2_within(F t) {
  F one[] = {t};
  exp2_within(one);
  return one[0];
}

// The same; below and above as at the ends.
inline F exp2(F t) { return exp2_within(clamp(t, -126.0f, 127.0f)); }

// x (1 + erf(x / sqrt(2))) / 2 = max(0, x) - |x| q, q = erfc(|x| / sqrt(2)) / 2 = exp(-x^2 / 2) p(1 / (1 + 0.4 |x|)). The
// error of |x| q is below 2^-23, that of the result by rounding 2^-24 of itself more.
inline F gelu(F x) {
  const F size = from_bits(band(bits(x), all(0x7FFFFFFFu)));
  const F t = div(all(1.0f), fma(size, all(0.4f), all(1.0f)));
  F p = all(5.7163480669260025e-2f);  // minimax: |x| q within 2^-26
  p = fma(p, t, all(-0.25750797986984253f));
  p = fma(p, t, all(0.3437299132347107f));
  p = fma(p, t, all(1.0354350320994854e-2f));
  p = fma(p, t, all(0.18968921899795532f));
  p = fma(p, t, all(0.15657125413417816f));
  const F exponent = max(all(-100.0f), mul(mul(x, x), all(-0.7213475204444817f)));  // no product below is denormal
  const F q = mul(mul(p, t), exp2_within(exponent));
  return sub(max(all(0.0f), x), mul(size, q));
}

}  // namespace
}  // namespace ttc_fast
