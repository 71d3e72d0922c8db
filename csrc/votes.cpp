#include "votes.h"

#include <algorithm>
#include <cmath>
#include <complex>
#include <map>
#include <utility>

namespace ttc_fast {
namespace {

using Integer = std::int64_t;
using Reals = std::vector<double>;
using Complex = std::complex<double>;

constexpr double kLeast = 1e-17;  // events below this probability are left out
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
  Reals wins;            // summands, to be added in the end
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
  void add(Integer j, double u, double weight);
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
    strong_.push_back({b, vote.kinds[b], vote.repeats[b], {}, {}, {}, {}, {}, {}});
    start_ = std::min(start_, low);
    stop_ = std::max(stop_, high);
  }
  for (Answer& b : strong_) b.law = binomial(b.samples, p_, start_, stop_);
}

Reals Race::win_probability() {
  Reals wins(vote_.kinds.size());
  if (!find_votes()) return wins;
  find_waves();
  for (Integer j = start_; j <= last_; ++j) {
    if (j >= first_) {
      keep_waves(j);
      const Integer most_tied = vote_.fair ? std::min(rivals_, vote_.k / j - 1) : 0;
      // The nodes integrate polynomials of degree most_tied in u exactly.
      if (most_tied == 0) add(j, 0, 1);
      else
        for (const auto& [u, weight] : gauss_legendre(static_cast<int>(most_tied / 2 + 1))) add(j, u, weight);
    }
    for (Answer& b : strong_) step(b.below, b.law[j - start_], back_);
    multiply(rest_, turn_, rest_.size());
  }
  for (const Answer& b : strong_)
    for (const double part : b.wins) wins[b.kind] += part;
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

}  // namespace

std::vector<double> win_probability(const Vote& vote) { return Race(vote).win_probability(); }

}  // namespace ttc_fast
