// One layer of attention over a tile of samples, compiled once for each instruction set:
//
//   u = A w + c + sum_h V_h^T act(K_h w + k_h)
//
// The keys of a head pass in chunks whose scores stay in the cache. Softmax keeps the largest score so far; where a
// chunk has a larger one, what was added before counts less. A sample's sums are made key by key, whatever the set.
#pragma once

#include "math.h"
#include "tile.h"

namespace ttc_fast {
namespace {  // see simd.h

constexpr float kLog2E = 1.4426950408889634f, kLowest = -0x1.fffffep127f;

// Scores are powers of two where an exponential is taken of them, negative ones for the sigmoid.
float score_factor(Activation activation) {
  return activation == Activation::kSoftmax ? kLog2E : activation == Activation::kSigmoid ? -kLog2E : 1.0f;
}

std::int64_t head_size(const Heads& heads, std::int64_t dim) {
  return padded(heads.keys) * (dim + 1) + padded(dim) * heads.keys;
}

std::int64_t attention_size(const Attention& attention, std::int64_t dim) {
  std::int64_t size = attention.matrix ? padded(dim) * (dim + 1) : padded(dim);
  for (const Heads& heads : attention.groups) size += heads.heads * head_size(heads, dim);
  return size;
}

// A and c by blocks of rows, or c alone; of each head K and k by blocks of rows, then V^T chunk by chunk, in each by
// blocks of rows.
void pack_attention(const Attention& attention, std::int64_t prompt, std::int64_t dim, float* matrix) {
  const float* const a = attention.matrix + (attention.matrix_shared ? 0 : prompt * dim * dim);
  const float* const c = attention.vector + (attention.vector_shared ? 0 : prompt * dim);
  const auto constant = [&](std::int64_t i) { return attention.vector && i < dim ? c[i] : 0.0f; };
  if (attention.matrix) {
    matrix = pack_rows(dim, dim, [&](auto i, auto j) { return j == dim ? constant(i) : a[i * dim + j]; }, matrix);
  } else {
    for (std::int64_t i = 0; i < padded(dim); ++i) *matrix++ = constant(i);
  }
  for (const Heads& heads : attention.groups) {
    const float factor = score_factor(heads.activation);
    const std::int64_t first = heads.shared ? 0 : prompt * heads.heads, m = heads.keys;
    for (std::int64_t h = first; h < first + heads.heads; ++h) {
      const float *const key = heads.key + h * m * dim, *const value = heads.value + h * m * dim;
      const float* const offset = heads.offset + h * m;
      const auto score = [&](auto i, auto j) {
        if (i >= m) return j == dim ? kLowest : 0.0f;  // never the largest one
        return factor * (j == dim ? offset[i] : key[i * dim + j]);
      };
      matrix = pack_rows(padded(m), dim, score, matrix);
      for (std::int64_t chunk = 0; chunk < m; chunk += kChunk) {
        for (std::int64_t block = 0; block < dim; block += kRows) {
          for (std::int64_t j = chunk; j < m && j < chunk + kChunk; ++j) {
            for (int r = 0; r < kRows; ++r) *matrix++ = block + r < dim ? value[j * dim + block + r] : 0.0f;
          }
        }
      }
    }
  }
}

// A score whose activation takes few registers gets it at once; the others lie in the cache first.
constexpr bool is_simple(Activation activation) {
  return activation == Activation::kRelu || activation == Activation::kIdentity;
}

// What a key's value is multiplied by; softmax has its own way.
template <Activation activation>
F activate(F score) {
  if (activation == Activation::kSigmoid) return div(all(1.0f), add(all(1.0f), exp2(score)));
  if (activation == Activation::kRelu) return max(all(0.0f), score);  // of NaN: NaN
  if (activation == Activation::kGelu) return gelu(score);
  return score;
}

template <Activation activation>
void activate_scores(std::int64_t count, Tile& tile) {
  for (std::int64_t at = 0; at < count * kSamples; at += kLanes) {
    store(tile.scores + at, activate<activation>(load(tile.scores + at)));
  }
}

// The largest scores of a head so far, the sum of the powers below them, and what such sums, made before the last
// chunk, are to be multiplied by.
struct Softmax { F most[kVectors], sum[kVectors], keep[kVectors]; };

// Scores of the keys begin, ..., begin + count - 1 to tile.scores, or simple activations of them; for softmax the largest
// goes to `most`. The offset is added last: a sum that began with it would wait for it, 20 cycles a block with AVX-512.
template <Activation activation>
void make_scores(const float* keys, std::int64_t dim, std::int64_t begin, std::int64_t count, Tile& tile,
                 F (&most)[kVectors]) {
  for (std::int64_t block = 0; block < count; block += kRows) {
    const float *const rows = keys + (begin + block) * (dim + 1), *const offset = rows + dim * kRows;
    F sum[kRows][kVectors] = {};
    add_products(rows, dim, tile.w, sum);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        F score = add(sum[r][v], all(offset[r]));
        if (activation == Activation::kSoftmax) most[v] = max(most[v], score);
        if (is_simple(activation)) score = activate<activation>(score);
        store(tile.scores + (block + r) * kSamples + v * kLanes, score);
      }
    }
  }
}

