// A tile of samples, compiled once for each instruction set: its layout, and products with it.
#pragma once

#include "decode.h"
#include "simd.h"

namespace ttc_fast {
namespace {  // see simd.h

constexpr int kSamples = kVectors * kLanes;

std::int64_t padded(std::int64_t dim) { return (dim + kRows - 1) / kRows * kRows; }

// A row for each lane of a vector to rows of the tile, in the lanes from `tile` on.
void transpose_rows(const float* const (&row)[kLanes], std::int64_t dim, float* tile) {
  std::int64_t i = 0;
  for (; i + 4 <= dim; i += 4) {
    F x[4];
    for (int k = 0; k < 4; ++k) x[k] = load_fours(row + k, i);
    transpose_fours(x);
    for (int k = 0; k < 4; ++k) store(tile + (i + k) * kSamples, x[k]);
  }
  for (; i < dim; ++i) {
    for (int lane = 0; lane < kLanes; ++lane) tile[i * kSamples + lane] = row[lane][i];
  }
}

void transpose(const float* w, std::int64_t stride, std::int64_t present, std::int64_t dim, float* tile) {
  for (std::int64_t s = 0; s < kSamples; s += kLanes) {
    const float* row[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) row[lane] = w + (s + lane < present ? s + lane : present - 1) * stride;
    transpose_rows(row, dim, tile + s);
  }
}

void transpose_back(const float* tile, std::int64_t present, std::int64_t dim, float* w) {
  for (std::int64_t s = 0; s < present; s += kLanes, tile += kLanes) {
    const int rows = static_cast<int>(present - s < kLanes ? present - s : kLanes);
    float* row[kLanes];
    for (int lane = 0; lane < rows; ++lane) row[lane] = w + (s + lane) * dim;
    std::int64_t i = 0;
    for (; rows == kLanes && i + 4 <= dim; i += 4) {
      F x[4];
      for (int k = 0; k < 4; ++k) x[k] = load(tile + (i + k) * kSamples);
      transpose_fours(x);
      for (int k = 0; k < 4; ++k) store_fours(row + k, i, x[k]);
    }
    for (; i < dim; ++i) {
      for (int lane = 0; lane < rows; ++lane) row[lane][i] = tile[i * kSamples + lane];
    }
  }
}

constexpr int kGroup = 4;                        // coordinates whose products are summed first, see Product

std::int64_t groups(std::int64_t dim) { return (dim + kGroup - 1) / kGroup; }

// Thoughts [dim][samples] as bits, `width` coordinates in each of so many words, the first one's bit the lowest. False
// if one is neither 0 nor 1.
template <int width>
bool pack_thoughts(std::int64_t dim, std::int64_t words, const float* w, std::uint32_t* packed) {
  U mismatch = all(0u);  // bits in which a thought differs from the 0 or 1 that it is taken for
  for (std::int64_t g = 0; g < words; ++g) {
    for (int v = 0; v < kVectors; ++v) {
      U word = all(0u);
      for (std::int64_t i = g * width; i < (g + 1) * width && i < dim; ++i) {
        const F x = load(w + i * kSamples + v * kLanes);
        mismatch = bor(mismatch, bxor(bits(x), bits(one_if_less(all(0.5f), x))));
        word = bor(word, value_if_less(all(0.5f), x, 1u << (i % width)));
      }
      store(packed + g * kSamples + v * kLanes, word);
    }
  }
  std::uint32_t lanes[kLanes], any = 0;
  store(lanes, mismatch);
  for (const std::uint32_t lane : lanes) any |= lane;
  return any == 0;
}

template <int width>
void unpack_thoughts(std::int64_t dim, const std::uint32_t* packed, float* w) {
  for (std::int64_t i = 0; i < dim; ++i) {
    for (int s = 0; s < kSamples; ++s) {
      w[i * kSamples + s] = static_cast<float>(packed[i / width * kSamples + s] >> (i % width) & 1u);
    }
  }
}

// Numbers of packed rows, and up to the next line of the cache.
std::int64_t rows_size(std::int64_t dim) { return (padded(dim) * (dim + 1) + 15) / 16 * 16; }

// Rows in blocks of kRows, the dim + 1 columns one after another within a block. Returns the end.
template <class Entry>
float* pack_rows(std::int64_t rows, std::int64_t dim, Entry entry, float* matrix) {
  for (std::int64_t block = 0; block < rows; block += kRows) {
    for (std::int64_t j = 0; j <= dim; ++j) {
      for (int r = 0; r < kRows; ++r) *matrix++ = block + r < rows ? entry(block + r, j) : 0.0f;
    }
  }
  return matrix;
}

// How u = (I - P S) w + P b is summed over the coordinates of w. For a binary thought kGrouped and kLookup give the same
// bits: a table holds the sums that kGrouped makes.
enum class Product { kSequential, kGrouped, kLookup };

// So that `lookup` hangs on a template, and a set without it compiles.
template <Product product>
struct IndexOf { using Vector = U; };

// sum += a block of kRows rows times `columns` rows of w.
__attribute__((always_inline)) inline void add_products(const float* matrix, std::int64_t columns, const float* w,
                                                        F (&sum)[kRows][kVectors]) {
  for (std::int64_t j = 0; j < columns; ++j, matrix += kRows) {
    F factor[kVectors];
    for (int v = 0; v < kVectors; ++v) factor[v] = load(w + j * kSamples + v * kLanes);
    for (int r = 0; r < kRows; ++r) {
      const F a = all(matrix[r]);
      for (int v = 0; v < kVectors; ++v) sum[r][v] = fma(a, factor[v], sum[r][v]);
    }
  }
}

// Rows block, ..., block + kRows - 1 of a packed matrix times w, or times the thoughts that index tells. The columns
// before `begin` (kSequential) are known to be 0. Inlined, or the sums would lie in memory instead of registers.
template <Product product>
__attribute__((always_inline)) inline void multiply_rows(const float* all_rows, std::int64_t dim, std::int64_t block,
                                                         std::int64_t begin, const float* w, const std::uint32_t* index,
                                                         F (&sum)[kRows][kVectors]) {
  const float* matrix = all_rows + block * (dim + 1);
  for (int r = 0; r < kRows; ++r) {
    for (int v = 0; v < kVectors; ++v) sum[r][v] = all(matrix[dim * kRows + r]);
  }
  if constexpr (product == Product::kLookup) {
    const float* table = all_rows + rows_size(dim) + block * groups(dim) * 16;
    for (std::int64_t g = 0; g < groups(dim); ++g) {
      typename IndexOf<product>::Vector entry[kVectors];
      for (int v = 0; v < kVectors; ++v) entry[v] = load(index + g * kSamples + v * kLanes);
      for (int r = 0; r < kRows; ++r, table += 16) {
        for (int v = 0; v < kVectors; ++v) sum[r][v] = add(sum[r][v], lookup(table, entry[v]));
      }
    }
  } else if constexpr (product == Product::kGrouped) {
    for (std::int64_t j = 0; j < dim; j += kGroup) {
      const int members = static_cast<int>(dim - j < kGroup ? dim - j : kGroup);
      for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < kVectors; ++v) {
          const float* part = w + j * kSamples + v * kLanes;
          F product_sum = mul(all(matrix[j * kRows + r]), load(part));
          for (int k = 1; k < members; ++k) {
            product_sum = fma(all(matrix[(j + k) * kRows + r]), load(part + k * kSamples), product_sum);
          }
          sum[r][v] = add(sum[r][v], product_sum);
        }
      }
    }
  } else {
    add_products(matrix + begin * kRows, dim - begin, w + begin * kSamples, sum);
  }
}

}  // namespace
}  // namespace ttc_fast
