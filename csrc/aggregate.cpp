#include "aggregate.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <utility>

#include "helpers.h"
#include "ranking.h"

namespace ttc_fast {

namespace {

// use(shared, prompt * samples + first sample, samples present, tile [dim][kernel.samples], result [kernel.samples])
// for every tile of samples; start(prompt) gives what tiles of one prompt share. The lanes beyond the samples repeat
// the last.
template <class Start, class Use>
void for_each_tile(const Candidates& c, const Kernel& kernel, Start start, Use use) {
  struct Scratch { std::vector<float> tile, result; };
  const auto scratch = [&] {
    return Scratch{std::vector<float>(c.dim * kernel.samples), std::vector<float>(kernel.samples)};
  };
  const std::int64_t tiles = (c.samples + kernel.samples - 1) / kernel.samples;
  const std::int64_t enough = 4 * std::int64_t{c.threads};
  const std::int64_t parts = std::min(tiles, (enough + c.prompts - 1) / std::max<std::int64_t>(c.prompts, 1));
  for_each(c.prompts * parts, c.threads, scratch, [&](Scratch& mine, std::int64_t item) {
    const std::int64_t prompt = item / parts, part = item % parts;
    const auto shared = start(prompt);
    for (std::int64_t t = tiles * part / parts; t < tiles * (part + 1) / parts; ++t) {
      const std::int64_t at = prompt * c.samples + t * kernel.samples;
      const std::int64_t present = std::min(kernel.samples, c.samples - t * kernel.samples);
      kernel.transpose(c.w + at * c.dim, c.dim, present, c.dim, mine.tile.data());
      const std::int64_t rest = (prompt + 1) * c.samples - at - present;
      const float* const next = c.w + (at + present) * c.dim;  // comes from memory meanwhile
      for (std::int64_t i = 0; i < std::min(rest, kernel.samples) * c.dim; i += 16) __builtin_prefetch(next + i);
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

// Bits that are 1; the portable instruction set has no instruction for it.
int ones(std::uint64_t x) {
  x -= x >> 1 & 0x5555555555555555u;
  x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
  return static_cast<int>(((x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Fu) * 0x0101010101010101u >> 56);
}

// The votes of groups of candidates, 64 coefficients at once: bit p of the counts in plane p.
class Votes {
 public:
  // Of the candidates themselves: where their bits [words][count] are as w_star [dim], and 1 beyond dim.
  Votes(const Kernel& kernel, const std::uint64_t* bits, std::int64_t count, std::int64_t dim, const float* w_star)
      : Votes(1, (dim + 63) / 64, count) {
    std::vector<std::uint64_t> aim(words_);
    kernel.pack_bits(w_star, 1, dim, 1, aim.data());
    for (std::int64_t i = 0; i < words_; ++i) {
      for (std::int64_t s = 0; s < count; ++s) row(0, i)[s] = bits[i * count + s] ^ ~aim[i];
    }
  }

  // Of groups of `factor` groups of `parts` that follow each other.
  Votes(const Votes& parts, std::int64_t factor) : Votes(parts.size_ * factor, parts.words_, parts.count_ / factor) {
    std::vector<std::uint64_t> carry(count_);
    for (std::int64_t i = 0; i < words_; ++i) {
      for (std::int64_t member = 0; member < factor; member += factor == 2 ? 2 : 1) {
        std::fill(carry.begin(), carry.end(), 0);
        for (std::int64_t p = 0; p < planes_; ++p) {
          const std::uint64_t* const part = p < parts.planes_ ? parts.row(p, i) + member : nullptr;
          if (part && factor == 2) add_pairs(part, count_, row(p, i), carry.data());
          else add(part, factor, count_, row(p, i), carry.data());
        }
      }
    }
  }

  std::int64_t size() const { return size_; }

  Votes in_order(const std::int64_t* order) const {
    Votes votes(size_, words_, count_);
    for (std::int64_t r = 0; r < planes_ * words_; ++r) {
      for (std::int64_t g = 0; g < count_; ++g) votes.votes_[r * count_ + g] = votes_[r * count_ + order[g]];
    }
    return votes;
  }

  // The votes of the first group for each coefficient.
  void count(std::int64_t dim, std::int64_t* out) const {
    for (std::int64_t i = 0; i < dim; ++i) {
      out[i] = 0;
      for (std::int64_t p = 0; p < planes_; ++p) {
        out[i] |= static_cast<std::int64_t>(*row(p, i / 64) >> i % 64 & 1) << p;
      }
    }
  }

  // Mean over the groups of the probability that all coefficients have a majority of right votes, or win a fair coin
  // where they have just half.
  double recovery() const {
    std::vector<std::int64_t> right(64 * words_ + 1);  // groups by the number of their ties, the others being right
    for (std::int64_t begin = 0; begin < count_; begin += kBlock) {
      const std::int64_t size = std::min(kBlock, count_ - begin);
      std::uint64_t wrong[kBlock] = {}, equal[kBlock];
      int tied[kBlock] = {};
      for (std::int64_t i = 0; i < words_; ++i) {
        compare(i, begin, size, wrong, equal);
        for (std::int64_t g = 0; size_ % 2 == 0 && g < size; ++g) tied[g] += ones(equal[g]);
      }
      // No branch, which could not be predicted.
      for (std::int64_t g = 0; g < size; ++g) right[tied[g]] += wrong[g] == 0;
    }
    double sum = 0.0;
    for (std::size_t t = right.size(); t-- > 0;) sum += std::ldexp(static_cast<double>(right[t]), -static_cast<int>(t));
    return sum / static_cast<double>(count_);
  }

  // Bits of a count of votes.
  static std::int64_t planes(std::int64_t size) {
    std::int64_t planes = 0;
    while (size >> planes) ++planes;
    return planes;
  }

 private:
  static constexpr std::int64_t kBlock = 64;  // groups whose votes are compared at a time

  Votes(std::int64_t size, std::int64_t words, std::int64_t count)
      : size_(size), words_(words), count_(count), planes_(planes(size)), votes_(planes_ * words * count) {}

  std::uint64_t* row(std::int64_t plane, std::int64_t word) { return votes_.data() + (plane * words_ + word) * count_; }
  const std::uint64_t* row(std::int64_t plane, std::int64_t word) const {
    return const_cast<Votes*>(this)->row(plane, word);
  }

  // total += part + carry in one plane, for every stride-th part; the carry is left.
  static void add(const std::uint64_t* __restrict part, std::int64_t stride, std::int64_t count,
                  std::uint64_t* __restrict total, std::uint64_t* __restrict carry) {
    for (std::int64_t g = 0; g < count; ++g) {
      const std::uint64_t a = total[g], b = part ? part[g * stride] : 0, c = carry[g];
      total[g] = a ^ b ^ c;
      carry[g] = (a & b) | ((a ^ b) & c);
    }
  }

  // total = the sum of neighbours and the carry in one plane; the carry is left.
  static void add_pairs(const std::uint64_t* __restrict parts, std::int64_t count, std::uint64_t* __restrict total,
                        std::uint64_t* __restrict carry) {
    for (std::int64_t g = 0; g < count; ++g) {
      const std::uint64_t a = parts[2 * g], b = parts[2 * g + 1], c = carry[g];
      total[g] = a ^ b ^ c;
      carry[g] = (a & b) | ((a ^ b) & c);
    }
  }

  // Adds to `wrong` the coefficients of word i that have less than half of the votes; `equal`: just half, rounded down.
  void compare(std::int64_t i, std::int64_t begin, std::int64_t size, std::uint64_t* __restrict wrong,
               std::uint64_t* __restrict equal) const {
    std::uint64_t more[kBlock] = {};
    std::fill_n(equal, size, ~std::uint64_t{0});
    for (std::int64_t p = planes_; p-- > 0;) {  // as far as the bits from the highest down to p tell
      const std::uint64_t half = size_ / 2 >> p & 1 ? ~std::uint64_t{0} : 0, *const bit = row(p, i) + begin;
      for (std::int64_t g = 0; g < size; ++g) {
        more[g] |= equal[g] & bit[g] & ~half;
        equal[g] &= ~(bit[g] ^ half);
      }
    }
    const std::uint64_t tie = size_ % 2 ? 0 : ~std::uint64_t{0};
    for (std::int64_t g = 0; g < size; ++g) wrong[g] |= ~(more[g] | (equal[g] & tie));
  }

  std::int64_t size_, words_, count_, planes_;
  std::vector<std::uint64_t> votes_;  // [planes][words][count]
};

// The votes of groups of some sizes, each made of the largest before that divides it, by pairs as far as possible.
class Tally {
 public:
  explicit Tally(Votes least) { made_.push_back(std::move(least)); }

  const Votes& groups_of(std::int64_t size) {
    const auto divides = [&](const Votes& v) { return size % v.size() == 0; };
    const Votes* from = &*std::find_if(made_.rbegin(), made_.rend(), divides);
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

void measure(const Candidates& c, const Kernel& kernel, const Measures& m) {
  const std::int64_t count = c.prompts * c.samples;
  if (count == 0) return;
  struct Aim { std::vector<float> matrix; const float* target; };
  const std::int64_t gram = m.loss ? kernel.gram_size(m.examples, c.dim) : 0;
  const std::int64_t rows = m.loss ? kernel.padded(kernel.residual_rows(m.examples, c.dim)) : 0;
  const auto start = [&](std::int64_t prompt) {
    Aim aim{{}, m.distance ? m.target + prompt * c.dim : nullptr};
    if (!m.loss) return aim;
    std::vector<double> scratch(gram);
    aim.matrix.resize(rows * (c.dim + 1) + 1);
    const float *const x = m.x + prompt * m.examples * c.dim, *const y = m.y + prompt * m.examples;
    kernel.pack_examples(x, y, m.examples, c.dim, scratch.data(), aim.matrix.data());
    return aim;
  };
  const auto use = [&](const Aim& aim, std::int64_t at, std::int64_t present, float* tile, float* result) {
    if (m.loss) {
      kernel.squared_residuals(aim.matrix.data(), m.examples, c.dim, tile, result);
      for (std::int64_t s = 0; s < present; ++s) m.loss[at + s] = m.factor * result[s];
    }
    if (m.bits) {
      const std::int64_t prompt = at / c.samples, first = prompt * ((c.dim + 63) / 64) * c.samples + at % c.samples;
      kernel.pack_bits(c.w + at * c.dim, present, c.dim, c.samples, m.bits + first);
    }
    if (!m.distance) return;
    for (std::int64_t k = 0; k < m.kinds; ++k) {
      kernel.squared_distances(aim.target, m.weight + k * c.dim, c.dim, tile, result);
      std::copy_n(result, present, m.distance + k * count + at);
    }
    const float* const first = m.distance + at;
    for (std::int64_t s = 0; m.equality && s < present; ++s) m.distance[m.kinds * count + at + s] = first[s] == 0.0f;
  };
  const std::int64_t bytes = 4 * ((c.dim + 1) * kernel.samples + rows * (c.dim + 1) + 1) + 8 * gram;
  const char* const fewer = m.loss ? "coefficients or examples" : "coefficients";
  needing({"the scratch of losses and errors", bytes, c.threads, fewer}, [&] { for_each_tile(c, kernel, start, use); });
}

void tree_sum(const float* x, std::int64_t count, std::int64_t length, std::int64_t width, int threads, float* out) {
  constexpr std::int64_t kBlock = 64;  // rows that stay in the cache; a power of two, so that the pairs are the same
  if (count == 0 || width == 0) return;
  const std::int64_t blocks = (length + kBlock - 1) / kBlock, half = (std::max(kBlock, blocks) + 1) / 2 * width;
  const auto scratch = [&] {
    return Sums{std::vector<float>(half), std::vector<float>(half), std::vector<float>(blocks * width)};
  };
  const auto add = [&](Sums& sums, std::int64_t i) {
    for (std::int64_t b = 0; b < blocks; ++b) {
      fold(x + (i * length + b * kBlock) * width, std::min(kBlock, length - b * kBlock), width, sums);
      std::copy_n(sums.sum.data(), width, sums.rows.data() + b * width);
    }
    fold(sums.rows.data(), blocks, width, sums);
    std::copy_n(sums.sum.data(), width, out + i * width);
  };
  const std::int64_t used = std::min<std::int64_t>(threads, count);
  const Need need{"the sums' scratch", 4 * (2 * half + blocks * width), used, "candidates"};
  needing(need, [&] { for_each(count, threads, scratch, add); });
}

namespace {

// The ranks before those at the end that weigh nothing, for every eight of the columns.
std::vector<std::int64_t> weighing(const double* weight, std::int64_t samples, std::int64_t columns) {
  std::vector<std::int64_t> ranks(columns / 8, samples);
  for (std::int64_t k = 0; k < columns / 8; ++k) {
    const auto nothing = [&](std::int64_t j) {
      const double* const eight = weight + j * columns + 8 * k;
      return std::all_of(eight, eight + 8, [](double x) { return x == 0.0; });
    };
    while (ranks[k] > 0 && nothing(ranks[k] - 1)) --ranks[k];
  }
  return ranks;
}

}  // namespace

void best_of_k(std::int64_t prompts, std::int64_t samples, int threads, const Kernel& kernel, const float* score,
               bool lowest, const std::vector<const float*>& values, const double* weight, std::int64_t columns,
               double* out) {
  if (prompts == 0) return;
  const auto kinds = static_cast<std::int64_t>(values.size());
  struct Scratch { Ranking ranking; std::vector<double> ranked; };
  const auto scratch = [&] { return Scratch{Ranking(samples), std::vector<double>(kinds * samples)}; };
  const Need need{"the ranking's scratch", (Ranking::kBytes + 8 * kinds) * samples,
                  std::min<std::int64_t>(threads, prompts), "candidates"};
  needing(need, [&] {
    const std::vector<std::int64_t> ranks = weighing(weight, samples, columns);
    for_each(prompts, threads, scratch, [&](Scratch& mine, std::int64_t prompt) {
      mine.ranking.sort(score + prompt * samples, lowest);
      for (std::int64_t m = 0; m < kinds; ++m) {
        mine.ranking.rank(values[m] + prompt * samples, mine.ranked.data() + m * samples);
      }
      kernel.weigh(mine.ranked.data(), kinds, weight, samples, columns, ranks.data(), prompts * columns,
                   out + prompt * columns);
    });
  });
}

void vote_recovery(const Candidates& c, const std::uint64_t* bits, const Kernel& kernel, const float* w_star,
                   std::int64_t block, const std::int64_t* orders, const std::vector<Groups>& groups, double* out,
                   std::int64_t* right) {
  if (c.prompts == 0) return;
  const std::int64_t count = static_cast<std::int64_t>(groups.size());
  std::int64_t partitions = 0, votes = c.samples + Votes::planes(c.samples);  // words of 64 coefficients
  for (const Groups& g : groups) {
    partitions = std::max(partitions, g.partitions);
    votes += c.samples / g.size * Votes::planes(g.size);
  }
  const auto recovery = [&](int, std::int64_t prompt) {
    double* const mean = out + prompt * count;
    std::fill_n(mean, count, 0.0);
    const auto add = [&](Tally& tally, std::int64_t partition) {
      for (std::int64_t g = 0; g < count; ++g) {
        if (partition >= groups[g].partitions) continue;
        mean[g] += tally.groups_of(groups[g].size).recovery() / static_cast<double>(groups[g].partitions);
      }
    };
    const std::uint64_t* const prompt_bits = bits + prompt * ((c.dim + 63) / 64) * c.samples;
    Tally drawn(Votes(kernel, prompt_bits, c.samples, c.dim, w_star + prompt * c.dim));
    add(drawn, 0);
    drawn.groups_of(c.samples).count(c.dim, right + prompt * c.dim);
    for (std::int64_t partition = 1; partition < partitions; ++partition) {
      Tally shuffled(drawn.groups_of(block).in_order(orders + (partition - 1) * (c.samples / block)));
      add(shuffled, partition);
    }
  };
  const Need need{"the votes' scratch", 16 * votes * ((c.dim + 63) / 64),
                  std::min<std::int64_t>(c.threads, c.prompts), "candidates"};
  needing(need, [&] { for_each(c.prompts, c.threads, [] { return 0; }, recovery); });
}

}  // namespace ttc_fast
