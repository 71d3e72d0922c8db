// Vectors of one instruction set: the only file that knows one from another.
//
// TTC_FAST_ISA_<NAME> selects it; without any, plain C++ that runs everywhere. All sets but the plain
// one have a fused multiply-add and give the same bits, lane by lane. A tile is kVectors vectors of samples;
// the matrix product keeps kRows rows of it in registers, the random words kTogether vectors. A set with kLookup has
// lookup: of 16 numbers those with the indices' four low bits.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(TTC_FAST_ISA_AVX512) || defined(TTC_FAST_ISA_AVX2)
#include <immintrin.h>
#elif defined(TTC_FAST_ISA_NEON)
#include <arm_neon.h>
#else
#include <cmath>
#endif

namespace ttc_fast {
namespace {  // every object file has its own copy: code for one set must not be merged with another's

#if defined(TTC_FAST_ISA_AVX512)

constexpr const char* kIsa = "avx512";
constexpr int kLanes = 16, kVectors = 3, kRows = 8, kTogether = 3;
using F = __m512;
using U = __m512i;

inline F load(const float* p) { return _mm512_loadu_ps(p); }
inline U load(const std::uint32_t* p) { return _mm512_loadu_si512(p); }
inline void store(float* p, F x) { _mm512_storeu_ps(p, x); }
inline void store(std::uint32_t* p, U x) { _mm512_storeu_si512(p, x); }
inline F all(float x) { return _mm512_set1_ps(x); }
inline U all(std::uint32_t x) { return _mm512_set1_epi32(static_cast<int>(x)); }
inline F add(F a, F b) { return _mm512_add_ps(a, b); }
inline F sub(F a, F b) { return _mm512_sub_ps(a, b); }
inline F mul(F a, F b) { return _mm512_mul_ps(a, b); }
inline F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
inline F sqrt(F x) { return _mm512_sqrt_ps(x); }
inline F clamp(F x, float low, float high) { return _mm512_min_ps(all(high), _mm512_max_ps(all(low), x)); }
inline F div(F a, F b) { return _mm512_div_ps(a, b); }
inline F min(F a, F b) { return _mm512_min_ps(a, b); }  // of numbers
inline F max(F a, F b) { return _mm512_max_ps(a, b); }
inline F at_least(F x, float low) { return _mm512_max_ps(x, all(low)); }  // NaN: low
inline std::uint64_t mask_if_less(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }  // bit l: of lane l
inline F one_if_less(F a, F b) { return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), all(1.0f)); }
inline F select(U sign, F plus, F minus) { return _mm512_mask_blend_ps(_mm512_movepi32_mask(sign), plus, minus); }
inline U bits(F x) { return _mm512_castps_si512(x); }
inline F from_bits(U x) { return _mm512_castsi512_ps(x); }
inline U add(U a, U b) { return _mm512_add_epi32(a, b); }
inline U sub(U a, U b) { return _mm512_sub_epi32(a, b); }
inline U band(U a, U b) { return _mm512_and_si512(a, b); }
inline U bor(U a, U b) { return _mm512_or_si512(a, b); }
inline U bxor(U a, U b) { return _mm512_xor_si512(a, b); }
inline U bxor(U a, U b, U c) { return _mm512_ternarylogic_epi32(a, b, c, 0x96); }
template <int n> U left(U x) { return _mm512_slli_epi32(x, n); }
template <int n> U right(U x) { return _mm512_srli_epi32(x, n); }
template <int n> U right_signed(U x) { return _mm512_srai_epi32(x, n); }
inline F from_signed(U x) { return _mm512_cvtepi32_ps(x); }
inline F from_unsigned(U x) { return _mm512_cvtepu32_ps(x); }
constexpr bool kLookup = true;  // a table of 16 numbers is one register, looked up by one instruction
inline F lookup(const float* table, U index) { return _mm512_permutexvar_ps(index, load(table)); }
inline U value_if_less(F a, F b, std::uint32_t value) {
  return _mm512_maskz_mov_epi32(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), all(value));
}
inline F flip(F x, U s) { return from_bits(_mm512_ternarylogic_epi32(bits(x), s, all(0x80000000u), 0x78)); }

