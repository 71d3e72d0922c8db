// The law of a vote: the numbers of votes with which an answer may win, and ties that are drawn or fail.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "memory.h"
#include "race.h"

namespace ttc_fast {

Race::Race(const Vote& vote) : vote_(vote), start_(vote.k), stop_(0) {
  Integer answers = 0;
  free_ = vote.abstaining;
  for (std::size_t b = 0; b < vote.sizes.size(); ++b) {
    free_ += vote.sizes[b] * vote.repeats[b];
    answers += vote.repeats[b];
  }
  p_ = static_cast<double>(vote.k) / free_;
  // The winner has no fewer votes than the strongest gets, and than the mean; negligible cases aside.
  first_ = std::max<Integer>(1, (vote.k - vote.abstaining + answers - 1) / answers);
  for (const Integer n : vote.sizes) first_ = std::max(first_, range(n, p_).first);
  for (std::size_t b = 0; b < vote.sizes.size(); ++b) {
    const auto [low, high] = range(vote.sizes[b], p_);
    if (high < first_) continue;
    Answer& answer = strong_.emplace_back();
    answer.index = b;
    answer.samples = vote.sizes[b];
    answer.repeats = vote.repeats[b];
    start_ = std::min(start_, low);
    stop_ = std::max(stop_, high);
  }
  for (Answer& b : strong_) b.law = binomial(b.samples, p_, start_, stop_);
  if (!vote.answer_of.empty())
    for (Answer& b : strong_) b.later.resize(b.samples + 1);
}

Reals Race::win_probability() {
  Reals wins(vote_.sizes.size());
  if (!find_votes()) return wins;
  find_frequencies();
  for (Integer j = start_; j <= last_; ++j) {
    for (Answer& b : strong_) b.at_most += b.law[j - start_];
    if (j >= first_) {
      keep_frequencies(j);
      vote_.answer_of.empty() ? add_drawn(j) : add_first(j);
    }
    for (Answer& b : strong_) step(b.below, b.law[j - start_], back_);
    multiply(rest_, turn_, rest_.size());
  }
  for (const Answer& b : strong_) wins[b.index] = std::accumulate(b.wins.begin(), b.wins.end(), b.won);
  return wins;
}

// Narrows down the votes with which one may win, and the answers that may; whether there are any.
bool Race::find_votes() {
  const Integer least = std::exchange(first_, vote_.k + 1);
  last_ = 0;
  Reals at_most(strong_.size());
  for (Integer j = start_; j <= std::min(stop_, vote_.k); ++j) {
    double all = 1, best = 0;
    for (std::size_t b = 0; b < strong_.size(); ++b) {
      const double exactly = strong_[b].law[j - start_];
      at_most[b] += exactly;
      all *= std::pow(at_most[b], strong_[b].repeats);
      best = std::max(best, exactly / at_most[b]);
    }
    if (j < least || !(all * best > kLeast * vote_.at_k)) continue;
    first_ = std::min(first_, j);
    last_ = j;
  }
  const auto too_weak = [this](const Answer& b) {
    double reached = 0;
    for (Integer j = first_; j <= last_; ++j) reached += b.law[j - start_];
    return reached <= kLeast * vote_.at_k;
  };
  strong_.erase(std::remove_if(strong_.begin(), strong_.end(), too_weak), strong_.end());
  for (const Answer& b : strong_) {
    rivals_ += b.repeats;
    free_ -= b.samples * b.repeats;
  }
  return first_ <= last_;
}

void Race::find_frequencies() {
  for (Integer w = 0; w <= vote_.roots / 2; ++w) {
    const Complex rest = std::pow(1 - p_ + p_ * root(w), static_cast<double>(free_));
    if (!(std::abs(rest) > kLeast * vote_.at_k)) continue;
    frequencies_.push_back(w);
    const Complex wave = root((start_ * (rivals_ + 1) - vote_.k) % vote_.roots * w);
    rest_.push_back(rest * wave * ((w ? 2 : 1) / (vote_.roots * vote_.at_k)));
    back_.push_back(root(-w));
    turn_.push_back(root((rivals_ + 1) % vote_.roots * w));
  }
  const Integer size = back_.size();
  for (Answer& b : strong_) {
    b.below = b.near = b.factor = b.before = Spectrum(size);
    b.wins.resize(size);
  }
  base_ = product_ = after_ = Spectrum(size);
  bound_.resize(size);
  worst_.resize(size);
}

// Leaves out the roots where the product for j is negligible: below + u P(X = j) is largest with u = 0 or u = 1.
void Race::keep_frequencies(Integer j) {
  const std::size_t size = frequencies_.size();
  for (std::size_t i = 0; i < size; ++i) bound_[i] = rest_.re[i] * rest_.re[i] + rest_.im[i] * rest_.im[i];
  for (const Answer& b : strong_) {
    const double exactly = b.law[j - start_], *re = b.below.re.data(), *im = b.below.im.data();
    double *worst = worst_.data(), *bound = bound_.data();
    for (std::size_t i = 0; i < size; ++i) {
      const double other = re[i] + exactly;
      worst[i] = std::max(re[i] * re[i], other * other) + im[i] * im[i];
    }
    if (b.repeats > 1)
      for (std::size_t i = 0; i < size; ++i) worst[i] = std::pow(worst[i], b.repeats);
    for (std::size_t i = 0; i < size; ++i) bound[i] *= worst[i];
  }
  const double least = kLeast / vote_.roots;
  kept_.clear();
  for (std::size_t i = 0; i < size; ++i)
    if (bound_[i] > least * least) kept_.push_back(i);
  keep(rest_, base_);
  for (Answer& b : strong_) keep(b.below, b.near);
}

void Race::keep(const Spectrum& from, Spectrum& to) const {
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    to.re[i] = from.re[kept_[i]];
    to.im[i] = from.im[kept_[i]];
  }
}

