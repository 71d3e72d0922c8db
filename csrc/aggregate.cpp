#include "aggregate.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <system_error>
#include <thread>
#include <utility>

namespace ttc_fast {

namespace {

constexpr std::int64_t kTilesAtOnce = 64;  // of one prompt, between two questions for more work
constexpr std::int64_t kBudgetsAtOnce = 8;

// body(i) for i = 0, ..., items - 1, in any order, on up to `threads` threads.
template <class Body>
void for_each(std::int64_t items, int threads, Body body) {
  std::atomic<std::int64_t> next{0};
  const auto work = [&] {
    for (std::int64_t i; (i = next++) < items;) body(i);
  };
  std::vector<std::thread> helpers;
  try {
    for (std::int64_t i = 1; i < std::min<std::int64_t>(threads, items); ++i) helpers.emplace_back(work);
  } catch (const std::system_error&) {  // the system has no more threads: those there are do the work
  }
  work();
  for (auto& helper : helpers) helper.join();
}

// Rows w [present][dim] to a tile [dim][samples]; the lanes beyond repeat the last row. Four rows go together, so that
// the compiler can use vectors.
void transpose(const float* w, std::int64_t present, std::int64_t dim, std::int64_t samples, float* tile) {
  for (std::int64_t s = 0; s < samples; s += 4) {
    const float* row[4];
    for (int k = 0; k < 4; ++k) row[k] = w + std::min(s + k, present - 1) * dim;
    for (std::int64_t i = 0; i < dim; ++i) {
      for (int k = 0; k < 4; ++k) tile[i * samples + s + k] = row[k][i];
    }
  }
}

// use(prompt, first sample, samples present, tile [dim][kernel.samples]) for every tile of samples; start(prompt) gives
// what a run of tiles of one prompt shares. The lanes beyond the samples repeat the last one.
template <class Start, class Use>
void for_each_tile(const Candidates& c, const Kernel& kernel, Start start, Use use) {
  const std::int64_t tiles = (c.samples + kernel.samples - 1) / kernel.samples;
  const std::int64_t runs = (tiles + kTilesAtOnce - 1) / kTilesAtOnce;
  for_each(c.prompts * runs, c.threads, [&](std::int64_t item) {
    const std::int64_t prompt = item / runs, begin = item % runs * kTilesAtOnce;
    const auto shared = start(prompt);
    std::vector<float> tile(c.dim * kernel.samples), result(kernel.samples);
    for (std::int64_t t = begin; t < std::min(begin + kTilesAtOnce, tiles); ++t) {
      const std::int64_t first = t * kernel.samples, present = std::min(kernel.samples, c.samples - first);
      transpose(c.w + (prompt * c.samples + first) * c.dim, present, c.dim, kernel.samples, tile.data());
      use(shared, prompt * c.samples + first, present, tile.data(), result.data());
    }
  });
}

// A key that ascends where the number descends; a number that is none comes last.
std::uint32_t descending(float x) {
  if (std::isnan(x)) return ~0u;
  x += 0.0f;  // -0 is 0
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits >> 31 ? bits : ~bits & 0x7FFFFFFFu;
}

struct Ranked { std::uint32_t key, sample; };

// Stable, by counting the values of 11 bits at a time.
void sort_by_key(std::vector<Ranked>& items, std::vector<Ranked>& spare) {
  std::array<std::array<std::uint32_t, 2048>, 3> place{};
  for (const Ranked& item : items) {
    for (int digit = 0; digit < 3; ++digit) ++place[digit][item.key >> 11 * digit & 2047];
  }
  for (int digit = 0; digit < 3; ++digit) {
    std::uint32_t before = 0;
    for (std::uint32_t& p : place[digit]) before += std::exchange(p, before);
    for (const Ranked& item : items) spare[place[digit][item.key >> 11 * digit & 2047]++] = item;
    items.swap(spare);
  }
}

// value by rank, those of equal keys replaced by their mean.
void rank(const std::vector<Ranked>& items, const float* value, std::vector<double>& ranked) {
  const std::size_t samples = items.size();
  for (std::size_t j = 0; j < samples; ++j) ranked[j] = value[items[j].sample];
  for (std::size_t begin = 0, end; begin < samples; begin = end) {
    end = begin + 1;
    if (end == samples || items[end].key != items[begin].key) continue;
    double sum = ranked[begin];
    for (; end < samples && items[end].key == items[begin].key; ++end) sum += ranked[end];
    std::fill(ranked.begin() + begin, ranked.begin() + end, sum / static_cast<double>(end - begin));
  }
}

// Probability that `size` votes, `ones` [dim] of them for 1, are right in all coordinates.
double recovery(const float* ones, const float* w_star, std::int64_t dim, float size) {
  int wrong = 0, tied = 0;
  for (std::int64_t i = 0; i < dim; ++i) {
    const float margin = (2.0f * ones[i] - size) * (2.0f * w_star[i] - 1.0f);
    wrong += margin < 0.0f;
    tied += margin == 0.0f;
  }
  return wrong > 0 ? 0.0 : std::ldexp(1.0, -tied);
}

// Mean recovery of the groups of each size, each of which divides the next: groups are made of smaller ones.
void recoveries(const float* w, const float* w_star, const std::int64_t* order, std::int64_t samples, std::int64_t dim,
                const std::int64_t* sizes, std::int64_t levels, double* mean) {
  std::vector<float> ones(levels * dim);
  std::vector<std::int64_t> members(levels);
  std::fill_n(mean, levels, 0.0);
  for (std::int64_t s = 0; s < samples; ++s) {
    const float* part = w + order[s] * dim;
    for (std::int64_t level = 0; level < levels; ++level) {
      float* const sum = ones.data() + level * dim;
      if (members[level]++ == 0) {
        std::copy_n(part, dim, sum);
      } else {
        for (std::int64_t i = 0; i < dim; ++i) sum[i] += part[i];
      }
      if (members[level] * (level == 0 ? 1 : sizes[level - 1]) < sizes[level]) break;
      mean[level] += recovery(sum, w_star, dim, static_cast<float>(sizes[level]));
      members[level] = 0;
      part = sum;
    }
  }
  for (std::int64_t level = 0; level < levels; ++level) mean[level] /= static_cast<double>(samples / sizes[level]);
}

}  // namespace

void squared_residuals(const Candidates& c, const Kernel& kernel, const float* x, const float* y, std::int64_t examples,
                       float* out) {
  const auto start = [&](std::int64_t prompt) {
    std::vector<float> matrix(kernel.padded(examples) * (c.dim + 1));
    kernel.pack_examples(x + prompt * examples * c.dim, y + prompt * examples, examples, c.dim, matrix.data());
    return matrix;
  };
  for_each_tile(c, kernel, start, [&](const auto& matrix, std::int64_t at, std::int64_t present, float* tile, float* result) {
    kernel.squared_residuals(matrix.data(), examples, c.dim, tile, result);
    std::copy_n(result, present, out + at);
  });
}

void squared_distances(const Candidates& c, const Kernel& kernel, const float* target, const float* weight,
                       std::int64_t kinds, float* out) {
  const auto start = [&](std::int64_t prompt) { return target + prompt * c.dim; };
  for_each_tile(c, kernel, start, [&](const float* aim, std::int64_t at, std::int64_t present, float* tile, float* result) {
    for (std::int64_t m = 0; m < kinds; ++m) {
      kernel.squared_distances(aim, weight + m * c.dim, c.dim, tile, result);
      std::copy_n(result, present, out + m * c.prompts * c.samples + at);
    }
  });
}

void best_of_k(std::int64_t prompts, std::int64_t samples, int threads, const float* score, const float* value,
               std::int64_t kinds, const double* weight, std::int64_t budgets, double* out) {
  std::vector<double> packed((budgets + kBudgetsAtOnce) * samples);  // a few budgets of every rank together
  for (std::int64_t k = 0; k < budgets; ++k) {
    for (std::int64_t j = 0; j < samples; ++j) {
      packed[k / kBudgetsAtOnce * kBudgetsAtOnce * samples + j * kBudgetsAtOnce + k % kBudgetsAtOnce] = weight[j * budgets + k];
    }
  }
  for_each(prompts, threads, [&](std::int64_t prompt) {
    std::vector<Ranked> items(samples), spare(samples);
    for (std::int64_t s = 0; s < samples; ++s) {
      items[s] = {descending(score[prompt * samples + s]), static_cast<std::uint32_t>(s)};
    }
    sort_by_key(items, spare);
    std::vector<double> ranked(samples);
    for (std::int64_t m = 0; m < kinds; ++m) {
      rank(items, value + (m * prompts + prompt) * samples, ranked);
      double* const result = out + (m * prompts + prompt) * budgets;
      for (std::int64_t k = 0; k < budgets; k += kBudgetsAtOnce) {
        double sum[kBudgetsAtOnce] = {};
        for (std::int64_t j = 0; j < samples; ++j) {
          const double* const row = packed.data() + k * samples + j * kBudgetsAtOnce;
          for (int i = 0; i < kBudgetsAtOnce; ++i) sum[i] += row[i] * ranked[j];
        }
        std::copy_n(sum, std::min<std::int64_t>(kBudgetsAtOnce, budgets - k), result + k);
      }
    }
  });
}

void vote_recovery(const Candidates& c, const float* w_star, const std::int64_t* order, const std::vector<std::int64_t>& sizes,
                   double* out) {
  const auto count = static_cast<std::int64_t>(sizes.size());
  for_each(c.prompts, c.threads, [&](std::int64_t prompt) {
    for (std::int64_t begin = 0, end; begin < count; begin = end) {
      for (end = begin + 1; end < count && sizes[end] % sizes[end - 1] == 0;) ++end;
      recoveries(c.w + prompt * c.samples * c.dim, w_star + prompt * c.dim, order, c.samples, c.dim, sizes.data() + begin,
                 end - begin, out + prompt * count + begin);
    }
  });
}

}  // namespace ttc_fast
