// Thoughts with a fixed number of ones k: their product with the matrix, and the k smallest of the keys.
//
// A thought of few ones needs only their columns. So u is made sample by sample, with the coordinates across the lanes,
// then transposed; the keys are compared with the samples across the lanes.
#pragma once

#include <cstring>

#include "tile.h"

namespace ttc_fast {
namespace {  // see simd.h

constexpr float kLeastWeight = 1e-10f, kMostWeight = 1e30f;  // ttc_fast/decoding/authors_rules.py
constexpr int kWord = 64;                                    // coordinates in a word
constexpr int kAcross = 64 / kLanes < 8 ? 64 / kLanes : 8;   // vectors of a row in registers
constexpr std::int64_t kLongestList = 8;                     // of smallest keys, in registers

std::int64_t row_size(std::int64_t dim) { return (dim + kLanes - 1) / kLanes * kLanes; }
std::int64_t columns_size(std::int64_t dim) { return (dim + 1) * row_size(dim); }

// Words of 32 coordinates that hold a thought: two for each 64.
std::int64_t subset_words(std::int64_t dim) { return (dim + kWord - 1) / kWord * 2; }

template <class Entry>
void pack_columns(std::int64_t dim, Entry entry, float* matrix) {
  for (std::int64_t j = 0; j <= dim; ++j) {
    for (std::int64_t i = 0; i < row_size(dim); ++i) *matrix++ = i < dim ? entry(i, j) : 0.0f;
  }
}

std::uint64_t word_of(const std::uint32_t* packed, std::int64_t word) {
  return packed[2 * word * kSamples] | std::uint64_t{packed[(2 * word + 1) * kSamples]} << 32;
}

// row = from + the columns that `those` says times w, the first one first; w of bits is 1 there. Over n vectors, or
// `left` where that is less.
template <bool bits, int n = kAcross>
void add_columns(const float* columns, std::int64_t size, std::uint64_t those, const float* w, std::int64_t left,
                 const float* from, float* row) {
  if constexpr (n > 1) {
    if (left < n) return add_columns<bits, n - 1>(columns, size, those, w, left, from, row);
  }
  F sum[n];
  for (int v = 0; v < n; ++v) sum[v] = load(from + v * kLanes);
  for (; those; those &= those - 1) {
    const int j = __builtin_ctzll(those);
    for (int v = 0; v < n; ++v) {
      const F x = load(columns + j * size + v * kLanes);
      sum[v] = bits ? add(sum[v], x) : fma(all(w[j * kSamples]), x, sum[v]);
    }
  }
  for (int v = 0; v < n; ++v) store(row + v * kLanes, sum[v]);
}

// u = (I - P S) w + P b of one sample. A bit adds its column or nothing, which is also what the multiply-add does with
// it: so a chain whose w_0 is no thought of bits can be resumed from one that is.
template <bool bits>
void output_of(const Job& job, const float* w, const std::uint32_t* packed, float* row) {
  const std::int64_t size = row_size(job.dim);
  const float* from = job.matrix + job.dim * size;
  for (std::int64_t first = 0; first < job.dim; first += kWord, from = row) {
    const std::int64_t left = job.dim - first;
    const std::uint64_t all_those = left < kWord ? (std::uint64_t{1} << left) - 1 : ~std::uint64_t{0};
    const std::uint64_t those = bits ? word_of(packed, first / kWord) : all_those;
    for (std::int64_t begin = 0; begin < size; begin += kAcross * kLanes) {
      add_columns<bits>(job.matrix + first * size + begin, size, those, bits ? nullptr : w + first * kSamples,
                        (size - begin) / kLanes, from + begin, row + begin);
    }
  }
}

// The smaller, the sooner the coordinate is taken; a normal number, so that it is never flushed to 0. Drawn: an
// exponential over the weight; otherwise the weights in descending order.
template <bool drawn>
F key_of(F u, const float* exponential) {
  const F weight = min(at_least(u, kLeastWeight), all(kMostWeight));
  if (!drawn) return from_bits(sub(all(0x7F7FFFFFu), bits(weight)));
  return max(div(load(exponential), weight), all(0x1p-126f));
}

// u to keys, in place; returns the k-th smallest of them. x passes along the list, leaving the smaller of two.
template <bool drawn, int k>
F keys_and_list(std::int64_t dim, const float* draws, float* keys) {
  F smallest[k];
  for (F& x : smallest) x = all(0x1p127f);
  for (std::int64_t at = 0; at < dim * kSamples; at += kSamples) {
    F x = key_of<drawn>(load(keys + at), draws + at);
    store(keys + at, x);
    for (int i = 0; i < k; ++i) {
      const F less = min(smallest[i], x);
      x = max(smallest[i], x);
      smallest[i] = less;
    }
  }
  return smallest[k - 1];
}

template <bool drawn, int k = kLongestList>
U limit_by_list(std::int64_t dim, std::int64_t ones, const float* draws, float* keys) {
  if constexpr (k > 1) {
    if (ones < k) return limit_by_list<drawn, k - 1>(dim, ones, draws, keys);
  }
  return add(bits(keys_and_list<drawn, k>(dim, draws, keys)), all(1u));
}

// Bit by bit from the highest, the largest number that fewer than k keys are below: the k-th smallest. A number that
// exactly k are below will do before that.
template <bool drawn>
U limit_by_search(std::int64_t dim, std::int64_t ones, const float* draws, float* keys) {
  for (std::int64_t at = 0; at < dim * kSamples; at += kSamples) {
    store(keys + at, key_of<drawn>(load(keys + at), draws + at));
  }
  const F wanted = all(static_cast<float>(ones));
  U kth = all(0u), found = all(0u), limit = all(0u);
  for (std::uint32_t bit = 0x40000000u; bit; bit >>= 1) {
    const U candidate = bor(kth, all(bit));
    F below = all(0.0f);
    for (std::int64_t at = 0; at < dim * kSamples; at += kSamples) {
      below = add(below, one_if_less(load(keys + at), from_bits(candidate)));
    }
    const U fewer = value_if_less(below, wanted, ~0u), more = value_if_less(wanted, below, ~0u);
    const U exactly = bxor(bor(bor(fewer, more), found), all(~0u));  // for the first time
    kth = bor(kth, band(fewer, all(bit)));
    limit = bor(limit, band(exactly, candidate));
    found = bor(found, exactly);
    if (mask_if_less(from_bits(band(found, all(0x3F800000u))), all(0.5f)) == 0) return limit;
  }
  return bor(limit, band(bxor(found, all(~0u)), add(kth, all(1u))));
}

// Of coordinates with the k-th smallest key the last ones lose their bits, until k are left.
void leave_first(const Job& job, const float* keys, std::uint32_t kth, std::uint32_t* packed) {
  std::int64_t count = 0;
  for (std::int64_t word = 0; word * kWord < job.dim; ++word) count += __builtin_popcountll(word_of(packed, word));
  for (std::int64_t i = job.dim; count > job.ones && i-- > 0;) {
    std::uint32_t key;
    std::memcpy(&key, keys + i * kSamples, sizeof key);
    if (key != kth) continue;
    packed[i / 32 * kSamples] &= ~(1u << (i % 32));
    --count;
  }
}

// u of the samples of vector v to tile.next, given their thoughts in tile.index (packed) or in tile.w.
void output_of_vector(const Job& job, Tile& tile, int v, bool packed) {
  static_assert(kLanes <= kVectors * kRows, "the rows of a vector's samples fit into tile.rows");
  const float* row[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) {
    const int sample = v * kLanes + lane;
    float* const u = tile.rows + lane * row_size(job.dim);
    row[lane] = u;
    if (packed) {
      output_of<true>(job, nullptr, tile.index + sample, u);
    } else {
      output_of<false>(job, tile.w + sample, nullptr, u);
    }
  }
  transpose_rows(row, job.dim, tile.next + v * kLanes);
}

// The next thoughts of the samples of vector v to tile.index, given u in tile.next.
template <bool drawn>
void choose_subset(const Job& job, Tile& tile, int v, const float* draws) {
  float* const keys = tile.next + v * kLanes;
  const U limit = job.ones <= kLongestList ? limit_by_list<drawn>(job.dim, job.ones, draws, keys)
                                           : limit_by_search<drawn>(job.dim, job.ones, draws, keys);
  for (std::int64_t word = 0; word < subset_words(job.dim); ++word) {
    U thought = all(0u);
    for (std::int64_t i = 32 * word; i < job.dim && i < 32 * word + 32; ++i) {
      thought = bor(thought, value_if_less(load(keys + i * kSamples), from_bits(limit), 1u << (i % 32)));
    }
    store(tile.index + word * kSamples + v * kLanes, thought);
  }
  std::uint32_t limits[kLanes];
  store(limits, limit);
  for (int lane = 0; lane < kLanes; ++lane) {
    leave_first(job, keys + lane, limits[lane] - 1, tile.index + v * kLanes + lane);
  }
}

}  // namespace
}  // namespace ttc_fast
