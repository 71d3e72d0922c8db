// The order of scores, by a radix sort of their bits.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

namespace ttc_fast {

// A key that ascends with the number; one that is none comes last.
inline std::uint32_t ascending(float x) {
  x += 0.0f;  // -0 is 0
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const std::uint32_t negative = ~(bits >> 31) + 1;  // all ones or none
  return bits << 1 > 0xFF000000u ? ~0u : bits ^ (negative | 0x80000000u);
}

// In four parts, so that no addition waits for the one before.
inline double mean(const double* x, std::size_t count) {
  double sum[4] = {};
  std::size_t i = 0;
  for (; i + 4 <= count; i += 4) {
    for (int k = 0; k < 4; ++k) sum[k] += x[i + k];
  }
  for (; i < count; ++i) sum[0] += x[i];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) / static_cast<double>(count);
}

// The samples of a prompt in the order of their scores.
class Ranking {
 public:
  static constexpr std::int64_t kBytes = 4 + 8 + 8 + 16;  // for a sample; the list of ties grows by doubling

  explicit Ranking(std::int64_t samples) : keys_(samples), items_(samples), spare_(samples) {}

  void sort(const float* score, bool lowest) {
    for (std::size_t s = 0; s < keys_.size(); ++s) keys_[s] = ascending(lowest ? score[s] : -score[s]);
    std::uint32_t low = ~0u, high = 0;
    for (const std::uint32_t key : keys_) {
      low = std::min(low, key);
      high = std::max(high, key);
    }
    int shift = 0;  // two passes over 11 bits each sort by the top 22 bits of the range
    while ((high - low) >> shift >> 2 * kBits) ++shift;
    place(low, shift);
    insert();
    find_ties();
  }

  std::uint32_t sample(std::int64_t rank) const { return static_cast<std::uint32_t>(items_[rank]); }

  // value by rank, those of equal scores replaced by their mean.
  void rank(const float* value, double* ranked) const {
    for (std::size_t j = 0; j < items_.size(); ++j) ranked[j] = value[sample(j)];
    for (const auto& [begin, end] : ties_) std::fill(ranked + begin, ranked + end, mean(ranked + begin, end - begin));
  }

 private:
  static constexpr int kBits = 11;
  using Counts = std::array<std::uint32_t, 1 << kBits>;

  // Items with the key above and the sample below, by the lower and then the upper bits of the keys' distance from
  // `low`.
  void place(std::uint32_t low, int shift) {
    const auto digits = [&](std::uint32_t key) { return (key - low) >> shift; };
    Counts lower{}, upper{};
    for (const std::uint32_t key : keys_) {
      ++lower[digits(key) % lower.size()];
      ++upper[digits(key) / lower.size()];
    }
    for (Counts* const count : {&lower, &upper}) {
      std::uint32_t before = 0;
      for (std::uint32_t& c : *count) before += std::exchange(c, before);
    }
    for (std::size_t s = 0; s < keys_.size(); ++s) {
      spare_[lower[digits(keys_[s]) % lower.size()]++] = std::uint64_t{keys_[s]} << 32 | s;
    }
    for (const std::uint64_t item : spare_) {
      const auto key = static_cast<std::uint32_t>(item >> 32);
      items_[upper[digits(key) / lower.size()]++] = item;
    }
  }

  // What is nearly in order; where it turns out not to be, by a general method.
  void insert() {
    std::size_t patience = 16 * items_.size();
    for (std::size_t i = 1; i < items_.size(); ++i) {
      if (items_[i - 1] <= items_[i]) continue;
      const std::uint64_t item = items_[i];
      std::size_t j = i;
      for (; j > 0 && items_[j - 1] > item; --j) items_[j] = items_[j - 1];
      items_[j] = item;
      if (i - j > patience) return std::sort(items_.begin(), items_.end());
      patience -= i - j;
    }
  }

  void find_ties() {
    ties_.clear();
    for (std::size_t end = 1; end < items_.size(); ++end) {
      if (items_[end - 1] >> 32 != items_[end] >> 32) continue;
      const std::size_t begin = end - 1;
      while (end < items_.size() && items_[end] >> 32 == items_[begin] >> 32) ++end;
      ties_.emplace_back(begin, end);
    }
  }

  std::vector<std::uint32_t> keys_;
  std::vector<std::uint64_t> items_, spare_;
  std::vector<std::pair<std::size_t, std::size_t>> ties_;
};

}  // namespace ttc_fast
