// Python module ttc_fast._C; no headers of torch, so that one build serves every version of it.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>

#include "aggregate.h"
#include "answers.h"
#include "decode.h"
#include "medians.h"
#include "memory.h"
#include "philox.h"
#include "votes.h"

namespace py = pybind11;
using namespace ttc_fast;

namespace {

template <class T>
using Array = py::array_t<T, py::array::c_style>;

const Kernel& find_kernel(const std::string& isa) {
  std::string names;
  for (const Kernel* kernel : kernels()) {
    if (isa == kernel->isa) return *kernel;
    names += std::string(names.empty() ? "" : ", ") + kernel->isa;
  }
  throw std::invalid_argument("isa: expected one of " + names + ", got " + isa);
}

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (const Kernel* kernel : kernels()) names.emplace_back(kernel->isa);
  return names;
}

Rule find_rule(const std::string& name) {
  constexpr std::pair<const char*, Rule> kNames[] = {
      {"gaussian", Rule::kGaussian}, {"rank_one", Rule::kRankOne}, {"elementwise", Rule::kElementwise},
      {"clip", Rule::kClip},         {"sigmoid", Rule::kSigmoid},  {"threshold", Rule::kThreshold},
      {"subset", Rule::kSubset},     {"largest", Rule::kLargest}};
  std::string names;
  for (const auto& [known, rule] : kNames) {
    if (name == known) return rule;
    names += std::string(names.empty() ? "" : ", ") + known;
  }
  throw std::invalid_argument("rule: expected one of " + names + ", got " + name);
}

bool interrupted() {
  py::gil_scoped_acquire gil;
  return PyErr_CheckSignals() != 0;
}

void expect(bool holds, const char* message) {
  if (!holds) throw std::invalid_argument(message);
}

void expect_threads(int threads) { expect(threads >= 1, "threads: expected at least one"); }

void decode_on(const Problem& problem, const std::string& isa) {
  expect_threads(problem.threads);
  const Kernel& kernel = find_kernel(isa);
  bool finished;
  {
    py::gil_scoped_release release;
    finished = decode(problem, kernel, interrupted);
  }
  if (!finished) throw py::error_already_set();
}

constexpr std::int64_t kMostSteps = std::int64_t{1} << 62;

// What both decodes are asked for, checked; without state or attention.
Problem problem_of(py::array_t<float, 0>& thoughts, std::int64_t prompts, std::int64_t dim, const Array<float>& w0,
                   const Array<float>& scales, const std::string& rule, bool every_step, float temperature,
                   std::int64_t ones, const std::vector<std::int64_t>& steps, std::uint64_t seed,
                   std::uint64_t first_sample, std::uint64_t first_prompt, std::int64_t first_step, int threads) {
  expect(thoughts.ndim() == 4 && thoughts.shape(0) == static_cast<std::int64_t>(steps.size()) &&
             thoughts.shape(1) == prompts && thoughts.shape(3) == dim,
         "thoughts: expected shape [len(steps), B, N, d]");
  const auto stride = [&](int axis) {
    return static_cast<std::int64_t>(thoughts.strides(axis) / thoughts.itemsize());
  };
  expect(thoughts.size() == 0 || ((dim == 1 || stride(3) == 1) && (thoughts.shape(2) == 1 || stride(2) == dim)),
         "thoughts: expected the numbers of a prompt and step one after the other");
  const std::int64_t samples = thoughts.shape(2);
  const bool per_sample = w0.ndim() == 3;
  expect(per_sample ? w0.shape(0) == prompts && w0.shape(1) == samples && w0.shape(2) == dim
                    : w0.ndim() == 2 && w0.shape(0) == prompts && w0.shape(1) == dim,
         "w0: expected shape [B, d] or [B, N, d]");
  std::int64_t last = first_step;
  for (const std::int64_t step : steps) {
    expect(step >= first_step && first_step >= 0, "steps: expected none before first_step");
    expect(step <= kMostSteps, "steps: expected none above 2^62");
    last = std::max(last, step);
  }
  const Rule kind = find_rule(rule);
  expect(!has_scales(kind) || scales.size() == 1 || scales.size() >= last,
         "scales: expected one number, or one for each step");
  expect(!has_ones(kind) || (ones >= 1 && ones <= dim), "ones: expected a number from 1 to d");
  return {prompts, samples, dim, nullptr, w0.data(), per_sample, kind, every_step, temperature,
          ones, scales.data(), scales.size() == 1 ? 0 : 1, steps.data(),
          static_cast<std::int64_t>(steps.size()), first_step, seed, first_sample, first_prompt, threads,
          thoughts.mutable_data(), stride(0), stride(1)};
}

