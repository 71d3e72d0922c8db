// The fused decode: what the driver (decode.cpp) asks of a kernel (kernel.cpp, once per instruction set).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace ttc_fast {

// kNormals is no rule: its answers are the normals that kGaussian adds in the last step before them.
enum class Rule { kGaussian, kRankOne, kElementwise, kClip, kSigmoid, kThreshold, kSubset, kLargest, kNormals };

// Each coefficient is drawn as a bit by itself: every step, or for an answer alone.
inline bool samples_bits(Rule rule) {
  return rule == Rule::kClip || rule == Rule::kSigmoid || rule == Rule::kThreshold;
}
inline bool has_scales(Rule rule) {
  return rule == Rule::kGaussian || rule == Rule::kRankOne || rule == Rule::kElementwise;
}
inline bool has_ones(Rule rule) { return rule == Rule::kSubset || rule == Rule::kLargest; }

// How a kernel keeps a prompt's matrix: blocks of rows, with tables of sums for thoughts of bits, or columns.
enum class Layout { kRows, kTables, kColumns };

inline Layout layout_of(Rule rule, bool every_step) {
  if (has_ones(rule)) return Layout::kColumns;
  return samples_bits(rule) && every_step ? Layout::kTables : Layout::kRows;
}

enum class Activation { kSoftmax, kSigmoid, kRelu, kGelu, kIdentity };

// Heads with equally many keys and one activation.
struct Heads {
  std::int64_t heads, keys;
  Activation activation;
  bool shared;               // by all prompts
  const float *key, *offset, *value;  // K, V [prompts or 1, heads, keys, dim], k [prompts or 1, heads, keys]
};

// u = A w + c + sum over the heads of V^T act(K w + k), as ttc_fast/decoding/attention.py.
struct Attention {
  const float* matrix;       // A [prompts or 1, dim, dim]; nullptr: the identity
  const float* vector;       // c [prompts or 1, dim]; nullptr: zero
  bool matrix_shared, vector_shared;
  std::vector<Heads> groups;
};

constexpr std::int64_t kChunk = 64;  // keys of a head between two looks at the largest score: all sets have the same

// What is the same for all samples of one prompt.
struct Job {
  std::int64_t dim;
  Rule rule;
  bool every_step;           // the drawn bits are the next thought
  float slope;               // of the sigmoid link: log2(e) / temperature
  std::int64_t ones;         // of a thought: kSubset, kLargest
  const float* scales;       // sigma_t of step t at scales[t * scale_stride]
  std::int64_t scale_stride;
  std::int64_t first_step;
  std::uint64_t seed;
  std::uint32_t prompt;
  const float* matrix;       // packed by Kernel::pack, or pack_attention
  const Attention* attention = nullptr;  // nullptr: linear attention
};

// One tile of samples of one prompt; arrays [rows][samples], rows = Kernel::padded(dim).
struct Tile {
  std::uint32_t first_sample;
  float* w;                  // current thoughts
  float* next;               // scratch; after draw_answer: the answers
  std::uint32_t* index;      // thoughts of bits, four coordinates in a number, or 32 where the ones are few
  float* draws;              // four arrays: normals, words of uniforms, or exponentials, of the current block's steps
  float* rows;               // scratch
  float* scores;             // scratch, kChunk rows; of attention
  std::uint32_t* lanes;      // what the random words of a sample have in common, three arrays [samples]
};

constexpr int kColumns = 16;  // of medians

