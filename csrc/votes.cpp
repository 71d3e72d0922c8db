#include "votes.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <map>
#include <numeric>
#include <utility>

namespace ttc_fast {
namespace {

using Integer = std::int64_t;
using Reals = std::vector<double>;
using Complex = std::complex<double>;

constexpr double kLeast = 1e-17;    // events below this probability are left out
constexpr double kFewTied = 1e-15;  // and ties of three below this one, of which there is one for each j
const double kPi = std::acos(-1.0);

// Complex numbers, one for each root of unity; the parts apart for the vector units.
struct Waves {
  Reals re, im;
  Waves() = default;
  explicit Waves(Integer size) : re(size), im(size) {}
  Integer size() const { return static_cast<Integer>(re.size()); }
  void push_back(Complex z) {
    re.push_back(z.real());
    im.push_back(z.imag());
  }
};

// product *= factor, of which the first `size` numbers count.
void multiply(Waves& product, const Waves& factor, Integer size) {
  double *__restrict a = product.re.data(), *__restrict b = product.im.data();
  const double *__restrict c = factor.re.data(), *__restrict d = factor.im.data();
  for (Integer i = 0; i < size; ++i) {
    const double re = a[i] * c[i] - b[i] * d[i];
    b[i] = a[i] * d[i] + b[i] * c[i];
    a[i] = re;
  }
}

// below += exactly, then *= back.
void step(Waves& below, double exactly, const Waves& back) {
  double *__restrict a = below.re.data(), *__restrict b = below.im.data();
  const double *__restrict c = back.re.data(), *__restrict d = back.im.data();
  for (Integer i = 0; i < below.size(); ++i) {
    const double re = a[i] + exactly, im = b[i];
    a[i] = re * c[i] - im * d[i];
    b[i] = re * d[i] + im * c[i];
  }
}

// to = product * (below + exactly), of which the first `size` numbers count.
void multiply(const Waves& product, const Waves& below, double exactly, Waves& to, Integer size) {
  const double *__restrict a = product.re.data(), *__restrict b = product.im.data();
  const double *__restrict c = below.re.data(), *__restrict d = below.im.data();
  double *__restrict re = to.re.data(), *__restrict im = to.im.data();
  for (Integer i = 0; i < size; ++i) {
    const double factor = c[i] + exactly;
    re[i] = a[i] * factor - b[i] * d[i];
    im[i] = a[i] * d[i] + b[i] * factor;
  }
}

// term(0) + ... + term(size - 1), for the vector units.
template <class Term>
double sum(Integer size, Term term) {
  double part[4] = {};
  Integer i = 0;
  for (; i + 4 <= size; i += 4)
    for (Integer l = 0; l < 4; ++l) part[l] += term(i + l);
  for (; i < size; ++i) part[0] += term(i);
  return (part[0] + part[1]) + (part[2] + part[3]);
}

// The sum over the roots of the real part of product, or of product * factor. Calls are an eighth faster than inlining:
// the sums of a step then do not compete for registers.
[[gnu::noinline]] double real_sum(const Waves& product, Integer size) {
  const double* a = product.re.data();
  return sum(size, [=](Integer i) { return a[i]; });
}

[[gnu::noinline]] double real_sum(const Waves& product, const Waves& factor, Integer size) {
  const double *a = product.re.data(), *b = product.im.data(), *c = factor.re.data(), *d = factor.im.data();
  return sum(size, [=](Integer i) { return a[i] * c[i] - b[i] * d[i]; });
}

Waves power(Waves base, Integer exponent, Integer size) {
  Waves result(size);
  std::fill(result.re.begin(), result.re.end(), 1.0);
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2) multiply(result, base, size);
    multiply(base, Waves(base), size);
  }
  return result;
}

// Where Bin(n, p) lies but for a probability below 1e-15.
std::pair<Integer, Integer> range(Integer n, double p) {
  const double mean = n * p, reach = 8.6 * std::sqrt(mean * (1 - p)) + 20;
  return {static_cast<Integer>(std::max(0.0, mean - reach)),
          static_cast<Integer>(std::min(static_cast<double>(n), mean + reach))};
}

// P(Bin(n, p) = x) for x = low, ..., high, from the mode on by the ratios of neighbours.
Reals binomial(Integer n, double p, Integer low, Integer high) {
  const double odds = p / (1 - p), nothing = 1e-200;  // no slow denormal numbers
  const Integer mode = std::clamp(static_cast<Integer>((n + 1) * p), low, std::min(high, n));
  Reals law(high - low + 1);
  double sum = law[mode - low] = 1;
  for (Integer x = mode; x < high && law[x - low] > nothing; ++x)
    sum += law[x + 1 - low] = law[x - low] * odds * (n - x) / (x + 1);
  for (Integer x = mode; x > low && law[x - low] > nothing; --x)
    sum += law[x - 1 - low] = law[x - low] / odds * x / (n - x + 1);
  for (double& share : law) share /= sum;
  return law;
}

using Nodes = std::vector<std::pair<double, double>>;