void decode_into(py::array_t<float, 0> thoughts, const Array<float>& state, const Array<float>& w0,
                 const Array<float>& scales, const std::string& rule, bool every_step, float temperature,
                 std::int64_t ones, const std::vector<std::int64_t>& steps, std::uint64_t seed,
                 std::uint64_t first_sample, std::uint64_t first_prompt, std::int64_t first_step, int threads,
                 const std::string& isa) {
  expect(state.ndim() == 3 && state.shape(1) >= 1 && state.shape(2) == state.shape(1) + 1,
         "state: expected shape [B, d, d+1] with d >= 1");
  Problem problem = problem_of(thoughts, state.shape(0), state.shape(1), w0, scales, rule, every_step, temperature, ones,
                               steps, seed, first_sample, first_prompt, first_step, threads);
  problem.state = state.data();
  decode_on(problem, isa);
}

Activation find_activation(const std::string& name) {
  if (name == "softmax") return Activation::kSoftmax;
  if (name == "sigmoid") return Activation::kSigmoid;
  if (name == "relu") return Activation::kRelu;
  if (name == "gelu") return Activation::kGelu;
  expect(name == "identity", "activation: expected softmax, sigmoid, relu, gelu or identity");
  return Activation::kIdentity;
}

using Group = std::tuple<Array<float>, Array<float>, Array<float>, std::string>;  // keys, offsets, values, activation

void decode_attention_into(py::array_t<float, 0> thoughts, const std::vector<Group>& heads,
                           const std::optional<Array<float>>& matrix, const std::optional<Array<float>>& vector,
                           const Array<float>& w0, const Array<float>& scales, const std::string& rule, bool every_step,
                           float temperature, std::int64_t ones, const std::vector<std::int64_t>& steps,
                           std::uint64_t seed, std::uint64_t first_sample, std::uint64_t first_prompt,
                           std::int64_t first_step, int threads, const std::string& isa) {
  expect(w0.ndim() >= 2 && w0.shape(w0.ndim() - 1) >= 1, "w0: expected shape [B, d] or [B, N, d] with d >= 1");
  const std::int64_t prompts = w0.shape(0), dim = w0.shape(w0.ndim() - 1);
  const auto fits = [&](const Array<float>& x) { return x.shape(0) == prompts || x.shape(0) == 1; };
  Attention attention{nullptr, nullptr, true, true, {}};
  if (matrix) {
    expect(matrix->ndim() == 3 && fits(*matrix) && matrix->shape(1) == dim && matrix->shape(2) == dim,
           "A: expected shape [B or 1, d, d]");
    attention.matrix = matrix->data();
    attention.matrix_shared = matrix->shape(0) == 1;
  }
  if (vector) {
    expect(vector->ndim() == 2 && fits(*vector) && vector->shape(1) == dim, "c: expected shape [B or 1, d]");
    attention.vector = vector->data();
    attention.vector_shared = vector->shape(0) == 1;
  }
  for (const auto& [key, offset, value, activation] : heads) {
    expect(key.ndim() == 4 && fits(key) && key.shape(1) >= 1 && key.shape(2) >= 1 && key.shape(3) == dim,
           "keys: expected shape [B or 1, H, m, d] with H, m >= 1");
    expect(offset.ndim() == 3 && std::equal(offset.shape(), offset.shape() + 3, key.shape()),
           "offsets: expected shape [B or 1, H, m] as the keys");
    expect(value.ndim() == 4 && std::equal(value.shape(), value.shape() + 4, key.shape()),
           "values: expected the shape of the keys");
    attention.groups.push_back({key.shape(1), key.shape(2), find_activation(activation), key.shape(0) == 1, key.data(),
                                offset.data(), value.data()});
  }
  Problem problem = problem_of(thoughts, prompts, dim, w0, scales, rule, every_step, temperature, ones, steps, seed,
                               first_sample, first_prompt, first_step, threads);
  problem.attention = &attention;
  decode_on(problem, isa);
}