// Four numbers from, or to, the i-th on of every fourth of kLanes places.
inline F load_fours(const float* const* p, std::int64_t i) {
  F x = _mm512_castps128_ps512(_mm_loadu_ps(p[0] + i));
  x = _mm512_insertf32x4(x, _mm_loadu_ps(p[4] + i), 1);
  x = _mm512_insertf32x4(x, _mm_loadu_ps(p[8] + i), 2);
  return _mm512_insertf32x4(x, _mm_loadu_ps(p[12] + i), 3);
}
inline void store_fours(float* const* p, std::int64_t i, F x) {
  _mm_storeu_ps(p[0] + i, _mm512_castps512_ps128(x));
  _mm_storeu_ps(p[4] + i, _mm512_extractf32x4_ps(x, 1));
  _mm_storeu_ps(p[8] + i, _mm512_extractf32x4_ps(x, 2));
  _mm_storeu_ps(p[12] + i, _mm512_extractf32x4_ps(x, 3));
}
// Lane 4 g + i of x[k] to lane 4 g + k of x[i].
inline void transpose_fours(F* x) {
  const F a = _mm512_unpacklo_ps(x[0], x[1]), b = _mm512_unpackhi_ps(x[0], x[1]);
  const F c = _mm512_unpacklo_ps(x[2], x[3]), d = _mm512_unpackhi_ps(x[2], x[3]);
  x[0] = _mm512_shuffle_ps(a, c, 0x44);
  x[1] = _mm512_shuffle_ps(a, c, 0xEE);
  x[2] = _mm512_shuffle_ps(b, d, 0x44);
  x[3] = _mm512_shuffle_ps(b, d, 0xEE);
}

// Words between the rounds of Philox: in the low halves of 64-bit lanes, as the multiplier wants them; the
// high halves hold anything.
struct W { U even, odd; };
inline W widen(U x) { return {x, _mm512_srli_epi64(x, 32)}; }
inline U narrow(W x) {
  const U order = _mm512_set_epi32(30, 14, 28, 12, 26, 10, 24, 8, 22, 6, 20, 4, 18, 2, 16, 0);
  return _mm512_permutex2var_epi32(x.even, order, x.odd);
}
inline W bxor(W a, U b) { return {bxor(a.even, b), bxor(a.odd, b)}; }
inline W bxor(W a, W b) { return {bxor(a.even, b.even), bxor(a.odd, b.odd)}; }
inline W bxor(W a, W b, U c) { return {bxor(a.even, b.even, c), bxor(a.odd, b.odd, c)}; }
inline void multiply(W x, U m, W& high, W& low) {
  low = {_mm512_mul_epu32(x.even, m), _mm512_mul_epu32(x.odd, m)};
  high = {_mm512_srli_epi64(low.even, 32), _mm512_srli_epi64(low.odd, 32)};
}

#elif defined(TTC_FAST_ISA_AVX2)

constexpr const char* kIsa = "avx2";
constexpr int kLanes = 8, kVectors = 2, kRows = 4, kTogether = 2;
using F = __m256;
using U = __m256i;