// Gauss-Legendre nodes in [0, 1] and their weights, by Newton's method.
const Nodes& gauss_legendre(int nodes) {
  thread_local std::map<int, Nodes> known;
  Nodes& rule = known[nodes];
  for (int i = static_cast<int>(rule.size()); i < nodes; ++i) {
    double x = std::cos(kPi * (i + 0.75) / (nodes + 0.5)), slope = 0;
    for (int step = 0; step < 10; ++step) {
      double before = 1, value = x;
      for (int m = 2; m <= nodes; ++m) before = std::exchange(value, ((2 * m - 1) * x * value - (m - 1) * before) / m);
      slope = nodes * (x * value - before) / (x * x - 1);
      x -= value / slope;
    }
    rule.emplace_back((1 + x) / 2, 1 / ((1 - x * x) * slope * slope));
  }
  return rule;
}

// Answers with the same number of samples, one of which may win.
struct Answer {
  std::size_t kind;
  Integer samples, repeats;
  Reals law;             // P(X = start), P(X = start + 1), ...
  Waves below;           // sum_{l<j} P(X = l) z^(l-j)
  Waves near;            // below, where it matters
  Waves factor, before;  // near + u P(X = j), and the product of all before this one
  double at_most = 0;    // P(X <= j)
  Reals later;           // P(X = j and the first c samples are not among the j) for c = 0, 1, ...
  Integer passed;        // the least c for which that is negligible, and 0 is there
  double ahead;          // that for the present place: the answer has j votes, and they are all still to come
  double won = 0;
  Reals wins;            // summands, to be added in the end
};

// Neighbouring places of one contender.
struct Run {
  std::size_t answer;
  Integer seen;  // its samples up to the end of the run
};

// What to do on the way through the places: multiply a factor, or pass runs of two contenders in turn.
struct Step {
  std::size_t factors;        // of contenders, in the product that is read
  std::size_t answer, other;  // whose factor; or of the first run and of the second, the same if there is one
  std::size_t begin, end;     // the runs, none for a factor
};

class Race {
 public:
  explicit Race(const Vote& vote);
  Reals win_probability();

 private:
  bool find_votes();
  void find_waves();
  void keep_waves(Integer j);
  void keep(const Waves& all, Waves& some) const;
  void add_drawn(Integer j);
  void add(Integer j, double u, double weight);
  void add_first(Integer j);
  void list_runs();
  void plan();
  void plan(std::size_t factors, std::size_t begin, std::size_t end, std::size_t bottom);
  void pass(const Step& step);
  void pass_late(std::size_t begin);
  Complex root(Integer power) const { return std::polar(1.0, 2 * kPi * (power % vote_.roots) / vote_.roots); }

  const Vote& vote_;
  double p_;
  std::vector<Answer> strong_;  // the others cannot win
  Integer start_, stop_;        // of the laws
  Integer rivals_ = -1, free_;  // strong answers but one; samples of the others, any number of which may be drawn
  Integer first_, last_;        // votes with which one may win
  std::vector<Integer> waves_;  // the roots of unity that matter; of conjugate ones, one
  Waves rest_;                  // what the free samples add, times z^(answers j - k), over P(sum = k)
  Waves back_, turn_;           // 1 / z, z^answers
  std::vector<Integer> kept_;   // those that matter for the present j
  Waves base_, product_, after_;
  Reals bound_, worst_;

  // Where the first sample wins a tie:
  std::vector<Answer*> contenders_;  // those that may have the present j votes
  std::vector<Run> runs_;
  std::vector<Step> steps_;      // through the runs, as far as they were needed
  std::vector<Waves> products_;  // base_, answers that cannot have j votes, and 0, 1, ... contenders
  double tied_;                  // sum of ahead / at_most
  std::vector<std::size_t> present_, seen_at_;  // for the plan: answers of the runs around; when one was seen last
  std::size_t time_ = 0;
};

Race::Race(const Vote& vote) : vote_(vote), start_(vote.k), stop_(0) {
  Integer answers = 0;
  free_ = vote.silent;
  for (std::size_t b = 0; b < vote.kinds.size(); ++b) {
    free_ += vote.kinds[b] * vote.repeats[b];
    answers += vote.repeats[b];
  }
  p_ = static_cast<double>(vote.k) / free_;
  // The winner has no fewer votes than the strongest gets, and than the mean; negligible cases aside.
  first_ = std::max<Integer>(1, (vote.k - vote.silent + answers - 1) / answers);
  for (const Integer n : vote.kinds) first_ = std::max(first_, range(n, p_).first);
  for (std::size_t b = 0; b < vote.kinds.size(); ++b) {
    const auto [low, high] = range(vote.kinds[b], p_);
    if (high < first_) continue;
    Answer& answer = strong_.emplace_back();
    answer.kind = b;
    answer.samples = vote.kinds[b];
    answer.repeats = vote.repeats[b];
    start_ = std::min(start_, low);
    stop_ = std::max(stop_, high);
  }
  for (Answer& b : strong_) b.law = binomial(b.samples, p_, start_, stop_);
  if (!vote.owners.empty())
    for (Answer& b : strong_) b.later.resize(b.samples + 1);
}

