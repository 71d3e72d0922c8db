// The fused decode of one tile of samples, compiled once for each instruction set.
//
// Samples lie across the lanes. A tile keeps its thoughts, and the draws of four steps, in the core's
// cache; nothing but the thoughts of the asked steps is written to memory.
#include "math.h"
#include "philox.h"
#include "sums.h"
#include "tile.h"

namespace ttc_fast {
namespace {

constexpr std::uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kStreamNoise = 0, kStreamBernoulli = 1;  // ttc_fast/numerics/rng.py, Stream

std::int64_t matrix_size(std::int64_t dim, bool binary) {
  return padded(dim) * (dim + 1 + (kTables && binary ? groups(dim) * 16 : 0));
}

// I - P S and P b. For binary thoughts there follow, block by block and group by group, the 16 sums of each
// row over the group.
void pack(const float* state, std::int64_t dim, bool binary, float* matrix) {
  const auto entry = [&](std::int64_t i, std::int64_t j) {
    const float value = i < dim ? state[i * (dim + 1) + j] : 0.0f;
    return j == dim ? -value : i == j && i < dim ? 1.0f + value : value;
  };
  matrix = pack_rows(dim, dim, entry, matrix);
  if (!kTables || !binary) return;
  for (std::int64_t block = 0; block < padded(dim); block += kRows) {
    for (std::int64_t j = 0; j < dim; j += kGroup) {
      for (int r = 0; r < kRows; ++r) {
        for (int subset = 0; subset < 16; ++subset) {
          float sum = 0.0f;  // in the order of Product::kGrouped
          for (int k = 0; k < kGroup && j + k < dim; ++k) sum += subset >> k & 1 ? entry(block + r, j + k) : 0.0f;
          *matrix++ = sum;
        }
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
        c[k][0] = bxor(hi, first[start + k], all(0u));
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

// The draws of the block of four steps that holds step t: normals, or the words of the uniforms. First the
// words of a few coordinates, then their normals: both loops keep to the registers, the words in the cache.
void make_draws(const Job& job, Tile& tile, std::int64_t t) {
  constexpr std::int64_t kCoordinates = 8;
  const bool gaussian = job.rule == Rule::kGaussian || job.rule == Rule::kNormals;
  const std::int64_t stride = padded(job.dim) * kSamples;
  for (std::int64_t begin = 0; begin < job.dim; begin += kCoordinates) {
    const std::int64_t end = begin + kCoordinates < job.dim ? begin + kCoordinates : job.dim;
    for_words(job, tile, gaussian ? kStreamNoise : kStreamBernoulli, t / 4, begin, end,
              [&](std::int64_t i, int v, const Words& words) {
                float* const out = tile.draws + i * kSamples + v * kLanes;
                for (int r = 0; r < 4; ++r) store(out + r * stride, from_bits(words.w[r]));
              });
    if (!gaussian) continue;
    for (std::int64_t at = begin * kSamples; at < end * kSamples; at += kLanes) {
      for (float* pair : {tile.draws + at, tile.draws + at + 2 * stride}) {
        F sine, cosine;
        const F radius = sqrt(minus_two_log_of_word(bits(load(pair))));
        sincos_turn(bits(load(pair + stride)), sine, cosine);
        store(pair, mul(radius, cosine));
        store(pair + stride, mul(radius, sine));
      }
    }
  }
}

// A coefficient is drawn as 1 iff less < than, given the transformer's output u and the uniform's word.
struct Comparison { F less, than; };

template <Rule rule>
Comparison compare(F u, F word, float slope) {
  if (rule == Rule::kThreshold) return {all(0.5f), u};
  const F uniform = from_signed(right<8>(bits(word)));                // times 2^24, exactly
  if (rule == Rule::kClip) return {uniform, mul(u, all(0x1p24f))};    // < clip(u, 0, 1), being in [0, 1)
  const F e = exp2(fma(u, all(-slope), all(0.5f * slope)));
  return {fma(uniform, e, uniform), all(0x1p24f)};                    // uniform < 1 / (1 + e)
}

template <Rule rule>
F bit(F u, F word, float slope) {
  const Comparison c = compare<rule>(u, word, slope);
  return one_if_less(c.less, c.than);
}

// tile.next = u(w), plus scale times the draws if the rule injects noise.
template <Product product, bool noisy>
void transform(const Job& job, Tile& tile, const float* draws, float scale) {
  for (std::int64_t block = 0; block < job.dim; block += kRows) {
    F sum[kRows][kVectors];
    multiply_rows<product>(job.matrix, job.dim, block, 0, tile.w, tile.index, sum);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        const std::int64_t at = (block + r) * kSamples + v * kLanes;
        store(tile.next + at, noisy ? fma(all(scale), load(draws + at), sum[r][v]) : sum[r][v]);
      }
    }
  }
}

void swap(Tile& tile) {
  float* const old = tile.w;
  tile.w = tile.next;
  tile.next = old;
}

const float* draws_of(const Job& job, const Tile& tile, std::int64_t t) {
  return tile.draws + t % 4 * padded(job.dim) * kSamples;
}

void advance_gaussian(const Job& job, Tile& tile, std::int64_t begin, std::int64_t end) {
  for (std::int64_t t = begin; t < end; ++t) {
    if (t % 4 == 0 || t == job.first_step) make_draws(job, tile, t);
    transform<Product::kSequential, true>(job, tile, draws_of(job, tile, t), job.scales[t * job.scale_stride]);
    swap(tile);
  }
}

void advance_noise_free(const Job& job, Tile& tile, std::int64_t begin, std::int64_t end) {
  for (std::int64_t t = begin; t < end; ++t) {
    transform<Product::kSequential, false>(job, tile, nullptr, 0.0f);
    swap(tile);
  }
}

// Thoughts as numbers 0 and 1 in `out`, drawn from u in `u`.
template <Rule rule>
void draw_bits(const Job& job, const float* u, const float* words, float* out) {
  for (std::int64_t at = 0; at < job.dim * kSamples; at += kLanes) {
    store(out + at, bit<rule>(load(u + at), load(words + at), job.slope));
  }
}

// Thoughts as the numbers of the tables' entries, four coordinates each. False if one is neither 0 nor 1.
bool to_index(const Job& job, Tile& tile) {
  U mismatch = all(0u);  // bits in which a thought differs from the 0 or 1 that it is taken for
  for (std::int64_t g = 0; g < groups(job.dim); ++g) {
    for (int v = 0; v < kVectors; ++v) {
      U index = all(0u);
      for (std::int64_t i = g * kGroup; i < (g + 1) * kGroup && i < job.dim; ++i) {
        const F w = load(tile.w + i * kSamples + v * kLanes);
        mismatch = bor(mismatch, bxor(bits(w), bits(one_if_less(all(0.5f), w))));
        index = bor(index, value_if_less(all(0.5f), w, 1u << (i % kGroup)));
      }
      store(tile.index + g * kSamples + v * kLanes, index);
    }
  }
  std::uint32_t lanes[kLanes], any = 0;
  store(lanes, mismatch);
  for (const std::uint32_t lane : lanes) any |= lane;
  return any == 0;
}

void from_index(const Job& job, Tile& tile) {
  for (std::int64_t i = 0; i < job.dim; ++i) {
    for (int s = 0; s < kSamples; ++s) {
      tile.w[i * kSamples + s] = static_cast<float>(tile.index[i / kGroup * kSamples + s] >> (i % kGroup) & 1u);
    }
  }
}

template <Rule rule>
void draw_index(const Job& job, Tile& tile, const float* words) {
  static_assert(kRows % kGroup == 0, "a group that is not full ends within the padded rows");
  for (std::int64_t g = 0; g < groups(job.dim); ++g) {
    for (int v = 0; v < kVectors; ++v) {
      U index = all(0u);
      for (int k = 0; k < kGroup; ++k) {
        const std::int64_t at = (g * kGroup + k) * kSamples + v * kLanes;
        const Comparison c = compare<rule>(load(tile.next + at), load(words + at), job.slope);
        index = add(index, value_if_less(c.less, c.than, 1u << k));
      }
      store(tile.index + g * kSamples + v * kLanes, index);
    }
  }
}

template <Rule rule>
void advance_binary(const Job& job, Tile& tile, std::int64_t begin, std::int64_t end) {
  bool indexed = kTables && to_index(job, tile);
  for (std::int64_t t = begin; t < end; ++t) {
    if (rule != Rule::kThreshold && (t % 4 == 0 || t == job.first_step)) make_draws(job, tile, t);
    if (indexed) {
      transform<Product::kTables, false>(job, tile, nullptr, 0.0f);
    } else {
      transform<Product::kGrouped, false>(job, tile, nullptr, 0.0f);
    }
    if (kTables) {
      draw_index<rule>(job, tile, draws_of(job, tile, t));
    } else {
      draw_bits<rule>(job, tile.next, draws_of(job, tile, t), tile.w);
    }
    indexed = kTables;
  }
  if (indexed && begin < end) from_index(job, tile);
}

void advance(const Job& job, Tile& tile, std::int64_t begin, std::int64_t end) {
  if (job.rule == Rule::kNormals) return;
  if (job.rule == Rule::kGaussian) return advance_gaussian(job, tile, begin, end);
  if (!job.every_step) return advance_noise_free(job, tile, begin, end);
  if (job.rule == Rule::kClip) return advance_binary<Rule::kClip>(job, tile, begin, end);
  if (job.rule == Rule::kSigmoid) return advance_binary<Rule::kSigmoid>(job, tile, begin, end);
  advance_binary<Rule::kThreshold>(job, tile, begin, end);
}

void draw_answer(const Job& job, Tile& tile, std::int64_t t) {
  if (job.rule != Rule::kThreshold) make_draws(job, tile, t - 1);
  const float* words = draws_of(job, tile, t - 1);
  if (job.rule == Rule::kNormals) {
    for (std::int64_t at = 0; at < job.dim * kSamples; at += kLanes) store(tile.next + at, load(words + at));
    return;
  }
  if (job.rule == Rule::kClip) return draw_bits<Rule::kClip>(job, tile.w, words, tile.next);
  if (job.rule == Rule::kSigmoid) return draw_bits<Rule::kSigmoid>(job, tile.w, words, tile.next);
  draw_bits<Rule::kThreshold>(job, tile.w, words, tile.next);
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

void power_of_two(const float* t, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; i += kLanes) store(out + i, exp2(load(t + i)));
}

float words_only(const Job& job, Tile& tile, std::int64_t repeats) {
  U all_words = all(std::uint32_t{0});
  for (std::int64_t q = 0; q < repeats; ++q) {
    for_words(job, tile, kStreamNoise, q, 0, job.dim, [&](std::int64_t, int, const Words& words) {
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
  constexpr Product kBinary = kTables ? Product::kTables : Product::kGrouped;
  for (std::int64_t t = 0; t < repeats; ++t) {
    if (job.rule == Rule::kGaussian) {
      transform<Product::kSequential, true>(job, tile, tile.draws, 0.0f);
      swap(tile);
    } else {
      transform<kBinary, false>(job, tile, nullptr, 0.0f);
    }
  }
}

void links_only(const Job& job, Tile& tile, std::int64_t repeats) {
  for (std::int64_t t = 0; t < repeats; ++t) {
    if (kTables) {
      draw_index<Rule::kSigmoid>(job, tile, tile.draws);
    } else {
      draw_bits<Rule::kSigmoid>(job, tile.next, tile.draws, tile.w);
    }
  }
}

const Kernel kKernel = {
    kIsa, kSamples, padded, transpose, transpose_back, matrix_size, pack, begin, advance, draw_answer, residual_rows,
    gram_size, pack_examples, squared_residuals, squared_distances, pack_bits, weighted_sum, weigh, log, sincos,
    power_of_two, words_only, draws_only, steps_only, links_only};

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