inline F load(const float* p) { return _mm256_loadu_ps(p); }
inline U load(const std::uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const U*>(p)); }
inline void store(float* p, F x) { _mm256_storeu_ps(p, x); }
inline void store(std::uint32_t* p, U x) { _mm256_storeu_si256(reinterpret_cast<U*>(p), x); }
inline F all(float x) { return _mm256_set1_ps(x); }
inline U all(std::uint32_t x) { return _mm256_set1_epi32(static_cast<int>(x)); }
inline F add(F a, F b) { return _mm256_add_ps(a, b); }
inline F sub(F a, F b) { return _mm256_sub_ps(a, b); }
inline F mul(F a, F b) { return _mm256_mul_ps(a, b); }
inline F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
inline F sqrt(F x) { return _mm256_sqrt_ps(x); }
inline F clamp(F x, float low, float high) { return _mm256_min_ps(all(high), _mm256_max_ps(all(low), x)); }
inline F div(F a, F b) { return _mm256_div_ps(a, b); }
inline F min(F a, F b) { return _mm256_min_ps(a, b); }
inline F max(F a, F b) { return _mm256_max_ps(a, b); }
inline F at_least(F x, float low) { return _mm256_max_ps(x, all(low)); }
inline std::uint64_t mask_if_less(F a, F b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)); }
inline F one_if_less(F a, F b) { return _mm256_and_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ), all(1.0f)); }
inline U value_if_less(F a, F b, std::uint32_t value) {
  return _mm256_and_si256(_mm256_castps_si256(_mm256_cmp_ps(a, b, _CMP_LT_OQ)), all(value));
}
inline F select(U sign, F plus, F minus) { return _mm256_blendv_ps(plus, minus, _mm256_castsi256_ps(sign)); }
inline U bits(F x) { return _mm256_castps_si256(x); }
inline F from_bits(U x) { return _mm256_castsi256_ps(x); }
inline U add(U a, U b) { return _mm256_add_epi32(a, b); }
inline U sub(U a, U b) { return _mm256_sub_epi32(a, b); }
inline U band(U a, U b) { return _mm256_and_si256(a, b); }
inline U bor(U a, U b) { return _mm256_or_si256(a, b); }
inline U bxor(U a, U b) { return _mm256_xor_si256(a, b); }
inline U bxor(U a, U b, U c) { return bxor(a, bxor(b, c)); }  // a is what is waited for
template <int n> U left(U x) { return _mm256_slli_epi32(x, n); }
template <int n> U right(U x) { return _mm256_srli_epi32(x, n); }
template <int n> U right_signed(U x) { return _mm256_srai_epi32(x, n); }
inline F from_signed(U x) { return _mm256_cvtepi32_ps(x); }
inline F from_unsigned(U x) {  // both halves are exact, so their sum is rounded once
  return fma(from_signed(right<16>(x)), all(65536.0f), from_signed(band(x, all(0xFFFFu))));
}
constexpr bool kLookup = false;
inline F flip(F x, U s) { return from_bits(bxor(bits(x), band(s, all(0x80000000u)))); }

// As for AVX-512.
inline F load_fours(const float* const* p, std::int64_t i) { return _mm256_loadu2_m128(p[4] + i, p[0] + i); }
inline void store_fours(float* const* p, std::int64_t i, F x) { _mm256_storeu2_m128(p[4] + i, p[0] + i, x); }
inline void transpose_fours(F* x) {
  const F a = _mm256_unpacklo_ps(x[0], x[1]), b = _mm256_unpackhi_ps(x[0], x[1]);
  const F c = _mm256_unpacklo_ps(x[2], x[3]), d = _mm256_unpackhi_ps(x[2], x[3]);
  x[0] = _mm256_shuffle_ps(a, c, 0x44);
  x[1] = _mm256_shuffle_ps(a, c, 0xEE);
  x[2] = _mm256_shuffle_ps(b, d, 0x44);
  x[3] = _mm256_shuffle_ps(b, d, 0xEE);
}
struct W { U even, odd; };
inline W widen(U x) { return {x, _mm256_srli_epi64(x, 32)}; }
inline U narrow(W x) { return _mm256_blend_epi32(x.even, _mm256_slli_epi64(x.odd, 32), 0xAA); }
inline W bxor(W a, U b) { return {bxor(a.even, b), bxor(a.odd, b)}; }
inline W bxor(W a, W b) { return {bxor(a.even, b.even), bxor(a.odd, b.odd)}; }
inline W bxor(W a, W b, U c) { return {bxor(a.even, b.even, c), bxor(a.odd, b.odd, c)}; }
inline void multiply(W x, U m, W& high, W& low) {
  low = {_mm256_mul_epu32(x.even, m), _mm256_mul_epu32(x.odd, m)};
  high = {_mm256_srli_epi64(low.even, 32), _mm256_srli_epi64(low.odd, 32)};
}

#elif defined(TTC_FAST_ISA_NEON)

constexpr const char* kIsa = "neon";
constexpr int kLanes = 4, kVectors = 2, kRows = 8, kTogether = 2;
using F = float32x4_t;
using U = uint32x4_t;

