// The exact law of a vote among k of N samples: twin of _wins in ttc_fast/votes.py, which has the formula.
#pragma once

#include <cstdint>
#include <vector>

namespace ttc_fast {

struct Vote {
  std::vector<std::int64_t> kinds, repeats;  // repeats[b] answers have kinds[b] >= 1 samples each
  std::int64_t silent;                       // samples that do not vote
  std::int64_t k;                            // 1 < k < N
  bool fair;                                 // ties are drawn fairly; else they fail
  double at_k;                               // P(Bin(N, k/N) = k)
  std::int64_t roots;                        // roots of unity, an odd number
};

// Probability that one answer of each kind wins.
std::vector<double> win_probability(const Vote& vote);

}  // namespace ttc_fast
