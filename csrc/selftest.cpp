// Proves a build without Python: known answers of the random words, what becomes of exceptions, and the bits of decodes
// and of what is made of their candidates, which all instruction sets with a fused multiply-add share. Exit code 0 if
// all is as it must be.
//
//   g++ -std=c++17 -O2 -ffp-contract=off csrc/selftest.cpp csrc/{decode,aggregate,answers,kernel}.cpp ...
//   (tests/numerics/test_selftest.py)
#include <atomic>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "aggregate.h"
#include "answers.h"
#include "decode.h"
#include "helpers.h"
#include "philox.h"

using namespace ttc_fast;

namespace {

bool known_answers() {
  // Random123, tests/kat_vectors, philox4x32 10
  return philox4x32_10({0, 0, 0, 0}, 0) == Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8} &&
         philox4x32_10({~0u, ~0u, ~0u, ~0u}, ~std::uint64_t{0}) ==
             Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd} &&
         philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822) ==
             Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1};
}

// FNV-1a of the thoughts' bits.
std::uint64_t checksum(const std::vector<float>& thoughts) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const float value : thoughts) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    hash = (hash ^ bits) * 0x100000001b3;
  }
  return hash;
}

struct Numbers {
  std::uint32_t random = 1;
  float operator()() {  // exact in float32, between -1/2 and 1/2
    random = random * 1664525 + 1013904223;
    return static_cast<float>(static_cast<std::int32_t>(random) >> 16) * 0x1p-16f;
  }
};

// Of the thoughts that attention makes, with `keys` keys in two heads of a prompt, and as many hidden units.
std::uint64_t run_attention(const Kernel& kernel, Rule rule, Activation activation, std::int64_t keys,
                            std::int64_t dim) {
  const std::int64_t prompts = 2, samples = 53;
  Numbers number;
  std::vector<float> key(prompts * 2 * keys * dim), value(key), offset(prompts * 2 * keys), matrix(dim * dim);
  std::vector<float> w0(prompts * dim), thoughts(2 * prompts * samples * dim);
  for (auto* const part : {&key, &offset, &matrix, &w0}) {
    for (auto& x : *part) x = number();
  }
  for (auto& x : value) x = number() / static_cast<float>(keys);
  const Attention attention{matrix.data(), w0.data(), true, false,
                            {{2, keys, activation, false, key.data(), offset.data(), value.data()},
                             {1, keys, Activation::kGelu, true, value.data(), offset.data(), key.data()}}};
  const float scale = 0.25f;
  const std::int64_t steps[] = {3, 14};
  Problem problem{prompts, samples, dim, nullptr, w0.data(), false, rule, true, 0.25f, (dim + 2) / 3, &scale, 0, steps,
                  2, 0, 0x123456789abcdef0, 0x80000000, 0xfffffff0, 2, thoughts.data(), prompts * samples * dim,
                  samples * dim};
  problem.attention = &attention;
  return decode(problem, kernel, [] { return false; }) ? checksum(thoughts) : 0;
}

std::uint64_t run(const Kernel& kernel, Rule rule, bool every_step, std::int64_t dim) {
  const std::int64_t prompts = 2, samples = 53;
  std::vector<float> state(prompts * dim * (dim + 1)), w0(prompts * dim), thoughts(2 * prompts * samples * dim);
  Numbers number;
  for (auto& value : state) value = number() / static_cast<float>(dim);
  for (auto& value : w0) value = number();
  const float scale = 0.25f;
  const std::int64_t steps[] = {3, 14};
  const Problem problem{prompts, samples, dim, state.data(), w0.data(), false, rule, every_step, 0.25f, (dim + 2) / 3,
                        &scale, 0, steps, 2, 0, 0x123456789abcdef0, 0x80000000, 0xfffffff0, 2, thoughts.data(),
                        prompts * samples * dim, samples * dim};
  if (!decode(problem, kernel, [] { return false; })) return 0;
  // Sums over the candidates of the last step, with the states as dim + 1 examples.
  const std::int64_t count = prompts * samples;
  std::vector<float> sums(2 * count), ones(dim, 1.0f);
  const Candidates last{prompts, samples, dim, thoughts.data() + count * dim, 2};
  std::vector<std::uint64_t> bits(prompts * ((dim + 63) / 64) * samples);
  measure(last, kernel, {sums.data(), state.data(), state.data(), dim + 1, 1.0f,
                         sums.data() + count, w0.data(), ones.data(), 1, false, bits.data()});
  std::vector<double> weight(8 * samples), best(8 * prompts);
  for (auto& value : weight) value = number();
  best_of_k(prompts, samples, 2, kernel, sums.data(), true, {sums.data() + count}, weight.data(), 8, best.data());
  // Votes and answers of groups.
  const std::vector<Groups> groups{{1, 1}, {2, 1}, {5, 1}, {samples, 1}};
  std::vector<double> recovery(prompts * groups.size());
  std::vector<std::int64_t> right(prompts * dim);
  vote_recovery(last, bits.data(), kernel, w0.data(), 1, nullptr, groups, recovery.data(), right.data());
  std::vector<Technique> techniques{Technique::kSoftmaxMean};
  if (!has_scales(rule)) {
    techniques.insert(techniques.end(), {Technique::kWeightedVote, Technique::kPlurality, Technique::kWeightedBestOfN,
                                         Technique::kMajorityOfBest});
  }
  std::vector<float> answers(prompts * dim * (samples + samples / 2 + samples / 5 + 1)), results = thoughts;
  for (const Technique technique : techniques) {
    group_answers(last, kernel, {technique, 0.25, 7, 3, 14}, sums.data(), 1, nullptr, groups, answers.data());
    results.insert(results.end(), answers.begin(), answers.end());
  }
  results.insert(results.end(), sums.begin(), sums.end());
  for (const double x : best) results.push_back(static_cast<float>(x));
  for (const double x : recovery) results.push_back(static_cast<float>(x));
  for (const std::int64_t votes : right) results.push_back(static_cast<float>(votes));
  return checksum(results);
}