inline F load(const float* p) { return vld1q_f32(p); }
inline U load(const std::uint32_t* p) { return vld1q_u32(p); }
inline void store(float* p, F x) { vst1q_f32(p, x); }
inline void store(std::uint32_t* p, U x) { vst1q_u32(p, x); }
inline F all(float x) { return vdupq_n_f32(x); }
inline U all(std::uint32_t x) { return vdupq_n_u32(x); }
inline F add(F a, F b) { return vaddq_f32(a, b); }
inline F sub(F a, F b) { return vsubq_f32(a, b); }
inline F mul(F a, F b) { return vmulq_f32(a, b); }
inline F fma(F a, F b, F c) { return vfmaq_f32(c, a, b); }
inline F sqrt(F x) { return vsqrtq_f32(x); }
inline F clamp(F x, float low, float high) { return vminq_f32(all(high), vmaxq_f32(all(low), x)); }
inline F div(F a, F b) { return vdivq_f32(a, b); }
inline F min(F a, F b) { return vminq_f32(a, b); }
inline F max(F a, F b) { return vmaxq_f32(a, b); }
inline F at_least(F x, float low) { return vmaxnmq_f32(x, all(low)); }
inline U bits(F x) { return vreinterpretq_u32_f32(x); }
inline F from_bits(U x) { return vreinterpretq_f32_u32(x); }
inline std::uint64_t mask_if_less(F a, F b) { return vaddvq_u32(vandq_u32(vcltq_f32(a, b), U{1, 2, 4, 8})); }
inline F one_if_less(F a, F b) { return from_bits(vandq_u32(vcltq_f32(a, b), bits(all(1.0f)))); }
inline U value_if_less(F a, F b, std::uint32_t value) { return vandq_u32(vcltq_f32(a, b), all(value)); }
inline U add(U a, U b) { return vaddq_u32(a, b); }
inline U sub(U a, U b) { return vsubq_u32(a, b); }
inline U band(U a, U b) { return vandq_u32(a, b); }
inline U bor(U a, U b) { return vorrq_u32(a, b); }
inline U bxor(U a, U b) { return veorq_u32(a, b); }
inline U bxor(U a, U b, U c) { return bxor(bxor(a, b), c); }
template <int n> U left(U x) { return vshlq_n_u32(x, n); }
template <int n> U right(U x) { return vshrq_n_u32(x, n); }
template <int n> U right_signed(U x) { return vreinterpretq_u32_s32(vshrq_n_s32(vreinterpretq_s32_u32(x), n)); }
inline F select(U sign, F plus, F minus) { return vbslq_f32(right_signed<31>(sign), minus, plus); }
inline F from_signed(U x) { return vcvtq_f32_s32(vreinterpretq_s32_u32(x)); }
inline F from_unsigned(U x) { return vcvtq_f32_u32(x); }
constexpr bool kLookup = false;
inline F flip(F x, U s) { return from_bits(bxor(bits(x), band(s, all(0x80000000u)))); }

