// The driver of the fused decode: tiles, threads, output.
#include "decode.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "helpers.h"

namespace ttc_fast {

namespace {

constexpr std::size_t kAlignment = 64;
// Multiply-adds between two looks at the clock: some milliseconds.
constexpr std::int64_t kPatience = std::int64_t{1} << 25;

struct AlignedDelete {
  void operator()(void* p) const { ::operator delete(p, std::align_val_t{kAlignment}); }
};
template <class T>
using Aligned = std::unique_ptr<T[], AlignedDelete>;

template <class T>
Aligned<T> aligned(std::int64_t n) {
  const std::size_t bytes = static_cast<std::size_t>(n) * sizeof(T);
  return Aligned<T>(static_cast<T*>(::operator new(bytes, std::align_val_t{kAlignment})));
}

// What one thread works in.
struct Scratch {
  Aligned<float> matrix, w, next, draws, rows, scores;
  Aligned<std::uint32_t> index, lanes;
  Scratch(const Kernel& kernel, std::int64_t dim, std::int64_t matrix_size, std::int64_t keys)
      : matrix(aligned<float>(matrix_size)),
        w(aligned<float>(kernel.padded(dim) * kernel.samples)),
        next(aligned<float>(kernel.padded(dim) * kernel.samples)),
        draws(aligned<float>(4 * kernel.padded(dim) * kernel.samples)),
        rows(aligned<float>(kernel.padded(dim) * kernel.samples)),
        scores(aligned<float>(keys * kernel.samples)),
        index(aligned<std::uint32_t>(kernel.padded(dim) * kernel.samples)),
        lanes(aligned<std::uint32_t>(3 * kernel.samples)) {
    const std::int64_t size = kernel.padded(dim) * kernel.samples;  // rows beyond dim are read too
    std::fill_n(w.get(), size, 0.0f);
    std::fill_n(next.get(), size, 0.0f);
    std::fill_n(draws.get(), 4 * size, 0.0f);
  }
  static std::int64_t bytes(const Kernel& kernel, std::int64_t dim, std::int64_t matrix_size, std::int64_t keys) {
    return (matrix_size + (8 * kernel.padded(dim) + keys + 3) * kernel.samples) * sizeof(float);
  }
};

class Decoder {
 public:
  Decoder(const Problem& problem, const Kernel& kernel, bool (*interrupted)())
      : p_(problem),
        kernel_(kernel),
        interrupted_(interrupted),
        tiles_((problem.samples + kernel.samples - 1) / kernel.samples) {}

  bool run() {
    if (p_.prompts * tiles_ == 0) return true;
    const auto list_bytes = static_cast<std::int64_t>(p_.step_count * sizeof asked_[0]);
    needing({"the decode's list of steps", list_bytes, 1, "steps"}, [&] {
      asked_.reserve(p_.step_count);
      for (std::int64_t i = 0; i < p_.step_count; ++i) asked_.emplace_back(p_.steps[i], i);
    });
    std::sort(asked_.begin(), asked_.end());
    const std::int64_t threads = std::max<std::int64_t>(1, std::min<std::int64_t>(p_.threads, p_.prompts * tiles_));
    const std::int64_t matrix = matrix_size(), keys = p_.attention ? kChunk : 0;
    const Need need{"the decode's scratch", Scratch::bytes(kernel_, p_.dim, matrix, keys), threads,
                    p_.attention ? "keys" : "coefficients"};
    return needing(need, [&] {
      std::vector<Scratch> scratch;
      scratch.reserve(threads);
      for (std::int64_t i = 0; i < threads; ++i) scratch.emplace_back(kernel_, p_.dim, matrix, keys);
      return run(scratch);
    });
  }

 private:
  // On as many threads as there are scratches.
  bool run(std::vector<Scratch>& scratch) {
    Failure failure;
    {
      const Helpers helpers(static_cast<std::int64_t>(scratch.size()), [&](std::int64_t i) {
        failure.guard_helper([&] { work(scratch[i], false); });
        if (failure.happened()) stop_ = true;
        const std::lock_guard<std::mutex> lock(mutex_);
        ++finished_;
        all_finished_.notify_one();
      });
      failure.guard([&] {
        work(scratch[0], true);
        ask_until(helpers.size());
      });
      if (failure.happened()) stop_ = true;
    }
    failure.rethrow();
    return !stop_;
  }

  // So many helpers have finished: one may be at a long chain when the caller is not any more.
  void ask_until(std::size_t finished) {
    constexpr auto kMoment = std::chrono::milliseconds(50);
    std::unique_lock<std::mutex> lock(mutex_);
    while (!all_finished_.wait_for(lock, kMoment, [&] { return finished_ == finished; })) ask();
  }

