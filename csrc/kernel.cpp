// The fused decode of one tile of samples, compiled once for each instruction set.
//
// Samples lie across the lanes. A tile keeps its thoughts, and the draws of four steps, in the core's
// cache; nothing but the thoughts of the asked steps is written to memory.
#if !defined(TTC_FAST_ISA_NEON) || defined(__aarch64__)  // a build for two machines compiles it for the other one, too
#include "attention.h"
#include "math.h"
#include "subset.h"
#include "sums.h"
#include "tables.h"
#include "tile.h"
#include "words.h"

namespace ttc_fast {
namespace {

std::int64_t matrix_size(std::int64_t dim, Layout layout) {
  if (layout == Layout::kColumns) return columns_size(dim);
  return rows_size(dim) + (layout == Layout::kTables ? tables_size(dim) : 0);
}

// I - P S and P b, by columns or by blocks of rows, which tables may follow.
void pack(const float* state, std::int64_t dim, Layout layout, float* matrix) {
  const auto entry = [&](std::int64_t i, std::int64_t j) {
    const float value = i < dim ? state[i * (dim + 1) + j] : 0.0f;
    return j == dim ? -value : i == j && i < dim ? 1.0f + value : value;
  };
  if (layout == Layout::kColumns) return pack_columns(dim, entry, matrix);
  pack_rows(dim, dim, entry, matrix);
  if (layout == Layout::kTables) pack_tables(dim, entry, matrix + rows_size(dim));
}

// The draws of the block of four steps that holds step t: normals, exponentials twice as large, or the words of the
// uniforms. First the words of a few coordinates, then their normals: both loops keep to the registers, the words in
// the cache.
void make_draws(const Job& job, Tile& tile, std::int64_t t) {
  constexpr std::int64_t kCoordinates = 8;
  const bool subset = job.rule == Rule::kSubset, uniform = samples_bits(job.rule);
  const std::int64_t stride = padded(job.dim) * kSamples;
  const std::uint32_t stream = subset ? kStreamSubset : uniform ? kStreamBernoulli : kStreamNoise;
  for (std::int64_t begin = 0; begin < job.dim; begin += kCoordinates) {
    const std::int64_t end = begin + kCoordinates < job.dim ? begin + kCoordinates : job.dim;
    for_words(job, tile, stream, t / 4, begin, end,
              [&](std::int64_t i, int v, const Words& words) {
                float* const out = tile.draws + i * kSamples + v * kLanes;
                for (int r = 0; r < 4; ++r) store(out + r * stride, from_bits(words.w[r]));
              });
    if (uniform) continue;
    for (std::int64_t at = begin * kSamples; at < end * kSamples; at += kLanes) {
      for (int r = 0; subset && r < 4; ++r) {
        float* const word = tile.draws + at + r * stride;
        store(word, minus_two_log_of_word(bits(load(word))));
      }
      if (subset) continue;
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

// What is added to u: draws times the scale, times the thought, or times the negative inner product of both.
enum class Noise { kNone, kPlain, kElementwise, kRankOne };

template <Noise noise>
void noise_factors(const Job& job, const Tile& tile, const float* draws, float scale, F (&factor)[kVectors]) {
  for (F& f : factor) f = all(noise == Noise::kRankOne ? 0.0f : scale);
  if constexpr (noise == Noise::kRankOne) {
    for (std::int64_t at = 0; at < job.dim * kSamples; at += kSamples) {
      for (int v = 0; v < kVectors; ++v) {
        factor[v] = fma(load(draws + at + v * kLanes), load(tile.w + at + v * kLanes), factor[v]);
      }
    }
    for (F& f : factor) f = mul(f, all(-scale));
  }
}

template <Noise noise>
F add_noise(F u, F factor, const float* w, const float* draws) {
  if (noise == Noise::kNone) return u;
  return fma(noise == Noise::kElementwise ? mul(factor, load(w)) : factor, load(draws), u);
}

// tile.next = u(w), plus noise.
template <Product product, Noise noise>
void transform(const Job& job, Tile& tile, const float* draws, float scale) {
  F factor[kVectors];
  noise_factors<noise>(job, tile, draws, scale, factor);
  for (std::int64_t block = 0; block < job.dim; block += kRows) {
    F sum[kRows][kVectors];
    multiply_rows<product>(job.matrix, job.dim, block, 0, tile.w, tile.index, sum);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        const std::int64_t at = (block + r) * kSamples + v * kLanes;
        store(tile.next + at, add_noise<noise>(sum[r][v], factor[v], tile.w + at, draws + at));
      }
    }
  }
}

// The same for thoughts of bits, by tables.
template <bool lookup = kLookup>
void transform_bits(const Job& job, Tile& tile) {
  if constexpr (lookup) {
    transform<Product::kLookup, Noise::kNone>(job, tile, nullptr, 0.0f);
  } else {
    add_sums(job, tile);
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

template <Noise noise>
void advance_continuous(const Job& job, Tile& tile, std::int64_t begin, std::int64_t end) {
  for (std::int64_t t = begin; t < end; ++t) {
    const bool noisy = noise != Noise::kNone;
    if (noisy && (t % 4 == 0 || t == job.first_step)) make_draws(job, tile, t);
    const float scale = noisy ? job.scales[t * job.scale_stride] : 0.0f;
    transform<Product::kSequential, noise>(job, tile, draws_of(job, tile, t), scale);
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
  bool indexed = pack_thoughts<kGroup>(job.dim, groups(job.dim), tile.w, tile.index);
  for (std::int64_t t = begin; t < end; ++t) {
    if (rule != Rule::kThreshold && (t % 4 == 0 || t == job.first_step)) make_draws(job, tile, t);
    if (indexed) {
      transform_bits(job, tile);
    } else {
      transform<Product::kGrouped, Noise::kNone>(job, tile, nullptr, 0.0f);
    }
    draw_index<rule>(job, tile, draws_of(job, tile, t));
    indexed = true;
  }
  if (begin < end) unpack_thoughts<kGroup>(job.dim, tile.index, tile.w);
}

template <bool drawn>
void advance_subset(const Job& job, Tile& tile, std::int64_t begin, std::int64_t end) {
  bool packed = pack_thoughts<32>(job.dim, subset_words(job.dim), tile.w, tile.index);
  for (std::int64_t t = begin; t < end; ++t, packed = true) {
    if (drawn && (t % 4 == 0 || t == job.first_step)) make_draws(job, tile, t);
    for (int v = 0; v < kVectors; ++v) {
      output_of_vector(job, tile, v, packed);
      choose_subset<drawn>(job, tile, v, draws_of(job, tile, t) + v * kLanes);
    }
  }
  if (begin < end) unpack_thoughts<32>(job.dim, tile.index, tile.w);
}

// The next thoughts in tile.w, from u in tile.next.
template <Noise noise>
void take_noisy(const Job& job, Tile& tile, const float* draws, float scale) {
  F factor[kVectors];
  noise_factors<noise>(job, tile, draws, scale, factor);
  for (std::int64_t at = 0; at < job.dim * kSamples; at += kSamples) {
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t i = at + v * kLanes;
      store(tile.next + i, add_noise<noise>(load(tile.next + i), factor[v], tile.w + i, draws + i));
    }
  }
  swap(tile);
}

template <bool drawn>
void take_subset(const Job& job, Tile& tile, const float* draws) {
  for (int v = 0; v < kVectors; ++v) choose_subset<drawn>(job, tile, v, draws + v * kLanes);
  unpack_thoughts<32>(job.dim, tile.index, tile.w);
}

void advance_attention(const Job& job, Tile& tile, std::int64_t begin, std::int64_t end) {
  const bool bits = samples_bits(job.rule) && job.every_step;
  const bool drawn = has_scales(job.rule) || job.rule == Rule::kSubset || (bits && job.rule != Rule::kThreshold);
  for (std::int64_t t = begin; t < end; ++t) {
    if (drawn && (t % 4 == 0 || t == job.first_step)) make_draws(job, tile, t);
    const float* const draws = draws_of(job, tile, t);
    const float scale = has_scales(job.rule) ? job.scales[t * job.scale_stride] : 0.0f;
    attend(job, tile);
    if (job.rule == Rule::kGaussian) {
      take_noisy<Noise::kPlain>(job, tile, draws, scale);
    } else if (job.rule == Rule::kRankOne) {
      take_noisy<Noise::kRankOne>(job, tile, draws, scale);
    } else if (job.rule == Rule::kElementwise) {
      take_noisy<Noise::kElementwise>(job, tile, draws, scale);
    } else if (job.rule == Rule::kSubset) {
      take_subset<true>(job, tile, draws);
    } else if (job.rule == Rule::kLargest) {
      take_subset<false>(job, tile, draws);
    } else if (!bits) {
      swap(tile);
    } else if (job.rule == Rule::kClip) {
      draw_bits<Rule::kClip>(job, tile.next, draws, tile.w);
    } else if (job.rule == Rule::kSigmoid) {
      draw_bits<Rule::kSigmoid>(job, tile.next, draws, tile.w);
    } else {
      draw_bits<Rule::kThreshold>(job, tile.next, draws, tile.w);
    }
  }
}

void advance(const Job& job, Tile& tile, std::int64_t begin, std::int64_t end) {
  if (job.rule == Rule::kNormals) return;
  if (job.attention) return advance_attention(job, tile, begin, end);
  if (job.rule == Rule::kGaussian) return advance_continuous<Noise::kPlain>(job, tile, begin, end);
  if (job.rule == Rule::kRankOne) return advance_continuous<Noise::kRankOne>(job, tile, begin, end);
  if (job.rule == Rule::kElementwise) return advance_continuous<Noise::kElementwise>(job, tile, begin, end);
  if (job.rule == Rule::kSubset) return advance_subset<true>(job, tile, begin, end);
  if (job.rule == Rule::kLargest) return advance_subset<false>(job, tile, begin, end);
  if (!job.every_step) return advance_continuous<Noise::kNone>(job, tile, begin, end);
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

void gelu_of(const float* x, std::size_t n, float* out) {
  for (std::size_t i = 0; i < n; i += kLanes) store(out + i, gelu(load(x + i)));
}

const Kernel kKernel = {
    kIsa, kSamples, padded, transpose, transpose_back, matrix_size, pack, attention_size, pack_attention, begin,
    advance, draw_answer, residual_rows, gram_size, pack_examples, squared_residuals, squared_distances, pack_bits,
    weighted_sum, weigh, middle_sums, log, sincos, power_of_two, gelu_of};

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
#endif
