// What is done with the candidates of a decode: errors and losses, the best of k, the votes of groups.
//
// Every sum has one order, whatever the batch and the threads.
#pragma once

#include <cstdint>
#include <vector>

#include "decode.h"

namespace ttc_fast {

// Candidate answers w [prompts, samples, dim], and the threads that may work on them.
struct Candidates {
  std::int64_t prompts, samples, dim;
  const float* w;
  int threads;
};

// sum_i (<w, x_i> - y_i)^2 with x [prompts, examples, dim], y [prompts, examples]: out [prompts, samples].
void squared_residuals(const Candidates&, const Kernel&, const float* x, const float* y, std::int64_t examples, float* out);

// sum_i weight_i (w_i - target_i)^2 with target [prompts, dim], for each of the weights [kinds, dim]:
// out [kinds, prompts, samples].
void squared_distances(const Candidates&, const Kernel&, const float* target, const float* weight, std::int64_t kinds,
                       float* out);

// sum_j weight[j, k] value_(j) over the ranks j by descending score, the values of equal scores averaged:
// score [prompts, samples], value [kinds, prompts, samples], weight [samples, budgets]: out [kinds, prompts, budgets].
void best_of_k(std::int64_t prompts, std::int64_t samples, int threads, const float* score, const float* value,
               std::int64_t kinds, const double* weight, std::int64_t budgets, double* out);

// Probability that a majority of `size` candidates has all bits right, those at a tie decided by fair coins: its mean
// over the groups of `size` that follow each other in `order` [samples]. w_star [prompts, dim], sizes ascending:
// out [prompts, sizes].
void vote_recovery(const Candidates&, const float* w_star, const std::int64_t* order, const std::vector<std::int64_t>& sizes,
                   double* out);

}  // namespace ttc_fast
