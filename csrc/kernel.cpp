// The fused decode of one tile of samples, compiled once for each instruction set.
//
// Samples lie across the lanes. A tile keeps its thoughts, and the draws of four steps, in the core's
// cache; nothing but the thoughts of the asked steps is written to memory.
#include "decode.h"
#include "math.h"
#include "philox.h"

namespace ttc_fast {
namespace {

constexpr int kVectors = 2;                      // vectors of samples side by side
constexpr int kSamples = kVectors * kLanes;
constexpr std::uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kStreamNoise = 0, kStreamBernoulli = 1;  // ttc_fast/rng.py, Stream

std::int64_t padded(std::int64_t dim) { return (dim + kRows - 1) / kRows * kRows; }

// Rows in blocks of kRows, columns one after another within a block; the last column is -b's.
void pack(const float* state, std::int64_t dim, float* matrix) {
  for (std::int64_t block = 0; block < padded(dim); block += kRows) {
    for (std::int64_t j = 0; j <= dim; ++j) {
      for (int r = 0; r < kRows; ++r) {
        const std::int64_t i = block + r;
        *matrix++ = i < dim ? state[i * (dim + 1) + j] : 0.0f;
      }
    }
  }
}

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

// Words of all coordinates of one block of four steps, handed to use(coordinate, vector, words).
template <class Use>
void for_words(const Job& job, const Tile& tile, std::uint32_t stream, std::int64_t block, Use use) {
  const RoundKeys keys(job.seed);
  const auto q = static_cast<std::uint32_t>(block);
  const std::uint32_t high1 = high(kMultiplier1, q), low1 = kMultiplier1 * q;       // round 1, of the block
  const U m0 = all(kMultiplier0), m1 = all(kMultiplier1);
  U third[kVectors], first[kVectors], high3[kVectors], low3[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const std::uint32_t* lanes = tile.lanes + v * kLanes;
    third[v] = load(lanes);
    first[v] = bxor(load(lanes + 2 * kSamples), all(keys.key0[2]));
    const U c0 = bxor(load(lanes + kSamples), all(low1 ^ keys.key0[1]));            // round 2: c0
    multiply(c0, m0, high3[v], low3[v]);                                            // round 3, of the block
  }
  for (std::int64_t i = 0; i < job.dim; ++i) {
    const std::uint32_t c0 = high1 ^ (static_cast<std::uint32_t>(i) | stream << 24) ^ keys.key0[0];  // round 1
    const std::uint32_t high2 = high(kMultiplier0, c0), low2 = kMultiplier0 * c0;   // round 2, of the coordinate
    Words c[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      U hi, lo;
      multiply(bxor(third[v], all(high2 ^ keys.key1[1])), m1, hi, lo);              // round 3
      c[v].w[0] = bxor(hi, first[v]);
      c[v].w[1] = lo;
      c[v].w[2] = bxor(high3[v], all(low2 ^ keys.key1[2]));
      c[v].w[3] = low3[v];
    }
    for (int round = 3; round < 10; ++round) {
      const U key0 = all(keys.key0[round]), key1 = all(keys.key1[round]);
      for (int v = 0; v < kVectors; ++v) {
        U hi0, lo0, hi1, lo1;
        multiply(c[v].w[0], m0, hi0, lo0);
        multiply(c[v].w[2], m1, hi1, lo1);
        c[v].w[0] = bxor(hi1, c[v].w[1], key0);
        c[v].w[1] = lo1;
        c[v].w[2] = bxor(hi0, c[v].w[3], key1);
        c[v].w[3] = lo0;
      }
    }
    for (int v = 0; v < kVectors; ++v) use(i, v, c[v]);
  }
}

// -2 ln((a + 0.5) 2^-32), the argument rounded as in rng.py.
F minus_two_log_of_word(U a) { return minus_two_log(mul(add(from_unsigned(a), all(0.5f)), all(0x1p-32f))); }

F uniform(U word) { return mul(from_signed(right<8>(word)), all(0x1p-24f)); }

// The draws of the block of four steps that holds step t.
void make_draws(const Job& job, Tile& tile, std::int64_t t) {
  const std::int64_t stride = padded(job.dim) * kSamples;
  const auto at = [&](std::int64_t i, int v) { return tile.draws + i * kSamples + v * kLanes; };
  if (job.rule == Rule::kGaussian) {
    for_words(job, tile, kStreamNoise, t / 4, [&](std::int64_t i, int v, const Words& words) {
      for (int half = 0; half < 2; ++half) {
        F sine, cosine;
        const F r = sqrt(minus_two_log_of_word(words.w[2 * half]));
        sincos_turn(words.w[2 * half + 1], sine, cosine);
        store(at(i, v) + (2 * half) * stride, mul(r, cosine));
        store(at(i, v) + (2 * half + 1) * stride, mul(r, sine));
      }
    });
  } else {
    for_words(job, tile, kStreamBernoulli, t / 4, [&](std::int64_t i, int v, const Words& words) {
      for (int r = 0; r < 4; ++r) store(at(i, v) + r * stride, uniform(words.w[r]));
    });
  }
}

// 1 where the coefficient is drawn, given the transformer's output u.
template <Rule rule>
F bit(F u, F draw, float inverse_temperature) {
  if (rule == Rule::kGreedy) return one_if_less(all(0.5f), u);
  if (rule == Rule::kClip) return one_if_less(draw, u);  // draw < clip(u, 0, 1), since 0 <= draw < 1
  const F e = exponential(mul(sub(all(0.5f), u), all(inverse_temperature)));
  return one_if_less(fma(draw, e, draw), all(1.0f));     // draw < 1 / (1 + e)
}

template <Rule rule, bool every_step>
void step(const Job& job, Tile& tile, std::int64_t t) {
  const float* matrix = job.matrix;
  const float* draws = tile.draws + t % 4 * padded(job.dim) * kSamples;
  const F scale = all(rule == Rule::kGaussian ? job.scales[t * job.scale_stride] : 0.0f);
  for (std::int64_t block = 0; block < job.dim; block += kRows) {
    F sum[kRows][kVectors];
    const float* offset = matrix + job.dim * kRows;  // the column of -P b
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) sum[r][v] = all(-offset[r]);
    }
    for (std::int64_t j = 0; j < job.dim; ++j, matrix += kRows) {
      F w[kVectors];
      for (int v = 0; v < kVectors; ++v) w[v] = load(tile.w + j * kSamples + v * kLanes);
      for (int r = 0; r < kRows; ++r) {
        const F a = all(matrix[r]);
        for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(a, w[v], sum[r][v]);
      }
    }
    matrix += kRows;
    const int rows = static_cast<int>(job.dim - block < kRows ? job.dim - block : kRows);
    for (int r = 0; r < rows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        const std::int64_t at = (block + r) * kSamples + v * kLanes;
        const F u = add(load(tile.w + at), sum[r][v]);
        if (rule == Rule::kGaussian) {
          store(tile.next + at, fma(scale, load(draws + at), u));
        } else {
          store(tile.next + at, every_step ? bit<rule>(u, load(draws + at), job.inverse_temperature) : u);
        }
      }
    }
  }
  float* const old = tile.w;
  tile.w = tile.next;
  tile.next = old;
}

