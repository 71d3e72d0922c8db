// What is done with the candidates of a decode: losses and errors, sums, the best of k, the votes of groups.
//
// Every sum has one order, whatever the batch and the threads. Where memory is short: OutOfMemory (memory.h).
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

// What to measure of every candidate in one pass.
struct Measures {
  // loss [prompts, samples]: factor sum_i (<w, x_i> - y_i)^2 with x [prompts, examples, dim], y [prompts, examples].
  float* loss;  // or null
  const float *x, *y;
  std::int64_t examples;
  float factor;
  // distance [kinds + equality, prompts, samples]: sum_i weight_i (w_i - target_i)^2 with target [prompts, dim], for
  // each of the weights [kinds, dim], and, if `equality`, 1 where the first of them is 0 and else 0.
  float* distance;  // or null
  const float *target, *weight;
  std::int64_t kinds;
  bool equality;
  // bits [prompts, words, samples]: see Kernel::pack_bits.
  std::uint64_t* bits;  // or null
};

void measure(const Candidates&, const Kernel&, const Measures&);

// Sums of x [count, length, width] over the length: neighbours in pairs, then pairs of pairs, ...: out [count, width].
void tree_sum(const float* x, std::int64_t count, std::int64_t length, std::int64_t width, int threads, float* out);

// sum_j weight[j, k] value_(j) over the ranks j by descending score, or ascending if `lowest`, the values of equal
// scores averaged: score [prompts, samples], kinds of values [prompts, samples], weight [samples, columns], the columns
// a multiple of 8: out [kinds, prompts, columns].
void best_of_k(std::int64_t prompts, std::int64_t samples, int threads, const Kernel&, const float* score, bool lowest,
               const std::vector<const float*>& values, const double* weight, std::int64_t columns, double* out);

// Groups of `size` candidates that follow each other, in each of the first partitions.
struct Groups { std::int64_t size, partitions; };

// Probability that a majority of a group of bits is right in all of them, those at a tie decided by fair coins: its
// mean over the groups. The first partition is of the candidates as they come, the others of blocks of them, for sizes
// that are a multiple, in the orders [partitions - 1, samples / block]. w_star [prompts, dim]: out [prompts,
// groups.size()], and the candidates with a right bit: right [prompts, dim]. Of the candidates their bits, as of
// `measure`, are enough.
void vote_recovery(const Candidates&, const std::uint64_t* bits, const Kernel&, const float* w_star, std::int64_t block,
                   const std::int64_t* orders, const std::vector<Groups>& groups, double* out, std::int64_t* right);

}  // namespace ttc_fast
