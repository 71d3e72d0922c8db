#include "aggregate.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <deque>
#include <utility>

#include "helpers.h"

namespace ttc_fast {

namespace {

// body(scratch, i) for i = 0, ..., items - 1, in any order, on up to `threads` threads, each with a copy of the scratch.
template <class Scratch, class Body>
void for_each(std::int64_t items, int threads, const Scratch& scratch, Body body) {
  std::atomic<std::int64_t> next{0};
  const auto work = [&](std::int64_t) {
    Scratch mine = scratch;
    for (std::int64_t i; (i = next++) < items;) body(mine, i);
  };
  const Helpers helpers(std::min<std::int64_t>(threads, items), work);
  work(0);
}

// use(shared, prompt * samples + first sample, samples present, tile [dim][kernel.samples], result [kernel.samples]) for
// every tile of samples; start(prompt) gives what tiles of one prompt share. The lanes beyond the samples repeat the last.
template <class Start, class Use>
void for_each_tile(const Candidates& c, const Kernel& kernel, Start start, Use use) {
  struct Scratch { std::vector<float> tile, result; };
  const Scratch scratch{std::vector<float>(c.dim * kernel.samples), std::vector<float>(kernel.samples)};
  const std::int64_t tiles = (c.samples + kernel.samples - 1) / kernel.samples;
  const std::int64_t parts = std::min(tiles, (4 * c.threads + c.prompts - 1) / std::max<std::int64_t>(c.prompts, 1));
  for_each(c.prompts * parts, c.threads, scratch, [&](Scratch& mine, std::int64_t item) {
    const std::int64_t prompt = item / parts, part = item % parts;
    const auto shared = start(prompt);
    for (std::int64_t t = tiles * part / parts; t < tiles * (part + 1) / parts; ++t) {
      const std::int64_t at = prompt * c.samples + t * kernel.samples;
      const std::int64_t present = std::min(kernel.samples, c.samples - t * kernel.samples);
      transpose(c.w + at * c.dim, c.dim, present, c.dim, kernel.samples, mine.tile.data());
      use(shared, at, present, mine.tile.data(), mine.result.data());
    }
  });
}

// Sums of neighbours among `length` rows, an odd one at the end as it is.
void halve(const float* __restrict x, std::int64_t length, std::int64_t width, float* __restrict out) {
  const std::int64_t pairs = length / 2;
  if (width == 1) {
    for (std::int64_t i = 0; i < pairs; ++i) out[i] = x[2 * i] + x[2 * i + 1];
  } else {
    for (std::int64_t i = 0; i < pairs; ++i) {
      for (std::int64_t k = 0; k < width; ++k) out[i * width + k] = x[2 * i * width + k] + x[(2 * i + 1) * width + k];
    }
  }
  if (length % 2) std::copy_n(x + (length - 1) * width, width, out + pairs * width);
}

struct Sums { std::vector<float> sum, spare, rows; };

// Pairs of pairs of ... of rows [length][width], to one row at the beginning of sum.
void fold(const float* x, std::int64_t length, std::int64_t width, Sums& sums) {
  halve(x, length, width, sums.sum.data());
  for (std::int64_t left = (length + 1) / 2; left > 1; left = (left + 1) / 2) {
    halve(sums.sum.data(), left, width, sums.spare.data());
    sums.sum.swap(sums.spare);
  }
}

// A key that ascends with the number; one that is none comes last.
std::uint32_t ascending(float x) {
  if (std::isnan(x)) return ~0u;
  x += 0.0f;  // -0 is 0
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

// The samples of a prompt in the order of their scores.
class Ranking {
 public:
  explicit Ranking(std::int64_t samples) : items_(samples), spare_(samples) {}

  void sort(const float* score, bool lowest) {
    std::uint64_t low = ~std::uint64_t{0}, high = 0;
    for (std::size_t s = 0; s < items_.size(); ++s) {  // the key above, the sample below
      items_[s] = std::uint64_t{ascending(lowest ? score[s] : -score[s])} << 32 | s;
      low = std::min(low, items_[s]);
      high = std::max(high, items_[s]);
    }
    int shift = 0;  // two passes over 11 bits each sort by the top 22 bits of the range
    while ((high - low) >> shift >> 2 * kBits) ++shift;
    place(low, shift);
    place(low, shift + kBits);
    insert();
    find_ties();
  }

  // value by rank, those of equal scores replaced by their mean.
  void rank(const float* value, double* ranked) const {
    for (std::size_t j = 0; j < items_.size(); ++j) ranked[j] = value[static_cast<std::uint32_t>(items_[j])];
    for (const auto& [begin, end] : ties_) {
      double sum = 0.0;
      for (std::size_t j = begin; j < end; ++j) sum += ranked[j];
      std::fill(ranked + begin, ranked + end, sum / static_cast<double>(end - begin));
    }
  }

 private:
  static constexpr int kBits = 11;

  // Stable, by kBits bits of the distance from `low`.
  void place(std::uint64_t low, int shift) {
    const auto digit = [&](std::uint64_t item) { return (item - low) >> shift & ((1u << kBits) - 1); };
    std::array<std::uint32_t, 1 << kBits> start{};
    for (const std::uint64_t item : items_) ++start[digit(item)];
    std::uint32_t before = 0;
    for (std::uint32_t& s : start) before += std::exchange(s, before);
    for (const std::uint64_t item : items_) spare_[start[digit(item)]++] = item;
    items_.swap(spare_);
  }

  // What is nearly in order; where it turns out not to be, by a general method.
  void insert() {
    std::size_t patience = 16 * items_.size();
    for (std::size_t i = 1; i < items_.size(); ++i) {
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
    for (std::size_t begin = 0, end; begin < items_.size(); begin = end) {
      for (end = begin + 1; end < items_.size() && items_[end] >> 32 == items_[begin] >> 32;) ++end;
      if (end - begin > 1) ties_.emplace_back(begin, end);
    }
  }

  std::vector<std::uint64_t> items_, spare_;
  std::vector<std::pair<std::size_t, std::size_t>> ties_;
};

// Which of up to 64 numbers are above 1/2.
std::uint64_t pack_bits(const float* w, std::int64_t count) {
  std::uint8_t one[64];
  for (std::int64_t i = 0; i < count; ++i) one[i] = w[i] > 0.5f;
  std::fill(one + count, one + (count + 7) / 8 * 8, 0);
  std::uint64_t word = 0;
  for (std::int64_t i = 0; i < count; i += 8) {  // the low bits of eight bytes, the first byte's lowest, into one byte
    std::uint64_t bytes = 0;
    for (int k = 0; k < 8; ++k) bytes |= std::uint64_t{one[i + k]} << 8 * k;
    word |= (bytes * 0x0102040810204080u >> 56) << i;
  }
  return word;
}

// The votes of groups of candidates, 64 coefficients at once: bit p of the counts in plane p. Plane [words][groups].
class Votes {
 public:
  // Of the candidates w [count][dim] themselves: where they are as w_star [dim], and 1 beyond dim.
  Votes(const float* w, std::int64_t count, std::int64_t dim, const float* w_star)
      : size_(1), words_((dim + 63) / 64), count_(count), planes_(1, std::vector<std::uint64_t>(words_ * count)) {
    for (std::int64_t i = 0; i < words_; ++i) {
      const std::int64_t begin = 64 * i, bits = std::min<std::int64_t>(64, dim - begin);
      const std::uint64_t aim = pack_bits(w_star + begin, bits);
      for (std::int64_t s = 0; s < count; ++s) planes_[0][i * count + s] = ~(pack_bits(w + s * dim + begin, bits) ^ aim);
    }
  }

  // Of groups of `factor` groups of `parts` that follow each other.
  Votes(const Votes& parts, std::int64_t factor)
      : size_(parts.size_ * factor), words_(parts.words_), count_(parts.count_ / factor) {
    while (size_ >> planes_.size()) planes_.emplace_back(words_ * count_);
    std::vector<std::uint64_t> carry(words_ * count_);
    for (std::int64_t member = 0; member < factor; ++member) {
      std::fill(carry.begin(), carry.end(), 0);
      for (std::size_t p = 0; p < planes_.size(); ++p) {
        const std::vector<std::uint64_t>* const plane = p < parts.planes_.size() ? &parts.planes_[p] : nullptr;
        for (std::int64_t i = 0; i < words_; ++i) {
          const std::uint64_t* const part = plane ? plane->data() + i * parts.count_ + member : nullptr;
          add(part, factor, count_, planes_[p].data() + i * count_, carry.data() + i * count_);
        }
      }
    }
  }

  std::int64_t size() const { return size_; }

  Votes in_order(const std::int64_t* order) const {
    Votes votes = *this;
    for (std::size_t p = 0; p < planes_.size(); ++p) {
      for (std::int64_t i = 0; i < words_; ++i) {
        for (std::int64_t g = 0; g < count_; ++g) votes.planes_[p][i * count_ + g] = planes_[p][i * count_ + order[g]];
      }
    }
    return votes;
  }

  // Mean over the groups of the probability that all coefficients have a majority of right votes, or win a fair coin
  // where they have just half.
  double recovery() const {
    double sum = 0.0;
    for (std::int64_t g = 0; g < count_; ++g) {
      int tied = 0;
      std::uint64_t wrong = 0;
      for (std::int64_t i = 0; i < words_ && !wrong; ++i) {
        std::uint64_t more = 0, equal = ~std::uint64_t{0};  // than half of the size, rounded down, of the bits so far
        for (std::size_t p = planes_.size(); p-- > 0;) {
          const std::uint64_t bit = planes_[p][i * count_ + g], half = size_ / 2 >> p & 1 ? ~std::uint64_t{0} : 0;
          more |= equal & bit & ~half;
          equal &= ~(bit ^ half);
        }
        if (size_ % 2) equal = 0;
        wrong = ~(more | equal);
        for (; equal && !wrong; equal &= equal - 1) ++tied;
      }
      if (!wrong) sum += std::ldexp(1.0, -tied);
    }
    return sum / static_cast<double>(count_);
  }

 private:
  // total += part + carry in one plane, for every stride-th part; the carry is left.
  static void add(const std::uint64_t* __restrict part, std::int64_t stride, std::int64_t count,
                  std::uint64_t* __restrict total, std::uint64_t* __restrict carry) {
    for (std::int64_t g = 0; g < count; ++g) {
      const std::uint64_t a = total[g], b = part ? part[g * stride] : 0, c = carry[g];
      total[g] = a ^ b ^ c;
      carry[g] = (a & b) | ((a ^ b) & c);
    }
  }

  std::int64_t size_, words_, count_;
  std::vector<std::vector<std::uint64_t>> planes_;
};

// The votes of groups of some sizes, each made of the largest before that divides it, by pairs as far as possible.
class Tally {
 public:
  explicit Tally(Votes least) { made_.push_back(std::move(least)); }

  const Votes& groups_of(std::int64_t size) {
    const Votes* from = &*std::find_if(made_.rbegin(), made_.rend(), [&](const Votes& v) { return size % v.size() == 0; });
    while (from->size() < size) {
      const std::int64_t factor = size / from->size();
      made_.emplace_back(*from, factor % 2 ? factor : 2);
      from = &made_.back();
    }
    return *from;
  }

 private:
  std::deque<Votes> made_;
};

}  // namespace

void squared_residuals(const Candidates& c, const Kernel& kernel, const float* x, const float* y, std::int64_t examples,
                       float factor, float* out) {
  const auto start = [&](std::int64_t prompt) {
    std::vector<double> scratch(kernel.gram_size(examples, c.dim));
    std::vector<float> matrix(kernel.padded(kernel.residual_rows(examples, c.dim)) * (c.dim + 1) + 1);
    kernel.pack_examples(x + prompt * examples * c.dim, y + prompt * examples, examples, c.dim, scratch.data(), matrix.data());
    return matrix;
  };
  for_each_tile(c, kernel, start, [&](const auto& matrix, std::int64_t at, std::int64_t present, float* tile, float* result) {
    kernel.squared_residuals(matrix.data(), examples, c.dim, tile, result);
    for (std::int64_t s = 0; s < present; ++s) out[at + s] = factor * result[s];
  });
}

void squared_distances(const Candidates& c, const Kernel& kernel, const float* target, const float* weight,
                       std::int64_t kinds, bool equality, float* out) {
  const std::int64_t count = c.prompts * c.samples;
  const auto start = [&](std::int64_t prompt) { return target + prompt * c.dim; };
  for_each_tile(c, kernel, start, [&](const float* aim, std::int64_t at, std::int64_t present, float* tile, float* result) {
    for (std::int64_t m = 0; m < kinds; ++m) {
      kernel.squared_distances(aim, weight + m * c.dim, c.dim, tile, result);
      std::copy_n(result, present, out + m * count + at);
    }
    for (std::int64_t s = 0; equality && s < present; ++s) out[kinds * count + at + s] = out[at + s] == 0.0f ? 1.0f : 0.0f;
  });
}

void tree_sum(const float* x, std::int64_t count, std::int64_t length, std::int64_t width, int threads, float* out) {
  constexpr std::int64_t kBlock = 64;  // rows that stay in the cache; a power of two, so that the pairs are the same
  const std::int64_t blocks = (length + kBlock - 1) / kBlock;
  const std::vector<float> half((std::max(kBlock, blocks) + 1) / 2 * width);
  for_each(count, threads, Sums{half, half, std::vector<float>(blocks * width)}, [&](Sums& sums, std::int64_t i) {
    for (std::int64_t b = 0; b < blocks; ++b) {
      fold(x + (i * length + b * kBlock) * width, std::min(kBlock, length - b * kBlock), width, sums);
      std::copy_n(sums.sum.data(), width, sums.rows.data() + b * width);
    }
    fold(sums.rows.data(), blocks, width, sums);
    std::copy_n(sums.sum.data(), width, out + i * width);
  });
}

void best_of_k(std::int64_t prompts, std::int64_t samples, int threads, const Kernel& kernel, const float* score, bool lowest,
               const std::vector<const float*>& values, const double* weight, std::int64_t columns, double* out) {
  const auto kinds = static_cast<std::int64_t>(values.size());
  struct Scratch { Ranking ranking; std::vector<double> ranked; };
  const Scratch scratch{Ranking(samples), std::vector<double>(kinds * samples)};
  for_each(prompts, threads, scratch, [&](Scratch& mine, std::int64_t prompt) {
    mine.ranking.sort(score + prompt * samples, lowest);
    for (std::int64_t m = 0; m < kinds; ++m) {
      mine.ranking.rank(values[m] + prompt * samples, mine.ranked.data() + m * samples);
    }
    kernel.weigh(mine.ranked.data(), kinds, weight, samples, columns, prompts * columns, out + prompt * columns);
  });
}

void vote_recovery(const Candidates& c, const float* w_star, std::int64_t block, const std::int64_t* orders,
                   const std::vector<Groups>& groups, double* out) {
  const std::int64_t count = static_cast<std::int64_t>(groups.size());
  std::int64_t partitions = 0;
  for (const Groups& g : groups) partitions = std::max(partitions, g.partitions);
  for_each(c.prompts, c.threads, 0, [&](int, std::int64_t prompt) {
    double* const mean = out + prompt * count;
    std::fill_n(mean, count, 0.0);
    const auto add = [&](Tally& tally, std::int64_t partition) {
      for (std::int64_t g = 0; g < count; ++g) {
        if (partition >= groups[g].partitions) continue;
        mean[g] += tally.groups_of(groups[g].size).recovery() / static_cast<double>(groups[g].partitions);
      }
    };
    Tally drawn(Votes(c.w + prompt * c.samples * c.dim, c.samples, c.dim, w_star + prompt * c.dim));
    add(drawn, 0);
    for (std::int64_t partition = 1; partition < partitions; ++partition) {
      Tally shuffled(drawn.groups_of(block).in_order(orders + (partition - 1) * (c.samples / block)));
      add(shuffled, partition);
    }
  });
}

}  // namespace ttc_fast