Reals Race::win_probability() {
  Reals wins(vote_.kinds.size());
  if (!find_votes()) return wins;
  find_waves();
  for (Integer j = start_; j <= last_; ++j) {
    for (Answer& b : strong_) b.at_most += b.law[j - start_];
    if (j >= first_) {
      keep_waves(j);
      vote_.owners.empty() ? add_drawn(j) : add_first(j);
    }
    for (Answer& b : strong_) step(b.below, b.law[j - start_], back_);
    multiply(rest_, turn_, rest_.size());
  }
  for (const Answer& b : strong_) wins[b.kind] = std::accumulate(b.wins.begin(), b.wins.end(), b.won);
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

void Race::find_waves() {
  for (Integer w = 0; w <= vote_.roots / 2; ++w) {
    const Complex rest = std::pow(1 - p_ + p_ * root(w), static_cast<double>(free_));
    if (!(std::abs(rest) > kLeast * vote_.at_k)) continue;
    waves_.push_back(w);
    const Complex wave = root((start_ * (rivals_ + 1) - vote_.k) % vote_.roots * w);
    rest_.push_back(rest * wave * ((w ? 2 : 1) / (vote_.roots * vote_.at_k)));
    back_.push_back(root(-w));
    turn_.push_back(root((rivals_ + 1) % vote_.roots * w));
  }
  const Integer size = back_.size();
  for (Answer& b : strong_) {
    b.below = b.near = b.factor = b.before = Waves(size);
    b.wins.resize(size);
  }
  base_ = product_ = after_ = Waves(size);
  bound_.resize(size);
  worst_.resize(size);
}

// Leaves out the roots where the product for j is negligible: below + u P(X = j) is largest with u = 0 or u = 1.
void Race::keep_waves(Integer j) {
  const std::size_t size = waves_.size();
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

void Race::keep(const Waves& all, Waves& some) const {
  for (std::size_t i = 0; i < kept_.size(); ++i) {
    some.re[i] = all.re[kept_[i]];
    some.im[i] = all.im[kept_[i]];
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
      const Waves alike = power(b.factor, b.repeats - 1, size);
      multiply(b.before, alike, size);
      multiply(b.factor, alike, size);
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

// Adds the probability that an answer wins with j votes where the first sample wins a tie. The product of all factors
// below + ahead is the chance that the leaders all begin after the present place: what it loses there, the owner wins.
void Race::add_first(Integer j) {
  const Integer size = static_cast<Integer>(kept_.size());
  double all = 1 / vote_.at_k;  // a bound of the chance that none has more than j votes
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
  // negligible, and where there are but two, a table of the pairs is enough, if it is not too large.
  const std::size_t count = contenders_.size();
  const double few = count <= 2 ? tied_ : count * count > runs_.size() ? -1 : std::cbrt(6 * kFewTied / all);
  std::size_t done = 0;
  for (std::size_t i = 0; tied_ > few && done < runs_.size(); ++i) {
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
  if (few > 0 && done < runs_.size()) pass_late(done);
}

void Race::list_runs() {
  std::vector<std::size_t> of_kind(vote_.kinds.size(), contenders_.size());
  for (std::size_t m = 0; m < contenders_.size(); ++m) of_kind[contenders_[m]->kind] = m;
  std::vector<Integer> seen(contenders_.size());
  runs_.clear();
  for (const Integer owner : vote_.owners) {
    const std::size_t m = owner < 0 ? contenders_.size() : of_kind[owner];
    if (m == contenders_.size()) continue;
    if (runs_.empty() || runs_.back().answer != m) runs_.push_back({m, 0});
    runs_.back().seen = ++seen[m];
  }
  steps_.clear();
  seen_at_.assign(contenders_.size(), time_);
}

// Steps through more runs, so many that most contenders have some: there is next to nothing to share with the others.
void Race::plan() {
  const std::size_t more = std::max<std::size_t>(64, 8 * contenders_.size());
  const std::size_t begin = steps_.empty() ? 0 : steps_.back().end;
  present_.resize(contenders_.size());
  std::iota(present_.begin(), present_.end(), 0);
  plan(0, begin, std::min(begin + more, runs_.size()), 0);
}

// Steps through runs of some of the answers present_[bottom], ...: those without any first, then each half by itself.
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
  const Waves& product = products_[step.factors];
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
  Reals pairs(count * count), alone(count), chance(count), won(count);
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
        chance[m] = alone[m];
        for (std::size_t l = 0; l < count; ++l) chance[m] += pairs[m * count + l] * contenders_[l]->ahead;
      }
    }
    const std::size_t m = runs_[r].answer;
    Answer& a = *contenders_[m];
    if (a.ahead == 0) continue;
    const double later = a.later[std::min(runs_[r].seen, a.passed)], here = a.ahead - later;
    won[m] += here * chance[m];
    for (std::size_t l = 0; l < count; ++l) chance[l] -= here * pairs[m * count + l];
    a.ahead = later;
    if (later == 0) --ahead;
  }
  for (std::size_t m = 0; m < count; ++m) contenders_[m]->won += won[m];
}

}  // namespace

std::vector<double> win_probability(const Vote& vote) { return Race(vote).win_probability(); }

}  // namespace ttc_fast
