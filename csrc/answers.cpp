#include "answers.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "helpers.h"
#include "philox.h"
#include "ranking.h"

namespace ttc_fast {

namespace {

constexpr std::uint32_t kStreamTies = 7;  // ttc_fast/numerics/rng.py, Stream

// Counterpart of mixed in ttc_fast/techniques/identities.py.
std::uint64_t mix(std::uint64_t x) {
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
  x = (x ^ x >> 27) * 0x94D049BB133111EBu;
  return x ^ x >> 31;
}

// The candidates of one prompt, in groups of the present order.
class Prompt {
 public:
  Prompt(const Candidates& c, const Kernel& kernel, const Answering& a, const float* score, std::int64_t prompt)
      : kernel_(kernel), a_(a), samples_(c.samples), dim_(c.dim), w_(c.w + prompt * c.samples * c.dim),
        score_(score + prompt * c.samples), prompt_(static_cast<std::uint32_t>(a.first_prompt + prompt)),
        order_(c.samples), weight_(c.samples, 1.0f), present_(c.samples, 1.0f) {
    std::iota(order_.begin(), order_.end(), 0);
    if (a.technique == Technique::kMajorityOfBest) sort_scores();
    else if (a.technique != Technique::kPlurality) find_weights();
    if (a.technique == Technique::kPlurality || a.technique == Technique::kWeightedBestOfN) find_identical();
  }

  // What it takes with any technique: most of it to find identical answers.
  static std::int64_t bytes(const Candidates& c) { return c.samples * (12 + 28 + 32 + 8 * ((c.dim + 63) / 64)) + 256; }

  // Blocks in this order, and then what they leave over.
  void shuffle(std::int64_t block, const std::int64_t* order) {
    for (std::int64_t s = 0; s < samples_ / block * block; ++s) {
      order_[s] = static_cast<std::uint32_t>(order[s / block] * block + s % block);
    }
  }

  // An answer [dim] of every group of `size` to out.
  void answer(std::int64_t size, float* out) {
    if (size > 1 && a_.technique == Technique::kMajorityOfBest) collect_best(size);
    for (std::int64_t g = 0; g < samples_ / size; ++g, out += dim_) {
      const std::uint32_t* const group = order_.data() + g * size;
      if (size == 1) std::copy_n(w_ + group[0] * dim_, dim_, out);
      else if (a_.technique == Technique::kSoftmaxMean) mean(group, size, out);
      else if (a_.technique == Technique::kWeightedVote) vote(group[0], weighted_sum(group, size, out), out);
      else if (a_.technique == Technique::kMajorityOfBest) {
        const float* const ones = weight_.data();
        vote(group[0], kernel_.weighted_sum(w_, dim_, best_.data() + g * (kept_ + 1), ones, kept_, out), out);
      } else std::copy_n(w_ + most(group, size) * dim_, dim_, out);
    }
  }

 private:
  void sort_scores() {
    ranking_ = Ranking(samples_);
    ranking_.sort(score_, false);
    place_.resize(samples_);
    best_.resize(2 * samples_);
    filled_.resize(samples_);
  }

  // exp(beta score), relative to the best of all.
  void find_weights() {
    const float top = *std::max_element(score_, score_ + samples_);
    std::vector<float> exponent((samples_ + 15) / 16 * 16), power(exponent.size());
    for (std::int64_t s = 0; s < samples_; ++s) {
      exponent[s] = static_cast<float>(a_.parameter * 1.4426950408889634 * (score_[s] - top));
    }
    kernel_.exp2(exponent.data(), exponent.size(), power.data());
    std::copy_n(power.begin(), samples_, weight_.begin());
  }

  void load_weights(const std::uint32_t* group, std::int64_t size) {
    for (std::int64_t j = 0; j < size; ++j) present_[j] = weight_[group[j]];
  }

  // Relative to the best of the group: where all are far worse than the best of all.
  void find_own_weights(const std::uint32_t* group, std::int64_t size) {
    float top = score_[group[0]];
    for (std::int64_t j = 1; j < size; ++j) top = std::max(top, score_[group[j]]);
    for (std::int64_t j = 0; j < size; ++j) {
      present_[j] = static_cast<float>(std::exp(a_.parameter * (static_cast<double>(score_[group[j]]) - top)));
    }
  }