// Adds the probability that an answer wins with j votes where a tie is drawn fairly, or fails.
void Race::add_drawn(Integer j) {
  const Integer most_tied = vote_.fair ? std::min(rivals_, vote_.k / j - 1) : 0;
  // The nodes integrate polynomials of degree most_tied in u exactly.
  if (most_tied == 0) add(j, 0, 1);
  else
    for (const auto& [u, weight] : gauss_legendre(static_cast<int>(most_tied / 2 + 1))) add(j, u, weight);
}

// Adds the probability that an answer wins with j votes where each tied rival is beaten with probability u.
void Race::add(Integer j, double u, double weight) {
  const Integer size = static_cast<Integer>(kept_.size());
  for (Integer i = 0; i < size; ++i) {
    product_.re[i] = weight * base_.re[i];
    product_.im[i] = weight * base_.im[i];
    after_.re[i] = 1;
    after_.im[i] = 0;
  }
  for (Answer& b : strong_) {
    const double beaten = u * b.law[j - start_];
    for (Integer i = 0; i < size; ++i) {
      b.factor.re[i] = b.near.re[i] + beaten;
      b.factor.im[i] = b.near.im[i];
      b.before.re[i] = product_.re[i];
      b.before.im[i] = product_.im[i];
    }
    if (b.repeats > 1) {
      const Spectrum others = power(b.factor, b.repeats - 1, size);
      multiply(b.before, others, size);
      multiply(b.factor, others, size);
    }
    multiply(product_, b.factor, size);
  }
  for (auto b = strong_.rbegin(); b != strong_.rend(); ++b) {
    const double exactly = b->law[j - start_];
    const double *re = b->before.re.data(), *im = b->before.im.data();
    double* wins = b->wins.data();
    for (Integer i = 0; i < size; ++i) wins[i] += exactly * (re[i] * after_.re[i] - im[i] * after_.im[i]);
    multiply(after_, b->factor, size);
  }
}

// What a race takes, with all roots and all answers: spectra, laws, and the places of the samples.
static std::int64_t bytes(const Vote& vote) {
  double votes = 0, answers = static_cast<double>(vote.sizes.size()), total = static_cast<double>(vote.abstaining);
  for (std::size_t b = 0; b < vote.sizes.size(); ++b) total += static_cast<double>(vote.sizes[b] * vote.repeats[b]);
  const double p = static_cast<double>(vote.k) / total;
  for (const Integer n : vote.sizes) votes = std::max<double>(votes, range(n, p).second);
  const bool first = !vote.answer_of.empty();
  const double spectra = (first ? 10 : 8) * answers + 12, roots = static_cast<double>(vote.roots / 2 + 1);
  const double places = first ? 24.0 * static_cast<double>(vote.answer_of.size()) : 0.0;
  const double all = 8 * (answers * (votes + 1) + (spectra + answers) * roots) + places;
  return static_cast<std::int64_t>(std::min(0x1p62, all));
}

std::vector<double> win_probability(const Vote& vote) {
  return needing({"the scratch of the law of a vote", bytes(vote), 1, "samples"}, [&] {
    return Race(vote).win_probability();
  });
}

}  // namespace ttc_fast