inline F load_fours(const float* const* p, std::int64_t i) { return load(p[0] + i); }
inline void store_fours(float* const* p, std::int64_t i, F x) { store(p[0] + i, x); }
inline void transpose_fours(F* x) {
  const float32x4x2_t a = vtrnq_f32(x[0], x[1]), b = vtrnq_f32(x[2], x[3]);
  x[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
  x[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
  x[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
  x[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}

using W = U;  // words between the rounds of Philox
inline W widen(U x) { return x; }
inline U narrow(W x) { return x; }
inline void multiply(W x, U m, W& high, W& low) {
  const U first = vreinterpretq_u32_u64(vmull_u32(vget_low_u32(x), vget_low_u32(m)));
  const U second = vreinterpretq_u32_u64(vmull_high_u32(x, m));
  low = vuzp1q_u32(first, second);
  high = vuzp2q_u32(first, second);
}

#else

constexpr const char* kIsa = "portable";  // vectors of GCC and Clang, for whatever the machine has
constexpr int kLanes = 4, kVectors = 2, kRows = 4, kTogether = 2;
using F = float __attribute__((vector_size(16)));
using U = std::uint32_t __attribute__((vector_size(16)));
using S = std::int32_t __attribute__((vector_size(16)));
using U64 = std::uint64_t __attribute__((vector_size(32)));

inline F load(const float* p) { F x; std::memcpy(&x, p, sizeof x); return x; }
inline U load(const std::uint32_t* p) { U x; std::memcpy(&x, p, sizeof x); return x; }
inline void store(float* p, F x) { std::memcpy(p, &x, sizeof x); }
inline void store(std::uint32_t* p, U x) { std::memcpy(p, &x, sizeof x); }
inline F all(float x) { return F{x, x, x, x}; }
inline U all(std::uint32_t x) { return U{x, x, x, x}; }
inline U bits(F x) { return reinterpret_cast<U>(x); }
inline F from_bits(U x) { return reinterpret_cast<F>(x); }
inline F add(F a, F b) { return a + b; }
inline F sub(F a, F b) { return a - b; }
inline F mul(F a, F b) { return a * b; }
inline F fma(F a, F b, F c) { return a * b + c; }  // rounded twice: without hardware, one rounding is slow
inline F sqrt(F x) { return F{std::sqrt(x[0]), std::sqrt(x[1]), std::sqrt(x[2]), std::sqrt(x[3])}; }
inline F choose(S mask, F yes, F no) {
  const U m = reinterpret_cast<U>(mask);
  return from_bits((bits(yes) & m) | (bits(no) & ~m));
}
inline F clamp(F x, float low, float high) {
  x = choose(x < low, all(low), x);
  return choose(x > high, all(high), x);
}
inline F div(F a, F b) { return a / b; }
inline F min(F a, F b) { return choose(a < b, a, b); }
inline F max(F a, F b) { return choose(a > b, a, b); }
inline F at_least(F x, float low) { return choose(x > low, x, all(low)); }
inline std::uint64_t mask_if_less(F a, F b) {
  const U m = reinterpret_cast<U>(a < b) & U{1, 2, 4, 8};
  return m[0] | m[1] | m[2] | m[3];
}
inline F one_if_less(F a, F b) { return choose(a < b, all(1.0f), all(0.0f)); }
inline U value_if_less(F a, F b, std::uint32_t value) { return reinterpret_cast<U>(a < b) & all(value); }
inline F select(U sign, F plus, F minus) { return choose(reinterpret_cast<S>(sign) >> 31, minus, plus); }
inline U add(U a, U b) { return a + b; }
inline U sub(U a, U b) { return a - b; }
inline U band(U a, U b) { return a & b; }
inline U bor(U a, U b) { return a | b; }
inline U bxor(U a, U b) { return a ^ b; }
inline U bxor(U a, U b, U c) { return a ^ b ^ c; }
template <int n> U left(U x) { return x << n; }
template <int n> U right(U x) { return x >> n; }
template <int n> U right_signed(U x) { return reinterpret_cast<U>(reinterpret_cast<S>(x) >> n); }
inline F from_signed(U x) { return __builtin_convertvector(reinterpret_cast<S>(x), F); }
inline F from_unsigned(U x) {  // both halves are exact, so their sum is rounded once
  return from_signed(x >> 16) * 65536.0f + from_signed(x & 0xFFFFu);
}
constexpr bool kLookup = false;
inline F flip(F x, U s) { return from_bits(bxor(bits(x), band(s, all(0x80000000u)))); }

inline F load_fours(const float* const* p, std::int64_t i) { return load(p[0] + i); }
inline void store_fours(float* const* p, std::int64_t i, F x) { store(p[0] + i, x); }
inline void transpose_fours(F* x) {
  const F a = x[0], b = x[1], c = x[2], d = x[3];
  for (int i = 0; i < 4; ++i) x[i] = F{a[i], b[i], c[i], d[i]};
}

using W = U;  // words between the rounds of Philox
inline W widen(U x) { return x; }
inline U narrow(W x) { return x; }
inline void multiply(W x, U m, W& high, W& low) {
  const U64 product = __builtin_convertvector(x, U64) * __builtin_convertvector(m, U64);
  high = __builtin_convertvector(product >> 32, U);
  low = __builtin_convertvector(product, U);
}

#endif

}  // namespace
}  // namespace ttc_fast
