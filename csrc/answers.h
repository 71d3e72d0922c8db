// One answer from each of many groups of candidates: techniques whose mean over subsets has no closed form.
#pragma once

#include <cstdint>
#include <vector>

#include "aggregate.h"

namespace ttc_fast {

// The functions of these names in ttc_fast/techniques/aggregate.py.
enum class Technique { kSoftmaxMean, kWeightedVote, kPlurality, kWeightedBestOfN, kMajorityOfBest };

struct Answering {
  Technique technique;
  double parameter;            // beta of the weights exp(beta score), or the share of the best
  std::uint64_t seed;          // of the coins that decide ties
  std::uint32_t first_prompt;  // global index
  std::int64_t step;
};

// Answers of the candidates, which are bits unless the technique is a mean, with scores [prompts, samples]:
// answers [prompts, all groups, dim], those of a size together, and of them those of a partition. The partitions are
// those of vote_recovery.
void group_answers(const Candidates&, const Kernel&, const Answering&, const float* score, std::int64_t block,
                   const std::int64_t* orders, const std::vector<Groups>& groups, float* answers);

}  // namespace ttc_fast
