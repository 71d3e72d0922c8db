// Threads beside the caller's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include "memory.h"

namespace ttc_fast {

// Runs work(i) for i = 1, ..., threads - 1, each on a thread of its own, and joins them at the end of its life. There
// are fewer if the system refuses more threads: so each must take its work from a common counter, not by its number.
class Helpers {
 public:
  template <class Work>
  Helpers(std::int64_t threads, Work work) {
    try {
      threads_.reserve(std::max<std::int64_t>(threads - 1, 0));  // so that no thread is lost
      for (std::int64_t i = 1; i < threads; ++i) threads_.emplace_back(work, i);
    } catch (const std::system_error&) {  // the caller and those there are do the work
    } catch (const std::bad_alloc&) {
    }
  }
  Helpers(const Helpers&) = delete;
  Helpers& operator=(const Helpers&) = delete;
  ~Helpers() {
    for (auto& thread : threads_) thread.join();
  }
  std::size_t size() const { return threads_.size(); }

 private:
  std::vector<std::thread> threads_;
};

// The first exception of several threads.
class Failure {
 public:
  // work(), whose exception is kept if it is the first.
  template <class Work>
  void guard(Work work) noexcept {
    try {
      work();
    } catch (...) {
      if (!happened_.exchange(true)) first_ = std::current_exception();
    }
  }

  // The same on a helper; nothing, if there is no memory for its exceptions: then others do its work. Of what
  // prepare_for_exceptions takes one of the pieces that are given back here will do, as the C library keeps small ones,
  // by size, for the thread that frees them.
  template <class Work>
  void guard_helper(Work work) noexcept {
    void* volatile pieces[32];
    bool all = true;
    for (int i = 0; i < 32; ++i) all = (pieces[i] = std::malloc(16 * i + 8)) && all;
    for (void* const piece : pieces) std::free(piece);
    if (!all) return;
    prepare_for_exceptions();
    guard(work);
  }

  bool happened() const { return happened_; }

  // When the threads have been joined.
  void rethrow() const {
    if (first_) std::rethrow_exception(first_);
  }

 private:
  std::atomic<bool> happened_{false};
  std::exception_ptr first_;
};

// body(scratch, i) for i = 0, ..., items - 1, in any order, on up to `threads` threads, each with a scratch of its own
// that make() gives. The first exception ends the work of all, and is the caller's.
template <class Make, class Body>
void for_each(std::int64_t items, std::int64_t threads, Make make, Body body) {
  threads = std::max<std::int64_t>(std::min(threads, items), 1);
  std::vector<decltype(make())> scratch;
  scratch.reserve(threads);
  for (std::int64_t i = 0; i < threads; ++i) scratch.push_back(make());
  std::atomic<std::int64_t> next{0};
  Failure failure;
  const auto work = [&](std::int64_t thread) {
    for (std::int64_t i; !failure.happened() && (i = next++) < items;) body(scratch[thread], i);
  };
  {
    const Helpers helpers(threads, [&](std::int64_t thread) { failure.guard_helper([&] { work(thread); }); });
    failure.guard([&] { work(0); });
  }
  failure.rethrow();
}

}  // namespace ttc_fast
