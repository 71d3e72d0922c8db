// What a caller is told where memory is short.
#pragma once

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <new>
#include <stdexcept>
#include <utility>

namespace ttc_fast {

// What a call needs beside its arguments and its result: the words of the message where it cannot be had.
struct Need {
  const char* what;
  std::int64_t bytes;    // of one thread, at most
  std::int64_t threads;
  const char* fewer;     // of these it would do with less memory
};

// MemoryError in Python. The message lies in the object: no memory is asked for to make it.
class OutOfMemory : public std::bad_alloc {
 public:
  explicit OutOfMemory(const Need& need) noexcept {
    char bytes[32], threads[64] = "", rest[32] = "";
    group(need.bytes, bytes);
    if (need.threads > 1) {
      std::snprintf(threads, sizeof threads, " for each of %" PRId64 " threads", need.threads);
      std::snprintf(rest, sizeof rest, "threads or fewer ");
    }
    std::snprintf(text_, sizeof text_, "%s, up to %s bytes%s, could not be allocated: ask for fewer %s%s", need.what,
                  bytes, threads, rest, need.fewer);
  }
  const char* what() const noexcept override { return text_; }

 private:
  // 12,345,678
  static void group(std::int64_t number, char (&out)[32]) noexcept {
    char digits[24];
    const int count = std::snprintf(digits, sizeof digits, "%" PRId64, number);
    char* to = out;
    for (int i = 0; i < count; ++i) {
      if (i > 0 && (count - i) % 3 == 0) *to++ = ',';
      *to++ = digits[i];
    }
    *to = 0;
  }

  char text_[256];
};

// The first exception of a thread asks for memory of its own, and the process ends where there is none: so it is asked
// for before anything else is. The function is declared pure: compilers drop the call if nothing needs its result.
inline void prepare_for_exceptions() noexcept {
  const volatile int count = std::uncaught_exceptions();
  static_cast<void>(count);
}

// work(), where memory that cannot be had is told as OutOfMemory.
template <class Work>
auto needing(const Need& need, Work work) {
  prepare_for_exceptions();
  try {
    return work();
  } catch (const OutOfMemory&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw OutOfMemory(need);
  } catch (const std::length_error&) {  // a vector beyond all memory
    throw OutOfMemory(need);
  }
}

}  // namespace ttc_fast
