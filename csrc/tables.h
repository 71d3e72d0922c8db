// Tables for thoughts of bits: four coordinates select one of 16 sums of columns, so that u takes an addition for four
// multiply-adds.
//
// With kLookup a table is of one row, and looked up for all lanes at once. Otherwise u is made sample by sample, with the
// rows across the lanes, and transposed: adding a row of sums is one instruction, whatever the set, where looking up its
// numbers would take several.
#pragma once

#include "subset.h"

namespace ttc_fast {
namespace {  // see simd.h

std::int64_t tables_size(std::int64_t dim) {
  return kLookup ? padded(dim) * groups(dim) * 16 : row_size(dim) * (1 + groups(dim) * 16);
}

// Either block by block of rows and group by group the 16 sums of each row, or P b, then group by group the 16 rows.
template <class Entry>
void pack_tables(std::int64_t dim, Entry entry, float* table) {
  const auto sum = [&](std::int64_t row, std::int64_t j, int subset) {
    float total = 0.0f;  // in the order of Product::kGrouped
    for (int k = 0; k < kGroup && j + k < dim; ++k) total += subset >> k & 1 ? entry(row, j + k) : 0.0f;
    return total;
  };
  for (std::int64_t block = 0; kLookup && block < padded(dim); block += kRows) {
    for (std::int64_t j = 0; j < dim; j += kGroup) {
      for (int r = 0; r < kRows; ++r) {
        for (int subset = 0; subset < 16; ++subset) *table++ = sum(block + r, j, subset);
      }
    }
  }
  for (std::int64_t i = 0; !kLookup && i < row_size(dim); ++i) *table++ = entry(i, dim);
  for (std::int64_t j = 0; !kLookup && j < dim; j += kGroup) {
    for (int subset = 0; subset < 16; ++subset) {
      for (std::int64_t i = 0; i < row_size(dim); ++i) *table++ = sum(i, j, subset);
    }
  }
}

// Rows of u, n vectors from the table's first on, for a vector of samples.
template <int n = kAcross>
void add_rows(std::int64_t left, std::int64_t dim, const float* table, const std::uint32_t* index, float* row) {
  if constexpr (n > 1) {
    if (left < n) return add_rows<n - 1>(left, dim, table, index, row);
  }
  const std::int64_t size = row_size(dim), count = groups(dim);
  for (int lane = 0; lane < kLanes; ++lane, row += size) {
    F sum[n];
    for (int v = 0; v < n; ++v) sum[v] = load(table + v * kLanes);
    const float* sums = table + size;
    for (std::int64_t g = 0; g < count; ++g, sums += 16 * size) {
      const float* const chosen = sums + index[g * kSamples + lane] * size;
      for (int v = 0; v < n; ++v) sum[v] = add(sum[v], load(chosen + v * kLanes));
    }
    for (int v = 0; v < n; ++v) store(row + v * kLanes, sum[v]);
  }
}

// tile.next = u of the thoughts in tile.index.
void add_sums(const Job& job, Tile& tile) {
  static_assert(kLanes <= kVectors * kRows, "the rows of a vector's samples fit into tile.rows");
  const std::int64_t size = row_size(job.dim);
  const float* const table = job.matrix + rows_size(job.dim);
  const float* row[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) row[lane] = tile.rows + lane * size;
  for (int v = 0; v < kVectors; ++v) {
    for (std::int64_t begin = 0; begin < size; begin += kAcross * kLanes) {
      add_rows((size - begin) / kLanes, job.dim, table + begin, tile.index + v * kLanes, tile.rows + begin);
    }
    transpose_rows(row, job.dim, tile.next + v * kLanes);
  }
}

}  // namespace
}  // namespace ttc_fast