struct Kernel {
  const char* isa;
  std::int64_t samples;      // per tile
  std::int64_t (*padded)(std::int64_t dim);
  // Rows w [present], each `stride` numbers after the one before, to a tile [dim][samples]; the lanes beyond repeat the
  // last row.
  void (*transpose)(const float* w, std::int64_t stride, std::int64_t present, std::int64_t dim, float* tile);
  // A tile [dim][samples] to rows w [present][dim].
  void (*transpose_back)(const float* tile, std::int64_t present, std::int64_t dim, float* w);
  // State [d, d+1] of a prompt to a matrix of matrix_size(dim, layout) floats.
  std::int64_t (*matrix_size)(std::int64_t dim, Layout layout);
  void (*pack)(const float* state, std::int64_t dim, Layout layout, float* matrix);
  // The same of attention.
  std::int64_t (*attention_size)(const Attention&, std::int64_t dim);
  void (*pack_attention)(const Attention&, std::int64_t prompt, std::int64_t dim, float* matrix);
  // Prepares the random words of tile.first_sample, ....
  void (*begin)(const Job&, Tile&);
  // Steps begin, ..., end - 1 of the chain.
  void (*advance)(const Job&, Tile&, std::int64_t begin, std::int64_t end);
  // sample_at = "last_step": bits drawn from the thoughts w_t into tile.next, with the words of step t - 1.
  void (*draw_answer)(const Job&, Tile&, std::int64_t t);
  // Examples (x, y) of a prompt to a matrix of padded(residual_rows) (dim + 1) + 1 floats; scratch: gram_size doubles.
  std::int64_t (*residual_rows)(std::int64_t examples, std::int64_t dim);
  std::int64_t (*gram_size)(std::int64_t examples, std::int64_t dim);
  void (*pack_examples)(const float* x, const float* y, std::int64_t examples, std::int64_t dim, double* scratch,
                        float* matrix);
  // Over a tile of samples w [dim][samples]: sum_i (<w, x_i> - y_i)^2, and sum_i weight_i (w_i - target_i)^2.
  void (*squared_residuals)(const float* matrix, std::int64_t examples, std::int64_t dim, const float* w, float* out);
  void (*squared_distances)(const float* target, const float* weight, std::int64_t dim, const float* w, float* out);
  // Which coefficients of w [count][dim] are above 1/2, 64 to a word, the first one's bit the lowest: [words][stride].
  void (*pack_bits)(const float* w, std::int64_t count, std::int64_t dim, std::int64_t stride, std::uint64_t* out);
  // sum_j weight[j] w[rows[j]] over count rows of w [any][dim] to out [dim]; returns the sum of the weights, added in
  // the same order.
  float (*weighted_sum)(const float* w, std::int64_t dim, const std::uint32_t* rows, const float* weight,
                        std::int64_t count, float* out);
  // sum_j weight[j, k] value[m, j] with weight [samples, columns], columns a multiple of 8, of which the first
  // ranks[k / 8] may differ from 0: each m to out + m stride.
  void (*weigh)(const double* value, std::int64_t kinds, const double* weight, std::int64_t samples,
                std::int64_t columns, const std::int64_t* ranks, std::int64_t stride, double* out);
  // Over sorted columns [samples][kColumns] with a_j = sorted_j - target: the sum over ranks j of square[j] a_j^2 and
  // cross[j] a_j m_j, where m_j is the mean of the largest of `half` of the a below a_j, over all subsets; see medians.h.
  void (*middle_sums)(const float* sorted, const double* square, const double* cross, std::int64_t start,
                      std::int64_t stop, std::int64_t half, const float* target, double* out);
  // For tests, over n elements, a multiple of 16: -2 ln((a + 0.5) 2^-32), sin and cos of
  // 2 pi b 2^-32, 2^t, and gelu.
  void (*log)(const std::uint32_t* a, std::size_t n, float* out);
  void (*sincos)(const std::uint32_t* b, std::size_t n, float* sine, float* cosine);
  void (*exp2)(const float* t, std::size_t n, float* out);
  void (*gelu)(const float* x, std::size_t n, float* out);
};

// A decode of all prompts; the arguments of ttc_fast.decode, checked by the caller.
struct Problem {
  std::int64_t prompts, samples, dim;
  const float* state;        // [prompts, dim, dim + 1]
  const float* w0;           // [prompts, dim], or [prompts, samples, dim]; not read for kNormals, nor is state
  bool w0_per_sample;
  Rule rule;
  bool every_step;
  float temperature;
  std::int64_t ones;         // from 1 to dim; kSubset, kLargest
  const float* scales;
  std::int64_t scale_stride;
  const std::int64_t* steps;
  std::int64_t step_count, first_step;
  std::uint64_t seed, first_sample, first_prompt;
  int threads;
  float* thoughts;           // [step_count, prompts, samples, dim], rows of all dim numbers one after the other
  std::int64_t step_stride, prompt_stride;  // in numbers
  const Attention* attention = nullptr;     // in place of state
};

// False if `interrupted`, which the calling thread asks about every 50 ms, said so; the output is then
// unfinished. No thread outlives the call. Where memory is short: OutOfMemory (memory.h).
bool decode(const Problem&, const Kernel&, bool (*interrupted)());

// Kernels that this machine can run, fastest first; the last one runs everywhere.
std::vector<const Kernel*> kernels();

const Kernel* portable_kernel();
const Kernel* avx2_kernel();
const Kernel* avx512_kernel();
const Kernel* neon_kernel();

}  // namespace ttc_fast