Array<float> normals(std::int64_t prompts, std::int64_t samples, std::int64_t dim, std::uint64_t seed,
                     std::uint64_t first_sample, std::uint64_t first_prompt, std::int64_t step, int threads,
                     const std::string& isa) {
  expect(prompts >= 0 && samples >= 0 && dim >= 1, "shape: expected [B, N, d] with d >= 1");
  expect(step >= 0 && step < kMostSteps, "step: expected one from 0 to 2^62");
  Array<float> drawn({prompts, samples, dim});
  const float scale = 0.0f;
  const std::int64_t after = step + 1;
  decode_on({prompts, samples, dim, nullptr, nullptr, false, Rule::kNormals, false, 1.0f, 0, &scale, 0, &after, 1, step,
             seed, first_sample, first_prompt, threads, drawn.mutable_data(), 0, samples * dim}, isa);
  return drawn;
}

Candidates candidates(const Array<float>& w, int threads) {
  expect_threads(threads);
  expect(w.ndim() == 3 && w.shape(2) >= 1, "w: expected shape [B, N, d]");
  return {w.shape(0), w.shape(1), w.shape(2), w.data(), threads};
}

using Pair = std::optional<std::pair<Array<float>, Array<float>>>;

py::tuple measure_of(const Array<float>& w, const Pair& examples, float factor, const Pair& aim, bool equality,
                     bool pack, int threads, const std::string& isa) {
  const Candidates c = candidates(w, threads);
  Measures m{};
  Array<float> loss, distance;
  Array<std::int64_t> bits;
  if (examples) {
    const auto& [x, y] = *examples;
    expect(x.ndim() == 3 && x.shape(0) == c.prompts && x.shape(2) == c.dim, "x: expected shape [B, n, d]");
    expect(y.ndim() == 2 && y.shape(0) == c.prompts && y.shape(1) == x.shape(1), "y: expected shape [B, n]");
    loss = Array<float>({c.prompts, c.samples});
    m.loss = loss.mutable_data();
    m.x = x.data();
    m.y = y.data();
    m.examples = x.shape(1);
    m.factor = factor;
  }
  if (aim) {
    const auto& [target, weight] = *aim;
    expect(target.ndim() == 2 && target.shape(0) == c.prompts && target.shape(1) == c.dim,
           "target: expected shape [B, d]");
    expect(weight.ndim() == 2 && weight.shape(0) >= 1 && weight.shape(1) == c.dim,
           "weight: expected shape [M, d], M >= 1");
    distance = Array<float>({weight.shape(0) + equality, c.prompts, c.samples});
    m.distance = distance.mutable_data();
    m.target = target.data();
    m.weight = weight.data();
    m.kinds = weight.shape(0);
    m.equality = equality;
  }
  if (pack) {
    bits = Array<std::int64_t>({c.prompts, (c.dim + 63) / 64, c.samples});
    m.bits = reinterpret_cast<std::uint64_t*>(bits.mutable_data());
  }
  {
    const py::gil_scoped_release release;
    measure(c, find_kernel(isa), m);
  }
  return py::make_tuple(loss, distance, bits);
}

Array<float> tree_sum_of(const Array<float>& x, int threads) {
  expect_threads(threads);
  expect((x.ndim() == 2 || x.ndim() == 3) && x.shape(1) >= 1, "x: expected shape [B, N] or [B, N, d], N >= 1");
  const std::int64_t width = x.ndim() == 2 ? 1 : x.shape(2);
  std::vector<py::ssize_t> shape{x.shape(0)};
  if (x.ndim() == 3) shape.push_back(x.shape(2));
  Array<float> out(shape);
  float* const result = out.mutable_data();
  const py::gil_scoped_release release;
  tree_sum(x.data(), x.shape(0), x.shape(1), width, threads, result);
  return out;
}

