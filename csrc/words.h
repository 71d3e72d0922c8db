// The random words of a tile, compiled once for each instruction set.
#pragma once

#include "math.h"
#include "philox.h"
#include "tile.h"

namespace ttc_fast {
namespace {  // see simd.h

constexpr std::uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
// ttc_fast/numerics/rng.py, Stream
constexpr std::uint32_t kStreamNoise = 0, kStreamBernoulli = 1, kStreamSubset = 10;

struct RoundKeys {
  std::uint32_t key0[10], key1[10];
  explicit RoundKeys(std::uint64_t seed) {
    key0[0] = static_cast<std::uint32_t>(seed);
    key1[0] = static_cast<std::uint32_t>(seed >> 32);
    for (int i = 1; i < 10; ++i) {
      key0[i] = key0[i - 1] + 0x9E3779B9u;
      key1[i] = key1[i - 1] + 0xBB67AE85u;
    }
  }
};

std::uint32_t high(std::uint32_t a, std::uint32_t b) { return static_cast<std::uint32_t>(std::uint64_t{a} * b >> 32); }

// The counter is (sample, coordinate | stream << 24, block, prompt): in the first two rounds each product
// is one of a sample alone, or of a coordinate and a block alone. The former are made here, once a tile.
void begin(const Job& job, Tile& tile) {
  const RoundKeys keys(job.seed);
  std::uint32_t *word3 = tile.lanes, *high2 = word3 + kSamples, *low2 = high2 + kSamples;
  for (int s = 0; s < kSamples; ++s) {
    const std::uint32_t sample = tile.first_sample + static_cast<std::uint32_t>(s);
    word3[s] = kMultiplier0 * sample;                                               // round 1: c3
    const std::uint32_t c2 = high(kMultiplier0, sample) ^ job.prompt ^ keys.key1[0];  // round 1: c2
    high2[s] = high(kMultiplier1, c2);                                              // round 2
    low2[s] = kMultiplier1 * c2;
  }
}

struct Words { U w[4]; };

// Words of the coordinates begin, ..., end - 1 of one block of four steps: use(coordinate, vector, words).
template <class Use>
void for_words(const Job& job, const Tile& tile, std::uint32_t stream, std::int64_t block, std::int64_t begin,
               std::int64_t end, Use use) {
  const RoundKeys keys(job.seed);
  const auto q = static_cast<std::uint32_t>(block);
  const std::uint32_t high1 = high(kMultiplier1, q), low1 = kMultiplier1 * q;       // round 1, of the block
  const U m0 = all(kMultiplier0), m1 = all(kMultiplier1);
  W third[kVectors], first[kVectors], high3[kVectors], low3[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const std::uint32_t* lanes = tile.lanes + v * kLanes;
    third[v] = widen(load(lanes));
    first[v] = widen(bxor(load(lanes + 2 * kSamples), all(keys.key0[2])));
    const U c0 = bxor(load(lanes + kSamples), all(low1 ^ keys.key0[1]));            // round 2: c0
    multiply(widen(c0), m0, high3[v], low3[v]);                                     // round 3, of the block
  }
  for (std::int64_t i = begin; i < end; ++i) {
    const std::uint32_t c0 = high1 ^ (static_cast<std::uint32_t>(i) | stream << 24) ^ keys.key0[0];  // round 1
    const std::uint32_t high2 = high(kMultiplier0, c0), low2 = kMultiplier0 * c0;   // round 2, of the coordinate
    for (int start = 0; start < kVectors; start += kTogether) {
      W c[kTogether][4];
      for (int k = 0; k < kTogether; ++k) {
        W hi, lo;
        multiply(bxor(third[start + k], all(high2 ^ keys.key1[1])), m1, hi, lo);    // round 3
        c[k][0] = bxor(hi, first[start + k]);
        c[k][1] = lo;
        c[k][2] = bxor(high3[start + k], all(low2 ^ keys.key1[2]));
        c[k][3] = low3[start + k];
      }
      for (int round = 3; round < 10; ++round) {
        const U key0 = all(keys.key0[round]), key1 = all(keys.key1[round]);
        for (int k = 0; k < kTogether; ++k) {
          W hi0, lo0, hi1, lo1;
          multiply(c[k][0], m0, hi0, lo0);
          multiply(c[k][2], m1, hi1, lo1);
          c[k][0] = bxor(hi1, c[k][1], key0);
          c[k][1] = lo1;
          c[k][2] = bxor(hi0, c[k][3], key1);
          c[k][3] = lo0;
        }
      }
      for (int k = 0; k < kTogether; ++k) {
        use(i, start + k, Words{{narrow(c[k][0]), narrow(c[k][1]), narrow(c[k][2]), narrow(c[k][3])}});
      }
    }
  }
}

// -2 ln((a + 0.5) 2^-32), the argument rounded as in rng.py.
F minus_two_log_of_word(U a) {
  return minus_two_log(fma(from_unsigned(a), all(0x1p-32f), all(0x1p-33f)));
}

}  // namespace
}  // namespace ttc_fast