  void work(Scratch& scratch, bool asks) {
    std::int64_t packed = -1;
    for (std::int64_t item; !stop_ && (item = next_item_++) < p_.prompts * tiles_;) {
      const std::int64_t prompt = item / tiles_;
      if (prompt != packed) pack(prompt, scratch.matrix.get());
      packed = prompt;
      decode_tile(scratch, prompt, item % tiles_ * kernel_.samples, asks);
    }
  }

  void decode_tile(Scratch& scratch, std::int64_t prompt, std::int64_t sample, bool asks) {
    const Job job{p_.dim, p_.rule, p_.every_step, slope(), p_.ones, p_.scales, p_.scale_stride, p_.first_step, p_.seed,
                  static_cast<std::uint32_t>(p_.first_prompt + prompt), scratch.matrix.get(), p_.attention};
    Tile tile{static_cast<std::uint32_t>(p_.first_sample + sample), scratch.w.get(), scratch.next.get(),
              scratch.index.get(), scratch.draws.get(), scratch.rows.get(), scratch.scores.get(),
              scratch.lanes.get()};
    const std::int64_t present = std::min(kernel_.samples, p_.samples - sample);
    const std::int64_t row = p_.w0_per_sample ? prompt * p_.samples + sample : prompt;
    if (p_.rule != Rule::kNormals) {
      kernel_.transpose(p_.w0 + row * p_.dim, p_.w0_per_sample ? p_.dim : 0, present, p_.dim, tile.w);
    }
    kernel_.begin(job, tile);
    const std::int64_t stride = std::max<std::int64_t>(1, kPatience / (work_of_step() * kernel_.samples));
    std::int64_t t = p_.first_step;
    for (const auto& [step, index] : asked_) {
      while (t < step) {
        const std::int64_t end = std::min(t + stride, step);
        kernel_.advance(job, tile, t, end);
        t = end;
        if (asks) ask();
        if (stop_) return;
      }
      const bool answers = (samples_bits(p_.rule) || p_.rule == Rule::kNormals) && !p_.every_step && t > p_.first_step;
      if (answers) kernel_.draw_answer(job, tile, t);
      float* const thoughts = p_.thoughts + index * p_.step_stride + prompt * p_.prompt_stride + sample * p_.dim;
      kernel_.transpose_back(answers ? tile.next : tile.w, present, p_.dim, thoughts);
    }
  }

  Layout layout() const { return layout_of(p_.rule, p_.every_step); }

  std::int64_t matrix_size() const {
    if (p_.rule == Rule::kNormals) return 0;
    return p_.attention ? kernel_.attention_size(*p_.attention, p_.dim) : kernel_.matrix_size(p_.dim, layout());
  }

  void pack(std::int64_t prompt, float* matrix) const {
    if (p_.rule == Rule::kNormals) return;
    if (p_.attention) return kernel_.pack_attention(*p_.attention, prompt, p_.dim, matrix);
    kernel_.pack(p_.state + prompt * p_.dim * (p_.dim + 1), p_.dim, layout(), matrix);
  }

  // Multiply-adds of a sample.
  std::int64_t work_of_step() const {
    std::int64_t rows = p_.dim + 64;
    if (p_.attention) {
      for (const Heads& heads : p_.attention->groups) rows += 2 * heads.heads * heads.keys;
    }
    return p_.dim * rows;
  }

  // Bounded, so that a tiny temperature gives a steep link and not 0 * infinity.
  float slope() const { return static_cast<float>(std::min(1.4426950408889634 / p_.temperature, 1e30)); }

  void ask() {
    const auto now = std::chrono::steady_clock::now();
    if (now - asked_at_ < std::chrono::milliseconds(50)) return;
    asked_at_ = now;
    if (interrupted_()) stop_ = true;
  }

  const Problem& p_;
  const Kernel& kernel_;
  bool (*const interrupted_)();
  const std::int64_t tiles_;
  std::vector<std::pair<std::int64_t, std::int64_t>> asked_;  // step and place in the output, by step
  std::atomic<std::int64_t> next_item_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  std::condition_variable all_finished_;
  std::size_t finished_ = 0;  // helpers, guarded by mutex_
  std::chrono::steady_clock::time_point asked_at_ = std::chrono::steady_clock::now();
};

}  // namespace

bool decode(const Problem& problem, const Kernel& kernel, bool (*interrupted)()) {
  return Decoder(problem, kernel, interrupted).run();
}

std::vector<const Kernel*> kernels() {
  std::vector<const Kernel*> found;
#ifdef TTC_FAST_HAVE_AVX512
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl")) {
    found.push_back(avx512_kernel());
  }
#endif
#ifdef TTC_FAST_HAVE_AVX2
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back(avx2_kernel());
#endif
#if defined(TTC_FAST_HAVE_NEON) && defined(__aarch64__)
  found.push_back(neon_kernel());
#endif
  found.push_back(portable_kernel());
  return found;
}

}  // namespace ttc_fast