Array<double> best_of_k_of(const Array<float>& score, bool lowest, const std::vector<Array<float>>& values,
                           const Array<double>& weight, int threads, const std::string& isa) {
  expect_threads(threads);
  expect(score.ndim() == 2 && score.shape(1) < std::int64_t{1} << 32, "score: expected shape [B, N], N < 2^32");
  std::vector<const float*> columns;
  for (const Array<float>& value : values) {
    expect(value.ndim() == 2 && value.shape(0) == score.shape(0) && value.shape(1) == score.shape(1),
           "values: expected arrays of shape [B, N]");
    columns.push_back(value.data());
  }
  expect(weight.ndim() == 2 && weight.shape(0) == score.shape(1) && weight.shape(1) % 8 == 0,
         "weight: expected shape [N, K], K a multiple of 8");
  Array<double> out({static_cast<py::ssize_t>(values.size()), score.shape(0), weight.shape(1)});
  double* const result = out.mutable_data();
  const py::gil_scoped_release release;
  best_of_k(score.shape(0), score.shape(1), threads, find_kernel(isa), score.data(), lowest, columns,
            weight.data(), weight.shape(1), result);
  return out;
}

// Checked (size, partitions) of candidates that are ordered anew in blocks.
std::vector<Groups> groups_of(const Candidates& c, const Array<std::int64_t>& orders, std::int64_t block,
                              const std::vector<std::pair<std::int64_t, std::int64_t>>& groups) {
  expect(block >= 1 && block <= c.samples, "block: expected a size from 1 to N");
  const std::int64_t blocks = c.samples / block;
  expect(orders.ndim() == 2 && orders.shape(1) == blocks, "orders: expected shape [P, N / block]");
  std::vector<py::ssize_t> seen_in(blocks, -1);
  for (py::ssize_t i = 0; i < orders.size(); ++i) {
    const std::int64_t b = orders.data()[i];
    expect(b >= 0 && b < blocks, "orders: expected blocks from 0 to N / block - 1");
    expect(std::exchange(seen_in[b], i / blocks) != i / blocks, "orders: expected each block once");
  }
  std::vector<Groups> checked;
  for (const auto& [size, partitions] : groups) {
    expect(size >= 1 && size <= c.samples, "groups: expected sizes from 1 to N");
    expect(partitions >= 1 && partitions <= orders.shape(0) + 1, "groups: expected 1 to P + 1 partitions");
    expect(partitions == 1 || size % block == 0,
           "groups: expected whole blocks where there is more than one partition");
    checked.push_back({size, partitions});
  }
  return checked;
}

py::tuple vote_recovery_of(const Array<std::int64_t>& bits, const Array<float>& w_star,
                           const Array<std::int64_t>& orders, std::int64_t block,
                           const std::vector<std::pair<std::int64_t, std::int64_t>>& groups, int threads,
                           const std::string& isa) {
  expect_threads(threads);
  expect(bits.ndim() == 3, "bits: expected shape [B, words, N]");
  expect(w_star.ndim() == 2 && w_star.shape(0) == bits.shape(0) && (w_star.shape(1) + 63) / 64 == bits.shape(1),
         "w_star: expected shape [B, d], 64 of d to a word");
  const Candidates c{bits.shape(0), bits.shape(2), w_star.shape(1), nullptr, threads};
  const std::vector<Groups> checked = groups_of(c, orders, block, groups);
  Array<double> out({c.prompts, static_cast<std::int64_t>(groups.size())});
  Array<std::int64_t> right({c.prompts, c.dim});
  double* const result = out.mutable_data();
  std::int64_t* const counts = right.mutable_data();
  {
    const py::gil_scoped_release release;
    const auto* const packed = reinterpret_cast<const std::uint64_t*>(bits.data());
    vote_recovery(c, packed, find_kernel(isa), w_star.data(), block, orders.data(), checked, result, counts);
  }
  return py::make_tuple(out, right);
}

Array<double> median_errors_of(const Array<float>& w, const Array<float>& target, const Array<double>& square,
                               const Array<double>& cross, const std::vector<std::array<std::int64_t, 3>>& ranges,
                               int threads, const std::string& isa) {
  const Candidates c = candidates(w, threads);
  expect(c.samples < std::int64_t{1} << 32, "w: expected shape [B, N, d], N < 2^32");
  expect(target.ndim() == 2 && target.shape(0) == c.prompts && target.shape(1) == c.dim,
         "target: expected shape [B, d]");
  const auto count = static_cast<std::int64_t>(ranges.size());
  for (const Array<double>* const weight : {&square, &cross}) {
    expect(weight->ndim() == 2 && weight->shape(0) == count && weight->shape(1) == c.samples,
           "square, cross: expected shape [K, N]");
  }
  std::vector<Middle> middles;
  for (std::int64_t k = 0; k < count; ++k) {
    const auto& [start, stop, half] = ranges[k];
    expect(start >= 0 && start <= stop && stop <= c.samples && half >= 0 && half <= c.samples,
           "ranges: expected (start, stop, half) with 0 <= start <= stop <= N and half from 0 to N");
    middles.push_back({square.data() + k * c.samples, cross.data() + k * c.samples, start, stop, half});
  }
  Array<double> out({c.prompts, count, c.dim});
  std::fill_n(out.mutable_data(), out.size(), 0.0);
  double* const result = out.mutable_data();
  const py::gil_scoped_release release;
  median_errors(c, find_kernel(isa), target.data(), middles, result);
  return out;
}

