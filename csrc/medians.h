// The squared error of a median of k candidates, coefficient by coefficient: the mean over all subsets of k.
#pragma once

#include <cstdint>
#include <vector>

#include "aggregate.h"

namespace ttc_fast {

// The law of the middle of k of all samples, by their ranks j: what ttc_fast/estimators/medians.py calls by these names.
struct Middle {
  const double* square;        // what the square of a_j weighs
  const double* cross;         // what a_j times the mean of the a below it weighs
  std::int64_t start, stop;    // the ranks that matter
  std::int64_t half;           // k / 2 for an even k, 0 for an odd one, whose middle is one number
};

// To out [prompts, middles, dim], given target [prompts, dim]. NaN where a candidate is no number, infinity where an
// infinite one may be in the middle.
void median_errors(const Candidates&, const Kernel&, const float* target, const std::vector<Middle>&, double* out);

}  // namespace ttc_fast
