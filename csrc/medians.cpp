#include "medians.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "helpers.h"
#include "memory.h"
#include "ranking.h"

namespace ttc_fast {

namespace {

// kColumns coefficients of all samples, each in ascending order.
class Columns {
 public:
  static constexpr std::int64_t kBytes = kColumns * (sizeof(std::uint32_t) + sizeof(float)) + sizeof(std::uint32_t);

  explicit Columns(std::int64_t samples)
      : samples_(samples), stride_(samples + 16), keys_(stride_ * kColumns), spare_(samples), sorted_(samples * kColumns) {}

  // Of w [samples][dim] the columns from `first` on.
  void sort(const float* w, std::int64_t dim, std::int64_t first) {
    present_ = std::min<std::int64_t>(kColumns, dim - first);
    for (std::int64_t s = 0; s < samples_; ++s) {
      for (std::int64_t c = 0; c < present_; ++c) keys_[c * stride_ + s] = ascending(w[s * dim + first + c]);
    }
    for (std::int64_t c = 0; c < present_; ++c) {
      sort(keys_.data() + c * stride_);
      for (std::int64_t s = 0; s < samples_; ++s) sorted_[s * kColumns + c] = number(keys_[c * stride_ + s]);
    }
  }

  std::int64_t present() const { return present_; }
  const float* sorted() const { return sorted_.data(); }
  bool known(std::int64_t column) const { return !std::isnan(sorted_[(samples_ - 1) * kColumns + column]); }

 private:
  static constexpr int kBits = 11, kDigits = 3;

  static float number(std::uint32_t key) {
    const std::uint32_t bits = key >> 31 ? key ^ 0x80000000u : ~key;
    float x;
    std::memcpy(&x, &bits, sizeof x);
    return x;
  }

  // By digits from the lowest; one that is the same in all keys is passed over.
  void sort(std::uint32_t* keys) {
    std::array<std::array<std::uint32_t, 1 << kBits>, kDigits> counts{};
    const auto digit = [](std::uint32_t key, int d) { return key >> d * kBits & ((1u << kBits) - 1); };
    for (std::int64_t s = 0; s < samples_; ++s) {
      for (int d = 0; d < kDigits; ++d) ++counts[d][digit(keys[s], d)];
    }
    std::uint32_t *from = keys, *to = spare_.data();
    for (int d = 0; d < kDigits; ++d) {
      if (counts[d][digit(from[0], d)] == samples_) continue;
      std::uint32_t before = 0;
      for (std::uint32_t& count : counts[d]) before += std::exchange(count, before);
      for (std::int64_t s = 0; s < samples_; ++s) to[counts[d][digit(from[s], d)]++] = from[s];
      std::swap(from, to);
    }
    if (from != keys) std::copy_n(from, samples_, keys);
  }

  const std::int64_t samples_, stride_;  // not a power of two, or all columns would want the same places of the cache
  std::int64_t present_ = 0;
  std::vector<std::uint32_t> keys_, spare_;  // keys_ [kColumns][stride]
  std::vector<float> sorted_;                // [samples][kColumns]
};

}  // namespace

void median_errors(const Candidates& c, const Kernel& kernel, const float* target, const std::vector<Middle>& middles,
                   double* out) {
  const std::int64_t parts = (c.dim + kColumns - 1) / kColumns, count = static_cast<std::int64_t>(middles.size());
  if (c.samples == 0) return;
  const auto measure = [&](Columns& columns, std::int64_t item) {
    const std::int64_t prompt = item / parts, first = item % parts * kColumns;
    columns.sort(c.w + prompt * c.samples * c.dim, c.dim, first);
    float aim[kColumns] = {};
    std::copy_n(target + prompt * c.dim + first, columns.present(), aim);
    for (std::int64_t k = 0; k < count; ++k) {
      double sums[kColumns];
      const Middle& m = middles[k];
      kernel.middle_sums(columns.sorted(), m.square, m.cross, m.start, m.stop, m.half, aim, sums);
      for (std::int64_t i = 0; i < columns.present(); ++i) {
        const bool infinite = columns.known(i) && std::isnan(sums[i]);  // such as inf * inf - inf * 1
        const double error = infinite ? std::numeric_limits<double>::infinity() : sums[i];
        out[(prompt * count + k) * c.dim + first + i] = columns.known(i) ? error : std::nan("");
      }
    }
  };
  const std::int64_t threads = std::min<std::int64_t>(c.threads, std::max<std::int64_t>(c.prompts * parts, 1));
  const Need need{"the scratch of medians", Columns::kBytes * c.samples, threads, "candidates"};
  needing(need, [&] { for_each(c.prompts * parts, c.threads, [&] { return Columns(c.samples); }, measure); });
}

}  // namespace ttc_fast