Technique find_technique(const std::string& name) {
  if (name == "softmax_mean") return Technique::kSoftmaxMean;
  if (name == "weighted_vote") return Technique::kWeightedVote;
  if (name == "plurality") return Technique::kPlurality;
  if (name == "weighted_best_of_n") return Technique::kWeightedBestOfN;
  expect(name == "majority_of_best", "technique: expected the name of one that answers for groups");
  return Technique::kMajorityOfBest;
}

Array<float> group_answers_of(const Array<float>& w, const Array<float>& score, const Array<std::int64_t>& orders,
                              const std::string& technique, double parameter, std::int64_t block,
                              const std::vector<std::pair<std::int64_t, std::int64_t>>& groups, std::uint64_t seed,
                              std::uint32_t first_prompt, std::int64_t step, int threads, const std::string& isa) {
  const Candidates c = candidates(w, threads);
  expect(c.samples < std::int64_t{1} << 32, "w: expected shape [B, N, d], N < 2^32");
  expect(score.ndim() == 2 && score.shape(0) == c.prompts && score.shape(1) == c.samples,
         "score: expected shape [B, N]");
  expect(step >= 0, "step: expected one from 0");
  const Technique kind = find_technique(technique);
  expect(std::isfinite(parameter), "parameter: expected a finite number");
  expect(kind != Technique::kMajorityOfBest || (parameter >= 0 && parameter <= 1),
         "parameter: expected a share from 0 to 1");
  const std::vector<Groups> checked = groups_of(c, orders, block, groups);
  std::int64_t all = 0;
  for (const Groups& g : checked) all += c.samples / g.size * g.partitions;
  const Answering answering{kind, parameter, seed, first_prompt, step};
  Array<float> out({c.prompts, all, c.dim});
  float* const result = out.mutable_data();
  const py::gil_scoped_release release;
  group_answers(c, find_kernel(isa), answering, score.data(), block, orders.data(), checked, result);
  return out;
}

Array<std::uint32_t> philox(const Array<std::uint32_t>& counters, std::uint64_t seed) {
  expect(counters.ndim() == 2 && counters.shape(1) == 4, "counters: expected shape [n, 4], one counter a row");
  Array<std::uint32_t> words({counters.shape(0), py::ssize_t{4}});
  const auto in = counters.unchecked<2>();
  auto out = words.mutable_unchecked<2>();
  for (py::ssize_t i = 0; i < in.shape(0); ++i) {
    const auto result = philox4x32_10({in(i, 0), in(i, 1), in(i, 2), in(i, 3)}, seed);
    for (int r = 0; r < 4; ++r) out(i, r) = result[r];
  }
  return words;
}

constexpr const char* kMultiple = "expected a 1-D array whose length is a multiple of 16";

Array<float> log_of_words(const Array<std::uint32_t>& a, const std::string& isa) {
  expect(a.ndim() == 1 && a.size() % 16 == 0, kMultiple);
  Array<float> out(a.size());
  find_kernel(isa).log(a.data(), a.size(), out.mutable_data());
  return out;
}

py::tuple sincos_of_words(const Array<std::uint32_t>& b, const std::string& isa) {
  expect(b.ndim() == 1 && b.size() % 16 == 0, kMultiple);
  Array<float> sine(b.size()), cosine(b.size());
  find_kernel(isa).sincos(b.data(), b.size(), sine.mutable_data(), cosine.mutable_data());
  return py::make_tuple(sine, cosine);
}