  // The sum of the members by their weights to out, that of the weights as the result.
  float weighted_sum(const std::uint32_t* group, std::int64_t size, float* out) {
    load_weights(group, size);
    const float total = kernel_.weighted_sum(w_, dim_, group, present_.data(), size, out);
    if (total > 0x1p-60f) return total;
    find_own_weights(group, size);
    return kernel_.weighted_sum(w_, dim_, group, present_.data(), size, out);
  }

  void mean(const std::uint32_t* group, std::int64_t size, float* out) {
    const float total = weighted_sum(group, size, out);
    for (std::int64_t i = 0; i < dim_; ++i) out[i] /= total;
  }

  // An id of every answer, as in ttc_fast/techniques/identities.py, and the first sample that gives it.
  void find_identical() {
    const std::int64_t words = (dim_ + 63) / 64;
    std::vector<std::uint64_t> bits(words * samples_);
    kernel_.pack_bits(w_, samples_, dim_, samples_, bits.data());
    id_.resize(samples_);
    for (std::int64_t s = 0; s < samples_; ++s) {
      if (dim_ < 63) {
        id_[s] = bits[s];
        continue;
      }
      for (std::int64_t i = 0; i < dim_; ++i) {
        if (bits[i / 64 * samples_ + s] >> i % 64 & 1) id_[s] += mix(static_cast<std::uint64_t>(i) + 1);
      }
    }
    std::size_t slots = 16;
    while (slots < 2 * id_.size()) slots *= 2;
    std::vector<std::int64_t> slot(slots, -1);
    first_.resize(samples_);
    sum_.resize(samples_);
    seen_.resize(samples_);
    for (std::int64_t s = 0; s < samples_; ++s) {
      std::size_t at = mix(id_[s]) % slots;
      while (slot[at] >= 0 && id_[slot[at]] != id_[s]) at = (at + 1) % slots;
      if (slot[at] < 0) slot[at] = s;
      first_[s] = static_cast<std::uint32_t>(slot[at]);
    }
  }

  // The largest sum of the weights of equal answers; the sums are of whole numbers, so that they do not depend on the
  // order.
  std::int64_t add_weights(const std::uint32_t* group, std::int64_t size) {
    const double unit = std::min(0x1p40, std::floor(0x1p62 / static_cast<double>(size)));
    std::int64_t best = 0;
    ++group_;
    for (std::int64_t j = 0; j < size; ++j) {
      const std::uint32_t answer = first_[group[j]];
      const std::int64_t before = std::exchange(seen_[answer], group_) == group_ ? sum_[answer] : 0;
      const float weight = present_[j] > 0 ? std::min(present_[j], 1.0f) : 0.0f;  // NaN is 0
      sum_[answer] = before + static_cast<std::int64_t>(unit * weight);
      best = std::max(best, sum_[answer]);
    }
    return best;
  }

  // A sample that gives the answer with the most weight.
  std::uint32_t most(const std::uint32_t* group, std::int64_t size) {
    load_weights(group, size);
    std::int64_t best = add_weights(group, size);
    if (best < std::int64_t{1} << 20) {
      find_own_weights(group, size);
      best = add_weights(group, size);
    }
    std::uint32_t winner = 0, winners = 0;
    std::int64_t highest = 0;
    std::uint64_t coin = 0;
    for (std::int64_t j = 0; j < size; ++j) {
      const std::uint32_t answer = first_[group[j]];
      if (sum_[answer] != best || (winners && answer == winner)) continue;
      if (++winners == 2) {
        coin = word(group[0], 0);
        highest = static_cast<std::int64_t>(mix(id_[winner] ^ coin));
      }
      const std::int64_t key = winners == 1 ? 0 : static_cast<std::int64_t>(mix(id_[answer] ^ coin));
      if (winners > 1 && key <= highest) continue;
      winner = answer;
      highest = key;
    }
    return winner;
  }