// Scores of so many keys to powers of two, added to sum.
template <int keys>
__attribute__((always_inline)) inline void make_powers(const F (&largest)[kVectors], float* score, F (&sum)[kVectors]) {
  constexpr int kCount = keys * kVectors;
  F power[kCount];
  for (int i = 0; i < kCount; ++i) {
    power[i] = max(all(-126.0f), sub(load(score + i * kLanes), largest[i % kVectors]));  // of NaN: NaN
  }
  exp2_within(power);
  for (int i = 0; i < kCount; ++i) {
    sum[i % kVectors] = add(sum[i % kVectors], power[i]);
    store(score + i * kLanes, power[i]);
  }
}

// Scores to powers of two, 1 for the largest.
void make_powers(std::int64_t count, const F (&most)[kVectors], Tile& tile, Softmax& softmax) {
  F sum[kVectors], largest[kVectors];  // in registers: what is stored could overlap the arguments
  for (int v = 0; v < kVectors; ++v) {
    largest[v] = most[v];
    softmax.keep[v] = exp2_within(max(all(-126.0f), sub(softmax.most[v], largest[v])));
    softmax.most[v] = largest[v];
    sum[v] = mul(softmax.sum[v], softmax.keep[v]);
  }
  std::int64_t j = 0;
  for (; j + 2 <= count; j += 2) make_powers<2>(largest, tile.scores + j * kSamples, sum);
  if (j < count) make_powers<1>(largest, tile.scores + j * kSamples, sum);
  for (int v = 0; v < kVectors; ++v) softmax.sum[v] = sum[v];
}

// tile.next += V^T activations of a chunk; of softmax tile.rows holds the sum, and the last chunk divides it.
template <bool is_softmax>
void add_values(const float* values, std::int64_t dim, std::int64_t count, bool first, bool last, Tile& tile,
                const Softmax& softmax) {
  F inverse[kVectors];
  for (int v = 0; is_softmax && v < kVectors; ++v) inverse[v] = div(all(1.0f), softmax.sum[v]);
  for (std::int64_t block = 0; block < dim; block += kRows) {
    float *const next = tile.next + block * kSamples, *const rows = tile.rows + block * kSamples;
    F sum[kRows][kVectors];
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        const std::int64_t at = r * kSamples + v * kLanes;
        sum[r][v] = !is_softmax ? load(next + at) : first ? all(0.0f) : mul(load(rows + at), softmax.keep[v]);
      }
    }
    add_products(values + block * count, count, tile.scores, sum);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        const std::int64_t at = r * kSamples + v * kLanes;
        if (is_softmax && !last) {
          store(rows + at, sum[r][v]);
        } else {
          store(next + at, is_softmax ? fma(sum[r][v], inverse[v], load(next + at)) : sum[r][v]);
        }
      }
    }
  }
}

template <Activation activation>
void add_head(const float* keys, std::int64_t count, std::int64_t dim, Tile& tile) {
  constexpr bool is_softmax = activation == Activation::kSoftmax;
  const float* values = keys + padded(count) * (dim + 1);
  Softmax softmax;
  for (int v = 0; v < kVectors; ++v) {
    softmax.most[v] = all(kLowest);  // a key may have the score -infinity, which is below it
    softmax.sum[v] = all(0.0f);
  }
  for (std::int64_t begin = 0; begin < count; begin += kChunk) {
    const std::int64_t size = count - begin < kChunk ? count - begin : kChunk;
    F most[kVectors];
    for (int v = 0; v < kVectors; ++v) most[v] = softmax.most[v];
    make_scores<activation>(keys, dim, begin, size, tile, most);
    if (is_softmax) {
      make_powers(size, most, tile, softmax);
    } else if (!is_simple(activation)) {
      activate_scores<activation>(size, tile);
    }
    add_values<is_softmax>(values, dim, size, begin == 0, begin + size == count, tile, softmax);
    values += padded(dim) * size;
  }
}

void add_head(Activation activation, const float* keys, std::int64_t count, std::int64_t dim, Tile& tile) {
  if (activation == Activation::kSoftmax) return add_head<Activation::kSoftmax>(keys, count, dim, tile);
  if (activation == Activation::kSigmoid) return add_head<Activation::kSigmoid>(keys, count, dim, tile);
  if (activation == Activation::kRelu) return add_head<Activation::kRelu>(keys, count, dim, tile);
  if (activation == Activation::kGelu) return add_head<Activation::kGelu>(keys, count, dim, tile);
  add_head<Activation::kIdentity>(keys, count, dim, tile);
}

// tile.next = u(tile.w).
void attend(const Job& job, Tile& tile) {
  const float* matrix = job.matrix;
  for (std::int64_t block = 0; block < job.dim; block += kRows) {
    F sum[kRows][kVectors];
    if (job.attention->matrix) multiply_rows<Product::kSequential>(matrix, job.dim, block, 0, tile.w, nullptr, sum);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) {
        const std::int64_t at = (block + r) * kSamples + v * kLanes;
        store(tile.next + at, job.attention->matrix ? sum[r][v] : add(load(tile.w + at), all(matrix[block + r])));
      }
    }
  }
  matrix += job.attention->matrix ? padded(job.dim) * (job.dim + 1) : padded(job.dim);
  for (const Heads& heads : job.attention->groups) {
    for (std::int64_t h = 0; h < heads.heads; ++h, matrix += head_size(heads, job.dim)) {
      add_head(heads.activation, matrix, heads.keys, job.dim, tile);
    }
  }
}

}  // namespace
}  // namespace ttc_fast
