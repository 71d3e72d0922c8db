// The law of a vote where the first sample wins a tie: a walk over the places of the samples.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "race.h"

namespace ttc_fast {

// Adds the probability that an answer wins with j votes where the first sample wins a tie. The product of all factors
// below + ahead is the probability that all votes of the leaders come after the present place: what it loses on passing
// the place, the answer of that place wins.
void Race::add_first(Integer j) {
  const Integer size = static_cast<Integer>(kept_.size());
  double all = 1 / vote_.at_k;  // a bound of the probability that none has more than j votes
  for (const Answer& b : strong_) all *= b.at_most;
  products_.resize(strong_.size() + 1, base_);
  products_[0] = base_;
  std::vector<Answer*> contenders;
  tied_ = 0;
  for (Answer& b : strong_) {
    b.ahead = b.law[j - start_];
    b.passed = 0;
    for (double later = b.ahead; later * all > kLeast * b.at_most; ++b.passed) {
      b.later[b.passed] = later;
      const Integer left = b.samples - b.passed;
      later *= static_cast<double>(left - j) / left;
    }
    b.later[b.passed] = 0;
    if (b.passed == 0) {
      multiply(products_[0], b.near, size);
    } else {
      contenders.push_back(&b);
      tied_ += b.ahead / b.at_most;
    }
  }
  if (contenders != contenders_) {
    contenders_ = std::move(contenders);
    list_runs();
  }
  // Three or more tie and begin after the present place with probability all * tied^3 / 6 at most. Where that is
  // negligible, and where there are only two contenders, a table of the pairs is enough, if it is not too large.
  const std::size_t count = contenders_.size();
  const bool few = count * count <= runs_.size();
  const double pairs_suffice = count <= 2 ? tied_ : few ? std::cbrt(6 * kLeastTriple / all) : -1;
  std::size_t done = 0;
  for (std::size_t i = 0; tied_ > pairs_suffice && done < runs_.size(); ++i) {
    if (i == steps_.size()) plan();
    const Step& step = steps_[i];
    if (step.begin < step.end) {
      pass(step);
      done = step.end;
    } else {
      const Answer& b = *contenders_[step.answer];
      multiply(products_[step.factors], b.near, b.ahead, products_[step.factors + 1], size);
    }
  }
  if (pairs_suffice > 0 && done < runs_.size()) pass_late(done);
}

void Race::list_runs() {
  std::vector<std::size_t> contender_of(vote_.sizes.size(), contenders_.size());
  for (std::size_t m = 0; m < contenders_.size(); ++m) contender_of[contenders_[m]->index] = m;
  std::vector<Integer> seen(contenders_.size());
  runs_.clear();
  for (const Integer answer : vote_.answer_of) {
    const std::size_t m = answer < 0 ? contenders_.size() : contender_of[answer];
    if (m == contenders_.size()) continue;
    if (runs_.empty() || runs_.back().answer != m) runs_.push_back({m, 0});
    runs_.back().seen = ++seen[m];
  }
  steps_.clear();
  seen_at_.assign(contenders_.size(), time_);
}

// Steps through more runs, so many that most contenders occur in them: longer stretches would share almost no factors.
void Race::plan() {
  const std::size_t more = std::max<std::size_t>(64, 8 * contenders_.size());
  const std::size_t begin = steps_.empty() ? 0 : steps_.back().end;
  present_.resize(contenders_.size());
  std::iota(present_.begin(), present_.end(), 0);
  plan(0, begin, std::min(begin + more, runs_.size()), 0);
}

// Steps through runs of the answers present_[bottom], ...: first the factors of those that have no run among them, then
// each half of the runs by itself.
void Race::plan(std::size_t factors, std::size_t begin, std::size_t end, std::size_t bottom) {
  const std::size_t top = present_.size();
  std::size_t found = 0;
  ++time_;
  for (std::size_t r = begin; r < end && found < top - bottom; ++r)
    if (std::exchange(seen_at_[runs_[r].answer], time_) != time_) ++found;
  for (std::size_t i = bottom; i < top; ++i) {
    const std::size_t b = present_[i];
    if (seen_at_[b] == time_) present_.push_back(b);
    else steps_.push_back({factors++, b, b, begin, begin});
  }
  if (found <= 2) {
    steps_.push_back({factors, runs_[begin].answer, runs_[std::min(begin + 1, end - 1)].answer, begin, end});
  } else {
    std::size_t half = 1;
    while (2 * half < end - begin) half *= 2;
    plan(factors, begin, begin + half, top);
    plan(factors, begin + half, end, top);
  }
  present_.resize(top);
}

// Passes runs of two contenders in turn, or of one, by the sums over the roots with and without the other's `below`.
void Race::pass(const Step& step) {
  const Integer size = static_cast<Integer>(kept_.size());
  const Spectrum& product = products_[step.factors];
  Answer* turn[] = {contenders_[step.answer], contenders_[step.other]};
  double pair = real_sum(product, size), alone[] = {pair, 0};
  if (turn[0] == turn[1]) pair = 0;
  else
    for (const int own : {0, 1}) alone[own] = real_sum(product, turn[1 - own]->near, size);
  for (std::size_t r = step.begin; r < step.end; ++r) {
    const std::size_t own = (r - step.begin) % 2;
    Answer& a = *turn[own];
    const double later = a.later[std::min(runs_[r].seen, a.passed)], here = a.ahead - later;
    a.won += here * (alone[own] + pair * turn[1 - own]->ahead);
    a.ahead = later;
    tied_ -= here / a.at_most;
  }
}

// Passes all other runs, where no more than two tie: by the sums over the roots without each contender and each pair.
void Race::pass_late(std::size_t begin) {
  const Integer size = static_cast<Integer>(kept_.size());
  const std::size_t count = contenders_.size();
  std::fill(after_.re.begin(), after_.re.end(), 1.0);
  std::fill(after_.im.begin(), after_.im.end(), 0.0);
  for (auto b = contenders_.rbegin(); b != contenders_.rend(); ++b) {
    (*b)->factor = after_;
    multiply(after_, (*b)->near, size);
  }
  // beaten[m]: the probability that contender m, where its votes begin here, beats all others.
  Reals pairs(count * count), alone(count), beaten(count), won(count);
  std::size_t ahead = 0;
  for (std::size_t m = 0; m < count; ++m) {
    Answer& a = *contenders_[m];
    if (a.ahead > 0) ++ahead;
    product_ = products_[0];
    for (std::size_t l = m + 1; l < count; ++l) {
      Answer& b = *contenders_[l];
      pairs[m * count + l] = pairs[l * count + m] = real_sum(product_, b.factor, size);
      multiply(product_, b.near, size);
    }
    alone[m] = real_sum(product_, size);
    multiply(products_[0], a.near, size);
  }
  for (std::size_t r = begin; r < runs_.size() && ahead > 0; ++r) {
    if ((r - begin) % 1024 == 0) {  // anew, so that no rounding builds up over a million places
      for (std::size_t m = 0; m < count; ++m) {
        contenders_[m]->won += std::exchange(won[m], 0);
        beaten[m] = alone[m];
        for (std::size_t l = 0; l < count; ++l) beaten[m] += pairs[m * count + l] * contenders_[l]->ahead;
      }
    }
    const std::size_t m = runs_[r].answer;
    Answer& a = *contenders_[m];
    if (a.ahead == 0) continue;
    const double later = a.later[std::min(runs_[r].seen, a.passed)], here = a.ahead - later;
    won[m] += here * beaten[m];
    for (std::size_t l = 0; l < count; ++l) beaten[l] -= here * pairs[m * count + l];
    a.ahead = later;
    if (later == 0) --ahead;
  }
  for (std::size_t m = 0; m < count; ++m) contenders_[m]->won += won[m];
}

}  // namespace ttc_fast