  // The best of every group of `size`, one place after them for those that are not.
  void collect_best(std::int64_t size) {
    const auto groups = static_cast<std::uint32_t>(samples_ / size), members = static_cast<std::uint32_t>(size);
    kept_ = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(a_.parameter * static_cast<double>(size))));
    for (std::int64_t s = 0; s < samples_; ++s) place_[order_[s]] = static_cast<std::uint32_t>(s) / members;
    std::fill_n(filled_.begin(), groups, 0);
    for (std::int64_t r = 0; r < samples_; ++r) {
      const std::uint32_t sample = ranking_.sample(r), g = place_[sample];
      if (g == groups) continue;  // left over
      best_[g * (kept_ + 1) + filled_[g]] = sample;
      filled_[g] += filled_[g] < kept_;
    }
  }

  // From sums of weights to bits: above half of the total, or at it and the coin says so.
  void vote(std::uint32_t first, float total, float* sums) const {
    bool tied = false;
    for (std::int64_t i = 0; i < dim_; ++i) tied |= 2.0f * sums[i] == total;
    for (std::int64_t i = 0; tied && i < dim_; ++i) {
      if (2.0f * sums[i] == total) sums[i] = word(first, i) >> 31 ? total : 0.0f;
    }
    for (std::int64_t i = 0; i < dim_; ++i) sums[i] = 2.0f * sums[i] > total ? 1.0f : 0.0f;
  }

  // Of the contract: a group is named by its first sample.
  std::uint32_t word(std::uint32_t first, std::int64_t coordinate) const {
    const Words counter{first, static_cast<std::uint32_t>(coordinate) | kStreamTies << 24,
                        static_cast<std::uint32_t>(a_.step / 4), prompt_};
    return philox4x32_10(counter, a_.seed)[a_.step % 4];
  }

  const Kernel& kernel_;
  const Answering& a_;
  const std::int64_t samples_, dim_;
  const float *w_, *score_;
  const std::uint32_t prompt_;
  std::vector<std::uint32_t> order_;
  std::vector<float> weight_, present_;  // of every sample, and of the members of a group
  // Of the whole answer of every sample: its id, and the first sample with the same answer. Of the answer, at that
  // first sample: the sum of its weights, and the last group that it was seen in.
  std::vector<std::uint64_t> id_;
  std::vector<std::uint32_t> first_;
  std::vector<std::int64_t> sum_, seen_;
  std::int64_t group_ = 0;
  // Of the best of the groups.
  Ranking ranking_{0};
  std::vector<std::uint32_t> place_, best_;  // the group of every sample, the samples of every group
  std::vector<std::int64_t> filled_;
  std::int64_t kept_ = 0;
};

}  // namespace

void group_answers(const Candidates& c, const Kernel& kernel, const Answering& a, const float* score,
                   std::int64_t block, const std::int64_t* orders, const std::vector<Groups>& groups, float* answers) {
  if (c.prompts == 0) return;
  std::int64_t partitions = 0, all = 0;
  for (const Groups& g : groups) {
    all += c.samples / g.size * g.partitions;
    partitions = std::max(partitions, g.partitions);
  }
  const auto answer = [&](int, std::int64_t p) {
    Prompt prompt(c, kernel, a, score, p);
    for (std::int64_t partition = 0; partition < partitions; ++partition) {
      if (partition) prompt.shuffle(block, orders + (partition - 1) * (c.samples / block));
      std::int64_t begin = 0;  // of the answers of a size
      for (const Groups& g : groups) {
        const std::int64_t at = begin + partition * (c.samples / g.size);
        begin += c.samples / g.size * g.partitions;
        if (partition < g.partitions) prompt.answer(g.size, answers + (p * all + at) * c.dim);
      }
    }
  };
  const std::int64_t threads = std::min<std::int64_t>(c.threads, c.prompts);
  const Need need{"the answers' scratch", Prompt::bytes(c), threads, "candidates"};
  needing(need, [&] { for_each(c.prompts, c.threads, [] { return 0; }, answer); });
}

}  // namespace ttc_fast
