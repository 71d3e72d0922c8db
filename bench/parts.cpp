// The parts of the decode by themselves, for bench/parts.py, which compiles this for one instruction set.
#include <cstring>
#include <vector>

#include "../csrc/kernel.cpp"

namespace ttc_fast {
namespace {

std::vector<float> numbers(std::int64_t count) {
  std::uint32_t random = 1;
  std::vector<float> drawn(count);
  for (float& x : drawn) {
    random = random * 1664525 + 1013904223;
    x = static_cast<float>(static_cast<std::int32_t>(random)) * 0x1p-32f;  // between -1/2 and 1/2
  }
  return drawn;
}

// What the compiler cannot leave out.
void keep(F x) {
  float out[kLanes];
  store(out, x);
  volatile float kept = out[0];
  (void)kept;
}

// The random words of blocks of four steps.
void words(const Job& job, const Tile& tile, std::int64_t blocks) {
  U any = all(std::uint32_t{0});
  for (std::int64_t q = 0; q < blocks; ++q) {
    for_words(job, tile, kStreamNoise, q, 0, job.dim, [&](std::int64_t, int, const Words& words) {
      any = bxor(any, bxor(words.w[0], words.w[1]), bxor(words.w[2], words.w[3]));
    });
  }
  keep(from_bits(any));
}

// The products of one step without draws.
void multiply(bool bits, const Job& job, Tile& tile) {
  if (bits) return transform_bits(job, tile);
  transform<Product::kSequential, Noise::kPlain>(job, tile, tile.draws, 0.0f);
  swap(tile);
}

// The powers of one step of a softmax head.
void make_powers(std::int64_t keys, Tile& tile) {
  Softmax softmax;
  F most[kVectors];
  for (int v = 0; v < kVectors; ++v) softmax.most[v] = softmax.sum[v] = most[v] = all(1.0f);
  for (std::int64_t begin = 0; begin < keys; begin += kChunk) {
    make_powers(keys - begin < kChunk ? keys - begin : kChunk, most, tile, softmax);
  }
}

// As many multiply-adds as a head's products of so many steps, from registers: what no program exceeds.
void multiply_add(std::int64_t dim, std::int64_t keys, std::int64_t steps) {
  constexpr int kSums = kRows * kVectors;
  const F factor = all(0.5f), one = all(1.0f);
  F sum[kSums], total = all(0.0f);
#pragma GCC unroll 32  // or the sums would lie in memory
  for (F& x : sum) x = all(0.0f);
  for (std::int64_t i = 0; i < 2 * steps * keys * dim / kRows; ++i) {
#pragma GCC unroll 32
    for (F& x : sum) x = fma(x, factor, one);
  }
#pragma GCC unroll 32
  for (F& x : sum) total = add(total, x);
  keep(total);
}

}  // namespace
}  // namespace ttc_fast

using namespace ttc_fast;

extern "C" std::int64_t tile_samples() { return kSamples; }

// One part of so many steps, a multiple of four, of a tile; false if there is none of that name. Of linear attention:
// "words", "draws", "products", "links"; of a head with so many keys: "attention products", "powers", "multiply-adds".
extern "C" bool run_part(const char* name, bool bits, std::int64_t dim, std::int64_t keys, std::int64_t steps) {
  const std::int64_t size = padded(dim) * kSamples;
  const std::vector<float> key = numbers(keys * dim), offset = numbers(keys);
  const Attention head{nullptr, nullptr, true, true,
                       {{1, keys, Activation::kIdentity, true, key.data(), offset.data(), key.data()}}};
  std::vector<float> matrix(matrix_size(dim, Layout::kTables) + attention_size(head, dim)), draws(4 * size);
  std::vector<float> w = numbers(size), next(size), rows(size), scores = numbers(kChunk * kSamples);
  std::vector<std::uint32_t> index(size), lanes(3 * kSamples);
  Job job{dim, bits ? Rule::kSigmoid : Rule::kGaussian, true, 1.0f, 0, nullptr, 0, 0, 1, 0, matrix.data(), &head};
  Tile tile{0, w.data(), next.data(), index.data(), draws.data(), rows.data(), scores.data(), lanes.data()};
  begin(job, tile);
  const auto is = [&](const char* other) { return std::strcmp(name, other) == 0; };
  const auto repeat = [](std::int64_t count, auto work) {
    for (std::int64_t i = 0; i < count; ++i) work(i);
    return true;
  };
  if (is("words")) return words(job, tile, steps / 4), true;
  if (is("draws")) return repeat(steps / 4, [&](auto q) { make_draws(job, tile, 4 * q); });
  if (is("products")) return repeat(steps, [&](auto) { multiply(bits, job, tile); });
  if (is("links")) return repeat(steps, [&](auto) { draw_index<Rule::kSigmoid>(job, tile, tile.draws); });
  if (is("powers")) return repeat(steps, [&](auto) { make_powers(keys, tile); });
  if (is("multiply-adds")) return multiply_add(dim, keys, steps), true;
  if (!is("attention products")) return false;
  pack_attention(head, 0, dim, matrix.data());
  return repeat(steps, [&](auto) { attend(job, tile); });
}