Array<float> power_of_two(const Array<float>& t, const std::string& isa) {
  expect(t.ndim() == 1 && t.size() % 16 == 0, kMultiple);
  Array<float> out(t.size());
  find_kernel(isa).exp2(t.data(), t.size(), out.mutable_data());
  return out;
}

Array<float> gelu_of(const Array<float>& x, const std::string& isa) {
  expect(x.ndim() == 1 && x.size() % 16 == 0, kMultiple);
  Array<float> out(x.size());
  find_kernel(isa).gelu(x.data(), x.size(), out.mutable_data());
  return out;
}

Array<double> wins(const Array<std::int64_t>& sizes, const Array<std::int64_t>& repeats,
                   const Array<std::int64_t>& answer_of, std::int64_t abstaining, std::int64_t k, bool fair,
                   double at_k, std::int64_t roots) {
  expect(sizes.ndim() == 1 && sizes.size() >= 1 && repeats.ndim() == 1 && repeats.size() == sizes.size(),
         "repeats: expected shape [A] as sizes, with A >= 1");
  const std::int64_t* answers = answer_of.data();
  expect(answer_of.size() == 0 || *std::max_element(answers, answers + answer_of.size()) < sizes.size(),
         "answer_of: expected numbers below A");
  double samples = static_cast<double>(abstaining);
  for (py::ssize_t b = 0; b < sizes.size(); ++b) {
    expect(sizes.data()[b] >= 1 && repeats.data()[b] >= 1, "sizes, repeats: expected positive numbers");
    samples += static_cast<double>(sizes.data()[b]) * static_cast<double>(repeats.data()[b]);
  }
  expect(abstaining >= 0 && samples < 0x1p53, "sizes: expected fewer than 2^53 samples");
  expect(k > 1 && static_cast<double>(k) < samples, "k: expected more than 1 and fewer than all samples");
  expect(roots >= 1 && roots % 2 == 1 && roots < std::int64_t{1} << 31, "roots: expected an odd number");
  expect(at_k > 0, "at_k: expected a probability");
  const Vote vote{{sizes.data(), sizes.data() + sizes.size()},
                  {repeats.data(), repeats.data() + repeats.size()},
                  {answers, answers + answer_of.size()},
                  abstaining, k, fair, at_k, roots};
  std::vector<double> result;
  {
    py::gil_scoped_release release;
    result = win_probability(vote);
  }
  return Array<double>(result.size(), result.data());
}

}  // namespace

