// Threads beside the caller's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

namespace ttc_fast {

// Runs work(i) for i = 1, ..., threads - 1, each on a thread of its own, and joins them at the end of its life. There are
// fewer if the system refuses more threads: so each must take its work from a common counter, not by its number.
class Helpers {
 public:
  template <class Work>
  Helpers(std::int64_t threads, Work work) {
    try {
      for (std::int64_t i = 1; i < threads; ++i) threads_.emplace_back(work, i);
    } catch (const std::system_error&) {  // the caller and those there are do the work
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

// body(scratch, i) for i = 0, ..., items - 1, in any order, on up to `threads` threads, each with a copy of the scratch.
template <class Scratch, class Body>
void for_each(std::int64_t items, int threads, const Scratch& scratch, Body body) {
  std::atomic<std::int64_t> next{0};
  const auto work = [&](std::int64_t) {
    Scratch mine = scratch;
    for (std::int64_t i; (i = next++) < items;) body(mine, i);
  };
  const Helpers helpers(std::min<std::int64_t>(threads, items), work);
  work(0);
}

}  // namespace ttc_fast