// An exception of any thread is the caller's, and ends the others' work; memory that cannot be had is told.
bool exceptions_reach_the_caller() {
  bool right = true;
  for (const std::int64_t bad : {0, 7, 99}) {
    std::atomic<std::int64_t> done{0};
    try {
      for_each(1000000, 4, [] { return 0; }, [&](int, std::int64_t i) {
        if (i == bad) throw std::invalid_argument("seven");
        ++done;
      });
      right = false;
    } catch (const std::invalid_argument& error) {
      right &= std::strcmp(error.what(), "seven") == 0 && done < 1000000;
    }
  }
  for (const bool too_long : {false, true}) {
    try {
      needing({"a test's array", 1234567, 4, "tests"}, [&] {
        for_each(100, 4, [] { return 0; }, [&](int, std::int64_t) {
          if (too_long) throw std::length_error("vector");
          throw std::bad_alloc();
        });
      });
      right = false;
    } catch (const std::bad_alloc& error) {
      right &= std::strcmp(error.what(), "a test's array, up to 1,234,567 bytes for each of 4 threads, could not be "
                                         "allocated: ask for fewer threads or fewer tests") == 0;
    }
  }
  return right;
}

struct Case {
  const char* name;
  Rule rule;
  bool every_step;
  std::int64_t dim;
  std::uint64_t expected;
};

const Case kCases[] = {
#include "selftest.inc"
};

struct AttentionCase {
  const char* name;
  Rule rule;
  const char* activation_name;
  Activation activation;
  std::int64_t keys, dim;
  std::uint64_t expected;
};

const AttentionCase kAttentionCases[] = {
#include "selftest_attention.inc"
};

}  // namespace

int main() {
  const bool words = known_answers(), exceptions = exceptions_reach_the_caller();
  int faults = !words + !exceptions;
  std::printf("words: %s\nexceptions: %s\n", words ? "ok" : "FAIL", exceptions ? "ok" : "FAIL");
  for (const Kernel* kernel : kernels()) {
    const bool fused = std::strcmp(kernel->isa, "portable") != 0;  // it rounds otherwise
    for (const Case& c : kCases) {
      const std::uint64_t got = run(*kernel, c.rule, c.every_step, c.dim);
      const bool right = !fused || got == c.expected;
      faults += !right;
      std::printf("%-8s {\"%s\", Rule::k%s, %s, %" PRId64 ", 0x%016" PRIx64 "},%s\n", kernel->isa, c.name, c.name,
                  c.every_step ? "true" : "false", c.dim, got, right ? "" : "  FAIL");
    }
    for (const AttentionCase& c : kAttentionCases) {
      const std::uint64_t got = run_attention(*kernel, c.rule, c.activation, c.keys, c.dim);
      const bool right = !fused || got == c.expected;
      faults += !right;
      std::printf("%-8s {\"%s\", Rule::k%s, \"%s\", Activation::k%s, %" PRId64 ", %" PRId64 ", 0x%016" PRIx64 "},%s\n",
                  kernel->isa, c.name, c.name, c.activation_name, c.activation_name, c.keys, c.dim, got,
                  right ? "" : "  FAIL");
    }
  }
  return faults != 0;
}