PYBIND11_MODULE(_C, m) {
  m.doc() = "C++ side of ttc_fast: the fused decode for every CPU, sums over its candidates, and the law of a vote.";
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const OutOfMemory&) {
      throw;  // says what was too large; MemoryError as it is
    } catch (const std::bad_alloc&) {
      PyErr_SetString(PyExc_MemoryError, "the arguments of a call of the C++ extension could not be copied");
    }
  });
  m.def("isas", &isas, "Instruction sets this machine can run, fastest first.");
  m.def("decode_into", &decode_into, py::arg("thoughts").noconvert(), py::arg("state").noconvert(),
        py::arg("w0").noconvert(), py::arg("scales").noconvert(), py::kw_only(), py::arg("rule"), py::arg("every_step"),
        py::arg("temperature"), py::arg("ones"), py::arg("steps"), py::arg("seed"), py::arg("first_sample"),
        py::arg("first_prompt"), py::arg("first_step"), py::arg("threads"), py::arg("isa"),
        "Writes thoughts [len(steps), B, N, d]; arguments as of ttc_fast.decode.");
  m.def("decode_attention_into", &decode_attention_into, py::arg("thoughts").noconvert(), py::kw_only(),
        py::arg("heads"), py::arg("A"), py::arg("c"), py::arg("w0").noconvert(), py::arg("scales").noconvert(),
        py::arg("rule"), py::arg("every_step"), py::arg("temperature"), py::arg("ones"), py::arg("steps"),
        py::arg("seed"), py::arg("first_sample"), py::arg("first_prompt"), py::arg("first_step"), py::arg("threads"),
        py::arg("isa"),
        "The same for attention: heads (keys, offsets, values, activation), A and c as of ttc_fast.AttentionState.");
  m.def("normals", &normals, py::arg("prompts"), py::arg("samples"), py::arg("dim"), py::kw_only(), py::arg("seed"),
        py::arg("first_sample"), py::arg("first_prompt"), py::arg("step"), py::arg("threads"), py::arg("isa"),
        "The standard normals of a step, [B, N, d]: what the decode of Gaussian noise multiplies by its scale.");
  m.def("measure", &measure_of, py::arg("w").noconvert(), py::kw_only(), py::arg("examples"), py::arg("factor"),
        py::arg("aim"), py::arg("equality"), py::arg("pack"), py::arg("threads"), py::arg("isa"),
        "Of candidates [B, N, d] in one pass: factor sum_i (<w, x_i> - y_i)^2 for examples (x [B, n, d], y [B, n]), "
        "[B, N]; sum_i weight_i (w_i - target_i)^2 for an aim (target [B, d], weight [M, d]) and, if asked for, "
        "whether the first is 0, [M (+ 1), B, N]; if asked for, which coefficients are above 1/2, [B, words, N]. "
        "Empty for what is not asked.");
  m.def("tree_sum", &tree_sum_of, py::arg("x").noconvert(), py::kw_only(), py::arg("threads"),
        "Sum of [B, N] or [B, N, d] over N, as ttc_fast.numerics.sums.tree_sum.");
  m.def("best_of_k", &best_of_k_of, py::arg("score").noconvert(), py::kw_only(), py::arg("lowest"), py::arg("values"),
        py::arg("weight").noconvert(), py::arg("threads"), py::arg("isa"),
        "sum_j weight[j, k] value_(j), j the rank by descending score [B, N], or ascending, of values [B, N]: "
        "[M, B, K].");
  m.def("vote_recovery", &vote_recovery_of, py::arg("bits").noconvert(), py::arg("w_star").noconvert(),
        py::arg("orders").noconvert(), py::kw_only(), py::arg("block"), py::arg("groups"), py::arg("threads"),
        py::arg("isa"),
        "Probability that the majority of a group of candidates with these bits is w_star [B, d]: mean over the groups "
        "of each size in so many partitions, of the candidates and of the orders [P, N / block] of blocks of them, for "
        "each pair (size, so many), [B, pairs]; and how many candidates have each coefficient right, [B, d].");
  m.def("median_errors", &median_errors_of, py::arg("w").noconvert(), py::arg("target").noconvert(),
        py::arg("square").noconvert(), py::arg("cross").noconvert(), py::kw_only(), py::arg("ranges"),
        py::arg("threads"), py::arg("isa"),
        "Squared error of the median of k candidates [B, N, d], mean over all subsets, for each law of the middle "
        "(square, cross [K, N], ranges of (start, stop, half)) of ttc_fast/estimators/medians.py: [B, K, d].");
  m.def("group_answers", &group_answers_of, py::arg("w").noconvert(), py::arg("score").noconvert(),
        py::arg("orders").noconvert(), py::kw_only(), py::arg("technique"), py::arg("parameter"), py::arg("block"),
        py::arg("groups"), py::arg("seed"), py::arg("first_prompt"), py::arg("step"), py::arg("threads"),
        py::arg("isa"),
        "An answer of every group: candidates [B, N, d], scores [B, N], groups as of vote_recovery: [B, all groups, "
        "d].");
  m.def("philox", &philox, py::arg("counters").noconvert(), py::arg("seed"),
        "Philox4x32-10 of uint32 counters [n, 4] under the key (seed low, seed high): uint32 words [n, 4].");
  m.def("log_of_words", &log_of_words, py::arg("a").noconvert(), py::arg("isa"), "-2 ln((a + 0.5) 2^-32), for tests.");
  m.def("sincos_of_words", &sincos_of_words, py::arg("b").noconvert(), py::arg("isa"),
        "sin and cos of 2 pi b 2^-32, for tests.");
  m.def("exp2", &power_of_two, py::arg("t").noconvert(), py::arg("isa"), "2^t, for tests.");
  m.def("gelu", &gelu_of, py::arg("x").noconvert(), py::arg("isa"), "x (1 + erf(x / sqrt(2))) / 2, for tests.");
  m.def("win_probability", &wins, py::arg("sizes"), py::arg("repeats"), py::arg("answer_of"), py::arg("abstaining"),
        py::arg("k"), py::arg("fair"), py::arg("at_k"), py::arg("roots"), "Arguments as in csrc/votes.h.");
}
