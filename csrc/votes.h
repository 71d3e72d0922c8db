// The exact law of a vote among k of N samples: counterpart of ttc_fast/estimators/vote_law.py; the formulas are there.
#pragma once

#include <cstdint>
#include <vector>

namespace ttc_fast {

struct Vote {
  std::vector<std::int64_t> sizes, repeats;  // repeats[b] answers have sizes[b] >= 1 samples each
  std::vector<std::int64_t> answer_of;       // answer of every sample, or < 0: the first of a tie wins
  std::int64_t abstaining;                   // samples that do not vote
  std::int64_t k;                            // 1 < k < N
  bool fair;                                 // without answer_of, ties are drawn fairly; else they fail
  double at_k;                               // P(Bin(N, k/N) = k)
  std::int64_t roots;                        // roots of unity, an odd number
};

// Probability that one answer of each size wins.
std::vector<double> win_probability(const Vote& vote);

}  // namespace ttc_fast
