// To be preloaded: lets allocations of the C++ extension fail, and the start of its threads.
//
// Only what the extension asks for counts, by itself or by the C++ library in its name: Python, NumPy and the other
// libraries get all they want. So does the loader, for threads' own variables: see Failure::guard_helper in csrc/helpers.h.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

static atomic_long left, failed;  // allocations before the one that fails; how many have failed
static atomic_int mode;           // 0: none fails; 1: one; 2: all from then on

void fail_allocation(long number, int all_from_then_on) {
  left = number;
  failed = 0;
  mode = all_from_then_on ? 2 : 1;
}

// How many have failed; none does from now on.
long stop_failing(void) {
  mode = 0;
  return failed;
}

static int fails(const void* caller) {
  Dl_info info;
  if (!mode || !dladdr(caller, &info) || !info.dli_fname) return 0;
  const char* const slash = strrchr(info.dli_fname, '/');
  const char* const name = slash ? slash + 1 : info.dli_fname;
  if (strncmp(name, "_C.", 3) && strncmp(name, "libstdc++", 9)) return 0;
  const long now = --left;
  if (mode == 2 ? now > 0 : now != 0) return 0;
  ++failed;
  errno = ENOMEM;
  return 1;
}

void* malloc(size_t size) { return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size); }

void* calloc(size_t count, size_t size) {
  return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void* realloc(void* old, size_t size) { return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(old, size); }

void* aligned_alloc(size_t alignment, size_t size) {
  return fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void** out, size_t alignment, size_t size) {
  *out = fails(__builtin_return_address(0)) ? NULL : __libc_memalign(alignment, size);
  return *out ? 0 : ENOMEM;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument) {
  if (fails(__builtin_return_address(0))) return EAGAIN;
  int (*const create)(pthread_t*, const pthread_attr_t*, void* (*)(void*), void*) = dlsym(RTLD_NEXT, "pthread_create");
  return create(thread, attributes, start, argument);
}
