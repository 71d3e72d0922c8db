// Sums over the candidates of a tile, compiled once for each instruction set: losses and errors, weighted sums, bits.
#pragma once

#include <cstring>

#include "tile.h"

namespace ttc_fast {
namespace {  // see simd.h

// Where there are more examples than coefficients, dim rows are enough for the same sum of squares:
// |X w - y|^2 = |R (w, -1)|^2 with the triangular R^T R = G, the Gram matrix of [X, y]. The last row is a constant.
std::int64_t residual_rows(std::int64_t examples, std::int64_t dim) { return examples < dim ? examples : dim; }

constexpr std::int64_t kGramRows = 4, kGramColumns = 8;  // of a block that stays in registers

std::int64_t gram_columns(std::int64_t dim) { return (dim + kGramColumns) / kGramColumns * kGramColumns; }

// In float64, where the squares that a Gram matrix takes cost no more than float32 costs the products.
std::int64_t gram_size(std::int64_t examples, std::int64_t dim) {
  return examples > dim ? gram_columns(dim) * (gram_columns(dim) + examples) + dim + 1 : 0;
}

// The upper triangle of G and more, [columns][columns].
void multiply_gram(const double* example, std::int64_t examples, std::int64_t columns, double* gram) {
  for (std::int64_t r = 0; r < columns; r += kGramRows) {
    for (std::int64_t c = r / kGramColumns * kGramColumns; c < columns; c += kGramColumns) {
      double sum[kGramRows][kGramColumns] = {};
      for (std::int64_t i = 0; i < examples; ++i) {
        const double *left = example + i * columns + r, *right = example + i * columns + c;
        for (int a = 0; a < kGramRows; ++a) {
          for (int b = 0; b < kGramColumns; ++b) sum[a][b] += left[a] * right[b];
        }
      }
      for (int a = 0; a < kGramRows; ++a) {
        for (int b = 0; b < kGramColumns; ++b) gram[(r + a) * columns + c + b] = sum[a][b];
      }
    }
  }
}

// R in place of G. Where a pivot is not above G's rounding, the column depends on those before it, and its row is 0.
void factor_gram(double* gram, std::int64_t columns, std::int64_t dim, double rounding, double* diagonal) {
  for (std::int64_t k = 0; k <= dim; ++k) diagonal[k] = gram[k * columns + k];
  for (std::int64_t k = 0; k <= dim; ++k) {
    double* const row = gram + k * columns;
    const double floor = rounding * diagonal[k];
    const bool dependent = row[k] <= floor && floor < __builtin_inf();
    const double root = __builtin_sqrt(row[k]);
    for (std::int64_t c = k; c <= dim; ++c) row[c] = dependent ? 0.0 : row[c] / root;
    for (std::int64_t r = k + 1; r <= dim; ++r) {
      for (std::int64_t c = r; c <= dim; ++c) gram[r * columns + c] -= row[r] * row[c];
    }
  }
}

// R [columns][columns] at the beginning of the scratch.
void factor_examples(const float* x, const float* y, std::int64_t examples, std::int64_t dim, double* scratch) {
  const std::int64_t columns = gram_columns(dim);
  double *const gram = scratch, *const example = gram + columns * columns;
  double* const diagonal = example + columns * examples;
  for (std::int64_t i = 0; i < examples; ++i) {
    for (std::int64_t c = 0; c < columns; ++c) {
      example[i * columns + c] = c < dim ? x[i * dim + c] : c == dim ? y[i] : 0.0f;
    }
  }
  multiply_gram(example, examples, columns, gram);
  factor_gram(gram, columns, dim, static_cast<double>(examples + dim) * 0x1p-52, diagonal);
}

void pack_examples(const float* x, const float* y, std::int64_t examples, std::int64_t dim, double* scratch,
                   float* matrix) {
  const bool factored = examples > dim;
  const std::int64_t rows = residual_rows(examples, dim), columns = gram_columns(dim);
  if (factored) factor_examples(x, y, examples, dim, scratch);
  const auto value = [&](std::int64_t i, std::int64_t j) {
    if (factored) return j < i ? 0.0f : static_cast<float>(scratch[i * columns + j]);
    return j < dim ? x[i * dim + j] : y[i];
  };
  matrix = pack_rows(rows, dim, [&](std::int64_t i, std::int64_t j) {
    return j == dim ? -value(i, j) : value(i, j);
  }, matrix);
  const double constant = factored ? scratch[dim * columns + dim] : 0.0;
  *matrix = static_cast<float>(constant * constant);
}

void squared_residuals(const float* matrix, std::int64_t examples, std::int64_t dim, const float* w, float* out) {
  const std::int64_t rows = residual_rows(examples, dim);
  F total[kVectors];
  for (F& sum : total) sum = all(matrix[padded(rows) * (dim + 1)]);
  for (std::int64_t block = 0; block < rows; block += kRows) {
    F residual[kRows][kVectors];
    multiply_rows<Product::kSequential>(matrix, dim, block, examples > dim ? block : 0, w, nullptr, residual);
    for (int r = 0; r < kRows; ++r) {
      for (int v = 0; v < kVectors; ++v) total[v] = fma(residual[r][v], residual[r][v], total[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) store(out + v * kLanes, total[v]);
}

void squared_distances(const float* target, const float* weight, std::int64_t dim, const float* w, float* out) {
  F total[kVectors];
  for (F& sum : total) sum = all(0.0f);
  for (std::int64_t i = 0; i < dim; ++i) {
    for (int v = 0; v < kVectors; ++v) {
      const F difference = sub(load(w + i * kSamples + v * kLanes), all(target[i]));
      total[v] = fma(mul(all(weight[i]), difference), difference, total[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) store(out + v * kLanes, total[v]);
}

// Up to kLanes numbers, zeros after them.
inline F load_first(const float* p, std::int64_t count) {
  if (count >= kLanes) return load(p);
  float lanes[kLanes] = {};
  std::memcpy(lanes, p, count * sizeof(float));
  return load(lanes);
}

// sum_j weight[j] row(j), in blocks, so that errors do not pile up, of four parts, so that no addition waits for the
// one before.
template <class Row>
F sum_rows(const float* weight, std::int64_t count, Row row) {
  constexpr std::int64_t kBlock = 64;
  F total = all(0.0f);
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t end = begin + kBlock < count ? begin + kBlock : count;
    F sum[4] = {all(0.0f), all(0.0f), all(0.0f), all(0.0f)};
    std::int64_t j = begin;
    for (; j + 4 <= end; j += 4) {
      for (int r = 0; r < 4; ++r) sum[r] = fma(all(weight[j + r]), row(j + r), sum[r]);
    }
    for (; j < end; ++j) sum[0] = fma(all(weight[j]), row(j), sum[0]);
    total = add(total, add(add(sum[0], sum[1]), add(sum[2], sum[3])));
  }
  return total;
}

float weighted_sum(const float* w, std::int64_t dim, const std::uint32_t* rows, const float* weight, std::int64_t count,
                   float* out) {
  float lanes[kLanes];
  for (std::int64_t i = 0; i < dim; i += kLanes) {
    const std::int64_t present = dim - i < kLanes ? dim - i : kLanes;
    store(lanes, sum_rows(weight, count, [&](std::int64_t j) { return load_first(w + rows[j] * dim + i, present); }));
    std::memcpy(out + i, lanes, present * sizeof(float));
  }
  store(lanes, sum_rows(weight, count, [](std::int64_t) { return all(1.0f); }));
  return lanes[0];
}

void pack_bits(const float* w, std::int64_t count, std::int64_t dim, std::int64_t stride, std::uint64_t* out) {
  for (std::int64_t begin = 0; begin < dim; begin += 64, out += stride) {
    const std::int64_t end = begin + 64 < dim ? begin + 64 : dim;
    for (std::int64_t s = 0; s < count; ++s) {
      std::uint64_t word = 0;
      for (std::int64_t i = begin; i < end; i += kLanes) {
        word |= mask_if_less(all(0.5f), load_first(w + s * dim + i, end - i)) << (i - begin);
      }
      out[s] = word;
    }
  }
}

using Columns = double __attribute__((vector_size(64)));  // eight sums

void weigh(const double* value, std::int64_t kinds, const double* weight, std::int64_t samples, std::int64_t columns,
           const std::int64_t* ranks, std::int64_t stride, double* out) {
  constexpr std::int64_t kRanks = 64;  // weights that stay in the cache for all kinds
  for (std::int64_t m = 0; m < kinds; ++m) {
    for (std::int64_t k = 0; k < columns; ++k) out[m * stride + k] = 0.0;
  }
  for (std::int64_t begin = 0; begin < samples; begin += kRanks) {
    for (std::int64_t m = 0; m < kinds; ++m) {
      for (std::int64_t k = 0; k < columns; k += 8) {
        const std::int64_t end = begin + kRanks < ranks[k / 8] ? begin + kRanks : ranks[k / 8];
        Columns sum[4] = {};  // side by side, so that no addition waits for the one before
        const auto add = [&](std::int64_t j, Columns& to) {
          Columns of_rank;
          std::memcpy(&of_rank, weight + j * columns + k, sizeof of_rank);
          to += of_rank * value[m * samples + j];
        };
        std::int64_t j = begin;
        for (; j + 4 <= end; j += 4) {
          for (int r = 0; r < 4; ++r) add(j + r, sum[r]);
        }
        for (; j < end; ++j) add(j, sum[0]);
        Columns total;
        std::memcpy(&total, out + m * stride + k, sizeof total);
        total += (sum[0] + sum[1]) + (sum[2] + sum[3]);
        std::memcpy(out + m * stride + k, &total, sizeof total);
      }
    }
  }
}

// Vectors of GCC and Clang, a register of the set.
using Floats = float __attribute__((vector_size(2 * kLanes)));
using Doubles = double __attribute__((vector_size(4 * kLanes)));

inline void load(const float* p, Doubles& x) {
  Floats narrow;
  std::memcpy(&narrow, p, sizeof narrow);
  x = __builtin_convertvector(narrow, Doubles);
}

// With all columns in registers. Products are rounded by themselves, so that all sets give the same bits.
template <bool even>
void add_middle(const float* sorted, const double* square, const double* cross, std::int64_t start, std::int64_t stop,
                std::int64_t half, const float* target, double* out) {
  constexpr int kWidth = kLanes / 2, kCount = kColumns / kWidth;
  Doubles aim[kCount], sum[kCount] = {}, below[kCount] = {};  // below: the mean of the largest of `half` up to here
  for (int v = 0; v < kCount; ++v) load(target + v * kWidth, aim[v]);
  for (std::int64_t j = start; j < stop; ++j) {
    const double drawn = j == start ? 1.0 : static_cast<double>(half) / static_cast<double>(j + 1), kept = 1.0 - drawn;
    for (int v = 0; v < kCount; ++v) {
      Doubles a;
      load(sorted + j * kColumns + v * kWidth, a);
      a -= aim[v];
      sum[v] += square[j] * (a * a);
      if constexpr (even) {
        sum[v] += cross[j] * (a * below[v]);
        below[v] = kept * below[v] + drawn * a;
      }
    }
  }
  for (int v = 0; v < kCount; ++v) std::memcpy(out + v * kWidth, &sum[v], sizeof sum[v]);
}

void middle_sums(const float* sorted, const double* square, const double* cross, std::int64_t start, std::int64_t stop,
                 std::int64_t half, const float* target, double* out) {
  if (half) return add_middle<true>(sorted, square, cross, start, stop, half, target, out);
  add_middle<false>(sorted, square, cross, start, stop, half, target, out);
}

}  // namespace
}  // namespace ttc_fast
