// Numbers for the law of a vote: spectra (values at roots of unity), binomial laws, nodes of quadrature.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <complex>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace ttc_fast {

using Integer = std::int64_t;
using Reals = std::vector<double>;
using Complex = std::complex<double>;

inline const double kPi = std::acos(-1.0);

// Complex numbers, one for each root of unity (a discrete Fourier transform); real and imaginary parts are stored
// apart, for the vector units.
struct Spectrum {
  Reals re, im;
  Spectrum() = default;
  explicit Spectrum(Integer size) : re(size), im(size) {}
  Integer size() const { return static_cast<Integer>(re.size()); }
  void push_back(Complex z) {
    re.push_back(z.real());
    im.push_back(z.imag());
  }
};

// product *= factor, of which the first `size` numbers count.
inline void multiply(Spectrum& product, const Spectrum& factor, Integer size) {
  double *__restrict a = product.re.data(), *__restrict b = product.im.data();
  const double *__restrict c = factor.re.data(), *__restrict d = factor.im.data();
  for (Integer i = 0; i < size; ++i) {
    const double re = a[i] * c[i] - b[i] * d[i];
    b[i] = a[i] * d[i] + b[i] * c[i];
    a[i] = re;
  }
}

// below += exactly, then *= back.
inline void step(Spectrum& below, double exactly, const Spectrum& back) {
  double *__restrict a = below.re.data(), *__restrict b = below.im.data();
  const double *__restrict c = back.re.data(), *__restrict d = back.im.data();
  for (Integer i = 0; i < below.size(); ++i) {
    const double re = a[i] + exactly, im = b[i];
    a[i] = re * c[i] - im * d[i];
    b[i] = re * d[i] + im * c[i];
  }
}

// to = product * (below + exactly), of which the first `size` numbers count.
inline void multiply(const Spectrum& product, const Spectrum& below, double exactly, Spectrum& to, Integer size) {
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
  double sums[4] = {};
  Integer i = 0;
  for (; i + 4 <= size; i += 4)
    for (Integer l = 0; l < 4; ++l) sums[l] += term(i + l);
  for (; i < size; ++i) sums[0] += term(i);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

// The sum over the roots of the real part of product, or of product * factor. Calls are an eighth faster than inlining:
// the sums of a step then do not compete for registers.
[[gnu::noinline]] inline double real_sum(const Spectrum& product, Integer size) {
  const double* a = product.re.data();
  return sum(size, [=](Integer i) { return a[i]; });
}

[[gnu::noinline]] inline double real_sum(const Spectrum& product, const Spectrum& factor, Integer size) {
  const double *a = product.re.data(), *b = product.im.data(), *c = factor.re.data(), *d = factor.im.data();
  return sum(size, [=](Integer i) { return a[i] * c[i] - b[i] * d[i]; });
}

inline Spectrum power(Spectrum base, Integer exponent, Integer size) {
  Spectrum result(size);
  std::fill(result.re.begin(), result.re.end(), 1.0);
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2) multiply(result, base, size);
    multiply(base, Spectrum(base), size);
  }
  return result;
}

// Where Bin(n, p) lies but for a probability below 1e-15.
inline std::pair<Integer, Integer> range(Integer n, double p) {
  const double mean = n * p, reach = 8.6 * std::sqrt(mean * (1 - p)) + 20;
  return {static_cast<Integer>(std::max(0.0, mean - reach)),
          static_cast<Integer>(std::min(static_cast<double>(n), mean + reach))};
}

// P(Bin(n, p) = x) for x = low, ..., high, from the mode on by the ratios of neighbours.
inline Reals binomial(Integer n, double p, Integer low, Integer high) {
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

inline Nodes make_gauss_legendre(int nodes) {
  Nodes rule;
  for (int i = 0; i < nodes; ++i) {
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

// Gauss-Legendre nodes in [0, 1] and their weights, by Newton's method. What one thread has found is kept for all, in a
// list without a lock: a fork may come at any time. Memory of threads' own would end the process where there is none.
inline const Nodes& gauss_legendre(int nodes) {
  struct Known { Nodes rule; const Known* next; };
  static std::atomic<const Known*> first{nullptr};
  for (const Known* known = first; known; known = known->next) {
    if (static_cast<int>(known->rule.size()) == nodes) return known->rule;
  }
  auto made = std::make_unique<Known>(Known{make_gauss_legendre(nodes), first});
  while (!first.compare_exchange_weak(made->next, made.get())) {}
  return made.release()->rule;
}

}  // namespace ttc_fast