template <Rule rule, bool every_step>
void advance_by(const Job& job, Tile& tile, std::int64_t begin, std::int64_t end) {
  for (std::int64_t t = begin; t < end; ++t) {
    if (every_step && rule != Rule::kGreedy && (t % 4 == 0 || t == job.first_step)) make_draws(job, tile, t);
    step<rule, every_step>(job, tile, t);
  }
}

void advance(const Job& job, Tile& tile, std::int64_t begin, std::int64_t end) {
  if (job.rule == Rule::kGaussian) return advance_by<Rule::kGaussian, true>(job, tile, begin, end);
  if (!job.every_step) return advance_by<Rule::kGreedy, false>(job, tile, begin, end);  // no rule in the chain
  if (job.rule == Rule::kClip) return advance_by<Rule::kClip, true>(job, tile, begin, end);
  if (job.rule == Rule::kSigmoid) return advance_by<Rule::kSigmoid, true>(job, tile, begin, end);
  return advance_by<Rule::kGreedy, true>(job, tile, begin, end);
}

template <Rule rule>
void draw_answer_by(const Job& job, Tile& tile, const float* draws) {
  for (std::int64_t at = 0; at < job.dim * kSamples; at += kLanes) {
    store(tile.next + at, bit<rule>(load(tile.w + at), load(draws + at), job.inverse_temperature));
  }
}

void draw_answer(const Job& job, Tile& tile, std::int64_t t) {
  if (job.rule != Rule::kGreedy) make_draws(job, tile, t - 1);
  const float* draws = tile.draws + (t - 1) % 4 * padded(job.dim) * kSamples;
  if (job.rule == Rule::kClip) return draw_answer_by<Rule::kClip>(job, tile, draws);
  if (job.rule == Rule::kSigmoid) return draw_answer_by<Rule::kSigmoid>(job, tile, draws);
  draw_answer_by<Rule::kGreedy>(job, tile, draws);
}

void log(const std::uint32_t* a, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; i += kLanes) store(out + i, minus_two_log_of_word(load(a + i)));
}

void sincos(const std::uint32_t* b, std::size_t n, float* sine, float* cosine) {
  for (std::size_t i = 0; i < n; i += kLanes) {
    F s, c;
    sincos_turn(load(b + i), s, c);
    store(sine + i, s);
    store(cosine + i, c);
  }
}

void exp(const float* z, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; i += kLanes) store(out + i, exponential(load(z + i)));
}

float words_only(const Job& job, Tile& tile, std::int64_t repeats) {
  U all_words = all(std::uint32_t{0});
  for (std::int64_t q = 0; q < repeats; ++q) {
    for_words(job, tile, kStreamNoise, q, [&](std::int64_t, int, const Words& words) {
      all_words = bxor(all_words, bxor(words.w[0], words.w[1]), bxor(words.w[2], words.w[3]));
    });
  }
  float out[kLanes];
  store(out, from_bits(all_words));
  return out[0];  // so that no word can be left out
}

void draws_only(const Job& job, Tile& tile, std::int64_t repeats) {
  for (std::int64_t q = 0; q < repeats; ++q) make_draws(job, tile, 4 * q);
}

void steps_only(const Job& job, Tile& tile, std::int64_t repeats) {
  for (std::int64_t t = 0; t < repeats; ++t) step<Rule::kGreedy, false>(job, tile, t);
}

const Kernel kKernel = {kIsa,        kSamples, padded, pack, begin,      advance,    draw_answer,
                        log,         sincos,   exp,    words_only, draws_only, steps_only};

}  // namespace

#if defined(TTC_FAST_ISA_AVX512)
const Kernel* avx512_kernel() { return &kKernel; }
#elif defined(TTC_FAST_ISA_AVX2)
const Kernel* avx2_kernel() { return &kKernel; }
#elif defined(TTC_FAST_ISA_NEON)
const Kernel* neon_kernel() { return &kKernel; }
#else
const Kernel* portable_kernel() { return &kKernel; }
#endif

}  // namespace ttc_fast
